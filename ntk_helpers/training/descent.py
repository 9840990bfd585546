"""Full-batch gradient descent, the Euler method of gradient flow, with a record."""

import math
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ntk_helpers import _checks, _dice
from ntk_helpers._progress import tqdm
from ntk_helpers.kernels import _outputs
from ntk_helpers.kernels._jacobian import plain_torch, run
from ntk_helpers.training._record import Recorder


class History(NamedTuple):
    """Record of gradient descent at R steps.

    Attributes:
        step: (R,) integers k, the number of steps taken before the record.
        time: (R,) t = η k, the time of gradient flow that descent approximates.
        loss: (R,) L, in the convention that was asked for.
        outputs: (R, n, k) or (R, n), predictions at the training points, shaped as y.
        observed: (R, …) what `observe(model)` returned; None without `observe`.
        learning_rate: η.
        diverged: True if the loss diverged and training stopped early.
    """

    step: Tensor
    time: Tensor
    loss: Tensor
    outputs: Tensor
    observed: Tensor | None
    learning_rate: float
    diverged: bool


def gradient_descent(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    learning_rate: float,
    steps: int,
    loss: str = "mean",
    record_at: Iterable[int] | None = None,
    progress: bool = True,
    observe: Callable[[nn.Module], Tensor] | None = None,
) -> History:
    """Train `model` in place by θ ← θ − η ∇L on all points at once.

    The loss is `L = c Σ_i ½ ‖f(x⁽ⁱ⁾) − y⁽ⁱ⁾‖²` with c = 1/N ("mean") or c = 1 ("sum").
    torch.nn.MSELoss is scaled differently: its gradient is 2/k times that of "mean" for k outputs.

    Derived in notebooks/01_gradient_flow.ipynb, "Which path does gradient descent follow?".

    Args:
        model: Any module that maps (n, …) to (n, k) or (n,). Dropout and BatchNorm may be in
            training mode: the recorded loss and outputs are then those that the step used.
        x: (n, …) inputs, of any dtype that the model takes.
        y: (n, k) targets; (n,) is allowed where the model has one output.
        learning_rate: η, greater than 0.
        steps: Number of steps, 0 or more.
        loss: "mean" or "sum".
        record_at: Steps to record; None records about 60, dense at the start. Step 0 and the last
            are always recorded.
        progress: Show a progress bar.
        observe: Called on the model at each record, without gradients; the tensors or numbers that
            it returns are stacked in the history.

    Returns:
        The history. If the loss diverges, training stops, a RuntimeWarning gives the largest stable
        rate where it can be estimated, and the history up to there is returned; the model keeps
        its last parameters, which are of no use.
    """
    parameters = _checks.require_points(model, rowwise=False, x=x)
    _checks.require_tensor("y", y, ndim=(1, 2))
    _checks.require_same_length(x=x, y=y)
    _checks.require_number("learning_rate", learning_rate, positive=True)
    _checks.require_integer("steps", steps, at_least=0)
    _checks.require_choice("loss", loss, ["mean", "sum"])
    learning_rate, steps = float(learning_rate), int(steps)
    record = Recorder(steps, record_at, observe)
    scale = 1 / len(x) if loss == "mean" else 1.0
    start = {name: p.detach().clone() for name, p in parameters.items()}
    theta = list(parameters.values())

    with tqdm(total=steps, disable=not progress, desc="gradient descent", leave=False) as bar:
        for k in range(steps + 1):
            outputs = _outputs.fit_to(model(x), y)
            value = 0.5 * scale * (outputs - y).square().sum()
            _outputs.require_attached(value)
            if record.diverges(k, value):
                break
            if k in record.marks:
                record.add(k, value, outputs, record.look(model))
            if k < steps:
                gradients = torch.autograd.grad(value, theta, materialize_grads=True)
                with torch.no_grad():
                    torch._foreach_add_(theta, gradients, alpha=-learning_rate)
                bar.update()

    if record.diverged:
        warnings.warn(
            f"gradient descent diverged by step {k}, and the history ends before it: "
            f"{advice(model, start, x, scale, learning_rate)}",
            RuntimeWarning,
            stacklevel=2,
        )
    return History(*record.stack(learning_rate, y), learning_rate, bool(record.diverged))


def advice(model: nn.Module, start: dict, x: Tensor, scale: float, learning_rate: float) -> str:
    """Return which learning rates would have been stable at the parameters `start`, in words.

    Derived in notebooks/01_gradient_flow.ipynb, "Where is the limit of a network?".
    """
    limit, told = math.inf, "could not be estimated for this model"
    with suppress(Exception):  # the record of a run is worth more than this estimate
        limit = 2 / (scale * largest_eigenvalue(model, start, x))
        told = f"is 2/λ_max(scaled kernel) ≈ {limit:.3g}"
    return (
        f"the learning rate is {learning_rate:g}, and the largest stable rate at the start {told}; "
        f"try learning_rate={min(limit, learning_rate) / 2:.2g}."
    )


@plain_torch()
@torch.enable_grad()
def largest_eigenvalue(model: nn.Module, theta: dict[str, Tensor], x: Tensor) -> float:
    """Return λ_max of the kernel J Jᵀ at the parameters `theta`, by power iteration.

    J g is the derivative, along g, of the linear map v ↦ Jᵀ v. So one evaluation of the model is
    enough, and layers that change buffers or draw random numbers do no harm.

    Raises:
        ValueError: If a layer that cannot be differentiated twice hid from autograd.

    Source: J. Townsend 2017, "A new trick for calculating Jacobian vector products".
    """
    theta = {name: p.detach().requires_grad_() for name, p in theta.items()}
    outputs = run(model, x, theta)
    v = torch.zeros_like(outputs).requires_grad_()
    options = {"retain_graph": True, "materialize_grads": True}
    pulled_back = torch.autograd.grad(outputs, theta.values(), v, create_graph=True, **options)
    draw = torch.randn(outputs.shape, generator=_dice.fixed(0), device="cpu")
    u = draw.to(outputs)
    for _ in range(50):
        u = u / u.norm(dtype=torch.float64)  # λ² may overflow in float32
        gradients = torch.autograd.grad(outputs, theta.values(), u, **options)
        pairs = zip(pulled_back, gradients, strict=True)
        product = sum((a * b.conj()).real.sum() for a, b in pairs)
        (u,) = torch.autograd.grad(product, v, **options)
    found = u.norm(dtype=torch.float64).item()
    by_gradients = sum(g.abs().square().sum().item() for g in gradients)
    if not abs(found - by_gradients) < 0.01 * found:
        raise ValueError(
            f"‖J Jᵀ v‖ is {found}, but ‖Jᵀ v‖² is {by_gradients}, for an eigenvector v"
        )
    return found
