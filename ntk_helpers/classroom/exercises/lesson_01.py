"""Check the exercises of lesson 01: a loss curve's rate, descent without a loop, its last steps."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import draws, judge
from ntk_helpers.classroom.exercises._picture import read_off
from ntk_helpers.classroom.exercises._tally import counted


@counted
def check_rate_of_curve(answer: Callable) -> Feedback:
    """Check `rate_of(curve)`: the learning rate of each loss in a picture, curvatures 1 and 25."""
    rates = {"C": 0.082, "D": 0.04, "A": 0.079, "B": 0.01}
    return judge(
        answer,
        [(curve,) for curve in rates],
        read_off(rates),
        {
            "C grows, so its rate is above the limit 2/25 = 0.08; A falls in every step.": read_off(
                rates, "AC"
            ),
            "with 1/25 = 0.04 the steep direction is gone after one step, as in D; B needs several steps.": read_off(
                rates, "BD"
            ),
            "with a small rate the curve bends: the steep direction goes first, and then the flat one crawls; A keeps one speed.": read_off(
                rates, "AB"
            ),
            "just below the limit the steep direction jumps from side to side and hardly shrinks; D has lost it in one step.": read_off(
                rates, "AD"
            ),
            "C grows, and no small rate can do that: only above 2/25 = 0.08 does the steep direction grow in every step.": read_off(
                rates, "BC"
            ),
            "C grows, so its rate is above 2/25 = 0.08; half of this limit is the best rate for the steep direction.": read_off(
                rates, "CD"
            ),
            "a larger rate is not always faster: beyond 1/25 = 0.04 the steep direction overshoots, and just below 0.08 it hardly shrinks.": read_off(
                rates, "ABD"
            ),
        },
        "A straight line, a bend, a first drop, a rise: a loss curve tells where its rate stands.",
    )


def _hessians() -> list[Tensor]:
    """Return two positive definite matrices, (2, 2) and (3, 3)."""
    return [a @ a.T + torch.eye(len(a), dtype=a.dtype) for a in draws((2, 2), (3, 3), seed=1)]


@counted
def check_descent_on_quadratic(answer: Callable) -> Feedback:
    """Check `descent(hessian, theta0, learning_rate, steps)`: exactly where k steps on ½ θᵀHθ lead."""
    cases = [(h, *draws((len(h),), seed=2), 0.1, 7) for h in _hessians()]

    def power(hessian, theta, rate, steps):
        return (
            torch.linalg.matrix_power(torch.eye(len(hessian)).to(hessian) - rate * hessian, steps)
            @ theta
        )

    return judge(
        answer,
        cases,
        power,
        {
            "that is the flow at t = ηk. Descent takes k finite steps: (I − ηH)^k.": lambda h, theta, rate, steps: (
                torch.matrix_exp(-rate * steps * h) @ theta
            ),
            "the power is taken entry by entry. A matrix power is torch.linalg.matrix_power.": lambda h, t, rate, k: (
                (torch.eye(len(h)).to(h) - rate * h) ** k @ t
            ),
            "1 minus a matrix subtracts from every entry; the identity matrix is torch.eye(len(…)).": lambda h, theta, rate, k: (
                torch.linalg.matrix_power(1 - rate * h, k) @ theta
            ),
            "that is one long step of length ηk, not k steps.": lambda h, theta, rate, k: (
                theta - rate * k * h @ theta
            ),
            "the sign inside the bracket: descent shrinks, I − ηH.": lambda h, theta, rate, k: (
                power(h, theta, -rate, k)
            ),
        },
        "In the eigenbasis each coordinate is multiplied by (1 − ηλ)^k.",
    )


@counted
def check_steps_until(answer: Callable) -> Feedback:
    """Check `steps_until(share, smallest, largest)`: steps of 1/largest until no direction of a quadratic has more than `share` left."""

    def steps(share, smallest, largest):
        return math.log(share) / math.log(1 - smallest / largest)

    return judge(
        answer,
        [(0.05, 1.0, 25.0), (0.1, 0.5, 4.0)],
        steps,
        {
            "after so many steps a little more than `share` is still left: round up, with math.ceil.": lambda *a: (
                math.floor(steps(*a))
            ),
            "that is the flow, which leaves e^(−smallest/largest) after a step; descent leaves 1 − smallest/largest.": lambda share, smallest, largest: (
                math.log(1 / share) * largest / smallest
            ),
            "the logarithms are missing: each step multiplies what is left, so `share` is a power of 1 − smallest/largest.": lambda share, smallest, largest: (
                share / (1 - smallest / largest)
            ),
            "that would be a straight line to 0; each step takes its part of what is left, not of the start.": lambda share, smallest, largest: (
                (1 - share) * largest / smallest
            ),
            "the number comes out negative: both logarithms are, and their ratio is not.": lambda *a: (
                -steps(*a)
            ),
            "upside down: a smaller `share` takes more steps.": lambda *a: 1 / steps(*a),
            "that is the rate 2/largest, with which the steepest direction never shrinks; the rate here is 1/largest.": lambda share, smallest, largest: (
                math.log(share) / math.log(abs(1 - 2 * smallest / largest))
            ),
            "one step clears the steepest direction; the flattest, `smallest`, keeps you waiting.": lambda share, smallest, largest: (
                1
            ),
            "smallest/largest is what a step takes away from the flattest direction; 1 minus that is left.": lambda share, smallest, largest: (
                math.log(share) / math.log(smallest / largest)
            ),
            "that is when the loss, a square, has come down to `share`; the distance itself takes twice as long.": lambda *a: (
                steps(*a) / 2
            ),
        },
        "A long valley costs about largest/smallest steps for each factor e: its condition number.",
        also=lambda *a: math.ceil(steps(*a)),
    )
