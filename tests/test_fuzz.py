"""Explorers and checkers under random treatment: sliders thrown about, nonsense for answers.

`pytest tests/test_fuzz.py --fuzz 200` plays longer than the 8 rounds of a usual run.
"""

import math
import random
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from ntk_helpers.classroom import exercises, explore

pytestmark = pytest.mark.slow

EXPLORERS = [name for name in explore.__all__ if name[0].islower()]
CHECKERS = [name for name in exercises.__all__ if name.startswith("check_")]


@pytest.fixture
def dice(request) -> random.Random:
    """Return random numbers that differ from test to test, and not from run to run."""
    return random.Random(zlib.crc32(request.node.name.encode()))


@pytest.mark.parametrize("name", EXPLORERS)
def test_sliders_thrown_about_always_lead_to_a_finite_picture(name, dice, request):
    explorer = getattr(explore, name)()
    sliders = [*explorer._sliders.values()]
    for _ in range(request.config.getoption("fuzz")):
        for slider in dice.sample(sliders, len(sliders)):
            slider.value = dice.choice([value for _, value in slider.options])
        assert bytes(explorer._image.value).startswith(b"\x89PNG")
        assert explorer._image.value == explorer.frame(**explorer.now)


class UnprintableError(Exception):
    """An error that raises another one where its message is asked for."""

    def __str__(self):
        """Raise."""
        raise RuntimeError("no text")


class Hostile:
    """Something that is no number, and does not want to be looked at."""

    def __float__(self):
        """Raise."""
        raise ValueError("not me")

    __int__ = __len__ = __getitem__ = __repr__ = __float__


def values(dice: random.Random) -> list:
    """Return one of each kind of thing that a learner's function may return by mistake."""
    shape = [dice.randint(0, 4) for _ in range(dice.randint(0, 3))]
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(dice.randint(0, 10**6)))
    spoiled = numbers.clone()
    if spoiled.numel():
        spoiled.view(-1)[-1] = dice.choice([math.nan, math.inf, -math.inf])
    return [
        *[
            None,
            True,
            "",
            "0.5",
            b"0.5",
            (),
            [],
            {},
            {1.0},
            object(),
            Hostile(),
            Exception,
            nn.Module,
        ],
        *[math.nan, -math.inf, 1e308, -1e-308, 10**400, 1j, dice.gauss(0, 1), dice.randint(-9, 9)],
        *[numbers, spoiled, numbers.float(), numbers.to(torch.int32), numbers.bool(), numbers * 1j],
        *[numbers.to("meta"), numbers.to_sparse(), numbers.requires_grad_(), numbers.half()],
        *[
            nn.Parameter(torch.ones(2)),
            numbers.numpy(force=True),
            np.array(["a"]),
            np.array([None]),
        ],
        *[np.float32(0.1), np.ma.masked, [[1.0], [1.0, 2.0]], [numbers, None], [numbers, numbers]],
        *[(value for value in (1.0, 2.0)), range(3), print, lambda: 0.0, nn.Linear(1, 1)],
    ]


def stop():
    raise SystemExit("the end")


def forever(*arguments):
    return forever(*arguments)


def fail(error):
    raise error


def answers(dice: random.Random) -> list:
    """Return answers that are no functions, that raise, and that return what is no answer."""
    errors = [
        UnprintableError(),
        KeyError(),
        AssertionError,
        StopIteration,
        RecursionError,
        MemoryError,
    ]
    kinds = [lambda *a: fail(dice.choice(errors)), lambda: 1.0, lambda *a, b: b, forever]
    kinds += [lambda *a: stop(), lambda *a: fail(GeneratorExit()), max, dict, str, torch.zeros]
    kinds += [lambda *a, v=value: v for value in values(dice)]
    kinds += [lambda *a: (yield a), lambda *a: a, lambda *a: a[0]]
    return kinds + [value for value in values(dice) if value is not ...]


@pytest.mark.parametrize("name", CHECKERS)
def test_nonsense_is_answered_and_never_praised(name, dice, request):
    check = getattr(exercises, name)
    pool = answers(dice)
    for number in range(request.config.getoption("fuzz")):
        if number % len(pool) == 0:
            pool = dice.sample(answers(dice), len(pool))
        feedback = check(pool[number % len(pool)])
        assert not feedback.passed
        assert feedback.message.startswith(("✗ Not yet: ", "⚠ Not yet: "))
        assert "orrect" not in feedback.message
        assert len(repr(feedback)) < 400
