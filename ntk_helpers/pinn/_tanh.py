"""One step of training a PINN with one hidden layer of tanh units, every derivative written out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ntk_helpers.kernels._mlp import is_as_made
from ntk_helpers.pinn.kernel import PINNKernel, gram
from ntk_helpers.pinn.problem import Standardized, second_derivative
from ntk_helpers.pinn.terms import Term


def fits(model: nn.Module, terms: list[Term]) -> bool:
    """Return whether `TanhFields` computes this `model` and these `terms`, u and u''.

    The model is an `MLP` as it was made, plain or in a `Standardized` without hooks; one input, one
    hidden layer of tanh units, and every parameter of it trainable.
    """
    network, _, _ = _parts(model)
    return (
        [term.operator for term in terms] == [None, second_derivative]
        and is_as_made(network)
        and not (model._forward_hooks or model._forward_pre_hooks or "forward" in vars(model))
        and not (model._backward_hooks or model._backward_pre_hooks)
        and network.activation == "tanh"
        and terms[0].points.shape[1] == 1
        # Two layers of W and b, and no more: a learned scale or coefficient is not written out.
        and [p.requires_grad for p in model.parameters()] == [True] * 4
    )


def _parts(model: nn.Module) -> tuple[nn.Module, Tensor | float, Tensor | float]:
    """Return (network, m, s) with u(x) = network((x − m) / s)."""
    if type(model) is Standardized:
        return model.network, model.mean, model.scale
    return model, 0.0, 1.0


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one CPU thread: on such small matrices two took three times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class TanhFields:
    """u on the boundary and u'' inside, with their pull on θ.

    With x̂ = (x − m)/s, z = s_1 W x̂ + c_1 b and a = s_1 W / s::

        u = s_2 V φ(z) + c_2 b_2          ∂u/∂V = s_2 φ      ∂u/∂z = s_2 V φ'
        u'' = s_2 V a² φ''(z)             ∂u''/∂V = s_2 a² φ''
        ∂u''/∂b = c_1 s_2 V a² φ'''       ∂u''/∂W = s_1 s_2 V (2 a φ'' / s + a² φ''' x̂)

    The chain rule for u'' is in notebooks/06_pinn.ipynb, "What is a PINN?".
    """

    around = staticmethod(one_thread)  # a context to train in

    def __init__(self, model: nn.Module, x_boundary: Tensor, x_interior: Tensor):
        """Hold standardised points, each boundary point once, and views of the parameters."""
        network, mean, scale = _parts(model)
        first, last = network.layers
        self.parameters = list(model.parameters())
        self.s1, self.c1 = first.weight_scale, first.bias_scale
        self.s2, self.c2 = last.weight_scale, last.bias_scale
        self.scale = float(scale)
        self.curve = self.s2 * (self.s1 / self.scale) ** 2  # s_2 V a² = curve · V W²
        self.w, self.b = first.weight.data[:, 0], first.bias.data
        self.v, self.b2 = last.weight.data[0], last.bias.data
        points, self.which = x_boundary.detach().unique(dim=0, return_inverse=True)
        self.at_boundary = (points - mean) / scale
        self.inside = (x_interior.detach() - mean) / scale
        self.one = torch.ones_like(self.inside[0])
        self.points = torch.cat([self.at_boundary, self.inside])
        self.sizes = [len(points), len(x_interior)]
        rows = torch.cat([torch.ones_like(self.points), self.points], 1).T  # ∂z/∂b and ∂z/∂W: 1, x̂
        self.rows, self.rows_inside = rows.split(self.sizes, 1)

    def values(self) -> list[Tensor]:
        """Return u (n_b,) and u'' (n_r,) at the current parameters."""
        phi, slope = self._tanh(self.points)
        self.phi, inside = phi.split(self.sizes)
        self.slope, self.slope_inside = slope.split(self.sizes)
        self.bend = inside.mul_(self.slope_inside)  # φφ' = −φ''/2
        self.wv = self.w * self.v
        self.wwv = self.w * self.wv
        u = torch.addmv(self.b2, self.phi, self.v, beta=self.c2, alpha=self.s2)
        return [u[self.which], -2 * self.curve * (self.bend @ self.wwv)]

    def descend(self, pulls: list[Tensor], rate: float) -> None:
        """Take θ ← θ − rate · Jᵀ (pulls on the boundary; inside), at the last `values`."""
        pull_boundary, pull_interior = pulls
        pull = torch.zeros_like(self.at_boundary[:, 0]).index_add_(0, self.which, pull_boundary)
        slope = self.slope_inside
        third = torch.addcmul(slope, slope, slope, value=-1.5)  # φ'(1 − 1.5 φ') = φ'''/4
        on_third = (self.rows_inside * pull_interior) @ third
        on_bend = self.bend.T @ pull_interior
        push = ((self.rows * pull) @ self.slope).mul_(self.v).mul_(self.s2)
        push.addcmul_(on_third, self.wwv, value=4 * self.curve)
        push[1].addcmul_(on_bend, self.wv, value=-4 * self.curve / self.s1)
        self.v.sub_(self.phi.T @ pull, alpha=rate * self.s2)
        self.v.addcmul_(on_bend, self.w * self.w, value=2 * rate * self.curve)
        self.b.sub_(push[0], alpha=rate * self.c1)
        self.w.sub_(push[1], alpha=rate * self.s1)
        self.b2.sub_(pull.sum(), alpha=rate * self.c2)

    def kernel(self) -> PINNKernel:
        """Return the tangent kernel at the current parameters."""
        a, s2, v = self.s1 / self.scale * self.w, self.s2, self.v
        phi, slope = self._tanh(self.at_boundary)
        by_z = s2 * v * slope
        rows = [self.s1 * by_z * self.at_boundary, self.c1 * by_z, s2 * phi]
        j_u = torch.cat([*rows, torch.full_like(phi[:, :1], self.c2)], 1)[self.which]
        phi, slope = self._tanh(self.inside)
        bend, third = -2 * phi * slope, slope * (4 - 6 * slope)
        by_z = s2 * v * a * a * third
        by_w = self.s1 * (2 * s2 / self.scale * a * v * bend + by_z * self.inside)
        j_r = torch.cat([by_w, self.c1 * by_z, s2 * a * a * bend, torch.zeros_like(phi[:, :1])], 1)
        return PINNKernel(gram(j_u), j_u @ j_r.T, gram(j_r))

    def _tanh(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return φ(z) and φ'(z) = 1 − φ², (n, width)."""
        phi = torch.addcmul(self.c1 * self.b, x, self.s1 * self.w).tanh_()
        return phi, torch.addcmul(self.one, phi, phi, value=-1)
