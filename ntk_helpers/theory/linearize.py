"""The first-order Taylor expansion of a model in its parameters."""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks
from torch.func import jvp

from ntk_helpers import _checks
from ntk_helpers.kernels import _outputs
from ntk_helpers.kernels._jacobian import run
from ntk_helpers.theory._derivatives import differentiating, slope


def linearize(model: nn.Module) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """Return f_lin(params, x) = f(x; θ_0) + J(x) (θ − θ_0), expanded at the current parameters.

    The expansion keeps its own copy of θ_0 and of the buffers: training `model` later does not
    change it. It still calls `model`, whose layers and whose mode (train or eval) must stay.

    Derived in notebooks/04_infinite_width.ipynb, "Does the kernel move while the network
    learns?".

    Source: Lee et al. 2019, arXiv:1902.06720, equation 5.

    Args:
        model: Any module that treats rows independently, (n, …) → (n, k) or (n,).

    Returns:
        f_lin: takes parameters by name, as in dict(model.named_parameters()), and x (n, …); returns
        (n, k) or (n,), differentiable in the parameters.
    """
    _checks.require_points(model)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    fixed = {name: b.detach().clone() for name, b in model.named_buffers()}
    looked = False

    def f_lin(params: dict[str, Tensor], x: Tensor) -> Tensor:
        nonlocal looked
        if odd := set(params) ^ start.keys():
            raise ValueError(
                f"params must be a dict with the names of the model's parameters; missing or "
                f"unknown: {sorted(map(str, odd))!s:.200}. dict(model.named_parameters()) has them."
            )
        _checks.require_points(model, x=x)
        change = {name: params[name] - start[name] for name in start}

        def f(theta, x=x):
            buffers = {name: b.clone() for name, b in fixed.items()}  # forward may write to them
            return run(model, x, buffers | theta)

        before = torch.get_rng_state()
        with differentiating():
            value, moved = _push_forward(f, start, change)
            _outputs.require_rows(value, len(x))
            if not looked:
                _outputs.require_no_chance(before)
                _outputs.require_same_row(f(start, torch.cat([x[:1], x[:1]])), value)
                looked = True
        return value + moved

    return f_lin


def _push_forward(
    f: Callable[[dict[str, Tensor]], Tensor], at: dict[str, Tensor], v: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return f(at) and J v, by forward mode or, where a layer has none, by two backward passes.

    J v is the derivative of w ↦ ⟨Jᵀ w, v⟩. Checkpointing is refused there: what it computes again
    in a backward pass it computes with the parameters that the model has by then.
    """
    with suppress(RuntimeError):
        return jvp(f, (at,), (v,))
    # Out here the error is gone, and with it the hooks that torch 2.11's checkpoint leaves in it.
    leaves = {name: p.detach().requires_grad_() for name, p in at.items()}
    refusal = "no forward mode, and torch.utils.checkpoint is in use"
    with torch.enable_grad(), disable_saved_tensors_hooks(refusal):
        value = f(leaves)
        w = torch.ones_like(value, requires_grad=True)
        pulled = slope([value], [w], list(leaves.values()))
        change = slope(pulled, list(v.values()), [w])[0]
    return value.detach(), change if torch.is_grad_enabled() else change.detach()
