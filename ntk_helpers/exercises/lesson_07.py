"""Check the exercises of lesson 07: scale, features, large steps, endless training, a check-list."""

from collections.abc import Callable

import torch
from torch import Tensor

from ntk_helpers.exercises._judge import Feedback, draws, judge


def check_scaled_rate(answer: Callable) -> Feedback:
    """Check `scaled_rate(learning_rate, alpha)`: the η with which α f takes the steps that f takes with `learning_rate`."""
    return judge(
        answer,
        [(0.5, 4.0), (0.2, 0.25)],
        lambda rate, alpha: rate / alpha**2,
        {
            "the kernel of α f is α² K, one α from each Jacobian.": lambda rate, alpha: (
                rate / alpha
            ),
            "the wrong way round: a kernel that is α² times larger stands a rate α² times smaller.": lambda rate, alpha: (
                rate * alpha**2
            ),
            "with the same rate, α f would go α² times as far in each step.": lambda rate, alpha: (
                rate
            ),
        },
        "Scale the output by α and the rate by 1/α²: the clock of training stays the same.",
    )


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


def _step(f: float, lam: float, rate: float, width: int) -> list[float]:
    """Return (f, λ) after one step on ½ f² of f = u·v/√n."""
    push = rate * f**2 / width
    return [f * (1 - rate * lam + rate * push), lam + push * (rate * lam - 4)]


def check_catapult_step(answer: Callable) -> Feedback:
    """Check `catapult_step(f, lam, rate, width)`: (f, λ) after one step of the two-layer linear network."""

    def late(f, lam, rate, width):
        after = _step(f, lam, rate, width)[0]
        return [after, _step(after, lam, rate, width)[1]]

    return judge(
        answer,
        [(0.7, 2.0, 1.4, 50), (-3.0, 1.5, 1.8, 20)],
        _step,
        {
            "that is the theory of a constant kernel: λ has to move, and f needs its η² term.": lambda f, lam, rate, width: (
                [f * (1 - rate * lam), lam]
            ),
            "λ must use the f of before the step, as u and v are moved together.": late,
            "the 1/n is missing: in a wide network the kernel moves slowly.": lambda f, lam, rate, width: (
                _step(f, lam, rate, 1)
            ),
            "the sign of the change of λ: while η λ < 4, the kernel shrinks.": lambda f, lam, rate, width: (
                [_step(f, lam, rate, width)[0], 2 * lam - _step(f, lam, rate, width)[1]]
            ),
        },
        "Two numbers are all that a catapult needs.",
    )


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


def check_theory_applies(answer: Callable) -> Feedback:
    """Check `theory_applies(rate, max_rate, drift, error)`: True if all three tests of the list are passed."""
    inf = float("inf")
    cases = [
        (0.5, 1.0, 0.02, 0.03),
        (1.5, 1.0, 0.02, 0.03),
        (0.5, 1.0, 0.3, 0.03),
        (0.5, 1.0, 0.02, 0.4),
        (1.5, 1.0, 0.5, 0.6),
        (0.5, 1.0, inf, inf),
    ]
    return judge(
        answer,
        cases,
        lambda rate, limit, drift, error: rate < limit and drift <= 0.1 and error <= 0.1,
        {
            "the step size is not tested: a kernel may look still and yet be beyond its limit.": lambda rate, limit, drift, error: (
                drift <= 0.1 and error <= 0.1
            ),
            "the prediction is not tested: a kernel may move little, and in the wrong place.": lambda rate, limit, drift, error: (
                rate < limit and drift <= 0.1
            ),
            "the drift is not tested.": lambda rate, limit, drift, error: (
                rate < limit and error <= 0.1
            ),
            "one test passed is not enough: join them with `and`.": lambda rate, limit, drift, error: (
                rate < limit or drift <= 0.1 or error <= 0.1
            ),
        },
        "That is the check-list of lazy_regime with steps=….",
    )
