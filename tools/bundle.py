"""Pack the course for a room without network: its files, and every package it needs, in one zip.

python course.py bundle        build/ntk-course-SYSTEM-PROCESSOR-pyVERSION.zip

It fits machines of the kind that is named, like this one. Unpack it there: `python course.py lab`.
"""

import os
import platform
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_PACKED = {"build", "dist", "wheels", "__pycache__"}
HIDDEN = {".ci", ".github"}  # other folders with a dot hold environments, caches and the history
EXTRAS = ("lab", "slides", "test")  # as course.py installs them
BUILT = ("slides", "site", "handout.pdf")  # what other verbs made is packed where it lies
READ_ME_FIRST = """\
The Neural Tangent Kernel, measured: a course that needs no network.

For {kind}. In this folder:

    python course.py lab         installs from the folder wheels/, then opens the lessons
    python course.py test        checks everything

By hand, into an environment of your own:

    python -m pip install --no-index --find-links wheels -c constraints.txt -e ".[lab,test]"

Decks, site and hand-out, if they lie in build/, a browser opens without an installation.
"""


def main() -> None:
    """Download the packages, then write the zip."""
    kind = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    short = (
        f"{platform.system()}-{platform.machine()}-py{sys.version_info[0]}.{sys.version_info[1]}"
    )
    target = ROOT / "build" / f"ntk-course-{short.lower()}.zip"
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        download(Path(folder))
        pack(target, sorted(Path(folder).iterdir()), READ_ME_FIRST.format(kind=kind))
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e6:.0f} MB, for {kind}")


def requirements() -> list[str]:
    """Return what pip needs to install the course, and to build its own package."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = settings["project"]["optional-dependencies"]
    needed = [*settings["build-system"]["requires"], *settings["project"]["dependencies"]]
    return needed + [line for name in EXTRAS for line in extras.get(name, [])]


def download(folder: Path) -> None:
    """Download every package into `folder`, built for machines like this one.

    Raises:
        SystemExit: If pip cannot.
    """
    options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", *options, "-c", "constraints.txt"]
    done = subprocess.run([*command, "-d", str(folder), *requirements()], cwd=ROOT)
    if done.returncode:
        sys.exit("pip could not download the packages; what it wrote stands above.")


def course_files() -> list[Path]:
    """Return the files of the course, and what other verbs have built from them."""
    found = []
    for folder, inside, names in os.walk(ROOT):
        inside[:] = sorted(n for n in inside if is_packed(Path(folder) / n))
        found += [Path(folder) / name for name in sorted(names) if name != ".git"]
    for name in BUILT:
        built = ROOT / "build" / name
        found += [path for path in [built, *sorted(built.rglob("*"))] if path.is_file()]
    return found


def is_packed(folder: Path) -> bool:
    """Return whether `folder` belongs to the course: no environment, cache or product is there."""
    hidden = folder.name.startswith(".") and folder.name not in HIDDEN
    environment = (folder / "pyvenv.cfg").exists() or (folder / "conda-meta").exists()
    return folder.name not in NOT_PACKED and not hidden and not environment


def pack(target: Path, wheels: list[Path], read_me: str) -> None:
    """Write the zip: one folder, in it the course, its wheels and the file READ-ME-FIRST.txt."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ntk-course/READ-ME-FIRST.txt", read_me)
        for path in course_files():
            archive.write(path, Path("ntk-course") / path.relative_to(ROOT))
        for path in wheels:  # compressed as they are
            archive.write(path, f"ntk-course/wheels/{path.name}", zipfile.ZIP_STORED)


if __name__ == "__main__":
    main()
