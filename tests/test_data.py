"""The data sets are what they say, the same on every device, and need no download."""

import math

import numpy as np
import pytest
import torch
from matplotlib.cbook import get_sample_data

from ntk_helpers.classroom.data import digits, terrain, unit_circle, wavy_curve

SETS = {
    "unit_circle": lambda **place: unit_circle(5, start=0.3, **place)[:2],
    "wavy_curve": lambda **place: wavy_curve(5, noise=0.1, **place),
    "digits": lambda **place: digits(2, **place)[::2],
    "terrain": lambda **place: terrain(5, **place),
}


@pytest.mark.parametrize("name", SETS)
def test_float32_is_float64_rounded(name):
    for single, double in zip(
        SETS[name](dtype=torch.float32), SETS[name](dtype=torch.float64), strict=True
    ):
        assert single.dtype == torch.float32
        assert torch.equal(single, double.float())


@pytest.mark.parametrize("name", SETS)
def test_the_default_dtype_and_device_are_those_of_torch(name):
    torch.set_default_dtype(torch.float32)
    assert {tensor.dtype for tensor in SETS[name]()} == {torch.float32}
    with torch.device("meta"):
        assert {tensor.device.type for tensor in SETS[name]()} == {"meta"}
        assert {tensor.device.type for tensor in SETS[name](device="cpu")} == {"cpu"}


@pytest.mark.parametrize("name", SETS)
def test_a_dtype_that_is_not_floating_is_refused(name):
    with pytest.raises(TypeError, match=r"dtype must be a floating-point type.*torch\.int64"):
        SETS[name](dtype=torch.int64)


@pytest.mark.parametrize("n", [1, 2, 7, np.int64(12)])
def test_the_circle_has_evenly_spaced_points_of_length_one(n):
    angle, x = unit_circle(n, start=-0.4)
    assert angle.shape == (n,)
    assert x.shape == (n, 2)
    torch.testing.assert_close(angle, -0.4 + 2 * math.pi / n * torch.arange(float(n)))
    torch.testing.assert_close(x.norm(dim=1), torch.ones(n))
    torch.testing.assert_close(torch.complex(x[:, 0], x[:, 1]), torch.exp(1j * angle))
    if n > 1:
        torch.testing.assert_close(x.sum(0), torch.zeros(2), atol=1e-12, rtol=0)


def test_the_circle_starts_on_the_right():
    assert unit_circle(3).angle[0] == 0
    assert unit_circle(3, start=1.0).angle[0] == 1


def test_the_circle_refuses_bad_input():
    with pytest.raises(ValueError, match=r"n must be at least 1; got 0"):
        unit_circle(0)
    with pytest.raises(TypeError, match=r"n must be an integer; got 4\.0"):
        unit_circle(4.0)
    with pytest.raises(TypeError, match=r"start must be a number; got tensor"):
        unit_circle(4, start=torch.tensor(0.0))
    with pytest.raises(ValueError, match=r"start must be finite; got nan"):
        unit_circle(4, start=math.nan)


def test_the_curve_is_the_formula_of_its_docstring():
    x, y = wavy_curve(9)
    assert x.shape == (9, 1)
    assert y.shape == (9,)
    assert x[0] == -1
    assert x[-1] == 1
    assert (x.diff(dim=0) > 0).all()
    expected = [math.sin(3 * point) + 0.3 * math.cos(9 * point) for point in x[:, 0].tolist()]
    torch.testing.assert_close(y, torch.tensor(expected))


def test_the_noise_of_the_curve_has_its_standard_deviation_and_its_seed():
    clean, noisy = wavy_curve(4000).y, wavy_curve(4000, noise=0.5).y
    assert abs((noisy - clean).std() - 0.5) < 0.03
    assert abs((noisy - clean).mean()) < 0.04
    assert torch.equal(noisy, wavy_curve(4000, noise=0.5, seed=0).y)
    assert not torch.equal(noisy, wavy_curve(4000, noise=0.5, seed=1).y)


def test_the_noise_is_what_the_seed_draws():
    draw = torch.randn(5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    noise = wavy_curve(5, noise=0.5, seed=3).y - wavy_curve(5).y
    torch.testing.assert_close(noise, 0.5 * draw)


def test_the_noise_comes_from_no_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    wavy_curve(5, noise=1.0)
    digits(1)
    assert torch.equal(before, torch.get_rng_state())


def test_the_curve_refuses_bad_input():
    with pytest.raises(ValueError, match=r"n must be at least 2; got 1"):
        wavy_curve(1)
    with pytest.raises(TypeError, match=r"n must be an integer; got '9'"):
        wavy_curve("9")
    with pytest.raises(ValueError, match=r"noise must be finite and 0 or greater; got -1"):
        wavy_curve(9, noise=-1)
    with pytest.raises(TypeError, match=r"noise must be a number; got None"):
        wavy_curve(9, noise=None)
    with pytest.raises(ValueError, match=r"seed must be at least 0; got -1"):
        wavy_curve(9, seed=-1)


def test_digits_are_balanced_and_ordered_by_class():
    x, label, image = digits(3)
    assert label.tolist() == [digit for digit in range(10) for _ in range(3)]
    assert x.shape == (30, 64)
    assert image.shape == (30, 8, 8)
    assert digits(2, classes=[7, 1]).label.tolist() == [7, 7, 1, 1]


def test_digits_have_mean_square_one_and_show_their_image():
    x, _, image = digits(5)
    torch.testing.assert_close(x.square().mean(1), torch.ones(50))
    assert image.min() == 0
    assert image.max() == 1
    cosine = torch.nn.functional.cosine_similarity(x, image.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(50))


def test_digits_are_the_images_of_scikit_learn_with_their_own_labels():
    from sklearn.datasets import load_digits

    known = {
        image.tobytes(): digit for image, digit in zip(*load_digits(return_X_y=True), strict=True)
    }
    _, label, image = digits(4, seed=3)
    drawn = (16 * image).flatten(1).numpy()
    assert [known[row.tobytes()] for row in drawn] == label.tolist()


@pytest.mark.parametrize("classes", [range(10), [3], np.arange(2)])
def test_digits_are_drawn_without_replacement(classes):
    per_class = 174
    x = digits(per_class, classes=classes).x
    assert len(x.unique(dim=0)) == len(x) == per_class * len(classes)


def test_the_same_seed_draws_the_same_digits_and_another_seed_others():
    assert torch.equal(digits(4).x, digits(4, seed=0).x)
    assert torch.equal(digits(4).x, digits(4, seed=np.int64(0)).x)
    assert not torch.equal(digits(4).x, digits(4, seed=1).x)


def test_a_class_has_as_many_digits_as_the_message_says():
    assert len(digits(183, classes=[3]).x) == 183
    with pytest.raises(ValueError, match=r"at most 183, the number of images of 3; got 184"):
        digits(184, classes=[3])
    with pytest.raises(ValueError, match=r"at most 174, .* of 8; got 175\. 174 is possible"):
        digits(175, classes=[8])


def test_digits_refuse_bad_input():
    with pytest.raises(ValueError, match=r"per_class must be at least 1; got 0"):
        digits(0)
    with pytest.raises(TypeError, match=r"per_class must be an integer; got 2\.5"):
        digits(2.5)
    with pytest.raises(TypeError, match=r"seed must be an integer; got None"):
        digits(2, seed=None)
    with pytest.raises(TypeError, match=r"classes must be a list of digits; got 3\. Write \[3\]"):
        digits(2, classes=3)
    with pytest.raises(TypeError, match=r"each of classes must be an integer; got 3\.0"):
        digits(2, classes=[3.0])
    with pytest.raises(ValueError, match=r"each of classes must be at least 0; got -1"):
        digits(2, classes=[-1])


@pytest.mark.parametrize("classes", [[], [10], [0, 10], [3, 3]])
def test_classes_that_are_no_set_of_digits_are_refused(classes):
    with pytest.raises(ValueError, match=r"different digits from 0 to 9; got \[.*range\(10\)"):
        digits(2, classes=classes)


def test_a_landscape_is_the_elevation_model_that_matplotlib_ships():
    everywhere = terrain(344 * 403)
    with np.load(get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)) as file:
        assert (everywhere.height.numpy() == file["elevation"]).all()
    assert everywhere.y.sort().values.equal(everywhere.height.flatten().sort().values)
    assert everywhere.x.unique(dim=0).shape == (344 * 403, 2)


def test_places_of_a_landscape_lie_where_their_height_is_on_the_map():
    few = terrain(50, seed=3)
    for x, y in zip(few.x, few.y, strict=True):
        row, column = (few.grid - x).norm(dim=-1).argmin().item() // 403, 0
        column = (few.grid[row] - x).norm(dim=-1).argmin()
        assert few.height[row, column] == y


def test_a_landscape_is_measured_in_kilometres_with_the_north_on_top():
    grid = terrain(1).grid
    # A minute of arc of latitude is a nautical mile, 1.852 km; three seconds are a twentieth.
    assert (grid[0, 0, 1] - grid[1, 0, 1]).item() == pytest.approx(1.852 / 20, rel=2e-3)
    east = (grid[0, 1, 0] - grid[0, 0, 0]).item()
    assert east == pytest.approx(1.852 / 20 * math.cos(math.radians(36.59)), rel=2e-3)
    torch.testing.assert_close(grid.mean((0, 1)), torch.zeros(2), atol=1e-9, rtol=0)


def test_another_seed_draws_other_places_and_fewer_are_the_first_of_more():
    assert not torch.equal(terrain(9).x, terrain(9, seed=1).x)
    assert torch.equal(terrain(9).x, terrain(20).x[:9])


def test_a_landscape_has_only_so_many_places():
    with pytest.raises(ValueError, match=r"n must be at most 138,632.*got 138,633"):
        terrain(344 * 403 + 1)
