"""Every committed notebook is complete, was executed in order, and can be read without a kernel."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tools.run_notebooks import ROOT, forecast_picture, notebooks

LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
SECTIONS = ("Exercises", "Common misconceptions", "Summary", "References")
FACTS = ("**Time**", "**You need**", "**You will be able to**")
LAUNCHERS = ("https://mybinder.org/", "https://colab.research.google.com/")


def name(path: Path) -> str:
    """Return how a notebook is called in the list of tests."""
    return path.relative_to(ROOT).as_posix()


def code_cells(path: Path) -> list[NotebookNode]:
    """Return the code cells of a notebook."""
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def outputs(path: Path) -> list[NotebookNode]:
    """Return the outputs of a notebook."""
    return [output for cell in code_cells(path) for output in cell.outputs]


def printed(path: Path) -> Iterator[str]:
    """Yield all text that the cells of a notebook put out, descriptions of pictures included."""
    for output in outputs(path):
        yield output.get("text", "")
        yield from (
            str(text) for kind, text in output.get("data", {}).items() if kind[:5] != "image"
        )


def bootstrap(path: Path) -> str:
    """Return the source of a notebook's bootstrap cell."""
    (cell,) = (cell for cell in code_cells(path) if "ntk.setup()" in cell.source)
    return cell.source


GLOSSARY = ROOT / "notebooks" / "glossary.ipynb"  # text only
each_notebook = pytest.mark.parametrize(
    "path", [path for path in notebooks() if path != GLOSSARY], ids=name
)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=name)


def test_the_course_starts_with_notebook_00():
    assert [path.name for path in LESSONS][:1] == ["00_start_here.ipynb"]


@each_notebook
def test_cells_were_executed_once_and_in_order(path):
    counts = [cell.execution_count for cell in code_cells(path) if cell.source.strip()]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_no_cell_failed(path):
    assert [output.ename for output in outputs(path) if output.output_type == "error"] == []


@each_notebook
def test_no_warning_was_left(path):
    assert [output.text for output in outputs(path) if output.get("name") == "stderr"] == []


@each_notebook
def test_metadata_hold_neither_widgets_nor_times(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.keys() <= {"kernelspec", "language_info"}
    found = {key for cell in notebook.cells for key in cell.metadata}
    assert found <= {"cellView", "jupyter", "slideshow", "tags"}
    kinds = {kind for output in outputs(path) for kind in output.get("data", {})}
    assert not any("widget" in kind for kind in kinds)


@each_notebook
def test_every_picture_is_described(path):
    for output in outputs(path):
        for kind in output.get("data", {}):
            if kind.startswith("image/"):
                alt = output.metadata.get(kind, {}).get("alt", "")
                assert len(alt) >= 20, f"too short to describe a picture: {alt!r}"
                assert not re.search(r"<Figure|\(children|…$", alt), f"not a description: {alt!r}"


@each_notebook
def test_no_output_names_a_path_a_host_or_a_time(path):
    folder = r"(?<![\w.])/(?:[\w.-]+/)+[\w.-]+|\b[A-Z]:\\"
    host = r"https?://(?:localhost|127)"
    clock = r"\b\d\d:\d\d\b|\b20\d\d-\d\d-\d\d\b|\d (?:ms|s|seconds|minutes)\b|\d\.\d+ ?s\b"
    found = [
        match[0]
        for text in printed(path)
        for match in re.finditer(f"{folder}|{host}|{clock}", text)
    ]
    assert found == []


@each_notebook
def test_code_cells_are_short(path):
    for cell in code_cells(path):
        lines = [
            line for line in cell.source.splitlines() if line.strip() and line[:8] != "# @title"
        ]
        assert len(lines) <= (20 if "ntk.setup()" in cell.source else 15), cell.source


@each_notebook
def test_the_bootstrap_cell_is_the_same_everywhere(path):
    assert bootstrap(path) == bootstrap(LESSONS[0])


@each_notebook
def test_a_cell_with_an_explorer_has_its_output_ignored(path):
    for cell in code_cells(path):
        if re.search(r"\bntk\.explore\.", cell.source):
            assert "nbval-ignore-output" in cell.metadata.get("tags", []), cell.source


@each_lesson
def test_a_lesson_opens_with_title_badges_and_what_it_takes(path):
    head = nbformat.read(path, as_version=4).cells[0].source
    assert re.match(rf"# {path.name[:2]} · \S", head)
    for launcher in LAUNCHERS:
        assert re.search(rf"\({re.escape(launcher)}[^)\s]*/{path.name}\)", head), launcher
    assert [fact for fact in FACTS if fact not in head] == []


@each_lesson
def test_a_lesson_has_all_its_closing_sections_in_order(path):
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    headings = re.findall(r"^#{2,3} (?:\d+\. )?(.+)$", text, flags=re.MULTILINE)
    assert [heading for heading in headings if heading in SECTIONS] == list(SECTIONS)


def test_every_lesson_has_solutions_and_every_solution_a_lesson():
    assert [path.name for path in SOLUTIONS] == [path.name for path in LESSONS]


def test_the_hand_out_shows_a_figure_of_lesson_00():
    committed = (ROOT / "images" / "forecast.png").read_bytes()
    assert committed == forecast_picture(), "write it again: python course.py run --publish"
