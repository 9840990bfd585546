"""Every checker accepts the right answer and catches each classic wrong one with its own hint."""

import numpy as np
import pytest
import torch

from ntk_helpers.classroom import exercises
from ntk_helpers.classroom.exercises import _judge

LESSONS = [getattr(exercises, f"lesson_{number:02d}") for number in range(8)]
CHECKERS = {
    name: getattr(exercises, name) for name in exercises.__all__ if name.startswith("check_")
}


def _material(name, monkeypatch):
    """Return (cases, truth, mistakes, praise) of a checker."""
    for lesson in LESSONS:
        monkeypatch.setattr(lesson, "judge", lambda *arguments: arguments)
    _, *material = CHECKERS[name](None)
    monkeypatch.undo()
    return material


@pytest.mark.parametrize("name", CHECKERS)
def test_the_right_answer_passes(name, monkeypatch):
    _, truth, _, praise = _material(name, monkeypatch)
    feedback = CHECKERS[name](truth)
    assert feedback.passed
    assert praise in repr(feedback)


@pytest.mark.parametrize("name", CHECKERS)
def test_each_classic_mistake_gets_its_own_hint(name, monkeypatch):
    _, _, mistakes, _ = _material(name, monkeypatch)
    assert len(mistakes) >= 2
    for hint, mistake in mistakes.items():
        feedback = CHECKERS[name](mistake)
        assert not feedback.passed
        assert hint in feedback.message


@pytest.mark.parametrize("name", CHECKERS)
def test_an_untouched_stub_is_not_attempted(name):
    assert CHECKERS[name](...) is _judge.NOT_ATTEMPTED
    assert CHECKERS[name](lambda *arguments: ...) is _judge.NOT_ATTEMPTED


@pytest.mark.parametrize("name", CHECKERS)
@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        3.0,
        "text",
        [],
        lambda: 1,
        lambda *a: None,
        lambda *a: "text",
        lambda *a: {},
        lambda *a: object(),
        lambda *a: float("nan"),
        lambda *a: 1j,
        lambda *a: torch.zeros(0),
        lambda *a: torch.zeros(9, 9),
        lambda *a: [[1.0], [1.0, 2.0]],
        lambda *a: 1 / 0,
        lambda *a: np.full(3, np.inf),
    ],
)
def test_nonsense_gets_feedback_and_never_an_error(name, nonsense):
    feedback = CHECKERS[name](nonsense)
    assert not feedback.passed
    assert feedback.message.startswith("✗ Not yet: ")


def test_an_error_inside_the_answer_is_reported():
    def broken(kernel):
        raise KeyError("oops")

    assert "your function raised KeyError: 'oops'" in exercises.check_half_time(broken).message


def test_of_an_error_of_many_lines_the_first_is_reported():
    def broken(kernel):
        raise TypeError(
            "zeros() got (Tensor, Tensor), but expected one of:\n * (tuple of ints size)\n"
        )

    message = exercises.check_half_time(broken).message
    assert message.endswith("zeros() got (Tensor, Tensor), but expected one of:")


def test_an_answer_that_leaves_the_kernel_or_returns_too_large_an_integer_is_no_error():
    assert (
        "your function raised SystemExit: done"
        in exercises.check_half_time(lambda kernel: exit("done")).message
    )
    assert "expected numbers, got 'int'" in exercises.check_half_time(lambda *a: 10**400).message


def test_a_wrong_shape_is_named():
    feedback = exercises.check_gradient_step(lambda theta, g, rate: (theta - rate * g)[:, None])
    assert "expected shape (4,), got (4, 1)" in feedback.message


def test_an_unknown_mistake_shows_both_numbers():
    feedback = exercises.check_mse_rate(lambda rate, outputs: 2 * rate / outputs + 1)
    assert "the answer is 0.2, yours is 1.2" in feedback.message


def test_an_answer_in_place_cannot_spoil_the_next_case():
    def in_place(theta, gradient, rate):
        theta -= rate * gradient
        return theta

    assert exercises.check_gradient_step(in_place).passed


@pytest.mark.parametrize("convert", [float, np.float64, torch.tensor])
def test_python_numpy_and_torch_numbers_count_alike(convert):
    assert exercises.check_mse_rate(lambda rate, n: convert(2 * rate / n)).passed
