"""Laws that measured tangent kernels keep, of plain and of physics-informed networks."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import activations, dtypes, normal, seeds

import ntk_helpers as ntk
from ntk_helpers.kernels.empirical import empirical_ntk, layer_ntks

shapes = st.sampled_from(["full", "diagonal", "trace"])
methods = ["layerwise", "jacobian", "ntvp", "auto"]
small = st.integers(1, 3)
small_scales = st.sampled_from([1e-8, 1e-3, 1.0, 1e3, 1e8])


@st.composite
def problems(draw, dtype=dtypes, n_out=small):
    """Draw a network and (n, d) points, the last a duplicate of the first."""
    model = ntk.MLP(
        draw(st.integers(1, 3)),
        draw(st.integers(1, 6)),
        draw(n_out),
        depth=draw(st.integers(1, 3)),
        activation=draw(activations),
        sigma_w=draw(st.sampled_from([1e-3, 0.7, 1.5, 1e3])),
        sigma_b=draw(st.sampled_from([0.0, 0.1, 1e3])),
        parameterization=draw(st.sampled_from(["ntk", "standard"])),
        seed=draw(seeds),
        dtype=draw(dtype),
    )
    x = normal(draw(st.integers(1, 5)), model.n_in, seed=draw(seeds)) * draw(small_scales)
    x[-1] = x[0]
    return model, x.to(next(model.parameters()).dtype)


def measured(model, x, *arguments, **options):
    """Return the kernel, or None where it was refused because rounding leaves no number."""
    try:
        return empirical_ntk(model, x, *arguments, **options)
    except ValueError as error:
        chaotic = "another output alone" in str(error)  # sin of 1e6 has no digit in float32
        if not chaotic and "NaN or infinite" not in str(error):
            raise
        return None


@given(problems())
def test_kernels_are_symmetric_and_positive_semidefinite(drawn):
    model, x = drawn
    kernel = measured(model, x)
    if kernel is None:
        return
    n, k = len(x), kernel.shape[-1]
    square = kernel.permute(0, 2, 1, 3).reshape(n * k, n * k).double()
    assert torch.isfinite(square).all()
    assert torch.equal(square, square.T)
    largest = square.abs().max()
    if largest > 0:
        lowest = torch.linalg.eigvalsh(square / largest)[0]
        assert lowest > -100 * torch.finfo(x.dtype).eps * n * k


def roundings(model, x):
    """Return how many of the largest entry's roundings to grant; sin of z has lost those of z."""
    reached = []
    for layer in model.layers[:-1] if model.activation == "sin" else []:
        layer.register_forward_hook(lambda _, __, z: reached.append(max(1.0, z.abs().max().item())))
    with torch.no_grad():
        model(x)
    return 1e4 * max(1.0, math.prod(reached) / 1e3)  # each layer those of all before it


@given(problems(), shapes, st.one_of(st.none(), st.integers(1, 3)))
def test_all_methods_and_chunks_agree(drawn, outputs, chunk_size):
    model, x = drawn
    kernels = [
        measured(model, x, outputs=outputs, method=m, chunk_size=chunk_size) for m in methods
    ]
    if any(kernel is None for kernel in kernels):
        return
    size = max(kernel.abs().max().item() for kernel in kernels)
    atol = roundings(model, x) * torch.finfo(x.dtype).eps * max(size, 1e-20)
    for kernel in kernels[1:]:
        torch.testing.assert_close(kernel, kernels[0], rtol=0, atol=atol)


@given(problems(), shapes)
def test_shares_of_the_layers_sum_to_the_kernel(drawn, outputs):
    model, x = drawn
    whole = measured(model, x, outputs=outputs)
    if whole is not None:
        parts = sum(layer_ntks(model, x, outputs=outputs).values())
        size = whole.abs().max().item()
        torch.testing.assert_close(
            parts, whole, rtol=0, atol=1e4 * torch.finfo(x.dtype).eps * max(size, 1e-20)
        )


@given(problems(), st.randoms(use_true_random=False))
def test_kernels_follow_a_permutation_of_the_points_on_each_side(drawn, random):
    model, x = drawn
    order = list(range(len(x)))
    random.shuffle(order)
    plain = measured(model, x)
    if plain is not None:
        size = plain.abs().max().item()
        close = {"rtol": 0, "atol": 1e4 * torch.finfo(x.dtype).eps * max(size, 1e-20)}
        torch.testing.assert_close(measured(model, x[order]), plain[order][:, order], **close)
        torch.testing.assert_close(measured(model, x[order], x), plain[order], **close)
        torch.testing.assert_close(measured(model, x, x[order]), plain[:, order], **close)


@given(problems(dtype=st.just(torch.float64), n_out=st.just(1)), seeds)
def test_the_kernel_is_the_square_of_the_directional_derivative(drawn, seed):
    model, x = drawn
    kernel = measured(model, x, outputs="trace")
    if kernel is None:
        return
    u = normal(len(x), seed=seed)
    gradients = torch.autograd.grad(u @ model(x)[:, 0], list(model.parameters()))
    wanted = sum(g.square().sum() for g in gradients)
    close = 1e-9 * (u.abs() @ kernel.abs() @ u.abs()).item()
    torch.testing.assert_close(u @ kernel @ u, wanted, rtol=1e-9, atol=close)


smooth = st.sampled_from(["erf", "tanh", "sin", "gelu"])


@given(
    st.integers(1, 6), smooth, st.integers(1, 2), st.integers(1, 4), st.integers(1, 4), seeds,
    dtypes, st.randoms(use_true_random=False), st.floats(0, 1e3), st.floats(0, 1e3),
)  # fmt: skip
def test_pinn_kernels_are_symmetric_positive_semidefinite_and_follow_their_points(
    width, activation, depth, n_boundary, n_interior, seed, dtype, random, boundary, residual
):
    model = ntk.MLP(1, width, activation=activation, depth=depth, seed=seed, dtype=dtype)
    xb, xr = (normal(n, 1, seed=seed + n).to(dtype) for n in (n_boundary, n_interior))
    operator = ntk.PoissonProblem().operator
    kernel = ntk.pinn_kernel(model, xb, xr, operator)
    assert torch.isfinite(kernel.full).all()
    assert torch.equal(kernel.full, kernel.full.T)
    size = kernel.full.abs().max().item()
    few = 100 * torch.finfo(dtype).eps * size
    assert torch.linalg.eigvalsh(kernel.full.double())[0] > -few * len(kernel.full)
    weighted = kernel.weighted(boundary, residual)
    largest = max(boundary, residual, 1e-300)
    assert torch.linalg.eigvalsh(weighted.full.double())[0] >= -few * 10 * largest
    orders = [list(range(n_boundary)), list(range(n_interior))]
    for order in orders:
        random.shuffle(order)
    shuffled = ntk.pinn_kernel(model, xb[orders[0]], xr[orders[1]], operator)
    close = {"rtol": 0, "atol": few}
    torch.testing.assert_close(shuffled.uu, kernel.uu[orders[0]][:, orders[0]], **close)
    torch.testing.assert_close(shuffled.ur, kernel.ur[orders[0]][:, orders[1]], **close)
    torch.testing.assert_close(shuffled.rr, kernel.rr[orders[1]][:, orders[1]], **close)
    on_boundary = empirical_ntk(model, xb, outputs="trace")
    torch.testing.assert_close(kernel.uu, on_boundary, **close)


@given(st.integers(1, 6), seeds, st.integers(-20, 20))
def test_balance_weights_do_not_depend_on_the_scale_of_the_kernel(width, seed, exponent):
    model = ntk.MLP(1, width, activation="tanh", seed=seed)
    x = normal(3, 1, seed=seed + 1)
    kernel = ntk.pinn_kernel(model, x, x, ntk.PoissonProblem().operator)
    scaled = ntk.PINNKernel(*(2.0**exponent * block for block in kernel))
    assert scaled.balance_weights() == kernel.balance_weights()
