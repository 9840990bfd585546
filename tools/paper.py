"""What the hand-out and the decks share: a page printed to a PDF, and the way to the course on it.

The place of the course is the one that `python course.py stamp` has written. Until it has, there is
no address to print, and the signpost says so.
"""

import html
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools import stamp

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
NOT_YET = "This copy has no address yet: <code>python course.py stamp</code> prints it here."


def browser() -> str | None:
    """Return the path of a browser that can print, or None if there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def print_pdf(address: str, target: Path) -> int:
    """Let the browser print the page at `address` to the file `target`; return its pages.

    Raises:
        RuntimeError: If the browser writes no file.
    """
    options = ["--headless", "--disable-gpu", "--no-pdf-header-footer", f"--print-to-pdf={target}"]
    options.append("--virtual-time-budget=20000")  # formulas are drawn before the page is printed
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium wants it of root
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser(), *options, f"--user-data-dir={profile}", address]
        words = {"text": True, "errors": "replace"}
        done = subprocess.run(command, capture_output=True, timeout=180, **words)
    if done.returncode or not target.is_file():
        raise RuntimeError(f"{command[0]} could not print {address}:\n{done.stderr[-1000:]}")
    return len(re.findall(rb"/Type /Page\b", target.read_bytes()))


def signpost() -> str:
    """Return the address of the course with its QR code as HTML, or one honest line."""
    place = stamp.current()
    if stamp.is_placeholder(place):
        return f'<div class="signpost"><p>{NOT_YET}</p></div>'
    import segno  # of the extra `slides`

    address = html.escape(f"github.com/{place.slug}")
    code = segno.make(f"https://{address}", error="m", micro=False)
    picture = code.svg_inline(omitsize=True, dark="#000", light="#fff")
    picture = picture.replace("<svg ", f'<svg role="img" aria-label="QR code of {address}" ', 1)
    shown = address.replace("/", "/<wbr>")
    return f'<div class="signpost">{picture}<p><a href="https://{address}">{shown}</a></p></div>'
