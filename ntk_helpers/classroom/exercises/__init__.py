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
    check_best_rate,
    check_ensemble_of_curve,
    check_modes_learned,
)
from ntk_helpers.classroom.exercises.lesson_06 import (
    check_mistake_at_rest,
    check_mistake_on_springs,
    check_three_weights,
)
from ntk_helpers.classroom.exercises.lesson_07 import (
    check_catapult_step,
    check_cosine_from,
    check_equal_alpha,
)
from ntk_helpers.classroom.exercises.lesson_08 import (
    check_limit_after,
    check_page_of,
    check_passed_on,
)

__all__ = [
    "Feedback",
    "check_as_square",
    "check_best_rate",
    "check_catapult_step",
    "check_class_alignment",
    "check_cosine_from",
    "check_crossing_time",
    "check_descent_on_quadratic",
    "check_design_of_curve",
    "check_ensemble_of_curve",
    "check_equal_alpha",
    "check_half_time",
    "check_layer_kernel",
    "check_limit_after",
    "check_linear_ntk",
    "check_mistake_at_rest",
    "check_mistake_on_springs",
    "check_modes_learned",
    "check_mse_rate",
    "check_next_variance",
    "check_page_of",
    "check_passed_on",
    "check_rate_of_curve",
    "check_standard_kernel",
    "check_steps_needed",
    "check_steps_until",
    "check_sum_kernel",
    "check_tangent_kernel",
    "check_target_for",
    "check_three_weights",
    "check_width_needed",
    "check_zeros_at_least",
    "count_solved",
]
