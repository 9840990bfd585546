"""Every explorer draws every frame; the numbers behind the pictures are right."""

import io
import re

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import ntk_helpers as ntk
from ntk_helpers.classroom import explore
from ntk_helpers.classroom.explore import (
    lesson_00,
    lesson_01,
    lesson_02,
    lesson_02_digits,
    lesson_06,
    lesson_07,
)
from ntk_helpers.classroom.explore._control import TOOLTIP, as_text, counted, percent, up_to
from ntk_helpers.classroom.plots import png

EXPLORERS = [name for name in explore.__all__ if name[0].islower()]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPLORERS)
def test_every_value_of_every_control_draws_a_finite_picture(name):
    explorer = getattr(explore, name)()
    values = sum(len(explorer.options(control)) for control in explorer.now)
    assert explorer.sweep() > values / 2
    assert len(repr(explorer)) < 110


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPLORERS)
def test_moving_each_slider_changes_the_picture_and_the_sentence(name):
    explorer = getattr(explore, name)()
    for slider in explorer._sliders.values():
        before = explorer._image.value, explorer._said.value
        slider.value = next(v for _, v in reversed(slider.options) if v != slider.value)
        assert bytes(explorer._image.value).startswith(b"\x89PNG")
        assert explorer._image.value != before[0], slider.description
        assert explorer._said.value != before[1], slider.description


@pytest.mark.parametrize("name", EXPLORERS)
def test_a_frame_has_the_pixels_of_a_figure_that_is_saved(name):
    explorer = getattr(explore, name)()
    figure = explorer._draw(explorer.numbers(**explorer.now))
    frame, saved = (
        np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
        for picture in (explorer.frame(dpi=100, **explorer.now), png(figure))
    )
    assert abs(frame - saved).max() <= 1


@pytest.mark.parametrize("name", EXPLORERS)
def test_a_picture_has_twice_the_pixels_that_it_takes_on_the_page(name):
    explorer = getattr(explore, name)()
    shown = int(explorer._image.layout.max_width.removesuffix("px"))
    assert Image.open(io.BytesIO(explorer._image.value)).width == 2 * shown


@pytest.mark.parametrize("name", EXPLORERS)
def test_an_explorer_draws_and_says_its_numbers_alone(name):
    explorer = getattr(explore, name)()
    numbers = explorer.numbers(**explorer.now)
    assert {key: getattr(numbers, key) for key in explorer.now} == explorer.now
    sentence = explorer.say(**explorer.now)
    assert sentence == explorer._say(numbers)
    assert sentence.endswith(".")
    assert 60 < len(sentence) < 260
    assert not re.search(r"tensor|nan|inf\b|\de[+-]?\d|_hidden", sentence)


@pytest.mark.parametrize("name", EXPLORERS)
def test_sliders_are_labelled_in_words_and_explained_in_a_sentence(name):
    explorer = getattr(explore, name)()
    for control, slider in explorer._sliders.items():
        assert slider.description
        assert "_" not in re.sub(r"\b[σλ]_\w\b", "", slider.description)
        hint = getattr(slider, TOOLTIP)
        assert hint[0].isupper()
        assert hint[-1] in ".?"
        assert not any(re.search(r"e[+-]\d", text) for text in explorer.options(control))


def _flat(height):
    figure = Figure()
    figure.subplots().plot([0, 1], [height, height])
    return figure


def test_a_picture_that_is_not_finite_is_refused():
    explorer = explore.Explorer("heights", _flat, {"height": [0.0, 1.0]})
    with pytest.raises(ValueError, match=r"\{'height': nan\} holds a number that is not finite"):
        explorer.frame(height=float("nan"))


def test_a_frame_is_drawn_once():
    drawn = []

    def draw(height):
        drawn.append(height)
        return _flat(height)

    explorer = explore.Explorer("heights", draw, {"height": [0.0, 1.0]})
    explorer.sweep()
    explorer.sweep()
    assert sorted(drawn) == [0.0, 1.0]


def test_a_control_needs_values_and_a_start_among_them():
    with pytest.raises(ValueError, match="control 'height' has no values: give at least one"):
        explore.Explorer("heights", _flat, {"height": []})
    with pytest.raises(ValueError, match="start of 'height' is 3, which is not one of its values"):
        explore.Explorer("heights", _flat, {"height": [0.0, 1.0]}, start={"height": 3})


def test_the_forecast_gets_better_with_width():
    narrow, wide = (lesson_00.train_and_forecast(width).gap[1:] for width in (8, 512))
    assert wide.median() < 0.02 < 0.05 < narrow.median()
    assert (wide.amax(1) < narrow.amin(1)).any()


def test_a_gap_is_the_largest_distance_as_a_share_of_the_way():
    runs = lesson_00.train_and_forecast(16)
    way = (runs.trained[3, 2] - runs.trained[0, 2]).abs().max()
    expected = (runs.trained[3, 2] - runs.forecast[3, 2]).abs().max() / way
    torch.testing.assert_close(runs.gap[3, 2], expected)
    assert runs.gap.shape == (len(lesson_00.STEPS), len(lesson_00.SEEDS))


def test_descent_in_the_explorer_is_descent():
    theta = lesson_01.START.clone().requires_grad_()
    for _ in range(5):
        (gradient,) = torch.autograd.grad(lesson_01.loss(theta), theta)
        theta = (theta - 0.15 * gradient).detach().requires_grad_()
    expected = (1 - 0.15 * lesson_01.CURVATURES) ** 5 * lesson_01.START
    assert torch.allclose(theta, expected)


@pytest.mark.parametrize("activation", ["erf", "relu", "tanh", "sin"])
def test_a_small_push_moves_the_curve_as_the_kernel_says(activation):
    actual, predicted = lesson_02.push(activation, 0.4, 1e-3)
    assert (actual - predicted).abs().max() < 0.02 * predicted.abs().max()
    other = lesson_02.push(activation, -0.6, 1e-3)[0]
    assert (actual - other).abs().max() > 0.1 * predicted.abs().max()


def test_the_explored_digits_are_ordered_as_the_sliders_say():
    data, kernel = lesson_02_digits.digit_kernel(1)
    assert torch.equal(data.label, torch.arange(10).repeat_interleave(10))
    assert kernel.shape == (100, 100)


def test_the_weighted_boundary_cures_the_explored_pinn():
    error, own = {}, {}
    for weight in (1, 100):
        run = lesson_06.run_pinn(100, 4, weight)
        truth = ntk.PoissonProblem(4).solution(run.x)
        error[weight] = (run.u[-1] - truth).norm() / truth.norm()
        assert run.u.shape == run.residual.shape == (len(lesson_06.STEPS), 100)
        own[weight], inside = run.pulls[-1].T
        assert (own[weight] + inside).norm() < 0.05 * own[weight].norm()  # the ends are at rest
    assert error[100] < 0.02 < 0.05 < error[1]
    assert 0.6 < own[100].norm() / own[1].norm() < 1.6


def test_both_pulls_at_an_explored_end_sum_to_its_velocity():
    run = lesson_06.run_pinn(100, 4, 10)
    early = ntk.PoissonProblem(4)
    ends = early.boundary(2, **lesson_06.PLACE)
    shape = {"activation": "tanh", "sigma_b": 1.0, "parameterization": "standard"}
    network = ntk.MLP(1, 100, **shape, seed=0, **lesson_06.PLACE)
    history = ntk.train_pinn(
        ntk.Standardized(network, run.x[:, None]),
        early,
        ends,
        run.x[:, None],
        learning_rate=1e-9,
        steps=1,
        loss="mean",
        weights=(10.0, 1.0),
        progress=False,
    )
    velocity = history.u.diff(dim=0)[0] / 1e-9
    torch.testing.assert_close(run.pulls[0].sum(1), velocity, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_explored_pinn_stays_below_the_limit_of_its_rate():
    for width in lesson_06.WIDTHS:
        for weight in lesson_06.WEIGHTS:
            run = lesson_06.run_pinn(width, max(lesson_06.FREQUENCIES), weight)
            assert len(run.fastest) == len(lesson_06.STEPS)
            assert run.fastest.max() < 0.95 * 2 / lesson_06.LEARNING_RATE, (width, weight)


def test_the_scale_slider_runs_as_the_axis_of_its_plots():
    assert list(lesson_07.ALPHAS) == sorted(lesson_07.ALPHAS)
    figure = lesson_07.draw_features(lesson_07.features_at(16, 0.125))
    labels = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert labels == [*lesson_07.ALPHAS.values()]
    marked, line = (drawn.get_xdata() for drawn in figure.axes[1].lines[:2])
    assert marked == line[0] == min(line)


def test_the_class_of_the_pushed_digit_is_marked():
    (band,) = (
        lesson_02_digits.draw_push_on_digit(lesson_02_digits.push_digit(7, 0, 1)).axes[1].patches
    )
    assert band.get_x() < 7 < band.get_x() + band.get_width()


def test_explorers_leave_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    ntk.explore.push_on_curve()
    assert torch.equal(torch.rand(1), expected)


def test_an_explorer_tells_its_controls_and_draws_finer_on_request():
    explorer = explore.Explorer("heights", _flat, {"height": [0.0, 0.25, 1.0]})
    assert explorer.now == {"height": 0.25}
    assert explorer.options("height") == {"0": 0.0, "0.25": 0.25, "1": 1.0}
    widths = [int.from_bytes(explorer.frame(dpi=d, height=1.0)[16:20], "big") for d in (100, 200)]
    assert widths[1] == 2 * widths[0]


def _slope(slope, shift):
    return {"slope": slope, "height": slope + shift}


LINE = {"numbers": _slope, "say": lambda line: f"At the end {line['height']:g} < 5."}


def _line(draw=lambda line: _flat(line["height"]), **more):
    controls = {
        "slope": explore.Control([-1.0, 0.0, 2.0], "slope σ_w", "How steep?", "{:+.1f}".format),
        "shift": [0, 1, 2],
    }
    return explore.Explorer("a line", draw, controls, **LINE, **more)


def test_numbers_are_found_once_then_drawn_and_said():
    explorer = _line(start={"slope": 2.0})
    assert explorer.labels == {"slope": "slope σ_w", "shift": "shift"}
    assert list(explorer.options("slope")) == ["-1.0", "+0.0", "+2.0"]
    assert getattr(explorer._sliders["slope"], TOOLTIP) == "How steep?"
    assert getattr(explorer._sliders["shift"], TOOLTIP) == "shift"
    assert explorer.numbers(slope=2.0, shift=1) is explorer.numbers(slope=2.0, shift=1)
    assert explorer._said.value == "<p>At the end 3 &lt; 5.</p>"
    explorer._sliders["shift"].value = 2
    assert explorer.say(**explorer.now) == "At the end 4 < 5."
    assert explorer._said.value == "<p>At the end 4 &lt; 5.</p>"


def test_without_a_sentence_the_controls_are_said():
    explorer = explore.Explorer("heights", _flat, {"height": [0.0, 1000.0, 1e7]})
    assert explorer.say(**explorer.now) == "heights: height 1,000."


def test_while_something_trains_the_picture_is_dim_and_the_sentence_tells_it():
    seen = []

    def draw(line):
        seen.append(("ntk-busy" in explorer._dom_classes, explorer._said.value))
        return _flat(line["height"])

    explorer = _line(slow=("slope",))
    explorer._draw = draw
    explorer._sliders["slope"].value = 2.0
    explorer._sliders["shift"].value = 2
    assert seen == [(True, "<p>training …</p>"), (False, "<p>At the end 3 &lt; 5.</p>")]
    assert "ntk-busy" not in explorer._dom_classes


def test_an_error_is_told_and_the_next_move_works():
    def draw(line):
        if line["slope"] == 2.0:
            raise RuntimeError("too <steep>")
        return _flat(line["height"])

    explorer = _line(draw, slow=("slope",))
    before = explorer._image.value
    with pytest.raises(RuntimeError, match="too <steep>"):
        explorer._sliders["slope"].value = 2.0
    assert "no picture for these values (too &lt;steep&gt;)" in explorer._said.value
    assert "ntk-busy" not in explorer._dom_classes
    explorer._sliders["slope"].value = -1.0
    assert explorer._said.value == "<p>At the end 0 &lt; 5.</p>"
    assert explorer._image.value != before


def test_reset_puts_all_sliders_back_and_draws_once():
    explorer = _line()
    for slider in explorer._sliders.values():
        slider.index = 2
    drawn = []
    explorer._draw = lambda line: drawn.append(line) or _flat(line["height"])
    explorer._frames.clear()
    button = next(w for row in explorer.children[:2] for w in row.children if hasattr(w, "click"))
    button.click()
    assert explorer.now == {"slope": 0.0, "shift": 1}
    assert drawn == [{"slope": 0.0, "height": 1.0}]
    explorer._sliders["shift"].value = 0
    assert explorer._said.value == "<p>At the end 0 &lt; 5.</p>"


def test_play_and_its_slider_move_each_other():
    explorer = _line(play="shift")
    slider, play, _ = explorer.children[1].children
    assert (play.value, play.min, play.max, play.show_repeat) == (1, 0, 2, False)
    play.value = 2
    assert slider.value == 2
    assert explorer._said.value == "<p>At the end 2 &lt; 5.</p>"
    slider.value = 0
    assert play.value == 0


def test_numbers_are_written_as_the_lessons_write_them():
    written = {0: "0", 8: "8", 1000.0: "1,000", 100_000: "100,000", -0.6: "−0.6", 0.0048: "0.0048"}
    written |= {3e-5: "3.0 · 10⁻⁵", 5.6e8: "5.6 · 10⁸", 999.7: "1,000"}
    assert {number: as_text(number) for number in written} == written
    assert [percent(share) for share in (0.0251, 8.67e-5, 1)] == ["2.51 %", "0.0087 %", "100 %"]
    assert [counted(n, "step") for n in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]
    assert [up_to(gap) for gap in (0.004, 0.126)] == ["less than 0.005", "up to 0.13"]


def test_the_question_about_the_limit_is_seen_at_the_start():
    explorer = explore.step_size()
    assert "jumps across the valley" in explorer.say(**explorer.now)
    at = {
        rate: explorer.numbers(**explorer.now | {"learning_rate": rate}).path_loss[-1]
        for rate in (0.195, 0.201)
    }
    assert at[0.195] < lesson_01.loss(lesson_01.START) < at[0.201]


def test_the_largest_push_makes_the_forecast_visibly_wrong():
    for activation in ("erf", "relu", "tanh", "sin"):
        assert lesson_02.pushed(0.4, max(lesson_02.RATES), activation).error > 0.05


def test_sentences_are_right_where_little_happens():
    said = {
        "no unit has moved yet": explore.lazy_to_rich().say(alpha=1.0, time=0, width=16),
        "no mode learns": explore.mode_by_mode().say(modes_that_learn=0, time=10.0),
        "It has learned 100 %; its": explore.mode_by_mode().say(modes_that_learn=1, time=10.0),
        "the same as that of all": explore.mode_by_mode().say(modes_that_learn=7, time=1.0),
        "none of 7 modes is": explore.rate_limit().say(rate_over_limit=1.0, mistake=0.3),
        "falls from the start and ends below": explore.large_steps().say(rate=1.0, width=1000),
        "stays at 1 of": explore.kernel_on_circle().say(
            activation="linear", depth=8, sigma_w=0.5, sigma_b=2.0
        ),
        "nearly the same eigenvalue": explore.kernel_on_circle().say(
            activation="sin", depth=8, sigma_w=3.0, sigma_b=2.0
        ),
    }
    for part, sentence in said.items():
        assert part in sentence
        assert 60 < len(sentence) < 260
