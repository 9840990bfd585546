"""Many networks at once: gradient descent on an ensemble in one batch."""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import gelu

from ntk_helpers import _alike, _checks, _records, training
from ntk_helpers._progress import tqdm
from ntk_helpers.networks import MLP


def _gelu_slope(z: Tensor, h: Tensor) -> Tensor:
    """Overwrite z by Φ(z) + z p(z), with Φ and p of the standard normal distribution."""
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return torch.addcmul(torch.special.ndtr(z), z, density, out=z)


LOG_SLOPE = math.log(2 / math.sqrt(math.pi))  # erf'(z) = e^{LOG_SLOPE − z²}
# φ written into `out`, φ' over z, where h = φ(z): reserving no memory makes a step 3 times faster.
IN_PLACE = {
    "erf": (torch.erf, lambda z, h: z.square_().sub_(LOG_SLOPE).neg_().exp_()),
    "relu": (lambda z, out: torch.clamp(z, min=0, out=out), lambda z, h: torch.sign(h, out=z)),
    "tanh": (torch.tanh, lambda z, h: torch.square(h, out=z).neg_().add_(1)),
    "gelu": (lambda z, out: out.copy_(gelu(z)), _gelu_slope),
    "sin": (torch.sin, lambda z, h: z.cos_()),
    "linear": (lambda z, out: out.copy_(z), lambda z, h: z.fill_(1)),
}
CACHE_BYTES = 2**21


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

    An `MLP` takes hand-written steps in memory reserved once, other modules torch.func.vmap.

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
        ValueError: If the models are not alike, shapes or devices do not fit, a value is out of
            range, or the outputs are not finite at the start.
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
    with torch.enable_grad():
        outputs = models[0](x)
    training._as_shape_of(y)(outputs)
    _checks.require_attached(outputs)
    if x_test is not None and x_test.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"x_test must hold points like those of x; got shapes {tuple(x_test.shape)} and "
            f"{tuple(x.shape)}. A single point is x_test[None]."
        )

    parameters, buffers = stack_module_state(models)
    state = {name: value.detach() for name, value in {**parameters, **buffers}.items()}

    def predict(points):
        outputs = vmap(lambda one: functional_call(models[0], one, (points,)))(state)
        return outputs.reshape(len(models), len(points), *y.shape[1:])

    structured = type(models[0]) is MLP and all(p.requires_grad for p in models[0].parameters())
    prepare = _mlp_step if structured else _vmap_step
    step = prepare(models[0], state, x, y.reshape(outputs.shape), learning_rate * scale)

    records, limit = [], None
    with torch.no_grad(), tqdm(total=steps, disable=not progress, desc="ensemble") as bar:
        for k in range(steps + 1):
            if k in marks or k % 100 == 0:
                outputs = predict(x)
                values = 0.5 * scale * (outputs - y).square().flatten(1).sum(1)
                if limit is None:
                    limit = 1e6 * (values + 1)
                    training._finite_at_start(float(values.sum()))
                    diverged = torch.zeros_like(values, dtype=torch.bool)
                diverged |= ~(values <= limit)
                if diverged.all():
                    break
            if k in marks:
                seen = [values, outputs] + ([] if x_test is None else [predict(x_test)])
                for value in seen:
                    value[diverged] = math.nan
                records.append((k, *seen))
            if k < steps:
                step()
                bar.update()

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


def _mlp_step(model: MLP, state: dict, x: Tensor, y: Tensor, rate: float) -> Callable[[], None]:
    """Return a function that takes one step of all MLPs, as many at a time as fit in the cache."""
    layers, n = list(model.layers), len(x)
    weights = [state[f"layers.{i}.weight"] for i in range(len(layers))]
    biases = [state[f"layers.{i}.bias"][:, None] for i in range(len(layers))]
    count = len(weights[0])
    row = n * max(layer.out_features for layer in layers) * x.element_size()
    some = min(count, max(1, CACHE_BYTES // row)) if x.device.type == "cpu" else count
    z = [x.new_empty(some, n, layer.out_features) for layer in layers]
    h = [x.expand(some, *x.shape), *(torch.empty_like(pre) for pre in z[:-1])]
    back, ones = torch.empty_like(h[-1]), x.new_ones(1, 1, 1).expand(some, 1, n)
    activate, differentiate = IN_PLACE[model.activation]

    def descend(weights, biases, z, h, back, ones):
        for i, layer in enumerate(layers):
            if i > 0:
                activate(z[i - 1], out=h[i])
            scales = {"alpha": layer.weight_scale, "beta": layer.bias_scale}
            torch.baddbmm(biases[i], h[i], weights[i].mT, **scales, out=z[i])
        delta = z[-1].sub_(y)
        for i, layer in reversed(list(enumerate(layers))):
            biases[i].baddbmm_(ones, delta, alpha=-rate * layer.bias_scale)
            scale = layer.weight_scale
            if i > 0:
                torch.baddbmm(back, delta, weights[i], beta=0, alpha=scale, out=back)
                differentiate(z[i - 1], h[i])
            if layer.in_features < layer.out_features:  # the fast order of a narrow product
                weights[i].sub_((h[i].mT @ delta).mT, alpha=rate * scale)
            else:
                weights[i].baddbmm_(delta.mT, h[i], alpha=-rate * scale)
            if i > 0:
                delta = torch.mul(back, z[i - 1], out=h[i])

    def step():
        for first in range(0, count, some):
            own, used = slice(first, first + some), slice(min(some, count - first))
            parameters = [w[own] for w in weights], [b[own] for b in biases]
            memory = [pre[used] for pre in z], [post[used] for post in h], back[used], ones[used]
            descend(*parameters, *memory)

    return step


def _vmap_step(model: nn.Module, state: dict, x: Tensor, y: Tensor, rate: float):
    """Return a function that takes one step of all modules, by vmap of the gradient."""
    _checks.require_rowwise(model)
    moving = {name: state[name] for name in _checks.trainable_parameters(model)}
    fixed = {name: value for name, value in state.items() if name not in moving}

    def objective(theta, rest):
        return 0.5 * (functional_call(model, {**theta, **rest}, (x,)) - y).square().sum()

    gradient = vmap(grad(objective))

    def step():
        for name, change in gradient(moving, fixed).items():
            moving[name].sub_(change, alpha=rate)

    return step


def _warn_of_divergence(models, diverged: Tensor, x: Tensor, learning_rate, scale, k: int) -> None:
    """Name the networks that ran away and the largest rate that the first of them would stand."""
    which = diverged.nonzero()[:, 0].tolist()
    parameters = list(_checks.trainable_parameters(models[which[0]]).values())
    limit = training._largest_stable_rate(models[which[0]], parameters, parameters, x, scale)
    warnings.warn(
        f"{len(which)} of {len(models)} networks diverged by step {k} (first: number {which[0]}): "
        f"the learning rate is {learning_rate:g}, and the largest stable rate of the first at the "
        f"start 2/λ_max(scaled kernel) ≈ {limit:.3g}. "
        f"Try learning_rate={min(limit, learning_rate) / 2:.2g}.",
        RuntimeWarning,
        stacklevel=3,
    )
