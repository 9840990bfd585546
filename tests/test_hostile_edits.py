"""What a reader may do to a lesson: each edit gets a clear word, and later cells still work.

One kernel a lesson takes all edits one after the other, and then the cells as they are.
"""

import asyncio
import copy
import re
import threading

import nbformat
import pytest
from nbclient import NotebookClient

from tools.run_notebooks import ROOT, kernel_variables

NAN, FOREVER = "float('nan')", "steps=10**9"
# Lesson → how many code cells to play; (what is done, old text, new text, the word it gets).
EDITS = {
    "00": (
        7,
        [
            ("width 1", "small=1024, large=8192", "small=1, large=1", "AssertionError"),
            (
                "one point",
                "wavy_curve(7",
                "wavy_curve(1",
                "ValueError: n must be at least 2; got 1",
            ),
            (
                "rate 1000",
                "learning_rate=0.02",
                "learning_rate=1e3",
                "diverged by step .*; try learn",
            ),
            ("NaN", "N = len(x)", f"N, y[2] = len(x), {NAN}", "ValueError: y holds 1 value.* NaN"),
            ("interrupted", "steps=5000", FOREVER, "KeyboardInterrupt"),
        ],
    ),
    "01": (
        6,
        [
            ("NaN", "torch.tensor([-1.8, 0.8])", f"torch.tensor([{NAN}, 0.8])", "AssertionError"),
            ("rate 1000", "for rate in [0.02, 0.18]", "for rate in [1e3, 0.18]", "KeyError: 0.02"),
        ],
    ),
    "02": (
        5,
        [
            ("width 1", "MLP(2, 30", "MLP(2, 1", ""),
            ("one point", "unit_circle(5", "unit_circle(1", "IndexError: index 1 is out of bounds"),
            ("NaN", "device).x", f"device).x * {NAN}", r"ValueError: x1 holds 10 value.* NaN"),
            ("no point", "unit_circle(5", "unit_circle(0", "n must be at least 1; got 0"),
        ],
    ),
    "03": (
        5,
        [
            ("width 1", "small=1024, large=4096", "small=1, large=1", "AssertionError"),
            ("NaN", "(net, circle.x", f"(net, circle.x * {NAN}", "x1 holds 120 value.* NaN"),
            ("width 0", "small=1024, large=4096", "small=0, large=0", "width must be at least 1"),
        ],
    ),
    "05": (
        5,
        [
            ("width 1", "small=4096, large=16384", "small=1, large=1", ""),
            (
                "one point",
                "wavy_curve(7",
                "wavy_curve(1",
                "ValueError: n must be at least 2; got 1",
            ),
            ("NaN", "N = len(x)", f"N, y[2] = len(x), {NAN}", "ValueError: y holds 1 value.* NaN"),
        ],
    ),
}


class Reader:
    """A reader of a lesson, with a kernel of their own."""

    def __init__(self, lesson: str):
        """Open the lesson; cells run where the file lies."""
        (path,) = (ROOT / "notebooks").glob(f"{lesson}_*.ipynb")
        self.notebook = nbformat.read(path, as_version=4)
        self.client = NotebookClient(
            self.notebook,
            timeout=120,
            kernel_name="python3",
            allow_errors=True,
            resources={"metadata": {"path": str(path.parent)}},
        )
        self.intact = copy.deepcopy(self.notebook.cells)  # the client keeps what it ran
        self.cells = [i for i, c in enumerate(self.notebook.cells) if c.cell_type == "code"]

    def play(self, count: int, old: str = "", new: str = "") -> str:
        """Run the first `count` code cells with `old` replaced; return all complaints."""
        return "\n".join(self.run(index, old, new) for index in self.cells[:count])

    def run(self, index: int, old: str = "", new: str = "") -> str:
        """Run one cell with `old` replaced; return its errors and warnings."""
        cell = copy.deepcopy(self.intact[index])
        if old and old in cell.source:
            cell.source = cell.source.replace(old, new)
            if new == FOREVER:
                threading.Timer(2, self.interrupt).start()
        self.client.execute_cell(cell, index, store_history=False)
        errors = [f"{o.ename}: {o.evalue}" for o in cell.outputs if o.output_type == "error"]
        return "\n".join(errors + [o.text for o in cell.outputs if o.get("name") == "stderr"])

    def interrupt(self) -> None:
        """Press the stop button."""
        asyncio.run(self.client.km.interrupt_kernel())


@pytest.mark.parametrize("lesson", EDITS)
def test_a_hostile_edit_gets_a_clear_word_and_the_lesson_goes_on(lesson):
    count, edits = EDITS[lesson]
    reader = Reader(lesson)
    with reader.client.setup_kernel(env=kernel_variables()):
        assert reader.play(1) == ""
        training = reader.cells[min(4, count - 1)]
        assert "NameError: name" in reader.run(training)  # before the cells that it needs
        for what, old, new, word in edits:
            sources = [reader.intact[i].source for i in reader.cells[:count]]
            assert any(old in source for source in sources), f"{old!r} is not in lesson {lesson}"
            said = reader.play(count, old, new)
            if word:
                assert re.search(word, said), f"{what}: {said}"
            else:
                assert said.strip() == "", what
        assert reader.play(count).strip() == ""
        (*_, exercise) = (i for i in reader.cells if "ntk.exercises." in reader.intact[i].source)
        assert reader.run(exercise) == ""
