"""A Sphinx extension: an explorer's stored picture becomes one that moves, without a kernel.

The picture stays in the page for who has no JavaScript; explorer.js takes its place. The numbers
that it draws from are written when the pages are done, by all cores side by side.
"""

import json
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from tools import scenes

CALL = re.compile(r"^ntk\.explore\.(\w+)\(\)", re.MULTILINE)
# Controls that move on the site, where all together would train networks for too long: sixty PINNs.
MOVED = {"boundary_weight": ["frequency", "boundary_weight", "time"]}


class Explorers(SphinxPostTransform):
    """Marks the picture of each explorer for the script that moves it."""

    default_priority = 9  # before votes.py takes cells apart
    formats = ("html",)

    def run(self, **_options) -> None:
        """Put each picture into a figure with the explorer's name."""
        for cell in [*self.document.findall(nodes.container)]:
            name = CALL.search(cell.astext()) if cell.get("nb_element") == "cell_code" else None
            if name:
                for image in [*cell.findall(nodes.image)]:
                    start = f'<figure class="ntk-explorer" data-from="{name[1]}">'
                    parts = [nodes.raw("", text, format="html") for text in (start, "</figure>")]
                    image.replace_self([parts[0], image.deepcopy(), parts[1]])


def names(doctree: nodes.document) -> set[str]:
    """Return the names of the explorers on a page."""
    found = (re.search(r'data-from="(\w+)"', raw.astext()) for raw in doctree.findall(nodes.raw))
    return {name[1] for name in found if name}


def add_script(app: Sphinx, _page, _template, _context, doctree: nodes.document | None) -> None:
    """Let a page with explorers load the script, and remember which ones it has."""
    if doctree and (found := names(doctree)):
        app.add_js_file("explorer.js")
        app.explorers |= found


def write_numbers(app: Sphinx, error: Exception | None) -> None:
    """Write a script for each explorer that a page has."""
    if error or not app.explorers:
        return
    folder = Path(app.outdir, "_static", "explorers")
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(app.explorers, key=lambda name: name not in MOVED)  # what takes longest begins
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        made = pool.map(scenes.pictures, found, map(MOVED.get, found))
        for name, data in zip(found, made, strict=True):
            text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
            script = f'ntkExplorer.deliver("{name}", {text});\n'
            (folder / f"{name}.js").write_text(script, encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Connect all this with Sphinx."""
    app.explorers = set()
    app.add_post_transform(Explorers)
    app.connect("html-page-context", add_script)
    app.connect("build-finished", write_numbers)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
