"""Check the exercises of notebooks/deeper/: one square, one layer, classes, parameterisations."""

# A hint is a sentence, beside its mistake.
# ruff: noqa: E501

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import draws, judge
from ntk_helpers.classroom.exercises._tally import counted


@counted
def check_as_square(answer: Callable) -> Feedback:
    """Check `as_square(kernel)`: (n1, n2, k, k) as the matrix (n1·k, n2·k), point by point."""
    cases = [(values,) for values in draws((3, 2, 4, 4), (2, 2, 3, 3), seed=2)]

    def arranged(*order):
        def square(kernel: Tensor) -> Tensor:
            n1, n2, k, _ = kernel.shape
            return kernel.permute(*order).reshape(n1 * k, n2 * k)

        return square

    return judge(
        answer,
        cases,
        arranged(0, 2, 1, 3),
        {
            "reshape alone tears the blocks apart: the axes are (point, point, output, output) and must first become (point, output, point, output).": arranged(
                0, 1, 2, 3
            ),
            "the rows go output by output; the row of output i at point a should be a·k + i.": arranged(
                2, 0, 3, 1
            ),
            "each block is transposed: rows belong to the outputs at the first point.": arranged(
                0, 3, 1, 2
            ),
        },
        "One square, whose block (a, b) is the matrix K(x_a, x_b).",
    )


@counted
def check_layer_kernel(answer: Callable) -> Feedback:
    """Check `layer_kernel(h1, h2, d1, d2, sigma_w, sigma_b)`: one layer's share, (k, k)."""
    cases = [
        (*draws((5,), (5,), (2, 4), (2, 4), seed=3), 1.5, 0.5),
        (*draws((3,), (3,), (3, 6), (3, 6), seed=4), 0.8, 1.2),
    ]

    def share(weight, bias=lambda b: b * b):
        def kernel(h1, h2, d1, d2, sigma_w, sigma_b):
            inner = weight(sigma_w, len(h1)) * (h1 @ h2) + bias(sigma_b)
            return inner * (d1 @ d2.T)

        return kernel

    truth = share(lambda w, n: w * w / n)
    return judge(
        answer,
        cases,
        truth,
        {
            "the 1/n is missing: the layer multiplies its weights by σ_w/√n, for n inputs.": share(
                lambda w, n: w * w
            ),
            "σ_w and σ_b must be squared: each stands once in J(x) and once in J(x′).": share(
                lambda w, n: w / n, lambda b: b
            ),
            "σ_w/√n must be squared to σ_w²/n: it stands once in J(x) and once in J(x′).": share(
                lambda w, n: w / math.sqrt(n)
            ),
            "the biases are parameters, too; they add σ_b².": share(
                lambda w, n: w * w / n, lambda b: 0.0
            ),
            "the bias acts through z as the weights do: σ_b² is multiplied by D Dᵀ, too.": lambda h1, h2, d1, d2, w, b: (
                w * w / len(h1) * (h1 @ h2) * (d1 @ d2.T) + b * b
            ),
            "the matrix is transposed: rows belong to the outputs at x1, D(x1) D(x2)ᵀ.": lambda *args: (
                truth(*args).T
            ),
        },
        "Summed over the layers, this is the whole kernel, and no Jacobian was formed.",
    )


def _centred(matrix: Tensor) -> Tensor:
    """Return `matrix` minus its row means and column means, plus its mean."""
    return matrix - matrix.mean(0) - matrix.mean(1, keepdim=True) + matrix.mean()


@counted
def check_class_alignment(answer: Callable) -> Feedback:
    """Check `class_alignment(kernel, y)`: centred alignment of (N, N) with one-hot classes (N, C)."""
    cases = []
    for labels, b in [([0, 1, 2, 0], draws((4, 4), seed=5)), ([1, 0, 0, 1, 1], draws((5, 5)))]:
        y = one_hot(torch.tensor(labels)).to(torch.float64)
        cases.append((b[0] @ b[0].T, y))

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum() / (a.norm() * b.norm())

    def after(centre: Callable) -> Callable:
        return lambda kernel, y: cosine(centre(kernel), centre(y @ y.T))

    return judge(
        answer,
        cases,
        after(_centred),
        {
            "nothing was centred: the mean of the kernel drowns what tells the classes apart.": after(
                lambda m: m
            ),
            "only the mean of all entries was subtracted: each row and each column has its own.": after(
                lambda m: m - m.mean()
            ),
            "row means and column means hold the mean of all entries twice: add it back once.": after(
                lambda m: m - m.mean(0) - m.mean(1, keepdim=True)
            ),
            "the kernel was centred, Y Yᵀ was not, and its mean counts in the denominator.": lambda kernel, y: (
                cosine(_centred(kernel), y @ y.T)
            ),
            "the denominator needs ‖Y Yᵀ‖, the length of the whole matrix; you have ‖Y‖².": lambda kernel, y: (
                (_centred(kernel) * _centred(y @ y.T)).sum()
                / (_centred(kernel).norm() * (y - y.mean(0)).square().sum())
            ),
            "the denominator is missing: without ‖K‖ and ‖Y Yᵀ‖ it is no cosine.": lambda kernel, y: (
                (_centred(kernel) * _centred(y @ y.T)).sum()
            ),
        },
        "1 would mean that the kernel is the table of who belongs to the same class.",
    )


@counted
def check_standard_kernel(answer: Callable) -> Feedback:
    """Check `standard_kernel(k_weights, k_bias, fan_in, sigma_w, sigma_b)`: one layer's part."""
    return judge(
        answer,
        [(0.7, 0.04, 64, 1.5, 0.2), (1.2, 0.5, 10, 0.8, 0.7)],
        lambda kw, kb, n, w, b: n / w**2 * kw + kb / b**2,
        {
            "the factor is squared: two derivatives meet in a kernel.": lambda kw, kb, n, w, b: (
                n**0.5 / w * kw + kb / b
            ),
            "the other way round: ∂f/∂w grows where the factor σ_w/√n in front is gone.": lambda kw, kb, n, w, b: (
                w**2 / n * kw + b**2 * kb
            ),
            "the bias had a factor in front, too: σ_b.": lambda kw, kb, n, w, b: n / w**2 * kw + kb,
            "σ_w is missing: the factor in front was σ_w/√n.": lambda kw, kb, n, w, b: (
                n * kw + kb / b**2
            ),
            "only the weights carry the number of inputs; the bias had σ_b alone.": lambda kw, kb, n, w, b: (
                n / w**2 * (kw + kb)
            ),
        },
        "The last layer's fan-in is the width: this is why the standard kernel grows like n.",
    )
