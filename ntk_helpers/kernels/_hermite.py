"""Tables of Hermite polynomials: for Gaussian integrals, and for power series in a correlation."""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial.legendre import leggauss, legvander
from torch import Tensor

TERMS = 2048  # where a kink away from 0 is broken off: twice as many would leave 0.7 of the error


class Rows(NamedTuple):
    """Which terms k of a series are added up, in pairs k = 2j and k = 2j + 1.

    Attributes:
        j: The numbers j, rising.
        table: (2, J, M) √w_j h_k(z) times the weights of E over z ~ N(0, 1), even k and odd k. The
            terms at j stand for w_j pairs of them. The h_k are normalised: E[h_i(z) h_k(z)] = δ_ik.
        relu: (J,) w_j a_k² of ReLU for even k, where ReLU(z) = Σ_k a_k h_k(z).
    """

    j: list[int]
    table: Tensor
    relu: Tensor


@cache
def nodes() -> tuple[Tensor, Tensor]:
    """Return z > 0 (M,), and weights (M,) with which E[g(z)] = Σ weight (g(z) + g(−z)).

    Gauss's rule on panels with a border at 0, where most kinks are. At 12.8 the root of the normal
    density, and with it any h_k times the density, has fallen to 1e-18.
    """
    x, share = leggauss(32)
    z = 0.8 * (np.arange(16)[:, None] + (x + 1) / 2).ravel()
    weights = 0.4 * np.tile(share, 16) * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return torch.from_numpy(z), torch.from_numpy(weights)


@cache
def ladder() -> Rows:
    """Return 117 pairs that stand for the first 2049.

    But for signs, which products lose, the terms of a smooth function change slowly with k. So
    beyond j = 32, 15 of them give the sum over an octave, as a few values give an integral: exactly
    for polynomials of degree 14, to 1e-13 for the terms of tanh, SiLU or ReLU at any correlation.
    All weights are positive, so that kernels stay positive semidefinite.
    """
    weights = np.concatenate([np.ones(32), np.zeros(2017)])
    for octave in (32, 64, 128, 256, 512, 1024):
        steps = np.cumsum([0, 1, 1, 2, 2, 2, 4, 4, 4, 4, 2, 2, 2, 1, 1]) * (octave // 32)
        sums = legvander(2 * np.arange(octave) / octave - 1, 14).sum(0)
        weights[octave + steps] += np.linalg.solve(legvander(2 * steps / octave - 1, 14).T, sums)
    return _rows(weights)


@cache
def all_rows() -> Rows:
    """Return all terms below TERMS."""
    return _rows(np.ones(TERMS // 2))


def _rows(weights: np.ndarray) -> Rows:
    """Return the rows that have a weight."""
    j, (z, density) = np.flatnonzero(weights), (t.numpy() for t in nodes())
    h = [np.exp(-z * z / 4)]  # h_k alone would overflow
    h.append(z * h[0])
    for k in range(1, 2 * j[-1] + 1):
        h.append((z * h[k] - math.sqrt(k) * h[k - 1]) / math.sqrt(k + 1))
    h = np.stack(h) * density * np.exp(z * z / 4)
    table = np.sqrt(weights[j])[:, None] * np.stack([h[2 * j], h[2 * j + 1]])
    # Of ReLU: the Taylor series of its expectation, which is known in closed form.
    m = np.arange(1, j[-1] + 1)
    relu = np.cumprod([1, *(2 * m - 1) / (2 * m)]) / (2 * np.arange(j[-1] + 1) - 1) ** 2
    return Rows(j.tolist(), *map(torch.from_numpy, (table, weights[j] * relu[j] / (2 * math.pi))))


def horner(x: Tensor, j: list[int], a: Tensor, b: Tensor) -> Tensor:
    """Return Σ_{i ≥ 1} a_i b_i x^(j_i − 1) by Horner's rule, (2, *x.shape).

    Args:
        x: (n1, n2) where the series is taken.
        j: The exponents plus one, rising; gaps are powers of 2.
        a: (J, 2, n1, 1) or (J, 2, 1, 1), for two series at once.
        b: (J, n2) or (J, 1).
    """
    powers, total = {1: x}, x.new_zeros(2, *x.shape)
    for i in reversed(range(1, len(j))):
        if i + 1 < len(j):
            total.mul_(_power(powers, j[i + 1] - j[i]))
        total.addcmul_(a[i], b[i])
    return total


def _power(powers: dict[int, Tensor], n: int) -> Tensor:
    """Return x^n for n = 1, 2, 4, …, and keep it in `powers`."""
    if n not in powers:
        powers[n] = _power(powers, n // 2).square()
    return powers[n]
