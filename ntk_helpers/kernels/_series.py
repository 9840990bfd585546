"""Gaussian expectations of an activation that is given as a function."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_helpers import _checks
from ntk_helpers.activations import ACTIVATIONS
from ntk_helpers.kernels._hermite import TERMS, Rows, all_rows, horner, ladder, nodes

LEFT_OUT = 2e-13  # of a whole series; rounding alone leaves some 1e-14
STEEP = 20.0  # of √q: from there on quadrature no longer sees that a step, as of tanh, has a slope
STRIP = 256  # points at once, each at 1,024 nodes: they fit in a cache


@dataclass
class Expansion:
    """An activation at n variances q, for z ~ N(0, 1): φ(√q z) = Σ_k a_k h_k(z).

    Attributes:
        scale: (n,) √q, or a small number where q is nearly 0.
        a: (2, J, n) √w_j a_k, even k and odd k.
        left: (J + 1, n) √ of the share that row j and all after it have in Σ k a_k², beside what a
            kink at 0 has; the last is a guess at what comes after all rows.
        rows: Which terms these are.
        parities: 0 if there are even k, and 1 if there are odd k.
        ends: Whether they hold all of E[φ(u)²], at each of the variances.
    """

    scale: Tensor
    a: Tensor
    left: Tensor
    rows: Rows
    parities: list[int]
    ends: bool

    def __getitem__(self, some: slice) -> "Expansion":
        """Return the expansion at some of the variances."""
        parts = self.scale[some], self.a[..., some], self.left[:, some]
        return Expansion(*parts, self.rows, self.parities, self.ends)


class Series:
    """The expectations of an activation φ as power series in the correlation ρ of u and v.

    With c = Cov(u, v) = ρ √(q1 q2)::

        E[φ(u) φ(v)] = Σ_k a_k(q1) a_k(q2) ρᵏ      (Mehler)

    E[φ'(u) φ'(v)] is its derivative in c (Price), so that φ' is never asked for. A smooth φ takes
    tens to thousands of terms, the more the larger the variances. A kink takes any number: where
    they break off, one at 0 goes on as that multiple of ReLU does which has the same kink.

    Source: Daniely, Frostig, Singer 2016, arXiv:1602.05897, section 4.2; Price 1958, "A useful
    theorem for nonlinear devices having Gaussian inputs".

    Attributes:
        error: An estimate of the largest relative error of E[φ'(u)²] up to now. Of pairs u, v that
            are less correlated it is smaller, and so it is of E[φ(u) φ(v)].
    """

    def __init__(self, phi: Callable[[Tensor], Tensor], otherwise: Callable | None = None):
        """Take φ and, if it has one, a slower formula for pairs that ask for too many terms."""
        self.phi, self.otherwise, self.error = phi, otherwise, 0.0
        grid = torch.linspace(-3, 3, 20, dtype=torch.float64, device="cpu").view(4, 5)
        if not torch.allclose(self._values(grid.clone())[::2, :3], self._values(grid[::2, :3] + 0)):
            raise ValueError(
                "activation must act on each number by itself, without chance: it gave other "
                "values for a part of its argument."
            )
        steps = 1e-5 * torch.tensor([1.0, 0.5, 0.0, -0.5, -1.0], dtype=torch.float64, device="cpu")
        far, near, here, before, back = self._values(steps).tolist()
        long, short = 1e5 * (far + back - 2 * here), 2e5 * (near + before - 2 * here)
        # Both are φ'(+0) − φ'(−0), but for curvature; at a step one would be twice the other.
        is_kink = abs(short - long) < 0.01 * abs(short) and abs(short) > 1e-6
        self.kink = 2 * short - long if is_kink else 0.0
        self.least = 1e-150 if here == 0 else 1e-5  # of √q, for φ(√q z) − φ(0) to have digits

    def at(self, q: Tensor) -> Expansion:
        """Return the expansions at variances q (n,)."""
        scale = q.sqrt().clamp(min=self.least)
        at, error = self._expanded(scale, ladder())
        if not at.ends and self.otherwise is None:
            at, error = self._expanded(scale, all_rows())
            self.error = max(self.error, 0.0 if at.ends else error)
        return at

    def square(self, at: Expansion) -> Tensor:
        """Return E[φ(u)²] (n,), as `pair` gives it for u = v."""
        value = at.a.square().sum((0, 1)) + self._square_beyond(at.scale, at.rows)
        if self.otherwise is not None:
            open_ = (at.left[-1] ** 2 > LEFT_OUT) | (at.scale > STEEP)
            value[open_] = self.otherwise(*[at.scale[open_] ** 2] * 3)[0]
        return value

    def pair(self, first: Expansion, second: Expansion, c: Tensor) -> tuple[Tensor, Tensor]:
        """Return E[φ(u) φ(v)] and E[φ'(u) φ'(v)] for covariances c (n1, n2)."""
        size = first.scale[:, None] * second.scale
        rho = (c / size).clamp(-1, 1)
        x, largest = rho * rho, max(rho.max(), -rho.min())
        f, g = (at.left.amax(1) for at in (first, second))
        left = torch.maximum(f, g) ** 2 if self.kink else f * g  # a kink adds to products
        j = torch.tensor([*first.rows.j, first.rows.j[-1]], device=c.device)
        needed = max(1, int((left * largest ** (2 * j) > LEFT_OUT).sum()))
        k, j = (2 * j[:-1, None], 2 * j[:-1, None] + 1), first.rows.j[:needed]
        value, slope = torch.zeros_like(c), torch.zeros_like(c)
        for odd in first.parities:
            a, b = first.a[odd], second.a[odd]
            v, s = horner(x, j, torch.stack([a, k[odd] * a], 1)[..., None], b)
            least = a[0, :, None] * b[0]
            v = v.mul_(x).add_(least)
            value += v.mul_(rho) if odd else v
            slope += s.mul_(x).add_(least) if odd else s.mul_(rho)
        if self.kink:
            more, slope_of_more = self._beyond(rho, first.rows, j)
            value += self.kink**2 * size * more
            slope += self.kink**2 * size * slope_of_more
        slope /= size
        if self.otherwise is not None:
            steep = (first.scale > STEEP)[:, None] | (second.scale > STEEP)
            open_ = (first.left[-1][:, None] * second.left[-1] > LEFT_OUT) | steep
            if open_.any():
                scales = first.scale[:, None].expand_as(c), second.scale.expand_as(c)
                q1, q2 = (scale[open_] ** 2 for scale in scales)
                value[open_], slope[open_] = self.otherwise(q1, q2, c[open_])
        return value, slope

    def _beyond(self, rho: Tensor, rows: Rows, j: list[int]) -> tuple[Tensor, Tensor]:
        """Return what ReLU's series at variance 1 has beyond the terms j, and its derivative."""
        x, one, relu = rho * rho, torch.ones_like(rho), rows.relu.to(rho.device)
        value, slope = ACTIVATIONS["relu"].expectations(one, one, rho)
        k = 2 * torch.tensor(rows.j, device=rho.device)
        both = torch.stack([relu, k * relu], 1)[..., None, None]
        v, s = horner(x, j, both, one[:1, :1].expand(len(k), 1))
        return value - rho / 4 - relu[0] - x * v, slope - 0.25 - rho * s

    def _square_beyond(self, scale: Tensor, rows: Rows) -> Tensor:
        """Return what the kink adds to E[φ(u)²] beyond all terms."""
        return (self.kink * scale) ** 2 * (0.25 - rows.relu.sum())

    def _expanded(self, scale: Tensor, rows: Rows) -> tuple[Expansion, float]:
        """Return the expansions at n roots of variances, and an estimate of `error`."""
        strips = [self._strip(some, rows) for some in scale.split(STRIP)]
        a, left, error, ends = zip(*strips, strict=True)
        a, left = torch.cat(a, -1), torch.cat(left, -1)
        parities = [odd for odd in (0, 1) if a[odd].any()]
        return Expansion(scale, a, left, rows, parities, all(ends)), max(error)

    def _strip(self, scale: Tensor, rows: Rows) -> tuple[Tensor, Tensor, float, bool]:
        """Return `a` and `left` of an expansion, an estimate of `error`, and whether it ends."""
        z, weights, table = (t.to(scale.device) for t in (*nodes(), rows.table))
        plus, minus = self._values(scale[:, None] * z), self._values(-scale[:, None] * z)
        squares = (plus.square() + minus.square()) @ weights
        a = table.new_zeros(*table.shape[:2], len(scale))
        for odd, part in enumerate((plus + minus, plus - minus)):
            if part.any():  # one is 0 for an odd or an even function
                torch.mm(table[odd], part.mT, out=a[odd])
        power, j = a * a, torch.tensor(rows.j, device=a.device)
        k = torch.stack([2 * j, 2 * j + 1])[:, :, None]
        whole = (k * power).sum((0, 1))
        lost = (squares - power.sum((0, 1)) - self._square_beyond(scale, rows)).abs()  # Parseval
        power[0] -= rows.relu.to(a.device)[:, None] * (self.kink * scale) ** 2
        left = (k * power.abs()).sum(0).flip(0).cumsum(0).flip(0)
        beyond = left[(4 * j < 3 * j[-1]).sum()]
        left = torch.cat([left, beyond[None]]).clamp(min=beyond).div(whole).nan_to_num().sqrt()
        ends = (lost <= LEFT_OUT * squares).all()
        # A kink's a_k² fall as k^−5/2. So of Σ k a_k², 3 K times the a_k² that are lost after K is
        # lost, and also 6.5 times what the last quarter holds. The numbers here leave a margin.
        error = torch.maximum(5 * TERMS * lost / whole, 10 * left[-1] ** 2).nan_to_num(1.0)
        return a, left, float(error.max()), bool(ends)

    def _values(self, u: Tensor) -> Tensor:
        """Return φ(u), after a look at it; φ may overwrite u."""
        shape, reach = tuple(u.shape), float(u.abs().max())
        try:
            with torch.no_grad():
                h = self.phi(u)
        except Exception as error:
            raise TypeError(
                f"activation raised {type(error).__name__} ({error}); it must be a function of a "
                f"tensor, as torch.nn.functional.silu is."
            ) from error
        if not isinstance(h, Tensor) or h.shape != shape or h.dtype != u.dtype:
            got = f"{tuple(h.shape)}, {h.dtype}" if isinstance(h, Tensor) else type(h).__name__
            raise TypeError(
                f"activation must return a tensor of the shape and dtype that it is given, here "
                f"{shape}, {u.dtype}; got {got}."
            )
        if not _checks.is_finite(h):
            raise ValueError(
                f"activation returns NaN or infinite values for numbers up to ±{reach:.3g}. Mend "
                f"it, or scale the inputs or sigma_w down."
            )
        return h
