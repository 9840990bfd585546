"""Add the Gram matrices of small factors to a kernel, in tiles that fit in the cache."""

from torch import Tensor

from ntk_helpers.kernels.layerwise import Factor


def add_gram(block: Tensor, f1: Factor, f2: Factor, *, triangle: bool) -> None:
    """Add the term of two factors to a block of the kernel.

    Args:
        block: (groups, n1, each, n2, each): with k outputs, (1, n1, k, n2, k) holds all pairs of
            them, (k, n1, 1, n2, 1) the equal pairs, (1, n1, 1, n2, 1) the sum over equal pairs.
        f1: The factor at the n1 points.
        f2: The factor at the n2 points.
        triangle: Add only on and above the diagonal, in whole tiles.
    """
    (_, n1, each, n2, _), t1, t2 = block.shape, f1.d.shape[2], f2.d.shape[2]
    d1 = _arrange(f1.d, len(block), each)
    d2 = d1 if f1 is f2 else _arrange(f2.d, len(block), each)
    size1, size2 = each * t1, each * t2  # rows of D that belong to a point
    high, wide = max(1, min(256, max(128, n1 * each // 8)) // size1), max(1, 1024 // size2)
    for a in range(0, n1, high):
        for b in range(a if triangle else 0, n2, wide):
            m, w, inner = min(high, n1 - a), min(wide, n2 - b), None
            if f1.h is not None:
                inner = f1.h[a : a + m].flatten(0, 1) @ f2.h[b : b + w].flatten(0, 1).mT
                inner = inner.mul_(f1.weight**2).add_(f1.bias**2).view(m, 1, t1, w, 1, t2)
                inner = inner.expand(m, 1, t1, w, each, t2).reshape(m, 1, t1, w * each, t2)
            rows, columns = d1[:, a * size1 :][:, : m * size1], d2[:, b * size2 :][:, : w * size2]
            for part, left, right in zip(block, rows, columns, strict=True):
                target = part[a : a + m, :, b : b + w].view(m, each, w * each)
                gram = (left @ right.mT).view(m, each, t1, w * each, t2)
                if inner is None:
                    target.add_(gram[:, :, 0, :, 0])
                elif t1 == t2 == 1:
                    target.addcmul_(gram[:, :, 0, :, 0], inner[:, :, 0, :, 0])
                else:
                    target.add_(gram.mul_(inner).sum((2, 4)))


def _arrange(d: Tensor, groups: int, each: int) -> Tensor:
    """Return D (k, n, T, q) as matrices (groups, n·each·T, …) with the wanted Gram matrices."""
    k, n, t, q = d.shape
    if groups == k:
        return d.reshape(k, n * t, q)
    if each == k:
        return d.transpose(0, 1).reshape(1, n * k * t, q)
    return d.permute(1, 2, 0, 3).reshape(1, n * t, k * q)


def mirror(kernel: Tensor, step: int = 128) -> None:
    """Copy the upper triangle of the matrices (n·each, n·each) of `kernel` to the lower one."""
    matrix = kernel.flatten(3, 4).flatten(1, 2)
    for a in range(0, matrix.shape[1], step):
        b = a + step
        corner = matrix[:, a:b, a:b]
        corner.copy_(corner.triu() + corner.triu(1).mT)
        matrix[:, b:, a:b] = matrix[:, a:b, b:].mT
