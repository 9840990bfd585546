"""How strongly a model bends in its parameters, by Hessian-vector products."""

import copy

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp

from ntk_helpers import _dice


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of `model`, or say what cannot be copied."""
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:
        raise ValueError(
            f"the model cannot be copied: it keeps a tensor that autograd computed, as the old "
            f"torch.nn.utils.spectral_norm does ({error}). Compute it in forward, or use "
            f"torch.nn.utils.parametrizations."
        ) from error


def share(part: Tensor, whole: Tensor) -> float:
    """Return part / whole, and 0 for no part of nothing: where y is f_0, nothing moves."""
    return 0.0 if part == 0 else float(part / whole)


def second_derivative(f, theta: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return the second derivative ∇²f[u, v], (n·k,)."""
    return jvp(lambda at: jvp(f, (at,), (u,))[1], (theta,), (v,))[1]


def curvature(f, theta: Tensor, starts: int = 3, rounds: int = 20) -> float:
    """Return max |a · ∇²f[u, v]| over unit vectors a (n·k,), u, v (P,), from below."""

    def bent(a, v):
        return jvp(lambda at: vjp(f, at)[1](a)[0], (theta,), (v,))[1]

    generator = _dice.generator(0)
    draw = {"generator": generator, "dtype": torch.float64, "device": "cpu"}
    best = 0.0
    for _ in range(starts):
        u, v = torch.randn(2, len(theta), **draw).to(theta)
        for _ in range(rounds):
            a = nn.functional.normalize(second_derivative(f, theta, u, v), dim=0)
            u = nn.functional.normalize(bent(a, v), dim=0)
            v = nn.functional.normalize(bent(a, u), dim=0)
        best = max(best, float(second_derivative(f, theta, u, v).norm()))
    return best
