"""Check the exercises of lesson 06: weights of losses, ends at rest, and mistakes that no inner point sees."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import draws, judge
from ntk_helpers.classroom.exercises._tally import counted


@counted
def check_three_weights(answer: Callable) -> Feedback:
    """Check `three_weights(traces, points)`: λ_i = Σ_j T_j / T_i with T = traces/points, (3,)."""

    def weights(traces, points):
        rates = traces / points
        return rates.sum() / rates

    cases = [
        (torch.tensor([40.0, 6.0, 9000.0]), torch.tensor([20.0, 10.0, 300.0])),
        (torch.tensor([3.0, 50.0, 700.0]), torch.tensor([4.0, 2.0, 25.0])),
    ]
    return judge(
        answer,
        [tuple(part.double() for part in case) for case in cases],
        weights,
        {
            "these are the weights for sums. A mean divides the rates of its part by its number of points.": lambda traces, points: (
                traces.sum() / traces
            ),
            "they are upside down: a part with small rates needs a large weight.": lambda traces, points: (
                1 / weights(traces, points)
            ),
            "a mean divides by the number of points; you multiplied.": lambda traces, points: (
                (traces * points).sum() / (traces * points)
            ),
            "the three sums of rates are equal, but to 1. They should equal the unweighted sum of all three.": lambda traces, points: (
                points / traces
            ),
            "the three sums of rates are equal, but to the mean of all three. Their sum is asked for.": lambda traces, points: (
                weights(traces, points) / 3
            ),
            "the sum over all three wants each trace divided by its own number of points, too.": lambda traces, points: (
                traces.sum() / (traces / points)
            ),
        },
        "With means, listing a point twice changes nothing: so it must not change a weight.",
    )


@counted
def check_mistake_at_rest(answer: Callable) -> Feedback:
    """Check `mistake_at_rest(pull, k_uu, weight)`: u − g of two ends at which both pulls cancel."""
    cases = []
    for seed, weight in enumerate([10.0, 3.0]):
        (j,), (pull,) = draws((2, 5), seed=seed), draws((2,), seed=seed + 2)
        cases.append((7 * pull, j @ j.T, weight))

    def mistake(pull, k_uu, weight):
        return torch.linalg.solve(k_uu, pull) * 2 / weight

    return judge(
        answer,
        cases,
        mistake,
        {
            "the sign: the own pull is minus weight times kernel times mistake, and both pulls add up to 0.": lambda *a: (
                -mistake(*a)
            ),
            "a mean loss over two points has a factor ½, which weakens the own pull.": lambda *a: (
                mistake(*a) / 2
            ),
            "the factor ½ of the mean makes the own pull weaker, so the mistake larger; you made it smaller.": lambda *a: (
                mistake(*a) / 4
            ),
            "the weight makes the own pull stronger, so the mistake smaller: divide by it.": lambda pull, k_uu, weight: (
                torch.linalg.solve(k_uu, pull) * 2 * weight
            ),
            "the weight is missing.": lambda pull, k_uu, weight: 2 * torch.linalg.solve(k_uu, pull),
            "the ends move each other: solve with the matrix k_uu, not with its diagonal.": lambda pull, k_uu, weight: (
                pull / k_uu.diagonal() * 2 / weight
            ),
            "a matrix is inverted as a whole, not entry by entry: torch.linalg.solve(k_uu, pull).": lambda pull, k_uu, weight: (
                (1 / k_uu) @ pull * 2 / weight
            ),
            "k_uu @ pull is how the ends would move; the mistake is what k_uu turns into the pull: solve.": lambda pull, k_uu, weight: (
                k_uu @ pull * 2 / weight
            ),
        },
        "A weight of 100 leaves a hundredth of the mistake, as long as the pull from inside is the same.",
    )


@counted
def check_mistake_on_springs(answer: Callable) -> Feedback:
    """Check `mistake_on_springs(x, k, left, right)`: e with e″ + k² e = 0, e(0) = left, e(1) = right."""
    x = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0], dtype=torch.float64)

    def mistake(x: Tensor, k, left, right):
        slope = (right - left * math.cos(k)) / math.sin(k)
        return left * torch.cos(k * x) + slope * torch.sin(k * x)

    def bent_outwards(x, k, left, right):
        slope = (right - left * math.cosh(k)) / math.sinh(k)
        return left * torch.cosh(k * x) + slope * torch.sinh(k * x)

    return judge(
        answer,
        [(x, 2.0, -0.3, 0.5), (x, 4.0, 0.2, 0.7)],
        mistake,
        {
            "a straight line has e″ = 0, but e″ + k² e is not 0: the springs see it.": lambda x, k, left, right: (
                left + (right - left) * x
            ),
            "the sign: e″ = −k² e has waves as solutions, e″ = +k² e has cosh and sinh.": bent_outwards,
            "this is right at x = 0, and at x = 1 it is not `right`: cos k is not 0 there.": lambda x, k, left, right: (
                left * torch.cos(k * x) + right * torch.sin(k * x)
            ),
            "at x = 1 it is not `right` yet: divide by sin k what the cosine leaves over.": lambda x, k, left, right: (
                left * torch.cos(k * x) + (right - left * math.cos(k)) * torch.sin(k * x)
            ),
            "at x = 1 the cosine adds left · cos k: take it off before you divide by sin k.": lambda x, k, left, right: (
                left * torch.cos(k * x) + right * torch.sin(k * x) / math.sin(k)
            ),
        },
        "What the equation cannot see, only the ends can correct; for u″ = f that is a straight line.",
    )
