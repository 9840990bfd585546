"""How Sphinx builds the site; called by tools/build_site.py."""

import re
import sys
import tomllib
from pathlib import Path

from docutils import nodes
from myst_nb.core.render import NbElementRenderer

ROOT = Path(__file__).resolve().parent.parent
# The reference pages describe the package of this checkout; the extensions lie beside this file.
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]
PLACE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["course"]
HOSTED = f"https://github.com/{PLACE['slug']}"

project = html_title = "The Neural Tangent Kernel, measured"
author = "the course's authors"
root_doc = "docs/contents"
include_patterns = ["*.md", "docs/**.md", "hub/*.md", "notebooks/**.ipynb"]
exclude_patterns = [".*", "build", "work", "CHANGELOG.md", "**/.ipynb_checkpoints"]
extensions = [
    "explorers",
    "formulas",
    "landing",
    "ledger",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "votes",
]

nb_execution_mode = "off"  # the committed outputs, which the tests compare, are what is shown
nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_preserve_defaults = True
napoleon_use_ivar = True

html_theme = "sphinx_book_theme"
templates_path = ["templates"]
html_static_path = [str(ROOT / "docs" / "static"), str(ROOT / "slides" / "vendor" / "mathjax")]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_favicon = "static/icon.svg"
html_search_scorer = str(ROOT / "docs" / "scorer.js")
# From the site itself: a page that needs another host is dead where there is no network.
mathjax_path = "tex-svg-full.js"
# Without its menu a formula is no stop of the Tab key: there are three hundred in a lesson.
mathjax3_config = {"options": {"enableMenu": False}}
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "repository_url": HOSTED,
    "repository_branch": PLACE["tag"],
    "use_repository_button": True,
    "navbar_persistent": [],  # the sidebar has the search field already
    "show_toc_level": 2,
}

BADGE = re.compile(r"\[!\[([^]]*)\]\(https?://[^)]*\)\]")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)([^)]*)\)")
KEPT = (".png", ".gif", ".json", "play.html", "LICENSE", "LICENSE-TEXT")  # the site holds them

_render_image = NbElementRenderer.render_image


def _render_image_with_alt(self, data):
    """Return the nodes of a picture, with the description that `ntk.show` wrote beside it."""
    made = _render_image(self, data)
    alt = data.output_metadata.get(data.mime_type, {}).get("alt")
    if alt:
        made[0]["alt"] = alt
    return made


def _relink(app, page, content):
    """Let a link of a Markdown page to what is not on the site lead to where the course is hosted.

    A badge, which is a picture from another host, becomes a word.
    """
    path = Path(app.env.doc2path(page))
    if path.suffix != ".md":
        return

    def leads(match):
        there = (path.parent / match[1]).resolve()
        here = app.project.path2doc(there) in app.env.found_docs or there.name.endswith(KEPT)
        if here or not there.exists():  # Sphinx tells of a link that is dead
            return match[0]
        inside = there.relative_to(ROOT).as_posix()
        return f"]({HOSTED}/tree/{PLACE['tag']}/{inside}{match[2]})"

    content[0] = LINK.sub(leads, BADGE.sub(r"[\1]", content[0]))


def _skip_unexplained(_app, _kind, _name, member, skip, _options):
    """Leave out the fields of a named tuple: its docstring explains them together."""
    return skip or str(getattr(member, "__doc__", "")).startswith("Alias for field")


def _map_to_pages(_app, doctree, _page):
    """Let the map of the course, which leads to notebooks, lead to pages."""
    for node in [*doctree.findall(nodes.raw)]:
        if node.astext().startswith('<nav class="ntk-map"'):
            node.replace_self(
                nodes.raw("", node.astext().replace(".ipynb", ".html"), format="html")
            )


def setup(app):
    """Let MyST-NB, which takes a picture's width from the notebook, take the description, too."""
    NbElementRenderer.render_image = _render_image_with_alt
    app.connect("source-read", _relink)
    app.connect("autodoc-skip-member", _skip_unexplained)
    app.connect("doctree-resolved", _map_to_pages)
