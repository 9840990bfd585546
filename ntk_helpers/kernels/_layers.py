"""Take any model apart into layers, and see by its answer whether that is right."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ntk_helpers.kernels import _outputs
from ntk_helpers.kernels._factors import (
    WORKING_SET,
    Call,
    Factor,
    Layer,
    can_unfold,
    of_jacobian,
    recording,
)
from ntk_helpers.kernels._jacobian import (
    Gradients,
    evaluate,
    evaluate_rows,
    jacobian,
    jacobian_by_loop,
    plain_gradients,
    real,
    require_same_alone,
)

REST = "(rest)"  # stands in a group for the parameters that no layer takes


class RefutedError(Exception):
    """What was taken layer by layer is not what one plain backward pass gives: begin again."""


class Layers:
    """A model taken apart: each module that is called once is taken for what its class says.

    What the look in `factors` refutes is taken in the next plainer way: by differentiating the
    module alone; by differentiating the model in its parameters; at last point by point.
    """

    def __init__(self, model: nn.Module, parameters: dict, x: Tensor, outputs: str, method: str):
        """Take `model` apart as it runs at the first point of `x`."""
        self.model, self.parameters, self.full = model, parameters, outputs == "full"
        self.point, self.unused, self.used, self.by_loop = x[:1], set(), set(), False
        self.refuted = Counter()  # how often, by layer
        holders = Counter(id(p) for m in model.modules() for p in m._parameters.values())
        names = {id(p): name for name, p in parameters.items()}
        self.modules = {}  # with the names of their parameters, if no other module holds them too
        for name, module in model.named_modules() if method != "jacobian" else ():
            mine = {key: p for key, p in module._parameters.items() if id(p) in names}
            if mine and all(holders[id(p)] == 1 for p in mine.values()):
                self.modules[name] = module, {key: names[id(p)] for key, p in mine.items()}
        self.take_apart()

    @torch.enable_grad()
    def take_apart(self) -> None:
        """Find the layers, the parameters left to whole Jacobians, and what autograd keeps."""
        ours, saved = {p.data_ptr() for p in self.model.parameters()}, {}

        def weigh(tensor):
            saved[tensor.data_ptr()] = 0 if tensor.data_ptr() in ours else tensor.nbytes
            return tensor.detach()

        modules = {name: module for name, (module, _) in self.modules.items()}
        with recording(modules) as calls, saved_tensors_hooks(weigh, lambda tensor: tensor):
            f = evaluate(self.model, torch.cat([self.point, self.point]))
        _outputs.require_attached(f)
        self.value, self.saved = f.detach()[:1], max(1, sum(saved.values()) // 2)
        self.layers = {
            name: self._layer(*self.modules[name], seen[0], self.refuted[name])
            for name, seen in calls.items()
            if len(seen) == 1 and seen[0] and len(seen[0].h) == 2 and self.refuted[name] < 2
        }
        self.rest = self._not_in_layers()
        if self.rest:  # vmap runs the whole model anyhow: one run more for each module costs more
            self.layers = {n: layer for n, layer in self.layers.items() if layer.kind != "module"}
            self.rest = self._not_in_layers()

    def _not_in_layers(self) -> dict[str, nn.Parameter]:
        """Return the parameters that no layer takes and that are used."""
        inside = {name for layer in self.layers.values() for name in layer.names.values()}
        return {n: p for n, p in self.parameters.items() if n not in inside | self.unused}

    def _layer(self, module: nn.Module, names: dict[str, str], call: Call, refuted: int) -> Layer:
        """Return how to take `module`."""
        shape, k = call.shape, self.value.shape[1]
        pairs = k * k if self.full else k
        numbers = all(self.parameters[name].is_floating_point() for name in names.values())
        affine = not refuted and numbers and set(names) <= {"weight", "bias"} and len(shape) > 1
        if affine and isinstance(module, nn.Linear):
            kind, p, q = "linear", call.h.shape[-1], shape[-1]
        elif affine and isinstance(module, nn.Embedding):
            kind, p, q = "embedding", 1, shape[-1]
        elif affine and isinstance(module, nn.Conv2d) and can_unfold(module) and len(shape) == 4:
            kind, p, q = "convolution", module.weight[0].numel(), shape[1]
        else:
            size = sum(self.parameters[name].numel() for name in names.values())
            return Layer(module, names, "module", (0, 0, size), gram=False)
        t = shape[1:].numel() // q
        short = t == 1 or kind == "embedding" or t * t * (p + pairs * q) < pairs * p * q
        return Layer(module, names, kind, (t, p, q), gram=short and "weight" in names)

    def groups(self, n: int) -> Iterator[tuple[list[str], int]]:
        """Yield layers whose factors fit in half of the working set, and the points of a block."""
        k, size, half = self.value.shape[1], self.value.element_size(), WORKING_SET // 2
        most, group, held = max(1, min(n, half // (2 * self.saved))), [], 0
        needs = {name: size * layer.numbers(k) for name, layer in self.layers.items()}
        if self.rest:
            numbers = sum(p.numel() for p in self.rest.values())
            needs[REST] = 4 * k * size * numbers + k * self.saved
        for name, bytes_per_point in needs.items():
            if group and most * (held + bytes_per_point) > half:
                yield group, max(1, min(most, half // held))
                group, held = [], 0
            group, held = [*group, name], held + bytes_per_point
        yield group, max(1, min(most, half // held))

    def factors(self, x: Tensor, group: list[str], *, look: bool) -> Iterator[Factor]:
        """Yield the factors of a `group` of layers at the points `x` (n, …).

        Raises:
            RefutedError: If, with `look`, a factor does not give the gradient that a plain backward
                pass gives. What it stands for is taken in a plainer way from now on.
            ValueError: If rows are not independent, or outputs are random.
        """
        layers = {name: self.layers[name] for name in group if name != REST}
        modules = {name: layer.module for name, layer in layers.items()}
        with recording(modules) as calls:
            f = evaluate_rows(self.model, x)
        if look:
            require_same_alone(self.model, x, f)
            gradients = self._look(f, len(x), layers, REST in group)
        for factor in self._of_layers(layers, calls, f, len(x)) if layers else ():
            if look:
                shape = self.parameters[factor.names[0]].shape
                for name, found in factor.gradients(gradients.weights, shape).items():
                    if not gradients.agree(name, found):
                        self._refute(name)
            yield factor
        if REST in group:
            yield from self._of_rest(x, gradients if look else None)

    def _look(self, f: Tensor, n: int, layers: dict[str, Layer], rest: bool) -> Gradients:
        """Return the plain gradients of the parameters of `layers` and of the rest."""
        names = {name for layer in layers.values() for name in layer.names.values()} | self.unused
        parameters = {n: p for n, p in self.parameters.items() if n in names or n in self.rest}
        gradients = plain_gradients(f, parameters, n)
        self.used |= {name for name, gradient in gradients.found.items() if gradient is not None}
        unused = gradients.found.keys() - self.used
        if unused != self.unused:
            self._require_unused_in_training(unused - self.unused)
            self.unused = unused
            self.take_apart()
            raise RefutedError
        return gradients

    def _require_unused_in_training(self, names: set[str]) -> None:
        """Raise ValueError if parameters that do nothing now would do something in training."""
        parameters, gradients = [self.parameters[name] for name in names], []
        resting = [module for module in self.model.modules() if not module.training]
        for module in resting:
            module.training = True
        try:
            with torch.enable_grad(), torch.random.fork_rng(), suppress(Exception):
                f = resting and evaluate(self.model, torch.cat([self.point, self.point]))
                gradients = torch.autograd.grad(f.sum(), parameters, allow_unused=True)
        finally:
            for module in resting:
                module.training = False
        for name, gradient in zip(names, gradients, strict=False):
            if gradient is not None:
                raise ValueError(
                    f"the parameter {name!r} moves the outputs in training mode only: the model "
                    f"keeps a value that it computed from it. Clear that (often model.train() "
                    f"does), or freeze the parameter: .requires_grad_(False)."
                )

    def _refute(self, name: str) -> None:
        """Take the layer of the parameter `name` in a plainer way from now on."""
        for key, layer in self.layers.items():
            if name in layer.names.values():
                self.refuted[key] += 2 if layer.kind == "module" else 1
        self.take_apart()
        raise RefutedError

    def _of_layers(
        self, layers: dict[str, Layer], calls: dict[str, list], f: Tensor, n: int
    ) -> Iterator[Factor]:
        """Yield the factors of `layers` whose `calls` were recorded when `f` was computed."""
        for name, seen in calls.items():
            if len(seen) != 1 or not seen[0] or len(seen[0].h) != len(f):
                self._refute(next(iter(layers[name].names.values())))
        edges, turns = [seen[0].edge for seen in calls.values()], []
        for j in range(f.shape[1]):
            basis = torch.zeros_like(f)
            basis[:, j] = 1
            turns.append(torch.autograd.grad(f, edges, basis, retain_graph=True, allow_unused=True))
        for (name, layer), ds in zip(layers.items(), zip(*turns, strict=True), strict=True):
            h, shape, _ = calls[name][0]
            d = torch.stack([f.new_zeros(()).expand(shape) if d is None else d for d in ds])
            try:
                factors = list(layer.factors(h[:n], d[:, :n], f.dtype))
            except RuntimeError:  # vmap cannot run the module
                self._refute(next(iter(layer.names.values())))
            yield from factors

    def _of_rest(self, x: Tensor, gradients: Gradients | None) -> Iterator[Factor]:
        """Yield the factors of the parameters that no layer has, from Jacobians of the model."""
        j = None
        if not self.by_loop:
            j = jacobian(self.model, self.rest, x, self.value.shape[1], gradients)
        self.by_loop = j is None
        for name, part in (j or jacobian_by_loop(self.model, self.rest, x)).items():
            yield of_jacobian(name, real(part).to(self.value.dtype))
