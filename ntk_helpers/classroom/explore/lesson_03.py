"""Explore how a network's design shapes its kernel on the circle."""

from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.data import unit_circle
from ntk_helpers.classroom.explore._control import Control, as_text, counted, percent
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_match, to_numpy
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
        activation: φ.
        depth: Hidden layers.
        sigma_w: σ_w.
        sigma_b: σ_b.
        angle: (65,) from −π to π, measured from x₀.
        measured: (65,) K(x₀, x) / K(x₀, x₀) of one network of width 512.
        limit: (65,) the same of the infinitely wide network.
        eigenvalues: (9,) of the limit kernel by frequency, the largest scaled to 1.
    """

    activation: str
    depth: int
    sigma_w: float
    sigma_b: float
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
        *design.values(),
        angle,
        (measured / measured[0])[around % POINTS],
        (limit / limit[0])[around % POINTS],
        eigenvalues / eigenvalues.max(),
    )


def _root(sigma: float) -> str:
    """Return σ_w as the lesson writes it."""
    return "√2" if sigma == 2**0.5 else f"{sigma:g}"


def draw_circle_kernel(kernel: CircleKernel) -> Figure:
    """Return the picture of the kernel of one design: by angle, and by frequency."""
    figure = Figure(figsize=(9.6, 4.0), layout="none")
    left = figure.add_axes((0.1, 0.15, 0.43, 0.73))
    right = figure.add_axes((0.63, 0.15, 0.36, 0.73))
    labels = ("one network", "limit")
    plot_match(kernel.angle, kernel.measured, kernel.limit, labels=labels, ax=left)
    left.set(xlabel="angle between x₀ and x", ylabel="K(x₀, x) / K(x₀, x₀)", ylim=(-1.1, 1.45))
    pi = torch.pi
    left.set_xticks([-pi, -pi / 2, 0, pi / 2, pi], ["−π", "−π/2", "0", "π/2", "π"])
    sigmas = f"σ_w = {_root(kernel.sigma_w)}, σ_b = {kernel.sigma_b:g}"
    left.set_title(f"{kernel.activation}, {kernel.depth} hidden, {sigmas}")
    left.legend(loc="upper left", ncols=2)
    # Logarithms on a plain axis draw in half the time of a logarithmic axis.
    heights = (kernel.eigenvalues.clamp(min=FLOOR) / FLOOR).log10()
    right.bar(list(FREQUENCIES), to_numpy(heights), color=COLORS["blue"])
    right.set(xlabel="frequency of the wave", title="eigenvalue ÷ largest", ylim=(0, 5.3))
    right.set_xticks(list(FREQUENCIES))
    right.set_yticks([1, 3, 5], ["10⁻⁴", "10⁻²", "1"])
    return figure


def say_circle_kernel(kernel: CircleKernel) -> str:
    """Return what `draw_circle_kernel` shows."""
    right, opposite = (as_text(round(k, 2)) for k in kernel.limit[[3 * POINTS // 4, -1]].tolist())
    keeps = "stays at" if right == "1" else "falls to"
    return (
        f"{kernel.activation}, {counted(kernel.depth, 'hidden layer')}, "
        f"σ_w = {_root(kernel.sigma_w)}, σ_b = {kernel.sigma_b:g}: the kernel {keeps} {right} of "
        f"its height at a right angle and {opposite} at the opposite point. "
        f"{_speeds(kernel.eigenvalues)}."
    )


def _speeds(eigenvalues: Tensor) -> str:
    """Return which frequencies are learned fastest, and how fast the last one is."""
    fastest = [f for f in FREQUENCIES if eigenvalues[f] > 0.95]
    if len(fastest) == len(FREQUENCIES):
        return "All frequencies up to 8 have nearly the same eigenvalue"
    *most, end = map(str, fastest)
    who = f"Frequencies {', '.join(most)} and {end} are" if most else f"Frequency {end} is"
    last = percent(eigenvalues[8]) if eigenvalues[8] > FLOOR else "next to nothing"
    return f"{who} learned fastest; frequency 8 has {last} of the largest eigenvalue"


def kernel_on_circle() -> Explorer:
    """Return the explorer: activation, depth and initial variances against the kernel."""
    activation = "What the hidden units compute. Which one allows negative values?"
    depth = "The number of hidden layers. Does the curve become flatter, or more pointed?"
    sigma_w = "With erf or sin, large ones make a spike; relu and linear hardly react."
    sigma_b = "Size of the random biases. Large ones make a plateau: all points move together."
    return Explorer(
        "activation, depth, σ_w and σ_b against the kernel on the circle",
        draw_circle_kernel,
        {
            "activation": Control(
                ["linear", "relu", "gelu", "erf", "sin"], "activation φ", activation
            ),
            "depth": Control([1, 2, 3, 4, 6, 8], "hidden layers", depth),
            "sigma_w": Control([0.5, 1.0, 2**0.5, 2.0, 2.5, 3.0], "σ_w", sigma_w, _root),
            "sigma_b": Control([0.0, 0.1, 0.5, 1.0, 2.0], "σ_b", sigma_b),
        },
        numbers=circle_kernel,
        say=say_circle_kernel,
        start={"activation": "relu", "depth": 2, "sigma_w": 2**0.5, "sigma_b": 0.1},
    )
