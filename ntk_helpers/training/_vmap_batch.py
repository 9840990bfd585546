"""Gradient descent on many networks of any class at once, by torch.func.vmap."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.func import grad, vmap

from ntk_helpers import _checks
from ntk_helpers.kernels._jacobian import plain_torch, run


class Vmapped:
    """E networks of any class, with stacked parameters (E, …) that training changes in place."""

    def __init__(
        self, model: nn.Module, state: dict[str, Tensor], x: Tensor, y: Tensor, rate: float
    ):
        """Take networks like `model` with the tensors `state`, and points to train on.

        Args:
            model: A module like all of them.
            state: Their stacked parameters and buffers by name.
            x: (n, …) inputs.
            y: (n, k) targets.
            rate: Factor of the gradient of Σ ½(f(x) − y)² in a step.
        """
        self.model, self.state, self.rate = model, state, rate
        self.moving = {name: state[name] for name in _checks.trainable_parameters(model)}
        self.fixed = {name: state[name] for name in state.keys() - self.moving.keys()}

        def objective(moving, fixed):
            return 0.5 * (run(model, x, moving | fixed).reshape(y.shape) - y).square().sum()

        self.gradient = vmap(grad(objective))

    def predict(self, x: Tensor) -> Tensor:
        """Return the outputs (E, m, k) or (E, m) at the points `x` (m, …)."""
        with _vmapping():
            return vmap(lambda one: run(self.model, x, one))(self.state)

    def descend(self, steps: int) -> None:
        """Take `steps` steps of gradient descent."""
        with _vmapping():
            for _ in range(steps):
                for name, change in self.gradient(self.moving, self.fixed).items():
                    self.moving[name].sub_(change, alpha=self.rate)


@contextmanager
def _vmapping() -> Iterator[None]:
    """Prepare torch for vmap, and say what to do if vmap cannot run the networks."""
    try:
        with plain_torch():
            yield
    except RuntimeError as error:
        raise ValueError(
            f"torch.func.vmap, which runs the networks in one batch, cannot run these: {error}\n"
            f"Train them one after the other, by gradient_descent."
        ) from error
