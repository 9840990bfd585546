"""Check the exercises of lesson 04: the recursions to infinite width, and what width buys."""

import math
from collections.abc import Callable

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import judge
from ntk_helpers.classroom.exercises._tally import counted


@counted
def check_next_variance(answer: Callable) -> Feedback:
    """Check `next_variance(q, sigma_w, sigma_b)`: Σ of ReLU on the diagonal, one layer up."""
    return judge(
        answer,
        [(0.8, 1.3, 0.4), (2.5, 0.7, 1.6)],
        lambda q, w, b: w**2 * q / 2 + b**2,
        {
            "ReLU cuts half of the draws off: E[φ(u)²] = q/2, not q.": lambda q, w, b: (
                w**2 * q + b**2
            ),
            "the bias adds the variance σ_b².": lambda q, w, b: w**2 * q / 2,
            "a variance takes the square of σ_b.": lambda q, w, b: w**2 * q / 2 + b,
            "a variance takes the square of σ_w.": lambda q, w, b: w * q / 2 + b**2,
            "both σ_w and σ_b enter a variance squared.": lambda q, w, b: w * q / 2 + b,
            "q is the variance already: do not square it.": lambda q, w, b: w**2 * q**2 / 2 + b**2,
            "that is the standard deviation; Σ is the variance.": lambda q, w, b: (
                (w**2 * q / 2 + b**2) ** 0.5
            ),
        },
        "With σ_w = √2 and no bias the variance is the same in every layer.",
    )


@counted
def check_linear_ntk(answer: Callable) -> Feedback:
    """Check `linear_ntk(depth, dot, n_inputs)`: the NTK of an infinitely wide linear network, σ_w = 1, σ_b = 0."""
    return judge(
        answer,
        [(3, 1.4, 5), (6, -0.9, 2)],
        lambda depth, dot, n: (depth + 1) * dot / n,
        {
            "there is one layer more than there are hidden ones: the weights behind the last units learn, too.": lambda depth, dot, n: (
                depth * dot / n
            ),
            "the inputs are many, too: the first layer multiplies its weights by 1/√n_inputs, and two of them meet.": lambda depth, dot, n: (
                (depth + 1) * dot
            ),
            "1/√n_inputs stands once in z(x) and once in z(x′): together 1/n_inputs.": lambda depth, dot, n: (
                (depth + 1) * dot / math.sqrt(n)
            ),
            "that is Σ, the kernel of the last layer alone; the layers before it learn, too.": lambda depth, dot, n: (
                dot / n
            ),
            "the layers' parts are added, not multiplied, and Σ passes through each layer as it is.": lambda depth, dot, n: (
                (dot / n) ** (depth + 1)
            ),
            "a layer does not double the kernel: it adds its Σ, which is the same in all layers.": lambda depth, dot, n: (
                2**depth * dot / n
            ),
        },
        "Each layer gives the same part, so depth makes a linear network faster, and nothing else.",
    )


@counted
def check_width_needed(answer: Callable) -> Feedback:
    """Check `width_needed(drift, n_0, drift_0, p)`: where drift_0 · (n/n_0)^p reaches drift."""

    def width(drift, n_0, drift_0, p):
        return n_0 * (drift / drift_0) ** (1 / p)

    return judge(
        answer,
        [(0.01, 64, 0.08, -0.9), (0.02, 100, 0.3, -0.6)],
        width,
        {
            "at this width the drift is still a little too large: round up, with math.ceil.": lambda *a: (
                math.floor(width(*a))
            ),
            "solve for n: the exponent becomes 1/p.": lambda drift, n_0, drift_0, p: (
                n_0 * (drift / drift_0) ** p
            ),
            "the width comes out smaller than n_0: p is negative, so the ratio is the other way up.": lambda drift, n_0, drift_0, p: (
                n_0 * (drift_0 / drift) ** (1 / p)
            ),
            "that is the move at the width `drift`; solve for n instead.": lambda drift, n_0, drift_0, p: (
                drift_0 * (drift / n_0) ** p
            ),
            "that is how many times n_0; multiply by n_0.": lambda drift, n_0, drift_0, p: (
                (drift / drift_0) ** (1 / p)
            ),
            "this takes p = −1; use the p that was measured.": lambda drift, n_0, drift_0, p: (
                n_0 * drift_0 / drift
            ),
        },
        "With p = −1/2 a ten times steadier kernel costs a hundred times the width; with −1, ten.",
        also=lambda *a: math.ceil(width(*a)),
    )
