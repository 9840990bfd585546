"""The tangent kernel of a physics-informed network, in blocks, for any operator."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from ntk_helpers import _checks
from ntk_helpers.kernels._factors import WORKING_SET
from ntk_helpers.kernels._jacobian import plain_torch, real, run
from ntk_helpers.pinn._terms import Term, check_pinn
from ntk_helpers.pinn.problem import Operator


class PINNKernel(NamedTuple):
    """K = [[K_uu, K_ur], [K_ur ᵀ, K_rr]] = J Jᵀ, J the Jacobian of (u(x_b); Lu(x_r)) in θ.

    Training with weights λ_b, λ_r moves both by `d/dt (u; Lu) = −K D (u − g; Lu − f)` with
    D = diag(λ_b …, λ_r …). K D has the eigenvalues of the symmetric D^½ K D^½: real and ≥ 0.

    Source: Wang, Yu, Perdikaris 2022, arXiv:2007.14527, lemma 3.1 and section 6.
    Derived in notebooks/06_pinn.ipynb, "Two losses: do they have one kernel?".

    Attributes:
        uu: (n_b, n_b), boundary with boundary; rank ≤ 2 where the boundary is two points.
        ur: (n_b, n_r), boundary with interior.
        rr: (n_r, n_r), interior with interior.
    """

    uu: Tensor
    ur: Tensor
    rr: Tensor

    @property
    def full(self) -> Tensor:
        """K as one symmetric matrix (n_b + n_r, n_b + n_r), boundary rows first."""
        return torch.cat([torch.cat([self.uu, self.ur], 1), torch.cat([self.ur.T, self.rr], 1)])

    def eigenvalues(self) -> Tensor:
        """Return the eigenvalues of `full` (n_b + n_r,), ascending, by a symmetric solver."""
        return torch.linalg.eigvalsh(self.full)

    def weighted(self, boundary: float, residual: float) -> "PINNKernel":
        """Return D^½ K D^½, which has the eigenvalues of K D, for weights λ_b and λ_r ≥ 0.

        Derived in notebooks/deeper/the_pinn_paper.ipynb, "Do large weights make training
        unstable?".
        """
        boundary, residual = weight_pair((boundary, residual))
        mixed = math.sqrt(boundary * residual)
        return PINNKernel(boundary * self.uu, mixed * self.ur, residual * self.rr)

    def balance_weights(self, loss: str = "sum") -> tuple[float, float]:
        """Return λ_b and λ_r for which both losses have the same sum of rates, λ c Tr.

        With T_b = c_b Tr K_uu and T_r = c_r Tr K_rr they are λ_b = (T_b + T_r) / T_b and
        λ_r = (T_b + T_r) / T_r. For "sum", where c = 1, T_b + T_r is Tr K.

        Source: Wang, Yu, Perdikaris 2022, arXiv:2007.14527, algorithm 1 (for "sum").
        Derived in notebooks/06_pinn.ipynb, "How large should the weight be?".

        Args:
            loss: "sum" or "mean", as in `train_pinn`.

        Raises:
            ValueError: If a block is zero.
        """
        scales = loss_scales(loss, len(self.uu), len(self.rr))
        blocks = {"uu": self.uu, "rr": self.rr}
        boundary, residual = (
            c * block.trace().item() for c, block in zip(scales, blocks.values(), strict=True)
        )
        for name, trace in zip(blocks, (boundary, residual), strict=True):
            if not trace > 0:
                raise ValueError(
                    f"K_{name} is zero, so no weight can balance it: training does not move that "
                    f"part. ReLU has no second derivative; use a smooth activation such as 'tanh'."
                )
        total = boundary + residual
        return total / boundary, total / residual


def pinn_kernel(
    model: nn.Module, x_boundary: Tensor, x_interior: Tensor, operator: Operator
) -> PINNKernel:
    """Return the tangent kernel of u on the boundary and Lu inside, for any model and operator.

    A row of J is ∂u(x)/∂θ or ∂(Lu)(x)/∂θ, by reverse mode over whatever `operator` does; θ are the
    trainable parameters of `model`. Jacobians of more than about 400 MB are computed in chunks.

    Derived in notebooks/06_pinn.ipynb, "Two losses: do they have one kernel?".

    Args:
        model: Any module with one output that treats rows independently, (n, d) → (n, 1) or (n,).
            Buffers that its forward writes to are updated on a copy.
        x_boundary: (n_b, d) points where u is given.
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
    parameters = check_pinn(model, x_boundary, x_interior, operator)
    size = sum(p.numel() for p in parameters.values())
    chunk = max(1, WORKING_SET // (4 * size * x_boundary.element_size()))
    terms = [(Term(model, lambda u: u), x_boundary), (Term(model, operator), x_interior)]
    blocks = [(term, x) for term, points in terms for x in points.detach().split(chunk)]
    n = len(x_boundary) + len(x_interior)
    places = torch.arange(n).split([len(x) for _, x in blocks])
    full = x_boundary.new_zeros(n, n)
    j_left = _jacobian(*blocks[0], parameters)
    for i, rows in enumerate(places):
        full[rows[:, None], rows] = gram(j_left)
        for k in reversed(range(i + 1, len(blocks))):  # the next one comes last, and goes left
            j_right, columns = _jacobian(*blocks[k], parameters), places[k]
            product = j_left @ j_right.T
            full[rows[:, None], columns] = product
            full[columns[:, None], rows] = product.T
        j_left = j_right
    if not _checks.is_finite(full):
        raise ValueError(
            "the kernel holds NaN or infinite values. Look at model(x), and at what `operator` "
            "does at these points (a division by zero?)."
        )
    n_b = len(x_boundary)
    return PINNKernel(full[:n_b, :n_b], full[:n_b, n_b:], full[n_b:, n_b:])


def gram(j: Tensor) -> Tensor:
    """Return J Jᵀ, symmetric to the last digit, which a product of matrices is not."""
    product = j @ j.T
    return (product + product.T) / 2


@plain_torch()
def _jacobian(term: Term, x: Tensor, parameters: dict[str, nn.Parameter]) -> Tensor:
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
def _pull_back(term: Term, x: Tensor, weights: Tensor, parameters: dict) -> Tensor:
    """Return the derivative (P,) of Σ weights · term(x) in the parameters, by a backward pass."""
    values, leaves = term.at(x), list(parameters.values())
    if values.requires_grad:
        parts = torch.autograd.grad(values, leaves, weights.to(values), materialize_grads=True)
    else:  # as the second derivative of ReLU, which is 0
        parts = [torch.zeros_like(p) for p in leaves]
    return torch.cat([real(part).flatten() for part in parts])


def loss_scales(loss: str, n_boundary: int, n_interior: int) -> tuple[float, float]:
    """Return c_b and c_r: 1 for the loss "sum", 1/n_b and 1/n_r for "mean"."""
    _checks.require_choice("loss", loss, ["sum", "mean"])
    return (1.0, 1.0) if loss == "sum" else (1 / n_boundary, 1 / n_interior)


def weight_pair(weights, *, positive: bool = False) -> tuple[float, float]:
    """Return (λ_b, λ_r) as floats, or say what is wrong with them."""
    if not isinstance(weights, tuple | list | Tensor) or len(weights) != 2:
        raise TypeError(f"weights must be a pair (λ_b, λ_r) or 'balance'; got {weights!r}.")
    pair = tuple(w.item() if isinstance(w, Tensor) else w for w in weights)
    for name, value in zip(("λ_b", "λ_r"), pair, strict=True):
        _checks.require_number(name, value, positive=positive)
    return float(pair[0]), float(pair[1])
