"""Gradient descent is θ ← θ − η ∇L, records what happened, and says so when it diverges."""

import copy
import math
import re
import warnings
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from reference import Attentive, descend_by_loop, kernel_by_loop
from torch import nn

from ntk_helpers import MLP, History, gradient_descent
from ntk_helpers.training._record import marks

N = 6


def problem(outputs=1, *, dtype=torch.float64, **options):
    """Return a small network, points (N, 2) and targets (N, k)."""
    draw = {"generator": torch.Generator().manual_seed(0), "dtype": dtype}
    x, y = torch.randn(N, 2, **draw), torch.randn(N, outputs, **draw)
    return MLP(2, 20, outputs, seed=0, dtype=dtype, **options), x, y


def train(model, x, y, **options):
    defaults = {"learning_rate": 0.1, "steps": 5, "progress": False}
    return gradient_descent(model, x, y, **defaults | options)


def assert_same_parameters(model, twin, **close):
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, **close)


def assert_trains_as_the_loop(model, x, y, *, loss="mean"):
    twin = copy.deepcopy(model)
    history = train(model, x, y, loss=loss, record_at=range(6))
    losses, outputs = descend_by_loop(twin, x, y, 0.1, 5, loss)
    tolerance = 1e-5 if y.dtype == torch.float32 else 1e-12
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(history.loss, losses, **close)
    torch.testing.assert_close(history.outputs, outputs, **close)
    assert_same_parameters(model, twin, **close)
    return history


# --- the update ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_is_the_loop_over_samples(loss, outputs, dtype):
    assert_trains_as_the_loop(*problem(outputs, dtype=dtype, depth=2), loss=loss)


@pytest.mark.parametrize(("loss", "factor"), [("mean", 1), ("sum", N)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_training_is_torch_sgd_on_mse_loss_at_another_rate(loss, factor, outputs):
    model, x, y = problem(outputs)
    twin = copy.deepcopy(model)
    train(model, x, y, loss=loss, steps=20)
    # The gradient of MSELoss is 2/k times that of "mean"; "sum" is N times "mean".
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1 * factor * outputs / 2)
    for _ in range(20):
        optimizer.zero_grad()
        nn.MSELoss()(twin(x), y).backward()
        optimizer.step()
    assert_same_parameters(model, twin)


@pytest.mark.parametrize(("loss", "n"), [("mean", N), ("sum", 1)])
def test_a_linear_model_follows_the_closed_form_and_small_steps_gradient_flow(loss, n):
    torch.manual_seed(0)
    model, x, y = nn.Linear(2, 1), torch.randn(N, 2), torch.randn(N, 1)
    start, scaled = model(x).detach(), (x @ x.T + 1) / n
    history = train(model, x, y, loss=loss, learning_rate=1e-3, steps=300)
    decay = torch.linalg.matrix_power(torch.eye(N) - 1e-3 * scaled, 300)
    torch.testing.assert_close(history.outputs[-1], y + decay @ (start - y))
    flow = torch.linalg.matrix_exp(-scaled * history.time[-1])
    torch.testing.assert_close(history.outputs[-1], y + flow @ (start - y), atol=4e-3, rtol=0)


def test_zero_steps_record_the_start_and_leave_the_model_as_it_was():
    model, x, y = problem()
    twin = copy.deepcopy(model)
    history = train(model, x, y, steps=0, record_at=[])
    assert history.step.tolist() == history.time.tolist() == [0]
    assert torch.equal(history.outputs[0], twin(x))
    assert_same_parameters(model, twin, rtol=0, atol=0)


def test_the_model_is_trained_in_place_and_keeps_its_gradients():
    model, x, y = problem()
    parameters = list(model.parameters())
    parameters[0].grad = torch.ones_like(parameters[0])
    history = train(model, x, y, steps=3)
    assert [id(p) for p in model.parameters()] == [id(p) for p in parameters]
    assert torch.equal(parameters[0].grad, torch.ones_like(parameters[0]))
    assert parameters[1].grad is None
    assert torch.equal(history.outputs[-1], model(x))


class WithSpare(nn.Linear):
    """A layer with a parameter that its outputs do not depend on."""

    def __init__(self):  # noqa: D107
        super().__init__(2, 1)
        self.spare = nn.Parameter(torch.ones(3))


def test_parameters_that_are_frozen_or_not_used_stay():
    model, (_, x, y) = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), WithSpare()), problem()
    model[0].requires_grad_(False)
    before = copy.deepcopy(model)
    train(model, x, y)
    assert torch.equal(model[0].weight, before[0].weight)
    assert torch.equal(model[2].spare, torch.ones(3))
    assert not torch.equal(model[2].weight, before[2].weight)


def test_dropout_in_training_mode_may_be_trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Dropout(0.2), nn.Linear(50, 1))
    history = train(model, *problem()[1:], steps=300)
    assert history.loss[-1] < history.loss[0] / 2
    assert model.training


def one_layer_twice():
    layer = nn.Linear(2, 2)
    return nn.Sequential(layer, nn.Tanh(), layer)


def test_integer_points_many_axes_and_a_layer_under_two_names_train_as_the_loop():
    torch.manual_seed(0)
    words = nn.Sequential(nn.Embedding(5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(9, 2))
    pictures = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2))
    for model, x in [
        (words, torch.randint(5, (N, 3))),
        (pictures, torch.randn(N, 1, 4, 4)),
        (one_layer_twice(), torch.randn(N, 2)),
    ]:
        assert_trains_as_the_loop(model, x, torch.randn(N, 2))


# --- the record ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shaped", [nn.Identity(), nn.Flatten(0)])
@pytest.mark.parametrize("y_shape", [(N,), (N, 1)])
def test_one_output_has_the_shape_of_y_and_never_becomes_a_square(shaped, y_shape):
    model, x, y = problem()
    model = nn.Sequential(model, shaped)
    assert assert_trains_as_the_loop(model, x, y.reshape(y_shape)).outputs.shape == (6, *y_shape)


@pytest.mark.parametrize("kind", [list, set, iter, np.array, torch.tensor])
def test_records_are_the_steps_asked_for_with_the_first_and_the_last(kind):
    history = train(*problem(), steps=10, record_at=kind([7, 3, 3]))
    assert history.step.tolist() == [0, 3, 7, 10]
    assert not history.step.is_floating_point()
    torch.testing.assert_close(history.time, 0.1 * torch.tensor([0.0, 3, 7, 10]))
    assert len(history.loss) == len(history.outputs) == 4
    assert history.learning_rate == 0.1
    assert history.observed is None
    assert not history.diverged


def test_the_history_is_a_tuple_in_the_documented_order():
    fields = "step time loss outputs observed learning_rate diverged"
    assert History._fields == tuple(fields.split())


@pytest.mark.parametrize("steps", [1, 2, 10, 100, 3000, 10**18])
def test_about_sixty_records_are_dense_at_the_start_where_none_are_asked_for(steps):
    step = torch.tensor(sorted(marks(None, steps)))
    assert step[:2].tolist() == [0, 1]
    assert step[-1] == steps
    assert min(steps + 1, 25) <= len(step) <= 62
    assert step.diff()[-1] == step.diff().max()
    assert marks(None, 10**4, about=4) == {0, 1, 10, 100, 1000, 10**4}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_history_has_the_dtype_of_the_data_and_no_graph(dtype):
    history = train(*problem(dtype=dtype), observe=lambda model: model.layers[0].weight)
    for tensor in (history.time, history.loss, history.outputs, history.observed):
        assert tensor.dtype == dtype
        assert not tensor.requires_grad


def test_observe_sees_the_model_at_each_record_and_the_history_copies_what_it_returns():
    model, x, y = problem()
    twin, seen = copy.deepcopy(model), []

    def observe(network):
        assert network is model
        assert not torch.is_grad_enabled()
        seen.append(network.layers[0].weight.clone())
        return network.layers[0].weight

    history = train(model, x, y, steps=4, record_at=[2], observe=observe)
    assert torch.equal(history.observed[0], twin.layers[0].weight)
    assert torch.equal(history.observed[-1], model.layers[0].weight)
    assert torch.equal(history.observed, torch.stack(seen))
    assert history.observed.shape == (3, 20, 2)
    train(twin, x, y, steps=4, record_at=[])
    assert_same_parameters(model, twin, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [float, int, np.float64])
def test_observe_may_return_a_number(kind):
    history = train(*problem(), steps=2, observe=lambda model: kind(3))
    assert history.observed.tolist() == [3, 3, 3]


@pytest.mark.parametrize("progress", [None, True, False])
def test_the_bar_counts_each_step_and_goes_away(progress, monkeypatch):
    bar, (model, x, y) = MagicMock(), problem()
    monkeypatch.setattr("ntk_helpers.training.descent.tqdm", bar)
    wish = {} if progress is None else {"progress": progress}
    gradient_descent(model, x, y, learning_rate=0.1, steps=7, **wish)
    told = bar.call_args.kwargs
    assert told["total"] == bar.return_value.__enter__.return_value.update.call_count == 7
    assert told["disable"] is (progress is False)
    assert told["leave"] is False


# --- divergence ----------------------------------------------------------------------------------


def stable_rate(model, x, loss="mean"):
    """Return 2N/λ_max ("mean") or 2/λ_max ("sum") by a full eigendecomposition of J Jᵀ."""
    model, x = copy.deepcopy(model).double(), x.double()
    kernel = kernel_by_loop(model, x, x).transpose(1, 2)
    largest = torch.linalg.eigvalsh(kernel.flatten(2).flatten(0, 1)).max()
    return (2 * len(x) if loss == "mean" else 2) / largest.item()


def train_until_it_diverges(model, x, y, **options):
    """Return the history, the message, the largest stable rate in it, and the one to try."""
    with pytest.warns(RuntimeWarning, match="diverged by step") as caught:
        history = train(model, x, y, **options)
    message = str(caught[0].message)
    found = re.search(r"≈ (\S+); try learning_rate=(\S+)\.$", message)
    assert history.diverged
    assert torch.isfinite(history.outputs).all()
    return history, message, *(float(rate) for rate in found.groups())


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_warning_names_the_rate_and_the_largest_stable_one(loss, outputs, dtype):
    model, x, y = problem(outputs, dtype=dtype, depth=2, activation="relu")
    limit = stable_rate(model, x, loss)
    run = {"loss": loss, "learning_rate": 40 * limit, "steps": 1000}
    history, message, told, other = train_until_it_diverges(model, x, y, **run)
    assert f"the learning rate is {40 * limit:g}, and" in message
    assert told == pytest.approx(limit, rel=0.02)
    assert other == pytest.approx(limit / 2, rel=0.07)
    assert history.step[-1] < 1000


@pytest.mark.parametrize(("part", "diverges"), [(0.97, False), (1.03, True)])
@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_a_linear_model_diverges_just_above_the_limit_and_not_below(part, diverges, loss):
    torch.manual_seed(0)
    model, x, y = nn.Linear(2, 1), torch.randn(N, 2), torch.randn(N, 1)
    rate = part * stable_rate(model, x, loss)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = train(model, x, y, loss=loss, learning_rate=rate, steps=2000)
    assert [warning.filename for warning in caught] == [__file__] * history.diverged
    assert history.diverged == diverges
    assert (history.loss[-1] < history.loss[0]) != diverges


def test_a_run_that_is_recorded_only_at_its_ends_is_looked_at_every_hundred_steps():
    run = {"learning_rate": 1.1, "steps": 10_000, "record_at": []}
    history, message, *_ = train_until_it_diverges(
        nn.Linear(1, 1), torch.ones(2, 1), torch.ones(2), **run
    )
    assert "diverged by step 100, " in message
    assert history.step.tolist() == [0]


class Written(nn.Module):
    """A function of the points and of a parameter."""

    def __init__(self, function, theta):  # noqa: D107
        super().__init__()
        self.function, self.theta = function, nn.Parameter(theta)

    def forward(self, x):
        return self.function(x, self.theta)


def test_a_loss_that_becomes_nan_at_once_diverges():
    root = Written(lambda x, theta: (x * theta).sqrt(), torch.tensor([[1.0]]))
    x, y = torch.ones(1, 1), torch.zeros(1, 1)
    assert train_until_it_diverges(root, x, y, learning_rate=10.0)[0].step.tolist() == [0]


def test_the_rate_to_try_is_below_one_that_diverged_under_the_limit():
    # f = θ³ is nearly flat at the start, so the limit there is far above what the way allows.
    model = Written(lambda x, theta: x * theta**3, torch.tensor([[0.1]]))
    x, y = torch.ones(1, 1), torch.full((1, 1), 10.0)
    _, _, limit, rate = train_until_it_diverges(model, x, y, learning_rate=5.0, steps=100)
    assert limit > 100
    assert rate == 2.5


def test_the_limit_is_told_for_attention_complex_weights_and_where_its_square_overflows():
    torch.manual_seed(0)
    steep = {"activation": "relu", "sigma_w": 1e5, "sigma_b": 0.0, "dtype": torch.float32}
    weights = torch.tensor([[1 + 2j], [3 - 1j]])
    power = Written(lambda h, w: ((h + 0j) @ w).abs().square(), weights)
    for model, x in [
        (Attentive(), torch.randn(3, 4, 8)),
        (one_layer_twice(), torch.randn(3, 2)),
        (nn.Sequential(nn.Linear(2, 2), power), torch.randn(3, 2)),
        (MLP(1, 1, seed=0, **steep), torch.tensor([[1.0], [-1.0]], dtype=torch.float32)),
    ]:
        limit, y = stable_rate(model, x), torch.zeros_like(model(x).detach())
        run = {"learning_rate": 200 * limit, "steps": 300}
        assert train_until_it_diverges(model, x, y, **run)[2] == pytest.approx(limit, rel=0.02)


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(2),
        nn.BatchNorm1d(2).eval(),
        nn.Dropout(0.1),
        nn.Linear(2, 2).requires_grad_(False),
    ],
)
def test_layers_that_are_random_write_to_buffers_or_are_frozen_do_not_hide_the_limit(layer):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), layer, nn.Tanh(), WithSpare()).double()
    history, _, limit, _ = train_until_it_diverges(model, *problem()[1:], learning_rate=1e8)
    assert math.isfinite(limit)
    assert history.step[0] == 0


class Once(torch.autograd.Function):
    """A tanh that is differentiated once; `once_differentiable` cuts the graph without a word."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * (1 - ctx.saved_tensors[0].tanh() ** 2)


class Refusing(torch.autograd.Function):
    """The identity; its backward raises when it is to be differentiated itself."""

    @staticmethod
    def forward(ctx, z):
        return z.clone()

    @staticmethod
    def backward(ctx, gradient):
        if torch.is_grad_enabled():
            raise NotImplementedError("no second derivative")
        return gradient


@pytest.mark.parametrize("function", [Once, Refusing])
def test_an_estimate_that_fails_costs_neither_the_history_nor_the_weights(function):
    torch.manual_seed(0)
    hidden = Written(lambda x, w: function.apply(x @ w), torch.randn(2, 8))
    model, (_, x, y) = nn.Sequential(hidden, nn.Linear(8, 1)), problem()
    twin = copy.deepcopy(model)
    told = r"could not be estimated for this model; try learning_rate=5e\+03\."
    with pytest.warns(RuntimeWarning, match=told):
        history = train(model, x, y, learning_rate=1e4, steps=1)
    _, outputs = descend_by_loop(twin, x, y, 1e4, 1)
    torch.testing.assert_close(history.outputs[0], outputs[0])
    assert_same_parameters(model, twin)


# --- what is refused -----------------------------------------------------------------------------

X, Y = torch.ones(N, 2, dtype=torch.float64), torch.ones(N, 1, dtype=torch.float64)


class Answers(nn.Linear):
    """A layer whose answer goes through a function that spoils it."""

    def __init__(self, spoil):  # noqa: D107
        super().__init__(2, 1, dtype=torch.float64)
        self.spoil = spoil

    def forward(self, x):
        return self.spoil(super().forward(x))


# fmt: off
REFUSED = [
    ("model", torch.sin, r"model must be a torch\.nn\.Module; got builtin"),
    ("model", nn.Tanh(), "no trainable parameter"),
    ("model", Answers(lambda f: (f, f)), "must return one tensor; got tuple"),
    ("model", Answers(lambda f: f.expand(N, 3)), r"shape \(6, 3\) but y has shape \(6, 1\)\. Give"),
    ("model", Answers(lambda f: f[:, 0].expand(N, N)), r"\(6, 6\) but y has shape \(6, 1\)"),
    ("model", Answers(lambda f: f.detach()), "does not depend on its trainable parameters"),
    ("model", Answers(lambda f: f * math.nan), r"finite at the start; got nan.*state_dict\(\)"),
    ("model", Answers(lambda f: f / 0), r"finite at the start; got inf, although x and y are"),
    ("x", X.numpy(), r"x must be a torch\.Tensor; got ndarray"),
    ("x", X * math.nan, r"x holds 12 value\(s\) that are NaN"),
    ("x", X.float(), r"x is torch\.float32 but the model's parameter"),
    ("y", Y.tolist(), r"y must be a torch\.Tensor; got list"),
    ("y", Y.long(), r"y must hold floating-point numbers; got torch\.int64"),
    ("y", Y[None], r"y must have 1 or 2 axes; got shape \(1, 6, 1\)"),
    ("y", Y[:4], "y has 4 rows but x has 6"),
    ("y", Y / 0, r"y holds 6 value\(s\) that are NaN or infinite"),
    ("y", Y.float(), r"y is torch\.float32 but the model's output is torch\.float64"),
    ("learning_rate", 0, "learning_rate must be finite and greater than 0"),
    ("learning_rate", "1", "learning_rate must be a number; got '1'"),
    ("steps", -1, "steps must be at least 0; got -1"),
    ("steps", 1e3, r"steps must be an integer; got 1000\.0 of type float"),
    ("loss", "mse", "loss must be one of 'mean', 'sum'; got 'mse'"),
    ("record_at", 3, r"record_at must be a list of steps; got 3\. Write range"),
    ("record_at", [0, 1.7], r"each of record_at must be an integer; got 1\.7"),
    ("record_at", [-1], "each of record_at must be at least 0; got -1"),
    ("record_at", [2, 9], r"record_at must lie in 0 … 5; got 9\. Raise steps"),
    ("observe", 3, "observe must be a function of the model; got 3"),
    ("observe", lambda model: [1], r"must return a tensor or a number; got list\. torch\.stack"),
    ("observe", lambda model, n=[]: torch.ones(len(n.append(1) or n)), r"got \(2,\) after \(1,\)"),
]
# fmt: on


@pytest.mark.parametrize(("argument", "value", "message"), REFUSED)
def test_what_cannot_be_trained_is_refused_with_a_sentence(argument, value, message):
    arguments = {"model": MLP(2, 4, seed=0), "x": X, "y": Y}
    with pytest.raises((TypeError, ValueError), match=message):
        train(**arguments | {argument: value})
