"""Pack the course for a room without network: its files, and every package it needs, in one zip.

python course.py bundle        build/ntk-course-SYSTEM-PROCESSOR-pyVERSION.zip

It fits machines of the kind that is named, like this one. Unpack it there: `python course.py lab`.
The files are those of the last commit; the decks, the site and the hand-out come along if they
are built.
"""

import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from course import EXTRAS, requirements

ROOT = Path(__file__).resolve().parent.parent
BUILT = ("slides", "site", "handout.pdf")  # in build/, by other verbs
READ_ME_FIRST = """\
The Neural Tangent Kernel, measured: a course that needs no network.

For {kind}. In this folder:

    python course.py lab         installs from the folder wheels/, then opens the lessons
    python course.py test        checks everything

Decks, site and hand-out, if they lie in build/, a browser opens without an installation.
"""


def main() -> None:
    """Let pip download the packages and git pack the files; put both into one zip."""
    kind = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    short = f"{platform.system()}-{platform.machine()}-py{'{}.{}'.format(*sys.version_info)}"
    target = ROOT / "build" / f"ntk-course-{short.lower()}.zip"
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as wheels:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        pip += ["--only-binary", ":all:", "-c", "constraints.txt", "-d", wheels]
        git = ["git", "archive", "--format=zip", "--prefix=ntk-course/", "-o", str(target), "HEAD"]
        for command in ([*pip, *requirements(*EXTRAS)], git):
            if subprocess.run(command, cwd=ROOT).returncode:
                sys.exit(f"{command[0]} failed, and there is no bundle; what it wrote is above.")
        with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("ntk-course/READ-ME-FIRST.txt", READ_ME_FIRST.format(kind=kind))
            for name in BUILT:
                built = ROOT / "build" / name
                for path in [built, *sorted(built.rglob("*"))]:
                    if path.is_file():
                        archive.write(path, Path("ntk-course") / path.relative_to(ROOT))
            for path in sorted(Path(wheels).iterdir()):  # compressed as they are
                archive.write(path, f"ntk-course/wheels/{path.name}", zipfile.ZIP_STORED)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e6:.0f} MB, for {kind}")


if __name__ == "__main__":
    main()
