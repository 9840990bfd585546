"""Interactive explorers, one for each idea that is best understood by moving a slider."""

from ntk_helpers.classroom.explore._control import Control
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.explore.lesson_00 import forecast_and_training
from ntk_helpers.classroom.explore.lesson_01 import step_size
from ntk_helpers.classroom.explore.lesson_02 import push_on_curve
from ntk_helpers.classroom.explore.lesson_02_digits import push_on_digit
from ntk_helpers.classroom.explore.lesson_03 import kernel_on_circle
from ntk_helpers.classroom.explore.lesson_03_digits import similar_digits
from ntk_helpers.classroom.explore.lesson_04 import width_time_seed
from ntk_helpers.classroom.explore.lesson_04_scale import lazy_to_rich
from ntk_helpers.classroom.explore.lesson_05 import mode_by_mode
from ntk_helpers.classroom.explore.lesson_05_limit import rate_limit
from ntk_helpers.classroom.explore.lesson_06 import boundary_weight
from ntk_helpers.classroom.explore.lesson_07 import features_by_scale
from ntk_helpers.classroom.explore.lesson_07_steps import large_steps

__all__ = [
    "Control",
    "Explorer",
    "boundary_weight",
    "features_by_scale",
    "forecast_and_training",
    "kernel_on_circle",
    "large_steps",
    "lazy_to_rich",
    "mode_by_mode",
    "push_on_curve",
    "push_on_digit",
    "rate_limit",
    "similar_digits",
    "step_size",
    "width_time_seed",
]
