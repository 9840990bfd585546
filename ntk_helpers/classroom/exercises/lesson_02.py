"""Check the exercises of lesson 02: a target to aim with, the kernel of a sum, and of any model."""

import math
from collections.abc import Callable

import torch

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import draws, judge
from ntk_helpers.classroom.exercises._tally import counted
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP


@counted
def check_target_for(answer: Callable) -> Feedback:
    """Check `target_for(k, f_i, learning_rate, wanted)`: the target of example i with which one step on it moves f(x′) by `wanted`."""
    return judge(
        answer,
        [(0.8, 0.3, 0.1, 0.05), (-0.4, 2.0, 0.02, 0.01)],
        lambda k, f, rate, wanted: f + wanted / (rate * k),
        {
            "the sign: the step moves f(x′) by −η k (f_i − y), and there y has a plus.": lambda k, f, rate, wanted: (
                f - wanted / (rate * k)
            ),
            "that is how far the target lies from the prediction f_i; add f_i.": lambda k, f, rate, wanted: (
                wanted / (rate * k)
            ),
            "that is the residual f_i − y that you need; the question is y.": lambda k, f, rate, wanted: (
                -wanted / (rate * k)
            ),
            "you multiplied by k: the weaker the kernel, the farther away the target has to be, so divide.": lambda k, f, rate, wanted: (
                f + wanted * k / rate
            ),
            "you multiplied by η k, which is how much of a residual arrives at x′; to find the residual, divide.": lambda k, f, rate, wanted: (
                f + rate * k * wanted
            ),
            "the learning rate is missing: a step goes only the part η of the way.": lambda k, f, rate, wanted: (
                f + wanted / k
            ),
            "the kernel is missing: how much of the push on example i arrives at x′?": lambda k, f, rate, wanted: (
                f + wanted / rate
            ),
            "a step on example i does not carry x′ along all the way: of the residual only the part η k arrives there.": lambda k, f, rate, wanted: (
                f + wanted
            ),
            "`wanted` is how far f(x′) should move, not where it should arrive.": lambda k, f, rate, wanted: (
                f + (wanted - f) / (rate * k)
            ),
            "the derivative of ½(f − y)² is f − y, without a 2.": lambda k, f, rate, wanted: (
                f + wanted / (2 * rate * k)
            ),
        },
        "The smaller the kernel, the farther away you have to aim; where it is 0, no target helps.",
    )


@counted
def check_sum_kernel(answer: Callable) -> Feedback:
    """Check `sum_kernel(c, k_g, k_h)`: the NTK of f = c·g + h, where g and h share no parameter."""
    return judge(
        answer,
        [(3.0, 0.7, 1.2), (-0.5, 2.0, 0.4)],
        lambda c, k_g, k_h: c**2 * k_g + k_h,
        {
            "c must be squared: it stands once in the derivative at x and once in that at x′.": lambda c, k_g, k_h: (
                c * k_g + k_h
            ),
            "c is missing: c·g moves c times as far as g when a parameter of g moves.": lambda c, k_g, k_h: (
                k_g + k_h
            ),
            "c stands in front of g only, so the derivatives of h know nothing of it.": lambda c, k_g, k_h: (
                c**2 * (k_g + k_h)
            ),
            "you squared the sum; the kernels are products of derivatives already, and only c is to be squared.": lambda c, k_g, k_h: (
                (c * k_g + k_h) ** 2
            ),
            "a kernel sums over the parameters: those of g add their part to that of h, and nothing is multiplied.": lambda c, k_g, k_h: (
                c**2 * k_g * k_h
            ),
            "there is no mixed term: no parameter has a derivative in g and in h.": lambda c, k_g, k_h: (
                c**2 * k_g + 2 * c * math.sqrt(k_g * k_h) + k_h
            ),
        },
        "A factor in front of a part of a network makes that part learn with its square.",
    )


@counted
def check_tangent_kernel(answer: Callable) -> Feedback:
    """Check `tangent_kernel(model, x1, x2)`: the (k, k) NTK of two single points, each (d,)."""
    cases = []
    for seed, n_out in enumerate([2, 3]):
        model = MLP(2, 5, n_out, depth=2, sigma_b=0.7, seed=seed, device="cpu", dtype=torch.float64)
        cases.append((model, *draws((2,), (2,), seed=seed)))

    def kernel(model, x1, x2):
        return empirical_ntk(model, x1[None], x2[None])[0, 0]

    def weights_only(model, x1, x2):
        biases = [layer.bias.requires_grad_(False) for layer in model.layers]
        result = kernel(model, x1, x2)
        for bias in biases:
            bias.requires_grad_(True)
        return result

    return judge(
        answer,
        cases,
        kernel,
        {
            "the matrix is transposed: rows belong to the outputs at x1, K = J(x1) J(x2)ᵀ.": lambda m, x1, x2: (
                kernel(m, x1, x2).T
            ),
            "the biases are parameters, too; you have only the weights.": weights_only,
            "that is one number: the sum over outputs. K is a (k, k) matrix.": lambda m, x1, x2: (
                kernel(m, x1, x2).trace()
            ),
            "that is the product of the sums over outputs; keep one Jacobian row for each output.": lambda m, x1, x2: (
                kernel(m, x1, x2).sum()
            ),
        },
        "It works for any model; ntk.empirical_ntk does the same for whole data sets.",
    )
