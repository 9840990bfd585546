"""Bad input is refused with what was expected, what was got and how to mend it."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from ntk_helpers import _checks

NAN, INF = math.nan, math.inf
POINTS = torch.ones(3, 2, dtype=torch.float64)


def test_a_choice_among_the_names_passes():
    assert _checks.require_choice("loss", "sum", ["mean", "sum"]) is None


@pytest.mark.parametrize("value", ["Sum", None, 3, torch.ones(2), np.array(["sum", "mean"])])
def test_a_choice_outside_the_names_is_refused_with_all_names(value):
    with pytest.raises(ValueError, match=r"loss must be one of 'mean', 'sum'; got "):
        _checks.require_choice("loss", value, ["mean", "sum"])


@pytest.mark.parametrize("value", [2, 7, np.int64(3), 2**63 - 1])
def test_integers_from_the_bound_on_pass(value):
    assert _checks.require_integer("steps", value, at_least=2) is None


@pytest.mark.parametrize("value", [2.0, NAN, "2", None, True, [2], torch.tensor(2)])
def test_what_is_no_integer_is_refused_by_type(value):
    with pytest.raises(TypeError, match=r"steps must be an integer; got .* of type .*Write int\("):
        _checks.require_integer("steps", value, at_least=0)


def test_an_integer_below_the_bound_is_refused():
    with pytest.raises(ValueError, match=r"steps must be at least 2; got 1\."):
        _checks.require_integer("steps", 1, at_least=2)


def test_an_integer_that_torch_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"seed must be below 2⁶³, as torch's integers are; got 1"):
        _checks.require_integer("seed", 10**30, at_least=0)


def test_sparse_and_complex_tensors_are_refused():
    with pytest.raises(
        TypeError, match=r"x must be a dense tensor; got torch.sparse_coo. x.to_den"
    ):
        _checks.require_tensor("x", POINTS.to_sparse())
    with pytest.raises(
        TypeError, match=r"x must hold floating-point numbers; got torch.complex128"
    ):
        _checks.require_tensor("x", POINTS + 0j, integers=True)


@pytest.mark.parametrize("value", [0, 0.5, np.float32(2), Fraction(1, 3)])
def test_numbers_from_zero_on_pass(value):
    assert _checks.require_number("noise", value) is None


def test_a_signed_number_may_be_negative():
    assert _checks.require_number("start", -1.5, signed=True) is None


@pytest.mark.parametrize("value", ["1", None, True, 1j, [1.0], torch.tensor(1.0)])
def test_what_is_no_number_is_refused_by_type(value):
    with pytest.raises(TypeError, match=r"noise must be a number; got .* of type .*\.item\(\)"):
        _checks.require_number("noise", value)


@pytest.mark.parametrize(
    ("value", "bounds", "wanted"),
    [
        (-1, {}, "finite and 0 or greater; got -1"),
        (0, {"positive": True}, "finite and greater than 0; got 0"),
        (-0.5, {"positive": True}, "finite and greater than 0; got -0.5"),
        (NAN, {}, "finite and 0 or greater; got nan"),
        (INF, {"positive": True}, "finite and greater than 0; got inf"),
        (NAN, {"signed": True}, "finite; got nan"),
        (-INF, {"signed": True}, "finite; got -inf"),
        (10**400, {}, "finite and 0 or greater; got 10+"),
    ],
)
def test_a_number_out_of_range_is_refused(value, bounds, wanted):
    with pytest.raises(ValueError, match=f"noise must be {wanted}\\."):
        _checks.require_number("noise", value, **bounds)


def test_place_fills_in_the_defaults_of_torch():
    assert _checks.place(None, None) == {"device": torch.device("cpu"), "dtype": torch.float64}
    torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert _checks.place(None, None) == {"device": torch.device("meta"), "dtype": torch.float32}
        here = {"device": torch.device("cpu"), "dtype": torch.float64}
        assert _checks.place("cpu", torch.float64) == here
    for device in ("gpu", 3.5, "cpu:x"):
        with pytest.raises(ValueError, match=r"device must be a device of torch, .*None chooses"):
            _checks.place(device, None)


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, "float32", float])
def test_a_dtype_that_is_not_floating_is_refused(dtype):
    with pytest.raises(
        TypeError, match=r"dtype must be a floating-point type of torch; got .*Use torch\.float64"
    ):
        _checks.place(None, dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_finite_floating_tensor_passes(dtype):
    assert _checks.require_tensor("x", POINTS.to(dtype), ndim=(1, 2)) is None


def test_a_tensor_without_values_is_not_searched_for_nan():
    assert _checks.require_tensor("x", POINTS.to("meta")) is None


@pytest.mark.parametrize("value", [np.ones(3), [1.0], 1.0, None])
def test_what_is_no_tensor_is_refused(value):
    with pytest.raises(
        TypeError, match=r"x must be a torch\.Tensor; got .*torch\.as_tensor\(x, dtype="
    ):
        _checks.require_tensor("x", value)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_a_tensor_that_is_not_floating_is_refused(dtype):
    with pytest.raises(
        TypeError, match=rf"y must hold floating-point numbers; got {dtype}\. y\.to\("
    ):
        _checks.require_tensor("y", POINTS.to(dtype))


@pytest.mark.parametrize("shape", [(), (4,), (2, 2, 2)])
def test_a_tensor_with_other_axes_is_refused(shape):
    with pytest.raises(ValueError, match=r"x must have 2 or 4 axes; got shape \(.*x\[:, None\]"):
        _checks.require_tensor("x", torch.ones(shape), ndim=(2, 4))


@pytest.mark.parametrize("shape", [(0, 2), (2, 0)])
def test_an_empty_tensor_is_refused(shape):
    with pytest.raises(ValueError, match=r"x is empty: shape .*Give at least one point"):
        _checks.require_tensor("x", torch.ones(shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_that_are_not_finite_are_counted_and_refused(dtype):
    x = torch.tensor([0.0, NAN, INF, -INF], dtype=dtype)
    with pytest.raises(ValueError, match=r"x holds 3 value.*NaN or infinite.*nonzero\(\)"):
        _checks.require_tensor("x", x)


def test_tensors_in_one_place_pass():
    assert _checks.require_same_place(x=POINTS, y=POINTS, z=POINTS) is None


def test_another_device_is_refused_before_another_dtype():
    there = POINTS.to("meta", torch.float32)
    with pytest.raises(
        ValueError, match=r"y is on meta but x is on cpu\. Move one: y\.to\('cpu'\)\."
    ):
        _checks.require_same_place(x=POINTS, y=there)


def test_another_dtype_is_refused():
    with pytest.raises(
        TypeError,
        match=r"z is torch\.float32 but x is torch\.float64\. Convert one: z\.to\(torch\.float64\)",
    ):
        _checks.require_same_place(x=POINTS, y=POINTS, z=POINTS.float())


def test_another_number_of_rows_is_refused():
    assert _checks.require_same_length(x=POINTS, y=torch.ones(3)) is None
    with pytest.raises(ValueError, match=r"y has 4 rows but x has 3: .*same points"):
        _checks.require_same_length(x=POINTS, y=torch.ones(4))


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[0].weight.requires_grad_(False)
    assert list(_checks.trainable_parameters(model)) == ["0.bias", "1.weight", "1.bias"]


def test_a_shared_parameter_counts_once():
    layer = nn.Linear(2, 2)
    assert list(_checks.trainable_parameters(nn.Sequential(layer, layer))) == ["0.weight", "0.bias"]


@pytest.mark.parametrize("model", [torch.sin, nn.Linear, None])
def test_what_is_no_module_is_refused(model):
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module; got .*ntk\.MLP"):
        _checks.trainable_parameters(model)


@pytest.mark.parametrize("model", [nn.Tanh(), nn.Linear(2, 1).requires_grad_(False)])
def test_a_model_that_cannot_be_trained_is_refused(model):
    with pytest.raises(ValueError, match=r"no trainable parameter.*model\.requires_grad_\(True\)"):
        _checks.trainable_parameters(model)


@pytest.mark.parametrize(
    "layer",
    [
        nn.LayerNorm(2),
        nn.GroupNorm(1, 2),
        nn.InstanceNorm1d(2),
        nn.BatchNorm1d(2).eval(),
        nn.Dropout(0.0),
        nn.Dropout(0.5).eval(),
    ],
)
def test_layers_that_treat_rows_alone_pass(layer):
    assert _checks.require_rowwise(nn.Sequential(nn.Linear(2, 2), layer)) is None


def test_batch_norm_in_training_mode_is_refused():
    with pytest.raises(
        ValueError,
        match=r"'1' is BatchNorm1d in training mode: it mixes.*model\.eval\(\) first, or use Layer",
    ):
        _checks.require_rowwise(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_without_statistics_is_refused_and_not_sent_to_eval(training):
    layer = nn.BatchNorm1d(2, track_running_stats=False).train(training)
    with pytest.raises(ValueError, match=r"mixes the rows.*one x\. Use LayerNorm or GroupNorm"):
        _checks.require_rowwise(nn.Sequential(layer))


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout()])
def test_dropout_in_training_mode_is_refused(layer):
    with pytest.raises(
        ValueError, match=r"'0' is \w*Dropout\w* in training mode: it is random.*model\.eval\(\)"
    ):
        _checks.require_rowwise(nn.Sequential(layer))


def test_points_away_from_their_model_are_refused_by_the_name_of_a_parameter():
    model = nn.Sequential(nn.Linear(2, 1))
    assert _checks.require_matching(model, x=POINTS) is None
    with pytest.raises(TypeError, match=r"x is torch\.float32 but .*parameter '0\.weight' is"):
        _checks.require_matching(model, x=POINTS.float())
    with pytest.raises(ValueError, match=r"x is on cpu but .*parameter '0\.weight' is on meta"):
        _checks.require_matching(model.to("meta"), x=POINTS)
