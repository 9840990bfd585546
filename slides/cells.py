"""Read a slide notebook: cells become slides, and their Markdown, code and outputs HTML.

In a slide notebook, slide_type says where a slide begins, what waits for a click (fragment), what
is for the presenter (notes) and what is left out (skip). A slide's first notes begin with its time,
as in **1.5 min.** Tags say the rest. On the cell that begins a slide: `side` (text left, pictures
right), `large` (letters), `title`, `question` or `break`. On a code cell: `code`, if its code is to
be seen; `sweep:NAME`, for each control of an explorer that is to move; `paper:NAME=TEXT`, where its
slider stands in the second state that a PDF shows; `as-in:LESSON`, if what it prints stands in that
lesson, too.
"""

import html
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

ROOT = Path(__file__).resolve().parent.parent
LAYOUTS = ("side", "large", "title", "question", "break")
FORM_TITLE = re.compile(r"\A# @title .*\n")  # what Colab shows of a folded cell
MINUTES = re.compile(r"\*\*([\d.]+) min\.\*\*")

Draw = Callable[[str, list[str], dict[str, str]], str]


class Block(NamedTuple):
    """A piece of a slide: kind "text", "printed" or "picture", and its HTML."""

    kind: str
    html: str


class Slide(NamedTuple):
    """A slide, as the template wants it; all texts are HTML."""

    layout: str
    title: str
    blocks: list[Block]
    code: str
    notes: str
    minutes: float


def slides_of(notebook: NotebookNode, draw: Draw) -> list[Slide]:
    """Return the slides of a notebook.

    Args:
        notebook: An executed slide notebook.
        draw: Given an explorer's name, the controls to sweep, and those that move for the second
            state on paper with what their sliders show there, returns the HTML for it.

    Raises:
        ValueError: If a slide has no notes that begin with its minutes.
    """
    groups = []
    for cell in notebook.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if kind == "slide":
            groups.append([])
        if groups and kind != "skip":
            groups[-1].append((kind, cell))
    return [make_slide(cells, draw) for cells in groups]


def make_slide(cells: list[tuple[str, NotebookNode]], draw: Draw) -> Slide:
    """Return the slide that these cells make, each given with its slide_type."""
    tags = cells[0][1].metadata.get("tags", [])
    layout = next((tag for tag in tags if tag in LAYOUTS), "stack")
    title, blocks, code, notes, printed = "", [], [], [], []
    for kind, cell in cells:
        if kind == "notes":
            notes.append(cell.source)
        elif cell.cell_type == "markdown":
            heading = re.match(r"#{1,2} (.+)\n*", cell.source)
            text = cell.source[heading.end() :] if heading else cell.source
            title = inline(heading[1]) if heading else title
            if text.strip():
                look = "text fragment" if kind == "fragment" else "text"
                blocks.append(Block("text", f'<div class="{look}">{markdown(text)}</div>'))
        else:
            shown = "code" in cell.metadata.get("tags", [])
            if shown:
                blocks.append(Block("picture", coloured(cell.source)))
            else:
                code.append(FORM_TITLE.sub("", cell.source))
            blocks += outputs_of(cell, draw)
            printed += filter(None, (printed_by(output).rstrip() for output in cell.outputs))
    if printed:  # in one box, below all pictures
        blocks.append(Block("printed", preformatted("\n".join(printed), "printed")))
    minutes = MINUTES.match(notes[0]) if notes else None
    if not minutes:
        raise ValueError(f"slide {title!r} has no notes that begin with **… min.**")
    said = markdown("\n\n".join([notes[0][minutes.end() :], *notes[1:]]))
    all_code = coloured("\n\n".join(code)) if code else ""
    return Slide(layout, title, blocks, all_code, said, float(minutes[1]))


def markdown(text: str) -> str:
    """Return Markdown as HTML; formulas stay as they are, for MathJax."""
    renderer = IPythonRenderer(escape=False, exclude_anchor_links=True)
    made = MarkdownWithMath(renderer=renderer).render(text)
    return re.sub(r'href="\.\./(notebooks/[^"]+)"', rf'href="{hosted()}/\1"', made)


def inline(text: str) -> str:
    """Return one line of Markdown as HTML without a paragraph around it."""
    return re.sub(r"^<p>|</p>$", "", markdown(text).strip())


def hosted() -> str:
    """Return the address under which the course's files are read in the web."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    place = settings["tool"]["course"]
    return f"https://github.com/{place['slug']}/blob/{place['tag']}"


def coloured(source: str) -> str:
    """Return Python code as HTML."""
    made = highlight(source, PythonLexer(), HtmlFormatter(nowrap=True))
    return preformatted(source, "source", made)


def preformatted(text: str, name: str, made: str | None = None) -> str:
    """Return text, or what was `made` of it, in a frame that tells its width to the style sheet."""
    columns = max(len(line) for line in text.splitlines())
    inner = html.escape(text) if made is None else made
    return f'<pre class="{name}" style="--columns: {columns}">{inner}</pre>'


def printed_by(output: NotebookNode) -> str:
    """Return the text that an output shows on a slide: what was printed, or a measured claim."""
    data = output.get("data", {})
    return (
        data["text/plain"] if "ntk-claim" in data.get("text/html", "") else output.get("text", "")
    )


def outputs_of(cell: NotebookNode, draw: Draw) -> list[Block]:
    """Return the pictures among a code cell's outputs; of an explorer, a picture that moves."""
    tags = cell.metadata.get("tags", [])
    swept = [tag.split(":")[1] for tag in tags if tag.startswith("sweep:")]
    if swept:
        name = re.search(r"\bntk\.explore\.(\w+)\(\)", cell.source)[1]
        then = dict(tag[6:].split("=") for tag in tags if tag.startswith("paper:"))
        return [Block("picture", draw(name, swept, then))]
    made = []
    for output in cell.outputs:
        if picture := output.get("data", {}).get("image/png"):
            alt = html.escape(output.metadata["image/png"]["alt"])
            source = f"data:image/png;base64,{picture.replace(chr(10), '')}"
            made.append(Block("picture", f'<figure><img alt="{alt}" src="{source}"></figure>'))
    return made
