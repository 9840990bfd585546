"""Times, shapes and kernels, as the closed forms of training take them."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor


def grid(name: str, values: float | Tensor, *, like: Tensor) -> Tensor:
    """Return times as () or (T, 1, 1), with the dtype and device of `like`.

    Raises:
        TypeError: If they are neither a number nor numbers.
        ValueError: If one is negative, NaN or too large, or they have more than one axis.
    """
    try:
        found = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    except OverflowError as error:
        raise ValueError(
            f"{name} must be below {torch.finfo(like.dtype).max:.2g}, as {like.dtype} is. A time "
            f"may be math.inf."
        ) from error
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


def require_symmetric(name: str, kernel: Tensor) -> None:
    """Raise ValueError unless the square matrix `kernel` is symmetric, up to rounding."""
    asymmetry, size = float((kernel - kernel.T).abs().max()), float(kernel.abs().max())
    if asymmetry > math.sqrt(torch.finfo(kernel.dtype).eps) * size:
        raise ValueError(
            f"{name} is not symmetric: |K − Kᵀ| is up to {asymmetry:.3g}, with entries up to "
            f"{size:.3g}. Give the kernel of the training points with themselves."
        )
