"""Explore how wide a network must be for a constant kernel."""

from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import unit_circle
from ntk_helpers.classroom.explore._control import Control, as_text, percent, up_to
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_points, to_numpy
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.kernels.infinite import infinite_kernels
from ntk_helpers.networks import MLP
from ntk_helpers.theory.dynamics import KernelDynamics
from ntk_helpers.training.ensemble import train_ensemble

PLACE = {"device": "cpu", "dtype": torch.float64}
SETTING = {"activation": "erf", "sigma_w": 1.5, "sigma_b": 0.1}
DATA = unit_circle(16, **PLACE)
Y = torch.sin(3 * DATA.x[:, 1])
GRID = unit_circle(64, start=-torch.pi, **PLACE)
ORIGIN = torch.tensor([[1.0, 0.0]], **PLACE)

WIDTHS = [8, 32, 128, 512, 1024]
TIMES = [0, 1, 3, 10, 30, 100, 300]
RATE = 0.5
SEEDS = [0, 1, 2, 3, 4]


class Run(NamedTuple):
    """Five networks of one width on the circle, at the T times.

    Attributes:
        kernel: (T, seeds, G) K(x_0, x(γ)).
        outputs: (T, seeds, G) what the trained networks say.
        forecast: (T, seeds, G) what the kernel at the start says.
    """

    kernel: Tensor
    outputs: Tensor
    forecast: Tensor


@cache
def train_width(width: int) -> Run:
    """Return five networks of this width, trained with η = 0.5, and their forecasts."""
    networks = [MLP(2, width, seed=seed, **SETTING, **PLACE) for seed in SEEDS]
    linear, rows = [], []
    for net in networks:
        with torch.no_grad():
            f0, f0_grid = net(DATA.x)[:, 0], net(GRID.x)[:, 0]
        dynamics = KernelDynamics(empirical_ntk(net, DATA.x, outputs="trace"), Y, f0)
        linear.append((dynamics, empirical_ntk(net, GRID.x, DATA.x, outputs="trace"), f0_grid))
    for before, now in zip([0, *TIMES], TIMES, strict=False):
        steps = round((now - before) / RATE)
        train_ensemble(networks, DATA.x, Y, learning_rate=RATE, steps=steps, progress=False)
        with torch.no_grad():
            outputs = torch.stack([net(GRID.x)[:, 0] for net in networks])
        kernels = [empirical_ntk(net, GRID.x, ORIGIN, outputs="trace")[:, 0] for net in networks]
        k = round(now / RATE)
        forecast = [d.test_steps(k, RATE, k_grid, f0_grid) for d, k_grid, f0_grid in linear]
        rows.append((torch.stack(kernels), outputs, torch.stack(forecast)))
    return Run(*(torch.stack(column) for column in zip(*rows, strict=True)))


@cache
def limit_kernel() -> Tensor:
    """Return Θ(x_0, x(γ)) of the infinitely wide network, (G,)."""
    return infinite_kernels(GRID.x, ORIGIN, **SETTING).ntk[:, 0]


def wrapped(angle: Tensor) -> Tensor:
    """Return angles in [0, 2π) as angles in [−π, π)."""
    return torch.where(angle >= torch.pi, angle - 2 * torch.pi, angle)


class Moment(NamedTuple):
    """One network at one time, beside the theory.

    Attributes:
        width: Hidden units.
        time: ηk.
        seed: Of the first weights.
        angle: (G,) γ, from −π to π.
        first_kernel: (G,) K(x_0, x(γ)) at t = 0.
        kernel: (G,) the same at this time.
        limit: (G,) Θ(x_0, x(γ)).
        outputs: (G,) what the trained network says.
        forecast: (G,) what the kernel at the start says.
        data: (angles (16,), targets (16,)).
        gap: The largest distance of outputs and forecast.
        change: The kernel's, as a share of the largest value at the start.
    """

    width: int
    time: int
    seed: int
    angle: Tensor
    first_kernel: Tensor
    kernel: Tensor
    limit: Tensor
    outputs: Tensor
    forecast: Tensor
    data: tuple[Tensor, Tensor]
    gap: float
    change: float


def moment(width: int, time: int, seed: int) -> Moment:
    """Return one network at one time."""
    run, at = train_width(width), TIMES.index(time)
    first, kernel = run.kernel[[0, at], seed]
    outputs, forecast = run.outputs[at, seed], run.forecast[at, seed]
    gap = (outputs - forecast).abs().max().item()
    change = (kernel - first).abs().max() / first.abs().max()
    theory = GRID.angle, first, kernel, limit_kernel()
    data = wrapped(DATA.angle), Y
    return Moment(width, time, seed, *theory, outputs, forecast, data, gap, change.item())


def draw_moment(now: Moment) -> Figure:
    """Return the picture of one network at one time: its kernel and its outputs, with theory."""
    figure = Figure(figsize=(9.6, 4.2), layout="none")
    left = figure.add_axes((0.105, 0.15, 0.38, 0.72))
    right = figure.add_axes((0.595, 0.15, 0.39, 0.72))
    angle = to_numpy(now.angle)
    wide = {"color": COLORS["sky"], "linewidth": 6, "linestyle": "-"}
    theory = {"color": COLORS["red"], "linestyle": "--"}
    left.plot(angle, now.first_kernel, color="0.6", linestyle="-", label="at t = 0")
    left.plot(angle, now.kernel, **wide, label="at this time")
    left.plot(angle, now.limit, **theory, label="limit Θ")
    left.set(xlabel="angle γ", ylabel="kernel K(x₀, x(γ))", ylim=(-5, 7.5))
    left.set_title(f"kernel, width {as_text(now.width)}")
    left.legend(loc="upper left", fontsize=12)
    right.plot(angle, now.outputs, **wide, label="trained network")
    right.plot(angle, now.forecast, **theory, label="constant kernel")
    plot_points(*now.data, label="data", ax=right)
    right.set(xlabel="angle γ", ylabel="output f", ylim=(-2.4, 2.8))
    right.set_title(f"t = ηk = {now.time}, largest gap {now.gap:.2f}")
    right.legend(loc="upper left", fontsize=12)
    return figure


def say_moment(now: Moment) -> str:
    """Return what `draw_moment` shows."""
    return (
        f"Width {as_text(now.width)}, t = {now.time}, seed {now.seed}: the kernel has moved by up "
        f"to {percent(now.change)} of its height; the trained network and the forecast of a "
        f"constant kernel are {up_to(now.gap)} apart."
    )


def width_time_seed() -> Explorer:
    """Return the explorer: kernel and outputs by width, time and seed, with theory overlaid."""
    width = "The number of hidden units. How wide until the blue bands lie on the dashed theory?"
    time = "Learning rate times steps. When does the kernel leave its start, the grey line?"
    seed = "The draw of the first weights. Does it matter less for a wide network?"
    return Explorer(
        "kernel and outputs of a network by width, time and seed, beside the theory",
        draw_moment,
        {
            "width": Control(WIDTHS, "width n", width),
            "time": Control(TIMES, "time t = ηk", time),
            "seed": Control(SEEDS, "seed", seed),
        },
        numbers=moment,
        say=say_moment,
        start={"width": 8, "time": 100, "seed": 1},
        slow=("width",),
        play="time",
    )
