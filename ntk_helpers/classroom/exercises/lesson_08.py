"""Check the exercises of lesson 08: a limit that moves, a push passed on, and pages to pictures."""

import math
from collections.abc import Callable

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import judge
from ntk_helpers.classroom.exercises._picture import read_off
from ntk_helpers.classroom.exercises._tally import counted


@counted
def check_limit_after(answer: Callable) -> Feedback:
    """Check `limit_after(limit, a, c)`: the largest stable rate after the loss is multiplied by a and the outputs by c."""
    return judge(
        answer,
        [(0.6, 2.5, 3.0), (1.4, 0.5, 0.2)],
        lambda limit, a, c: limit / (a * c**2),
        {
            "larger outputs and a larger loss make steps larger, so the limit sinks: divide.": lambda limit, a, c: (
                limit * a * c**2
            ),
            "the kernel is a product of two Jacobians, and c stands in both.": lambda limit, a, c: (
                limit / (a * c)
            ),
            "c is forgotten: the kernel is that of c f.": lambda limit, a, c: limit / a,
            "a is forgotten: the curvature of the loss is multiplied by it.": lambda limit, a, c: (
                limit / c**2
            ),
            "a enters once: the curvature is linear in the loss, only the kernel is a square.": lambda limit, a, c: (
                limit / (a * c) ** 2
            ),
            "the other way round: c is squared, in the kernel, and a is not.": lambda limit, a, c: (
                limit / (a**2 * c)
            ),
            "the loss does not undo the outputs: both make steps larger.": lambda limit, a, c: (
                limit * a / c**2
            ),
        },
        "It is why a rate cannot be carried over to another scaling of the loss or of the targets.",
    )


@counted
def check_passed_on(answer: Callable) -> Feedback:
    """Check `passed_on(move, cosine, k_ii, k_jj)`: how far example j moves when a push moves example i by `move`."""
    return judge(
        answer,
        [(0.5, 0.8, 4.0, 2.0), (1.5, -0.3, 0.7, 5.0)],
        lambda move, cosine, k_ii, k_jj: move * cosine * math.sqrt(k_jj / k_ii),
        {
            "the cosine tells the direction alone: an example with longer gradients moves farther.": lambda move, cosine, k_ii, k_jj: (
                move * cosine
            ),
            "the other way round: j moves far if its own gradient is long, and i takes a smaller push if its is.": lambda move, cosine, k_ii, k_jj: (
                move * cosine * math.sqrt(k_ii / k_jj)
            ),
            "K(x, x) is the square of a length: take roots.": lambda move, cosine, k_ii, k_jj: (
                move * cosine * k_jj / k_ii
            ),
            "K(x_j, x_i) is cosine times both lengths; divide by K(x_i, x_i), since i shall move by `move`.": lambda move, cosine, k_ii, k_jj: (
                move * cosine * math.sqrt(k_jj * k_ii)
            ),
            "the kernel of i stands below the line, as its root.": lambda move, cosine, k_ii, k_jj: (
                move * cosine * math.sqrt(k_jj) / k_ii
            ),
            "how alike the two are is missing: the cosine.": lambda move, cosine, k_ii, k_jj: (
                move * math.sqrt(k_jj / k_ii)
            ),
        },
        "So influence is not symmetric, although the kernel and the cosine are.",
    )


@counted
def check_page_of(answer: Callable) -> Feedback:
    """Check `page_of(picture)`: 1 slow modes, 2 fast modes, 3 past the limit, 4 a kernel that grows, for each picture."""
    pages = {"A": 4, "B": 1, "C": 3, "D": 2}
    return judge(
        answer,
        [(picture,) for picture in pages],
        read_off(pages),
        {
            "in A the two curves part, so its kernel has moved; in B they stay together, and hardly anything is learned.": read_off(
                pages, "AB"
            ),
            "in C the forecast runs away, which no growing kernel does at a stable rate; in A both fall, the run faster.": read_off(
                pages, "AC"
            ),
            "in D the two curves are one, so the kernel stayed; in A the run is faster than its forecast.": read_off(
                pages, "AD"
            ),
            "in C the forecast runs away: some mode grows at every step. In B it hardly moves.": read_off(
                pages, "BC"
            ),
            "both forecasts hold, but look how far the loss has fallen: in B the mistake lies in slow modes.": read_off(
                pages, "BD"
            ),
            "in C the forecast runs away, so the rate is past the limit; in D run and forecast agree.": read_off(
                pages, "CD"
            ),
        },
        "A forecast can hold and bring no comfort: picture B is right about a run that learns nothing.",
    )
