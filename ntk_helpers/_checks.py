"""Refuse bad input with a message that says what was expected, what was got and how to fix it."""

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real

import torch
from torch import Tensor, nn


def require_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}; got {value!r}.")


def require_integer(name: str, value: object, *, at_least: int) -> None:
    """Raise TypeError or ValueError unless `value` is an integer of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(
            f"{name} must be an integer; got {value!r} of type {type(value).__name__}. "
            f"Write int(...) around it if it is a whole number."
        )
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}; got {value}.")


def require_number(name: str, value: object, *, positive: bool = False, signed=False) -> None:
    """Raise TypeError or ValueError unless `value` is a finite number in range.

    0 is allowed unless it must be `positive`; negative numbers only if `signed`.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"{name} must be a number; got {value!r} of type {type(value).__name__}. "
            f"A tensor of one element becomes a number with .item()."
        )
    if not math.isfinite(value) or (value < 0 and not signed) or (positive and value == 0):
        bound = "" if signed else " and greater than 0" if positive else " and 0 or greater"
        raise ValueError(f"{name} must be finite{bound}; got {value}.")


def place(device: torch.device | str | None, dtype: torch.dtype | None) -> dict:
    """Return `device` and `dtype` as keyword arguments, with torch's defaults in place of None.

    Raises:
        TypeError: If `dtype` is not a floating-point type.
    """
    device = torch.get_default_device() if device is None else torch.device(device)
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(
            f"dtype must be a floating-point type of torch; got {dtype!r}. "
            f"Use torch.float64, torch.float32 or None."
        )
    return {"device": device, "dtype": dtype}


def exact(like: Tensor) -> dict:
    """Return float64 and the device of `like`, or the CPU where that has no float64 (mps)."""
    return {"device": "cpu" if like.device.type == "mps" else like.device, "dtype": torch.float64}


def require_tensor(
    name: str, value: object, *, ndim: tuple[int, ...] | None = None, integers: bool = False
) -> None:
    """Raise TypeError or ValueError unless `value` is a non-empty, finite, floating-point tensor.

    `ndim` lists the numbers of axes allowed; `integers` allows, say, indices of an embedding.
    """
    if not isinstance(value, Tensor):
        advice = f"torch.as_tensor({name}, dtype=torch.get_default_dtype()) makes one."
        if isinstance(value, Mapping):
            advice = (
                "It is a dict: pass one tensor of it, such as input_ids, to a module around your "
                "model that makes or holds the others."
            )
        elif hasattr(value, "_fields"):
            advice = "Pass one of its fields: " + ", ".join(f".{key}" for key in value._fields)
        raise TypeError(f"{name} must be a torch.Tensor; got {type(value).__name__}. {advice}")
    if value.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor; {name}.to_dense() makes one.")
    if value.is_complex() or not (value.is_floating_point() or integers):
        raise TypeError(
            f"{name} must hold floating-point numbers; got {value.dtype}. "
            f"{name}.to(torch.get_default_dtype()) converts it."
        )
    if ndim is not None and value.ndim not in ndim:
        wanted = " or ".join(str(n) for n in ndim)
        raise ValueError(
            f"{name} must have {wanted} axes; got shape {tuple(value.shape)}. "
            f"One row for each point: {name}[:, None] makes a column of n numbers, "
            f"{name}.flatten(1) a table."
        )
    if ndim is None and value.ndim == 0:
        raise ValueError(
            f"{name} is a single number; points stand in rows, so one is {name}[None]."
        )
    if value.numel() == 0:
        raise ValueError(f"{name} is empty: shape {tuple(value.shape)}. Give at least one point.")
    if not is_finite(value):
        bad = int((~torch.isfinite(value)).sum())
        raise ValueError(
            f"{name} holds {bad} value(s) that are NaN or infinite. "
            f"Find them with (~torch.isfinite({name})).nonzero() and remove or fix them."
        )


def is_finite(value: Tensor) -> bool:
    """Return True if no entry of `value` is NaN or infinite, in one pass and without a copy."""
    return value.is_meta or all(math.isfinite(edge) for edge in torch.aminmax(value.detach()))


def require_same_place(**tensors: Tensor) -> None:
    """Raise ValueError unless all `tensors` share one device and TypeError unless one dtype."""
    (first_name, first), *others = tensors.items()
    for name, tensor in others:
        if tensor.device != first.device:
            raise ValueError(
                f"{name} is on {tensor.device} but {first_name} is on {first.device}. "
                f"Move one: {name}.to({str(first.device)!r})."
            )
        if tensor.dtype != first.dtype:
            raise TypeError(
                f"{name} is {tensor.dtype} but {first_name} is {first.dtype}. "
                f"Convert one: {name}.to({first.dtype})."
            )


def require_same_length(**tensors: Tensor) -> None:
    """Raise ValueError unless all `tensors` have the same number of rows."""
    (first_name, first), *others = tensors.items()
    for name, tensor in others:
        if len(tensor) != len(first):
            raise ValueError(
                f"{name} has {len(tensor)} rows but {first_name} has {len(first)}: "
                f"they must describe the same points, one row each."
            )


def require_same_inputs(**points: Tensor) -> None:
    """Raise ValueError unless both sets of `points` (n, …) have points of the same shape."""
    (name, x), (other, z) = points.items()
    if x.shape[1:] != z.shape[1:]:
        raise ValueError(
            f"{name} and {other} must hold points of the same shape; got {tuple(x.shape)} and "
            f"{tuple(z.shape)}. Points are rows: n numbers are x[:, None], one point is x[None]."
        )


def trainable_parameters(model: object) -> dict[str, nn.Parameter]:
    """Return the parameters of `model` that training moves, by name.

    Raises:
        TypeError: If `model` is not a torch.nn.Module.
        ValueError: If none of its parameters requires a gradient.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a torch.nn.Module; got {type(model).__name__}. "
            f"ntk.MLP(...) makes one, or wrap your function in a class derived from nn.Module."
        )
    if any(isinstance(part, torch.jit.ScriptModule) for part in model.modules()):
        raise TypeError(
            "model has a part made by torch.jit.script: give the module it was made of."
        )
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ValueError(
            "model has no trainable parameter, so it has no tangent kernel and cannot be trained. "
            "Call model.requires_grad_(True), or check that its layers are attributes of it."
        )
    return parameters


def require_rowwise(model: nn.Module) -> None:
    """Raise ValueError if a layer of `model` mixes rows of a batch or draws random numbers."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            module.training or not module.track_running_stats
        ):
            state = "in training mode" if module.training else "without running statistics"
            fix = "Call model.eval() first, or use" if module.track_running_stats else "Use"
            raise ValueError(
                f"layer {name!r} is {type(module).__name__} {state}: it mixes the rows of a batch, "
                f"so f(x) is not a function of one x. {fix} LayerNorm or GroupNorm."
            )
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0:
            raise ValueError(
                f"layer {name!r} is {type(module).__name__} in training mode: it is random, so "
                f"f(x) has no single value. Call model.eval() first."
            )


def require_points(
    model: object, *, rowwise: bool = True, **points: object
) -> dict[str, nn.Parameter]:
    """Return the parameters of `model` that training moves, by name, after a look at the points.

    Points are what the model takes: numbers or integers, a row each, on its device and, if they are
    numbers, in the dtype of one of its tensors. `rowwise` tells whether f(x) must be a function of
    one x, without chance.
    """
    parameters = trainable_parameters(model)
    if rowwise:
        require_rowwise(model)
    name, first = next(iter(parameters.items()))
    dtypes = {tensor.dtype for tensor in [*model.parameters(), *model.buffers()]}
    dtypes |= {dtype.to_real() for dtype in dtypes if dtype.is_complex}
    for key, x in points.items():
        require_tensor(key, x, integers=True)
        like = x[:0].to(first.dtype) if not x.is_floating_point() or x.dtype in dtypes else x
        require_same_place(**{f"the model's parameter {name!r}": first.detach(), key: like})
    return parameters
