"""An explorer's pictures as numbers: all lies where matplotlib would draw it."""

import itertools
import re

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ntk_helpers import explore
from ntk_helpers.classroom.explore import Control, Explorer
from tools import scenes
from tools.paper import browser
from tools.run_notebooks import ROOT

in_browser = pytest.mark.skipif(browser() is None, reason="needs Chromium or Chrome on the PATH")
SMALL = (  # explorers that train nothing for long
    "large_steps",
    "mode_by_mode",
    "push_on_curve",
    "push_on_digit",
    "rate_limit",
    "similar_digits",
    "step_size",
)


def draw(slope, note):
    """Draw one of everything that explorers use, with a line of this slope."""
    figure = Figure(figsize=(8, 4))
    left, right = figure.add_axes((0.1, 0.2, 0.4, 0.6)), figure.add_axes((0.6, 0.2, 0.3, 0.6))
    left.plot([0, 1], [0, slope], "o--", color="#123456", label="a line")
    left.plot([0, 4], [-9, 9], "_", label="_hidden")
    left.bar([1, 3], [2, 3], color="red", label="bars")
    left.axhline(1)
    left.set(xlim=(0, 4), ylim=(-5, 5), xlabel="x", ylabel="y", xticks=[0, 2], yticks=[5])
    left.set_title(note, loc="left")
    left.add_collection(LineCollection([[[0, 0], [1, 1]], [[2, 2], [3, 3]]], colors="blue"))
    left.legend(loc="lower right", ncols=2)
    left.text(2, 1, "two\nrows", ha="right", va="center")
    right.semilogy([1, 2], [1, 100])
    right.set(xlim=(1, 3), ylim=(0.01, 100))
    right.imshow([[0, 1], [1, 0]], cmap="gray_r", extent=(1, 2, 1, 10), aspect="auto")
    return figure


@pytest.fixture
def made():
    """Return the numbers of a small explorer."""
    controls = {"slope": [1.0, 2.0, 3.0], "note": Control(["one", "two"], "a note", "Look there.")}
    return scenes.swept(Explorer("lines", draw, controls, play="slope"))


def places(made, frame, panel, item):
    """Return the places of an item, in shares of its panel, and its style."""
    look, *numbers = made["frames"][frame][1][panel][1][item]
    parts = []
    for number in numbers:
        ways, last, found = made["pool"][number], 0, []
        for way in ways:
            last += way or 0
            found.append(np.nan if way is None else last / scenes.STEPS)
        parts.append(found)
    return np.array(parts).T, made["pool"][look]


def test_there_is_a_picture_and_a_sentence_for_every_position(made):
    said = [made["pool"][number] for number, _ in made["frames"]]
    wanted = itertools.product("123", ["one", "two"])
    assert said == [f"lines: slope {slope}, a note {note}." for slope, note in wanted]
    titles = [made["pool"][panels[0][0]]["title"] for _, panels in made["frames"]]
    assert titles == ["one", "two"] * 3


def test_a_control_has_its_name_hint_texts_start_and_play(made):
    slope, note = made["controls"]
    assert (slope["texts"], slope["start"], slope["plays"]) == (["1", "2", "3"], 1, True)
    assert (note["label"], note["hint"], note["plays"]) == ("a note", "Look there.", False)
    assert made["size"] == [8 * scenes.PIXELS, 4 * scenes.PIXELS]


def test_every_place_is_that_of_matplotlib_to_a_step_of_the_panel(made):
    for frame, slope in [(0, 1.0), (5, 3.0)]:
        figure = draw(slope, "")
        left, _ = figure.axes
        inside = left.transData + left.transAxes.inverted()
        found = {}
        for item in range(len(made["frames"][frame][1][0][1])):
            where, look = places(made, frame, 0, item)
            found.setdefault(next(iter(look)), []).append((where, look))
        (line, look), _, (level, _), (parts, _) = found["line"]
        np.testing.assert_allclose(parts[[0, 1, 3, 4], 0], [0, 0.25, 0.5, 0.75], atol=1e-9)
        assert np.isnan(parts[[2, 5]]).all()  # where one line ends
        drawn = inside.transform([[0, 0], [1, slope]])
        np.testing.assert_allclose(line, drawn, atol=1 / scenes.STEPS)
        assert (look["line"], look["dash"], look["mark"]) == ("#123456", "--", "o")
        np.testing.assert_allclose(level, [[0, 0.6], [1, 0.6]], atol=1e-9)  # across the panel
        (first, _), (second, _) = found["bar"]
        np.testing.assert_allclose(first, inside.transform([[0.6, 0], [1.4, 2]]), atol=6e-4)
        np.testing.assert_allclose(second, inside.transform([[2.6, 0], [3.4, 3]]), atol=6e-4)
        ((text, look),) = found["text"]
        np.testing.assert_allclose(text, [[0.5, 0.6]], atol=1e-9)
        assert look["text"] == "two\nrows"
    where, _ = places(made, 0, 1, 1)
    np.testing.assert_allclose(where, [[0, 0.5], [0.5, 1]], atol=1e-9)  # logarithms are taken


def test_what_lies_far_outside_stays_outside(made):
    where, look = places(made, 0, 0, 3)
    assert look["mark"] == "_"
    assert where[0, 1] < 0
    assert where[1, 1] > 1


def test_legend_and_ticks_are_those_of_the_figure(made):
    frame = made["pool"][made["frames"][0][1][0][0]]
    place, columns, _, entries = frame["legend"]
    assert (place, columns, entries) == ("se", 2, ["a line", "bars"])
    assert frame["ticks"] == [[[0, 500], ["0", "2"]], [[1000], ["5"]]]
    assert frame["labels"] == ["x", "y"]
    looks = [made["pool"][look] for look, *_ in made["frames"][0][1][0][1]]
    assert {look["entry"] for look in looks if "entry" in look} == {0, 1}


def test_an_image_keeps_its_grey_values(made):
    _, look = places(made, 0, 1, 0)
    assert look == {"image": [[255, 0], [0, 255]]}


def test_what_cannot_be_drawn_is_refused():
    figure = Figure()
    arrow = figure.subplots().annotate("", (0, 0), (1, 1), arrowprops={}).arrow_patch
    with pytest.raises(TypeError, match=r"explorer\.js cannot draw FancyArrowPatch"):
        scenes.described(arrow)


@pytest.fixture
def drawn(chromium, made):
    """Let the script draw the small explorer.

    Yields:
        A function that returns the page, of its width in pixels.
    """
    pages = []

    def draw_on(width):
        page = chromium.new_page(viewport={"width": width, "height": 800})
        pages.append(page)
        page.set_content('<body style="margin: 0"><figure style="margin: 0"></figure>')
        page.add_script_tag(path=ROOT / "docs" / "static" / "explorer.js")
        page.evaluate("data => void ntkExplorer(document.querySelector('figure'), data)", made)
        return page

    yield draw_on
    for page in pages:
        page.close()


def numbers(text):
    """Return the numbers in a path of SVG, (n, 2)."""
    return np.array(re.findall(r"-?\d+\.\d", text), dtype=float).reshape(-1, 2)


@pytest.mark.slow
@in_browser
def test_the_script_draws_each_thing_where_matplotlib_does(drawn):
    page, figure = drawn(900), draw(2.0, "")
    left, _ = figure.axes
    inside, high = left.transData, 4 * scenes.PIXELS
    pixels = scenes.PIXELS / figure.dpi

    def at(places):
        """Return places in data as pixels of the picture, whose first row is the top."""
        across, up = pixels * inside.transform(places).T
        return np.stack([across, high - up], 1)

    line = page.locator("path[stroke='#123456']").first.get_attribute("d")
    np.testing.assert_allclose(numbers(line), at([[0, 0], [1, 2]]), atol=0.4)
    box = page.locator("rect[fill='#ff0000']").first
    x, y, wide, tall = (float(box.get_attribute(n)) for n in ("x", "y", "width", "height"))
    (left_, bottom), (right, top) = at([[0.6, 0], [1.4, 2]])
    np.testing.assert_allclose([x, y + tall, x + wide, y], [left_, bottom, right, top], atol=0.8)
    circles = page.locator("circle").all()
    middle = [[float(circle.get_attribute(n)) for n in ("cx", "cy")] for circle in circles[:2]]
    np.testing.assert_allclose(middle, at([[0, 0], [1, 2]]), atol=0.4)
    tick, svg = page.get_by_text("5", exact=True).bounding_box(), page.locator("svg").bounding_box()
    drawn_at = (tick["y"] + tick["height"] / 2 - svg["y"]) * 720 / svg["width"]
    assert drawn_at == pytest.approx(at([[0, 5]])[0, 1], abs=6)


@pytest.mark.slow
@in_browser
def test_where_there_is_little_room_panels_stand_below_each_other(drawn):
    for width, stacked in [(900, False), (390, True)]:
        clips = drawn(width).locator("clipPath rect")
        (left, right), (top, below) = (
            [float(clips.nth(i).get_attribute(name)) for i in (0, 1)] for name in ("x", "y")
        )
        assert (below > top + 150) == stacked
        assert (right > left + 150) != stacked


@pytest.mark.slow
@in_browser
def test_a_slider_and_its_reset_choose_the_picture(drawn, made):
    page = drawn(900)
    said, slider = page.locator("figcaption"), page.locator("input").first
    seen = [said.inner_text()]
    slider.focus()
    for key in ("Home", "End"):
        page.keyboard.press(key)
        seen.append(said.inner_text())
    page.get_by_role("button", name="Reset").click()
    seen.append(said.inner_text())
    assert seen == [f"lines: slope {slope}, a note two." for slope in (2, 1, 3, 2)]
    page.get_by_role("button", name="Play: slope").click()
    page.get_by_text("slope 3").wait_for()


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_an_explorer_of_the_course_can_be_drawn_from_numbers(name):
    explorer = getattr(explore, name)()
    made = scenes.swept(explorer, [*explorer.now][:1])
    assert len(made["frames"]) == len(explorer.options(next(iter(explorer.now))))
    said = explorer.say(**explorer.now)
    assert said in made["pool"]
