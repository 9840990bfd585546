"""Backpropagation by hand through a chain of linear layers and activations."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ntk_helpers import _checks
from ntk_helpers.activations import IN_PLACE
from ntk_helpers.networks import MLP, ScaledLinear

MODULES = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.GELU: "gelu", nn.Identity: "linear"}


class Link(NamedTuple):
    """A layer z = s_w W h + s_b b of a chain, with the activation that follows it.

    Attributes:
        name: Name of the layer in the model.
        layer: The layer.
        weight_scale: s_w.
        bias_scale: s_b.
        activation: Name of φ; "linear" where none follows.
    """

    name: str
    layer: nn.Linear
    weight_scale: float
    bias_scale: float
    activation: str


def as_chain(model: nn.Module, *points: Tensor) -> list[Link] | None:
    """Return `model` as a chain that takes all of `points`, or None for a model that is none.

    A chain is an `MLP`, or an nn.Sequential of nn.Linear (each used once) with at most one of
    nn.ReLU, nn.Tanh, nn.GELU and nn.Identity after each, in float32 or float64, without hooks.
    """
    if type(model) is MLP:
        names = {f"layers.{i}": layer for i, layer in enumerate(model.layers)}
        last = len(names) - 1
        links = [
            (name, layer, "linear" if i == last else model.activation)
            for i, (name, layer) in enumerate(names.items())
        ]
    elif type(model) is nn.Sequential:
        links = []
        for name, module in model._modules.items():
            if type(module) is nn.Linear:
                links.append((name, module, "linear"))
            elif links and links[-1][2] == "linear" and type(module) in MODULES:
                links[-1] = (*links[-1][:2], MODULES[type(module)])
            else:
                return None
    else:
        return None
    chain = [Link(name, layer, *scales(layer), phi) for name, layer, phi in links]
    return chain if all(_is_plain(model, chain, x) for x in points) else None


def is_as_made(model: nn.Module) -> bool:
    """Return whether `model` is exactly an `MLP`, with its own layers and without hooks."""
    return (
        type(model) is MLP
        and all(type(layer) is ScaledLinear for layer in model.layers)
        and len(list(model.parameters())) == 2 * len(model.layers)  # none shared, none added
        and not any(
            "forward" in vars(m)
            or m._forward_hooks
            or m._forward_pre_hooks
            or m._backward_hooks
            or m._backward_pre_hooks
            for m in model.modules()
        )
    )


def scales(layer: nn.Module) -> tuple[float, float]:
    """Return the scales (s_w, s_b) outside the weights and the biases of a layer."""
    scaled = isinstance(layer, ScaledLinear)
    return (layer.weight_scale, layer.bias_scale) if scaled else (1.0, 1.0)


def is_untouched(model: nn.Module) -> bool:
    """Return whether no module of `model` carries a hook or a forward that its type has not."""
    return not any(
        "forward" in vars(m)
        or any((m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks))
        for m in model.modules()
    )


def _is_plain(model: nn.Module, chain: list[Link], x: Tensor) -> bool:
    """Return whether the modules do nothing but what their types say, and fit together and `x`."""
    held = [p for link in chain for p in (link.layer.weight, link.layer.bias) if p is not None]
    sizes = [x.shape[-1], *(link.layer.weight.shape[0] for link in chain)]
    return (
        (x.ndim == 2 and x.dtype in {torch.float32, torch.float64} and is_untouched(model))
        and all(type(link.layer) in {nn.Linear, ScaledLinear} for link in chain)
        and all(link.activation in IN_PLACE for link in chain)
        and not any(isinstance(m, nn.GELU) and m.approximate != "none" for m in model.modules())
        and all(type(p) is nn.Parameter and p.dtype == x.dtype for p in held)
        and len(held) == len(set(map(id, held))) == len(list(model.parameters()))
        and all(link.layer.weight.shape[1] == n for link, n in zip(chain, sizes, strict=False))
    )


def differentiate(chain: list[Link], x: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Run the `chain` on `x` (n, d) and differentiate its outputs f in the output z of each layer.

    The chain rule, from the last layer to the first: D^l = (s_w D^{l+1} W^{l+1}) φ'(z^l).

    Yields:
        For each layer, the last first, its name, its inputs h (n, p) and D = ∂f/∂z (k, n, q).

    Raises:
        ValueError: If the outputs are not finite.
    """
    zero, h, passed = x.new_zeros(()), x, []
    for name, layer, weight_scale, bias_scale, activation in chain:
        bias = zero if layer.bias is None else layer.bias
        scale = {"alpha": weight_scale, "beta": bias_scale}
        if 16 * len(x) <= len(layer.weight):  # threads share the rows: those of W are more
            z = torch.addmm(bias[..., None], layer.weight, h.mT, **scale).mT
        else:
            z = torch.addmm(bias, h, layer.weight.mT, **scale)
        inputs, h = h, torch.empty_like(z)
        phi, to_slope = IN_PLACE[activation]
        phi(z, out=h)
        to_slope(z, h)
        passed.append((name, layer.weight, weight_scale, inputs, z))
    _checks.require_outputs(h, len(x))

    (n, k), above = h.shape, None
    for name, weight, scale, inputs, slope in reversed(passed):
        if above is None:
            d = torch.eye(k, dtype=x.dtype, device=x.device) * slope[:, None]
        else:
            d = torch.addmm(zero, d.flatten(0, 1), above[0], beta=0, alpha=above[1]).view(n, k, -1)
            d.mul_(slope[:, None])
        yield name, inputs, d.transpose(0, 1)
        above = weight, scale
