"""The map of the course at the top of each lesson: its stations lead to the lessons."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ntk_helpers.classroom.plots.figure import COLORS

FILES = {
    "00_start_here": "start here",
    "01_gradient_flow": "gradient flow",
    "02_function_space": "function space",
    "03_empirical_kernel": "empirical kernel",
    "04_infinite_width": "infinite width",
    "05_closed_form_mse": "closed form",
    "06_pinn": "PINNs",
    "07_beyond_the_kernel": "beyond",
    "08_your_network": "your network",
}
LESSONS = tuple(FILES.values())
ROUND = (
    "display: inline-block; box-sizing: content-box; width: 2em; line-height: 2em; "
    "border-radius: 50%; font-weight: bold"
)
STATION = (
    '<a href="{file}.ipynb" {mark}style="flex: 1; text-decoration: none; color: inherit">'
    '<span style="{look}">{number:02d}</span><br>{name}</a>'
)


def plot_course_map(current: int) -> Axes:
    """Draw the nine lessons in order, the `current` one filled: where this notebook stands.

    Args:
        current: 0 to 8.

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
    """Display the map of the course with lesson `current` marked; a click opens a lesson.

    Args:
        current: 0 to 8.
    """
    from IPython.display import display

    stations = []
    for number, (file, name) in enumerate(FILES.items()):
        ink, paper = ("white", COLORS["blue"]) if number == current else (COLORS["blue"], "white")
        look = f"{ROUND}; border: 2px solid {COLORS['blue']}; color: {ink}; background: {paper}"
        mark = 'aria-current="page" ' if number == current else ""
        stations.append(STATION.format(file=file, mark=mark, look=look, number=number, name=name))
    row = "display: flex; flex-wrap: wrap; gap: 8px; max-width: 900px; text-align: center"
    html = f'<nav class="ntk-map" aria-label="The lessons" style="{row}">{"".join(stations)}</nav>'
    place = f"Lesson {current:02d}, {LESSONS[current]}, of the nine lessons: {', '.join(LESSONS)}."
    display({"text/html": html, "text/plain": place}, raw=True)
