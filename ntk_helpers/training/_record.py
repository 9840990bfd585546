"""What a training loop records, when it looks for divergence, and when it stops: for all loops."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from numbers import Real

import torch
from torch import Tensor, nn

from ntk_helpers import _checks

EVERY = 100  # steps between two looks for divergence: each one waits for the device


class Recorder:
    """The record of a training run, and the judge of whether it diverges.

    At each step k a loop does, in this order::

        loss = ...
        if record.diverges(k, loss):
            break
        if k in record.marks:
            record.add(k, loss, outputs, record.look(model))
        if k < steps:
            ...  # a step of gradient descent

    Attributes:
        marks: Steps to record; 0 and the last are always in.
        diverged: Whether the loss has diverged: () for one network, (E,) for E of them.
    """

    def __init__(
        self,
        steps: int,
        record_at: Iterable[int] | None,
        observe: Callable[[nn.Module], Tensor] | None = None,
        *,
        about: int = 60,
        finite: str = "x and y are finite. Look for NaN in model.state_dict(), or scale x down",
    ):
        """Take the number of steps, what to record, and how to go on from "although"."""
        if not (observe is None or callable(observe)):
            raise TypeError(
                f"observe must be a function of the model; got {observe!r}. None observes nothing."
            )
        self.steps, self.observe, self.finite = steps, observe, finite
        self.marks = marks(record_at, steps, about=about)
        self.rows, self.limit, self.diverged, self.shape = [], None, None, None

    def stretches(self) -> Iterator[tuple[int, int]]:
        """Yield each step at which the loss is looked at, and the next one."""
        looks = sorted(self.marks | {*range(0, self.steps, EVERY)})
        return pairwise([*looks, self.steps])

    def diverges(self, k: int, loss: Tensor) -> bool:
        """Return whether all losses, () or (E,), have diverged; looks at marks and every 100 steps.

        A loss diverges where it exceeds 10⁶ times its start, or is NaN. A run that settles may
        well climb on its way: by about n/100 at width n if the step is large (lesson 07). The
        1 that is added is for runs that start at a loss of 0.
        """
        if k not in self.marks and k % EVERY:
            return False
        loss = loss.detach().cpu().double()
        if self.limit is None:
            bad = loss[~loss.isfinite()]
            if bad.numel():
                raise ValueError(
                    f"the loss must be finite at the start; got {bad[0].item()}, although "
                    f"{self.finite}."
                )
            self.limit = 1e6 * (loss + 1)
            self.diverged = torch.zeros_like(loss, dtype=torch.bool)
        self.diverged |= ~(loss < self.limit)
        return bool(self.diverged.all())

    def look(self, model: nn.Module) -> Tensor | None:
        """Return what `observe` sees of the model, without gradients; None without `observe`."""
        if self.observe is None:
            return None
        with torch.no_grad():
            seen = self.observe(model)
        if not isinstance(seen, Tensor | Real):
            raise TypeError(
                f"observe must return a tensor or a number; got {type(seen).__name__}. "
                f"torch.stack([...]) makes one tensor of several."
            )
        seen = torch.as_tensor(seen)
        self.shape = seen.shape if self.shape is None else self.shape
        if seen.shape != self.shape:  # rather now than when a long run is over
            raise ValueError(
                f"observe must return the same shape each time; got {tuple(seen.shape)} after "
                f"{tuple(self.shape)}."
            )
        return seen

    def add(self, k: int, *values: Tensor | None) -> None:
        """Record copies of `values` at step k, NaN for those of E networks that have diverged."""
        copies = [value if value is None else value.detach().clone() for value in values]
        for copy in copies if self.diverged.any() else []:
            if copy is not None:
                copy[self.diverged] = math.nan
        self.rows.append((k, *copies))

    def stack(self, learning_rate: float, like: Tensor) -> tuple[Tensor | None, ...]:
        """Return the R recorded steps (R,), their times (R,), and the values, each (R, …) or None.

        Times have the dtype and device of `like`.
        """
        step, *columns = zip(*self.rows, strict=True)
        step = torch.tensor(step, device=like.device)
        time = learning_rate * step.to(like.dtype)
        stacked = (None if column[0] is None else torch.stack(column) for column in columns)
        return step, time, *stacked


def marks(record_at: Iterable[int] | None, steps: int, *, about: int = 60) -> set[int]:
    """Return the steps to record: those asked for, or about so many; always 0 and the last.

    About 60 draw a smooth curve; they are dense at the start, where training is fastest.
    """
    if record_at is None:
        chosen = {round(steps ** (i / about)) for i in range(about + 1)} if steps else set()
    else:
        if isinstance(record_at, Tensor):
            record_at = record_at.tolist()
        if not isinstance(record_at, Iterable):
            raise TypeError(
                f"record_at must be a list of steps; got {record_at!r}. "
                f"Write range(0, steps, 10) for every tenth."
            )
        chosen = set()
        for k in record_at:
            _checks.require_integer("each of record_at", k, at_least=0)
            chosen.add(int(k))
        if max(chosen, default=0) > steps:
            raise ValueError(
                f"record_at must lie in 0 … {steps}; got {max(chosen)}. Raise steps or drop it."
            )
    return chosen | {0, steps}
