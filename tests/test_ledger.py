"""The ledger has every claim once, as its notebook shows it, with what became of it in draws."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import redraw, run_notebooks
from tools.paper import browser

bs4 = pytest.importorskip("bs4", reason="the extra `site` is not installed")
pytest.importorskip("myst_nb", reason="the extra `site` is not installed")
ledger = importlib.import_module("docs.ledger")
claim = importlib.import_module("ntk_helpers.classroom.claim")

ROOT = Path(__file__).resolve().parent.parent
ODD = r"a|b *c* _d_ <e> $f$ [g](h) `i` &amp; \j {k} 1. #l ~~m~~"
CLAIMS = [  # of the lesson whose draws are published
    ("gap", 0.0088, {"below": 0.03, "unit": "%"}, [], 0.00575, 0.0104, False),
    ("usual's", -2.5e-7, {"near": (0, 1e-6)}, [], -2.49e-7, 1.5e-9, False),  # −2.5e-7, as printed
    ("unusual", 0.5, {"above": 0.1}, [], 0.7, 0.9, False),
    ("unlucky", 8, {"above": 7}, [112, 114], 6.0, 8.0, False),
    ("two", 2, {"near": (2, 0.1)}, [], 2.0, 2.0, True),
    (ODD, 1, {"above": 0, "unit": "<u>"}, [], 0.5, 2.0, False),
    ("several", torch.tensor([0.5, 0.6]), {"above": 0.1}, [], 0.45, 0.7, False),
    ("memory", 1.5, {"below": 4, "unit": "GB"}, [], 1.25, 1.75, False),
]
MISSING = "error in cell 9"  # only draw 113 told of it
LANGUAGE = {"language_info": {"name": "python"}}
CONF = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "docs")!r}]
from tools import run_notebooks
run_notebooks.ROOT = Path(__file__).parent
extensions = ["myst_nb", "ledger"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
html_theme = "sphinx_book_theme"
html_static_path = [{str(ROOT / "docs" / "static")!r}]
"""
INDEX = "# A site\n\n```{toctree}\n:glob:\n\ndocs/*\nnotebooks/*\nnotebooks/deeper/*\n```\n"


def cell(*claims):
    """Return a code cell with what `ntk.claim` puts out for each (name, value, options)."""
    outputs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NTK_CLAIMS", raising=False)
        patch.setattr(claim, "present", lambda data, **_: outputs.append(data))
        for name, value, options in claims:
            claim.claim(name, value, **options)
    shown = [new_output("display_data", data=data) for data in outputs]
    return new_code_cell("ntk.claim()", outputs=shown)


def make_course(folder):
    """Write a course of two notebooks; the draws of the first one are published."""
    calls = [(name, value, options) for name, value, options, *_ in CLAIMS]
    notebooks = {
        "notebooks/00_first.ipynb": [
            new_markdown_cell("# First: *two* sections\n\n## 1. About $x$?"),
            cell(*calls[:3]),
            cell(*calls[3:4]),
            new_markdown_cell("## The rest"),
            cell(*calls[4:]),
        ],
        "notebooks/deeper/waiting.ipynb": [new_markdown_cell("# Waiting"), cell(calls[0])],
    }
    for name, cells in notebooks.items():
        (folder / name).parent.mkdir(parents=True)
        nbformat.write(new_notebook(cells=cells, metadata=LANGUAGE), folder / name)
    entries = {MISSING: {"bound": "", "failed": [113], "no_draw": False}}
    entries[MISSING] |= {"least": None, "largest": None}
    for name, _, options, failed, least, largest, no_draw in CLAIMS:
        ((kind, limit),) = [item for item in options.items() if item[0] != "unit"]
        bound = claim._bound(kind, limit, options.get("unit", ""))
        ends = {"least": least, "largest": largest}
        entries[name] = {"bound": bound, "failed": failed, "no_draw": no_draw} | ends
    code = redraw.code_hash(folder / "notebooks/00_first.ipynb")
    published = {"notebooks/00_first.ipynb": {"code": code, "claims": entries}}
    (folder / "tests").mkdir()
    (folder / redraw.CLAIMS).write_text(json.dumps(published), encoding="utf-8")


@pytest.fixture
def course(tmp_path, monkeypatch):
    """Let the tools work in a course of two notebooks; return its folder."""
    make_course(tmp_path)
    monkeypatch.setattr(run_notebooks, "ROOT", tmp_path)
    return tmp_path


def page():
    """Return the ledger as HTML, by the Markdown that the site speaks."""
    from markdown_it.renderer import RendererHTML
    from myst_parser.config.main import MdParserConfig
    from myst_parser.parsers.mdit import create_md_parser

    config = MdParserConfig(enable_extensions={"amsmath", "dollarmath"})
    html = create_md_parser(config, RendererHTML).render(ledger.ledger())
    return bs4.BeautifulSoup(html, "html.parser")


def rows(part):
    """Return the texts of each claim's row: name, bound, value, range, how often it held."""
    found = [cell.parent for cell in part.select("th[scope=row]")]
    return [[cell.text.strip() for cell in row.select("th, td")] for row in found]


def row(name):
    """Return the row of a claim of the made-up course."""
    (found,) = [row for row in rows(page().table) if row[0] == name]
    return found[1:]


# The course's own claims.


def test_every_claim_that_a_notebook_shows_is_there_once_as_printed():
    wanted = {}
    for path in redraw.with_claims():
        outputs = [o for cell in nbformat.read(path, 4).cells for o in cell.get("outputs", [])]
        data = [output.get("data", {}) for output in outputs]
        shown = [d["text/plain"] for d in data if "ntk-claim" in d.get("text/html", "")]
        wanted[f"../{redraw.relative(path)}"] = [text.removeprefix("✓ ") for text in shown]
    found = {
        table.find_previous("h2").a["href"]: [
            f"{name}: {value} ({bound})" for name, bound, value, *_ in rows(table) if value != "–"
        ]
        for table in page().select("table")
    }
    assert sum(map(len, found.values())) > 500
    assert found == wanted


def test_every_published_claim_is_there_once():
    published = json.loads((ROOT / redraw.CLAIMS).read_text(encoding="utf-8"))
    names = {
        table.find_previous("h2").a["href"]: sorted(name for name, *_ in rows(table))
        for table in page().select("table")
    }
    assert {f"../{name}": sorted(entry["claims"]) for name, entry in published.items()} == {
        name: names[name] for name in names if name.removeprefix("../") in published
    }


# A made-up course.


def test_the_counts_are_right(course):
    text = " ".join(page().p.text.split())
    for part in (
        "makes 10 claims in 2 notebooks, and the draws of 9 are published",
        "1 have the same value in every draw, 8 change with the random numbers",
        "7 held in all 20 draws, 2 failed in one or more",
        "For 1 of the 6 that change and held, the notebook's value is outside the range",
    ):
        assert part in text


def test_a_failed_draw_is_named_above_the_tables_and_in_its_row(course):
    luck = [item.text for item in page().select("li")]
    assert luck == [
        "unlucky (above 7), in First: two sections: 6 … 8, held in 18 of 20, not in 112, 114",
        f"{MISSING} (no error), in First: two sections: –, held in 19 of 20, not in 113",
    ]
    assert row("unlucky") == ["above 7", "8", "6 … 8", "18 of 20, not in 112, 114"]


def test_values_are_in_the_unit_of_the_bound(course):
    assert row("gap") == ["below 3 %", "0.88 %", "0.575 … 1.04 %", "20 of 20"]
    assert row("memory") == ["below 4 GB", "1.5 GB", "1.25 … 1.75 GB", "20 of 20"]
    assert row("usual's")[1:3] == ["−2.5·10⁻⁷", "−2.49·10⁻⁷ … 1.5·10⁻⁹"]


def test_what_draws_nothing_and_what_lies_outside_are_told(course):
    assert row("two")[2] == "2, the same in each"
    assert row("unusual")[2] == "0.7 … 0.9, notebook outside"
    assert row("several")[1:3] == ["0.50 … 0.60, 2 draws", "0.45 … 0.7"]


def test_signs_of_markdown_in_a_name_stand_for_themselves(course):
    link = page().find("a", string=ODD)
    assert link["href"] == "../notebooks/00_first.ipynb#claim-6"
    assert not link.select("*")
    assert row(ODD) == ["above 0 <u>", "1 <u>", "0.5 … 2 <u>", "20 of 20"]


def test_claims_stand_under_the_heading_of_their_section(course):
    sections = [(body.th.text.strip(), len(rows(body))) for body in page().table.select("tbody")]
    assert sections[1:] == [("The rest", 4), ("In other draws only", 1)]
    assert sections[0][0].startswith("1. About")
    assert sections[0][1] == 4


def test_a_notebook_without_published_draws_says_so_and_shows_its_values(course):
    waiting = page().select("table")[1]
    assert waiting.caption.text == "Claims: 1; draws not published yet"
    assert rows(waiting) == [["gap", "below 3 %", "0.88 %", "–", "–"]]


def test_draws_of_other_code_do_not_count(course):
    path = course / "notebooks/00_first.ipynb"
    path.write_text(
        path.read_text(encoding="utf-8").replace("claim()", "claim(0)"), encoding="utf-8"
    )
    assert {tuple(row[3:]) for row in rows(page())} == {("–", "–")}
    assert [item.text for item in page().select("li")] == []


# The site.


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build a site of the made-up course and the page of the ledger; return its folder."""
    folder = tmp_path_factory.mktemp("ledger")
    source, site = folder / "source", folder / "site"
    make_course(source)
    (source / "docs").mkdir()
    stub = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", (ROOT / "docs/ledger.md").read_text(encoding="utf-8"))
    for name, text in {"conf.py": CONF, "index.md": INDEX, "docs/ledger.md": stub}.items():
        (source / name).write_text(text, encoding="utf-8")
    options = ["-q", "-W", "--keep-going", "-d", folder / "doctrees", source, site]
    command = [sys.executable, "-m", "sphinx", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr
    return site


@pytest.mark.slow
def test_a_link_leads_to_the_claim_itself(site):
    here = site / "docs" / "ledger.html"
    html = bs4.BeautifulSoup(here.read_text(encoding="utf-8"), "html.parser")
    links = html.select("th[scope=row] a")
    assert len(links) == len(CLAIMS) + 1
    for link in links:
        file, _, place = link["href"].partition("#")
        there = (here.parent / file).read_text(encoding="utf-8")
        badge = bs4.BeautifulSoup(there, "html.parser").find(id=place)
        assert badge.text.startswith(f"✓ {link.text}: ".replace("’", "'"))


@pytest.mark.slow
def test_only_its_page_loads_its_script_and_its_style(site):
    pages = {path.name: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    for file in ("ledger.js", "ledger.css"):
        assert [name for name, text in pages.items() if f"/{file}" in text] == ["ledger.html"]


@pytest.fixture
def visit(site, request):
    """Let a reader open the page in a browser.

    Yields:
        A function that opens it, of settings of the browser.
    """
    pytest.importorskip("playwright.sync_api", reason="needs playwright: extra `browser`")
    if browser() is None:
        pytest.skip("needs Chromium or Chrome on the PATH")
    contexts = []

    def opened(**settings):
        contexts.append(request.getfixturevalue("chromium").new_context(offline=True, **settings))
        tab = contexts[-1].new_page()
        tab.goto((site / "docs" / "ledger.html").as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()


def names(tab):
    """Return the claims that are to be seen."""
    return tab.locator("th[scope=row]:visible").all_inner_texts()


@pytest.mark.slow
def test_words_and_a_choice_leave_fewer_claims_and_their_number_is_read_aloud(visit):
    tab = visit()
    told = tab.get_by_role("status")
    assert told.inner_text() == "10 of 10 claims"
    tab.get_by_role("searchbox", name="With the words").fill("FIRST  unusual")
    assert names(tab) == ["unusual"]
    assert told.inner_text() == "1 of 10 claims"
    assert tab.locator("h2:visible").all_inner_texts()[1:] == ["First: two sections"]
    tab.get_by_label("With the words").fill("usual's")
    assert told.inner_text() == "1 of 10 claims"
    tab.get_by_label("With the words").fill("")
    tab.get_by_label("Show").select_option("what failed in some draw (2)")
    assert names(tab) == ["unlucky", MISSING]
    tab.get_by_label("With the words").fill("two sections a|b")
    assert told.inner_text() == "0 of 10 claims"
    assert tab.locator("table:visible").count() == 0


@pytest.mark.slow
def test_without_javascript_every_claim_is_there(visit):
    tab = visit(java_script_enabled=False)
    assert len(names(tab)) == 10
    assert tab.locator(".ntk-sieve").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390, 800])
def test_a_narrow_page_shows_all_without_scrolling_aside(visit, width):
    tab = visit(viewport={"width": width, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    cells = tab.locator(".ntk-ledger :is(th[scope=row], td)").all()
    assert all(cell.bounding_box()["x"] + cell.bounding_box()["width"] <= width for cell in cells)
