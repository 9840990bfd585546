"""Ensembles against a loop over networks, and against the Gaussian of infinitely wide ones."""

import copy
import math
import warnings
from itertools import repeat

import pytest
import torch
from reference import Attentive
from sklearn.gaussian_process import GaussianProcessRegressor, kernels
from torch import nn
from torch.nn.utils import parametrizations

import ntk_helpers as ntk
from ntk_helpers.activations import ACTIVATIONS
from ntk_helpers.training import _mlp_batch

QUIET = {"progress": False}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def problem(n=6, n_out=1, dtype=torch.float64):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.stack([torch.sin((k + 2) * x[:, 0] + x[:, 1]) for k in range(n_out)], 1)
    return x.to(dtype), y.to(dtype)


def networks(count=3, width=16, **options):
    return [ntk.MLP(2, width, seed=seed, **options) for seed in range(count)]


def small(*middle):
    """Return a network with two inputs and one output that is no MLP of the package."""
    return nn.Sequential(nn.Linear(2, 4), *middle, nn.Linear(4, 1))


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


# --- by hand: exactly the MLP of the package ----------------------------------------------------


@pytest.fixture
def no_vmap(monkeypatch):
    """Fail if the networks are trained by vmap."""
    monkeypatch.setattr("ntk_helpers.training.ensemble.Vmapped", None)


@pytest.mark.usefixtures("no_vmap")
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_an_ensemble_of_mlps_trains_as_a_loop_over_networks(activation, depth, loss):
    models = networks(depth=depth, activation=activation, n_out=2, sigma_b=0.5)
    rate = 0.3 if loss == "mean" else 0.05
    assert_trains_as_the_loop(models, *problem(n_out=2), learning_rate=rate, steps=30, loss=loss)


@pytest.mark.usefixtures("no_vmap")
@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_either_parameterisation_and_dtype_trains_as_the_loop(parameterization, dtype):
    models = networks(parameterization=parameterization, depth=2, dtype=dtype)
    rate = 0.2 if parameterization == "ntk" else 0.02
    x, y = problem(dtype=dtype)
    assert_trains_as_the_loop(models, x, y, learning_rate=rate, steps=20, record_at=[3, 7])


@pytest.mark.usefixtures("no_vmap")
@pytest.mark.parametrize("fit", [0, 1, 2, 100])
def test_how_many_networks_fit_in_the_cache_does_not_change_the_result(fit, monkeypatch):
    x, y = problem()
    monkeypatch.setattr(_mlp_batch, "CACHE_BYTES", fit * len(x) * 16 * x.element_size())
    models = networks(count=5, depth=2)  # in groups of 1, 2 or 5
    assert_trains_as_the_loop(models, x, y[:, 0], learning_rate=0.2, steps=120, record_at=[3, 110])


# --- by vmap: everything else -------------------------------------------------------------------


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


def with_frozen_layer(seed):
    model = ntk.MLP(2, 8, seed=seed)
    model.layers[0].requires_grad_(False)
    return model


def with_hook(seed):
    model = ntk.MLP(2, 8, seed=seed)
    model.register_forward_hook(lambda module, args, out: 3 * out + 1)
    return model


def with_another_forward(seed):
    model = ntk.MLP(2, 8, seed=seed)
    model.forward = lambda x: 2 * ntk.MLP.forward(model, x)
    return model


def with_another_layer(seed):
    model = ntk.MLP(2, 8, seed=seed)
    model.layers[1] = nn.Linear(8, 1)
    return model


def with_weight_norm(seed):
    model = ntk.MLP(2, 8, seed=seed)
    parametrizations.weight_norm(model.layers[0])
    return model


def with_a_layer_under_two_names(seed):
    layer = nn.Linear(2, 2)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(2, 1))


def with_tied_weights(seed):
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.Linear(2, 1))
    model[2].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    "make",
    [
        Frozen,
        with_frozen_layer,
        with_hook,
        with_another_layer,
        with_weight_norm,
        lambda seed: parametrizations.spectral_norm(nn.Linear(2, 1)).eval(),
        with_a_layer_under_two_names,
        with_tied_weights,
    ],
)
def test_other_networks_train_as_a_loop_over_them(make):
    x, y = problem()
    models = [make(seed) for seed in range(3)]
    assert_trains_as_the_loop(
        models, x, y.reshape(models[0](x).shape), learning_rate=0.1, steps=20, record_at=[7]
    )


def test_a_forward_of_their_own_is_what_mlps_train_by():
    (x, y), run = problem(), {"learning_rate": 0.1, "steps": 20, **QUIET}
    alone = [ntk.gradient_descent(with_another_forward(s), x, y, **run).loss for s in range(3)]
    together = ntk.train_ensemble([with_another_forward(s) for s in range(3)], x, y, **run)
    torch.testing.assert_close(together.loss, torch.stack(alone, 1))


def test_attention_trains_as_the_loop_without_a_warning():
    x, y = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0)), torch.ones(3, 1)
    models = [Attentive() for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_trains_as_the_loop(models, x, y, learning_rate=0.1, steps=5)


# --- the history --------------------------------------------------------------------------------


def test_shapes_are_records_then_networks_then_points():
    x, y = problem(n_out=2)
    run = {"learning_rate": 0.1, "steps": 4, "record_at": [2], **QUIET}
    history = ntk.train_ensemble(networks(n_out=2), x, y, x_test=x[:5], **run)
    assert history.step.tolist() == [0, 2, 4]
    assert history.loss.shape == (3, 3)
    assert history.outputs.shape == (3, 3, 6, 2)
    assert history.test_outputs.shape == (3, 3, 5, 2)
    assert history.learning_rate == 0.1
    assert history.diverged.tolist() == [False] * 3
    assert ntk.train_ensemble(networks(n_out=2), x, y, **run).test_outputs is None


def test_no_steps_leave_the_networks_as_they_are():
    models, (x, y) = networks(), problem()
    before = [model(x).detach() for model in models]
    history = ntk.train_ensemble(models, x, y, learning_rate=0.1, steps=0, **QUIET)
    assert history.step.tolist() == [0]
    torch.testing.assert_close(history.outputs[0], torch.stack(before))
    assert all(torch.equal(model(x), f) for model, f in zip(models, before, strict=True))


def test_an_interruption_leaves_the_networks_as_they_were(monkeypatch):
    (x, y), models, descend = problem(), networks(), _mlp_batch.MLPs.descend

    def interrupted(self, steps):
        descend(self, steps)
        raise KeyboardInterrupt

    before = [model(x) for model in models]
    monkeypatch.setattr(_mlp_batch.MLPs, "descend", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ntk.train_ensemble(models, x, y, learning_rate=0.2, steps=50, **QUIET)
    assert all(torch.equal(model(x), f) for model, f in zip(models, before, strict=True))


def test_a_progress_bar_counts_the_steps_if_it_is_asked_for(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    ntk.train_ensemble(networks(), *problem(), learning_rate=0.1, steps=7, **QUIET)
    assert capsys.readouterr().err == ""
    ntk.train_ensemble(networks(), *problem(), learning_rate=0.1, steps=7)
    assert "0/7" in capsys.readouterr().err


def test_divergence_is_found_network_by_network_and_reported_with_the_limit():
    x, y = problem()
    models = networks(3, activation="linear")
    with torch.no_grad():
        models[1].layers[1].weight *= 1000
    calm = copy.deepcopy(models[0])
    limit = 12 / torch.linalg.eigvalsh(ntk.empirical_ntk(models[1], x, outputs="trace"))[-1]
    run = {"learning_rate": 0.3, "steps": 300, **QUIET}
    found = rf"1 of 3 networks diverged .* models\[1\]: .* is 0.3, and .* ≈ {limit:.3g};"
    with pytest.warns(RuntimeWarning, match=found) as caught:
        history = ntk.train_ensemble(models, x, y, **run)
    assert caught[0].filename == __file__
    assert history.diverged.tolist() == [False, True, False]
    assert history.loss[-1].isnan().tolist() == [False, True, False]
    alone = ntk.gradient_descent(calm, x, y, **run)
    torch.testing.assert_close(history.outputs[:, 0], alone.outputs)


@pytest.mark.filterwarnings("ignore:gradient descent diverged")
def test_an_estimate_that_is_interrupted_costs_no_weights(monkeypatch):
    (x, y), models, run = problem(), networks(), {"learning_rate": 1e4, "steps": 1, **QUIET}
    alone = copy.deepcopy(models[2])
    ntk.gradient_descent(alone, x, y, **run)

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("ntk_helpers.training.ensemble.advice", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ntk.train_ensemble(models, x, y, **run)
    torch.testing.assert_close(models[2].state_dict(), alone.state_dict())


def test_training_stops_when_every_network_has_diverged():
    x, y = problem()
    with pytest.warns(RuntimeWarning, match=r"3 of 3 networks diverged by step"):
        history = ntk.train_ensemble(networks(), x, y, learning_rate=100.0, steps=10**6, **QUIET)
    assert history.step[-1] < 10


def test_a_loss_that_is_large_from_the_start_is_no_divergence():
    x, y = problem()
    assert_trains_as_the_loop(networks(), x, 1e5 * y, learning_rate=0.1, steps=3)


# --- networks that differ in more than the values of their parameters ---------------------------


def test_the_outputs_are_compared_at_the_test_points_too():
    (x, y), models = problem(), [small(nn.LeakyReLU(slope)) for slope in (0.1, 0.9)]
    nn.init.constant_(models[0][0].bias, 100.0)  # at x, all units of the second are on
    models[1].load_state_dict(models[0].state_dict())
    run = {"learning_rate": 1e-5, "steps": 1, **QUIET}
    ntk.train_ensemble(models, x, y, **run)
    with pytest.raises(ValueError, match=r"models\[1\] gives other outputs at x_test in the batch"):
        ntk.train_ensemble(models, x, y, x_test=1000 * x, **run)


def test_a_refusal_leaves_the_networks_as_they_were():
    models = [small(nn.Tanh()), small(nn.ReLU())]
    before = copy.deepcopy(models[1].state_dict())
    with pytest.raises(ValueError, match="gives other outputs"):
        ntk.train_ensemble(models, *problem(), learning_rate=0.1, steps=2, **QUIET)
    assert all(torch.equal(p, before[name]) for name, p in models[1].state_dict().items())


@pytest.mark.parametrize("options", [{"depth": 3, "sigma_w": 30.0}, {"sigma_w": 3e3}])
def test_rounding_is_no_difference(options):
    x, y = problem(dtype=torch.float32)
    models = networks(3, 512, **options, dtype=torch.float32)
    ntk.train_ensemble(models, x, y, learning_rate=1e-9, steps=1, **QUIET)


def test_a_frozen_trunk_may_be_shared():
    trunk, (x, y) = nn.Linear(2, 4).requires_grad_(False), problem()
    models = [nn.Sequential(trunk, nn.Tanh(), nn.Linear(4, 1)) for _ in range(3)]
    assert_trains_as_the_loop(models, x, y, learning_rate=0.1, steps=9)


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
    assert 0 < found.cutoff < 1e-9
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


# --- the posterior of a Gaussian process --------------------------------------------------------


class Wide(kernels.Kernel):
    """The NNGP kernel as a kernel of scikit-learn."""

    def __init__(self, sigma_b=0.5):
        """Keep the standard deviation of the biases."""
        self.sigma_b = sigma_b

    def __call__(self, x, z=None):
        """Return the kernel of two sets of points."""
        pair = [torch.as_tensor(a) for a in (x, z) if a is not None]
        return ntk.infinite_kernels(*pair, activation="relu", sigma_b=self.sigma_b).nngp.numpy()

    def diag(self, x):
        return self(x).diagonal()

    def is_stationary(self):
        return False


def process(kernel=None, outputs=(), count=12):
    """Return points, targets, test points, and the three blocks of a kernel of scikit-learn."""
    generator = torch.Generator().manual_seed(0)
    x, z = (torch.randn(n, 2, generator=generator, dtype=torch.float64) for n in (count, 5))
    y = torch.randn(count, *outputs, generator=generator, dtype=torch.float64)
    kernel = kernels.RBF(0.7) if kernel is None else kernel
    blocks = (kernel(x.numpy()), kernel(z.numpy(), x.numpy()), kernel(z.numpy()))
    return x, y, z, [torch.as_tensor(block) for block in blocks]


@pytest.mark.parametrize("kernel", [kernels.RBF(0.7), kernels.Matern(1.0, nu=1.5), Wide()])
@pytest.mark.parametrize("outputs", [(), (3,)])
@pytest.mark.parametrize("noise", [1e-3, 0.3, 20.0])
def test_the_posterior_is_that_of_scikit_learn(kernel, outputs, noise):
    x, y, z, (k_train, k_test_train, k_test) = process(kernel, outputs)
    theirs = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None).fit(x, y)
    mean, cov = (torch.as_tensor(a) for a in theirs.predict(z, return_cov=True))
    found = ntk.gp_posterior(k_train, y, k_test_train, k_test, noise=noise)
    assert found.mean.shape == mean.shape
    assert (found.mean - mean).norm() <= 1e-10 * mean.norm()
    for each in cov.movedim(-1, 0) if outputs else cov[None]:
        assert (found.cov - each).norm() <= 1e-10 * each.norm()
    assert torch.equal(found.cov, found.cov.T)
    assert found.rank == 12


def test_the_posterior_mean_is_where_a_ridge_ends_and_noise_hides_the_targets():
    _, y, _, (k_train, k_test_train, k_test) = process()
    found = ntk.gp_posterior(k_train, y, k_test_train, k_test, noise=0.4)
    ridge = ntk.KernelDynamics(k_train, y, ridge=0.4).test(math.inf, k_test_train)
    torch.testing.assert_close(found.mean, ridge, rtol=1e-12, atol=1e-12)
    deaf = ntk.gp_posterior(k_train, y, k_test_train, k_test, noise=1e9)
    assert deaf.mean.abs().max() < 1e-7
    torch.testing.assert_close(deaf.cov, k_test, rtol=0, atol=1e-7)


def test_without_noise_points_that_come_twice_count_once_and_the_rank_is_told():
    _, y, _, (k_train, k_test_train, k_test) = process(count=6)
    once = ntk.gp_posterior(k_train, y, k_test_train, k_test, noise=0.0)
    again = k_train.repeat(2, 2), torch.cat([y - 1, y + 1]), k_test_train.repeat(1, 2)
    twice = ntk.gp_posterior(*again, k_test, noise=0.0)
    assert once.rank == twice.rank == 6
    torch.testing.assert_close(once.mean, k_test_train @ torch.linalg.solve(k_train, y))
    torch.testing.assert_close(twice.mean, once.mean)
    torch.testing.assert_close(twice.cov, once.cov)
    certain = ntk.gp_posterior(k_train, y, k_train, k_train, noise=0.0)
    torch.testing.assert_close(certain.mean, y)
    assert certain.std.max() < 1e-6


def single_precision():
    """Return K, targets, K(x, X) and K(x, x) in float32."""
    x = torch.linspace(-1, 1, 100)[:, None].float()
    kernel = ntk.infinite_kernels(x, activation="relu").nngp
    return kernel, torch.sin(9 * x[:, 0]), kernel[:3], kernel[:3, :3]


def test_in_float32_the_posterior_is_rounded_at_the_end():
    blocks = single_precision()
    found = ntk.gp_posterior(*blocks, noise=0.1)
    wanted = ntk.gp_posterior(*(block.double() for block in blocks), noise=0.1)
    assert found.mean.dtype == found.cov.dtype == torch.float32
    assert torch.equal(found.mean, wanted.mean.float())
    assert torch.equal(found.cov, wanted.cov.float())
    assert found.cutoff > wanted.cutoff > 0


def test_in_float32_without_noise_it_warns():
    blocks = single_precision()
    with pytest.warns(RuntimeWarning, match=r"of the 100 eigenvalues .* ridge \(noise\)") as told:
        few = ntk.gp_posterior(*blocks, noise=0.0)
    assert few.rank < 50
    assert told[0].filename == __file__


def test_the_posterior_carries_no_gradient():
    _, y, _, blocks = process()
    k_train, k_test_train, k_test = (block.requires_grad_() for block in blocks)
    mean, cov = ntk.gp_posterior(k_train, y.requires_grad_(), k_test_train, k_test, noise=0.1)
    assert not mean.requires_grad
    assert not cov.requires_grad


# --- refusals -----------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """An LSTM, for which vmap has no rule."""

    def __init__(self):  # noqa: D107
        super().__init__()
        self.cell, self.last = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x):
        return self.last(self.cell(x[:, None])[0][:, -1])


class Hidden(nn.Linear):
    """A linear layer with a factor that no comparison of attributes finds."""

    def __init__(self, factor):  # noqa: D107
        super().__init__(2, 1)
        self.factors = repeat(factor)

    def forward(self, x):
        return next(self.factors) * super().forward(x)


def shared():
    trunk = nn.Linear(2, 4)
    return [nn.Sequential(trunk, nn.Linear(4, 1)) for _ in range(2)]


def with_buffer(n):
    model = nn.Linear(2, 1)
    model.register_buffer("gain", torch.ones(n))
    return model


def mlps(**options):
    return lambda: [*networks(), ntk.MLP(2, **{"width": 16} | options)]


def y_of(*shape):
    return lambda: {"y": torch.ones(shape)}


OTHER = r"models\[{}\] gives other outputs at x in the batch than alone: .* by gradient_descent"
MODELS = {
    "one module": (lambda: ntk.MLP(2, 4), TypeError, "models must be a list of modules; got MLP"),
    "none": (list, ValueError, "models is empty: give at least one"),
    "a function": (lambda: [torch.sin], TypeError, "must be a torch.nn.Module"),
    "width": (mlps(width=8), ValueError, r"models\[3\] and models\[0\] differ in the shape, .*'la"),
    "depth": (mlps(depth=2), ValueError, "differ in the shape"),
    "dtype": (mlps(dtype=torch.float32), TypeError, "x is torch.float64 but"),
    "class": (lambda: [small(), ntk.MLP(2, 4)], ValueError, "differ in the class"),
    "buffers": (lambda: [with_buffer(1), with_buffer(2)], ValueError, "differ in .* of 'gain'"),
    "frozen": (lambda: [Frozen(0), Frozen(1).requires_grad_(True)], ValueError, "requires_grad of"),
    "activation": (mlps(activation="relu"), ValueError, OTHER.format(3)),
    "sigma_w": (mlps(sigma_w=2.0), ValueError, OTHER.format(3)),
    "layers": (lambda: [small(nn.Tanh()), small(nn.ReLU())], ValueError, OTHER.format(1)),
    "hook": (lambda: [ntk.MLP(2, 8), with_hook(1)], ValueError, OTHER.format(1)),
    "hidden": (lambda: [Hidden(1.0), Hidden(3.0)], ValueError, OTHER.format(1)),
    "dropout": (lambda: [small(), small(nn.Dropout())], ValueError, "it is random"),
    "shared": (shared, ValueError, r"models\[0\] and models\[1\] share .*'0.weight'.*deepcopy"),
    "LSTM": (lambda: [Recurrent()], ValueError, r"(?s)vmap.* cannot run .*by gradient_descent"),
}
REST = {
    "columns": (y_of(6, 2), ValueError, r"\(6, 1\) but y has shape \(6, 2\)"),
    "rows": (y_of(5, 1), ValueError, "y has 5 rows but x has 6"),
    "axes": (y_of(6, 1, 1), ValueError, "y must have 1 or 2 axes"),
    "one point": (lambda: {"x_test": torch.ones(2)}, ValueError, r"one point is x\[None\]"),
    "integers": (lambda: {"x_test": torch.ones(1, 2).long()}, TypeError, "x_test is torch.int64"),
    "rate": (lambda: {"learning_rate": -1.0}, ValueError, "must be finite and greater than 0"),
    "loss": (lambda: {"loss": "mse"}, ValueError, "loss must be one of"),
    "record": (lambda: {"record_at": [11]}, ValueError, "record_at must lie in 0 … 10; got 11"),
}
GAUSSIAN = {
    "inputs": ({"x_test": (3, 5)}, r"points of the same shape; got .* and \(3, 5\)"),
    "rows": ({"y": (5,)}, "y has 5 rows but x has 6"),
    "axes": ({"x": (6,)}, "x must have 2 axes"),
    "time": ({"t": -1.0}, "t must be 0 or greater"),
    "loss": ({"loss": "mse"}, "loss must be one of"),
}


@pytest.mark.parametrize("case", [*MODELS, *REST])
def test_bad_input_is_refused(case):
    make, error, message = (MODELS | REST)[case]
    x, y = problem()
    good = {"models": networks(), "y": y, "learning_rate": 0.1, "steps": 10}
    with pytest.raises(error, match=message):
        ntk.train_ensemble(x=x, **good | ({"models": make()} if case in MODELS else make()))


@pytest.mark.parametrize("case", GAUSSIAN)
def test_the_gaussian_refuses_bad_input(case):
    change, message = GAUSSIAN[case]
    arguments = {"x": (6, 2), "y": (6,), "x_test": (3, 2), "t": 1.0} | change
    arguments = {k: torch.rand(v) if isinstance(v, tuple) else v for k, v in arguments.items()}
    with pytest.raises(ValueError, match=message):
        ntk.wide_ensemble(**arguments)
