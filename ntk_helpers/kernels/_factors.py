"""The small factors of a layer whose Gram matrices make up its share of the tangent kernel."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.functional import unfold

from ntk_helpers.kernels._jacobian import pull_back, real
from ntk_helpers.networks import ScaledLinear

WORKING_SET = 400 * 2**20  # bytes; the rest of the promised 512 MB is for what estimates leave out


class Factor(NamedTuple):
    """A term of the kernel: `Σ_{t,t'} (weight² ⟨h_t, h'_t'⟩ + bias²) ⟨D_t, D'_t'⟩`.

    Attributes:
        names: The parameters it stands for: weight and bias of a layer, or one of any kind.
        h: (n, T, p) inputs of a layer at its T positions; (n, T, 1) integers for rows of an
            embedding, which are equal or orthogonal; ones (n, 1, 1) where `d` is a Jacobian itself.
        d: (k, n, T, q) derivatives of the k outputs in the outputs of the layer.
        weight: Scale of the layer's weights.
        bias: Scale of the layer's biases.
    """

    names: tuple[str, ...]
    h: Tensor
    d: Tensor
    weight: float = 1.0
    bias: float = 0.0

    def gradients(self, weights: Tensor, shape: torch.Size) -> dict[str, Tensor]:
        """Return by name the gradients of Σ weights · f that follow from this factor.

        Args:
            weights: (n, k).
            shape: Shape of the first parameter.
        """
        d, h = torch.einsum("nk,kntq->ntq", weights, self.d).flatten(0, 1), self.h.flatten(0, 1)
        if not h.is_floating_point():
            return {self.names[0]: d.new_zeros(shape).index_add_(0, h[:, 0], d)}
        return dict(zip(self.names, (self.weight * d.mT @ h, self.bias * d.sum(0)), strict=False))


class Layer(NamedTuple):
    """A module whose parameters act through its output z alone, so that J = D ∂z/∂θ, D = ∂f/∂z.

    Attributes:
        module: The module.
        names: Name in the model of each trainable parameter that it holds, by its name there.
        kind: "linear", "convolution", "embedding"; or "module", which autograd differentiates.
        sizes: (T, p, q) positions, inputs and outputs at each; (0, 0, parameters) of a "module".
        gram: True to contract h and D apart, False to form J (many positions, few parameters).
    """

    module: nn.Module
    names: dict[str, str]
    kind: str
    sizes: tuple[int, int, int]
    gram: bool

    def numbers(self, k: int) -> int:
        """Return how many numbers a point of both sides takes, with copies made on the way."""
        t, p, q = self.sizes
        return 4 * (t * (p + k * q) + (0 if self.gram else k * (p + 1) * q))

    def factors(self, h: Tensor, d: Tensor, dtype: torch.dtype) -> Iterator[Factor]:
        """Yield the factors, in `dtype`, for inputs `h` (n, …) and D (k, n, …) of the module."""
        module, names, (_, p, q), n = self.module, self.names, self.sizes, len(h)
        if self.kind == "module":
            mine = {key: module._parameters[key] for key in names}
            for key, j in pull_back(module, mine, h, d).items():
                yield of_jacobian(names[key], real(j).to(dtype))
            return
        d = d.to(dtype)
        if self.kind == "embedding":
            kept = torch.ones_like(h) if module.padding_idx is None else h != module.padding_idx
            d = d.reshape(len(d), n, -1, q) * kept.reshape(n, -1, 1)
            yield Factor((names["weight"],), h.reshape(n, -1, 1), d)
            return
        if self.kind == "convolution":
            h = unfold(h, module.kernel_size, module.dilation, module.padding, module.stride).mT
            d = d.flatten(3).mT
        h, d = h.reshape(n, -1, p).to(dtype), d.reshape(len(d), n, -1, q)
        scaled = isinstance(module, ScaledLinear)
        weight, bias = (module.weight_scale, module.bias_scale) if scaled else (1.0, 1.0)
        if self.gram:
            ordered = tuple(names[key] for key in ("weight", "bias") if key in names)
            yield Factor(ordered, h, d, weight, bias if "bias" in names else 0.0)
            return
        if "weight" in names:
            yield of_jacobian(names["weight"], weight * torch.einsum("ntp,kntq->nkqp", h, d))
        if "bias" in names:
            yield of_jacobian(names["bias"], bias * d.sum(2).transpose(0, 1))


def of_jacobian(name: str, j: Tensor) -> Factor:
    """Return the factor of a parameter with the Jacobian `j` (n, k, …); complex numbers are two."""
    d = real(j).reshape(*j.shape[:2], 1, -1).transpose(0, 1)
    return Factor((name,), d.new_ones(len(j), 1, 1), d)


def can_unfold(module: nn.Conv2d) -> bool:
    """Return whether torch's `unfold` knows the groups and the padding of a convolution."""
    return module.groups == 1 and not isinstance(module.padding, str)


class Call(NamedTuple):
    """What a hook saw of a module: its input, and shape and place in the graph of its output."""

    h: Tensor
    shape: torch.Size
    edge: GradientEdge


@contextmanager
def recording(modules: dict[str, nn.Module]) -> Iterator[dict[str, list[Call | None]]]:
    """Record the calls of `modules` while the context is open.

    Yields:
        The calls by name, None for one that does not take a tensor to a tensor, row by row.
    """
    calls = {name: [] for name in modules}

    def watch(name):
        def hook(_, args, kwargs, z):
            fits = len(args) == 1 and not kwargs and all(isinstance(v, Tensor) for v in (*args, z))
            fits = fits and z.requires_grad and args[0].shape[:1] == z.shape[:1] != ()
            seen = Call(args[0].detach(), z.shape, get_gradient_edge(z)) if fits else None
            calls[name].append(seen)

        return hook

    handles = [
        module.register_forward_hook(watch(name), prepend=True, with_kwargs=True)
        for name, module in modules.items()
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
