"""Explore the closed form: fit seven points mode by mode."""

from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import Curve, wavy_curve
from ntk_helpers.classroom.explore._control import Control, as_text, percent, up_to
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_match, plot_points, to_numpy
from ntk_helpers.kernels.infinite import infinite_kernels
from ntk_helpers.theory.dynamics import KernelDynamics

PLACE = {"device": "cpu", "dtype": torch.float64}
RECIPE = {"activation": "erf", "sigma_w": 3.0, "sigma_b": 1.0}
GRID = torch.linspace(-1.3, 1.3, 105, dtype=torch.float64)[:, None]
TIMES = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0]


@cache
def modes() -> tuple[Curve, KernelDynamics, Tensor]:
    """Return seven points, their dynamics at infinite width, and K(x, X) V on the grid."""
    data = wavy_curve(7, **PLACE)
    dynamics = KernelDynamics(infinite_kernels(data.x, **RECIPE).ntk, data.y)
    towards = infinite_kernels(GRID, data.x, **RECIPE).ntk @ dynamics.eigenvectors
    return data, dynamics, towards


def fit(count: int, t: float) -> tuple[Tensor, Tensor]:
    """Return (curve (G,), share learned (n,)) at time t if only the `count` fastest modes learn.

    The curve is the mean over infinitely wide networks, whose f_0 averages to zero; the shares
    1 − e^{−λt/N} are ordered from the fastest mode to the slowest, those left out at zero.
    """
    data, dynamics, towards = modes()
    values = dynamics.eigenvalues
    learned = -torch.expm1(-values * t / len(values))
    learned[: len(values) - count] = 0
    return towards @ (learned / values * (dynamics.eigenvectors.T @ data.y)), learned.flip(0)


class Modes(NamedTuple):
    """The fit by the fastest modes at one time, beside the fit by all.

    Attributes:
        modes_that_learn: How many.
        time: t.
        data: Seven points.
        x: (G, 1) inputs to look at.
        full: (G,) the fit by all modes.
        curve: (G,) the fit by those that learn.
        rates: (7,) λ/N, fastest mode first.
        learned: (7,) share that each mode has learned.
    """

    modes_that_learn: int
    time: float
    data: Curve
    x: Tensor
    full: Tensor
    curve: Tensor
    rates: Tensor
    learned: Tensor


def fit_by_modes(modes_that_learn: int, time: float) -> Modes:
    """Return the fit by the fastest modes at one time."""
    data, dynamics, _ = modes()
    count = len(data.y)
    rates = dynamics.eigenvalues.flip(0) / count
    fits = GRID, fit(count, time)[0], fit(modes_that_learn, time)[0]
    return Modes(modes_that_learn, time, data, *fits, rates, fit(modes_that_learn, time)[1])


def draw_modes(run: Modes) -> Figure:
    """Return the picture of the fit by some modes, beside how much each has learned."""
    figure = Figure(figsize=(9.6, 4.2), layout="none")
    left = figure.add_axes((0.08, 0.14, 0.52, 0.75))
    right = figure.add_axes((0.68, 0.14, 0.3, 0.75))
    labels = ("all modes", f"fastest {run.modes_that_learn}")
    plot_match(run.x, run.full, run.curve, labels=labels, ax=left)
    plot_points(run.data.x, run.data.y, label="data", ax=left)
    left.set(xlabel="input x", ylabel="prediction", ylim=(-2.4, 2.6))
    left.set_title(f"t = {as_text(run.time)}")
    left.legend(loc="upper left", ncols=3)
    place = range(1, len(run.learned) + 1)
    colors = [COLORS["blue"] if j <= run.modes_that_learn else "#D0D0D0" for j in place]
    right.bar(place, to_numpy(run.learned), color=colors)
    right.set(xlabel="mode, fastest first", xticks=place, ylim=(0, 1.4))
    right.set_title("share learned (numbers: λ/N)")
    right.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    for j, rate in zip(place, run.rates.tolist(), strict=True):
        right.text(j, 1.05, f"{rate:.2g}", rotation=90, ha="center", va="bottom", fontsize=11)
    return figure


def say_modes(run: Modes) -> str:
    """Return what `draw_modes` shows."""
    count, when = run.modes_that_learn, f"t = {as_text(run.time)}"
    gap = up_to((run.full - run.curve).abs().max().item())
    if count == 0:
        return (
            f"{when}: no mode learns; the curve stays at zero, {gap} away from that of all seven."
        )
    shares = ", ".join(percent(share) for share in run.learned[:count].tolist())
    who, whose = ("It has", "its") if count == 1 else ("They have", "their")
    away = f"{gap} away from" if count < len(run.learned) else "the same as"
    return (
        f"{when}, modes that learn: {count}. {who} learned {shares}; {whose} curve is {away} that "
        "of all seven."
    )


def mode_by_mode() -> Explorer:
    """Return the explorer: how many modes learn, and for how long, against the full fit."""
    count = "Only so many of the fastest modes learn. From how many on is the dashed curve right?"
    time = "Time of training. Which bars are full, and which modes have hardly begun?"
    return Explorer(
        "fit seven points mode by mode: how many modes may learn, and for how long",
        draw_modes,
        {
            "modes_that_learn": Control(range(8), "modes that learn", count),
            "time": Control(TIMES, "time t", time),
        },
        numbers=fit_by_modes,
        say=say_modes,
        start={"modes_that_learn": 4, "time": 10.0},
        play="time",
    )
