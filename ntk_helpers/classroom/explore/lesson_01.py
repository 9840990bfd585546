"""Explore gradient descent on a quadratic valley across its stability limit."""

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.explore._control import Control, as_text, counted
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_contours, to_numpy

CURVATURES = torch.tensor([1.0, 10.0], dtype=torch.float64)
START = torch.tensor([-1.8, 0.8], dtype=torch.float64)
RATES = [0.005, 0.01, 0.02, 0.05, 0.08, 0.1, 0.12, 0.15, 0.18, 0.19, 0.195, 0.2, 0.201, 0.205, 0.21]
STEPS = [1, 2, 3, 5, 8, 12, 20, 30, 50, 100]
LIMIT = 0.2  # 2 / λ_max


class Descent(NamedTuple):
    """Steps down the valley, beside the flow.

    Attributes:
        learning_rate: η.
        steps: k.
        path: (k + 1, 2) points θ of descent.
        flow: (200, 2) points of the flow, at equal times up to ηk.
        path_loss: (k + 1,) losses.
        flow_loss: (200,) losses.
    """

    learning_rate: float
    steps: int
    path: Tensor
    flow: Tensor
    path_loss: Tensor
    flow_loss: Tensor


def loss(theta: Tensor) -> Tensor:
    """Return ½ (θ₁² + 10 θ₂²) of points θ of shape (…, 2)."""
    return 0.5 * (CURVATURES.to(theta) * theta.square()).sum(-1)


def descend(learning_rate: float, steps: int) -> Descent:
    """Return `steps` steps of descent, and the flow up to the same time t = ηk."""
    k = torch.arange(steps + 1, dtype=torch.float64)[:, None]
    path = (1 - learning_rate * CURVATURES) ** k * START
    time = torch.linspace(0, learning_rate * steps, 200, dtype=torch.float64)[:, None]
    flow = torch.exp(-CURVATURES * time) * START
    return Descent(learning_rate, steps, path, flow, loss(path), loss(flow))


def _side(learning_rate: float) -> str:
    """Return on which side of the limit a rate lies."""
    return "below" if learning_rate < LIMIT else "above" if learning_rate > LIMIT else "at"


def draw_descent(run: Descent) -> Figure:
    """Return the picture of the steps and the flow in the valley, beside their losses."""
    figure = Figure(figsize=(9.6, 4.2), layout="none")
    left = figure.add_axes((0.09, 0.14, 0.44, 0.76))
    right = figure.add_axes((0.63, 0.14, 0.35, 0.76))
    wide = {"color": COLORS["green"], "linewidth": 5, "alpha": 0.7}
    thin = {"color": COLORS["red"], "linewidth": 1.2, "markersize": 5}
    plot_contours(loss, x_range=(-2.1, 2.1), y_range=(-1.4, 1.4), ax=left)
    left.plot(*to_numpy(run.flow).T, "-", **wide, label="flow")
    left.plot(*to_numpy(run.path).T, "o-", **thin, label="descent")
    time = f"t = {run.learning_rate * run.steps:.3g}"
    left.set(xlabel="θ₁", ylabel="θ₂", title=f"η = {run.learning_rate:g}, k = {run.steps}, {time}")
    left.legend(loc="upper right")
    right.semilogy(torch.linspace(0, run.steps, 200), to_numpy(run.flow_loss), "-", **wide)
    right.semilogy(to_numpy(run.path_loss), "o-", **thin)
    right.set(xlabel="step k", title=f"loss; η is {_side(run.learning_rate)} its limit 0.2")
    right.minorticks_off()
    right.locator_params(axis="x", integer=True)
    right.set_yticks([1e-9, 1e-6, 1e-3, 1, 1e3], ["10⁻⁹", "10⁻⁶", "10⁻³", "1", "10³"])
    right.set_ylim(1e-9, 1e3)
    return figure


def say_descent(run: Descent) -> str:
    """Return what `draw_descent` shows."""
    factor = 1 - run.learning_rate * CURVATURES.max().item()
    how = "does not jump" if factor >= 0 else "jumps across the valley at each step"
    return (
        f"Rate {run.learning_rate:g}, {_side(run.learning_rate)} the limit 0.2: the path {how}. "
        f"In {counted(run.steps, 'step')} the loss goes from {as_text(run.path_loss[0])} to "
        f"{as_text(run.path_loss[-1])}; along the flow, to {as_text(run.flow_loss[-1])}."
    )


def step_size() -> Explorer:
    """Return the explorer: learning rate and steps against the flow and the limit 2/λ_max."""
    rate = "How long each step is. At which rate does the path first jump across the valley?"
    steps = "How many steps are taken. Does the loss still fall, or does it grow?"
    return Explorer(
        "learning rate and steps of descent against the flow and the limit 2/λ_max",
        draw_descent,
        {
            "learning_rate": Control(RATES, "learning rate η", rate),
            "steps": Control(STEPS, "steps k", steps),
        },
        numbers=descend,
        say=say_descent,
        start={"learning_rate": 0.15, "steps": 50},
        play="steps",
    )
