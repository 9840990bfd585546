"""One step of training a PINN: analytic where that fits, by automatic differentiation otherwise."""

import torch
from torch import Tensor, nn

from ntk_helpers.kernels._jacobian import plain_torch
from ntk_helpers.pinn._tanh import TanhFields, fits
from ntk_helpers.pinn._terms import Term
from ntk_helpers.pinn.kernel import PINNKernel, pinn_kernel
from ntk_helpers.pinn.problem import Operator

METHODS = ("auto", "analytic", "autograd")


class Fields:
    """u on the boundary and Lu inside with their pull on θ, by automatic differentiation."""

    around = staticmethod(plain_torch)  # a context to train in: the model may hold attention

    def __init__(self, model: nn.Module, x_boundary: Tensor, x_interior: Tensor, operator):
        """Hold what does not change in training."""
        self.model, self.inside = model, Term(model, operator)
        self.x_boundary, self.x_interior = x_boundary.detach(), x_interior.detach()
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    def values(self) -> tuple[Tensor, Tensor]:
        """Return u (n_b,) and Lu (n_r,) at the current parameters."""
        self._u = self.model(self.x_boundary).reshape(-1)
        self._lu = self.inside.at(self.x_interior)
        return self._u.detach(), self._lu.detach()

    def descend(self, pull_boundary: Tensor, pull_interior: Tensor, rate: float) -> None:
        """Take θ ← θ − rate · Jᵀ (pull_boundary; pull_interior), at the last `values`."""
        loss = pull_boundary @ self._u + pull_interior @ self._lu
        gradients = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
        with torch.no_grad():
            torch._foreach_add_(self.parameters, gradients, alpha=-rate)

    def kernel(self) -> PINNKernel:
        """Return the tangent kernel at the current parameters."""
        points = self.x_boundary, self.x_interior
        return pinn_kernel(self.model, *points, self.inside.operator)


def make_fields(
    model: nn.Module, x_boundary: Tensor, x_interior: Tensor, operator: Operator, method: str
) -> Fields | TanhFields:
    """Return what trains `model` by a `method` of `METHODS`.

    Raises:
        ValueError: If method "analytic" does not fit the model and the operator.
    """
    if method != "autograd" and fits(model, x_boundary, operator):
        return TanhFields(model, x_boundary, x_interior)
    if method == "analytic":
        raise ValueError(
            "method 'analytic' needs an ntk.MLP with one input and one hidden layer of tanh units, "
            "plain or in ntk.Standardized, all of it trainable, and the operator u ↦ u'' of "
            "ntk.PoissonProblem. Neither module may be a subclass or have hooks, another forward, "
            "or parametrized layers. Use method='auto'."
        )
    return Fields(model, x_boundary, x_interior, operator)
