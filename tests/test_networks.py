"""The network is its formula, and both parameterisations are born the same function."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from reference import mlp_by_loop
from torch import nn
from torch.func import functional_call, jacrev, vmap

from ntk_helpers import MLP
from ntk_helpers.activations import ACTIVATIONS

PARAMETERIZATIONS = ["ntk", "standard"]
BY_HAND = {
    "erf": math.erf,
    "relu": lambda z: max(z, 0.0),
    "tanh": math.tanh,
    "gelu": lambda z: z * (1 + math.erf(z / math.sqrt(2))) / 2,
    "sin": math.sin,
    "linear": lambda z: z,
}


def _weights_and_biases(model):
    return [layer.weight for layer in model.layers], [layer.bias for layer in model.layers]


def test_every_activation_has_a_formula_by_hand():
    assert set(BY_HAND) == set(ACTIVATIONS)


@pytest.mark.parametrize("activation", BY_HAND)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_the_forward_pass_is_the_formula_written_as_loops(activation, parameterization):
    scales = {"sigma_w": 1.7, "sigma_b": 0.6}
    model = MLP(
        3, 5, 2, depth=2, activation=activation, parameterization=parameterization, seed=1, **scales
    )
    x = torch.randn(4, 3)
    by_hand = mlp_by_loop(
        *_weights_and_biases(model), x, BY_HAND[activation], 1.7, 0.6, parameterization
    )
    torch.testing.assert_close(model(x), by_hand)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_both_parameterisations_are_the_same_function_at_birth(depth, dtype, tolerance):
    options = {"depth": depth, "sigma_w": 1.5, "sigma_b": 0.7, "seed": 4, "dtype": dtype}
    x = torch.randn(6, 3, dtype=dtype)
    ntk, standard = (MLP(3, 50, 2, parameterization=p, **options) for p in PARAMETERIZATIONS)
    torch.testing.assert_close(ntk(x), standard(x), rtol=tolerance, atol=tolerance)
    assert not torch.allclose(ntk.layers[0].weight, standard.layers[0].weight)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_float32_and_float64_are_the_same_draw(parameterization):
    single, double = (
        MLP(3, 20, depth=2, parameterization=parameterization, seed=0, dtype=dtype)
        for dtype in (torch.float32, torch.float64)
    )
    for p, q in zip(single.parameters(), double.parameters(), strict=True):
        assert p.dtype == torch.float32
        assert torch.equal(p, q.float())


def test_every_device_starts_from_the_same_network():
    torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        model = MLP(2, 3, seed=0)
        assert {p.device.type for p in model.parameters()} == {"meta"}
        on_cpu = MLP(2, 3, seed=0, device="cpu")
    assert {p.dtype for p in on_cpu.parameters()} == {torch.float32}
    for p, q in zip(on_cpu.parameters(), MLP(2, 3, seed=0).parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_seed_leaves_the_global_generator_alone_and_no_seed_draws_from_it():
    def first_weight(seed):
        return MLP(2, 3, seed=seed).layers[0].weight.tolist()

    before = torch.get_rng_state()
    assert first_weight(5) == first_weight(np.int64(5)) != first_weight(6)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(5)
    assert first_weight(None) == first_weight(5) != first_weight(None)


def test_the_entries_of_the_ntk_parameterisation_are_standard_normal():
    model = MLP(100, 300, 50, depth=2, sigma_w=3.0, sigma_b=2.0, seed=0)
    for p in model.parameters():
        assert abs(p.mean()) < 5 / math.sqrt(p.numel())
        assert abs(p.square().mean() - 1) < 5 * math.sqrt(2 / p.numel())


def test_the_entries_of_the_standard_parameterisation_carry_the_scales():
    model = MLP(
        100, 300, 50, depth=2, sigma_w=3.0, sigma_b=2.0, parameterization="standard", seed=0
    )
    for layer in model.layers:
        weight, bias = layer.weight / (3 / math.sqrt(layer.in_features)), layer.bias / 2
        for p in (weight, bias):
            assert abs(p.square().mean() - 1) < 5 * math.sqrt(2 / p.numel())


# Oracle: the variance of one output over wide networks is that of the Gaussian limit,
# q¹ = σ_w² |x|²/d + σ_b², q^{l+1} = σ_w² E[φ(z)²] + σ_b² with z ~ N(0, q^l); E by closed form.
SECOND_MOMENT = {
    "erf": lambda q: 2 / math.pi * math.asin(2 * q / (1 + 2 * q)),
    "relu": lambda q: q / 2,
    "sin": lambda q: (1 - math.exp(-2 * q)) / 2,
    "linear": lambda q: q,
}


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize(
    ("activation", "sigma_w", "sigma_b", "depth"),
    [
        ("erf", 1.5, 0.5, 1),
        ("erf", 1.5, 0.0, 2),
        ("relu", 1.2, 0.8, 2),
        ("sin", 2.0, 0.3, 1),
        ("linear", 0.7, 1.0, 3),
    ],
)
def test_the_variance_of_a_wide_network_at_birth_is_that_of_the_limit(
    parameterization, activation, sigma_w, sigma_b, depth
):
    x = torch.tensor([[0.5, -1.0, 2.0, 0.1]])
    q = sigma_w**2 * x.square().sum().item() / 4 + sigma_b**2
    for _ in range(depth):
        q = sigma_w**2 * SECOND_MOMENT[activation](q) + sigma_b**2
    outputs = 2000  # given the hidden layers, each output is an independent draw
    model = MLP(
        4,
        1000,
        outputs,
        depth=depth,
        activation=activation,
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        parameterization=parameterization,
        seed=2,
    )
    with torch.no_grad():
        measured = model(x).square().mean().item()
    assert measured == pytest.approx(q, rel=0.15)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_autograd_agrees_with_finite_differences(activation, parameterization):
    scales = {"sigma_w": 1.3, "sigma_b": 0.4}
    model = MLP(3, 4, activation=activation, parameterization=parameterization, seed=0, **scales)
    x = torch.randn(1, 3)
    parameters = dict(model.named_parameters())
    assert torch.autograd.gradcheck(
        lambda *values: functional_call(model, dict(zip(parameters, values, strict=True)), (x,)),
        tuple(parameters.values()),
    )


def test_vmap_over_points_and_functional_call_give_the_batch():
    model = MLP(3, 8, 2, depth=2, seed=0)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    x = torch.randn(5, 3)

    def one(theta, point):
        return functional_call(model, theta, (point,))

    torch.testing.assert_close(vmap(one, (None, 0))(parameters, x), model(x))
    jacobian = vmap(jacrev(one), (None, 0))(parameters, x)
    assert jacobian["layers.0.weight"].shape == (5, 2, 8, 3)


def test_vmap_over_networks_is_an_ensemble():
    members = [MLP(3, 8, seed=seed) for seed in range(3)]
    stacked, _ = torch.func.stack_module_state(members)
    x = torch.randn(5, 3)
    together = vmap(lambda theta: functional_call(members[0], theta, (x,)))(stacked)
    torch.testing.assert_close(together, torch.stack([member(x) for member in members]))


def test_leading_axes_are_kept():
    model = MLP(3, 4, 2, seed=0)
    for shape in [(), (5,), (5, 6), (0,)]:
        assert model(torch.ones(*shape, 3)).shape == (*shape, 2)


def test_a_network_survives_copy_and_state_dict():
    model = MLP(2, 4, seed=0)
    other = MLP(2, 4, seed=1)
    other.load_state_dict(model.state_dict())
    x = torch.randn(3, 2)
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    assert torch.equal(other(x), model(x))


def test_parameters_are_counted_and_all_trainable():
    model = MLP(3, 7, 2, depth=3)
    sizes = [3, 7, 7, 7, 2]
    expected = sum(a * b + b for a, b in itertools.pairwise(sizes))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected
    assert all(isinstance(layer, nn.Linear) for layer in model.layers)


def test_printing_a_network_shows_sizes_and_scales():
    text = str(MLP(4, 16, sigma_w=2.0, sigma_b=0.3))
    assert "4 → 16, weight_scale=1, bias_scale=0.3" in text
    assert "16 → 1, weight_scale=0.5, bias_scale=0.3" in text


@pytest.mark.parametrize("name", ["n_in", "width", "n_out", "depth"])
def test_sizes_below_one_or_not_whole_are_refused(name):
    sizes = {"n_in": 2, "width": 3}
    with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
        MLP(**{**sizes, name: 0})
    with pytest.raises(TypeError, match=f"{name} must be an integer; got 2.5 of type float"):
        MLP(**{**sizes, name: 2.5})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sigma_w": 0}, ValueError, "sigma_w must be finite and greater than 0; got 0"),
        ({"sigma_w": "1"}, TypeError, "sigma_w must be a number; got '1'"),
        ({"sigma_b": -0.1}, ValueError, "sigma_b must be finite and 0 or greater; got -0.1"),
        ({"sigma_b": None}, TypeError, "sigma_b must be a number; got None"),
        ({"activation": "Relu"}, ValueError, "activation must be one of 'erf', 'relu', .*'Relu'"),
        ({"activation": torch.relu}, ValueError, "activation must be one of 'erf', .*; got <"),
        ({"parameterization": "NTK"}, ValueError, "must be one of 'ntk', 'standard'; got 'NTK'"),
        ({"seed": -1}, ValueError, "seed must be at least 0; got -1"),
        ({"seed": 1.5}, TypeError, "seed must be an integer; got 1.5"),
        ({"dtype": torch.int64}, TypeError, "dtype must be a floating-point type"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        MLP(2, 3, **options)


@pytest.mark.parametrize("sigma", [np.float32(1.5), np.float64(1.5)])
def test_scales_may_be_numbers_of_numpy(sigma):
    model = MLP(2, 3, sigma_w=sigma, sigma_b=sigma, seed=0)
    assert torch.equal(
        model(torch.ones(2)), MLP(2, 3, sigma_w=1.5, sigma_b=1.5, seed=0)(torch.ones(2))
    )


@pytest.mark.parametrize("shape", [(), (4,), (4, 2), (3, 4)])
def test_points_of_another_length_are_refused(shape):
    with pytest.raises(ValueError, match=r"x must have 3 input\(s\) on its last axis; got shape"):
        MLP(3, 4)(torch.ones(shape))


def test_points_of_another_kind_are_refused():
    model = MLP(3, 4)
    with pytest.raises(TypeError, match=r"x must be a torch\.Tensor; got ndarray.*as_tensor"):
        model(np.ones((2, 3)))
    with pytest.raises(TypeError, match=r"x is torch\.float32 but the network is torch\.float64"):
        model(torch.ones(2, 3, dtype=torch.float32))
    with pytest.raises(ValueError, match=r"x is on meta but the network is on cpu"):
        model(torch.ones(2, 3, device="meta"))


def test_the_defaults_are_those_of_the_course():
    model = MLP(2, 3)
    assert (model.n_out, model.depth, model.activation) == (1, 1, "erf")
    assert (model.sigma_w, model.sigma_b, model.parameterization) == (1.0, 0.1, "ntk")


@pytest.mark.parametrize("phi", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slopes_in_place_are_the_derivatives_of_the_activations(phi, dtype):
    z = torch.cat([torch.linspace(-6, 6, 401), torch.tensor([0.0, 1e-8, -1e-8, 1e8, -1e8])])
    z = z.to(dtype).requires_grad_()
    h = ACTIVATIONS[phi].phi(z)
    (slope,) = torch.autograd.grad(h.sum(), z)
    memory, out = z.detach().clone(), torch.empty_like(z)
    ACTIVATIONS[phi].into(memory, out=out)
    ACTIVATIONS[phi].slope_(memory, out)
    tolerance = {"rtol": 0, "atol": 4 * torch.finfo(dtype).eps}
    torch.testing.assert_close(out, h.detach(), **(tolerance | {"rtol": 4e-7}))
    torch.testing.assert_close(memory, slope, **tolerance)
