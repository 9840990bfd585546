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

pytestmark = pytest.mark.slow

NAN, FOREVER = "float('nan')", "10**9"
# Lesson → how many code cells to play; (what is done, old text, new text, the word it gets).
EDITS = {
    "00": (
        9,
        [
            ("width 1", "new_network(4096)", "new_network(1)", "AssertionError: largest gap to"),
            (
                "one point",
                "wavy_curve(7",
                "wavy_curve(1",
                "ValueError: n must be at least 2; got 1",
            ),
            (
                "rate 1000",
                '"learning_rate": 0.002',
                '"learning_rate": 1e3',
                "diverged by step .*; try learn",
            ),
            ("NaN", "N = len(x)", f"N, y[2] = len(x), {NAN}", "ValueError: y holds 1 value.* NaN"),
            ("interrupted", '"steps": 5000', f'"steps": {FOREVER}', "KeyboardInterrupt"),
        ],
    ),
    "01": (
        7,
        [
            (
                "NaN",
                "torch.tensor([-1.8, 0.8])",
                f"torch.tensor([{NAN}, 0.8])",
                "AssertionError: dis",
            ),
            ("rate 1000", "[(0.02, {", "[(1e3, {", "IndexError|AssertionError"),
        ],
    ),
    "02": (
        8,
        [
            ("width 1", "MLP(2, 30", "MLP(2, 1", ""),
            ("one point", "unit_circle(5", "unit_circle(1", "AssertionError: formula"),
            ("no point", "unit_circle(5", "unit_circle(0", "n must be at least 1; got 0"),
            ("NaN", "torch.tensor([[3.0]])", f"torch.tensor([[{NAN}]])", "x2 holds 1 value.* NaN"),
        ],
    ),
    "03": (
        4,
        [
            ("width 1", "MLP(2, 2048, seed=s", "MLP(2, 1, seed=s", "AssertionError: part of K off"),
            ("NaN", "(net, circle.x", f"(net, circle.x * {NAN}", "x1 holds 120 value.* NaN"),
            ("width 0", "MLP(2, 2048, seed=s", "MLP(2, 0, seed=s", "width must be at least 1"),
        ],
    ),
    "04": (
        9,
        [
            ("width 0", "for n in [4, 16]", "for n in [0, 16]", "ZeroDivisionError"),
            (
                "one point",
                ", [math.cos(1.2), math.sin(1.2)]]",
                "]",
                r"mat1 and mat2 shapes cannot be multiplied \(200x2 and 1x1\)",
            ),
            (
                "one draw",
                "20_000, seed=s) for s in range(12)",
                "20, seed=s) for s in range(1)",
                "Asser",
            ),
            ("NaN", "math.sin(1.2)", NAN, "ValueError: x1 holds 1 value.* NaN"),
            ("interrupted", "in range(3)", f"in range({FOREVER})", "KeyboardInterrupt"),
        ],
    ),
    "05": (
        4,
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
    "06": (
        8,
        [
            ("width 1", "MLP(1, 100", "MLP(1, 1", ""),
            ("one point", "interior(100", "interior(1", "ValueError: n must be at least 2; got 1"),
            ("one wall", "boundary(100", "boundary(1", "ValueError: n must be at least 2; got 1"),
            ("rate 1000", '"sum": 1e-5', '"sum": 1e3', "diverged .* stable rate"),
            (
                "NaN",
                "problem.interior(",
                f"{NAN} * problem.interior(",
                "points holds 100 value.* NaN",
            ),
            ("interrupted", '"steps": to // long', f'"steps": {FOREVER}', "KeyboardInterrupt"),
        ],
    ),
    "07": (
        10,
        [
            (
                "width 1",
                "trained(64, 1 / 8, s)",
                "trained(1, 1 / 8, s)",
                "AssertionError: an even number of units",
            ),
            ("one point", "draw(200, seed)", "draw(1, seed)", "AssertionError"),
            ("no point", "draw(200, seed)", "draw(0, seed)", r"x1 is empty: shape \(0, 20\)"),
            ("rate 1000", '"learning_rate": rate', '"learning_rate": 1e3', "diverged .* try learn"),
            ("NaN", "x, (x[:, 0]", f"x, {NAN} * (x[:, 0]", "ValueError: y holds 200 value.* NaN"),
            ("interrupted", '"steps": 400', f'"steps": {FOREVER}', "KeyboardInterrupt"),
        ],
    ),
    "08": (
        9,
        [
            (
                "no example",
                "data.digits(10",
                "data.digits(0",
                "per_class must be at least 1; got 0",
            ),
            ("one example", "data.digits(10", "data.digits(1", "ValueError|AssertionError"),
            ("NaN", "images = digits.image", f"images = {NAN} * digits.image", "x holds .* NaN"),
            ("rate 1000", "learning_rate=0.1 *", "learning_rate=1e5 *", ""),
            (
                "no mean",
                "learning_rate=0.1 *",
                "loss=lambda f, y: f, learning_rate=0.1 *",
                "number",
            ),
            ("width 2", "width=16", "width=2", ""),
            ("interrupted", "steps=300", f"steps={FOREVER}", "KeyboardInterrupt"),
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
        self.cells = [
            index
            for index, cell in enumerate(self.notebook.cells)
            if cell.cell_type == "code" and "show_course_map" not in cell.source  # a slow picture
        ]

    def play(self, count: int, old: str = "", new: str = "") -> str:
        """Run the first `count` code cells with `old` replaced; return all complaints."""
        return "\n".join(self.run(index, old, new) for index in self.cells[:count])

    def run(self, index: int, old: str = "", new: str = "") -> str:
        """Run one cell with `old` replaced; return its errors and warnings."""
        cell = copy.deepcopy(self.intact[index])
        if old and old in cell.source:
            cell.source = cell.source.replace(old, new)
            if FOREVER in new:
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
        training = reader.cells[count - 1]
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
