"""Find, by hooks, the small factors of a layer whose Gram matrices make up the tangent kernel."""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import unfold

from ntk_helpers import _checks
from ntk_helpers.kernels._jacobian import pull_back
from ntk_helpers.kernels._mlp import Link, as_chain, differentiate, scales
from ntk_helpers.kernels.hooks import evaluate, own, recording, standing_alone
from ntk_helpers.networks import ScaledLinear


class Factor(NamedTuple):
    """A term of the kernel: `Σ_{t,t'} (weight² ⟨h_t, h'_t'⟩ + bias²) ⟨D_t, D'_t'⟩`.

    Attributes:
        layer: Name of the layer that the term belongs to.
        h: (n, T, p) inputs of the layer at its T positions; None stands for `⟨D, D'⟩` alone, T = 1.
        d: (k, n, T, q) derivatives of the k outputs.
        weight: Scale of the layer's weights.
        bias: Scale of the layer's biases; 0 where they are frozen or absent.
    """

    layer: str
    h: Tensor | None
    d: Tensor
    weight: float = 1.0
    bias: float = 0.0


class Layer(NamedTuple):
    """A module whose parameters act through its output z alone, so that J = D ∂z/∂θ, D = ∂f/∂z.

    Attributes:
        module: The module.
        kind: "linear"; "conv"; or "other", which only automatic differentiation knows.
        sizes: (T, p, q) positions, inputs and outputs at each; (1, 0, parameters) for "other".
        gram: True to contract h and D apart, False to form J (many positions, few parameters).
    """

    module: nn.Module
    kind: str
    sizes: tuple[int, int, int]
    gram: bool


class Plan(NamedTuple):
    """How each trainable parameter is taken, and what it costs.

    Attributes:
        chain: The links of a model that is a chain of linear layers and activations, else None.
        layers: Layers taken by structured derivatives, by name.
        rest: Parameters taken by their Jacobian, by name.
        value: (1, k) outputs at the first point; of a chain, only their shape.
        row_bytes: Estimate of the memory that a row of both sides of a block of the kernel needs.
        pair_flops: Operations to contract one pair of rows.
        forward_flops: Operations of the model on one row.
        batched: False to differentiate the outputs one by one: vmap does so with convolutions, and
            copies.
    """

    chain: list[Link] | None
    layers: dict[str, Layer]
    rest: dict[str, nn.Parameter]
    value: Tensor
    row_bytes: int
    pair_flops: int
    forward_flops: int
    batched: bool


def _layer(module: nn.Module, shape: torch.Size, pairs: int) -> Layer:
    """Return how to take `module`, whose output has `shape`, for `pairs` pairs of outputs of f."""
    forward = None if "forward" in vars(module) else type(module).forward
    mine = own(module)
    affine = set(mine) <= {"weight", "bias"} and len(shape) > 1
    if affine and forward in {nn.Linear.forward, ScaledLinear.forward}:
        kind, p, q = "linear", module.in_features, module.out_features
    elif (
        (affine and forward is nn.Conv2d.forward and len(shape) == 4 and module.groups == 1)
        and type(module)._conv_forward is nn.Conv2d._conv_forward
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    ):
        kind, p, q = "conv", module.weight[0].numel(), module.out_channels
    else:
        return Layer(module, "other", (1, 0, sum(p.numel() for p in mine.values())), gram=False)
    t = shape[1:].numel() // q
    gram = "weight" in mine and (t == 1 or t * t * (p + pairs * q) < pairs * p * q)
    return Layer(module, kind, (t, p, q), gram)


def make_plan(model: nn.Module, x: Tensor, x2: Tensor, outputs: str, *, structured: bool) -> Plan:
    """Decide how each trainable parameter is taken: in a chain at sight, else by the first point.

    Raises:
        TypeError: If the model does not return one tensor.
        ValueError: If the tensor is not (n, k) or (n,), not finite, or depends on no parameter.
    """
    chain = as_chain(model, x, x2) if structured else None
    f, taken, saved = _at_sight(chain, x) if chain else _by_first_point(model, x, x2, structured)
    k = f.shape[1]
    pairs = k * k if outputs == "full" else k

    layers = {name: _layer(module, shape, pairs) for name, (module, shape) in taken.items()}
    inside = {p for layer in layers.values() for p in own(layer.module).values()}
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rest = {name: p for name, p in trainable.items() if p not in inside}

    leaves = sum(p.numel() for p in rest.values())
    held, made, flops, forward = k * leaves, 2 * k * leaves, 2 * pairs * leaves, 2 * leaves
    for _, kind, (t, p, q), gram in layers.values():
        size = q if kind == "other" else (p + 1) * q
        held += t * (p + k * q) if gram else k * size
        made += 2 * k * q if kind == "other" else t * (p + k * q)
        flops += 2 * (t * t * (p + pairs * q) if gram else pairs * size)
        forward += 2 * t * size
    row_bytes = (1 + k * bool(rest)) * saved + f.element_size() * (made + 2 * held)
    batched = k > 1 and not any(isinstance(m, nn.modules.conv._ConvNd) for m in model.modules())
    return Plan(chain, layers, rest, f, row_bytes, flops, forward, batched)


def _at_sight(chain: list[Link], x: Tensor) -> tuple[Tensor, dict, int]:
    """Return what `_by_first_point` does, without running the model."""
    sizes = [link.layer.weight.shape[0] for link in chain]
    taken = {
        link.name: (link.layer, torch.Size((1, size)))
        for link, size in zip(chain, sizes, strict=True)
        if own(link.layer)
    }
    return x.new_empty(1, sizes[-1]), taken, 2 * sum(sizes) * x.element_size()


@torch.enable_grad()
def _by_first_point(
    model: nn.Module, x: Tensor, x2: Tensor, structured: bool
) -> tuple[Tensor, dict, int]:
    """Run the model on the first point of `x`, alone and, if there are more points, among others.

    Returns:
        The outputs (1, k); by name the modules to take, with the shapes of their outputs; and the
        bytes that autograd keeps.
    """
    modules = {name: m for name, m in model.named_modules() if own(m)} if structured else {}
    ours, saved = {p.data_ptr() for p in model.parameters()}, {}

    def weigh(tensor):
        saved[tensor.data_ptr()] = 0 if tensor.data_ptr() in ours else tensor.nbytes
        return tensor.detach()

    with recording(modules) as calls, saved_tensors_hooks(weigh, lambda tensor: tensor):
        f = evaluate(model, x[:1])
    _checks.require_attached(f)
    among = None
    if max(len(x), len(x2)) > 1:
        other = x2[-1:] if x2.shape[1:] == x.shape[1:] else x[-1:]
        batch = torch.cat([other, x[:1], other, other])  # no mirror image of itself
        with recording(modules) as among:
            _checks.require_same_row(f, evaluate(model, batch)[1:2])
    taken = {
        name: (module, calls[name][0].shape)
        for name, module in standing_alone(modules, calls, among, f).items()
    }
    return f.detach(), taken, sum(saved.values())


@torch.enable_grad()
def _differentiate(model: nn.Module, plan: Plan, x: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Differentiate the outputs in the output z of each layer, by autograd.

    Yields:
        For each layer of `plan` its name, its inputs h (n, …) and D = ∂f/∂z (k, n, …).
    """
    with recording({name: layer.module for name, layer in plan.layers.items()}) as calls:
        f = evaluate(model, x)
    for name, seen in calls.items():
        if not (
            len(seen) == 1 and seen[0] and seen[0].h.shape[:1] == seen[0].shape[:1] == x.shape[:1]
        ):
            raise ValueError(
                f"layer {name!r} is called otherwise for {len(x)} points than for one: the model "
                f"takes another path for other inputs. Use method='jacobian'."
            )
    edges, k = [seen[0].edge for seen in calls.values()], f.shape[1]
    basis = torch.eye(k, dtype=f.dtype, device=f.device)[:, None].expand(k, len(x), k)
    d = None
    if plan.batched:
        with suppress(RuntimeError):  # vmap has no rule for an operation of the model
            d = torch.autograd.grad(f, edges, basis, is_grads_batched=True, retain_graph=True)
    if d is None:
        turns = [torch.autograd.grad(f, edges, e, retain_graph=k > 1) for e in basis]
        d = [g[0][None] if k == 1 else torch.stack(g) for g in zip(*turns, strict=True)]
    for (name, seen), g in zip(calls.items(), d, strict=True):
        yield name, seen[0].h.detach(), g


def layer_factors(model: nn.Module, plan: Plan, x: Tensor) -> Iterator[Factor]:
    """Make the factors at the points `x` (n, …).

    Yields:
        The factors of `plan.layers`, in an order that depends on the plan only.

    Raises:
        ValueError: If the model runs otherwise on `x` than on one point.
    """
    if not plan.layers:
        return
    for name, h, d in (
        differentiate(plan.chain, x) if plan.chain else _differentiate(model, plan, x)
    ):
        if name not in plan.layers:
            continue  # all its parameters are frozen
        module, kind, (_, p, q), gram = plan.layers[name]
        mine, (k, n) = own(module), d.shape[:2]
        if kind == "other":
            for leaf in pull_back(module, mine, h, d).values():
                yield Factor(name, None, leaf.reshape(n, k, 1, -1).transpose(0, 1))
            continue
        if kind == "conv":
            h = unfold(h, module.kernel_size, module.dilation, module.padding, module.stride).mT
            d = d.flatten(3).mT
        h, d = h.reshape(n, -1, p), d.reshape(k, n, -1, q)
        weight, bias = scales(module)
        if gram:
            yield Factor(name, h, d, weight, bias if "bias" in mine else 0.0)
            continue
        if "weight" in mine:
            leaf = weight * torch.einsum("ntp,kntq->nkqp", h, d)
            yield Factor(name, None, leaf.reshape(n, k, 1, q * p).transpose(0, 1))
        if "bias" in mine:
            yield Factor(name, None, bias * d.sum(2, keepdim=True))
