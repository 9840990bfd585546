"""The kernels of infinitely wide networks against quadrature, wide networks and their own laws."""

import math
import warnings

import numpy as np
import pytest
import torch
from numpy.polynomial.legendre import leggauss
from reference import infinite_kernels_by_loop, peak_memory
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import ntk_helpers as ntk
from ntk_helpers.activations import ACTIVATIONS, erfs_of_tanh
from ntk_helpers.kernels import _memory, _series, infinite
from ntk_helpers.kernels._hermite import ladder, nodes

SLOPES = {
    "erf": lambda z: 2 / math.sqrt(math.pi) * torch.exp(-z * z),
    "relu": lambda z: (z > 0).to(z.dtype),
    "tanh": lambda z: 1 / torch.cosh(z) ** 2,
    "gelu": lambda z: (
        0.5 * (1 + torch.erf(z / math.sqrt(2))) + z * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    ),
    "sin": torch.cos,
    "linear": torch.ones_like,
}
activations = pytest.mark.parametrize("activation", list(ACTIVATIONS))
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def points(n, d=3, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@activations
@pytest.mark.parametrize("depth", [1, 3])
def test_kernels_agree_with_quadrature_pair_by_pair(activation, depth):
    x = torch.tensor([[1.0, 0.2], [-0.5, 1.1], [0.3, -1.4]])
    settings = {"sigma_w": 1.3, "sigma_b": 0.4}
    found = ntk.infinite_kernels(x, depth=depth, activation=activation, **settings)
    nngp, theta = infinite_kernels_by_loop(
        x, x, depth, ACTIVATIONS[activation].phi, SLOPES[activation], **settings
    )
    torch.testing.assert_close(found.nngp, nngp, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.ntk, theta, rtol=1e-9, atol=1e-9)


@activations
def test_ntk_is_the_mean_kernel_of_wide_networks(activation):
    x, settings = points(4, d=2), {"depth": 2, "activation": activation, "sigma_w": 1.2}
    draws = torch.stack(
        [
            ntk.empirical_ntk(ntk.MLP(2, 256, seed=seed, **settings), x, outputs="trace")
            for seed in range(24)
        ]
    )
    limit = ntk.infinite_kernels(x, **settings).ntk
    band = 4 * draws.std(0) / math.sqrt(len(draws)) + 0.01 * limit.abs().max()
    assert ((draws.mean(0) - limit).abs() < band).all()
    assert (band < 0.15 * limit.abs().max()).all()


@activations
def test_nngp_is_the_covariance_of_outputs_over_random_networks(activation):
    x, settings = points(3, d=2), {"depth": 2, "activation": activation, "sigma_w": 1.2}
    with torch.no_grad():
        outputs = [ntk.MLP(2, 256, n_out=400, seed=seed, **settings)(x) for seed in range(24)]
    draws = torch.stack([f @ f.T / 400 for f in outputs])
    limit = ntk.infinite_kernels(x, **settings).nngp
    band = 4 * draws.std(0) / math.sqrt(len(draws)) + 0.01 * limit.max()
    assert ((draws.mean(0) - limit).abs() < band).all()
    assert (band < 0.25 * limit.max()).all()


@activations
@dtypes
def test_kernels_are_finite_and_right_where_angles_degenerate(activation, dtype):
    base = points(40, d=5).to(dtype)
    x = torch.cat([base, base, 3 * base, -base, 1e-3 * base, 8 * base.sign(), 0 * base[:2]])
    settings = {"depth": 3, "activation": activation, "sigma_w": 1.5, "sigma_b": 0.0}
    square = ntk.infinite_kernels(x, **settings)
    for kernel in square:
        assert kernel.dtype == dtype
        assert torch.isfinite(kernel).all()
        assert torch.equal(kernel, kernel.T)
        tolerance = 1e-5 if dtype == torch.float32 else 1e-11
        torch.testing.assert_close(kernel[:40, 40:80], kernel[:40, :40], rtol=tolerance, atol=1e-12)
        torch.testing.assert_close(
            kernel.diagonal(offset=40)[:40], kernel.diagonal()[:40], rtol=tolerance, atol=1e-12
        )
        lowest, highest = torch.linalg.eigvalsh(kernel.double())[[0, -1]]
        assert lowest > -10 * torch.finfo(dtype).eps * highest


@activations
def test_a_zero_input_without_bias_has_a_zero_ntk_row_for_odd_activations(activation):
    x = torch.cat([points(3), torch.zeros(1, 3)])
    theta = ntk.infinite_kernels(x, depth=2, activation=activation, sigma_b=0.0).ntk
    assert theta[3].abs().max() == 0


@pytest.mark.parametrize("activation", ["erf", "tanh", "sin", "linear"])
def test_kernels_of_odd_activations_change_sign_with_an_input(activation):
    x = points(4)
    settings = {"depth": 2, "activation": activation, "sigma_b": 0.0}
    for plain, flipped in zip(
        ntk.infinite_kernels(x, x, **settings),
        ntk.infinite_kernels(x, -x, **settings),
        strict=True,
    ):
        torch.testing.assert_close(flipped, -plain)


def test_relu_kernels_scale_with_the_length_of_an_input():
    x, z = points(4), points(3, seed=1)
    settings = {"depth": 3, "activation": "relu", "sigma_b": 0.0}
    for plain, longer in zip(
        ntk.infinite_kernels(x, z, **settings),
        ntk.infinite_kernels(5 * x, z, **settings),
        strict=True,
    ):
        torch.testing.assert_close(longer, 5 * plain)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_relu_at_the_critical_variance_keeps_the_nngp_and_adds_one_per_layer_to_the_ntk(depth):
    x = points(5)
    found = ntk.infinite_kernels(x, depth=depth, activation="relu", sigma_w=2**0.5, sigma_b=0.0)
    square = 2 * x.square().sum(1) / 3
    torch.testing.assert_close(found.nngp.diagonal(), square)
    torch.testing.assert_close(found.ntk.diagonal(), (depth + 1) * square)


def test_relu_kernel_at_opposite_points_is_the_bias_alone():
    x = points(3)
    found = ntk.infinite_kernels(x, -x, activation="relu", sigma_b=0.0)
    assert found.nngp.diagonal().abs().max() == 0
    assert found.ntk.diagonal().abs().max() == 0


def test_linear_kernels_are_polynomials_in_the_inner_product():
    x, w2, b2 = points(4), 1.44, 0.25
    found = ntk.infinite_kernels(x, depth=2, activation="linear", sigma_w=1.2, sigma_b=0.5)
    first = w2 * x @ x.T / 3 + b2
    second = w2 * first + b2
    third = w2 * second + b2
    torch.testing.assert_close(found.nngp, third)
    torch.testing.assert_close(found.ntk, third + w2 * (second + w2 * first))


@activations
def test_two_arguments_and_blocks_of_rows_change_nothing(activation, monkeypatch):
    x, z = points(3), points(7, seed=1)
    union, settings = torch.cat([x, z]), {"activation": activation, "depth": 2}
    whole = ntk.infinite_kernels(union, **settings)
    monkeypatch.setattr("ntk_helpers.kernels.infinite.BLOCK_ENTRIES", 32)  # tiles of 2 × 16
    both, part = ntk.infinite_kernels(union, **settings), ntk.infinite_kernels(x, z, **settings)
    for square, blocks, block in zip(whole, both, part, strict=True):
        torch.testing.assert_close(blocks, square)
        torch.testing.assert_close(block, square[:3, 3:])
        assert torch.equal(blocks, blocks.T)


def test_kernels_do_not_depend_on_the_basis_of_the_inputs():
    x = points(5)
    rotation = torch.linalg.qr(points(3, seed=2)).Q
    for plain, rotated in zip(
        ntk.infinite_kernels(x), ntk.infinite_kernels(x @ rotation), strict=True
    ):
        torch.testing.assert_close(rotated, plain)


def test_a_default_device_leaves_the_nodes_of_tanh_on_the_cpu():
    erfs_of_tanh.cache_clear()
    with torch.device("meta"):
        ntk.infinite_kernels(torch.ones(2, 2, device="cpu"), activation="tanh")
    assert {t.device.type for t in erfs_of_tanh()} == {"cpu"}


def test_tanh_is_the_sum_of_erfs_that_its_kernel_is_made_of():
    a, p = erfs_of_tanh()
    z = torch.linspace(-30, 30, 3001)[:, None]
    assert p.min() > 0
    torch.testing.assert_close(
        (p * torch.erf(a * z)).sum(1), torch.tanh(z[:, 0]), rtol=0, atol=1e-12
    )
    slope = (p * a * SLOPES["erf"](a * z)).sum(1)
    torch.testing.assert_close(slope, SLOPES["tanh"](z[:, 0]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("variance", [1e-16, 1.0, 1e2, 1e4, 1e8, 1e16])
def test_the_tanh_kernel_is_right_at_every_scale(variance):
    """Where tanh is steep, quadrature by Hermite polynomials sees no slope at all."""
    width = min(1.0, variance**-0.5)  # E over u = √variance z, finely where tanh(u) bends
    z = torch.cat([torch.linspace(0, 40 * width, 400_001), torch.linspace(40 * width, 12, 400_001)])
    density = torch.exp(-z * z / 2) * math.sqrt(2 / math.pi)
    u = math.sqrt(variance) * z
    q = torch.tensor(variance)
    both, slopes = ACTIVATIONS["tanh"].expectations(q, q, q)
    for found, phi in ((both, torch.tanh), (slopes, SLOPES["tanh"])):
        wanted = torch.trapezoid(phi(u) ** 2 * density, z)
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=0)


def test_the_defaults_are_those_of_a_network():
    x, net = points(3), ntk.MLP(3, 2)
    found = ntk.infinite_kernels(x)
    settings = {"sigma_w": net.sigma_w, "sigma_b": net.sigma_b, "activation": net.activation}
    wanted = ntk.infinite_kernels(x, depth=net.depth, **settings)
    assert torch.equal(found.ntk, wanted.ntk)
    assert torch.equal(found.nngp, wanted.nngp)


def test_kernels_carry_no_gradient_of_the_points():
    for kernel in ntk.infinite_kernels(points(3).requires_grad_(), points(2).requires_grad_()):
        assert not kernel.requires_grad


def test_a_kernel_near_the_largest_number_is_given():
    x = torch.full((2, 2), 1e15, dtype=torch.float32)
    assert torch.isfinite(ntk.infinite_kernels(x, activation="relu").ntk).all()


LARGE = {"x1": torch.full((2, 2), 1e15, dtype=torch.float32), "activation": "relu", "sigma_w": 1e3}
# Σ = 2.2e38 fits, Θ = 4.5e38 does not
HALF = {
    "x1": torch.full((1, 1), 1.5e19, dtype=torch.float32),
    "activation": "linear",
    "sigma_b": 0.0,
}
BIG = 1e160 * torch.ones(1, 2).double()
# fmt: off
REFUSALS = [
    ({"x1": [[1.0]]}, TypeError, r"x1 must be a torch.Tensor; got list"),
    ({"x1": torch.ones(3)}, ValueError, r"x1 must have 2 axes; got shape \(3,\)"),
    ({"x1": torch.ones(0, 2)}, ValueError, r"x1 is empty"),
    ({"x1": torch.full((1, 2), math.nan)}, ValueError, r"x1 holds 2 value\(s\) that are NaN"),
    ({"x2": torch.full((1, 2), math.inf)}, ValueError, r"x2 holds 2 value\(s\) that are NaN"),
    ({"x2": torch.ones(3, 4)}, ValueError, r"points of the same shape; got \(3, 2\) and \(3, 4\)"),
    ({"x2": torch.ones(3, 2).double()}, TypeError, r"x2 is torch.float64 but x1 is torch.float32"),
    ({"depth": 0}, ValueError, r"depth must be at least 1; got 0"),
    ({"depth": 1.5}, TypeError, r"depth must be an integer"),
    ({"activation": "swish"}, ValueError, r"activation must be one of 'erf', .*got 'swish'"),
    ({"sigma_w": 0.0}, ValueError, r"sigma_w must be finite and greater than 0"),
    ({"sigma_b": -1.0}, ValueError, r"sigma_b must be finite and 0 or greater"),
    (LARGE, ValueError, r"overflow torch.float32: the inputs reach 1e\+15.*float64"),
    (HALF, ValueError, r"the kernels overflow torch.float32"),
    ({"x1": BIG}, ValueError, r"kernels overflow torch.float64"),
    ({"x1": torch.ones(5_000_000, 1)}, MemoryError, r"and 5,000,000 points need 200,00\d.\d GB"),
    ({"activation": math.tanh}, TypeError, r"activation raised .* must be a function of a tensor"),
    ({"activation": lambda u, v: u}, TypeError, r"activation raised TypeError"),
    ({"activation": nn.SiLU}, TypeError, r"must return a tensor of the shape and dtype .*got SiLU"),
    ({"activation": lambda u: u.sum(0)}, TypeError, r"here \(4, 5\), torch.float64; got \(5,\)"),
    ({"activation": lambda u: u.float()}, TypeError, r"got \(4, 5\), torch.float32"),
    ({"activation": torch.log}, ValueError, r"activation returns NaN or infinite values for numb"),
    ({"activation": lambda u: (100 * u).exp()}, ValueError, r"infinite values .* up to ±12.9"),
    ({"activation": lambda u: u / u.norm()}, ValueError, r"act on each number by itself"),
    ({"activation": nn.Dropout(0.5)}, ValueError, r"by itself, without chance"),
    ({"x1": BIG, "activation": torch.erf}, ValueError, r"kernels overflow torch.float64"),
]
# fmt: on


@pytest.mark.parametrize(("change", "error", "message"), REFUSALS)
def test_bad_input_is_refused(change, error, message):
    arguments = {"x1": torch.ones(3, 2, dtype=torch.float32)} | change
    with pytest.raises(error, match=message):
        ntk.infinite_kernels(**arguments)


# Activations given as functions.


def distance(kernel, wanted):
    """Return the largest distance of two kernels, relative to √(K(x, x) K(x', x'))."""
    size = wanted.diagonal().sqrt()
    return ((kernel - wanted) / (size[:, None] * size)).abs().max()


def hard_cases(scale):
    """Return points up to |x|² = scale² d; some are equal, nearly equal, opposite or parallel."""
    x = points(12)
    near = x[:4] + 1e-4 * points(4, seed=1)
    x = torch.cat([x, x[:3], near, -x[:3], 3 * x[:2], 1e-3 * x[:2]])
    return scale * x / (x.square().sum(1) / 3).max().sqrt()


AS_FUNCTIONS = {
    "erf": torch.erf,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "sin": torch.sin,
    "linear": lambda u: u,
}


@pytest.mark.parametrize("sigma_b", [0.0, 0.3])
@pytest.mark.parametrize("scale", [1e-8, 1e-3, 0.3, 1.0, 4.0])
@activations
def test_an_activation_given_as_a_function_has_the_kernels_of_its_closed_form(
    activation, scale, sigma_b, monkeypatch
):
    x, settings = hard_cases(scale), {"depth": 2, "sigma_w": 1.2, "sigma_b": sigma_b}
    found = ntk.infinite_kernels(x, activation=AS_FUNCTIONS[activation], **settings)
    closed = infinite._ClosedForm(ACTIVATIONS[activation].expectations)  # also of tanh
    monkeypatch.setattr(infinite, "_law", lambda _: closed)
    wanted = ntk.infinite_kernels(x, activation=activation, **settings)
    for kernel, exact in zip(found, wanted, strict=True):
        assert distance(kernel, exact) < 1e-9
        assert torch.equal(kernel, kernel.T)


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 5.0, 30.0, 1e3, 1e8])
def test_the_series_of_tanh_and_its_sum_of_erfs_are_one_kernel_at_every_scale(scale, monkeypatch):
    tolerance = 1e-11 if scale < 100 else 1e-8  # there the last digit of an input moves the kernel
    x, settings = hard_cases(scale), {"depth": 2, "activation": "tanh", "sigma_w": 1.3}
    found = ntk.infinite_kernels(x, **settings)
    closed = infinite._ClosedForm(ACTIVATIONS["tanh"].expectations)
    monkeypatch.setattr(infinite, "_law", lambda _: closed)
    for kernel, exact in zip(found, ntk.infinite_kernels(x, **settings), strict=True):
        assert distance(kernel, exact) < tolerance


SMOOTH = {
    "silu": functional.silu,
    "softplus": functional.softplus,
    "mish": functional.mish,
    "cos": torch.cos,
    "a bump": lambda u: torch.exp(-u * u),
    "a wave": lambda u: u + torch.sin(6 * u),
    "cubic": lambda u: 0.1 * u**3 + 1,
    "leaky": lambda u: functional.leaky_relu(u, 0.1),
    "shifted": lambda u: 1 + functional.silu(u) + u.abs(),
}


def slope_of(phi):
    return lambda u: torch.func.vmap(torch.func.grad(phi))(u.reshape(-1)).reshape(u.shape)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", SMOOTH)
def test_kernels_of_any_function_agree_with_quadrature_in_two_variables(name, depth):
    x, phi = torch.tensor([[1.0, 0.2], [-0.5, 1.1], [0.3, -1.4]]), SMOOTH[name]
    settings = {"sigma_w": 1.2, "sigma_b": 0.4}
    found = ntk.infinite_kernels(x, depth=depth, activation=phi, **settings)
    wanted = infinite_kernels_by_loop(x, x, depth, phi, slope_of(phi), **settings)
    for kernel, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(kernel, exact, rtol=1e-9, atol=1e-9)


def test_a_leaky_relu_is_a_relu_and_a_line_to_the_last_digit():
    """φ(u) = (1 − s) ReLU(u) + s u, and E over (u, v) knows ReLU at c and at −c."""
    s, x = 0.2, hard_cases(1.0)
    settings = {"sigma_w": 1.0, "sigma_b": 0.0}
    both, slopes = ACTIVATIONS["relu"].expectations(
        *(x.square().sum(1)[shape] / 3 for shape in ((slice(None), None), (None, slice(None)))),
        c := x @ x.T / 3,
    )
    nngp = (1 - s) ** 2 * both + s * c  # E[ReLU(u) v] = c / 2, twice s (1 − s), and s² c
    theta = nngp + ((1 - s) ** 2 * slopes + s) * c
    found = ntk.infinite_kernels(x, activation=lambda u: functional.leaky_relu(u, s), **settings)
    assert distance(found.nngp, nngp) < 1e-13
    assert distance(found.ntk, theta) < 1e-11  # nearly equal points: rounding of c moves the angle


def both_between(low, high, q1, q2, rho):
    """Return P(low < u, v < high) for Gaussian u, v, which is E[φ'(u) φ'(v)] of a clamp."""
    a, b = (torch.tensor([low, high]) / math.sqrt(q) for q in (q1, q2))
    if rho == 1:
        edges = torch.special.ndtr(
            torch.stack([torch.maximum(a[0], b[0]), torch.minimum(a[1], b[1])])
        )
        return float(edges[1] - edges[0])
    wide, (t, mass) = math.sqrt(1 - rho**2), (torch.tensor(column) for column in leggauss(200))
    bends = torch.cat(
        [(b / rho)[:, None] + 8 * wide * torch.linspace(-1, 1, 9), a[:, None].T.T.expand(2, 1)], 1
    )
    edges = bends.flatten().clamp(a[0], a[1]).sort().values
    z = edges[:-1, None] + edges.diff()[:, None] * (t + 1) / 2
    inside = torch.special.ndtr((b[1] - rho * z) / wide) - torch.special.ndtr(
        (b[0] - rho * z) / wide
    )
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return float((edges.diff()[:, None] / 2 * mass * density * inside).sum())


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 6.0), (-0.3, 2.0)])
@pytest.mark.parametrize(("q1", "q2"), [(0.1, 0.1), (1.0, 1.0), (1.0, 1.1), (1.0, 3.0), (9.0, 9.0)])
def test_kinks_away_from_0_err_less_than_the_warning_says(low, high, q1, q2):
    series = _series.Series(lambda u: u.clamp(low, high))
    at = series.at(torch.tensor([q1, q2]))
    size = math.sqrt(both_between(low, high, q1, q1, 1) * both_between(low, high, q2, q2, 1))
    errors = {}
    for rho in (0.3, 0.9, 0.99, 0.999, 0.9999, 1.0):
        _, slope = series.pair(at[:1], at[1:], torch.tensor([[rho * math.sqrt(q1 * q2)]]))
        errors[rho] = abs(float(slope) - both_between(low, high, q1, q2, rho)) / size
    assert max(errors.values()) < 1e-9 + series.error
    assert max(errors[0.3], errors[0.9]) < 5e-4
    assert series.error < 0.05


def test_a_kink_away_from_0_is_warned_of_with_the_size_of_the_error():
    with pytest.warns(RuntimeWarning, match=r"wrong by up to [1-4]\.\d% between points of nearly"):
        ntk.infinite_kernels(points(20), activation=functional.hardtanh, sigma_w=1.5)


def test_a_step_has_no_tangent_kernel_and_is_warned_of():
    """Its NNGP is P(u, v > 0), which is E[φ'(u) φ'(v)] of ReLU."""
    x, settings = points(20), {"sigma_w": 1.0, "sigma_b": 0.0}
    with pytest.warns(RuntimeWarning, match=r"up to 100.0% .* a step"):
        found = ntk.infinite_kernels(x, activation=lambda u: (u > 0).to(u.dtype), **settings)
    q = x.square().sum(1)
    wanted = ACTIVATIONS["relu"].expectations(q[:, None], q, x @ x.T)[1]
    torch.testing.assert_close(found.nngp, wanted, rtol=0, atol=0.01)
    assert torch.isfinite(found.ntk).all()


@pytest.mark.parametrize(("scale", "phi"), [(100, torch.erf), (1, lambda u: u + (99 * u).sin())])
def test_what_bends_too_fast_for_the_size_of_the_inputs_is_warned_of(scale, phi):
    with pytest.warns(RuntimeWarning, match=r"up to 100.0% .* bends too fast for inputs"):
        ntk.infinite_kernels(scale * points(20), activation=phi)


def test_waves_too_short_for_any_term_are_warned_of():
    with pytest.warns(RuntimeWarning, match=r"up to 100.0% .* bends too fast for inputs"):
        ntk.infinite_kernels(ntk.data.unit_circle(9).x, activation=lambda u: u + (100 * u).sin())


@pytest.mark.parametrize("phi", [functional.elu, functional.selu, torch.abs, functional.rrelu])
def test_a_kink_at_0_is_no_reason_to_warn(phi):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ntk.infinite_kernels(hard_cases(1.0), depth=3, activation=phi)


@pytest.mark.parametrize("phi", [functional.silu, functional.elu, functional.hardtanh, torch.cos])
@pytest.mark.filterwarnings("ignore:the kernels may be wrong")
def test_kernels_of_functions_are_symmetric_and_positive_semidefinite(phi):
    x = torch.cat([hard_cases(1.0), hard_cases(2.0)])
    for kernel in ntk.infinite_kernels(x, depth=2, activation=phi, sigma_w=1.5):
        assert torch.equal(kernel, kernel.T)
        lowest, highest = torch.linalg.eigvalsh(kernel)[[0, -1]]
        assert lowest > -1e-13 * highest


@pytest.mark.parametrize("phi", [functional.silu, torch.tanh, functional.elu])
def test_two_sets_of_points_have_a_block_of_the_kernel_of_their_union(phi, monkeypatch):
    x, z = hard_cases(0.5), 3 * points(5, seed=3)
    whole = ntk.infinite_kernels(torch.cat([x, z]), depth=2, activation=phi)
    part = ntk.infinite_kernels(x, z, depth=2, activation=phi)
    monkeypatch.setattr(infinite, "BLOCK_ENTRIES", 32)
    tiles = ntk.infinite_kernels(torch.cat([x, z]), depth=2, activation=phi)
    for square, block, tiled in zip(whole, part, tiles, strict=True):
        torch.testing.assert_close(block, square[: len(x), len(x) :], rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(tiled, square, rtol=1e-11, atol=1e-12)


def test_a_ladder_of_terms_gives_the_sum_of_all_of_them(monkeypatch):
    assert min(np.diff(ladder().j)) == 1
    x, z = hard_cases(1.0), points(5, seed=3)
    few = ntk.infinite_kernels(x, z, activation=functional.mish)
    monkeypatch.setattr(_series, "ladder", _series.all_rows)
    for kernel, exact in zip(
        few, ntk.infinite_kernels(x, z, activation=functional.mish), strict=True
    ):
        torch.testing.assert_close(kernel, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rho", [-0.99, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize(("q1", "q2"), [(1e-4, 9.0), (1e-2, 4.0), (1.0, 16.0)])
@pytest.mark.parametrize("phi", [lambda u: torch.exp(-4 * u * u) + 0.01 * u.relu(), torch.tanh])
def test_terms_are_left_out_only_where_all_of_them_are_too_small(phi, q1, q2, rho, monkeypatch):
    series, c = _series.Series(phi), torch.tensor([[rho * math.sqrt(q1 * q2)]])
    at = series.at(torch.tensor([q1, q2]))
    found = series.pair(at[:1], at[1:], c)
    monkeypatch.setattr(_series, "LEFT_OUT", -1.0)
    for few, every in zip(found, series.pair(at[:1], at[1:], c), strict=True):
        torch.testing.assert_close(few, every, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("q", [0.0, 1e-30, 1e-16, 1e-8])
def test_the_slope_at_tiny_inputs_has_its_digits_beside_a_value_that_is_not_0(q):
    series, q = _series.Series(functional.softplus), torch.tensor([q])
    value, slope = series.pair(at := series.at(q), at, q[:, None])
    torch.testing.assert_close(value.item(), math.log(2) ** 2, rtol=1e-7, atol=0)
    torch.testing.assert_close(slope.item(), 0.25, rtol=1e-8, atol=0)


@pytest.mark.parametrize("k", [0, 1, 2, 7, 14, 15])
def test_the_tables_of_hermite_polynomials_are_orthonormal(k):
    """Up to k = 15 the nodes reach far enough for a product of two."""
    (_, weight), fresh = nodes(), ladder.__wrapped__()  # no table that an earlier test left
    assert fresh.j[:37] == [*range(35), 36, 38]
    table = fresh.table[:, :8].transpose(0, 1).flatten(0, 1)
    products = 2 * (table[k] * table / weight).sum(1)  # both halves of the line, if of one parity
    wanted = torch.zeros(16)
    wanted[k] = 1.0
    torch.testing.assert_close(products[k % 2 :: 2], wanted[k % 2 :: 2], rtol=0, atol=1e-13)


def test_the_rows_know_the_terms_of_relu_and_hold_nearly_all_of_it():
    (z, _), fresh = nodes(), _series.all_rows.__wrapped__()
    terms = (fresh.table[0] @ z).square()  # of even k, the half of ReLU that is |z|/2
    torch.testing.assert_close(fresh.relu[:8], terms[:8], rtol=0, atol=1e-15)
    rest = fresh.relu[-1] * 1024 / 1.5  # of a series like j^−5/2
    torch.testing.assert_close(0.25 - fresh.relu.sum(), rest, rtol=0.01, atol=0)


def test_a_function_may_work_in_place_and_have_parameters():
    x = points(4)
    wanted = ntk.infinite_kernels(x, activation=lambda u: functional.leaky_relu(u, 0.25))
    for module in (nn.LeakyReLU(0.25, inplace=True), nn.PReLU(init=0.25)):
        for kernel, exact in zip(ntk.infinite_kernels(x, activation=module), wanted, strict=True):
            torch.testing.assert_close(kernel, exact, rtol=1e-12, atol=0)
            assert not kernel.requires_grad


@dtypes
def test_a_function_gives_kernels_in_the_dtype_of_the_points(dtype):
    x = points(4).to(dtype)
    found = ntk.infinite_kernels(x, activation=torch.erf)
    for kernel, exact in zip(found, ntk.infinite_kernels(x, activation="erf"), strict=True):
        assert kernel.dtype == dtype
        torch.testing.assert_close(kernel, exact)


def test_the_ensemble_of_wide_networks_takes_a_function():
    x, y = points(5), points(5)[:, 0]
    found = ntk.wide_ensemble(x, y, points(3, seed=1), 2.0, activation=torch.erf)
    wanted = ntk.wide_ensemble(x, y, points(3, seed=1), 2.0, activation="erf")
    torch.testing.assert_close(found.mean, wanted.mean)
    torch.testing.assert_close(found.cov, wanted.cov)


class Passes(TorchDispatchMode):
    """Counts the numbers that all operations write."""

    written = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        """Run the operation."""
        result = operation(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not operation.is_view:
            self.written += result.numel()
        return result


@pytest.mark.parametrize(("d", "sigma_w"), [(1, 1.5), (10, 1.0)])
def test_the_tanh_kernel_costs_a_few_hundred_passes_over_it_not_ten_thousand(d, sigma_w):
    x = points(600, d=d)
    passes = {}
    for activation in ("erf", "tanh"):
        with Passes() as count:
            ntk.infinite_kernels(x, activation=activation, sigma_w=sigma_w)
        passes[activation] = count.written / (600 * 601 / 2)
    print(passes)
    assert passes["tanh"] < 10 * passes["erf"]


# Memory.


def pretend(root, files):
    """Write files below `root`, as Linux has them below /."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 32000000 kB\nMemAvailable: 8000000 kB\n"}
V2 = {
    "proc/self/cgroup": "0::/kubepods/cri:pod\n",
    "sys/fs/cgroup/kubepods/cri:pod/memory.max": "max\n",
    "sys/fs/cgroup/kubepods/memory.max": "3000000000\n",
    "sys/fs/cgroup/kubepods/memory.current": "1500000000\n",
    "sys/fs/cgroup/kubepods/memory.stat": "active_file 200000000\ninactive_file 300000000\n",
}
V1 = {
    "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/docker/1\n0::/\n",
    "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "2000000000\n",
    "sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes": "1700000000\n",
    "sys/fs/cgroup/memory/docker/1/memory.stat": (
        "inactive_file 5\ntotal_active_file 100000000\ntotal_inactive_file 300000000\n"
    ),
}
SYSTEMS = {
    "no Linux": ({}, math.inf),
    "a laptop": (MEMINFO | {"proc/self/cgroup": "0::/\n"}, 8.192e9),
    "a pod": (MEMINFO | V2, 2.0e9),
    "a container of version 1": (MEMINFO | V1, 0.7e9),
    "a kernel of another kind": ({"proc/meminfo": "nothing\n"}, math.inf),
    "an old kernel": ({"proc/meminfo": "MemFree: 8000000 kB\n"}, math.inf),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_memory_that_is_left_is_the_least_of_the_machine_and_its_containers(
    system, tmp_path, monkeypatch
):
    files, left = SYSTEMS[system]
    monkeypatch.setattr(_memory, "ROOT", pretend(tmp_path, files))
    assert _memory.memory_left(torch.device("cpu")) == left


def test_the_memory_left_on_a_gpu_counts_what_torch_keeps_for_itself(monkeypatch):
    second = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", {second: (5_000, 9_000)}.get)
    monkeypatch.setattr(torch.cuda, "memory_reserved", {second: 700}.get)
    monkeypatch.setattr(torch.cuda, "memory_allocated", {second: 300}.get)
    assert _memory.memory_left(second) == 5_400


CALLS = {
    "infinite_kernels": lambda: ntk.infinite_kernels(torch.ones(20_000, 1)),
    "of a function, many points": lambda: ntk.infinite_kernels(
        torch.ones(1_200_000, 1), torch.ones(1, 1), activation=functional.silu
    ),
    "empirical_ntk": lambda: ntk.empirical_ntk(nn.Linear(1, 1), torch.ones(30_000, 1)),
}


@pytest.mark.parametrize("call", CALLS)
def test_kernels_that_do_not_fit_are_refused_before_memory_is_taken(call, tmp_path, monkeypatch):
    def new(self, *shape, **options):
        pytest.fail("memory was taken")

    monkeypatch.setattr(_memory, "ROOT", pretend(tmp_path, MEMINFO | V2))
    monkeypatch.setattr(torch.Tensor, "new_empty", new)
    monkeypatch.setattr(torch.Tensor, "new_zeros", new)
    with pytest.raises(
        MemoryError, match=r"needs? [67].\d GB of memory, and 2.0 GB are left. Take f"
    ):
        CALLS[call]()


def test_a_kernel_that_fits_is_not_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_memory, "ROOT", pretend(tmp_path, MEMINFO | V2))
    assert len(ntk.infinite_kernels(torch.ones(3000, 1), torch.ones(2, 1)).ntk) == 3000


def test_nobody_is_asked_for_a_small_kernel(monkeypatch):
    monkeypatch.setattr(_memory, "memory_left", lambda device: pytest.fail("asked"))
    ntk.infinite_kernels(points(5))


def test_where_nothing_tells_what_is_left_the_attempt_does(monkeypatch):
    def fails(*shape):
        raise RuntimeError("not enough memory")

    monkeypatch.setattr(_memory, "memory_left", lambda device: math.inf)
    with (
        pytest.raises(MemoryError, match=r"need 8.0 GB of memory\. Take fewer"),
        _memory.memory_for("both need", 8e9, torch.device("cpu"), "Take fewer."),
    ):
        fails()


ASKED = """
from ntk_helpers.kernels import infinite
x = torch.randn({n2}, 10, dtype=torch.float64)
settings = {{"activation": "{activation}", "depth": {depth}}}
ntk.infinite_kernels(x[:10], **settings)
asked, inner = [], infinite.memory_for
infinite.memory_for = lambda what, size, *rest: asked.append(size) or inner(what, size, *rest)
"""


@pytest.mark.parametrize(
    ("activation", "depth", "n1", "n2"), [("erf", 1, 4000, 4000), ("tanh", 3, 20, 40000)]
)
def test_the_memory_asked_for_is_that_which_is_taken(activation, depth, n1, n2):
    setup = ASKED.format(activation=activation, depth=depth, n2=n2)
    call = f"ntk.infinite_kernels(x[:{n1}], x, **settings)"
    assert 0.7 < peak_memory(setup, call, "taken / asked[0]") < 1.05
