"""Checkers for the exercises: each names the likely mistake and never raises an error."""

from ntk_helpers.exercises._judge import Feedback
from ntk_helpers.exercises.lesson_00 import check_flow_time, check_loss_gradient, check_mse_rate
from ntk_helpers.exercises.lesson_01 import (
    check_descent_on_quadratic,
    check_gradient_step,
    check_largest_rate,
    check_loss_velocity,
    check_order,
)
from ntk_helpers.exercises.lesson_02 import (
    check_function_velocity,
    check_line_kernel,
    check_loss_decay,
    check_push,
    check_tangent_kernel,
)
from ntk_helpers.exercises.lesson_06 import (
    check_balance_weights,
    check_block_velocity,
    check_pinn_loss,
    check_scaled_derivative,
    check_weighted_eigenvalues,
)

__all__ = [
    "Feedback",
    "check_balance_weights",
    "check_block_velocity",
    "check_descent_on_quadratic",
    "check_flow_time",
    "check_function_velocity",
    "check_gradient_step",
    "check_largest_rate",
    "check_line_kernel",
    "check_loss_decay",
    "check_loss_gradient",
    "check_loss_velocity",
    "check_mse_rate",
    "check_order",
    "check_pinn_loss",
    "check_push",
    "check_scaled_derivative",
    "check_tangent_kernel",
    "check_weighted_eigenvalues",
]
