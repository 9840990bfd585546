"""Cut a block of a kernel into tiles that fit in a cache, and add the terms of its layers there.

A kernel is held as one matrix (n1·e, n2·e), with e = k rows for each point where all pairs of
outputs are asked for, else e = 1; or as k of them, (k, n1, n2), for the equal pairs.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ntk_helpers.kernels._factors import Factor

HIGH, WIDE = 256, 1024  # rows and columns of a tile: a megabyte in float32, the cache of one core


class Rows(NamedTuple):
    """A factor with its points, outputs and positions in rows.

    Attributes:
        h: (n·T, p) inputs.
        d: (n·e·T, q) derivatives, or (k, n·T, q); for the sum over outputs (n·T, k·q).
        weight: Scale of the weights.
        bias: Scale of the biases.
    """

    h: Tensor
    d: Tensor
    weight: float
    bias: float


def in_rows(factor: Factor, outputs: str) -> Rows:
    """Return `factor` arranged so that D D'ᵀ is a matrix of the `outputs` that are asked for."""
    d = factor.d
    if outputs == "trace":
        d = d.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)
    elif outputs == "diagonal":
        d = d.flatten(1, 2)
    else:
        d = d.transpose(0, 1).flatten(0, 2)
    return Rows(factor.h.flatten(0, 1), d, factor.weight, factor.bias)


def tiles(
    block: Tensor, f: Rows, g: Rows, e: int, *, triangle: bool
) -> Iterator[tuple[Tensor, Rows, Rows]]:
    """Yield tiles of `block` with the rows of `f` and `g` that belong to their rows and columns.

    Args:
        block: (…, n1·e, n2·e).
        f: A factor at the n1 points.
        g: The same at the n2 points.
        e: Rows of the kernel that belong to a point.
        triangle: Yield only what is on and above the diagonal, in whole tiles.
    """
    n1, n2 = block.shape[-2] // e, block.shape[-1] // e
    t1, t2 = len(f.h) // n1, len(g.h) // n2
    high = max(1, min(HIGH, max(HIGH // 2, n1 * e // 8)) // (e * t1))
    wide = max(1, WIDE // (e * t2))
    for a in range(0, n1, high):
        m = min(high, n1 - a)
        left = part(f, a * t1, m * t1, e)
        for b in range(a if triangle else 0, n2, wide):
            w = min(wide, n2 - b)
            tile = block[..., a * e : (a + m) * e, b * e : (b + w) * e]
            yield tile, *as_numbers(left, part(g, b * t2, w * t2, e))


def part(f: Rows, start: int, length: int, e: int) -> Rows:
    """Return `length` rows of h from `start`, and the rows of D that belong to them."""
    h = f.h[start : start + length]
    return Rows(h, f.d.narrow(-2, start * e, length * e), f.weight, f.bias)


def as_numbers(f: Rows, g: Rows) -> tuple[Rows, Rows]:
    """Return `f` and `g`; rows of an embedding, given by integers, as orthogonal unit vectors."""
    if f.h.is_floating_point():
        return f, g
    used, where = torch.cat([f.h, g.h]).flatten().unique(return_inverse=True)
    h = torch.eye(len(used), dtype=f.d.dtype, device=f.d.device)[where]
    return f._replace(h=h[: len(f.h)]), g._replace(h=h[len(f.h) :])


def add_product(tile: Tensor, inner: Tensor, outer: Tensor) -> None:
    """Add inner · outer to `tile` (…, m·e, w·e), summed over positions.

    Args:
        tile: A part of the kernel, changed in place.
        inner: (m·T, w·T') scaled ⟨h, h'⟩, the same for each of the e outputs.
        outer: (…, m·e·T, w·e·T') D D'ᵀ.
    """
    t1, t2 = outer.shape[-2] // tile.shape[-2], outer.shape[-1] // tile.shape[-1]
    e = outer.shape[-2] // len(inner)
    m, w = len(inner) // t1, inner.shape[1] // t2
    if e > 1:
        inner = inner.view(m, 1, t1, w, 1, t2).expand(m, 1, t1, w, e, t2).reshape(m, 1, t1, -1)
        outer = outer.view(m, e, t1, w * e * t2)
        tile = tile.view(m, e, w * e)
    if t1 == t2 == 1:
        tile.addcmul_(inner[:, :, 0] if e > 1 else inner, outer[:, :, 0] if e > 1 else outer)
        return
    product = outer.mul_(inner)
    tile += (
        product.unflatten(-1, (-1, t2)).sum(-1).view(*tile.shape[:-1], t1, tile.shape[-1]).sum(-2)
    )


def mirror(kernel: Tensor, step: int = 128) -> None:
    """Copy what is above the diagonal of `kernel` (…, n, n) below it."""
    for a in range(0, kernel.shape[-1], step):
        b = a + step
        corner = kernel[..., a:b, a:b]
        corner.copy_(corner.triu() + corner.triu(1).mT)
        kernel[..., b:, a:b] = kernel[..., a:b, b:].mT
