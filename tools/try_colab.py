"""Run every notebook with Google Colab's versions (colab.txt), in an environment of its own.

python tools/try_colab.py                    a throw-away environment, deleted at the end
python tools/try_colab.py FOLDER [NAME ...]  kept and used again; only the notebooks that are named

The notebooks run as on Colab: from an empty folder, with the helper package installed and not
beside them, and torch and numpy as they were before.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ROOT / "tools" / "colab.txt"
# A path from outside could lead to another copy of the helper package.
VARIABLES = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
# Run by the environment's own Python, in the empty folder.
RUN = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
"""


def main(arguments: list[str]) -> int:
    """Run the notebooks one after the other; return 1 if one of them fails, or a version moved."""
    with tempfile.TemporaryDirectory() as folder:
        python = environment(Path(*arguments[:1] or [folder]) / "colab")
        before, failed = versions(python), []
        for path in sorted((ROOT / "notebooks").rglob("[0-9]*.ipynb")):
            if not arguments[1:] or path.stem.startswith(tuple(arguments[1:])):
                name = path.relative_to(ROOT / "notebooks").as_posix()
                with tempfile.TemporaryDirectory() as empty:
                    command = [str(python), "-c", RUN, str(path)]
                    done = subprocess.run(
                        command, cwd=empty, env=VARIABLES, stderr=subprocess.PIPE, text=True
                    )
                print(name, "failed" if done.returncode else "passed", flush=True)
                if done.returncode:
                    print(done.stderr[-2000:])
                    failed.append(name)
        moved = versions(python) != before
        print(f"{len(failed)} failed" + "; a package has changed its version" * moved)
    return int(bool(failed) or moved)


def environment(folder: Path) -> Path:
    """Return the Python of an environment in `folder`, made if need be, with this course in it."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        packages = [*lines(), "nbclient", "nbformat", "setuptools<81"]
        subprocess.run([*pip, *packages], check=True)
    install = ["install", "--quiet", "--no-deps", "--force-reinstall", str(ROOT)]
    subprocess.run([str(python), "-m", "pip", *install], check=True)
    return python


def lines() -> list[str]:
    """Return the requirements in colab.txt."""
    text = VERSIONS.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def versions(python: Path) -> dict[str, str]:
    """Return package → version in the environment of `python`."""
    command = [str(python), "-m", "pip", "list", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {item["name"]: item["version"] for item in json.loads(done.stdout)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
