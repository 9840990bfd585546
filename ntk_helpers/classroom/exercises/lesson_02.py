"""Check the exercises of lesson 02: from pushes on one example to the velocity of all predictions."""

from collections.abc import Callable

import torch

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import draws, judge
from ntk_helpers.classroom.exercises._tally import counted
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP


@counted
def check_line_kernel(answer: Callable) -> Feedback:
    """Check `line_kernel(x1, x2, c)`: the NTK of f(x) = θ₁ x + c θ₂."""
    return judge(
        answer,
        [(2.0, -0.5, 3.0), (1.5, 0.3, 10.0)],
        lambda x1, x2, c: x1 * x2 + c * c,
        {
            "∂f/∂θ₂ = c for both points, so their product is c².": lambda x1, x2, c: x1 * x2 + c,
            "the parameter θ₂ was forgotten.": lambda x1, x2, c: x1 * x2,
            "you multiplied the sums: multiply the derivatives of each parameter, then add.": lambda x1, x2, c: (
                (x1 + c) * (x2 + c)
            ),
            "c multiplies only θ₂, so it does not touch the product of the inputs.": lambda x1, x2, c: (
                c * c * (x1 * x2 + 1)
            ),
        },
        "The kernel depends on how the function is written, not only on which functions it can be.",
    )


@counted
def check_push(answer: Callable) -> Feedback:
    """Check `push(k, f_i, y_i, learning_rate)`: first-order change at x′ after a step on example i alone."""
    return judge(
        answer,
        [(0.8, 0.3, 1.0, 0.1), (-0.4, 2.0, 0.5, 0.02)],
        lambda k, f, y, rate: -rate * k * (f - y),
        {
            "the sign: with K > 0 a step on x⁽ⁱ⁾ moves x′ the same way as x⁽ⁱ⁾, towards y.": lambda k, f, y, rate: (
                rate * k * (f - y)
            ),
            "the learning rate is missing.": lambda k, f, y, rate: -k * (f - y),
            "the kernel is missing: how much do x′ and x⁽ⁱ⁾ share?": lambda k, f, y, rate: (
                -rate * (f - y)
            ),
            "that is the new prediction; the question is how far it moved.": lambda k, f, y, rate: (
                f - rate * k * (f - y)
            ),
        },
        "The sign of K decides whether x′ is pulled along or pushed away.",
    )


@counted
def check_function_velocity(answer: Callable) -> Feedback:
    """Check `velocity(kernel, f, y)`: df/dt at the training points for the mean squared loss, as (N,)."""
    cases = [(b, *draws((4,), (4,), seed=4)) for b in draws((4, 4), seed=3)]
    cases += [(b, *draws((2,), (2,), seed=6)) for b in draws((2, 2), seed=5)]
    cases = [(b @ b.T, f, y) for b, f, y in cases]
    return judge(
        answer,
        cases,
        lambda kernel, f, y: -kernel @ (f - y) / len(f),
        {
            "the minus sign is missing, as on the talk's slide: the residual would explode.": lambda kernel, f, y: (
                kernel @ (f - y) / len(f)
            ),
            "the 1/N of the mean loss is missing.": lambda kernel, f, y: -kernel @ (f - y),
            "both the sign and the 1/N are missing: that is the talk's slide as printed.": lambda kernel, f, y: (
                kernel @ (f - y)
            ),
            "use the matrix product @, which mixes the points; * works entry by entry.": lambda kernel, f, y: (
                -kernel * (f - y) / len(f)
            ),
            "the kernel is missing: through it each point moves all others.": lambda kernel, f, y: (
                -(f - y) / len(f)
            ),
            "that is the loss itself, not how fast the predictions move.": lambda kernel, f, y: (
                0.5 * (f - y).square().mean()
            ),
        },
        "One linear differential equation for all points together.",
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


@counted
def check_loss_decay(answer: Callable) -> Feedback:
    """Check `loss_decay(kernel, gradient)`: dL/dt = −Σ_ij g_i K_ij g_j / N² for ∇_f ℓ = g at each point."""
    cases = [(b @ b.T, g) for b, g in [draws((4, 4), (4,), seed=7), draws((3, 3), (3,), seed=8)]]
    return judge(
        answer,
        cases,
        lambda kernel, g: -g @ kernel @ g / len(g) ** 2,
        {
            "one 1/N comes from L and another from df/dt: together 1/N².": lambda kernel, g: (
                -g @ kernel @ g / len(g)
            ),
            "both factors 1/N are missing.": lambda kernel, g: -g @ kernel @ g,
            "the sign: a PSD kernel cannot make the loss grow.": lambda kernel, g: (
                g @ kernel @ g / len(g) ** 2
            ),
            "the kernel is missing: this is the rate for K = I.": lambda kernel, g: (
                -(g @ g) / len(g) ** 2
            ),
        },
        "It is −‖∇_f L‖² measured with the kernel instead of the identity.",
    )
