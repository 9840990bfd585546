"""Check the exercises of lesson 07: the scale of the output, scale and shape, large steps."""

from collections.abc import Callable

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import judge
from ntk_helpers.classroom.exercises._tally import counted


@counted
def check_equal_alpha(answer: Callable) -> Feedback:
    """Check `equal_alpha(n, p, c)`: the α of a sum over n units divided by n^p, trained on targets c times as large."""
    return judge(
        answer,
        [(64, 1.0, 2.0), (100, 0.8, 0.25), (36, 0.3, 3.0)],
        lambda n, p, c: n ** (0.5 - p) / c,
        {
            "large targets ask f for a large function, as a small α does: divide by c.": lambda n, p, c: (
                n ** (0.5 - p) * c
            ),
            "the targets count, too: α f on c y is trained like (α/c) f on y.": lambda n, p, c: (
                n ** (0.5 - p)
            ),
            "α = 1 has 1/√n in it already: compare n^p with √n.": lambda n, p, c: n**-p / c,
            "a larger p makes the output smaller: the exponent has the other sign.": lambda n, p, c: (
                n ** (p - 0.5) / c
            ),
        },
        "Metres or millimetres decide between rich and lazy; p = 1 is the mean-field scaling.",
    )


@counted
def check_cosine_from(answer: Callable) -> Feedback:
    """Check `cosine_from(drift, norm_ratio)`: the cosine between a kernel now and at the start."""

    def cosine(drift, ratio):
        return (1 + ratio**2 - drift**2) / (2 * ratio)

    return judge(
        answer,
        [(0.47, 0.55), (3.7, 4.5), (0.3, 1.1)],
        cosine,
        {
            "that is the square of the drift's part: expand ‖K − K₀‖² and solve for ⟨K, K₀⟩; the signs are wrong.": lambda drift, ratio: (
                (drift**2 - 1 - ratio**2) / (2 * ratio)
            ),
            "drift and norm ratio stand squared in ‖K − K₀‖² = ‖K‖² + ‖K₀‖² − 2 ⟨K, K₀⟩.": lambda drift, ratio: (
                (1 + ratio - drift) / (2 * ratio)
            ),
            "that is ⟨K, K₀⟩/‖K₀‖²; a cosine is also divided by the norm ratio.": lambda drift, ratio: (
                (1 + ratio**2 - drift**2) / 2
            ),
            "the 2 of the mixed term is missing.": lambda drift, ratio: (
                (1 + ratio**2 - drift**2) / ratio
            ),
            "that takes the drift for a right angle: the cosine is not 1 − drift²/2 unless the norms are equal.": lambda drift, ratio: (
                1 - drift**2 / 2
            ),
        },
        "0.47 and 0.55 are a catapult: the cosine is 0.98. A drift says little without its norm ratio.",
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
