"""A Sphinx extension: the ledger of all claims, with how often each held in other draws.

A page of this folder has it in the place of the line <!-- ledger -->. Each claim on a notebook's
page gets an id, to which the ledger leads; MyST tells of a link that is dead.
"""

import json
import re
from collections import Counter, defaultdict
from html import escape, unescape
from pathlib import Path
from typing import NamedTuple

import nbformat
from docutils import nodes
from sphinx.application import Sphinx

from ntk_helpers.classroom.claim import number
from tools import redraw, run_notebooks

BADGE = re.compile(  # what ntk.claim puts out: name, value, bound
    r'<div class="ntk-claim"[^>]*>\S ([^<]*): <b class="ntk-value">([^<]*)</b> \(([^<]*)\)</div>'
)
NUMBER = re.compile(r"−?[\d.]+(?:·10⁻?[⁰¹²³⁴-⁹]+)?")  # as ntk.claim writes it
DIGITS = str.maketrans("−⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "--0123456789")
RUNS = len(redraw.PUBLISHED)
TABLE = """
<table class="ntk-ledger"><caption>Claims: {}; {}</caption>
<thead><tr><th scope="col">Claim</th><th scope="col">Bound</th><th scope="col">Notebook</th>
<th scope="col">Other draws</th><th scope="col">Held</th></tr></thead>
{}</table>
"""  # In it, what stands between empty lines is Markdown.
BODY = '<tbody><tr><th scope="rowgroup" colspan="5">\n\n**{}**\n\n</th></tr>\n{}</tbody>\n'
ROW = '<tr class="ntk-{}"><th scope="row">\n\n{}\n\n</th>' + 4 * "<td>{}</td>" + "</tr>\n"


class Claim(NamedTuple):
    """One claim of a notebook."""

    section: str  # the heading above it
    link: str  # its name as Markdown, which leads to it
    here: str  # its value in the notebook, as printed there
    bound: str
    draws: dict | None  # its entry in claims.json

    def kind(self) -> str:
        """Return by what a reader can choose it: waiting, failed, same, outside or inside."""
        if not self.draws or self.draws["failed"]:
            return "failed" if self.draws else "waiting"
        if self.draws["no_draw"]:
            return "same"
        ends = [number(self.draws[end], self.bound[-1:]) for end in ("least", "largest")]
        texts = NUMBER.findall(self.here.partition(",")[0]) + ends
        values = [float(text.translate(DIGITS).replace("·10", "e")) for text in texts]
        return "outside" if {min(values), max(values)} - {*values[-2:]} else "inside"

    def told(self) -> list[str]:
        """Return the texts of its row: bound, value here, range over the draws, how often held."""
        if not self.draws:
            return [self.bound, self.here, "–", "–"]
        failed, ends = self.draws["failed"], [self.draws["least"], self.draws["largest"]]
        numbers = [number(end, self.bound[-1:], exact=True) for end in ends if end is not None]
        unit = "".join(re.findall(r" [^\d−]\S*$", self.draws["bound"]))
        notes = {"same": ", the same in each", "outside": ", notebook outside"}
        span = (" … ".join(dict.fromkeys(numbers)) or "–") + unit + notes.get(self.kind(), "")
        held = f"{RUNS - len(failed)} of {RUNS}" + f", not in {str(failed)[1:-1]}" * bool(failed)
        return [self.bound, self.here, span, held]


def ledger() -> str:
    """Return the ledger as Markdown; its links start from a page in this folder."""
    notebooks = [(f"../{redraw.relative(path)}", *read(path)) for path in redraw.with_claims()]
    rows = [(title, claim) for _, title, claims in notebooks for claim in claims]
    count = Counter(claim.kind() for _, claim in rows)
    held = count["inside"] + count["outside"]
    head = (
        f"The course makes **{len(rows)} claims** in {len(notebooks)} notebooks, and the draws of "
        f"{len(rows) - count['waiting']} are published: {count['same']} have the same value in "
        f"every draw, {held + count['failed']} change with the random numbers. "
        f"**{held + count['same']} held in all {RUNS} draws**, {count['failed']} failed in one or "
        f"more. For {count['outside']} of the {held} that change and held, the notebook's value is "
        f"outside the range of the others; about {2 * held / (RUNS + 1):.0f} should be, by chance."
    )
    luck = [
        f"- {claim.link} ({claim.bound}), in *{title}*: {', held in '.join(claim.told()[2:])}"
        for title, claim in rows
        if claim.kind() == "failed"
    ]
    tables = [f"\n## [{title}]({page})\n{table(claims)}" for page, title, claims in notebooks]
    return "\n".join([head, "\n## Told as luck\n", *(luck or ["None."]), *tables])


def read(path: Path) -> tuple[str, list[Claim]]:
    """Return a notebook's title and its claims, as shown there, then those of other draws alone.

    Draws of other code than the notebook has now count as not published.
    """
    page = redraw.relative(path)
    file = json.loads((run_notebooks.ROOT / redraw.CLAIMS).read_text(encoding="utf-8"))
    entry = file.get(page, {"code": "", "claims": {}})
    draws = entry["claims"] if entry["code"] == redraw.code_hash(path) else {}
    title, section, claims = "", "Opening", {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            title = title or re.match(r"# (.+)", cell.source)[1]
            section = [section, *re.findall(r"^## (.+)$", cell.source, re.MULTILINE)][-1]
        for output in cell.get("outputs", []):
            for badge in BADGE.findall(output.get("data", {}).get("text/html", "")):
                name, *texts = map(unescape, badge)
                link = f"[{plain(name)}](../{page}#claim-{len(claims) + 1})"
                claims[name] = Claim(section, link, *texts, draws.get(name))
    for name in sorted(draws.keys() - claims.keys()):
        bound = draws[name]["bound"] or "no error"
        claims[name] = Claim("In other draws only", plain(name), "–", bound, draws[name])
    return title, [*claims.values()]


def plain(text: str) -> str:
    """Return text as Markdown in which each sign stands for itself."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def table(claims: list[Claim]) -> str:
    """Return the claims of a notebook as a table of HTML, with a Markdown link in each row."""
    kinds, bodies = [claim.kind() for claim in claims], defaultdict(str)
    for claim, kind in zip(claims, kinds, strict=True):
        bodies[claim.section] += ROW.format(kind, claim.link, *map(escape, claim.told()))
    held = f"held in all {RUNS} draws: {len(claims) - kinds.count('failed')}"
    caption = "draws not published yet" if "waiting" in kinds else held
    parts = [BODY.format(section, rows) for section, rows in bodies.items()]
    return TABLE.format(len(claims), caption, "".join(parts))


def fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Put the ledger in the place of its mark."""
    source[0] = re.sub(r"^<!-- ledger -->$", lambda _: ledger(), source[0], flags=re.MULTILINE)


def give_ids(app: Sphinx, doctree: nodes.document) -> None:
    """Number the claims of a page, and let MyST know these places as it knows headings."""
    known = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    claims = [node for node in doctree.findall(nodes.raw) if BADGE.match(node.astext())]
    for place, node in enumerate(claims, 1):
        node[0] = nodes.Text(node.astext().replace("<div", f'<div id="claim-{place}"', 1))
        known[f"claim-{place}"] = (node.line, f"claim-{place}", "")


def add_files(app: Sphinx, _page, _template, _context, doctree: nodes.document | None) -> None:
    """Let a page with the ledger load its script and its style."""
    if doctree and any("ntk-ledger" in node.astext() for node in doctree.findall(nodes.raw)):
        app.add_js_file("ledger.js", defer="defer")
        app.add_css_file("ledger.css")


def setup(app: Sphinx) -> dict:
    """Connect all this with Sphinx."""
    app.connect("source-read", fill)
    app.connect("doctree-read", give_ids)
    app.connect("html-page-context", add_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
