"""Checkers for the exercises: each names the likely mistake and never raises an error."""

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._tally import count_solved
from ntk_helpers.classroom.exercises.deeper import (
    check_as_square,
    check_class_alignment,
    check_layer_kernel,
    check_standard_kernel,
)
from ntk_helpers.classroom.exercises.lesson_00 import (
    check_half_time,
    check_mse_rate,
    check_steps_needed,
)
from ntk_helpers.classroom.exercises.lesson_01 import (
    check_descent_on_quadratic,
    check_rate_of_curve,
    check_steps_until,
)
from ntk_helpers.classroom.exercises.lesson_02 import (
    check_sum_kernel,
    check_tangent_kernel,
    check_target_for,
)
from ntk_helpers.classroom.exercises.lesson_03 import (
    check_crossing_time,
    check_design_of_curve,
    check_zeros_at_least,
)
from ntk_helpers.classroom.exercises.lesson_04 import (
    check_linear_ntk,
    check_next_variance,
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
    "check_crossing_time",
    "check_descent_on_quadratic",
    "check_design_of_curve",
    "check_drift_floor",
    "check_forecast_at",
    "check_half_time",
    "check_largest_kernel_rate",
    "check_layer_kernel",
    "check_linear_ntk",
    "check_mode_left",
    "check_mse_rate",
    "check_next_variance",
    "check_pinn_loss",
    "check_rate_of_curve",
    "check_residual_after",
    "check_scaled_derivative",
    "check_standard_kernel",
    "check_steps_needed",
    "check_steps_until",
    "check_sum_kernel",
    "check_tangent_kernel",
    "check_target_for",
    "check_theory_applies",
    "check_time_to_margin",
    "check_trained_covariance",
    "check_weighted_eigenvalues",
    "check_width_needed",
    "check_zeros_at_least",
    "count_solved",
]
