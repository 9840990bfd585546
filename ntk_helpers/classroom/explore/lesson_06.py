"""Explore what the weight of the boundary does to a physics-informed network."""

import math
from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.explore._control import Control, as_text, percent
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_match, to_numpy
from ntk_helpers.networks import MLP
from ntk_helpers.pinn.problem import PoissonProblem, Standardized
from ntk_helpers.pinn.training import train_pinn

PLACE = {"device": "cpu", "dtype": torch.float64}
LEARNING_RATE = 6.4e-5  # in no run does the fastest mode come near 2/η; at 8e-5 one came to 0.995
STEPS = [0, 75, 250, 750, 2500, 5000, 8750, 12_500]
WIDTHS = [10, 30, 100]
FREQUENCIES = [1, 2, 3, 4]
WEIGHTS = [1, 3, 10, 30, 100]
TICKS = [-1000, -100, -10, 0, 10, 100, 1000]  # of the pulls


class PINNRun(NamedTuple):
    """A PINN in training, at T times.

    Attributes:
        x: (100,) inner points.
        u: (T, 100) its values.
        residual: (T, 100) u'' − f.
        pulls: (T, 2, 2) at x = 0 and at x = 1, in columns: −λ_b K_uu (u − g) / 2, which is their
            own, and −K_ur (u'' − f) / 100, which comes from inside. Both sum to du/dt.
        fastest: (T,) the largest eigenvalue of K D.
    """

    x: Tensor
    u: Tensor
    residual: Tensor
    pulls: Tensor
    fastest: Tensor


@cache
def run_pinn(width: int, frequency: int, boundary_weight: int) -> PINNRun:
    """Return one run in the set-up of the paper's released code, always the same."""
    problem = PoissonProblem(frequency)
    x_boundary, x = problem.boundary(2, **PLACE), problem.interior(100, **PLACE)
    shape = {"activation": "tanh", "sigma_b": 1.0, "parameterization": "standard"}
    network = MLP(1, width, **shape, seed=0, **PLACE)
    history = train_pinn(
        Standardized(network, x),
        problem,
        x_boundary,
        x,
        learning_rate=LEARNING_RATE,
        steps=max(STEPS),
        loss="mean",
        weights=(float(boundary_weight), 1.0),
        record_at=STEPS,
        keep_kernels=True,
        observe=lambda model: model(x)[:, 0],
        progress=False,
    )
    mistake = history.u - problem.solution(x_boundary)[:, 0]
    residual = history.lu - problem.forcing(x)[:, 0]
    uu, ur = (torch.stack([getattr(k, part) for k in history.kernels]) for part in ("uu", "ur"))
    own = -boundary_weight / 2 * (uu @ mistake[:, :, None])[:, :, 0]
    inside = -1 / 100 * (ur @ residual[:, :, None])[:, :, 0]
    fastest = [k.weighted(boundary_weight / 2, 1 / 100).eigenvalues()[-1] for k in history.kernels]
    pulls = torch.stack([own, inside], 2)
    return PINNRun(x[:, 0], history.observed, residual, pulls, torch.stack(fastest))


class PINNMoment(NamedTuple):
    """A PINN at one time.

    Attributes:
        width: Hidden units n.
        frequency: a of sin aπx.
        boundary_weight: λ_b.
        time: ηk.
        x: (100,) inner points.
        truth: (100,) the solution.
        u: (100,) what the PINN says.
        residual: (100,) u'' − f.
        pulls: (2, 2) at x = 0 and x = 1: their own, and that from inside.
        error: ‖u − truth‖ / ‖truth‖.
        height: The largest tick of the axis of u.
    """

    width: int
    frequency: int
    boundary_weight: int
    time: float
    x: Tensor
    truth: Tensor
    u: Tensor
    residual: Tensor
    pulls: Tensor
    error: float
    height: int


def pinn_at(width: int, frequency: int, boundary_weight: int, time: float) -> PINNMoment:
    """Return one PINN at one time."""
    run = run_pinn(width, frequency, boundary_weight)
    row = STEPS.index(round(time / LEARNING_RATE))
    truth = PoissonProblem(frequency).solution(run.x)
    error = ((run.u[row] - truth).norm() / truth.norm()).item()
    design = width, frequency, boundary_weight, time
    height = max(1, math.ceil(run.u[row].abs().max().item() - 0.3))
    fields = run.x, truth, run.u[row], run.residual[row], run.pulls[row]
    return PINNMoment(*design, *fields, error, height)


def on_axis(pull: Tensor) -> Tensor:
    """Return where a pull stands on an axis that is a logarithm in both directions."""
    return pull.sign() * (1 + pull.abs()).log10()


def draw_pinn(now: PINNMoment) -> Figure:
    """Return the picture of one PINN at one time: the curve, and the two pulls at its ends."""
    figure = Figure(figsize=(9.6, 4), layout="none")
    left = figure.add_axes((0.06, 0.16, 0.5, 0.73))
    right = figure.add_axes((0.68, 0.16, 0.31, 0.73))
    plot_match(now.x, now.truth, now.u, labels=("solution", "PINN"), ax=left)
    high = now.height
    left.set(xlabel="x", ylim=(-1.4 * high, 2 * high), yticks=[-high, 0, high])
    left.set_title(f"u: error {percent(now.error)}")
    left.legend(loc="upper center", ncols=2)
    for kind, (name, ink) in enumerate([("own", "red"), ("from inside", "blue")]):
        places = [end + 0.36 * kind - 0.18 for end in (0, 1)]
        heights = to_numpy(on_axis(now.pulls[:, kind]))
        right.bar(places, heights, 0.32, color=COLORS[ink], label=name)
    right.axhline(0, color="0.5", lw=1, ls="-")
    # Logarithms on a plain axis: matplotlib takes longest over its ticks.
    right.set_xticks([0, 1], ["x = 0", "x = 1"])
    right.set_yticks(on_axis(torch.tensor(TICKS)).tolist(), [as_text(tick) for tick in TICKS])
    right.set(ylim=(-4, 5), title="the two pulls at the ends")
    right.legend(loc="upper center", ncols=2)
    return figure


def say_pinn(now: PINNMoment) -> str:
    """Return what `draw_pinn` shows."""
    ends = [
        f"at x = {end} the own pull is {as_text(own)}, that from inside {as_text(inside)}"
        for end, (own, inside) in enumerate(now.pulls.tolist())
    ]
    return (
        f"Width {now.width}, frequency {now.frequency}, λ_b = {now.boundary_weight}, "
        f"t = {as_text(now.time)}: the error of u is {percent(now.error)}, the residual inside at "
        f"most {as_text(now.residual.abs().max())}; {'; '.join(ends)}."
    )


def boundary_weight() -> Explorer:
    """Return the explorer: width, frequency, λ_b and time against a curve and its two pulls."""
    times = [LEARNING_RATE * step for step in STEPS]
    width = "The number of hidden units. Which width fails worst without a weight?"
    frequency = "How many half waves the solution has. From which one on does λ_b = 1 fail?"
    weight = "How much the two ends count in the loss. The error falls; do the pulls change?"
    time = "Learning rate times steps. When do the two pulls begin to cancel?"
    return Explorer(
        "what a PINN has learned, and the two pulls at its ends, by weight and time",
        draw_pinn,
        {
            "width": Control(WIDTHS, "width n", width),
            "frequency": Control(FREQUENCIES, "wave number a", frequency),
            "boundary_weight": Control(WEIGHTS, "boundary weight λ_b", weight),
            "time": Control(times, "time t = ηk", time),
        },
        numbers=pinn_at,
        say=say_pinn,
        start={"width": 100, "frequency": 4, "boundary_weight": 1, "time": times[-1]},
        slow=("width", "frequency", "boundary_weight"),
        play="time",
    )
