"""Explore which handwritten digits a random network's kernel takes for similar."""

from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import Digits, digits
from ntk_helpers.classroom.explore._control import Control, counted
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_digits
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP

PLACE = {"device": "cpu", "dtype": torch.float64}


class Similar(NamedTuple):
    """A digit, and the seven that each score calls most similar to it.

    Attributes:
        digit: Its class.
        example: Its number within the class.
        depth: Hidden layers of the network.
        image: (8, 8) grey values.
        nearest: Name of the score → (images (7, 8, 8), classes of the seven).
    """

    digit: int
    example: int
    depth: int
    image: Tensor
    nearest: dict[str, tuple[Tensor, list[int]]]

    def hits(self) -> dict[str, int]:
        """Return the name of the score → how many of the seven are of the digit's class."""
        return {name: labels.count(self.digit) for name, (_, labels) in self.nearest.items()}


@cache
def digit_rankings(depth: int) -> tuple[Digits, dict[str, Tensor]]:
    """Return 200 digits of untouched grey values, and three scores of similarity, (200, 200) each.

    A score is −∞ for a digit with itself.
    """
    data = digits(20, **PLACE)
    pixels = data.image.flatten(1)
    network = MLP(64, 512, depth=depth, activation="relu", sigma_w=2**0.5, seed=0, **PLACE)
    kernel = empirical_ntk(network, pixels, outputs="trace")

    def cosine(matrix):
        return matrix / matrix.diagonal().outer(matrix.diagonal()).sqrt()

    scores = {"kernel": kernel, "cosine": cosine(kernel), "pixel cosine": cosine(pixels @ pixels.T)}
    return data, {name: score.fill_diagonal_(-torch.inf) for name, score in scores.items()}


def similar_to(digit: int, example: int, depth: int) -> Similar:
    """Return what three scores call most similar to a digit."""
    data, scores = digit_rankings(depth)
    row = 20 * digit + example
    rows = {name: score[row].topk(7).indices for name, score in scores.items()}
    nearest = {
        name: (data.image[seven], data.label[seven].tolist()) for name, seven in rows.items()
    }
    return Similar(digit, example, depth, data.image[row], nearest)


def _one(digit: int) -> str:
    """Return a digit with its article: a 7 and an 8."""
    return f"an {digit}" if digit == 8 else f"a {digit}"


def draw_similar_digits(asked: Similar) -> Figure:
    """Return the picture of a digit and of those that three scores call most similar to it."""
    figure = Figure(figsize=(9.6, 5.2), layout="none")
    hits = asked.hits()
    for place, (name, (images, labels)) in enumerate(asked.nearest.items()):
        ax = figure.add_axes((0.13, 0.68 - 0.33 * place, 0.86, 0.3))
        titles = ["asked", *map(_one, labels)]
        plot_digits(torch.cat([asked.image[None], images]), titles, ax=ax)
        text = f"{name}\n{hits[name]} of 7"
        ax.text(-1.5, 4, text, ha="right", va="center", fontsize=13, color=COLORS["blue"])
    return figure


def say_similar_digits(asked: Similar) -> str:
    """Return what `draw_similar_digits` shows."""
    kernel, cosine, pixels = asked.hits().values()
    found = f"1 is {_one(asked.digit)}" if kernel == 1 else f"{kernel} are {asked.digit}s"
    return (
        f"Digit {asked.digit}, image {asked.example}, {counted(asked.depth, 'hidden layer')}. "
        f"Of its seven nearest digits, {found} by the kernel, {cosine} by its cosine, "
        f"{pixels} by the pixel cosine."
    )


def similar_digits() -> Explorer:
    """Return the explorer: which digits a random network's kernel calls similar to a given one."""
    digit = "The class of the digit on the left. For which classes does the raw kernel fail?"
    example = "Which of the images of this class. Look for a bold one and for a thin one."
    depth = "Hidden layers of the network. Do the rows of kernel and cosine change?"
    return Explorer(
        "a digit and those most similar to it, by kernel, cosine and pixels",
        draw_similar_digits,
        {
            "digit": Control(range(10), "digit", digit),
            "example": Control(range(10), "image", example),
            "depth": Control([1, 2, 3], "hidden layers", depth),
        },
        numbers=similar_to,
        say=say_similar_digits,
        start={"digit": 5, "example": 3, "depth": 1},
    )
