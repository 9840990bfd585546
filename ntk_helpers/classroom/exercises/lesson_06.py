"""Check the exercises of lesson 06: losses, block kernel and weights of a physics-informed network."""

from collections.abc import Callable

import torch
from torch import Tensor

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import draws, judge
from ntk_helpers.classroom.exercises._tally import counted


def _blocks(n_boundary: int, n_interior: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return K_uu, K_ur, K_rr of a random Jacobian."""
    j_u, j_r = draws((n_boundary, 9), (n_interior, 9), seed=seed)
    return j_u @ j_u.T, j_u @ j_r.T, j_r @ j_r.T


@counted
def check_pinn_loss(answer: Callable) -> Feedback:
    """Check `pinn_loss(u, g, u_xx, f)`: both sums of half squares, for (n_b,) and (n_r,) values."""
    return judge(
        answer,
        [tuple(draws((2,), (2,), (5,), (5,))), tuple(draws((4,), (4,), (3,), (3,), seed=1))],
        lambda u, g, u_xx, f: 0.5 * ((u - g).square().sum() + (u_xx - f).square().sum()),
        {
            "the ½ is missing in front of the sums.": lambda u, g, u_xx, f: (
                (u - g).square().sum() + (u_xx - f).square().sum()
            ),
            "these are means; the loss asked for here has plain sums.": lambda u, g, u_xx, f: (
                0.5 * ((u - g).square().mean() + (u_xx - f).square().mean())
            ),
            "these are means, and the ½ is missing, too: the loss asked for here is half of plain sums.": lambda u, g, u_xx, f: (
                (u - g).square().mean() + (u_xx - f).square().mean()
            ),
            "the equation is u″ = f, so its residual is u″ − f.": lambda u, g, u_xx, f: (
                0.5 * ((u - g).square().sum() + (u_xx + f).square().sum())
            ),
            "the boundary term is missing: u″ = f alone has many solutions.": lambda u, g, u_xx, f: (
                0.5 * (u_xx - f).square().sum()
            ),
            "the equation is missing: two boundary values do not make a solution.": lambda u, g, u_xx, f: (
                0.5 * (u - g).square().sum()
            ),
        },
        "Two losses in one sum: the rest of the lesson is about their quarrel.",
    )


@counted
def check_scaled_derivative(answer: Callable) -> Feedback:
    """Check `second_derivative(bend, s)`: u″(x) of u(x) = v((x − m)/s), from v″ there."""
    return judge(
        answer,
        [(2.5, 0.3), (-1.2, 4.0)],
        lambda bend, s: bend / s**2,
        {
            "that is one factor 1/s; each of the two derivatives brings one.": lambda bend, s: (
                bend / s
            ),
            "you multiplied. A narrow spread s makes v run faster, and its derivatives larger.": lambda bend, s: (
                bend * s**2
            ),
            "you multiplied, and by one s only: each of the two derivatives divides by s.": lambda bend, s: (
                bend * s
            ),
            "the chain rule was forgotten: the derivative in x is not that in (x − m)/s.": lambda bend, s: (
                bend
            ),
        },
        "For 100 points between 0 and 1 the factor is nearly 12, and 12² = 144 in K_rr.",
    )


@counted
def check_block_velocity(answer: Callable) -> Feedback:
    """Check `velocity(k_uu, k_ur, k_rr, wrong_b, wrong_r)`: d/dt (u; u″) as (n_b + n_r,)."""
    cases = [
        (*_blocks(2, 4, seed=0), *draws((2,), (4,), seed=1)),
        (*_blocks(3, 3, seed=2), *draws((3,), (3,), seed=3)),
    ]

    def velocity(k_uu, k_ur, k_rr, b, r):
        return -torch.cat([k_uu @ b + k_ur @ r, k_ur.T @ b + k_rr @ r])

    return judge(
        answer,
        cases,
        velocity,
        {
            "the sign: descent moves against the gradient.": lambda *a: -velocity(*a),
            "the blocks K_ur are missing: what is learned inside moves the boundary, too.": lambda k_uu, k_ur, k_rr, b, r: (
                -torch.cat([k_uu @ b, k_rr @ r])
            ),
            "the lower left block is missing.": lambda k_uu, k_ur, k_rr, b, r: (
                -torch.cat([k_uu @ b + k_ur @ r, k_rr @ r])
            ),
            "the upper right block is missing.": lambda k_uu, k_ur, k_rr, b, r: (
                -torch.cat([k_uu @ b, k_ur.T @ b + k_rr @ r])
            ),
            "with sums in the loss there is no 1/N here.": lambda k_uu, k_ur, k_rr, b, r: (
                velocity(k_uu, k_ur, k_rr, b, r) / (len(b) + len(r))
            ),
        },
        "One differential equation for both, and one kernel.",
    )


@counted
def check_balance_weights(answer: Callable) -> Feedback:
    """Check `balance_weights(k_uu, k_rr)`: (λ_b, λ_r) = (Tr K / Tr K_uu, Tr K / Tr K_rr)."""

    def weights(k_uu, k_rr):
        b, r = k_uu.trace(), k_rr.trace()
        return torch.stack([(b + r) / b, (b + r) / r])

    blocks = [_blocks(2, 4, seed=4), _blocks(3, 6, seed=5)]
    return judge(
        answer,
        [(k_uu, 50 * k_rr) for k_uu, _, k_rr in blocks],
        weights,
        {
            "the two are swapped: the slow boundary needs the large weight.": lambda k_uu, k_rr: (
                weights(k_uu, k_rr).flip(0)
            ),
            "they are upside down: a small trace is a slow loss, and needs a large weight.": lambda k_uu, k_rr: (
                1 / weights(k_uu, k_rr)
            ),
            "Tr K is the sum of both traces.": lambda k_uu, k_rr: torch.stack(
                [k_rr.trace() / k_uu.trace(), k_uu.trace() / k_rr.trace()]
            ),
            "that balances the largest eigenvalues; the question is about traces.": lambda k_uu, k_rr: (
                torch.stack(
                    [
                        1 + torch.linalg.eigvalsh(k_rr)[-1] / torch.linalg.eigvalsh(k_uu)[-1],
                        1 + torch.linalg.eigvalsh(k_uu)[-1] / torch.linalg.eigvalsh(k_rr)[-1],
                    ]
                )
            ),
        },
        "Then λ_b Tr K_uu = λ_r Tr K_rr: both losses have the same sum of rates.",
    )


@counted
def check_weighted_eigenvalues(answer: Callable) -> Feedback:
    """Check `weighted_eigenvalues(kernel, d)`: the eigenvalues of K diag(d), ascending, d > 0."""
    cases = []
    for seed, n in enumerate([4, 6]):
        b, d = draws((n, n), (n,), seed=seed + 6)
        cases.append((b @ b.T, d.square() + 0.1))

    def symmetric(kernel, d):
        root = d.sqrt()
        return torch.linalg.eigvalsh(root[:, None] * kernel * root)

    return judge(
        answer,
        cases,
        symmetric,
        {
            "the weights are missing.": lambda kernel, d: torch.linalg.eigvalsh(kernel),
            "eigvalsh reads one triangle of a matrix that is not symmetric. Make it symmetric first.": lambda kernel, d: (
                torch.linalg.eigvalsh(kernel * d)
            ),
            "D K is not symmetric either, and eigvalsh reads one triangle only. Make it symmetric first.": lambda kernel, d: (
                torch.linalg.eigvalsh(d[:, None] * kernel)
            ),
            "you put D on both sides; half of it goes to each: D^½ K D^½.": lambda kernel, d: (
                torch.linalg.eigvalsh(d[:, None] * kernel * d)
            ),
            "the order: ascending, as torch.linalg.eigvalsh returns them.": lambda kernel, d: (
                symmetric(kernel, d).flip(0)
            ),
        },
        "D^½ K D^½ is symmetric and PSD, so no eigenvalue of K D is imaginary or negative.",
    )
