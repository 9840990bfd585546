"""A diagnosis says of a run what independent ways say: autograd, bisection, the run itself."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.functional import cross_entropy, l1_loss, mse_loss, one_hot, softplus

import ntk_helpers as ntk
from ntk_helpers.classroom import plots
from ntk_helpers.theory._forecast import forecast
from ntk_helpers.theory._objective import Objective

F64 = {"dtype": torch.float64}
LABELS = torch.tensor([0, 2, 1, 1, 0, 2])
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), **F64)
Y = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), **F64)


def network(width=8):
    return ntk.MLP(4, width, 3, activation="tanh", seed=0, **F64)


def line():
    """Return a model that is linear in its parameters, so that its kernel never moves."""
    torch.manual_seed(0)
    return nn.Linear(4, 3, **F64)


def jacobian(model):
    """Return ∂f/∂θ (n·k, P) by reverse mode over all points together."""
    theta = {name: p.detach() for name, p in model.named_parameters()}
    parts = jacrev(lambda t: functional_call(model, t, (X,)))(theta).values()
    return torch.cat([part.flatten(2).flatten(0, 1) for part in parts], 1)


def told(model, **changes):
    """Return a diagnosis of a short run with cross-entropy."""
    run = {"loss": cross_entropy, "learning_rate": 0.1} | changes
    y = run.pop("y", LABELS if run["loss"] is cross_entropy else Y)
    return ntk.diagnose(model, X, y, **run)


def test_the_largest_stable_rate_is_that_of_the_gauss_newton_matrix_in_parameter_space():
    model = ntk.MLP(4, 8, 3, depth=2, activation="tanh", seed=0, **F64)
    J, p = jacobian(model), model(X).detach().softmax(1)
    blocks = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    gauss_newton = sum(j.T @ h @ j for j, h in zip(J.reshape(6, 3, -1), blocks, strict=True)) / 6
    limit = 2 / torch.linalg.eigvalsh(gauss_newton)[-1].item()
    assert told(model).max_learning_rate == pytest.approx(limit, rel=1e-9)


def test_the_largest_stable_rate_parts_perturbations_that_die_from_those_that_grow():
    model = network()
    J, f0 = jacobian(model), model(X).detach()

    def slope(delta):
        f = (f0 + (J @ delta).view(6, 3)).requires_grad_()
        return J.T @ torch.autograd.grad(cross_entropy(f, LABELS), f)[0].flatten()

    def grows(rate):
        delta = torch.ones(J.shape[1], **F64)
        for _ in range(200):
            delta = 1e-5 * delta / delta.norm()
            delta = delta - rate * (slope(delta) - slope(0 * delta))
        return delta.norm() > 1e-5

    low, high = 0.01, 1000.0
    while high / low > 1.002:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if grows(middle) else (middle, high)
    assert told(model).max_learning_rate == pytest.approx(low, rel=0.01)


def test_for_the_squared_loss_the_limit_is_that_of_the_kernel_and_mse_loss_halves_its_slope():
    model = network()
    limit = ntk.KernelDynamics(ntk.empirical_ntk(model, X), Y).max_learning_rate
    assert told(model, loss="squared").max_learning_rate == pytest.approx(limit)
    assert told(model, loss=mse_loss).max_learning_rate == pytest.approx(limit * 3 / 2)


def test_a_linear_model_is_forecast_exactly_and_its_kernel_stays():
    for loss in ("squared", cross_entropy):
        run = told(line(), loss=loss, steps=50)
        assert run.gap < 1e-12
        assert run.change == pytest.approx((0, 1, 1), abs=1e-12)
        torch.testing.assert_close(run.losses, run.expected)
        assert len(run.losses) == 51
        assert run.losses[0] == run.start_loss > run.losses[-1]


def test_the_modes_give_the_loss_of_a_linear_model_at_every_step():
    run = told(line(), loss="squared", steps=30)
    assert run.shares.sum().item() == pytest.approx(1)
    assert (run.rates.diff() <= 0).all()
    for k in (1, 7, 30):
        left = (run.shares * (1 - 0.1 * run.rates) ** (2 * k)).sum()
        assert (run.losses[k] / run.losses[0]).item() == pytest.approx(left.item())


def test_a_mode_has_halved_after_its_half_life_and_one_that_grows_never_has():
    run = told(line(), loss="squared", learning_rate=0.2)
    live = run.rates > 0
    left = (1 - 0.2 * run.rates[live]).abs() ** run.half_lives[live]
    torch.testing.assert_close(left, torch.full_like(left, 0.5))
    assert (run.half_lives[~live] == math.inf).all()
    fast = told(line(), loss="squared", learning_rate=1.1 * run.max_learning_rate)
    assert fast.half_lives[0] == math.inf > fast.half_lives[5]


def test_the_modes_of_a_curved_loss_are_those_of_its_quadratic_model():
    model = line()
    run = told(model)
    J, f0 = jacobian(model), model(X).detach()
    H = torch.autograd.functional.hessian(lambda f: cross_entropy(f, LABELS), f0).view(18, 18)
    # H K has the same eigenvalues, and L − ½ gᵀ H⁺ g is the least of the quadratic model.
    values = torch.linalg.eigvals(H @ J @ J.T).real.sort(descending=True).values
    torch.testing.assert_close(run.rates, values, atol=1e-12, rtol=1e-9)
    force = torch.autograd.grad(cross_entropy(f := f0.requires_grad_(), LABELS), f)[0].flatten()
    rest = force @ torch.linalg.pinv(H, hermitian=True) @ force
    moved = force @ torch.linalg.pinv(H, hermitian=True) @ H @ J @ J.T @ force  # −d(rest)/dt / 2
    assert (run.shares @ run.rates).item() == pytest.approx((moved / rest).item())


def test_the_leader_of_a_mode_is_the_point_that_it_moves_most():
    x = torch.eye(4, **F64) * torch.tensor([1.0, 4.0, 2.0, 3.0], **F64)
    run = ntk.diagnose(
        nn.Linear(4, 1, bias=False, **F64), x, x[:, :1], loss="squared", learning_rate=0.1
    )
    assert run.leaders.tolist() == [1, 3, 2, 0]
    assert run.rates.tolist() == pytest.approx([4.0, 2.25, 1.0, 0.25])


def test_the_frozen_forecast_of_the_squared_loss_is_the_closed_form():
    model = network()
    kernel, f0 = ntk.empirical_ntk(model, X), model(X).detach()
    square = kernel.transpose(1, 2).reshape(18, 18)
    run = forecast(square, f0, Objective("squared", Y), 0.2, 40)
    closed = ntk.KernelDynamics(kernel, Y, f0).train_steps(40, 0.2)
    torch.testing.assert_close(run.outputs[-1], closed)


def test_a_wide_network_is_forecast_and_a_narrow_one_is_not():
    gaps = [told(network(n), learning_rate=0.5, steps=100).gap for n in (4, 1024)]
    assert gaps[1] < 0.05 < 0.2 < gaps[0]


def test_the_run_is_that_of_torchs_optimizer_and_the_gap_that_of_its_outputs():
    run, model = told(network(), learning_rate=0.5, steps=20), network()
    kernel, f0 = ntk.empirical_ntk(model, X), model(X).detach()
    optimizer, path = torch.optim.SGD(model.parameters(), lr=0.5), [f0]
    for _ in range(20):
        optimizer.zero_grad()
        cross_entropy(model(X), LABELS).backward()
        optimizer.step()
        path.append(model(X).detach())
    f, path = path[-1], torch.stack(path)
    assert run.losses[-1].item() == pytest.approx(cross_entropy(f, LABELS).item())
    assert run.change == pytest.approx(ntk.kernel_change(ntk.empirical_ntk(model, X), kernel))
    square = kernel.transpose(1, 2).reshape(18, 18)
    frozen = forecast(square, f0, Objective(cross_entropy, LABELS), 0.5, 20).outputs
    off, moved = (way.norm(dim=(1, 2)).max() for way in (frozen - path, path - f0))
    assert run.gap == pytest.approx((off / moved).item())
    assert run.expected[-1].item() == pytest.approx(cross_entropy(frozen[-1], LABELS).item())
    force = [(g.softmax(1) - one_hot(LABELS)).norm(dim=1) for g in (frozen[-1], f, f0)]
    torch.testing.assert_close(run.left, force[0] / force[2])
    torch.testing.assert_close(run.left_in_run, force[1] / force[2])


def test_the_gap_is_the_largest_on_the_way_not_the_one_where_both_have_arrived():
    y, rate = Y[:, :1], {"learning_rate": 1.0, "steps": 300}
    model = ntk.MLP(4, 16, activation="tanh", seed=0, **F64)
    kernel, f0 = ntk.empirical_ntk(model, X), model(X).detach()
    run = ntk.diagnose(model, X, y, loss="squared", **rate)
    history = ntk.gradient_descent(model, X, y, **rate, progress=False)
    closed = ntk.KernelDynamics(kernel, y, f0).train_steps(history.step.double(), 1.0)
    off = (closed - history.outputs).flatten(1).norm(dim=1)
    moved = (history.outputs - f0).flatten(1).norm(dim=1)
    assert off.max() > 2 * off[-1]
    assert run.gap == pytest.approx((off.max() / moved.max()).item())


def test_influence_is_what_one_small_step_on_one_example_does_to_the_others():
    model = ntk.MLP(4, 8, seed=0, **F64)
    influence = ntk.diagnose(model, X, Y[:, :1], loss="squared", learning_rate=0.1).influence
    kernel = ntk.empirical_ntk(model, X, outputs="trace")
    torch.testing.assert_close(influence, kernel / kernel.diagonal())
    before = model(X).detach()
    for i in (0, 4):
        pushed = ntk.MLP(4, 8, seed=0, **F64)
        (-1e-6 * pushed(X[i : i + 1])).sum().backward()
        with torch.no_grad():
            for p in pushed.parameters():
                p -= p.grad
            moved = (pushed(X) - before)[:, 0]
        torch.testing.assert_close(influence[:, i], moved / moved[i], rtol=1e-4, atol=1e-4)


def test_similarity_is_the_cosine_of_the_gradients():
    model = ntk.MLP(4, 8, seed=0, **F64)
    J = nn.functional.normalize(jacobian(model), dim=1)
    run = ntk.diagnose(model, X, Y[:, :1], loss="squared", learning_rate=0.1)
    torch.testing.assert_close(run.similarity, J @ J.T)


def test_the_shares_of_the_layers_are_those_of_their_kernels_traces():
    model = network()
    traces = {k: v.trace() for k, v in ntk.layer_ntks(model, X, outputs="trace").items()}
    layers = told(model).layers
    assert layers.keys() == traces.keys()
    assert sum(layers.values()) == pytest.approx(1)
    for name, share in layers.items():
        assert share == pytest.approx((traces[name] / sum(traces.values())).item())


def test_a_run_past_the_limit_that_diverges_is_told_as_such():
    run = told(line(), loss="squared", learning_rate=100.0, steps=50)
    assert (run.change, run.gap, run.left_in_run) == (None, math.inf, None)
    assert len(run.losses) < 51
    text = repr(run)
    assert "times that: the fastest mode grows" in text
    assert "The run diverged." in text
    assert "off without bound" in text
    assert "does not forecast" in text


@pytest.mark.parametrize(
    ("gap", "word"),
    [(0.1, "start forecasts"), (0.3, "gives the outline"), (0.31, "does not forecast")],
)
def test_the_page_says_whether_the_kernel_forecasts_the_run(gap, word):
    run = told(network(), steps=1)
    assert word in repr(ntk.Diagnosis(**vars(run) | {"gap": gap}))


def test_a_loss_without_curvature_has_no_limit_and_no_modes():
    run = told(network(), loss=l1_loss, steps=3)
    assert run.max_learning_rate == math.inf
    assert not run.shares.any()
    assert "no mode can grow" in repr(run)
    assert "no modes" in repr(run)


def test_any_model_and_any_loss_of_outputs_and_targets_is_taken():
    torch.manual_seed(0)
    words = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 1)).double()
    x, y = torch.randint(9, (5, 3)), torch.tensor([[1.0], [-1.0], [1.0], [1.0], [-1.0]])
    run = ntk.diagnose(
        words, x, y, loss=lambda f, y: softplus(-f * y).mean(), learning_rate=0.1, steps=2
    )
    assert run.loss == "<lambda>"
    assert "&lt;lambda&gt;" in run._repr_html_()
    assert run.losses[2] < run.losses[1] < run.losses[0]
    alone = ntk.diagnose(words, x[:1], y[:1], loss="squared", learning_rate=0.1)
    assert "only one" in repr(alone)
    short = ntk.diagnose(words.float(), x, y.float(), loss=nn.MSELoss(), learning_rate=0.1, steps=2)
    assert short.loss == "MSELoss"


def test_a_model_that_fits_already_and_has_an_idle_parameter_has_nothing_to_learn():
    model = line()
    model.register_parameter("idle", nn.Parameter(torch.ones(2, **F64)))
    run = told(model, loss="squared", y=model(X).detach(), steps=3)
    assert (run.gap, run.change.drift) == (0, 0)
    assert len(run.losses) == 4
    assert not run.left.any()
    assert not run.shares.any()
    assert "Targets: nothing to learn" in repr(run)


def test_a_compiled_model_is_told_like_the_one_that_it_wraps_and_nothing_is_compiled():
    def refuse(graph, inputs):
        raise AssertionError

    compiled = torch.compile(network(), backend=refuse)
    assert repr(told(compiled, steps=2)) == repr(told(network(), steps=2))


def test_bfloat16_is_taken_as_it_is_and_its_eigenvalues_in_float32():
    model = network().to(torch.bfloat16)
    low = ntk.diagnose(model, X.bfloat16(), LABELS, loss=cross_entropy, learning_rate=0.1, steps=1)
    assert low.max_learning_rate == pytest.approx(told(network()).max_learning_rate, rel=0.05)


def test_a_loss_that_is_not_one_number_of_the_outputs_is_refused():
    for loss, word in [
        (lambda f, y: (f - 1).square(), r"must be one number, the mean.*got \(6, 3\)"),
        (lambda f, y: f.detach().mean(), "come from the outputs by operations"),
        (lambda f, y: (0 * f).sum() / 0, "must be finite"),
        (lambda f, y: 3.0, "got float"),
        (lambda f, y: f @ f, r"must take outputs of shape \(6, 3\).* it raised RuntimeError"),
    ]:
        with pytest.raises(ValueError, match=word):
            told(network(), loss=loss)


def test_too_many_points_for_the_memory_are_refused_before_the_work():
    x = torch.ones(3_000_000, 4, **F64)
    with pytest.raises(MemoryError, match="Take a part of the points, drawn at random"):
        ntk.diagnose(line(), x, x[:, :3], loss="squared", learning_rate=0.1)


def test_the_model_its_mode_gradients_buffers_and_the_dice_stay_as_they_were():
    model = nn.Sequential(line(), nn.BatchNorm1d(3, **F64), nn.Dropout(0.5)).eval()
    model(X).sum().backward()
    model[1].train(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    dice = torch.get_rng_state()
    told(model, steps=5)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), dice)
    assert not any(module.training for module in model.modules())
    model.train()
    with pytest.raises(ValueError, match=r"Call model.eval\(\) first"):
        told(model)


def test_the_page_has_the_same_words_as_text_and_in_a_notebook():
    run = told(network(), steps=5)
    text, page = repr(run), run._repr_html_()
    assert text == repr(told(network(), steps=5))
    assert text.splitlines()[0].startswith("6 points with 3 outputs, loss cross_entropy, rate 0.1")
    names = [line.partition(":")[0] for line in text.splitlines()[1::3]]
    assert names == [
        "Largest stable rate", "Layers", "Examples", "Targets", "Learned last", "Kernel",
        "Forecast",
    ]  # fmt: skip
    assert all(f"<b>{name}</b>" in page for name in names)
    assert page.count("<tr>") == 8
    assert "Learned last" not in repr(told(network()))


def test_the_figure_shows_the_numbers():
    run = told(network(), steps=5)
    matrix, layers, modes, loss, _ = plots.plot_diagnosis(run).axes
    assert (matrix.images[0].get_array() == run.similarity.numpy()).all()
    assert [bar.get_width() for bar in layers.patches] == pytest.approx([*run.layers.values()])
    assert loss.lines[0].get_ydata().tolist() == run.losses.tolist()
    assert loss.lines[1].get_ydata().tolist() == run.expected.tolist()
    assert modes.lines[0].get_ydata()[-1] == pytest.approx(1)
    assert not plots.plot_diagnosis(told(network())).axes[3].lines
    many = ntk.Diagnosis(**vars(run) | {"layers": {f"layer {i}": i / 66 for i in range(12)}})
    drawn = plots.plot_diagnosis(many).axes[1]
    assert len(drawn.patches) == 9
    assert sum(bar.get_width() for bar in drawn.patches) == pytest.approx(1)
    assert [label.get_text() for label in drawn.get_yticklabels()][-2:] == ["layer 11", "4 more"]
    assert "layer 11 (17 %), layer 10 (15 %)" in repr(many)
    deep = ntk.Diagnosis(**vars(run) | {"layers": {"transformer.block.attention": 1.0}})
    (label,) = plots.plot_diagnosis(deep).axes[1].get_yticklabels()
    assert label.get_text() == "…ormer.block.attention"
