"""Explore what a run does below and above the limit of the learning rate."""

import warnings
from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import wavy_curve
from ntk_helpers.classroom.explore._control import Control, as_text
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.explore.lesson_05 import PLACE, RECIPE
from ntk_helpers.classroom.plots import COLORS, to_numpy
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP
from ntk_helpers.theory.dynamics import KernelDynamics
from ntk_helpers.training.descent import gradient_descent

FACTORS = [0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 1.0, 1.03, 1.1, 1.5, 2.0, 3.0, 5.0]
MISTAKES = [0.01, 0.1, 0.3, 1.0]
STEPS = 60
BOTTOM, TOP = 1e-6, 1e6  # of the chart


class Crossing(NamedTuple):
    """The fastest mode of a trained network beside the theory of a constant kernel.

    Attributes:
        rate_over_limit: η ÷ (2N/λ_max).
        mistake: Share of the mistake f_0 − Y that is to be corrected.
        trained: (≤ K + 1,) the mode's residual at each step, relative to its start, up to where the
            run ended or its numbers overflowed.
        theory: (K + 1,) (1 − ηλ_max/N)ᵏ.
        factors: (n,) 1 − ηλ_j/N, fastest mode first.
    """

    rate_over_limit: float
    mistake: float
    trained: Tensor
    theory: Tensor
    factors: Tensor


@cache
def cross(rate_over_limit: float, mistake: float) -> Crossing:
    """Return a run at this multiple of 2N/λ_max that has this share of the mistake to correct."""
    data = wavy_curve(7, **PLACE)
    network = MLP(1, 1024, seed=3, **RECIPE, **PLACE)
    with torch.no_grad():
        f0 = network(data.x)[:, 0]
    targets = f0 + mistake * (data.y - f0)
    dynamics = KernelDynamics(empirical_ntk(network, data.x, outputs="trace"), targets, f0)
    rate = rate_over_limit * dynamics.max_learning_rate
    recipe = {"learning_rate": rate, "steps": STEPS, "record_at": range(STEPS + 1)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        run = gradient_descent(network, data.x, targets, **recipe, progress=False)
    trained = (run.outputs - targets) @ dynamics.eigenvectors[:, -1]
    trained = trained[: trained.isfinite().cumprod(0).sum()]
    factors = (1 - rate * dynamics.eigenvalues / len(targets)).flip(0)
    theory = factors[0] ** torch.arange(STEPS + 1)
    return Crossing(rate_over_limit, mistake, trained / trained[0], theory, factors)


def leaves(values: Tensor) -> int | None:
    """Return the step from which on values stay above the chart, or after which they end."""
    inside = (values.abs() <= TOP).nonzero()[-1].item() + 1
    return inside if inside <= STEPS else None


def draw_crossing(run: Crossing) -> Figure:
    """Return the picture of the fastest mode over the steps, beside each mode's factor a step."""
    figure = Figure(figsize=(9.6, 4.2), layout="none")
    left = figure.add_axes((0.1, 0.14, 0.5, 0.75))
    right = figure.add_axes((0.7, 0.14, 0.28, 0.75))
    both = [(run.theory, "-", "formula", "sky"), (run.trained, "o", "trained", "red")]
    for line, (values, style, label, color) in enumerate(both):
        k = (values.abs() <= TOP).nonzero()[:, 0]
        size = to_numpy(values[k].abs().clamp(min=BOTTOM / 10).log10())
        left.plot(k, size, style, color=COLORS[color], lw=5, ms=4, label=label)
        if step := leaves(values):
            left.plot(step, 5.8, "^", color=COLORS[color], ms=18 - 9 * line)
            text = f"{label}: off the chart from step {step}"
            left.text(59, 5.2 - line, text, ha="right", fontsize=12)
    left.set_yticks([-6, -3, 0, 3, 6], ["10⁻⁶", "10⁻³", "1", "10³", "10⁶"])
    left.set(xlabel="step k", ylabel="fastest mode, relative", xlim=(-2, 62), ylim=(-6.5, 6.5))
    left.set_title(f"η = {run.rate_over_limit:g} × limit, mistake × {run.mistake:g}")
    left.legend(loc="lower left")
    right.axhspan(-1, 1, color="#E8F3EC", zorder=0)
    right.axhline(0, color="0.6", lw=1, linestyle="-")
    place = range(1, len(run.factors) + 1)
    colors = [COLORS["blue"] if abs(f) < 1 else COLORS["red"] for f in run.factors.tolist()]
    right.bar(place, to_numpy(run.factors), color=colors)
    right.set(xlabel="mode, fastest first", xticks=place, title="factor a step")
    right.set_ylim(min(-1.25, 1.05 * run.factors[0].item()), 1.25)
    return figure


def say_crossing(run: Crossing) -> str:
    """Return what `draw_crossing` shows."""

    def end(values: Tensor) -> str:
        if step := leaves(values):
            return f"off the chart (from step {step} on)"
        size = abs(values[-1].item())
        return "below the chart" if size < BOTTOM else f"at {as_text(size)}"

    unstable = (run.factors.abs() > 1 + 1e-9).sum().item()  # at the limit, it is 1 but for rounding
    return (
        f"η at {run.rate_over_limit:g} × the limit, mistake × {run.mistake:g}: "
        f"{unstable or 'none'} of {len(run.factors)} modes {'is' if unstable < 2 else 'are'} "
        f"unstable. Relative to its start, the fastest mode ends {end(run.theory)} by the formula "
        f"and {end(run.trained)} in the real run."
    )


def rate_limit() -> Explorer:
    """Return the explorer: a real run below and above 2N/λ_max, with small or large mistakes."""
    rate = (
        "The learning rate as a multiple of 2N/λ_max. Beyond 1 the fastest mode grows: a red bar."
    )
    mistake = "How much of the real mistake is left to correct. A large one may escape: a catapult."
    return Explorer(
        "learning rate across the limit 2N/λ_max, with small and large mistakes",
        draw_crossing,
        {
            "rate_over_limit": Control(FACTORS, "rate ÷ limit", rate),
            "mistake": Control(MISTAKES, "mistake ÷ real one", mistake),
        },
        numbers=cross,
        say=say_crossing,
        start={"rate_over_limit": 1.1, "mistake": 0.3},
    )
