"""Compute, train and predict with the Neural Tangent Kernel in PyTorch: the course's helpers."""

from importlib import import_module
from typing import TYPE_CHECKING

from ntk_helpers import _needed  # noqa: F401 (it says, before all, what is missing)
from ntk_helpers._dice import generator
from ntk_helpers.classroom import data
from ntk_helpers.classroom.claim import claim
from ntk_helpers.classroom.diagnosis import Diagnosis, diagnose
from ntk_helpers.classroom.exponent import exponent
from ntk_helpers.classroom.predict import predict
from ntk_helpers.classroom.setup import best_device, choose_size, setup
from ntk_helpers.kernels.blocks import kernel_blocks
from ntk_helpers.kernels.empirical import empirical_ntk, layer_ntks
from ntk_helpers.kernels.infinite import Kernels, infinite_kernels
from ntk_helpers.networks import MLP
from ntk_helpers.pinn.dynamics import PINNDynamics
from ntk_helpers.pinn.kernel import PINNKernel, pinn_kernel
from ntk_helpers.pinn.problem import PoissonProblem, Standardized
from ntk_helpers.pinn.terms import Term
from ntk_helpers.pinn.training import PINNHistory, train_pinn
from ntk_helpers.theory.change import KernelChange, kernel_change, kernel_drift
from ntk_helpers.theory.dynamics import KernelDynamics
from ntk_helpers.theory.gaussian import Gaussian, gp_posterior, wide_ensemble
from ntk_helpers.theory.lazy import LazyRegime, lazy_regime
from ntk_helpers.theory.linearize import linearize
from ntk_helpers.training.descent import History, gradient_descent
from ntk_helpers.training.ensemble import EnsembleHistory, train_ensemble

if TYPE_CHECKING:
    from ntk_helpers.classroom import exercises, explore, plots
    from ntk_helpers.classroom.plots import show

__version__ = "0.2.0"
__all__ = [
    "MLP",
    "Diagnosis",
    "EnsembleHistory",
    "Gaussian",
    "History",
    "KernelChange",
    "KernelDynamics",
    "Kernels",
    "LazyRegime",
    "PINNDynamics",
    "PINNHistory",
    "PINNKernel",
    "PoissonProblem",
    "Standardized",
    "Term",
    "best_device",
    "choose_size",
    "claim",
    "data",
    "diagnose",
    "empirical_ntk",
    "exercises",
    "explore",
    "exponent",
    "generator",
    "gp_posterior",
    "gradient_descent",
    "infinite_kernels",
    "kernel_blocks",
    "kernel_change",
    "kernel_drift",
    "layer_ntks",
    "lazy_regime",
    "linearize",
    "pinn_kernel",
    "plots",
    "predict",
    "setup",
    "show",
    "train_ensemble",
    "train_pinn",
    "wide_ensemble",
]


def __getattr__(name: str):
    """Load the modules that need matplotlib or ipywidgets when they are first used."""
    if name in {"exercises", "explore", "plots"}:
        return import_module(f"ntk_helpers.classroom.{name}")
    if name == "show":
        return import_module("ntk_helpers.classroom.plots").show
    raise AttributeError(f"module 'ntk_helpers' has no attribute {name!r}")
