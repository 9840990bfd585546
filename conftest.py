"""How pytest treats the notebooks: what it compares, and in which environment it runs them."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from ntk_helpers import choose_size
from ntk_helpers.classroom.setup import FLOORS
from tools.run_notebooks import kernel_variables

ROOT = Path(__file__).parent


def pinned_versions() -> dict[str, str]:
    """Return package → version, as constraints.txt has them for every system."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)$", text, flags=re.MULTILINE))


def outputs_were_made_here() -> bool:
    """Return whether the committed outputs should come out again to the letter.

    They come from the pinned versions and the small experiments; elsewhere a printed digit may
    differ, and the assertions in the cells decide.
    """
    pinned = pinned_versions()
    try:
        same = all(version(name).split("+")[0] == pinned[name] for name in (*FLOORS, "ipython"))
    except PackageNotFoundError:
        return False
    return same and choose_size(small=True, large=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that says how long tests/test_fuzz.py plays."""
    parser.addoption(
        "--fuzz", type=int, default=8, help="random settings of each explorer and checker (8)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Turn nbval on: strict or lax, unless the command line says which."""
    option = config.option
    if not (option.nbval or option.nbval_lax):
        option.nbval = outputs_were_made_here()
        option.nbval_lax = not option.nbval
    option.nbval_sanitize_with = option.nbval_sanitize_with or ROOT / "tests" / "nbval_sanitize.cfg"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item):
    """Let the kernels that nbval starts, and nothing else, have the environment of notebooks."""
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(item, IPyNbCell):
            for name, value in kernel_variables().items():
                patch.setenv(name, value)
        return (yield)
