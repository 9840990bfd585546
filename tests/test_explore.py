"""Every explorer draws every frame; the numbers behind the pictures are right."""

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import ntk_helpers as ntk
from ntk_helpers.classroom import explore
from ntk_helpers.classroom.explore import lesson_00, lesson_01, lesson_02, lesson_06
from ntk_helpers.classroom.plots import png

EXPLORERS = [name for name in explore.__all__ if name != "Explorer"]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPLORERS)
def test_every_value_of_every_control_draws_a_finite_picture(name):
    explorer = getattr(explore, name)()
    values = sum(len(slider.options) for slider in explorer.children[:-1])
    assert explorer.sweep() > values / 2
    assert len(repr(explorer)) < 110


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPLORERS)
def test_moving_each_slider_changes_the_picture(name):
    explorer = getattr(explore, name)()
    *sliders, image = explorer.children
    for slider in sliders:
        before = image.value
        slider.value = next(v for _, v in reversed(slider.options) if v != slider.value)
        assert bytes(image.value).startswith(b"\x89PNG")
        assert image.value != before, slider.description


@pytest.mark.parametrize("name", EXPLORERS)
def test_a_frame_has_the_pixels_of_a_figure_that_is_saved(name):
    explorer = getattr(explore, name)()
    figure = explorer._draw(**{key: s.value for key, s in explorer._sliders.items()})
    frame, saved = (
        np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
        for picture in (explorer.children[-1].value, png(figure))
    )
    assert abs(frame - saved).max() <= 1


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
    data, kernel = lesson_02.digit_kernel(1)
    assert torch.equal(data.label, torch.arange(10).repeat_interleave(10))
    assert kernel.shape == (100, 100)


def test_the_weighted_boundary_cures_the_explored_pinn():
    error = {}
    for weight in (1, 100):
        run = lesson_06.run_pinn(100, 4, weight)
        truth = ntk.PoissonProblem(4).solution(run.x)
        error[weight] = (run.u[-1] - truth).norm() / truth.norm()
        assert run.u.shape == run.residual.shape == (len(lesson_06.STEPS), 100)
        assert [part.numel() for part in run.rates[0]] == [2, 100]
    assert error[100] < 0.02 < 0.05 < error[1]
    plain, weighted = (lesson_06.run_pinn(100, 4, weight).rates[0][0] for weight in (1, 100))
    torch.testing.assert_close(weighted, 100 * plain)


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
