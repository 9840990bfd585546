"""Nothing is fetched at run time, nothing is unpickled, and what is installed is pinned."""

import ast
import re
from collections.abc import Iterator

import nbformat
import pytest
import yaml

from tools.run_notebooks import ROOT, notebooks

NETWORK = {"urllib", "http", "httpx", "requests", "socket", "ftplib", "ssl", "asyncio", "aiohttp"}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"torch.load", "torch.hub.load", "torch.save", "np.load", "numpy.load", "os.system"}
CALLS |= {"os.popen", "eval", "exec", "compile", "__import__"}
DOWNLOADS = re.compile(r"sklearn\.datasets import .*(fetch|openml)|fetch_\w+|torchvision|load_url")
MODULES = sorted((ROOT / "ntk_helpers").rglob("*.py"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def offences(code: str) -> Iterator[str]:
    """Yield what `code` imports or calls that reaches the network, unpickles, or runs text."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            pickled = any(k.arg == "allow_pickle" for k in node.keywords)
            yield from [name] if name in CALLS or pickled else []
            continue
        else:
            continue
        yield from (n for n in names if n.split(".")[0] in NETWORK | PICKLES | {"subprocess"})
    yield from (match[0] for match in DOWNLOADS.finditer(code))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_package_reaches_for_no_network_and_no_pickle(path):
    assert list(offences(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_notebook_fetches_nothing_but_its_pinned_helpers(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert not re.search(r"^\s*[!%]", cell.source, re.MULTILINE), "a line for the shell"
            starts = "ntk.setup()" in cell.source
            assert list(offences(cell.source)) == (["subprocess"] if starts else [])


def test_the_bootstrap_cell_installs_one_tag_of_one_repository_and_nothing_else():
    cells = nbformat.read(notebooks()[0], as_version=4).cells
    (source,) = (cell.source for cell in cells if "import subprocess" in cell.source)
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    (call,) = (call for call in calls if ast.unparse(call.func).startswith("subprocess"))
    words = [ast.unparse(word) for word in call.args[0].elts]
    assert words == [
        "sys.executable",
        "'-m'",
        "'pip'",
        "'install'",
        "'--quiet'",
        "'--no-deps'",
        "source",
    ]
    assert re.findall(r"https?://\S+", source) == re.findall(
        r"https://github\.com/[\w.-]+/[\w.-]+@[\w.-]+\"", source
    )


@pytest.mark.parametrize(
    "code",
    [
        "import urllib.request",
        "from requests import get",
        "import pickle",
        "import torch\ntorch.load('weights.pt')",
        "import numpy as np\nnp.save('a', b, allow_pickle=True)",
        "from sklearn.datasets import fetch_openml",
        "exec('1')",
        "import subprocess",
    ],
)
def test_the_search_above_finds_what_it_looks_for(code):
    assert list(offences(code))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_a_commit(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r"  # v\d+(\.\d+)*", comment), "say which version that commit is"
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in text


def test_the_pins_are_audited_by_the_workflow_and_none_is_passed_over():
    (ci,) = (path.read_text(encoding="utf-8") for path in WORKFLOWS if path.stem == "ci")
    steps = [step.get("run", "") for step in yaml.safe_load(ci)["jobs"]["audit"]["steps"]]
    assert re.fullmatch(r"python -m pip install pip-audit==[\d.]+", steps[-2])
    # Without --strict, packages that the database could not be asked about count as sound.
    assert steps[-1] == "pip-audit --strict --no-deps --disable-pip -r constraints.txt"
