"""Interactive explorers, one for each idea that is best understood by moving a slider."""

from ntk_helpers.explore._explorer import Explorer
from ntk_helpers.explore.lesson_00 import forecast_and_training
from ntk_helpers.explore.lesson_01 import step_size
from ntk_helpers.explore.lesson_02 import push_on_curve, push_on_digit
from ntk_helpers.explore.lesson_06 import boundary_weight
from ntk_helpers.explore.lesson_07 import features_by_scale, large_steps

__all__ = [
    "Explorer",
    "boundary_weight",
    "features_by_scale",
    "forecast_and_training",
    "large_steps",
    "push_on_curve",
    "push_on_digit",
    "step_size",
]
