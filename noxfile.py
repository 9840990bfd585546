"""The tests under other versions of Python and torch, under constrained resources, and mutants.

nox -l                     what there is
nox -s "tests(oldest)"     every Python that is installed here, with the oldest torch promised
nox -s colab               the notebooks as on Google Colab (-- 02: those whose name starts so)
nox -s hardship            little memory, one core, no network, …
nox -s mutants             the formulas, broken one sign at a time: does a test notice?

On Linux a torch other than the pinned one may bring a CUDA build of several gigabytes: CONTRIBUTING
says how to take a CPU build.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
TORCH = {"oldest": "torch==2.11.*", "pinned": "-cconstraints.txt", "newest": "torch"}
nox.options.sessions = ["tests"]

# Colab opens a notebook alone: beside it there is no course, only the package that was installed.
ALONE = """
import sys
from pathlib import Path
from tools.run_notebooks import execute
execute(Path(sys.argv[1]), folder=Path(sys.argv[2]))
"""


@nox.session(python=PYTHONS)
@nox.parametrize("torch", list(TORCH), ids=list(TORCH))
def tests(session: nox.Session, torch: str) -> None:
    """Run every test; text outputs of notebooks are compared with the pinned versions only."""
    # uv leaves pip out, which course.py asks.
    session.install(TORCH[torch], "pip", "-e", ".[cluster,test]")
    session.run("python", "-m", "pytest", "-n", "2", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(python=["3.12", "3.13"])
def colab(session: nox.Session) -> None:
    """Run the notebooks as on Google Colab: its versions, in an empty folder, package installed."""
    session.install("-rtools/colab.txt", "nbclient", "nbformat", "pip")
    session.install("--no-deps", "--force-reinstall", ".")
    before = session.run("python", "-m", "pip", "freeze", silent=True)
    for path in sorted(Path("notebooks").rglob("*.ipynb")):
        if path.name.startswith(tuple(session.posargs or [""])):
            with tempfile.TemporaryDirectory() as empty:
                session.run("python", "-c", ALONE, str(path), empty)
    if session.run("python", "-m", "pip", "freeze", silent=True) != before:
        session.error("a notebook has changed the version of a package")


@nox.session(python=False)
def hardship(session: nox.Session) -> None:
    """Run the lessons with little memory, on one core, offline, read-only, …: tools/hardship.py."""
    session.run(sys.executable, "tools/hardship.py", *session.posargs)


@nox.session(python=False)
def mutants(session: nox.Session) -> None:
    """Break the formulas, as [tool.mutmut] of pyproject.toml says, and list what no test noticed.

    With the names of mutants ("ntk_helpers.infinite*") only these, as they were made before.
    """
    if not session.posargs:
        shutil.rmtree("mutants", ignore_errors=True)
    variables = {"OMP_NUM_THREADS": "1", "NTK_HYPOTHESIS": "mutants"}
    session.run(sys.executable, "-m", "mutmut", "run", *session.posargs, env=variables)
    session.run(sys.executable, "-m", "mutmut", "results")
