"""Many networks at once: gradient descent on an ensemble in one batch."""

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from ntk_helpers import _checks
from ntk_helpers._progress import tqdm
from ntk_helpers.kernels import _outputs
from ntk_helpers.kernels._jacobian import run
from ntk_helpers.kernels._mlp import is_as_made
from ntk_helpers.training._mlp_batch import MLPs
from ntk_helpers.training._record import Recorder
from ntk_helpers.training._vmap_batch import Vmapped
from ntk_helpers.training.descent import advice


class EnsembleHistory(NamedTuple):
    """Record of gradient descent on E networks at R steps.

    Attributes:
        step: (R,) integers k, the number of steps taken before the record.
        time: (R,) t = η k.
        loss: (R, E), in the convention that was asked for.
        outputs: (R, E, n, k) or (R, E, n), predictions at the training points, shaped as y.
        test_outputs: (R, E, m, k) or (R, E, m), predictions at `x_test`; None without it.
        learning_rate: η.
        diverged: (E,) booleans: the loss of this network diverged.
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

    Networks of the class `MLP` take hand-written steps; others take torch.func.vmap.

    Derived in notebooks/01_gradient_flow.ipynb, "Which path does gradient descent follow?".

    Args:
        models: E modules (n, …) → (n, k) or (n,) that differ in the values of their parameters and
            buffers only, and treat rows independently.
        x: (n, …) inputs, of any dtype that the models take.
        y: (n, k) targets; (n,) is allowed where the models have one output.
        learning_rate: η, greater than 0.
        steps: Number of steps, 0 or more.
        loss: "mean" (1/N Σ ½‖·‖²) or "sum" (Σ ½‖·‖²).
        record_at: Steps to record, as in `gradient_descent`.
        progress: Show a progress bar.
        x_test: (m, …) further inputs whose outputs are recorded.

    Returns:
        The history. A RuntimeWarning tells which networks diverged, and the largest stable rate of
        the first of them; their records are NaN from then on.

    Raises:
        ValueError: Among others, if a network gives other outputs in the batch than alone, so that
            it has to be trained alone.
    """
    models, points = _listed(models), {"x": x} if x_test is None else {"x": x, "x_test": x_test}
    parameters = [_checks.require_points(model, **points) for model in models]
    _require_alike(models, parameters)
    _checks.require_same_place(**points)
    _checks.require_tensor("y", y, ndim=(1, 2))
    _checks.require_same_length(x=x, y=y)
    if x_test is not None:
        _checks.require_same_inputs(x=x, x_test=x_test)
    _checks.require_number("learning_rate", learning_rate, positive=True)
    _checks.require_integer("steps", steps, at_least=0)
    _checks.require_choice("loss", loss, ["mean", "sum"])
    learning_rate, steps = float(learning_rate), int(steps)
    record = Recorder(steps, record_at)
    scale = 1 / len(x) if loss == "mean" else 1.0
    with torch.enable_grad():
        _outputs.require_attached(_outputs.fit_to(run(models[0], x), y))

    tensors = [_tensors(model) for model in models]
    state = {name: torch.stack([own[name].detach() for own in tensors]) for name in tensors[0]}
    ours = all(is_as_made(model) for model in models) and len(parameters[0]) == len(state)
    kind = MLPs if ours and x.ndim == 2 and x.dtype == y.dtype else Vmapped
    batch = kind(models[0], state, x, y.reshape(len(y), -1), learning_rate * scale)

    bar = tqdm(total=steps, disable=not progress, desc="ensemble", leave=False)
    with torch.no_grad(), bar:
        for name, some in points.items():
            _require_same_alone(models, name, some, batch.predict(some))
        for k, until in record.stretches():
            outputs = batch.predict(x).reshape(-1, *y.shape)
            losses = 0.5 * scale * (outputs - y).square().flatten(1).sum(1)
            if record.diverges(k, losses):
                break
            if k in record.marks:
                shape = (len(models), -1, *y.shape[1:])
                tests = None if x_test is None else batch.predict(x_test).reshape(shape)
                record.add(k, losses, outputs, tests)
            batch.descend(until - k)
            bar.update(until - k)

    which = record.diverged.nonzero()[:, 0].tolist()
    first = which[0] if which else 0
    start = {name: p.detach().clone() for name, p in parameters[first].items()}
    with torch.no_grad():  # before the estimate, which may take long or be interrupted
        for e, own in enumerate(parameters):
            for name, p in own.items():
                p.copy_(state[name][e])
    if which:
        warnings.warn(
            f"{len(which)} of {len(models)} networks diverged by step {k}, the first of them "
            f"models[{first}]: {advice(models[first], start, x, scale, learning_rate)}",
            RuntimeWarning,
            stacklevel=2,
        )
    diverged = record.diverged.to(y.device)
    return EnsembleHistory(*record.stack(learning_rate, y), learning_rate, diverged)


def _listed(models: object) -> list:
    """Return `models` as a list."""
    if isinstance(models, nn.Module) or not isinstance(models, Iterable):
        raise TypeError(
            f"models must be a list of modules; got {type(models).__name__}. [model] makes one."
        )
    models = list(models)
    if not models:
        raise ValueError("models is empty: give at least one network.")
    return models


def _require_alike(models: list[nn.Module], parameters: list[dict[str, nn.Parameter]]) -> None:
    """Raise ValueError unless the tensors of the models can be stacked, and each has its own."""
    owners, first = {}, _form(models[0])
    for e, model in enumerate(models):
        form = _form(model)
        for what in first | form:
            if first.get(what) != form.get(what):
                raise ValueError(
                    f"models[{e}] and models[0] differ in the {what}. Networks that are trained in "
                    f"one batch may differ in the values of their parameters only."
                )
        for name, p in parameters[e].items():
            if owners.setdefault(p, e) != e:
                raise ValueError(
                    f"models[{owners[p]}] and models[{e}] share the parameter {name!r}, but each "
                    f"is trained by itself. Give each its own, as copy.deepcopy(model) does."
                )


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a model by name."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _form(model: nn.Module) -> dict[str, object]:
    """Return what must be the same for all networks of a batch."""
    form = {"class": type_before_parametrizations(model)}
    for name, t in _tensors(model).items():
        kind = t.shape, t.dtype, t.device, t.requires_grad
        form[f"shape, dtype, device or requires_grad of {name!r}"] = kind
    return form


def _require_same_alone(models: list[nn.Module], name: str, x: Tensor, outputs: Tensor) -> None:
    """Raise ValueError unless `outputs` (E, …) at `x` are what each model gives alone."""
    # 500 times the rounding of networks that amplify it (σ_w = 30), and above that of TF32.
    tolerance = 10 * torch.finfo(outputs.dtype).eps ** 0.5
    for e, model in enumerate(models):
        alone = run(model, x).reshape(outputs[e].shape)
        if ((outputs[e] - alone).abs() > tolerance * (1 + alone.abs().max())).any():
            raise ValueError(
                f"models[{e}] gives other outputs at {name} in the batch than alone: it is random, "
                f"or differs from models[0] in more than the values of its parameters. Train it "
                f"alone, by gradient_descent."
            )
