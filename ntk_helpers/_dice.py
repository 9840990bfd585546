"""Streams of random numbers, drawn on the CPU so that every device gets the same.

Every number that a lesson draws comes from `stream`. With the environment variable NTK_DRAW set to
1, 2, …, which `ntk.setup()` reads, the same seeds give other numbers: another draw of the whole
lesson, to see whether what it found was luck.
"""

import hashlib

import torch

from ntk_helpers import _checks

draw = 0  # set by ntk.setup(); 0 means that a seed is what it says


def stream(kind: str, seed: int) -> torch.Generator:
    """Return the generator of `seed` in the draw that is on.

    Args:
        kind: What is drawn: the same seed gives networks and data independent numbers.
        seed: An integer, 0 or greater.
    """
    _checks.require_integer("seed", seed, at_least=0)
    return fixed(number(kind, int(seed)))


def number(kind: str, seed: int) -> int:
    """Return the seed that stands for `seed` in the draw that is on, below 2⁶³."""
    if draw == 0:
        return seed
    digest = hashlib.sha256(f"{kind} {draw} {seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def fixed(seed: int) -> torch.Generator:
    """Return a generator for numbers that no result should depend on: the same in every draw."""
    return torch.Generator("cpu").manual_seed(seed)


def generator(seed: int) -> torch.Generator:
    """Return a generator on the CPU: the one way in which the course's notebooks draw numbers.

    It takes part in the draws of `NTK_DRAW`, as the seeds of `MLP` and `data` do.

    Args:
        seed: An integer, 0 or greater.

    Example:
        >>> noise = torch.randn(3, generator=generator(0), device="cpu")  # then .to(device)
        >>> bool((noise == torch.randn(3, generator=generator(0), device="cpu")).all())
        True
    """
    return stream("numbers", seed)
