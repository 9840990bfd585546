"""A kernel in its eigenbasis: what each mode has learned by a time, or after some steps."""

import math
import warnings

import torch
from torch import Tensor

from ntk_helpers import _checks
from ntk_helpers.theory import _inputs


class Modes:
    """The modes of a kernel K = V Λ Vᵀ under training with a ridge ρ and the factor c of the loss.

    Attributes:
        values: (n,) λ, ascending; those up to `cutoff` are given as 0.
        vectors: (n, n), one in each column.
        cutoff: What counts as 0.
        rank: How many eigenvalues are above it.
        max_learning_rate: 2 / (c (λ_max + ρ)).
    """

    def __init__(self, kernel: Tensor, scale: float, ridge: float, given: torch.dtype):
        """Decompose a kernel in float64, which was given in another dtype perhaps."""
        raw, self.vectors = eigenpairs("k_train", kernel, given)
        low, high = float(raw[0]), float(raw[-1])
        exact, rounding = (10 * len(raw) * torch.finfo(d).eps * high for d in (raw.dtype, given))
        self.cutoff = max(rounding, -low)
        self.values = torch.where(raw > self.cutoff, raw, 0.0)
        self.rank = int((self.values > 0).sum())
        self.max_learning_rate = 2 / (scale * (high + ridge)) if high + ridge > 0 else math.inf
        values = raw.clamp(min=0)[:, None]
        known = values + ridge > self.cutoff
        self._scale, self._total = scale, torch.where(known, values + ridge, 0.0)  # λ + ρ
        self._share = torch.where(known, values / (values + ridge), 0.0)  # λ/(λ + ρ)
        # A point that comes twice has an eigenvalue that is 0 to the rounding of float64.
        lost = (raw.abs() > exact) & ~known[:, 0]
        self._given, self._warns = given, given != raw.dtype and bool(lost.any())

    def flow(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return λ/(λ + ρ) (1 − e^{−c(λ + ρ)t}) and the same over λ, (n, 1) or (T, n, 1)."""
        t = _inputs.grid("t", t, like=self.values)
        rate = self._scale * self._total
        return self._learned(torch.where(rate > 0, -torch.expm1(-rate * t), 0.0), t)

    def flow_elsewhere(self, t: float | Tensor) -> Tensor:
        """Return the second of `flow`; warn if t = ∞ needs eigenvalues that rounding has taken.

        On the training points no word is needed: there the outputs are seen to miss the targets.
        """
        gain = self.flow(t)[1]
        if self._warns and torch.as_tensor(t).isinf().any():
            self._warns = False
            warnings.warn(
                f"only {self.rank} of the {len(self.values)} eigenvalues of k_train are above the "
                f"rounding of {self._given}, in which it was given; the others count as 0, and "
                f"what they might teach is missing at t = ∞. Compute the kernel in torch.float64, "
                f"or give a ridge (noise) above {self.cutoff:.2g}.",
                RuntimeWarning,
                stacklevel=3,
            )
        return gain

    def descent(self, k: int | Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        """Return λ/(λ + ρ) (1 − (1 − ηc(λ + ρ))ᵏ) and the same over λ, (n, 1) or (T, n, 1)."""
        _checks.require_number("learning_rate", learning_rate, positive=True)
        k = _inputs.grid("k", k, like=self.values)
        if not torch.equal(k, k.round()) or k.isinf().any():
            raise ValueError(f"k must hold whole, finite numbers; got {k.flatten().tolist()[:5]}.")
        a = learning_rate * self._scale * self._total
        small = -torch.expm1(k * torch.log1p(-a.clamp(max=0.5)))
        return self._learned(torch.where(a < 0.5, small, 1 - (1 - a) ** k), learning_rate * k)

    def _learned(self, done: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return done · λ/(λ + ρ) and done/(λ + ρ), and the limit ct where λ + ρ counts as 0.

        The limit fades as t passes 1/cutoff: exactly, K(x, X) carries nothing from the null space
        to test points, and by then ct would amplify the rounding that it does carry.
        """
        ct = self._scale * t
        limit = torch.where(t.isinf(), 0.0, ct * torch.exp(-self.cutoff * ct))
        gain = torch.where(self._total > 0, done / self._total, limit)
        return torch.where(self._share > 0, done * self._share, 0.0), gain


def eigenpairs(name: str, kernel: Tensor, given: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (n,), ascending, and eigenvectors (n, n) of a kernel given in a dtype.

    Raises:
        ValueError: If it is not symmetric, up to √ε, or has an eigenvalue below −1e-4 λ_max, which
            no rounding explains.
    """
    asymmetry, size = float((kernel - kernel.T).abs().max()), float(kernel.abs().max())
    if asymmetry > math.sqrt(torch.finfo(given).eps) * size:
        raise ValueError(
            f"{name} is not symmetric: |K − Kᵀ| is up to {asymmetry:.3g}, with entries up to "
            f"{size:.3g}. Give the kernel of the training points with themselves."
        )
    values, vectors = torch.linalg.eigh((kernel + kernel.T) / 2)
    low, high = float(values[0]), float(values[-1])
    if low < -1e-4 * max(high, 0.0):
        raise ValueError(
            f"{name} is not positive semidefinite: its eigenvalues run from {low:.3g} to "
            f"{high:.3g}. A tangent kernel J Jᵀ has none below 0: look for a wrong sign or an "
            f"index out of place."
        )
    return values, vectors


def mixed(vectors: Tensor, factors: Tensor, amplitudes: Tensor) -> Tensor:
    """Return Σ_j vectors_j factors_j amplitude_j; where descent overflows, ±inf."""
    modes = torch.where(amplitudes == 0, 0.0, factors * amplitudes)
    change, grown = vectors @ modes, ~modes.isfinite()
    if grown.any():  # a point that no such mode reaches has got 0 · inf
        reached = (vectors != 0).to(modes) @ grown.to(modes) > 0
        change = torch.where(reached, change, vectors @ modes.masked_fill(grown, 0.0))
    return torch.where(change.isnan(), math.inf, change)
