"""Times, shapes, kernels and copies, as the theory of training takes them."""

import copy
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

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


def eigenpairs(name: str, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (n,), ascending, and eigenvectors (n, n) of a kernel.

    Raises:
        ValueError: If it is not symmetric, up to √ε, or has an eigenvalue below −1e-4 λ_max, which
            no rounding explains.
    """
    asymmetry, size = float((kernel - kernel.T).abs().max()), float(kernel.abs().max())
    if asymmetry > math.sqrt(torch.finfo(kernel.dtype).eps) * size:
        raise ValueError(
            f"{name} is not symmetric: |K − Kᵀ| is up to {asymmetry:.3g}, with entries up to "
            f"{size:.3g}. Give the kernel of the training points with themselves."
        )
    values, vectors = torch.linalg.eigh((kernel + kernel.T) / 2)
    low, high = float(values[0]), float(values[-1])
    if low < -1e-4 * max(high, 0.0):
        raise ValueError(
            f"{name} is not positive semidefinite: its eigenvalues run from {low:.3g} to "
            f"{high:.3g}. A tangent kernel J Jᵀ has none below 0: look for a wrong sign or an "
            f"index out of place."
        )
    return values, vectors


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
