"""An explorer: a picture with sliders, drawn by a function that knows nothing of widgets."""

import gc
import itertools
from collections.abc import Callable

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ntk_helpers.classroom.plots import quick_png

# The figures of past frames are collected now and then. That would go through all objects of torch
# as well, and hold up a slider for a third of a second: what is loaded by now is left out of it.
gc.freeze()

# A title that need not look for room above the tick labels is drawn sooner, in the same place.
STYLE = {"axes.titley": 1.0}


class Explorer(widgets.VBox):
    """Sliders above a picture; moving one redraws the picture.

    The picture is a plain PNG in `widgets.Image`, so that it works in JupyterLab and on Colab
    alike. Frames that were drawn once are kept.

    Example:
        >>> from matplotlib.figure import Figure
        >>> def draw(slope):
        ...     figure = Figure()
        ...     figure.subplots().plot([0, 1], [0, slope])
        ...     return figure
        >>> line = Explorer("a line and its slope", draw, {"slope": [-1.0, 0.0, 2.0]})
        >>> line.sweep()
        3
    """

    def __init__(
        self,
        about: str,
        draw: Callable[..., Figure],
        controls: dict[str, list],
        *,
        start: dict[str, object] | None = None,
    ):
        """Build the controls and draw the first frame.

        Args:
            about: What can be explored, in under 90 characters: read to who cannot see the picture.
            draw: Called with one keyword for each control; returns a figure made without pyplot.
            controls: Keyword → its values in order. The keyword labels the slider, "_" as blank.
            start: Keyword → first value; the middle one where nothing is given.

        Raises:
            ValueError: If a control has no values or a start value is not among them.
        """
        self._draw, self._frames, self._about = draw, {}, about
        self._sliders = {}
        for name, values in controls.items():
            values = list(values)
            if not values:
                raise ValueError(f"control {name!r} has no values: give at least one.")
            value = (start or {}).get(name, values[len(values) // 2])
            if value not in values:
                raise ValueError(
                    f"start of {name!r} is {value!r}, which is not one of its values {values}."
                )
            self._sliders[name] = widgets.SelectionSlider(
                options=[(_text(v), v) for v in values],
                value=value,
                description=name.replace("_", " "),
                style={"description_width": "140px"},
                layout={"width": "520px"},
            )
        self._image = widgets.Image(format="png", layout={"width": "100%", "max_width": "860px"})
        for slider in self._sliders.values():
            slider.observe(self._refresh, names="value")
        self._refresh()
        super().__init__([*self._sliders.values(), self._image])

    def __repr__(self) -> str:
        """Return the description, which stands in for the picture where no widget can be shown."""
        return f"Explorer: {self._about}."

    @property
    def now(self) -> dict[str, object]:
        """Control → the value at which its slider stands."""
        return {name: slider.value for name, slider in self._sliders.items()}

    def options(self, name: str) -> dict[str, object]:
        """Return what the slider of a control shows → the value it stands for, in order."""
        return dict(self._sliders[name].options)

    def frame(self, *, dpi: int = 100, **values) -> bytes:
        """Return the PNG picture for these values of the controls.

        Args:
            dpi: Pixels for each inch of the figure; the static slides take more than a notebook.
            values: Control → one of its values, for each control.

        Raises:
            ValueError: If the picture holds a number that is not finite.
        """
        key = (dpi, *values.items())
        if key not in self._frames:
            with mpl.rc_context(STYLE):
                figure = self._draw(**values)
            _require_finite(figure, values)
            self._frames[key] = quick_png(figure, dpi=dpi)
        return self._frames[key]

    def sweep(self) -> int:
        """Visit every value of every control, and all corners; return how many frames were drawn.

        Raises:
            ValueError: If a picture holds a number that is not finite.
        """
        options = {name: [*self.options(name).values()] for name in self._sliders}
        settings = [
            self.now | {name: value} for name, values in options.items() for value in values
        ]
        ends = [(values[0], values[-1]) for values in options.values()]
        settings += [dict(zip(options, corner, strict=True)) for corner in itertools.product(*ends)]
        return len({self.frame(**setting) for setting in settings})

    def _refresh(self, _change=None) -> None:
        """Show the frame that belongs to the sliders."""
        self._image.value = self.frame(**self.now)


def _text(value) -> str:
    """Return how a slider shows a value."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _require_finite(figure: Figure, values: dict) -> None:
    """Raise ValueError if a line or an image of `figure` holds NaN or infinity."""
    for ax in figure.axes:
        drawn = [line.get_ydata() for line in ax.lines] + [image.get_array() for image in ax.images]
        drawn += [
            [bar.get_height(), bar.get_width()] for bar in ax.patches if hasattr(bar, "get_height")
        ]
        if not all(np.isfinite(np.asarray(numbers, dtype=float)).all() for numbers in drawn):
            raise ValueError(f"the picture for {values} holds a number that is not finite.")
