"""First and second derivatives of a model in its parameters, by backward passes alone."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ntk_helpers import _dice
from ntk_helpers.kernels._jacobian import plain_torch, real


@contextmanager
def differentiating() -> Iterator[None]:
    """Let torch differentiate a model as often as is needed, and say what prevents it.

    Yields:
        Nothing.

    Raises:
        ValueError: If torch cannot differentiate the model.
    """
    try:
        with plain_torch():
            yield
    except RuntimeError as error:
        raise ValueError(
            f"torch cannot run or differentiate this model as is needed here: {error}\nIf model(x) "
            f"works, take in-place writes and torch.utils.checkpoint out of its forward, or "
            f"replace the layer that the message names."
        ) from error


@torch.enable_grad()
def slope(
    of: Sequence[Tensor], along: Sequence[Tensor], by: Sequence[Tensor], *, graph: bool = True
) -> tuple[Tensor, ...]:
    """Return the gradient of Σ ⟨of, along⟩ in each of `by`; zeros where it does not depend on it.

    With `graph` the result can be differentiated again. Complex numbers count as two real ones.
    """
    total = sum((real(a) * real(b)).sum() for a, b in zip(of, along, strict=True))
    if not total.requires_grad:
        return tuple(torch.zeros_like(tensor) for tensor in by)
    options = {"create_graph": graph, "retain_graph": True, "materialize_grads": True}
    return torch.autograd.grad(total, by, **options)


class Derivatives:
    """Products with J = ∂f/∂θ (N, P) and with the second derivatives ∇²f (N, P, P), matrix-free.

    J u and ∇²f[u, v] are found as derivatives of maps that are linear in w: ⟨Jᵀ w, u⟩ and
    ⟨∇²(w · f) u, v⟩. This needs no forward mode, which some layers do not have.

    Source: J. Townsend 2017, "A new trick for calculating Jacobian vector products".
    """

    def __init__(self, f: Tensor, theta: Iterable[Tensor]):
        """Take outputs (N,) with their graph, and the leaves, P numbers, that they came from."""
        self.f, self.theta = f, list(theta)
        self.shapes = [real(p.detach()).shape for p in self.theta]
        self.w = torch.ones_like(f, requires_grad=True)
        self.pulled = slope([f], [self.w], self.theta)  # Jᵀ w

    def split(self, u: Tensor) -> list[Tensor]:
        """Return a vector (P,) in the shapes of the parameters."""
        parts = u.split([shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def pull(self, a: Tensor) -> Tensor:
        """Return Jᵀ a (P,) for a (N,)."""
        return _flat(slope([self.f], [a], self.theta, graph=False))

    def push(self, u: Tensor) -> Tensor:
        """Return J u (N,) for u (P,)."""
        return slope(self.pulled, self.split(u), [self.w], graph=False)[0]

    def bend(self, a: Tensor, u: Tensor) -> Tensor:
        """Return ∇²(a · f) u (P,), a Hessian-vector product."""
        return _flat(
            slope(slope([self.f], [a], self.theta), self.split(u), self.theta, graph=False)
        )

    def second(self, u: Tensor, v: Tensor) -> Tensor:
        """Return ∇²f[u, v] (N,)."""
        bent = slope(self.pulled, self.split(u), self.theta)
        return slope(bent, self.split(v), [self.w], graph=False)[0]

    def curvature(self, starts: int = 3, rounds: int = 20) -> float:
        """Return max |a · ∇²f[u, v]| over unit vectors a (N,), u, v (P,), from below.

        Each vector in turn is replaced by the best one for the other two. 3 starts of 20 rounds
        come within some per cent of the maximum that 40 longer runs find.
        """
        size = sum(shape.numel() for shape in self.shapes)
        draw = {"generator": _dice.fixed(0), "dtype": torch.float64, "device": "cpu"}
        best = 0.0
        for _ in range(starts):
            u, v = torch.randn(2, size, **draw).to(self.f)
            for _ in range(rounds):
                a = normalize(self.second(u, v), dim=0)
                u = normalize(self.bend(a, v), dim=0)
                v = normalize(self.bend(a, u), dim=0)
            best = max(best, float(self.second(u, v).norm()))
        return best


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    """Return all entries in one vector."""
    return torch.cat([real(tensor).reshape(-1) for tensor in tensors])
