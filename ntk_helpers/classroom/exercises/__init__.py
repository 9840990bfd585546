"""Checkers for the exercises: each names the likely mistake and never raises an error."""

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._tally import count_solved
from ntk_helpers.classroom.exercises.lesson_00 import (
    check_half_time,
    check_mse_rate,
    check_steps_needed,
)
from ntk_helpers.classroom.exercises.lesson_01 import (
    check_descent_on_quadratic,
    check_gradient_step,
    check_largest_rate,
    check_loss_velocity,
    check_order,
)
from ntk_helpers.classroom.exercises.lesson_02 import (
    check_function_velocity,
    check_line_kernel,
    check_loss_decay,
    check_push,
    check_tangent_kernel,
)
from ntk_helpers.classroom.exercises.lesson_03 import (
    check_as_square,
    check_class_alignment,
    check_cosine,
    check_half_life,
    check_layer_kernel,
)
from ntk_helpers.classroom.exercises.lesson_04 import (
    check_next_ntk,
    check_next_variance,
    check_standard_kernel,
    check_width_needed,
)
from ntk_helpers.classroom.exercises.lesson_05 import (
    check_forecast_at,
    check_largest_kernel_rate,
    check_mode_left,
    check_residual_after,
    check_trained_covariance,
)
from ntk_helpers.classroom.exercises.lesson_06 import (
    check_balance_weights,
    check_block_velocity,
    check_pinn_loss,
    check_scaled_derivative,
    check_weighted_eigenvalues,
)
from ntk_helpers.classroom.exercises.lesson_07 import (
    check_alignment,
    check_catapult_step,
    check_drift_floor,
    check_theory_applies,
    check_time_to_margin,
)

__all__ = [
    "Feedback",
    "check_alignment",
    "check_as_square",
    "check_balance_weights",
    "check_block_velocity",
    "check_catapult_step",
    "check_class_alignment",
    "check_cosine",
    "check_descent_on_quadratic",
    "check_drift_floor",
    "check_forecast_at",
    "check_function_velocity",
    "check_gradient_step",
    "check_half_life",
    "check_half_time",
    "check_largest_kernel_rate",
    "check_largest_rate",
    "check_layer_kernel",
    "check_line_kernel",
    "check_loss_decay",
    "check_loss_velocity",
    "check_mode_left",
    "check_mse_rate",
    "check_next_ntk",
    "check_next_variance",
    "check_order",
    "check_pinn_loss",
    "check_push",
    "check_residual_after",
    "check_scaled_derivative",
    "check_standard_kernel",
    "check_steps_needed",
    "check_tangent_kernel",
    "check_theory_applies",
    "check_time_to_margin",
    "check_trained_covariance",
    "check_weighted_eigenvalues",
    "check_width_needed",
    "count_solved",
]
