"""Print the hand-out, docs/handout.html, as a PDF: formulas with their conditions.

python course.py handout             build/handout.pdf; needs Chromium or Chrome, and no network
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for who runs this file

from tools import paper

ROOT = Path(__file__).resolve().parent.parent
PAGE, PDF = ROOT / "docs" / "handout.html", ROOT / "build" / "handout.pdf"


def signed() -> str:
    """Return the page with the way to the course on it, for a browser to read at any place."""
    text = PAGE.read_text(encoding="utf-8").replace("<!-- signpost -->", paper.signpost())
    return text.replace("<title>", f'<base href="{PAGE.as_uri()}">\n<title>', 1)


def print_to(target: Path) -> None:
    """Let a browser without a window print the page, after its formulas are drawn.

    Raises:
        RuntimeError: If it does not.
    """
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "handout.html"
        page.write_text(signed(), encoding="utf-8")
        paper.print_pdf(page.as_uri(), target)


def main() -> None:
    """Print the hand-out, or say why not."""
    if paper.browser() is None:
        sys.exit(
            f"There is no Chromium to print with: open {PAGE} in a browser and print it there."
        )
    PDF.parent.mkdir(exist_ok=True)
    try:
        print_to(PDF)
    except RuntimeError as error:
        sys.exit(str(error))
    print(f"Printed {PDF.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
