"""Ensembles against a loop over networks, and against the Gaussian of infinitely wide ones."""

import copy
import itertools
import math
import warnings

import pytest
import torch
from reference import Attentive
from torch import nn

import ntk_helpers as ntk
from ntk_helpers.networks import ACTIVATIONS
from ntk_helpers.training import _mlp_batch as batched

QUIET = {"progress": False}


def problem(n=6, n_out=1, dtype=torch.float64):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.stack([torch.sin((k + 2) * x[:, 0] + x[:, 1]) for k in range(n_out)], 1)
    return x.to(dtype), y.to(dtype)


def networks(count=3, width=16, **options):
    return [ntk.MLP(2, width, seed=seed, **options) for seed in range(count)]


def assert_trains_as_the_loop(models, x, y, **run):
    alone = [copy.deepcopy(model) for model in models]
    histories = [ntk.gradient_descent(model, x, y, **run, **QUIET) for model in alone]
    z = x[:4] + 0.1
    together = ntk.train_ensemble(models, x, y, x_test=z, **run, **QUIET)
    close = {"rtol": 1e-4, "atol": 1e-4} if x.dtype == torch.float32 else {}
    for e, (history, model) in enumerate(zip(histories, alone, strict=True)):
        assert torch.equal(together.step, history.step)
        assert torch.equal(together.time, history.time)
        torch.testing.assert_close(together.loss[:, e], history.loss, **close)
        torch.testing.assert_close(together.outputs[:, e], history.outputs, **close)
        last = together.test_outputs[-1, e]
        torch.testing.assert_close(last, model(z).detach().reshape(last.shape), **close)
        for one, other in zip(model.parameters(), models[e].parameters(), strict=True):
            torch.testing.assert_close(one, other, **close)


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


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
@pytest.mark.parametrize("fit", [1, 2, 100])
def test_threads_and_groups_that_fit_in_the_cache_do_not_change_the_result(
    threads, fit, monkeypatch
):
    before = torch.get_num_threads()
    x, y = problem(n_out=2)
    monkeypatch.setattr(batched, "CACHE_BYTES", fit * len(x) * 16 * x.element_size())
    models = networks(count=5, depth=2, n_out=2)
    try:
        torch.set_num_threads(threads)
        assert_trains_as_the_loop(models, x, y, learning_rate=0.2, steps=120, record_at=[3, 110])
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_targets_without_an_output_axis_are_taken():
    x, y = problem()
    assert_trains_as_the_loop(networks(), x, y[:, 0], learning_rate=0.2, steps=5)


class Frozen(nn.Module):
    """A network with a frozen layer, two buffers, one of them not saved, and outputs (n,)."""

    def __init__(self, seed):  # noqa: D107
        super().__init__()
        self.body = ntk.MLP(2, 8, 4, seed=seed)
        self.body.layers[0].requires_grad_(False)
        self.register_buffer("shift", torch.full((4,), float(seed)))
        self.register_buffer("gain", torch.full((4,), 1.0 + seed), persistent=False)

    def forward(self, x):
        return (torch.tanh(self.gain * self.body(x) + self.shift) ** 2).sum(1)


def test_any_module_trains_as_the_loop_by_vmap():
    x, y = problem()
    models = [Frozen(seed) for seed in range(3)]
    frozen = [model.body.layers[0].weight.clone() for model in models]
    assert_trains_as_the_loop(models, x, y[:, 0], learning_rate=0.1, steps=20)
    assert all(torch.equal(a, b.body.layers[0].weight) for a, b in zip(frozen, models, strict=True))


def test_an_mlp_with_a_frozen_layer_keeps_it():
    models = networks()
    for model in models:
        model.layers[0].requires_grad_(False)
    assert_trains_as_the_loop(models, *problem(), learning_rate=0.2, steps=10)


def test_shapes_are_records_then_networks_then_points():
    x, y = problem(n_out=2)
    history = ntk.train_ensemble(
        networks(n_out=2), x, y, learning_rate=0.1, steps=4, record_at=[2], x_test=x[:5], **QUIET
    )
    assert history.step.tolist() == [0, 2, 4]
    torch.testing.assert_close(history.time, torch.tensor([0.0, 0.2, 0.4]))
    assert history.loss.shape == (3, 3)
    assert history.outputs.shape == (3, 3, 6, 2)
    assert history.test_outputs.shape == (3, 3, 5, 2)
    assert not history.diverged.any()
    bare = ntk.train_ensemble(networks(n_out=2), x, y, learning_rate=0.1, steps=1, **QUIET)
    assert bare.test_outputs is None


def test_divergence_is_found_network_by_network_and_reported_with_the_limit():
    x, y = problem()
    models = networks(3, activation="linear")
    with torch.no_grad():
        models[1].layers[1].weight *= 1000
    calm = copy.deepcopy(models[0])
    limit = 12 / torch.linalg.eigvalsh(ntk.empirical_ntk(models[1], x, outputs="trace"))[-1]
    run = {"learning_rate": 0.3, "steps": 300, **QUIET}
    with pytest.warns(
        RuntimeWarning, match=r"1 of 3 networks diverged .*models\[1\].*is 0.3, and"
    ) as seen:
        history = ntk.train_ensemble(models, x, y, **run)
    assert f"≈ {limit:.3g}" in str(seen[0].message)
    assert history.diverged.tolist() == [False, True, False]
    assert history.loss[-1].isnan().tolist() == [False, True, False]
    alone = ntk.gradient_descent(calm, x, y, **run)
    torch.testing.assert_close(history.outputs[:, 0], alone.outputs)


def test_training_stops_when_every_network_has_diverged():
    x, y = problem()
    with pytest.warns(RuntimeWarning, match=r"3 of 3 networks diverged by step"):
        history = ntk.train_ensemble(networks(), x, y, learning_rate=100.0, steps=10**6, **QUIET)
    assert history.step[-1] < 10
    assert torch.isfinite(history.loss).any(1).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"models": []}, ValueError, r"models is empty: give at least one"),
        ({"models": [torch.sin]}, TypeError, r"must be a torch.nn.Module"),
        ({"width": 8}, ValueError, r"models\[3\] and models\[0\] differ in the shape"),
        ({"activation": "relu"}, ValueError, r"models\[3\] gives other outputs"),
        ({"sigma_w": 2.0}, ValueError, r"models\[3\] gives other outputs"),
        ({"y": (6, 2)}, ValueError, r"outputs have shape \(6, 1\) but y has shape \(6, 2\)"),
        ({"y": (5, 1)}, ValueError, r"y has 5 rows but x has 6"),
        ({"learning_rate": -1.0}, ValueError, r"learning_rate must be finite and greater than 0"),
        ({"loss": "mse"}, ValueError, r"loss must be one of"),
        ({"record_at": [11]}, ValueError, r"record_at must lie in 0 … 10; got 11"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    x, y = problem()
    odd = {k: v for k, v in change.items() if k in {"width", "activation", "sigma_w"}}
    arguments = {
        "models": networks() + ([ntk.MLP(2, **{"width": 16} | odd)] if odd else []),
        "y": y,
    }
    arguments |= {k: v for k, v in change.items() if k not in odd}
    if isinstance(arguments["y"], tuple):
        arguments["y"] = torch.ones(arguments["y"])
    with pytest.raises(error, match=message):
        ntk.train_ensemble(x=x, **{"learning_rate": 0.1, "steps": 10} | arguments, **QUIET)


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
    history = ntk.train_ensemble(
        models, x, y, learning_rate=0.2, steps=100, record_at=[], x_test=z, **QUIET
    )
    exact = ntk.wide_ensemble(x, y, z, 20.0, **settings)
    outputs = history.test_outputs[-1, :, :, 0]
    # Four standard errors of a mean and of a standard deviation over 150 draws, plus 1/width.
    assert ((outputs.mean(0) - exact.mean[:, 0]).abs() < 4 * exact.std / 150**0.5 + 0.02).all()
    assert ((outputs.std(0) / exact.std - 1).abs() < 4 / 300**0.5).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"x_test": (3, 5)},
            ValueError,
            r"x and x_test must have the same number of inputs; got 2 and 5",
        ),
        ({"y": (5,)}, ValueError, r"y has 5 rows but x has 6"),
        ({"x": (6,)}, ValueError, r"x must have 2 axes"),
        ({"t": -1.0}, ValueError, r"t must be 0 or greater"),
        ({"loss": "mse"}, ValueError, r"loss must be one of"),
    ],
)
def test_the_gaussian_refuses_bad_input(change, error, message):
    arguments = {"x": (6, 2), "y": (6,), "x_test": (3, 2), "t": 1.0} | change
    arguments = {k: torch.rand(v) if isinstance(v, tuple) else v for k, v in arguments.items()}
    with pytest.raises(error, match=message):
        ntk.wide_ensemble(**arguments)


# --- what an ensemble takes ---------------------------------------------------------------------


def test_pictures_are_taken_and_targets_of_rank_3_are_refused():
    models = [nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 1)) for _ in range(2)]
    x, y = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.ones(3, 1)
    assert_trains_as_the_loop(models, x, y, learning_rate=0.1, steps=2)
    with pytest.raises(ValueError, match="y must have 1 or 2 axes"):
        ntk.train_ensemble(models, x, y[None], learning_rate=0.1, steps=2, **QUIET)


def test_a_loss_that_is_large_from_the_start_is_no_divergence():
    x, y = problem()
    assert_trains_as_the_loop(networks(), x, 1e5 * y, learning_rate=0.1, steps=3)


def test_no_steps_leave_the_networks_as_they_are():
    models, (x, y) = networks(), problem()
    before = [model(x).detach() for model in models]
    history = ntk.train_ensemble(models, x, y, learning_rate=0.1, steps=0, **QUIET)
    assert history.step.tolist() == [0]
    torch.testing.assert_close(history.outputs[0], torch.stack(before))


# --- networks that differ in more than their parameters -----------------------------------------


def test_networks_that_differ_in_an_attribute_that_matters_are_refused():
    x, y = problem()
    models = [
        nn.Sequential(nn.Linear(2, 4), nn.LeakyReLU(slope), nn.Linear(4, 1)) for slope in (0.1, 0.9)
    ]
    with pytest.raises(ValueError, match=r"models\[1\] gives other outputs at x in the batch"):
        ntk.train_ensemble(models, x, y, learning_rate=0.1, steps=1, **QUIET)


def shifted(seed, by=1):
    model = ntk.MLP(2, 8, seed=seed)
    model.register_forward_hook(lambda module, args, out: 3 * out + by)
    return model


def replaced(seed, layer):
    model = ntk.MLP(2, 8, seed=seed)
    model.layers[1] = layer
    return model


def overridden(seed):
    model = ntk.MLP(2, 8, seed=seed)
    forward = model.forward
    model.forward = lambda x: 2 * forward(x)
    return model


def tied(model, other=None):
    model[2].weight = other or model[0].weight
    return model


def square():
    return nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))


@pytest.mark.parametrize(
    "make",
    [
        shifted,
        lambda seed: replaced(seed, nn.Linear(8, 1)),
        lambda seed: replaced(seed, nn.Linear(8, 1, bias=False)),
        lambda seed: nn.utils.parametrizations.weight_norm(nn.Linear(2, 1)),
        lambda seed: nn.utils.parametrizations.spectral_norm(nn.Linear(2, 1)).eval(),
        lambda seed: tied(square()),
    ],
)
def test_mlps_that_were_changed_and_layers_with_parametrizations_train_as_the_loop(make):
    models = [make(seed) for seed in range(3)]
    assert_trains_as_the_loop(models, *problem(), learning_rate=0.1, steps=20)


def test_an_mlp_with_parametrized_layers_trains_as_the_loop():
    models = networks()
    for model in models:
        nn.utils.parametrizations.weight_norm(model.layers[0])
    assert_trains_as_the_loop(models, *problem(), learning_rate=0.1, steps=20)


def test_mlps_whose_forward_was_replaced_train_as_it_says():
    (x, y), run = problem(), {"learning_rate": 0.1, "steps": 20, **QUIET}
    histories = [ntk.gradient_descent(overridden(seed), x, y, **run) for seed in range(3)]
    together = ntk.train_ensemble([overridden(seed) for seed in range(3)], x, y, **run)
    torch.testing.assert_close(together.loss, torch.stack([h.loss for h in histories], 1))


class Hidden(nn.Module):
    """A network with a factor where no comparison of attributes finds it."""

    def __init__(self, factor):  # noqa: D107
        super().__init__()
        self.line, self.factors = nn.Linear(2, 1), itertools.repeat(factor)

    def forward(self, x):  # the factor acts at the first point
        return torch.cat([next(self.factors) * self.line(x[:1]), self.line(x[1:])])


def test_a_network_that_is_another_function_in_the_batch_is_refused():
    models = [Hidden(1.0), Hidden(3.0)]
    before = models[1].line.weight.clone()
    with pytest.raises(
        ValueError, match=r"models\[1\] gives other outputs at x in the batch than alone"
    ):
        ntk.train_ensemble(models, *problem(), learning_rate=0.1, steps=2, **QUIET)
    assert torch.equal(models[1].line.weight, before)


def test_rounding_is_no_other_function():
    x, y = problem(dtype=torch.float32)
    models = networks(3, 512, depth=3, sigma_w=30.0, dtype=torch.float32)
    ntk.train_ensemble(models, x, y, learning_rate=1e-9, steps=1, **QUIET)


def test_networks_that_share_a_parameter_are_refused_unless_it_is_frozen():
    trunk, (x, y) = nn.Linear(2, 4), problem()
    models = [nn.Sequential(trunk, nn.Tanh(), nn.Linear(4, 1)) for _ in range(3)]
    run = {"learning_rate": 0.1, "steps": 9, **QUIET}
    with pytest.raises(
        ValueError, match=r"models\[0\] and models\[1\] share .*'0.weight'.*deepcopy"
    ):
        ntk.train_ensemble(models, x, y, **run)
    trunk.requires_grad_(False)
    history = ntk.train_ensemble(models, x, y, **run)
    torch.testing.assert_close(models[2](x), history.outputs[-1, 2])


class Recurrent(nn.Module):
    """An LSTM, for which vmap has no rule."""

    def __init__(self):  # noqa: D107
        super().__init__()
        self.cell, self.last = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x):
        return self.last(self.cell(x)[0][:, -1])


def test_networks_that_vmap_cannot_run_are_refused_with_what_can():
    x, y = torch.ones(5, 2, 3), torch.ones(5, 1)
    with pytest.raises(ValueError, match=r"(?s)vmap.* cannot run these: .*by gradient_descent"):
        ntk.train_ensemble([Recurrent(), Recurrent()], x, y, learning_rate=0.1, steps=1, **QUIET)


def test_attention_trains_as_the_loop_without_a_warning():
    x, y = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0)), torch.ones(3, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models = [Attentive() for _ in range(2)]
        assert_trains_as_the_loop(models, x, y, learning_rate=0.1, steps=5)
    with pytest.warns(RuntimeWarning, match=r"at the start is 2/λ_max\(.* ≈ \d"):
        history = ntk.train_ensemble(models, x, y, learning_rate=300.0, steps=300, **QUIET)
    assert history.diverged.all()
