"""The static site has each lesson, describes each picture, and loads nothing from another host."""

import itertools
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import nbformat
import pytest
from PIL import Image

import ntk_helpers as ntk
from ntk_helpers import explore
from tools import minutes, run_notebooks, stamp
from tools.paper import browser

pytest.importorskip("myst_nb", reason="the extra `site` is not installed")
pytest.importorskip("sphinx_book_theme", reason="the extra `site` is not installed")
bs4 = pytest.importorskip("bs4", reason="comes with the theme")
pytest.importorskip("sphinx_copybutton", reason="the extra `site` is not installed")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
in_browser = pytest.mark.skipif(browser() is None, reason="needs Chromium or Chrome on the PATH")
# What axe finds in what the theme makes: a logo outside of every landmark, a summary of no name.
OF_THE_THEME = {"region": "sidebar-primary", "summary-name": "summary"}
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(NamedTuple):
    """What a page of the site refers to.

    Attributes:
        loaded: Addresses of what the browser fetches to show it.
        links: Addresses that a reader can follow.
        anchors: Places in it that an address can name.
        pictures: (address, description) of each picture.
    """

    loaded: list[str]
    links: list[str]
    anchors: set[str]
    pictures: list[tuple[str, str]]


class Site(NamedTuple):
    """The site that was built.

    Attributes:
        folder: Where it lies.
        pages: Path in it → the page; without the theme's own files.
    """

    folder: Path
    pages: dict[Path, Page]


class Reader(HTMLParser):
    """Reads one page."""

    def __init__(self, text: str):
        """Read it."""
        super().__init__()
        self.page = Page([], [], set(), [])
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = {name: value or "" for name, value in attributes}
        self.page.anchors.update(found.get(name, "") for name in ("id", "name"))
        if found.get(LOADED.get(tag, "")) and found.get("rel") not in ("canonical", "edit"):
            self.page.loaded.append(found[LOADED[tag]])
        if tag == "a" and "href" in found:
            self.page.links.append(found["href"])
        if tag == "img":
            self.page.pictures.append((found["src"], found.get("alt", "")))


def soup(site: Site, path: Path | str) -> bs4.BeautifulSoup:
    """Return a page of the site to look into."""
    return bs4.BeautifulSoup((site.folder / path).read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site."""
    folder = tmp_path_factory.mktemp("site").resolve()
    command = [sys.executable, str(ROOT / "tools" / "build_site.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr
    paths = [path for path in folder.rglob("*.html") if "_static" not in path.parts]
    read = [Reader(path.read_text(encoding="utf-8")).page for path in paths]
    return Site(folder, {p.relative_to(folder): page for p, page in zip(paths, read, strict=True)})


def test_every_notebook_has_a_page_and_the_contents_lead_to_it(site):
    wanted = [path.relative_to(ROOT).with_suffix(".html") for path in NOTEBOOKS]
    assert [path for path in wanted if path not in site.pages] == []
    links = site.pages[Path("docs/contents.html")].links
    assert [path for path in wanted if f"../{path.as_posix()}" not in links] == []


def test_the_front_page_has_three_doors_and_a_card_with_a_picture_for_each_lesson(site):
    page = soup(site, "index.html")
    doors = [link["href"] for link in page.select(".doors a")]
    assert doors == ["notebooks/00_start_here.html", "README.html#two-commands", "TEACHING.html"]
    lessons = [
        path for path in NOTEBOOKS if path.name[:2].isdigit() and path.parent.name == "notebooks"
    ]
    for path, card in zip(lessons, page.select(".cards a"), strict=True):
        assert card["href"] == f"notebooks/{path.stem}.html"
        assert (site.folder / card.img["src"]).stat().st_size < 100e3
        assert card.img["alt"] in path.read_text(encoding="utf-8")
        assert f"{minutes.printed(nbformat.read(path, as_version=4))} minutes" in card.text
    assert {"slides/ntk_talk.html", "docs/ledger.html"} <= {*site.pages[Path("index.html")].links}


def test_lesson_00_and_the_front_page_train_the_network_of_play_html(site):
    script = soup(site, ROOT / "play.html").find("script", id="ntk-play").string
    assert (site.folder / "_static" / "play.js").read_text(encoding="utf-8") == script
    for name in ("index.html", "notebooks/00_start_here.html"):
        page = soup(site, name)
        assert len(page.find_all("ntk-play")) == 1
        assert any("play.js" in script.get("src", "") for script in page.find_all("script"))


def test_every_explorer_has_its_numbers_and_keeps_its_picture_for_who_has_no_javascript(site):
    found = {}
    for path in site.pages:
        for figure in soup(site, path).select("figure.ntk-explorer"):
            found[figure["data-from"]] = path
            assert figure.img["alt"].startswith("Explorer: ")
    assert {*found} == {*explore.__all__} - {"Control", "Explorer"}
    for name in found:
        script = site.folder / "_static" / "explorers" / f"{name}.js"
        assert script.read_text(encoding="utf-8").startswith(f'ntkExplorer.deliver("{name}", {{')
        assert script.stat().st_size < 1e6


def test_pictures_have_palettes_and_nothing_is_heavier_than_it_must_be(site):
    for path in site.folder.glob("_images/*.png"):
        assert path.stat().st_size <= 400e3, path.name
        with Image.open(path) as picture:
            assert picture.mode == "P", path.name
    assert list(site.folder.rglob("*.map")) == []


def test_the_parts_of_a_formula_that_a_gap_holds_apart_may_stand_on_lines_of_their_own(site):
    rows = soup(site, "notebooks/05_closed_form_mse.html").select(".ntk-formulas")
    found = [[part.text.strip() for part in row.select("div.math")] for row in rows]
    assert len(found) >= 4
    assert min(map(len, found)) >= 2
    for formula in itertools.chain(*found):
        assert "qquad" not in formula
        assert formula.count("{") == formula.count("}")
        assert formula.count(r"\left") == formula.count(r"\right")


def test_a_page_tells_others_what_it_is(site):
    for name in ("index.html", "notebooks/06_pinn.html"):
        page = soup(site, name)
        said = {
            tag.get("name", tag.get("property")): tag["content"]
            for tag in page.select("meta[content]")
        }
        assert said["description"] == said["og:description"] != ""
        assert (site.folder / Path(name).parent / said["og:image"]).resolve().is_file()
        assert page.select_one('link[rel*="icon"]')["href"].endswith("icon.svg")
    assert said["description"] == "Why do physics-informed networks fail to train?"


def test_no_page_loads_anything_from_another_host(site):
    outside = [
        (str(path), address)
        for path, page in site.pages.items()
        for address in page.loaded
        if urlsplit(address).netloc
    ]
    assert outside == []


def test_formulas_are_drawn_by_the_site_s_own_mathjax(site):
    page = site.pages[Path("notebooks/00_start_here.html")]
    scripts = [address for address in page.loaded if "mathjax" in address or "tex-" in address]
    assert [urlsplit(address).path for address in scripts] == ["../_static/tex-svg-full.js"]
    assert (site.folder / "_static" / "tex-svg-full.js").stat().st_size > 1e6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_figure_keeps_its_description(site, path):
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    wanted = [o.metadata["image/png"]["alt"] for o in outputs if "image/png" in o.get("data", {})]
    page = site.pages[path.relative_to(ROOT).with_suffix(".html")]
    shown = [alt for address, alt in page.pictures if "_images/" in address]
    assert [" ".join(alt.split()) for alt in shown] == [" ".join(alt.split()) for alt in wanted]


def test_links_inside_the_site_lead_somewhere(site):
    dead = []
    for path, page in site.pages.items():
        for address in {*page.links, *page.loaded}:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            here = site.folder / path
            target = (here.parent / unquote(parts.path)).resolve() if parts.path else here
            there = site.pages.get(target.relative_to(site.folder))
            lost = there and parts.fragment and unquote(parts.fragment) not in there.anchors
            if lost or not target.exists():
                dead.append((str(path), address))
    assert dead == []


def test_a_lesson_can_be_run_where_the_course_is_hosted_without_its_answers(site):
    place = stamp.current()
    links = site.pages[Path("notebooks/01_gradient_flow.html")].links
    colab = f"google.com/github/{place.slug}/blob/learners-{place.tag}/notebooks/01_gradient_flow"
    binder = f"mybinder.org/v2/gh/{place.slug}/{place.tag}?urlpath=lab/tree/work/01_gradient_flow"
    launchers = [link for link in links if "mybinder" in link or "colab" in link]
    assert len(launchers) == 2
    assert binder in launchers[0]
    assert colab in launchers[1]
    assert stamp.strangers("\n".join(links), place) == []


def test_the_map_of_the_course_leads_to_pages(site):
    links = site.pages[Path("notebooks/01_gradient_flow.html")].links
    assert {"00_start_here.html", "07_beyond_the_kernel.html"} <= {*links}


def test_the_reference_describes_every_public_name(site):
    pages = [page for path, page in site.pages.items() if path.parts[:2] == ("docs", "api")]
    described = {anchor.rpartition(".")[2] for page in pages for anchor in page.anchors}
    described |= {"data", "exercises", "explore", "plots"}  # modules: their parts are described
    assert {*ntk.__all__} - described == set()


# The site in a browser without a network.

LESSONS = ["notebooks/00_start_here.html", "notebooks/06_pinn.html"]
PATH = [f"notebooks/{path.stem}.html" for path in NOTEBOOKS if path.stem[:2].isdigit()][:9]
LIGHT = 2e6  # bytes that a page may load before the reader scrolls, MathJax aside
# What is wider than the screen: a formula, a table, a picture; code scrolls in its own box.
CUT = """() => [...document.querySelectorAll(
    "mjx-container[display] svg, .bd-article img, .ntk-stage svg, .bd-article table")]
  .filter(part => part.checkVisibility() && part.getBoundingClientRect().right > innerWidth)
  .map(part => part.outerHTML.slice(0, 80))"""


@pytest.fixture
def visit(chromium, site):
    """Let a reader open a page of the site.

    Yields:
        A function that opens it, of its name and settings of the browser.
    """
    contexts = []

    def opened(name, **settings):
        context = chromium.new_context(offline=True, **settings)
        contexts.append(context)
        page = context.new_page()
        page.loaded = []
        page.on("requestfinished", lambda request: page.loaded.append(request.url))
        file, *query = name.split("?")
        page.goto("?".join([(site.folder / file).as_uri(), *query]))
        return page

    yield opened
    for context in contexts:
        context.close()


def phone(width=390):
    """Return the settings of a screen of this width."""
    return {"viewport": {"width": width, "height": 844}}


@in_browser
@pytest.mark.parametrize("name", ["index.html", *LESSONS, "docs/ledger.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_is_ours(visit, name, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="extra `browser`")
    page = visit(name, color_scheme=scheme)
    if page.locator(".ntk-bar button").count():
        page.locator(".ntk-bar button").click()
    found = axe.Axe().run(page).response["violations"]
    parts = [(rule["id"], node["target"][0]) for rule in found for node in rule["nodes"]]
    assert [at for rule, at in parts if OF_THE_THEME.get(rule, "nothing") not in at] == []


@in_browser
@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("name", ["index.html", "docs/ledger.html", *PATH])
def test_nothing_is_wider_than_the_screen(visit, name, width):
    page = visit(name, **phone(width))
    page.wait_for_function("!window.MathJax || MathJax.startup.promise.then(() => true)")
    if page.locator(".ntk-bar button").count():
        page.locator(".ntk-bar button").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT) == []


@in_browser
@pytest.mark.parametrize("name", ["index.html", *PATH])
def test_a_page_is_light_before_the_reader_scrolls(visit, site, name):
    page = visit(name, **phone(1280))
    page.wait_for_load_state("networkidle")
    files = {Path(url2pathname(urlsplit(url).path)) for url in page.loaded}
    weights = {file.name: file.stat().st_size for file in files if file.is_file()}
    weights.pop("tex-svg-full.js", None)
    assert sum(weights.values()) <= LIGHT, weights


@in_browser
def test_on_paper_a_lesson_has_all_its_figures_though_nobody_voted_or_scrolled(visit):
    page = visit(LESSONS[1])
    page.emulate_media(media="print")
    pictures = page.locator(".bd-article .cell_output img")
    assert pictures.count() >= 8
    assert all(picture.is_visible() for picture in pictures.all())
    page.wait_for_load_state("networkidle")
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.locator(":is(.ntk-bar, .ntk-wait)").locator("visible=true").count() == 0


@in_browser
def test_an_explorer_is_moved_by_the_keyboard_and_says_what_it_shows(visit):
    page = visit("notebooks/05_closed_form_mse.html")
    page.locator(".ntk-bar button").click()
    figure = page.locator("figure[data-from=mode_by_mode]")
    figure.scroll_into_view_if_needed()
    figure.locator("svg").wait_for()
    seen = set()
    for i, slider in enumerate(figure.locator("input").all()):
        slider.focus()
        for key in ("Home", "End"):
            page.keyboard.press(key)
            picture = figure.locator("svg")
            seen.add(picture.evaluate("svg => svg.innerHTML.replaceAll(/ntk-clip-\\d+/g, '')"))
            assert picture.get_attribute("aria-label") == figure.locator("figcaption").inner_text()
        shown = figure.locator("output").nth(i).inner_text()
        assert slider.get_attribute("aria-valuetext") == shown
    assert len(seen) == 4
    figure.locator(".ntk-reset").click()
    first = figure.locator("figcaption").inner_text()
    figure.get_by_role("button", name="Play: time t").click()
    said = "document.querySelector('figure[data-from=mode_by_mode] figcaption').innerText"
    page.wait_for_function(f"told => {said} !== told", arg=first)


@in_browser
def test_explorers_stack_their_panels_on_a_phone(visit):
    tall = {}
    for width in (1400, 390):
        page = visit("notebooks/05_closed_form_mse.html", **phone(width))
        page.locator(".ntk-bar button").click()
        picture = page.locator("figure[data-from=mode_by_mode]")
        picture.scroll_into_view_if_needed()
        box = picture.locator("svg").bounding_box()
        tall[width] = box["height"] / box["width"]
    assert tall[390] > 2 * tall[1400]


@in_browser
def test_a_figure_and_a_formula_are_enlarged_by_a_click(visit):
    page = visit(LESSONS[0], **phone())
    page.wait_for_function("window.MathJax?.startup?.promise?.then(() => true)")
    page.locator(".ntk-bar button").click()
    for part in (".cell_output img", "mjx-container[display] svg"):
        small = page.locator(part).first
        small.scroll_into_view_if_needed()
        small.click()
        large = page.locator(".ntk-large > *")
        assert large.bounding_box()["width"] > 1.5 * small.bounding_box()["width"]
        page.keyboard.press("Escape")
        assert page.locator(".ntk-large[open]").count() == 0


@in_browser
def test_the_search_ranks_a_lesson_before_its_solutions(visit):
    page = visit("search.html?q=residual")
    page.locator("#search-results li a").first.wait_for()
    page.wait_for_timeout(1500)
    links = page.locator("#search-results li > a").evaluate_all("all => all.map(a => a.href)")
    solutions = ["solutions/" in link for link in links]
    assert True in solutions
    assert solutions == sorted(solutions)


@in_browser
def test_formulas_are_no_stops_of_the_tab_key(visit):
    page = visit(LESSONS[0])
    page.wait_for_function("window.MathJax?.startup?.promise?.then(() => true)")
    assert page.locator("mjx-container svg").count() > 20
    assert page.locator("mjx-container[tabindex]").count() == 0


# Predictions: a site of one small lesson, whatever the real ones have.

INDEX = "# A small site\n\n```{toctree}\nlesson\n```\n"
PREDICT = """ntk.predict(
    "{question}", a="up, says the iguana", b="down", answer="b", because="So spoke the hippo."
)"""
SHOW = """figure, axes = plt.subplots()
axes.plot([1, 0])
ntk.show(figure, alt="A line that falls.")"""
CLAIMS = """for case in ["left", "right"]:
    ntk.claim("height", 0.5, above=0.25, case=case)"""
FOUND = """(found)=
**What was found.** It falls, as the crocodile knew: $x^2$.

% a remark for authors

$$ f(x) = x^2 $$ (square)

A second paragraph, about a dolphin."""
LESSON = [
    "# A small lesson",
    ["import matplotlib.pyplot as plt\nimport ntk_helpers as ntk"],
    "## First question\n\nWords before it, about an antelope.",
    [PREDICT.format(question="Does the line rise?")],
    "Words that lead to the figure, about a badger.",
    [SHOW],
    [CLAIMS],
    FOUND,
    "Words after it, about an elephant.",
    "## Second question\n\nTwo predictions, and no end but the next heading.",
    [PREDICT.format(question="Is it fast?")],
    ["ntk.claim('speed', 3, below=4)"],
    [PREDICT.format(question="Is it loud?")],
    "Loud words, about a flamingo.",
    "## Last section\n\nAbout a giraffe.",
]


def build_lesson(folder: Path) -> Path:
    """Execute a small lesson with predictions, and build a site of it.

    Args:
        folder: An empty folder.

    Returns:
        The lesson's page.
    """
    cells = [
        nbformat.v4.new_code_cell(*cell, metadata={"tags": ["plumbing"]})
        if isinstance(cell, list)
        else nbformat.v4.new_markdown_cell(cell)
        for cell in LESSON
    ]
    pages, site = folder / "pages", folder / "site"
    pages.mkdir()
    file = pages / "lesson.ipynb"
    run_notebooks.write(nbformat.v4.new_notebook(cells=cells), file)
    notebook, _ = run_notebooks.execute(file, folder=ROOT)
    run_notebooks.normalise(notebook)
    run_notebooks.write(notebook, file)
    (pages / "index.md").write_text(INDEX, encoding="utf-8")
    options = ["-q", "-W", "--keep-going", "-d", folder / "doctrees", "-c", ROOT / "docs"]
    options += ["-D", "root_doc=index", "-D", "include_patterns=**"]
    command = [sys.executable, "-m", "sphinx", *map(str, [*options, pages, site])]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr
    return site / "lesson.html"


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """Build the small site and return the address of its lesson."""
    return build_lesson(tmp_path_factory.mktemp("lesson"))


@pytest.fixture(scope="module")
def article(lesson):
    """Return the text part of the lesson's page."""
    return bs4.BeautifulSoup(lesson.read_text(encoding="utf-8"), "html.parser").article


def test_a_prediction_s_block_goes_as_far_as_what_was_found(article):
    first = article.select(".ntk-behind")[0]
    assert "Does the line rise?" in first.find_previous_sibling().text
    for word in ("badger", "height, left", "height, right", "crocodile", "f(x)", "dolphin"):
        assert word in first.text
    assert first.img["alt"] == "A line that falls."
    assert not any(word in first.text for word in ("antelope", "rise?", "elephant"))


def test_without_what_was_found_a_block_ends_before_the_next_prediction_or_heading(article):
    _, second, third = article.select(".ntk-behind")
    assert "speed" in second.text
    assert "Is it loud?" not in second.text
    assert "flamingo" in third.text
    assert "giraffe" not in third.text


def test_what_is_behind_a_vote_is_on_the_page_but_not_in_the_search_index(lesson, article):
    index = (lesson.parent / "searchindex.js").read_text(encoding="utf-8")
    open_words, hidden = ("antel", "iguan", "eleph", "giraf"), ("badge", "croco", "dolph", "flami")
    answers = ("hippo", "spoke")
    assert [w for w in (*open_words, *hidden, *answers) if w not in article.text] == []
    assert [word for word in open_words if word not in index] == []
    assert [word for word in (*hidden, *answers) if word in index] == []


def test_no_code_on_the_page_names_the_answer_to_a_prediction(article):
    assert "ntk.claim" in article.text
    assert "ntk.predict" not in article.text


def test_the_page_as_it_is_sent_hides_nothing(article):
    assert article.select("[hidden], [style*=display], button") == []


def test_only_a_page_with_predictions_loads_their_script(lesson):
    pages = {path: path.read_text(encoding="utf-8") for path in lesson.parent.glob("*.html")}
    assert [path.name for path, text in pages.items() if "votes.js" in text] == ["lesson.html"]
