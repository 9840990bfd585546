"""Gradient descent on many MLPs at once, written out, in memory that is reserved once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor

from ntk_helpers.activations import IN_PLACE
from ntk_helpers.networks import MLP

CACHE_BYTES = 2**21


class Networks:
    """Some MLPs of one shape, E of them: (E, …) parameters, which are changed in place.

    As many of them as fit in the cache take all their steps before the next ones begin.
    """

    def __init__(self, model: MLP, state: dict[str, Tensor], x: Tensor, y: Tensor, rate: float):
        """Take the stacked parameters of networks like `model`, and the points (n, d) to train on.

        `y` is (n, k); `rate` times the gradient of Σ ½(f(x) − y)² is a step.
        """
        self.layers, self.y, self.rate = list(model.layers), y, rate
        self.phi, self.to_slope = IN_PLACE[model.activation]
        self.weights = [state[f"layers.{i}.weight"] for i in range(len(self.layers))]
        self.biases = [state[f"layers.{i}.bias"][:, None] for i in range(len(self.layers))]
        self.count = len(self.weights[0])
        self.memory = self.reserve(x)

    def reserve(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return memory for z and h of each layer at the points `x`, of networks that fit."""
        row = len(x) * max(layer.out_features for layer in self.layers) * x.element_size()
        fit = max(1, CACHE_BYTES // row) if x.device.type == "cpu" else self.count
        some = min(fit, self.count)
        z = [x.new_empty(some, len(x), layer.out_features) for layer in self.layers]
        return z, [x.expand(some, *x.shape), *(torch.empty_like(pre) for pre in z[:-1])]

    def groups(self, memory: tuple[list[Tensor], list[Tensor]]) -> Iterator[tuple]:
        """Yield weights, biases, z and h of as many networks as `memory` holds, time and again."""
        some = len(memory[0][0])
        for first in range(0, self.count, some):
            own, used = slice(first, first + some), slice(min(some, self.count - first))
            parameters = ([p[own] for p in group] for group in (self.weights, self.biases))
            yield *parameters, *([values[used] for values in group] for group in memory)

    def forward(self, weights: list, biases: list, z: list, h: list) -> Tensor:
        """Fill z and h, and return the outputs."""
        for i, layer in enumerate(self.layers):
            if i > 0:
                self.phi(z[i - 1], out=h[i])
            scales = {"alpha": layer.weight_scale, "beta": layer.bias_scale}
            torch.baddbmm(biases[i], h[i], weights[i].mT, **scales, out=z[i])
        return z[-1]

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return the outputs (E, m, k) at the points `x` (m, d)."""
        return torch.cat([self.forward(*group).clone() for group in self.groups(self.reserve(x))])

    @torch.no_grad()
    def descend(self, steps: int) -> None:
        """Take `steps` steps of gradient descent."""
        back = torch.empty_like(self.memory[1][-1])
        ones = back.new_ones(1, 1, 1).expand(len(back), 1, back.shape[1])
        for weights, biases, z, h in self.groups(self.memory):
            some = len(z[0])
            for _ in range(steps):
                self.step(weights, biases, z, h, back[:some], ones[:some])

    def step(self, weights, biases, z, h, back: Tensor, ones: Tensor) -> None:
        """Take one step: δ = f − y at the last layer, δ^l = (s_w δ^{l+1} W^{l+1}) φ'(z^l) below."""
        delta = self.forward(weights, biases, z, h).sub_(self.y)
        for i, layer in reversed(list(enumerate(self.layers))):
            biases[i].baddbmm_(ones, delta, alpha=-self.rate * layer.bias_scale)
            scale = layer.weight_scale
            if i > 0:
                torch.baddbmm(back, delta, weights[i], beta=0, alpha=scale, out=back)
                self.to_slope(z[i - 1], h[i])
            if layer.in_features < layer.out_features:  # the fast order of a narrow product
                weights[i].sub_((h[i].mT @ delta).mT, alpha=self.rate * scale)
            else:
                weights[i].baddbmm_(delta.mT, h[i], alpha=-self.rate * scale)
            if i > 0:
                delta = torch.mul(back, z[i - 1], out=h[i])


@contextmanager
def mlps_together(
    model: MLP, state: dict[str, Tensor], x: Tensor, y: Tensor, rate: float
) -> Iterator[tuple[Callable[[int], Iterator[int]], Callable[[Tensor], Tensor]]]:
    """Give each thread its share of the networks, so that what it needs stays in its cache.

    Args:
        model: An MLP like all of them.
        state: Their stacked parameters (E, …), which are changed in place.
        x: (n, d) inputs.
        y: (n, k) targets.
        rate: Factor of the gradient of Σ ½(f(x) − y)² in a step.

    Yields:
        A function that takes a number of steps, yielding how many it has taken since it last did;
        and one that predicts (E, m, k) at points (m, d).
    """
    count, threads = len(next(iter(state.values()))), torch.get_num_threads()
    parts = min(threads, count) if x.device.type == "cpu" else 1
    cuts = [count * i // parts for i in range(parts + 1)]
    shares = [
        Networks(model, {name: value[a:b] for name, value in state.items()}, x, y, rate)
        for a, b in pairwise(cuts)
    ]
    each = max(1, threads // parts)  # a few networks may take several threads each
    with ThreadPoolExecutor(parts, initializer=torch.set_num_threads, initargs=(each,)) as pool:

        def descend(steps):
            for _ in pool.map(lambda share: share.descend(steps), shares):
                pass
            yield steps

        try:
            yield descend, lambda x: torch.cat([*pool.map(lambda share: share.predict(x), shares)])
        finally:
            torch.set_num_threads(threads)
