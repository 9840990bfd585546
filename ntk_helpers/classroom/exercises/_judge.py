"""Check a learner's answer on random inputs and, when it is wrong, name the likely mistake."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Feedback:
    """What a checker says; a notebook shows its message.

    Attributes:
        passed: True if the answer is right.
        message: One or two sentences for the learner.
    """

    passed: bool
    message: str

    def __repr__(self) -> str:
        """Return the message, which a notebook displays."""
        return self.message


NOT_ATTEMPTED = Feedback(
    False, "… Not attempted yet: replace the ... by your answer and run the cell again."
)


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
        return _wrong(
            f"give the function itself, not {type(answer).__name__!r}: check_…(my_function)."
        )
    results = []
    for case in cases:
        try:
            result = answer(*[_copy(argument) for argument in case])
        except (Exception, SystemExit, GeneratorExit) as error:
            return _wrong(f"your function raised {type(error).__name__}: {_words(error)}")
        if result is ...:
            return NOT_ATTEMPTED
        if result is None:
            return _wrong("your function returned None. Is the return statement missing?")
        number = _as_tensor(result)
        if number is None:
            return _wrong(f"expected numbers, got {type(result).__name__!r}.")
        results.append(number)
    expected = [_as_tensor(truth(*case)) for case in cases]
    if _agree(results, expected):
        return Feedback(True, f"✓ Correct. {praise}")
    for hint, mistake in mistakes.items():
        if _agree(results, [_as_tensor(mistake(*case)) for case in cases]):
            return _wrong(hint)
    for result, wanted in zip(results, expected, strict=True):
        if result.shape != wanted.shape:
            return _wrong(f"expected shape {tuple(wanted.shape)}, got {tuple(result.shape)}.")
    return _wrong(
        f"on a test input the answer is {_brief(expected[0])}, yours is {_brief(results[0])}."
    )


def _wrong(hint: str) -> Feedback:
    """Return the feedback for a wrong answer."""
    return Feedback(False, f"✗ Not yet: {hint}")


def _words(error: BaseException) -> str:
    """Return the first line of a learner's error, whatever that error does.

    Some versions of torch go on with a list of all signatures.
    """
    try:
        return str(error).strip().partition("\n")[0]
    except Exception:
        return "an error without a message"


def _copy(argument):
    """Return a copy of a tensor, so that a learner's in-place operation cannot change the test."""
    return argument.clone() if isinstance(argument, Tensor) else argument


def _as_tensor(result) -> Tensor | None:
    """Return `result` as a float64 tensor on the CPU, or None if it is not made of real numbers."""
    try:
        values = torch.as_tensor(result).detach().to_dense().cpu()
        return None if values.is_complex() else values.to(torch.float64)
    except Exception:  # what a learner's object does when it is looked at, nobody knows
        return None


def _agree(results: list[Tensor], expected: list[Tensor]) -> bool:
    """Return True if all results have the expected shapes and values, to 1e-6."""
    return all(
        result.shape == wanted.shape and torch.allclose(result, wanted, rtol=1e-6, atol=1e-9)
        for result, wanted in zip(results, expected, strict=True)
    )


def _brief(values: Tensor) -> str:
    """Return the first few numbers of `values` as text."""
    shown = ", ".join(f"{value:.4g}" for value in values.reshape(-1)[:4].tolist())
    return shown if values.numel() <= 4 else f"{shown}, …"


def draws(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    """Return random tensors of these shapes, float64."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
