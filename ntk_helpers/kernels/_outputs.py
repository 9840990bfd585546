"""Refuse outputs of a model that are no function of one point, or no (n, k)."""

import torch
from torch import Tensor

from ntk_helpers._checks import is_finite, require_same_place


def fit_to(outputs: object, y: Tensor) -> Tensor:
    """Return the `outputs` of a model in the shape of the targets `y`, or say why they differ."""
    if not isinstance(outputs, Tensor):
        raise TypeError(
            f"model must return one tensor; got {type(outputs).__name__}. "
            f"Wrap it in a module that returns the predictions alone."
        )
    require_same_place(**{"the model's output": outputs, "y": y})
    if outputs.shape == y.shape:
        return outputs
    if {outputs.ndim, y.ndim} == {1, 2} and outputs.numel() == y.numel() == len(y):
        return outputs.reshape(y.shape)
    raise ValueError(
        f"the model's outputs have shape {tuple(outputs.shape)} but y has shape "
        f"{tuple(y.shape)}. Give y one column for each output."
    )


def require_outputs(f: object, n: int) -> None:
    """Raise TypeError or ValueError unless `f` is finite and (n, k) or (n,), as models return."""
    require_rows(f, n)
    if not is_finite(f):
        raise ValueError(
            "model returns values that are NaN or infinite. Look at model(x) and its parameters."
        )


def require_rows(f: object, n: int) -> None:
    """Raise TypeError or ValueError unless `f` is (n, k) or (n,), whatever its values."""
    if not isinstance(f, Tensor):
        raise TypeError(
            f"model must return one tensor, (n, k) or (n,); got {type(f).__name__}. "
            f"Wrap it in a module that picks one."
        )
    if f.ndim not in {1, 2} or len(f) != n:
        raise ValueError(
            f"model must return (n, k) or (n,) for n = {n} point(s); got shape {tuple(f.shape)}. "
            f"Wrap it so that the outputs of a point are one row: .flatten(1)."
        )


def require_attached(f: Tensor) -> None:
    """Raise ValueError unless autograd knows how `f` came from a model's parameters."""
    if not f.requires_grad:
        raise ValueError(
            "the model's output does not depend on its trainable parameters: it is detached, or "
            "computed under torch.no_grad(). Take that out of its forward."
        )


def require_same_row(alone: Tensor, among: Tensor) -> None:
    """Raise ValueError if outputs `alone` (1, k) of a point are not the first of `among` (n, k)."""
    tolerance = torch.finfo(alone.dtype).eps ** 0.5 + 0.01 * alone.abs()
    if ((alone - among[:1]).abs() > tolerance).any():
        raise ValueError(
            "model mixes the rows of a batch, is random or amplifies rounding: a point has another "
            "output alone than beside others. Try model.eval(), LayerNorm, or float64."
        )


def require_no_chance(before: Tensor) -> None:
    """Raise ValueError if torch's generator is no longer in the state that it was in `before`."""
    if not torch.equal(before, torch.get_rng_state()):
        raise ValueError(
            "model draws random numbers, so f(x) has no single value. Call model.eval() first."
        )
