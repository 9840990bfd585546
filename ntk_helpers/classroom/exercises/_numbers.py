"""Read the numbers of an answer, whatever holds them, compare them and write them down."""

import math

import torch
from torch import Tensor

NUMBERS = {1: "1", -1: "−1", 2: "2", -2: "−2", 0.5: "½", -0.5: "−½"}


def as_tensor(result) -> Tensor | None:
    """Return `result` as a float64 tensor on the CPU, or None if it is not made of real numbers."""
    try:
        values = torch.as_tensor(result).detach().to_dense().cpu()
        return None if values.is_complex() else values.to(torch.float64)
    except Exception:  # what a learner's object does when it is looked at, nobody knows
        return None


def agree(results: list[Tensor], expected: list[Tensor], digits: float = 1e-6) -> bool:
    """Return True if all results have the expected shapes and values, to a part `digits`."""
    return all(
        result.shape == wanted.shape and torch.allclose(result, wanted, rtol=digits, atol=1e-9)
        for result, wanted in zip(results, expected, strict=True)
    )


def brief(values: Tensor, *, digits: int = 4, most: int = 4) -> str:
    """Return the first few numbers of a tensor as text."""
    shown = ", ".join(_short(value, digits) for value in values.flatten()[:most].tolist())
    return shown + ", …" * (values.numel() > most) or "empty"


def written(value: float) -> str:
    """Return a number, not 0, as people write it: 2, ½, 1/3, else with four digits."""
    near = [text for number, text in NUMBERS.items() if math.isclose(value, number, rel_tol=1e-6)]
    part = round(1 / value)
    if near:
        return near[0]
    if abs(part) > 1 and math.isclose(value * part, 1, rel_tol=1e-6):
        return f"1/{part}"
    return _short(value, digits=4)


def _short(value: float, digits: int) -> str:
    """Return a number without zeros behind its point, and not as a power of ten if it is whole.

    The minus sign is the one of all texts here: "−", not the hyphen.
    """
    is_whole = math.isclose(value, round(value, 0)) and abs(value) < 1e6
    text = f"{value:.0f}" if is_whole else f"{value:.{digits}g}"
    return text.replace("-", "−")
