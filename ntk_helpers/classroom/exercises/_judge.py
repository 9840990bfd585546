"""Check a learner's answer on random inputs and, when it is wrong, name the likely mistake."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ntk_helpers.classroom.exercises._diagnose import diagnose
from ntk_helpers.classroom.exercises._errors import explain
from ntk_helpers.classroom.exercises._example import argument_names, example, inputs
from ntk_helpers.classroom.exercises._feedback import (
    NOT_ATTEMPTED,
    Feedback,
    failed,
    right,
    wrong,
)
from ntk_helpers.classroom.exercises._numbers import agree, as_tensor

UNUSUAL = "this is none of the usual mistakes. Work out this input by hand:"
UNSEEN = "this is none of the usual mistakes. Look once more at this one:"


def judge(
    answer: Callable,
    cases: list[tuple],
    truth: Callable,
    mistakes: dict[str, Callable],
    praise: str,
    also: Callable | None = None,
) -> Feedback:
    """Compare the learner's function with `truth`, and where it differs with each classic mistake.

    Args:
        answer: The learner's function, or ... as long as nothing was attempted.
        cases: Argument tuples, on which the truth and all mistakes differ.
        truth: The right function.
        mistakes: Hint → the function that a learner with this mistake writes.
        praise: What the message says about a right answer.
        also: A function that is right as well.

    Returns:
        The feedback; an error inside the learner's function is reported in it, not raised.
    """
    if answer is ...:
        return NOT_ATTEMPTED
    if not callable(answer):
        return wrong(
            f"give the function itself, not {type(answer).__name__!r}: check_…(my_function)."
        )
    names = argument_names(answer, truth, len(cases[0]))
    with _float64():
        results = []
        for case in cases:
            try:
                results.append(answer(*[_copy(argument) for argument in case]))
            except (Exception, SystemExit, GeneratorExit) as error:
                return failed(f"{explain(error, answer)}\nCalled with {inputs(names, case)}.")
        return _unusable(names, cases, results) or _compare(
            names, cases, results, truth, mistakes, praise, also or truth
        )


def _unusable(names, cases, results) -> Feedback | None:
    """Return the feedback where some result cannot be compared with any number, else None."""
    if any(result is ... for result in results):
        return NOT_ATTEMPTED
    if all(result is None for result in results):
        return wrong("your function returned None. Is the return statement missing?")
    for case, result in zip(cases, results, strict=True):
        if result is None:
            called = inputs(names, case)
            return wrong(f"your function returned None for this input.\nCalled with {called}.")
        if as_tensor(result) is None:
            return wrong(_no_numbers(result))
    return None


def _compare(names, cases, results, truth, mistakes, praise, also) -> Feedback:
    """Return the feedback to the numbers that the learner's function returned in each case."""
    wanted = [truth(*case) for case in cases]
    given, expected = ([as_tensor(value) for value in values] for values in (results, wanted))
    if agree(given, expected) or agree(given, [as_tensor(also(*case)) for case in cases]):
        return right(praise)
    failing = next(i for i in range(len(cases)) if not agree([given[i]], [expected[i]]))
    shown = example(names, cases[failing], wanted[failing], results[failing])
    for hint, mistake in mistakes.items():
        if agree(given, [as_tensor(mistake(*case)) for case in cases]):
            return wrong(f"{hint}\n{shown}")
    unknown = UNSEEN if isinstance(cases[failing][0], str) else UNUSUAL
    return wrong(f"{diagnose(names, cases, given, expected) or unknown}\n{shown}")


@contextmanager
def _float64() -> Iterator[None]:
    """Make float64 the default, as the first cell of each lesson does, which may not have run."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _no_numbers(result) -> str:
    """Return what the learner's function should have returned."""
    if isinstance(result, Tensor) and result.is_complex():
        return "expected real numbers, got complex ones."
    if isinstance(result, tuple | list):
        joined = "`torch.stack` makes rows of them, `torch.cat` sets them end to end."
        return f"expected one tensor, got a {type(result).__name__}: {joined}"
    return f"expected numbers, got {type(result).__name__!r}."


def _copy(argument):
    """Return a copy of a tensor, so that a learner's in-place operation cannot change the test."""
    return argument.clone() if isinstance(argument, Tensor) else argument


def draws(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    """Return random tensors of these shapes, float64."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
