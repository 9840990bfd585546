"""Gradient descent is θ ← θ − η ∇L, records what happened, and says so when it runs away."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from reference import Attentive, descend_by_loop, jacobian_by_loop
from torch import nn

from ntk_helpers import MLP, History, empirical_ntk, gradient_descent

N = 6


def _problem(outputs=1, *, dtype=None, seed=0, **options):
    """Return a small network, points (N, 2) and targets (N, k)."""
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": dtype or torch.float64}
    x, y = torch.randn(N, 2, **draw), torch.randn(N, outputs, **draw)
    return MLP(2, 20, outputs, seed=seed, dtype=dtype, **options), x, y


def _train(model, x, y, **options):
    return gradient_descent(
        model, x, y, **{"learning_rate": 0.1, "steps": 5, "progress": False, **options}
    )


def _stable_rate(model, x, loss):
    """Return 2N/λ_max ("mean") or 2/λ_max ("sum") by a full eigendecomposition of J Jᵀ."""
    jacobian = jacobian_by_loop(model, x)
    largest = torch.linalg.eigvalsh(jacobian @ jacobian.T)[-1].item()
    return (2 * len(x) if loss == "mean" else 2) / largest


# --- the update --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_training_is_the_loop_over_samples(loss, outputs, dtype, tolerance):
    model, x, y = _problem(outputs, dtype=dtype, depth=2)
    twin = copy.deepcopy(model)
    history = _train(model, x, y, loss=loss, record_at=range(6))
    losses, predictions = descend_by_loop(twin, x, y, 0.1, 5, loss)
    torch.testing.assert_close(history.loss, losses, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(history.outputs, predictions, rtol=tolerance, atol=tolerance)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("loss", "factor"), [("mean", 1), ("sum", N)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_training_is_torch_sgd_on_mse_loss_after_conversion(loss, factor, outputs):
    model, x, y = _problem(outputs)
    twin = copy.deepcopy(model)
    _train(model, x, y, loss=loss, steps=20)
    # The gradient of MSELoss is 2/k times that of "mean"; "sum" is N times "mean".
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1 * factor * outputs / 2)
    for _ in range(20):
        optimizer.zero_grad()
        nn.MSELoss()(twin(x), y).backward()
        optimizer.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize(("loss", "n"), [("mean", N), ("sum", 1)])
def test_a_linear_model_follows_the_closed_form(loss, n):
    torch.manual_seed(0)
    model, x, y = nn.Linear(2, 1), torch.randn(N, 2), torch.randn(N, 1)
    with torch.no_grad():
        start = model(x)
    kernel = x @ x.T + 1
    history = _train(model, x, y, loss=loss, learning_rate=0.05, steps=30)
    decay = torch.linalg.matrix_power(torch.eye(N) - 0.05 * kernel / n, 30)
    torch.testing.assert_close(history.outputs[-1], y + decay @ (start - y))


def test_a_small_step_follows_gradient_flow_at_t_equal_to_rate_times_steps():
    torch.manual_seed(0)
    model, x, y = nn.Linear(2, 1), torch.randn(N, 2), torch.randn(N, 1)
    with torch.no_grad():
        start = model(x)
    history = _train(model, x, y, learning_rate=1e-3, steps=1000)
    assert history.time[-1] == pytest.approx(1.0)
    decay = torch.linalg.matrix_exp(-(x @ x.T + 1) * history.time[-1] / N)
    torch.testing.assert_close(history.outputs[-1], y + decay @ (start - y), atol=1e-3, rtol=0)


def test_the_first_loss_is_half_the_mean_square():
    model, x, y = _problem(3)
    residual = (model(x) - y).detach()
    assert _train(model, x, y).loss[0] == pytest.approx(residual.square().sum().item() / (2 * N))


def test_zero_steps_record_the_start_and_leave_the_model_alone():
    model, x, y = _problem()
    twin = copy.deepcopy(model)
    history = _train(model, x, y, steps=0)
    assert history.step.tolist() == [0]
    assert history.time.tolist() == [0.0]
    assert torch.equal(history.outputs[0], twin(x))
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


def test_the_model_is_trained_in_place_and_keeps_its_gradients():
    model, x, y = _problem()
    parameters = list(model.parameters())
    parameters[0].grad = torch.ones_like(parameters[0])
    history = _train(model, x, y, steps=3)
    assert [id(p) for p in model.parameters()] == [id(p) for p in parameters]
    assert torch.equal(parameters[0].grad, torch.ones_like(parameters[0]))
    assert parameters[1].grad is None
    assert torch.equal(history.outputs[-1], model(x))


def test_frozen_parameters_stay():
    model, x, y = _problem()
    model.layers[0].requires_grad_(False)
    before = copy.deepcopy(model)
    _train(model, x, y)
    assert torch.equal(model.layers[0].weight, before.layers[0].weight)
    assert not torch.equal(model.layers[1].weight, before.layers[1].weight)


class _WithSpare(nn.Linear):
    """A layer with a parameter that its outputs do not depend on."""

    def __init__(self):
        super().__init__(2, 1)
        self.spare = nn.Parameter(torch.ones(3))


def test_a_parameter_that_is_not_used_stays():
    torch.manual_seed(0)
    model, x, y = _WithSpare(), torch.randn(N, 2), torch.randn(N, 1)
    history = _train(model, x, y)
    assert history.loss[-1] < history.loss[0]
    assert torch.equal(model.spare, torch.ones(3))


def test_dropout_in_train_mode_may_be_trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Dropout(0.2), nn.Linear(50, 1))
    x, y = torch.randn(N, 2), torch.randn(N, 1)
    history = _train(model, x, y, steps=300)
    assert history.loss[-1] < history.loss[0] / 2
    assert model.training


def test_images_may_be_trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2))
    history = _train(model, torch.randn(N, 1, 4, 4), torch.randn(N, 2))
    assert history.outputs.shape[1:] == (N, 2)


# --- the record --------------------------------------------------------------------------------


@pytest.mark.parametrize("model_shape", [(N,), (N, 1)])
@pytest.mark.parametrize("y_shape", [(N,), (N, 1)])
def test_one_output_has_the_shape_of_y_and_never_becomes_a_square(model_shape, y_shape):
    model, x, y = _problem()
    twin = copy.deepcopy(model)
    shaped = nn.Sequential(model, nn.Flatten(0)) if model_shape == (N,) else model
    assert shaped(x).shape == model_shape
    history = _train(shaped, x, y.reshape(y_shape), steps=4, record_at=range(5))
    assert history.outputs.shape == (5, *y_shape)
    losses, outputs = descend_by_loop(twin, x, y, 0.1, 4)
    torch.testing.assert_close(history.loss, losses)
    torch.testing.assert_close(history.outputs.reshape(outputs.shape), outputs)


def test_one_point_of_one_output_may_be_flat():
    model, x, y = _problem()
    assert _train(model, x[:1], y[:1, 0], steps=1).outputs.shape == (2, 1)


@pytest.mark.parametrize("kind", [list, set, iter, np.array, torch.tensor])
def test_records_are_the_steps_asked_for_with_the_first_and_the_last(kind):
    history = _train(*_problem(), steps=10, record_at=kind([7, 3, 3]))
    assert history.step.tolist() == [0, 3, 7, 10]
    assert not history.step.is_floating_point()
    torch.testing.assert_close(history.time, 0.1 * torch.tensor([0.0, 3, 7, 10]))
    assert len(history.loss) == len(history.outputs) == 4
    assert history.learning_rate == 0.1
    assert history.observed is None
    assert not history.diverged


def test_no_record_but_the_ends_may_be_asked_for():
    assert _train(*_problem(), steps=10, record_at=[]).step.tolist() == [0, 10]


@pytest.mark.parametrize("steps", [1, 2, 10, 100, 3000])
def test_up_to_sixty_records_are_kept_dense_at_the_start(steps):
    step = _train(*_problem(), steps=steps).step
    assert step[0] == 0
    assert step[1] == 1
    assert step[-1] == steps
    assert min(steps + 1, 25) <= len(step) <= 62
    assert step.diff().min() >= 1
    assert step.diff()[-1] == step.diff().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_history_has_the_dtype_of_the_data_and_no_graph(dtype):
    history = _train(*_problem(dtype=dtype), observe=lambda model: model.layers[0].weight)
    for tensor in (history.time, history.loss, history.outputs, history.observed):
        assert tensor.dtype == dtype
        assert not tensor.requires_grad


def test_observe_sees_the_model_at_each_record_without_gradients():
    model, x, y = _problem()
    twin = copy.deepcopy(model)
    seen = []

    def observe(network):
        assert network is model
        assert not torch.is_grad_enabled()
        seen.append(network.layers[0].weight.clone())
        return network.layers[0].weight  # the live parameter: the history must copy it

    history = _train(model, x, y, steps=4, record_at=[2], observe=observe)
    assert torch.equal(history.observed[0], twin.layers[0].weight)
    assert torch.equal(history.observed[-1], model.layers[0].weight)
    assert torch.equal(history.observed, torch.stack(seen))
    assert history.observed.shape == (3, 20, 2)


@pytest.mark.parametrize("kind", [float, int, np.float64])
def test_observe_may_return_a_number(kind):
    history = _train(*_problem(), steps=2, observe=lambda model: kind(3))
    assert history.observed.tolist() == [3, 3, 3]


def test_observe_does_not_change_the_training():
    plain, x, y = _problem()
    watched = copy.deepcopy(plain)
    a = _train(plain, x, y, record_at=[])
    b = _train(watched, x, y, record_at=range(6), observe=lambda model: model(x) * 0)
    assert torch.equal(a.outputs[-1], b.outputs[-1])


def test_a_progress_bar_is_shown_only_when_asked_for(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    _train(*_problem(), progress=False)
    assert capsys.readouterr().err == ""
    _train(*_problem(), progress=True)
    assert "gradient descent" in capsys.readouterr().err


# --- running away ------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_warning_names_the_rate_and_the_largest_stable_one(loss, outputs, dtype):
    model, x, y = _problem(outputs, dtype=dtype, depth=2, activation="relu")
    limit = _stable_rate(model, x, loss)
    with pytest.warns(RuntimeWarning, match="diverged by step") as caught:
        history = _train(model, x, y, loss=loss, learning_rate=40 * limit, steps=1000)
    message = str(caught[0].message)
    assert f"the learning rate is {40 * limit:g}" in message
    named = float(message.split("≈ ")[1].split(";")[0])
    assert named == pytest.approx(limit, rel=0.02)
    assert float(message.split("learning_rate=")[1][:-1]) == pytest.approx(limit / 2, rel=0.07)
    assert caught[0].filename == __file__
    assert history.diverged
    assert history.step[-1] < 1000
    assert torch.isfinite(history.loss).all()
    assert torch.isfinite(history.outputs).all()


@pytest.mark.parametrize(("part", "diverges"), [(0.97, False), (1.03, True)])
@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_a_linear_model_diverges_just_above_the_limit_and_not_below(part, diverges, loss):
    torch.manual_seed(0)
    model, x, y = nn.Linear(2, 1), torch.randn(N, 2), torch.randn(N, 1)
    rate = part * _stable_rate(model, x, loss)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = _train(model, x, y, loss=loss, learning_rate=rate, steps=2000)
    assert history.diverged == diverges
    assert bool(caught) == diverges
    if not diverges:
        assert history.loss[-1] < history.loss[0]


def test_the_rate_to_try_is_below_one_that_ran_away_under_the_limit():
    # f = θ³ is nearly flat at the start, so the limit there is far above what the way allows.
    class Cube(nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = nn.Parameter(torch.tensor([[0.1]]))

        def forward(self, x):
            return x * self.theta**3

    model = Cube()
    with pytest.warns(RuntimeWarning, match="try learning_rate=") as caught:
        _train(model, torch.ones(1, 1), torch.full((1, 1), 10.0), learning_rate=5.0, steps=100)
    message = str(caught[0].message)
    assert float(message.split("≈ ")[1].split(";")[0]) > 100
    assert float(message.split("learning_rate=")[1][:-1]) == 2.5


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.BatchNorm1d(2),
        lambda: nn.BatchNorm1d(2).eval(),
        lambda: nn.Dropout(0.1),
        lambda: nn.Linear(2, 2).requires_grad_(False),
        lambda: nn.Identity(),
    ],
)
def test_layers_with_a_life_of_their_own_do_not_hide_the_warning(layer):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), layer(), nn.Tanh(), _WithSpare())
    with pytest.warns(RuntimeWarning, match=r"≈ \d+\.?\d*; try"):
        history = _train(model, torch.randn(N, 2), torch.randn(N, 1), learning_rate=1e8)
    assert history.diverged
    assert history.step.tolist()[0] == 0


def test_the_estimate_of_the_limit_does_not_touch_the_model():
    model, x, y = _problem()
    with pytest.warns(RuntimeWarning, match="diverged by step 1"):
        _train(model, x, y, learning_rate=1e6, steps=1)
    twin, _, _ = _problem()
    descend_by_loop(twin, x, y, 1e6, 1)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_the_warning_names_the_largest_stable_rate_of_attention():
    torch.manual_seed(0)
    model, x, y = Attentive(), torch.randn(3, 4, 8), torch.randn(3, 1)
    largest = torch.linalg.eigvalsh(empirical_ntk(model, x, outputs="trace"))[-1].item()
    before = copy.deepcopy(model.state_dict())
    with pytest.warns(RuntimeWarning, match="diverged by step") as caught:
        history = _train(model, x, y, learning_rate=100.0, steps=300)
    named = float(str(caught[0].message).split("≈ ")[1].split(";")[0])
    assert named == pytest.approx(6 / largest, rel=0.02)
    assert history.diverged
    assert not torch.equal(model.last.weight, before["last.weight"])


class _Refusing(torch.autograd.Function):
    """The identity; its backward raises when it is to be differentiated itself."""

    @staticmethod
    def forward(ctx, z):
        return z.clone()

    @staticmethod
    def backward(ctx, gradient):
        if torch.is_grad_enabled():
            raise NotImplementedError("no second derivative")
        return gradient


class _Applied(nn.Module):
    """A function of autograd as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function.apply(x)


@pytest.mark.parametrize("function", [_Refusing])
def test_where_the_largest_rate_cannot_be_estimated_the_history_is_returned_all_the_same(function):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), _Applied(function), nn.Linear(8, 1))
    before = copy.deepcopy(model.state_dict())
    with pytest.warns(RuntimeWarning, match=r"could not be estimated.*try learning_rate=5e\+03\."):
        history = _train(model, torch.randn(N, 2), torch.randn(N, 1), learning_rate=1e4)
    assert history.diverged
    assert history.step.tolist()[0] == 0
    assert not torch.equal(model[0].weight, before["0.weight"])


# --- bad input ---------------------------------------------------------------------------------

X, Y = torch.ones(N, 2, dtype=torch.float64), torch.ones(N, 1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": torch.sin}, TypeError, r"model must be a torch\.nn\.Module; got builtin"),
        ({"model": nn.Tanh()}, ValueError, r"no trainable parameter"),
        ({"x": X.numpy()}, TypeError, r"x must be a torch\.Tensor; got ndarray"),
        ({"x": X[:, 0]}, ValueError, r"x must have 2 input\(s\) on its last axis"),
        ({"x": X[:0], "y": Y[:0]}, ValueError, r"x is empty: shape \(0, 2\)"),
        ({"x": X * math.nan}, ValueError, r"x holds 12 value\(s\) that are NaN"),
        ({"x": X.float()}, TypeError, r"x is torch\.float32 but the model's parameter"),
        ({"x": X.to("meta")}, ValueError, r"x is on meta but the model's parameter .* on cpu"),
        ({"x": X[:, :1]}, ValueError, r"x must have 2 input\(s\) on its last axis"),
        ({"y": Y.tolist()}, TypeError, r"y must be a torch\.Tensor; got list"),
        ({"y": Y.long()}, TypeError, r"y must hold floating-point numbers; got torch\.int64"),
        ({"y": Y[None]}, ValueError, r"y must have 1 or 2 axes; got shape \(1, 6, 1\)"),
        ({"y": Y[:4]}, ValueError, r"y has 4 rows but x has 6"),
        ({"y": Y / 0}, ValueError, r"y holds 6 value\(s\) that are NaN or infinite"),
        ({"y": Y.float()}, TypeError, r"y is torch\.float32 but the model's output"),
        ({"y": Y.to("meta")}, ValueError, r"y is on meta but the model's output"),
        ({"y": Y.expand(N, 2)}, ValueError, r"\(6, 1\) but y has shape \(6, 2\)\. Give y one col"),
        ({"learning_rate": 0}, ValueError, r"learning_rate must be finite and greater than 0"),
        ({"learning_rate": math.inf}, ValueError, r"learning_rate must be finite and greater"),
        ({"learning_rate": "1"}, TypeError, r"learning_rate must be a number; got '1'"),
        ({"steps": -1}, ValueError, r"steps must be at least 0; got -1"),
        ({"steps": 1e3}, TypeError, r"steps must be an integer; got 1000\.0 of type float"),
        ({"loss": "mse"}, ValueError, r"loss must be one of 'mean', 'sum'; got 'mse'"),
        ({"record_at": 3}, TypeError, r"record_at must be a list of steps; got 3\. Write range"),
        ({"record_at": [0, 1.7]}, TypeError, r"each of record_at must be an integer; got 1\.7"),
        ({"record_at": torch.tensor([0.5])}, TypeError, r"each of record_at must be an integer"),
        ({"record_at": [-1]}, ValueError, r"each of record_at must be at least 0; got -1"),
        ({"record_at": [2, 9]}, ValueError, r"record_at must lie in 0 … 5; got 9\. Raise steps"),
        ({"observe": lambda model: None}, TypeError, r"observe must return a tensor or a number"),
        ({"observe": lambda model: [1]}, TypeError, r"got list\. torch\.stack"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    arguments = {"model": MLP(2, 4, seed=0), "x": X, "y": Y, **change}
    with pytest.raises(error, match=message):
        _train(**arguments)


@pytest.mark.parametrize("y_shape", [(N, 2), (N,)])
def test_several_outputs_do_not_fit_another_number_of_columns(y_shape):
    with pytest.raises(ValueError, match=r"outputs have shape \(6, 3\) but y has shape \(6,"):
        _train(MLP(2, 4, 3), X, torch.ones(y_shape))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_that_is_not_finite_at_birth_is_refused(bad):
    model = MLP(2, 4, activation="linear", seed=0)
    with torch.no_grad():
        model.layers[0].weight[0, 0] = bad
    with pytest.raises(ValueError, match=r"finite at the start; got (nan|inf).*state_dict\(\)"):
        _train(model, X, Y)


def test_a_model_that_returns_no_tensor_is_refused():
    class Pair(nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    with pytest.raises(TypeError, match=r"model must return one tensor; got tuple\. Wrap it"):
        _train(Pair(2, 1), X, Y)


def test_the_history_is_a_tuple_in_the_documented_order():
    assert History._fields == (
        "step",
        "time",
        "loss",
        "outputs",
        "observed",
        "learning_rate",
        "diverged",
    )


def test_a_run_that_is_recorded_only_at_its_ends_is_looked_at_every_hundred_steps():
    model = torch.nn.Linear(1, 1)
    x, y = torch.ones(2, 1), torch.ones(2)
    run = {"learning_rate": 1.1, "steps": 10_000, "record_at": [], "progress": False}
    with pytest.warns(RuntimeWarning, match=r"diverged by step 100, and"):
        history = gradient_descent(model, x, y, **run)
    assert history.step.tolist() == [0]


def test_no_step_and_no_wish_record_the_start():
    history = gradient_descent(
        torch.nn.Linear(1, 1),
        torch.ones(1, 1),
        torch.ones(1),
        learning_rate=1,
        steps=0,
        record_at=[],
    )
    assert history.step.tolist() == [0]


@pytest.mark.parametrize("progress", [None, True, False])
def test_the_bar_counts_each_step_and_goes_away(progress, monkeypatch):
    bars = []

    class Bar:
        """A bar that remembers what it was told."""

        def __init__(self, **options):
            """Take what tqdm takes."""
            self.options, self.count = options, 0
            bars.append(self)

        def __enter__(self):
            """Start."""
            return self

        def __exit__(self, *error):
            """End."""

        def update(self):
            """Count a step."""
            self.count += 1

    monkeypatch.setattr("ntk_helpers.training.descent.tqdm", Bar)
    wish = {} if progress is None else {"progress": progress}
    x, y = torch.ones(2, 1), torch.ones(2)
    gradient_descent(torch.nn.Linear(1, 1), x, y, learning_rate=0.1, steps=7, **wish)
    (bar,) = bars
    assert bar.count == bar.options["total"] == 7
    assert bar.options["disable"] is (progress is False)
    assert bar.options["leave"] is False


def test_the_warning_names_a_rate_where_squares_of_the_kernel_overflow():
    model = MLP(1, 1, activation="relu", sigma_w=1e5, sigma_b=0.0, seed=0, dtype=torch.float32)
    x, y = torch.tensor([[1.0], [-1.0]]).float(), torch.ones(2).float()
    limit = _stable_rate(copy.deepcopy(model).double(), x.double(), "mean")
    with pytest.warns(RuntimeWarning, match="diverged by step") as caught:
        gradient_descent(model, x, y, learning_rate=1.0, steps=7, progress=False)
    named = float(str(caught[0].message).split("≈ ")[1].split(";")[0])
    assert named == pytest.approx(limit, rel=0.02)


# --- what is recorded --------------------------------------------------------------------------
