"""Say how long a notebook takes to read, by a model: python tools/minutes.py [NOTEBOOK ...].

The model counts what a reader meets; nobody was timed. Two words a second are a pace for text with
formulas in it, and a tenth is added for looking back.
"""

import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

WORDS, CODE_LINES = 120, 15  # read in a minute
PICTURE, FORMULA, PREDICTION, EXPLORER = 0.5, 0.5, 1.0, 2.0  # minutes for each
LOOKING_BACK = 1.1
DISPLAYED = re.compile(r"\$\$.+?\$\$", re.DOTALL)
FORMULAS = re.compile(r"\$\$.+?\$\$|\$[^$]+\$", re.DOTALL)
NOT_READ = re.compile(r"\]\([^)]*\)|<[^>]*>|[|#*_`>·—–-]+")  # addresses, tags, marks
STRINGS = re.compile(r'"([^"\n]*)"')
EXERCISE = re.compile(r"\*\*Exercise[^*]*\*\* \((\d+) minutes?")


def minutes(notebook: NotebookNode) -> float:
    """Return the minutes that the model gives a notebook with outputs, exercises included."""
    total = 0.0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            total += words(cell.source) / WORDS
            total += FORMULA * len(DISPLAYED.findall(cell.source))
            total += sum(map(int, EXERCISE.findall(cell.source)))
            continue
        if "plumbing" not in cell.metadata.get("tags", []):
            total += sum(line.strip() != "" for line in cell.source.splitlines()) / CODE_LINES
        asked = cell.source.count("ntk.predict(")
        total += PREDICTION * asked + EXPLORER * cell.source.count("ntk.explore.")
        if asked:
            total += words(" ".join(STRINGS.findall(cell.source))) / WORDS
        elif "ntk.explore." not in cell.source:
            total += PICTURE * sum("image/png" in o.get("data", {}) for o in cell.outputs)
    return LOOKING_BACK * total


def words(text: str) -> int:
    """Return the number of words in Markdown, formulas left out."""
    return len(NOT_READ.sub(" ", FORMULAS.sub(" ", text)).split())


def printed(notebook: NotebookNode) -> int:
    """Return the minutes that a notebook's first cell prints: the model's, to the nearest five."""
    return int(re.search(r"\*\*Time\*\* (\d+) minutes", notebook.cells[0].source)[1])


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(Path("notebooks").rglob("*.ipynb")):
        print(f"{minutes(nbformat.read(name, as_version=4)):6.0f}  {name}")
