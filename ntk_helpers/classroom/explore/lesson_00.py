"""Explore how wide a network must be for the forecast to hold."""

from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import Curve, wavy_curve
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_match, plot_points
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP
from ntk_helpers.theory.dynamics import KernelDynamics
from ntk_helpers.training.ensemble import train_ensemble

LEARNING_RATE = 0.005
STEPS = [0, 20, 60, 200, 600, 2000]
WIDTHS = [8, 16, 32, 64, 128, 256, 512]
SEEDS = range(5)


class Runs(NamedTuple):
    """Networks of one width, trained, beside their forecasts.

    Attributes:
        data: Seven training points.
        grid: (G, 1) inputs to look at.
        trained: (T, E, G) predictions of the E networks at the recorded times.
        forecast: (T, E, G) what their kernels at initialisation say.
        gap: (T, E) largest distance of the two, as a share of the way travelled; 0 at t = 0.
    """

    data: Curve
    grid: Tensor
    trained: Tensor
    forecast: Tensor
    gap: Tensor


@cache
def train_and_forecast(width: int) -> Runs:
    """Return five networks of this width, trained and forecast."""
    place = {"device": "cpu", "dtype": torch.float64}
    data = wavy_curve(7, **place)
    grid = torch.linspace(-1.3, 1.3, 105, **place)[:, None]
    networks = [MLP(1, width, sigma_w=3.0, sigma_b=1.0, seed=seed, **place) for seed in SEEDS]
    time = LEARNING_RATE * torch.tensor(STEPS, **place)
    forecast = torch.stack([forecast_of(net, data, grid, time) for net in networks], dim=1)
    rate = {"learning_rate": LEARNING_RATE, "steps": max(STEPS), "record_at": STEPS}
    trained = train_ensemble(networks, *data, **rate, x_test=grid, progress=False).test_outputs
    travelled = (trained - trained[:1]).abs().amax(-1).clamp(min=1e-12)
    gap = (trained - forecast).abs().amax(-1) / travelled
    gap[0] = 0
    return Runs(data, grid, trained, forecast, gap)


def forecast_of(network: MLP, data: Curve, grid: Tensor, time: Tensor) -> Tensor:
    """Return (T, G): what the untrained network and its kernel say of the predictions on `grid`."""
    with torch.no_grad():
        f0, f0_grid = network(data.x)[:, 0], network(grid)[:, 0]
    kernel = empirical_ntk(network, data.x, outputs="trace")
    kernel_grid = empirical_ntk(network, grid, data.x, outputs="trace")
    return KernelDynamics(kernel, data.y, f0).test(time, kernel_grid, f0_grid)


def draw_forecast(width: int, time: float) -> Figure:
    """Return the picture of one network at one time, beside the gaps at all widths."""
    runs = train_and_forecast(width)
    row = STEPS.index(round(time / LEARNING_RATE))
    figure = Figure(figsize=(9, 4.4), layout="none")
    left, right = figure.add_axes((0.08, 0.14, 0.5, 0.74)), figure.add_axes((0.69, 0.14, 0.3, 0.74))
    trained, forecast = runs.trained[row, 0], runs.forecast[row, 0]
    plot_match(runs.grid, trained, forecast, labels=("trained", "forecast"), ax=left)
    plot_points(runs.data.x, runs.data.y, label="data", ax=left)
    left.set_title(f"width {width}, t = {time:g}: gap {100 * runs.gap[row, 0]:.1f} %")
    left.set(xlabel="input x", ylabel="prediction", ylim=(-7, 5))
    left.legend(loc="lower right", ncols=3)
    for each in WIDTHS:
        gaps = 100 * train_and_forecast(each).gap.amax(0)
        right.loglog(
            [each] * len(gaps), gaps, "o", color=COLORS["blue"] if each == width else "0.7"
        )
    ring = {"ms": 13, "mfc": "none", "mec": COLORS["red"], "mew": 2}
    right.loglog(width, 100 * runs.gap[:, 0].max(), "o", **ring)
    right.set(xlabel="width", ylabel="largest gap at any time, %", ylim=(0.5, 100))
    right.set_title("five networks each")
    return figure


def forecast_and_training() -> Explorer:
    """Return the explorer: width and time against the gap between forecast and training."""
    times = [LEARNING_RATE * step for step in STEPS[1:]]
    return Explorer(
        "width and time against the gap between forecast and training",
        draw_forecast,
        {"width": WIDTHS, "time": times},
        start={"width": 8, "time": times[2]},
    )
