"""The decks: timed, in step with the lessons, and shown by a browser without a network."""

import json
import re
import shutil

import nbformat
import pytest
from test_notebooks_budget import CPU_SECONDS, PEAK_BYTES
from test_second_edition import open_plumbing

from slides import build, cells
from tools.run_notebooks import ROOT, execute

bs4 = pytest.importorskip("bs4", reason="comes with nbconvert")

DECKS = sorted((ROOT / "slides").glob("ntk_*.ipynb"))
MINUTES = {"ntk_talk": (14, 14.5), "ntk_workshop": (90, 90)}  # the talk has fifteen, and slack
WORDS = 130  # spoken in a minute
REFERENCES = {  # of the talk that this course grew out of
    "proceedings.neurips.cc/paper/2018/hash/5a4be1fa34e62bb8a6ec6b91d2462f5a-Abstract.html",
    "en.wikipedia.org/wiki/Neural_tangent_kernel",
    "iclr.cc/virtual_2020/poster_SklD9yrFPS.html",
    "rajatvd.github.io/NTK/",
    "lilianweng.github.io/posts/2022-09-08-ntk/",
    "appliedprobability.blog/2021/03/10/neural-tangent-kernel/",
    "www.inference.vc/neural-tangent-kernels-some-intuition-for-kernel-gradient-descent/",
    "pytorch.org/tutorials/intermediate/neural_tangent_kernels.html",
    "arxiv.org/abs/2007.14527",  # the PINN paper, as a preprint
}
each_deck = pytest.mark.parametrize("path", DECKS, ids=lambda path: path.stem)


def slides(path):
    """Return the slides of a deck, without the pictures of its explorers."""
    deck = nbformat.read(path, as_version=4)
    return cells.slides_of(deck, lambda *_: '<figure class="sweep"></figure>')


def lines(cell):
    """Return the lines that a cell shows as text, with single blanks."""
    text = "\n".join(cells.printed_by(output) for output in cell.get("outputs", []))
    return {" ".join(line.split()) for line in text.splitlines() if line.strip()}


# What the decks say.


@each_deck
def test_every_slide_has_a_title_and_notes_and_the_minutes_add_up(path):
    deck = slides(path)
    assert [s.title for s in deck if not s.title or len(s.notes) < 60] == []
    least, most = MINUTES[path.stem]
    assert least <= sum(s.minutes for s in deck) <= most


@each_deck
def test_the_notes_of_a_slide_can_be_said_in_its_minutes(path):
    words = {s.title: len(re.sub("<[^>]+>", " ", s.notes).split()) for s in slides(path)}
    minutes = {s.title: s.minutes for s in slides(path)}
    assert {title for title in words if words[title] > WORDS * minutes[title]} == set()


def test_the_talk_has_ten_to_thirteen_slides():
    assert 10 <= len(slides(ROOT / "slides" / "ntk_talk.ipynb")) <= 13


def test_every_reference_of_the_first_talk_is_on_the_last_slide():
    last = slides(ROOT / "slides" / "ntk_talk.ipynb")[-1]
    assert {f"https://{address}" for address in REFERENCES} <= {
        *re.findall(r'href="([^"]+)"', "".join(block.html for block in last.blocks))
    }


@each_deck
def test_every_picture_that_moves_has_a_second_state_on_paper(path):
    tags = [cell.metadata.get("tags", []) for cell in nbformat.read(path, as_version=4).cells]
    moving = [each for each in tags if any(tag.startswith("sweep:") for tag in each)]
    assert len(moving) >= 4
    assert [each for each in moving if not any(tag.startswith("paper:") for tag in each)] == []


@each_deck
def test_what_stands_on_a_slide_and_in_a_lesson_is_the_same(path):
    compared = 0
    for cell in nbformat.read(path, as_version=4).cells:
        for tag in cell.metadata.get("tags", []):
            if tag.startswith("as-in:"):
                lesson = nbformat.read(ROOT / "notebooks" / f"{tag[6:]}.ipynb", as_version=4)
                assert lines(cell) - set().union(*map(lines, lesson.cells)) == set()
                compared += len(lines(cell))
    assert compared >= 4


@each_deck
def test_a_number_that_is_printed_on_a_slide_comes_from_a_lesson(path):
    for cell in nbformat.read(path, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if lines(cell) and cell.metadata.get("slideshow", {}).get("slide_type") != "skip":
            assert any(tag.startswith("as-in:") for tag in tags), cell.source


@each_deck
def test_what_only_draws_is_folded_in_a_live_deck_and_its_form_title_is_on_no_slide(path):
    assert open_plumbing(path) == []
    assert [slide.title for slide in slides(path) if "@title" in slide.code] == []


@pytest.mark.slow
@each_deck
def test_a_deck_keeps_within_the_budget_of_a_lesson(path):
    _, cost = execute(path, folder=ROOT)
    assert cost.cpu_seconds <= CPU_SECONDS / 2
    assert cost.peak_bytes <= PEAK_BYTES


# How they are built.


def notebook(*texts):
    """Return a slide notebook of (slide_type, source) Markdown cells."""
    made = [nbformat.v4.new_markdown_cell(text) for _, text in texts]
    for cell, (kind, _) in zip(made, texts, strict=True):
        cell.metadata = {"slideshow": {"slide_type": kind}}
    return nbformat.v4.new_notebook(cells=made)


def test_cells_become_slides_with_title_fragment_and_notes():
    some = [("skip", "# no"), ("slide", "## A $x$\n\nfirst"), ("fragment", "second")]
    (slide,) = cells.slides_of(notebook(*some, ("notes", "**1.5 min.** Say $y$.")), None)
    assert (slide.title, slide.minutes, slide.layout) == ("A $x$", 1.5, "stack")
    assert [block.html for block in slide.blocks] == [
        '<div class="text"><p>first</p>\n</div>',
        '<div class="text fragment"><p>second</p>\n</div>',
    ]
    assert slide.notes.strip() == "<p>Say $y$.</p>"


@pytest.mark.parametrize("notes", [(), (("notes", "Take your time."),)], ids=["none", "untimed"])
def test_a_slide_without_timed_notes_is_refused(notes):
    with pytest.raises(ValueError, match=r"slide 'A' has no notes that begin with \*\*… min"):
        cells.slides_of(notebook(("slide", "## A"), *notes), None)


def test_links_to_lessons_lead_to_where_the_course_is_hosted():
    made = cells.markdown("[one](../notebooks/01_gradient_flow.ipynb) [two](https://a.b/c)")
    assert re.findall(r'href="([^"]+)"', made) == [
        f"{cells.hosted()}/notebooks/01_gradient_flow.ipynb",
        "https://a.b/c",
    ]


def test_a_tag_says_where_the_sliders_stand_in_the_second_state_on_paper():
    cell = nbformat.v4.new_code_cell("ntk.explore.any()")
    cell.metadata = {"tags": ["sweep:a", "sweep:b", "paper:a=1024"]}
    told = []
    cells.outputs_of(cell, lambda *what: told.append(what) or "")
    assert told == [("any", ["a", "b"], {"a": "1024"})]
    data = {"controls": [{"name": "a", "texts": ["8", "1,024"]}, {"name": "b", "texts": ["1"]}]}
    made = bs4.BeautifulSoup(
        build.sweep(data | {"said": "</script> & <"}, {"a": "1024"}), "html.parser"
    )
    assert json.loads(made.figure["data-second"]) == {"a": 1}
    assert json.loads(made.figure.script.string) == data | {"said": "</script> & <"}
    assert (
        json.loads(bs4.BeautifulSoup(build.sweep(data, {}), "html.parser").figure["data-second"])
        == {}
    )
    for name, text in [("a", "9"), ("c", "8")]:
        with pytest.raises(ValueError, match=f"no paper:{name}={text}: choose from a=8, a=1024, b"):
            build.position(data, name, text)


def test_all_that_a_slide_prints_is_in_one_box():
    deck = notebook(("slide", "## A"), ("notes", "**1 min.** Say."))
    for text in ("one\n", "two\n"):
        output = nbformat.v4.new_output("stream", text=text)
        cell = nbformat.v4.new_code_cell("print()", outputs=[output])
        cell.metadata = {"slideshow": {"slide_type": "-"}}
        deck.cells.insert(-1, cell)
    (slide,) = cells.slides_of(deck, None)
    (block,) = slide.blocks
    assert re.findall(r">(.+)</pre>", block.html, re.DOTALL) == ["one\ntwo"]


def test_without_a_browser_there_is_no_pdf_but_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(build, "build", lambda _: "<html></html>")
    monkeypatch.setattr("sys.argv", ["build.py", "talk", "--to", str(tmp_path)])
    build.main()
    assert "No PDF: that needs Chromium or Chrome" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["ntk_talk.html"]


def test_an_unknown_deck_is_told_the_known_ones(monkeypatch):
    monkeypatch.setattr("sys.argv", ["build.py", "lecture"])
    with pytest.raises(SystemExit, match="there are ntk_talk"):
        build.main()


@pytest.mark.parametrize("folder", ["mathjax", "reveal.js", "source-sans-3"])
def test_what_is_carried_along_has_its_licence(folder):
    assert (ROOT / "slides" / "vendor" / folder / "LICENSE").stat().st_size > 500
