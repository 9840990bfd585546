"""The second edition's lessons: minutes by the model, folded plumbing, questions, no loose dice."""

import ast
import re

import nbformat
import pytest

from tools.minutes import minutes, printed
from tools.run_notebooks import notebooks

LIMITS = {"00": 35, "01": 50, "08": 50}  # minutes; 60 for all others
MEASURED_QUESTIONS = 7

PATHS = [path for path in notebooks() if path.parent.name in ("notebooks", "deeper")]
LESSONS = {path.stem: path for path in PATHS if path.stem != "glossary"}
each_lesson = pytest.mark.parametrize("path", LESSONS.values(), ids=LESSONS)

DRAWS = re.compile(r"\bntk\.show\(|\bplt\.|\bntk\.plots\.|\bax\.|\baxes\[")
# A table of set-ups may be folded: data, models, plans. What computes may not.
COMPUTES = re.compile(
    r"\bntk\.(?!setup|show|plots|predict|data|MLP|PoissonProblem|Standardized)[a-z_]+\("
    r"|\btorch\.(linalg|autograd|func|matrix_exp)|\.(backward|eigenvalues|kernel)\("
)
LOOSE = re.compile(r"manual_seed|\bGenerator\(|\bnp\.random|\bnumpy\.random|\bseed_all")
DRAWN = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}


def read(path):
    """Return a notebook."""
    return nbformat.read(path, as_version=4)


def code(path):
    """Return (source, tags) of each code cell of a notebook."""
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    return [(cell.source, cell.metadata.get("tags", [])) for cell in cells]


def is_plumbing(source: str) -> bool:
    """Return whether a cell only prepares, draws, or asks for a prediction."""
    if "ntk.setup()" in source or "ntk.predict(" in source or "as report" in source:
        return True
    return bool(DRAWS.search(source))


def open_plumbing(path) -> list[str]:
    """Return the cells that draw, format or prepare, and are not folded."""
    return [s for s, tags in code(path) if is_plumbing(s) and "plumbing" not in tags]


def names(source: str, context: type) -> set[str]:
    """Return the names that a cell sets (ast.Store) or uses (ast.Load), functions included."""
    tree = ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.MULTILINE))
    found = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}
    if context is ast.Store:
        found |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return found


def folded_teaching(path) -> list[str]:
    """Return the folded cells that make a claim, or compute what an open cell goes on with."""
    cells, found = code(path), []
    for index, (source, tags) in enumerate(cells):
        if "plumbing" not in tags or "ntk.setup()" in source:
            continue
        shown = [s for s, t in cells[index + 1 :] if "plumbing" not in t]
        later = set().union(*(names(s, ast.Load) - names(s, ast.Store) for s in shown))
        goes_on = bool(names(source, ast.Store) & later)
        if "ntk.claim(" in source or (
            COMPUTES.search(source) and (goes_on or not is_plumbing(source))
        ):
            found.append(source)
    return found


def headings(path) -> list[str]:
    """Return the numbered headings of a notebook."""
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    return re.findall(r"^## \d+\. (.+)$", text, flags=re.MULTILINE)


def loose_dice(path) -> list[str]:
    """Return what draws numbers past ntk.generator, and so takes no part in the draws."""
    found = []
    for source, _ in code(path):
        found += LOOSE.findall(source)
        for call in (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            if name in DRAWN and "generator" not in {keyword.arg for keyword in call.keywords}:
                found.append(ast.unparse(call))
    return found


def unvoted(path) -> list[str]:
    """Return the predictions that are no vote yet."""
    cells = read(path).cells
    return [c.source for c in cells if c.cell_type == "markdown" and "**Predict" in c.source]


@each_lesson
def test_the_printed_minutes_are_those_of_the_model_and_within_the_limit(path):
    value = minutes(read(path))
    assert value <= LIMITS.get(path.name[:2], 60)
    assert printed(read(path)) == 5 * round(value / 5)


@each_lesson
def test_plumbing_is_folded_and_teaching_is_open(path):
    assert open_plumbing(path) == []
    assert folded_teaching(path) == []


@each_lesson
def test_each_numbered_section_asks_and_there_are_at_most_seven(path):
    assert [heading for heading in headings(path) if not heading.endswith("?")] == []
    assert 1 <= len(headings(path)) <= MEASURED_QUESTIONS


@each_lesson
def test_every_prediction_is_a_vote_and_is_answered_before_the_next_heading(path):
    assert unvoted(path) == []
    waiting = 0
    for cell in read(path).cells:
        if cell.source.startswith("#") and cell.cell_type == "markdown":
            assert not waiting, cell.source
        waiting -= waiting and cell.source.startswith("**What was found.**")
        waiting += cell.cell_type == "code" and cell.source.count("ntk.predict(")
    assert not waiting


@each_lesson
def test_numbers_are_drawn_by_seeds_that_take_part_in_the_draws(path):
    assert loose_dice(path) == []


@each_lesson
def test_a_claim_has_a_literal_name_and_no_two_have_the_same(path):
    for source, _ in code(path):
        for call in (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)):
            if ast.unparse(call.func) == "ntk.claim":
                assert isinstance(call.args[0], ast.Constant), ast.unparse(call)
                assert not set(call.args[0].value) & set(":()"), ast.unparse(call)
    texts = [
        output.data["text/plain"]
        for cell in read(path).cells
        for output in cell.get("outputs", [])
        if "ntk-claim" in output.get("data", {}).get("text/html", "")
    ]
    keys = [text.partition(":")[0] for text in texts]
    assert sorted(keys) == sorted(set(keys))
    assert all(key.startswith("✓ ") for key in keys)


# The rules notice what breaks them.


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a notebook of (source, *tags) code cells."""

    def write(*cells):
        made = [nbformat.v4.new_code_cell(source) for source, *_ in cells]
        for cell, (_, *tags) in zip(made, cells, strict=True):
            cell.metadata["tags"] = tags
        path = tmp_path / "a.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=made), path)
        return path

    return write


def test_an_open_drawing_cell_is_found(written):
    figure = "figure, ax = plt.subplots()\nntk.show(figure, alt='…')"
    assert open_plumbing(written((figure,))) == [figure]
    assert open_plumbing(written((figure, "plumbing"))) == []
    assert open_plumbing(written(("K = ntk.empirical_ntk(network, x)",))) == []


def test_folded_teaching_is_found(written):
    step = "K = ntk.empirical_ntk(network, x)"
    figure = "figure, ax = plt.subplots()\nntk.show(figure, alt='…')"
    table = "models = {width: ntk.MLP(1, width) for width in (8, 16)}"
    assert folded_teaching(written((step, "plumbing"))) == [step]
    assert folded_teaching(written((table, "plumbing"), ("f = models[8](x)",))) == []
    assert folded_teaching(written((figure, "plumbing"))) == []
    both = f"{step}\n{figure}"
    assert folded_teaching(written((both, "plumbing"), ("ntk.claim('size', K, below=1)",))) == [
        both
    ]
    claim = f"{figure}\nntk.claim('size', 1, below=2)"
    assert folded_teaching(written((claim, "plumbing"))) == [claim]


def test_loose_dice_are_found(written):
    for source in ("torch.randn(3)", "torch.manual_seed(0)", "x.normal_()", "np.random.rand()"):
        if source != "x.normal_()":
            assert loose_dice(written((source,))), source
    assert loose_dice(written(("torch.randn(3, generator=ntk.generator(0))",))) == []
