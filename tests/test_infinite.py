"""The kernels of infinitely wide networks against quadrature, wide networks and their own laws."""

import math

import pytest
import torch
from reference import infinite_kernels_by_loop

import ntk_helpers as ntk
from ntk_helpers.activations import ACTIVATIONS, erfs_of_tanh

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
    monkeypatch.setattr("ntk_helpers.kernels.infinite.BLOCK_ENTRIES", 20)  # two rows at once
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
    ({"x1": 1e160 * torch.ones(1, 2).double()}, ValueError, r"kernels overflow torch.float64"),
    ({"x1": torch.ones(5_000_000, 1)}, MemoryError, r"of 5,000,000 and .* need 200,000.0 GB"),
]
# fmt: on


@pytest.mark.parametrize(("change", "error", "message"), REFUSALS)
def test_bad_input_is_refused(change, error, message):
    arguments = {"x1": torch.ones(3, 2, dtype=torch.float32)} | change
    with pytest.raises(error, match=message):
        ntk.infinite_kernels(**arguments)
