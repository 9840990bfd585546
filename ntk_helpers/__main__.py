"""Report whether this Python can run the course, or what to fix: `python -m ntk_helpers`."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ntk_helpers.classroom.progress import NAME, kept
from ntk_helpers.classroom.setup import FLOORS, notebook_device, numbers
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP

MEMORY_NEEDED = 1.0  # GB: the most that a notebook takes


def main(*, brief: bool = False) -> int:
    """Print the report, or if `brief` and all is well one line; return 0 if all is well, else 1."""
    findings = [
        check_python(),
        *(check_package(name, floor) for name, floor in FLOORS.items()),
        check_jupyter(),
        check_memory(),
        (f"device        {device_name()}", ""),
        check_kernel(),
    ]
    problems = [remedy for _, remedy in findings if remedy]
    if brief and not problems:
        print(
            f"This machine is ready: Python {platform.python_version()}, torch {torch.__version__}."
        )
        return 0
    for line, _ in findings:
        print(line)
    if solved := kept("exercises", Path("work", NAME)):
        print(exercises_solved(solved))
    print("\nTo fix: " + "\n        ".join(problems) if problems else "\nReady.")
    return 1 if problems else 0


# Each check returns a line for the report, and what to do about it: "" where all is well.


def check_python() -> tuple[str, str]:
    """Check the version of Python."""
    remedy = "" if sys.version_info >= (3, 11) else "install Python 3.11, 3.12, 3.13 or 3.14"
    return f"Python        {platform.python_version()}", remedy


def check_package(name: str, floor: str) -> tuple[str, str]:
    """Check that a package is there, in the version `floor` or a newer one."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return f"{name:13} missing", f'pip install "{name}>={floor}"'
    remedy = "" if numbers(found) >= numbers(floor) else f'pip install --upgrade "{name}>={floor}"'
    return f"{name:13} {found} (the course needs {floor} or newer)", remedy


def check_jupyter() -> tuple[str, str]:
    """Look for JupyterLab, which only those need who read the notebooks on this machine."""
    try:
        return f"JupyterLab    {version('jupyterlab')}", ""
    except PackageNotFoundError:
        return 'JupyterLab    missing: pip install "jupyterlab>=4.2", or open them elsewhere', ""


def check_memory() -> tuple[str, str]:
    """Check that the largest notebook would fit into memory."""
    try:
        import psutil  # comes with the kernel of Jupyter
    except ImportError:
        return "free memory   unknown (install psutil to measure it)", ""
    free = psutil.virtual_memory().available / 1e9
    remedy = (
        "" if free >= MEMORY_NEEDED else f"close something: a notebook takes {MEMORY_NEEDED} GB"
    )
    return f"free memory   {free:.1f} GB (a notebook takes up to {MEMORY_NEEDED} GB)", remedy


def check_kernel() -> tuple[str, str]:
    """Compute a tangent kernel on the device: it must be symmetric and positive semi-definite."""
    try:
        model = MLP(2, 64, seed=0, device=notebook_device(), dtype=torch.float32)
        x = torch.linspace(-1, 1, 16, dtype=torch.float32).reshape(8, 2).to(notebook_device())
        kernel = empirical_ntk(model, x, outputs="trace").double()
        smallest, largest = torch.linalg.eigvalsh(kernel)[[0, -1]]
    except RuntimeError as error:
        return f"self-test     failed: {error}", "re-install torch, or hide the GPU from it"
    symmetric = torch.allclose(kernel, kernel.T, rtol=1e-5)
    if symmetric and smallest > -1e-5 * largest:
        return "self-test     a tangent kernel is symmetric and positive semi-definite", ""
    return "self-test     a tangent kernel is wrong", "re-install torch: it computes wrong numbers"


def exercises_solved(solved: dict[str, bool]) -> str:
    """Return how many exercises are solved in the learner's copy, for each lesson that was begun.

    Args:
        solved: What the copy's file keeps: the names of checkers that have said "correct".
    """
    from ntk_helpers.classroom.exercises import count_solved
    from ntk_helpers.classroom.exercises._tally import title

    lessons = count_solved(solved)
    begun = [f"{title(name)}: {done} of {of}" for name, (done, of) in lessons.items() if done]
    done, of = map(sum, zip(*lessons.values(), strict=True))
    return f"exercises     {done} of {of} solved ({', '.join(begun)})"


def device_name() -> str:
    """Return the device that notebooks will use, with the name of the GPU."""
    device = notebook_device()
    return f"cuda, {torch.cuda.get_device_name()}" if device.type == "cuda" else device.type


if __name__ == "__main__":
    sys.exit(main())
