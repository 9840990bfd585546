"""Explore how one step on one example moves the predictions of a curve everywhere."""

import copy
from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.explore._control import Control, as_text, percent
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import plot_match
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP

PLACE = {"device": "cpu", "dtype": torch.float64}
RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
GRID = torch.linspace(-1, 1, 101, dtype=torch.float64)[:, None]


class Push(NamedTuple):
    """One push, and what it moved.

    Attributes:
        point: Where the network was pushed.
        learning_rate: η.
        activation: φ.
        x: (101, 1) inputs to look at.
        actual: (101,) change of the predictions.
        predicted: (101,) η K(x′, x), computed before the push.
        error: Their largest distance, as a share of the largest predicted change.
    """

    point: float
    learning_rate: float
    activation: str
    x: Tensor
    actual: Tensor
    predicted: Tensor
    error: float


@cache
def curve_network(activation: str) -> MLP:
    """Return the network that is pushed, always the same."""
    return MLP(1, 200, depth=2, activation=activation, sigma_w=1.5, sigma_b=0.5, seed=3, **PLACE)


def push(activation: str, point: float, learning_rate: float) -> tuple[Tensor, Tensor]:
    """Return (actual, predicted) change on the grid, (101,) each, after one push at `point`.

    The push is a step of descent on ℓ = ½ (f − y)² with the target y one above f. So −∇_f ℓ = 1,
    and the kernel predicts η K.
    """
    network = copy.deepcopy(curve_network(activation))
    x = torch.tensor([[point]], **PLACE)
    kernel = empirical_ntk(network, GRID, x, outputs="trace")[:, 0]
    with torch.no_grad():
        before = network(GRID)[:, 0]
    gradient = torch.autograd.grad(-network(x).sum(), list(network.parameters()))
    with torch.no_grad():
        for parameter, slope in zip(network.parameters(), gradient, strict=True):
            parameter -= learning_rate * slope
        actual = network(GRID)[:, 0] - before
    return actual, learning_rate * kernel


def pushed(point: float, learning_rate: float, activation: str) -> Push:
    """Return a push at one point and what it moved."""
    actual, predicted = push(activation, point, learning_rate)
    error = (actual - predicted).abs().max() / predicted.abs().max()
    return Push(point, learning_rate, activation, GRID, actual, predicted, error.item())


def draw_push(run: Push) -> Figure:
    """Return the picture of one push: where the curve moves and what the kernel said."""
    figure = Figure(figsize=(8.6, 4.2), layout="none")
    ax = figure.add_axes((0.11, 0.14, 0.87, 0.74))
    plot_match(run.x, run.actual, run.predicted, labels=("actual change", "η K(x′, x)"), ax=ax)
    ax.axvline(run.point, color="black", linewidth=1.2, linestyle=":")
    ax.set_title(
        f"pushed up at x = {as_text(run.point)}, {run.activation}: error {percent(run.error)}"
    )
    ax.set(xlabel="input x′", ylabel="change of f(x′)")
    both = torch.cat([run.actual, run.predicted])
    low, high = min(0, both.min().item()), both.max().item()
    ax.set_ylim(1.1 * low, high + 0.2 * (high - low))
    ax.legend(loc="upper left", ncols=2)
    return figure


def say_push(run: Push) -> str:
    """Return what `draw_push` shows."""
    ends = run.x[[run.actual.argmax(), run.actual.argmin()], 0].tolist()
    most, least = (as_text(x) for x in ends)
    last = f"goes down at {least}" if run.actual.min() < 0 else f"rises least at {least}"
    return (
        f"Pushed up at x = {as_text(run.point)} with η = {run.learning_rate:g}, through "
        f"{run.activation}: the curve rises most at {most} and {last}; the kernel's forecast is "
        f"wrong by {percent(run.error)}."
    )


def push_on_curve() -> Explorer:
    """Return the explorer: where to push, how hard, and through which activation."""
    point = "The input of the one example, the dotted line. Which other inputs move along?"
    rate = "How hard the push is. When does the dashed forecast leave the band?"
    activation = "What the hidden units compute. Which one moves far points the opposite way?"
    return Explorer(
        "push the network at one point and see every other prediction move",
        draw_push,
        {
            "point": Control([round(-1 + 0.2 * i, 1) for i in range(11)], "pushed point x", point),
            "learning_rate": Control(RATES, "learning rate η", rate),
            "activation": Control(["erf", "relu", "tanh", "sin"], "activation φ", activation),
        },
        numbers=pushed,
        say=say_push,
        start={"point": 0.4, "learning_rate": 0.01, "activation": "erf"},
    )
