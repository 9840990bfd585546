"""The first-order Taylor expansion of a model in its parameters."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import jvp

from ntk_helpers import _checks
from ntk_helpers.kernels import _outputs
from ntk_helpers.kernels._jacobian import plain_torch, run


@contextmanager
def differentiating() -> Iterator[None]:
    """Let torch differentiate a model in its parameters, and say what stands in the way.

    Yields:
        Nothing.

    Raises:
        ValueError: If torch cannot differentiate the model.
    """
    try:
        with plain_torch():
            yield
    except RuntimeError as error:
        raise ValueError(
            f"torch cannot differentiate this model as is needed here: {error}\nTake .item(), "
            f"in-place writes and torch.utils.checkpoint out of its forward; put the "
            f"parametrizations of torch.nn.utils in place of its old spectral_norm; or replace the "
            f"layer that the message names."
        ) from error


def push_forward(
    f: Callable[[dict[str, Tensor]], Tensor], at: dict[str, Tensor], v: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return f(at) and J v, by forward mode or, where torch has none, by differentiating twice.

    For the second, J v is the derivative of the linear map w ↦ Jᵀ w, transposed and applied to v.
    """
    try:
        return jvp(f, (at,), (v,))
    except RuntimeError:
        leaves = {name: p.detach().requires_grad_() for name, p in at.items()}
        with torch.enable_grad():
            value = f(leaves)
            w = torch.zeros_like(value, requires_grad=True)
            options = {"create_graph": True, "materialize_grads": True}
            pulled = torch.autograd.grad(value, leaves.values(), w, **options)
            (change,) = torch.autograd.grad(pulled, w, list(v.values()), **options)
        return value.detach(), change if torch.is_grad_enabled() else change.detach()


def linearize(model: nn.Module) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """Return f_lin(params, x) = f(x; θ_0) + J(x) (θ − θ_0), expanded at the current parameters.

    The expansion keeps its own copy of θ_0 and of the buffers: training `model` later does not move
    it. It still calls `model`, whose layers must stay as they are, in eval mode where it matters.

    Source: Lee et al. 2019, arXiv:1902.06720, equation 5.

    Args:
        model: Any module that treats rows independently.

    Returns:
        f_lin: takes parameters by name, as in dict(model.named_parameters()), and x (n, …); returns
        (n, k) or (n,), differentiable in the parameters.
    """
    _checks.trainable_parameters(model)
    _checks.require_rowwise(model)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    fixed = {name: b.detach().clone() for name, b in model.named_buffers()}
    seen = []

    def f_lin(params: dict[str, Tensor], x: Tensor) -> Tensor:
        if not isinstance(params, Mapping):
            raise TypeError(
                f"params must be a dict of tensors by name; got {type(params).__name__}. "
                f"dict(model.named_parameters()) is one."
            )
        if params.keys() != start.keys():
            odd = sorted(params.keys() ^ start.keys())
            raise ValueError(
                f"params must have the names of the model's parameters; missing or unknown: "
                f"{', '.join(odd)}. dict(model.named_parameters()) has them."
            )
        _checks.require_points(model, x=x)
        moved = {name: params[name] - start[name] for name in start}

        def f(theta, x=x):
            buffers = {name: b.clone() for name, b in fixed.items()}  # forward may write to them
            return run(model, x, buffers | theta)

        before = torch.get_rng_state()
        with differentiating():
            value, change = push_forward(f, start, moved)
            _outputs.require_rows(value, len(x))
            if not seen:
                _outputs.require_no_chance(before)
                _outputs.require_same_row(f(start, torch.cat([x[:1], x[:1]])), value)
                seen.append(x.shape)
        return value + change

    return f_lin
