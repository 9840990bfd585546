"""Set up the course and use it, on a machine that has nothing but Python 3.11, 3.12, 3.13 or 3.14.

  python course.py lab                      open the lessons in JupyterLab, notebook 00 first
  python course.py check                    say whether .venv is ready, or what to mend
  python course.py test                     run every test, the notebooks included
  python course.py run [NOTEBOOK ...]       execute notebooks in place; all, if none is named
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

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
WHEELS = HERE / "wheels"
STAMP = VENV / ".course-installed"
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 14)  # for which all pinned packages have builds
GIGABYTES_NEEDED = 2.5  # the environment, and what pip unpacks on the way, with torch for the CPU
LARGE_TORCH = (
    "(and 8 GB with the PyTorch for NVIDIA GPUs, which pip takes on Linux unless told otherwise: "
    "CONTRIBUTING.md says how)"
)
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "JUPYTER_PATH", "JUPYTER_PREFER_ENV_PATH")
FIRST_LESSON = "notebooks/00_start_here.ipynb"


def main(arguments):
    """Do what the command line asks and return the exit code."""
    verbs = {"lab": lab, "check": check, "test": test, "run": run, "bench": bench, "stamp": stamp}
    verbs.update({"site": site, "handout": handout, "slides": slides, "bundle": bundle})
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(__doc__.strip())
        return 0
    verb = arguments[0]
    if verb not in verbs:
        sys.exit(f"There is no verb {verb!r}: choose one of {', '.join(verbs)}, or see --help.")
    require_python(sys.version_info)
    for stream in (sys.stdout, sys.stderr):  # a path may hold letters that they do not know
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `call` ends its child, too
    try:
        return verbs[verb](arguments[1:])
    except KeyboardInterrupt:
        return 130


# The verbs. Each takes the rest of the command line and returns an exit code.


def lab(arguments):
    """Open JupyterLab on the first lesson: on this machine's loopback address, with a token."""
    options = [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.root_dir={HERE}",
        f"--LabApp.default_url=/lab/tree/{FIRST_LESSON}",
    ]
    return call([environment(), "-m", "jupyterlab", *options, *arguments])


def check(arguments):
    """Report whether this machine can run the course."""
    return call([environment(), "-m", "ntk_helpers", *arguments])


def test(arguments):
    """Run pytest over package, notebooks and repository."""
    # Several kernels share the cores, and the matrices are small: more threads only get in the way.
    workers = ["-n", "auto", "--maxprocesses", "4"]
    return call([environment(), "-m", "pytest", *workers, *arguments], OMP_NUM_THREADS="1")


def run(arguments):
    """Execute notebooks in place and measure them."""
    return call([environment(), HERE / "tools" / "run_notebooks.py", *arguments])


def bench(arguments):
    """Run scripts of benchmarks/ one after the other; stop at the first that fails."""
    scripts = {path.stem: path for path in sorted((HERE / "benchmarks").glob("[!_]*.py"))}
    if not scripts:
        sys.exit("There is no script in the folder benchmarks/.")
    for name in arguments:
        if name not in scripts:
            sys.exit(f"There is no benchmark {name!r}: choose from {', '.join(scripts)}.")
    python = environment()
    for name in arguments or scripts:
        code = call([python, scripts[name]])
        if code:
            return code
    return 0


def site(arguments):
    """Build the static site of all lessons."""
    return call([environment("site"), HERE / "tools" / "build_site.py", *arguments])


def handout(arguments):
    """Print the hand-out, the formulas and their conditions; this needs no .venv."""
    return call([sys.executable, HERE / "tools" / "handout.py", *arguments])


def bundle(arguments):
    """Pack wheels, notebooks and decks for a room without network."""
    return call([environment(), HERE / "tools" / "bundle.py", *arguments])


def slides(arguments):
    """Build the decks: one HTML file each, and a PDF where there is a browser to print it."""
    return call([environment(), HERE / "slides" / "build.py", *arguments])


def stamp(arguments):
    """Write the place where the course is hosted into every link; this needs no .venv."""
    return call([sys.executable, HERE / "tools" / "stamp.py", *arguments])


# The environment.


def environment(*extras):
    """Return the path of .venv's Python, after making and filling .venv where that is due.

    Args:
        extras: Parts of the course, from pyproject.toml, that are needed besides lab and test.
    """
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamps = [STAMP] + [STAMP.with_name(STAMP.name + "-" + extra) for extra in extras]
    if VENV.exists():
        require_working(python)
        if all(s.is_file() and s.read_text() == fingerprint() for s in stamps):
            link(python)  # whoever installs by hand makes it anew
            return python
    else:
        require_space()
        make_venv()
    install(python, *extras)
    for path in stamps:
        path.write_text(fingerprint())
    return python


def fingerprint():
    """Return a hash of all that decides what .venv must hold: when it changes, pip runs again."""
    import tomllib  # comes with Python 3.11

    with open(HERE / "pyproject.toml", "rb") as file:
        settings = tomllib.load(file)
    made_with = VENV / "pyvenv.cfg"  # names the Python; conda makes none
    parts = [
        repr([settings["build-system"], settings["project"]]),
        (HERE / "constraints.txt").read_text(encoding="utf-8"),
        made_with.read_text(encoding="utf-8") if made_with.is_file() else "",
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def own_variables(**defaults):
    """Return the environment variables, with `defaults` and without other homes of packages."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {**defaults, **kept}


def make_venv():
    """Make an empty .venv with pip in it; on failure leave nothing behind and say why."""
    import importlib.util

    if importlib.util.find_spec("ensurepip") is None:
        package = "python{}.{}-venv".format(*sys.version_info)
        sys.exit(
            "This Python cannot make a virtual environment with pip in it. On Debian or Ubuntu, "
            f"install the missing part (sudo apt install {package}) and run this command again."
        )
    print(f"Making {VENV} ...", flush=True)
    command = [sys.executable, "-m", "venv", str(VENV)]
    try:
        done = subprocess.run(
            command, env=own_variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            errors="replace",
        )  # fmt: skip
    except BaseException:
        shutil.rmtree(str(VENV), ignore_errors=True)
        raise
    if done.returncode:
        shutil.rmtree(str(VENV), ignore_errors=True)
        sys.exit(explain(done.stdout, "Python could not make the folder .venv"))


def install(python, *extras):
    """Install the course and its pinned packages into .venv; on failure say why."""
    print("Installing the course: this is done once and takes some minutes ...", flush=True)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    if WHEELS.is_dir():
        command += ["--no-index", "--find-links", "wheels"]
    started = STAMP.with_name(".course-installing")
    if started.exists():  # interrupted, perhaps between two files of a package that pip has listed
        command += ["--force-reinstall"]
    started.touch()
    wanted = ",".join(["lab", "slides", "test", *extras])
    command += ["-c", "constraints.txt", "-e", f".[{wanted}]"]
    done = subprocess.run(
        command, cwd=str(HERE), env=own_variables(), stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE, errors="replace",
    )  # fmt: skip
    told = explain(done.stderr, "pip could not install the course") if done.returncode else ""
    if not told.startswith("The disk is full"):
        started.unlink()
    if told:
        sys.exit(told)
    link(python)


def link(python):
    """Let the link from .venv to the course be relative, so that the folder can move.

    And so that its name may have any letters: Python 3.11 and 3.12 on Windows read the link in the
    system's encoding, pip writes UTF-8, and a letter that this cannot mean stops Python itself.
    """
    home = python.parent.parent
    for packages in [home / "Lib", *home.glob("lib/python3.*")]:
        path = packages / "site-packages" / "ntk_helpers.pth"
        if path.is_file():
            path.write_text(os.path.relpath(str(HERE), str(path.parent)) + "\n", encoding="ascii")


def explain(output, what):
    """Return the sentence for a failed command, its cause or else `what`, with its last words.

    Args:
        output: What the command wrote about its failure.
        what: What failed, as the start of a sentence.
    """
    full = ("No space left on device", "not enough space on the disk", "Disk quota exceeded")
    offline = ("connection broken by", "Failed to establish a new connection", "Max retries")
    words = "\n".join(output.strip().splitlines()[-6:])
    here = f"Python {sys.version.split()[0]} on this machine"
    if any(sign in output for sign in full) or free_gigabytes() < 0.1:
        what = (
            f"The disk is full: the course needs about {GIGABYTES_NEEDED} GB in {HERE} "
            f"{LARGE_TORCH}, and room in the folder for temporary files. Make room and run this "
            "command again"
        )
    elif "CERTIFICATE_VERIFY_FAILED" in output:
        what = (
            "The package index shows a certificate that pip does not know, as behind a proxy that "
            "reads along: ask for the proxy's certificate, name its file in PIP_CERT and run this "
            "command again"
        )
    elif WHEELS.is_dir() and "No matching distribution found" in output:
        what = f"The folder wheels/ lacks a package for {here}: it was packed for another"
    elif "(from versions: none)" in output or any(sign in words for sign in offline):
        what = (
            "No connection to the package index: check the network, and HTTPS_PROXY if there is a "
            "proxy. Then run this command again; what was downloaded is kept"
        )
    elif "No matching distribution found" in output or "ResolutionImpossible" in output:
        what = f"A pinned package has no build for {here}"
    return what + ". Its last words were:\n" + words


def require_python(version):
    """Exit with a sentence if `version`, which starts (major, minor), is too old or too new."""
    if not OLDEST_PYTHON <= tuple(version[:2]) <= NEWEST_PYTHON:
        sys.exit(
            "The course needs Python 3.11, 3.12, 3.13 or 3.14, and this is Python "
            f"{version[0]}.{version[1]}: install one of them and start course.py with it "
            "(python3.13 course.py lab)."
        )


def require_space():
    """Exit with a sentence if the environment would not fit on the disk."""
    if free_gigabytes() < GIGABYTES_NEEDED:
        sys.exit(
            f"The course needs about {GIGABYTES_NEEDED} GB of disk space in {HERE} {LARGE_TORCH}, "
            f"and only {free_gigabytes():.1f} GB are free. Make room and run this command again."
        )


def require_working(python):
    """Exit with a sentence if .venv has no Python that runs, is new enough and has pip.

    It has none after an update of the system's Python, which looks for packages elsewhere.
    """
    probe = f"import sys, pip; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    try:
        command = [str(python), "-c", probe]
        code = subprocess.run(command, env=own_variables(), stderr=subprocess.DEVNULL).returncode
    except OSError:
        code = 1
    if code:
        sys.exit(
            f"The folder {VENV} does not work here: it is unfinished, or was made on another "
            "machine or by another Python. Delete it and run this command again."
        )


def free_gigabytes():
    """Return the free space on the course's disk, in GB."""
    return shutil.disk_usage(str(HERE)).free / 1e9


def call(command, **defaults):
    """Run `command` in the course's folder and return its exit code.

    Args:
        command: Program and arguments, strings or paths.
        defaults: Environment variables for it, where this process has none of that name.
    """
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # the child gets it as well, and JupyterLab asks first
        signal.signal(signal.SIGINT, lambda *_: None)
    try:
        process = subprocess.Popen(
            [str(part) for part in command], cwd=str(HERE), env=own_variables(**defaults)
        )
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
    finally:
        signal.signal(signal.SIGINT, usual)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
