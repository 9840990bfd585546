"""Check the exercises of lesson 05: the spread of ensembles, modes learned, the best rate."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import draws, judge
from ntk_helpers.classroom.exercises._picture import read_off
from ntk_helpers.classroom.exercises._tally import counted


def _kernels() -> list[Tensor]:
    """Return two positive definite kernel matrices, (3, 3) and (4, 4)."""
    return [b @ b.T + torch.eye(len(b), dtype=b.dtype) for b in draws((3, 3), (4, 4), seed=11)]


@counted
def check_ensemble_of_curve(answer: Callable) -> Feedback:
    """Check `ensemble_of(curve)`: 1 not trained, 2 to t = 1, 3 to t = ∞, 4 to t = ∞ with a point less, for each spread in a picture."""
    ensembles = {"C": 1, "B": 2, "D": 3, "A": 4}
    return judge(
        answer,
        [(curve,) for curve in ensembles],
        read_off(ensembles),
        {
            "before training no input is special; B is lower, with dips: it has begun to learn there.": read_off(
                ensembles, "BC"
            ),
            "before training no input is special; A falls to zero at four of them: there all networks agree.": read_off(
                ensembles, "AC"
            ),
            "before training no input is special; D falls to zero at five of them: there all networks agree.": read_off(
                ensembles, "CD"
            ),
            "A is as high in the middle as if nothing had been learned there: that is the point left out.": read_off(
                ensembles, "AD"
            ),
            "at t = ∞ all networks agree at the training points; B falls to zero nowhere, so it was stopped, and A was not.": read_off(
                ensembles, "AB"
            ),
            "at t = ∞ all networks agree at the training points; B falls to zero nowhere, so it was stopped, and D was not.": read_off(
                ensembles, "BD"
            ),
        },
        "Nobody told you the targets: the spread does not depend on them.",
    )


@counted
def check_modes_learned(answer: Callable) -> Feedback:
    """Check `modes_learned(kernel, t)`: how many modes have e^{−λt/N} < ½."""
    spectra = [[0.02, 0.1, 0.3, 0.4, 1.0, 4.5, 6.0, 14.0], [0.05, 0.2, 0.9, 1.6, 2.6, 40.0]]
    cases = []
    for values, (b,), t in zip(spectra, [draws((8, 8)), draws((6, 6))], [1.5, 1.9], strict=True):
        q = torch.linalg.qr(b).Q
        cases.append((q @ torch.diag(torch.tensor(values, dtype=q.dtype)) @ q.T, t))

    def count(kernel, t, share=0.5):
        return int((torch.exp(-torch.linalg.eigvalsh(kernel) * t) < share).sum())

    return judge(
        answer,
        cases,
        lambda kernel, t: count(kernel, t / len(kernel)),
        {
            "the 1/N of the mean loss is missing: the rate is λ/N.": count,
            "you counted the modes that are not there yet.": lambda kernel, t: (
                len(kernel) - count(kernel, t / len(kernel))
            ),
            "at λt/N = 1 the share 1/e = 0.37 is left; one half is left at λt/N = ln 2.": lambda kernel, t: (
                count(kernel, t / len(kernel), 1 / math.e)
            ),
            "that is the share of the modes; the question is how many they are.": lambda kernel, t: (
                count(kernel, t / len(kernel)) / len(kernel)
            ),
        },
        "The more time, the more modes: time is what limits what a wide network can fit.",
    )


@counted
def check_best_rate(answer: Callable) -> Feedback:
    """Check `best_rate(kernel)`: the η that makes the largest |1 − ηλ/N| as small as possible."""

    def rate(kernel, low=0, high=-1):
        values = torch.linalg.eigvalsh(kernel)
        return 2 * len(kernel) / (values[low] + values[high])

    return judge(
        answer,
        [(kernel,) for kernel in _kernels()],
        lambda kernel: rate(kernel),
        {
            "that is the limit, where the fastest mode no longer shrinks at all.": lambda kernel: (
                2 * rate(kernel, -1, -1)
            ),
            "that kills the fastest mode in one step, and the slowest waits: go on until both shrink alike.": lambda kernel: (
                rate(kernel, -1, -1)
            ),
            "the N is missing: our loss is a mean, so the rates are λ/N.": lambda kernel: (
                rate(kernel) / len(kernel)
            ),
            "that kills the slowest mode in one step, and the fastest explodes.": lambda kernel: (
                rate(kernel, 0, 0)
            ),
            "half of it: the fastest mode may end on the other side, 1 − ηλ_max/N = −(1 − ηλ_min/N).": lambda kernel: (
                rate(kernel) / 2
            ),
            "the trace is the sum of all eigenvalues; the two at the ends decide.": lambda kernel: (
                2 * len(kernel) / kernel.trace()
            ),
        },
        "The fastest jumps over, the slowest crawls, both by (λ_max − λ_min)/(λ_max + λ_min): the condition of K decides.",
    )
