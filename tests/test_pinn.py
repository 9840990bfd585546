"""PINNs: the block kernel, training by two routes, and the closed form, against slow twins."""

import copy
import math
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
from ntk_helpers.pinn import kernel as pinn

PROBLEM = ntk.PoissonProblem()
X_B, X_R = (
    torch.tensor([[0.0], [0.0], [1.0], [1.0]], dtype=torch.float64),
    torch.linspace(0, 1, 7, dtype=torch.float64)[:, None],
)
SETUPS = {"text": ("ntk", False), "code": ("standard", True), "ntk": ("ntk", True)}
setups = pytest.mark.parametrize("setup", SETUPS)
methods = pytest.mark.parametrize("method", ["analytic", "autograd"])
same = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def network(setup="ntk", width=12, depth=1, dtype=torch.float64, **options):
    """Return a PINN; biases and weights with scales that no formula may drop unnoticed."""
    parameterization, standardised = SETUPS[setup]
    options = {"activation": "tanh", "sigma_w": 1.3, "sigma_b": 0.7, "seed": 0} | options
    model = ntk.MLP(
        1, width, depth=depth, parameterization=parameterization, dtype=dtype, **options
    )
    return ntk.Standardized(model, X_R.to(dtype)) if standardised else model


def train(model, problem=PROBLEM, **options):
    options = {"learning_rate": 1e-4, "steps": 20, "progress": False} | options
    return ntk.train_pinn(model, problem, X_B, X_R, **options)


class Model(nn.Module):
    """u(x) = formula(model, x), with parameters, buffers and modules of any kind."""

    def __init__(self, formula, **parts):
        """Take the formula, and the parts by name."""
        super().__init__()
        self.formula = formula
        for name, value in parts.items():
            plain = isinstance(value, torch.Tensor)
            setattr(self, name, nn.Parameter(value) if plain else value)

    def forward(self, x):
        return self.formula(self, x)


def modes():
    """Return u = θ_0 + θ_1 x + Σ_m θ_m sin(m π x): linear in θ, so its kernel never changes."""

    def u(model, x):
        waves = [torch.sin(m * math.pi * x) for m in (1, 2, 3)]
        return torch.cat([torch.ones_like(x), x, *waves], -1) @ model.theta[:, None]

    return Model(u, theta=torch.tensor([0.3, -0.5, 0.2, 0.4, -0.1], dtype=torch.float64))


def odd(act):
    """Return a network whose hidden layer h (n, 4) goes through act(model, h)."""
    first, last = ntk.MLP(1, 4, seed=0, dtype=torch.float64).layers
    model = Model(lambda m, x: last(act(m, torch.tanh(first(x)))), first=first, last=last)
    model.register_buffer("seen", torch.zeros(4, dtype=torch.float64))
    return model


# --- the problem -------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [ntk.PoissonProblem(4), ntk.PoissonProblem((1, 3), (1.0, 0.5))])
def test_the_forcing_is_the_second_derivative_of_the_solution(problem):
    def u(x):
        return problem.solution(x)[0]

    found = torch.stack([problem.operator(u)(x) for x in X_R])
    torch.testing.assert_close(found, problem.forcing(X_R)[:, 0])


def test_the_solution_is_a_sum_of_sines_in_the_shape_of_the_points():
    problem = ntk.PoissonProblem((1, 3), (1.0, 0.5))
    expected = torch.sin(math.pi * X_R) + 0.5 * torch.sin(3 * math.pi * X_R)
    torch.testing.assert_close(problem.solution(X_R), expected)
    assert problem.solution(X_R[:, 0]).shape == (7,)
    assert ntk.PoissonProblem(1, -2.0).solution(torch.tensor(0.5)) == -2


def test_points_fill_the_interval_and_its_ends():
    assert PROBLEM.boundary(6).flatten().tolist() == [0, 0, 0, 1, 1, 1]
    assert PROBLEM.interior(5).flatten().tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert PROBLEM.interior(5, dtype=torch.float32).dtype == torch.float32


def test_standardising_takes_mean_and_spread_of_the_points_and_no_gradient():
    points = torch.tensor([[0.0, 1.0], [2.0, 5.0]], requires_grad=True)
    model = ntk.Standardized(nn.Linear(2, 1), points)
    assert model.mean.tolist() == [1, 3]
    assert model.scale.tolist() == [1, 2]
    torch.testing.assert_close(model(points), model.network(torch.tensor([[-1.0, -1], [1, 1]])))
    assert not any(buffer.requires_grad for buffer in model.buffers())


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
    return lambda x: PROBLEM.operator(u)(x) + 9.0 * u(x)


def _helmholtz_loop(model, x):
    return second_derivative_by_autograd(model, x) + 9.0 * model(x)[:, 0]


def _transport(u):
    return lambda x: grad(u)(x)[0] + 3.0 * x[0] * u(x)


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
    same(found.full, expected)
    same(found.ur, expected[:4, 4:])
    same(found.rr, expected[4:, 4:])


def test_the_kernel_takes_operators_in_two_dimensions():
    model = ntk.MLP(2, 6, depth=2, activation="tanh", seed=0)
    x_b, x_r = torch.rand(3, 2), torch.rand(4, 2)

    def laplacian(model, x):
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        parts = [torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0] for i in (0, 1)]
        return parts[0][:, 0] + parts[1][:, 1]

    found = ntk.pinn_kernel(model, x_b, x_r, lambda u: lambda x: jacrev(grad(u))(x).trace())
    same(found.full, pinn_kernel_by_loop(model, x_b, x_r, laplacian))


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


def test_weighted_eigenvalues_are_those_of_k_times_d():
    kernel = ntk.pinn_kernel(network(), X_B, X_R, PROBLEM.operator)
    d = torch.tensor([5.0] * 4 + [0.3] * 7)
    raw = torch.linalg.eigvals(kernel.full * d)
    found = kernel.weighted(5.0, 0.3).eigenvalues()
    assert raw.imag.abs().max() < 1e-8 * raw.abs().max()
    torch.testing.assert_close(found, raw.real.sort().values, rtol=1e-8, atol=1e-8 * found[-1])


@pytest.mark.parametrize("loss", ["sum", "mean"])
@pytest.mark.parametrize(("operator", "n_b", "n_r"), [("Poisson", 2, 6), ("Helmholtz", 3, 1)])
def test_balance_weights_give_both_losses_the_same_sum_of_rates(operator, n_b, n_r, loss):
    kernel = ntk.pinn_kernel(network(), X_B[:n_b], X_R[:n_r], OPERATORS[operator][0])
    boundary, residual = kernel.balance_weights(loss=loss)
    c_b, c_r = (1 / n_b, 1 / n_r) if loss == "mean" else (1, 1)
    rates = c_b * kernel.uu.trace().item(), c_r * kernel.rr.trace().item()
    assert boundary * rates[0] == pytest.approx(sum(rates))
    assert residual * rates[1] == pytest.approx(sum(rates))


# Parameters of other shapes and types, and parameters that the operator reads.


def wave():
    """Return u = a sin(ω x) with numbers a, ω of shape ()."""
    parts = {"a": torch.tensor(0.7), "omega": torch.tensor(2.0)}
    return Model(lambda m, x: m.a * torch.sin(m.omega * x), **parts)


def spectral(phi):
    """Return u = Re(v · r φ(w x)) with complex w and v, and real r."""
    torch.manual_seed(0)
    parts = {"r": torch.randn(5)} | {name: torch.randn(5, dtype=torch.complex128) for name in "wv"}
    return Model(lambda m, x: ((m.r * phi(x * m.w)) @ m.v).real[:, None], **parts)


@pytest.mark.parametrize(
    "make", [wave, lambda: spectral(torch.tanh), lambda: spectral(lambda z: torch.exp(1j * z))]
)
def test_parameters_may_be_single_numbers_and_complex(make):
    model, twin = make(), make()
    expected = pinn_kernel_by_loop(model, X_B, X_R, second_derivative_by_autograd)
    same(ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator).full, expected)
    run = train(model, keep_kernels=True, weights="balance")
    same(run.kernels[0].full, expected)
    naive = train_pinn_by_loop(twin, PROBLEM, X_B, X_R, 1e-4, 20, run.weights[0].tolist())
    same((run.u[-1], run.lu[-1]), naive)


def held(model):
    """Return an operator that holds k, and does not read it from the model."""
    k = model.k
    return lambda u: lambda x: k * PROBLEM.operator(u)(x)


def burgers():
    """Return the operator u u' − ν u'' as a module, with a viscosity that is learned."""

    def operator(module, u):
        return lambda x: u(x) * grad(u)(x)[0] - module.nu * PROBLEM.operator(u)(x)

    return Model(operator, nu=torch.tensor(0.2))


def burgers_loop(model, x):
    x = x.clone().requires_grad_()
    u = model(x)
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    return (u * slope)[:, 0] - model.operator.nu * second_derivative_by_autograd(model, x)


def scaled_loop(model, x):
    return model.k * second_derivative_by_autograd(model, x)


def field_loop(model, x):
    return second_derivative_by_autograd(model, x) + (model.k(x) * model(x))[:, 0]


INVERSE = {  # what the equation learns, its operator, the same as a plain loop
    "a number": (
        lambda: {"k": torch.tensor(1.7)},
        lambda model: lambda u: lambda x: model.k * PROBLEM.operator(u)(x),
        scaled_loop,
    ),
    "a number that the operator holds": (lambda: {"k": torch.tensor(1.7)}, held, scaled_loop),
    "a field": (
        lambda: {"k": nn.Linear(1, 1)},
        lambda model: lambda u: lambda x: PROBLEM.operator(u)(x) + (model.k(x) * u(x))[0],
        field_loop,
    ),
    "a module": (lambda: {"operator": burgers()}, lambda model: model.operator, burgers_loop),
}


@pytest.mark.parametrize("kind", INVERSE)
def test_the_kernel_covers_what_the_operator_learns(kind):
    coefficients, operator, naive = INVERSE[kind]
    model = Model(lambda m, x: m.net(x), net=network(width=6), **coefficients())
    operator = operator(model)
    expected = pinn_kernel_by_loop(model, X_B, X_R, naive)
    same(ntk.pinn_kernel(model, X_B, X_R, operator).full, expected)
    asked = {"operator": operator, "solution": PROBLEM.solution, "forcing": PROBLEM.forcing}
    before = [p.detach().clone() for p in model.parameters()]
    run = train(model, SimpleNamespace(**asked), keep_kernels=True, weights="balance")
    same(run.kernels[0].full, expected)
    traces = expected.diagonal()[:4].sum(), expected.diagonal()[4:].sum()
    same(run.weights[0], sum(traces) / torch.stack(traces))
    assert all((p != old).any() for p, old in zip(model.parameters(), before, strict=True))
    same(run.kernels[-1].full, pinn_kernel_by_loop(model, X_B, X_R, naive))


def count(model, h):
    model.seen += 1
    return h


def test_a_model_that_counts_its_calls_is_only_looked_at():
    model, plain = odd(count), odd(lambda model, h: h)
    found = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator)
    assert torch.equal(found.full, ntk.pinn_kernel(plain, X_B, X_R, PROBLEM.operator).full)
    assert model.seen.tolist() == [0] * 4
    run = train(model, steps=3)
    assert torch.equal(run.lu, train(plain, steps=3).lu)
    assert model.seen.tolist() == [4] * 4  # once at each u that training looks at, and no more


def test_attention_has_a_kernel_and_is_trained():
    torch.manual_seed(0)
    encode = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, activation="gelu", batch_first=True)
    tokens = [nn.Linear(1, 12), nn.Unflatten(1, (3, 4))]
    model = nn.Sequential(*tokens, encode, nn.Flatten(), nn.Linear(12, 1)).eval()
    twin = copy.deepcopy(model)
    found = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator).full
    run = train(model, steps=5)
    with plain_torch():
        expected = pinn_kernel_by_loop(twin, X_B, X_R, second_derivative_by_autograd)
        naive = train_pinn_by_loop(twin, PROBLEM, X_B, X_R, 1e-4, 5, (1.0, 1.0))
    same(found, expected)
    same((run.u[-1], run.lu[-1]), naive)


# --- training ----------------------------------------------------------------------------------


@methods
@setups
@pytest.mark.parametrize(("loss", "scales"), [("sum", (1, 1)), ("mean", (1 / 4, 1 / 7))])
def test_training_is_the_loop_by_autograd(method, setup, loss, scales):
    problem, model = ntk.PoissonProblem(0.5), network(setup)  # u(1) = 1
    twin = copy.deepcopy(model)
    run = train(model, problem, loss=loss, weights=(3.0, 0.5), method=method)
    factors = 3.0 * scales[0], 0.5 * scales[1]
    u, curvature = train_pinn_by_loop(twin, problem, X_B, X_R, 1e-4, 20, factors)
    same((run.u[-1], run.lu[-1]), (u, curvature))
    same(list(model.parameters()), list(twin.parameters()))
    wrong = u - problem.solution(X_B)[:, 0], curvature - problem.forcing(X_R)[:, 0]
    expected = [0.5 * c * w.square().sum() for c, w in zip(scales, wrong, strict=True)]
    same(run.losses[-1], torch.stack(expected))


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
    run = train(model, keep_kernels=True, steps=5, method="analytic")
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


@pytest.mark.parametrize("loss", ["sum", "mean"])
@methods
def test_balance_weights_are_those_of_the_kernel_and_can_be_refreshed(method, loss):
    def now(model):
        kernel = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator)
        return torch.tensor(kernel.balance_weights(loss))

    options = {"weights": "balance", "method": method, "loss": loss, "record_at": range(21)}
    fixed = train(network(), **options)
    torch.testing.assert_close(fixed.weights, now(network()).expand(21, 2))
    model = network()
    fresh = train(model, refresh_every=10, **options)
    assert (fresh.weights.diff(dim=0).abs().sum(1).nonzero()[:, 0] + 1).tolist() == [10, 20]
    torch.testing.assert_close(fresh.weights[-1], now(model))


def test_training_leaves_the_number_of_threads_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            train(network(), observe=lambda u: 1 / 0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_float32_is_kept():
    model = network(dtype=torch.float32)
    run = ntk.train_pinn(
        model, PROBLEM, X_B.float(), X_R.float(), learning_rate=1e-4, steps=3, keep_kernels=True
    )
    assert {run.u.dtype, run.losses.dtype, run.kernels[0].full.dtype} == {torch.float32}
    exact = train(network(), steps=3)
    torch.testing.assert_close(run.lu.double(), exact.lu[[0, -3, -2, -1]], rtol=1e-4, atol=1e-3)


def vanishing(model, x):
    """Return x (1 − x) u(x), which has no boundary values to learn."""
    plain = ntk.MLP if isinstance(model, ntk.MLP) else ntk.Standardized
    return x * (1 - x) * plain.forward(model, x)


def hooked(model):
    model.register_forward_hook(lambda m, inputs, u: inputs[0] * (1 - inputs[0]) * u)


def of_a_subclass(model):
    model.__class__ = type("Hard", (type(model),), {"forward": vanishing})


ALTERED = {  # how to make an ntk.MLP, plain or in ntk.Standardized, another function
    "a subclass": of_a_subclass,
    "a hook": hooked,
    "a forward of its own": lambda model: setattr(model, "forward", partial(vanishing, model)),
    "a learned scale": lambda model: setattr(model, "scale", nn.Parameter(model.scale)),
    "a parametrized layer": lambda net: nn.utils.parametrizations.weight_norm(net.layers[0]),
    "a plain layer": lambda net: net.layers.__setitem__(1, nn.Linear(12, 1)),
    "another activation": lambda net: setattr(net, "activation", "erf"),
}
PLACES = [(kind, "text") for kind in ALTERED if kind != "a learned scale"]
PLACES += [(kind, "ntk") for kind in list(ALTERED)[:4]] + [("depth 2", "text")]


def altered(kind, setup):
    """Return a PINN that `TanhFields` would compute, but for one thing."""
    torch.manual_seed(0)
    model = network(setup, depth=2 if kind == "depth 2" else 1)
    ALTERED.get(kind, lambda model: None)(model)
    return model


@pytest.mark.parametrize(("kind", "setup"), PLACES)
def test_a_network_that_was_altered_is_trained_as_what_it_is(kind, setup):
    model, twin = altered(kind, setup), altered(kind, setup)
    kernel = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator)
    run = train(model, weights=(2.0, 0.5), keep_kernels=True)
    assert torch.equal(run.kernels[0].full, kernel.full)
    naive = train_pinn_by_loop(twin, PROBLEM, X_B, X_R, 1e-4, 20, (2.0, 0.5))
    same((run.u[-1], run.lu[-1]), naive)
    same(list(model.parameters()), list(twin.parameters()))
    with pytest.raises(ValueError, match=r"'analytic' needs .* Neither module may be a subclass"):
        train(model, method="analytic")


def test_frozen_and_unused_parameters_stay():
    model = network()
    frozen = model.network.layers[0].weight.requires_grad_(False)
    before = frozen.clone()
    train(model)
    assert torch.equal(frozen, before)
    model.spare = nn.Parameter(torch.ones(1))
    train(model)
    assert model.spare.item() == 1


def test_a_run_that_diverges_stops_and_names_the_largest_rate_of_its_weights_and_loss():
    kernel = ntk.pinn_kernel(network(), X_B, X_R, PROBLEM.operator)
    limit = 2 / kernel.weighted(3.0 / 4, 0.5 / 7).eigenvalues()[-1].item()
    options = {"weights": (3.0, 0.5), "loss": "mean", "learning_rate": 100 * limit, "steps": 500}
    with pytest.warns(RuntimeWarning, match=rf"diverged by step .* 2/λ_max = {limit:.3g}\b"):
        run = train(network(), **options)
    assert run.diverged
    assert run.lu.isfinite().all()


def test_divergence_is_looked_for_at_each_record_and_each_100_steps():
    model = modes()  # linear: three times the largest rate makes residuals 5 times larger each step
    rate = 6 / ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator).eigenvalues()[-1].item()
    start = model.theta.detach().clone()
    with pytest.warns(RuntimeWarning, match=r"diverged by step 100:"):
        run = train(model, learning_rate=rate, steps=350, record_at=[])
    assert run.step.tolist() == [0]
    assert (model.theta - start).abs().max() > 1e6  # it is left where it ran to
    with pytest.warns(RuntimeWarning, match=r"diverged by step 60:"):
        train(modes(), learning_rate=rate, steps=350, record_at=[60])


def test_a_network_that_has_nothing_to_learn_does_not_diverge():
    model = network("text")
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    run = train(model, ntk.PoissonProblem(1, 0.0), learning_rate=0.1, steps=2)
    assert not run.diverged
    assert (run.losses == 0).all()
    assert run.parameter_change.tolist() == [0, 0, 0]
    run = train(model, ntk.PoissonProblem(0.5), learning_rate=0.1, steps=2)
    assert run.parameter_change.tolist() == [0, math.inf, math.inf]  # any step is infinitely long


@methods
def test_points_that_carry_a_graph_and_no_grad_around_change_nothing(method):
    class Derived(ntk.PoissonProblem):
        def forcing(self, x):
            (slope,) = torch.autograd.grad(self.solution(x).sum(), x, create_graph=True)
            return torch.autograd.grad(slope.sum(), x)[0]

    points = X_B.clone().requires_grad_(), X_R.clone().requires_grad_()
    options = {"learning_rate": 1e-4, "steps": 20, "keep_kernels": True, "method": method}
    run = ntk.train_pinn(network(), Derived(), *points, observe=lambda u: u(points[1]), **options)
    parts = [run.u, run.lu, run.losses, run.weights, run.parameter_change, run.observed]
    assert not any(part.requires_grad for part in [*parts, run.kernels[0].full])
    with torch.no_grad():
        expected = train(network(), **options)
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(run.losses, expected.losses)
    assert torch.equal(run.kernels[0].full, expected.kernels[0].full)


@pytest.mark.parametrize("progress", [True, False])
def test_the_bar_counts_each_step_and_goes_away(progress, monkeypatch):
    bar = MagicMock()
    monkeypatch.setattr("ntk_helpers.pinn.training.tqdm", lambda **options: bar(**options))
    train(modes(), learning_rate=1e-6, steps=7, progress=progress)
    told = bar.call_args.kwargs
    assert bar.return_value.update.call_count == told["total"] == 7
    assert told["disable"] is (progress is False)
    assert told["leave"] is False


# --- the closed form ---------------------------------------------------------------------------


def _forecast(model, **options):
    kernel = ntk.pinn_kernel(model, X_B, X_R, PROBLEM.operator)
    start = train(model, steps=0)
    targets = PROBLEM.solution(X_B), PROBLEM.forcing(X_R)
    dynamics = ntk.PINNDynamics(kernel, targets, (start.u[0], start.lu[0]), **options)
    return dynamics, kernel, start


@pytest.mark.parametrize("weights", [(1.0, 1.0), (20.0, 0.3)])
@pytest.mark.parametrize("loss", ["sum", "mean"])
def test_the_closed_form_is_exact_where_the_kernel_is_constant(weights, loss):
    model = modes()
    dynamics, _, _ = _forecast(model, weights=weights, loss=loss)
    cross = ntk.pinn_kernel(model, torch.cat([X_B, X_R]), X_R, PROBLEM.operator)
    cross = torch.cat([cross.uu[4:, :4], cross.ur[4:]], 1)
    before = model(X_R).detach()[:, 0]
    rate = 0.2 * dynamics.max_learning_rate
    options = {"weights": weights, "loss": loss, "record_at": range(0, 201, 50)}
    run = train(model, learning_rate=rate, steps=200, **options)
    u, lu = dynamics.train_steps(run.step, rate)
    torch.testing.assert_close(u, run.u, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(lu, run.lu, rtol=1e-8, atol=1e-7)
    elsewhere = dynamics.test_steps(200, rate, cross, before)
    torch.testing.assert_close(elsewhere, model(X_R).detach()[:, 0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("loss", "scales"), [("sum", (1.0, 1.0)), ("mean", (1 / 4, 1 / 7))])
def test_the_closed_form_solves_the_differential_equation(loss, scales):
    dynamics, kernel, start = _forecast(network(), weights=(2.0, 0.5), loss=loss)
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

PAIR = torch.zeros(4, dtype=torch.float64), torch.zeros(7, dtype=torch.float64)
V, T = ValueError, TypeError


def kernel_of(act=lambda _, h: h, x_b=X_B, x_r=X_R, operator=PROBLEM.operator, **options):
    model = network("text", **options) if options else odd(act)
    return ntk.pinn_kernel(model, x_b, x_r, operator)


def solve(solution=PROBLEM.solution, forcing=PROBLEM.forcing, operator=PROBLEM.operator, **options):
    problem = SimpleNamespace(solution=solution, forcing=forcing, operator=operator)
    return train(network(), problem, **options)


def forecast(k_test_train):
    return ntk.PINNDynamics(kernel_of(), PAIR, PAIR).test(1.0, k_test_train, torch.zeros(3))


def average(model, h):
    model.seen.mul_(0.9).add_(0.1 * h.detach().mean(0))
    return h


REFUSED = [
    (lambda: ntk.PoissonProblem((1, 3), (1.0,)), V, r"has 2 value\(s\) but amplitude has 1"),
    (lambda: PROBLEM.boundary(5), V, r"n must be even, half for each end .*; got 5"),
    (lambda: ntk.Standardized(network("text"), X_R[:1]), V, "points do not vary in some input"),
    (lambda: kernel_of(operator="laplace"), T, r"operator must map a function u .*; got str"),
    (lambda: kernel_of(operator=grad), V, r"must be a real scalar tensor .*; got \(1,\)"),
    (lambda: kernel_of(operator=lambda u: lambda x: u(x) / x[0]), V, "holds NaN or infinite"),
    (lambda: kernel_of(n_out=2), V, r"one real output, the value u\(x\); got 2"),
    (lambda: kernel_of(x_b=torch.cat([X_B, X_B], 1)), V, "must hold points of the same shape"),
    (lambda: kernel_of(lambda _, h: h.cumsum(0)), V, "mixes the rows of a batch"),
    (lambda: kernel_of(lambda _, h: h.flip(0).cumsum(0).flip(0)), V, "mixes the rows of a batch"),
    (lambda: kernel_of(average), V, r"(?s)torch\.func, .* cannot run .*\nTake in-place writes"),
    (lambda: kernel_of(activation="relu").balance_weights(), V, r"K_rr is zero.*use a smooth"),
    (lambda: solve(weights=3), T, r"weights must be a pair \(λ_b, λ_r\) or 'balance'; got 3"),
    (lambda: solve(refresh_every=5), V, "refresh_every is for weights='balance'"),
    (lambda: solve(method="taylor"), V, "method must be one of 'auto', 'analytic', 'autograd'"),
    (lambda: solve(forcing=lambda x: x[:2]), V, r"one value for each row .*; got shape \(2, 1\)"),
    (lambda: solve(solution=lambda x: -2.0), V, r"got float\. A constant c is torch\.full_like"),
    (lambda: solve(forcing=lambda x: x * math.nan), V, r"forcing\(x\) holds 7 value\(s\) that are"),
    (lambda: solve(lambda x: x.float()), T, r"solution\(x\) is torch\.float32 but x is"),
    (lambda: solve(operator=lambda u: lambda x: u(x) / x[0]), V, "must be finite at the start"),
    (lambda: solve(steps=1).kernel_change, V, r"no kernel was kept: .* keep_kernels=True"),
    (
        lambda: ntk.PINNDynamics(kernel_of(), PAIR, PAIR[::-1]),
        V,
        r"start must hold a tensor for each term, of 4 and 7 values",
    ),
    (lambda: forecast(torch.ones(3, 4)), V, "a column for each of the 4 and 7 values"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_what_cannot_be_is_refused_with_a_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()
