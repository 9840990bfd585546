"""Explore how one step on one handwritten digit moves the predictions for all others."""

from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import Digits, digits
from ntk_helpers.classroom.explore._control import Control, counted, percent
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, to_numpy
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP

PLACE = {"device": "cpu", "dtype": torch.float64}


class DigitPush(NamedTuple):
    """One push on a digit, and how far 99 others follow.

    Attributes:
        digit: Its class.
        example: Its number within the class.
        depth: Hidden layers of the network.
        image: (8, 8) grey values of the pushed one.
        label: (99,) classes of the others.
        share: (99,) K(x′, x) / K(x, x).
        mean: (10,) mean share of each class.
    """

    digit: int
    example: int
    depth: int
    image: Tensor
    label: Tensor
    share: Tensor
    mean: Tensor


@cache
def digit_kernel(depth: int) -> tuple[Digits, Tensor]:
    """Return 100 real digits and the kernel of a network of this depth on them, (100, 100)."""
    data = digits(10, **PLACE)
    network = MLP(64, 256, depth=depth, activation="relu", sigma_w=2**0.5, seed=0, **PLACE)
    return data, empirical_ntk(network, data.x, outputs="trace")


def push_digit(digit: int, example: int, depth: int) -> DigitPush:
    """Return how far a push on one digit moves the others."""
    data, kernel = digit_kernel(depth)
    row = 10 * digit + example
    others = torch.arange(100) != row
    label, share = data.label[others], (kernel[row] / kernel[row, row])[others]
    mean = torch.stack([share[label == c].mean() for c in range(10)])
    return DigitPush(digit, example, depth, data.image[row], label, share, mean)


def draw_push_on_digit(run: DigitPush) -> Figure:
    """Return the picture of one push on a digit: how far the others follow, by class."""
    figure = Figure(figsize=(9.6, 4.0), layout="none")
    left = figure.add_axes((0.02, 0.2, 0.2, 0.6))
    right = figure.add_axes((0.31, 0.15, 0.67, 0.73))
    left.imshow(to_numpy(run.image), cmap="gray_r")
    left.set(xticks=[], yticks=[], title=f"pushed up: {run.digit}")
    left.spines[:].set_visible(False)
    right.axvspan(run.digit - 0.5, run.digit + 0.5, color="#FBEBC8", zorder=0)
    right.text(run.digit, 0.02, "its class", ha="center", va="bottom", fontsize=11)
    right.plot(to_numpy(run.label), to_numpy(run.share), "o", color=COLORS["sky"], markersize=6)
    bar = {"color": COLORS["red"], "markersize": 26, "markeredgewidth": 4}
    right.plot(range(10), to_numpy(run.mean), "_", **bar)
    right.set(xlabel="class of the other digit (bar: mean)", xticks=range(10), ylim=(0, 1.05))
    right.set(ylabel="share of the push", title="how far every other digit moves along")
    return figure


def say_push_on_digit(run: DigitPush) -> str:
    """Return what `draw_push_on_digit` shows."""
    most, least = run.mean.argmax().item(), run.mean.argmin().item()
    own = f"the other {run.digit}s follow the push by {percent(run.mean[run.digit])} on average"
    if most == run.digit:
        others = "more than any other class"
    else:
        others = f"but the {most}s by {percent(run.mean[most])}"
    return (
        f"Digit {run.digit}, image {run.example}, {counted(run.depth, 'hidden layer')}: {own}, "
        f"{others}; the {least}s follow least, by {percent(run.mean[least])}."
    )


def push_on_digit() -> Explorer:
    """Return the explorer: which handwritten digit is pushed, through a network of which depth."""
    digit = "The class of the pushed digit, shaded on the right. Does its own class follow most?"
    example = "Which of ten images of this class. Does the handwriting matter?"
    depth = "Hidden layers of the network. Does a deeper one tell the classes apart better?"
    return Explorer(
        "push one handwritten digit and see which others move along",
        draw_push_on_digit,
        {
            "digit": Control(range(10), "pushed digit", digit),
            "example": Control(range(10), "image", example),
            "depth": Control([1, 2, 3], "hidden layers", depth),
        },
        numbers=push_digit,
        say=say_push_on_digit,
        start={"digit": 3, "example": 0, "depth": 1},
    )
