"""What the kernel at the start says of a run, and whether it was right: the numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ntk_helpers import _checks
from ntk_helpers.kernels import _outputs
from ntk_helpers.kernels._jacobian import run as outputs_of
from ntk_helpers.kernels._memory import memory_for
from ntk_helpers.kernels.empirical import empirical_ntk, layer_ntks
from ntk_helpers.theory import _forecast, _inputs
from ntk_helpers.theory._derivatives import differentiating
from ntk_helpers.theory._objective import Objective
from ntk_helpers.theory.change import KernelChange, kernel_change


@dataclass(frozen=True, eq=False, repr=False)
class Measured:
    """The numbers of a run, for n points and k outputs.

    Attributes:
        loss: Its name.
        learning_rate: η of the run.
        max_learning_rate: 2 / λ_max(H^½ K H^½), with H = ∇²L at the start; infinite if H = 0.
        layers: Share of each layer in the trace of K, by name; they sum to 1.
        similarity: (n, n) cosines of tr K(x, x′): 1 where two points push the same weights alike.
        influence: (n, n): a small push on the outputs of point i arrives at point j with the share
            tr K(x_j, x_i) / tr K(x_i, x_i), entry [j, i].
        rates: (n·k,) rates μ of the modes, eigenvalues of H^½ K H^½, largest first: a step
            multiplies what is left of a mode by 1 − ημ.
        shares: (n·k,) of what is to be learned, ½ gᵀ H⁺ g with g = ∇L, in each mode.
        leaders: (n·k,) the point that has the largest part in each mode.
        start_loss: L at the start.
        steps: Steps of the run; None if none was made, and then all below is None.
        left: (n,) share of the push on each point, ‖∇_f ℓ‖, that is left at the forecast's end.
        left_in_run: (n,) the same at the end of the run; None if it ran away.
        losses: (steps + 1,) L along the run of a copy of the model; fewer if it ran away.
        expected: (steps + 1,) L along the forecast of the frozen kernel.
        change: Drift, norm ratio and cosine of the kernel over the run; None if it ran away.
        gap: The largest ‖f_forecast − f_run‖ on the way over the largest ‖f_run − f_0‖; infinite if
            either ran away. (At the end alone it is small wherever both fit the targets.)
    """

    loss: str
    learning_rate: float
    max_learning_rate: float
    layers: dict[str, float]
    similarity: Tensor
    influence: Tensor
    rates: Tensor
    shares: Tensor
    leaders: Tensor
    start_loss: float
    steps: int | None = None
    left: Tensor | None = None
    left_in_run: Tensor | None = None
    losses: Tensor | None = None
    expected: Tensor | None = None
    change: KernelChange | None = None
    gap: float | None = None

    @property
    def half_lives(self) -> Tensor:
        """Return after how many steps each mode is half learned; infinite where it never is."""
        left = (
            (1 - self.learning_rate * self.rates)
            .abs()
            .clamp(min=torch.finfo(self.rates.dtype).tiny)
        )
        return torch.where(left < 1, math.log(2) / -left.log(), math.inf)


def measure_run(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: str | Callable[[Tensor, Tensor], Tensor],
    learning_rate: float,
    steps: int | None = None,
) -> Measured:
    """Measure what `diagnose` tells; arguments as there."""
    _checks.require_points(model, x=x)
    objective = Objective(loss, y)
    _checks.require_same_length(x=x, y=y)
    _checks.require_number("learning_rate", learning_rate, positive=True)
    if steps is not None:
        _checks.require_integer("steps", steps, at_least=0)
    with torch.no_grad(), differentiating():
        f0 = outputs_of(model, x)
        _outputs.require_outputs(f0, len(x))
    start_loss = objective.require_number(f0)
    _require_room(f0)
    kernel = _inputs.start_kernel(model, x)
    trace = kernel.diagonal(dim1=2, dim2=3).sum(-1)
    size = trace.diagonal().clamp(min=torch.finfo(trace.dtype).tiny)
    K, (root, inverse) = _square(kernel), _roots(objective.curvature(f0))
    rates, modes = _positive(root @ K @ root)
    rates, modes = rates.flip(0), modes.flip(1)  # the fast ones first
    amplitudes = modes.T @ inverse @ objective.slope(f0).to(K).reshape(-1)
    return Measured(
        loss=objective.name,
        learning_rate=float(learning_rate),
        max_learning_rate=2 / float(rates[0]) if rates[0] > 0 else math.inf,
        layers=_layers(model, x),
        similarity=trace / (size[:, None].sqrt() * size.sqrt()),
        influence=trace / size,
        rates=rates,
        shares=_shares(amplitudes.square()),
        leaders=modes.square().reshape(len(x), -1, len(rates)).sum(1).argmax(0),
        start_loss=start_loss,
        **_ran(model, x, objective, kernel, f0, float(learning_rate), steps),
    )


def _ran(model, x, objective, kernel, f0, rate, steps) -> dict:
    """Return what a run of a copy, its kernel and the forecast are."""
    if steps is None:
        return {}
    copy = _inputs.copied(model)
    with differentiating():
        run = _forecast.run(copy, x, objective, rate, steps)
    told = _forecast.forecast(_square(kernel), f0, objective, rate, steps)

    def push(f: Tensor) -> Tensor:
        return objective.slope(f).reshape(len(x), -1).norm(dim=1)

    first = push(f0).clamp(min=torch.finfo(f0.dtype).tiny)
    gap = math.inf
    if not (run.diverged or told.diverged):
        both = told.outputs - run.outputs, run.outputs - f0
        off, moved = (way.flatten(1).norm(dim=1).max() for way in both)
        gap = float(off / moved) if moved > 0 else 0.0
    return {
        "steps": steps,
        "left": push(told.outputs[-1]) / first,
        "left_in_run": None if run.diverged else push(run.outputs[-1]) / first,
        "losses": run.losses,
        "expected": told.losses,
        "change": None if run.diverged else kernel_change(empirical_ntk(copy, x), kernel),
        "gap": gap,
    }


def _layers(model: nn.Module, x: Tensor) -> dict[str, float]:
    """Return the shares of the layers in the trace of the kernel."""
    layers = layer_ntks(model, x, outputs="trace")
    traces = {key: sum(k.diagonal().tolist()) for key, k in layers.items()}  # of bfloat16, too
    return {key: trace / sum(traces.values()) for key, trace in traces.items()}


def _square(kernel: Tensor) -> Tensor:
    """Return a kernel (n, n, k, k) as (n·k, n·k), in a precision that has eigenvalues."""
    square = kernel.transpose(1, 2).flatten(2).flatten(0, 1)
    return square.to(torch.promote_types(square.dtype, torch.float32))


def _positive(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, ascending, and eigenvectors; what rounding or a bend down left as 0."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    cutoff = 10 * len(values) * torch.finfo(values.dtype).eps * values.abs().max()
    return torch.where(values > cutoff, values, 0.0), vectors


def _roots(curvature: Tensor) -> tuple[Tensor, Tensor]:
    """Return H^½ and its pseudo-inverse, of what of H is positive."""
    H = curvature.to(torch.promote_types(curvature.dtype, torch.float32))
    values, vectors = _positive(H)
    root = values.sqrt()
    inverse = torch.where(root > 0, 1 / root, 0.0)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T


def _shares(parts: Tensor) -> Tensor:
    """Return each part of the whole; nothing where there is nothing to share."""
    return parts / parts.sum().clamp(min=torch.finfo(parts.dtype).tiny)


def _require_room(f: Tensor) -> None:
    """Raise MemoryError unless the kernel and what is computed from it can be held."""
    needed = 6 * f.numel() ** 2  # K, H, its root, their product, its eigenvectors, a copy
    what = f"the kernel of {f.numel()} outputs at {len(f)} points, and its eigenvectors, need about"
    advice = "Take a part of the points, drawn at random."
    with memory_for(what, needed * f.element_size(), f.device, advice):
        f.new_empty(needed)
