"""Write the place where the course is hosted into every link, badge and bootstrap cell.

python course.py stamp OWNER/NAME [TAG]     the GitHub repository, and a branch or tag of it

The place is kept in pyproject.toml, [tool.course]; all else is written from there.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = ("<!-- launch:start -->", "<!-- launch:end -->")  # between them README.md says where
NOT_HOSTED = (
    "This copy is not hosted yet: `python course.py stamp OWNER/NAME` puts links to the site, to "
    "Binder and to Colab here."
)
HOSTED = """\
[**The site**](https://{owner}.github.io/{name}/) has all lessons, their explorers and the decks.

[![Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/{slug}/{tag}?urlpath=lab/tree/work/00_start_here.ipynb)
[![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{slug}/blob/learners-{tag}/notebooks/00_start_here.ipynb)

Only the package: `pip install git+https://github.com/{slug}@{tag}`."""
PATTERNS = ("*.md", "hub/*.md", "*.cff", "notebooks/**/*.ipynb", "slides/**/*.ipynb")
SLUG = r"(?P<slug>[\w.-]+/[\w.-]+?)"
TAG = r"(?P<tag>[\w.-]+)"
# What links look like that open, install or test this course: each has a slug, most have a tag.
LINKS = [
    re.compile(pattern)
    for pattern in (
        rf"mybinder\.org/v2/gh/{SLUG}/{TAG}(?=[?)\"\s\\])",
        rf"colab\.research\.google\.com/github/{SLUG}/blob/learners-{TAG}/(?:notebooks/(?:deeper/|solutions/|\d)|slides)",
        rf"git\+https://github\.com/{SLUG}(?:\.git)?@{TAG}",
        rf"github\.com/{SLUG}/archive/(?:refs/(?:heads|tags)/)?{TAG}(?=\.zip|\.tar\.gz)",
        rf"github\.com/{SLUG}/actions/workflows/",
        rf"repo=https://github\.com/{SLUG}&branch=learners-{TAG}",
    )
]


class Place(NamedTuple):
    """Where the course is hosted: a GitHub repository, and a branch or tag of it."""

    slug: str
    tag: str


def main(arguments: list[str]) -> None:
    """Stamp the place that the command line names, and say which files changed."""
    good = len(arguments) in (1, 2) and re.fullmatch(r"[A-Za-z0-9-]+/[\w.-]+", arguments[0])
    if not good or not all(re.fullmatch(r"[\w.-]+", tag) for tag in arguments[1:]):
        sys.exit("Usage: python course.py stamp OWNER/NAME [TAG]; TAG is a branch or tag, or main.")
    old, new = current(), Place(arguments[0], *arguments[1:] or ["main"])
    for path in [ROOT / "pyproject.toml", *stamped_files()]:
        before = path.read_text(encoding="utf-8")
        after = stamp_settings(before, new) if path.suffix == ".toml" else stamp(before, old, new)
        after = launch(after, new) if path.name == "README.md" else after
        if after != before:
            path.write_text(after, encoding="utf-8", newline="\n")
            print(path.relative_to(ROOT))


def current() -> Place:
    """Return the place that pyproject.toml names."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return Place(settings["tool"]["course"]["slug"], settings["tool"]["course"]["tag"])


def is_placeholder(place: Place) -> bool:
    """Return whether the course has not been stamped: no GitHub owner has an underscore."""
    return "_" in place.slug.split("/")[0]


def stamped_files() -> list[Path]:
    """Return every file that may name the place, pyproject.toml aside."""
    return [path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))]


def stamp(text: str, old: Place, new: Place) -> str:
    """Return `text` with its links, and every other mention of the slug, leading to `new`."""
    for link in LINKS:
        text = link.sub(lambda m: relink(m, new) if m["slug"] == old.slug else m[0], text)
    return re.sub(rf"(?<![\w.-]){re.escape(old.slug)}(?![\w-])", new.slug, text)


def launch(text: str, place: Place) -> str:
    """Return the text of README.md with the ways to read and run the course at `place`."""
    owner, name = place.slug.split("/")
    said = HOSTED.format(owner=owner.lower(), name=name, slug=place.slug, tag=place.tag)
    said = NOT_HOSTED if is_placeholder(place) else said
    return re.sub(f"(?<={LAUNCH[0]}).*(?={LAUNCH[1]})", f"\n{said}\n", text, flags=re.DOTALL)


def relink(match: re.Match, place: Place) -> str:
    """Return the link that `match` found, with the slug and tag of `place` in it."""
    whole, start = match[0], match.start()
    for name, value in reversed([*place._asdict().items()]):
        if name in match.groupdict():
            begin, end = (position - start for position in match.span(name))
            whole = whole[:begin] + value + whole[end:]
    return whole


def stamp_settings(text: str, new: Place) -> str:
    """Return the text of pyproject.toml with `new` in [tool.course]."""
    for name, value in new._asdict().items():
        text = re.sub(rf'^{name} = ".*"$', f'{name} = "{value}"', text, flags=re.MULTILINE)
    return text


def strangers(text: str, place: Place) -> list[str]:
    """Return the links in `text` that lead to another place than `place`."""
    found = [match for link in LINKS for match in link.finditer(text)]
    return [match[0] for match in found if relink(match, place) != match[0]]


if __name__ == "__main__":
    main(sys.argv[1:])
