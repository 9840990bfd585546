"""Build the decks: each slide notebook becomes one HTML file that needs no network, and a PDF.

python slides/build.py                 both decks, into build/slides/
python slides/build.py talk            the deck whose name holds "talk"
python slides/build.py --to DIR        somewhere else

A deck shows what was executed: outputs come from the notebook as committed. Only the explorers are
drawn anew, from numbers for each position of a slider, so that the slider moves without a kernel.
"""

import argparse
import base64
import html
import json
import re
import sys
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader
from pygments.formatters import HtmlFormatter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for who runs this file

from slides.cells import ROOT, slides_of
from tools import paper, scenes

HERE = ROOT / "slides"
TEMPLATES = Environment(loader=FileSystemLoader(HERE / "template"), autoescape=False)


def sweep(data: dict, then: dict[str, str]) -> str:
    """Return the HTML of an explorer, which docs/static/explorer.js fills.

    Args:
        data: Its pictures, from tools/scenes.py.
        then: Control → what its slider shows in the second state that is printed; commas do not
            count. The others stay where they start.

    Raises:
        ValueError: If a slider has no position that shows such a text.
    """
    second = html.escape(json.dumps({name: position(data, name, then[name]) for name in then}))
    written = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    numbers = f'<script type="application/json">{written}</script>'
    return f'<figure class="sweep" data-second="{second}">{numbers}</figure>'


def position(data: dict, name: str, text: str) -> int:
    """Return which position of the slider `name` shows `text`, commas aside."""
    known = {
        f"{control['name']}={shown.replace(',', '')}": at
        for control in data["controls"]
        for at, shown in enumerate(control["texts"])
    }
    if f"{name}={text}" not in known:
        raise ValueError(f"There is no paper:{name}={text}: choose from {', '.join(known)}.")
    return known[f"{name}={text}"]


def style() -> str:
    """Return the style sheet: reveal.js's, ours, colours of code, and the letters themselves."""
    css = [(HERE / "vendor/reveal.js/reveal.css").read_text(encoding="utf-8")]
    css.append((HERE / "template/deck.css").read_text(encoding="utf-8"))
    css.append(HtmlFormatter(style="xcode").get_style_defs(".source"))
    css.append(HtmlFormatter(style="github-dark").get_style_defs('[data-theme="dark"] .source'))
    for file in sorted((HERE / "vendor/source-sans-3").glob("*.woff2")):
        _, _, _, script, _, slant = file.stem.split("-")
        reach = "U+0370-03FF" if script == "greek" else "U+0-2FF,U+2000-206F,U+2190-22FF"
        font = base64.b64encode(file.read_bytes()).decode()
        css.append(
            f'@font-face{{font-family:"Source Sans 3";font-style:{slant};font-weight:200 900;'
            f"unicode-range:{reach};src:url(data:font/woff2;base64,{font}) format('woff2')}}"
        )
    return "\n".join(css)


def build(path: Path) -> str:
    """Return the deck of the slide notebook at `path` as one HTML page."""
    notebook = nbformat.read(path, as_version=4)
    files = ("reveal.js/reveal.js", "mathjax/tex-svg-full.js")
    scripts = [(HERE / "template/before.js").read_text(encoding="utf-8")]
    scripts += [(HERE / "vendor" / file).read_text(encoding="utf-8") for file in files]
    scripts.append((ROOT / "docs/static/explorer.js").read_text(encoding="utf-8"))
    scripts.append((HERE / "template/deck.js").read_text(encoding="utf-8"))
    slides = slides_of(
        notebook, lambda name, controls, then: sweep(scenes.pictures(name, controls), then)
    )
    return TEMPLATES.get_template("deck.html").render(
        title=re.sub("<[^>]+>", "", slides[0].title),
        slides=slides,
        signpost=paper.signpost(),
        css=style(),
        scripts=scripts,
    )


def print_pdf(deck: Path) -> Path | None:
    """Print a deck to a PDF beside it; return its path, or None if there is no browser to do it.

    Raises:
        RuntimeError: If the browser does not print all slides, and all second states.
    """
    if paper.browser() is None:
        return None
    target = deck.with_suffix(".pdf")
    pages = paper.print_pdf(f"{deck.as_uri()}?print-pdf", target)
    page = deck.read_text(encoding="utf-8")
    wanted = page.count("<section ") + len(
        re.findall(r'<figure class="sweep" data-second="\{[^}]', page)
    )
    if pages != wanted:
        raise RuntimeError(f"{pages} pages of {deck.name} were printed, not {wanted}.")
    return target


def main(words: list[str] | None = None) -> None:
    """Build the decks that the command line, or `words` in its place, names."""
    parser = argparse.ArgumentParser(
        prog="course.py slides", description="Build the offline decks."
    )
    parser.add_argument("name", nargs="*", default=[""], help="part of a deck's name; all if none")
    parser.add_argument("--to", type=Path, default=ROOT / "build" / "slides", metavar="DIR")
    arguments = parser.parse_args(words)
    notebooks = sorted(HERE.glob("ntk_*.ipynb"))
    chosen = [path for path in notebooks if any(name in path.stem for name in arguments.name)]
    if not chosen:
        sys.exit(f"No deck has such a name: there are {', '.join(p.stem for p in notebooks)}.")
    arguments.to.mkdir(parents=True, exist_ok=True)
    for path in chosen:
        deck = arguments.to.resolve() / f"{path.stem}.html"
        deck.write_text(build(path), encoding="utf-8", newline="\n")
        print(f"{deck} ({deck.stat().st_size / 1e6:.1f} MB)", flush=True)
        if pdf := print_pdf(deck):
            print(pdf)
        else:
            print("No PDF: that needs Chromium or Chrome on the PATH. (Or open the deck in any")
            print("browser with ?print-pdf after its name, and print it.)")


if __name__ == "__main__":
    main()
