"""Gradient descent is θ ← θ − η ∇L, records what happened, and says so when it diverges."""

import copy
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from reference import Attentive, descend_by_loop, jacobian_by_loop, kernel_by_loop
from torch import nn

from ntk_helpers import MLP, History, gradient_descent
from ntk_helpers.training._record import Recorder, marks

N = 6


def _problem(outputs=1, *, dtype=None, seed=0, **options):
    """Return a small network, points (N, 2) and targets (N, k)."""
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": dtype or torch.float64}
    x, y = torch.randn(N, 2, **draw), torch.randn(N, outputs, **draw)
    return MLP(2, 20, outputs, seed=seed, dtype=dtype, **options), x, y


def _linear():
    """Return a linear model, points (N, 2), targets (N, 1) and its kernel (N, N)."""
    torch.manual_seed(0)
    model, x, y = nn.Linear(2, 1), torch.randn(N, 2), torch.randn(N, 1)
    return model, x, y, x @ x.T + 1


def _train(model, x, y, **options):
    return gradient_descent(
        model, x, y, **{"learning_rate": 0.1, "steps": 5, "progress": False, **options}
    )


def _stable_rate(model, x, loss="mean"):
    """Return 2N/λ_max ("mean") or 2/λ_max ("sum") by a full eigendecomposition of J Jᵀ."""
    jacobian = jacobian_by_loop(model, x)
    largest = torch.linalg.eigvalsh(jacobian @ jacobian.T)[-1].item()
    return (2 * len(x) if loss == "mean" else 2) / largest


def _numbers(caught):
    """Return the largest stable rate and the rate to try, as a warning gives them."""
    message = str(caught[0].message)
    limit, advised = message.split("≈ ")[1].split("; try learning_rate=")
    return float(limit), float(advised[:-1])


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
    model, x, y, kernel = _linear()
    start = model(x).detach()
    history = _train(model, x, y, loss=loss, learning_rate=0.05, steps=30)
    decay = torch.linalg.matrix_power(torch.eye(N) - 0.05 * kernel / n, 30)
    torch.testing.assert_close(history.outputs[-1], y + decay @ (start - y))


def test_a_small_step_follows_gradient_flow_at_t_equal_to_rate_times_steps():
    model, x, y, kernel = _linear()
    start = model(x).detach()
    history = _train(model, x, y, learning_rate=1e-3, steps=1000)
    assert history.time[-1] == pytest.approx(1.0)
    decay = torch.linalg.matrix_exp(-kernel * history.time[-1] / N)
    torch.testing.assert_close(history.outputs[-1], y + decay @ (start - y), atol=1e-3, rtol=0)


def test_zero_steps_record_the_start_and_leave_the_model_alone():
    model, x, y = _problem()
    twin = copy.deepcopy(model)
    history = _train(model, x, y, steps=0)
    assert history.step.tolist() == history.time.tolist() == [0]
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


class _WithSpare(nn.Linear):
    """A layer with a parameter that its outputs do not depend on."""

    def __init__(self):
        super().__init__(2, 1)
        self.spare = nn.Parameter(torch.ones(3))


def test_parameters_that_are_frozen_or_not_used_stay():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), _WithSpare())
    before = copy.deepcopy(model.state_dict())
    _train(model, torch.randn(N, 2), torch.randn(N, 1))
    changed = {name for name, p in model.state_dict().items() if not torch.equal(p, before[name])}
    assert changed == {"1.weight", "1.bias"}


def test_dropout_in_training_mode_may_be_trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Dropout(0.2), nn.Linear(50, 1))
    history = _train(model, torch.randn(N, 2), torch.randn(N, 1), steps=300)
    assert history.loss[-1] < history.loss[0] / 2
    assert model.training


# --- the record --------------------------------------------------------------------------------


@pytest.mark.parametrize("model_shape", [(N,), (N, 1)])
@pytest.mark.parametrize("y_shape", [(N,), (N, 1)])
def test_one_output_has_the_shape_of_y_and_never_becomes_a_square(model_shape, y_shape):
    model, x, y = _problem()
    twin = copy.deepcopy(model)
    shaped = nn.Sequential(model, nn.Flatten(0)) if model_shape == (N,) else model
    history = _train(shaped, x, y.reshape(y_shape), steps=4, record_at=range(5))
    assert history.outputs.shape == (5, *y_shape)
    losses, outputs = descend_by_loop(twin, x, y, 0.1, 4)
    torch.testing.assert_close(history.loss, losses)
    torch.testing.assert_close(history.outputs.reshape(outputs.shape), outputs)


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


@pytest.mark.parametrize("steps", [0, 1, 3, 100, 3000])
def test_about_sixty_records_are_kept_dense_at_the_start(steps):
    step = torch.tensor(sorted(marks(None, steps)))
    assert step.tolist()[:4] == list(range(steps + 1))[:4]
    assert step[-1] == steps
    assert min(steps + 1, 25) <= len(step) <= 62
    if steps:
        assert step.diff()[-1] == step.diff().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_history_has_the_dtype_of_the_data_and_no_graph(dtype):
    history = _train(*_problem(dtype=dtype), observe=lambda model: model.layers[0].weight)
    for tensor in (history.time, history.loss, history.outputs, history.observed):
        assert tensor.dtype == dtype
        assert not tensor.requires_grad


def test_observe_sees_the_model_before_the_step_of_each_record_without_gradients():
    model, x, y = _problem()
    twin = copy.deepcopy(model)

    def observe(network):
        assert network is model
        assert not torch.is_grad_enabled()
        return network.layers[0].weight  # the live parameter: the history must copy it

    history = _train(model, x, y, steps=4, record_at=[2], observe=observe)
    for seen, steps in zip(history.observed, [0, 2, 2], strict=True):
        _train(twin, x, y, steps=steps)
        assert torch.equal(seen, twin.layers[0].weight)


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


def test_the_recorder_judges_each_loss_and_records_nan_for_what_has_diverged():
    record = Recorder(300, [7])
    assert list(record.stretches()) == [(0, 7), (7, 100), (100, 200), (200, 300), (300, 300)]
    assert not record.diverges(0, torch.tensor([0.0, 1.0, 1.0]))
    assert not record.diverges(6, torch.tensor([math.nan] * 3))  # is not looked at
    assert not record.diverges(7, torch.tensor([0.9e6, 2.1e6, 1.9e6]))
    record.add(7, torch.ones(3, 2), None)
    assert record.diverged.tolist() == [False, True, False]
    assert not record.diverges(100, torch.tensor([math.inf, 1.0, 1.0]))  # once is for ever
    assert record.diverges(200, torch.tensor([1.0, 1.0, math.nan]))
    step, time, values, nothing = record.stack(0.5, torch.ones(1))
    assert (step.tolist(), time.tolist(), nothing) == ([7], [3.5], None)
    assert values[0].isnan().any(1).tolist() == [False, True, False]


def test_a_progress_bar_counts_the_steps_if_it_is_asked_for(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    _train(*_problem(), progress=False)
    assert capsys.readouterr().err == ""
    x, y = _problem()[1:]
    gradient_descent(MLP(2, 4), x, y, learning_rate=0.1, steps=7)
    shown = capsys.readouterr().err
    assert "gradient descent" in shown
    assert "0/7" in shown


# --- divergence --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_warning_gives_the_rate_and_the_largest_stable_one(loss, outputs, dtype):
    model, x, y = _problem(outputs, dtype=dtype, depth=2, activation="relu")
    limit = _stable_rate(model, x, loss)
    with pytest.warns(RuntimeWarning, match="diverged by step") as caught:
        history = _train(model, x, y, loss=loss, learning_rate=40 * limit, steps=1000)
    assert f"the learning rate is {40 * limit:g}" in str(caught[0].message)
    assert _numbers(caught) == (
        pytest.approx(limit, rel=0.02),
        pytest.approx(limit / 2, rel=0.07),
    )
    assert caught[0].filename == __file__
    assert history.diverged
    assert history.step[-1] < 1000
    assert torch.isfinite(history.loss).all()
    assert torch.isfinite(history.outputs).all()


@pytest.mark.parametrize(("part", "diverges"), [(0.97, False), (1.03, True)])
@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_a_linear_model_diverges_just_above_the_limit_and_not_below(part, diverges, loss):
    model, x, y, _ = _linear()
    rate = part * _stable_rate(model, x, loss)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = _train(model, x, y, loss=loss, learning_rate=rate, steps=2000)
    assert history.diverged == diverges == bool(caught)
    if not diverges:
        assert history.loss[-1] < history.loss[0]


def test_the_rate_to_try_is_below_one_that_diverged_under_the_limit():
    # f = θ³ is nearly flat at the start, so the limit there is far above what the way allows.
    class Cube(nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = nn.Parameter(torch.tensor([[0.1]]))

        def forward(self, x):
            return x * self.theta**3

    with pytest.warns(RuntimeWarning) as caught:
        _train(Cube(), torch.ones(1, 1), torch.full((1, 1), 10.0), learning_rate=5.0, steps=100)
    limit, advised = _numbers(caught)
    assert limit > 100
    assert advised == 2.5


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.BatchNorm1d(2),
        lambda: nn.Dropout(0.1),
        lambda: nn.Linear(2, 2).requires_grad_(False),
    ],
    ids=["mixes rows", "is random", "is frozen"],
)
def test_the_limit_is_estimated_whatever_the_layers_do(layer):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), layer(), nn.Tanh(), _WithSpare())
    with pytest.warns(RuntimeWarning, match=r"≈ \d+\.?\d*; try"):
        _train(model, torch.randn(N, 2), torch.randn(N, 1), learning_rate=1e8)


def test_the_warning_gives_the_largest_stable_rate_of_attention():
    torch.manual_seed(0)
    model, x, y = Attentive(), torch.randn(3, 4, 8), torch.randn(3, 1)
    limit = _stable_rate(model, x)
    with pytest.warns(RuntimeWarning, match="diverged by step") as caught:
        _train(model, x, y, learning_rate=100.0, steps=300)
    assert _numbers(caught)[0] == pytest.approx(limit, rel=0.02)


def test_a_diverged_model_keeps_its_last_parameters():
    model, x, y = _problem()
    twin = copy.deepcopy(model)
    with pytest.warns(RuntimeWarning, match="diverged by step 1, and the history ends before it"):
        history = _train(model, x, y, learning_rate=1e6, steps=1)
    assert history.step.tolist() == [0]
    descend_by_loop(twin, x, y, 1e6, 1)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_a_limit_is_given_where_squares_of_the_kernel_overflow():
    model = MLP(1, 1, activation="relu", sigma_w=1e5, sigma_b=0.0, seed=0, dtype=torch.float32)
    x, y = torch.tensor([[1.0], [-1.0]]).float(), torch.ones(2).float()
    limit = _stable_rate(copy.deepcopy(model).double(), x.double())
    with pytest.warns(RuntimeWarning, match="diverged by step") as caught:
        _train(model, x, y, learning_rate=1.0)
    assert _numbers(caught)[0] == pytest.approx(limit, rel=0.02)


class _Square(nn.Module):
    """|h · w|² with complex weights."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[1 + 2j], [3 - 1j]]))

    def forward(self, h):
        return ((h + 0j) @ self.w).abs().square()


def test_the_limit_of_complex_weights_counts_real_and_imaginary_parts():
    torch.manual_seed(0)
    model, (_, x, y) = nn.Sequential(nn.Linear(2, 2), _Square()), _problem()
    largest = torch.linalg.eigvalsh(kernel_by_loop(model, x, x)[:, :, 0, 0])[-1].item()
    with pytest.warns(RuntimeWarning, match="diverged by step") as caught:
        _train(model, x, y, learning_rate=1e3)
    assert _numbers(caught)[0] == pytest.approx(2 * N / largest, rel=0.02)


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


class _Once(torch.autograd.Function):
    """A tanh that is differentiated once; `once_differentiable` cuts the graph without a word."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * (1 - ctx.saved_tensors[0].tanh() ** 2)


@pytest.mark.parametrize("function", [_Refusing, _Once])
def test_an_estimate_that_fails_costs_neither_the_history_nor_the_weights(function):
    class Layer(nn.Linear):
        def forward(self, x):
            return function.apply(super().forward(x))

    torch.manual_seed(0)
    model, (_, x, y) = nn.Sequential(Layer(2, 8), nn.Linear(8, 1)), _problem()
    twin = copy.deepcopy(model)
    with pytest.warns(RuntimeWarning, match=r"could not be estimated.*try learning_rate=5e\+03\."):
        history = _train(model, x, y, learning_rate=1e4, steps=1)
    _, outputs = descend_by_loop(twin, x, y, 1e4, 1)
    torch.testing.assert_close(history.outputs[0], outputs[0])
    torch.testing.assert_close(model(x), outputs[1])


def test_the_history_is_a_tuple_in_the_documented_order():
    names = "step time loss outputs observed learning_rate diverged"
    assert " ".join(History._fields) == names


# --- refusals ----------------------------------------------------------------------------------


class _Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


def _grows():
    shapes = itertools.count()  # goes on: a test may run twice
    return lambda model: torch.ones(next(shapes))


X, Y = torch.ones(N, 2, dtype=torch.float64), torch.ones(N, 1, dtype=torch.float64)
F64 = {"dtype": torch.float64}
BROKEN = MLP(2, 4, seed=0, **F64)
nn.init.constant_(BROKEN.layers[0].bias, math.nan)
REFUSALS = {
    "no module": ({"model": torch.sin}, TypeError, "model must be a torch.nn.Module; got builtin"),
    "no parameter": ({"model": nn.Tanh()}, ValueError, "no trainable parameter"),
    "pair": ({"model": _Pair(2, 1, **F64)}, TypeError, "must return one tensor; got tuple"),
    "not finite": ({"model": BROKEN}, ValueError, r"finite at the start; got nan.*state_dict\(\)"),
    "x array": ({"x": X.numpy()}, TypeError, "x must be a torch.Tensor; got ndarray"),
    "x nan": ({"x": X * math.nan}, ValueError, r"x holds 12 value\(s\) that are NaN"),
    "x dtype": ({"x": X.float()}, TypeError, "x is torch.float32 but the model's parameter"),
    "x device": ({"x": X.to("meta")}, ValueError, "x is on meta but the model's parameter"),
    "y list": ({"y": Y.tolist()}, TypeError, "y must be a torch.Tensor; got list"),
    "y integers": ({"y": Y.long()}, TypeError, "y must hold floating-point numbers; got torch.int"),
    "y axes": ({"y": Y[None]}, ValueError, r"y must have 1 or 2 axes; got shape \(1, 6, 1\)"),
    "y rows": ({"y": Y[:4]}, ValueError, "y has 4 rows but x has 6"),
    "y infinite": ({"y": Y / 0}, ValueError, r"y holds 6 value\(s\) that are NaN or infinite"),
    "y dtype": ({"y": Y.float()}, TypeError, "y is torch.float32 but the model's output"),
    "y columns": ({"y": Y.expand(N, 2)}, ValueError, r"but y has shape \(6, 2\)\. Give y one col"),
    "rate 0": ({"learning_rate": 0}, ValueError, "learning_rate must be finite and greater than 0"),
    "rate text": ({"learning_rate": "1"}, TypeError, "learning_rate must be a number; got '1'"),
    "steps -1": ({"steps": -1}, ValueError, "steps must be at least 0; got -1"),
    "steps 1e3": ({"steps": 1e3}, TypeError, "steps must be an integer; got 1000.0 of type float"),
    "loss": ({"loss": "mse"}, ValueError, "loss must be one of 'mean', 'sum'; got 'mse'"),
    "record 3": ({"record_at": 3}, TypeError, "record_at must be a list of steps; got 3. Write"),
    "record 1.7": ({"record_at": [0, 1.7]}, TypeError, "each of record_at must be an integer"),
    "record -1": ({"record_at": [-1]}, ValueError, "each of record_at must be at least 0; got -1"),
    "record 9": ({"record_at": [2, 9]}, ValueError, "record_at must lie in 0 … 5; got 9. Raise"),
    "observe 3": ({"observe": 3}, TypeError, "observe must be a function of the model; got 3"),
    "sees list": ({"observe": lambda model: [1]}, TypeError, r"got list\. torch\.stack"),
    "sees more": (
        {"observe": _grows()},
        ValueError,
        r"same shape each time; got \(\d+,\) after",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_refused(case):
    change, error, message = REFUSALS[case]
    with pytest.raises(error, match=message):
        _train(**{"model": MLP(2, 4, seed=0), "x": X, "y": Y, **change})
