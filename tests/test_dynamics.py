"""Training in function space against ODE integration, matrix exponentials and explicit steps."""

import copy
import math
import warnings

import pytest
import torch
from reference import descend_in_function_space, flow_by_ode
from sklearn.kernel_ridge import KernelRidge
from torch import nn

import ntk_helpers as ntk
from ntk_helpers import KernelDynamics

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
losses = pytest.mark.parametrize(("loss", "scale"), [("mean", 1 / 6), ("sum", 1.0)])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(n=6, m=4, outputs=(), rank=9):
    """Return kernels (n, n) and (m, n) of random features, targets and start values."""
    features = draw(n + m, rank) / rank**0.5
    kernel = features @ features.T
    y, f0, f0_test = draw(n, *outputs, seed=1), draw(n, *outputs, seed=2), draw(m, *outputs, seed=3)
    return kernel[:n, :n], kernel[n:, :n], y, f0, f0_test


@losses
@pytest.mark.parametrize("outputs", [(), (1,), (3,)])
@pytest.mark.parametrize("rank", [9, 3])
def test_flow_solves_the_differential_equation(loss, scale, outputs, rank):
    k_train, k_test, y, f0, f0_test = problem(outputs=outputs, rank=rank)
    flow = KernelDynamics(k_train, y, f0, loss=loss)
    columns = [(y, f0, f0_test)] if not outputs else zip(y.T, f0.T, f0_test.T, strict=True)
    wanted = [flow_by_ode(k_train, k_test, *column, 7.0, scale) for column in columns]
    train, test = (torch.stack(parts, -1) for parts in zip(*wanted, strict=True))
    torch.testing.assert_close(flow.train(7.0), train.reshape(y.shape), rtol=1e-7, atol=1e-8)
    found = flow.test(7.0, k_test, f0_test)
    torch.testing.assert_close(found, test.reshape(f0_test.shape), rtol=1e-7, atol=1e-8)


@losses
@pytest.mark.parametrize("rank", [9, 3])
@pytest.mark.parametrize("share", [0.1, 0.7, 1.3])
def test_descent_takes_exactly_the_explicit_steps(loss, scale, rank, share):
    k_train, k_test, y, f0, f0_test = problem(rank=rank)
    dynamics = KernelDynamics(k_train, y, f0, loss=loss)
    rate = share * dynamics.max_learning_rate
    for steps in (0, 1, 2, 37):
        train, test = descend_in_function_space(k_train, k_test, y, f0, f0_test, rate, steps, scale)
        torch.testing.assert_close(dynamics.train_steps(steps, rate), train)
        found = dynamics.test_steps(steps, rate, k_test, f0_test)
        torch.testing.assert_close(found, test)


@losses
def test_the_largest_rate_divides_descent_that_shrinks_from_descent_that_grows(loss, scale):
    k_train, _, y, f0, _ = problem()
    dynamics = KernelDynamics(k_train, y, f0, loss=loss)
    assert dynamics.max_learning_rate == pytest.approx(
        2 / (scale * torch.linalg.eigvalsh(k_train)[-1].item())
    )
    for share, grows in [(0.99, False), (1.01, True)]:
        early, late = dynamics.train_steps(
            torch.tensor([3000, 4000]), share * dynamics.max_learning_rate
        )
        assert ((late - y).norm() > (early - y).norm()) == grows


def test_descent_with_small_steps_follows_flow_at_time_rate_times_steps():
    k_train, k_test, y, f0, f0_test = problem()
    dynamics = KernelDynamics(k_train, y, f0)
    flow, errors = dynamics.test(2.0, k_test, f0_test), []
    for steps in (100, 200):
        found = dynamics.test_steps(steps, 2.0 / steps, k_test, f0_test)
        errors.append((found - flow).norm())
    assert errors[0] < 0.02 * flow.norm()
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


@dtypes
def test_flow_at_infinite_time_fits_the_targets(dtype):
    k_train, k_test, y, f0, f0_test = (a.to(dtype) for a in problem())
    dynamics = KernelDynamics(k_train, y, f0)
    close = {"rtol": 2e-3, "atol": 2e-3} if dtype == torch.float32 else {}
    torch.testing.assert_close(dynamics.train(math.inf), y, **close)
    wanted = f0_test + k_test @ torch.linalg.solve(k_train, y - f0)
    torch.testing.assert_close(dynamics.test(math.inf, k_test, f0_test), wanted, **close)
    assert dynamics.rank == 6


@dtypes
@pytest.mark.parametrize("activation", ["erf", "relu", "tanh"])
def test_duplicate_points_give_the_pseudo_inverse_answer(dtype, activation):
    x = torch.cat([draw(5, 2), draw(5, 2)]).to(dtype)
    y = torch.cat([draw(5, seed=1), draw(5, seed=1) + 1]).to(dtype)
    z = draw(3, 2, seed=4).to(dtype)
    k_train = ntk.infinite_kernels(x, activation=activation).ntk
    k_test = ntk.infinite_kernels(z, x, activation=activation).ntk
    dynamics = KernelDynamics(k_train, y)
    assert dynamics.rank == 5
    mean = ((y[:5] + y[5:]) / 2).repeat(2)
    once = ntk.infinite_kernels(x[:5].double(), activation=activation).ntk
    weights = torch.linalg.solve(once, mean[:5].double())
    wanted = (
        ntk.infinite_kernels(z.double(), x[:5].double(), activation=activation).ntk @ weights
    ).to(dtype)
    close = {"rtol": 0, "atol": 2e-3 if dtype == torch.float32 else 1e-9}
    torch.testing.assert_close(dynamics.train(math.inf), mean, **close)
    torch.testing.assert_close(dynamics.test(math.inf, k_test), wanted, **close)
    late = 1e18 if dtype == torch.float64 else 1e9
    torch.testing.assert_close(dynamics.train(late), mean, **close)
    torch.testing.assert_close(dynamics.test(late, k_test), wanted, **close)


@dtypes
def test_nothing_is_nan_for_a_nearly_singular_kernel(dtype):
    x = torch.linspace(-1, 1, 40, dtype=dtype)[:, None]
    kernel = ntk.infinite_kernels(x, activation="erf").ntk
    dynamics = KernelDynamics(kernel, torch.sin(3 * x[:, 0]))
    times = torch.tensor([0, 1e-30, 1, 1e5, 1e15, 1e30, math.inf], dtype=dtype)
    assert torch.isfinite(dynamics.train(times)).all()
    with warnings.catch_warnings():  # in float32 some eigenvalues are lost
        warnings.simplefilter("ignore", RuntimeWarning)
        assert torch.isfinite(dynamics.test(times, kernel)).all()
    assert torch.isfinite(dynamics.test_steps(10**6, dynamics.max_learning_rate / 2, kernel)).all()
    assert dynamics.rank < 40
    assert (dynamics.eigenvalues >= 0).all()


def test_a_test_point_that_sees_the_null_space_moves_with_time_not_with_steps():
    """A kernel K(x, X) that no network has shows the limit t of (1 − e^{−λt})/λ alone."""
    y, k_test = torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 1.0]])
    dynamics = KernelDynamics(torch.diag(torch.tensor([0.0, 1e-30])), y, loss="mean")
    zero = KernelDynamics(torch.zeros(2, 2), y, loss="mean")
    assert zero.test(4.0, k_test).item() == pytest.approx(4.0 * 3 / 2)
    assert zero.test_steps(20, 0.2, k_test).item() == pytest.approx(4.0 * 3 / 2)
    assert dynamics.test(4.0, k_test).item() == pytest.approx(4.0 * 3 / 2)


def test_the_residual_in_the_null_space_never_decays():
    k_train, _, y, f0, _ = problem(rank=2)
    values, vectors = torch.linalg.eigh(k_train)
    null = vectors[:, values < 1e-10]
    dynamics = KernelDynamics(k_train, y, f0)
    for t in (1.0, 1e6, 1e25, math.inf):
        torch.testing.assert_close(null.T @ (dynamics.train(t) - y), null.T @ (f0 - y))
    torch.testing.assert_close(vectors[:, 4:].T @ dynamics.train(math.inf), vectors[:, 4:].T @ y)


def test_descent_that_overflows_is_infinite_and_never_nan():
    kernel, y = torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.tensor([1.0, 1.0, 0.0])
    dynamics = KernelDynamics(kernel, y, loss="sum")
    found = dynamics.train_steps(10**6, 1.5)
    assert found[1].isinf()
    assert not found.isnan().any()
    both = KernelDynamics(torch.tensor([[2.0, 1.0], [1.0, 2.0]]), y[:2] - 2 * y[1:], loss="sum")
    assert both.train_steps(10**5, 9.0).isinf().all()
    sides = torch.tensor([[1.0, 0.0], [1.0, 1.0]])  # the second does not see the mode (1, −1)/√2
    found = both.test_steps(10**5, 9.0, sides)
    assert found[0].isinf()
    assert not found.isnan().any()


def test_a_point_that_no_growing_mode_reaches_stays_finite():
    kernel, y = torch.diag(torch.tensor([1e3, 1.0])), torch.tensor([1.0, 2.0])
    dynamics = KernelDynamics(kernel, y, loss="sum")
    found = dynamics.train_steps(torch.tensor([1, 200]), 0.1)
    assert found[1, 0].isinf()
    torch.testing.assert_close(found[:, 1], 2 * (1 - 0.9 ** torch.tensor([1.0, 200.0])))
    tests = dynamics.test_steps(200, 0.1, torch.tensor([[0.0, 0.5], [1.0, 1.0]]))
    assert tests[0].item() == pytest.approx(1 - 0.9**200)
    assert tests[1].isinf()


def test_a_zero_kernel_leaves_everything_as_it_was():
    _, _, y, f0, f0_test = problem()
    dynamics = KernelDynamics(torch.zeros(6, 6), y, f0)
    assert torch.equal(dynamics.train(math.inf), f0)
    assert torch.equal(dynamics.test(math.inf, torch.zeros(4, 6), f0_test), f0_test)
    assert dynamics.max_learning_rate == math.inf
    assert dynamics.rank == 0


@pytest.mark.parametrize("diverging", [False, True])
def test_a_network_that_starts_at_its_targets_stays_there(diverging):
    k_train, k_test, y, _, f0_test = problem()
    dynamics = KernelDynamics(k_train, y, y)
    rate = (3.0 if diverging else 0.5) * dynamics.max_learning_rate
    steps = 10_000 if diverging else 100  # of a residual that is not 0, an infinity
    assert torch.equal(dynamics.train_steps(steps, rate), y)
    assert torch.equal(dynamics.test_steps(steps, rate, k_test, f0_test), f0_test)
    assert torch.equal(dynamics.train(5.0), y)


@losses
@pytest.mark.parametrize("outputs", [(), (3,)])
def test_modes_decay_at_their_eigenvalue_and_rebuild_the_residual(loss, scale, outputs):
    k_train, _, y, f0, _ = problem(outputs=outputs)
    dynamics = KernelDynamics(k_train, y, f0, loss=loss)
    start, later = dynamics.modes(torch.tensor([0.0, 2.5]))
    decay = torch.exp(-2.5 * scale * dynamics.eigenvalues).reshape(-1, *[1] * len(outputs))
    assert start.shape == y.shape
    torch.testing.assert_close(later, decay * start)
    torch.testing.assert_close(dynamics.eigenvectors @ later, dynamics.train(2.5) - y)


@pytest.mark.parametrize("outputs", [(), (3,)])
def test_a_vector_of_times_stacks_the_single_times(outputs):
    k_train, k_test, y, f0, f0_test = problem(outputs=outputs)
    dynamics = KernelDynamics(k_train, y, f0)
    times, steps = torch.tensor([0.0, 0.5, math.inf]), torch.tensor([0, 3, 8])
    for call, values in [
        (dynamics.train, times),
        (lambda t: dynamics.test(t, k_test, f0_test), times),
        (lambda t: dynamics.test(t, k_test), times),
        (dynamics.modes, times),
        (lambda t: dynamics.smoother(t, k_test), times),
        (lambda k: dynamics.train_steps(k, 0.1), steps),
        (lambda k: dynamics.test_steps(k, 0.1, k_test, f0_test), steps),
    ]:
        stacked = call(values)
        torch.testing.assert_close(stacked, torch.stack([call(value.item()) for value in values]))


def test_the_smoother_maps_targets_to_predictions():
    k_train, k_test, y, f0, f0_test = problem(outputs=(2,))
    dynamics = KernelDynamics(k_train, y, f0)
    wanted = f0_test + dynamics.smoother(4.0, k_test) @ (y - f0)
    torch.testing.assert_close(dynamics.test(4.0, k_test, f0_test), wanted)


def test_a_coupled_kernel_moves_outputs_together():
    n, m, k = 5, 3, 2
    jacobian = draw(n + m, k, 40)
    kernel = torch.einsum("aip,bjp->abij", jacobian, jacobian)
    y, f0, f0_test = draw(n, k, seed=1), draw(n, k, seed=2), draw(m, k, seed=3)
    dynamics = KernelDynamics(kernel[:n, :n], y, f0)
    train, test = jacobian[:n].reshape(n * k, -1), jacobian[n:].reshape(m * k, -1)
    wanted = flow_by_ode(
        train @ train.T,
        test @ train.T,
        *(a.reshape(-1) for a in (y, f0, f0_test)),
        0.3,
        1 / n,
    )
    torch.testing.assert_close(dynamics.train(0.3), wanted[0].reshape(n, k), rtol=1e-7, atol=1e-8)
    found = dynamics.test(0.3, kernel[n:, :n], f0_test)
    torch.testing.assert_close(found, wanted[1].reshape(m, k), rtol=1e-7, atol=1e-8)
    assert dynamics.modes(0.3).shape == (n * k,)


def test_wide_networks_train_as_their_kernel_at_initialisation_predicts():
    x, z = draw(8, 2), draw(5, 2, seed=1)
    y = torch.sin(3 * x[:, :1])
    model = ntk.MLP(2, 2048, sigma_w=1.5, seed=0)
    f0, f0_test = model(x).detach(), model(z).detach()
    k_train, k_test = (ntk.empirical_ntk(model, a, x, outputs="trace") for a in (x, z))
    dynamics = KernelDynamics(k_train, y, f0)
    rate = 0.5 * dynamics.max_learning_rate
    history = ntk.gradient_descent(model, x, y, learning_rate=rate, steps=150, progress=False)
    wanted = dynamics.train_steps(history.step, rate)
    assert (history.outputs - wanted).abs().max() < 0.02 * (f0 - y).abs().max()
    found = dynamics.test_steps(150, rate, k_test, f0_test)
    assert (model(z) - found).abs().max() < 0.02 * (f0 - y).abs().max()


def test_results_carry_no_gradient_and_keep_dtype():
    k_train, k_test, y, f0, f0_test = (a.float().requires_grad_() for a in problem())
    dynamics = KernelDynamics(k_train, y, f0)
    for found in (dynamics.train(1.0), dynamics.test(1.0, k_test, f0_test)):
        assert found.dtype == torch.float32
        assert not found.requires_grad


def test_eigenvalues_up_to_the_cutoff_count_as_zero():
    cutoff = 10 * 3 * torch.finfo(torch.float64).eps * 4.0
    dynamics = KernelDynamics(torch.diag(torch.tensor([4.0, cutoff, 1.01 * cutoff])), torch.ones(3))
    assert dynamics.cutoff == cutoff
    assert dynamics.rank == 2
    assert dynamics.eigenvalues[0] == 0


def test_a_kernel_that_rounding_made_asymmetric_counts_as_the_mean_of_both_triangles():
    k_train, _, y, f0, _ = problem()
    noise = 1e-10 * draw(6, 6)
    mean = k_train + (noise + noise.T) / 2
    noisy = KernelDynamics(k_train + noise, y, f0)
    wanted = KernelDynamics(mean, y, f0)
    torch.testing.assert_close(noisy.eigenvalues, wanted.eigenvalues, rtol=1e-13, atol=1e-13)


def test_how_asymmetric_a_kernel_may_be_depends_on_the_precision_in_which_it_was_given():
    k_train, _, y, f0, _ = problem()
    k_train[0, 1] += 1e-5 * k_train.abs().max()
    KernelDynamics(k_train.float(), y.float(), f0.float())
    with pytest.raises(ValueError, match="k_train is not symmetric"):
        KernelDynamics(k_train, y, f0)


def test_after_infinite_time_the_null_space_adds_nothing_to_test_points():
    dynamics = KernelDynamics(torch.zeros(2, 2), torch.ones(2))
    assert torch.equal(dynamics.test(math.inf, torch.ones(1, 2)), torch.zeros(1))


def several(k=4, width=4096):
    """Return six points, k targets each, a network of k outputs, its start, its trace."""
    x, y = draw(6, 2), draw(6, k, seed=1)
    model = ntk.MLP(2, width, k, seed=0)
    return x, y, model, model(x).detach(), ntk.empirical_ntk(model, x, outputs="trace")


def test_the_mean_over_outputs_predicts_several_outputs_and_the_sum_runs_k_times_too_fast():
    x, y, model, f0, trace = several()
    full = KernelDynamics(ntk.empirical_ntk(model, x), y, f0)
    t = 1 / full.eigenvalues[-1]
    wanted, near = full.train(t), 0.03 * (f0 - y).abs().max()
    assert (KernelDynamics(trace / 4, y, f0).train(t) - wanted).abs().max() < near
    assert (KernelDynamics(trace.clone(), y, f0).train(t / 4) - wanted).abs().max() < near
    each = ntk.empirical_ntk(model, x, outputs="diagonal").unbind(2)
    columns = [KernelDynamics(k, y[:, j], f0[:, j]).train(t) for j, k in enumerate(each)]
    assert (torch.stack(columns, 1) - wanted).abs().max() < near


@pytest.mark.parametrize("method", ["layerwise", "jacobian", "ntvp"])
def test_a_sum_over_several_outputs_is_refused_wherever_it_is_given(method):
    x, y, model, _, _ = several(width=8)
    trace = ntk.empirical_ntk(model, x, outputs="trace", method=method)
    beside = ntk.empirical_ntk(model, x[:2], x, outputs="trace", method=method)
    wanted = r"{} is a sum over 4 outputs, .* 4 times too fast. Give {} / 4, the mean over outputs"
    for targets in (y, y[:, 0]):
        with pytest.raises(ValueError, match=wanted.format("k_train", "k_train")):
            KernelDynamics(trace, targets)
    with pytest.raises(ValueError, match=wanted.format("k_test_train", "k_test_train")):
        KernelDynamics(trace / 4, y).test(1.0, beside)
    with pytest.raises(ValueError, match=wanted.format("k_train", "k_train")):
        ntk.gp_posterior(trace, y, beside, trace[:2, :2], noise=1.0)


def test_a_sum_that_was_divided_is_taken_also_if_that_was_in_place():
    x, y, _, f0, trace = several(width=8)
    wanted = KernelDynamics(trace / 4, y, f0).train(1.0)
    trace /= 4
    assert torch.equal(KernelDynamics(trace, y, f0).train(1.0), wanted)
    one = ntk.MLP(2, 8, seed=0)  # of one output the sum is the mean
    with torch.inference_mode():
        kernel = ntk.empirical_ntk(one, x, outputs="trace")
        assert torch.equal(
            KernelDynamics(1 * kernel, y).train(1.0), KernelDynamics(kernel, y).train(1.0)
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_wide_networks_are_solved_in_float64_whatever_the_dtype_of_the_points(dtype):
    x = (torch.arange(-48, 49) / 64)[:, None]  # exact in both
    y, z = torch.linspace(-1, 1, 97).sign().to(torch.float64), x[::7] + 1 / 128
    found, exact = (
        ntk.wide_ensemble(*(a.to(d) for a in (x, y, z)), math.inf, activation="relu")
        for d in (dtype, torch.float64)
    )
    assert found.rank == exact.rank == 97
    assert found.mean.dtype == found.cov.dtype == dtype
    assert torch.equal(found.mean, exact.mean.to(dtype))
    assert torch.equal(found.cov, exact.cov.to(dtype))


# --- with a ridge -------------------------------------------------------------------------------


@losses
@pytest.mark.parametrize("outputs", [(), (1,), (3,)])
@pytest.mark.parametrize("ridge", [1e-3, 0.1, 1.0, 30.0])
def test_at_infinite_time_a_ridge_is_that_of_scikit_learn(loss, scale, outputs, ridge):
    k_train, k_test, y, f0, f0_test = problem(outputs=outputs)
    dynamics = KernelDynamics(k_train, y, f0, loss=loss, ridge=ridge)
    theirs = KernelRidge(alpha=ridge, kernel="precomputed").fit(k_train, y - f0)
    for found, kernel, start in [
        (dynamics.train(math.inf), k_train, f0),
        (dynamics.test(math.inf, k_test, f0_test), k_test, f0_test),
    ]:
        wanted = start + torch.as_tensor(theirs.predict(kernel))
        assert (found - wanted).norm() <= 1e-10 * wanted.norm()


@losses
@pytest.mark.parametrize("ridge", [0.05, 3.0])
@pytest.mark.parametrize("rank", [9, 3])
@pytest.mark.parametrize("t", [0.3, 7.0])
def test_flow_with_a_ridge_solves_its_differential_equation(loss, scale, ridge, rank, t):
    k_train, k_test, y, f0, f0_test = problem(rank=rank)
    flow = KernelDynamics(k_train, y, f0, loss=loss, ridge=ridge)
    train, test = flow_by_ode(k_train, k_test, y, f0, f0_test, t, scale, ridge)
    torch.testing.assert_close(flow.train(t), train, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(flow.test(t, k_test, f0_test), test, rtol=1e-7, atol=1e-8)


@losses
@pytest.mark.parametrize("rank", [9, 3])
def test_descent_with_a_ridge_is_that_of_a_linear_model_pulled_towards_its_start(loss, scale, rank):
    """The penalty is (c ρ/2) ‖θ − θ₀‖², with c = 1/N or 1 as in the loss."""
    features, y, ridge = draw(10, rank) / rank**0.5, draw(6, 2, seed=1), 0.7
    model = nn.Linear(rank, 2, bias=False)
    model.weight.data = draw(2, rank, seed=2)
    start = copy.deepcopy(model)
    k_train, k_test = features[:6] @ features[:6].T, features[6:] @ features[:6].T
    f0, f0_test = start(features).detach().split([6, 4])
    dynamics = KernelDynamics(k_train, y, f0, loss=loss, ridge=ridge)
    rate = 0.4 * dynamics.max_learning_rate
    for steps in range(12):
        f = model(features)
        torch.testing.assert_close(dynamics.train_steps(steps, rate), f[:6].detach())
        found = dynamics.test_steps(steps, rate, k_test, f0_test)
        torch.testing.assert_close(found, f[6:].detach())
        away = (model.weight - start.weight.detach()).square().sum()
        total = scale * (0.5 * (f[:6] - y).square().sum() + 0.5 * ridge * away)
        (gradient,) = torch.autograd.grad(total, model.weight)
        model.weight.data -= rate * gradient
    assert (f[:6] - f0).norm() > 0.1 * f0.norm()


@losses
def test_the_largest_rate_counts_the_ridge(loss, scale):
    k_train, _, y, f0, _ = problem()
    dynamics = KernelDynamics(k_train, y, f0, loss=loss, ridge=2.5)
    highest = torch.linalg.eigvalsh(k_train)[-1].item()
    assert dynamics.max_learning_rate == pytest.approx(2 / (scale * (highest + 2.5)))
    end = dynamics.train(math.inf)
    for share, grows in [(0.99, False), (1.01, True)]:
        early, late = dynamics.train_steps(
            torch.tensor([3000, 4000]), share * dynamics.max_learning_rate
        )
        assert ((late - end).norm() > (early - end).norm()) == grows


def test_with_a_ridge_that_vanishes_everything_is_as_without():
    k_train, k_test, y, f0, f0_test = problem(rank=3)  # with a null space
    without = KernelDynamics(k_train, y, f0)
    for ridge in (0.0, 1e-300, 1e-16):  # below the rounding of the kernel
        dynamics = KernelDynamics(k_train, y, f0, ridge=ridge)
        assert dynamics.rank == without.rank == 3
        torch.testing.assert_close(dynamics.eigenvalues, without.eigenvalues, rtol=0, atol=0)
        for t in (1.0, 1e10, math.inf):
            near = {"rtol": 1e-12, "atol": 1e-12}
            torch.testing.assert_close(dynamics.train(t), without.train(t), **near)
            found, wanted = (d.test(t, k_test, f0_test) for d in (dynamics, without))
            torch.testing.assert_close(found, wanted, **near)
    far = [
        (KernelDynamics(k_train, y, f0, ridge=r).train(math.inf) - without.train(math.inf)).norm()
        for r in (1e-6, 2e-6)
    ]
    assert far[1] / far[0] == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize("outputs", [(), (3,)])
def test_with_a_ridge_modes_rebuild_the_residual_and_the_smoother_predicts(outputs):
    k_train, k_test, y, f0, f0_test = problem(outputs=outputs)
    dynamics = KernelDynamics(k_train, y, f0, ridge=0.3)
    times, steps = torch.tensor([0.0, 2.5, math.inf]), torch.tensor([0, 3, 8])
    for i, t in enumerate(times):
        left = dynamics.eigenvectors @ dynamics.modes(times)[i]
        torch.testing.assert_close(left, dynamics.train(t) - y)
        wanted = f0_test + dynamics.smoother(times, k_test)[i] @ (y - f0)
        torch.testing.assert_close(dynamics.test(t, k_test, f0_test), wanted)
    many = dynamics.train_steps(steps, 0.1)
    torch.testing.assert_close(many[1], dynamics.train_steps(3, 0.1))


def test_a_coupled_kernel_with_a_ridge_solves_one_square():
    jacobian = draw(8, 2, 40)
    kernel = torch.einsum("aip,bjp->abij", jacobian, jacobian)
    y, f0_test = draw(5, 2, seed=1), draw(3, 2, seed=3)
    rows = jacobian.reshape(16, 40)
    dynamics = KernelDynamics(kernel[:5, :5], y, ridge=4.0)
    square = rows[:10] @ rows[:10].T + 4.0 * torch.eye(10)
    wanted = rows[10:] @ rows[:10].T @ torch.linalg.solve(square, y.reshape(-1))
    found = dynamics.test(math.inf, kernel[5:, :5], f0_test)
    torch.testing.assert_close(found, f0_test + wanted.reshape(3, 2))


def test_a_ridge_decides_between_points_that_come_twice():
    """Two targets of one point with a ridge ρ are their mean with a ridge ρ/2."""
    k_once, k_test, y, _, _ = problem()
    twice = KernelDynamics(k_once.repeat(2, 2), torch.cat([y - 1, y + 1]), ridge=0.8)
    once = KernelDynamics(k_once, y, ridge=0.4)
    assert twice.rank == once.rank == 6
    found = twice.test(math.inf, k_test.repeat(1, 2))
    torch.testing.assert_close(found, once.test(math.inf, k_test))


def test_a_ridge_on_a_zero_kernel_moves_nothing():
    _, _, y, f0, f0_test = problem()
    dynamics = KernelDynamics(torch.zeros(6, 6), y, f0, ridge=0.5)
    assert dynamics.max_learning_rate == 6 * 2 / 0.5
    assert torch.equal(dynamics.train(math.inf), f0)
    assert torch.equal(dynamics.test(math.inf, torch.zeros(4, 6), f0_test), f0_test)
    assert torch.equal(dynamics.train_steps(10**6, 100.0), f0)  # where descent would overflow


# --- precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_lower_precision_is_solved_in_float64_and_rounded_at_the_end(dtype, ridge):
    k_train = (torch.diag(torch.arange(20.0, 26.0)) + problem()[0]).to(dtype)
    rest = [a.to(dtype) for a in problem()[1:]]
    (k_test, y, f0, f0_test), exact = rest, [a.double() for a in rest]
    low = KernelDynamics(k_train, y, f0, ridge=ridge)
    high = KernelDynamics(k_train.double(), exact[1], exact[2], ridge=ridge)
    assert low.rank == 6
    assert low.max_learning_rate == high.max_learning_rate
    size = torch.linalg.eigvalsh(k_train.double())[-1].item()
    assert low.cutoff == pytest.approx(60 * torch.finfo(dtype).eps * size)
    for found, wanted in [
        (low.train(2.0), high.train(2.0)),
        (low.train(math.inf), high.train(math.inf)),
        (low.test(2.0, k_test, f0_test), high.test(2.0, exact[0], exact[3])),
        (low.test_steps(9, 0.01, k_test), high.test_steps(9, 0.01, exact[0])),
        (low.modes(2.0), high.modes(2.0)),
        (low.smoother(2.0, k_test), high.smoother(2.0, exact[0])),
        (low.eigenvalues, high.eigenvalues),
        (low.eigenvectors, high.eigenvectors),
    ]:
        assert found.dtype == dtype
        assert torch.equal(found, wanted.to(dtype))


def line(dtype, count=100):
    """Return the ReLU kernel of points on a line, that of three points with them, and targets."""
    x = torch.linspace(-1, 1, count, dtype=dtype)[:, None]
    z = torch.tensor([[-0.5], [0.0], [0.33]], dtype=dtype)
    kernels = [ntk.infinite_kernels(a, x, activation="relu").ntk for a in (x, z)]
    return *kernels, torch.sin(20 * x[:, 0])


def test_at_infinite_time_it_is_told_once_how_many_eigenvalues_float32_has_cost():
    k_train, k_test, y = line(torch.float32)
    flow = KernelDynamics(k_train, y)
    assert flow.rank < 30
    wanted = rf"only {flow.rank} of the 100 eigenvalues .* rounding of torch.float32, .*float64, or"
    with pytest.warns(RuntimeWarning, match=wanted) as told:
        flow.test(torch.tensor([1.0, math.inf]), k_test)
    assert told[0].filename == __file__
    flow.test(math.inf, k_test)  # a second warning would be an error
    with pytest.warns(RuntimeWarning, match=wanted) as told:
        KernelDynamics(k_train, y).smoother(math.inf, k_test)
    assert told[0].filename == __file__


def test_nothing_is_told_where_float32_costs_nothing():
    k_train, k_test, y = line(torch.float32)
    KernelDynamics(k_train, y).test(1e6, k_test)
    KernelDynamics(k_train, y).train(math.inf)  # which is seen to miss the targets
    KernelDynamics(k_train, y, ridge=0.1).test(math.inf, k_test)
    exact, k_exact, y_exact = line(torch.float64)
    assert KernelDynamics(exact, y_exact).rank == 100
    KernelDynamics(exact.repeat(2, 2), y_exact.repeat(2)).test(math.inf, k_exact.repeat(1, 2))
    few, k_few, y_few = line(torch.float32, count=5)
    twice = KernelDynamics(few.repeat(2, 2), y_few.repeat(2))
    assert twice.rank == 5
    twice.test(math.inf, k_few.repeat(1, 2))


# --- what is refused ----------------------------------------------------------------------------


def solve(k_train=None, y=None, f0=None, loss="mean", ridge=0.0):
    """Return the dynamics of `problem`, with arguments replaced."""
    k, _, targets, start, _ = problem()
    return KernelDynamics(
        k if k_train is None else k_train, targets if y is None else y,
        start if f0 is None else f0, loss=loss, ridge=ridge,
    )  # fmt: skip


E6 = torch.eye(6, dtype=torch.float64)
# fmt: off
REFUSALS = [
    (lambda: solve(k_train=draw(6, 5)), ValueError, r"must have shape \(6, 6\) .*got \(6, 5\)"),
    (lambda: solve(k_train=draw(6, 6, 2)), ValueError, r"must have 2 or 4 axes"),
    (lambda: solve(k_train=draw(6, 6)), ValueError, r"not symmetric: \|K − Kᵀ\| is up to"),
    (lambda: solve(k_train=-E6), ValueError, r"not positive semidefinite: .* from -1 to"),
    (lambda: solve(k_train=-1e-9 * E6), ValueError, r"is not positive semidefinite"),
    (lambda: solve(k_train=torch.diag(torch.tensor([1.0, 1, 1, 1, 1, -0.01]))),
     ValueError, r"eigenvalues run from -0.01 to 1"),
    (lambda: solve(y=draw(6).float()), TypeError, r"y is torch.float32 but k_train"),
    (lambda: solve(y=draw(6) / 0), ValueError, r"y holds 6 value\(s\) that are NaN"),
    (lambda: solve(f0=draw(6) / 0), ValueError, r"f0 holds 6 value\(s\) that are NaN"),
    (lambda: solve(f0=draw(6, 1)), ValueError, r"f0 must have shape \(6,\), as y implies"),
    (lambda: solve(loss="mse"), ValueError, r"loss must be one of 'mean', 'sum'; got 'mse'"),
    (lambda: solve(ridge=-0.1), ValueError, r"ridge must be finite and 0 or greater; got -0.1"),
    (lambda: solve().train(-1.0), ValueError, r"t must be 0 or greater; got \[-1.0\]"),
    (lambda: solve().train(torch.tensor([1.0, -2.0])), ValueError, r"0 or .*got \[-2.0"),
    (lambda: solve().train(math.nan), ValueError, r"t must be 0 or greater; got \[nan\]"),
    (lambda: solve().train(torch.ones(2, 2)), ValueError, r"t must be a number or a 1-D tensor"),
    (lambda: solve().train_steps(1.5, 0.1), ValueError, r"k must hold whole, finite numbers"),
    (lambda: solve().train_steps(torch.tensor([1.0, math.inf]), 0.1),
     ValueError, r"k must hold whole, finite numbers; got \[1.0, inf\]"),
    (lambda: solve().train_steps(3, -0.1), ValueError, r"learning_rate must be finite and greater"),
    (lambda: solve().test(1, draw(6, 4)), ValueError, r"shape \(6, 6\), a row for .*transpose"),
    (lambda: solve().test(1, draw(4, 6) / 0), ValueError, r"k_test_train holds 24"),
    (lambda: solve().test(1, draw(4, 6).float()), TypeError, r"k_test_train is torch.float32"),
    (lambda: solve().test(1, draw(4, 6), draw(4) / 0), ValueError, r"f0_test holds 4 value"),
    (lambda: solve().test(1, draw(4, 6), draw(4, 1)), ValueError, r"f0_test must .* \(4,\), as y"),
    (lambda: solve().test(1, draw(4, 6), draw(4).float()),
     TypeError, r"f0_test is torch.float32 but k_test_train is torch.float64"),
]
# fmt: on


@pytest.mark.parametrize(("call", "error", "message"), REFUSALS)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
