"""Explore gradient descent on a quadratic valley across its stability limit."""

import torch
from matplotlib.figure import Figure

from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, plot_contours, to_numpy

CURVATURES = torch.tensor([1.0, 10.0], dtype=torch.float64)
START = torch.tensor([-1.8, 0.8], dtype=torch.float64)
RATES = [0.005, 0.01, 0.02, 0.05, 0.08, 0.1, 0.12, 0.15, 0.18, 0.19, 0.195, 0.2, 0.201, 0.205, 0.21]
STEPS = [1, 2, 3, 5, 8, 12, 20, 30, 50, 100]


def loss(theta: torch.Tensor) -> torch.Tensor:
    """Return ½ (θ₁² + 10 θ₂²) of points θ of shape (…, 2)."""
    return 0.5 * (CURVATURES.to(theta) * theta.square()).sum(-1)


def draw_descent(learning_rate: float, steps: int) -> Figure:
    """Return the picture of `steps` steps of descent beside the flow at the same time t = ηk."""
    k = torch.arange(steps + 1, dtype=torch.float64)[:, None]
    descent = (1 - learning_rate * CURVATURES) ** k * START
    time = torch.linspace(0, learning_rate * steps, 200, dtype=torch.float64)[:, None]
    flow = torch.exp(-CURVATURES * time) * START

    figure = Figure(figsize=(9.6, 4.2), layout="none")
    left = figure.add_axes((0.09, 0.14, 0.44, 0.76))
    right = figure.add_axes((0.63, 0.14, 0.35, 0.76))
    plot_contours(loss, x_range=(-2.1, 2.1), y_range=(-1.4, 1.4), ax=left)
    left.plot(*to_numpy(flow).T, "-", color=COLORS["green"], linewidth=5, alpha=0.7, label="flow")
    left.plot(
        *to_numpy(descent).T,
        "o-",
        color=COLORS["red"],
        linewidth=1.2,
        markersize=5,
        label="descent",
    )
    left.set(
        xlabel="θ₁",
        ylabel="θ₂",
        title=f"η = {learning_rate:g}, k = {steps}, t = {learning_rate * steps:.3g}",
    )
    left.legend(loc="upper right")
    right.semilogy(
        to_numpy(time) / learning_rate,
        to_numpy(loss(flow)),
        "-",
        color=COLORS["green"],
        linewidth=5,
        alpha=0.7,
    )
    right.semilogy(
        to_numpy(k), to_numpy(loss(descent)), "o-", color=COLORS["red"], linewidth=1.2, markersize=5
    )
    limit = 2 / CURVATURES.max().item()
    word = "below" if learning_rate < limit else "above" if learning_rate > limit else "at"
    right.set(xlabel="step k", title=f"loss: {word} the limit 0.2")
    right.minorticks_off()
    right.set_yticks([1e-9, 1e-6, 1e-3, 1, 1e3], ["10⁻⁹", "10⁻⁶", "10⁻³", "1", "10³"])
    right.set_ylim(1e-9, 1e3)
    return figure


def step_size() -> Explorer:
    """Return the explorer: learning rate and steps against the flow and the limit 2/λ_max."""
    return Explorer(
        "learning rate and steps of descent against the flow and the limit 2/λ_max",
        draw_descent,
        {"learning_rate": RATES, "steps": STEPS},
        start={"learning_rate": 0.15, "steps": 12},
    )
