"""Small data sets that need no download: points on the unit circle, a curve, real handwritten digits."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ntk_helpers._checks import require_integer, require_number


class Circle(NamedTuple):
    """Points on the unit circle.

    Attributes:
        angle: (n,) in radians, increasing.
        x: (n, 2), `x = (cos angle, sin angle)`.
    """

    angle: Tensor
    x: Tensor


class Curve(NamedTuple):
    """Samples of a function of one variable.

    Attributes:
        x: (n, 1) inputs in [−1, 1], increasing.
        y: (n,) targets.
    """

    x: Tensor
    y: Tensor


class Digits(NamedTuple):
    """Handwritten digits of 8 × 8 pixels, ordered by class.

    Attributes:
        x: (n, 64), each row scaled to length √64, so that its mean square is 1.
        label: (n,) the digit that was written, as integers.
        image: (n, 8, 8) grey values in [0, 1], for plotting.
    """

    x: Tensor
    label: Tensor
    image: Tensor


def unit_circle(
    n: int, *, start: float = 0.0, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> Circle:
    """Return `n` evenly spaced points on the unit circle, the inputs of Jacot et al.'s figures.

    Args:
        n: Number of points, at least 1.
        start: Angle of the first point, in radians.
        device: Where the tensors live.
        dtype: Their type; None is torch's default dtype.

    Raises:
        TypeError: If `n` is not an integer.
        ValueError: If `n` is less than 1.

    Example:
        >>> unit_circle(4).x.round().abs()
        tensor([[1., 0.],
                [0., 1.],
                [1., 0.],
                [0., 1.]])
    """
    require_integer("n", n, at_least=1)
    angle = start + 2 * math.pi * torch.arange(n, device=device, dtype=dtype or torch.get_default_dtype()) / n
    return Circle(angle, torch.stack([angle.cos(), angle.sin()], dim=1))


def wavy_curve(
    n: int,
    *,
    noise: float = 0.0,
    seed: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Curve:
    """Return `n` evenly spaced samples of `sin(3x) + 0.3 cos(9x)` on [−1, 1].

    Args:
        n: Number of samples, at least 2.
        noise: Standard deviation of the Gaussian noise on y.
        seed: Seed of the noise.
        device: Where the tensors live.
        dtype: Their type; None is torch's default dtype.

    Raises:
        TypeError: If `n` is not an integer or `noise` is not a number.
        ValueError: If `n` is less than 2 or `noise` is negative.
    """
    require_integer("n", n, at_least=2)
    require_number("noise", noise)
    place = {"device": device, "dtype": dtype or torch.get_default_dtype()}
    x = torch.linspace(-1, 1, n, dtype=torch.float64)
    draw = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = torch.sin(3 * x) + 0.3 * torch.cos(9 * x) + noise * draw
    return Curve(x[:, None].to(**place), y.to(**place))


def digits(
    per_class: int,
    *,
    classes: Iterable[int] = range(10),
    seed: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Digits:
    """Return real handwritten digits, `per_class` of each class, drawn without replacement.

    Source: UCI "Optical Recognition of Handwritten Digits", as scikit-learn ships it (no download).

    Args:
        per_class: Images of each class, 1 to 174.
        classes: Which digits, each 0 to 9.
        seed: Seed of the draw.
        device: Where the tensors live.
        dtype: Type of `x` and `image`; None is torch's default dtype.

    Raises:
        TypeError: If `per_class` is not an integer.
        ValueError: If there are not that many images, or a class is not a digit.
    """
    require_integer("per_class", per_class, at_least=1)
    classes = list(classes)
    if not classes or not set(classes) <= set(range(10)):
        raise ValueError(f"classes must be digits from 0 to 9; got {classes}.")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    image, label = torch.as_tensor(bunch.images) / 16, torch.as_tensor(bunch.target)
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for digit in classes:
        members = (label == digit).nonzero()[:, 0]
        if per_class > len(members):
            raise ValueError(f"there are {len(members)} images of {digit}; per_class={per_class} is too many.")
        chosen.append(members[torch.randperm(len(members), generator=generator)[:per_class]])
    rows = torch.cat(chosen)
    pixels = image[rows].flatten(1)
    x = pixels * (math.sqrt(64) / pixels.norm(dim=1, keepdim=True))
    place = {"device": device, "dtype": dtype or torch.get_default_dtype()}
    return Digits(x.to(**place), label[rows].to(device), image[rows].to(**place))
