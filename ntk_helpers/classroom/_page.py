"""The lines of the page on a run, as sentences: a number, what it means, and where that ends."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ntk_helpers.classroom.claim import number
from ntk_helpers.theory.diagnose import Measured

GOOD, FAIR = 0.1, 0.3  # conventions: which gap is small depends on what the forecast is for


class Line(NamedTuple):
    """A line of the page.

    Attributes:
        what: What was measured.
        value: The number.
        meaning: What it says.
        condition: Where that ends.
    """

    what: str
    value: str
    meaning: str
    condition: str


def title(run: Measured) -> str:
    """Return which run this is."""
    n = len(run.similarity)
    k = len(run.rates) // n
    points = f"{n} point{'s' * (n > 1)} with {k} output{'s' * (k > 1)}"
    steps = "" if run.steps is None else f", {run.steps} steps"
    return f"{points}, loss {run.loss}, rate {run.learning_rate:g}{steps}. Examples count from 0."


def lines(run: Measured) -> Iterator[Line]:
    """Yield the page line by line."""
    yield rate(run)
    yield layers(run)
    yield examples(run)
    yield targets(run)
    if run.steps is not None:
        yield last(run)
        yield moved(run)
        yield held(run)


def rate(run: Measured) -> Line:
    """Is the rate below the limit?"""
    share = run.learning_rate / run.max_learning_rate
    if run.max_learning_rate == math.inf:
        meaning = "The loss has no curvature along what the kernel moves: no mode can grow."
    elif share < 1:
        meaning = f"The rate is {_percent(share)} of it: no mode grows."
    else:
        meaning = (
            f"The rate is {number(share)} times that: the fastest mode grows until the kernel or "
            f"the loss's curvature has sunk, or the run diverges."
        )
    return Line(
        "Largest stable rate",
        number(run.max_learning_rate),
        meaning,
        "At the start, for plain gradient descent on all points; training moves it.",
    )


def layers(run: Measured) -> Line:
    """Which layer learns?"""
    ordered = sorted(run.layers.items(), key=lambda item: -item[1])
    shown = [f"{name} ({_percent(share)})" for name, share in ordered[:4]]
    if others := ordered[4:]:
        shown.append(f"{len(others)} more ({_percent(sum(share for _, share in others))})")
    return Line(
        "Layers",
        ", ".join(shown),
        "Shares of the trace of K: how much of the first step's work each layer does.",
        "At the start, averaged over all pushes; for those of your targets the shares may differ.",
    )


def examples(run: Measured) -> Line:
    """Which examples move which?"""
    n = len(run.similarity)
    if n == 1:
        return Line("Examples", "only one", "It moves nothing but itself.", "Give more points.")
    apart = 1 - torch.eye(n).to(run.influence)
    i, j = divmod(int((run.similarity - 9 * (1 - apart)).argmax()), n)
    passed = (run.influence.abs() * apart).sum(0) / (n - 1)  # on average over the others
    far = int(passed.argmax())
    return Line(
        "Examples",
        f"most alike: {i} and {j}, cosine {float(run.similarity[i, j]):.2f}",
        f"Push one example: on average another moves {_percent(passed.mean())} as far as that one. "
        f"A push on {far} moves the others most, {_percent(passed[far])} as far.",
        "For one small step at the start, the outputs of an example pushed one by one.",
    )


def targets(run: Measured) -> Line:
    """Which targets are learned when?"""
    half = run.half_lives
    order = half.argsort()
    reached = run.shares[order].cumsum(0)
    if not run.shares.any():
        flat, least = "The loss has no curvature in the outputs.", "The slope of the loss is zero."
        found = ("nothing to learn", least) if run.rates[0] else ("no modes", flat)
        return Line("Targets", *found, "At the start.")
    enough = (reached >= 0.5).nonzero()
    median = float(half[order[enough[0, 0]]]) if len(enough) else math.inf
    limit = math.inf if run.steps is None else run.steps
    slow = run.shares[half.isinf() | (half > limit)].sum()
    until = "never halve" if run.steps is None else f"do not halve in {run.steps} steps"
    lead = int(run.shares.argmax())
    return Line(
        "Targets",
        f"the faster half of the mistake {_halves(median)}",
        f"The mistake is the loss above the least of its quadratic model; {_percent(slow)} of it "
        f"is in modes that {until}. The largest mode has {_percent(run.shares[lead])}; it is "
        f"strongest at example {int(run.leaders[lead])}, and {_halves(float(half[lead]))}.",
        "As long as the kernel and the loss's curvature stay as they are.",
    )


def last(run: Measured) -> Line:
    """Which examples are learned last?"""
    worst = _most(run.left)
    real = "" if run.left_in_run is None else f" In the run: {', '.join(_most(run.left_in_run))}."
    return Line(
        "Learned last",
        ", ".join(worst),
        f"The examples that keep the largest share of the push that the loss gives them.{real}",
        "In the forecast, so by the kernel of the start alone.",
    )


def moved(run: Measured) -> Line:
    """How far did the kernel move, in scale and in shape?"""
    if run.change is None:
        return Line("Kernel", "not measured", "The run diverged.", "Take a smaller rate.")
    drift, ratio, cosine = run.change
    return Line(
        "Kernel",
        f"moved by {_percent(drift)}: norm × {number(ratio)}, cosine {cosine:.2f}",
        "Another norm alone is the same kernel on another clock; a cosine well below 1 is another "
        "kernel, which learns other things first.",
        f"After {run.steps} steps of plain gradient descent, by a copy of the model.",
    )


def held(run: Measured) -> Line:
    """Did the kernel of the start forecast the run?"""
    good = "The kernel of the start forecasts this run."
    fair = "The kernel of the start gives the outline of this run."
    bad = "The kernel of the start does not forecast this run."
    meaning = good if run.gap <= GOOD else fair if run.gap <= FAIR else bad
    return Line(
        "Forecast",
        "off without bound" if run.gap == math.inf else f"off by {_percent(run.gap)}",
        f"{meaning} (Largest distance of its outputs from the run's, over how far those went.)",
        f"On these points, in these steps. By convention up to {_percent(GOOD)} is a yes, up to "
        f"{_percent(FAIR)} an outline.",
    )


def _percent(value: float) -> str:
    """Return a share as people write it."""
    value = float(value)
    return "less than 0.1 %" if 0 < value < 1e-3 else f"{number(value, '%')} %"


def _most(left: Tensor) -> list[str]:
    """Return the three examples with the most left."""
    worst = left.argsort(descending=True, stable=True)[:3].tolist()
    return [f"{i} ({_kept(float(left[i]))})" for i in worst]


def _kept(share: float) -> str:
    """Return what is left of a push, in words."""
    return f"{_percent(share)} left" if share < 10 else "grows"


def _halves(half_life: float) -> str:
    """Return when something has halved, in words."""
    if half_life == math.inf:
        return "never halves"
    return (
        "halves in the first step" if half_life <= 1 else f"halves by step {math.ceil(half_life):,}"
    )
