"""The site in a browser without a network: a prediction is a vote, and the vote opens the rest."""

import pytest
from test_site import build_lesson

from tools.paper import browser

pytest.importorskip("playwright.sync_api", reason="needs playwright: extra `browser`")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser() is None, reason="needs Chromium or Chrome on the PATH"),
]

ANSWER = "The answer is (b): So spoke the hippo."
LEFT_TO_DO = "Vote to see what happens."

# The contrast of an element's text with the ground that is painted behind it, as WCAG defines it.
CONTRAST = """element => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => numbers(colour).slice(0, 3).map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + [0.2126, 0.7152, 0.0722][i] * part, 0);
  let ground = element;
  while (numbers(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const two = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor];
  const [dark, bright] = two.map(light).sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Build a small site and return the address of its lesson."""
    return build_lesson(tmp_path_factory.mktemp("site")).as_uri()


@pytest.fixture
def visit(chromium, address):
    """Let a reader who has not been there before open the lesson.

    Yields:
        A function that opens it, of a fragment of the address and settings of the browser.
    """
    contexts = []

    def opened(fragment="", script=None, **settings):
        context = chromium.new_context(offline=True, **settings)
        contexts.append(context)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.goto(address + fragment)
        return page

    yield opened
    for context in contexts:
        context.close()


def shown(page):
    """Return which of the three blocks behind votes are to be seen."""
    parts = [".ntk-behind img", ".ntk-claim:has-text('speed')", "text=flamingo"]
    return [page.locator(part).is_visible() for part in parts]


def choices(page, index=0):
    """Return the buttons of a question."""
    return page.locator(".ntk-predict").nth(index).get_by_role("button")


def test_before_a_vote_the_page_shows_the_question_and_says_that_it_waits(visit):
    page = visit()
    assert shown(page) == [False, False, False]
    assert choices(page).all_inner_texts() == ["(a) up, says the iguana", "(b) down"]
    assert page.get_by_text(LEFT_TO_DO).count() == 3
    assert not any(answer.is_visible() for answer in page.get_by_text("hippo").all())
    assert page.get_by_text("elephant").is_visible()


def test_a_vote_by_keyboard_opens_its_own_block_and_is_read_aloud(visit):
    page = visit()
    while not page.evaluate("document.activeElement.matches('.ntk-predict button')"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert shown(page) == [True, False, False]
    assert page.get_by_role("status").first.inner_text() == f"You voted (a). {ANSWER}"
    pressed = [button.get_attribute("aria-pressed") for button in choices(page).all()]
    assert pressed == ["true", "false"]
    assert page.get_by_role("group", name="Predict. Does the line rise?").count() == 1
    assert page.get_by_text(LEFT_TO_DO).first.is_hidden()


def test_a_vote_is_remembered_and_can_be_changed(visit):
    page = visit()
    choices(page, 1).first.click()
    choices(page, 1).last.click()
    page.reload()
    assert shown(page) == [False, True, False]
    assert page.get_by_role("status").nth(1).inner_text() == f"You voted (b). {ANSWER}"


def test_one_switch_shows_all_answers_is_remembered_and_can_be_turned_back(visit):
    page = visit()
    choices(page).first.click()
    page.get_by_role("button", name="Show all answers").click()
    page.reload()
    assert shown(page) == [True, True, True]
    assert page.get_by_text(ANSWER, exact=True).count() == 2
    assert page.get_by_role("button", name="Show all answers", pressed=True).count() == 1
    page.get_by_role("button", name="Show all answers").click()
    assert shown(page) == [True, False, False]


def test_votes_work_where_the_browser_keeps_nothing(visit):
    refuse = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})"
    page = visit(script=refuse)
    choices(page).last.click()
    assert shown(page) == [True, False, False]


def test_damaged_memory_is_no_vote(visit):
    page = visit(script="localStorage.setItem(`ntk-votes ${location.pathname}`, 'x')")
    assert shown(page) == [False, False, False]
    choices(page).last.click()
    assert shown(page) == [True, False, False]


@pytest.mark.parametrize("fragment", ["#equation-square", "#found"])
def test_a_link_into_a_hidden_block_opens_it(visit, fragment):
    page = visit(fragment)
    assert shown(page) == [True, False, False]
    target = page.locator(fragment).bounding_box()
    assert 0 <= target["y"] < page.viewport_size["height"]
    other = visit()
    other.evaluate(f"location.hash = '{fragment}'")
    other.get_by_text("crocodile").wait_for()


def test_the_browser_s_search_reaches_a_hidden_block_and_opens_it(visit):
    page = visit()
    block = page.locator(".ntk-behind").last
    assert block.get_attribute("hidden") == "until-found"
    assert block.evaluate("e => getComputedStyle(e).contentVisibility") == "hidden"
    assert block.evaluate("e => getComputedStyle(e).display") == "block"
    block.dispatch_event("beforematch")
    assert shown(page) == [False, False, True]


def test_formulas_behind_a_vote_are_drawn(visit):
    page = visit()
    page.wait_for_selector("mjx-container svg", state="attached", timeout=60_000)
    choices(page).last.click()
    box = page.locator(".ntk-behind div.math mjx-container svg").bounding_box()
    assert 15 < box["height"] < 60


@pytest.mark.parametrize("script", [True, False], ids=["with", "without"])
def test_on_paper_everything_is_open_and_nothing_asks_for_a_click(visit, script):
    page = visit(java_script_enabled=script)
    page.emulate_media(media="print")
    assert shown(page) == [True, True, True]
    assert all(answer.is_visible() for answer in page.get_by_text("hippo").all())
    assert not any(line.is_visible() for line in page.get_by_text(LEFT_TO_DO).all())
    assert page.get_by_role("button", name="Show all answers").count() == 0
    assert not any(item.is_visible() for item in page.locator("summary, .cell_input").all())


def test_without_javascript_everything_is_open(visit):
    page = visit(java_script_enabled=False)
    assert shown(page) == [True, True, True]
    assert page.get_by_role("button", name="(a)").count() == 0


def test_on_a_phone_buttons_are_high_enough_and_nothing_overflows(visit):
    page = visit(viewport={"width": 390, "height": 844})
    buttons = page.locator("button.ntk-choice, .ntk-bar button").all()
    assert min(button.bounding_box()["height"] for button in buttons) >= 44
    choices(page).first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    parts = page.locator(".ntk-predict, .ntk-predict *, .ntk-claim, .ntk-wait, .ntk-bar").all()
    boxes = [part.bounding_box() for part in parts if part.is_visible()]
    assert [box for box in boxes if box["x"] < 0 or box["x"] + box["width"] > 390] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_claims_and_questions_are_easy_to_read(visit, scheme):
    page = visit(color_scheme=scheme)
    choices(page).first.click()
    parts = page.locator(".ntk-claim, .ntk-value, .ntk-predict p, .ntk-predict button, .ntk-wait")
    assert min(part.evaluate(CONTRAST) for part in parts.all()) >= 4.5


def test_claims_of_one_cell_stack_closely(visit):
    page = visit(java_script_enabled=False)
    first, second = (claim.bounding_box() for claim in page.locator(".ntk-claim").all()[:2])
    assert 0 <= second["y"] - (first["y"] + first["height"]) < 10


def test_folded_code_takes_one_line(visit):
    page = visit()
    folded = page.locator("details.hide").first
    assert folded.inner_text().strip() == "Show the code"
    assert folded.bounding_box()["height"] < 40
    folded.locator("summary").click()
    assert page.get_by_text("import matplotlib").is_visible()
