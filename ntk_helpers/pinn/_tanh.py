"""What a step of training a PINN needs, u and Lu and their pull on θ, as fast as can be."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.func import vmap

from ntk_helpers.kernels._jacobian import plain_torch
from ntk_helpers.kernels._mlp import is_as_made
from ntk_helpers.pinn.kernel import PINNKernel, field_of, gram, pinn_kernel
from ntk_helpers.pinn.problem import Operator, Standardized, second_derivative

METHODS = ("auto", "analytic", "taylor", "autograd")


def make_fields(model: nn.Module, x_boundary, x_interior, operator: Operator, method: str):
    """Return the fastest object with .values(), .descend(…) and .kernel() that fits, or `method`.

    Raises:
        ValueError: If the method that was asked for cannot take this model and operator.
    """
    depth = _depth(model, x_interior) if operator is second_derivative else 0
    trained = all(p.requires_grad for p in model.parameters())
    fits = {"analytic": depth == 1 and trained, "taylor": depth > 0, "autograd": True}
    if method == "auto":
        method = next(name for name, possible in fits.items() if possible)
    if not fits[method]:
        raise ValueError(
            f"method {method!r} needs an ntk.MLP with one input and tanh (for 'analytic' also one "
            f"hidden layer, all of it trainable), plain or in ntk.Standardized, and the operator "
            f"u ↦ u''. Neither may be a subclass, nor have hooks, another forward or parametrized "
            f"layers. Use method='auto'."
        )
    kind = {"analytic": AnalyticFields, "taylor": TaylorFields, "autograd": Fields}[method]
    return kind(model, x_boundary, x_interior, operator)


def _parts(model: nn.Module) -> tuple[nn.Module, Tensor | float, Tensor | float]:
    """Return (network, m, s) with u(x) = network((x − m) / s)."""
    if type(model) is Standardized:
        return model.network, model.mean, model.scale
    return model, 0.0, 1.0


def _depth(model: nn.Module, x: Tensor) -> int:
    """Return how many layers of tanh units the MLP in `model` has, for points `x` (n, 1).

    0 is any other model, be it an MLP altered by a subclass, a hook or a parametrization.
    """
    network, _, _ = _parts(model)
    untouched = is_as_made(network) and not (model._forward_hooks or model._forward_pre_hooks)
    fits = untouched and network.activation == "tanh" and x.shape[1] == 1
    return len(network.layers) - 1 if fits else 0


class Fields:
    """u on the boundary and Lu inside, by automatic differentiation: any model, any operator."""

    threads = None  # as many as torch likes
    around = staticmethod(plain_torch)  # a context to train in: the model may hold attention

    def __init__(self, model: nn.Module, x_boundary: Tensor, x_interior: Tensor, operator):
        """Hold what does not change in training."""
        self.model, self.operator = model, operator
        self.x_boundary, self.x_interior = x_boundary.detach(), x_interior.detach()
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    def values(self) -> tuple[Tensor, Tensor]:
        """Return u (n_b,) and Lu (n_r,) at the current parameters."""
        theta = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self._u = self.model(self.x_boundary).reshape(-1)
        self._lu = vmap(self.operator(field_of(self.model, theta)))(self.x_interior)
        return self._u.detach(), self._lu.detach()

    def descend(self, pull_boundary: Tensor, pull_interior: Tensor, rate: float) -> None:
        """Take θ ← θ − rate · Jᵀ (pull_boundary; pull_interior), at the last `values`."""
        outputs, pulls = [self._u, self._lu], [pull_boundary, pull_interior]
        held = [(f, p) for f, p in zip(outputs, pulls, strict=True) if f.requires_grad]
        outputs, pulls = zip(*held, strict=True)
        gradients = torch.autograd.grad(outputs, self.parameters, pulls, materialize_grads=True)
        with torch.no_grad():
            torch._foreach_add_(self.parameters, gradients, alpha=-rate)

    def kernel(self) -> PINNKernel:
        """Return the tangent kernel at the current parameters."""
        return pinn_kernel(self.model, self.x_boundary, self.x_interior, self.operator)


class TaylorFields(Fields):
    """The same for an MLP and u'': (h, h', h'') pass through the layers together.

    z = s_w W h + s_b b gives z' = s_w W h' and z'' = s_w W h''; and φ(z)' = φ'(z) z',
    φ(z)'' = φ''(z) z'² + φ'(z) z'', with φ = tanh: φ' = 1 − φ² and φ'' = −2 φ φ'.
    """

    around = nullcontext

    def __init__(self, model: nn.Module, x_boundary: Tensor, x_interior: Tensor, operator):
        """Hold all points in one batch, each boundary point once, standardised, with x̂' = 1/s."""
        super().__init__(model, x_boundary, x_interior, operator)
        network, mean, scale = _parts(model)
        points, self.which = self.x_boundary.unique(dim=0, return_inverse=True)
        self.n_once, self.layers = len(points), network.layers
        x = (torch.cat([points, self.x_interior]) - mean) / scale
        self.inputs = torch.stack([x, torch.ones_like(x) / scale, torch.zeros_like(x)])

    def values(self) -> tuple[Tensor, Tensor]:
        """Return u (n_b,) and u'' (n_r,) at the current parameters."""
        h = self.inputs
        *hidden, last = self.layers
        for layer in hidden:
            z, z1, z2 = layer.weight_scale * (h @ layer.weight.T)
            phi = (z + layer.bias_scale * layer.bias).tanh()
            slope = 1 - phi * phi
            h = torch.stack([phi, slope * z1, slope * (z2 - 2 * phi * z1 * z1)])
        self._u = last(h[0, : self.n_once])[self.which, 0]
        self._lu = last.weight_scale * (h[2, self.n_once :] @ last.weight[0])
        return self._u.detach(), self._lu.detach()


class AnalyticFields(Fields):
    """The same for one hidden layer of tanh units, with every derivative written out.

    With x̂ = (x − m)/s, z = s_1 W x̂ + c_1 b and a = s_1 W / s::

        u = s_2 V φ(z) + c_2 b_2          ∂u/∂V = s_2 φ      ∂u/∂z = s_2 V φ'
        u'' = s_2 V a² φ''(z)             ∂u''/∂V = s_2 a² φ''
        ∂u''/∂b = c_1 s_2 V a² φ'''       ∂u''/∂W = s_1 s_2 V (2 a φ'' / s + a² φ''' x̂)
    """

    around = nullcontext
    threads = 1  # such small matrices gain nothing by more, and lose a lot on a busy machine

    def __init__(self, model: nn.Module, x_boundary: Tensor, x_interior: Tensor, operator):
        """Hold standardised points, each boundary point once, and views of the parameters."""
        super().__init__(model, x_boundary, x_interior, operator)
        network, mean, scale = _parts(model)
        first, last = network.layers
        self.s1, self.c1 = first.weight_scale, first.bias_scale
        self.s2, self.c2 = last.weight_scale, last.bias_scale
        self.scale = float(scale)
        self.w, self.b = first.weight.data[:, 0], first.bias.data
        self.v, self.b2 = last.weight.data[0], last.bias.data
        points, self.which = self.x_boundary.unique(dim=0, return_inverse=True)
        self.at_boundary = (points - mean) / scale
        self.inside = (self.x_interior - mean) / scale
        self.moments = torch.cat([torch.ones_like(self.inside), self.inside], 1).T  # rows 1, x̂

    def values(self) -> tuple[Tensor, Tensor]:
        """Return u (n_b,) and u'' (n_r,) at the current parameters."""
        self.phi, self.slope = self._tanh(self.at_boundary)
        inside, self.slope_inside = self._tanh(self.inside)
        self.bend = inside.mul_(self.slope_inside).mul_(-2)  # φ'' = −2 φ φ'
        self.a = self.s1 / self.scale * self.w
        self.amplitude = self.s2 * self.a * self.a
        u = torch.addmv(self.c2 * self.b2, self.phi, self.s2 * self.v)
        return u[self.which], self.bend @ (self.amplitude * self.v)

    def descend(self, pull_boundary: Tensor, pull_interior: Tensor, rate: float) -> None:
        """Take θ ← θ − rate · Jᵀ (pull_boundary; pull_interior), at the last `values`."""
        pull = torch.zeros_like(self.at_boundary[:, 0]).index_add_(0, self.which, pull_boundary)
        on_phi = pull @ self.phi
        on_slope = torch.cat([pull[None], (pull * self.at_boundary[:, 0])[None]]) @ self.slope
        on_bend = pull_interior @ self.bend
        weighted = self.moments * pull_interior  # φ''' = φ' (4 − 6 φ')
        on_third = 4 * (weighted @ self.slope_inside)
        on_third -= 6 * (weighted @ self.slope_inside.square_())
        push = self.s2 * self.v * on_slope + self.amplitude * self.v * on_third
        push[1] += 2 * self.s2 / self.scale * self.a * self.v * on_bend
        self.v.sub_(self.s2 * on_phi + self.amplitude * on_bend, alpha=rate)
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
        """Return φ(z) and φ'(z) = 1 − φ², (n, width); tanh z = 2 σ(2z) − 1 is four times faster."""
        z = torch.addcmul(2 * self.c1 * self.b, x, 2 * self.s1 * self.w)
        phi = z.sigmoid_().mul_(2).sub_(1)
        return phi, torch.addcmul(torch.ones_like(x), phi, phi, value=-1)
