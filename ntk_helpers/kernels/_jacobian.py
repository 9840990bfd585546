"""Jacobians of a whole model, point by point: reverse mode, and forward mode along their rows."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ntk_helpers import _dice
from ntk_helpers.kernels import _outputs


@contextmanager
def plain_torch() -> Iterator[None]:
    """Let torch compute in ways that all transforms can differentiate, quietly.

    Attention as matrix products, without autocast, and eagerly where a module was compiled.

    Yields:
        Nothing.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(warnings.catch_warnings())
        # The second is of torch to torch: loading forward mode, it scripts.
        warnings.filterwarnings("ignore", "There is a performance drop|`torch.jit.script` is")
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        if "torch._dynamo" in sys.modules:  # loading it takes seconds; until then nothing compiles
            stack.enter_context(torch.compiler.set_stance("force_eager"))
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
    if not tensors and next(module.buffers(), None) is None:
        return module(x)
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


def evaluate(model: nn.Module, x: Tensor, tensors: dict[str, Tensor] | None = None) -> Tensor:
    """Return f(x) as (n, k), after a look at it."""
    f = run(model, x, tensors)
    _outputs.require_outputs(f, len(x))
    return f.reshape(len(x), -1)


def evaluate_rows(model: nn.Module, x: Tensor) -> Tensor:
    """Return f (n, k) with its graph at the points `x`; (2, k) of a lone one and its copy.

    A copy stands beside it because torch's backward passes may be wrong for a batch of one
    (convolution, BatchNorm in eval mode, outputs transposed to tokens; torch 2.11 to 2.13).

    Raises:
        ValueError: If the model draws random numbers.
    """
    before = torch.get_rng_state()
    with torch.enable_grad():
        f = evaluate(model, x if len(x) > 1 else torch.cat([x, x]))
    _outputs.require_no_chance(before)
    return f


def require_same_alone(model: nn.Module, x: Tensor, f: Tensor) -> None:
    """Raise ValueError if the first or the last of the points `x` has another output alone."""
    for i in {0, len(x) - 1}:
        _outputs.require_same_row(evaluate(model, torch.stack([x[i], x[i]]))[:1], f[i : i + 1])


class Gradients(NamedTuple):
    """What one plain backward pass says: the look that every other way has to stand.

    Attributes:
        weights: (n, k), a random weight for each row and output.
        found: The gradients of Σ weights · f by name, None where a parameter is not used.
        size: The norm of all of them together.
    """

    weights: Tensor
    found: dict[str, Tensor | None]
    size: Tensor

    def agree(self, name: str, gradient: Tensor) -> bool:
        """Return whether `gradient` is the one found for the parameter `name`, up to rounding.

        A difference far below `size` does not show in a kernel, which is quadratic in gradients.
        """
        truth = self.found[name]
        difference = gradient if truth is None else gradient.flatten() - truth.flatten()
        tolerance = torch.finfo(gradient.dtype).eps ** 0.6  # 4e-10 in float64, 7e-5 in float32
        return bool(difference.norm() <= tolerance * self.size)


def plain_gradients(f: Tensor, parameters: dict[str, Tensor], n: int) -> Gradients:
    """Return what one backward pass from `f` (n or more, k) says about its first `n` rows."""
    drawn = torch.randn(f.shape, generator=_dice.fixed(0), dtype=torch.float64, device="cpu")
    weights = drawn.to(f.device, f.dtype)
    weights[n:] = 0
    options = {"retain_graph": True, "allow_unused": True}
    gradients = torch.autograd.grad(f, parameters.values(), weights, **options)
    found = [None if g is None else real(g.to_dense()).to(f.dtype) for g in gradients]
    size = torch.stack([g.norm() for g in found if g is not None] or [f.new_zeros(())]).norm()
    return Gradients(weights[:n], dict(zip(parameters, found, strict=True)), size)


def real(gradient: Tensor) -> Tensor:
    """Return a gradient with the real and the imaginary part of each entry as two entries."""
    return torch.view_as_real(gradient.resolve_conj()) if gradient.is_complex() else gradient


def pull_back(module: nn.Module, parameters: dict[str, Tensor], x: Tensor, d: Tensor) -> dict:
    """Return D ∂z/∂θ (n, k, …) for each θ of `parameters`, where z = module(x), by vmap.

    Args:
        module: A module that takes a tensor to a tensor.
        parameters: Those of its parameters that are asked for, by name.
        x: (n, …) points.
        d: (k, n, …) the factors D for each of k outputs.

    Raises:
        RuntimeError: If vmap cannot run the module.
    """
    theta = {name: p.detach() for name, p in parameters.items()}

    def row(point, pulls):
        _, back = vjp(lambda t: run(module, point[None], t).reshape(pulls.shape[1:]), theta)
        return vmap(lambda pull: back(pull)[0])(pulls)

    return vmap(row, in_dims=(0, 1))(x, d)


def jacobian(
    model: nn.Module, parameters: dict, x: Tensor, k: int, gradients: Gradients | None
) -> dict[str, Tensor] | None:
    """Return ∂f/∂θ (n, k, …) for each θ of `parameters` by vmap.

    None if vmap cannot run the model, as with branches on values and recurrent layers, or does not
    give the `gradients`, if any, of a plain backward pass, as with torch's PReLU.
    """
    basis = torch.eye(k, dtype=gradients.weights.dtype if gradients else x.dtype, device=x.device)
    found = None
    with suppress(RuntimeError):
        found = pull_back(model, parameters, x, basis[:, None].expand(k, len(x), k))
    for name, j in (found or {}).items() if gradients else ():
        mixture = torch.einsum("nk,nk...->...", gradients.weights, real(j).to(gradients.weights))
        if not gradients.agree(name, mixture):
            return None
    return found


@torch.enable_grad()
def jacobian_by_loop(model: nn.Module, parameters: dict, x: Tensor) -> dict[str, Tensor]:
    """Return ∂f/∂θ (n, k, …) for each θ of `parameters`: a backward pass a point and an output."""
    rows = []
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    for point in x:
        f = evaluate_rows(model, point[None])[0]
        turns = [torch.autograd.grad(value, parameters.values(), **options) for value in f]
        turns = zip(*turns, strict=True)
        rows.append([torch.stack([g.to_dense() for g in turn]) for turn in turns])
    columns = zip(*rows, strict=True)
    return {name: torch.stack(j) for name, j in zip(parameters, columns, strict=True)}


def push_forward(model: nn.Module, parameters: dict, x1: Tensor, x2: Tensor, k: int) -> Tensor:
    """Return J(x1) J(x2)ᵀ (n1, k, n2, k): forward mode at `x2` along each row of J(x1).

    Raises:
        ValueError: If torch's forward mode cannot run the model.
    """
    theta = {name: p.detach() for name, p in parameters.items()}

    def f(theta):
        return run(model, x2, theta).reshape(len(x2), k)

    both = [evaluate_rows(model, x) for x in (x1, x2)]
    for x, outputs in zip((x1, x2), both, strict=True):
        require_same_alone(model, x, outputs)
    try:
        gradients = plain_gradients(both[0], parameters, len(x1))
        rows = jacobian(model, parameters, x1, k, gradients) or jacobian_by_loop(
            model, parameters, x1
        )
        pushed = vmap(vmap(lambda row: jvp(f, (theta,), (row,))[1]))(rows)
    except RuntimeError as error:
        raise ValueError(
            f"torch's forward mode, which method='ntvp' needs, cannot run this model: {error}\n"
            f"Use method='auto'."
        ) from error
    return pushed
