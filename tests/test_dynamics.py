"""Training in function space against ODE integration, matrix exponentials and explicit steps."""

import math

import pytest
import torch
from reference import descend_in_function_space, flow_by_ode

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


def test_after_infinite_time_the_null_space_adds_nothing_to_test_points():
    dynamics = KernelDynamics(torch.zeros(2, 2), torch.ones(2))
    assert torch.equal(dynamics.test(math.inf, torch.ones(1, 2)), torch.zeros(1))


def test_the_mean_over_outputs_predicts_several_outputs_and_the_sum_runs_k_times_too_fast():
    x, y = draw(6, 2), draw(6, 4, seed=1)
    model = ntk.MLP(2, 4096, 4, seed=0)
    f0, trace = model(x).detach(), ntk.empirical_ntk(model, x, outputs="trace")
    full = KernelDynamics(ntk.empirical_ntk(model, x), y, f0)
    t = 1 / full.eigenvalues[-1]
    wanted, near = full.train(t), 0.03 * (f0 - y).abs().max()
    assert (KernelDynamics(trace / 4, y, f0).train(t) - wanted).abs().max() < near
    assert (KernelDynamics(trace, y, f0).train(t / 4) - wanted).abs().max() < near
    each = ntk.empirical_ntk(model, x, outputs="diagonal").unbind(2)
    columns = [KernelDynamics(k, y[:, j], f0[:, j]).train(t) for j, k in enumerate(each)]
    assert (torch.stack(columns, 1) - wanted).abs().max() < near


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


# --- what is refused ----------------------------------------------------------------------------


def solve(k_train=None, y=None, f0=None, loss="mean"):
    """Return the dynamics of `problem`, with arguments replaced."""
    k, _, targets, start, _ = problem()
    return KernelDynamics(
        k if k_train is None else k_train, targets if y is None else y,
        start if f0 is None else f0, loss=loss,
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
