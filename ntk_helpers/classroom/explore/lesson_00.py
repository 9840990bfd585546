"""Explore how wide a network must be for the forecast to hold."""

import math
from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import Curve, wavy_curve
from ntk_helpers.classroom.explore._control import Control, percent
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


class Forecast(NamedTuple):
    """One network at one time, beside the gaps at all widths.

    Attributes:
        width: Hidden units.
        time: ηk.
        data: Seven training points.
        grid: (G, 1) inputs to look at.
        trained: (G,) predictions of the first network.
        forecast: (G,) what its kernel at initialisation says.
        gap: Their largest distance, as a share of the way travelled.
        gaps: Width → (E,) largest gap of each network at any time.
    """

    width: int
    time: float
    data: Curve
    grid: Tensor
    trained: Tensor
    forecast: Tensor
    gap: float
    gaps: dict[int, Tensor]


def forecast_at(width: int, time: float) -> Forecast:
    """Return the first network of this width at this time."""
    runs = train_and_forecast(width)
    row = STEPS.index(round(time / LEARNING_RATE))
    now = runs.trained[row, 0], runs.forecast[row, 0], runs.gap[row, 0].item()
    gaps = {each: train_and_forecast(each).gap.amax(0) for each in WIDTHS}
    return Forecast(width, time, runs.data, runs.grid, *now, gaps)


def draw_forecast(run: Forecast) -> Figure:
    """Return the picture of one network at one time, beside the gaps at all widths."""
    figure = Figure(figsize=(9, 4.4), layout="none")
    left, right = figure.add_axes((0.08, 0.14, 0.5, 0.74)), figure.add_axes((0.69, 0.14, 0.3, 0.74))
    plot_match(run.grid, run.trained, run.forecast, labels=("trained", "forecast"), ax=left)
    plot_points(run.data.x, run.data.y, label="data", ax=left)
    left.set_title(f"width {run.width}, t = {run.time:g}: gap {percent(run.gap)}")
    left.set(xlabel="input x", ylabel="prediction", ylim=(-3.2, 2.8))
    # Few ticks, and logarithms on a plain axis: matplotlib takes longest over its ticks.
    left.set(xticks=[-1, 0, 1], yticks=[-2, 0, 2])
    left.legend(loc="lower right", ncols=3)
    across = torch.tensor([width for width in run.gaps for _ in SEEDS]).log2()
    up, here = torch.cat([*run.gaps.values()]).log10(), across == math.log2(run.width)
    right.plot(across, up, "o", color="0.7")
    right.plot(across[here], up[here], "o", color=COLORS["blue"])
    ring = {"ms": 13, "mfc": "none", "mec": COLORS["red"], "mew": 2}
    right.plot(math.log2(run.width), run.gaps[run.width][0].log10(), "o", **ring)
    right.set(xlabel="width n", ylabel="largest gap at any time", ylim=(-2.3, 0))
    right.set_xticks([3, 5, 7, 9], ["8", "32", "128", "512"])
    right.set_yticks([-2, -1, 0], ["1 %", "10 %", "100 %"])
    right.set_title("five networks each")
    return figure


def say_forecast(run: Forecast) -> str:
    """Return what `draw_forecast` shows."""
    return (
        f"Width {run.width}, t = {run.time:g}: the forecast misses the trained network by "
        f"{percent(run.gap)} of the way travelled. Of the five networks of this width, the best "
        f"stays within {percent(run.gaps[run.width].min())} at all times, the worst within "
        f"{percent(run.gaps[run.width].max())}."
    )


def forecast_and_training() -> Explorer:
    """Return the explorer: width and time against the gap between forecast and training."""
    times = [LEARNING_RATE * step for step in STEPS[1:]]
    width = "The number of hidden units. From which width on do all five blue dots lie below 10 %?"
    time = "Learning rate times steps. When does the band leave the dashed line?"
    return Explorer(
        "width and time against the gap between forecast and training",
        draw_forecast,
        {"width": Control(WIDTHS, "width n", width), "time": Control(times, "time t = ηk", time)},
        numbers=forecast_at,
        say=say_forecast,
        start={"width": 8, "time": times[2]},
        play="time",
    )
