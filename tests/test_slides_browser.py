"""The decks in a browser without a network: complete, nothing is cut off, and sliders move."""

import re
import shutil

import pytest

from slides import build
from tools import paper, stamp
from tools.run_notebooks import ROOT

pytest.importorskip("playwright.sync_api", reason="needs playwright: extra `browser`")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(paper.browser() is None, reason="needs Chromium or Chrome on the PATH"),
]

SIZES = [(1280, 720), (1920, 1080)]
DECKS = sorted((ROOT / "slides").glob("ntk_*.ipynb"))

# What is not within the slide, or too small to be read from the back, on the current slide.
UNREADABLE = """() => {
  const slide = Reveal.getCurrentSlide().querySelector(".slide");
  const page = slide.getBoundingClientRect(), scale = page.width / 1280, found = [];
  if (slide.scrollHeight > 720 || slide.scrollWidth > 1280) found.push("scrolls");
  const parts = "h2, p, li, td, th, img, .ntk-stage svg, pre, input, mjx-container";
  for (const item of slide.querySelectorAll(parts)) {
    if (item.closest(".code, mjx-assistive-mml")) continue;
    const box = item.getBoundingClientRect(), pixels = parseFloat(getComputedStyle(item).fontSize);
    const inside = box.left >= page.left && box.right <= page.right - 24 * scale &&
      box.top >= page.top && box.bottom <= page.bottom - 12 * scale;
    if (!inside) found.push(`${item.tagName} is cut off: ${item.textContent.slice(0, 40)}`);
    const small = /^(IMG|svg)$/.test(item.tagName) && box.height < 300 * scale;
    if (small) found.push("a picture is too small");
    if (/^(H2|P|LI|TD|TH)$/.test(item.tagName) && !item.closest("small") && pixels < 28)
      found.push(`letters of ${pixels} pixels: ${item.textContent.slice(0, 40)}`);
  }
  return found;
}"""

PICTURE, OUTER = ".ntk-stage svg, img", "picture => picture.outerHTML"

# What does not fit in the presenter's window of the current slide.
UNFITTING = """() => {
  const picture = document.querySelector("#picture > *");
  const notes = document.getElementById("notes");
  const found = [], room = document.documentElement;
  if (room.scrollHeight > innerHeight || room.scrollWidth > innerWidth) found.push("scrolls");
  if (notes.clientHeight < 350 || notes.clientWidth < 400) found.push("little room for notes");
  if (!picture) return found;
  const box = picture.getBoundingClientRect(), foot = document.getElementById("next");
  if (box.height < 120 || box.width < 200) found.push("the picture is too small");
  const caption = document.querySelector("figcaption").getBoundingClientRect();
  const cut = box.right > innerWidth || caption.bottom > foot.getBoundingClientRect().top;
  if (cut) found.push("the picture is cut off");
  return found;
}"""


class Deck:
    """A deck that was built and is open in a browser without a network."""

    def __init__(self, context, address):
        """Open the page at `address`, and note what it asks for and complains of."""
        self.page, self.requests, self.complaints = context.new_page(), [], []
        self.window = None
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready=yes]", timeout=120_000)

    def run(self, script):
        """Return what a piece of JavaScript gives."""
        return self.page.evaluate(script)

    def each_slide(self):
        """Show one slide after the other, all of it.

        Yields:
            The slide's number, from 1.
        """
        for index in range(self.run("Reveal.getTotalSlides()")):
            self.run(f"Reveal.slide({index}, 0, 99)")
            yield index + 1

    def to_two_sliders(self):
        """Show the first slide with two sliders, each on its second position."""
        self.run("""Reveal.slide([...document.querySelectorAll(".slides > section")]
            .findIndex(section => section.querySelectorAll(".sweep input").length === 2))""")
        self.run("""document.querySelectorAll("section.present .sweep input").forEach(slider => {
            slider.value = 1; slider.dispatchEvent(new Event("input", { bubbles: true })); })""")

    def positions(self):
        """Return where the sliders of this slide stand."""
        sliders = "document.querySelectorAll('section.present .sweep input')"
        return self.run(f"[...{sliders}].map(slider => slider.valueAsNumber)")

    def picture(self):
        """Return this slide's picture."""
        return self.page.locator(f"section.present :is({PICTURE})").first.evaluate(OUTER)

    def said(self):
        """Return the description of this slide's explorer."""
        return self.page.locator("section.present .ntk-stage svg").get_attribute("aria-label")

    def presenter(self):
        """Return the presenter's window, which stays open as long as the deck."""
        if self.window is None:
            with self.page.expect_popup() as popup:
                self.page.keyboard.press("s")
            self.window = popup.value
            self.window.set_viewport_size({"width": 1000, "height": 720})
        return self.window

    def drag(self, x, y, distance):
        """Draw a finger from a place on the page to the right."""
        finger = self.page.context.new_cdp_session(self.page)
        for kind, moved in [("touchStart", 0), *(("touchMove", i / 10) for i in range(1, 11))]:
            points = [{"x": x + moved * distance, "y": y}]
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.fixture(scope="module", params=DECKS, ids=lambda path: path.stem)
def address(request, tmp_path_factory):
    """Build a deck of a course that has been published, and return its address."""
    pytest.importorskip("segno", reason="the extra `slides` is not installed")
    file = tmp_path_factory.mktemp("decks") / f"{request.param.stem}.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stamp, "current", lambda: stamp.Place("jane-doe/ntk-course", "main"))
        file.write_text(build.build(request.param), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def shown(chromium, address):
    """Keep the deck open, once for each size and colour scheme.

    Yields:
        A function of size and scheme that returns the open Deck.
    """
    opened, contexts = {}, []

    def deck(size=SIZES[0], scheme="light"):
        if (size, scheme) not in opened:
            viewport = {"width": size[0], "height": size[1]}
            context = chromium.new_context(viewport=viewport, color_scheme=scheme, offline=True)
            contexts.append(context)
            opened[size, scheme] = Deck(context, address)
        return opened[size, scheme]

    yield deck
    for context in contexts:
        context.close()


def test_a_deck_asks_for_nothing_but_itself_and_does_not_complain(shown, address):
    deck = shown()
    list(deck.each_slide())
    assert [url for url in deck.requests if not url.startswith((address, "data:"))] == []
    assert deck.complaints == []


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_nothing_is_cut_off_or_too_small(shown, size):
    deck = shown(size)
    found = {number: deck.run(UNREADABLE) for number in deck.each_slide()}
    assert {number: list_ for number, list_ in found.items() if list_} == {}


def test_formulas_are_rendered(shown):
    deck = shown()
    assert deck.run("document.querySelectorAll('.slide mjx-container svg').length") > 20
    assert deck.run("document.querySelectorAll('[data-mjx-error], mjx-merror').length") == 0
    left = (
        "[...document.querySelectorAll('.text, .notes, h2')].filter(e => e.innerText.includes('$'))"
    )
    assert deck.run(f"{left}.map(e => e.innerText)") == []


def test_every_slide_has_notes_and_pictures_have_descriptions(shown):
    deck = shown()
    notes = deck.run(
        "[...document.querySelectorAll('.notes')].map(e => e.textContent.trim().length)"
    )
    assert len(notes) == deck.run("Reveal.getTotalSlides()")
    assert min(notes) > 40
    assert min(deck.run("[...document.images].map(e => e.alt.length)")) > 20
    labels = "[...document.querySelectorAll('.ntk-stage svg')].map(e => e.ariaLabel.length)"
    assert min(deck.run(labels)) > 20


def test_each_slider_changes_its_picture_and_description_by_key_and_by_mouse(shown):
    deck, moved = shown(), 0
    for _ in deck.each_slide():
        for slider in deck.page.locator("section.present .sweep input").all():
            number = deck.run("Reveal.getIndices().h")
            slider.focus()
            deck.page.keyboard.press("Home")
            first, said = deck.picture(), deck.said()
            deck.page.keyboard.press("ArrowRight")
            second = deck.picture()
            box = slider.bounding_box()
            deck.page.mouse.click(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
            last = deck.picture()
            assert len({first, second, last}) == 3
            assert deck.said() != said
            assert deck.run("Reveal.getIndices().h") == number
            moved += 1
    assert moved >= 5


def test_a_clicker_turns_the_slide_even_when_a_slider_has_the_focus(shown):
    deck = shown()
    index = deck.run(
        "[...document.querySelectorAll('section')].findIndex(s => s.querySelector('.sweep'))"
    )
    deck.run(f"Reveal.slide({index}, 0, 99)")
    deck.page.locator("section.present .sweep input").first.focus()
    deck.page.keyboard.press("PageDown")
    assert deck.run("Reveal.getIndices().h") == index + 1
    deck.run(f"Reveal.slide({index}, 0, 99)")
    before = deck.picture()
    deck.page.keyboard.press("[")
    assert deck.picture() != before


def test_brackets_move_the_first_slider_and_braces_the_second(shown):
    deck = shown()
    deck.to_two_sliders()
    seen = []
    for key in "]}[{":
        deck.page.keyboard.press(key)
        seen.append(deck.positions())
    assert seen == [[2, 1], [2, 2], [1, 2], [1, 1]]
    deck.page.locator("section.present .sweep input").last.focus()
    deck.page.keyboard.press("]")
    assert deck.positions() == [2, 1]


@pytest.mark.parametrize(
    ("pressed", "then"),
    [
        ("{key: ']', keyCode: 57, ctrlKey: true, altKey: true}", [2, 1]),  # German
        ("{key: '}', keyCode: 48, ctrlKey: true, altKey: true}", [1, 2]),
        ("{key: 'ъ', keyCode: 221}", [2, 1]),  # Russian
        ("{key: 'Ъ', keyCode: 221, shiftKey: true}", [1, 2]),
    ],
)
def test_a_layout_with_brackets_elsewhere_moves_sliders_too(shown, pressed, then):
    deck = shown()
    deck.to_two_sliders()
    event = f"new KeyboardEvent('keydown', {{bubbles: true, ...{pressed}}})"
    deck.run(f"document.body.dispatchEvent({event})")
    assert deck.positions() == then


def test_a_finger_moves_a_slider_without_turning_the_slide_and_turns_it_elsewhere(
    chromium, address
):
    size = {"width": 1280, "height": 720}
    context = chromium.new_context(viewport=size, has_touch=True, offline=True)
    deck = Deck(context, address)
    deck.to_two_sliders()
    number = deck.run("Reveal.getIndices().h")
    slider = deck.page.locator("section.present .sweep input").first.bounding_box()
    y = slider["y"] + slider["height"] / 2
    deck.drag(slider["x"] + 20, y, slider["width"])
    assert deck.positions()[0] > 1
    assert deck.run("Reveal.getIndices().h") == number
    deck.drag(slider["x"] + slider["width"] - 20, y, -slider["width"])
    assert deck.positions()[0] == 0
    assert deck.run("Reveal.getIndices().h") == number
    deck.drag(300, 300, 400)
    assert deck.run("Reveal.getIndices().h") == number - 1
    context.close()


def test_help_opens_over_the_slide_and_escape_closes_nothing_but_it(shown):
    deck = shown()
    help_ = deck.page.locator("#help")
    state = "[Reveal.isPaused(), Reveal.isOverview()]"
    deck.run("document.activeElement.blur()")
    for key, visible in [("?", True), ("?", False), ("?", True), ("Escape", False)]:
        deck.page.keyboard.press(key)
        assert (help_.is_visible(), deck.run(state)) == (visible, [False, False])
    deck.page.keyboard.press("Escape")
    assert deck.run(state) == [False, True]
    deck.page.keyboard.press("Escape")


def test_the_presenters_window_shows_notes_and_a_clock_without_a_server(shown):
    deck = shown()
    deck.run("Reveal.slide(1)")
    window = deck.presenter()
    assert re.fullmatch(r"\d?\d:\d\d( [AP]M)?", window.locator("#clock").inner_text())
    assert len(window.locator("#notes").inner_text()) > 40
    assert "slide 2 of" in window.locator("#plan").inner_text()
    window.locator("#start").click()
    window.wait_for_function("document.getElementById('elapsed').textContent >= '0:01'")
    title = window.locator("#title").inner_text()
    window.keyboard.press("ArrowRight")
    window.wait_for_function("old => document.getElementById('title').innerText !== old", arg=title)
    assert deck.run("Reveal.getIndices().h") == 2


def test_the_presenter_sees_and_moves_the_picture_of_the_slide(shown):
    deck = shown()
    window = deck.presenter()
    deck.to_two_sliders()
    seen = set()
    for key in "]}":
        window.keyboard.press(key)
        seen.add(window.locator("#picture > *").evaluate(OUTER))
        assert window.locator("#picture > *").evaluate(OUTER) == deck.picture()
    assert len(seen) == 2
    assert deck.positions() == [2, 2]
    values = deck.page.locator("section.present output").all_text_contents()
    assert all(value in window.locator("figcaption").inner_text() for value in values)


def test_the_presenters_window_has_room_for_notes_and_picture_of_every_slide(shown):
    deck = shown()
    window, found, pictures = deck.presenter(), {}, {}
    for number in deck.each_slide():
        here = deck.page.locator(f"section.present :is({PICTURE})").count() > 0
        window.wait_for_function(f"document.body.dataset.at === '{number - 1}'")
        found[number] = window.evaluate(UNFITTING)
        pictures[here == (window.locator("#picture > *").count() > 0)] = number
    assert {number: list_ for number, list_ in found.items() if list_} == {}
    assert False not in pictures


def test_where_no_window_may_open_the_notes_lie_over_the_slides(shown):
    deck = shown()
    deck.run("window.open = () => null")
    deck.page.keyboard.press("s")
    frame = deck.page.frame_locator("#presenter")
    assert len(frame.locator("#notes").inner_text()) > 40
    deck.to_two_sliders()
    frame.locator("body").press("}")
    assert deck.positions() == [1, 2]
    assert frame.locator("#picture > *").evaluate(OUTER) == deck.picture()
    frame.locator("body").press("Escape")
    assert deck.page.locator("#presenter").count() == 0


def test_the_deck_follows_the_systems_colours_and_a_key_changes_them(shown):
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = shown(), shown(scheme="dark")
    assert light.run(paper) != dark.run(paper)
    light.page.keyboard.press("d")
    assert light.run(paper) == dark.run(paper)
    light.page.keyboard.press("d")


def test_code_is_hidden_until_it_is_asked_for(shown):
    deck = shown()
    index = deck.run(
        "[...document.querySelectorAll('section')].findIndex(s => s.querySelector('.code'))"
    )
    deck.run(f"Reveal.slide({index})")
    code = deck.page.locator("section.present .code")
    assert not code.is_visible()
    deck.page.keyboard.press("c")
    assert code.is_visible()
    deck.page.keyboard.press("ArrowRight")
    deck.page.keyboard.press("ArrowLeft")
    assert not code.is_visible()


def test_the_last_slide_has_the_address_and_its_qr_code_as_a_square_that_a_phone_can_read(shown):
    deck = shown(scheme="dark")
    deck.run("Reveal.slide(Reveal.getTotalSlides() - 1)")
    post = deck.page.locator("section.present .signpost")
    assert post.inner_text().replace("\n", "") == "github.com/jane-doe/ntk-course"
    box = post.locator("svg").bounding_box()
    assert box["width"] == box["height"] >= 200
    assert deck.page.locator(".signpost").count() == 1


def test_a_pdf_has_a_page_for_every_slide_and_second_state(address, tmp_path):
    from urllib.parse import urlparse
    from urllib.request import url2pathname

    deck = tmp_path / "deck.html"
    shutil.copy(url2pathname(urlparse(address).path), deck)
    pdf = build.print_pdf(deck)  # which compares the numbers, and raises
    assert pdf.stat().st_size > 100_000
