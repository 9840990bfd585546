"""Notebooks are executed in place: what is kept, what is replaced, and what happens on failure."""

import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import run_notebooks
from tools.run_notebooks import MARKS, Cost, NotebookError, execute, normalise, publish, table

pytestmark = pytest.mark.slow

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAgAAAAEA"  # the head of a PNG of 512 × 256 pixels
EXPLORER = f"""
import base64
import ipywidgets as widgets
class Picture(widgets.VBox):
    def __repr__(self):
        return "Explorer: a picture."
image = widgets.Image(value=base64.b64decode("{PICTURE}"))
said = widgets.HTML("<p>It is 1 &lt; 2.</p>")
style = widgets.HTML("<style></style>")
explorer = Picture([widgets.IntSlider(), widgets.HBox([image]), said, style])
explorer
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    """Return a function that writes a notebook with the given code cells into an empty course."""
    folder = tmp_path / "a course" / "notebooks"
    folder.mkdir(parents=True)
    monkeypatch.setattr(run_notebooks, "ROOT", folder.parent)

    def write(name, *sources):
        cells = [new_markdown_cell("# A title"), *map(new_code_cell, sources)]
        nbformat.write(new_notebook(cells=cells), folder / name)
        return folder / name

    return write


def run(monkeypatch, *arguments):
    """Run the tool's command line."""
    monkeypatch.setattr(sys, "argv", ["run", *arguments])
    run_notebooks.main()


def test_a_notebook_is_executed_in_its_folder_without_progress_bars(course, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    path = course(
        "01_a.ipynb",
        "import os, pathlib\nprint(pathlib.Path.cwd().name, os.environ['TQDM_DISABLE'])",
        "print('inline' in os.environ['MPLBACKEND'])",
    )
    notebook, cost = execute(path)
    texts = [cell.outputs[0].text for cell in notebook.cells[1:]]
    assert texts == ["notebooks 1\n", "True\n"]
    assert 0 < cost.cpu_seconds < 60
    assert 2e7 < cost.peak_bytes < 1e9


def test_a_progress_bar_leaves_no_trace(course):
    path = course(
        "01_a.ipynb",
        "from ntk_helpers._progress import tqdm\nfor _ in tqdm(range(3), disable=False): pass",
    )
    notebook, _ = execute(path)
    assert notebook.cells[1].outputs == []


def test_peak_memory_is_that_of_the_kernel(course):
    path = course("01_a.ipynb", "x = bytearray(400_000_000)\ndel x")
    _, cost = execute(path)
    assert 0.4e9 < cost.peak_bytes < 0.7e9


def test_a_widget_becomes_its_picture_with_a_description(course):
    notebook, _ = execute(course("01_a.ipynb", EXPLORER))
    normalise(notebook)
    (output,) = notebook.cells[1].outputs
    assert output.data == {"image/png": PICTURE, "text/plain": "Explorer: a picture."}
    alt = "Explorer: a picture. It is 1 < 2."
    assert output.metadata == {"image/png": {"alt": alt, "width": 256}}
    assert "widgets" not in notebook.metadata


def test_a_widget_without_a_picture_is_refused(course):
    notebook, _ = execute(course("01_a.ipynb", "import ipywidgets\nipywidgets.IntSlider()"))
    with pytest.raises(NotebookError, match="cell 1 shows a widget without a picture"):
        normalise(notebook)


def test_of_a_prediction_the_question_stays_and_the_buttons_go(course):
    notebook, _ = execute(
        course(
            "01_a.ipynb",
            "import ntk_helpers as ntk\n"
            "ntk.predict('Two?', a='1', b='2', answer='b', because='1 + 1 = 2')",
        )
    )
    normalise(notebook)
    (output,) = notebook.cells[1].outputs
    assert output.data["text/plain"] == "Predict. Two?\n(a) 1\n(b) 2"
    assert output.data.keys() == {"text/plain", "text/html"}


def test_plumbing_is_folded_for_lab_site_and_colab_and_unfolded_without_the_tag():
    cell = new_code_cell("ntk.show(figure, alt='…')", metadata={"tags": ["plumbing"]})
    notebook = new_notebook(cells=[cell])
    for _ in range(2):
        normalise(notebook)
        assert cell.metadata.jupyter.source_hidden
        assert cell.metadata.cellView == "form"
        assert cell.metadata.tags == ["plumbing", "hide-input"]
        assert cell.source == "# @title The figure\nntk.show(figure, alt='…')"
    cell.metadata.tags.remove("plumbing")
    normalise(notebook)
    assert cell.metadata == {}


def test_tags_and_ids_stay_and_times_go(course):
    path = course("01_a.ipynb", "1 + 1")
    before = nbformat.read(path, as_version=4)
    before.cells[1].metadata.update(
        tags=["mine"], slideshow={"slide_type": "slide"}, execution={"iopub.status.busy": "now"}
    )
    nbformat.write(before, path)
    after, _ = execute(path)
    normalise(after)
    cell = after.cells[1]
    assert cell.metadata == {"tags": ["mine"], "slideshow": {"slide_type": "slide"}}
    assert [c.id for c in after.cells] == [c.id for c in before.cells]
    assert cell.outputs[0].data["text/plain"] == "2"


def test_a_second_run_changes_nothing(course, monkeypatch, capsys):
    path = course("01_a.ipynb", "print('one')\nprint('two')", EXPLORER)
    run(monkeypatch, "01")
    first = path.read_bytes()
    run(monkeypatch, "notebooks/01_a.ipynb")
    assert path.read_bytes() == first
    assert "| 01_a.ipynb |" in capsys.readouterr().out


def test_a_failing_notebook_is_named_and_left_alone(course, monkeypatch, capsys):
    bad, good = course("01_bad.ipynb", "1 + 1", "1 / 0"), course("02_good.ipynb", "1 + 1")
    before = bad.read_bytes()
    with pytest.raises(SystemExit) as end:
        run(monkeypatch)
    assert end.value.code == 1
    assert bad.read_bytes() == before
    assert b'"execution_count": 1' in good.read_bytes()
    message = capsys.readouterr().err
    assert "01_bad.ipynb, cell 2" in message
    assert "ZeroDivisionError" in message


def test_a_dead_kernel_is_reported(course):
    with pytest.raises(NotebookError, match=r"01_a\.ipynb, cell 1(.|\n)*died"):
        execute(course("01_a.ipynb", "import os\nos._exit(3)"))


def test_a_cell_that_never_ends_is_reported(course, monkeypatch):
    monkeypatch.setattr(run_notebooks, "CELL_TIMEOUT", 2)
    with pytest.raises(NotebookError, match=r"cell 1(.|\n)*timed out"):
        execute(course("01_a.ipynb", "while True: pass"))


def test_an_unknown_name_is_an_error(course, monkeypatch):
    course("01_a.ipynb", "1")
    with pytest.raises(SystemExit, match="no notebook '07'"):
        run(monkeypatch, "07")


def test_the_table_goes_between_the_marks_and_can_be_renewed(course, tmp_path):
    path = course("01_a.ipynb", "1")
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{MARKS[0]}\nold\n{MARKS[1]}\nbelow\n", encoding="utf-8")
    for _ in range(2):
        publish(table({path: Cost(61.4, 30.2, 512_000_000)}), readme)
    text = readme.read_text(encoding="utf-8")
    assert "| 01_a.ipynb | 61 s | 30 s | 0.51 GB |" in text
    assert text.startswith("above\n")
    assert text.endswith("below\n")
    assert "old" not in text
    assert text.count(MARKS[0]) == text.count("| notebook |") == 1


def test_a_readme_without_marks_is_an_error(tmp_path):
    (tmp_path / "README.md").write_text("nothing", encoding="utf-8")
    with pytest.raises(SystemExit, match="no place for the table"):
        publish("", tmp_path / "README.md")
