"""Full-batch gradient descent, the Euler method of gradient flow, with a record of what happened."""

import warnings
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp
from tqdm.auto import tqdm

from ntk_helpers import _checks


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

    The loss is `L = c Σ_i ½ ‖f(x⁽ⁱ⁾) − y⁽ⁱ⁾‖²` with c = 1/N ("mean") or c = 1 ("sum"). torch.nn.MSELoss is another
    scale: its gradient is 2/k times that of "mean" for k outputs.

    Args:
        model: Any module that maps (n, d) to (n, k) or (n,).
        x: (n, d) inputs.
        y: (n, k) targets; (n,) is allowed where the model has one output.
        learning_rate: η, greater than 0.
        steps: Number of steps, 0 or more.
        loss: "mean" or "sum".
        record_at: Steps to record; None records about 60, dense at the start. Step 0 and the last are always in.
        progress: Show a progress bar.
        observe: Called on the model at each record, without gradients; its tensors are stacked in the history.

    Returns:
        The history. If the loss runs away, training stops, a RuntimeWarning names the largest stable rate, and
        the history up to there is returned.

    Raises:
        TypeError: If an argument is of the wrong type, or dtypes differ.
        ValueError: If shapes or devices do not fit, or a value is out of range.
    """
    parameters = list(_checks.trainable_parameters(model).values())
    _checks.require_tensor("x", x)
    _checks.require_tensor("y", y, ndim=(1, 2))
    _checks.require_same_length(x=x, y=y)
    _checks.require_matching(model, x=x, y=y)
    _checks.require_number("learning_rate", learning_rate, positive=True)
    _checks.require_integer("steps", steps, at_least=0)
    _checks.require_choice("loss", loss, ["mean", "sum"])
    marks = _record_marks(record_at, steps)
    scale = 1 / len(x) if loss == "mean" else 1.0
    fit = _as_shape_of(y)
    start = [p.detach().clone() for p in parameters]

    records, first, diverged = [], None, False
    bar = tqdm(total=steps, disable=not progress, desc="gradient descent", leave=False)
    for k in range(steps + 1):
        outputs = fit(model(x))
        value = 0.5 * scale * (outputs - y).square().sum()
        if k in marks or k % 100 == 0:
            number = value.item()
            first = number if first is None else first
            if not number <= 1e6 * (first + 1):
                diverged = True
                break
        if k in marks:
            with torch.no_grad():
                seen = None if observe is None else observe(model).detach().clone()
            records.append((k, value.detach(), outputs.detach().clone(), seen))
        if k == steps:
            break
        gradients = torch.autograd.grad(value, parameters)
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-learning_rate)
        bar.update()
    bar.close()

    if diverged:
        limit = _largest_stable_rate(model, parameters, start, x, scale)
        warnings.warn(
            f"gradient descent diverged at step {k}: the learning rate {learning_rate:g} against the largest "
            f"stable rate 2/λ_max(scaled kernel) ≈ {limit:.3g} at the start. The history ends before it; "
            f"try learning_rate={limit / 2:.2g}.",
            RuntimeWarning,
            stacklevel=2,
        )
    step = torch.tensor([record[0] for record in records])
    return History(
        step=step,
        time=learning_rate * step.to(y.dtype),
        loss=torch.stack([record[1] for record in records]),
        outputs=torch.stack([record[2] for record in records]),
        observed=None if observe is None else torch.stack([record[3] for record in records]),
        learning_rate=learning_rate,
        diverged=diverged,
    )


def _record_marks(record_at: Iterable[int] | None, steps: int) -> set[int]:
    """Return the steps to record: those asked for, or about 60 dense at the start; always 0 and the last."""
    if record_at is None:
        marks = {round(steps ** (i / 60)) for i in range(61)} if steps else set()
    else:
        marks = {int(k) for k in record_at}
        outside = sorted(k for k in marks if not 0 <= k <= steps)
        if outside:
            raise ValueError(f"record_at must lie in 0 … {steps}; got {outside[:5]}. Raise steps or drop them.")
    return marks | {0, steps}


def _as_shape_of(y: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that gives the model's outputs the shape of `y`, or says why it cannot."""

    def fit(outputs: Tensor) -> Tensor:
        if outputs.shape == y.shape:
            return outputs
        if {outputs.ndim, y.ndim} == {1, 2} and outputs.numel() == y.numel() == len(y):
            return outputs.reshape(y.shape)
        raise ValueError(
            f"the model's outputs have shape {tuple(outputs.shape)} but y has shape {tuple(y.shape)}. "
            f"Give y one column for each output."
        )

    return fit


def _largest_stable_rate(model, parameters, start, x, scale: float) -> float:
    """Return 2 / (scale · λ_max) for the kernel J Jᵀ at the parameters `start`, by power iteration."""
    names = {id(p): name for name, p in model.named_parameters()}
    initial = {names[id(p)]: value for p, value in zip(parameters, start, strict=True)}

    def f(theta):
        return functional_call(model, theta, (x,))

    outputs, pull_back = vjp(f, initial)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(outputs.shape, generator=generator, dtype=torch.float64, device="cpu").to(outputs)
    eigenvalue = torch.ones((), dtype=outputs.dtype)
    for _ in range(50):
        v = v / v.norm()
        (gradient,) = pull_back(v)
        _, v = jvp(f, (initial,), (gradient,))
        eigenvalue = v.norm()
    return 2 / (scale * eigenvalue.item())
