"""Build the static site: lessons that move, decks, hand-out; build/site/index.html.

python course.py site             build it; this needs no network, nor does reading it from a disk
python course.py site FOLDER      into another folder than build/site
"""

import io
import re
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path

from PIL import Image
from sphinx.cmd.build import main as sphinx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for who runs this file

from ntk_helpers._progress import tqdm
from slides import build as decks
from tools import handout, paper

ROOT = Path(__file__).resolve().parent.parent
HEAVY = 400e3  # bytes, which no picture of the site may have
SOURCE_MAP = re.compile(r"\n//# sourceMappingURL=\S*|/\*# sourceMappingURL=.*?\*/")
# A script of 1.6 MB that draws the theme's icons anew; its fonts have drawn them already.
ICONS = re.compile(r"<script[^>]*scripts/fontawesome\.js[^>]*></script>")


def main(words: list[str] | None = None) -> int:
    """Let Sphinx build the pages, put decks and hand-out beside them, and return the exit code."""
    parser = ArgumentParser(prog="course.py site", description="Build the site of the course.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "site")
    site = parser.parse_args(words).folder
    with tempfile.TemporaryDirectory() as trees:
        # A warning is an error: a dead link, a broken docstring, a picture that is not there.
        options = ["-q", "-W", "--keep-going", "-E", "-d", trees, "-c", str(ROOT / "docs")]
        if code := sphinx([*options, str(ROOT), str(site)]):
            return code
    lighten(site)
    add_decks(site / "slides")
    print(f"Open {site / 'index.html'}")
    return 0


def lighten(site: Path) -> None:
    """Give the pictures palettes, and leave out what the theme brings and no page needs.

    Raises:
        SystemExit: If a picture is too heavy all the same.
    """
    for path in tqdm(sorted(site.glob("_images/*.png")), desc="pictures"):
        buffer = io.BytesIO()
        with Image.open(path) as picture:
            plain = picture.convert("RGB")
        palette = plain.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        palette.save(buffer, "PNG", optimize=True)
        path.write_bytes(buffer.getvalue())
        if len(buffer.getvalue()) > HEAVY:
            sys.exit(f"{path.name} has {len(buffer.getvalue()) / 1e3:.0f} kB: draw it smaller.")
    for path in site.glob("_static/**/*.map"):
        path.unlink()
        script = path.with_suffix("")
        text = script.read_text(encoding="utf-8")
        script.write_text(SOURCE_MAP.sub("", text), encoding="utf-8")
    for path in site.rglob("*.html"):
        path.write_text(ICONS.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")


def add_decks(folder: Path) -> None:
    """Build the decks, and print them and the hand-out if there is a browser to do it."""
    decks.main(["--to", str(folder)])
    if paper.browser():
        handout.print_to(folder / "handout.pdf")


if __name__ == "__main__":
    sys.exit(main())
