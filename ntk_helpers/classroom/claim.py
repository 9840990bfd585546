"""A claim of the text, measured: a badge with number and bound, or an error that explains."""

import json
import math
import os
from html import escape

import torch
from torch import Tensor

from ntk_helpers.classroom.predict import present

BADGE = (
    '<div class="ntk-claim" style="border-left: 4px solid {color}; padding: 2px 10px">'
    '{sign} {key}: <b class="ntk-value">{shown}</b> ({bound})</div>'
)


def claim(
    name: str,
    value: float | Tensor,
    *,
    below: float | None = None,
    above: float | None = None,
    between: tuple[float, float] | None = None,
    near: tuple[float, float] | None = None,
    unit: str = "",
    case: str = "",
) -> None:
    """Show what was measured beside what is claimed; fail the cell if the claim is wrong.

    `claim("gap to the forecast", 0.0083, below=0.03, unit="%")` shows
    "✓ gap to the forecast: 0.83 % (below 3 %)".

    With the environment variable NTK_CLAIMS, the name of a file, the outcome is added to it as a
    line of JSON and nothing fails: `python course.py redraw` counts such lines over many draws.

    Args:
        name: What was measured, in words.
        value: A number, or a tensor of one number for each draw: the claim is made for all of them.
        below: The value is smaller than this.
        above: The value is larger than this.
        between: The value is at least the first and at most the second.
        near: The value is the first, give or take the second.
        unit: Stands behind the number; with "%" a value of 0.01 is shown as 1 %.
        case: Tells repetitions of one claim apart, as in a loop.

    Raises:
        AssertionError: If the claim does not hold; it says by how much, and where to look.
        TypeError: If `value` is not real, or not exactly one bound is given.
    """
    kinds = {"below": below, "above": above, "between": between, "near": near}
    given = {kind: limit for kind, limit in kinds.items() if limit is not None}
    if len(given) != 1:
        raise TypeError(f"a claim has exactly one of {', '.join(kinds)}; got {len(given)} of them.")
    values = torch.as_tensor(value).detach().cpu().flatten()
    if values.dtype == torch.bool or values.is_complex() or not len(values):
        raise TypeError(
            f"the value of a claim is a number that a reader can see; got {value!r}. "
            "Give what was measured, and the bound beside it."
        )
    ((kind, limit),) = given.items()
    held = _holds(values, kind, limit)
    key = f"{name}, {case}" if case else name
    shown, bound = _shown(values, unit), _bound(kind, limit, unit)
    sign, color = ("✓", "#009E73") if held.all() else ("✗", "#D55E00")
    texts = {"key": escape(key), "shown": escape(shown), "bound": escape(bound)}
    present(
        {
            "text/html": BADGE.format(sign=sign, color=color, **texts),
            "text/plain": f"{sign} {key}: {shown} ({bound})",
        },
        what="What was measured",
    )
    if file := os.environ.get("NTK_CLAIMS"):
        ends = [values.min().item(), values.max().item()]
        line = {"claim": key, "shown": shown, "ends": ends, "bound": bound}
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(line | {"held": bool(held.all())}) + "\n")
    elif not held.all():
        raise AssertionError(
            f"{key} is {shown}, and the claim is: {bound}. {_advice(values, held)}"
        )


def _holds(values: Tensor, kind: str, limit) -> Tensor:
    """Return which of the values keep the bound; NaN keeps none."""
    if kind == "below":
        return values < limit
    if kind == "above":
        return values > limit
    low, high = limit if kind == "between" else (limit[0] - limit[1], limit[0] + limit[1])
    return (low <= values) & (values <= high)


def _advice(values: Tensor, held: Tensor) -> str:
    """Return where to look when a claim does not hold."""
    broken = (~held).nonzero().flatten().tolist()
    which = f"It is broken by draw {', '.join(map(str, broken))}. " if len(held) > 1 else ""
    if not values.isfinite().all():
        return f"{which}It is not finite: look for a learning rate that is too large."
    return (
        f"{which}If you changed something above, this is what it does. If not, restart the kernel "
        "and run all cells; if it stays, the course is wrong here: please tell its authors."
    )


def _shown(values: Tensor, unit: str) -> str:
    """Return values as a badge shows them: one number, or the least and the largest."""
    low, high = (number(end.item(), unit) for end in (values.min(), values.max()))
    text = low if low == high else f"{low} … {high}"
    draws = f", {len(values)} draws" if len(values) > 1 else ""
    return f"{text} {unit}".rstrip() + draws


def _bound(kind: str, limit, unit: str) -> str:
    """Return a bound in words."""
    ends = limit if kind in {"between", "near"} else (limit,)
    words = {"between": "between {} and {}", "near": "near {}, give or take {}"}
    text = words.get(kind, f"{kind} {{}}").format(*(number(end, unit, exact=True) for end in ends))
    return f"{text} {unit}".rstrip()


def number(value: float, unit: str = "", *, exact: bool = False) -> str:
    """Return a number as people write it: two digits of a measured one, powers of ten as such."""
    value = 100 * value if unit == "%" else value
    if exact or not math.isfinite(value):
        text = f"{value:.6g}"
    elif value == round(value) and abs(value) < 1e6:
        text = f"{value:.0f}"
    elif 1e-3 <= abs(value) < 1e6:
        leading = math.floor(math.log10(abs(float(f"{value:.2g}"))))
        text = f"{value:.{max(0, 1 - leading)}f}"
    else:
        text = f"{value:.1e}"
    mantissa, _, power = text.replace("-", "−").partition("e")
    raised = power.lstrip("+−0").translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}·10{'⁻' * ('−' in power)}{raised}" if raised else mantissa
