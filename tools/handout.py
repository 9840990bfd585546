"""Print the hand-out, docs/handout.html, as a PDF: formulas with their conditions.

python course.py handout             build/handout.pdf; needs Chromium or Chrome, and no network
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE, PDF = ROOT / "docs" / "handout.html", ROOT / "build" / "handout.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


def main() -> None:
    """Let a browser without a window print the page, after its formulas are drawn."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(
            f"There is no Chromium to print with: open {PAGE} in a browser and print it there."
        )
    PDF.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--no-pdf-header-footer"]
        options += [f"--user-data-dir={profile}", "--virtual-time-budget=20000"]
        command = [browser, *options, f"--print-to-pdf={PDF}", PAGE.as_uri()]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=120
        )
    if done.returncode or not PDF.is_file():
        sys.exit(f"{browser} could not print the page:\n{done.stderr[-1000:]}")
    print(f"Printed {PDF.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
