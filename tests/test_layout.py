"""The repository hangs together: layers of the package, versions, links, and where it is hosted."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement

import course
from tools import stamp

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ntk_helpers"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# A file imports from its own row and from rows above it; files of the top level that start with
# "_" (messages, random numbers, progress bars) are for all.
ROWS = [
    {"activations"},
    {"networks"},
    {"kernels"},
    {"training"},
    {"theory"},
    {"pinn"},
    {"classroom"},
]
TOP_LEVEL = {
    *("__init__.py", "__main__.py", "_checks.py", "_dice.py", "_needed.py", "_progress.py"),
    *("activations.py", "networks.py"),
}

# What Google Colab has installed. The floors must admit it, or opening a notebook re-installs it.
COLAB = re.findall(
    r"^([\w.-]+)==([\w.]+)", (ROOT / "tools" / "colab.txt").read_text(), flags=re.MULTILINE
)
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "dask": "dask-core"}


def imports_from_package(path: Path) -> Iterator[str]:
    """Yield what the file imports from the package: folders and files of its top level."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            pytest.fail(f"{path.name} has a relative import: the course writes ntk_helpers.…")
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("ntk_helpers."))


def test_the_top_level_holds_what_all_folders_share():
    assert {path.name for path in PACKAGE.glob("*.py")} == TOP_LEVEL


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_row_and_above(path):
    place = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if place in ("__init__", "__main__"):
        return  # these two put everything together
    imported = {name for name in imports_from_package(path) if not name.startswith("_")}
    rows = [i for i, row in enumerate(ROWS) if place in row]
    assert imported <= set().union(*ROWS[: rows[0] + 1] if rows else [])


def derivations(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (notebook, heading) for each heading that a docstring of the file names."""
    text = " ".join(path.read_text(encoding="utf-8").split())
    for notebook, quoted in re.findall(
        r'(notebooks/[\w/]+\.ipynb)((?:[,;]?(?: and)? "[^"]+"(?: \([^)]*\))?)+)', text
    ):
        yield from ((notebook, heading) for heading in re.findall(r'"([^"]+)"', quoted))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_headings_that_docstrings_name_exist(path):
    for notebook, heading in derivations(path):
        cells = nbformat.read(ROOT / notebook, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        headings = re.findall(r"^##+ (?:\d+\. )?(.+)$", text, flags=re.MULTILINE)
        assert heading in headings, f"{notebook} has no heading {heading!r}"


def test_docstrings_name_headings_of_many_lessons():
    named = {notebook for path in MODULES for notebook, _ in derivations(path)}
    assert len(named) >= 6


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_short_and_opens_with_one_sentence(path):
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert lines <= 220
    first = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
    assert first.endswith(".")
    assert "\n" not in first
    assert not re.search(r"\. [A-Z]", first)


def test_importing_the_package_loads_neither_matplotlib_nor_ipywidgets():
    code = "import sys, ntk_helpers; print({'matplotlib', 'ipywidgets'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_progress_bars_can_be_silenced_everywhere():
    # tqdm's own notebook bar cannot: outputs of notebooks would hold times.
    users = [
        path.name
        for path in MODULES
        if re.search(r"^\s*(from|import) tqdm", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert users == ["_progress.py"], "write: from ntk_helpers._progress import tqdm"


# Versions.


def requirements(*extras: str) -> dict[str, Requirement]:
    """Return name → requirement, for the core and the given extras."""
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][e] for e in extras)]
    parsed = [Requirement(text) for texts in lists for text in texts]
    return {requirement.name: requirement for requirement in parsed}


def pins() -> dict[str, str]:
    """Return name → version, from constraints.txt."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, flags=re.MULTILINE))


def test_pins_satisfy_the_floors():
    for name, requirement in requirements(*PROJECT["optional-dependencies"]).items():
        assert requirement.specifier.contains(pins()[name]), name


def test_constraints_are_exact_and_of_no_machine():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    exact = re.compile(r"[\w.-]+==[\w.]+( ; .+)?")
    assert [line for line in lines if line[:1] != "#" and not exact.fullmatch(line)] == []


def test_floors_admit_colab():
    core = requirements()
    assert core.keys() <= dict(COLAB).keys()
    there = [(core[name].specifier, version) for name, version in COLAB if name in core]
    assert [pair for pair in there if not pair[0].contains(pair[1])] == []


def test_a_workflow_runs_no_action_that_can_change_under_its_name():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        actions = re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
        assert [name for name in actions if not re.search(r"@[0-9a-f]{40}$", name)] == []


def test_conda_and_pip_have_the_same_floors():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = {name for name in environment["dependencies"] if isinstance(name, str)}
    pip = requirements("lab", "test", "cluster").values()
    wanted = {f"{CONDA_NAMES.get(r.name, r.name)}{r.specifier}" for r in pip}
    assert {name for name in conda if not name.startswith("p") or ">" in name} == wanted
    assert {name for name in conda if ">" not in name} == {"python=3.13", "pip"}


def test_everything_asks_for_the_same_python():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    oldest = ".".join(map(str, course.OLDEST_PYTHON))
    assert PROJECT["requires-python"] == f">={oldest}"
    assert matrix["python"] == [oldest, "3.12", "3.13", "3.14"]


# Text.


def texts() -> Iterator[tuple[Path, str]]:
    """Yield every file of the project that is text, without the pictures in notebooks."""
    folders = (".", "benchmarks", "docs", "hub", "notebooks", "ntk_helpers", "slides", "tests")
    folders += ("cluster", "docs/static", "tools")
    files = [path for folder in folders for path in (ROOT / folder).glob("*")]
    for folder in (".ci", ".github", "notebooks/solutions", "ntk_helpers"):
        files += (ROOT / folder).rglob("*")
    for path in sorted({path for path in files if path.is_file() and path.name != ".git"}):
        if path.suffix not in (".pyc", ".png", ".pdf", ".woff2") and path.name != ".coverage":
            text = path.read_text(encoding="utf-8")
            yield path, re.sub(r'"image/png": "[^"]*"', "", text)


def test_nothing_names_a_machine_or_a_package_index():
    # Written with brackets, so that this file does not name them itself.
    path = r"(?<![\w.])/(?:root|work|home|Users|opt|mnt)/\w|[A-Z]:\\\\?Users"
    host = r"pypi[.]org|pythonhosted[.]org|download[.]pytorch|npmjs[.]org|anaconda[.]org"
    found = [
        (file.name, match[0])
        for file, text in texts()
        for match in re.finditer(f"{path}|{host}", text)
    ]
    assert found == []


def markdown(path: Path) -> str:
    """Return the text of a Markdown file, or of a notebook's Markdown cells."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


@pytest.mark.parametrize(
    "path",
    [path for path in stamp.stamped_files() if path.suffix in (".md", ".ipynb")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_inside_the_repository_lead_somewhere(path):
    code_and_formulas = r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$"
    prose = re.sub(code_and_formulas, "", markdown(path), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"", prose)
    inside = [a or b for a, b in targets if not re.match(r"\w+:|#", a or b)]
    assert [link for link in inside if not (path.parent / link.split("#")[0]).exists()] == []


def test_every_link_leads_to_where_the_course_is_hosted():
    place = stamp.current()
    strangers = {
        path.relative_to(ROOT): stamp.strangers(path.read_text(encoding="utf-8"), place)
        for path in stamp.stamped_files()
    }
    assert {name: links for name, links in strangers.items() if links} == {}
    if "_" not in place.slug.split("/")[0]:
        assert [path.name for path, text in texts() if "your_name/" in text] == []
