"""The hand-out is two printed pages of formulas that all are drawn."""

import re
import shutil
from pathlib import Path

import pytest

from tools import handout

ROOT = Path(__file__).resolve().parent.parent
TEXT = handout.PAGE.read_text(encoding="utf-8")


def test_the_page_loads_only_files_of_this_repository():
    loaded = re.findall(r'(?:src|href)="([^"]+)"', TEXT)
    assert loaded
    assert [name for name in loaded if not (handout.PAGE.parent / name).is_file()] == []


def test_every_formula_names_a_lesson_that_exists():
    rows = re.findall(r"<tr>.*?</tr>", TEXT, flags=re.DOTALL)
    lessons = {path.name[:2] for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    for row in rows:
        named = re.findall(r'class="lesson">([\d, ]+)<', row)
        assert named, row
        assert set(named[-1].split(", ")) <= lessons


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, handout.BROWSERS)), reason="there is no Chromium to print with"
)
def test_it_prints_on_two_pages(tmp_path, monkeypatch):
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
