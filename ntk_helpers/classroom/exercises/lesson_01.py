"""Check the exercises of lesson 01: descent, its limit, its order, and the flow."""

from collections.abc import Callable

import torch
from torch import Tensor

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import draws, judge
from ntk_helpers.classroom.exercises._tally import counted


def _hessians() -> list[Tensor]:
    """Return two positive definite matrices, (2, 2) and (3, 3)."""
    return [a @ a.T + torch.eye(len(a), dtype=a.dtype) for a in draws((2, 2), (3, 3), seed=1)]


@counted
def check_gradient_step(answer: Callable) -> Feedback:
    """Check `gradient_step(theta, gradient, learning_rate)`: the parameters after one step of descent."""
    return judge(
        answer,
        [(*draws((4,), (4,)), 0.1), (*draws((2, 3), (2, 3), seed=1), 0.7)],
        lambda theta, gradient, rate: theta - rate * gradient,
        {
            "the sign: descent subtracts the gradient.": lambda theta, gradient, rate: (
                theta + rate * gradient
            ),
            "the learning rate is missing.": lambda theta, gradient, rate: theta - gradient,
            "that is the change; the parameters after the step are θ plus the change.": lambda theta, gradient, rate: (
                -rate * gradient
            ),
        },
        "This is Euler's method with step η.",
    )


@counted
def check_largest_rate(answer: Callable) -> Feedback:
    """Check `largest_rate(hessian)`: the learning rate above which descent on a quadratic diverges."""
    return judge(
        answer,
        [(hessian,) for hessian in _hessians()],
        lambda hessian: 2 / torch.linalg.eigvalsh(hessian)[-1],
        {
            "1/λ_max is the rate that kills the steepest mode in one step; the limit is twice that.": lambda hessian: (
                1 / torch.linalg.eigvalsh(hessian)[-1]
            ),
            "you used the smallest eigenvalue; the steepest direction diverges first.": lambda hessian: (
                2 / torch.linalg.eigvalsh(hessian)[0]
            ),
            "the trace is the sum of the eigenvalues; only the largest one counts.": lambda hessian: (
                2 / hessian.trace()
            ),
            "you inverted it: the limit is 2 divided by λ_max.": lambda hessian: (
                torch.linalg.eigvalsh(hessian)[-1] / 2
            ),
        },
        "|1 − ηλ| < 1 for every eigenvalue, and λ_max is the first to break it.",
    )


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
def check_order(answer: Callable) -> Feedback:
    """Check `order(step_sizes, errors)`: the slope of log error against log step size."""
    step = torch.tensor([0.4, 0.2, 0.1, 0.05], dtype=torch.float64)
    cases = [(step, 3 * step), (step, 0.7 * step**2)]

    def slope(h, error):
        x, y = h.log(), error.log()
        return ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()

    return judge(
        answer,
        cases,
        slope,
        {
            "that is the slope without logarithms.": lambda h, error: (
                ((h - h.mean()) * (error - error.mean())).sum() / (h - h.mean()).square().sum()
            ),
            "the sign: the error shrinks when the step shrinks, so the slope is positive.": lambda h, e: (
                -slope(h, e)
            ),
            "the axes are swapped: log error goes up, log step goes across.": lambda h, error: (
                slope(error, h)
            ),
        },
        "Order 1: halve the step, halve the error. Order 2: a quarter.",
    )


@counted
def check_loss_velocity(answer: Callable) -> Feedback:
    """Check `loss_velocity(gradient)`: dL/dt along gradient flow."""
    return judge(
        answer,
        [tuple(draws((4,))), tuple(draws((3,), seed=1))],
        lambda gradient: -gradient.square().sum(),
        {
            "the sign: along the flow the loss can only fall.": lambda gradient: (
                gradient.square().sum()
            ),
            "the square is missing: chain rule gives ∇L · dθ/dt = −∇L · ∇L.": lambda gradient: (
                -gradient.norm()
            ),
            "sum over parameters, do not average.": lambda gradient: -gradient.square().mean(),
        },
        "It is zero only where the gradient is.",
    )
