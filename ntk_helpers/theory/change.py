"""How far a kernel has moved: in all, in scale, and in shape."""

from typing import NamedTuple

from torch import Tensor

from ntk_helpers import _checks


def kernel_drift(k_now: Tensor, k_start: Tensor) -> float:
    """Return ‖K_now − K_start‖ / ‖K_start‖, Frobenius norms: how far the kernel has moved.

    Derived in notebooks/04_infinite_width.ipynb, "Does the kernel move while the network
    learns?".

    Args:
        k_now: A kernel of any shape.
        k_start: The same kernel at the start.

    Returns:
        A number ≥ 0.
    """
    _checks.require_tensor("k_now", k_now)
    _checks.require_tensor("k_start", k_start)
    _checks.require_same_place(k_start=k_start, k_now=k_now)
    if k_now.shape != k_start.shape or not k_start.any():
        raise ValueError(
            f"k_now and k_start must be kernels of one shape, k_start not all zero; got "
            f"{tuple(k_now.shape)} and {tuple(k_start.shape)}."
        )
    return float((k_now - k_start).norm() / k_start.norm())


class KernelChange(NamedTuple):
    """How a kernel has changed: in all, in scale, and in shape.

    A kernel times a number is the same kernel on another clock; a change of shape makes it learn
    other things first.

    Attributes:
        drift: ‖K_now − K_start‖ / ‖K_start‖.
        norm_ratio: ‖K_now‖ / ‖K_start‖, the scale.
        cosine: ⟨K_now, K_start⟩ / (‖K_now‖ ‖K_start‖), 1 for the same shape.
    """

    drift: float
    norm_ratio: float
    cosine: float


def kernel_change(k_now: Tensor, k_start: Tensor) -> KernelChange:
    """Return how far the kernel has moved, told apart into scale and shape.

    Derived in notebooks/04_infinite_width.ipynb, "Does the kernel move while the network
    learns?".

    Args:
        k_now: A kernel of any shape, not all zero.
        k_start: The same kernel at the start.

    Returns:
        Its drift, norm ratio and cosine, as numbers.
    """
    drift, ratio = kernel_drift(k_now, k_start), float(k_now.norm() / k_start.norm())
    if not ratio:
        raise ValueError("k_now is zero everywhere: it has no direction to compare.")
    cosine = (k_now / k_now.norm() * (k_start / k_start.norm())).sum()
    return KernelChange(drift, ratio, float(cosine))
