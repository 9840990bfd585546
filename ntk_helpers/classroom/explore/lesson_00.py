"""Explore how wide a network must be for the forecast to hold."""

from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import Curve, wavy_curve
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import plot_match, plot_points
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP
from ntk_helpers.theory.dynamics import KernelDynamics
from ntk_helpers.training.descent import gradient_descent

LEARNING_RATE = 0.04
STEPS = [0, 25, 50, 125, 250, 500, 1250, 2500]
WIDTHS = [8, 16, 32, 64, 128, 256, 512, 1024]


class Run(NamedTuple):
    """A trained network beside its forecast.

    Attributes:
        data: Seven training points.
        grid: (G, 1) inputs to look at.
        trained: (T, G) predictions at the recorded times.
        forecast: (T, G) what the kernel at initialisation says.
    """

    data: Curve
    grid: Tensor
    trained: Tensor
    forecast: Tensor


@cache
def train_and_forecast(width: int) -> Run:
    """Return one network of this width, trained and forecast, always the same."""
    place = {"device": "cpu", "dtype": torch.float64}
    data = wavy_curve(7, **place)
    grid = torch.linspace(-1.3, 1.3, 105, dtype=torch.float64)[:, None]
    network = MLP(1, width, sigma_w=3.0, sigma_b=1.0, seed=1, **place)
    with torch.no_grad():
        f0, f0_grid = network(data.x)[:, 0], network(grid)[:, 0]
    kernel = empirical_ntk(network, data.x, outputs="trace")
    kernel_grid = empirical_ntk(network, grid, data.x, outputs="trace")
    history = gradient_descent(
        network,
        *data,
        learning_rate=LEARNING_RATE,
        steps=max(STEPS),
        record_at=STEPS,
        progress=False,
        observe=lambda model: model(grid)[:, 0],
    )
    forecast = KernelDynamics(kernel, data.y, f0).test(history.time, kernel_grid, f0_grid)
    return Run(data, grid, history.observed, forecast)


def draw_forecast(width: int, time: float) -> Figure:
    """Return the picture of one network at one time."""
    run = train_and_forecast(width)
    row = STEPS.index(round(time / LEARNING_RATE))
    trained, forecast = run.trained[row], run.forecast[row]
    figure = Figure(figsize=(7.6, 4.2), layout="none")
    ax = figure.add_axes((0.09, 0.14, 0.89, 0.74))
    plot_match(run.grid, trained, forecast, labels=("trained", "forecast"), ax=ax)
    plot_points(run.data.x, run.data.y, label="data", ax=ax)
    gap = (trained - forecast).abs().max().item()
    ax.set_title(f"width {width}, t = {time:g}: largest gap {gap:.2f}")
    ax.set(xlabel="input x", ylabel="prediction", ylim=(-7, 5))
    ax.legend(loc="lower right", ncols=3)
    return figure


def forecast_and_training() -> Explorer:
    """Return the explorer: width and time against the gap between forecast and training."""
    times = [LEARNING_RATE * step for step in STEPS]
    return Explorer(
        "width and time against the gap between forecast and training",
        draw_forecast,
        {"width": WIDTHS, "time": times},
        start={"width": 16, "time": times[-1]},
    )
