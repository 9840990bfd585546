"""The numbers behind lesson 05's explorers agree with the closed form and with real runs."""

import math
from itertools import pairwise

import pytest
import torch

import ntk_helpers as ntk
from ntk_helpers.classroom.explore import lesson_05, lesson_05_limit


@pytest.mark.parametrize("t", [0.1, 10.0, 1e6])
def test_all_modes_together_are_the_packaged_forecast(t):
    data, dynamics, _ = lesson_05.modes()
    towards = ntk.infinite_kernels(lesson_05.GRID, data.x, **lesson_05.RECIPE).ntk
    curve, learned = lesson_05.fit(7, t)
    assert torch.allclose(curve, dynamics.test(t, towards), atol=1e-9)
    assert torch.allclose(learned.flip(0), 1 - torch.exp(-dynamics.eigenvalues * t / 7))


def test_modes_that_may_not_learn_stay_at_zero():
    curve, learned = lesson_05.fit(3, math.inf)
    assert (learned > 0).tolist() == [True] * 3 + [False] * 4
    assert curve.abs().max() > 0.1
    assert lesson_05.fit(0, 10.0)[0].abs().max() == 0


def test_the_fit_gets_better_with_each_mode():
    data, dynamics, _ = lesson_05.modes()
    amplitudes = (dynamics.eigenvectors.T @ data.y).square().flip(0)
    left = [(amplitudes * (1 - lesson_05.fit(m, 1e9)[1])).sum() for m in range(8)]
    assert all(later < earlier for earlier, later in pairwise(left))
    assert left[-1] < 1e-9


@pytest.mark.parametrize("factor", [0.5, 0.97, 1.03])
def test_small_mistakes_follow_the_formula_on_both_sides_of_the_limit(factor):
    run = lesson_05_limit.cross(factor, 0.01)
    assert torch.allclose(run.factors[0], torch.tensor(1 - 2 * factor, dtype=torch.float64))
    assert torch.allclose(run.trained[:31], run.theory[:31], rtol=0.1, atol=0.01)
    assert (run.trained[30].abs() > 1).item() == (factor > 1)


def test_large_mistakes_escape_where_the_formula_explodes():
    run = lesson_05_limit.cross(1.1, 1.0)
    assert run.theory[-1].abs() > 1e4
    assert run.trained[-1].abs() < 0.1


def test_far_beyond_the_limit_both_leave_the_chart_and_no_line_is_drawn_on():
    run = lesson_05_limit.cross(5.0, 1.0)
    steps = [lesson_05_limit.leaves(values) for values in (run.theory, run.trained)]
    assert steps == [7, 7]
    assert run.theory[6].abs() < 1e6 < run.theory[7].abs()
    chart, _ = lesson_05_limit.draw_crossing(run).axes
    assert [text.get_text().split(": ")[1] for text in chart.texts] == [
        "off the chart from step 7"
    ] * 2
    assert max(line.get_xdata()[-1] for line in chart.lines) == 7


def test_what_stays_on_the_chart_has_no_arrow():
    run = lesson_05_limit.cross(1.1, 1.0)
    assert lesson_05_limit.leaves(run.theory) is lesson_05_limit.leaves(run.trained) is None
    assert not lesson_05_limit.draw_crossing(run).axes[0].texts


def test_the_spreads_have_the_shapes_that_the_hints_speak_of():
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    inputs = torch.linspace(-1.3, 1.3, 53, dtype=torch.float64)[:, None]  # every tenth is in x
    recipe = {"depth": 1, "activation": "erf", "sigma_w": 2.0, "sigma_b": 1.0}
    four = x[[0, 1, 3, 4]]
    shown = {"A": (four, math.inf), "B": (x, 1.0), "C": (x, 0.0), "D": (x, math.inf)}
    std = {
        name: ntk.wide_ensemble(points, torch.randn(len(points)).to(x), inputs, t, **recipe).std
        for name, (points, t) in shown.items()
    }
    dips = {name: (values < 1e-3).nonzero()[:, 0].tolist() for name, values in std.items()}
    assert dips == {"A": [6, 16, 36, 46], "B": [], "C": [], "D": [6, 16, 26, 36, 46]}
    assert (std["C"] > 4 * std["B"]).all()
    assert std["A"][26] > std["B"][26]  # as if nothing had been learned there
    ripple = std["B"].max() / std["B"].min(), std["C"].max() / std["C"].min()
    assert ripple[0] > 2
    assert ripple[1] < 1.3
