"""The loss of a run as a function of the outputs: its value, slope and curvature there."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.functional import hessian

from ntk_helpers import _checks
from ntk_helpers.kernels import _outputs


class Objective:
    """L(f) for all outputs f (n, k) or (n,) of the training points together.

    Attributes:
        name: How a page calls the loss.
    """

    def __init__(self, loss: str | Callable[[Tensor, Tensor], Tensor], y: Tensor):
        """Take the loss, "squared" or a function of outputs and targets, and the targets."""
        if not callable(loss) and loss != "squared":
            raise TypeError(
                f"loss must be 'squared' or a function of outputs and targets; got {loss!r}. "
                f"torch.nn.functional.cross_entropy is one."
            )
        _checks.require_tensor("y", y, integers=callable(loss))
        self.function = loss if callable(loss) else None
        self.name = getattr(loss, "__name__", type(loss).__name__) if callable(loss) else loss
        self.y = y

    def __call__(self, f: Tensor) -> Tensor:
        """Return L(f); for "squared" (1/N) Σ ½‖f − y‖²."""
        if self.function is None:
            return 0.5 * (_outputs.fit_to(f, self.y) - self.y).square().sum() / len(self.y)
        return self.function(f, self.y)

    def require_number(self, f: Tensor) -> float:
        """Return L(f), or say why there is no descent on it."""
        if self.function is None:
            return float(self(f))
        with torch.enable_grad():
            try:
                value = self(f.detach().requires_grad_())
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                raise ValueError(
                    f"loss(outputs, y) must take outputs of shape {tuple(f.shape)} and y of shape "
                    f"{tuple(self.y.shape)}; it raised {type(error).__name__} ({error})."
                ) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"loss(outputs, y) must be one number, the mean over the points; got {got}. "
                f"Write reduction='mean', or take .mean()."
            )
        if not value.requires_grad or not value.isfinite():
            raise ValueError(
                f"loss(outputs, y) is {value.item():g}, and must be finite and come from the "
                f"outputs by operations that torch can differentiate."
            )
        return value.item()

    def slope(self, f: Tensor) -> Tensor:
        """Return ∇L (n, k), shaped as f: the push on each output, with the 1/N of the mean."""
        with torch.enable_grad():
            leaf = f.detach().requires_grad_()
            return torch.autograd.grad(self(leaf).sum(), leaf)[0]

    def curvature(self, f: Tensor) -> Tensor:
        """Return ∇²L (n·k, n·k); zeros where the loss is piecewise linear."""
        with torch.enable_grad():
            return hessian(lambda f: self(f).sum(), f.detach()).reshape(f.numel(), f.numel())
