"""The tangent kernel of a physics-informed network, in blocks, for any terms and operators."""

import math
from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from ntk_helpers import _checks
from ntk_helpers.kernels._factors import WORKING_SET
from ntk_helpers.kernels._jacobian import plain_torch, real, run
from ntk_helpers.pinn.problem import Operator
from ntk_helpers.pinn.terms import (
    TWO,
    AtPoint,
    Term,
    are_terms,
    check_terms,
    loss_scales,
    two_terms,
    weight_list,
)


class PINNKernel(tuple):
    """K = J Jᵀ in blocks K_ij, J the Jacobian in θ of what the terms of a PINN ask for.

    A tuple of the blocks on and above the diagonal, row by row. For two terms, u on the boundary
    and Lu inside, they are K_uu, K_ur, K_rr. Training with weights λ_i moves the values F_i of the
    terms by `dF/dt = −K D (F − Y)` with D = diag(λ_1 …, λ_2 …). K D has the eigenvalues of the
    symmetric D^½ K D^½: real and ≥ 0.

    Source: Wang, Yu, Perdikaris 2022, arXiv:2007.14527, lemma 3.1 and section 6.
    Derived in notebooks/06_pinn.ipynb, "Two losses: do they have one kernel?".

    Attributes:
        sizes: Number of points of each term.
        uu: (n_b, n_b) K_11, the first term with itself; rank ≤ 2 for the two ends of an interval.
        ur: (n_b, n_r) K_12, the first term with the second.
        rr: (n_r, n_r), the last term with itself.
    """

    sizes: tuple[int, ...]
    uu = property(lambda self: self[0])
    ur = property(lambda self: self[1])
    rr = property(lambda self: self[-1])

    def __new__(cls, *blocks: Tensor):
        """Take the blocks on and above the diagonal, row by row: uu, ur, rr for two terms."""
        kernel = super().__new__(cls, blocks)
        m = math.isqrt(2 * len(blocks))  # m (m + 1) / 2 blocks
        kernel.sizes = tuple(block.shape[1] for block in blocks[:m])
        return kernel

    def block(self, i: int, j: int) -> Tensor:
        """Return K_ij (n_i, n_j)."""
        if i > j:
            return self.block(j, i).T
        return self[i * len(self.sizes) - i * (i - 1) // 2 + j - i]

    @property
    def full(self) -> Tensor:
        """K as one symmetric matrix (n, n), the rows of the first term first."""
        terms = range(len(self.sizes))
        return torch.cat([torch.cat([self.block(i, j) for j in terms], 1) for i in terms])

    def eigenvalues(self) -> Tensor:
        """Return the eigenvalues of `full` (n,), ascending, by a symmetric solver."""
        return torch.linalg.eigvalsh(self.full)

    def weighted(self, *weights: float) -> "PINNKernel":
        """Return D^½ K D^½, which has the eigenvalues of K D, for a weight λ ≥ 0 of each term.

        Derived in notebooks/deeper/the_pinn_paper.ipynb, "Do large weights make training
        unstable?".
        """
        pairs = combinations_with_replacement(weight_list(weights, len(self.sizes)), 2)
        return PINNKernel(*(math.sqrt(a * b) * k for (a, b), k in zip(pairs, self, strict=True)))

    def balance_weights(self, loss: str = "sum") -> tuple[float, ...]:
        """Return the λ_i for which all terms have the same sum of rates, λ_i c_i Tr K_ii.

        With T_i = c_i Tr K_ii they are λ_i = Σ_j T_j / T_i. For "sum", where c = 1, Σ T is Tr K.

        Source: Wang, Yu, Perdikaris 2022, arXiv:2007.14527, algorithm 1 (for "sum").
        Derived in notebooks/06_pinn.ipynb, "How large should the weight be?".

        Args:
            loss: "sum" or "mean", as in `train_pinn`.

        Raises:
            ValueError: If a block is zero.
        """
        scales = loss_scales(loss, *self.sizes)
        traces = [c * self.block(i, i).trace().item() for i, c in enumerate(scales)]
        for i, trace in enumerate(traces):
            if not trace > 0:
                name = ("K_uu", "K_rr")[i] if len(traces) == 2 else f"block ({i}, {i})"
                raise ValueError(
                    f"{name} is zero, so no weight can balance it: training does not move that "
                    f"part. ReLU has no second derivative; use a smooth activation such as 'tanh'."
                )
        return tuple(sum(traces) / trace for trace in traces)


def pinn_kernel(
    model: nn.Module,
    x_boundary: Tensor | list[Term],
    x_interior: Tensor | None = None,
    operator: Operator | None = None,
) -> PINNKernel:
    """Return the tangent kernel of what a PINN's terms ask for, for any model and operators.

    Called with a list of terms, `pinn_kernel(model, [term, …])`, or for the usual two with points
    and an operator. A row of J is ∂(Lu)(x)/∂θ, by reverse mode over whatever the operator does; θ
    are the trainable parameters of `model`. Jacobians of more than about 400 MB are computed in
    chunks.

    Derived in notebooks/06_pinn.ipynb, "Two losses: do they have one kernel?".

    Args:
        model: Any module that treats rows independently, (n, d) → (n, k), or (n,). Buffers that its
            forward writes to are updated on a copy.
        x_boundary: (n_b, d) points where u is given; or a list of `Term`.
        x_interior: (n_r, d) points where Lu = f is asked for.
        operator: Maps a function of one point, (d,) → scalar, to another; built with torch.func.
            A coefficient that is learned, as in k u'' = f, is a parameter of `model`: make it an
            attribute, `model.k = nn.Parameter(…)`, that `operator` reads.

    Returns:
        The kernel, detached, with the device and dtype of the points.

    Raises:
        ValueError: If torch.func cannot run the model, or the kernel is not finite.

    Example:
        >>> line = nn.Linear(1, 1)  # u = θ₁ x + θ₂, Lu = u' = θ₁
        >>> ends = torch.tensor([[0.0], [1.0]])
        >>> pinn_kernel(line, ends, ends[:1], lambda u: lambda x: grad(u)(x)[0]).full
        tensor([[1., 1., 0.],
                [1., 2., 1.],
                [0., 1., 1.]])
    """
    if are_terms(x_boundary):
        return kernel_of(model, x_boundary, check_terms(model, x_boundary))
    terms = two_terms(x_boundary, x_interior, operator)
    return kernel_of(model, terms, check_terms(model, terms, TWO))


def kernel_of(model: nn.Module, terms: list[Term], parameters: dict) -> PINNKernel:
    """Return the kernel of `terms` in these `parameters` of `model`."""
    size = sum(p.numel() for p in parameters.values())
    chunk = max(1, WORKING_SET // (4 * size * terms[0].points.element_size()))
    rows = [
        (AtPoint(model, term.operator), x)
        for term in terms
        for x in term.points.detach().split(chunk)
    ]
    sizes = [len(term.points) for term in terms]
    places = torch.arange(sum(sizes)).split([len(x) for _, x in rows])
    full = terms[0].points.new_zeros(sum(sizes), sum(sizes))
    j_left = _jacobian(*rows[0], parameters)
    for i, here in enumerate(places):
        full[here[:, None], here] = gram(j_left)
        for k in reversed(range(i + 1, len(rows))):  # the next one comes last, and goes left
            j_right, there = _jacobian(*rows[k], parameters), places[k]
            product = j_left @ j_right.T
            full[here[:, None], there] = product
            full[there[:, None], here] = product.T
        j_left = j_right if i + 1 < len(rows) else None
    if not _checks.is_finite(full):
        raise ValueError(
            "the kernel holds NaN or infinite values. Look at model(x), and at what `operator` "
            "does at these points (a division by zero?)."
        )
    cuts = torch.arange(sum(sizes)).split(sizes)
    pairs = combinations_with_replacement(cuts, 2)
    return PINNKernel(*(full[a[0] : a[-1] + 1, b[0] : b[-1] + 1] for a, b in pairs))


def gram(j: Tensor) -> Tensor:
    """Return J Jᵀ, symmetric to the last digit, which a product of matrices is not."""
    product = j @ j.T
    return (product + product.T) / 2


@plain_torch()
def _jacobian(term: AtPoint, x: Tensor, parameters: dict[str, nn.Parameter]) -> Tensor:
    """Return the derivatives (n, P) of `term` at points `x` (n, d) in the parameters of its model.

    vmap does it, with other tensors in place of the parameters. Where a plain backward pass, from a
    mixture of a few values, finds something else, as if `operator` holds a parameter itself and
    does not read it from the model, a plain pass for each point does it.
    """
    theta = {f"model.{name}": p.detach() for name, p in parameters.items()}
    j = vmap(grad(lambda t, point: run(term, point, t)), (None, 0))(theta, x)
    j = torch.cat([real(part).reshape(len(x), -1) for part in j.values()], 1).detach()
    few = torch.linspace(0, len(x) - 1, 5).long()
    mix = torch.linspace(1, 2, 5).to(x)
    found, plain = mix.to(j) @ j[few], _pull_back(term, x[few], mix, parameters)
    tolerance = torch.finfo(x.dtype).eps ** 0.5
    if (found - plain).norm() <= tolerance * (found.norm() + plain.norm()):
        return j
    return torch.stack([_pull_back(term, p[None], torch.ones_like(p[:1]), parameters) for p in x])


@torch.enable_grad()
def _pull_back(term: AtPoint, x: Tensor, weights: Tensor, parameters: dict) -> Tensor:
    """Return the derivative (P,) of Σ weights · term(x) in the parameters, by a backward pass."""
    values, leaves = vmap(term)(x), list(parameters.values())
    if values.requires_grad:
        parts = torch.autograd.grad(values, leaves, weights.to(values), materialize_grads=True)
    else:  # as the second derivative of ReLU, which is 0
        parts = [torch.zeros_like(p) for p in leaves]
    return torch.cat([real(part).flatten() for part in parts])
