"""PINNs: the block kernel, training by three routes, and the closed form, against slow twins."""

import copy
import math
import warnings
from functools import partial
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from reference import (
    flow_by_ode,
    pinn_kernel_by_loop,
    second_derivative_by_autograd,
    train_pinn_by_loop,
)
from torch import nn
from torch.func import grad, jacrev

import ntk_helpers as ntk
from ntk_helpers.kernels._jacobian import plain_torch
from ntk_helpers.pinn import _tanh as pinn_fields
from ntk_helpers.pinn import kernel as pinn

PROBLEM = ntk.PoissonProblem()
X_B, X_R = (
    torch.tensor([[0.0], [0.0], [1.0], [1.0]], dtype=torch.float64),
    torch.linspace(0, 1, 7, dtype=torch.float64)[:, None],
)
SETUPS = {"text": ("ntk", False), "code": ("standard", True), "ntk": ("ntk", True)}
setups = pytest.mark.parametrize("setup", SETUPS)
methods = pytest.mark.parametrize("method", ["analytic", "autograd"])


def network(setup="ntk", width=12, depth=1, seed=0, dtype=torch.float64, **options):
    """Return a PINN; biases and weights with scales that no formula may drop unnoticed."""
    parameterization, standardised = SETUPS[setup]
    options = {"activation": "tanh", "sigma_w": 1.3, "sigma_b": 0.7} | options
    model = ntk.MLP(
        1, width, depth=depth, parameterization=parameterization, seed=seed, dtype=dtype, **options
    )
    return ntk.Standardized(model, X_R.to(dtype)) if standardised else model


def train(model, **options):
    options = {"learning_rate": 1e-4, "steps": 20, "progress": False} | options
    return ntk.train_pinn(model, PROBLEM, X_B, X_R, **options)


class Modes(nn.Module):
    """u = θ_0 + θ_1 x + Σ_m θ_m sin(m π x): linear in θ, so that its kernel never changes."""

    def __init__(self):
        """Start at some θ."""
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([0.3, -0.5, 0.2, 0.4, -0.1], dtype=torch.float64))

    def forward(self, x):
        waves = [torch.sin(m * math.pi * x) for m in (1, 2, 3)]
        return torch.cat([torch.ones_like(x), x, *waves], -1) @ self.theta[:, None]


# --- the problem -------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [ntk.PoissonProblem(4), ntk.PoissonProblem((1, 3), (1.0, 0.5))])
def test_the_forcing_is_the_second_derivative_of_the_solution(problem):
    def u(x):
        return problem.solution(x)[0]

    found = torch.stack([problem.operator(u)(x) for x in X_R])
    torch.testing.assert_close(found, problem.forcing(X_R)[:, 0])
    h = 1e-4
    differences = (u(0.3 + h + X_R[:1]) - 2 * u(0.3 + X_R[:1]) + u(0.3 - h + X_R[:1])) / h**2
    torch.testing.assert_close(differences, problem.forcing(X_R[:1] + 0.3)[0], rtol=1e-5, atol=1e-5)


def test_the_solution_is_a_sum_of_sines_in_the_shape_of_the_points():
    problem = ntk.PoissonProblem((1, 3), (1.0, 0.5))
    expected = torch.sin(math.pi * X_R) + 0.5 * torch.sin(3 * math.pi * X_R)
    torch.testing.assert_close(problem.solution(X_R), expected)
    assert problem.solution(X_R[:, 0]).shape == (7,)
    assert ntk.PoissonProblem().solution(torch.tensor(0.5)) == 1
    assert ntk.PoissonProblem(1, -2.0).solution(torch.tensor(0.5)) == -2


def test_points_fill_the_interval_and_its_ends():
    assert PROBLEM.boundary(6).flatten().tolist() == [0, 0, 0, 1, 1, 1]
    assert PROBLEM.boundary(2).flatten().tolist() == [0, 1]
    assert PROBLEM.interior(2).flatten().tolist() == [0, 1]
    assert PROBLEM.interior(5).flatten().tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert PROBLEM.interior(5, dtype=torch.float32).dtype == torch.float32


def test_standardised_points_have_mean_0_and_spread_1():
    seen = []
    layer = nn.Linear(1, 1, dtype=torch.float64)
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    points = ntk.PoissonProblem().interior(100)
    ntk.Standardized(layer, points)(points)
    assert seen[0].mean().abs() < 1e-12
    assert seen[0].square().mean() == pytest.approx(1)


def test_standardising_keeps_numbers_of_the_points_and_no_gradient():
    points = torch.tensor([[0.0, 1.0], [2.0, 5.0]], requires_grad=True)
    model = ntk.Standardized(nn.Linear(2, 1), points)
    assert model.mean.tolist() == [1, 3]
    assert model.scale.tolist() == [1, 2]
    assert not model.mean.requires_grad
    assert not model.scale.requires_grad


def test_the_second_derivative_carries_1_over_s_squared():
    model = network("ntk")
    inside = (X_R - model.mean) / model.scale
    bare = second_derivative_by_autograd(model.network, inside)
    found = train(model, steps=0).lu[0]
    torch.testing.assert_close(found, bare / model.scale**2)
    assert ntk.Standardized(model.network, PROBLEM.interior(100)).scale.item() ** -2 == (
        pytest.approx(12, rel=0.03)
    )


@methods
@setups
def test_the_curvature_is_that_of_finite_differences_and_of_the_formula(method, setup):
    model = network(setup, width=7)
    net = model.network if setup != "text" else model
    mean, scale = (model.mean, model.scale) if setup != "text" else (0.0, 1.0)
    found = train(model, steps=0, method=method).lu[0]
    h = 1e-4
    with torch.no_grad():
        differences = (model(X_R + h) - 2 * model(X_R) + model(X_R - h))[:, 0] / h**2
        first, last = net.layers
        phi = torch.tanh(first((X_R - mean) / scale))
        slope = first.weight_scale * first.weight[:, 0] / scale
        bend = -2 * phi * (1 - phi**2) * slope**2  # (tanh z)'' = −2 tanh z (1 − tanh² z) z'²
        formula = last.weight_scale * bend @ last.weight[0]
    torch.testing.assert_close(found, differences, rtol=1e-5, atol=1e-5 * found.abs().max().item())
    torch.testing.assert_close(found, formula)


# --- the kernel --------------------------------------------------------------------------------


def _helmholtz(u):
    return lambda x: ntk.PoissonProblem.operator(u)(x) + 9.0 * u(x)


def _transport(u):
    return lambda x: grad(u)(x)[0] + 3.0 * x[0] * u(x)


def _helmholtz_loop(model, x):
    return second_derivative_by_autograd(model, x) + 9.0 * model(x)[:, 0]


def _transport_loop(model, x):
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return (slope + 3.0 * x * model(x))[:, 0]


OPERATORS = {
    "Poisson": (PROBLEM.operator, second_derivative_by_autograd),
    "Helmholtz": (_helmholtz, _helmholtz_loop),
    "first order": (_transport, _transport_loop),
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("depth", [1, 2])
@setups
def test_the_kernel_is_that_of_a_plain_loop(operator, depth, setup):
    model = network(setup, depth=depth, width=6)
    ours, naive = OPERATORS[operator]
    found = ntk.pinn_kernel(model, X_B, X_R, ours)
    expected = pinn_kernel_by_loop(model, X_B, X_R, naive)
    torch.testing.assert_close(found.full, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.ur, expected[:4, 4:], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.rr, expected[4:, 4:], rtol=1e-9, atol=1e-9)


def test_the_kernel_takes_operators_in_two_dimensions():
    model = ntk.MLP(2, 6, depth=2, activation="tanh", seed=0)
    x_b, x_r = torch.rand(3, 2), torch.rand(4, 2)

    def laplacian(model, x):
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        parts = [torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0] for i in (0, 1)]
        return parts[0][:, 0] + parts[1][:, 1]

    found = ntk.pinn_kernel(model, x_b, x_r, lambda u: lambda x: jacrev(grad(u))(x).trace())
    expected = pinn_kernel_by_loop(model, x_b, x_r, laplacian)
    torch.testing.assert_close(found.full, expected, rtol=1e-9, atol=1e-9)


def test_the_boundary_block_is_the_usual_tangent_kernel():
    model = network("code")
    expected = ntk.empirical_ntk(model, X_B, outputs="trace")
    torch.testing.assert_close(ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator).uu, expected)


def test_chunks_change_nothing(monkeypatch):
    model = network(width=5)
    whole = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator).full
    monkeypatch.setattr(pinn, "WORKING_SET", 3 * 4 * 16 * 8)
    parts = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator).full
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)


@setups
def test_the_kernel_is_symmetric_psd_and_of_rank_2_on_the_boundary(setup):
    x_b, x_r = PROBLEM.boundary(20), PROBLEM.interior(20)
    kernel = ntk.pinn_kernel(network(setup, width=50), x_b, x_r, PROBLEM.operator)
    assert torch.equal(kernel.full, kernel.full.T)
    values = kernel.eigenvalues()
    assert (values.diff() >= 0).all()
    assert values[0] > -1e-12 * values[-1]
    assert torch.linalg.matrix_rank(kernel.uu, hermitian=True) == 2


def test_the_kernel_at_the_start_knows_nothing_of_the_problem():
    kernels = []
    for frequency in (1, 4):
        problem = ntk.PoissonProblem(frequency)
        model = network()
        run = ntk.train_pinn(
            model, problem, X_B, X_R, learning_rate=1e-5, steps=0, keep_kernels=True
        )
        kernels.append(run.kernels[0].full)
    assert torch.equal(*kernels)


def test_weighted_eigenvalues_are_those_of_k_times_d():
    kernel = ntk.pinn_kernel(network(), X_B, X_R, PROBLEM.operator)
    d = torch.tensor([5.0] * 4 + [0.3] * 7)
    raw = torch.linalg.eigvals(kernel.full * d)
    found = kernel.weighted(5.0, 0.3).eigenvalues()
    assert raw.imag.abs().max() < 1e-8 * raw.abs().max()
    torch.testing.assert_close(found, raw.real.sort().values, rtol=1e-8, atol=1e-8 * found[-1])


def test_balance_weights_give_both_losses_the_same_sum_of_rates():
    kernel = ntk.pinn_kernel(network(), X_B, X_R, PROBLEM.operator)
    boundary, residual = kernel.balance_weights()
    total = kernel.full.trace().item()
    assert boundary * kernel.uu.trace().item() == pytest.approx(total)
    assert residual * kernel.rr.trace().item() == pytest.approx(total)
    assert boundary > residual


class Odd(nn.Module):
    """A network whose hidden layer h (n, 4) goes through a function that may do anything."""

    def __init__(self, act):
        """Take act(model, h)."""
        super().__init__()
        self.act, self.first, self.last = act, *ntk.MLP(1, 4, seed=0).layers
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x):
        return self.last(self.act(self, torch.tanh(self.first(x))))


def count(model, h):
    model.seen += 1
    return h


def average(model, h):
    model.seen.mul_(0.9).add_(0.1 * h.detach().mean(0))
    return h


def branch(model, h):
    return h if h.isfinite().all() else 0 * h


def test_a_model_that_counts_its_calls_is_only_looked_at():
    model, plain = Odd(count), Odd(lambda model, h: h)
    found = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator)
    assert torch.equal(found.full, ntk.pinn_kernel(plain, X_B, X_R, PROBLEM.operator).full)
    assert model.seen.tolist() == [0] * 4
    run = train(model, steps=3)
    assert torch.equal(run.lu, train(plain, steps=3).lu)
    assert model.seen.tolist() == [4] * 4  # once at each u that training looks at, and no more


@pytest.mark.parametrize("act", [average, branch])
def test_a_model_that_cannot_be_run_point_by_point_is_refused(act):
    for call in (train, lambda model: ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator)):
        with pytest.raises(
            ValueError, match=r"(?s)torch\.func, .* cannot run .*\nTake in-place wr"
        ):
            call(Odd(act))


@pytest.mark.parametrize(
    "mix", [lambda _, h: h.cumsum(0), lambda _, h: h.flip(0).cumsum(0).flip(0)]
)
def test_a_model_that_adds_up_rows_from_either_end_has_no_kernel(mix):
    with pytest.raises(ValueError, match="model mixes the rows of a batch"):
        ntk.pinn_kernel(Odd(mix), X_B, X_R, PROBLEM.operator)


def test_points_that_carry_a_graph_do_not_stand_for_parameters():
    cut = Odd(lambda model, h: h)
    cut.register_forward_hook(lambda model, inputs, u: u.detach() + inputs[0])
    with pytest.raises(ValueError, match="output does not depend on its trainable parameters"):
        ntk.pinn_kernel(cut, X_B.clone().requires_grad_(), X_R, PROBLEM.operator)


class Attention(nn.Module):
    """u(x) by an encoder layer, which sees three tokens made of x."""

    def __init__(self):
        """Draw the parameters."""
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.read = nn.Linear(1, 12), nn.Linear(4, 1)
        options = {"dropout": 0.0, "activation": "gelu", "batch_first": True}
        self.encode = nn.TransformerEncoderLayer(4, 2, 6, **options)

    def forward(self, x):
        return self.read(self.encode(self.tokens(x).unflatten(1, (3, 4))).mean(1))


@pytest.mark.parametrize("mode", [True, False])
def test_attention_has_a_kernel_and_is_trained(mode):
    model, twin = Attention().train(mode), Attention().train(mode)
    found = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator).full
    run = train(model, steps=5)
    with plain_torch():
        expected = pinn_kernel_by_loop(twin, X_B, X_R, second_derivative_by_autograd)
        u, curvature = train_pinn_by_loop(twin, PROBLEM, X_B, X_R, 1e-4, 5, (1.0, 1.0))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(run.u[-1], u, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(run.lu[-1], curvature, rtol=1e-9, atol=1e-9)


# --- training ----------------------------------------------------------------------------------


@methods
@setups
@pytest.mark.parametrize(("loss", "scales"), [("sum", (1, 1)), ("mean", (1 / 4, 1 / 7))])
def test_training_is_the_loop_by_autograd(method, setup, loss, scales):
    model = network(setup)
    twin = copy.deepcopy(model)
    run = train(model, loss=loss, weights=(3.0, 0.5), method=method)
    factors = 3.0 * scales[0], 0.5 * scales[1]
    u, curvature = train_pinn_by_loop(twin, PROBLEM, X_B, X_R, 1e-4, 20, factors)
    torch.testing.assert_close(run.u[-1], u, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(run.lu[-1], curvature, rtol=1e-9, atol=1e-9)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-9)
    wrong = u - PROBLEM.solution(X_B)[:, 0], curvature - PROBLEM.forcing(X_R)[:, 0]
    expected = [0.5 * c * w.square().sum() for c, w in zip(scales, wrong, strict=True)]
    torch.testing.assert_close(run.losses[-1], torch.stack(expected), rtol=1e-9, atol=1e-9)


def test_deep_networks_train_alike_by_both_routes():
    runs = [
        train(
            network("code", depth=3, width=8),
            learning_rate=1e-6,
            method=method,
            keep_kernels=True,
            record_at=[7],
        )
        for method in ("taylor", "autograd")
    ]
    torch.testing.assert_close(runs[0].lu, runs[1].lu)
    assert runs[0].step.tolist() == [0, 7, 20]
    torch.testing.assert_close(runs[0].kernel_change, runs[1].kernel_change)


def test_the_loss_of_the_released_code_takes_half_the_rate():
    model = network("code")
    twin = copy.deepcopy(model)
    run = train(model, loss="mean", learning_rate=2e-3, steps=1)
    u, curvature = twin(X_B), second_derivative_by_autograd(twin, X_R)
    mse = nn.MSELoss()
    loss = mse(u, PROBLEM.solution(X_B)) + mse(curvature, PROBLEM.forcing(X_R)[:, 0])
    optimizer = torch.optim.SGD(twin.parameters(), lr=1e-3)
    loss.backward()
    optimizer.step()
    torch.testing.assert_close(run.u[-1], twin(X_B).detach()[:, 0])


@setups
def test_the_analytic_kernel_is_the_general_one(setup):
    model = network(setup)
    run = train(model, keep_kernels=True, steps=5)
    expected = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator)
    torch.testing.assert_close(run.kernels[-1].full, expected.full)
    change = (run.kernels[-1].full - run.kernels[0].full).norm() / run.kernels[0].full.norm()
    torch.testing.assert_close(run.kernel_change[-1], change)


def test_the_history_tells_steps_times_and_how_far_the_parameters_went():
    model = network()
    start = torch.cat([p.detach().flatten() for p in model.parameters()])
    run = train(model, record_at=[3], observe=lambda u: u(X_R)[:, 0])
    end = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert run.step.tolist() == [0, 3, 20]
    torch.testing.assert_close(run.time, 1e-4 * run.step)
    torch.testing.assert_close(run.parameter_change[-1], (end - start).norm() / start.norm())
    torch.testing.assert_close(run.observed[-1], model(X_R).detach()[:, 0])
    assert run.parameter_change[0] == 0
    assert run.kernels == ()
    assert len(train(network(), steps=1000, learning_rate=1e-6).step) > 20


def test_balance_weights_are_those_of_the_kernel_and_can_be_refreshed():
    expected = ntk.pinn_kernel(network(), X_B, X_R, PROBLEM.operator).balance_weights()
    fixed = train(network(), weights="balance", record_at=range(21))
    torch.testing.assert_close(fixed.weights[-1], torch.tensor(expected))
    model = network()
    fresh = train(model, weights="balance", refresh_every=10, record_at=range(21))
    changes = fresh.weights.diff(dim=0).abs().sum(1).nonzero()[:, 0] + 1
    assert changes.tolist() == [10, 20]
    now = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator).balance_weights()
    torch.testing.assert_close(fresh.weights[-1], torch.tensor(now))
    often = train(network(), weights="balance", refresh_every=1, record_at=range(4), steps=3)
    assert (often.weights.diff(dim=0) != 0).all()


def test_training_leaves_the_number_of_threads_alone():
    inside, before = [], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train(
            network(), steps=1, observe=lambda u: inside.append(torch.get_num_threads()) or u(X_R)
        )
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError):
            train(network(), observe=lambda u: 1 / 0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert inside == [1, 1]


def test_float32_is_kept():
    model = network(dtype=torch.float32)
    run = ntk.train_pinn(
        model, PROBLEM, X_B.float(), X_R.float(), learning_rate=1e-4, steps=3, keep_kernels=True
    )
    assert {run.u.dtype, run.losses.dtype, run.kernels[0].full.dtype} == {torch.float32}
    exact = train(network(), steps=3)
    torch.testing.assert_close(run.lu.double(), exact.lu[[0, -3, -2, -1]], rtol=1e-4, atol=1e-3)


def test_frozen_parameters_stay():
    model = network()
    model.network.layers[0].weight.requires_grad_(False)
    before = model.network.layers[0].weight.clone()
    train(model)
    assert torch.equal(model.network.layers[0].weight, before)


class HardMLP(ntk.MLP):
    """u(0) = u(1) = 0 by construction."""

    def forward(self, x):
        return x * (1 - x) * super().forward(x)


class HardStandardized(ntk.Standardized):
    """The same around a network that is left as it is."""

    def forward(self, x):
        return x * (1 - x) * super().forward(x)


def vanishing(model, x):
    return x * (1 - x) * type(model).forward(model, x)


def altered(kind):
    """Return a PINN that is an ntk.MLP, plain or in ntk.Standardized, but for one thing."""
    torch.manual_seed(0)
    whole = network("ntk" if "around" in kind else "text")
    if "hook" in kind:
        whole.register_forward_hook(lambda m, inputs, u: inputs[0] * (1 - inputs[0]) * u)
    elif "forward" in kind:
        whole.forward = partial(vanishing, whole)
    elif kind == "a parametrized layer":
        nn.utils.parametrizations.weight_norm(whole.layers[0])
    elif kind == "a plain layer put in":
        whole.layers[1] = nn.Linear(12, 1)
    elif kind == "one more layer":
        whole.layers.insert(1, nn.Linear(12, 12))
    elif kind == "a subclass":
        whole = HardMLP(1, 12, activation="tanh", seed=0)
    elif kind == "a subclass of Standardized":
        whole = HardStandardized(whole, X_R)
    return whole


ALTERED = ["a subclass", "a subclass of Standardized", "a hook", "a hook around", "a forward"]
ALTERED += ["a forward around", "a parametrized layer", "a plain layer put in", "one more layer"]


@pytest.mark.parametrize("kind", ALTERED)
def test_a_network_that_was_altered_is_trained_as_what_it_is(kind):
    model, twin = altered(kind), altered(kind)
    kernel = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator)
    run = train(model, weights=(2.0, 0.5), keep_kernels=True)
    assert torch.equal(run.kernels[0].full, kernel.full)
    u, curvature = train_pinn_by_loop(twin, PROBLEM, X_B, X_R, 1e-4, 20, (2.0, 0.5))
    torch.testing.assert_close(run.u[-1], u, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(run.lu[-1], curvature, rtol=1e-9, atol=1e-9)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-9)
    for method in ("analytic",):
        with pytest.raises(ValueError, match=f"{method!r} needs .* Neither may be a subclass, nor"):
            train(model, method=method)


@setups
def test_plain_networks_take_the_fastest_method_that_fits(setup):
    for depth, kind in [(1, pinn_fields.AnalyticFields), (2, pinn_fields.TaylorFields)]:
        model = network(setup, depth=depth)
        fields = pinn_fields.make_fields(model, X_B, X_R, PROBLEM.operator, "auto")
        assert type(fields) is kind


def test_a_run_that_diverges_stops_and_names_the_largest_rate():
    limit = 2 / ntk.pinn_kernel(network(), X_B, X_R, PROBLEM.operator).eigenvalues()[-1].item()
    with pytest.warns(RuntimeWarning, match=rf"diverged by step .* 2/λ_max = {limit:.3g}\b"):
        run = train(network(), learning_rate=100 * limit, steps=500)
    assert run.diverged
    assert run.lu.isfinite().all()


def test_a_run_that_diverges_because_its_kernel_is_infinite_leaves_the_model_where_it_ran_to():
    class Root(ntk.PoissonProblem):
        def operator(self, u):
            return lambda x: u(x).abs().sqrt()  # which has no derivative in θ where u = 0

    model = network("text")
    nn.init.zeros_(model.layers[1].weight)
    nn.init.zeros_(model.layers[1].bias)
    with pytest.raises(ValueError, match="the kernel holds NaN or infinite values"):
        ntk.train_pinn(model, Root(), X_B, X_R, learning_rate=1e-4, steps=2, progress=False)
    assert model.layers[1].weight.isnan().all()


def test_the_largest_rate_is_that_of_the_weights_and_the_loss():
    kernel = ntk.pinn_kernel(network(), X_B, X_R, PROBLEM.operator)
    limit = 2 / kernel.weighted(3.0 / 4, 0.5 / 7).eigenvalues()[-1].item()
    options = {"weights": (3.0, 0.5), "loss": "mean", "learning_rate": 100 * limit, "steps": 500}
    with pytest.warns(RuntimeWarning, match=rf"2/λ_max = {limit:.3g}\b"):
        train(network(), **options)


def test_divergence_is_looked_for_at_each_record_and_each_100_steps():
    model = Modes()  # linear: three times the largest rate makes residuals 5 times larger each step
    rate = 6 / ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator).eigenvalues()[-1].item()
    start = model.theta.detach().clone()
    with pytest.warns(RuntimeWarning, match=r"diverged by step 100:"):
        run = train(model, learning_rate=rate, steps=350, record_at=[])
    assert run.step.tolist() == [0]
    assert (model.theta - start).abs().max() > 1e6  # it is left where it ran to
    with pytest.warns(RuntimeWarning, match=r"diverged by step 60:"):
        train(Modes(), learning_rate=rate, steps=350, record_at=[60])


def test_a_network_that_has_nothing_to_learn_does_not_diverge():
    model = network("text")
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    problem = ntk.PoissonProblem(1, 0.0)
    run = ntk.train_pinn(model, problem, X_B, X_R, learning_rate=0.1, steps=2, progress=False)
    assert not run.diverged
    assert (run.losses == 0).all()
    assert run.parameter_change.tolist() == [0, 0, 0]
    away = ntk.PoissonProblem(0.5)
    run = ntk.train_pinn(model, away, X_B, X_R, learning_rate=0.1, steps=2, progress=False)
    assert run.parameter_change.tolist() == [0, math.inf, math.inf]  # any step is infinitely long


@methods
@pytest.mark.parametrize("grad", [False, True])
def test_what_is_recorded_carries_no_gradient(method, grad):
    x_b, x_r = X_B.clone().requires_grad_(grad), X_R.clone().requires_grad_(grad)
    model = network()
    options = {"learning_rate": 1e-4, "steps": 20, "progress": False, "method": method}
    run = ntk.train_pinn(model, PROBLEM, x_b, x_r, observe=lambda u: u(x_r), **options)
    parts = [run.u, run.lu, run.losses, run.weights, run.parameter_change, run.observed]
    assert not any(part.requires_grad for part in parts)
    assert torch.equal(run.losses, train(network(), method=method).losses)


def test_a_forcing_may_be_a_derivative_in_the_points():
    class Derived(ntk.PoissonProblem):
        def forcing(self, x):
            (slope,) = torch.autograd.grad(self.solution(x).sum(), x, create_graph=True)
            return torch.autograd.grad(slope.sum(), x)[0]

    x_r = X_R.clone().requires_grad_()
    run = ntk.train_pinn(network(), Derived(), X_B, x_r, learning_rate=1e-4, steps=20)
    torch.testing.assert_close(run.losses, train(network()).losses)


@methods
def test_training_under_no_grad_is_training(method):
    with torch.no_grad():
        run = train(network(), method=method, keep_kernels=True)
        assert not torch.is_grad_enabled()
    expected = train(network(), method=method, keep_kernels=True)
    assert torch.equal(run.lu, expected.lu)
    assert torch.equal(run.kernels[-1].full, expected.kernels[-1].full)


def test_boundary_values_may_differ_from_zero():
    problem, model = ntk.PoissonProblem(0.5), network()
    twin = copy.deepcopy(model)
    run = ntk.train_pinn(model, problem, X_B, X_R, learning_rate=1e-4, steps=20, progress=False)
    u, curvature = train_pinn_by_loop(twin, problem, X_B, X_R, 1e-4, 20, (1.0, 1.0))
    torch.testing.assert_close(run.u[-1], u, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(run.lu[-1], curvature, rtol=1e-9, atol=1e-9)


def test_a_parameter_that_is_not_used_stays():
    model = Modes()
    model.spare = nn.Parameter(torch.ones(1))
    twin = Modes()
    torch.testing.assert_close(train(model).lu, train(twin).lu)
    assert model.spare.item() == 1


@pytest.mark.parametrize("progress", [None, True, False])
def test_the_bar_counts_each_step_and_goes_away(progress, monkeypatch):
    bar = MagicMock()
    monkeypatch.setattr("ntk_helpers.pinn.training.tqdm", lambda **options: bar(**options))
    wish = {} if progress is None else {"progress": progress}
    ntk.train_pinn(Modes(), PROBLEM, X_B, X_R, learning_rate=1e-6, steps=7, **wish)
    told = bar.call_args.kwargs
    assert bar.return_value.update.call_count == told["total"] == 7
    assert told["disable"] is (progress is False)
    assert told["leave"] is False


# --- the closed form ---------------------------------------------------------------------------


def _forecast(model, weights=(1.0, 1.0), loss="sum"):
    kernel = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator)
    start = train(model, steps=0)
    targets = PROBLEM.solution(X_B), PROBLEM.forcing(X_R)
    dynamics = ntk.PINNDynamics(
        kernel, targets, (start.u[0], start.lu[0]), weights=weights, loss=loss
    )
    return dynamics, kernel, start


@pytest.mark.parametrize("weights", [(1.0, 1.0), (20.0, 0.3)])
@pytest.mark.parametrize("loss", ["sum", "mean"])
def test_the_closed_form_is_exact_where_the_kernel_is_constant(weights, loss):
    model = Modes()
    dynamics, _, _ = _forecast(model, weights, loss)
    cross = ntk.pinn_kernel(model, torch.cat([X_B, X_R]), X_R, PROBLEM.operator)
    cross = torch.cat([cross.uu[4:, :4], cross.ur[4:]], 1)
    before = model(X_R).detach()[:, 0]
    rate = 0.2 * dynamics.max_learning_rate
    run = train(
        model,
        learning_rate=rate,
        steps=200,
        weights=weights,
        loss=loss,
        record_at=range(0, 201, 50),
    )
    u, lu = dynamics.train_steps(run.step, rate)
    torch.testing.assert_close(u, run.u, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(lu, run.lu, rtol=1e-8, atol=1e-7)
    elsewhere = dynamics.test_steps(200, rate, cross, before)
    torch.testing.assert_close(elsewhere, model(X_R).detach()[:, 0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("loss", "scales"), [("sum", (1.0, 1.0)), ("mean", (1 / 4, 1 / 7))])
def test_the_closed_form_solves_the_differential_equation(loss, scales):
    dynamics, kernel, start = _forecast(network(), (2.0, 0.5), loss)
    d = torch.tensor([2.0 * scales[0]] * 4 + [0.5 * scales[1]] * 7)
    y = torch.cat([PROBLEM.solution(X_B)[:, 0], PROBLEM.forcing(X_R)[:, 0]])
    f0 = torch.cat([start.u[0], start.lu[0]])
    k_test = kernel.full[:2]
    t = 20 / dynamics.eigenvalues[-1].item()
    train_, test_ = flow_by_ode(kernel.full * d, k_test * d, y, f0, f0[:2], t, 1.0)
    u, lu = dynamics.train(t)
    torch.testing.assert_close(torch.cat([u, lu]), train_, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(dynamics.test(t, k_test, f0[:2]), test_, rtol=1e-6, atol=1e-6)
    at_once = dynamics.train(torch.tensor([0.0, t]))
    torch.testing.assert_close(at_once[1][0], start.lu[0])
    assert dynamics.max_learning_rate == pytest.approx(2 / dynamics.eigenvalues[-1].item())


def test_the_closed_form_weighs_both_alike_unless_told():
    kernel = ntk.pinn_kernel(network(), X_B[:1], X_R[1:2], PROBLEM.operator)
    values = torch.zeros(1), torch.ones(1)
    dynamics = ntk.PINNDynamics(kernel, values, values)
    torch.testing.assert_close(dynamics.eigenvalues, kernel.eigenvalues())


def test_wide_networks_come_nearer_to_the_closed_form():
    gaps = []
    for width in (64, 1024):
        model = network(width=width)
        dynamics, _, _ = _forecast(model)
        rate = 0.05 * dynamics.max_learning_rate
        run = train(model, learning_rate=rate, steps=100)
        _, lu = dynamics.train_steps(run.step, rate)
        gaps.append((lu - run.lu).norm() / (run.lu - run.lu[0]).norm())
    assert gaps[1] < 0.15
    assert gaps[1] < 0.6 * gaps[0]


# --- what is refused ---------------------------------------------------------------------------


def test_bad_problems_are_refused():
    with pytest.raises(ValueError, match="frequency must be finite and greater than 0; got 0"):
        ntk.PoissonProblem(0)
    with pytest.raises(TypeError, match="amplitude must be a number; got 'x'"):
        ntk.PoissonProblem(1, "x")
    with pytest.raises(ValueError, match=r"frequency has 2 value\(s\) but amplitude has 1"):
        ntk.PoissonProblem((1, 3), (1.0,))
    with pytest.raises(ValueError, match=r"n must be even, half for each end .*; got 5"):
        PROBLEM.boundary(5)
    with pytest.raises(ValueError, match="n must be at least 2; got 1"):
        PROBLEM.interior(1)
    with pytest.raises(ValueError, match="points do not vary in some input"):
        ntk.Standardized(network("text"), X_R[:1])
    with pytest.raises(ValueError, match="points do not vary in some input"):
        ntk.Standardized(nn.Linear(2, 1), torch.cat([X_R, 0 * X_R], 1))


def test_bad_arguments_of_the_kernel_are_refused():
    model = network("text")
    with pytest.raises(TypeError, match="operator must be a function that maps u to Lu; got str"):
        ntk.pinn_kernel(model, X_B, X_R, "laplace")
    with pytest.raises(ValueError, match=r"operator\(u\)\(x\) must be a scalar .*; got \(1,\)"):
        ntk.pinn_kernel(model, X_B, X_R, grad)
    with pytest.raises(ValueError, match=r"model must have one output, the value u\(x\); got 2"):
        ntk.pinn_kernel(ntk.MLP(1, 3, 2), X_B, X_R, PROBLEM.operator)
    with pytest.raises(ValueError, match=r"x_boundary must have 2 axes; got shape \(4,\)"):
        ntk.pinn_kernel(model, X_B[:, 0], X_R, PROBLEM.operator)
    with pytest.raises(TypeError, match=r"x_interior is torch.float32 but .* is torch.float64"):
        ntk.pinn_kernel(model, X_B, X_R.float(), PROBLEM.operator)
    with pytest.raises(ValueError, match="the kernel holds NaN or infinite values"):
        ntk.pinn_kernel(model, X_B, X_R, lambda u: lambda x: u(x) / x[0])


def test_a_model_that_mixes_rows_has_no_kernel():
    mixing = nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    with pytest.raises(ValueError, match="is BatchNorm1d in training mode: it mixes the rows"):
        ntk.pinn_kernel(mixing, X_B, X_R, PROBLEM.operator)


def test_weights_that_cannot_be_are_refused():
    flat = ntk.pinn_kernel(network("text", activation="relu"), X_B, X_R, PROBLEM.operator)
    with pytest.raises(ValueError, match=r"K_rr is zero.*ReLU has no second derivative"):
        flat.balance_weights()
    with pytest.raises(ValueError, match="λ_b must be finite and 0 or greater; got -1"):
        flat.weighted(-1.0, 1.0)
    with pytest.raises(TypeError, match=r"weights must be a pair \(λ_b, λ_r\) or 'balance'; got 3"):
        train(network(), weights=3)
    with pytest.raises(ValueError, match="weights must be one of 'balance'; got 'equal'"):
        train(network(), weights="equal")
    with pytest.raises(ValueError, match="refresh_every is for weights='balance'"):
        train(network(), refresh_every=5)
    with pytest.raises(TypeError, match=r"refresh_every must be an integer; got 1\.5"):
        train(network(), weights="balance", refresh_every=1.5)
    with pytest.raises(ValueError, match="refresh_every must be at least 1; got 0"):
        train(network(), weights="balance", refresh_every=0)


def test_bad_arguments_of_training_are_refused():
    with pytest.raises(ValueError, match="loss must be one of 'sum', 'mean'; got 'mse'"):
        train(network(), loss="mse")
    with pytest.raises(ValueError, match="record_at must lie in 0 … 20; got 21"):
        train(network(), record_at=[21])
    with pytest.raises(ValueError, match=r"method 'analytic' needs an ntk\.MLP with one input and"):
        train(network(depth=2), method="analytic")
    with pytest.raises(ValueError, match="method must be one of 'auto', 'analytic'"):
        train(network(), method="fast")
    with pytest.raises(ValueError, match="learning_rate must be finite and greater than 0; got 0"):
        train(network(), learning_rate=0.0)


@pytest.mark.parametrize("part", ["solution", "forcing"])
def test_problems_that_ask_for_what_no_network_can_give_are_refused(part):
    name = rf"problem\.{part}\(x\)"
    for value, error, what in [
        (lambda x: 1 / (0 * x), ValueError, "holds . value.s. that are NaN or infinite"),
        (lambda x: x * math.nan, ValueError, "holds . value.s. that are NaN or infinite"),
        (lambda x: x[:2], ValueError, r"must be a tensor with one .*\(., 1\); got shape \(2, 1\)"),
        (lambda x: x * x.T, ValueError, r"must be a tensor with one value .*; got shape"),
        (lambda x: -2.0, ValueError, r"must .*; got float\. A constant c is torch\.full_like"),
        (lambda x: x.float(), TypeError, r"is torch\.float32 but x is torch\.float64"),
    ]:
        problem = SimpleNamespace(
            operator=PROBLEM.operator, solution=PROBLEM.solution, forcing=PROBLEM.forcing
        )
        setattr(problem, part, value)
        with pytest.raises(error, match=f"{name} {what}"):
            ntk.train_pinn(network(), problem, X_B, X_R, learning_rate=1e-4, steps=2)


@pytest.mark.parametrize("method", ["auto", "autograd"])
def test_a_loss_that_is_not_finite_at_the_start_is_no_divergence(method):
    class Radial(ntk.PoissonProblem):
        def operator(self, u):
            return lambda x: grad(u)(x)[0] / x[0]

    with pytest.raises(ValueError, match=r"the loss must be finite at the start; got (inf|nan)"):
        ntk.train_pinn(network(), Radial(), X_B, X_R, learning_rate=1e-4, steps=2, method=method)


def test_kernels_that_were_not_kept_have_no_change():
    with pytest.raises(ValueError, match=r"no kernel was kept: .* keep_kernels=True"):
        print(train(network(), steps=1).kernel_change)


def test_values_that_do_not_fit_the_kernel_are_refused():
    kernel = ntk.pinn_kernel(network(), X_B, X_R, PROBLEM.operator)
    pair = (torch.zeros(4), torch.zeros(7))
    with pytest.raises(ValueError, match=r"start must hold 4 boundary and 7 .*; got 4 and 4\."):
        ntk.PINNDynamics(kernel, pair, (pair[0], pair[0]))
    with pytest.raises(ValueError, match=r"targets must hold 4 boundary and 7 .*; got 7 and 4\."):
        ntk.PINNDynamics(kernel, pair[::-1], pair)
    with pytest.raises(ValueError, match="λ_b must be finite and greater than 0; got 0"):
        ntk.PINNDynamics(kernel, pair, pair, weights=(0.0, 1.0))


def test_kernels_of_test_points_that_do_not_fit_are_refused():
    dynamics, kernel, _ = _forecast(network())
    near, start = kernel.full[:3], torch.zeros(3)
    calls = [partial(dynamics.test, 1.0), partial(dynamics.test_steps, 2, 1e-9)]
    for call in calls:
        assert call(near, start).shape == (3,)
        for bad in (near[:, :1], near[:, :7], near[:, :4], near.T):
            with pytest.raises(ValueError, match="a column for each of the 4 boundary and 7 inter"):
                call(bad, start)
        with pytest.raises(ValueError, match=r"k_test_train must have 2 axes; got shape \(11,\)"):
            call(near[0], start[:1])
        with pytest.raises(TypeError, match=r"k_test_train is torch\.float32 but kernel is"):
            call(near.float(), start)
        with pytest.raises(TypeError, match=r"k_test_train must be a torch\.Tensor; got NoneType"):
            call(None, start)


def test_nothing_warns_in_a_healthy_run():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not train(network()).diverged
