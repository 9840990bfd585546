"""Each activation φ once: its values, its slope, and its means over Gaussian inputs."""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import gelu


class Activation(NamedTuple):
    """What networks and kernels ask of an activation φ.

    Attributes:
        phi: z ↦ φ(z).
        into: (z, out) ↦ φ(z), written into the memory `out`. That a step of training reserves no
            memory makes it about 3 times faster.
        slope_: (z, h) ↦ φ'(z), written over z, where h = φ(z) stays as it is.
        expectations: (q1, q2, c) ↦ (E[φ(u) φ(v)], E[φ'(u) φ'(v)]) for Gaussian u and v of mean 0
            with Var u = q1, Var v = q2, Cov(u, v) = c.
    """

    phi: Callable[[Tensor], Tensor]
    into: Callable[..., Tensor]
    slope_: Callable[[Tensor, Tensor], Tensor]
    expectations: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _erf_slope(z: Tensor, h: Tensor) -> Tensor:
    """Overwrite z by (2/√π) e^{−z²}, in two passes over it."""
    log_scale = z.new_full((), math.log(2 / math.sqrt(math.pi)))
    return torch.addcmul(log_scale, z, z, value=-1, out=z).exp_()


def _gelu_slope(z: Tensor, h: Tensor) -> Tensor:
    """Overwrite z by Φ(z) + z p(z), with Φ and p of the standard normal distribution."""
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return torch.addcmul(torch.special.ndtr(z), z, density, out=z)


def _determinant(q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    """Return q1 q2 − c² ≥ 0, exactly 0 for vectors that are parallel up to rounding.

    Without the threshold, duplicate points would get an angle of √ε ≈ 1e-8, not the diagonal's 0.
    1e-13 is an angle of 3e-7, and some hundred times what rounding leaves after many layers.
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
    # What rounding alone leaves, some ε = 2e-16 of the size, counts as 0: it may exceed 1.
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
def erfs_of_tanh() -> tuple[Tensor, Tensor]:
    """Return slopes a and weights p with tanh(z) = Σ_i p_i erf(a_i z), to 1e-13 for every z.

    A logistic variable is 2V times a normal one, where V has Kolmogorov's distribution, of density
    k(v) = 8v Σ_n (−1)^{n+1} n² e^{−2n²v²}. So tanh(z) = E[erf(z / √2 V)]; the integral over log v
    is a sum over even steps, whose error falls exponentially with their number.

    Source: Andrews & Mallows 1974, "Scale mixtures of normal distributions", section 3.
    """
    exact = {"dtype": torch.float64, "device": "cpu"}
    # Outside of 0.17 … 4.2, v k(v) is below 1e-13 of its maximum; 24 steps are enough for 1e-13.
    v = torch.linspace(math.log(0.17), math.log(4.2), 24, **exact).exp()
    n = torch.arange(1, 60, **exact)[:, None]  # at v = 0.17 the terms end at n = 30 or so
    density = 8 * v * ((-1) ** (n + 1) * n**2 * torch.exp(-2 * (n * v) ** 2)).sum(0)
    weights = density * v
    return 0.5**0.5 / v, weights / weights.sum()


def _tanh(q1: Tensor, q2: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pair for φ = tanh: for a sum of erfs, the sum over all pairs of them."""
    a, p = (t.to(c.device).reshape(-1, *[1] * c.ndim) for t in erfs_of_tanh())
    both, slopes = torch.zeros_like(c), torch.zeros_like(c)
    for a1, p1 in zip(a, p, strict=True):
        value, slope = _erf(a1**2 * q1, a**2 * q2, a1 * a * c)
        both += p1 * (p * value).sum(0)
        slopes += p1 * a1 * (p * a * slope).sum(0)
    return both, slopes


ACTIVATIONS = {
    "erf": Activation(torch.erf, torch.erf, _erf_slope, _erf),
    "relu": Activation(
        torch.relu,
        lambda z, out: torch.clamp(z, min=0, out=out),
        lambda z, h: torch.sign(h, out=z),
        _relu,
    ),
    "tanh": Activation(
        torch.tanh, torch.tanh, lambda z, h: torch.square(h, out=z).neg_().add_(1), _tanh
    ),
    "gelu": Activation(gelu, lambda z, out: out.copy_(gelu(z)), _gelu_slope, _gelu),
    "sin": Activation(torch.sin, torch.sin, lambda z, h: z.cos_(), _sin),
    "linear": Activation(
        lambda z: z, lambda z, out: out.copy_(z), lambda z, h: z.fill_(1), _linear
    ),
}
