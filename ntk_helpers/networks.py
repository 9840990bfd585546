"""A multilayer perceptron in the NTK or the standard parameterisation."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ntk_helpers import _checks, _dice
from ntk_helpers.activations import ACTIVATIONS


class ScaledLinear(nn.Linear):
    """A linear layer with its scales outside: `z = weight_scale · W h + bias_scale · b`.

    Attributes:
        weight_scale: σ_w / √n_in in the NTK parameterisation, 1 in the standard one.
        bias_scale: σ_b in the NTK parameterisation, 1 in the standard one.
    """

    def __init__(self, weight: Tensor, bias: Tensor, weight_scale: float, bias_scale: float):
        """Take `weight` (n_out, n_in) and `bias` (n_out,) as the initial parameters."""
        n_out, n_in = weight.shape
        super().__init__(n_in, n_out, device="meta")
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.weight_scale, self.bias_scale = weight_scale, bias_scale

    def forward(self, h: Tensor) -> Tensor:
        """Return the pre-activations (…, n_out) of the layer inputs `h` (…, n_in)."""
        return linear(self.weight_scale * h, self.weight, self.bias_scale * self.bias)

    def extra_repr(self) -> str:
        """Return what `print(model)` shows of this layer."""
        scales = f"weight_scale={self.weight_scale:.4g}, bias_scale={self.bias_scale:.4g}"
        return f"{self.in_features} → {self.out_features}, {scales}"


class MLP(nn.Module):
    """A fully connected network with `depth` hidden layers of `width` units.

    NTK parameterisation, with every entry of every W and b drawn from N(0, 1)::

        z¹ = (σ_w / √d) W¹ x + σ_b b¹
        z^{l+1} = (σ_w / √width) W^{l+1} φ(z^l) + σ_b b^{l+1}
        f = z^{depth+1}

    Standard parameterisation: z = W h + b with W ~ N(0, σ_w² / n_in), b ~ N(0, σ_b²). The same
    seed gives the same function at initialisation in both; their tangent kernels and their stable
    steps differ.

    Derived in notebooks/04_infinite_width.ipynb, "What must be scaled with the width?".

    Source: Jacot, Gabriel, Hongler 2018, arXiv:1806.07572, section 3; Lee et al. 2019,
    arXiv:1902.06720, section 2.

    Example:
        >>> f = MLP(2, width=64, depth=2, activation="erf", seed=0)
        >>> f(torch.ones(5, 2)).shape
        torch.Size([5, 1])
        >>> g = MLP(2, width=64, depth=2, activation="erf", parameterization="standard", seed=0)
        >>> torch.allclose(f(torch.ones(5, 2)), g(torch.ones(5, 2)), atol=1e-5)
        True
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        n_out: int = 1,
        *,
        depth: int = 1,
        activation: str = "erf",
        sigma_w: float = 1.0,
        sigma_b: float = 0.1,
        parameterization: str = "ntk",
        seed: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        """Draw the weights on the CPU in float64, then move them: one network on every device.

        Args:
            n_in: Inputs d of a point.
            width: Units of each hidden layer.
            n_out: Outputs k.
            depth: Number of hidden layers, at least 1.
            activation: "erf", "relu", "tanh", "gelu", "sin" or "linear".
            sigma_w: Standard deviation σ_w of the weights, before the division by √n_in.
            sigma_b: Standard deviation σ_b of the biases.
            parameterization: "ntk" or "standard".
            seed: Seed of this network's own generator; None draws from torch's global CPU
                generator.
            device: Where the parameters live; None is torch's default device.
            dtype: Type of the parameters; None is torch's default dtype.
        """
        super().__init__()
        for name, size in {"n_in": n_in, "width": width, "n_out": n_out, "depth": depth}.items():
            _checks.require_integer(name, size, at_least=1)
        _checks.require_number("sigma_w", sigma_w, positive=True)
        _checks.require_number("sigma_b", sigma_b)
        _checks.require_choice("activation", activation, ACTIVATIONS)
        _checks.require_choice("parameterization", parameterization, ["ntk", "standard"])
        self.activation, self.sigma_w, self.sigma_b = activation, float(sigma_w), float(sigma_b)
        self.parameterization = parameterization
        self.n_in, self.width, self.n_out, self.depth = n_in, width, n_out, depth

        generator = None if seed is None else _dice.stream("weights", seed)
        place = _checks.place(device, dtype)
        sizes = [n_in, *[width] * depth, n_out]
        self.layers = nn.ModuleList(
            self._layer(fan_in, fan_out, generator, place) for fan_in, fan_out in pairwise(sizes)
        )

    def _layer(self, fan_in: int, fan_out: int, generator, place: dict) -> ScaledLinear:
        """Return one layer, drawn from `generator` and moved to `place`."""
        draw = {"generator": generator, "dtype": torch.float64, "device": "cpu"}
        weight, bias = torch.randn(fan_out, fan_in, **draw), torch.randn(fan_out, **draw)
        weight_scale, bias_scale = self.sigma_w / math.sqrt(fan_in), self.sigma_b
        if self.parameterization == "standard":
            weight, bias = weight_scale * weight, bias_scale * bias
            weight_scale = bias_scale = 1.0
        return ScaledLinear(weight.to(**place), bias.to(**place), weight_scale, bias_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return f(x) of shape (…, k) for points `x` of shape (…, d)."""
        if not isinstance(x, Tensor):
            raise TypeError(
                f"x must be a torch.Tensor; got {type(x).__name__}. "
                f"torch.as_tensor(x, dtype=torch.get_default_dtype()) makes one."
            )
        if x.ndim == 0 or x.shape[-1] != self.n_in:
            raise ValueError(
                f"x must have {self.n_in} input(s) on its last axis; got shape {tuple(x.shape)}. "
                f"n points of one input are a column: x[:, None]."
            )
        _checks.require_same_place(**{"the network": self.layers[0].weight, "x": x})
        phi = ACTIVATIONS[self.activation].phi
        *hidden, last = self.layers
        h = x
        for layer in hidden:
            h = phi(layer(h))
        return last(h)
