"""A Sphinx extension: what gives a prediction's answer away stands behind the reader's vote.

The page only marks it. The script votes.js hides it until the vote, and only pages with predictions
load that script: without JavaScript, and in print, everything is open.
"""

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

UNSEARCHED = "no-search"  # Sphinx leaves what has this class out of the search index
CELL = 10_000  # MyST-NB numbers the lines of a notebook's cell i from 10,000 · (i + 1) on
ANSWER = re.compile(r"(<details>.*</details>)", re.DOTALL)


class Votes(SphinxPostTransform):
    """Wraps what follows each prediction, as far as the end of "What was found."."""

    default_priority = 10  # after MyST-NB has chosen the form of each output, before it folds cells
    formats = ("html",)

    def run(self, **_options) -> None:
        """Wrap it, and leave the answer in the prediction itself out of the search index."""
        for cell in [node for node in self.document.findall(nodes.container) if questions(node)]:
            cell["classes"].append("ntk-asks")
            if cell[0]["nb_element"] == "cell_code_source":
                del cell[0]  # the call names the answer
            for question in questions(cell):
                before, answer, after = ANSWER.split(question.astext())
                parts = raw(before), raw(answer, classes=[UNSEARCHED]), raw(after)
                question.replace_self(nodes.container("", *parts))  # it inherits the classes
            behind = nodes.container(classes=["ntk-behind", UNSEARCHED])
            for node in [*waiting(cell)]:
                node.parent.remove(node)
                behind += node
            if behind.children:
                cell.parent.insert(cell.parent.index(cell) + 1, behind)


def questions(node: nodes.Node) -> list[nodes.raw]:
    """Return the predictions that a node puts out if it is a code cell, each as HTML."""
    if not isinstance(node, nodes.container) or node.get("nb_element") != "cell_code":
        return []
    return [text for text in node.findall(nodes.raw) if 'class="ntk-predict"' in text.astext()]


def waiting(cell: nodes.container) -> Iterator[nodes.Node]:
    """Yield what follows a prediction until "What was found." ends, or something new begins.

    Args:
        cell: The cell with the prediction.
    """
    last = None
    for node in cell.parent[cell.parent.index(cell) + 1 :]:
        if isinstance(node, nodes.section) or questions(node) or last not in {None, cell_of(node)}:
            return
        if isinstance(node, nodes.paragraph) and node.astext().startswith("What was found."):
            last = cell_of(node)
        yield node


def cell_of(node: nodes.Node) -> int:
    """Return the number of the notebook's cell that a node comes from."""
    return next(part.line for part in node.findall() if part.line) // CELL


def raw(html: str, **attributes) -> nodes.raw:
    """Return HTML as a node."""
    return nodes.raw("", html, format="html", **attributes)


def add_script(app: Sphinx, _page, _template, _context, doctree: nodes.document | None) -> None:
    """Let a page with predictions load the script."""
    if doctree and any("ntk-asks" in node["classes"] for node in doctree.findall(nodes.container)):
        app.add_js_file("votes.js")


def setup(app: Sphinx) -> dict:
    """Connect all this with Sphinx."""
    app.add_post_transform(Votes)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
