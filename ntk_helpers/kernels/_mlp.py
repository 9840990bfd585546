"""The factors of an `MLP` by backpropagation written out: the fast way, for this class alone."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ntk_helpers.activations import ACTIVATIONS
from ntk_helpers.kernels import _outputs
from ntk_helpers.kernels._factors import WORKING_SET, Factor
from ntk_helpers.networks import MLP, ScaledLinear


def is_as_made(model: nn.Module) -> bool:
    """Return whether `model` is exactly an `MLP`, with its own layers and without hooks."""
    return (
        type(model) is MLP
        and all(type(layer) is ScaledLinear for layer in model.layers)
        and len(list(model.parameters())) == 2 * len(model.layers)  # none shared, none added
        and not any(
            "forward" in vars(m) or m._forward_hooks or m._forward_pre_hooks or m._backward_hooks
            for m in model.modules()
        )
    )


class WrittenOut:
    """An `MLP` taken apart by hand; the same for `empirical_ntk` as `Layers` of any other model."""

    def __init__(self, model: MLP, x: Tensor):
        """Take `model` for points like `x`."""
        self.model, self.value = model, x.new_empty(1, model.n_out)

    @staticmethod
    def takes(model: nn.Module, x: Tensor) -> bool:
        """Return whether `model` is an `MLP` as made that takes `x`; if not, forward says why."""
        fits = is_as_made(model) and x.shape[1:] == (model.n_in,)
        return fits and x.dtype == model.layers[0].weight.dtype

    def groups(self, n: int) -> list[tuple[list[str], int]]:
        """Return one group for all layers, and how many of `n` points fit in memory."""
        k, layers = self.model.n_out, self.model.layers
        held = sum(layer.in_features + k * layer.out_features for layer in layers)  # h and D
        numbers = 2 * sum(layer.out_features for layer in layers) + 3 * held  # z and h; copies
        return [([], max(1, min(n, WORKING_SET // (self.value.element_size() * numbers))))]

    def factors(self, x: Tensor, group: list[str], *, look: bool) -> Iterator[Factor]:
        """Run the model on `x` (n, d) and differentiate its outputs f in the z of each layer.

        The chain rule, from the last layer to the first: D^l = (s_w D^{l+1} W^{l+1}) φ'(z^l).

        Yields:
            The factors of all layers with trainable parameters, the last layer first.
        """
        zero, h, passed = x.new_zeros(()), x, []
        phis = [self.model.activation] * self.model.depth + ["linear"]
        for layer, name in zip(self.model.layers, phis, strict=True):
            scales = {"alpha": layer.weight_scale, "beta": layer.bias_scale}
            if 16 * len(x) <= len(layer.weight):  # threads share the rows: those of W are more
                z = torch.addmm(layer.bias[:, None], layer.weight, h.mT, **scales).mT
            else:
                z = torch.addmm(layer.bias, h, layer.weight.mT, **scales)
            inputs, h = h, torch.empty_like(z)
            ACTIVATIONS[name].into(z, out=h)
            ACTIVATIONS[name].slope_(z, h)
            passed.append((inputs, z))
        _outputs.require_outputs(h, len(x))

        (n, k), above = h.shape, None
        for i, layer in reversed(list(enumerate(self.model.layers))):
            inputs, slope = passed.pop()
            if above is None:
                d = torch.eye(k, dtype=x.dtype, device=x.device) * slope[:, None]
            else:
                scale = above.weight_scale
                d = torch.addmm(zero, d.flatten(0, 1), above.weight, beta=0, alpha=scale)
                d = d.view(n, k, -1).mul_(slope[:, None])
            above = layer
            scales = {"weight": layer.weight_scale, "bias": layer.bias_scale}
            trained = {name: s for name, s in scales.items() if getattr(layer, name).requires_grad}
            names = tuple(f"layers.{i}.{name}" for name in trained)
            if names:
                factor = Factor(names, inputs[:, None], d.transpose(0, 1)[:, :, None])
                yield factor._replace(
                    weight=trained.get("weight", 0.0), bias=trained.get("bias", 0.0)
                )
