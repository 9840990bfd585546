"""Draw values on an axis, in the course's colours: curves, points, scaling laws, matrices."""

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from torch import Tensor

from ntk_helpers.classroom.plots.figure import COLORS, to_numpy


def _axes(ax: Axes | None) -> Axes:
    """Return `ax`, or the axis of a new figure."""
    return plt.subplots()[1] if ax is None else ax


def plot_curves(x: Tensor, curves: dict[str, Tensor], *, ax: Axes | None = None) -> Axes:
    """Draw several curves over the same inputs, with a legend.

    Args:
        x: (n,) or (n, 1) inputs, increasing.
        curves: Label → (n,) or (n, 1) values.
        ax: Where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = _axes(ax)
    for label, values in curves.items():
        ax.plot(to_numpy(x).reshape(-1), to_numpy(values).reshape(-1), label=label)
    ax.legend()
    return ax


def plot_points(
    x: Tensor, y: Tensor, *, label: str = "training points", ax: Axes | None = None
) -> Axes:
    """Draw data points as black dots above everything else.

    Args:
        x: (n,) or (n, 1) inputs.
        y: (n,) or (n, 1) targets.
        label: What the legend says.
        ax: Where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = _axes(ax)
    ax.plot(
        to_numpy(x).reshape(-1), to_numpy(y).reshape(-1), "o", color="black", label=label, zorder=5
    )
    return ax


def plot_match(
    x: Tensor,
    measured: Tensor,
    theory: Tensor,
    *,
    labels: tuple[str, str] = ("measured", "theory"),
    ax: Axes | None = None,
) -> Axes:
    """Draw a measurement as a wide band and its theory as a dashed line, which should run inside.

    Args:
        x: (n,) or (n, 1) inputs, increasing.
        measured: (n,) or (n, 1) what an experiment gave.
        theory: (n,) or (n, 1) what the formula says.
        labels: What a legend calls the two.
        ax: Where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = _axes(ax)
    x, measured, theory = (to_numpy(values).reshape(-1) for values in (x, measured, theory))
    ax.plot(x, measured, "-", color=COLORS["sky"], linewidth=6, label=labels[0])
    ax.plot(x, theory, "--", color=COLORS["red"], label=labels[1])
    return ax


def plot_scaling(
    size: Tensor, error: Tensor, *, order: float, label: str = "measured", ax: Axes | None = None
) -> Axes:
    """Draw measured errors against a size on log axes, with a guide line of slope `order`.

    Args:
        size: (m,) step sizes, widths, …, positive.
        error: (m,) errors, positive.
        order: Slope of the guide, which passes through the last point.
        label: What the legend calls the measurement.
        ax: Where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = _axes(ax)
    size, error = to_numpy(size), to_numpy(error)
    ax.loglog(size, error, "o", color=COLORS["blue"], label=label)
    guide = error[-1] * (size / size[-1]) ** order
    ax.loglog(size, guide, "--", color=COLORS["red"], label=f"slope {order:g}")
    ax.legend()
    return ax


def plot_matrix(values: Tensor, *, label: str = "", ax: Axes | None = None) -> Axes:
    """Draw a matrix as coloured squares: blue below zero, white at zero, red above.

    Args:
        values: (n, m) numbers.
        label: What the colour bar says.
        ax: Where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = _axes(ax)
    values = to_numpy(values)
    bound = abs(values).max() or 1.0
    image = ax.imshow(values, cmap="RdBu_r", norm=TwoSlopeNorm(0, -bound, bound))
    ax.grid(False)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.85)
    return ax


def plot_digits(images: Tensor, titles: list[str], *, ax: Axes | None = None) -> Axes:
    """Draw handwritten digits side by side, each with a title below it.

    Args:
        images: (n, 8, 8) grey values.
        titles: n short texts.
        ax: Where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = _axes(ax)
    for i, (image, title) in enumerate(zip(to_numpy(images), titles, strict=True)):
        ax.imshow(image, cmap="gray_r", extent=(9 * i, 9 * i + 8, 0, 8), vmin=0, vmax=1)
        ax.text(9 * i + 4, -0.8, title, ha="center", va="top", fontsize=13)
    ax.set(
        xlim=(-0.5, 9 * len(titles) - 0.5), ylim=(-3.4, 8.5), xticks=[], yticks=[], aspect="equal"
    )
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return ax


def plot_contours(function, *, x_range, y_range, ax: Axes | None = None) -> Axes:
    """Draw the level lines of a function of two variables.

    Args:
        function: Maps (m, 2) points to (m,) values.
        x_range: (low, high) of the first variable.
        y_range: (low, high) of the second variable.
        ax: Where to draw; None makes a figure.

    Returns:
        The axis.
    """
    ax = _axes(ax)
    first, second = torch.linspace(*x_range, 81), torch.linspace(*y_range, 81)
    grid = torch.cartesian_prod(first, second)
    values = to_numpy(function(grid)).reshape(81, 81).T
    levels = values.min() + (values.max() - values.min()) * (
        torch.linspace(0.03, 1, 12).numpy() ** 2
    )
    ax.contour(
        to_numpy(first), to_numpy(second), values, levels=levels, colors="#B8B8B8", linewidths=1
    )
    ax.set(xlim=x_range, ylim=y_range)
    ax.grid(False)
    return ax
