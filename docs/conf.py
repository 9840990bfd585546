"""How Sphinx builds the site; called by tools/build_site.py."""

import sys
import tomllib
from pathlib import Path

from docutils import nodes
from myst_nb.core.render import NbElementRenderer

ROOT = Path(__file__).resolve().parent.parent
# The reference pages describe the package of this checkout; votes.py lies beside this file.
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]
PLACE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["course"]

project = html_title = "The Neural Tangent Kernel, measured"
author = "the course's authors"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
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
html_static_path = [str(ROOT / "docs" / "static"), str(ROOT / "slides" / "vendor" / "mathjax")]
html_css_files = ["site.css"]
# From the site itself: a page that needs another host is dead where there is no network.
mathjax_path = "tex-svg-full.js"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "repository_url": f"https://github.com/{PLACE['slug']}",
    "repository_branch": PLACE["tag"],
    "use_repository_button": True,
    "navbar_persistent": [],  # the sidebar has the search field already
    "show_toc_level": 2,
}

_render_image = NbElementRenderer.render_image


def _render_image_with_alt(self, data):
    """Return the nodes of a picture, with the description that `ntk.show` wrote beside it."""
    made = _render_image(self, data)
    alt = data.output_metadata.get(data.mime_type, {}).get("alt")
    if alt:
        made[0]["alt"] = alt
    return made


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
    app.connect("autodoc-skip-member", _skip_unexplained)
    app.connect("doctree-resolved", _map_to_pages)
