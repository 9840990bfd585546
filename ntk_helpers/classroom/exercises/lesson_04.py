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
def check_next_ntk(answer: Callable) -> Feedback:
    """Check `next_ntk(sigma_next, slopes, theta, sigma_w)`: the tangent kernel, one layer up."""
    return judge(
        answer,
        [(0.9, 0.4, 1.7, 1.3), (-0.2, 0.6, 0.5, 0.8)],
        lambda sigma, slopes, theta, w: sigma + w**2 * slopes * theta,
        {
            "the newest layer's own parameters are missing: they add Σ of the next layer.": lambda sigma, slopes, theta, w: (
                w**2 * slopes * theta
            ),
            "that is the NNGP: the earlier layers learn, too.": lambda sigma, slopes, theta, w: (
                sigma
            ),
            "σ_w is missing: the earlier layers act through weights of variance σ_w²/n.": lambda sigma, slopes, theta, w: (
                sigma + slopes * theta
            ),
            "two weights meet, one for each input: σ_w².": lambda sigma, slopes, theta, w: (
                sigma + w * slopes * theta
            ),
            "σ_w² is inside Σ of the next layer already.": lambda sigma, slopes, theta, w: (
                w**2 * (sigma + slopes * theta)
            ),
            "the chain rule multiplies the slopes with Θ; it does not add them.": lambda sigma, slopes, theta, w: (
                sigma + w**2 * slopes + theta
            ),
            "the slopes of the activation are missing.": lambda sigma, slopes, theta, w: (
                sigma + w**2 * theta
            ),
        },
        "One line, and after `depth` turns of it you have the kernel of an infinitely wide network.",
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
