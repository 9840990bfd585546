"""Explore the closed form: fit mode by mode, and cross the limit of the learning rate."""

import warnings
from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import Curve, wavy_curve
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_match, plot_points, to_numpy
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.kernels.infinite import infinite_kernels
from ntk_helpers.networks import MLP
from ntk_helpers.theory.dynamics import KernelDynamics
from ntk_helpers.training.descent import gradient_descent

PLACE = {"device": "cpu", "dtype": torch.float64}
RECIPE = {"activation": "erf", "sigma_w": 3.0, "sigma_b": 1.0}
GRID = torch.linspace(-1.3, 1.3, 105, dtype=torch.float64)[:, None]
TIMES = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0]
FACTORS = [0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 1.0, 1.03, 1.1, 1.5, 2.0, 3.0, 5.0]
MISTAKES = [0.01, 0.1, 0.3, 1.0]
STEPS = 60


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


def draw_modes(modes_that_learn: int, time: float) -> Figure:
    """Return the picture of the fit by some modes, beside how much each has learned."""
    data, dynamics, _ = modes()
    curve, learned = fit(modes_that_learn, time)
    full, _ = fit(len(data.y), time)
    figure = Figure(figsize=(9.6, 4.2), layout="none")
    left = figure.add_axes((0.08, 0.14, 0.52, 0.75))
    right = figure.add_axes((0.68, 0.14, 0.3, 0.75))
    plot_match(GRID, full, curve, labels=("all modes", f"fastest {modes_that_learn}"), ax=left)
    plot_points(data.x, data.y, label="data", ax=left)
    left.set(xlabel="input x", ylabel="prediction", ylim=(-2.4, 2.6), title=f"t = {time:g}")
    left.legend(loc="upper left", ncols=3)
    place = range(1, len(learned) + 1)
    colors = [COLORS["blue"] if j <= modes_that_learn else "#D0D0D0" for j in place]
    right.bar(place, to_numpy(learned), color=colors)
    right.set(xlabel="mode, fastest first", xticks=place, ylim=(0, 1.4))
    right.set_title("share learned (numbers: λ/N)")
    right.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    rates = dynamics.eigenvalues.flip(0) / len(learned)
    for j, rate in zip(place, rates.tolist(), strict=True):
        right.text(j, 1.05, f"{rate:.2g}", rotation=90, ha="center", va="bottom", fontsize=11)
    return figure


def mode_by_mode() -> Explorer:
    """Return the explorer: how many modes learn, and for how long, against the full fit."""
    return Explorer(
        "fit seven points mode by mode: how many modes may learn, and for how long",
        draw_modes,
        {"modes_that_learn": [0, 1, 2, 3, 4, 5, 6, 7], "time": TIMES},
        start={"modes_that_learn": 4, "time": 10.0},
    )


class Crossing(NamedTuple):
    """The fastest mode of a trained network beside the theory of a constant kernel.

    Attributes:
        trained: (K + 1,) the mode's residual at each step, relative to its start.
        theory: (K + 1,) (1 − ηλ_max/N)ᵏ.
        factors: (n,) 1 − ηλ_j/N, fastest mode first.
    """

    trained: Tensor
    theory: Tensor
    factors: Tensor


@cache
def cross(rate_over_limit: float, mistake: float) -> Crossing:
    """Return a run at this multiple of 2N/λ_max, with this share of the mistake f_0 − Y to correct.

    Values beyond ±1e6, and what follows a divergence, are cut off there.
    """
    data = wavy_curve(7, **PLACE)
    network = MLP(1, 1024, seed=3, **RECIPE, **PLACE)
    with torch.no_grad():
        f0 = network(data.x)[:, 0]
    targets = f0 + mistake * (data.y - f0)
    dynamics = KernelDynamics(empirical_ntk(network, data.x, outputs="trace"), targets, f0)
    rate = rate_over_limit * dynamics.max_learning_rate
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        run = gradient_descent(
            network,
            data.x,
            targets,
            learning_rate=rate,
            steps=STEPS,
            record_at=range(STEPS + 1),
            progress=False,
        )
    trained = (run.outputs - targets) @ dynamics.eigenvectors[:, -1]
    trained = torch.cat([trained / trained[0], torch.full((STEPS + 1,), 1e6)])[: STEPS + 1]
    factors = (1 - rate * dynamics.eigenvalues / len(targets)).flip(0)
    theory = factors[0] ** torch.arange(STEPS + 1)
    limited = [values.nan_to_num(1e6).clamp(-1e6, 1e6) for values in (trained, theory)]
    return Crossing(*limited, factors)


def draw_crossing(rate_over_limit: float, mistake: float) -> Figure:
    """Return the picture of the fastest mode over the steps, beside each mode's factor a step."""
    run = cross(rate_over_limit, mistake)
    figure = Figure(figsize=(9.6, 4.2), layout="none")
    left = figure.add_axes((0.1, 0.14, 0.5, 0.75))
    right = figure.add_axes((0.7, 0.14, 0.28, 0.75))
    for values, style, label in [(run.theory, "-", "formula"), (run.trained, "o", "trained")]:
        color = COLORS["sky" if style == "-" else "red"]
        size = to_numpy(values.abs().clamp(min=1e-7))
        left.semilogy(size, style, color=color, lw=5, ms=4, label=label)
    left.minorticks_off()
    left.set_yticks([1e-6, 1e-3, 1, 1e3, 1e6], ["10⁻⁶", "10⁻³", "1", "10³", "10⁶"])
    left.set(xlabel="step k", ylabel="fastest mode, relative", ylim=(3e-7, 3e6))
    left.set_title(f"η = {rate_over_limit:g} × limit, mistake × {mistake:g}")
    left.legend(loc="lower left")
    right.axhspan(-1, 1, color="#E8F3EC", zorder=0)
    right.axhline(0, color="0.6", lw=1, linestyle="-")
    place = range(1, len(run.factors) + 1)
    colors = [COLORS["blue"] if abs(f) < 1 else COLORS["red"] for f in run.factors.tolist()]
    right.bar(place, to_numpy(run.factors), color=colors)
    right.set(xlabel="mode, fastest first", xticks=place, title="factor a step")
    right.set_ylim(min(-1.25, 1.05 * run.factors[0].item()), 1.25)
    return figure


def rate_limit() -> Explorer:
    """Return the explorer: a real run below and above 2N/λ_max, with small or large mistakes."""
    return Explorer(
        "learning rate across the limit 2N/λ_max, with small and large mistakes",
        draw_crossing,
        {"rate_over_limit": FACTORS, "mistake": MISTAKES},
        start={"rate_over_limit": 1.1, "mistake": 0.3},
    )
