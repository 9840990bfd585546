"""Explore what the weight of the boundary does to a physics-informed network."""

import math
from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_match, to_numpy
from ntk_helpers.networks import MLP
from ntk_helpers.pinn.problem import PoissonProblem, Standardized
from ntk_helpers.pinn.training import train_pinn

PLACE = {"device": "cpu", "dtype": torch.float64}
LEARNING_RATE = 1.6e-4
STEPS = [0, 30, 100, 300, 1000, 2000, 3500, 5000]
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


def draw_pinn(width: int, frequency: int, boundary_weight: int, time: float) -> Figure:
    """Return the picture of one PINN at one time: solution, residual, rates."""
    run = run_pinn(width, frequency, boundary_weight)
    row = STEPS.index(round(time / LEARNING_RATE))
    truth = PoissonProblem(frequency).solution(run.x)
    error = ((run.u[row] - truth).norm() / truth.norm()).item()

    figure = Figure(figsize=(9.6, 3.7), layout="none")
    left = figure.add_axes((0.06, 0.17, 0.27, 0.71))
    middle = figure.add_axes((0.42, 0.17, 0.24, 0.71))
    right = figure.add_axes((0.74, 0.17, 0.25, 0.71))
    # Few ticks, and logarithms on a plain axis: matplotlib takes longest over its ticks.
    ends = {"xlabel": "x", "xticks": [0, 0.5, 1]}
    plot_match(run.x, truth, run.u[row], labels=("truth", "PINN"), ax=left)
    left.set(**ends, ylim=(-2.6, 3.6), yticks=[-2, 0, 2], title=f"u: error {100 * error:.3g} %")
    left.legend(loc="upper center", ncols=2)
    middle.plot(to_numpy(run.x), to_numpy(run.residual[row]), "-", color=COLORS["red"])
    bound = 10 * math.ceil(run.residual[0].abs().max().item() / 10)
    middle.set(**ends, title="residual u″ − f", ylim=(-bound, bound), yticks=[-bound, 0, bound])
    for values, name, look, color in zip(
        run.rates[row], ("boundary", "inside"), "so", ("red", "blue"), strict=True
    ):
        top = to_numpy(values.flip(0)[:25].clamp(min=1e-2).log10())
        ranks = range(1, len(top) + 1)
        right.plot(ranks, top, look, color=COLORS[color], markersize=6, label=name)
    right.set(xlabel="rank", xticks=[1, 10, 20], ylim=(-1, 6), title="rate of each mode")
    right.set_yticks([0, 2, 4, 6], ["1", "10²", "10⁴", "10⁶"])
    right.legend(loc="upper right")
    return figure


def boundary_weight() -> Explorer:
    """Return the explorer: width, frequency, λ_b and time against solution, residual, rates."""
    times = [LEARNING_RATE * step for step in STEPS]
    return Explorer(
        "width, frequency, boundary weight and time against what a PINN has learned",
        draw_pinn,
        {"width": WIDTHS, "frequency": FREQUENCIES, "boundary_weight": WEIGHTS, "time": times},
        start={"width": 100, "frequency": 4, "boundary_weight": 1, "time": times[-1]},
    )
