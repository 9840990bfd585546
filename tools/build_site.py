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
    """Give the pictures palettes, and leave out the source maps of the theme's scripts.

    Raises:
        SystemExit: If a picture is too heavy all the same.
    """
    for path in tqdm(sorted(site.glob("_images/*.png")), desc="pictures"):
        buffer = io.BytesIO()
        picture = Image.open(path).convert("RGB")
        palette = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        palette.save(buffer, "PNG", optimize=True)
        if len(buffer.getvalue()) < path.stat().st_size:
            path.write_bytes(buffer.getvalue())
        if path.stat().st_size > HEAVY:
            sys.exit(f"{path.name} has {path.stat().st_size / 1e3:.0f} kB: draw it smaller.")
    for path in site.glob("_static/**/*.map"):
        path.unlink()
        script = path.with_suffix("")
        text = script.read_text(encoding="utf-8")
        script.write_text(
            re.sub(r"\n//# sourceMappingURL=.*|/\*# source.*?\*/", "", text), encoding="utf-8"
        )


def add_decks(folder: Path) -> None:
    """Build the decks, and print them and the hand-out if there is a browser to do it."""
    decks.main(["--to", str(folder)])
    if paper.browser():
        handout.print_to(folder / "handout.pdf")


if __name__ == "__main__":
    sys.exit(main())
