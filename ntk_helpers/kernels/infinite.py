"""Kernels of infinitely wide networks: the NNGP of the first outputs, the NTK of the training."""

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ntk_helpers import _checks

ACTIVATIONS = ("erf", "relu", "tanh", "gelu", "sin", "linear")
BLOCK_ENTRIES = 2**15
NODES = 24


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

    Source: Jacot, Gabriel, Hongler 2018, arXiv:1806.07572, theorem 1; Lee et al. 2019,
    arXiv:1902.06720, appendix E.

    Args:
        x1: (n1, d) points.
        x2: (n2, d) points; None means x1, and gives exactly symmetric kernels.
        depth: Number of hidden layers, at least 1.
        activation: "erf", "relu", "tanh", "gelu", "sin" or "linear".
        sigma_w: Standard deviation σ_w of the weights.
        sigma_b: Standard deviation σ_b of the biases.

    Returns:
        The kernels, with the device and dtype of x1.

    Raises:
        TypeError: If an argument is of the wrong type, or dtypes differ.
        ValueError: If shapes or devices do not fit, a value is out of range, or kernels overflow.

    Example:
        >>> infinite_kernels(torch.ones(1, 2), activation="linear", sigma_b=0.0)
        Kernels(nngp=tensor([[1.]]), ntk=tensor([[2.]]))
    """
    _checks.require_tensor("x1", x1, ndim=(2,))
    other = x1 if x2 is None else x2
    _checks.require_tensor("x2", other, ndim=(2,))
    _checks.require_same_place(x1=x1, x2=other)
    if x1.shape[1] != other.shape[1]:
        raise ValueError(
            f"x1 and x2 must have the same number of inputs; got {x1.shape[1]} and "
            f"{other.shape[1]}. Points are rows: n points of d inputs have shape (n, d)."
        )
    _checks.require_integer("depth", depth, at_least=1)
    _checks.require_choice("activation", activation, ACTIVATIONS)
    _checks.require_number("sigma_w", sigma_w, positive=True)
    _checks.require_number("sigma_b", sigma_b)

    exact = {"device": "cpu" if x1.device.type == "mps" else x1.device, "dtype": torch.float64}
    a, b = x1.detach().to(**exact), other.detach().to(**exact)
    rows = max(1, BLOCK_ENTRIES // len(b))
    settings = (depth, activation, sigma_w**2, sigma_b**2)
    blocks = [_layer_by_layer(part, b, *settings) for part in a.split(rows)]
    nngp, ntk = (torch.cat(block) for block in zip(*blocks, strict=True))
    if x2 is None:
        nngp, ntk = (nngp + nngp.T) / 2, (ntk + ntk.T) / 2
    kernels = Kernels(nngp.to(x1), ntk.to(x1))
    if not all(_checks.is_finite(kernel) for kernel in kernels):
        raise ValueError(
            f"the kernels overflow {x1.dtype}: the inputs reach {float(x1.abs().max()):.3g}, and "
            f"each layer multiplies by sigma_w² = {sigma_w**2:.3g}. Scale the inputs or sigma_w "
            f"down, or take torch.float64."
        )
    return kernels


def _layer_by_layer(a: Tensor, b: Tensor, depth: int, activation: str, w2: float, b2: float):
    """Return (Σ, Θ) of rows `a`, rows `b` by the recursion of `Kernels`; w2 = σ_w², b2 = σ_b²."""
    expectations = globals()[f"_{activation}"]
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


def _determinant(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    """Return q1 q2 − c² ≥ 0, exactly 0 for vectors that are parallel up to rounding.

    Without the threshold, duplicate points would get an angle of √ε ≈ 1e-8, not the diagonal's 0.
    """
    product = q1 * q2
    determinant = product - c * c
    return torch.where(determinant <= 1e-13 * product, 0.0, determinant)


def _linear(q1: Tensor, q2: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return E[φ(u)φ(v)], E[φ'(u)φ'(v)] for φ(z) = z; Var u = q1, Var v = q2, Cov(u, v) = c."""
    return c, torch.ones_like(c)


def _relu(q1: Tensor, q2: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pair for φ(z) = max(z, 0), with θ the angle between u and v.

    `(√(q1 q2) sin θ + (π − θ) c) / 2π` and `(π − θ) / 2π`.
    Source: Cho & Saul 2009, "Kernel methods for deep learning", equations 3–6.
    """
    sine = _determinant(q1, q2, c).sqrt()
    theta = torch.atan2(sine, c)
    slopes = (math.pi - theta) / (2 * math.pi)
    return sine / (2 * math.pi) + slopes * c, slopes


def _erf(q1: Tensor, q2: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pair for φ = erf.

    With s² = (1+2q1)(1+2q2): `(2/π) arcsin(2c/s)` and `(4/π) / √(s² − 4c²)`.
    Source: Williams 1996, "Computing with infinite networks", equation 11.
    """
    root = (1 + 2 * (q1 + q2) + 4 * _determinant(q1, q2, c)).sqrt()
    return 2 / math.pi * torch.atan2(2 * c, root), 4 / math.pi / root


def _sin(q1: Tensor, q2: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pair for φ = sin: `½(e^{−Var(u−v)/2} ∓ e^{−Var(u+v)/2})`.

    Source: Pearce, Tsuchida, Zaki, Brintrup, Neely 2019, arXiv:1905.06076, section 3.
    """
    size = q1 + q2
    # What is left by rounding alone counts as 0: of large inputs it would be large.
    variances = (torch.where(v <= 1e-14 * size, 0.0, v) for v in (size - 2 * c, size + 2 * c))
    near, far = (torch.exp(-v / 2) for v in variances)
    # near − far, without cancellation for small inputs
    gap = c.sign() * torch.maximum(near, far) * -torch.expm1(-2 * c.abs())
    return gap / 2, (near + far) / 2


def _gelu(q1: Tensor, q2: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pair for φ(z) = z Φ(z), Φ the normal distribution function and p its density.

    With r² = (1+q1)(1+q2) − c², P = E[p(u)p(v)] = 1/(2πr), M = E[Φ(u)Φ(v)] = ¼ + arctan(c/r)/2π:
    `c M + (q1 q2 r² + c²) P / ((1+q1)(1+q2))` and `M + c P (1/(1+q1) + 1/(1+q2) + 1/r²)`.
    Source: Stein's lemma; Tsuchida et al. 2020, arXiv:2002.08517, section 3.
    """
    r2 = 1 + q1 + q2 + _determinant(q1, q2, c)
    r = r2.sqrt()
    density = 1 / (2 * math.pi * r)
    mass = 0.25 + torch.atan2(c, r) / (2 * math.pi)
    both = c * mass + density * (q1 * q2 * r2 + c * c) / ((1 + q1) * (1 + q2))
    return both, mass + c * density * (1 / (1 + q1) + 1 / (1 + q2) + 1 / r2)


@cache
def _erfs_of_tanh() -> tuple[Tensor, Tensor]:
    """Return slopes a and weights p with tanh(z) = Σ_i p_i erf(a_i z), to 1e-13 for every z.

    A logistic variable is 2V times a normal one, where V has Kolmogorov's distribution, of density
    k(v) = 8v Σ_n (−1)^{n+1} n² e^{−2n²v²}. So tanh(z) = E[erf(z / √2 V)]; the integral over log v
    is a sum over even steps, whose error falls exponentially with their number.

    Source: Andrews & Mallows 1974, "Scale mixtures of normal distributions", section 3.
    """
    exact = {"dtype": torch.float64, "device": "cpu"}
    v = torch.linspace(math.log(0.17), math.log(4.2), NODES, **exact).exp()
    n = torch.arange(1, 60, **exact)[:, None]
    density = 8 * v * ((-1) ** (n + 1) * n**2 * torch.exp(-2 * (n * v) ** 2)).sum(0)
    weights = density * v
    return 0.5**0.5 / v, weights / weights.sum()


def _tanh(q1: Tensor, q2: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pair for φ = tanh: for a sum of erfs, the sum over all pairs of them."""
    a, p = (t.to(c.device).reshape(-1, *[1] * c.ndim) for t in _erfs_of_tanh())
    both, slopes = torch.zeros_like(c), torch.zeros_like(c)
    for a1, p1 in zip(a, p, strict=True):
        value, slope = _erf(a1**2 * q1, a**2 * q2, a1 * a * c)
        both += p1 * (p * value).sum(0)
        slopes += p1 * a1 * (p * a * slope).sum(0)
    return both, slopes
