"""Set up the course and use it, on a machine that has nothing but Python 3.11, 3.12, 3.13 or 3.14.

  python course.py lab                      open your copy of the lessons, work/, in JupyterLab
  python course.py check                    say whether .venv is ready, or what to fix
  python course.py test                     run every test, the notebooks included
  python course.py test --quick             the tests without notebooks and browsers
  python course.py run [NOTEBOOK ...]       execute notebooks in place; all, if none is named
  python course.py redraw [N] [NOTEBOOK ..] measure all claims again in N (20) other random draws
  python course.py bench [NAME ...]         run the scripts of benchmarks/; all, if none is named
  python course.py site                     build the lessons as a web site, in build/site
  python course.py handout                  print the sheet of formulas, build/handout.pdf
  python course.py slides [NAME ...]        build the decks that need no network, into build/slides
  python course.py bundle                   pack all that a room without network needs, in build/
  python course.py stamp OWNER/NAME [TAG]   write into every link where the course is hosted

The first call makes the folder .venv beside this file and installs the course into it: some
minutes, and about 1.5 GB. Later calls start at once. To begin again, delete .venv. If there is
a folder wheels/ beside this file, as in a bundle, packages come from there and not from a network.

What follows a verb is passed on: to JupyterLab (lab --no-browser), to pytest (test -k kernel),
or to the script behind it (run --help).
"""

# No syntax newer than Python 3.6 in this file: an old Python must get as far as being told so.

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
WHEELS = HERE / "wheels"
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 14)  # for which all pinned packages have builds
GIGABYTES_NEEDED = 2.5  # the environment, and what pip unpacks on the way, with torch for the CPU
EXTRAS = ("lab", "slides", "test", "cluster")  # of pyproject.toml; every verb may count on them
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "JUPYTER_PATH", "JUPYTER_PREFER_ENV_PATH")
SCRIPTS = {  # verbs that only hand on what follows them
    "lab": ["tools/lab.py"],
    "check": ["-m", "ntk_helpers"],
    "run": ["tools/run_notebooks.py"],
    "redraw": ["tools/redraw.py"],
    "site": ["tools/build_site.py"],
    "handout": ["tools/handout.py"],
    "slides": ["slides/build.py"],
    "bundle": ["tools/bundle.py"],
    "stamp": ["tools/stamp.py"],
}
NEED_NO_VENV = ("stamp",)


def main(arguments):
    """Do what the command line asks and return the exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(__doc__.strip())
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in ("test", "bench", *SCRIPTS):
        names = ", ".join([*SCRIPTS, "test", "bench"])
        sys.exit(f"There is no verb {verb!r}: choose one of {names}, or see --help.")
    require_python(sys.version_info)
    try:
        if verb not in SCRIPTS:
            return {"test": test, "bench": bench}[verb](rest)
        extras = ["site"] if verb == "site" else []
        python = sys.executable if verb in NEED_NO_VENV else environment(*extras)
        return call([python, *SCRIPTS[verb], *rest])
    except KeyboardInterrupt:
        return 130


def test(arguments):
    """Run pytest over package, notebooks and repository, or with --quick what needs no kernel."""
    words = ["-n", "auto", "--maxprocesses", "4"]
    for word in arguments:
        words += ["-m", "not slow", "tests", "ntk_helpers"] if word == "--quick" else [word]
    # Several kernels share the cores, and the matrices are small: more threads only get in the way.
    return call([environment(), "-m", "pytest", *words], OMP_NUM_THREADS="1")


def bench(arguments):
    """Run scripts of benchmarks/ one after the other; stop at the first that fails."""
    scripts = {path.stem: path for path in sorted((HERE / "benchmarks").glob("[!_]*.py"))}
    for name in arguments:
        if name not in scripts:
            sys.exit(f"There is no benchmark {name!r}: choose from {', '.join(scripts)}.")
    python = environment()
    for name in arguments or scripts:
        code = call([python, scripts[name]])
        if code:
            return code
    return 0


def environment(*extras):
    """Return the path of .venv's Python, after making and filling .venv where that is due.

    Args:
        extras: Parts of the course, from pyproject.toml, that are needed besides EXTRAS.
    """
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if VENV.exists():
        require_working(python)
    else:
        require_space()
        make_venv()
    # What was installed: when a pin or a requirement changes, pip runs again.
    stamp = VENV / "-".join([".course-installed", *extras])
    packages = requirements(*EXTRAS, *extras)
    wanted = "\n".join([*packages, (HERE / "constraints.txt").read_text(encoding="utf-8")])
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        install(python, packages)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def requirements(*extras):
    """Return what the package needs, and what `extras` of pyproject.toml add to it."""
    import tomllib  # comes with Python 3.11

    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return sum((project["optional-dependencies"][e] for e in extras), project["dependencies"])


def own_variables(**defaults):
    """Return the environment variables, with `defaults` and without other homes of packages."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {**defaults, **kept}


def make_venv():
    """Make an empty .venv with pip in it; on failure leave nothing behind."""
    print("Making the folder .venv ...", flush=True)
    code = 1
    try:
        code = subprocess.run([sys.executable, "-m", "venv", VENV], env=own_variables()).returncode
    finally:
        if code:
            shutil.rmtree(str(VENV), ignore_errors=True)
    if code:
        sys.exit("Python could not make the folder .venv: what it wrote, above, says what to do.")


def install(python, packages):
    """Install `packages` at their pinned versions, and a link to the course, or say what to do."""
    print("Installing the course: this is done once and takes some minutes ...", flush=True)
    options = ["--disable-pip-version-check"]
    if WHEELS.is_dir():
        options += ["--no-index", "--find-links", "wheels"]
    unfinished = VENV / ".course-installing"
    if unfinished.exists():  # interrupted, perhaps inside a package that pip has listed already
        options += ["--force-reinstall"]
    unfinished.touch()
    options += ["-c", "constraints.txt"]
    command = [str(python), "-m", "pip", "install", *options, *packages]
    code = subprocess.run(command, cwd=str(HERE), env=own_variables()).returncode
    if code:
        require_space(least=0.1)
    unfinished.unlink()
    if code:
        here = f"for Python {sys.version.split()[0]} on this machine"
        reason = (
            "Warnings about connections mean that there is no network: check it, and HTTPS_PROXY "
            "if there is a proxy; a proxy's certificate, if pip does not know it, is named in "
            f"PIP_CERT. Without such warnings, a pinned package has no build {here}."
        )
        if WHEELS.is_dir():
            reason = f"The folder wheels/ lacks a package {here}: it was packed for another."
        sys.exit(
            f"pip could not install the course; its words are above. {reason} "
            "Run this command again then: what was downloaded is kept."
        )
    # A script or a notebook anywhere can import the package by this link. It is relative, so that
    # the folder can move and have any name: Python 3.11 on Windows knows no UTF-8 in such a file.
    for site in [VENV / "Lib/site-packages", *VENV.glob("lib/python3.*/site-packages")]:
        if site.is_dir():
            link = os.path.relpath(str(HERE), str(site))
            (site / "course.pth").write_text(link + "\n", encoding="ascii")


def require_python(version):
    """Exit with a sentence if `version`, which starts (major, minor), is too old or too new."""
    if not OLDEST_PYTHON <= tuple(version[:2]) <= NEWEST_PYTHON:
        sys.exit(
            "The course needs Python 3.11, 3.12, 3.13 or 3.14, and this is Python "
            f"{version[0]}.{version[1]}: install one of them and start course.py with it "
            "(python3.13 course.py lab)."
        )


def require_space(least=GIGABYTES_NEEDED):
    """Exit with a sentence if fewer than `least` GB are free on the course's disk."""
    free = shutil.disk_usage(str(HERE)).free / 1e9
    if free < least:
        sys.exit(
            f"The disk is full: {free:.1f} GB are free, and the course needs {GIGABYTES_NEEDED} GB "
            f"in {HERE} (8 GB with the PyTorch for NVIDIA GPUs, which pip takes on Linux unless "
            "told otherwise: see CONTRIBUTING.md). Make room and run this command again."
        )


def require_working(python):
    """Exit with a sentence if .venv has no Python that runs and has pip, as after an update."""
    command = [str(python), "-c", "import pip"]
    try:
        code = subprocess.run(command, env=own_variables(), stderr=subprocess.DEVNULL).returncode
    except OSError:
        code = 1
    if code:
        sys.exit(
            f"The folder {VENV} does not work here: it is unfinished, or was made on another "
            "machine or by another Python. Delete it and run this command again."
        )


def call(command, **defaults):
    """Run `command` in the course's folder, with own_variables, and return its exit code."""
    # The child gets Ctrl-C as well and decides what it means: JupyterLab asks first.
    signal.signal(signal.SIGINT, lambda *_: None)
    words = [str(part) for part in command]
    process = subprocess.Popen(words, cwd=str(HERE), env=own_variables(**defaults))
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
