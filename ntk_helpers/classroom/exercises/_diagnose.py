"""Say how a wrong answer differs from the right one, whatever the exercise: a sign, a factor, …."""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ntk_helpers.classroom.exercises._numbers import NUMBERS, agree, as_tensor, written

# What was done to the right answer to give the learner's.
DONE: dict[str, Callable[[Tensor], Tensor]] = {
    "yours is −1 times the right answer: look for a sign.": torch.neg,
    "yours is 0 in every case.": torch.zeros_like,
    "yours is transposed: rows and columns have changed places.": lambda right: right.transpose(
        0, 1
    ),
    "these are the right numbers in reverse order.": lambda right: right.flip(0),
    "yours is the square of the right answer.": torch.square,
    "yours is the square root of the right answer.": torch.sqrt,
    "yours is the absolute value of the right answer.": torch.abs,
    "yours is the logarithm of the right answer.": torch.log,
    "yours is the exponential of the right answer.": torch.exp,
    "yours is 1 minus the right answer.": lambda right: 1 - right,
    "yours is the sum of the right numbers.": torch.sum,
    "yours is the mean of the right numbers.": torch.mean,
    "yours is only the diagonal of the right matrix.": torch.diagonal,
    "yours is only the first of the right numbers.": lambda right: right[0],
}

# What is still to be done to the learner's answer.
TO_DO: dict[str, Callable[[Tensor], Tensor]] = {
    "the numbers are right, with an axis of length 1 too many. `[:, None]` and `keepdim=True` make "
    "one, `.squeeze()` removes it.": torch.squeeze,
    "these are the right numbers, not yet summed.": torch.sum,
    "these are the right numbers, not yet averaged.": torch.mean,
    "only the diagonal of yours is wanted.": torch.diagonal,
    "only the first of your numbers is wanted.": lambda yours: yours[0],
    "only the last of your numbers is wanted.": lambda yours: yours[-1],
}


def diagnose(names: list[str], cases: list[tuple], yours: list[Tensor], right: list[Tensor]) -> str:
    """Return how the learner's answers differ from the right ones in all cases alike, or "".

    Args:
        names: Names of the arguments.
        cases: The arguments, for each case.
        yours: The learner's answer in each case.
        right: The right answer in each case; numbers that are not 0, in two cases at least.
    """
    told = _changed(yours, right)
    for got, wanted in zip(yours, right, strict=True):
        if got.shape != wanted.shape:
            shapes = f"expected shape {tuple(wanted.shape)}, got {tuple(got.shape)}"
            return f"{shapes}: {told or _reason(got, wanted)}"
    if not all(got.isfinite().all() for got in yours):
        return "yours is not finite: a division by 0, or a root or logarithm without value?"
    if told:
        return told
    if agree(yours, right, digits=1e-3):
        return "the first digits are right. Was a constant rounded, or something kept in float32?"
    return _factor(names, cases, yours, right) or _term(names, cases, yours, right)


def _changed(yours: list[Tensor], right: list[Tensor]) -> str:
    """Return by which change the one comes from the other, or ""."""
    for changes, start, end in ((DONE, right, yours), (TO_DO, yours, right)):
        for hint, change in changes.items():
            try:
                if agree([change(values) for values in start], end):
                    return hint
            except (RuntimeError, IndexError):  # a change of matrices, and these are none
                continue
    if agree([v.flatten() for v in yours], [v.flatten() for v in right]):
        return "the right numbers in the right order; only the shape is missing: `.reshape`."
    if agree([v.flatten().sort()[0] for v in yours], [v.flatten().sort()[0] for v in right]):
        return "these are the right numbers, in another order."
    return ""


def _reason(got: Tensor, wanted: Tensor) -> str:
    """Return what usually leads to a wrong shape."""
    if got.squeeze().dim() <= wanted.dim() < got.dim():
        return "an axis of length 1 too many, from `[:, None]` or `keepdim=True`."
    if wanted.dim() == 1 and got.shape == (len(wanted), len(wanted)):
        return "N × N numbers for N. Is a product `@` missing, or has (N, 1) met (N,)?"
    if got.dim() > wanted.dim():
        return "an axis too many. Is a sum or a product with `@` missing?"
    if got.dim() < wanted.dim():
        return "an axis is gone. Was too much summed, or one entry taken?"
    return "count the entries along each axis."


def _factor(names: list[str], cases: list[tuple], yours: list[Tensor], right: list[Tensor]) -> str:
    """Return by what the right answers were multiplied: a number, or an argument or its size."""

    def multiplied(factors):
        products = [factor * wanted for factor, wanted in zip(factors, right, strict=True)]
        return agree(yours, products)

    scale = sum((got * wanted).sum() for got, wanted in zip(yours, right, strict=True))
    scale = (scale / sum(wanted.square().sum() for wanted in right)).item()
    if multiplied([scale] * len(right)):
        return f"yours is {written(scale)} times the right answer."
    for number, text in NUMBERS.items():
        if agree(yours, [number / wanted for wanted in right]):
            return f"upside down: yours is {text} divided by the right answer."
    for name, values in _arguments(names, cases):
        symbol, meaning = f"`{name}`", ""
        if values[0].dim():
            symbol, meaning = "N", f", N = len({name})"
            values = [len(value) for value in values]
        for (number, text), power in itertools.product(NUMBERS.items(), (1, -1, 2, -2)):
            if multiplied([number * value**power for value in values]):
                raised = symbol + "²" * (abs(power) == 2)
                times = f"{text}/{raised}" if power < 0 else f"{text.replace('1', '')}{raised}"
                return f"yours is {times} times the right answer{meaning}."
    return ""


def _term(names: list[str], cases: list[tuple], yours: list[Tensor], right: list[Tensor]) -> str:
    """Return what was added to the right answers: a number or an argument."""
    gaps = [got - wanted for got, wanted in zip(yours, right, strict=True)]
    gap = gaps[0].flatten()[0]
    if agree([got - gap for got in yours], right):
        sign = "plus" if gap > 0 else "minus"
        return f"yours is the right answer {sign} {written(abs(gap.item()))}."
    for name, values in _arguments(names, cases):
        if agree(gaps, values):
            return f"yours is the right answer plus `{name}`."
        if agree(gaps, [-value for value in values]):
            return f"yours is the right answer minus `{name}`."
    return ""


def _arguments(names: list[str], cases: list[tuple]) -> Iterator[tuple[str, list[Tensor]]]:
    """Yield each argument that consists of numbers: its name, and what it is in each case."""
    for name, *values in zip(names, *cases, strict=True):
        tensors = [as_tensor(value) for value in values]
        if all(tensor is not None for tensor in tensors):
            yield name, tensors
