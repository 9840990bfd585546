"""The map of the course at the top of each lesson."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ntk_helpers.classroom.plots.figure import COLORS, show

LESSONS = (
    "start here",
    "gradient flow",
    "function space",
    "empirical kernel",
    "infinite width",
    "closed form",
    "PINNs",
    "beyond",
)


def plot_course_map(current: int) -> Axes:
    """Draw the eight lessons in order, the `current` one filled: where this notebook stands.

    Args:
        current: 0 to 7.

    Returns:
        The axis.
    """
    ax = plt.figure(figsize=(9, 1.3)).subplots()
    ax.plot([0, len(LESSONS) - 1], [0, 0], color="#B8B8B8", linewidth=2, linestyle="-", zorder=1)
    for i, name in enumerate(LESSONS):
        here = i == current
        ax.plot(
            i,
            0,
            "o",
            ms=24,
            mfc=COLORS["blue"] if here else "white",
            mec=COLORS["blue"],
            mew=2,
            zorder=2,
        )
        ink = "white" if here else COLORS["blue"]
        ax.text(
            i,
            -0.02,
            f"{i:02d}",
            ha="center",
            va="center",
            color=ink,
            fontsize=11,
            weight="bold",
            zorder=3,
        )
        label = name.replace(" ", "\n")
        ax.text(
            i, -1.0, label, ha="center", va="top", fontsize=11, weight="bold" if here else "normal"
        )
    ax.set(xlim=(-0.6, len(LESSONS) - 0.4), ylim=(-2.9, 0.9))
    ax.set_axis_off()
    return ax


def show_course_map(current: int) -> None:
    """Display the map of the course with lesson `current` marked."""
    place = (
        f"Lesson {current:02d}, {LESSONS[current]}, of the eight lessons: "
        + ", ".join(LESSONS)
        + "."
    )
    show(plot_course_map(current).figure, alt=place)
