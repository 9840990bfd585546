"""Explore what a large step does to the smallest network that catapults."""

from functools import cache
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers.classroom.explore._control import Control, as_text, percent
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, to_numpy

RATES = [0.5, 1.0, 1.5, 1.9, 2.1, 2.5, 3.0, 3.5, 3.9, 3.99]
BOTTOM = 1e-12  # of the chart of the loss


class Catapult(NamedTuple):
    """One run of f = u·v/√n on the target 0.

    Attributes:
        rate: η λ₀.
        width: n.
        loss: (121,) ½ f² at each step.
        curvature: (121,) ηλ at each step; its limit is 2.
        moved: Share of the kernel that is gone in the end.
    """

    rate: float
    width: int
    loss: Tensor
    curvature: Tensor
    moved: float


@cache
def catapult(rate: float, width: int, steps: int = 120) -> tuple[Tensor, Tensor]:
    """Return |f| and ηλ, (steps + 1,) each, of f = u·v/√n on the target 0; ηλ starts at `rate`.

    Source: Lewkowycz, Bahri, Dyer, Sohl-Dickstein, Gur-Ari 2020, arXiv:2003.02218, section 2.
    """
    f, lam = 1.0, 1.0
    path = [(f, lam)]
    for _ in range(steps):
        push = rate * f**2 / width
        f, lam = f * (1 - rate * lam + rate * push), lam + push * (rate * lam - 4)
        path.append((f, lam))
    size, kernel = torch.tensor(path, dtype=torch.float64).T
    return size.abs(), rate * kernel


def catapult_of(rate: float, width: int) -> Catapult:
    """Return one run."""
    size, curvature = catapult(rate, width)
    return Catapult(rate, width, size**2 / 2, curvature, 1 - curvature[-1].item() / rate)


def draw_catapult(run: Catapult) -> Figure:
    """Return the picture of one run: the loss, and the curvature ηλ against its limit 2."""
    figure = Figure(figsize=(9.6, 4.0), layout="none")
    left, right = (figure.add_axes((x, 0.16, 0.38, 0.72)) for x in (0.1, 0.6))
    left.plot(to_numpy(run.loss.clamp(min=1e-13).log10()), color=COLORS["blue"])
    left.set_yticks([-12, -8, -4, 0, 4], ["10⁻¹²", "10⁻⁸", "10⁻⁴", "1", "10⁴"])
    left.set(xlabel="step k", ylabel="loss", ylim=(-12, 6))
    left.set_title(f"η = {run.rate:g} / λ₀, width {as_text(run.width)}")
    right.axhline(2, color=COLORS["black"], linestyle=":")
    right.text(118, 2.05, "limit", ha="right", va="bottom", fontsize=12)
    right.plot(to_numpy(run.curvature), color=COLORS["red"])
    right.set(xlabel="step k", ylabel="η λ", ylim=(0, 4.3))
    right.set_title(f"the kernel fell by {percent(run.moved)}")
    return figure


def say_catapult(run: Catapult) -> str:
    """Return what `draw_catapult` shows."""
    peak = run.loss.argmax().item()
    how = f"peaks at {as_text(run.loss[peak])} at step {peak}" if peak else "falls from the start"
    last = run.loss[-1].item()
    end = f"at {as_text(last)}" if last > BOTTOM else "below the chart"
    return (
        f"η = {run.rate:g} / λ₀, width {as_text(run.width)}: the loss {how} and ends {end}; "
        f"η λ goes from {run.rate:.2f} to {run.curvature[-1]:.2f}, where the limit is 2."
    )


def large_steps() -> Explorer:
    """Return the explorer: learning rate and width of the smallest network that catapults."""
    rate = "The learning rate, in units of 1/λ₀. From where on does the kernel move?"
    width = "The number of hidden units. A wide network only waits longer."
    return Explorer(
        "learning rate and width of the smallest network that catapults",
        draw_catapult,
        {
            "rate": Control(RATES, "rate × curvature ηλ₀", rate),
            "width": Control([10, 100, 1000, 10000, 100000], "width n", width),
        },
        numbers=catapult_of,
        say=say_catapult,
        start={"rate": 3.0, "width": 1000},
    )
