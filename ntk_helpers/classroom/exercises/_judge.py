"""Check a learner's answer on random inputs and, when it is wrong, name the likely mistake."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ntk_helpers.classroom.exercises._diagnose import diagnose
from ntk_helpers.classroom.exercises._errors import explain
from ntk_helpers.classroom.exercises._example import argument_names, example
from ntk_helpers.classroom.exercises._feedback import (
    NOT_ATTEMPTED,
    Feedback,
    failed,
    right,
    wrong,
)
from ntk_helpers.classroom.exercises._numbers import agree, as_tensor


def judge(
    answer: Callable,
    cases: list[tuple],
    truth: Callable,
    mistakes: dict[str, Callable],
    praise: str,
) -> Feedback:
    """Compare the learner's function with `truth`, and where it differs with each classic mistake.

    Args:
        answer: The learner's function, or ... as long as nothing was attempted.
        cases: Argument tuples, on which the truth and all mistakes differ.
        truth: The right function.
        mistakes: Hint → the function that a learner with this mistake writes.
        praise: What the message says about a right answer.

    Returns:
        The feedback; an error inside the learner's function is reported in it, not raised.
    """
    if answer is ...:
        return NOT_ATTEMPTED
    if not callable(answer):
        return wrong(
            f"give the function itself, not {type(answer).__name__!r}: check_…(my_function)."
        )
    with _float64():
        results = []
        for case in cases:
            try:
                result = answer(*[_copy(argument) for argument in case])
            except (Exception, SystemExit, GeneratorExit) as error:
                return failed(explain(error, answer))
            if result is ...:
                return NOT_ATTEMPTED
            if result is None:
                return wrong("your function returned None. Is the return statement missing?")
            if as_tensor(result) is None:
                return wrong(_no_numbers(result))
            results.append(result)
        return _compare(answer, cases, results, truth, mistakes, praise)


def _compare(answer, cases, results, truth, mistakes, praise) -> Feedback:
    """Return the feedback to what the learner's function returned in each case."""
    wanted = [truth(*case) for case in cases]
    given, expected = ([as_tensor(value) for value in values] for values in (results, wanted))
    if agree(given, expected):
        return right(praise)
    names = argument_names(answer, truth, len(cases[0]))
    failing = next(i for i in range(len(cases)) if not agree([given[i]], [expected[i]]))
    shown = example(names, cases[failing], wanted[failing], results[failing])
    for hint, mistake in mistakes.items():
        if agree(given, [as_tensor(mistake(*case)) for case in cases]):
            return wrong(f"{hint}\n{shown}")
    told = diagnose(names, cases, given, expected) or "compare with your formula on one input."
    return wrong(f"{told}\n{shown}")


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
        return f"expected one tensor, got a {type(result).__name__}: torch.cat joins several."
    return f"expected numbers, got {type(result).__name__!r}."


def _copy(argument):
    """Return a copy of a tensor, so that a learner's in-place operation cannot change the test."""
    return argument.clone() if isinstance(argument, Tensor) else argument


def draws(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    """Return random tensors of these shapes, float64."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
