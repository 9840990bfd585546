"""Jacobians of a whole model by torch.func: reverse mode, and forward mode along their rows."""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

_lock = threading.RLock()


def _new_lock() -> None:
    """Make the lock anew: a process that is forked while it is held would wait for ever."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Run attention as matrix products, which vmap and forward mode can differentiate, quietly.

    Without autocast; and one thread at a time, since what is set here is set for all.

    Yields:
        Nothing.
    """
    full = [torch.autocast(device, enabled=False) for device in ("cpu", "cuda")]
    with _lock, sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings(), full[0], full[1]:
        warnings.filterwarnings("ignore", "There is a performance drop")
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def run(module: nn.Module, x: Tensor, tensors: dict[str, Tensor] | None = None) -> Tensor:
    """Return module(x) with other `tensors` in place of parameters and buffers, `module` untouched.

    Names are those of named_parameters() and named_buffers(): one for a tensor that several modules
    share, and all of them get the replacement. Buffers that are not named are replaced by copies,
    since forward may write to them. Each tensor of each module is named once here, because
    functional_call restores a module that is registered under two names in the wrong order.
    """
    tensors = tensors or {}
    names = {id(p): name for name, p in [*module.named_parameters(), *module.named_buffers()]}
    copies = {id(b): b.clone() for name, b in module.named_buffers() if name not in tensors}
    replaced = {}
    for prefix, part in module.named_modules():
        for name, old in [*part._parameters.items(), *part._buffers.items()]:
            new = tensors.get(names.get(id(old)), copies.get(id(old)))
            if new is not None:
                replaced[f"{prefix}.{name}" if prefix else name] = new
    return functional_call(module, replaced, (x,), tie_weights=False)


def jacobian(model: nn.Module, parameters: dict[str, Tensor], x: Tensor, value: Tensor) -> dict:
    """Return ∂f/∂θ (n, k, …) for each θ of `parameters`, point by point; `value` is an f (1, k)."""
    k = value.shape[1]
    basis = torch.eye(k, dtype=value.dtype, device=value.device)[:, None].expand(k, len(x), k)
    return pull_back(model, parameters, x, basis) if parameters else {}


def pull_back(module: nn.Module, parameters: dict[str, Tensor], x: Tensor, d: Tensor) -> dict:
    """Return D ∂z/∂θ (n, k, …) for each θ of `parameters`, where z = module(x), point by point.

    vmap does it; or a loop, where vmap fails, as with branches on values and recurrent layers, or
    does not give what a plain backward pass gives at the first point, as with torch's PReLU.

    Args:
        module: A module that takes a tensor to a tensor.
        parameters: Those of its parameters that are asked for.
        x: (n, …) points.
        d: (k, n, …) the factors D for each of k outputs.
    """
    theta = {name: p.detach() for name, p in parameters.items()}

    def row(point, pulls):
        _, back = vjp(lambda t: run(module, point[None], t).reshape(pulls.shape[1:]), theta)
        return vmap(lambda pull: back(pull)[0])(pulls)

    found = None
    with suppress(RuntimeError):
        found = vmap(row, in_dims=(0, 1))(x, d)
    try:
        if found is not None and _agrees(found, module, theta, x[0], d[:, 0]):
            return found
        rows = [_backward(module, theta, point, d[:, a]) for a, point in enumerate(x)]
    except RuntimeError as error:
        raise ValueError(
            f"torch cannot differentiate {type(module).__name__} in {', '.join(theta)}: {error}\n"
            f"Take writes in place out of its forward."
        ) from error
    return {name: torch.stack([row[name] for row in rows]) for name in theta}


def _agrees(found: dict, module: nn.Module, theta: dict, point: Tensor, pulls: Tensor) -> bool:
    """Return whether the first row of `found` is what a plain backward pass gives at `point`.

    One pass, for a mixture of the `pulls`. Infinite derivatives agree: they are refused later.
    """
    mix = torch.linspace(1, 2, len(pulls), dtype=pulls.dtype, device=pulls.device)
    plain = _backward(module, theta, point, torch.tensordot(mix, pulls, 1)[None])
    return all(
        _close(torch.tensordot(mix.to(one), found[name][0], 1), one[0]) or not one.isfinite().all()
        for name, one in plain.items()
    )


@torch.enable_grad()
def _backward(module: nn.Module, theta: dict, point: Tensor, pulls: Tensor) -> dict:
    """Return (k, …) for each θ, one plain backward pass for each of the k `pulls` on z."""
    leaves = {name: p.clone().requires_grad_() for name, p in theta.items()}
    z = run(module, point[None], leaves).reshape(pulls.shape[1:])
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    turns = [torch.autograd.grad(z, leaves.values(), pull, **options) for pull in pulls]
    return {
        name: torch.stack([gradient.to_dense() for gradient in turn])  # an Embedding may be sparse
        for name, turn in zip(theta, zip(*turns, strict=True), strict=True)
    }


def push_forward(model: nn.Module, parameters: dict, blocks: dict, j: dict, x: Tensor) -> None:
    """Write `J J(x)ᵀ` to the one block, for the Jacobian `j` (n1, k, …) of other points."""
    (block,), products = blocks.values(), _products(model, parameters, j, x)
    groups, _, each = block.shape[:3]
    same = products.diagonal(dim1=1, dim2=3)
    if each == products.shape[1]:
        block[0] = products
    else:
        block[:, :, 0, :, 0] = same.permute(2, 0, 1) if groups > 1 else same.sum(2)


def can_push(model: nn.Module, parameters: dict, x: Tensor, value: Tensor) -> bool:
    """Return True if forward mode runs the model, tried on the first point of `x`."""
    try:
        _products(model, parameters, jacobian(model, parameters, x[:1], value), x[:1])
    except ValueError:
        return False
    return True


def _products(model: nn.Module, parameters: dict, j: dict, x: Tensor) -> Tensor:
    """Return `J J(x)ᵀ` (n1, k, n2, k): forward mode along each row of `j` (n1, k, …)."""
    theta = {name: p.detach() for name, p in parameters.items()}

    def f(theta):
        return run(model, x, theta).reshape(len(x), -1)

    try:
        return vmap(vmap(lambda row: jvp(f, (theta,), (row,))[1]))(j)
    except RuntimeError as error:
        raise ValueError(
            f"torch's forward mode, which method='ntvp' needs, cannot run this model: {error}\n"
            f"Use method='auto'."
        ) from error


def _close(a: Tensor, b: Tensor) -> bool:
    """Return whether `a` and `b` differ by no more than rounding."""
    tolerance = torch.finfo(a.dtype).eps ** 0.5
    return bool((a - b).norm() <= tolerance * (a.norm() + b.norm()))
