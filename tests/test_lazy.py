"""Linearisation, drift and the lazy number against autograd, brute force and their scaling laws."""

import copy
import dataclasses
import math

import pytest
import torch
from reference import Attentive, Written, jacobian_by_loop
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

import ntk_helpers as ntk


def circle(n=8):
    angle = torch.arange(n) * (2 * math.pi / n)
    return torch.stack([angle.cos(), angle.sin()], 1)


def scaled(model, alpha):
    """Return alpha · (f(x; θ) − f(x; θ_0)): zero at the start, with alpha times the Jacobian."""
    start = copy.deepcopy(model).requires_grad_(False)
    return Written(lambda m, x: alpha * (m.f(x) - m.start(x)), f=model, start=start)


def exponential():
    """Return f(x) = exp(θ · x): its linearisation leads to weights at which it overflows."""
    return Written(lambda m, x: torch.exp(x @ m.theta), theta=nn.Parameter(torch.zeros(2)))


def block(layer):
    return Written(lambda m, x: m.head(m.layer(x).tanh()), layer=layer, head=nn.Linear(4, 2))


MODELS = {
    "one output": lambda: ntk.MLP(2, 8, depth=2, activation="tanh", seed=0),
    "three outputs": lambda: ntk.MLP(2, 8, 3, depth=2, activation="tanh", seed=0),
    "no forward mode": lambda: block(weight_norm(nn.Linear(2, 4))),
}


@pytest.mark.parametrize("name", MODELS)
def test_linearisation_is_value_plus_jacobian_times_the_move(name):
    torch.manual_seed(0)
    model, x = MODELS[name](), circle(4)
    moves = {name: torch.randn(p.shape) for name, p in model.named_parameters()}
    moved = {name: p.detach() + moves[name] for name, p in model.named_parameters()}
    step = torch.cat([move.reshape(-1) for move in moves.values()])
    change = (jacobian_by_loop(model, x) @ step).reshape(4, -1)
    torch.testing.assert_close(ntk.linearize(model)(moved, x), model(x) + change)


def test_linearisation_stays_where_it_was_expanded_when_the_model_trains():
    model, x = ntk.MLP(2, 8, seed=0), circle(4)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    f_lin, before = ntk.linearize(model), model(x).detach()
    ntk.gradient_descent(model, x, torch.ones(4, 1), learning_rate=0.5, steps=5, progress=False)
    torch.testing.assert_close(f_lin(start, x), before)


def test_training_the_linearisation_is_kernel_dynamics():
    model, x = ntk.MLP(2, 16, seed=0), circle(6)
    y = torch.sin(3 * x[:, 1:])
    f_lin = ntk.linearize(model)
    params = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    kernel = ntk.empirical_ntk(model, x, outputs="trace")
    dynamics = ntk.KernelDynamics(kernel, y, model(x).detach())
    for _ in range(20):
        value = 0.5 * (f_lin(params, x) - y).square().sum() / 6
        gradients = torch.autograd.grad(value, list(params.values()))
        with torch.no_grad():
            for p, gradient in zip(params.values(), gradients, strict=True):
                p -= 0.7 * gradient
    torch.testing.assert_close(f_lin(params, x).detach(), dynamics.train_steps(20, 0.7))


def test_linearisation_takes_buffers_and_frozen_parameters_as_they_are():
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).eval()
    model[0].weight.requires_grad_(False)
    params = dict(model.named_parameters())
    torch.testing.assert_close(ntk.linearize(model)(params, circle(4)), model(circle(4)))


def test_linearisation_carries_the_gradient_of_its_parameters_alone():
    model = nn.Linear(2, 1)
    model.register_buffer("shift", torch.ones(1, requires_grad=True))
    model.forward = lambda x: nn.functional.linear(x, model.weight, model.bias + model.shift)
    fixed = {name: p.detach() for name, p in model.named_parameters()}
    f_lin = ntk.linearize(model)
    assert not f_lin(fixed, circle(4)).requires_grad
    assert f_lin(dict(model.named_parameters()), circle(4)).requires_grad


def test_linearisation_does_not_follow_a_model_into_training_mode():
    model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1)).eval()
    f_lin, params = ntk.linearize(model), dict(model.named_parameters())
    before = f_lin(params, circle(4))
    model.train()
    with pytest.raises(ValueError, match=r"Dropout in training mode.*model.eval\(\)"):
        f_lin(params, circle(4))
    model.eval()
    assert torch.equal(f_lin(params, circle(4)), before)


@pytest.mark.parametrize("train", [True, False])
def test_attention_is_linearised_and_judged(train):
    model = Attentive().train(train)
    x, y = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0)), torch.ones(3, 1)
    params = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.testing.assert_close(ntk.linearize(model)(params, x), model(x).detach())
    found = ntk.lazy_regime(model, x, y, learning_rate=0.01, steps=2)
    kernel = ntk.empirical_ntk(model, x, outputs="trace")
    assert found.max_learning_rate == pytest.approx(6 / torch.linalg.eigvalsh(kernel)[-1].item())
    assert found.drift < 0.1


def counting(m, x):
    m.calls += 1
    f = m.body(x)
    m.mean.mul_(0.9).add_(f.detach().mean(0))
    return f


def test_buffers_that_forward_writes_to_are_no_obstacle_and_stay_as_they_are():
    body, x, y = ntk.MLP(2, 16, activation="tanh", seed=0), circle(4), torch.ones(4, 1)
    buffers = {"calls": nn.Buffer(torch.zeros(())), "mean": nn.Buffer(torch.zeros(1))}
    model = Written(counting, body=body, **buffers)
    f_lin, params = ntk.linearize(model), dict(model.named_parameters())
    found, bare = (
        dataclasses.astuple(ntk.lazy_regime(judged, x, y, learning_rate=0.1, steps=3))
        for judged in (model, model.body)
    )
    assert found == pytest.approx(bare)
    value = f_lin(params, x)
    assert model.calls == 0
    torch.testing.assert_close(value, model(x))


@pytest.mark.parametrize("steps", [None, 3])
def test_where_the_model_fits_already_nothing_moves_and_the_theory_applies(steps):
    model, x = ntk.MLP(2, 16, seed=0), circle(8)
    found = ntk.lazy_regime(model, x, model(x).detach(), learning_rate=0.1, steps=steps)
    assert found.kappa == found.kappa_along_flow == found.fitted_error == found.fitted_drift == 0
    assert found.prediction_error == found.drift == (None if steps is None else 0)
    assert found.verdict == "applies"
    assert "nan" not in str(found)


def test_where_the_flow_stands_still_it_has_no_direction_and_bends_nothing():
    # Two targets for one point: the mean of them is what the model is already.
    model, x = nn.Linear(1, 1), torch.ones(2, 1)
    with torch.no_grad():
        y = model(x) + torch.tensor([[1.0], [-1.0]])
    found = ntk.lazy_regime(model, x, y, learning_rate=0.1)
    assert found.kappa_along_flow == 0


def test_drift_is_the_relative_frobenius_change():
    start = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert ntk.kernel_drift(start, start) == 0
    moved = start + torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    assert ntk.kernel_drift(moved, start) == pytest.approx(0.2)


def test_a_kernel_on_another_clock_has_changed_in_scale_and_not_in_shape():
    start = torch.tensor([[3.0, 1.0], [1.0, 4.0]])
    drift, ratio, cosine = ntk.kernel_change(1.5 * start, start)
    assert (drift, ratio, cosine) == pytest.approx((0.5, 1.5, 1.0))
    other = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
    drift, ratio, cosine = ntk.kernel_change(other, start)
    assert ratio == pytest.approx(1.0)
    assert cosine == pytest.approx(26 / 27)
    assert drift**2 == pytest.approx((ratio - 1) ** 2 + 2 * ratio * (1 - cosine))


def judge(width=64, learning_rate=0.5, y_scale=1.0, alpha=None, seed=1, **options):
    x = circle(8)
    model = ntk.MLP(2, width, sigma_w=1.5, seed=seed)
    model = model if alpha is None else scaled(model, alpha)
    y = y_scale * torch.sin(3 * x[:, 1:])
    return ntk.lazy_regime(model, x, y, learning_rate=learning_rate, **options)


def test_curvature_is_the_largest_second_derivative_found_by_brute_force():
    model, x = ntk.MLP(2, 3, activation="tanh", sigma_w=2.0, seed=3), circle(5)
    names, parameters = zip(*model.named_parameters(), strict=True)
    theta = nn.utils.parameters_to_vector(parameters).detach()

    def f(flat, i):
        parts = flat.split([p.numel() for p in parameters])
        named = {n: v.view_as(p) for n, v, p in zip(names, parts, parameters, strict=True)}
        return torch.func.functional_call(model, named, (x,))[i, 0]

    hessian = torch.autograd.functional.hessian
    hessians = torch.stack([hessian(lambda flat, i=i: f(flat, i), theta) for i in range(5)])
    best = 0.0
    for start in torch.randn(40, 5, generator=torch.Generator().manual_seed(0)):
        a = start / start.norm()
        for _ in range(100):
            values, vectors = torch.linalg.eigh(torch.einsum("i,ipq->pq", a, hessians))
            u = vectors[:, values.abs().argmax()]
            a = torch.einsum("p,ipq,q->i", u, hessians, u)
            best, a = max(best, float(a.norm())), a / a.norm()
    y = model(x).detach() - 1
    found = ntk.lazy_regime(model, x, y, learning_rate=0.1, loss="sum")
    curvature = found.kappa * (2 / found.max_learning_rate) / math.sqrt(5)  # κ λ_max / ‖r‖
    assert 0.9 * best < curvature < best * (1 + 1e-9)


def test_kappa_is_exact_for_one_product_of_two_weights():
    # f = θ₁ θ₂ x: ∇f = (θ₂, θ₁) x, and ∇²f has the norm |x|.
    a, b = (nn.Parameter(torch.tensor(value)) for value in (3.0, 4.0))
    product, run = Written(lambda m, x: m.a * m.b * x, a=a, b=b), {"learning_rate": 0.01}
    found = ntk.lazy_regime(product, torch.tensor([[2.0]]), torch.tensor([[27.0]]), **run)
    assert found.kappa == pytest.approx(3.0 * 2 / (25 * 4))
    # û = (4, 3)/5: ∇²f[û, û] = 2 · 12/25 · 2 and J û = 2 · 5
    assert found.kappa_along_flow == pytest.approx(3.0 * (48 / 25) / 100)
    assert found.max_learning_rate == pytest.approx(2 / 100)
    # Two points make a vector x, of norm √5 in place of 2; r = (−1, 0).
    x, y = torch.tensor([[2.0], [1.0]]), torch.tensor([[25.0], [12.0]])
    both = ntk.lazy_regime(product, x, y, **run)
    assert both.kappa == pytest.approx(math.sqrt(5) / 125)
    assert both.kappa_along_flow == pytest.approx(math.sqrt(5) * (24 / 25) / 125)


def test_kappa_falls_as_the_root_of_the_width_and_along_the_flow_as_the_width():
    logs = torch.zeros(2, 2)
    for i, width in enumerate((16, 256)):
        for found in (judge(width, y_scale=20.0, seed=seed) for seed in range(4)):
            logs[i] += torch.tensor([found.kappa, found.kappa_along_flow]).log() / 4
    slopes = (logs[1] - logs[0]) / math.log(256 / 16)
    assert -0.65 < slopes[0] < -0.25
    assert -1.4 < slopes[1] < -0.6


def test_kappa_falls_as_the_output_scale_when_the_network_starts_at_zero():
    one, ten = judge(alpha=1.0), judge(alpha=10.0)
    assert ten.kappa == pytest.approx(one.kappa / 10, rel=1e-6)
    assert ten.kappa_along_flow == pytest.approx(one.kappa_along_flow / 10, rel=1e-6)


@pytest.mark.parametrize(("loss", "scale"), [("mean", 1 / 8), ("sum", 1.0)])
def test_the_largest_rate_is_that_of_the_kernel(loss, scale):
    found = judge(loss=loss)
    kernel = ntk.empirical_ntk(ntk.MLP(2, 64, sigma_w=1.5, seed=1), circle(8), outputs="trace")
    wanted = 2 / (scale * torch.linalg.eigvalsh(kernel)[-1].item())
    assert found.max_learning_rate == pytest.approx(wanted)


def test_a_wide_network_is_lazy_and_a_narrow_one_with_large_targets_is_not():
    wide, narrow = judge(512, steps=200), judge(8, 0.2, y_scale=10.0, steps=200)
    assert (wide.verdict, narrow.verdict) == ("applies", "does not apply")
    assert wide.drift < 0.1 < 0.3 < narrow.drift
    assert wide.prediction_error < 0.02
    assert narrow.kappa > 1
    assert judge(32).verdict == "uncertain"


def test_a_rate_far_above_the_limit_makes_the_run_of_the_copy_diverge():
    limit = judge(512).max_learning_rate
    runaway = judge(512, 20 * limit, steps=200)
    assert runaway.drift == runaway.prediction_error == math.inf


def regime(**change):
    """Return a verdict from numbers alone, each at the edge of what still applies."""
    edge = {"kappa": 0.2, "kappa_along_flow": 0.03, "learning_rate": 0.5, "max_learning_rate": 1.0}
    return ntk.LazyRegime(**edge | {"fitted_drift": 0.1, "fitted_error": 0.1} | change)


# fmt: off
VERDICTS = [
    ({}, "applies"),
    ({"kappa": 0.21}, "uncertain"), ({"kappa": 1.0}, "uncertain"),
    ({"kappa": 1.01}, "does not apply"),
    ({"fitted_drift": 0.11}, "uncertain"), ({"fitted_error": 0.11}, "uncertain"),
    ({"learning_rate": 0.99}, "applies"), ({"learning_rate": 1.0}, "does not apply"),
    ({"kappa": 9.0, "drift": 0.1, "prediction_error": 0.1}, "applies"),
    ({"drift": 0.11, "prediction_error": 0.1}, "does not apply"),
    ({"drift": 0.1, "prediction_error": 0.11}, "does not apply"),
    ({"learning_rate": 1.0, "drift": 0.0, "prediction_error": 0.0}, "does not apply"),
]
REASONS = [
    ({}, ["κ = 0.2 is small (along the flow 0.03)", "η = 0.5 is 0.50 of the largest stable"]),
    ({"kappa": 0.21}, ["κ = 0.21 is moderate", "not decided by κ: give steps=…"]),
    ({"kappa": 1.0}, ["κ = 1 is moderate", "not decided by κ"]),
    ({"kappa": 1.01}, ["κ = 1 is large"]),
    ({"learning_rate": 1.0}, ["1.00 of the largest stable rate, too large"]),
    ({"fitted_drift": 0.3}, ["move the kernel by 30%, the outputs off by 10%", "give steps=…"]),
    ({"drift": 0.04, "prediction_error": 0.02}, ["kernel by 4.0%", "prediction by 2.0% of"]),
    ({"drift": math.inf, "prediction_error": math.inf}, ["training a copy diverged"]),
]
# fmt: on


@pytest.mark.parametrize(("change", "verdict"), VERDICTS)
def test_the_verdict_changes_at_the_edges_that_are_told(change, verdict):
    assert regime(**change).verdict == verdict


@pytest.mark.parametrize(("change", "reasons"), REASONS)
def test_the_reasons_are_told_a_line_each(change, reasons):
    first, *lines = str(regime(**change)).split("\n")
    assert first == f"Theory of a constant kernel: {regime(**change).verdict}."
    assert all(any(reason in line for line in lines) for reason in reasons)
    stable, slow, decide = "rate, stable", "but y has slow modes", "not decided by κ"
    told = [any(part in line for line in lines) for part in (stable, slow, decide)]
    uncertain = regime(**change).verdict == "uncertain"
    assert told == [change.get("learning_rate") != 1.0, "fitted_drift" in change, uncertain]


def test_where_the_fitted_weights_overflow_nothing_is_small():
    x, y = torch.eye(2), torch.tensor([1000.0, 1.5])
    found = ntk.lazy_regime(exponential(), x, y, learning_rate=0.1)
    assert found.fitted_drift == math.inf
    assert found.fitted_error == math.inf


def test_points_that_come_twice_leave_the_fitted_weights_as_they_are():
    x, y = torch.eye(2), torch.tensor([1.2, 1.5])
    once = ntk.lazy_regime(exponential(), x, y, learning_rate=0.1)
    twice = ntk.lazy_regime(exponential(), x.repeat(2, 1), y.repeat(2), learning_rate=0.1)
    assert twice.fitted_drift == pytest.approx(once.fitted_drift)
    assert twice.fitted_error == pytest.approx(once.fitted_error)
    assert twice.fitted_drift > 0


def test_the_run_of_a_copy_is_told_as_it_was_and_shows_no_bar(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    x, y = torch.eye(2), torch.tensor([1.2, 1.5])
    run = {"learning_rate": 0.3, "steps": 7, "loss": "sum"}
    found, model = ntk.lazy_regime(exponential(), x, y, **run), exponential()
    assert capsys.readouterr().err == ""
    still = ntk.lazy_regime(model, x, y, **run | {"steps": 0})
    assert still.drift == still.prediction_error == 0
    kernel, f0 = ntk.empirical_ntk(model, x), model(x).detach()
    ntk.gradient_descent(model, x, y, **run, progress=False)
    predicted = ntk.KernelDynamics(kernel, y, f0, loss="sum").train_steps(7, 0.3)
    error = float((model(x).detach() - predicted).norm() / (f0 - y).norm())
    assert found.drift == pytest.approx(ntk.kernel_drift(ntk.empirical_ntk(model, x), kernel))
    assert found.prediction_error == pytest.approx(error)
    assert error > 0.001


def detour():
    """One hidden layer of 64 units from f_0 = 0, and targets |x_1| in 20 inputs: slow modes."""
    x = torch.randn(200, 20, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0].abs() - math.sqrt(2 / math.pi)) / math.sqrt(1 - 2 / math.pi)
    model = ntk.MLP(20, 64, activation="gelu", sigma_b=0.5, seed=0)
    first, last = model.layers
    with torch.no_grad():
        first.weight[32:], first.bias[32:] = first.weight[:32], first.bias[:32]
        last.weight[:, 32:] = -last.weight[:, :32]
        last.bias.zero_()
    return model, x, y


def test_targets_in_slow_modes_are_not_called_lazy_although_kappa_is_small():
    model, x, y = detour()
    before = ntk.lazy_regime(model, x, y, learning_rate=0.1)
    rate = before.max_learning_rate / 5
    after = ntk.lazy_regime(model, x, y, learning_rate=rate, steps=400)
    assert after.drift > 0.15
    assert after.prediction_error > 0.25
    assert after.verdict == "does not apply"
    assert before.kappa < 0.2
    assert before.fitted_drift > 0.3
    assert before.verdict == "uncertain"
    assert "but y has slow modes" in str(before)
    assert "give steps=" in str(before)


def test_the_fitted_weights_are_those_of_least_move_that_fit_the_linearisation():
    model, x = ntk.MLP(2, 6, 2, seed=0), circle(5)
    model.layers[0].bias.requires_grad_(False)
    y = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    move = torch.linalg.pinv(jacobian_by_loop(model, x)) @ (y - model(x)).reshape(-1).detach()
    moved, start = copy.deepcopy(model), ntk.empirical_ntk(model, x)
    with torch.no_grad():
        trainable = [p for p in moved.parameters() if p.requires_grad]
        for p, part in zip(trainable, move.split([p.numel() for p in trainable]), strict=True):
            p += part.view_as(p)
    found = ntk.lazy_regime(model, x, y, learning_rate=0.1)
    drift = ntk.kernel_drift(ntk.empirical_ntk(moved, x), start)
    assert found.fitted_drift == pytest.approx(drift, rel=1e-6)
    error = float(((moved(x) - y).norm() / (model(x) - y).norm()).detach())
    assert found.fitted_error == pytest.approx(error, rel=1e-6)


# --- layers that are hard to differentiate --------------------------------------------------------


def checkpointed(m, x):
    return m.head(checkpoint(m.layer, x, use_reentrant=False).tanh())


def judged(model, x):
    return ntk.lazy_regime(model, x, torch.zeros_like(model(x)), learning_rate=0.01, steps=5)


def test_a_model_with_a_layer_norm_bends_as_its_second_differences_say():
    """Forward mode taken twice is silently wrong there, in torch 2.13."""
    torch.manual_seed(0)
    model, x = block(nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4))), circle()
    parameters, f0 = list(model.parameters()), model(x).detach().reshape(-1)
    theta, jacobian = nn.utils.parameters_to_vector(parameters).detach(), jacobian_by_loop(model, x)
    y = torch.linspace(-1, 2, 16)
    u = nn.functional.normalize(jacobian.T @ (f0 - y), dim=0)

    def at(step):
        nn.utils.vector_to_parameters(theta + step * u, parameters)
        return model(x).detach().reshape(-1)

    second = (at(1e-3) - 2 * at(0.0) + at(-1e-3)) / 1e-6
    at(0.0)
    wanted = (f0 - y).norm() * second.norm() / (jacobian @ u).square().sum()
    found = ntk.lazy_regime(model, x, y.view(8, 2), learning_rate=0.01)
    assert found.kappa_along_flow == pytest.approx(wanted.item(), rel=1e-4)


def test_a_model_with_checkpointing_is_judged_as_without():
    model, x = block(nn.Linear(2, 4)), circle()
    plain, model.written = judged(model, x), checkpointed
    assert judged(model, x) == plain


def test_a_recurrent_network_in_float32_is_judged_as_in_float64():
    torch.manual_seed(0)
    cells, head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)
    model = Written(lambda m, x: m.head(m.cells(x)[0][:, -1]), cells=cells, head=head)
    x = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0))
    exact = dataclasses.astuple(judged(model, x))
    single = dataclasses.astuple(judged(model.float(), x.float()))
    assert single == pytest.approx(exact, rel=1e-3, abs=1e-6)  # the last is a difference


def test_a_complex_parameter_counts_as_two_real_ones():
    a, b, gain = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0))
    parts = {"gain": gain[0], "a": a, "b": b}
    two = {name: nn.Parameter(part.clone()) for name, part in parts.items()}
    one = {"gain": two["gain"], "w": nn.Parameter(torch.complex(a, b))}
    real = Written(lambda m, x: m.gain * ((x @ m.a) ** 2 + (x @ m.b) ** 2), **two)
    model = Written(lambda m, x: m.gain * ((x + 0j) @ m.w).abs().square(), **one)
    found, wanted = (dataclasses.astuple(judged(m, circle())) for m in (model, real))
    assert found == pytest.approx(wanted, rel=1e-6)


def test_with_checkpointing_the_linearisation_stays_where_it_was_expanded_or_is_refused():
    x, model = circle(), block(nn.Linear(2, 4))
    model.written = checkpointed
    params = {name: p.detach() + 0.1 for name, p in model.named_parameters()}
    f_lin = ntk.linearize(model)
    before = f_lin(params, x)
    with torch.no_grad():
        model.layer.weight += 0.3
    assert torch.equal(f_lin(params, x), before)
    model.layer = weight_norm(model.layer)  # which has no forward mode
    with pytest.raises(ValueError, match=r"no forward mode.*checkpoint"):
        expand(model)


# --- what is refused ------------------------------------------------------------------------------


def expand(model, x=None, **params):
    """Evaluate the linearisation of `model` at its own parameters, some of them replaced."""
    return ntk.linearize(model)(
        dict(model.named_parameters()) | params, circle(4) if x is None else x
    )


def regard(model=None, x=None, y=None, learning_rate=0.1, **options):
    """Judge a small network, with arguments replaced."""
    model = ntk.MLP(2, 4, seed=0) if model is None else model
    x, y = circle() if x is None else x, torch.ones(8, 1, dtype=torch.float64) if y is None else y
    return ntk.lazy_regime(model, x, y, learning_rate=learning_rate, **options)


def off():
    """Return a network whose units are all off."""
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.ReLU(), nn.Linear(4, 1, bias=False))
    nn.init.zeros_(model[0].weight)
    return model


def drift(now, start):
    return ntk.kernel_drift(now * torch.ones(2, 2), start)


# fmt: off
REFUSALS = [
    (lambda: ntk.linearize(nn.Linear(2, 1))({"weight": torch.ones(1, 2)}, circle(4)),
     ValueError, r"missing or unknown: \['bias'\]\. dict\(model"),
    (lambda: expand(nn.Linear(2, 1), circle(4).float()),
     TypeError, r"x is torch\.float32 but the model's parameter 'weight'"),
    (lambda: ntk.linearize(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))),
     ValueError, r"mixes the rows"),
    (lambda: expand(nn.Sequential(nn.Linear(2, 1), nn.Softmax(dim=0))),
     ValueError, r"mixes the rows of a batch, is random"),
    (lambda: drift(1.0, torch.ones(3, 3)), ValueError, r"of one shape.*got \(2, 2\) and \(3, 3\)"),
    (lambda: drift(1.0, torch.zeros(2, 2)), ValueError, r"not all zero"),
    (lambda: drift(1.0, torch.ones(2, 2).float()), TypeError, r"k_now is torch.float64"),
    (lambda: regard(nn.Identity()), ValueError, r"no trainable parameter"),
    (lambda: regard(nn.BatchNorm1d(2)), ValueError, r"mixes the rows"),
    (lambda: regard(off()), ValueError, r"tangent kernel of the model is zero at x"),
    (lambda: regard(y=torch.ones(3)), ValueError, r"y has 3 rows but x has 8"),
    (lambda: regard(y=torch.ones(8, 2)), ValueError, r"have shape \(8, 1\) but y has .* \(8, 2\)"),
    (lambda: regard(y=torch.ones(8, 1).half()), TypeError, r"but the model's output"),
    (lambda: regard(learning_rate=0), ValueError, r"learning_rate must be finite and greater"),
    (lambda: regard(loss="mse"), ValueError, r"loss must be one of 'mean', 'sum'"),
    (lambda: regard(steps=1.5), TypeError, r"steps must be an integer"),
]
# fmt: on


@pytest.mark.parametrize(("call", "error", "message"), REFUSALS)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
