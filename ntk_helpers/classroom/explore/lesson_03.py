"""Explore how a network's design shapes its kernel, and whom the kernel takes for similar."""

from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import Digits, digits, unit_circle
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_digits, plot_match, to_numpy
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.kernels.infinite import infinite_kernels
from ntk_helpers.networks import MLP

PLACE = {"device": "cpu", "dtype": torch.float64}
POINTS = 64
FREQUENCIES = range(9)
FLOOR = 1e-5


class CircleKernel(NamedTuple):
    """The kernel of a network on the unit circle.

    Attributes:
        angle: (65,) from −π to π, measured from x₀.
        measured: (65,) K(x₀, x) / K(x₀, x₀) of one network of width 512.
        limit: (65,) the same of the infinitely wide network.
        eigenvalues: (9,) of the limit kernel by frequency, the largest scaled to 1.
    """

    angle: Tensor
    measured: Tensor
    limit: Tensor
    eigenvalues: Tensor


@cache
def circle_kernel(activation: str, depth: int, sigma_w: float, sigma_b: float) -> CircleKernel:
    """Return the kernel of a network of this design on 64 points of the circle."""
    design = {"activation": activation, "depth": depth, "sigma_w": sigma_w, "sigma_b": sigma_b}
    x = unit_circle(POINTS, **PLACE).x
    network = MLP(2, 512, **design, seed=0, **PLACE)
    measured = empirical_ntk(network, x[:1], x, outputs="trace")[0]
    limit = infinite_kernels(x[:1], x, **design).ntk[0]
    # On the circle the limit depends on the angle alone, so its eigenvectors are the waves.
    eigenvalues = torch.fft.rfft(limit).real[list(FREQUENCIES)]
    half, around = POINTS // 2, torch.arange(-POINTS // 2, POINTS // 2 + 1)
    angle = torch.pi * around.to(torch.float64) / half
    return CircleKernel(
        angle,
        (measured / measured[0])[around % POINTS],
        (limit / limit[0])[around % POINTS],
        eigenvalues / eigenvalues.max(),
    )


def draw_circle_kernel(activation: str, depth: int, sigma_w: float, sigma_b: float) -> Figure:
    """Return the picture of the kernel of one design: by angle, and by frequency."""
    kernel = circle_kernel(activation, depth, sigma_w, sigma_b)
    figure = Figure(figsize=(9.6, 4.0), layout="none")
    left = figure.add_axes((0.1, 0.15, 0.43, 0.73))
    right = figure.add_axes((0.63, 0.15, 0.36, 0.73))
    labels = ("one network", "limit")
    plot_match(kernel.angle, kernel.measured, kernel.limit, labels=labels, ax=left)
    left.set(xlabel="angle between x₀ and x", ylabel="K(x₀, x) / K(x₀, x₀)", ylim=(-1.1, 1.25))
    pi = torch.pi
    left.set_xticks([-pi, -pi / 2, 0, pi / 2, pi], ["−π", "−π/2", "0", "π/2", "π"])
    left.set_title(f"{activation}, {depth} hidden, σ_w = {sigma_w:.3g}, σ_b = {sigma_b:.3g}")
    left.legend(loc="upper left")
    # Logarithms on a plain axis draw in half the time of a logarithmic axis.
    heights = (kernel.eigenvalues.clamp(min=FLOOR) / FLOOR).log10()
    right.bar(list(FREQUENCIES), to_numpy(heights), color=COLORS["blue"])
    right.set(xlabel="frequency of the wave", title="eigenvalue ÷ largest", ylim=(0, 5.3))
    right.set_xticks(list(FREQUENCIES))
    right.set_yticks([1, 3, 5], ["10⁻⁴", "10⁻²", "1"])
    return figure


def kernel_on_circle() -> Explorer:
    """Return the explorer: activation, depth and initial variances against the kernel."""
    return Explorer(
        "activation, depth, σ_w and σ_b against the kernel on the circle",
        draw_circle_kernel,
        {
            "activation": ["linear", "relu", "gelu", "erf", "sin"],
            "depth": [1, 2, 3, 4, 6, 8],
            "sigma_w": [0.5, 1.0, 2**0.5, 2.0, 2.5, 3.0],
            "sigma_b": [0.0, 0.1, 0.5, 1.0, 2.0],
        },
        start={"activation": "relu", "depth": 2, "sigma_w": 2**0.5, "sigma_b": 0.1},
    )


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


def draw_similar_digits(digit: int, example: int, depth: int) -> Figure:
    """Return the picture of a digit and of those that three scores call most similar to it."""
    data, scores = digit_rankings(depth)
    row = 20 * digit + example
    figure = Figure(figsize=(9.6, 5.2), layout="none")
    for place, (name, score) in enumerate(scores.items()):
        ax = figure.add_axes((0.13, 0.68 - 0.33 * place, 0.86, 0.3))
        nearest = score[row].topk(7).indices.tolist()
        right = sum(data.label[i].item() == digit for i in nearest)
        titles = ["asked", *(f"a {data.label[i]}" for i in nearest)]
        plot_digits(data.image[[row, *nearest]], titles, ax=ax)
        text = f"{name}\n{right} of 7"
        ax.text(-1.5, 4, text, ha="right", va="center", fontsize=13, color=COLORS["blue"])
    return figure


def similar_digits() -> Explorer:
    """Return the explorer: which digits a random network's kernel calls similar to a given one."""
    return Explorer(
        "a digit and those most similar to it, by kernel, cosine and pixels",
        draw_similar_digits,
        {"digit": list(range(10)), "example": list(range(10)), "depth": [1, 2, 3]},
        start={"digit": 5, "example": 3, "depth": 1},
    )
