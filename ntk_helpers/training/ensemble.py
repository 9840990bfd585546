"""Many networks at once: gradient descent on an ensemble in one batch."""

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ntk_helpers import _checks
from ntk_helpers._progress import tqdm
from ntk_helpers.kernels._jacobian import plain_torch, run
from ntk_helpers.kernels._mlp import is_as_made
from ntk_helpers.training import _alike
from ntk_helpers.training import _record as _records
from ntk_helpers.training import descent as training
from ntk_helpers.training._mlp_batch import mlps_together


class EnsembleHistory(NamedTuple):
    """What gradient descent did to E networks, at R recorded steps.

    Attributes:
        step: (R,) integers k, the number of steps taken before the record.
        time: (R,) t = η k.
        loss: (R, E), by the convention that was asked for.
        outputs: (R, E, n, k) or (R, E, n), predictions at the training points, shaped as y.
        test_outputs: (R, E, m, k) or (R, E, m), predictions at `x_test`; None without it.
        learning_rate: η.
        diverged: (E,) booleans: the loss of this network ran away.
    """

    step: Tensor
    time: Tensor
    loss: Tensor
    outputs: Tensor
    test_outputs: Tensor | None
    learning_rate: float
    diverged: Tensor


def train_ensemble(
    models: Sequence[nn.Module],
    x: Tensor,
    y: Tensor,
    *,
    learning_rate: float,
    steps: int,
    loss: str = "mean",
    record_at: Iterable[int] | None = None,
    progress: bool = True,
    x_test: Tensor | None = None,
) -> EnsembleHistory:
    """Train E networks in place, each as `gradient_descent` would, in one batch.

    An `MLP` takes hand-written steps, and the threads share the networks out among them; other
    modules take torch.func.vmap.

    Args:
        models: E modules (n, d) → (n, k) or (n,) that differ in their parameters only.
        x: (n, d) inputs.
        y: (n, k) targets; (n,) is allowed where the models have one output.
        learning_rate: η, greater than 0.
        steps: Number of steps, 0 or more.
        loss: "mean" (1/N Σ ½‖·‖²) or "sum" (Σ ½‖·‖²).
        record_at: Steps to record, as in `gradient_descent`.
        progress: Show a progress bar.
        x_test: (m, d) further inputs whose outputs are recorded.

    Returns:
        The history. A RuntimeWarning tells which networks diverged, and the largest stable rate;
        their records are NaN from then on.

    Raises:
        TypeError: If an argument is of the wrong type, or dtypes differ.
        ValueError: If the models are not alike, share parameters or cannot run in one batch, shapes
            or devices do not fit, a value is out of range, or the outputs are not finite at the
            start.
    """
    models = _alike.require_alike(models)
    tensors = {"x": x, "y": y} | ({} if x_test is None else {"x_test": x_test})
    for name, tensor in tensors.items():
        _checks.require_tensor(name, tensor, ndim=(1, 2) if name == "y" else None)
    _checks.require_same_length(x=x, y=y)
    _checks.require_matching(models[0], **tensors)
    _checks.require_number("learning_rate", learning_rate, positive=True)
    _checks.require_integer("steps", steps, at_least=0)
    _checks.require_choice("loss", loss, ["mean", "sum"])
    marks = _records.marks(record_at, steps)
    scale = 1 / len(x) if loss == "mean" else 1.0
    x, y = (points.clone() if points.is_inference() else points for points in (x, y))
    with torch.enable_grad():
        outputs = models[0](x)
    training._as_shape_of(y)(outputs)
    _checks.require_attached(outputs)
    if x_test is not None and x_test.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"x_test must hold points like those of x; got shapes {tuple(x_test.shape)} and "
            f"{tuple(x.shape)}. A single point is x_test[None]."
        )

    tensors = [dict(model.named_parameters()) | dict(model.named_buffers()) for model in models]
    state = {name: torch.stack([own[name].detach() for own in tensors]) for name in tensors[0]}
    trained = all(p.requires_grad for p in models[0].parameters())
    together = mlps_together if trained and is_as_made(models[0]) else _vmapped
    batch = together(models[0], state, x, y.reshape(outputs.shape), learning_rate * scale)

    records, limit = [], None
    stops = sorted(marks | {*range(0, steps, 100)})
    bar = tqdm(total=steps, disable=not progress, desc="ensemble", leave=False)
    with torch.no_grad(), batch as (descend, predict), bar:
        for k, until in zip(stops, [*stops[1:], steps], strict=True):
            outputs = predict(x).reshape(len(models), *y.shape)
            values = 0.5 * scale * (outputs - y).square().flatten(1).sum(1)
            if limit is None:
                limit = 1e6 * (values + 1)
                _records.finite_at_start(float(values.sum()))
                _require_own_outputs(models, x, outputs)
                diverged = torch.zeros_like(values, dtype=torch.bool)
            diverged |= ~(values <= limit)
            if diverged.all():
                break
            if k in marks:
                seen = [values, outputs]
                if x_test is not None:
                    seen.append(predict(x_test).reshape(len(models), len(x_test), *y.shape[1:]))
                for value in seen:
                    value[diverged] = math.nan
                records.append((k, *seen))
            for taken in descend(until - k):
                bar.update(taken)

    if diverged.any():
        _warn_of_divergence(models, diverged, x, learning_rate, scale, k)
    for e, model in enumerate(models):
        model.load_state_dict({name: value[e] for name, value in state.items()}, strict=False)
    taken, *recorded = zip(*records, strict=True)
    taken = torch.tensor(taken, device=y.device)
    values, outputs, *tests = (torch.stack(record) for record in recorded)
    time, test_outputs = learning_rate * taken.to(y.dtype), tests[0] if tests else None
    rate = float(learning_rate)
    return EnsembleHistory(taken, time, values, outputs, test_outputs, rate, diverged)


def _require_own_outputs(models: list[nn.Module], x: Tensor, outputs: Tensor) -> None:
    """Raise ValueError unless `outputs` (E, …) at `x` are what each model gives by itself."""
    tolerance = torch.finfo(outputs.dtype).eps ** 0.25  # far above rounding
    for e, model in enumerate(models):
        alone = run(model, x).reshape(outputs[e].shape)
        if ((outputs[e] - alone).abs() > tolerance * (1 + alone.abs().max())).any():
            raise ValueError(
                f"models[{e}] has other outputs in one batch with the rest than by itself: it is "
                f"random, or built otherwise than models[0] in a way that does not show in its "
                f"attributes. Train it alone, by gradient_descent."
            )


@contextmanager
def _vmapped(model: nn.Module, state: dict, x: Tensor, y: Tensor, rate: float) -> Iterator[tuple]:
    """Do for any modules what `mlps_together` does for MLPs, by vmap of the gradient.

    Yields:
        The same two functions.

    Raises:
        ValueError: If vmap cannot run the model.
    """
    _checks.require_rowwise(model)
    moving = {name: state[name] for name in _checks.trainable_parameters(model)}
    fixed = {name: value for name, value in state.items() if name not in moving}

    def objective(theta, rest):
        return 0.5 * (functional_call(model, {**theta, **rest}, (x,)) - y).square().sum()

    gradient = vmap(grad(objective))

    def descend(steps):
        for _ in range(steps):
            for name, change in gradient(moving, fixed).items():
                moving[name].sub_(change, alpha=rate)
            yield 1

    def predict(x):
        return vmap(lambda one: functional_call(model, one, (x,)))(state)

    try:
        with plain_torch():
            yield descend, predict
    except RuntimeError as error:
        raise ValueError(
            f"torch.func.vmap, which runs the networks in one batch, cannot run these: {error}\n"
            f"Train them one after the other, by gradient_descent."
        ) from error


def _warn_of_divergence(models, diverged: Tensor, x: Tensor, learning_rate, scale, k: int) -> None:
    """Name the networks that ran away and the largest rate that the first of them would stand."""
    which = diverged.nonzero()[:, 0].tolist()
    parameters = list(_checks.trainable_parameters(models[which[0]]).values())
    limit, told = training._largest_stable_rate(models[which[0]], parameters, parameters, x, scale)
    warnings.warn(
        f"{len(which)} of {len(models)} networks diverged by step {k} (first: number {which[0]}): "
        f"the learning rate is {learning_rate:g}, and the largest stable rate of the first at the "
        f"start {told}. "
        f"Try learning_rate={min(limit, learning_rate) / 2:.2g}.",
        RuntimeWarning,
        stacklevel=3,
    )
