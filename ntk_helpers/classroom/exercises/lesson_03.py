"""Check the exercises of lesson 03: a kernel's design, its zeros, and which of two parts is left."""

import math
from collections.abc import Callable

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import judge
from ntk_helpers.classroom.exercises._picture import read_off
from ntk_helpers.classroom.exercises._tally import counted


@counted
def check_design_of_curve(answer: Callable) -> Feedback:
    """Check `design_of(curve)`: 1 linear, 2 deep ReLU, 3 erf with large weights, 4 with large biases, for each kernel in a picture."""
    designs = {"C": 1, "D": 3, "A": 2, "B": 4}
    return judge(
        answer,
        [(curve,) for curve in designs],
        read_off(designs),
        {
            "A has a narrow peak, which many layers make; large biases, which all points share, lift the whole curve, as in B.": read_off(
                designs, "AB"
            ),
            "C is the cosine of the angle, down to −1, and only a network without an activation has that; ReLU's kernel stays above 0.": read_off(
                designs, "AC"
            ),
            "both have a spike, but D falls to 0 and below, since erf is odd; deep ReLU keeps a floor under all points.": read_off(
                designs, "AD"
            ),
            "C is the cosine of the angle, down to −1: nothing is shared by all points, as large biases would be.": read_off(
                designs, "BC"
            ),
            "large weights make erf a switch, so that only close points are similar; large biases make all points similar.": read_off(
                designs, "BD"
            ),
            "both go below 0, but C is the cosine of the angle, which a linear network cannot leave; a spike needs an activation.": read_off(
                designs, "CD"
            ),
        },
        "Depth, weights and biases decide what a network takes for similar, before it has seen a label.",
    )


@counted
def check_zeros_at_least(answer: Callable) -> Feedback:
    """Check `zeros_at_least(n_points, n_outputs, parameters)`: how many eigenvalues of the whole kernel must be 0."""
    return judge(
        answer,
        [(60, 2, 50), (10, 10, 64), (8, 2, 500)],
        lambda n, k, p: max(0, n * k - p),
        {
            "with enough parameters no eigenvalue has to be 0, and fewer than none there cannot be: max(0, …).": lambda n, k, p: (
                n * k - p
            ),
            "the outputs are forgotten: the whole kernel has a row for each output at each point.": lambda n, k, p: (
                max(0, n - p)
            ),
            "the other way round: zeros appear where there are more rows than parameters.": lambda n, k, p: (
                max(0, p - n * k)
            ),
            "the other way round, and never negative: rows minus parameters, as long as that is above 0.": lambda n, k, p: (
                p - n * k
            ),
            "that is the largest rank: so many eigenvalues may differ from 0, and the others cannot.": lambda n, k, p: (
                min(p, n * k)
            ),
            "that is how many eigenvalues there are; so many of them as there are parameters may differ from 0.": lambda n, k, p: (
                n * k
            ),
            "all outputs share the same parameters: the Jacobian has one column for each of them.": lambda n, k, p: (
                max(0, n * k - p * k)
            ),
        },
        "As long as the kernel stays as it is, so does a residual along one of their eigenvectors.",
    )


@counted
def check_crossing_time(answer: Callable) -> Feedback:
    """Check `crossing_time(c_fast, c_slow, fast, slow, n)`: when two parts of the residual are equally large."""

    def crossing(c_fast, c_slow, fast, slow, n):
        return n * math.log(c_fast / c_slow) / (fast - slow)

    return judge(
        answer,
        [(3.0, 0.5, 8.0, 0.4, 20), (1.2, 0.9, 2.0, 1.5, 6)],
        crossing,
        {
            "the 1/N of the mean loss is missing: the parts fall at the rates λ/N.": lambda c_fast, c_slow, fast, slow, n: (
                math.log(c_fast / c_slow) / (fast - slow)
            ),
            "the N is on the wrong side: the rates are λ/N, so more points take more time.": lambda c_fast, c_slow, fast, slow, n: (
                math.log(c_fast / c_slow) / (n * (fast - slow))
            ),
            "the logarithm is missing: the time stands in an exponent.": lambda c_fast, c_slow, fast, slow, n: (
                n * (c_fast / c_slow) / (fast - slow)
            ),
            "the time comes out negative: with c_fast/c_slow under the logarithm, divide by fast − slow.": lambda *a: (
                -crossing(*a)
            ),
            "the quotient of two exponentials has the difference of the rates in it, not their sum.": lambda c_fast, c_slow, fast, slow, n: (
                n * math.log(c_fast / c_slow) / (fast + slow)
            ),
            "the slow part shrinks meanwhile, too: what counts is fast − slow.": lambda c_fast, c_slow, fast, slow, n: (
                n * math.log(c_fast / c_slow) / fast
            ),
            "those would be straight lines; the parts fall exponentially, so it is their ratio that counts.": lambda c_fast, c_slow, fast, slow, n: (
                n * (c_fast - c_slow) / (fast - slow)
            ),
            "the starts belong under the logarithm; the eigenvalues are rates.": lambda c_fast, c_slow, fast, slow, n: (
                n * math.log(fast / slow) / (fast - slow)
            ),
            "e^(−2λt/N) is how the loss falls; the residual is not squared, and has no 2.": lambda *a: (
                crossing(*a) / 2
            ),
        },
        "From then on the slow part is the larger one, and in the end nearly all that is left.",
    )
