"""Draw what `diagnose` measured: which examples, layers and modes learn, and what came of it."""

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ntk_helpers.classroom.plots.draw import plot_matrix
from ntk_helpers.classroom.plots.figure import COLORS, to_numpy
from ntk_helpers.theory.diagnose import Measured

MOST_LAYERS = 8  # bars that can be read; the others are drawn as one


def plot_diagnosis(run: Measured) -> Figure:
    """Draw the cosines of the examples, the layers' shares, the modes, and the loss of the run.

    Args:
        run: What `ntk.diagnose` returned; without `steps` there is no loss to draw.

    Returns:
        A figure, for `ntk.show`.
    """
    figure, axes = plt.subplots(2, 2, figsize=(11, 8.4), layout="constrained")
    (examples, layers), (modes, loss) = axes
    plot_matrix(run.similarity, label="cosine", ax=examples)
    examples.set(title="which examples push alike", xlabel="example", ylabel="example")
    draw_layers(run, layers)
    draw_modes(run, modes)
    if run.losses is None:
        loss.set_axis_off()
    else:
        draw_loss(run, loss)
    return figure


def draw_layers(run: Measured, ax: Axes) -> None:
    """Draw the share of each layer in the trace of the kernel, the first layer on top."""
    kept = sorted(run.layers, key=run.layers.get, reverse=True)[:MOST_LAYERS]
    shares = {name: share for name, share in run.layers.items() if name in kept}
    if len(run.layers) > len(shares):
        shares[f"{len(run.layers) - len(shares)} more"] = 1 - sum(shares.values())
    ax.barh(range(len(shares)), list(shares.values()), color=COLORS["blue"])
    ax.set_yticks(range(len(shares)), [_short(name) for name in shares], fontsize=12)
    ax.invert_yaxis()
    ax.set(title="which layer learns", xlabel="share of the trace of K", xlim=(0, 1))


def _short(name: str, most: int = 22) -> str:
    """Return a name, or its end where it is too long for the figure."""
    return name if len(name) <= most else "…" + name[1 - most :]


def draw_modes(run: Measured, ax: Axes) -> None:
    """Draw what share of the mistake lies in modes up to a half-life, and where the run ends."""
    half, order = run.half_lives.sort()
    known = half.isfinite()
    reached = run.shares[order].cumsum(0)
    ax.step(
        to_numpy(half[known].clamp(min=0.5)), to_numpy(reached[known]), "-", where="post",
        color=COLORS["blue"],
    )  # fmt: skip
    ax.set(xscale="log", ylim=(0, 1.05), title="which part halves by when")
    ax.set(xlabel="half-life of a mode in steps", ylabel="share of the mistake up to it")
    if run.steps:
        ax.axvline(run.steps, color=COLORS["red"], ls="--", lw=1.5, label="steps of the run")
        ax.legend(fontsize=12)


def draw_loss(run: Measured, ax: Axes) -> None:
    """Draw the loss of the run and the one that the kernel of the start forecasts."""
    for losses, style, color, width, label in [
        (run.losses, "-", "sky", 6, "run"),
        (run.expected, "--", "red", 2, "forecast of the frozen kernel"),
    ]:
        steps = torch.arange(len(losses))
        ax.plot(steps, to_numpy(losses), style, color=COLORS[color], lw=width, label=label)
    positive = bool((run.losses > 0).all() and (run.expected > 0).all())
    ax.set(title="what came of it", xlabel="steps", ylabel="loss")
    ax.set_yscale("log" if positive else "linear")
    ax.legend(fontsize=12)
