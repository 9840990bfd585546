"""The hand-out is two printed pages of formulas that all are drawn, with the way to the course."""

import re
import shutil
from pathlib import Path

import pytest

from tools import handout, paper, stamp

ROOT = Path(__file__).resolve().parent.parent
TEXT = handout.PAGE.read_text(encoding="utf-8")
PUBLISHED = stamp.Place("jane-doe/ntk-course", "main")


def test_the_page_loads_only_files_of_this_repository():
    loaded = re.findall(r'(?:src|href)="([^"]+)"', TEXT)
    assert loaded
    assert [name for name in loaded if not (handout.PAGE.parent / name).is_file()] == []


def test_every_formula_names_a_lesson_that_exists():
    rows = re.findall(r"<tr>.*?</tr>|<li>.*?</li>", TEXT, flags=re.DOTALL)
    lessons = {path.name[:2] for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    lessons |= {f"deeper/{path.stem}" for path in (ROOT / "notebooks/deeper").glob("*.ipynb")}
    for row in rows:
        named = re.findall(r'class="lesson">([^<]+)<', row)
        assert named, row
        assert set(named[-1].split(", ")) <= lessons


def test_what_the_talk_printed_wrongly_is_struck_out_beside_what_is_right():
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td>", TEXT.split('<table class="printed">')[1])
    assert len(rows) == 6
    assert [row for row in rows if "<s>" not in row[0] or "<s>" in row[1]] == []
    assert "s::after" in TEXT  # a line through formulas, too, which text-decoration leaves alone


def test_once_stamped_the_page_has_the_address_and_its_qr_code(monkeypatch):
    segno = pytest.importorskip("segno", reason="the extra `slides` is not installed")
    monkeypatch.setattr(stamp, "current", lambda: PUBLISHED)
    page = handout.signed()
    code = segno.make("https://github.com/jane-doe/ntk-course", error="m", micro=False)
    drawn = re.search(r'class="qrline" stroke="#000" d="([^"]+)"', page)[1]
    assert drawn in code.svg_inline(omitsize=True)
    assert 'href="https://github.com/jane-doe/ntk-course"' in page
    assert paper.NOT_YET not in page


def test_before_that_it_says_honestly_that_there_is_none(monkeypatch):
    monkeypatch.setattr(stamp, "current", lambda: stamp.Place("your_name/ntk-course", "main"))
    page = handout.signed()
    assert paper.NOT_YET in page
    assert "qrline" not in page
    assert "github.com" not in page


@pytest.mark.slow
@pytest.mark.skipif(paper.browser() is None, reason="there is no Chromium to print with")
@pytest.mark.parametrize("place", [PUBLISHED, stamp.Place("your_name/ntk-course", "main")])
def test_it_prints_on_two_pages(tmp_path, monkeypatch, place):
    pytest.importorskip("segno", reason="the extra `slides` is not installed")
    monkeypatch.setattr(stamp, "current", lambda: place)
    monkeypatch.setattr(handout, "ROOT", tmp_path)
    monkeypatch.setattr(handout, "PDF", tmp_path / "build" / "handout.pdf")
    handout.main()
    content = handout.PDF.read_bytes()
    assert len(re.findall(rb"/Type /Page\b", content)) == 2
    # Formulas are drawn, not left as TeX: their shapes are most of the file.
    assert len(content) > 100_000


def test_without_a_browser_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(SystemExit, match="no Chromium to print with: open"):
        handout.main()
