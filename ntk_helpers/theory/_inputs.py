"""Times, shapes, kernels and copies, as the theory of training takes them."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ntk_helpers import _checks
from ntk_helpers.kernels.empirical import empirical_ntk


def grid(name: str, values: float | Tensor, *, like: Tensor) -> Tensor:
    """Return times, none negative, as () or (T, 1, 1), with the dtype and device of `like`."""
    try:
        found = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a number or a tensor; got {values!r}.") from error
    if found.ndim > 1:
        raise ValueError(f"{name} must be a number or a 1-D tensor; got {tuple(found.shape)}.")
    if not (found >= 0).all():
        raise ValueError(f"{name} must be 0 or greater; got {found[~(found >= 0)].tolist()[:5]}.")
    return found[:, None, None] if found.ndim else found


def require_shape(name: str, value: Tensor, shape: Iterable[int]) -> None:
    """Raise ValueError unless `value` has the shape that the targets y imply."""
    if value.shape != torch.Size(shape):
        raise ValueError(
            f"{name} must have shape {tuple(shape)}, as y implies; got {tuple(value.shape)}. "
            f"A column (n, 1) and a vector (n,) differ: .squeeze(1) and [:, None] convert."
        )


def matrix(name: str, kernel: Tensor) -> Tensor:
    """Return a kernel in float64 as a matrix: (m, n) as it is, (m, n, k, k) as (m·k, n·k).

    Raises:
        ValueError: If it is the "trace" of several outputs, as `empirical_ntk` returned it.
    """
    outputs, version = getattr(kernel, "summed_outputs", (1, None))
    if outputs > 1 and version == kernel._version:  # else it was divided in place
        raise ValueError(
            f"{name} is a sum over {outputs} outputs, outputs='trace' of empirical_ntk: with it, "
            f"training would run {outputs} times too fast. Give {name} / {outputs}, the mean over "
            f"outputs, or the kernel of outputs='full'."
        )
    if kernel.ndim == 4:
        kernel = kernel.transpose(1, 2).flatten(2).flatten(0, 1)
    return kernel.detach().to(**_checks.exact(kernel))


def start_kernel(model: nn.Module, x: Tensor) -> Tensor:
    """Return the kernel (n, n, k, k) of `model` at the points, or say that it is zero."""
    kernel = empirical_ntk(model, x)
    if not kernel.any():
        raise ValueError(
            "the tangent kernel of the model is zero at x. Look for ReLU units that are all off, "
            "or for layers whose weights are all 0."
        )
    return kernel


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of `model`, or say what cannot be copied."""
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:
        raise ValueError(
            f"the model cannot be copied: it keeps a tensor that autograd computed, as the old "
            f"torch.nn.utils.spectral_norm does ({error}). Use torch.nn.utils.parametrizations."
        ) from error
