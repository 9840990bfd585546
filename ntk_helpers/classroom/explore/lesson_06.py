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
LEARNING_RATE = 8e-5  # in no run does the fastest mode get beyond 2/η, its limit
STEPS = [0, 60, 200, 600, 2000, 4000, 7000, 10_000]
WIDTHS = [10, 30, 100]
FREQUENCIES = [1, 2, 3, 4]
WEIGHTS = [1, 3, 10, 30, 100]


class PINNRun(NamedTuple):
    """A PINN in training, at T times.

    Attributes:
        x: (100,) inner points.
        u: (T, 100) its values.
        residual: (T, 100) u'' − f.
        rates: T pairs of eigenvalues, of λ_b K_uu / 2 (2,) and K_rr / 100 (100,), ascending.
    """

    x: Tensor
    u: Tensor
    residual: Tensor
    rates: list[tuple[Tensor, Tensor]]


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
    weighted = [kernel.weighted(boundary_weight / 2, 1 / 100) for kernel in history.kernels]
    rates = [(torch.linalg.eigvalsh(k.uu), torch.linalg.eigvalsh(k.rr)) for k in weighted]
    residual = history.lu - problem.forcing(x)[:, 0]
    return PINNRun(x[:, 0], history.observed, residual, rates)


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
        rates: Eigenvalues of λ_b K_uu / 2 (2,) and of K_rr / 100 (100,), ascending.
        error: ‖u − truth‖ / ‖truth‖.
        bound: Half the height of the axis of the residual, the same at all times.
    """

    width: int
    frequency: int
    boundary_weight: int
    time: float
    x: Tensor
    truth: Tensor
    u: Tensor
    residual: Tensor
    rates: tuple[Tensor, Tensor]
    error: float
    bound: int


def pinn_at(width: int, frequency: int, boundary_weight: int, time: float) -> PINNMoment:
    """Return one PINN at one time."""
    run = run_pinn(width, frequency, boundary_weight)
    row = STEPS.index(round(time / LEARNING_RATE))
    truth = PoissonProblem(frequency).solution(run.x)
    error = ((run.u[row] - truth).norm() / truth.norm()).item()
    bound = 10 * math.ceil(run.residual[0].abs().max().item() / 10)
    design = width, frequency, boundary_weight, time
    fields = run.x, truth, run.u[row], run.residual[row]
    return PINNMoment(*design, *fields, run.rates[row], error, bound)


def draw_pinn(now: PINNMoment) -> Figure:
    """Return the picture of one PINN at one time: solution, residual, rates."""
    figure = Figure(figsize=(9.6, 3.7), layout="none")
    left = figure.add_axes((0.06, 0.17, 0.27, 0.71))
    middle = figure.add_axes((0.42, 0.17, 0.24, 0.71))
    right = figure.add_axes((0.74, 0.17, 0.25, 0.71))
    # Few ticks, and logarithms on a plain axis: matplotlib takes longest over its ticks.
    ends = {"xlabel": "x", "xticks": [0, 0.5, 1]}
    plot_match(now.x, now.truth, now.u, labels=("truth", "PINN"), ax=left)
    left.set(**ends, ylim=(-2.6, 3.6), yticks=[-2, 0, 2], title=f"u: error {percent(now.error)}")
    left.legend(loc="upper center", ncols=2)
    middle.plot(to_numpy(now.x), to_numpy(now.residual), "-", color=COLORS["red"])
    height = {"ylim": (-now.bound, now.bound), "yticks": [-now.bound, 0, now.bound]}
    middle.set(**ends, **height, title="residual u″ − f")
    for values, name, look, color in zip(
        now.rates, ("boundary", "inside"), "so", ("red", "blue"), strict=True
    ):
        top = to_numpy(values.flip(0)[:25].clamp(min=1e-2).log10())
        ranks = range(1, len(top) + 1)
        right.plot(ranks, top, look, color=COLORS[color], markersize=6, label=name)
    right.set(xlabel="rank", xticks=[1, 10, 20], ylim=(-1, 6), title="rate of each mode")
    right.set_yticks([0, 2, 4, 6], ["1", "10²", "10⁴", "10⁶"])
    right.legend(loc="upper right")
    return figure


def say_pinn(now: PINNMoment) -> str:
    """Return what `draw_pinn` shows."""
    boundary, inside = now.rates
    slow, fast = (as_text(rate) for rate in boundary.tolist())
    return (
        f"Width {now.width}, frequency {now.frequency}, λ_b = {now.boundary_weight}, "
        f"t = {as_text(now.time)}: the error of u is {percent(now.error)}, the residual at most "
        f"{as_text(now.residual.abs().max())}. Rates of the boundary: {slow} and {fast}; "
        f"the fastest inside: {as_text(inside[-1])}."
    )


def boundary_weight() -> Explorer:
    """Return the explorer: width, frequency, λ_b and time against solution, residual, rates."""
    times = [LEARNING_RATE * step for step in STEPS]
    width = "The number of hidden units. Which width fails worst without a weight?"
    frequency = "How many half waves the solution has. From which one on does λ_b = 1 fail?"
    weight = "How much the two ends count in the loss. Does the error fall like 1/λ_b?"
    time = "Learning rate times steps. What comes first, the waves or the two ends?"
    return Explorer(
        "width, frequency, boundary weight and time against what a PINN has learned",
        draw_pinn,
        {
            "width": Control(WIDTHS, "width n", width),
            "frequency": Control(FREQUENCIES, "frequency", frequency),
            "boundary_weight": Control(WEIGHTS, "boundary weight λ_b", weight),
            "time": Control(times, "time t = ηk", time),
        },
        numbers=pinn_at,
        say=say_pinn,
        start={"width": 100, "frequency": 4, "boundary_weight": 1, "time": times[-1]},
        slow=("width", "frequency", "boundary_weight"),
        play="time",
    )
