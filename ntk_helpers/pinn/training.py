"""Train a physics-informed network by gradient descent, with fixed or balanced weights."""

import warnings
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ntk_helpers import _checks
from ntk_helpers._progress import tqdm
from ntk_helpers.pinn._fields import METHODS, make_fields
from ntk_helpers.pinn.kernel import PINNKernel
from ntk_helpers.pinn.terms import (
    TWO,
    are_terms,
    check_terms,
    loss_scales,
    solving,
    weight_list,
)
from ntk_helpers.training._record import EVERY, Recorder

AT_FAULT = "the targets are finite. Look for a division by zero in problem.operator at these points"


class PINNHistory(NamedTuple):
    """Record of training a PINN at R steps.

    Attributes:
        step: (R,) integers k, the number of steps taken before the record.
        time: (R,) t = η k.
        values: Lu of each term, (R, n_i).
        losses: (R, m) of each of the m terms, without its weight λ: boundary and residual loss.
        weights: (R, m) λ_i, as the step after the record uses them.
        parameter_change: (R,) ‖θ − θ_0‖ / ‖θ_0‖: 0 while θ = θ_0, infinite once it leaves θ_0 = 0.
        kernels: The tangent kernel at each record; empty unless asked for.
        observed: (R, …) what `observe(model)` returned; None without `observe`.
        learning_rate: η.
        diverged: Whether the loss diverged and training stopped early.
    """

    step: Tensor
    time: Tensor
    values: tuple[Tensor, ...]
    losses: Tensor
    weights: Tensor
    parameter_change: Tensor
    kernels: tuple[PINNKernel, ...]
    observed: Tensor | None
    learning_rate: float
    diverged: bool

    @property
    def u(self) -> Tensor:
        """The values of the first term: u on the boundary, (R, n_b)."""
        return self.values[0]

    @property
    def lu(self) -> Tensor:
        """The values of the last term: Lu inside, (R, n_r)."""
        return self.values[-1]

    @property
    def kernel_change(self) -> Tensor:
        """‖K − K_0‖ / ‖K_0‖ at each kernel that was kept, (R,), Frobenius norms."""
        if not self.kernels:
            raise ValueError("no kernel was kept: ask for them, train_pinn(…, keep_kernels=True).")
        first = self.kernels[0].full
        return torch.stack([_relative((k.full - first).norm(), first.norm()) for k in self.kernels])


def train_pinn(
    model: nn.Module,
    problem,
    x_boundary: Tensor | None = None,
    x_interior: Tensor | None = None,
    *,
    learning_rate: float,
    steps: int,
    loss: str = "sum",
    weights: tuple[float, ...] | str | None = None,
    refresh_every: int | None = None,
    record_at: Iterable[int] | None = None,
    keep_kernels: bool = False,
    observe: Callable[[nn.Module], Tensor] | None = None,
    progress: bool = True,
    method: str = "auto",
) -> PINNHistory:
    """Train `model` in place to solve Lu = f with given boundary values, by gradient descent.

    Called with a list of terms, `train_pinn(model, [term, …], …)`, or for the usual two with a
    problem and points. The loss is `Σ_i λ_i c_i Σ ½ (L_i u(x) − target_i)²`, for two terms
    `λ_b c_b Σ ½ (u(x_b) − g)² + λ_r c_r Σ ½ (Lu(x_r) − f)²`, with c = 1 ("sum") or c_i = 1/n_i
    ("mean"). torch.nn.MSELoss, as in the paper's released code, has no ½: its rate η is 2η of
    "mean". For another optimiser write the loop yourself: `Term.values`.

    Source: Wang, Yu, Perdikaris 2022, arXiv:2007.14527, section 3 and algorithm 1 (the weights).
    Derived in notebooks/06_pinn.ipynb, "What is a PINN?".

    Args:
        model: Any module, (n, d) → (n, k) or (n,). All its trainable parameters are trained, also
            one that only an operator reads, as the k of k u'' = f.
        problem: A list of `Term`. Or for two terms, of one output: has .operator, and .solution(x)
            for the boundary values g and .forcing(x) for f, one value for each row of x (n, d).
        x_boundary: (n_b, d) points; one that is listed m times counts m times.
        x_interior: (n_r, d) points.
        learning_rate: η, greater than 0.
        steps: Number of steps, 0 or more.
        loss: "sum" or "mean".
        weights: λ of each term, as (λ_b, λ_r), or "balance" for
            `PINNKernel.balance_weights(loss)` at the start. None: those of the terms, or 1.
        refresh_every: With "balance": compute them again each time so many steps have passed.
        record_at: Steps to record; None records about 40, dense at the start. Step 0 and the last
            are always in.
        keep_kernels: Keep the tangent kernel at each record.
        observe: Called on the model at each record, without gradients; its tensors (or numbers) are
            stacked in the history.
        progress: Show a progress bar.
        method: "analytic" for an `MLP` with one hidden layer of tanh units and the operator u'',
            "autograd" for anything, or "auto" for the faster of the two that fits.

    Returns:
        The history. If the loss diverges, training stops, a RuntimeWarning names the largest
        stable rate, and the history up to there is returned.

    Raises:
        ValueError: If torch.func cannot run the model, `method` does not fit it, or g, f or the
            loss is not finite at the start.
    """
    if are_terms(problem):
        terms, names = list(problem), ()
    else:
        terms, names = solving(problem, x_boundary, x_interior), TWO
    parameters = check_terms(model, terms, names)
    _checks.require_number("learning_rate", learning_rate, positive=True)
    _checks.require_integer("steps", steps, at_least=0)
    _checks.require_choice("method", method, METHODS)
    balanced = isinstance(weights, str)
    if balanced:
        _checks.require_choice("weights", weights, ["balance"])
    if refresh_every is not None:
        _checks.require_integer("refresh_every", refresh_every, at_least=1)
        if not balanced:
            raise ValueError("refresh_every is for weights='balance': fixed weights stay.")
    sizes = [len(term.points) for term in terms]
    scales = loss_scales(loss, *sizes)
    record = Recorder(steps, record_at, observe, about=40, finite=AT_FAULT)
    fields = make_fields(model, terms, parameters, method)
    start = [p.detach().clone() for p in fields.parameters]
    weights = [term.weight for term in terms] if weights is None else weights
    if balanced:
        weights = fields.kernel().balance_weights(loss)
    else:
        weights = weight_list(weights, len(terms))

    kernels = []
    bar = tqdm(total=steps, disable=not progress, desc="training", leave=False)
    with fields.around(), torch.enable_grad(), bar:
        for k in range(steps + 1):
            values = fields.values()
            wrong = [value - term.target for value, term in zip(values, terms, strict=True)]
            if k in record.marks or k % EVERY == 0:
                losses = torch.stack([c * r @ r for c, r in zip(scales, wrong, strict=True)]) / 2
                if record.diverges(k, losses @ losses.new_tensor(weights)):
                    break
            if refresh_every and k and k % refresh_every == 0:
                weights = fields.kernel().balance_weights(loss)
            if k in record.marks:
                moved = _relative(_distance(fields.parameters, start), _distance(start, None))
                row = torch.cat(values), losses, losses.new_tensor(weights), moved
                record.add(k, *row, record.look(model))
                if keep_kernels:
                    kernels.append(fields.kernel())
            if k < steps:
                pulls = [w * c * r for w, c, r in zip(weights, scales, wrong, strict=True)]
                fields.descend(pulls, learning_rate)
                bar.update()
    diverged = bool(record.diverged)
    if diverged:
        each = [w * c for w, c in zip(weights, scales, strict=True)]
        _warn(fields, start, k, learning_rate, *each)
    like = terms[0].target
    step, time, values, *stacked, seen = record.stack(float(learning_rate), like=like)
    kept = values.split(sizes, 1), *stacked, tuple(kernels), seen
    return PINNHistory(step, time, *kept, float(learning_rate), diverged)


def _distance(parameters, start) -> Tensor:
    """Return ‖parameters − start‖, or ‖parameters‖ where there is no start."""
    with torch.no_grad():
        parts = parameters if start is None else torch._foreach_sub(list(parameters), start)
        return torch.stack([part.norm() for part in parts]).norm()


def _relative(change: Tensor, size: Tensor) -> Tensor:
    """Return change / size, and 0 where nothing changed, even from 0."""
    return torch.where(change == 0, change, change / size)


def _warn(fields, start, step: int, learning_rate: float, *weights: float) -> None:
    """Say that training diverged, and which rate the kernel at the start allows."""
    final = [p.detach().clone() for p in fields.parameters]
    with torch.no_grad():
        torch._foreach_copy_(fields.parameters, start)
        try:
            limit = 2 / fields.kernel().weighted(*weights).eigenvalues()[-1].item()
        finally:
            torch._foreach_copy_(fields.parameters, final)
    warnings.warn(
        f"training diverged by step {step}: the learning rate is {learning_rate:g}, and the "
        f"largest stable rate at the start is 2/λ_max = {limit:.3g}. The history ends before it.",
        RuntimeWarning,
        stacklevel=3,
    )
