"""Show a learner one input on which the answer is wrong, with the right answer and theirs."""

import inspect
from collections.abc import Callable

import torch

from ntk_helpers.classroom.exercises._numbers import as_tensor, brief


def argument_names(answer: Callable, truth: Callable, count: int) -> list[str]:
    """Return how the learner names the arguments; where that cannot be known, how `truth` does."""
    for function in (answer, truth):
        try:
            names = list(inspect.signature(function).parameters)
        except (TypeError, ValueError):  # written in C
            continue
        if len(names) == count:
            break
    return names


def example(names: list[str], case: tuple, wanted, got) -> str:
    """Return a sentence: an input, the right answer there, and the learner's.

    Where the input is a name in a picture, the right answer is the exercise, and stays unsaid.

    Args:
        names: Names of the arguments.
        case: The arguments.
        wanted: The right answer.
        got: The learner's.
    """
    right, yours, where = as_tensor(wanted), as_tensor(got), ""
    if right.shape == yours.shape and right.numel() > 4:
        differ = ~torch.isclose(yours, right, rtol=1e-6, atol=1e-9)
        place = differ.nonzero()[0].tolist()
        right, yours, where = right[*place], yours[*place], f" at {place}"
    for digits in (4, 8, 12):
        pair = [brief(right, digits=digits), brief(yours, digits=digits)]
        if pair[0] != pair[1] or right.shape != yours.shape:
            break
    if any(isinstance(argument, str) for argument in case):
        return f"For {inputs(names, case)}: yours, {pair[1]}, is wrong."
    return f"For {inputs(names, case)}: the right answer{where} is {pair[0]}, yours is {pair[1]}."


def inputs(names: list[str], case: tuple) -> str:
    """Return the arguments in few words: kernel (3, 3) = 2.4, −0.8, …; steps = 7."""
    most = 2 if len(case) < 5 else 1
    return "; ".join(_argument(name, value, most) for name, value in zip(names, case, strict=False))


def _argument(name: str, value, most: int) -> str:
    """Return an argument in few words: of a tensor the shape and the first `most` numbers."""
    if isinstance(value, str):
        return f'{name} = "{value}"'
    numbers = as_tensor(value)
    if numbers is None:
        return f"{name} = {type(value).__name__}"
    shape = f" {tuple(numbers.shape)}" if numbers.dim() else ""
    return f"{name}{shape} = {brief(numbers, most=most)}"
