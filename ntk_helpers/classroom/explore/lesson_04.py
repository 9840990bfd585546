"""Explore how wide a network must be for a constant kernel, and what the output scale does."""

from functools import cache
from typing import NamedTuple

import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import unit_circle
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_points, to_numpy
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.kernels.infinite import infinite_kernels
from ntk_helpers.networks import MLP
from ntk_helpers.theory.dynamics import KernelDynamics
from ntk_helpers.theory.lazy import kernel_drift
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

ALPHAS = [2.0**p for p in range(-6, 7, 2)]
SMALL_WIDTHS = [16, 64, 256]
SCALED_TIMES = [0, 1, 3, 10, 30, 100]
SCALED_RATE = 0.25


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


def _wrapped(angle: Tensor) -> Tensor:
    """Return angles in [0, 2π) as angles in [−π, π)."""
    return torch.where(angle >= torch.pi, angle - 2 * torch.pi, angle)


def draw_width_time_seed(width: int, time: int, seed: int) -> Figure:
    """Return the picture of one network at one time: its kernel and its outputs, with theory."""
    run, at = train_width(width), TIMES.index(time)
    figure = Figure(figsize=(9.6, 4.2), layout="none")
    left = figure.add_axes((0.105, 0.15, 0.38, 0.72))
    right = figure.add_axes((0.595, 0.15, 0.39, 0.72))
    angle = to_numpy(GRID.angle)
    wide = {"color": COLORS["sky"], "linewidth": 6, "linestyle": "-"}
    theory = {"color": COLORS["red"], "linestyle": "--"}
    left.plot(angle, run.kernel[0, seed], color="0.6", linestyle="-", label="at t = 0")
    left.plot(angle, run.kernel[at, seed], **wide, label="at this time")
    left.plot(angle, limit_kernel(), **theory, label="limit Θ")
    left.set(xlabel="angle γ", ylabel="kernel K(x₀, x(γ))", ylim=(-5, 7.5))
    left.set_title(f"kernel, width {width}")
    left.legend(loc="upper left", fontsize=12)
    right.plot(angle, run.outputs[at, seed], **wide, label="trained network")
    right.plot(angle, run.forecast[at, seed], **theory, label="constant kernel")
    plot_points(_wrapped(DATA.angle), Y, label="data", ax=right)
    gap = (run.outputs[at, seed] - run.forecast[at, seed]).abs().max()
    right.set(xlabel="angle γ", ylabel="output f", ylim=(-3.6, 3.6))
    right.set_title(f"t = ηk = {time}, largest gap {gap:.2f}")
    right.legend(loc="upper left", fontsize=12)
    return figure


def width_time_seed() -> Explorer:
    """Return the explorer: kernel and outputs by width, time and seed, with theory overlaid."""
    return Explorer(
        "kernel and outputs of a network by width, time and seed, beside the theory",
        draw_width_time_seed,
        {"width": WIDTHS, "time": TIMES, "seed": SEEDS},
        start={"width": 8, "time": 100, "seed": 1},
    )


class ScaledRuns(NamedTuple):
    """One network trained as α (f − f_0), for each α, at the recorded times.

    Attributes:
        units: (T, A, n, 2) weights of the hidden units.
        outputs: (T, A, G) α (f − f_0) on the grid.
        drift: (T, A) relative change of the kernel on the 16 points.
    """

    units: Tensor
    outputs: Tensor
    drift: Tensor


def _outputs(theta: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return the outputs (A, n) of A networks with one hidden layer, at once."""
    first, last = SETTING["sigma_w"] / x.shape[1] ** 0.5, SETTING["sigma_w"]
    z = first * x @ theta["layers.0.weight"].mT + SETTING["sigma_b"] * theta["layers.0.bias"]
    h = last / z.shape[2] ** 0.5 * torch.erf(z) @ theta["layers.1.weight"].mT
    return (h + SETTING["sigma_b"] * theta["layers.1.bias"])[..., 0]


@cache
def train_scaled(width: int) -> ScaledRuns:
    """Return the runs of one width: each α has the rate 0.25 / α², so that t = 0.25 k for all."""
    net = MLP(2, width, seed=0, **SETTING, **PLACE)
    theta = {
        name: torch.stack([p.detach()[None] if p.ndim == 1 else p.detach()] * len(ALPHAS))
        for name, p in net.named_parameters()
    }
    alpha = torch.tensor(ALPHAS, **PLACE)[:, None]
    start = {"data": _outputs(theta, DATA.x), "grid": _outputs(theta, GRID.x)}
    first_kernel = empirical_ntk(net, DATA.x, outputs="trace")

    def observe() -> tuple[Tensor, Tensor, Tensor]:
        drift = []
        for a in range(len(ALPHAS)):
            parts = {name: value[a].reshape(p.shape) for (name, p), value in pairs()}
            net.load_state_dict(parts)
            drift.append(kernel_drift(empirical_ntk(net, DATA.x, outputs="trace"), first_kernel))
        outputs = alpha * (_outputs(theta, GRID.x) - start["grid"])
        return theta["layers.0.weight"].clone(), outputs, torch.tensor(drift)

    def pairs():
        return zip(net.named_parameters(), theta.values(), strict=True)

    rows = []
    for k in range(round(SCALED_TIMES[-1] / SCALED_RATE) + 1):
        if k * SCALED_RATE in SCALED_TIMES:
            rows.append(observe())
        moving = {name: value.requires_grad_() for name, value in theta.items()}
        residual = alpha * (_outputs(moving, DATA.x) - start["data"]) - Y
        loss = 0.5 * residual.square().mean(1).sum()
        slopes = torch.autograd.grad(loss, list(moving.values()))
        rate = (SCALED_RATE / alpha**2)[:, :, None]
        theta = {
            name: value.detach() - rate * slope
            for (name, value), slope in zip(moving.items(), slopes, strict=True)
        }
    return ScaledRuns(*(torch.stack(column) for column in zip(*rows, strict=True)))


def draw_lazy_to_rich(alpha: float, time: int, width: int) -> Figure:
    """Return the picture of one scaled network: what it says, and how its units moved."""
    run = train_scaled(width)
    a, at = ALPHAS.index(alpha), SCALED_TIMES.index(time)
    figure = Figure(figsize=(9.6, 4.4), layout="none")
    left = figure.add_axes((0.095, 0.14, 0.44, 0.74))
    right = figure.add_axes((0.63, 0.14, 0.35, 0.74))
    left.plot(
        to_numpy(GRID.angle), run.outputs[at, a], color=COLORS["sky"], linewidth=6, linestyle="-"
    )
    plot_points(_wrapped(DATA.angle), Y, label="data", ax=left)
    left.set(xlabel="angle γ", ylabel="output α (f − f₀)", ylim=(-1.8, 1.8))
    left.set_title(f"α = {alpha:.3g}, t = {time}: kernel changed by {100 * run.drift[at, a]:.3g} %")
    before, now = run.units[0, a], run.units[at, a]
    ends = torch.stack([before, now], 1)
    right.add_collection(LineCollection(to_numpy(ends), colors="0.7", linewidths=1))
    right.plot(*to_numpy(before).T, "o", mfc="none", mec="0.5", markersize=5, label="at t = 0")
    right.plot(*to_numpy(now).T, "o", color=COLORS["red"], markersize=5, label="at this time")
    right.set(xlabel="weight of x₁", ylabel="weight of x₂", xlim=(-7.2, 7.2), ylim=(-7.2, 7.2))
    right.set_title(f"the {width} hidden units")
    right.legend(loc="upper right", fontsize=12)
    return figure


def lazy_to_rich() -> Explorer:
    """Return the explorer: the output scale α from lazy to rich, by time and width."""
    return Explorer(
        "what a network says and how its hidden units move, by output scale, time and width",
        draw_lazy_to_rich,
        {"alpha": ALPHAS, "time": SCALED_TIMES, "width": SMALL_WIDTHS},
        start={"alpha": 2.0**-4, "time": 100, "width": 64},
    )
