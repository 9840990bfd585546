"""Kernels of infinitely wide networks: the NNGP of the first outputs, the NTK of the training."""

from typing import NamedTuple

import torch
from torch import Tensor

from ntk_helpers import _checks
from ntk_helpers.activations import ACTIVATIONS

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
    activation: str = "erf",
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
        activation: "erf", "relu", "tanh", "gelu", "sin" or "linear".
        sigma_w: Standard deviation σ_w of the weights.
        sigma_b: Standard deviation σ_b of the biases.

    Returns:
        The kernels, with the device and dtype of x1.

    Raises:
        MemoryError: If the two kernels do not fit.

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
    _checks.require_choice("activation", activation, ACTIVATIONS)
    _checks.require_number("sigma_w", sigma_w, positive=True)
    _checks.require_number("sigma_b", sigma_b)

    kernels = _reserve(len(x1), len(other), like=x1)
    exact = {"device": "cpu" if x1.device.type == "mps" else x1.device, "dtype": torch.float64}
    a, b = x1.detach().to(**exact), other.detach().to(**exact)
    rows = max(1, BLOCK_ENTRIES // len(b))
    for start in range(0, len(a), rows):
        here, there = slice(start, start + rows), slice(start if x2 is None else 0, None)
        blocks = _layer_by_layer(a[here], b[there], depth, activation, sigma_w**2, sigma_b**2)
        for kernel, block in zip(kernels, blocks, strict=True):
            if x2 is None:  # only the blocks on and above the diagonal are computed
                square = block[:, : len(block)]
                square.copy_((square + square.mT) / 2)
                kernel[there, here] = block.mT
            kernel[here, there] = block
    if not all(_checks.is_finite(kernel) for kernel in kernels):
        raise ValueError(
            f"the kernels overflow {x1.dtype}: the inputs reach {float(x1.abs().max()):.3g}, and "
            f"each layer multiplies by sigma_w² = {sigma_w**2:.3g}. Scale the inputs or sigma_w "
            f"down, or take torch.float64."
        )
    return kernels


def _reserve(n1: int, n2: int, like: Tensor) -> Kernels:
    """Return memory for two kernels (n1, n2), or say that they do not fit."""
    try:
        like.new_empty(2, n1, n2)  # both at once: a system may grant one after the other
        return Kernels(like.new_empty(n1, n2), like.new_empty(n1, n2))
    except RuntimeError as error:
        size = 2 * n1 * n2 * like.element_size() / 1e9
        raise MemoryError(
            f"NNGP and NTK of {n1:,} and {n2:,} points need {size:,.1f} GB. Take fewer points, or "
            f"some rows at a time: infinite_kernels(x[:1000], x)."
        ) from error


def _layer_by_layer(a: Tensor, b: Tensor, depth: int, activation: str, w2: float, b2: float):
    """Return (Σ, Θ) of rows `a`, rows `b` by the recursion of `Kernels`; w2 = σ_w², b2 = σ_b²."""
    expectations = ACTIVATIONS[activation].expectations
    d = a.shape[1]
    q1, q2 = (w2 * x.square().sum(1) / d + b2 for x in (a, b))
    nngp = w2 * (a @ b.T) / d + b2
    ntk = nngp
    for _ in range(depth):
        both, slopes = expectations(q1[:, None], q2[None, :], nngp)
        q1, q2 = (w2 * expectations(q, q, q)[0] + b2 for q in (q1, q2))
        nngp = w2 * both + b2
        ntk = nngp + w2 * slopes * ntk
    return nngp, ntk
