"""Build the static site of all lessons with their outputs: build/site/index.html.

python course.py site             build it; this needs no network, nor does reading it from a disk
python course.py site FOLDER      into another folder than build/site

Pages are gathered in a folder of their own first, so that Sphinx sees nothing else of the checkout.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from sphinx.cmd.build import main as sphinx
from stamp import current

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("TEACHING.md", "CONTRIBUTING.md", "LICENSE", "LICENSE-TEXT")
FOLDERS = ("notebooks", "images", "benchmarks/results")
CONTENTS = """
```{toctree}
:hidden:
:caption: Lessons
:glob:

notebooks/*
```

```{toctree}
:hidden:
:caption: Deeper
:glob:

notebooks/deeper/*
```

```{toctree}
:hidden:
:caption: Solutions
:glob:

notebooks/solutions/*
```

```{toctree}
:hidden:
:caption: Reference

TEACHING
docs/predictions
hub/README
api
CONTRIBUTING
```
"""
BADGE = re.compile(r"\[!\[([^]]*)\]\(https?://[^)]*\)\]")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)([^)]*)\)")


def main(arguments: list[str]) -> int:
    """Gather the pages, let Sphinx build them, and return its exit code."""
    site = Path(*arguments or [ROOT / "build" / "site"])
    with tempfile.TemporaryDirectory() as folder:
        gather(Path(folder))
        # A warning is an error: a dead link, a broken docstring, a picture that is not there.
        options = ["-q", "-W", "--keep-going", "-E", "-d", f"{folder}/.doctrees"]
        code = sphinx([*options, "-c", str(ROOT / "docs"), folder, str(site)])
    if not code:
        print(f"Open {site / 'index.html'}")
    return code


def gather(folder: Path) -> None:
    """Copy every page, and what pages show or link to, into `folder`."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".*"))
    for name in PAGES:
        shutil.copy(ROOT / name, folder)
    shutil.copy(ROOT / "docs" / "api.md", folder)
    shutil.copy(ROOT / "README.md", folder / "index.md")
    for name in ("hub/README.md", "docs/predictions.md"):
        (folder / name).parent.mkdir()
        shutil.copy(ROOT / name, folder / name)
    for path in [*folder.glob("*.md"), *folder.glob("*/*.md")]:
        text = page(path, folder)
        path.write_text(text + CONTENTS * (path.name == "index.md"), encoding="utf-8")


def page(path: Path, folder: Path) -> str:
    """Return the text of a Markdown file as a page of the site.

    A badge, which is a picture from another host, becomes a word. A link to what is not on the
    site leads to the repository.

    Args:
        path: The file, in `folder`.
        folder: Where the site's pages are gathered.
    """
    place = current()

    def relink(match: re.Match) -> str:
        target, anchor = match.groups()
        target = re.sub(r"^((?:\.\./)*)README\.md$", r"\1index.md", target)
        there = (path.parent / target).resolve()
        if not there.is_file():
            inside = there.relative_to(folder.resolve()).as_posix()
            target = f"https://github.com/{place.slug}/tree/{place.tag}/{inside}"
        return f"]({target}{anchor})"

    return LINK.sub(relink, BADGE.sub(r"[\1]", path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
