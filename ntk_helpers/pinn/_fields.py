"""One step of training a PINN: analytic where that fits, by automatic differentiation otherwise."""

import torch
from torch import Tensor, nn

from ntk_helpers.kernels._jacobian import plain_torch
from ntk_helpers.pinn._tanh import TanhFields, fits
from ntk_helpers.pinn.kernel import PINNKernel, kernel_of
from ntk_helpers.pinn.terms import Term

METHODS = ("auto", "analytic", "autograd")


class Fields:
    """The values Lu of all terms with their pull on θ, by automatic differentiation."""

    around = staticmethod(plain_torch)  # a context to train in: the model may hold attention

    def __init__(self, model: nn.Module, terms: list[Term], parameters: dict[str, nn.Parameter]):
        """Hold what does not change in training."""
        self.model, self.terms, self.named = model, terms, parameters
        self.parameters = list(parameters.values())

    def values(self) -> list[Tensor]:
        """Return Lu (n_i,) of each term at the current parameters."""
        self._values = [term.values(self.model) for term in self.terms]
        return [value.detach() for value in self._values]

    def descend(self, pulls: list[Tensor], rate: float) -> None:
        """Take θ ← θ − rate · Σ_i J_iᵀ pulls_i, at the last `values`."""
        loss = sum(pull @ value for pull, value in zip(pulls, self._values, strict=True))
        gradients = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
        with torch.no_grad():
            torch._foreach_add_(self.parameters, gradients, alpha=-rate)

    def kernel(self) -> PINNKernel:
        """Return the tangent kernel at the current parameters."""
        return kernel_of(self.model, self.terms, self.named)


def make_fields(
    model: nn.Module, terms: list[Term], parameters: dict[str, nn.Parameter], method: str
) -> Fields | TanhFields:
    """Return what trains `model` by a `method` of `METHODS`.

    Raises:
        ValueError: If method "analytic" does not fit the model and the terms.
    """
    if method != "autograd" and fits(model, terms):
        return TanhFields(model, *(term.points for term in terms))
    if method == "analytic":
        raise ValueError(
            "method 'analytic' needs an ntk.MLP with one input and one hidden layer of tanh units, "
            "plain or in ntk.Standardized, all of it trainable, and two terms, u on the boundary "
            "and the operator u ↦ u'' of ntk.PoissonProblem. Neither module may be a subclass or "
            "have hooks, another forward, or parametrized layers. Use method='auto'."
        )
    return Fields(model, terms, parameters)
