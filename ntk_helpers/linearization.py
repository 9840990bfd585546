"""The first-order Taylor expansion of a model in its parameters."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.func import functional_call, jvp

from ntk_helpers import _checks


def linearize(model: nn.Module) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """Return f_lin(params, x) = f(x; θ_0) + J(x) (θ − θ_0), expanded at the parameters of now.

    The expansion keeps its own copy of θ_0: training `model` later does not move it.

    Source: Lee et al. 2019, arXiv:1902.06720, equation 5.

    Args:
        model: Any module that treats rows independently.

    Returns:
        f_lin: takes parameters by name, as in dict(model.named_parameters()), and x (n, …); returns
        (n, k) or (n,), differentiable in the parameters.

    Raises:
        TypeError: If `model` is not a torch.nn.Module; from f_lin, if dtypes differ, or `params` is
            not a dict.
        ValueError: If it has no trainable parameter, or mixes rows; from f_lin, if names or devices
            differ, or the model does not return (n, k) or (n,).
    """
    _checks.trainable_parameters(model)
    _checks.require_rowwise(model)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    fixed = {name: b.detach().clone() for name, b in model.named_buffers()}

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

        def f(theta):
            return functional_call(model, {**fixed, **theta}, (x,))

        _checks.require_tensor("x", x, integers=True)
        _checks.require_matching(model, x=x)
        value, change = jvp(f, (start,), (moved,))
        _checks.require_rows(value, len(x))
        return value + change

    return f_lin
