"""Choose the device, seed everything and set the look of figures, at the top of a notebook."""

import os
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from ntk_helpers._checks import require_choice, require_integer

FLOORS = {
    "torch": "2.11",
    "numpy": "2.0",
    "matplotlib": "3.10",
    "ipywidgets": "7.7.1",
    "scikit-learn": "1.6",
    "tqdm": "4.66",
}


def best_device(prefer: str | None = None) -> torch.device:
    """Return the fastest device here: cuda, then mps, then cpu.

    Args:
        prefer: "cuda", "mps" or "cpu" to ask for one; None lets the machine decide.

    Raises:
        ValueError: If `prefer` is an unknown name, or is not available on this machine.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if prefer is None:
        return torch.device(next(name for name, is_here in available.items() if is_here))
    require_choice("prefer", prefer, available)
    if not available[prefer]:
        here = ", ".join(name for name, is_here in available.items() if is_here)
        raise ValueError(f"this machine has no {prefer!r}; it has {here}. Use prefer=None.")
    return torch.device(prefer)


def numbers(text: str) -> tuple[int, ...]:
    """Return the leading three numbers of a version, which compare as versions do.

    Example:
        >>> numbers("2.13.0+cpu") > numbers("2.9")
        True
    """
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def outdated() -> list[str]:
    """Return what to install, in pip's words: each package that is missing or below its floor."""

    def is_new_enough(name: str) -> bool:
        try:
            return numbers(version(name)) >= numbers(FLOORS[name])
        except PackageNotFoundError:
            return False

    return [f"{name}>={floor}" for name, floor in FLOORS.items() if not is_new_enough(name)]


def setup(seed: int = 0) -> torch.device:
    """Make a notebook ready, print one line that says how, and return the device to use.

    Seeds torch and numpy, sets the course's figure style, and sets torch's default dtype to
    float64, in which theory and measurement can be compared to many digits (float32 on "mps",
    which has no float64).

    Args:
        seed: Seed of the global generators, 0 or greater.

    Returns:
        The fastest device here, see `best_device`.

    Raises:
        TypeError: If `seed` is not an integer.
        ValueError: If `seed` is negative.
    """
    require_integer("seed", seed, at_least=0)
    import matplotlib.style

    device = best_device()
    dtype = torch.float32 if device.type == "mps" else torch.float64
    torch.set_default_dtype(dtype)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (the global generator is what a seed is for)
    matplotlib.style.use(Path(__file__).with_name("course.mplstyle"))
    print(
        f"ntk_helpers is ready: device {device}, {str(dtype).removeprefix('torch.')}, seed {seed}."
    )
    if wanted := outdated():
        print("Too old here, so that numbers may differ: pip install", *map(repr, wanted))
    return device


def choose_size(small: int, large: int) -> int:
    """Return `small` on a CPU and `large` on a GPU: the knob that fits a run to its machine.

    The environment variable NTK_SIZE, "small" or "large", overrides the choice.

    Args:
        small: Size (a width, a number of networks, …) that two CPU cores manage.
        large: Size for a GPU.

    Raises:
        ValueError: If NTK_SIZE is set to anything else.

    Example:
        >>> choose_size(small=512, large=4096) in (512, 4096)
        True
    """
    wish = os.environ.get("NTK_SIZE") or ("small" if best_device().type == "cpu" else "large")
    require_choice("the environment variable NTK_SIZE", wish, ["small", "large"])
    return small if wish == "small" else large
