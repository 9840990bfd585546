"""Check the exercises of lesson 05: modes, rates, residuals, forecasts, and spread."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import draws, judge
from ntk_helpers.classroom.exercises._tally import counted


def _kernels() -> list[Tensor]:
    """Return two positive definite kernel matrices, (3, 3) and (4, 4)."""
    return [b @ b.T + torch.eye(len(b), dtype=b.dtype) for b in draws((3, 3), (4, 4), seed=11)]


@counted
def check_mode_left(answer: Callable) -> Feedback:
    """Check `mode_left(eigenvalue, n, t)`: the share of a mode's mistake left at time t of flow."""
    return judge(
        answer,
        [(2.0, 5, 3.0), (0.7, 4, 1.5)],
        lambda value, n, t: math.exp(-value * t / n),
        {
            "the 1/N of the mean loss is missing: the rate is λ/N.": lambda value, n, t: math.exp(
                -value * t
            ),
            "the sign: a mistake that is being learned shrinks.": lambda value, n, t: math.exp(
                value * t / n
            ),
            "that is the share that has been learned; the question is what is left.": lambda value, n, t: (
                1 - math.exp(-value * t / n)
            ),
            "a larger training set makes the rate λ/N smaller; you multiplied by N.": lambda value, n, t: (
                math.exp(-value * t * n)
            ),
            "that is one step of descent with rate t; flow decays exponentially.": lambda value, n, t: (
                1 - value * t / n
            ),
        },
        "Each mode has its own rate λ/N and knows of no other.",
    )


@counted
def check_largest_kernel_rate(answer: Callable) -> Feedback:
    """Check `largest_kernel_rate(kernel)`: 2N/λ_max for the mean squared loss."""

    def values(kernel):
        return torch.linalg.eigvalsh(kernel)

    return judge(
        answer,
        [(kernel,) for kernel in _kernels()],
        lambda kernel: 2 * len(kernel) / values(kernel)[-1],
        {
            "the N is missing: our loss is a mean, so its curvature is λ/N.": lambda kernel: (
                2 / values(kernel)[-1]
            ),
            "N/λ_max is the rate that kills the fastest mode in one step; the limit is twice that.": lambda kernel: (
                len(kernel) / values(kernel)[-1]
            ),
            "you used the smallest eigenvalue; the fastest mode breaks first.": lambda kernel: (
                2 * len(kernel) / values(kernel)[0]
            ),
            "the N is on the wrong side: the rate in function space is λ/N, so N ends up above.": lambda kernel: (
                2 / (len(kernel) * values(kernel)[-1])
            ),
            "the trace is the sum of the eigenvalues; only the largest one counts.": lambda kernel: (
                2 * len(kernel) / kernel.trace()
            ),
        },
        "|1 − ηλ/N| < 1 for every mode, and the fastest is the first to break it.",
    )


@counted
def check_residual_after(answer: Callable) -> Feedback:
    """Check `residual_after(kernel, residual, learning_rate, k)`: (I − ηK/N)ᵏ g_0, as (N,)."""
    cases = [(kernel, draws((len(kernel),), seed=len(kernel))[0], 0.2, 3) for kernel in _kernels()]

    def power(kernel, scale, k):
        eye = torch.eye(len(kernel), dtype=kernel.dtype)
        return torch.linalg.matrix_power(eye - scale * kernel, k)

    return judge(
        answer,
        cases,
        lambda kernel, g, rate, k: power(kernel, rate / len(g), k) @ g,
        {
            "the 1/N of the mean loss is missing.": lambda kernel, g, rate, k: (
                power(kernel, rate, k) @ g
            ),
            "that is flow at the time t = ηk; descent is exact with (I − ηK/N)ᵏ.": lambda kernel, g, rate, k: (
                torch.matrix_exp(-kernel * rate * k / len(g)) @ g
            ),
            "the sign: each step takes ηK/N times the residual away.": lambda kernel, g, rate, k: (
                power(kernel, -rate / len(g), k) @ g
            ),
            "** takes the power of each entry; you need the power of the matrix.": lambda kernel, g, rate, k: (
                (torch.eye(len(g), dtype=g.dtype) - rate / len(g) * kernel) ** k @ g
            ),
            "1 minus a matrix subtracts from every entry; the identity matrix is torch.eye(len(…)).": lambda kernel, g, rate, k: (
                torch.linalg.matrix_power(1 - rate / len(g) * kernel, k) @ g
            ),
            "that is one step of length ηk, not k steps of length η.": lambda kernel, g, rate, k: (
                power(kernel, rate * k / len(g), 1) @ g
            ),
        },
        "Exact for a constant kernel, even where the steps are too large for flow.",
    )


@counted
def check_forecast_at(answer: Callable) -> Feedback:
    """Check `forecast_at(k_test, k_train, y, f0, f0_test, t)`: f_t at m test points, as (m,)."""
    cases = []
    for seed, kernel in enumerate(_kernels()):
        n = len(kernel)
        k_test, y, f0, f0_test = draws((2, n), (n,), (n,), (2,), seed=20 + seed)
        cases.append((k_test, kernel, y, f0, f0_test, 1.3))

    def change(k_test, k_train, missing, t, exponential=torch.matrix_exp):
        learned = missing - exponential(-k_train * t) @ missing
        return k_test @ torch.linalg.solve(k_train, learned)

    return judge(
        answer,
        cases,
        lambda k_test, k, y, f0, f0_test, t: f0_test + change(k_test, k, y - f0, t / len(y)),
        {
            "the prediction starts at f_0(x), which is missing.": lambda k_test, k, y, f0, f0_test, t: (
                change(k_test, k, y - f0, t / len(y))
            ),
            "the network starts at f_0(X), not at zero: what is missing there is Y − f_0(X).": lambda k_test, k, y, f0, f0_test, t: (
                f0_test + change(k_test, k, y, t / len(y))
            ),
            "f_0 is forgotten twice: that is the average over networks, not this network.": lambda k_test, k, y, f0, f0_test, t: (
                change(k_test, k, y, t / len(y))
            ),
            "the 1/N of the mean loss is missing in the exponent.": lambda k_test, k, y, f0, f0_test, t: (
                f0_test + change(k_test, k, y - f0, t)
            ),
            "the sign of the residual: training moves towards Y, so it is Y − f_0(X).": lambda k_test, k, y, f0, f0_test, t: (
                f0_test - change(k_test, k, y - f0, t / len(y))
            ),
            "use the matrix exponential, torch.matrix_exp; torch.exp works entry by entry.": lambda k_test, k, y, f0, f0_test, t: (
                f0_test + change(k_test, k, y - f0, t / len(y), torch.exp)
            ),
            "1 minus a matrix subtracts from every entry; the identity matrix is torch.eye(len(…)).": lambda k_test, k, y, f0, f0_test, t: (
                f0_test
                + k_test @ torch.linalg.solve(k, (1 - torch.matrix_exp(-k * t / len(y))) @ (y - f0))
            ),
            "e^{−Kt/N} is what is left to learn; what has been learned is I − e^{−Kt/N}.": lambda k_test, k, y, f0, f0_test, t: (
                f0_test
                + k_test @ torch.linalg.solve(k, torch.matrix_exp(-k * t / len(y)) @ (y - f0))
            ),
            "the factor K⁻¹, which comes from the integral over time, is missing.": lambda k_test, k, y, f0, f0_test, t: (
                f0_test + k_test @ (y - f0 - torch.matrix_exp(-k * t / len(y)) @ (y - f0))
            ),
        },
        "This is lesson 00's forecast.",
    )


@counted
def check_trained_covariance(answer: Callable) -> Feedback:
    """Check `trained_covariance(s_test, s_cross, s_train, a)`: covariance of f_0(x) − A f_0(X)."""
    cases = []
    for seed, (m, n) in enumerate([(2, 3), (3, 4)]):
        b, a = draws((m + n, m + n), (m, n), seed=30 + seed)
        s = b @ b.T
        cases.append((s[:m, :m], s[:m, m:], s[m:, m:], a))
    return judge(
        answer,
        cases,
        lambda s, c, x, a: s - a @ c.T - c @ a.T + a @ x @ a.T,
        {
            "the signs: the bracket is f_0(x) minus A f_0(X), so the mixed terms are negative.": lambda s, c, x, a: (
                s + a @ c.T + c @ a.T + a @ x @ a.T
            ),
            "the two mixed terms are missing: f_0(x) and f_0(X) are not independent.": lambda s, c, x, a: (
                s + a @ x @ a.T
            ),
            "one mixed term is missing; a covariance must be symmetric.": lambda s, c, x, a: (
                s - c @ a.T + a @ x @ a.T
            ),
            "twice `a @ s_cross.T` is not symmetric: the other mixed term is its transpose.": lambda s, c, x, a: (
                s - 2 * a @ c.T + a @ x @ a.T
            ),
            "twice `s_cross @ a.T` is not symmetric: the other mixed term is its transpose.": lambda s, c, x, a: (
                s - 2 * c @ a.T + a @ x @ a.T
            ),
            "that is the Bayesian posterior, which does not know A.": lambda s, c, x, a: (
                s - c @ torch.linalg.solve(x, c.T)
            ),
            "the last term has a plus: minus times minus.": lambda s, c, x, a: (
                s - a @ c.T - c @ a.T - a @ x @ a.T
            ),
        },
        "Training turns one Gaussian into another; only A knows the time.",
    )
