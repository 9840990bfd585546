"""A Sphinx extension: the front page, with a card for each lesson, and what tells others of a page.

The questions on the cards come from the table in README.md, the pictures from the notebooks.
"""

import base64
import io
import json
import re
import shutil
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple

import nbformat
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

from tools import loops, redraw, stamp

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(
    r"^\| \[(\w+(?: [\w ]+)?)\]\(notebooks/([\w/]+)\.ipynb\) \| (.+?) \| (\d+) \|$", re.MULTILINE
)
CARD = 640  # pixels across of a card's picture: twice as many as it is shown with
PLAY = "notebooks/00_start_here"  # the lesson with the network that trains in the page
COLOURS = 64  # of a card's picture
SENTENCE = re.compile(r"^.{40,}?[.?!](?= |$)", re.DOTALL)


class Card(NamedTuple):
    """What the front page says of a notebook: its name in the table, page, question, minutes."""

    name: str
    page: str
    question: str
    minutes: str
    alt: str  # of its first picture; empty if it has none


@cache
def cards() -> list[Card]:
    """Return a card for each notebook in the tables of README.md, in their order."""
    rows = ROW.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    return [Card(*row, picture(row[1])[0]) for row in rows]


def picture(page: str) -> tuple[str, bytes]:
    """Return the description and the PNG of the first picture of a notebook."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{page}.ipynb", as_version=4)
    for output in [output for cell in notebook.cells for output in cell.get("outputs", [])]:
        if png := output.get("data", {}).get("image/png"):
            return output.metadata["image/png"]["alt"], base64.b64decode(png)
    return "", b""


def front_page(app: Sphinx):
    """Yield the front page."""
    claims = json.loads((ROOT / redraw.CLAIMS).read_text(encoding="utf-8")).values()
    kept = [claim for entry in claims for claim in entry["claims"].values()]
    place = stamp.current()
    context = {
        "title": app.config.html_title,
        "cards": [card for card in cards() if "/" not in card.page],
        "deeper": [card for card in cards() if "/" in card.page],
        "loops": loops.CAPTIONS,
        "claims": len(kept),
        "luck": sum(bool(claim["failed"]) for claim in kept),
        "hosted": None if stamp.is_placeholder(place) else place,
    }
    yield "index", context, "landing.html"


def describe(app: Sphinx, page: str, _template, context: dict, doctree: nodes.document | None):
    """Give a page a description and a preview picture; its sidebar leads to the front page."""
    context["theme_logo_link"] = context["pathto"]("index")
    questions = {f"notebooks/{card.page}": card.question for card in cards()}
    questions["index"] = "A course on the Neural Tangent Kernel: every claim is measured."
    text = questions.get(page) or first_sentence(doctree)
    tags = {
        'name="description"': text,
        'property="og:title"': context.get("title", ""),
        'property="og:description"': text,
        'property="og:image"': context["pathto"]("_static/forecast.png", resource=True),
    }
    made = [f'\n<meta {key} content="{escape(value)}">' for key, value in tags.items() if value]
    context["metatags"] = context.get("metatags", "") + "".join(made)
    if page == PLAY:
        app.add_js_file("play.js", defer="defer")


def first_sentence(doctree: nodes.document | None) -> str:
    """Return the first sentence of a page that is no list and no code, or nothing."""
    for paragraph in doctree.findall(nodes.paragraph) if doctree else ():
        if found := SENTENCE.match(" ".join(paragraph.astext().split())):
            return found[0]
    return ""


def write_pictures(app: Sphinx, error: Exception | None) -> None:
    """Write the pictures of the cards, and what the front page takes from the checkout."""
    if error:
        return
    static = Path(app.outdir, "_static")
    (static / "cards").mkdir(parents=True, exist_ok=True)
    for card in cards():
        if card.alt and "/" not in card.page:
            image = Image.open(io.BytesIO(picture(card.page)[1])).convert("RGB")
            image.thumbnail((CARD, CARD), Image.Resampling.LANCZOS)
            image.quantize(COLOURS).save(static / "cards" / f"{card.page}.png", optimize=True)
    for file in (ROOT / "images" / "loops").iterdir():
        shutil.copy(file, static)
    script = re.search(
        r'<script id="ntk-play">(.*?)</script>',
        (ROOT / "play.html").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    (static / "play.js").write_text(script[1], encoding="utf-8")


def put_play(_app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put the network that trains in the page before the first question of lesson 00."""
    if page == PLAY:
        _, first, *_ = doctree.findall(nodes.section)
        first.parent.insert(
            first.parent.index(first), nodes.raw("", "<ntk-play></ntk-play>", format="html")
        )


def setup(app: Sphinx) -> dict:
    """Connect all this with Sphinx."""
    app.connect("html-collect-pages", front_page)
    app.connect("html-page-context", describe)
    app.connect("doctree-resolved", put_play)
    app.connect("build-finished", write_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
