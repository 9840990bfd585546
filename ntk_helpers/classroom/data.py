"""Data sets that need no download: the unit circle, a curve, handwritten digits, a landscape."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ntk_helpers import _dice
from ntk_helpers._checks import place, require_integer, require_number


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


class Terrain(NamedTuple):
    """Heights of a landscape at places that were drawn, and the map that they were drawn from.

    Attributes:
        x: (n, 2) kilometres east and north of the middle of the map.
        y: (n,) metres above the sea.
        grid: (344, 403, 2) as x, for every place of the map; the first row is the northern edge.
        height: (344, 403) as y.
    """

    x: Tensor
    y: Tensor
    grid: Tensor
    height: Tensor


def unit_circle(
    n: int,
    *,
    start: float = 0.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Circle:
    """Return `n` evenly spaced points on the unit circle, the inputs of Jacot et al.'s figures.

    Args:
        n: Number of points, at least 1.
        start: Angle of the first point, in radians.
        device: Where the tensors live; None is torch's default device.
        dtype: Their type; None is torch's default dtype.

    Example:
        >>> unit_circle(4).x.round().abs()
        tensor([[1., 0.],
                [0., 1.],
                [1., 0.],
                [0., 1.]])
    """
    require_integer("n", n, at_least=1)
    require_number("start", start, signed=True)
    here = place(device, dtype)
    angle = start + 2 * math.pi * torch.arange(n, dtype=torch.float64, device="cpu") / n
    return Circle(angle.to(**here), torch.stack([angle.cos(), angle.sin()], dim=1).to(**here))


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
        device: Where the tensors live; None is torch's default device.
        dtype: Their type; None is torch's default dtype.
    """
    require_integer("n", n, at_least=2)
    require_number("noise", noise)
    here = place(device, dtype)
    on_cpu = {"dtype": torch.float64, "device": "cpu"}
    x = torch.linspace(-1, 1, n, **on_cpu)
    draw = torch.randn(n, generator=_dice.stream("noise", seed), **on_cpu)
    y = torch.sin(3 * x) + 0.3 * torch.cos(9 * x) + float(noise) * draw
    return Curve(x[:, None].to(**here), y.to(**here))


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
        classes: Which digits, each 0 to 9 and once; the rows come in this order.
        seed: Seed of the draw.
        device: Where the tensors live; None is torch's default device.
        dtype: Type of `x` and `image`; None is torch's default dtype.

    Raises:
        ValueError: If there are not that many images, or a class is not a digit or comes twice.
    """
    require_integer("per_class", per_class, at_least=1)
    if not isinstance(classes, Iterable):
        raise TypeError(f"classes must be a list of digits; got {classes!r}. Write [{classes!r}].")
    classes = list(classes)
    for digit in classes:
        require_integer("each of classes", digit, at_least=0)
    if not classes or max(classes) > 9 or len(set(classes)) < len(classes):
        raise ValueError(
            f"classes must be different digits from 0 to 9; got {classes}. "
            f"range(10) gives all of them."
        )
    here = place(device, dtype)
    from sklearn.datasets import load_digits

    bunch = load_digits()
    image, label = torch.from_numpy(bunch.images) / 16, torch.from_numpy(bunch.target)
    generator = _dice.stream("digits", seed)
    chosen = []
    for digit in classes:
        members = (label == digit).nonzero()[:, 0]
        if per_class > len(members):
            raise ValueError(
                f"per_class must be at most {len(members)}, the number of images of {digit}; "
                f"got {per_class}. 174 is possible for every digit."
            )
        order = torch.randperm(len(members), generator=generator, device="cpu")
        chosen.append(members[order[:per_class]])
    rows = torch.cat(chosen)
    pixels = image[rows].flatten(1)
    x = pixels * (math.sqrt(64) / pixels.norm(dim=1, keepdim=True))
    return Digits(x.to(**here), label[rows].to(here["device"]), image[rows].to(**here))


def terrain(
    n: int,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Terrain:
    """Return the heights of `n` places of a real landscape of 30 km by 32 km, in random order.

    Source: elevation model of the Jacksboro fault in Tennessee, one place every three seconds of
    arc, as matplotlib ships it under its own licence (no download).

    Args:
        n: Number of places, 1 to 138,632.
        seed: Seed of the draw, which is without replacement.
        device: Where the tensors live; None is torch's default device.
        dtype: Their type; None is torch's default dtype.
    """
    require_integer("n", n, at_least=1)
    here = place(device, dtype)
    from matplotlib.cbook import get_sample_data

    with get_sample_data("jacksboro_fault_dem.npz") as file:
        map_ = {key: torch.from_numpy(file[key]).double() for key in file.files}
    height = map_["elevation"]
    if n > height.numel():
        raise ValueError(f"n must be at most {height.numel():,}, the places of the map; got {n:,}.")
    km = 111.2 * map_["dy"]  # between two rows: a degree of latitude has 111.2 km
    across = km * torch.deg2rad((map_["ymin"] + map_["ymax"]) / 2).cos()  # dx and dy are equal
    rows, columns = (torch.arange(size, dtype=torch.float64, device="cpu") for size in height.shape)
    north, east = (rows.mean() - rows) * km, (columns - columns.mean()) * across
    grid = torch.stack(torch.meshgrid(east, north, indexing="xy"), dim=-1)
    chosen = torch.randperm(height.numel(), generator=_dice.stream("terrain", seed), device="cpu")
    x, y = grid.flatten(0, 1)[chosen[:n]], height.flatten()[chosen[:n]]
    return Terrain(*(part.to(**here) for part in (x, y, grid, height)))
