"""Streams of random numbers, drawn on the CPU so that every device gets the same."""

import torch

from ntk_helpers import _checks


def generator(seed: int) -> torch.Generator:
    """Return a generator on the CPU that starts at `seed`.

    Args:
        seed: An integer, 0 or greater.
    """
    _checks.require_integer("seed", seed, at_least=0)
    return torch.Generator("cpu").manual_seed(int(seed))
