"""The tests under other versions of Python and torch, and where life is hard.

nox -l                     what there is
nox -s "tests(oldest)"     every Python that is installed here, with the oldest torch promised
nox -s colab               the versions that Google Colab has
nox -s hardship mutants    little memory, one core, no network, …; and broken formulas

On Linux a torch other than the pinned one may bring a CUDA build of several gigabytes: CONTRIBUTING
says how to take a CPU build.
"""

import nox

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
TORCH = {"oldest": "torch==2.11.*", "pinned": "-cconstraints.txt", "newest": "torch"}
nox.options.sessions = ["tests"]


@nox.session(python=PYTHONS)
@nox.parametrize("torch", list(TORCH), ids=list(TORCH))
def tests(session: nox.Session, torch: str) -> None:
    """Run every test; text outputs of notebooks are compared with the pinned versions only."""
    session.install(TORCH[torch], "pip", "-e", ".[test]")  # uv leaves pip out, which course.py asks
    session.run("python", "-m", "pytest", "-n", "2", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(python=["3.12", "3.13"])
def colab(session: nox.Session) -> None:
    """Run the notebooks with what Google Colab has installed."""
    session.install("-rtools/colab.txt", "-e", ".[test]")
    paths = session.posargs or ["notebooks"]
    session.run("python", "-m", "pytest", "-n", "2", "--nbval-lax", *paths)


@nox.session(python=False)
def hardship(session: nox.Session) -> None:
    """Run the lessons with little memory, on one core, offline, read-only, …: tools/hardship.py."""
    session.run("python", "tools/hardship.py", *session.posargs)


@nox.session(python=False)
def mutants(session: nox.Session) -> None:
    """Break the formulas one sign at a time: tools/mutate.py."""
    session.run("python", "tools/mutate.py", *session.posargs)
