"""The first-order Taylor expansion of a model in its parameters."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.func import functional_call, jvp

from ntk_helpers import _checks
from ntk_helpers.kernels._jacobian import plain_torch


@contextmanager
def forward_mode() -> Iterator[None]:
    """Run attention as forward mode can differentiate it, and say what a model must not do there.

    Yields:
        Nothing.

    Raises:
        ValueError: If torch.func.jvp cannot run the model.
    """
    try:
        with plain_torch():
            yield
    except RuntimeError as error:
        raise ValueError(
            f"torch.func.jvp, which differentiates forward, cannot run this model: {error}\nTake "
            f".item() and in-place writes out of its forward; replace a layer that torch cannot "
            f"differentiate so; or bake weight_norm and the like into the weights: "
            f"torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')."
        ) from error


def linearize(model: nn.Module) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """Return f_lin(params, x) = f(x; θ_0) + J(x) (θ − θ_0), expanded at the parameters of now.

    The expansion keeps its own copy of θ_0 and of the buffers: training `model` later does not move
    it. It still calls `model`, whose layers must stay as they are, and in eval mode where it
    matters.

    Source: Lee et al. 2019, arXiv:1902.06720, equation 5.

    Args:
        model: Any module that treats rows independently.

    Returns:
        f_lin: takes parameters by name, as in dict(model.named_parameters()), and x (n, …); returns
        (n, k) or (n,), differentiable in the parameters.

    Raises:
        TypeError: If `model` is not a torch.nn.Module; from f_lin, if dtypes differ, or `params` is
            not a dict.
        ValueError: If it has no trainable parameter, or a layer that mixes rows or is random; from
            f_lin, if such a layer was put in training mode since, rows are mixed after all (looked
            at in the first call with several points), names or devices differ, forward mode cannot
            run the model, or it does not return (n, k) or (n,).
    """
    _checks.trainable_parameters(model)
    _checks.require_rowwise(model)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    fixed = {name: b.detach().clone() for name, b in model.named_buffers()}
    looked_at = []

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
        moved = {name: params[name] - start[name] for name in start}

        def f(theta, x=x):
            buffers = {name: b.clone() for name, b in fixed.items()}  # forward may write to them
            return functional_call(model, {**buffers, **theta}, (x,))

        _checks.require_tensor("x", x, integers=True)
        _checks.require_matching(model, x=x)
        _checks.require_rowwise(model)
        with forward_mode():
            value, change = jvp(f, (start,), (moved,))
        _checks.require_rows(value, len(x))
        if len(x) > 1 and not looked_at:
            _checks.require_same_row(f(start, x[:1]), value)
            looked_at.append(x.shape)
        return value + change

    return f_lin
