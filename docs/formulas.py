r"""A Sphinx extension: what stands side by side in a displayed formula may stand line by line.

A formula whose parts are held apart by \qquad is taken apart there; the style sheet puts the parts
beside each other where there is room, and below each other on a phone.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

GAP = re.compile(r"\\qquad")
KEPT_WHOLE = re.compile(r"\\begin|\\\\|&|\\tag")  # lines that belong together


class Formulas(SphinxPostTransform):
    """Takes displayed formulas apart."""

    default_priority = 8
    formats = ("html",)

    def run(self, **_options) -> None:
        """Put the parts of each formula into a row that may wrap."""
        for block in [*self.document.findall(nodes.math_block)]:
            found = parts(block.astext())
            if len(found) > 1 and not block.get("number"):
                row = nodes.container(classes=["ntk-formulas"])
                row.line = block.line  # votes.py asks which cell it is from
                for part in found:
                    row += nodes.math_block(part, part, nowrap=False, number=None)
                block.replace_self(row)


def parts(formula: str) -> list[str]:
    r"""Return the parts between the \qquad of a formula, or all of it if braces are open there."""
    if KEPT_WHOLE.search(formula):
        return [formula]
    found = [part.strip() for part in GAP.split(formula)]
    depths = [
        part.count("{") - part.count("}") + part.count(r"\left") - part.count(r"\right")
        for part in found
    ]
    return [part for part in found if part] if not any(depths) else [formula]


def setup(app: Sphinx) -> dict:
    """Connect it with Sphinx."""
    app.add_post_transform(Formulas)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
