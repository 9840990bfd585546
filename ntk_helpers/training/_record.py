"""What a training run records: at which steps or times, and what an observer saw there."""

import math
from collections.abc import Callable, Iterable
from numbers import Real

import torch
from torch import Tensor, nn

from ntk_helpers import _checks


def marks(record_at: Iterable[int] | None, steps: int, *, about: int = 60) -> set[int]:
    """Return the steps to record: asked for, or `about` so many; always 0 and the last.

    Raises:
        TypeError: If `record_at` is not a list of integers.
        ValueError: If a step lies outside 0 … `steps`.
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


def finite_at_start(
    loss: float,
    fault: str = "x and y are finite. Look for NaN in model.state_dict(), or scale the inputs down",
) -> float:
    """Return the first loss, or say by ValueError that it is not, although `fault`."""
    if not math.isfinite(loss):
        raise ValueError(f"the loss must be finite at the start; got {loss}, although {fault}.")
    return loss


def grid(name: str, values: float | Tensor, *, like: Tensor) -> Tensor:
    """Return times as () or (T, 1, 1), with the dtype and device of `like`.

    Raises:
        TypeError: If they are neither a number nor numbers.
        ValueError: If one is negative, NaN or too large, or they have more than one axis.
    """
    try:
        found = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    except OverflowError as error:
        raise ValueError(
            f"{name} must be below {torch.finfo(like.dtype).max:.2g}, as {like.dtype} is. A time "
            f"may be math.inf."
        ) from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a number or a tensor; got {values!r}.") from error
    if found.ndim > 1:
        raise ValueError(f"{name} must be a number or a 1-D tensor; got {tuple(found.shape)}.")
    if not (found >= 0).all():
        raise ValueError(f"{name} must be 0 or greater; got {found[~(found >= 0)].tolist()[:5]}.")
    return found[:, None, None] if found.ndim else found


def observer(observe: Callable | None) -> Callable[[nn.Module], Tensor | None]:
    """Return a function that looks at a model without gradients and answers with a tensor.

    What it returns is a copy, of the shape of the first; None where `observe` is None.

    Raises:
        TypeError: If `observe` is not a function; later, if it returns neither tensor nor number.
    """
    if not (observe is None or callable(observe)):
        raise TypeError(f"observe must be a function of the model; got {observe!r}. None is none.")
    shapes = []

    def look(model: nn.Module) -> Tensor | None:
        if observe is None:
            return None
        with torch.no_grad():
            seen = observe(model)
        if not isinstance(seen, (Tensor, Real)):
            raise TypeError(
                f"observe must return a tensor or a number; got {type(seen).__name__}. "
                f"torch.stack([...]) makes one tensor of several."
            )
        seen = torch.as_tensor(seen).detach().clone()
        shapes.append(tuple(seen.shape))
        if shapes[-1] != shapes[0]:
            raise ValueError(
                f"observe must return one shape each time; got {shapes[-1]} at its call number "
                f"{len(shapes)}, and {shapes[0]} at the start."
            )
        return seen

    return look
