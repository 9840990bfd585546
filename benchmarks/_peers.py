"""What kernels.py compares with: PyTorch's tutorial; neural-tangents, in its own environment."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from torch.func import functional_call, jacrev, jvp, vjp, vmap

PACKAGES = ["jax==0.4.25", "jaxlib==0.4.25", "numpy<2", "scipy<1.13", "neural-tangents==0.6.5"]


def tutorial_contraction(model, x1, x2):
    """Contract whole Jacobians, leaf by leaf, as PyTorch's tutorial on the NTK describes."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def f(parameters, x):
        return functional_call(model, parameters, (x[None],))[0]

    j1, j2 = (vmap(jacrev(f), (None, 0))(parameters, x) for x in (x1, x2))
    leaves = [
        torch.einsum("aip,bjp->abij", j1[name].flatten(2), j2[name].flatten(2)) for name in j1
    ]
    return torch.stack(leaves).sum(0)


def tutorial_products(model, x1, x2):
    """Multiply the kernel of each pair of points with unit vectors, as the tutorial describes."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def f(parameters, x):
        return functional_call(model, parameters, (x[None],))[0]

    def pair(a, b):
        value, pull_back = vjp(lambda p: f(p, a), parameters)

        def product(vector):
            (direction,) = pull_back(vector)
            return jvp(lambda p: f(p, b), (parameters,), (direction,))[1]

        return vmap(product)(torch.eye(len(value)))

    return vmap(vmap(pair, (None, 0)), (0, None))(x1, x2)


def tutorial_bytes(model, n1, n2, outputs):
    """Return what the tutorial's methods must hold: two Jacobians; a gradient per product."""
    size = sum(p.nbytes for p in model.parameters())
    return {
        "tutorial contraction": (n1 + n2) * outputs * size,
        "tutorial products": n1 * n2 * outputs * size,
    }


class NeuralTangents:
    """neural-tangents in a process of its own, which times one call whenever it is asked.

    Attributes:
        missing: Why it cannot be used, or None.
    """

    def __init__(self):
        """Make the environment in the cache folder if it is not there, and start the process."""
        self.missing, self.process = None, None
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "ntk-course" / "neural-tangents-0.6.5"
        python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
        if base is None:
            self.missing = "it needs Python 3.11, which is not here"
            return
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            if subprocess.run([python, "-c", "import neural_tangents"], **quiet).returncode:
                raise OSError
        except OSError:
            print(f"Making an environment for neural-tangents in {folder.name} of the cache …")
            for command in (
                [base, "-m", "venv", "--clear", folder],
                [python, "-m", "pip", "install", "--quiet", *PACKAGES],
            ):
                if subprocess.run(command, **quiet).returncode:
                    self.missing = "its environment could not be made"
                    return
        self.process = subprocess.Popen(
            [python, Path(__file__).with_name("_neural_tangents.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def seconds(self, method, sizes, n):
        """Return the time of one call after compilation, infinite if it failed."""
        self.process.stdin.write(json.dumps([method, sizes, n]) + "\n")
        self.process.stdin.flush()
        answer, _, rest = self.process.stdout.readline().partition(" ")
        return float(rest) if answer == "seconds" else float("inf")
