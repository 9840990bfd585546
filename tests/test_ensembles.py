"""Ensembles against a loop over networks, and against the Gaussian of infinitely wide ones."""

import copy
import itertools
import math
import warnings
from unittest.mock import MagicMock

import pytest
import torch
from reference import Attentive, kernel_by_loop
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import ntk_helpers as ntk
from ntk_helpers.networks import ACTIVATIONS
from ntk_helpers.training import _mlp_batch

RUN = {"learning_rate": 0.1, "steps": 5, "progress": False}


def problem(n=6, n_out=1, dtype=torch.float64):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.stack([torch.sin((k + 2) * x[:, 0] + x[:, 1]) for k in range(n_out)], 1)
    return x.to(dtype), y.to(dtype)


def networks(count=3, width=16, **options):
    return [ntk.MLP(2, width, seed=seed, **options) for seed in range(count)]


def assert_trains_as_the_loop(models, x, y, **run):
    """Fail unless each network has the history, and ends, as `gradient_descent` has it alone."""
    alone = [copy.deepcopy(model) for model in models]
    histories = [ntk.gradient_descent(model, x, y, **RUN | run) for model in alone]
    z = x[:4].flip(0)
    together = ntk.train_ensemble(models, x, y, x_test=z, **RUN | run)
    close = {"rtol": 1e-4, "atol": 1e-4} if y.dtype == torch.float32 else {}
    for e, (history, model) in enumerate(zip(histories, alone, strict=True)):
        assert torch.equal(together.step, history.step)
        assert torch.equal(together.time, history.time)
        torch.testing.assert_close(together.loss[:, e], history.loss, **close)
        torch.testing.assert_close(together.outputs[:, e], history.outputs, **close)
        last = together.test_outputs[-1, e]
        torch.testing.assert_close(last, model(z).detach().reshape(last.shape), **close)
        for one, other in zip(model.parameters(), models[e].parameters(), strict=True):
            torch.testing.assert_close(one, other, **close)


def states(models):
    return [value.clone() for model in models for value in model.state_dict().values()]


# --- networks of the class MLP -------------------------------------------------------------------


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_an_ensemble_of_mlps_trains_as_a_loop_over_networks(activation, depth, loss):
    models = networks(depth=depth, activation=activation, n_out=2, sigma_b=0.5)
    rate = 0.3 if loss == "mean" else 0.05
    assert_trains_as_the_loop(models, *problem(n_out=2), learning_rate=rate, steps=30, loss=loss)


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_either_parameterisation_and_dtype_trains_as_the_loop(parameterization, dtype):
    models = networks(parameterization=parameterization, depth=2, dtype=dtype)
    rate = 0.2 if parameterization == "ntk" else 0.02
    x, y = problem(dtype=dtype)
    assert_trains_as_the_loop(models, x, y, learning_rate=rate, steps=20, record_at=[3, 7])


@pytest.mark.parametrize("fit", [0, 2, 100])
def test_groups_that_fit_in_the_cache_do_not_change_the_result(fit, monkeypatch):
    x, y = problem(n_out=2)
    monkeypatch.setattr(_mlp_batch, "CACHE_BYTES", fit * len(x) * 16 * x.element_size())
    models = networks(count=5, depth=2, n_out=2)
    assert_trains_as_the_loop(models, x, y, learning_rate=0.2, steps=120, record_at=[3, 110])


# --- any networks --------------------------------------------------------------------------------


class Buffered(nn.Module):
    """A network with a frozen layer, two buffers, one of them not saved, and outputs (n,)."""

    def __init__(self, seed):  # noqa: D107
        super().__init__()
        self.body = ntk.MLP(2, 8, 4, seed=seed)
        self.body.layers[0].requires_grad_(False)
        self.register_buffer("shift", torch.full((4,), float(seed)))
        self.register_buffer("gain", torch.full((4,), 1.0 + seed), persistent=False)

    def forward(self, x):
        return (torch.tanh(self.gain * self.body(x) + self.shift) ** 2).sum(1)


def mlp(seed, change):
    """Return an `MLP` after `change` was done to it."""
    model = ntk.MLP(2, 8, seed=seed)
    change(model)
    return model


def tripled(model):
    model.register_forward_hook(lambda module, args, out: 3 * out + 1)


def square(*, tie=False):
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    if tie:
        model[2].weight = model[0].weight
    return model


def one_block_twice(seed):
    block = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    return nn.Sequential(block, block, nn.Linear(2, 1))


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "make",
    [
        Buffered,
        lambda seed: mlp(seed, lambda m: m.layers[0].requires_grad_(False)),
        lambda seed: mlp(seed, tripled),
        lambda seed: mlp(seed, lambda m: m.layers.__setitem__(1, nn.Linear(8, 1, bias=False))),
        lambda seed: mlp(seed, lambda m: weight_norm(m.layers[0])),
        lambda seed: spectral_norm(nn.Linear(2, 1)).eval(),
        lambda seed: square(tie=True),
        one_block_twice,
    ],
)
def test_networks_of_any_kind_train_as_the_loop(make):
    torch.manual_seed(0)
    models, (x, y) = [make(seed) for seed in range(3)], problem()
    assert_trains_as_the_loop(models, x, y.reshape(models[0](x).shape), steps=20)


def of_its_own(seed):
    """Return an `MLP` whose forward is another: no deepcopy of it is independent."""
    model = ntk.MLP(2, 8, seed=seed)
    forward = model.forward
    model.forward = lambda x: 2 * forward(x)
    return model


def with_old_norm(seed):
    """Return a layer whose weight is an attribute that a hook makes of two parameters."""
    torch.manual_seed(seed)
    return nn.utils.weight_norm(nn.Linear(2, 1))


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("make", [of_its_own, with_old_norm])
def test_networks_that_cannot_be_copied_train_as_the_loop(make):
    x, y = problem()
    alone = [ntk.gradient_descent(make(seed), x, y, **RUN).loss for seed in range(3)]
    together = ntk.train_ensemble([make(seed) for seed in range(3)], x, y, **RUN).loss
    torch.testing.assert_close(together, torch.stack(alone, 1))


@pytest.mark.parametrize("shape", [(6, 1), (6,)])
def test_integer_points_many_axes_and_flat_targets_are_taken(shape):
    torch.manual_seed(0)
    y = torch.randn(shape)
    pictures = [nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 1)) for _ in range(2)]
    words = [nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(9, 1)) for _ in range(2)]
    assert_trains_as_the_loop(pictures, torch.randn(6, 1, 4, 4), y)
    assert_trains_as_the_loop(words, torch.randint(5, (6, 3)), y)
    assert_trains_as_the_loop(networks(), problem()[0], y)


def test_attention_trains_as_the_loop_without_a_warning_and_its_largest_rate_is_told():
    torch.manual_seed(0)
    x, y, models = torch.randn(3, 4, 8), torch.ones(3, 1), [Attentive() for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_trains_as_the_loop(models, x, y)
    with pytest.warns(RuntimeWarning, match=r"the largest stable rate .* ≈ \d"):
        history = ntk.train_ensemble(models, x, y, **RUN | {"learning_rate": 300.0, "steps": 300})
    assert history.diverged.all()


# --- the record ----------------------------------------------------------------------------------


def test_shapes_are_records_then_networks_then_points():
    (x, y), models = problem(n_out=2), networks(n_out=2)
    history = ntk.train_ensemble(models, x, y, x_test=x[:5], **RUN | {"record_at": [2]})
    assert history.step.tolist() == [0, 2, 5]
    torch.testing.assert_close(history.time, torch.tensor([0.0, 0.2, 0.5]))
    assert history.loss.shape == (3, 3)
    assert history.outputs.shape == (3, 3, 6, 2)
    assert history.test_outputs.shape == (3, 3, 5, 2)
    assert not history.diverged.any()
    assert ntk.train_ensemble(models, x, y, **RUN).test_outputs is None


def test_no_steps_leave_the_networks_as_they_are():
    models, (x, y) = networks(), problem()
    before = states(models)
    history = ntk.train_ensemble(models, x, y, **RUN | {"steps": 0})
    assert history.step.tolist() == [0]
    assert all(map(torch.equal, states(models), before))


@pytest.mark.parametrize("progress", [None, True, False])
def test_the_bar_of_an_ensemble_is_shown_unless_it_is_turned_off(progress, monkeypatch):
    bar, (x, y) = MagicMock(), problem()
    monkeypatch.setattr("ntk_helpers.training.ensemble.tqdm", bar)
    wish = {} if progress is None else {"progress": progress}
    ntk.train_ensemble(networks(), x, y, learning_rate=0.1, steps=300, **wish)
    told = bar.call_args.kwargs
    taken = bar.return_value.__enter__.return_value.update.call_args_list
    assert told["total"] == sum(call.args[0] for call in taken) == 300
    assert told["disable"] is (progress is False)
    assert told["leave"] is False


# --- divergence ----------------------------------------------------------------------------------


def test_divergence_is_found_network_by_network_and_reported_with_the_limit():
    (x, y), models = problem(), networks(activation="linear")
    with torch.no_grad():
        models[1].layers[1].weight *= 1000
    calm, kernel = copy.deepcopy(models[0]), kernel_by_loop(models[1], x, x)[:, :, 0, 0]
    limit, run = 12 / torch.linalg.eigvalsh(kernel)[-1], RUN | {"learning_rate": 0.3, "steps": 300}
    told = rf"1 of 3 networks diverged by step \d+, .* models\[1\]: .* is 0\.3, .* ≈ {limit:.3g};"
    with pytest.warns(RuntimeWarning, match=told) as caught:
        history = ntk.train_ensemble(models, x, y, **run)
    assert caught[0].filename == __file__
    assert history.diverged.tolist() == [False, True, False]
    for record in (history.loss, history.outputs[:, :, 0, 0]):
        assert record[-1].isnan().tolist() == [False, True, False]
        assert torch.isfinite(record[0]).all()
    seen = history.loss[:, 1][history.loss[:, 1].isfinite()]
    assert seen.max() <= 1e6 * (seen[0] + 1)  # NaN from there on, not when numbers overflow
    alone = ntk.gradient_descent(calm, x, y, **run)
    torch.testing.assert_close(history.outputs[:, 0], alone.outputs)


def test_training_stops_when_every_network_has_diverged():
    models, (x, y), run = networks(), problem(), RUN | {"learning_rate": 100.0, "steps": 10**6}
    with pytest.warns(RuntimeWarning, match="3 of 3 networks diverged by step"):
        history = ntk.train_ensemble(models, x, y, **run)
    assert history.step[-1] < 10
    assert torch.isfinite(history.loss).any(1).all()


@pytest.mark.filterwarnings("ignore:gradient descent diverged")
def test_an_estimate_that_is_interrupted_costs_no_weights(monkeypatch):
    (x, y), models, run = problem(), networks(), RUN | {"learning_rate": 1e4, "steps": 1}
    alone = copy.deepcopy(models)
    for model in alone:
        ntk.gradient_descent(model, x, y, **run)
    stop = MagicMock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr("ntk_helpers.training.ensemble.advice", stop)
    with pytest.raises(KeyboardInterrupt):
        ntk.train_ensemble(models, x, y, **run)
    torch.testing.assert_close(states(models), states(alone))


def test_a_loss_that_is_large_from_the_start_is_no_divergence():
    x, y = problem()
    assert_trains_as_the_loop(networks(), x, 1e5 * y)


# --- the look at outputs -------------------------------------------------------------------------


class Hidden(nn.Module):
    """A network with a factor, at the first point or far out, that is no parameter."""

    def __init__(self, factor, *, far=False):  # noqa: D107
        super().__init__()
        self.line, self.factors, self.far = nn.Linear(2, 1), itertools.repeat(factor), far

    def forward(self, x):
        chosen = x[:, :1].abs() > 50 if self.far else torch.arange(len(x))[:, None] == 0
        return torch.where(chosen, next(self.factors), 1.0) * self.line(x)


@pytest.mark.parametrize(
    ("pair", "where"),
    [
        (lambda: [Hidden(1.0), Hidden(3.0)], "x"),
        (lambda: [Hidden(1.0, far=True), Hidden(3.0, far=True)], "x_test"),
        (lambda: [ntk.MLP(2, 8), ntk.MLP(2, 8, activation="tanh")], "x"),
        (lambda: [ntk.MLP(2, 8), ntk.MLP(2, 8, sigma_w=2.0)], "x"),
        (lambda: [mlp(0, tripled), ntk.MLP(2, 8)], "x"),
        (lambda: [ntk.MLP(2, 8), mlp(0, tripled)], "x"),
        (lambda: [square().append(nn.Tanh()), square().append(nn.ReLU())], "x"),
    ],
)
def test_a_network_that_gives_other_outputs_in_the_batch_is_refused_untouched(pair, where):
    torch.manual_seed(0)
    models, (x, y) = pair(), problem()
    before = states(models)
    told = rf"models\[1\] gives other outputs at {where} in the batch than alone.*gradient_descent"
    with pytest.raises(ValueError, match=told):
        ntk.train_ensemble(models, x, y, x_test=100 * x, **RUN)
    assert all(map(torch.equal, states(models), before))


def test_rounding_is_measured_by_the_largest_output():
    x, y = problem(dtype=torch.float32)
    x[0] = 0.0
    models = networks(3, 512, activation="relu", sigma_w=3e3, sigma_b=0.0, dtype=torch.float32)
    assert max(model(x).abs().max() for model in models) > 1e6
    history = ntk.train_ensemble(models, x, y, **RUN | {"steps": 0})
    alone = torch.stack([model(x).detach() for model in models])
    assert (history.outputs[0] - alone).abs().max() > 0.05
    assert (alone[:, 0] == 0).all()


def test_networks_may_share_a_parameter_that_is_frozen():
    trunk, (x, y) = nn.Linear(2, 4).requires_grad_(False), problem()
    models = [nn.Sequential(trunk, nn.Tanh(), nn.Linear(4, 1)) for _ in range(3)]
    history = ntk.train_ensemble(models, x, y, **RUN)
    torch.testing.assert_close(models[2](x), history.outputs[-1, 2])


# --- the Gaussian of infinitely wide networks ---------------------------------------------------


def wide(t, n_out=1, **options):
    x, y = problem(n_out=n_out)
    z = torch.tensor([[0.3, -0.2], [1.0, 1.0], [-0.7, 0.4]])
    return x, y, z, ntk.wide_ensemble(x, y, z, t, **options)


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("t", [3.0, math.inf])
def test_mean_and_covariance_are_those_of_random_functions_pushed_through_training(t, loss):
    """Linear training of each of many draws from the prior gives the same two moments."""
    settings = {"depth": 2, "activation": "tanh", "sigma_w": 1.3, "sigma_b": 0.3}
    x, y, z, found = wide(t, loss=loss, **settings)
    nngp, theta = ntk.infinite_kernels(torch.cat([z, x]), **settings)
    factor = torch.linalg.cholesky(nngp + 1e-12 * torch.eye(9))
    draws = factor @ torch.randn(9, 40000, generator=torch.Generator().manual_seed(0))
    targets = y.expand(6, 40000)
    trained = ntk.KernelDynamics(theta[3:, 3:], targets, draws[3:], loss=loss).test(
        t, theta[:3, 3:], draws[:3]
    )
    scale = nngp.diagonal().max()
    torch.testing.assert_close(
        trained.mean(1), found.mean[:, 0], rtol=0, atol=0.02 * scale.sqrt().item()
    )
    torch.testing.assert_close(torch.cov(trained), found.cov, rtol=0, atol=0.03 * scale.item())


def test_at_time_zero_the_ensemble_is_the_prior():
    _, _, z, found = wide(0.0, n_out=2, activation="relu")
    assert torch.equal(found.mean, torch.zeros(3, 2))
    nngp = ntk.infinite_kernels(z, activation="relu").nngp
    torch.testing.assert_close(found.cov, nngp)
    torch.testing.assert_close(found.std**2, nngp.diagonal())


def test_at_infinite_time_the_mean_is_kernel_regression_and_training_points_are_certain():
    x, y, z, found = wide(math.inf)
    theta = ntk.infinite_kernels(x).ntk
    wanted = ntk.infinite_kernels(z, x).ntk @ torch.linalg.solve(theta, y)
    torch.testing.assert_close(found.mean, wanted, rtol=1e-6, atol=1e-6)
    trained = ntk.wide_ensemble(x, y, x, math.inf)
    torch.testing.assert_close(trained.mean, y, rtol=1e-6, atol=1e-6)
    assert trained.std.max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("t", [0.0, 1.0, 1e4, math.inf])
def test_covariance_is_symmetric_and_positive_with_duplicate_points(dtype, t):
    x, y = problem(dtype=dtype)
    x, y = torch.cat([x, x]), torch.cat([y, y + 1])
    found = ntk.wide_ensemble(x, y, torch.cat([x, x[:2] / 2]), t, depth=2)
    assert found.rank == 6
    assert torch.equal(found.cov, found.cov.T)
    assert torch.isfinite(found.mean).all()
    lowest, highest = torch.linalg.eigvalsh(ntk.infinite_kernels(x).nngp)[[0, -1]]
    assert torch.linalg.eigvalsh(found.cov)[0] > -100 * torch.finfo(dtype).eps * highest
    assert found.std.dtype == dtype
    assert lowest < highest


def test_a_vector_of_times_stacks_and_the_result_unpacks():
    times = torch.tensor([0.0, 2.0, math.inf])
    x, y, z, found = wide(times, n_out=2)
    mean, cov = found
    assert mean.shape == (3, 3, 2)
    assert cov.shape == (3, 3, 3)
    assert found.std.shape == (3, 3)
    for i, t in enumerate(times):
        single = ntk.wide_ensemble(x, y, z, t.item())
        torch.testing.assert_close(mean[i], single.mean)
        torch.testing.assert_close(cov[i], single.cov)
    assert ntk.wide_ensemble(x, y[:, 0], z, 2.0).mean.shape == (3,)


def test_the_gaussian_carries_no_gradient():
    x, y = problem()
    mean, cov = ntk.wide_ensemble(x, y.requires_grad_(), x[:2], 1.0)
    assert not mean.requires_grad
    assert not cov.requires_grad


def test_an_ensemble_of_wide_networks_has_the_moments_of_the_gaussian():
    settings = {"activation": "erf", "sigma_w": 1.5, "sigma_b": 0.3}
    x, y = problem()
    z = torch.tensor([[0.3, -0.2], [1.0, 1.0], [-1.5, 0.4]])
    models = [ntk.MLP(2, 256, seed=seed, **settings) for seed in range(150)]
    run = RUN | {"learning_rate": 0.2, "steps": 100, "record_at": []}
    history = ntk.train_ensemble(models, x, y, x_test=z, **run)
    exact = ntk.wide_ensemble(x, y, z, 20.0, **settings)
    outputs = history.test_outputs[-1, :, :, 0]
    # Four standard errors of a mean and of a standard deviation over 150 draws, plus 1/width.
    assert ((outputs.mean(0) - exact.mean[:, 0]).abs() < 4 * exact.std / 150**0.5 + 0.02).all()
    assert ((outputs.std(0) / exact.std - 1).abs() < 4 / 300**0.5).all()


# --- what is refused -----------------------------------------------------------------------------


class Recurrent(nn.Module):
    """An LSTM, for which vmap has no rule."""

    def __init__(self):  # noqa: D107
        super().__init__()
        self.cell, self.last = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x):
        return self.last(self.cell(x[:, None])[0][:, -1])


def with_buffer(size):
    model = nn.Linear(2, 1)
    model.register_buffer("gain", torch.ones(size))
    return model


def train(**changes):
    x, y = problem()
    return ntk.train_ensemble(**{"models": networks(), "x": x, "y": y} | RUN | changes)


def forecast(**changes):
    x, y = problem()
    return ntk.wide_ensemble(**{"x": x, "y": y, "x_test": x, "t": 1.0} | changes)


# fmt: off
LINE = nn.Linear(2, 1)
REFUSED = [
    (train, "models", [], "models is empty: give at least one"),
    (train, "models", LINE, r"models must be a list of modules; got Linear\. \[model\]"),
    (train, "models", [torch.sin], "must be a torch.nn.Module"),
    (train, "models", [nn.Identity(), LINE], "no trainable parameter"),
    (train, "models", [LINE, nn.Bilinear(2, 1, 1)], r"models\[1\] and models\[0\] differ in the s"),
    (train, "models", [*networks(), ntk.MLP(2, 8)], r"models\[3\] and .* of 'layers.0.weight'\."),
    (train, "models", [nn.GroupNorm(2, 2), nn.LayerNorm(2)], "differ in class"),
    (train, "models", [with_buffer(1), with_buffer(2)], "or requires_grad of 'gain'"),
    (train, "models", [square(), square(tie=True)], "of '2.weight'"),
    (train, "models", [nn.Sequential(LINE), nn.Sequential(LINE)], r"share .*'0.weight'.*deepcopy"),
    (train, "models", [Recurrent(), Recurrent()], "(?s)vmap.* cannot run these: .*by gradient_des"),
    (train, "models", [nn.Sequential(LINE, nn.Dropout())], r"Call model\.eval\(\)"),
    (train, "x_test", torch.ones(3, 5), r"x_test must hold points like .* \(3, 5\) and \(6, 2\)"),
    (train, "y", torch.ones(6, 2), r"outputs have shape \(6, 1\) but y has shape \(6, 2\)"),
    (train, "y", torch.ones(1, 6, 1), "y must have 1 or 2 axes"),
    (train, "y", torch.ones(5, 1), "y has 5 rows but x has 6"),
    (train, "learning_rate", -1.0, "learning_rate must be finite and greater than 0"),
    (train, "steps", 1.5, "steps must be an integer"),
    (train, "loss", "mse", "loss must be one of"),
    (train, "record_at", [11], "record_at must lie in 0 … 5; got 11"),
    (forecast, "x_test", torch.ones(3, 5), "must have the same number of inputs; got 2 and 5"),
    (forecast, "x", torch.ones(6), "x must have 2 axes"),
    (forecast, "y", torch.ones(5), "y has 5 rows but x has 6"),
    (forecast, "t", -1.0, "t must be 0 or greater"),
    (forecast, "loss", "mse", "loss must be one of"),
]
# fmt: on


@pytest.mark.parametrize(("call", "argument", "value", "message"), REFUSED)
def test_what_cannot_be_is_refused_with_a_sentence(call, argument, value, message):
    dtype = torch.float64  # tables are made before the tests choose it
    if isinstance(value, list):
        value = [model.to(dtype) if isinstance(model, nn.Module) else model for model in value]
    with pytest.raises((TypeError, ValueError), match=message):
        call(**{argument: value.to(dtype) if isinstance(value, torch.Tensor) else value})
