"""An explorer: a picture with sliders, made by functions that know nothing of widgets."""

import gc
import itertools
from collections.abc import Callable
from functools import cache

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ntk_helpers.classroom.explore import _aloud
from ntk_helpers.classroom.explore._control import TOOLTIP, Control, as_shown, player
from ntk_helpers.classroom.plots import quick_png

# The figures of past frames are collected now and then. That would go through all objects of torch
# as well, and hold up a slider for a tenth of a second: what is loaded by now is left out of it.
gc.freeze()

# A title that need not look for room above the tick labels is drawn sooner, in the same place.
STYLE = {"axes.titley": 1.0}

SHOWN = 860  # pixels across that the picture has on the page; it is drawn with twice as many


class Explorer(widgets.VBox):
    """Sliders above a picture; moving one redraws the picture.

    The picture is a plain PNG in `widgets.Image`, so that it works in JupyterLab and on Colab
    alike. Frames that were drawn once are kept. `about` and `plays` are kept as attributes.

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
        controls: dict[str, Control | list],
        *,
        numbers: Callable[..., object] | None = None,
        say: Callable[[object], str] | None = None,
        start: dict[str, object] | None = None,
        slow: tuple[str, ...] = (),
        play: str | None = None,
    ):
        """Build the controls and draw the first frame.

        Args:
            about: What can be explored, in under 90 characters.
            draw: Given the numbers, returns a figure made without pyplot. Without `numbers`, it is
                called with one keyword for each control.
            controls: Keyword → its values in order, or a Control.
            numbers: Called with one keyword for each control; returns what is drawn and said.
            say: Given the numbers, says in a sentence what the picture shows: read to who cannot
                see it. Without it, the values of the controls are read.
            start: Keyword → first value; the middle one where nothing is given.
            slow: Controls whose new values take a while, since something trains.
            play: Control that a button plays, from the first to the last value.

        Raises:
            ValueError: If a control has no values or a start value is not among them.
        """
        self.about, self.plays = about, play
        self._say, self._slow = say, slow
        self._draw = draw if numbers else lambda values: draw(**values)
        self._numbers = cache(numbers or dict)
        self._frames, self._visited = {}, set()
        self._sliders = {
            name: (each if isinstance(each, Control) else Control(each)).slider(name, start or {})
            for name, each in controls.items()
        }
        self._start = self.now
        self._image = widgets.Image(
            format="png", layout={"width": "100%", "max_width": f"{SHOWN}px"}
        )
        self._said = widgets.HTML(layout={"max_width": f"{SHOWN}px", "min_height": "40px"})
        self._said.add_class(_aloud.SAID)
        for slider in self._sliders.values():
            slider.observe(self._refresh, names="value")
        rows = {name: [slider] for name, slider in self._sliders.items()}
        if play:
            rows[play].append(player(self._sliders[play]))
        reset = widgets.Button(
            description="Reset",
            tooltip="Put all sliders back to the start",
            layout={"width": "80px"},
        )
        reset.on_click(self._reset)
        [*rows.values()][-1].append(reset)
        wrapped = {"flex_flow": "row wrap", "max_width": f"{SHOWN}px"}
        rows = [widgets.HBox(row, layout=wrapped) for row in rows.values()]
        names = widgets.HTML(_aloud.script(about, self.labels.get(play, "")))
        super().__init__([*rows, self._image, self._said, names])
        self._refresh()

    def __repr__(self) -> str:
        """Return the description, which stands in for the picture where no widget can be shown."""
        return f"Explorer: {self.about}."

    @property
    def now(self) -> dict[str, object]:
        """Control → the value at which its slider stands."""
        return {name: slider.value for name, slider in self._sliders.items()}

    @property
    def labels(self) -> dict[str, str]:
        """Control → the name of its slider."""
        return {name: slider.description for name, slider in self._sliders.items()}

    @property
    def hints(self) -> dict[str, str]:
        """Control → what it does, and where to look."""
        return {name: getattr(slider, TOOLTIP) for name, slider in self._sliders.items()}

    def options(self, name: str) -> dict[str, object]:
        """Return what the slider of a control shows → the value it stands for, in order."""
        return dict(self._sliders[name].options)

    def numbers(self, **values) -> object:
        """Return all that is drawn and said for these values of the controls."""
        return self._numbers(**values)

    def say(self, **values) -> str:
        """Return in a sentence what the picture for these values of the controls shows."""
        if self._say:
            return self._say(self.numbers(**values))
        shown = (f"{self.labels[name]} {as_shown(value)}" for name, value in values.items())
        return f"{self.about}: {', '.join(shown)}."

    def figure(self, **values) -> Figure:
        """Return the figure for these values of the controls, drawn anew.

        Raises:
            ValueError: If it holds a number that is not finite.
        """
        with mpl.rc_context(STYLE):
            figure = self._draw(self.numbers(**values))
        _require_finite(figure, values)
        return figure

    def frame(self, *, dpi: float | None = None, **values) -> bytes:
        """Return the PNG picture for these values of the controls.

        Args:
            dpi: Pixels for each inch of the figure; None draws what the notebook shows.
            values: Control → one of its values, for each control.

        Raises:
            ValueError: If the picture holds a number that is not finite.
        """
        key = (dpi, *values.items())
        if key not in self._frames:
            figure = self.figure(**values)
            self._frames[key] = quick_png(figure, dpi=dpi or 2 * SHOWN / figure.get_figwidth())
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
        """Show the frame that belongs to the sliders, and say what it shows."""
        values = self.now
        trained = tuple(values[name] for name in self._slow)
        if self._slow and trained not in self._visited:
            self._said.value = _aloud.sentence("training …")
            self.add_class(_aloud.BUSY)  # a class of the picture's own would draw it again
        try:
            self._image.value = self.frame(**values)
            self._said.value = _aloud.sentence(self.say(**values))
            self._visited.add(trained)
        except Exception as error:
            text = f"There is no picture for these values ({error}). Move a slider to go on."
            self._said.value = _aloud.sentence(text)
            raise
        finally:
            self.remove_class(_aloud.BUSY)

    def _reset(self, _button=None) -> None:
        """Put all sliders back to the start, and draw once."""
        for slider in self._sliders.values():
            slider.unobserve(self._refresh, names="value")
        for name, slider in self._sliders.items():
            slider.value = self._start[name]
            slider.observe(self._refresh, names="value")
        self._refresh()


def _require_finite(figure: Figure, values: dict) -> None:
    """Raise ValueError if a line or an image of `figure` holds NaN or infinity."""
    for ax in figure.axes:
        drawn = [line.get_ydata() for line in ax.lines] + [image.get_array() for image in ax.images]
        drawn += [
            [bar.get_height(), bar.get_width()] for bar in ax.patches if hasattr(bar, "get_height")
        ]
        if not all(np.isfinite(np.asarray(numbers, dtype=float)).all() for numbers in drawn):
            raise ValueError(f"the picture for {values} holds a number that is not finite.")
