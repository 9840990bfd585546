"""The tangent kernel of a physics-informed network, in blocks, for any operator."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from ntk_helpers import _checks
from ntk_helpers.kernels._jacobian import plain_torch, run
from ntk_helpers.kernels.empirical import WORKING_SET
from ntk_helpers.pinn.problem import Field, Operator


class PINNKernel(NamedTuple):
    """K = [[K_uu, K_ur], [K_ur ᵀ, K_rr]] = J Jᵀ, J the Jacobian of (u(x_b); Lu(x_r)) in θ.

    Training with weights λ_b, λ_r moves both by `d/dt (u; Lu) = −K D (u − g; Lu − f)` with
    D = diag(λ_b …, λ_r …). K D has the eigenvalues of the symmetric D^½ K D^½: real and ≥ 0.

    Source: Wang, Yu, Perdikaris 2022, arXiv:2007.14527, lemma 3.1 and section 6.

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
        """Return D^½ K D^½, which has the eigenvalues of K D, for weights λ_b and λ_r ≥ 0."""
        boundary, residual = weight_pair((boundary, residual))
        mixed = math.sqrt(boundary * residual)
        return PINNKernel(boundary * self.uu, mixed * self.ur, residual * self.rr)

    def balance_weights(self) -> tuple[float, float]:
        """Return λ_b = Tr K / Tr K_uu and λ_r = Tr K / Tr K_rr: equal sums of rates for both.

        Source: Wang, Yu, Perdikaris 2022, arXiv:2007.14527, algorithm 1.

        Raises:
            ValueError: If a block is zero.
        """
        boundary, residual = (block.trace().item() for block in (self.uu, self.rr))
        for name, trace in [("uu", boundary), ("rr", residual)]:
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

    A row of J is ∂u(x)/∂θ or ∂(Lu)(x)/∂θ, by reverse mode over whatever `operator` does.
    Jacobians of more than about 400 MB are computed again in chunks.

    Args:
        model: Any module with one output that treats rows independently, (n, d) → (n, 1) or (n,).
            Buffers that its forward moves are moved in a copy.
        x_boundary: (n_b, d) points where u is given.
        x_interior: (n_r, d) points where Lu = f is asked for.
        operator: Maps a function of one point, (d,) → scalar, to another; built with torch.func.

    Returns:
        The kernel, detached, with the device and dtype of the model.

    Raises:
        TypeError: If an argument is of the wrong type, or dtypes differ.
        ValueError: If shapes or devices do not fit, `operator` does not return a scalar, torch.func
            cannot run the model, or a value is not finite.

    Example:
        >>> line = nn.Linear(1, 1)  # u = θ₁ x + θ₂, Lu = u' = θ₁
        >>> ends = torch.tensor([[0.0], [1.0]])
        >>> pinn_kernel(line, ends, ends[:1], lambda u: lambda x: grad(u)(x)[0]).full
        tensor([[1., 1., 0.],
                [1., 2., 1.],
                [0., 1., 1.]])
    """
    theta = {name: p.detach() for name, p in check_pinn(model, x_boundary, x_interior, operator)}
    size = sum(p.numel() for p in theta.values())
    rows = max(1, WORKING_SET // (4 * size * x_boundary.element_size()))

    @plain_torch()
    def jacobian(x, transform):
        def f(theta, point):
            return transform(field_of(model, theta))(point)

        parts = vmap(grad(f), (None, 0))(theta, x).values()
        return torch.cat([part.flatten(1) for part in parts], 1).detach()

    blocks = [(x, lambda u: u) for x in x_boundary.detach().split(rows)]
    blocks += [(x, operator) for x in x_interior.detach().split(rows)]
    sizes = [len(x) for x, _ in blocks]
    full = x_boundary.new_zeros(sum(sizes), sum(sizes))
    for i, left in enumerate(blocks):
        j_left, top = jacobian(*left), sum(sizes[:i])
        for j, right in enumerate(blocks[i:], i):
            j_right, start = j_left if i == j else jacobian(*right), sum(sizes[:j])
            product = gram(j_left) if i == j else j_left @ j_right.T
            full[top : top + len(j_left), start : start + len(j_right)] = product
            full[start : start + len(j_right), top : top + len(j_left)] = product.T
    if not _checks.is_finite(full):
        raise ValueError(
            "the kernel holds NaN or infinite values. Look at model(x), and at what `operator` "
            "does at these points (a division by zero?)."
        )
    n = len(x_boundary)
    return PINNKernel(full[:n, :n], full[:n, n:], full[n:, n:])


def gram(j: Tensor) -> Tensor:
    """Return J Jᵀ, symmetric to the last digit, which a product of matrices is not."""
    product = j @ j.T
    return (product + product.T) / 2


def field_of(model: nn.Module, theta: dict[str, Tensor]) -> Field:
    """Return u as a function of one point, (d,) → scalar, at the parameters `theta`.

    That function raises ValueError where torch.func cannot run the model.
    """

    def u(point):
        try:
            return run(model, point[None], theta).reshape(())
        except RuntimeError as error:
            raise ValueError(
                f"torch.func, which differentiates u point by point, cannot run this model: "
                f"{error}\nTake in-place writes, .item() and branches on values out of its forward."
            ) from error

    return u


@plain_torch()
def check_pinn(model, x_boundary, x_interior, operator) -> list[tuple[str, nn.Parameter]]:
    """Return the trainable parameters of `model`, or say what is wrong with the arguments."""
    parameters = _checks.trainable_parameters(model)
    _checks.require_rowwise(model)
    _checks.require_tensor("x_boundary", x_boundary, ndim=(2,))
    _checks.require_tensor("x_interior", x_interior, ndim=(2,))
    _checks.require_matching(model, x_boundary=x_boundary, x_interior=x_interior)
    if x_boundary.shape[1] != x_interior.shape[1]:
        raise ValueError(
            f"x_boundary and x_interior must have as many columns, the inputs of the model; got "
            f"{x_boundary.shape[1]} and {x_interior.shape[1]}. A column of numbers is x[:, None]."
        )
    if not callable(operator):
        raise TypeError(
            f"operator must be a function that maps u to Lu; got {type(operator).__name__}. "
            f"PoissonProblem().operator is one."
        )
    batch = torch.cat([x_boundary[:1], x_interior]).detach()
    with torch.enable_grad():
        outputs = run(model, batch[:1])
    _checks.require_outputs(outputs, 1)
    if outputs.numel() != 1:
        raise ValueError(
            f"model must have one output, the value u(x); got {outputs.numel()} for one point. "
            f"Wrap it in a module that picks one."
        )
    _checks.require_attached(outputs)
    with torch.no_grad():  # the last row too: a sum over earlier rows leaves the first alone
        among = run(model, batch)
        _checks.require_same_row(outputs, among)
        _checks.require_same_row(run(model, batch[-1:]), among[-1:])
    theta = {name: p.detach() for name, p in parameters.items()}
    image = operator(field_of(model, theta))
    if not callable(image):
        raise TypeError(
            f"operator must map a function u to a function Lu; got {type(image).__name__}. "
            f"lambda u: lambda x: … is one."
        )
    value = image(x_interior[0].detach())
    if not isinstance(value, Tensor) or value.ndim:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"operator(u)(x) must be a scalar tensor for one point x of shape (d,); got {got}. "
            f"Pick an entry, or sum: torch.func.grad(u)(x)[0]."
        )
    return list(parameters.items())


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
