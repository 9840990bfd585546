"""Every checker accepts the right answer and says of a wrong one what is wrong with it."""

import itertools
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

import ntk_helpers as ntk
from ntk_helpers.classroom import exercises
from ntk_helpers.classroom.exercises import _tally
from ntk_helpers.classroom.exercises._feedback import COLORS, NOT_ATTEMPTED
from ntk_helpers.classroom.exercises._judge import draws, judge
from ntk_helpers.kernels.empirical import empirical_ntk

ROOT = Path(__file__).resolve().parent.parent
LESSONS = [getattr(exercises, f"lesson_{number:02d}") for number in range(9)]
GROUPS = [*LESSONS, exercises.deeper]
CHECKERS = {
    name: getattr(exercises, name) for name in exercises.__all__ if name.startswith("check_")
}


@pytest.fixture(autouse=True)
def nothing_solved(monkeypatch):
    """Start as a new kernel does."""
    monkeypatch.setattr(_tally, "_solved", set())


def _material(name, monkeypatch):
    """Return (cases, truth, mistakes, praise) of a checker."""
    for group in GROUPS:
        monkeypatch.setattr(group, "judge", lambda *arguments, also=None: arguments)
    _, *material = CHECKERS[name].__wrapped__(None)
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
    for stub in (..., lambda *arguments: ...):
        feedback = CHECKERS[name](stub)
        assert not feedback.passed
        assert feedback.message.startswith(NOT_ATTEMPTED.message)


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
    assert feedback.message.startswith(("✗ Not yet: ", "⚠ Not yet: "))


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
    assert message.splitlines()[0].endswith("zeros() got (Tensor, Tensor), but expected one of:")
    assert "ints size" not in message.splitlines()[2]


def test_of_an_error_the_learner_hears_with_what_the_function_was_called():
    def descent(hessian, theta, rate, k):
        return hessian @ theta[:-1]

    message = exercises.check_descent_on_quadratic(descent).message
    called = message.splitlines()[2]
    assert re.fullmatch(
        r"Called with hessian \(2, 2\) = \S+, \S+, …; theta \(2,\) = \S+, \S+; rate = 0.1; k = 7.",
        called,
    )


@pytest.mark.parametrize(
    ("name", "answer", "remedy"),
    [
        (
            "half_time",
            lambda kernel: torch.log(2) / kernel,
            "plain number, not a tensor: use math.log",
        ),
        (
            "mode_left",
            lambda value, n, t: torch.exp(-value * t / n),
            "not a tensor: use math.log, math.exp",
        ),
    ],
)
def test_of_a_common_error_the_learner_hears_what_helps(name, answer, remedy):
    assert remedy in checked(name, answer).message


def test_none_for_one_input_only_is_told_with_that_input():
    told, called, _ = exercises.check_half_time(
        lambda kernel: math.log(2) / kernel if kernel > 1 else None
    ).message.splitlines()
    assert told == "✗ Not yet: your function returned None for this input."
    assert called == "Called with kernel = 0.25."
    message = exercises.check_half_time(lambda kernel: None).message
    assert "returned None. Is the return statement missing?" in message


def width(drift, n_0, drift_0, p):
    return n_0 * (drift / drift_0) ** (1 / p)


def steps(share, smallest, largest):
    return math.log(share) / math.log(1 - smallest / largest)


@pytest.mark.parametrize(("name", "right"), [("width_needed", width), ("steps_until", steps)])
def test_a_width_or_number_of_steps_may_be_rounded_up_and_not_down(name, right):
    check = CHECKERS[f"check_{name}"]
    assert check(lambda *a: math.ceil(right(*a))).passed
    for below in (int, round, math.floor):
        message = check(lambda *a, below=below: below(right(*a))).message
        assert "round up, with math.ceil" in message


def test_an_answer_that_leaves_the_kernel_or_returns_too_large_an_integer_is_no_error():
    assert (
        "your function raised SystemExit: done"
        in exercises.check_half_time(lambda kernel: exit("done")).message
    )
    assert "expected numbers, got 'int'" in exercises.check_half_time(lambda *a: 10**400).message


def test_a_wrong_shape_is_named():
    feedback = exercises.check_descent_on_quadratic(lambda h, theta, rate, k: theta[:, None])
    assert "expected shape (2,), got (2, 1)" in feedback.message


def test_an_answer_in_place_cannot_spoil_the_next_case():
    def in_place(hessian, theta, rate, steps):
        hessian *= rate
        for _ in range(steps):
            theta -= hessian @ theta
        return theta

    assert exercises.check_descent_on_quadratic(in_place).passed


@pytest.mark.parametrize("convert", [float, np.float64, torch.tensor])
def test_python_numpy_and_torch_numbers_count_alike(convert):
    assert exercises.check_mse_rate(lambda rate, n: convert(2 * rate / n)).passed


# The look.


def test_the_four_answers_differ_in_sign_and_colour():
    answers = {
        "✓": lambda kernel: math.log(2) / kernel,
        "✗": lambda kernel: kernel,
        "⚠": lambda kernel: 1 / 0,
        "…": lambda kernel: ...,
    }
    for sign, answer in answers.items():
        feedback = exercises.check_half_time(answer)
        assert repr(feedback)[0] == sign
        assert f"border-left: 4px solid {COLORS[sign]}" in feedback._repr_html_()
        assert f"<b>{sign} " in feedback._repr_html_()
    assert len(set(COLORS.values())) == len(COLORS) == len(answers)


def test_a_notebook_shows_the_message_line_by_line_and_escapes_what_a_learner_wrote():
    def broken(kernel):
        raise ValueError("<b>&</b>")

    feedback = exercises.check_half_time(broken)
    html = feedback._repr_html_()
    assert "ValueError: &lt;b&gt;&amp;&lt;/b&gt;<br>In line " in html
    assert "<code>raise ValueError(&quot;&lt;b&gt;&amp;&lt;/b&gt;&quot;)</code>" in html
    assert html.count("<br>") == feedback.message.count("\n") == 3
    assert " color:" not in html  # the text keeps the colour that the theme gives it
    assert "background" not in html


@pytest.mark.parametrize("name", CHECKERS)
def test_an_answer_looks_the_same_each_time(name, monkeypatch):
    _, _, mistakes, _ = _material(name, monkeypatch)
    wrong = next(iter(mistakes.values()))
    assert CHECKERS[name](wrong)._repr_html_() == CHECKERS[name](wrong)._repr_html_()
    assert "0x" not in CHECKERS[name](wrong).message


# The example.


def test_a_wrong_answer_shows_an_input_in_the_learner_s_words_and_both_answers():
    message = exercises.check_target_for(lambda k, prediction, rate, shift: 7.0).message
    assert "For k = 0.8; prediction = 0.3; rate = 0.1; shift = 0.05: the right" in message
    assert "the right answer is 0.925, yours is 7." in message


def test_where_the_learner_names_no_arguments_the_checker_does():
    for answer in (lambda *a: 7.0, lambda their_rate, steps, my_rate, more=0: 7.0):
        message = exercises.check_steps_needed(answer).message
        assert "For their_rate = 0.05; steps = 400; my_rate = 0.002: the right answer" in message
        assert "is 10000, yours is 7." in message


def test_of_a_tensor_the_example_shows_the_shape_and_the_first_numbers():
    message = exercises.check_mistake_on_springs(lambda x, k, left, right: x - 7).message
    assert "For x (5,) = 0, 0.2, …; k = 2; left = −0.3; right = 0.5: " in message
    assert "the right answer at [0] is −0.3, yours is −7." in message


def test_of_a_short_tensor_as_an_answer_the_example_shows_all_numbers():
    message = exercises.check_descent_on_quadratic(lambda h, theta, rate, k: -h @ theta).message
    assert "the right answer is 0.1391, −0.1016, yours is −0.5456, 0.2297." in message


def test_the_example_is_the_first_case_that_is_wrong():
    message = exercises.check_mse_rate(lambda mse_rate, n_outputs: 2 * mse_rate).message
    assert "n_outputs = 10: the right answer is 0.06, yours is 0.6." in message


def test_of_a_large_answer_the_example_shows_an_entry_that_is_wrong():
    def last_row_doubled(kernel):
        answer = square(kernel)
        answer[-1] *= 2
        return answer

    message = exercises.check_as_square(last_row_doubled).message
    pair = re.search(r"right answer at \[11, 0\] is (\S+), yours is (\S+)\.\n", message)
    right, yours = (float(number.replace("−", "-")) for number in pair.groups())
    assert yours == pytest.approx(2 * right, rel=1e-3)


def test_two_numbers_that_differ_late_are_shown_with_more_digits():
    message = exercises.check_half_time(lambda kernel: 0.69314 / kernel).message
    assert "the right answer is 0.1732868, yours is 0.173285." in message


@pytest.mark.parametrize("name", CHECKERS)
def test_every_argument_has_a_name(name, monkeypatch):
    cases, _, _, _ = _material(name, monkeypatch)
    line = CHECKERS[name](lambda *a: 7.5).message.splitlines()[1]
    assert line.startswith("For ")
    assert line.count(" = ") == len(cases[0])


# The pictures.

PICTURES = {
    "rate_of_curve": {"A": 0.079, "B": 0.01, "C": 0.082, "D": 0.04},
    "design_of_curve": {"A": 2, "B": 4, "C": 1, "D": 3},
    "ensemble_of_curve": {"A": 4, "B": 2, "C": 1, "D": 3},
}


def test_the_losses_have_the_shapes_that_the_hints_speak_of():
    steps, curvatures = torch.arange(61)[:, None], torch.tensor([1.0, 25.0])
    loss = {
        name: (curvatures * (1 - rate * curvatures) ** (2 * steps)).sum(1) / 2
        for name, rate in PICTURES["rate_of_curve"].items()
    }
    slope = {name: curve.log().diff() for name, curve in loss.items()}
    assert (slope["C"][1:] > 0).all()
    assert all((slope[name] < 0).all() for name in "ABD")
    assert slope["A"].std() < 0.03 * slope["A"].mean().abs()  # straight, and slow
    assert (loss["A"] > 0.04 * loss["A"][0]).all()
    assert slope["B"][:5].mean() < 10 * slope["B"][-5:].mean()  # a bend
    assert loss["D"][1] < 0.04 * loss["D"][0]  # a first drop, and then straight
    assert slope["D"][1:].std() < 1e-6
    assert loss["D"][-1] < loss["B"][-1] < loss["A"][-1]


def test_the_kernels_have_the_shapes_that_the_hints_speak_of():
    angle = torch.linspace(0, math.pi, 61)
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    designs = {
        1: {"activation": "linear", "sigma_b": 0.0},
        2: {"activation": "relu", "depth": 32, "sigma_w": 2**0.5, "sigma_b": 0.0},
        3: {"activation": "erf", "depth": 3, "sigma_w": 5.0},
        4: {"activation": "erf", "depth": 3, "sigma_w": 1.5, "sigma_b": 2.0},
    }
    curve = {}
    for name, design in PICTURES["design_of_curve"].items():
        kernel = ntk.infinite_kernels(circle[:1], circle, **designs[design]).ntk[0]
        curve[name] = kernel / kernel[0]
    assert torch.allclose(curve["C"], angle.cos())
    assert curve["A"][5] < 0.5  # a narrow peak at 15°, over a floor
    assert 0.25 < curve["A"].min() < 0.35
    assert curve["B"][5] > 0.95
    assert curve["B"].min() > 0.7
    assert curve["D"][5] < 0.2
    assert abs(curve["D"][30]) < 0.01  # no floor at a right angle, and below 0 beyond
    assert (curve["D"][31:] < 0).all()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_read_off_right_in_one_way_only(name):
    shown = PICTURES[name]
    for order in itertools.permutations(shown.values()):
        told = CHECKERS[f"check_{name}"](dict(zip(shown, order, strict=True)).get)
        assert told.passed == (order == tuple(shown.values()))


@pytest.mark.parametrize("name", PICTURES)
def test_of_a_picture_a_curve_that_was_read_wrong_is_named_and_never_what_it_shows(name):
    shown = PICTURES[name]
    for wrong in shown:
        answer = {**shown, wrong: 7}
        message = CHECKERS[f"check_{name}"](lambda curve, answer=answer: answer[curve]).message
        first, example, _ = message.splitlines()
        assert first == "✗ Not yet: this is none of the usual mistakes. Look once more at this one:"
        assert example == f'For curve = "{wrong}": yours, 7, is wrong.'


@pytest.mark.parametrize("name", PICTURES)
def test_of_a_picture_each_pair_of_curves_taken_for_each_other_has_its_hint(name, monkeypatch):
    shown, told = PICTURES[name], set()
    _, _, mistakes, _ = _material(f"check_{name}", monkeypatch)
    for a, b in itertools.combinations(shown, 2):
        answer = {**shown, a: shown[b], b: shown[a]}
        told.add(CHECKERS[f"check_{name}"](answer.get).message.splitlines()[0])
    assert len(told) == 6
    assert told <= {f"✗ Not yet: {hint}" for hint in mistakes}


@pytest.mark.parametrize("name", PICTURES)
def test_of_a_picture_read_in_part_the_learner_hears_nothing_yet(name):
    feedback = CHECKERS[f"check_{name}"](lambda curve: {**PICTURES[name], "B": ...}[curve])
    assert feedback.message.startswith(NOT_ATTEMPTED.message)


# What is wrong with an answer that no hint of the exercise knows.


def crossing(c_fast, c_slow, fast, slow, n):
    return n * math.log(c_fast / c_slow) / (fast - slow)


def descent(hessian, theta, rate, k):
    return torch.linalg.matrix_power(torch.eye(len(theta)) - rate * hessian, k) @ theta


def residual(kernel, g, rate, k):
    return descent(kernel / len(g), g, rate, k)


def parts(rate, n, *shares):
    return 2 * rate / n * torch.tensor(shares)


def weights(traces, points):
    return (traces / points).sum() * points / traces


def covariance(s, c, x, a):
    return s - a @ c.T - c @ a.T + a @ x @ a.T


def left(eigenvalue, n, t):
    return math.exp(-eigenvalue * t / n)


def square(kernel):
    n1, n2, k, _ = kernel.shape
    return kernel.permute(0, 2, 1, 3).reshape(n1 * k, n2 * k)


def ntk_of(model, x1, x2):
    return empirical_ntk(model, x1[None], x2[None])[0, 0]


def kernels():
    return [b @ b.T + torch.eye(len(b), dtype=b.dtype) for b in draws((3, 3), (4, 4), seed=11)]


def blocks():
    for m, n in [(2, 3), (3, 4)]:
        b, a = draws((m + n, m + n), (m, n), seed=30 + n)
        s = b @ b.T
        yield s[:m, :m], s[:m, m:], s[m:, m:], a


# Exercises that no lesson asks, to play mistakes in: name → cases, right answer.
PLAYED = {
    "residual_after": (
        [(k, draws((len(k),), seed=len(k))[0], 0.2, 3) for k in kernels()],
        lambda kernel, g, rate, k: residual(kernel, g, rate, k),
    ),
    "mode_left": (
        [(2.0, 5, 3.0), (0.7, 4, 1.5)],
        lambda eigenvalue, n, t: left(eigenvalue, n, t),
    ),
    "trained_covariance": ([*blocks()], lambda s, c, x, a: covariance(s, c, x, a)),
    "largest_rate_of": (
        [(kernel,) for kernel in kernels()],
        lambda kernel: 2 * len(kernel) / torch.linalg.eigvalsh(kernel)[-1],
    ),
}


def checked(name, answer):
    """Return the feedback on an answer, to an exercise of the course or to a played one."""
    if name not in PLAYED:
        return CHECKERS[f"check_{name}"](answer)
    cases, truth = PLAYED[name]
    return judge(answer, cases, truth, {}, "Right.")


DIAGNOSES = {
    "residual_after": [
        (lambda *a: 2 * residual(*a), "yours is 2 times the right answer."),
        (
            lambda k, g, rate, steps: -2 * len(k) * residual(k, g, rate, steps),
            "yours is −2N times the right answer, N = len(k).",
        ),
        (lambda k, *a: residual(k, *a) / len(k), "yours is 1/N times the right answer"),
        (lambda k, *a: residual(k, *a) * len(k) ** 2, "yours is N² times the right answer"),
        (lambda *a: residual(*a) - 0.5, "yours is the right answer minus ½."),
        (lambda k, y, c, j: residual(k, y, c, j) + y, "yours is the right answer plus `y`."),
        (lambda *a: residual(*a)[:, None], "got (3, 1): the numbers are right, with an axis"),
        (lambda *a: 3 * residual(*a)[:, None], "got (3, 1): an axis of length 1 too many"),
        (lambda *a: 3 * residual(*a)[1:, None], "got (2, 1): an axis of length 1 too many"),
        (lambda k, g, *a: k @ (g[:, None] - g), "got (3, 3): N × N numbers for N"),
        (lambda *a: residual(*a).sum(), "got (): yours is the sum of the right numbers"),
        (lambda *a: residual(*a).mean(), "got (): yours is the mean of the right numbers"),
        (lambda k, g, *a: g.norm(), "an axis is gone. Was too much summed"),
        (lambda k, g, *a: g[:-1], "got (2,): count the entries along each axis."),
    ],
    "descent_on_quadratic": [
        (lambda *a: abs(descent(*a)), "yours is the absolute value of the right answer")
    ],
    "crossing_time": [
        (lambda a, b, c, d, n: n * crossing(a, b, c, d, n), "yours is `n` times the right answer."),
        (lambda *a: 1 / crossing(*a), "upside down: yours is 1 divided by"),
        (lambda *a: -2 / crossing(*a), "upside down: yours is −2 divided by the right answer."),
        (lambda c_fast, c_slow, fast, slow, n: fast / n, "this is none of the usual mistakes"),
        (lambda *a: math.exp(crossing(*a)), "yours is the exponential of the right answer"),
    ],
    "mode_left": [
        (lambda *a: left(*a) ** 2, "yours is the square of the right answer."),
        (lambda *a: left(*a) ** 0.5, "yours is the square root of the right answer."),
        (lambda value, n, t: -value * t / n, "yours is the logarithm of the right answer."),
    ],
    "sum_kernel": [
        (lambda c, g, h: -c * c * g - h, "yours is −1 times the right answer: look for a sign"),
        (lambda c, g, h: 1 - c * c * g - h, "yours is 1 minus the right answer."),
        (lambda c, g, h: (c * c * g + h) / 2, "yours is ½ times the right"),
    ],
    "tangent_kernel": [
        (lambda *a: ntk_of(*a) / 3, "yours is 1/3 times the right answer."),
        (lambda *a: 0.3 * ntk_of(*a), "yours is 0.3 times the right answer."),
        (lambda *a: 0 * ntk_of(*a), "yours is 0 in every case."),
        (lambda *a: ntk_of(*a).trace(), "that is one number: the sum over outputs"),
    ],
    "trained_covariance": [
        (lambda *a: covariance(*a).flip(0), "these are the right numbers in reverse order."),
        (lambda *a: covariance(*a).diagonal(), "yours is only the diagonal of the right matrix"),
        (lambda s, *a: covariance(s, *a) - s, "yours is the right answer minus `s`."),
    ],
    "as_square": [
        (lambda kernel: square(kernel).T, "got (8, 12): yours is transposed"),
        (lambda kernel: kernel.permute(0, 2, 1, 3), "the right order; only the shape is missing"),
        (lambda kernel: square(kernel.flip(1)), "these are the right numbers, in another order."),
    ],
    "half_time": [
        (lambda kernel: 0.6931 / kernel, "the first digits are right. Was a constant rounded"),
        (lambda kernel: math.nan, "yours is not finite"),
        (
            lambda kernel: [math.log(2) / kernel],
            "expected shape (), got (1,): the numbers are right",
        ),
        (
            lambda kernel: [torch.tensor(math.log(2)) / kernel, 0.3],
            "only the first of your numbers",
        ),
    ],
    "mse_rate": [
        (lambda rate, n: 4 * rate / n**2, "yours is 2/`n` times the right answer."),
        (lambda rate, n: 2 * rate / n + 1, "yours is the right answer plus 1."),
        (lambda rate, n: 300 * rate / n, "yours is 150 times the right answer."),
        (lambda rate, n: -1e9 * rate / n, "yours is −5e+08 times the right answer."),
        (lambda rate, n: parts(rate, n, 0.5, 0.3, 0.2), "these are the right numbers, not yet sum"),
        (
            lambda rate, n: parts(rate, n, 0.5, 1.5),
            "these are the right numbers, not yet averaged.",
        ),
        (lambda rate, n: parts(rate, n, 6, 7), "got (2,): an axis too many. Is a sum or a product"),
    ],
    "three_weights": [
        (lambda traces, points: -2 * weights(traces, points), "yours is −2 times"),
        (lambda *a: weights(*a).flip(0), "these are the right numbers in reverse order."),
    ],
    "largest_rate_of": [
        (lambda k: 2 * len(k) / torch.linalg.eigvalsh(k), "only the last of your numbers is")
    ],
    "catapult_step": [(lambda *a: LESSONS[7]._step(*a)[0], "yours is only the first of the right")],
    "mistake_at_rest": [
        (lambda pull, k, w: torch.linalg.eigvals(k + 1j * k), "real numbers, got complex"),
        (lambda pull, k, w: (pull, k), "`torch.stack` makes rows of them, `torch.cat` sets"),
    ],
}


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [(name, *case) for name, cases in DIAGNOSES.items() for case in cases],
)
def test_a_mistake_is_told_in_general_words_where_the_exercise_has_no_hint(name, answer, told):
    feedback = checked(name, answer)
    assert not feedback.passed
    assert told in feedback.message.splitlines()[0]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        # A factor, a term, a power in one case and not in the other; a factor for each entry.
        ("crossing_time", lambda *a: crossing(*a) * (2 if a[-1] == 20 else 3)),
        ("crossing_time", lambda *a: crossing(*a) + (2 if a[-1] == 20 else 3)),
        ("crossing_time", lambda *a: crossing(*a) * (1 if a[-1] == 20 else -1)),
        ("crossing_time", lambda *a: crossing(*a) ** (2 if a[-1] == 20 else 3)),
        ("crossing_time", lambda *a: crossing(*a) * (a[-1] if a[-1] == 20 else a[0])),
        ("crossing_time", lambda *a: crossing(*a) + (a[-1] if a[-1] == 20 else a[0])),
        ("residual_after", lambda *a: residual(*a) * torch.arange(1, len(a[1]) + 1)),
        ("residual_after", lambda *a: residual(*a) + torch.arange(len(a[1]))),
        ("residual_after", lambda *a: residual(*a) * len(a[1]) ** 0.5),
        ("tangent_kernel", lambda *a: ntk_of(*a).tril() + 2 * ntk_of(*a).triu(1)),
        ("mse_rate", lambda rate, n: 1e308),  # near it all right answers are the same
    ],
)
def test_what_does_not_hold_in_all_cases_and_entries_is_not_told(name, answer):
    message = checked(name, answer).message
    assert message.startswith(
        "✗ Not yet: this is none of the usual mistakes. Work out this input by hand:\nFor "
    )


@pytest.mark.parametrize("name", CHECKERS)
def test_two_right_answers_at_least_are_not_0_so_that_a_factor_means_something(name, monkeypatch):
    cases, truth, _, _ = _material(name, monkeypatch)
    assert sum(bool(torch.as_tensor(truth(*case)).count_nonzero()) for case in cases) >= 2


@pytest.mark.parametrize("name", CHECKERS)
def test_a_factor_of_three_is_told_in_every_exercise(name, monkeypatch):
    _, truth, _, _ = _material(name, monkeypatch)
    message = CHECKERS[name](lambda *case: 3 * torch.as_tensor(truth(*case))).message
    assert message.startswith("✗ Not yet: yours is 3 times the right answer.")


# Errors in the learner's function.


def run(source: str) -> exercises.Feedback:
    """Run a cell in a new IPython; return the value of its last line."""
    shell = InteractiveShell()
    shell.run_cell("from ntk_helpers.classroom import exercises")
    return shell.run_cell(source, store_history=True).result


def test_an_error_is_told_with_its_line_in_the_cell():
    feedback = run(
        "def descent(hessian, theta, learning_rate, steps):\n"
        "    change = -hessian @ theta\n"
        "    return theta + learning_rate @ change\n"
        "exercises.check_descent_on_quadratic(descent)"
    )
    first, place, called, _ = feedback.message.splitlines()
    assert first.startswith("⚠ Not yet: your function raised TypeError: ")
    assert place == "In line 3: `return theta + learning_rate @ change`"
    assert called.startswith(
        "Called with hessian (2, 2) = 1.509, 0.2066, …; theta (2,) = 0.3923, −"
    )


def test_the_line_is_the_learner_s_also_where_torch_raised_the_error():
    feedback = run(
        "import torch\n"
        "def time(kernel):\n"
        "    of = torch.sin\n"
        "    return torch.func.grad(of)(torch.ones(2))\n"
        "exercises.check_half_time(time)"
    )
    assert "In line 4: `return torch.func.grad(of)(torch.ones(2))`" in feedback.message
    feedback = run(
        "def inverse(number):\n"
        "    return 1 / (number - number)\n"
        "def time(kernel):\n"
        "    return inverse(kernel)\n"
        "exercises.check_half_time(time)"
    )
    assert "In line 2: `return 1 / (number - number)`" in feedback.message
    feedback = run("exercises.check_half_time(lambda kernel: kernel.log())")
    assert "In line 1: `exercises.check_half_time(lambda kernel: kernel.log())`" in feedback.message


def test_a_function_without_source_has_its_error_told_without_a_line():
    space = {}
    exec("def half_time(kernel):\n    return 1 / 0", space)
    message = exercises.check_half_time(space["half_time"]).message
    assert message.splitlines()[0].endswith("raised ZeroDivisionError: division by zero")
    assert "In line" not in message
    assert "In line" not in exercises.check_half_time(torch.nn.Linear(1, 1)).message


def test_of_an_unknown_name_the_learner_hears_to_run_the_first_cell():
    feedback = run(
        "def half_time(K):\n"
        "    return torch.log(torch.tensor(2.0)) / K\n"
        "exercises.check_half_time(half_time)"
    )
    first, place, remedy, _, _ = feedback.message.splitlines()
    assert first == "⚠ Not yet: your function raised NameError: name 'torch' is not defined"
    assert place == "In line 2: `return torch.log(torch.tensor(2.0)) / K`"
    assert "This notebook does not know that name yet: run the notebook from its first" in remedy
    assert "cell (Run → Run All Above), or import it" in remedy


# Before the first cell has run, torch's default is float32.


@pytest.fixture
def float32():
    """Make float32 the default; the fixture of all tests puts back what was."""
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("lesson", [name for name in _tally.LESSONS if name != "deeper"])
def test_the_solutions_pass_before_the_first_cell_has_run(lesson, float32):
    (path,) = (ROOT / "notebooks" / "solutions").glob(f"{lesson}_*.ipynb")
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    solutions = [source for source in cells if "ntk.exercises.check_" in source]
    assert len(solutions) == len(_tally.LESSONS[lesson])
    space = {"ntk": ntk}
    for source in solutions:
        exec(source, space)  # it asserts that its feedback is a pass
    assert torch.get_default_dtype() == torch.float32


def test_numbers_and_tables_that_an_answer_makes_pass_before_the_first_cell(float32):
    two = torch.tensor(2.0)
    assert exercises.check_half_time(lambda kernel: two.log() / kernel).passed
    assert exercises.check_half_time(lambda kernel: np.float32(math.log(2)) / kernel).passed
    assert exercises.check_best_rate(
        lambda kernel: two * len(kernel) / torch.linalg.eigvalsh(kernel)[[0, -1]].sum()
    ).passed
    assert exercises.check_descent_on_quadratic(
        lambda h, theta, rate, k: torch.matrix_power(torch.eye(len(h)) - rate * h, k) @ theta
    ).passed


def test_a_table_of_float32_from_outside_is_told_to_come_from_before_the_first_cell(float32):
    table = torch.eye(2)
    message = exercises.check_descent_on_quadratic(lambda h, theta, *a: table @ theta).message
    assert "The inputs are float64, the course's default: run the notebook from its fi" in message


def test_the_default_is_put_back_after_an_error(float32):
    exercises.check_half_time(lambda kernel: 1 / 0)
    assert torch.get_default_dtype() == torch.float32


# How many are solved.

SOLUTIONS = {
    "check_steps_needed": lambda their_rate, steps, my_rate: their_rate * steps / my_rate,
    "check_mse_rate": lambda rate, outputs: 2 * rate / outputs,
    "check_half_time": lambda kernel: math.log(2) / kernel,
}


def solve(name: str) -> None:
    """Give a right answer to an exercise of lesson 00."""
    assert CHECKERS[name](SOLUTIONS[name]).passed


def last_line(answer=...) -> str:
    """Return the last line of what the second exercise of lesson 00 answers."""
    return exercises.check_mse_rate(answer).message.splitlines()[-1]


def test_each_answer_ends_with_how_many_exercises_of_its_lesson_are_solved():
    assert last_line() == "0 of 3 exercises of lesson 00 solved."
    assert last_line(lambda *a: 1 / 0) == "0 of 3 exercises of lesson 00 solved."
    assert last_line(SOLUTIONS["check_mse_rate"]) == "1 of 3 exercises of lesson 00 solved."
    assert last_line(lambda *a: 7) == "1 of 3 exercises of lesson 00 solved."  # once is enough
    for name in SOLUTIONS:
        solve(name)
    assert last_line() == "3 of 3 exercises of lesson 00 solved."
    assert "0 of 3 exercises of lesson 01 solved." in exercises.check_steps_until(...).message


def test_the_exercises_of_the_deeper_notebooks_are_counted_by_themselves():
    def deeper(answer=...):
        return exercises.check_as_square(answer).message.splitlines()[-1]

    solve("check_half_time")
    assert deeper() == "0 of 4 exercises of the deeper notebooks solved."
    assert deeper(square) == "1 of 4 exercises of the deeper notebooks solved."
    assert last_line() == "1 of 3 exercises of lesson 00 solved."


def test_the_count_goes_from_lesson_to_lesson_and_ends_with_the_deeper_notebooks():
    counted = exercises.count_solved(["check_steps_until", "check_as_square", "check_order"])
    assert [*counted] == [*(f"{lesson:02d}" for lesson in range(9)), "deeper"]
    assert {name: done for name, (done, _) in counted.items() if done} == {"01": 1, "deeper": 1}
    assert [counted[f"0{lesson}"][1] for lesson in range(5)] == [3] * 5  # as the course promises


def test_the_lessons_have_all_checkers_between_them():
    names = [name for lesson in _tally.LESSONS.values() for name in lesson]
    assert sorted(names) == sorted(CHECKERS)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Go into an empty learner's copy; return its file of progress, which is not there yet."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work" / ".progress.json"


ASK = "from ntk_helpers.classroom import exercises; print(exercises.check_mse_rate(...))"


def test_another_kernel_knows_what_was_solved_in_a_learner_s_copy(kept):
    solve("check_half_time")
    assert json.loads(kept.read_text(encoding="utf-8")) == {"exercises": {"check_half_time": True}}
    assert os.listdir(kept.parent) == [kept.name]  # and no draft of it
    paths = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    words = [sys.executable, "-c", ASK]
    told = subprocess.run(words, capture_output=True, check=True, encoding="utf-8", env=paths)
    assert told.stdout.endswith("1 of 3 exercises of lesson 00 solved.\n")


def test_what_another_kernel_wrote_in_the_meantime_stays(kept):
    solve("check_half_time")
    kept.write_text(
        '{"votes": {"?": "a"}, "exercises": {"check_alignment": true}}', encoding="utf-8"
    )
    solve("check_mse_rate")
    assert last_line() == "2 of 3 exercises of lesson 00 solved."
    everything = json.loads(kept.read_text(encoding="utf-8"))
    assert everything["votes"] == {"?": "a"}
    assert everything["exercises"] == {"check_alignment": True, "check_mse_rate": True}


@pytest.mark.parametrize("content", ['{"votes": {', "[1]", "3"])
def test_a_spoilt_file_stays_as_it_is_and_the_kernel_remembers(kept, content):
    kept.write_text(content, encoding="utf-8")
    solve("check_mse_rate")
    assert last_line() == "1 of 3 exercises of lesson 00 solved."
    assert kept.read_text(encoding="utf-8") == content
    assert os.listdir(kept.parent) == [kept.name]


@pytest.mark.parametrize("content", ["", '{"exercises": 3, "votes": {"?": "a"}}'])
def test_an_empty_file_or_a_spoilt_part_is_mended_and_nothing_else_lost(kept, content):
    kept.write_text(content, encoding="utf-8")
    solve("check_mse_rate")
    votes = json.loads(content)["votes"] if content else None
    everything = json.loads(kept.read_text(encoding="utf-8"))
    assert everything["exercises"] == {"check_mse_rate": True}
    assert everything.get("votes") == votes


def test_where_nothing_can_be_written_the_kernel_remembers(kept, monkeypatch):
    def refuse(*paths):
        raise PermissionError("read-only")

    before = '{"exercises": {"check_half_time": true}}'
    kept.write_text(before, encoding="utf-8")
    monkeypatch.setattr(os, "replace", refuse)
    solve("check_mse_rate")
    assert last_line() == "2 of 3 exercises of lesson 00 solved."
    assert kept.read_text(encoding="utf-8") == before
    assert os.listdir(kept.parent) == [kept.name]


@pytest.mark.parametrize("folder", ["work/solutions", "work/course/notebooks"])
def test_the_solutions_and_a_course_below_some_folder_work_keep_nothing(
    folder, tmp_path, monkeypatch
):
    (tmp_path / "work" / "course" / "ntk_helpers").mkdir(parents=True)
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    solve("check_mse_rate")
    assert last_line() == "1 of 3 exercises of lesson 00 solved."
    assert list(tmp_path.rglob("*.json*")) == []
