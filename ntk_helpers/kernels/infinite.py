"""Kernels of infinitely wide networks: the NNGP of the first outputs, the NTK of the training."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ntk_helpers import _checks
from ntk_helpers.activations import ACTIVATIONS
from ntk_helpers.kernels._hermite import TERMS
from ntk_helpers.kernels._memory import memory_for
from ntk_helpers.kernels._series import Series

BLOCK_ENTRIES = 2**15  # of a kernel at once: in float64 they fit in the cache of one core


class Kernels(NamedTuple):
    """The two kernels of an MLP whose hidden layers are infinitely wide, one output.

    With (u, v) ~ N(0, Σˡ restricted to x, x')::

        Σ¹ = σ_w² x·x'/d + σ_b²      Σˡ⁺¹ = σ_w² E[φ(u) φ(v)] + σ_b²
        Θ¹ = Σ¹                      Θˡ⁺¹ = Σˡ⁺¹ + σ_w² E[φ'(u) φ'(v)] Θˡ

    For k outputs both are these times the k × k identity.

    Attributes:
        nngp: (n1, n2) Σ, the covariance of f(x) and f(x') over random networks.
        ntk: (n1, n2) Θ, the limit of J(x) J(x')ᵀ, the same for every draw.
    """

    nngp: Tensor
    ntk: Tensor


def infinite_kernels(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depth: int = 1,
    activation: str | Callable[[Tensor], Tensor] = "erf",
    sigma_w: float = 1.0,
    sigma_b: float = 0.1,
) -> Kernels:
    """Return NNGP and NTK of the infinitely wide `MLP` of these settings (NTK parameterisation).

    The work is done in float64 (on the CPU where a device has none), so that float32 inputs lose
    nothing between the layers. Points count as parallel where the vectors (σ_w x / √d, σ_b) differ
    in direction by less than 3e-7: nearly equal ones, and with large inputs also x and 2x. With erf
    and one input that costs 5e-5 of the kernel at x = 10⁶ and 18 % at 10⁷.

    Derived in notebooks/04_infinite_width.ipynb, "Which kernel does a network with
    infinitely many units have?".

    Source: Jacot, Gabriel, Hongler 2018, arXiv:1806.07572, theorem 1; Lee et al. 2019,
    arXiv:1902.06720, appendix E.

    Args:
        x1: (n1, d) points.
        x2: (n2, d) points; None means x1, takes half the time and gives exactly symmetric kernels.
        depth: Number of hidden layers, at least 1.
        activation: "erf", "relu", "tanh", "gelu", "sin" or "linear"; or a function of a tensor that
            acts on each number by itself, such as torch.nn.functional.silu, which takes four times
            as long as erf. Smooth functions, also beside a kink at 0 as leaky ReLU's, are right to
            1e-9 as long as Σ¹(x, x) stays below 20 or so (inputs of a few standard deviations), ELU
            to 1e-6 in fifty times erf's time. For other kinks, steps, and larger inputs, a
            RuntimeWarning tells an error of more than 0.1 %.
        sigma_w: Standard deviation σ_w of the weights.
        sigma_b: Standard deviation σ_b of the biases.

    Returns:
        The kernels, with the device and dtype of x1.

    Raises:
        MemoryError: If the two kernels do not fit, before anything is computed.

    Example:
        >>> infinite_kernels(torch.ones(1, 2), activation="linear", sigma_b=0.0)
        Kernels(nngp=tensor([[1.]]), ntk=tensor([[2.]]))
    """
    _checks.require_tensor("x1", x1, ndim=(2,))
    other = x1 if x2 is None else x2
    _checks.require_tensor("x2", other, ndim=(2,))
    _checks.require_same_place(x1=x1, x2=other)
    _checks.require_same_inputs(x1=x1, x2=other)
    _checks.require_integer("depth", depth, at_least=1)
    if not callable(activation):
        _checks.require_choice("activation", activation, ACTIVATIONS)
    _checks.require_number("sigma_w", sigma_w, positive=True)
    _checks.require_number("sigma_b", sigma_b)

    law = _law(activation)
    kernels = _reserve(x1, other, depth + 1 if isinstance(law, Series) else 0)
    a, b = (x.detach().to(**_checks.exact(x)) for x in (x1, other))
    symmetric, w2, b2 = x2 is None, sigma_w**2, sigma_b**2
    if isinstance(law, Series):  # what needs many terms stands together, and what needs few
        rows, columns = (x.square().sum(1).argsort() for x in (a, b))
        _fill(kernels, a[rows], b[columns], symmetric, law, depth, w2, b2)
        for kernel in kernels:
            _put_back(kernel, rows, columns)
        if law.error > 1e-3:
            warnings.warn(
                f"the kernels may be wrong by up to {min(law.error, 1):.1%} between points of "
                f"nearly the same direction, less for others: {TERMS:,} terms of a series do not "
                f"resolve the activation, for it has a kink away from 0, or a step, or bends too "
                f"fast for inputs of this size.",
                RuntimeWarning,
                stacklevel=2,
            )
    else:
        _fill(kernels, a, b, symmetric, law, depth, w2, b2)
    _require_finite(kernels, x1, w2)
    return kernels


class _ClosedForm(NamedTuple):
    """The expectations of an activation by a formula, called as those of a `Series`."""

    expectations: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

    def at(self, q: Tensor) -> Tensor:
        """Return what `square` and `pair` want to know of variances q (n,): themselves."""
        return q

    def square(self, q: Tensor) -> Tensor:
        """Return E[φ(u)²] (n,)."""
        return self.expectations(q, q, q)[0]

    def pair(self, q1: Tensor, q2: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Return E[φ(u) φ(v)] and E[φ'(u) φ'(v)] for covariances c (n1, n2)."""
        return self.expectations(q1[:, None], q2[None, :], c)


def _law(activation: str | Callable[[Tensor], Tensor]) -> _ClosedForm | Series:
    """Return what knows the Gaussian expectations of an activation."""
    if callable(activation):
        return Series(activation)
    phi, _, _, expectations = ACTIVATIONS[activation]
    # Tanh is a sum of 24 erfs, its expectations one of 576: right at every scale, and slow.
    return Series(phi, expectations) if activation == "tanh" else _ClosedForm(expectations)


def _reserve(x1: Tensor, x2: Tensor, expansions: int) -> Kernels:
    """Return memory for two kernels (n1, n2), or say that they do not fit."""
    n1, n2 = len(x1), len(x2)
    # Beside the kernels: the points twice, the expansions of all layers (some 350 numbers each)
    # and strips of one more, tables, tiles.
    work = 2 * (x1.numel() + x2.numel()) + 350 * expansions * (n1 + n2) + 2**22
    what = f"NNGP and NTK of {n1:,} and {n2:,} points need"
    advice = "Take fewer points, or some rows at a time: infinite_kernels(x[:1000], x)."
    with memory_for(what, 2 * n1 * n2 * x1.element_size() + 8 * work, x1.device, advice):
        return Kernels(x1.new_empty(n1, n2), x1.new_empty(n1, n2))


def _require_finite(values: Iterable[Tensor], x: Tensor, w2: float) -> None:
    """Raise ValueError if `values` overflow, which were computed for points x; w2 = σ_w²."""
    if not all(_checks.is_finite(value) for value in values):
        raise ValueError(
            f"the kernels overflow {x.dtype}: the inputs reach {float(x.abs().max()):.3g}, and "
            f"each layer multiplies by sigma_w² = {w2:.3g}. Scale the inputs or sigma_w down, or "
            f"take torch.float64."
        )


def _fill(kernels: Kernels, a: Tensor, b: Tensor, symmetric: bool, law, depth, w2, b2) -> None:
    """Write the kernels of points a (n1, d) and b (n2, d), one tile after another."""
    layers = list(_at_each_layer(a if symmetric else torch.cat([a, b]), law, depth, w2, b2))
    layers = [(at[: len(a)], at[-len(b) :]) for at in layers]
    rows = min(len(a), max(1, math.isqrt(BLOCK_ENTRIES // 8)))  # a series likes long rows
    columns = BLOCK_ENTRIES // rows
    for i in range(0, len(a), rows):
        for j in range(i if symmetric else 0, len(b), columns):
            here, there = slice(i, i + rows), slice(j, j + columns)
            pairs = [(law, first[here], second[there]) for first, second in layers]
            for kernel, tile in zip(kernels, _tile(a[here], b[there], pairs, w2, b2), strict=True):
                if symmetric:  # only the tiles on and above the diagonal are computed
                    if i == j:
                        square = tile[:, : len(tile)]
                        square.copy_((square + square.mT) / 2)
                    kernel[there, here] = tile.mT
                kernel[here, there] = tile


def _at_each_layer(x: Tensor, law, depth: int, w2: float, b2: float) -> Iterator:
    """Yield what `law` wants to know of Σ(x, x), the variances before each activation."""
    q = w2 * x.square().sum(1) / x.shape[1] + b2
    for layer in range(depth):
        _require_finite([q], x, w2)
        at = law.at(q)
        yield at
        if layer < depth - 1:
            q = w2 * law.square(at) + b2


def _tile(a: Tensor, b: Tensor, pairs: list, w2: float, b2: float) -> tuple[Tensor, Tensor]:
    """Return (Σ, Θ) of rows `a`, rows `b` by the recursion of `Kernels`; w2 = σ_w², b2 = σ_b²."""
    nngp = w2 * (a @ b.T) / a.shape[1] + b2
    ntk = nngp
    for law, first, second in pairs:
        both, slopes = law.pair(first, second, nngp)
        nngp = w2 * both + b2
        ntk = nngp + w2 * slopes * ntk
    return nngp, ntk


def _put_back(kernel: Tensor, rows: Tensor, columns: Tensor) -> None:
    """Move entry [i, j] of `kernel` to [rows[i], columns[j]], in place."""
    rows, columns = rows.argsort().to(kernel.device), columns.argsort().to(kernel.device)
    for strip in kernel.split(128):
        strip.copy_(strip.gather(1, columns.expand_as(strip)))
    for strip in kernel.split(128, dim=1):
        strip.copy_(strip[rows])
