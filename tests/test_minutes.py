"""The reading model counts what it says it counts."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.minutes import minutes, words

FIGURE = new_output("display_data", {"image/png": "", "text/plain": "…"})


def code(source, *tags, outputs=()):
    """Return a code cell."""
    return new_code_cell(source, outputs=[*outputs], metadata={"tags": [*tags]})


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (new_markdown_cell("word " * 240), 2.0),
        (new_markdown_cell("$a + b$ word $$ c \n d $$"), 1 / 120 + 0.5),
        (code("x = 1\n\ny = 2\nz = 3"), 0.2),
        (code("x = 1", "plumbing"), 0.0),
        (code("ntk.show(figure)", "plumbing", outputs=[FIGURE, FIGURE]), 1.0),
        (code('ntk.predict("five words stand here now", a="six")', "plumbing"), 1 + 6 / 120),
        (code("ntk.explore.step_size()", "plumbing", outputs=[FIGURE]), 2.0),
        (new_markdown_cell("**Exercise 1** (5 minutes, easy). word"), 5 + 6 / 120),
    ],
)
def test_each_thing_has_its_minutes(cell, expected):
    assert minutes(new_notebook(cells=[cell])) == pytest.approx(1.1 * expected)


def test_addresses_tags_and_marks_are_no_words():
    assert words("# A **bold** [link](https://a.b/c d) <br> · `code` | x |") == 5


def test_a_notebook_is_the_sum_of_its_cells():
    cells = [new_markdown_cell("word " * 120), code("x = 1")]
    assert minutes(new_notebook(cells=cells)) == pytest.approx(1.1 * (1 + 1 / 15))
    assert nbformat.validate(new_notebook(cells=cells)) is None
