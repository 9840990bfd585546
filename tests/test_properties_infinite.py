"""Laws that the kernels of infinitely wide networks keep for any points, design and scale."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import activations, designs, normal, points, scales, seeds
from torch.nn import functional

import ntk_helpers as ntk


def kernels(*points, **design):
    """Return the kernels; an example whose kernels float32 cannot hold is given up."""
    try:
        return ntk.infinite_kernels(*points, **design)
    except ValueError as error:
        assume("overflow torch.float32" not in str(error))
        raise


def require_finite_and_symmetric(kernel, dtype):
    assert kernel.dtype == dtype
    assert torch.isfinite(kernel).all()
    assert torch.equal(kernel, kernel.T)


def require_semidefinite(kernel, dtype, negative=1e-6):
    """An angle keeps half the digits of its cosine; each layer can multiply what rounding left."""
    largest = kernel.abs().max().double()
    if largest > 0:
        smallest = torch.linalg.eigvalsh(kernel.double() / largest)[0]
        assert smallest > -max(negative, 100 * torch.finfo(dtype).eps * len(kernel))


@given(points(), designs())
def test_kernels_are_finite_and_symmetric_to_the_last_digit(x, design):
    for kernel in kernels(x, **design):
        require_finite_and_symmetric(kernel, x.dtype)


@given(st.one_of(points(), points(close=True)), designs(most=3.0))
def test_kernels_are_positive_semidefinite(x, design):
    nngp, theta = ntk.infinite_kernels(x, **design)
    require_semidefinite(nngp, x.dtype, 1e-12)  # the cosine enters smoothly
    require_semidefinite(theta, x.dtype)


@given(points(), designs(), st.randoms(use_true_random=False))
def test_kernels_follow_a_permutation_of_the_points(x, design, random):
    order = list(range(len(x)))
    random.shuffle(order)
    for plain, shuffled in zip(kernels(x, **design), kernels(x[order], **design), strict=True):
        close = 1e-6 if x.dtype == torch.float32 else 1e-12
        size = plain.abs().max().item()
        torch.testing.assert_close(shuffled, plain[order][:, order], rtol=close, atol=close * size)


@given(points(), points(), designs())
def test_the_kernel_of_two_sets_is_the_block_of_their_union(x, z, design):
    z = normal(len(z), x.shape[1], seed=len(z)).to(x)
    union = kernels(torch.cat([x, z]), **design)
    for whole, block in zip(union, kernels(x, z, **design), strict=True):
        close = 1e-6 if x.dtype == torch.float32 else 1e-12
        size = whole.abs().max().item()
        torch.testing.assert_close(block, whole[: len(x), len(x) :], rtol=close, atol=close * size)


@given(points(dtype=st.just(torch.float64)), designs())
def test_a_point_and_its_duplicate_have_the_same_rows(x, design):
    for kernel in ntk.infinite_kernels(torch.cat([x, x]), **design):
        n, size = len(x), kernel.abs().max().item()
        torch.testing.assert_close(kernel[n:], kernel[:n], rtol=1e-12, atol=1e-12 * size)
        torch.testing.assert_close(
            kernel[:n, n:].diagonal(), kernel.diagonal()[:n], rtol=1e-12, atol=0
        )


@given(points(dtype=st.just(torch.float64)), designs(), st.integers(-26, 26))
def test_relu_and_linear_kernels_grow_with_the_square_of_the_scale(x, design, exponent):
    for activation in ("relu", "linear"):
        same = design | {"activation": activation, "sigma_b": 0.0}
        for plain, scaled in zip(
            ntk.infinite_kernels(x, **same),
            ntk.infinite_kernels(2.0**exponent * x, **same),
            strict=True,
        ):
            torch.testing.assert_close(
                scaled, 4.0**exponent * plain, rtol=1e-10, atol=1e-10 * scaled.abs().max().item()
            )


FUNCTIONS = {
    "silu": functional.silu,
    "tanh": torch.tanh,
    "softplus": functional.softplus,
    "leaky": functional.leaky_relu,
    "elu": functional.elu,
    "clamp": functional.hardtanh,
    "step": torch.sign,
}
functions = st.sampled_from(list(FUNCTIONS)).map(FUNCTIONS.get)


@pytest.mark.filterwarnings("ignore:the kernels may be wrong")
@given(points(), designs(most=10.0), functions)
def test_kernels_of_functions_are_finite_symmetric_and_positive_semidefinite(x, design, phi):
    for kernel in kernels(x, **design | {"activation": phi}):
        require_finite_and_symmetric(kernel, x.dtype)
        require_semidefinite(kernel, x.dtype)


@pytest.mark.filterwarnings("ignore:the kernels may be wrong")
@given(points(dtype=st.just(torch.float64)), designs(most=10.0), functions)
def test_kernels_of_functions_give_a_duplicate_the_rows_of_its_twin(x, design, phi):
    for kernel in ntk.infinite_kernels(torch.cat([x, x]), **design | {"activation": phi}):
        n, size = len(x), kernel.abs().max().item()
        torch.testing.assert_close(kernel[n:], kernel[:n], rtol=1e-11, atol=1e-11 * size)


@given(points(dtype=st.just(torch.float64)), designs(), st.integers(-26, 26))
def test_the_kernel_of_a_function_that_scales_grows_with_the_square_of_the_scale(x, design, power):
    same = design | {"activation": functional.leaky_relu, "sigma_b": 0.0}
    plain, scaled = (ntk.infinite_kernels(c * x, **same) for c in (1.0, 2.0**power))
    for kernel, grown in zip(plain, scaled, strict=True):
        size = grown.abs().max().item()
        torch.testing.assert_close(grown, 4.0**power * kernel, rtol=1e-10, atol=1e-10 * size)


SLOPE_AT_ZERO = {"erf": 2 / math.sqrt(math.pi), "tanh": 1.0, "gelu": 0.5, "sin": 1.0}


@given(points(scale=st.just(1e-8), dtype=st.just(torch.float64)), designs(most=1.0))
def test_smooth_kernels_of_small_inputs_are_those_of_their_tangent(x, design):
    for activation, slope in SLOPE_AT_ZERO.items():
        smooth = design | {"activation": activation, "sigma_b": 0.0}
        found = ntk.infinite_kernels(x, **smooth)
        w2, first = design["sigma_w"] ** 2, design["sigma_w"] ** 2 * (x @ x.T) / x.shape[1]
        nngp = (w2 * slope**2) ** design["depth"] * first
        for kernel, limit in zip(found, (nngp, (design["depth"] + 1) * nngp), strict=True):
            size = limit.abs().max().item()
            torch.testing.assert_close(kernel, limit, rtol=1e-6, atol=1e-6 * size)


@given(seeds, st.integers(2, 6), st.integers(2, 4), st.sampled_from([1e6, 1e8]))
def test_erf_of_large_inputs_is_the_sign(seed, n, d, scale):
    x = normal(n, d, seed=seed)
    found, _ = ntk.infinite_kernels(scale * x, activation="erf", sigma_b=0.0)
    cosine = torch.nn.functional.normalize(x, dim=1)
    cosine = (cosine @ cosine.T).clamp(-1, 1)
    torch.testing.assert_close(found, 2 / math.pi * cosine.asin(), rtol=0, atol=1e-3)


@given(seeds, st.integers(2, 6), st.sampled_from([1e4, 1e8]), designs())
def test_sin_of_large_inputs_knows_only_equal_from_different(seed, n, scale, design):
    x = scale * normal(n, 3, seed=seed)
    setting = {"activation": "sin", "sigma_w": 1.0, "sigma_b": design["sigma_b"], "depth": 1}
    nngp, _ = ntk.infinite_kernels(torch.cat([x, x]), **setting)
    wanted = torch.eye(n).repeat(2, 2) / 2 + design["sigma_b"] ** 2
    if math.exp(-2 * design["sigma_b"] ** 2) < 1e-9 or design["sigma_b"] == 0:
        torch.testing.assert_close(nngp, wanted, rtol=1e-9, atol=1e-9)


@given(points(dtype=st.just(torch.float64)), designs(), scales)
def test_float32_gives_the_float64_kernels_rounded_or_says_that_they_overflow(x, design, scale):
    x = (scale * x).float()
    fine = ntk.infinite_kernels(x.double(), **design)
    if max(kernel.max() for kernel in fine) > torch.finfo(torch.float32).max:
        with pytest.raises(ValueError, match=r"the kernels overflow torch.float32"):
            ntk.infinite_kernels(x, **design)
        return
    for rough, exact in zip(ntk.infinite_kernels(x, **design), fine, strict=True):
        assert torch.equal(rough, exact.float())


@given(activations)
def test_inputs_whose_square_overflows_are_refused(activation):
    x = torch.full((2, 2), torch.finfo(torch.float64).max)
    with pytest.raises(ValueError, match=r"the kernels overflow torch.float64"):
        ntk.infinite_kernels(x, activation=activation, depth=2)
