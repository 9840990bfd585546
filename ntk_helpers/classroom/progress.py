"""What a learner has done, kept in the learner's copy of the course for the next session."""

import json
import os
from pathlib import Path

NAME = ".progress.json"


def learners_file() -> Path | None:
    """Return the file beside the learner's notebooks, or None if this runs anywhere else.

    The learner's copy is the folder work/ of the course. Its solutions are not the learner's, and a
    course that itself lies below some folder work/ is no copy.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if folder.name == "work":
            return folder / NAME
        if folder.name == "solutions" or (folder / "ntk_helpers").is_dir():
            return None
    return None


def kept(part: str, file: Path | None = None) -> dict:
    """Return what was kept under the heading `part`: name → value.

    Args:
        part: "votes" or "exercises".
        file: Where to look; by default the learner's file.
    """
    file = file or learners_file()
    try:
        return dict(_read(file)[part]) if file else {}
    except (OSError, ValueError, KeyError, TypeError):  # there is none yet, or it is spoilt
        return {}


def keep(part: str, name: str, value) -> None:
    """Keep a value for the next session; where nothing can be written, only the kernel knows it.

    The new file takes the place of the old one in one go, so that a kernel that is killed, or
    another one that reads, never meets half of it.
    """
    file = learners_file()
    if file is None or kept(part).get(name) == value:
        return
    draft = file.with_name(f"{NAME}.{os.getpid()}")
    try:
        everything = _read(file) if file.exists() else {}
        everything |= {part: kept(part) | {name: value}}
        draft.write_text(json.dumps(everything, indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(draft, file)
    except (OSError, ValueError, TypeError):  # spoilt: what is in it stays as it is
        draft.unlink(missing_ok=True)


def _read(file: Path) -> dict:
    """Return all that a file holds; an empty one, which a crash of the machine leaves, is {}."""
    return json.loads(file.read_text(encoding="utf-8") or "{}")
