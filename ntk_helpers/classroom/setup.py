"""Choose the device, seed everything and set the look of figures, at the top of a notebook."""

import functools
import os
import re
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from ntk_helpers import _dice
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


def notebook_device() -> torch.device:
    """Return the device of the notebooks: cuda where it works, else cpu.

    Not mps: torch has no float64 there, and up to version 2.13 neither eigenvalues nor matrix
    exponentials.
    """
    on_gpu = best_device().type == "cuda" and _gpu_works()
    return torch.device("cuda" if on_gpu else "cpu")


@functools.cache
def _gpu_works() -> bool:
    """Return whether the GPU, which torch sees, can compute; warn if not."""
    try:
        torch.ones(2, device="cuda").sum().item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        warnings.warn(
            f"The GPU does not work; using the CPU: {reason}", RuntimeWarning, stacklevel=4
        )
        return False
    return True


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
    float64, in which theory and measurement can be compared to many digits. torch gets one thread:
    the matrices are small, and on a busy machine more threads wait for each other. The environment
    variable NTK_THREADS asks for another number.

    The environment variable NTK_DRAW, 1, 2, …, gives all seeds of the course another meaning: the
    lesson with other dice. 0, the default, is the draw that is printed.

    Args:
        seed: Seed of the global generators, 0 or greater.

    Returns:
        cuda where there is a GPU that works, else cpu.

    Raises:
        ValueError: If NTK_DRAW or NTK_THREADS is set to anything but a number of that kind.
    """
    require_integer("seed", seed, at_least=0)
    import matplotlib.style

    device = notebook_device()
    _dice.draw = _variable("NTK_DRAW", least=0, default=0)
    torch.set_num_threads(_variable("NTK_THREADS", least=1, default=1))
    torch.set_default_dtype(torch.float64)
    start = _dice.number("global", seed)
    torch.manual_seed(start)
    np.random.seed(start % 2**32)  # noqa: NPY002 (the global generator is what a seed is for)
    matplotlib.style.use(Path(__file__).with_name("course.mplstyle"))
    dice = f", draw {_dice.draw}" if _dice.draw else ""
    # Of torch to torch, when it loads forward mode, and from 2.14 on shown to the reader.
    warnings.filterwarnings("ignore", "`torch.jit.script` is")
    print(f"ntk_helpers is ready: device {device}, float64, seed {seed}{dice}.")
    if wanted := outdated():
        print("Too old here, so that numbers may differ: pip install", *map(repr, wanted))
    return device


def _variable(name: str, *, least: int, default: int) -> int:
    """Return the integer in the environment variable `name`, or `default` if there is none."""
    text = os.environ.get(name, "").strip()
    if text and not (text.isdecimal() and int(text) >= least):
        raise ValueError(
            f"the environment variable {name} must be an integer of at least {least}; got {text!r}."
        )
    return int(text or default)


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
    wish = os.environ.get("NTK_SIZE") or ("large" if notebook_device().type == "cuda" else "small")
    require_choice("the environment variable NTK_SIZE", wish, ["small", "large"])
    return small if wish == "small" else large
