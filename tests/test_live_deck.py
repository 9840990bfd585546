"""A deck in JupyterLab, by the path that README.md gives: it opens, turns, moves and ends."""

import nbformat
import pytest

pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")

from test_lab_browser import FINISHED, ROOT, Lab, wait_until

from tools.lab import VARIABLES

pytestmark = pytest.mark.slow

TALK = ROOT / "slides" / "ntk_talk.ipynb"
SLIDES = 5  # enough for a live slider; the last cell holds hidden notes, as in the whole talk
TITLES = [  # of the slides after the first
    "Three questions",
    "Small steps follow a flow",
    "The same step, seen by the predictions",
    "Push one prediction up: what is similar moves along",
]
# The title on the screen, and by how many pixels the slide is too high or too wide for it.
SCREEN = """() => {
  const cells = [...document.querySelectorAll(".jp-Deck .jp-deck-mod-visible")];
  const room = document.querySelector(".jp-Deck .jp-Notebook");
  const title = cells[0]?.querySelector("h1, h2")?.textContent.replace("¶", "") ?? "";
  const over = Math.max(room.scrollHeight - innerHeight, room.scrollWidth - room.clientWidth);
  const bottoms = cells.map(cell => cell.getBoundingClientRect().bottom);
  return [title, Math.max(0, over, ...bottoms.map(bottom => bottom - innerHeight))];
}"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Start a JupyterLab as README.md says, with the first slides of the talk.

    Yields:
        The JupyterLab.
    """
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert (
        "Start `python course.py lab`, open a slide notebook, *Run → Run All Cells*, click on its "
        "first cell, and choose *Start Deck* in the command palette. Esc ends it"
    ) in readme
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", VARIABLES["JUPYTER_CONFIG_PATH"])
    talk = nbformat.read(TALK, as_version=4)
    kinds = [cell.metadata.get("slideshow", {}).get("slide_type") for cell in talk.cells]
    begins = [index for index, kind in enumerate(kinds) if kind == "slide"]
    talk.cells = talk.cells[: begins[SLIDES]]
    for cell in talk.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    (tmp_path / "slides").mkdir()
    nbformat.write(talk, tmp_path / "slides" / TALK.name)
    with Lab(tmp_path) as lab:
        yield lab


def shown(page, title):
    """Wait until the slide of this title is on the screen, as a whole."""
    for _ in range(100):
        if page.evaluate(SCREEN) == [title, 0]:
            return
        page.wait_for_timeout(200)
    assert page.evaluate(SCREEN) == [title, 0]


def turn(page):
    """Press → until the next slide is there: each cell of a slide takes one."""
    before = page.evaluate(SCREEN)[0]
    for _ in range(9):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(200)
        if page.evaluate(SCREEN)[0] != before:
            return


def test_the_path_in_the_readme_starts_turns_moves_and_ends_the_deck(lab, chromium, tmp_path):
    page = chromium.new_page(viewport={"width": 1280, "height": 720})
    page.goto(f"{lab.address}/lab/tree/slides/{TALK.name}?token={lab.token}&reset")
    page.wait_for_selector("text=(ipykernel) | Idle", timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator('li[data-command="runmenu:run-all"]').click()
    wait_until(lambda: page.evaluate(FINISHED), 120)

    first = page.locator(".jp-Notebook .jp-Cell").first
    first.click()
    page.keyboard.press("Control+Shift+C")
    page.locator("#command-palette input").fill("Start Deck")
    page.locator(".lm-CommandPalette-item.lm-mod-active", has_text="Start Deck").wait_for()
    page.keyboard.press("Enter")
    shown(page, "The Neural Tangent Kernel")
    for title in TITLES:
        turn(page)
        shown(page, title)

    explorer = page.locator(".jp-deck-mod-visible .widget-vbox:has(img)").last
    picture = explorer.locator("img").get_attribute("src")
    slider = explorer.locator(".noUi-target").first.bounding_box()
    page.mouse.click(slider["x"] + 0.9 * slider["width"], slider["y"] + slider["height"] / 2)
    wait_until(lambda: explorer.locator("img").get_attribute("src") != picture, 20)
    shown(page, TITLES[-1])

    page.keyboard.press("Escape")
    page.wait_for_selector("body:not([data-jp-deck-mode])", state="attached")
    page.wait_for_selector(".jp-NotebookPanel:not(.jp-Deck) .jp-Toolbar")
    first.click()
    assert first.locator("h1").is_visible()
    assert page.locator(".jp-CodeCell .jp-Cell-inputWrapper").last.is_visible()
    remembered = tmp_path / "settings" / "jupyterlab-slideshow" / "plugin.jupyterlab-settings"
    wait_until(lambda: '"active": false' in remembered.read_text(encoding="utf-8"), 10)
