"""Compute, train and predict with the Neural Tangent Kernel in PyTorch: the course's helpers."""

from importlib import import_module
from typing import TYPE_CHECKING

from ntk_helpers import _needed, data  # noqa: F401 (_needed says, before all, what is missing)
from ntk_helpers.device import best_device, choose_size, setup
from ntk_helpers.dynamics import KernelDynamics
from ntk_helpers.empirical import empirical_ntk, layer_ntks
from ntk_helpers.ensembles import EnsembleHistory, train_ensemble
from ntk_helpers.gaussian import Gaussian, wide_ensemble
from ntk_helpers.infinite import Kernels, infinite_kernels
from ntk_helpers.lazy import LazyRegime, kernel_drift, lazy_regime
from ntk_helpers.linearization import linearize
from ntk_helpers.networks import MLP
from ntk_helpers.pinn import PINNKernel, pinn_kernel
from ntk_helpers.pinn_dynamics import PINNDynamics
from ntk_helpers.pinn_problem import PoissonProblem, Standardized
from ntk_helpers.pinn_training import PINNHistory, train_pinn
from ntk_helpers.training import History, gradient_descent

if TYPE_CHECKING:
    from ntk_helpers import exercises, explore, plots
    from ntk_helpers.plots import show

__version__ = "0.1.0"
__all__ = [
    "MLP",
    "EnsembleHistory",
    "Gaussian",
    "History",
    "KernelDynamics",
    "Kernels",
    "LazyRegime",
    "PINNDynamics",
    "PINNHistory",
    "PINNKernel",
    "PoissonProblem",
    "Standardized",
    "best_device",
    "choose_size",
    "data",
    "empirical_ntk",
    "exercises",
    "explore",
    "gradient_descent",
    "infinite_kernels",
    "kernel_drift",
    "layer_ntks",
    "lazy_regime",
    "linearize",
    "pinn_kernel",
    "plots",
    "setup",
    "show",
    "train_ensemble",
    "train_pinn",
    "wide_ensemble",
]


def __getattr__(name: str):
    """Load the modules that need matplotlib or ipywidgets when they are first used."""
    if name in {"exercises", "explore", "plots"}:
        return import_module(f"ntk_helpers.{name}")
    if name == "show":
        return import_module("ntk_helpers.plots").show
    raise AttributeError(f"module 'ntk_helpers' has no attribute {name!r}")
