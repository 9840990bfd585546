"""Linearisation, drift and the lazy number against autograd, brute force and their scaling laws."""

import copy
import dataclasses
import math

import pytest
import torch
from reference import Attentive, jacobian_by_loop
from torch import nn

import ntk_helpers as ntk
from ntk_helpers.theory import lazy
from ntk_helpers.theory._derivatives import Derivatives

# torch's own, when forward mode is first used.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")


def circle(n=8):
    angle = torch.arange(n) * (2 * math.pi / n)
    return torch.stack([angle.cos(), angle.sin()], 1)


class Scaled(nn.Module):
    """alpha · (f(x; θ) − f(x; θ_0)): zero at the start, with a Jacobian alpha times that of f."""

    def __init__(self, model, alpha):  # noqa: D107
        super().__init__()
        self.model, self.alpha = model, alpha
        self.start = copy.deepcopy(model).requires_grad_(False)

    def forward(self, x):
        return self.alpha * (self.model(x) - self.start(x))


@pytest.mark.parametrize("n_out", [1, 3])
def test_linearisation_is_value_plus_jacobian_times_the_move(n_out):
    model, x = ntk.MLP(2, 8, n_out, depth=2, activation="tanh", seed=0), circle(4)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    moved = {name: p + torch.randn(p.shape, generator=generator) for name, p in start.items()}
    step = torch.cat([(moved[name] - start[name]).reshape(-1) for name in start])
    wanted = model(x) + (jacobian_by_loop(model, x) @ step).reshape(4, n_out)
    torch.testing.assert_close(ntk.linearize(model)(moved, x), wanted)


def test_linearisation_stays_where_it_was_expanded_when_the_model_trains():
    model, x = ntk.MLP(2, 8, seed=0), circle(4)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    f_lin, before = ntk.linearize(model), model(x).detach()
    ntk.gradient_descent(model, x, torch.ones(4, 1), learning_rate=0.5, steps=5, progress=False)
    torch.testing.assert_close(f_lin(start, x), before)


def test_linearisation_error_is_of_second_order():
    model, x = ntk.MLP(2, 8, seed=0), circle(4)
    f_lin = ntk.linearize(model)
    errors = []
    for size in (1e-2, 1e-3):
        nudged = copy.deepcopy(model)
        with torch.no_grad():
            for p in nudged.parameters():
                p += size
        errors.append((nudged(x) - f_lin(dict(nudged.named_parameters()), x)).abs().max())
    assert 50 < errors[0] / errors[1] < 200


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


def test_linearisation_takes_integers_for_points():
    model = nn.Sequential(nn.Embedding(3, 2), nn.Flatten(), nn.Linear(4, 1))
    x = torch.tensor([[0, 2], [1, 1]])
    torch.testing.assert_close(ntk.linearize(model)(dict(model.named_parameters()), x), model(x))


def test_linearisation_refuses_other_names():
    f_lin = ntk.linearize(nn.Linear(2, 1))
    with pytest.raises(ValueError, match=r"missing or unknown: bias\. dict\(model"):
        f_lin({"weight": torch.ones(1, 2)}, circle(4))
    with pytest.raises(TypeError, match=r"x is torch\.float32 but the model's parameter 'weight'"):
        f_lin(dict(nn.Linear(2, 1).named_parameters()), circle(4).float())
    with pytest.raises(ValueError, match=r"mixes the rows"):
        ntk.linearize(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)))


def test_linearisation_refuses_a_model_that_mixes_rows_at_its_first_call():
    line = nn.Linear(2, 1)
    model = nn.Sequential(line, nn.Softmax(dim=0))
    f_lin = ntk.linearize(model)
    with pytest.raises(ValueError, match=r"mixes the rows of a batch, is random"):
        f_lin(dict(model.named_parameters()), circle(2))


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


class Counting(nn.Module):
    """A network that counts its calls and keeps a running mean."""

    def __init__(self):  # noqa: D107
        super().__init__()
        self.body = ntk.MLP(2, 16, activation="tanh", seed=0)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        f = self.body(x)
        self.mean.mul_(0.9).add_(f.detach().mean(0))
        return f


def test_buffers_that_forward_writes_to_are_no_obstacle_and_stay_as_they_are():
    model, x, y = Counting(), circle(4), torch.ones(4, 1)
    f_lin, params = ntk.linearize(model), dict(model.named_parameters())
    found, bare = (
        dataclasses.astuple(ntk.lazy_regime(judged, x, y, learning_rate=0.1, steps=3))
        for judged in (model, model.body)
    )
    assert found == pytest.approx(bare)
    value = f_lin(params, x)
    assert model.calls == 0
    torch.testing.assert_close(value, model(x))


def test_a_zero_kernel_is_named_as_such():
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.ReLU(), nn.Linear(4, 1, bias=False))
    nn.init.zeros_(model[0].weight)
    with pytest.raises(ValueError, match=r"tangent kernel of the model is zero at x"):
        ntk.lazy_regime(model, circle(4), torch.ones(4), learning_rate=0.1)


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


def test_what_is_not_a_number_is_told_as_such():
    assert math.isnan(lazy._share(torch.tensor(math.nan), torch.tensor(1.0)))


def test_drift_is_the_relative_frobenius_change():
    start = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert ntk.kernel_drift(start, start) == 0
    assert ntk.kernel_drift(start + torch.tensor([[0.0, 1.0], [0.0, 0.0]]), start) == pytest.approx(
        0.2
    )


@pytest.mark.parametrize(
    ("now", "start", "error", "message"),
    [
        (
            torch.ones(2, 2),
            torch.ones(3, 3),
            ValueError,
            r"of one shape.*got \(2, 2\) and \(3, 3\)",
        ),
        (torch.ones(2, 2), torch.zeros(2, 2), ValueError, r"not all zero"),
        (torch.ones(2, 2).double(), torch.ones(2, 2), TypeError, r"k_now is torch.float64"),
    ],
)
def test_drift_refuses_what_cannot_be_compared(now, start, error, message):
    with pytest.raises(error, match=message):
        ntk.kernel_drift(now, start)


def judge(width=64, learning_rate=0.5, y_scale=1.0, alpha=None, seed=1, **options):
    x = circle(8)
    model = ntk.MLP(2, width, sigma_w=1.5, seed=seed)
    model = model if alpha is None else Scaled(model, alpha)
    y = y_scale * torch.sin(3 * x[:, 1:])
    return ntk.lazy_regime(model, x, y, learning_rate=learning_rate, **options)


def test_curvature_is_the_largest_second_derivative_found_by_brute_force():
    model, x = ntk.MLP(2, 3, activation="tanh", sigma_w=2.0, seed=3), circle(5)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    theta = torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    def f(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        named = {n: p.view(s) for (n, s), p in zip(shapes.items(), parts, strict=True)}
        return torch.func.functional_call(model, named, (x,)).reshape(-1)

    hessians = torch.autograd.functional.hessian(lambda flat: f(flat)[0], theta)[None]
    hessians = torch.cat(
        [hessians]
        + [
            torch.autograd.functional.hessian(lambda t, i=i: f(t)[i], theta)[None]
            for i in range(1, 5)
        ]
    )
    best = 0.0
    for start in torch.randn(40, 5, generator=torch.Generator().manual_seed(0)):
        a = start / start.norm()
        for _ in range(100):
            values, vectors = torch.linalg.eigh(torch.einsum("i,ipq->pq", a, hessians))
            u = vectors[:, values.abs().argmax()]
            a = torch.einsum("p,ipq,q->i", u, hessians, u)
            best, a = max(best, float(a.norm())), a / a.norm()
    found = Derivatives(model(x).reshape(-1), model.parameters()).curvature()
    assert 0.9 * best < found < best * (1 + 1e-9)


def test_kappa_is_exact_for_one_product_of_two_weights():
    # f = θ₁ θ₂ x: ∇f = (θ₂, θ₁) x, and ∇²f has the norm |x|.

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.tensor(3.0))
            self.b = nn.Parameter(torch.tensor(4.0))

        def forward(self, x):
            return self.a * self.b * x

    run = {"learning_rate": 0.01}
    found = ntk.lazy_regime(Product(), torch.tensor([[2.0]]), torch.tensor([[25.0]]), **run)
    assert found.kappa == pytest.approx(1.0 * 2 / (25 * 4))
    # û = (4, 3)/5: ∇²f[û, û] = 2 · 12/25 · 2 and J û = 2 · 5
    assert found.kappa_along_flow == pytest.approx(1.0 * (48 / 25) / 100)
    assert found.max_learning_rate == pytest.approx(2 / 100)
    # Two points make a vector x, of norm √5 in place of 2; r = (−1, 0).
    x, y = torch.tensor([[2.0], [1.0]]), torch.tensor([[25.0], [12.0]])
    both = ntk.lazy_regime(Product(), x, y, **run)
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


def test_a_wide_network_is_lazy_and_the_verdict_says_why():
    found = judge(width=512, steps=200)
    assert found.verdict == "applies"
    assert found.drift < 0.1
    assert found.prediction_error < 0.02
    text = str(found)
    assert text.startswith("Theory of a constant kernel: applies.")
    assert "of the largest stable rate, stable" in text
    assert "training moved the kernel by" in text


def test_a_narrow_network_with_large_targets_is_not_lazy():
    found = judge(width=8, y_scale=10.0, learning_rate=0.2, steps=200)
    assert found.kappa > 1
    assert found.drift > 0.3
    assert found.verdict == "does not apply"
    assert judge(width=8, y_scale=10.0).verdict == "does not apply"


def test_in_between_the_verdict_asks_for_a_measurement():
    found = judge(width=32)
    assert found.verdict == "uncertain"
    assert "give steps=" in str(found)


def regime(**change):
    """Return a verdict from numbers alone, each at the edge of what still applies."""
    edge = {"kappa": 0.2, "kappa_along_flow": 0.03, "learning_rate": 0.5, "max_learning_rate": 1.0}
    return ntk.LazyRegime(**edge | {"fitted_drift": 0.1, "fitted_error": 0.1} | change)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "applies"),
        ({"kappa": 0.21}, "uncertain"),
        ({"fitted_drift": 0.11}, "uncertain"),
        ({"fitted_error": 0.11}, "uncertain"),
        ({"kappa": 1.0}, "uncertain"),
        ({"kappa": 1.01}, "does not apply"),
        ({"learning_rate": 0.99}, "applies"),
        ({"learning_rate": 1.0}, "does not apply"),
        ({"kappa": 9.0, "drift": 0.1, "prediction_error": 0.1}, "applies"),
        ({"drift": 0.11, "prediction_error": 0.1}, "does not apply"),
        ({"drift": 0.1, "prediction_error": 0.11}, "does not apply"),
        ({"learning_rate": 1.0, "drift": 0.0, "prediction_error": 0.0}, "does not apply"),
    ],
)
def test_the_verdict_changes_at_the_edges_that_are_told(change, verdict):
    assert regime(**change).verdict == verdict


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, ["κ = 0.2 is small (along the flow 0.03)", "η = 0.5 is 0.50 of the largest stable"]),
        ({"kappa": 0.21}, ["κ = 0.21 is moderate", "not decided by κ: give steps=…"]),
        ({"kappa": 1.0}, ["κ = 1 is moderate", "not decided by κ"]),
        ({"kappa": 1.01}, ["κ = 1 is large"]),
        ({"learning_rate": 1.0}, ["1.00 of the largest stable rate, too large"]),
        ({"fitted_drift": 0.3}, ["move the kernel by 30%, the outputs off by 10%", "give steps=…"]),
        ({"drift": 0.04, "prediction_error": 0.02}, ["kernel by 4.0%", "prediction by 2.0% of"]),
        ({"drift": math.inf, "prediction_error": math.inf}, ["training a copy diverged"]),
    ],
)
def test_the_reasons_are_told_a_line_each(change, reasons):
    first, *lines = str(regime(**change)).split("\n")
    assert first == f"Theory of a constant kernel: {regime(**change).verdict}."
    assert all(any(reason in line for line in lines) for reason in reasons)
    stable, slow, decide = "rate, stable", "but y has slow modes", "not decided by κ"
    told = [any(part in line for line in lines) for part in (stable, slow, decide)]
    uncertain = regime(**change).verdict == "uncertain"
    assert told == [change.get("learning_rate") != 1.0, "fitted_drift" in change, uncertain]


class Exponential(nn.Module):
    """f(x) = exp(θ · x): its linearisation leads to weights at which it overflows."""

    def __init__(self):  # noqa: D107
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return torch.exp(x @ self.theta)


def test_where_the_fitted_weights_overflow_nothing_is_small():
    x, y = torch.eye(2), torch.tensor([1000.0, 1.5])
    found = ntk.lazy_regime(Exponential(), x, y, learning_rate=0.1)
    assert found.fitted_drift == math.inf
    assert found.fitted_error == math.inf


def test_points_that_come_twice_leave_the_fitted_weights_as_they_are():
    x, y = torch.eye(2), torch.tensor([1.2, 1.5])
    once = ntk.lazy_regime(Exponential(), x, y, learning_rate=0.1)
    twice = ntk.lazy_regime(Exponential(), x.repeat(2, 1), y.repeat(2), learning_rate=0.1)
    assert twice.fitted_drift == pytest.approx(once.fitted_drift)
    assert twice.fitted_error == pytest.approx(once.fitted_error)
    assert twice.fitted_drift > 0


def test_no_steps_move_nothing():
    x, y = torch.eye(2), torch.tensor([1.2, 1.5])
    found = ntk.lazy_regime(Exponential(), x, y, learning_rate=0.1, steps=0)
    assert found.drift == found.prediction_error == 0


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (Exponential, {"steps": 1.5}, TypeError, "steps must be an integer"),
        (Exponential, {"loss": "total"}, ValueError, "loss must be one of 'mean', 'sum'"),
        (lambda: nn.BatchNorm1d(2), {}, ValueError, "mixes the rows"),
    ],
)
def test_bad_input_is_refused_before_anything_is_computed(
    make, options, error, message, monkeypatch
):
    monkeypatch.setattr(lazy, "empirical_ntk", None)
    with pytest.raises(error, match=message):
        ntk.lazy_regime(make(), torch.eye(2), torch.ones(2), learning_rate=0.1, **options)


def test_the_run_of_a_copy_is_told_as_it_was_and_shows_no_bar(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    x, y = torch.eye(2), torch.tensor([1.2, 1.5])
    run = {"learning_rate": 0.3, "steps": 7, "loss": "sum"}
    found, model = ntk.lazy_regime(Exponential(), x, y, **run), Exponential()
    assert capsys.readouterr().err == ""
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


def test_a_rate_above_the_limit_is_outside_the_theory():
    limit = judge(width=512).max_learning_rate
    found = judge(width=512, learning_rate=1.2 * limit)
    assert found.verdict == "does not apply"
    assert "is 1.20 of the largest stable rate, too large" in str(found)
    runaway = judge(width=512, learning_rate=20 * limit, steps=200)
    assert runaway.drift == math.inf
    assert "training a copy diverged" in str(runaway)


def test_judging_leaves_the_model_as_it_was():
    model, x = ntk.MLP(2, 16, seed=0), circle(8)
    before = copy.deepcopy(model.state_dict())
    ntk.lazy_regime(model, x, torch.ones(8), learning_rate=0.1, steps=10)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": nn.Identity()}, ValueError, r"no trainable parameter"),
        ({"y": torch.ones(3)}, ValueError, r"y has 3 rows but x has 8"),
        (
            {"y": torch.ones(8, 2)},
            ValueError,
            r"outputs have shape \(8, 1\) but y has shape \(8, 2\)",
        ),
        ({"learning_rate": 0}, ValueError, r"learning_rate must be finite and greater than 0"),
        ({"loss": "mse"}, ValueError, r"loss must be one of 'mean', 'sum'"),
        ({"y": torch.ones(8, 1, dtype=torch.float16)}, TypeError, r"but the model's output"),
        ({"steps": 1.5}, TypeError, r"steps must be an integer"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    arguments = {"model": ntk.MLP(2, 4, seed=0), "x": circle(8), "y": torch.ones(8, 1)} | change
    arguments = {
        k: v.double() if isinstance(v, torch.Tensor) and v.dtype != torch.float16 else v
        for k, v in arguments.items()
    }
    with pytest.raises(error, match=message):
        ntk.lazy_regime(**{"learning_rate": 0.1} | arguments)
