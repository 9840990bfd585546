"""Write constraints.txt: the exact version of every package of every extra, on every system.

python tools/lock.py                          complete it after a change of pyproject.toml
python tools/lock.py --upgrade-package numpy  renew one package (--upgrade: all of them)

Needs uv, which only maintainers need; the arguments are passed on to `uv pip compile`.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# The exact versions this release was tested with, for Linux, macOS and Windows and Python 3.11 to
# 3.14: `pip install -c constraints.txt ...` installs nothing of this list by itself, but of what it
# does install, these versions. Written by tools/lock.py. The libraries that come with a CUDA build
# of torch are not listed: torch names them itself, and another build of torch has others.
"""
LEFT_OUT = re.compile(r"(nvidia|cuda|triton)\b")


def main(arguments: list[str]) -> None:
    """Let uv solve for all systems at once, and keep the lines that a constraints file needs."""
    lock = ROOT / "constraints.txt"
    names = ("lab", "slides", "browser", "test", "dev")
    extras = [word for name in names for word in ("--extra", name)]
    shape = ["--universal", "--python-version", "3.11", "--no-header", "--no-annotate", "--quiet"]
    command = ["uv", "pip", "compile", "pyproject.toml", *extras, *shape, *arguments]
    # uv takes the pins of the file it writes to as preferences: only what is asked for moves.
    subprocess.run([*command, "--output-file", str(lock)], cwd=ROOT, check=True)
    lines = lock.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not LEFT_OUT.match(line) and not line.startswith("#")]
    lock.write_text(HEADER + "\n".join(kept) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
