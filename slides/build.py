"""Build the decks: each slide notebook becomes one HTML file that needs no network, and a PDF.

python slides/build.py                 both decks, into build/slides/
python slides/build.py talk            the deck whose name holds "talk"
python slides/build.py --to DIR        somewhere else

A deck shows what was executed: outputs come from the notebook as committed. Only the explorers are
drawn anew, one picture for each position of a slider, so that the slider moves without a kernel.
"""

import argparse
import base64
import io
import itertools
import re
import sys
from functools import cache
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader
from PIL import Image
from pygments.formatters import HtmlFormatter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for who runs this file

from slides.cells import ROOT, slides_of
from tools import paper

HERE = ROOT / "slides"
FRAME_DPI = 160
TEMPLATES = Environment(loader=FileSystemLoader(HERE / "template"), autoescape=False)


@cache
def explorer(name: str):
    """Return an explorer of the course; the decks share it, and so what it has drawn."""
    from ntk_helpers import explore

    return getattr(explore, name)()


def sweep(explorer, names: list[str], then: dict[str, str]) -> str:
    """Return the HTML of an explorer's picture over sliders for the named controls.

    Args:
        explorer: An Explorer.
        names: Controls that move; the last one is the fastest in the order of the pictures.
        then: Control → what its slider shows in the second state that is printed; commas do not
            count. The others stay where they start.

    Raises:
        ValueError: If a slider has no position that shows such a text.
    """
    now = explorer.now
    options = {name: explorer.options(name) for name in names}
    second = {name: position(options, name, text) for name, text in then.items()}
    positions = itertools.product(*(values.values() for values in options.values()))
    settings = [now | dict(zip(names, values, strict=True)) for values in positions]
    frames = [
        {
            "src": address(explorer.frame(dpi=FRAME_DPI, **setting)),
            "alt": explorer.say(**setting),
        }
        for setting in settings
    ]
    return TEMPLATES.get_template("sweep.html").render(
        frames=frames,
        start=settings.index(now),
        now=now,
        second=second,
        options=options,
        labels=explorer.labels,
    )


def position(options: dict[str, dict], name: str, text: str) -> int:
    """Return which position of the slider `name` shows `text`, commas aside."""
    known = {
        f"{each}={shown.replace(',', '')}": at
        for each, values in options.items()
        for at, shown in enumerate(values)
    }
    if f"{name}={text}" not in known:
        raise ValueError(f"There is no paper:{name}={text}: choose from {', '.join(known)}.")
    return known[f"{name}={text}"]


def address(png: bytes) -> str:
    """Return a PNG picture as a data address, with 256 colours: a third of the size, same look."""
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


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
    from ntk_helpers import setup

    setup()  # the style of figures
    notebook = nbformat.read(path, as_version=4)
    files = ("reveal.js/reveal.js", "mathjax/tex-svg-full.js")
    scripts = [(HERE / "template/before.js").read_text(encoding="utf-8")]
    scripts += [(HERE / "vendor" / file).read_text(encoding="utf-8") for file in files]
    scripts.append((HERE / "template/deck.js").read_text(encoding="utf-8"))
    slides = slides_of(notebook, lambda name, *swept: sweep(explorer(name), *swept))
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
    wanted = page.count("<section ") + page.count('<figure class="sweep" data-again>')
    if pages != wanted:
        raise RuntimeError(f"{pages} pages of {deck.name} were printed, not {wanted}.")
    return target


def main() -> None:
    """Build the decks that the command line names."""
    parser = argparse.ArgumentParser(
        prog="course.py slides", description="Build the offline decks."
    )
    parser.add_argument("name", nargs="*", default=[""], help="part of a deck's name; all if none")
    parser.add_argument("--to", type=Path, default=ROOT / "build" / "slides", metavar="DIR")
    arguments = parser.parse_args()
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
