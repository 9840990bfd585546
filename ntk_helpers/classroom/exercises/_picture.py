"""Answers to the exercises that show a picture and ask which curve is which."""

from collections.abc import Callable


def read_off(shown: dict[str, float], confused: str = "") -> Callable[[str], float]:
    """Return the answer of somebody who reads a picture right but for the curves in `confused`.

    Args:
        shown: What belongs to each curve.
        confused: Names of curves: "AC" takes A and C for each other; of "ABD", A is taken for B,
            B for D, and D for A.
    """
    taken = dict(zip(confused, confused[1:] + confused[:1], strict=True))
    return lambda curve: shown[taken.get(curve, curve)]
