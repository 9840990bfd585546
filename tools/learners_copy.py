"""The learner's copy of the lessons: made, and brought up to date, without losing what was changed.

python tools/learners_copy.py [FOLDER]      copy the notebooks into work/, or into FOLDER

The committed notebooks stay as they are, so that `git pull` meets no conflict. In the copy the
outputs are gone, but for those of cells tagged `keep-output`: what a learner sees is what has run.

Needs nothing but Python, so that Binder, a hub and a workflow can run it before anything else.
"""

import hashlib
import itertools
import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LESSONS = ROOT / "notebooks"
COPY = ROOT / "work"  # ntk_helpers keeps votes and exercises in a folder of this name
RECORD = ".copied.json"  # in the copy: notebook → fingerprint of the version it was made from
WORKSPACE = Path(".lab", "default-37a8.jupyterlab-workspace")  # JupyterLab's name for its default
SIDEBAR = [
    "filebrowser",
    "running-sessions",
    "@jupyterlab/toc:plugin",
    "extensionmanager.main-view",
]
LAUNCH = re.compile(r"^Run it in the browser:.*?\n\n", re.MULTILINE | re.DOTALL)
CONTENTS_OPEN = {
    "data": {
        "layout-restorer:data": {
            "main": {"dock": None},
            "left": {
                "collapsed": False,
                "current": SIDEBAR[2],
                "visible": True,
                "widgets": SIDEBAR,
            },
            "right": {"collapsed": True, "visible": True, "widgets": []},
            "relativeSizes": [0.2, 0.8, 0],
        }
    },
    "metadata": {"id": "default"},
}


def refresh(copy: Path = COPY, lessons: Path = LESSONS) -> list[str]:
    """Make the learner's copy, or bring it up to date.

    A notebook that the learner has only run is replaced by a newer version; beside one that the
    learner has changed the newer version is laid, under another name. Only what cells say counts
    as a change, not their outputs.

    Args:
        copy: The learner's folder.
        lessons: The folder with the course's notebooks.

    Returns:
        What the learner should know, in sentences; none if nothing happened.

    Raises:
        OSError: If something cannot be written: the disk is full, or the folder read-only. What
            the learner wrote is untouched.
    """
    is_new = not copy.exists()
    try:
        made_from = json.loads((copy / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no copy yet; or without a record all that differs is a change
        made_from = {}
    news = [f"Your copy of the lessons is in {copy}."] if is_new else []
    for lesson in sorted(lessons.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in lesson.parts:
            continue
        name = lesson.relative_to(lessons).as_posix()
        notebook = for_learners(json.loads(lesson.read_text(encoding="utf-8")))
        newest, mine = fingerprint(notebook), fingerprint_of_file(copy / name)
        if mine not in (None, newest, made_from.get(name)):
            if made_from.get(name) != newest:
                news += lay_beside(copy / name, notebook)
        elif mine != newest:
            write(notebook, copy / name)
            news += [f"{name} is now the course's newest version."] if mine else []
        made_from[name] = newest
    if not (copy / WORKSPACE).exists():
        write(CONTENTS_OPEN, copy / WORKSPACE)
    write(made_from, copy / RECORD)
    return news


def lay_beside(mine: Path, notebook: dict) -> list[str]:
    """Write the newest version of a notebook beside the learner's, and return what to say."""
    for ending in itertools.chain(["-newer"], (f"-newer-{n}" for n in itertools.count(2))):
        beside = mine.with_name(f"{mine.stem}{ending}.ipynb")
        there = fingerprint_of_file(beside)
        if there is None:
            write(notebook, beside)
        if there in (None, fingerprint(notebook)):
            break
    return [f"You have changed {mine.name}: its newer version lies beside it, as {beside.name}."]


def fingerprint(notebook: dict) -> str:
    """Return a short name for what the cells of a notebook say, whatever their outputs.

    Cells without a word do not count: to run the last cell adds one.
    """
    cells = [[cell["cell_type"], "".join(cell["source"]).strip()] for cell in notebook["cells"]]
    text = json.dumps([cell for cell in cells if cell[1]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint_of_file(path: Path) -> str | None:
    """Return the fingerprint of a file: None if it is not there, "?" if it is no notebook."""
    try:
        return fingerprint(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return "?"


def for_learners(notebook: dict) -> dict:
    """Return a notebook as nobody has run it, and without links to where it runs already.

    Outputs of cells tagged `keep-output` stay: a title picture, the text of a prediction.
    """
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            kept = cell["outputs"] if "keep-output" in cell["metadata"].get("tags", []) else []
            cells.append({**cell, "execution_count": None, "outputs": kept})
        else:
            cells.append({**cell, "source": LAUNCH.sub("", "".join(cell["source"]))})
    return {**notebook, "cells": cells}


def write(content: dict, path: Path) -> None:
    """Write JSON to `path`, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def told(copy: Path = COPY) -> bool:
    """Bring the copy up to date and print what happened; return whether all could be written."""
    try:
        for sentence in refresh(copy):
            print(sentence, flush=True)
    except OSError as error:
        print(
            f"The lessons could not all be copied into {copy}: {error.strerror}. What you wrote "
            "there is untouched. Make room, or let the folder be written to, and start again.",
            flush=True,
        )
        return False
    return True


if __name__ == "__main__":
    sys.exit(not told(*map(Path, sys.argv[1:])))
