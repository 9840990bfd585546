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
from ntk_helpers.exercises.lesson_07 import (
    check_alignment,
    check_catapult_step,
    check_drift_floor,
    check_scaled_rate,
    check_theory_applies,
    check_time_to_margin,
)

__all__ = [
    "Feedback",
    "check_alignment",
    "check_balance_weights",
    "check_block_velocity",
    "check_catapult_step",
    "check_descent_on_quadratic",
    "check_drift_floor",
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
    "check_scaled_rate",
    "check_tangent_kernel",
    "check_theory_applies",
    "check_time_to_margin",
    "check_weighted_eigenvalues",
]
