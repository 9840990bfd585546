"""Check the exercises of lesson 07: features, large steps, endless training, a check-list."""

from collections.abc import Callable

import torch
from torch import Tensor

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import draws, judge
from ntk_helpers.classroom.exercises._tally import counted


@counted
def check_alignment(answer: Callable) -> Feedback:
    """Check `alignment(weight, direction)`: which share of Σ‖w‖² the rows w of `weight` have along `direction`."""

    def share(weight: Tensor, direction: Tensor) -> Tensor:
        return (weight @ direction).square().sum() / (
            weight.square().sum() * (direction @ direction)
        )

    return judge(
        answer,
        [tuple(draws((6, 4), (4,))), tuple(draws((3, 5), (5,), seed=1))],
        share,
        {
            "`direction` is not of length 1: divide it by its norm first.": lambda weight, direction: (
                (weight @ direction).square().sum() / weight.square().sum()
            ),
            "the squares are missing: shares of Σ‖w‖² over orthogonal directions must add up to 1.": lambda weight, direction: (
                (weight @ direction).abs().sum() / (weight.norm(dim=1) * direction.norm()).sum()
            ),
            "that is the mean of each row's own share; a long row must count for more.": lambda weight, direction: (
                ((weight @ direction) / (weight.norm(dim=1) * direction.norm())).square().mean()
            ),
            "that is the sum, not its share of Σ‖w‖².": lambda weight, direction: (
                (weight @ direction).square().sum() / (direction @ direction)
            ),
        },
        "For random weights it is 1/d on average; a network that found the direction has more.",
    )


def _step(f: float, lam: float, y: float, rate: float, width: int) -> list[float]:
    """Return (f, λ) after one step on ½ (f − y)² of f = u·v/√n."""
    miss = f - y
    push = rate * miss / width
    return [
        f - rate * lam * miss + rate * push * miss * f,
        lam - 4 * push * f + rate * push * miss * lam,
    ]


@counted
def check_catapult_step(answer: Callable) -> Feedback:
    """Check `catapult_step(f, lam, y, rate, width)`: (f, λ) after one step of the two-layer linear network on the target y."""

    def late(f, lam, y, rate, width):
        after = _step(f, lam, y, rate, width)[0]
        return [after, _step(after, lam, y, rate, width)[1]]

    def of_zero(f, lam, y, rate, width):
        miss, after = _step(f - y, lam, 0.0, rate, width)
        return [miss + y, after]

    return judge(
        answer,
        [(0.7, 2.0, 0.3, 1.4, 50), (-3.0, 1.5, 1.0, 1.8, 20)],
        _step,
        {
            "that is the theory of a constant kernel: λ has to move, and f needs its η² term.": lambda f, lam, y, rate, width: (
                [f - rate * lam * (f - y), lam]
            ),
            "λ must use the f of before the step, as u and v are moved together.": late,
            "the 1/n is missing: in a wide network the kernel moves slowly.": lambda f, lam, y, rate, width: (
                _step(f, lam, y, rate, 1)
            ),
            "the sign of the change of λ: Σ‖u − c v‖² has −2 c u·v in it, twice.": lambda f, lam, y, rate, width: (
                [_step(f, lam, y, rate, width)[0], 2 * lam - _step(f, lam, y, rate, width)[1]]
            ),
            "the target is missing: the step is along −(f − y), not −f.": lambda f, lam, y, rate, width: (
                _step(f, lam, 0.0, rate, width)
            ),
            "u·v is √n f, not √n (f − y): the residual does not replace every f.": of_zero,
        },
        "Two numbers are all that a catapult needs.",
    )


@counted
def check_drift_floor(answer: Callable) -> Feedback:
    """Check `drift_floor(kernel, rate)`: by how much K must have moved if descent with this η settled."""
    kernels = [a @ a.T for a in draws((4, 6), (3, 5), seed=3)]

    def limit(kernel):
        return 2 * len(kernel) / torch.linalg.eigvalsh(kernel)[-1]

    def floor(kernel, rate):
        excess = torch.linalg.eigvalsh(kernel)[-1] - 2 * len(kernel) / rate
        return excess.clamp(min=0) / kernel.norm()

    cases = [(k, factor * limit(k).item()) for k in kernels for factor in (0.5, 1.5, 2.5)]
    return judge(
        answer,
        cases,
        floor,
        {
            "below the limit nothing has to move: a floor is never negative.": lambda kernel, rate: (
                (torch.linalg.eigvalsh(kernel)[-1] - 2 * len(kernel) / rate) / kernel.norm()
            ),
            "the 1/N of the loss is missing: the limit is η < 2N/λ_max.": lambda kernel, rate: (
                (torch.linalg.eigvalsh(kernel)[-1] - 2 / rate).clamp(min=0) / kernel.norm()
            ),
            "drift is measured against the Frobenius norm of K, not against λ_max.": lambda kernel, rate: (
                (1 - limit(kernel) / rate).clamp(min=0)
            ),
            "divide by ‖K‖: drift is a relative change.": lambda kernel, rate: (
                floor(kernel, rate) * kernel.norm()
            ),
        },
        "The width does not occur in it: this is why wide networks move just as much.",
    )


@counted
def check_time_to_margin(answer: Callable) -> Feedback:
    """Check `time_to_margin(k, start, end)`: how long gradient flow with ℓ = e^{−m} takes from margin to margin."""
    return judge(
        answer,
        [
            tuple(torch.tensor(v, dtype=torch.float64) for v in case)
            for case in [(2.0, 0.5, 3.0), (0.7, 0.1, 6.0)]
        ],
        lambda k, start, end: (end.exp() - start.exp()) / k,
        {
            "that is a constant speed. The force e^{−m} fades as the margin grows.": lambda k, start, end: (
                (end - start) / k
            ),
            "the start is forgotten: the integral of e^m runs from the first margin.": lambda k, start, end: (
                end.exp() / k
            ),
            "a larger kernel is faster: divide by k.": lambda k, start, end: (
                k * (end.exp() - start.exp())
            ),
            "that is how squared loss behaves, where the force is the distance to a finite target.": lambda k, start, end: (
                (end / start).log() / k
            ),
        },
        "Each further unit of margin takes e times as long: the margin grows as log t.",
    )


@counted
def check_theory_applies(answer: Callable) -> Feedback:
    """Check `theory_applies(rate, max_rate, drift, error)`: True if all three tests of the list are passed."""
    inf = float("inf")
    cases = [
        (0.5, 1.0, 0.02, 0.03),
        (0.1, 0.4, 0.05, 0.01),
        (1.5, 1.0, 0.02, 0.03),
        (0.5, 1.0, 0.3, 0.03),
        (0.5, 1.0, 0.02, 0.4),
        (1.5, 1.0, 0.5, 0.6),
        (0.5, 1.0, inf, inf),
    ]

    def trusted(rate, max_rate, drift, error):
        return rate < max_rate and drift <= 0.1 and error <= 0.1

    return judge(
        answer,
        cases,
        trusted,
        {
            "that is the other way round: True where the theory may not be trusted.": lambda *case: (
                not trusted(*case)
            ),
            "the step size is not tested: a kernel may look still and yet be beyond its limit.": lambda rate, limit, drift, error: (
                drift <= 0.1 and error <= 0.1
            ),
            "the prediction is not tested: a kernel may move little, and in the wrong place.": lambda rate, limit, drift, error: (
                rate < limit and drift <= 0.1
            ),
            "the drift is not tested.": lambda rate, limit, drift, error: (
                rate < limit and error <= 0.1
            ),
            "10 % is 0.1: a limit of 10 lets nearly everything pass.": lambda rate, limit, drift, error: (
                rate < limit and drift <= 10 and error <= 10
            ),
            "one test passed is not enough: join them with `and`.": lambda rate, limit, drift, error: (
                rate < limit or drift <= 0.1 or error <= 0.1
            ),
        },
        "That is the check-list of lazy_regime with steps=….",
    )
