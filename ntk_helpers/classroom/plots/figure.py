"""Turn a figure into a picture that is the same on every run, and show it with its description."""

import base64
import io

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from ntk_helpers.classroom.predict import present

COLORS = {
    "blue": "#0072B2",
    "red": "#D55E00",
    "green": "#009E73",
    "pink": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
    "yellow": "#F0E442",
}


def png(figure: Figure, *, dpi: int = 100) -> bytes:
    """Return `figure` as PNG bytes that are the same on every run."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def show(figure: Figure, *, alt: str) -> None:
    """Display `figure`, with `alt` as its description for readers who cannot see it, and close it.

    While a prediction above waits for a vote, the figure is folded.

    Args:
        figure: A matplotlib figure.
        alt: What the figure shows, in a sentence or two: the finding, not the colours.

    Raises:
        TypeError: If `figure` is not a matplotlib figure, or `alt` not text.
        ValueError: If `alt` is empty.
    """
    if not isinstance(figure, Figure):
        raise TypeError(
            f"show needs a matplotlib Figure; got {type(figure).__name__}. "
            f"An Axes knows its figure: ax.figure."
        )
    if not isinstance(alt, str):
        raise TypeError(f"alt must be text: say in a sentence what the figure shows; got {alt!r}.")
    if not alt.strip():
        raise ValueError("alt is empty: say in a sentence what the figure shows.")
    width = round(figure.get_size_inches()[0] * 100)
    data = {"image/png": base64.b64encode(png(figure, dpi=160)).decode(), "text/plain": alt}
    present(data, {"image/png": {"alt": alt, "width": width}}, what="The figure")
    plt.close(figure)


def to_numpy(values):
    """Return `values` as a numpy array on the CPU, without a gradient, whatever they were."""
    return torch.as_tensor(values).detach().cpu().numpy()
