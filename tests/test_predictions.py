"""The teacher's page has every prediction of the notebooks, with its answer."""

from nbformat import v4, write

from tools import predictions, run_notebooks

CALL = """
ntk.predict(
    "How many "
    "sides?",
    a="three",
    b="four",
    answer="a",
    tempting="b",
    because="A triangle has three.",
)
"""


def test_the_page_is_made_from_the_notebooks_as_they_are():
    committed = predictions.PAGE.read_text(encoding="utf-8")
    made = predictions.page(run_notebooks.notebooks())
    assert committed == made, "write it again: .venv/bin/python tools/predictions.py"
    calls = sum(path.read_text("utf-8").count("ntk.predict(") for path in run_notebooks.notebooks())
    assert made.count("\nBecause: ") == calls >= 3


def test_a_prediction_shows_choices_answer_and_the_usual_wrong_vote(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "ROOT", tmp_path)
    cells = [v4.new_markdown_cell("# Shapes"), v4.new_markdown_cell("## 1. What is a triangle?")]
    write(v4.new_notebook(cells=[*cells, v4.new_code_cell(CALL)]), tmp_path / "a.ipynb")
    write(v4.new_notebook(cells=cells), tmp_path / "none.ipynb")
    page = predictions.page([tmp_path / "a.ipynb", tmp_path / "none.ipynb"])
    assert page.count("## Shapes") == 1
    assert "*1. What is a triangle?*\n\nHow many sides?\n" in page
    assert "- **(a) three**\n- → (b) four\n" in page
    assert "Because: A triangle has three." in page
