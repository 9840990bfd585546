"""A control of an explorer: its values, how they are written, and the slider that offers them."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import ipywidgets as widgets

PLAY = 900  # milliseconds for each value of what is played

# The same trait in ipywidgets 8 and 7. Left empty, it shows as "null" in 8.
TOOLTIP = next(
    name for name in ("tooltip", "description_tooltip") if name in widgets.HTML.class_traits()
)
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def as_text(number: float) -> str:
    """Return a number as the lessons write it: 1,000 and 0.015 and 1.5 · 10⁻⁴."""
    if abs(number) >= 1e6 or 0 < abs(number) < 1e-3:
        digits, power = f"{number:.1e}".split("e")
        return f"{digits} · 10{str(int(power)).translate(RAISED)}"
    text = f"{number:,.0f}" if abs(number) >= 999.5 else f"{number:.3g}"
    return text.replace("-", "−")


def percent(share: float) -> str:
    """Return a share as the lessons write it: 2.51 % and, below 1 %, 0.25 %."""
    hundredths = 100 * float(share)
    return f"{as_text(float(f'{hundredths:.2g}') if abs(hundredths) < 1 else hundredths)} %"


def counted(count: int, thing: str) -> str:
    """Return how many there are of a thing: 1 hidden layer and 3 hidden layers."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def up_to(gap: float) -> str:
    """Return how large a gap is, in hundredths: up to 0.12."""
    return f"up to {gap:.2f}" if gap >= 0.005 else "less than 0.005"


def as_shown(value) -> str:
    """Return what a slider shows for a value, if nothing else is said."""
    return as_text(value) if isinstance(value, int | float) else str(value)


class Control(NamedTuple):
    """What one slider offers.

    Attributes:
        values: In the order of the slider.
        label: Its name, in the letters of the lesson; if empty, the keyword, "_" as blank.
        hint: A sentence over the name, for the pointer: what it does, and where to look.
        show: Value → what the slider shows for it.
    """

    values: Iterable
    label: str = ""
    hint: str = ""
    show: Callable[[object], str] = as_shown

    def slider(self, name: str, start: dict[str, object]) -> widgets.SelectionSlider:
        """Return the slider.

        Args:
            name: The keyword.
            start: Keyword → first value; the middle one if this keyword is not there.

        Raises:
            ValueError: If there are no values, or the first value is not among them.
        """
        values = list(self.values)
        if not values:
            raise ValueError(f"control {name!r} has no values: give at least one.")
        value = start.get(name, values[len(values) // 2])
        if value not in values:
            raise ValueError(
                f"start of {name!r} is {value!r}, which is not one of its values {values}."
            )
        label = self.label or name.replace("_", " ")
        return widgets.SelectionSlider(
            options=[(self.show(each), each) for each in values],
            value=value,
            description=label,
            style={"description_width": "140px"},
            layout={"width": "520px"},
            **{TOOLTIP: self.hint or label},
        )


def player(slider: widgets.SelectionSlider) -> widgets.Play:
    """Return buttons that move a slider on from where it stands, or from its start at its end."""
    last = len(slider.options) - 1
    play = widgets.Play(value=slider.index, max=last, interval=PLAY, show_repeat=False)
    play.observe(lambda change: slider.set_trait("index", change.new), names="value")
    slider.observe(lambda change: play.set_trait("value", change.new), names="index")
    return play
