"""Explore what the scale of the output does to a network: from lazy to rich."""

from functools import cache
from typing import NamedTuple

import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.explore._control import Control, as_text, percent
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.explore.lesson_04 import DATA, GRID, PLACE, SETTING, Y, wrapped
from ntk_helpers.classroom.plots import COLORS, plot_points, to_numpy
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP
from ntk_helpers.theory.change import kernel_drift

ALPHAS = [2.0**p for p in range(-6, 7, 2)]
SMALL_WIDTHS = [16, 64, 256]
SCALED_TIMES = [0, 1, 3, 10, 30, 100]
SCALED_RATE = 0.25
EDGE = 7.2  # of the chart of weights


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


class ScaledMoment(NamedTuple):
    """One scaled network at one time.

    Attributes:
        alpha: α.
        time: t.
        width: Hidden units n.
        angle: (G,) γ, from −π to π.
        outputs: (G,) α (f − f_0).
        data: (angles (16,), targets (16,)).
        before: (n, 2) weights of the hidden units at t = 0.
        now: (n, 2) weights at this time.
        drift: Relative change of the kernel on the 16 points.
    """

    alpha: float
    time: int
    width: int
    angle: Tensor
    outputs: Tensor
    data: tuple[Tensor, Tensor]
    before: Tensor
    now: Tensor
    drift: float

    @property
    def outside(self) -> int:
        """How many units have left the chart."""
        return (self.now.abs().amax(1) > EDGE).sum().item()


def scaled_moment(alpha: float, time: int, width: int) -> ScaledMoment:
    """Return one scaled network at one time."""
    run, a, at = train_scaled(width), ALPHAS.index(alpha), SCALED_TIMES.index(time)
    said = GRID.angle, run.outputs[at, a], (wrapped(DATA.angle), Y)
    units = run.units[[0, at], a]
    return ScaledMoment(alpha, time, width, *said, *units, run.drift[at, a].item())


def draw_scaled_moment(run: ScaledMoment) -> Figure:
    """Return the picture of one scaled network: what it says, and how its units moved."""
    figure = Figure(figsize=(9.6, 4.4), layout="none")
    left = figure.add_axes((0.095, 0.14, 0.44, 0.74))
    right = figure.add_axes((0.63, 0.14, 0.35, 0.74))
    band = {"color": COLORS["sky"], "linewidth": 6, "linestyle": "-"}
    left.plot(to_numpy(run.angle), to_numpy(run.outputs), **band)
    plot_points(*run.data, label="data", ax=left)
    left.set(xlabel="angle γ", ylabel="output α (f − f₀)", ylim=(-1.8, 1.8))
    left.set_title(f"α = {power(run.alpha)}, t = {run.time}: kernel moved by {percent(run.drift)}")
    ends = torch.stack([run.before, run.now], 1)
    right.add_collection(LineCollection(to_numpy(ends), colors="0.7", linewidths=1))
    right.plot(*to_numpy(run.before).T, "o", mfc="none", mec="0.5", markersize=5, label="at t = 0")
    right.plot(*to_numpy(run.now).T, "o", color=COLORS["red"], markersize=5, label="at this time")
    right.set(xlabel="weight of x₁", ylabel="weight of x₂", xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE))
    away = f", {run.outside} outside" if run.outside else ""
    right.set_title(f"the {run.width} hidden units{away}")
    right.legend(loc="upper right", fontsize=12, frameon=True, edgecolor="none")
    return figure


def say_scaled_moment(run: ScaledMoment) -> str:
    """Return what `draw_scaled_moment` shows."""
    where = f"α = {power(run.alpha)}, t = {run.time}, width {run.width}"
    if run.time == 0:
        return f"{where}: no unit has moved yet, and the kernel is still that of the start."
    way = (run.now - run.before).norm(dim=1)
    first = run.before[way.argmax()].norm()
    return (
        f"{where}: the kernel has moved by {percent(run.drift)} of itself; the hidden unit that "
        f"moved most has gone a distance of {as_text(way.max())}, from a start {as_text(first)} "
        "away from the middle."
    )


def power(alpha: float) -> str:
    """Return α, a power of two, as the lesson writes it: 1/64 and 64."""
    return f"{alpha:g}" if alpha >= 1 else f"1/{1 / alpha:g}"


def lazy_to_rich() -> Explorer:
    """Return the explorer: the output scale α from lazy to rich, by time and width."""
    alpha = "The factor before the output. Towards 1/64 the units on the right begin to wander."
    time = "Time of training, the same for all α. When do the units set out?"
    width = "The number of hidden units, circles on the right. Does a wide network stay lazy?"
    return Explorer(
        "what a network says and how its hidden units move, by output scale, time and width",
        draw_scaled_moment,
        {
            "alpha": Control(ALPHAS, "scale α", alpha, power),
            "time": Control(SCALED_TIMES, "time t", time),
            "width": Control(SMALL_WIDTHS, "width n", width),
        },
        numbers=scaled_moment,
        say=say_scaled_moment,
        start={"alpha": 2.0**-4, "time": 100, "width": 64},
        slow=("width",),
        play="time",
    )
