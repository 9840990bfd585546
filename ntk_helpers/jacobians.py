"""Jacobians of a whole model by torch.func: reverse mode, and forward mode along their rows."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import jacrev, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ntk_helpers.hooks import run


@contextmanager
def plain_attention() -> Iterator[None]:
    """Run attention as matrix products, which vmap and forward mode can differentiate, quietly.

    Yields:
        Nothing.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def jacobian(model: nn.Module, parameters: dict[str, nn.Parameter], x: Tensor) -> dict:
    """Return ∂f/∂θ (n, k, …) for each θ of `parameters`, by reverse mode, point by point."""
    theta = {name: p.detach() for name, p in parameters.items()}

    def f(theta, point):
        return run(model, point[None], theta).reshape(-1)

    with _explaining_vmap(theta):
        return vmap(jacrev(f), in_dims=(None, 0))(theta, x) if theta else {}


def push_forward(model: nn.Module, parameters: dict, blocks: dict, j: dict, x: Tensor) -> None:
    """Write `J J(x)ᵀ` to the one block, for the Jacobian `j` (n1, k, …) of other points."""
    (block,), products = blocks.values(), _products(model, parameters, j, x)
    groups, _, each = block.shape[:3]
    same = products.diagonal(dim1=1, dim2=3)
    if each == products.shape[1]:
        block[0] = products
    else:
        block[:, :, 0, :, 0] = same.permute(2, 0, 1) if groups > 1 else same.sum(2)


def can_push(model: nn.Module, parameters: dict, x: Tensor) -> bool:
    """Return True if forward mode runs the model, tried on the first point of `x`."""
    try:
        _products(model, parameters, jacobian(model, parameters, x[:1]), x[:1])
    except ValueError:
        return False
    return True


def _products(model: nn.Module, parameters: dict, j: dict, x: Tensor) -> Tensor:
    """Return `J J(x)ᵀ` (n1, k, n2, k): forward mode along each row of `j` (n1, k, …)."""
    theta = {name: p.detach() for name, p in parameters.items()}

    def f(theta):
        return run(model, x, theta).reshape(len(x), -1)

    with _explaining_vmap(theta):
        return vmap(vmap(lambda row: jvp(f, (theta,), (row,))[1]))(j)


@contextmanager
def _explaining_vmap(names: Iterable[str]) -> Iterator[None]:
    """Say how to mend a model that torch.func.vmap cannot run.

    Yields:
        Nothing.
    """
    try:
        yield
    except RuntimeError as error:
        raise ValueError(
            f"torch.func.vmap, which differentiates {', '.join(names)} point by point, cannot run "
            f"this model: {error}\nTake in-place writes, .item() and branches on values out of its "
            f"forward; or hold these parameters in layers that are called once, which "
            f"method='layerwise' takes without vmap."
        ) from error
