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
from ntk_helpers.kernels._jacobian import plain_torch
from ntk_helpers.training import _record as _records


class History(NamedTuple):
    """What gradient descent did, at R recorded steps.

    Attributes:
        step: (R,) integers k, the number of steps taken before the record.
        time: (R,) t = η k, the time of gradient flow that descent imitates.
        loss: (R,) L, by the convention that was asked for.
        outputs: (R, n, k) or (R, n), predictions at the training points, shaped as y.
        observed: (R, …) what `observe(model)` returned; None without `observe`.
        learning_rate: η.
        diverged: True if the loss ran away and training stopped early.
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
    torch.nn.MSELoss is another scale: its gradient is 2/k times that of "mean" for k outputs.

    Args:
        model: Any module that maps (n, d) to (n, k) or (n,). Dropout and BatchNorm may be in train
            mode: the recorded loss and outputs are then those that the step saw.
        x: (n, d) inputs.
        y: (n, k) targets; (n,) is allowed where the model has one output.
        learning_rate: η, greater than 0.
        steps: Number of steps, 0 or more.
        loss: "mean" or "sum".
        record_at: Steps to record; None records up to 60 or so, dense at the start. Step 0 and the
            last are always in.
        progress: Show a progress bar.
        observe: Called on the model at each record, without gradients; its tensors (or numbers) are
            stacked in the history.

    Returns:
        The history. If the loss runs away, training stops, a RuntimeWarning names the largest
        stable rate (if it can be estimated), and the history up to there is returned; the model
        keeps its last, useless parameters.

    Raises:
        TypeError: If an argument is of the wrong type, or dtypes differ.
        ValueError: If shapes or devices do not fit, a value is out of range, or the outputs are not
            finite at the start.
    """
    parameters = list(_checks.trainable_parameters(model).values())
    _checks.require_tensor("x", x, ndim=(2, 3, 4))
    _checks.require_tensor("y", y, ndim=(1, 2))
    _checks.require_same_length(x=x, y=y)
    _checks.require_matching(model, x=x, y=y)
    _checks.require_number("learning_rate", learning_rate, positive=True)
    _checks.require_integer("steps", steps, at_least=0)
    _checks.require_choice("loss", loss, ["mean", "sum"])
    learning_rate, steps = float(learning_rate), int(steps)
    marks = _records.marks(record_at, steps)
    look = _records.observer(observe)
    scale = 1 / len(x) if loss == "mean" else 1.0
    fit = _as_shape_of(y)
    start = [p.detach().clone() for p in parameters]
    x, y = (points.clone() if points.is_inference() else points for points in (x, y))

    records, first, diverged = [], None, False
    with tqdm(total=steps, disable=not progress, desc="gradient descent", leave=False) as bar:
        for k in range(steps + 1):
            outputs = fit(model(x))
            value = 0.5 * scale * (outputs - y).square().sum()
            _checks.require_attached(value)
            if k in marks or k % 100 == 0:
                number = value.item()
                first = _records.finite_at_start(number) if first is None else first
                if not number <= 1e6 * (first + 1):
                    diverged = True
                    break
            if k in marks:
                records.append((k, value.detach(), outputs.detach().clone(), look(model)))
            if k == steps:
                break
            gradients = torch.autograd.grad(value, parameters, materialize_grads=True)
            with torch.no_grad():
                torch._foreach_add_(parameters, gradients, alpha=-learning_rate)
            bar.update()

    if diverged:
        limit, told = _largest_stable_rate(model, parameters, start, x, scale)
        warnings.warn(
            f"gradient descent diverged by step {k}: the learning rate is {learning_rate:g}, and "
            f"the largest stable rate at the start {told}. "
            f"The history ends before it; try learning_rate={min(limit, learning_rate) / 2:.2g}.",
            RuntimeWarning,
            stacklevel=2,
        )
    step = torch.tensor([record[0] for record in records], device=y.device)
    return History(
        step=step,
        time=learning_rate * step.to(y.dtype),
        loss=torch.stack([record[1] for record in records]),
        outputs=torch.stack([record[2] for record in records]),
        observed=None if observe is None else torch.stack([record[3] for record in records]),
        learning_rate=learning_rate,
        diverged=diverged,
    )


def _as_shape_of(y: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that gives the model's outputs the shape of `y`, or says why it cannot."""

    def fit(outputs: Tensor) -> Tensor:
        if not isinstance(outputs, Tensor):
            raise TypeError(
                f"the model must return a tensor; got {type(outputs).__name__}. "
                f"Wrap it in a module that returns the predictions alone."
            )
        if outputs.shape == y.shape:
            return outputs
        if {outputs.ndim, y.ndim} == {1, 2} and outputs.numel() == y.numel() == len(y):
            return outputs.reshape(y.shape)
        raise ValueError(
            f"the model's outputs have shape {tuple(outputs.shape)} but y has shape "
            f"{tuple(y.shape)}. Give y one column for each output."
        )

    return fit


def _largest_stable_rate(model, parameters, start, x, scale: float) -> tuple[float, str]:
    """Return 2 / (scale · λ_max) for the kernel J Jᵀ at the parameters `start`, and how to tell it.

    Where the estimate fails, as for a model that cannot be differentiated twice, it is infinite.
    Whatever happens, the model keeps the parameters that it has now.
    """
    final, limit = [p.data for p in parameters], math.inf
    try:
        for p, value in zip(parameters, start, strict=True):
            p.data = value
        with suppress(Exception):  # whatever the model raises: the record of its run is worth more
            limit = 2 / (scale * _largest_eigenvalue(model, parameters, x))
    finally:
        for p, value in zip(parameters, final, strict=True):
            p.data = value
    if math.isfinite(limit):
        return limit, f"2/λ_max(scaled kernel) ≈ {limit:.3g}"
    return math.inf, "cannot be estimated for this model"


@plain_torch()
def _largest_eigenvalue(model: nn.Module, parameters: list[nn.Parameter], x: Tensor) -> float:
    """Return λ_max of the kernel J Jᵀ by power iteration.

    J u is the derivative of the linear map v ↦ Jᵀ v, so that backward passes through one evaluation
    of the model do: layers that change buffers or draw random numbers are no obstacle.

    Raises:
        RuntimeError: If a part of the model cannot be differentiated twice. Autograd may be silent
            about it, but then uᵀ J Jᵀ u is not ‖Jᵀ u‖².
    """
    outputs = model(x)
    v = torch.ones_like(outputs).requires_grad_()
    options = {"retain_graph": True, "materialize_grads": True}
    pulled_back = torch.autograd.grad(outputs, parameters, v, create_graph=True, **options)
    used = [i for i, image in enumerate(pulled_back) if image.requires_grad]
    pulled_back = [pulled_back[i] for i in used]
    generator = _dice.generator(0)
    u = torch.randn(outputs.shape, generator=generator, dtype=torch.float64, device="cpu")
    u = u.to(outputs)
    for _ in range(50):
        u = u / u.abs().max()  # so that the squares in the norm do not overflow
        unit = u / u.norm()
        gradient = torch.autograd.grad(outputs, parameters, unit, **options)
        (u,) = torch.autograd.grad(pulled_back, v, [gradient[i] for i in used], **options)
    unit, u, *gradient = (value.cpu().double() for value in (unit, u, *gradient))
    square = sum(value.square().sum().item() for value in gradient)
    if not math.isclose((unit * u).sum().item(), square, rel_tol=0.05):
        raise RuntimeError("the model cannot be differentiated twice.")
    return u.norm().item()
