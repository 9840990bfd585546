"""PINNs of any terms, operators, inputs and outputs, against nested automatic differentiation."""

import copy
import math

import pytest
import torch
from reference import kernel_of_rows, train_terms_by_loop
from torch import nn
from torch.func import grad, jvp

import ntk_helpers as ntk

Term = ntk.Term
D, T = 0, 1  # the columns of a point (x, t)


def directional(u, x, direction):
    """Return the derivative of u at a point along an axis, by forward mode."""
    e = torch.zeros_like(x)
    e[direction] = 1
    return jvp(u, (x,), (e,))[1]


def d(u, *axes):
    """Return ∂u/∂axes as a function of a point, the last axis first."""
    for axis in axes:
        u = (lambda f, i: lambda x: directional(f, x, i))(u, axis)
    return u


def nested(model, x, *axes, output=0):
    """Return ∂u/∂axes (n,) by torch.autograd.grad of torch.autograd.grad, and the points."""
    x = x.clone().requires_grad_()
    value = model(x).reshape(len(x), -1)[:, output]
    for axis in axes:
        (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        value = slope[:, axis]
    return value


def part(u, i):
    """Return output i of u as a function."""
    return lambda x: u(x)[i]


EQUATIONS = {  # inputs, outputs, operators of u, and the same by nested autograd
    "heat": (
        2,
        1,
        [lambda u: lambda x: d(u, T)(x) - 0.3 * d(u, D, D)(x)],
        [lambda m, x: nested(m, x, T) - 0.3 * nested(m, x, D, D)],
    ),
    "wave": (
        2,
        1,
        [lambda u: lambda x: d(u, T, T)(x) - 4 * d(u, D, D)(x), lambda u: d(u, T)],
        [lambda m, x: nested(m, x, T, T) - 4 * nested(m, x, D, D), lambda m, x: nested(m, x, T)],
    ),
    "Helmholtz in two dimensions": (
        2,
        1,
        [lambda u: lambda x: d(u, 0, 0)(x) + d(u, 1, 1)(x) + 9 * u(x)],
        [lambda m, x: nested(m, x, 0, 0) + nested(m, x, 1, 1) + 9 * nested(m, x)],
    ),
    "Burgers": (
        2,
        1,
        [lambda u: lambda x: d(u, T)(x) + u(x) * grad(u)(x)[D] - 0.1 * d(u, D, D)(x)],
        [lambda m, x: nested(m, x, T) + nested(m, x) * nested(m, x, D) - 0.1 * nested(m, x, D, D)],
    ),
    "beam": (
        1,
        1,
        [lambda u: d(u, 0, 0, 0, 0)],
        [lambda m, x: nested(m, x, 0, 0, 0, 0)],
    ),
    "a system of two": (
        1,
        2,
        [
            lambda u: lambda x: d(part(u, 0), 0)(x) - u(x)[1],
            lambda u: lambda x: d(part(u, 1), 0)(x) + 4 * torch.sin(u(x)[0]),
        ],
        [
            lambda m, x: nested(m, x, 0) - nested(m, x, output=1),
            lambda m, x: nested(m, x, 0, output=1) + 4 * torch.sin(nested(m, x)),
        ],
    ),
    "a slope and equal ends": (
        2,
        1,
        [
            lambda u: lambda x: grad(u)(x)[D],
            lambda u: lambda x: u(x) - u(x + torch.tensor([1.0, 0.0], dtype=x.dtype)),
        ],
        [
            lambda m, x: nested(m, x, D),
            lambda m, x: nested(m, x) - nested(m, x + torch.tensor([1.0, 0.0])),
        ],
    ),
}
equations = pytest.mark.parametrize("equation", EQUATIONS)


def posed(equation):
    """Return a network, its terms with values or u_0 first, and the same by nested autograd."""
    inputs, outputs, operators, naive = EQUATIONS[equation]
    model = ntk.MLP(inputs, 8, outputs, depth=2, activation="tanh", sigma_b=0.7, seed=1)
    draw = torch.Generator().manual_seed(2)
    operators = [None if outputs == 1 else lambda u: part(u, 0), *operators]
    terms, twins = [], []
    for i, (ours, twin) in enumerate(zip(operators, [nested, *naive], strict=True)):
        x = torch.rand(4 + i, inputs, generator=draw)
        target = torch.randn(4 + i, generator=draw)
        terms.append(Term(x, ours, target, weight=1.0 + i))
        twins.append((x, twin, target))
    return model, terms, twins


@equations
def test_the_kernel_of_all_terms_is_that_of_nested_autograd(equation):
    model, terms, twins = posed(equation)
    found = ntk.pinn_kernel(model, terms)
    expected = kernel_of_rows(model, [naive(model, x) for x, naive, _ in twins])
    error = (found.full - expected).abs().max() / expected.abs().max()
    assert error < 1e-13
    assert torch.equal(found.full, found.full.T)
    starts = [0, *torch.tensor(found.sizes).cumsum(0).tolist()]
    for i, j in [(0, 0), (0, len(terms) - 1), (len(terms) - 1, 1)]:
        rows, columns = slice(*starts[i : i + 2]), slice(*starts[j : j + 2])
        assert torch.equal(found.block(i, j), found.full[rows, columns])


@equations
@pytest.mark.parametrize("loss", ["sum", "mean"])
def test_training_is_descent_on_the_weighted_sum_of_losses(equation, loss):
    model, terms, twins = posed(equation)
    twin = copy.deepcopy(model)
    run = ntk.train_pinn(model, terms, learning_rate=1e-4, steps=5, loss=loss, progress=False)
    factors = [t.weight / (len(t.points) if loss == "mean" else 1) for t in terms]
    values, losses = train_terms_by_loop(twin, twins, 1e-4, 5, factors)
    for got, wanted in zip(run.values, values, strict=True):
        torch.testing.assert_close(got[-1], wanted, rtol=1e-9, atol=1e-9)
    weighted = run.losses[-1] @ torch.tensor([t.weight for t in terms])
    torch.testing.assert_close(weighted, losses)
    assert run.weights[0].tolist() == [t.weight for t in terms]


@equations
def test_the_forecast_is_descent_for_small_steps_and_balances_all_terms(equation):
    model, terms, _ = posed(equation)
    kernel = ntk.pinn_kernel(model, terms)
    weights = kernel.balance_weights()
    rates = [w * kernel.block(i, i).trace() for i, w in enumerate(weights)]
    torch.testing.assert_close(torch.stack(rates), kernel.full.trace().expand(len(rates)))
    targets, start = [t.target for t in terms], [t.values(model).detach() for t in terms]
    frozen = ntk.PINNDynamics(kernel, targets, start, weights=weights)
    rate = 1e-4 * frozen.max_learning_rate
    forecast = frozen.train_steps(1, rate)
    run = ntk.train_pinn(
        model, terms, learning_rate=rate, steps=1, weights="balance", progress=False
    )
    for got, wanted, first in zip(run.values, forecast, start, strict=True):
        moved = (wanted - first).norm()
        assert (got[-1] - wanted).norm() < 1e-2 * moved


def test_the_two_term_call_is_two_terms():
    problem, net = ntk.PoissonProblem(), ntk.MLP(1, 6, activation="tanh", seed=0)
    x_b, x_r = problem.boundary(4), problem.interior(5)
    terms = [Term(x_b), Term(x_r, problem.operator, problem.forcing(x_r))]
    as_before = ntk.pinn_kernel(net, x_b, x_r, problem.operator)
    assert torch.equal(ntk.pinn_kernel(net, terms).full, as_before.full)
    runs = [
        ntk.train_pinn(copy.deepcopy(net), *call, learning_rate=1e-4, steps=9, progress=False)
        for call in [(problem, x_b, x_r), (terms,)]
    ]
    torch.testing.assert_close(runs[0].lu, runs[1].lu)
    torch.testing.assert_close(runs[0].u, runs[1].u)


class Clamped(nn.Module):
    """u(x) = x (1 − x) network(x), which is 0 at both ends whatever the network is."""

    def __init__(self, network):
        """Hold the network."""
        super().__init__()
        self.network = network

    def forward(self, x):
        return x * (1 - x) * self.network(x)


def test_boundary_conditions_by_construction_leave_one_term():
    problem, network = ntk.PoissonProblem(), ntk.MLP(1, 64, activation="tanh", sigma_b=1.0, seed=0)
    model, x = Clamped(network), problem.interior(20)
    term = Term(x, problem.operator, problem.forcing(x))
    kernel = ntk.pinn_kernel(model, [term])
    expected = kernel_of_rows(model, [nested(model, x, 0, 0)])
    torch.testing.assert_close(kernel.full, expected)
    assert kernel.balance_weights() == (1.0,)
    rate = 1.8 / kernel.eigenvalues()[-1].item()
    run = ntk.train_pinn(model, [term], learning_rate=rate, steps=500, progress=False)
    assert run.losses[-1, 0] < 1e-2 * run.losses[0, 0]
    grid = torch.linspace(0, 1, 101)[:, None]
    error = (model(grid) - problem.solution(grid)).abs().max()
    assert error < 0.01
    assert model(problem.boundary(2)).abs().max() == 0


class Cooling(nn.Module):
    """u of a network, and the rate r of the equation u' = −r u, which is to be found."""

    def __init__(self):
        """Draw the network, and guess the rate."""
        super().__init__()
        self.network = ntk.MLP(1, 64, activation="tanh", sigma_w=1.5, sigma_b=0.5, seed=0)
        self.r = nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        return self.network(x)


def test_an_inverse_problem_finds_the_coefficient_of_its_equation():
    model = Cooling()
    times, inside = torch.linspace(0, 1, 9)[:, None], torch.linspace(0, 1, 21)[:, None]
    law = Term(inside, lambda u: lambda x: d(u, 0)(x) + model.r * u(x))
    terms = [Term(times, target=torch.exp(-1.5 * times), weight=10.0), law]
    kernel = ntk.pinn_kernel(model, terms)
    rows = [nested(model, times), nested(model, inside, 0) + model.r * nested(model, inside)]
    torch.testing.assert_close(kernel.full, kernel_of_rows(model, rows))
    rate = 0.9 / kernel.weighted(10.0, 1.0).eigenvalues()[-1].item()
    ntk.train_pinn(model, terms, learning_rate=rate, steps=1500, progress=False)
    assert model.r.item() == pytest.approx(1.5, abs=0.1)


def test_a_number_is_the_target_of_each_point():
    assert Term(X, target=2.5).target.tolist() == [2.5, 2.5, 2.5]


def test_values_serve_an_optimiser_of_ones_own():
    model, terms, twins = posed("wave")
    adam = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(60):
        loss = sum(t.weight * (t.values(model) - t.target).square().mean() for t in terms)
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert losses[-1] < 0.8 * losses[0]
    for term, (x, naive, _) in zip(terms, twins, strict=True):
        torch.testing.assert_close(term.values(model), naive(model, x))


X = torch.rand(3, 2, dtype=torch.float64)
REFUSED = [
    (lambda: Term([1.0]), TypeError, "points must be a torch.Tensor"),
    (lambda: Term(X, 3), TypeError, r"operator must map a function u .*; got int"),
    (lambda: Term(X, target=X), ValueError, r"one number for each of the 3 points; got .*\(3, 2\)"),
    (lambda: Term(X, target=math.nan), ValueError, "target must be finite"),
    (lambda: Term(X, target=X[:, 0].float()), TypeError, "target is torch.float32 but points"),
    (lambda: Term(X, weight=-1.0), ValueError, "weight must be finite and 0 or greater"),
    (
        lambda: ntk.pinn_kernel(ntk.MLP(2, 3, 2), [Term(X)]),
        ValueError,
        r"one real output, the value u\(x\); got 2 .* u\(x\)\[0\]",
    ),
    (
        lambda: ntk.pinn_kernel(ntk.MLP(2, 3), [Term(X), Term(X.float())]),
        TypeError,
        r"terms\[1\]\.points is torch.float32",
    ),
    (
        lambda: ntk.train_pinn(ntk.MLP(2, 3), [], learning_rate=1.0, steps=1),
        TypeError,
        r"be a list of ntk\.Term; list has no operator",
    ),
    (
        lambda: ntk.train_pinn(
            ntk.MLP(2, 3), [Term(X)] * 3, learning_rate=1.0, steps=1, weights=(1.0, 1.0)
        ),
        TypeError,
        r"a number for each term, \(λ_0, λ_1, λ_2\)",
    ),
    (
        lambda: ntk.pinn_kernel(
            ntk.MLP(2, 3, activation="relu"), [Term(X), Term(X), Term(X, lambda u: d(u, 0, 0))]
        ).balance_weights(),
        ValueError,
        r"block \(2, 2\) is zero",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_what_cannot_be_is_refused_with_a_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()
