"""The exponent of a power law is the slope on logarithmic axes, row by row."""

import numpy as np
import pytest
import torch

import ntk_helpers as ntk


def test_an_exact_power_law_gives_its_exponent_for_each_row():
    sizes = torch.tensor([2.0, 5.0, 11.0])
    rows = torch.stack([3 * sizes**-0.5, 0.1 * sizes**2])
    assert ntk.exponent(sizes, rows).tolist() == pytest.approx([-0.5, 2.0])
    assert ntk.exponent([2, 5, 11], rows[0]).item() == pytest.approx(-0.5)


def test_it_is_the_least_squares_slope():
    values = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) + 0.5
    sizes = [1, 2, 3, 5, 8, 13]
    slopes = [np.polyfit(np.log(sizes), np.log(row), 1)[0] for row in values.numpy()]
    assert ntk.exponent(sizes, values).tolist() == pytest.approx(slopes)


@pytest.mark.parametrize(
    ("sizes", "values", "told"),
    [
        ([1, 2, 3], [1.0, 2.0], "one entry for each size"),
        ([1, 2], [1.0, -2.0], "positive values"),
        ([0, 2], [1.0, 2.0], "positive sizes"),
        ([2, 2], [1.0, 2.0], "different"),
        ([1, 2], [1.0, float("nan")], "NaN"),
    ],
)
def test_what_has_no_logarithm_is_refused(sizes, values, told):
    with pytest.raises(ValueError, match=told):
        ntk.exponent(sizes, torch.tensor(values))
