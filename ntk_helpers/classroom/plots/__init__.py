"""The course's figures: each function draws on an axis; `show` displays with a description."""

from ntk_helpers.classroom.plots.course_map import LESSONS, plot_course_map, show_course_map
from ntk_helpers.classroom.plots.diagnosis import plot_diagnosis
from ntk_helpers.classroom.plots.draw import (
    plot_contours,
    plot_curves,
    plot_digits,
    plot_match,
    plot_matrix,
    plot_points,
    plot_scaling,
)
from ntk_helpers.classroom.plots.figure import COLORS, png, show, to_numpy
from ntk_helpers.classroom.plots.frame import quick_png

__all__ = [
    "COLORS",
    "LESSONS",
    "plot_contours",
    "plot_course_map",
    "plot_curves",
    "plot_diagnosis",
    "plot_digits",
    "plot_match",
    "plot_matrix",
    "plot_points",
    "plot_scaling",
    "png",
    "quick_png",
    "show",
    "show_course_map",
    "to_numpy",
]
