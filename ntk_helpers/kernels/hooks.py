"""Watch a model run: what each module was given, and whether it alone uses its parameters."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ntk_helpers import _checks
from ntk_helpers.kernels._jacobian import run


class Call(NamedTuple):
    """What a hook saw: input, its version then, the output's shape and its place in the graph."""

    h: Tensor
    version: int
    shape: torch.Size
    edge: GradientEdge


@contextmanager
def recording(modules: dict[str, nn.Module]) -> Iterator[dict[str, list[Call | None]]]:
    """Record the calls of `modules` while the context is open.

    Yields:
        The calls by name, None for one that does not take a tensor to a tensor.
    """
    calls = {name: [] for name in modules}

    def watch(name):
        def hook(_, args, kwargs, z):
            call, tensors = None, [value for value in (*args, z) if isinstance(value, Tensor)]
            if len(tensors) == 1 + len(args) == 2 and not kwargs and z.requires_grad:
                call = Call(args[0], args[0]._version, z.shape, get_gradient_edge(z))
            calls[name].append(call)

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


def evaluate(model: nn.Module, x: Tensor) -> Tensor:
    """Return f(x) as (n, k), after a look at it."""
    f = run(model, x)
    _checks.require_outputs(f, len(x))
    return f.reshape(len(x), -1)


def own(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters that `module` holds itself."""
    parameters = module._parameters.items()  # named_parameters() takes ten times longer
    return {name: p for name, p in parameters if p is not None and p.requires_grad}


def _uses(root, stop=None) -> Counter:
    """Count the edges of the autograd graph that end in each leaf, from `root` down to `stop`."""
    uses, seen, stack = Counter(), {stop, None}, [root]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            for child, _ in node.next_functions:
                stack.append(child)
                if hasattr(child, "variable"):
                    uses[id(child.variable)] += 1
    return uses


def standing_alone(
    modules: dict[str, nn.Module], calls: dict, among: dict | None, f: Tensor
) -> dict[str, nn.Module]:
    """Return those of `modules` called once, on one row, that alone use their own parameters.

    The parameters of such a module act on the outputs `f` (1, k) through its output only. `calls`
    were recorded on one point, `among` with it second among four: it has to stay there. None is for
    points that never meet others.
    """
    used = _uses(f.grad_fn)

    def alone(name, module):
        seen = calls[name] + (among[name] if among else calls[name])
        if len(seen) != 2 or None in seen:
            return False
        (h, version, shape, edge), (rows, *_) = seen
        inside, mine = _uses(edge.node, h.grad_fn), set(map(id, own(module).values()))
        whole = set(inside) <= mine and all(inside[p] == used[p] for p in mine)
        single = h.shape[:1] == shape[:1] == (1,) and h._version == version
        stays = rows.shape == (4, *h.shape[1:]) and close(rows[1:2].to(f), h.to(f))
        return whole and single and (among is None or stays)

    return {name: module for name, module in modules.items() if alone(name, module)}


def close(a: Tensor, b: Tensor) -> bool:
    """Return whether `a` and `b` differ by no more than rounding."""
    tolerance = torch.finfo(a.dtype).eps ** 0.5
    return bool((a - b).norm() <= tolerance * (a.norm() + b.norm()))
