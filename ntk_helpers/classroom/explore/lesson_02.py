"""Explore how one step on one example moves the predictions for all others."""

import copy
from functools import cache

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import Digits, digits
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_match, to_numpy
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP

PLACE = {"device": "cpu", "dtype": torch.float64}
GRID = torch.linspace(-1, 1, 101, dtype=torch.float64)[:, None]


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


def draw_push_on_curve(point: float, learning_rate: float, activation: str) -> Figure:
    """Return the picture of one push: where the curve moves and what the kernel said."""
    actual, predicted = push(activation, point, learning_rate)
    figure = Figure(figsize=(7.6, 4.2), layout="none")
    ax = figure.add_axes((0.12, 0.14, 0.86, 0.74))
    plot_match(GRID, actual, predicted, labels=("actual change", "η K(x′, x)"), ax=ax)
    ax.axvline(point, color="black", linewidth=1.2, linestyle=":")
    at_point = (actual - predicted).abs().max() / predicted.abs().max()
    ax.set_title(f"pushed up at x = {point:g}, {activation}: error {100 * at_point:.1f} %")
    ax.set(
        xlabel="input x′", ylabel="change of f(x′)", ylim=(min(0, 1.1 * actual.min().item()), None)
    )
    ax.legend(loc="upper left")
    return figure


def push_on_curve() -> Explorer:
    """Return the explorer: where to push, how hard, and through which activation."""
    return Explorer(
        "push the network at one point and see every other prediction move",
        draw_push_on_curve,
        {
            "point": [round(-1 + 0.2 * i, 1) for i in range(11)],
            "learning_rate": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3],
            "activation": ["erf", "relu", "tanh", "sin"],
        },
        start={"point": 0.4, "learning_rate": 0.01, "activation": "erf"},
    )


@cache
def digit_kernel(depth: int) -> tuple[Digits, Tensor]:
    """Return 100 real digits and the kernel of a network of this depth on them, (100, 100)."""
    data = digits(10, **PLACE)
    network = MLP(64, 256, depth=depth, activation="relu", sigma_w=2**0.5, seed=0, **PLACE)
    return data, empirical_ntk(network, data.x, outputs="trace")


def draw_push_on_digit(digit: int, example: int, depth: int) -> Figure:
    """Return the picture of one push on a digit: how far the others follow, by class."""
    data, kernel = digit_kernel(depth)
    row = 10 * digit + example
    share = kernel[row] / kernel[row, row]
    figure = Figure(figsize=(9.6, 4.0), layout="none")
    left = figure.add_axes((0.02, 0.2, 0.2, 0.6))
    right = figure.add_axes((0.31, 0.15, 0.67, 0.73))
    left.imshow(to_numpy(data.image[row]), cmap="gray_r")
    left.set(xticks=[], yticks=[], title="pushed up")
    others = torch.arange(100) != row
    right.plot(
        to_numpy(data.label[others]),
        to_numpy(share[others]),
        "o",
        color=COLORS["sky"],
        alpha=0.8,
        markersize=6,
    )
    means = [share[others & (data.label == c)].mean().item() for c in range(10)]
    right.plot(range(10), means, "_", color=COLORS["red"], markersize=26, markeredgewidth=4)
    right.set(
        xlabel="class of the other digit (bar: mean)", xticks=range(10), ylabel="share of the push"
    )
    right.set_title("how far every other digit moves along")
    right.set_ylim(0, 1.05)
    return figure


def push_on_digit() -> Explorer:
    """Return the explorer: which handwritten digit is pushed, through a network of which depth."""
    return Explorer(
        "push one handwritten digit and see which others move along",
        draw_push_on_digit,
        {"digit": list(range(10)), "example": list(range(10)), "depth": [1, 2, 3]},
        start={"digit": 3, "example": 0, "depth": 1},
    )
