"""The static site has each lesson, describes each picture, and loads nothing from another host."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

import ntk_helpers as ntk
from tools import stamp

pytest.importorskip("myst_nb", reason="the extra `site` is not installed")
pytest.importorskip("sphinx_book_theme", reason="the extra `site` is not installed")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("[0-9]*.ipynb"))
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(NamedTuple):
    """What a page of the site refers to.

    Attributes:
        loaded: Addresses of what the browser fetches to show it.
        links: Addresses that a reader can follow.
        anchors: Places in it that an address can name.
        pictures: (address, description) of each picture.
    """

    loaded: list[str]
    links: list[str]
    anchors: set[str]
    pictures: list[tuple[str, str]]


class Site(NamedTuple):
    """The site that was built.

    Attributes:
        folder: Where it lies.
        pages: Path in it → the page; without the theme's own files.
    """

    folder: Path
    pages: dict[Path, Page]


class Reader(HTMLParser):
    """Reads one page."""

    def __init__(self, text: str):
        """Read it."""
        super().__init__()
        self.page = Page([], [], set(), [])
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = {name: value or "" for name, value in attributes}
        self.page.anchors.update(found.get(name, "") for name in ("id", "name"))
        if found.get(LOADED.get(tag, "")) and found.get("rel") not in ("canonical", "edit"):
            self.page.loaded.append(found[LOADED[tag]])
        if tag == "a" and "href" in found:
            self.page.links.append(found["href"])
        if tag == "img":
            self.page.pictures.append((found["src"], found.get("alt", "")))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site."""
    folder = tmp_path_factory.mktemp("site").resolve()
    command = [sys.executable, str(ROOT / "tools" / "build_site.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr
    paths = [path for path in folder.rglob("*.html") if "_static" not in path.parts]
    read = [Reader(path.read_text(encoding="utf-8")).page for path in paths]
    return Site(folder, {p.relative_to(folder): page for p, page in zip(paths, read, strict=True)})


def test_every_notebook_has_a_page_and_the_first_page_leads_to_it(site):
    wanted = [path.relative_to(ROOT).with_suffix(".html") for path in NOTEBOOKS]
    assert [path for path in wanted if path not in site.pages] == []
    links = site.pages[Path("index.html")].links
    assert [path for path in wanted if path.as_posix() not in links] == []


def test_no_page_loads_anything_from_another_host(site):
    outside = [
        (str(path), address)
        for path, page in site.pages.items()
        for address in page.loaded
        if urlsplit(address).netloc
    ]
    assert outside == []


def test_formulas_are_drawn_by_the_site_s_own_mathjax(site):
    page = site.pages[Path("notebooks/00_start_here.html")]
    scripts = [address for address in page.loaded if "mathjax" in address or "tex-" in address]
    assert [urlsplit(address).path for address in scripts] == ["../_static/tex-svg-full.js"]
    assert (site.folder / "_static" / "tex-svg-full.js").stat().st_size > 1e6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_figure_keeps_its_description(site, path):
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    wanted = [o.metadata["image/png"]["alt"] for o in outputs if "image/png" in o.get("data", {})]
    page = site.pages[path.relative_to(ROOT).with_suffix(".html")]
    shown = [alt for address, alt in page.pictures if "_images/" in address]
    assert [" ".join(alt.split()) for alt in shown] == [" ".join(alt.split()) for alt in wanted]


def test_links_inside_the_site_lead_somewhere(site):
    dead = []
    for path, page in site.pages.items():
        for address in {*page.links, *page.loaded}:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            here = site.folder / path
            target = (here.parent / unquote(parts.path)).resolve() if parts.path else here
            there = site.pages.get(target.relative_to(site.folder))
            lost = there and parts.fragment and unquote(parts.fragment) not in there.anchors
            if lost or not target.exists():
                dead.append((str(path), address))
    assert dead == []


def test_launch_buttons_lead_to_where_the_course_is_hosted(site):
    place = stamp.current()
    links = "\n".join(site.pages[Path("notebooks/01_gradient_flow.html")].links)
    assert f"mybinder.org/v2/gh/{place.slug}/{place.tag}?urlpath=lab/tree/notebooks/01" in links
    assert f"colab.research.google.com/github/{place.slug}/blob/{place.tag}/notebooks/01" in links
    assert stamp.strangers(links, place) == []


def test_the_reference_describes_every_public_name(site):
    described = {anchor.rpartition(".")[2] for anchor in site.pages[Path("api.html")].anchors}
    described |= {"data", "exercises", "explore", "plots"}  # modules: their parts are described
    assert {*ntk.__all__} - described == set()
