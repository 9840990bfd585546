"""A run of gradient descent on any loss, and its forecast by a kernel that never changes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ntk_helpers.theory._objective import Objective
from ntk_helpers.training._record import marks

RUNAWAY = 1e6  # a run that settles may climb on its way, but not by this factor


class Descent(NamedTuple):
    """What happened to the outputs on the training points.

    Attributes:
        outputs: (R, n, k) or (R, n) at about 60 steps, dense at the start, the last one included.
        losses: (steps + 1,) L before each step and at the end; fewer if it ran away.
        diverged: Whether L ran away, past 10⁶ times its start or to NaN.
    """

    outputs: Tensor
    losses: Tensor
    diverged: bool


@torch.enable_grad()
def run(model: nn.Module, x: Tensor, objective: Objective, rate: float, steps: int) -> Descent:
    """Train `model` in place by θ ← θ − η ∇L on all points at once."""
    theta = [p for p in model.parameters() if p.requires_grad]

    def step(f: Tensor) -> None:
        gradients = torch.autograd.grad(objective(f), theta, materialize_grads=True)
        with torch.no_grad():
            torch._foreach_add_(theta, gradients, alpha=-rate)

    return _followed(objective, lambda: model(x), step, steps)


def forecast(kernel: Tensor, f0: Tensor, objective: Objective, rate: float, steps: int) -> Descent:
    """Return the same run in function space, f ← f − η K ∇L(f), with K (n·k, n·k) as at the start.

    For the squared loss this is `KernelDynamics.train_steps`.
    """
    now = f0.clone()

    def step(f: Tensor) -> None:
        push = kernel @ objective.slope(f).to(kernel).reshape(-1)
        now.sub_(rate * push.reshape(f.shape).to(f))

    return _followed(objective, lambda: now.clone(), step, steps)


def _followed(
    objective: Objective, look: Callable[[], Tensor], step: Callable[[Tensor], None], steps: int
) -> Descent:
    """Follow a run for so many steps, or until its loss runs away."""
    losses, kept, recorded = [], [], marks(None, steps)
    for k in range(steps + 1):
        f = look()
        losses.append(objective(f).detach().reshape(()))
        if k in recorded:
            kept.append(f.detach())
        diverged = not losses[-1] < RUNAWAY * (losses[0].abs() + 1)
        if diverged or k == steps:
            break
        step(f)
    return Descent(torch.stack(kept), torch.stack(losses), diverged)
