"""What holds for training with a constant kernel at any kernel, target, time and scale."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm
from strategies import designs, losses, normal, points, regressions, seeds, times

import ntk_helpers as ntk
from ntk_helpers import KernelDynamics

# Some of the kernels drawn have zero eigenvalues that float32 cannot tell from small ones.
pytestmark = pytest.mark.filterwarnings("ignore:only .* eigenvalues of k_train are above")


def tolerance(*tensors, factor=1e4):
    """Return rtol 0 and an atol: some thousand roundings of the largest number met."""
    size = max(float(tensor.abs().max()) for tensor in tensors)
    return {"rtol": 0, "atol": factor * torch.finfo(tensors[0].dtype).eps * size}


def exponential(matrix):
    """Return e to the power of a matrix, by scipy: torch's errs by 3e-11 at norms up to 0.04."""
    return torch.as_tensor(expm(matrix.numpy()))


def solved(problem, loss="mean", part=0.0):
    """Return the dynamics of a problem, with a ridge that is a part of the largest eigenvalue."""
    ridge = part * max(float(torch.linalg.eigvalsh(problem["k"])[-1]), 0.0)
    return KernelDynamics(problem["k"], problem["y"], problem["f0"], loss=loss, ridge=ridge)


parts = st.sampled_from([0.0, 1e-20, 0.01, 0.1, 1.0, 1e3])


@given(regressions(), losses, times)
def test_outputs_are_finite_and_never_farther_from_the_targets_than_at_the_start(problem, loss, t):
    y, f0 = problem["y"], problem["f0"]
    dynamics = solved(problem, loss)
    f = dynamics.train(t)
    assert f.dtype == y.dtype
    assert f.shape == y.shape
    assert torch.isfinite(dynamics.test(t, problem["k_test"], problem["f0_test"])).all()
    assert torch.isfinite(dynamics.modes(t)).all()
    assert (f - y).norm() <= (f0 - y).norm() * (1 + 1e4 * torch.finfo(y.dtype).eps)


@given(regressions(), losses)
def test_at_time_zero_nothing_has_happened(problem, loss):
    dynamics = solved(problem, loss)
    assert torch.equal(dynamics.train(0.0), problem["f0"])
    assert torch.equal(dynamics.train_steps(0, 1.0), problem["f0"])
    start = dynamics.test(0.0, problem["k_test"], problem["f0_test"])
    assert torch.equal(start, problem["f0_test"])


@given(regressions(dtype=st.just(torch.float64)), losses)
def test_after_infinite_time_only_the_null_space_is_left(problem, loss):
    dynamics = solved(problem, loss)
    left = (dynamics.train(math.inf) - problem["y"]).reshape(len(problem["y"]), -1)
    size = (problem["f0"] - problem["y"]).abs().max() * problem["k"].abs().max()
    assert (problem["k"] @ left).abs().max() <= 1e-10 * size


@given(regressions(), losses, times)
def test_training_points_among_the_test_points_move_alike(problem, loss, t):
    """Up to the rounding of K(x, X) in the null space, some per cent of the cutoff."""
    dynamics = solved(problem, loss)
    train = dynamics.train(t)
    test = dynamics.test(t, problem["k"], problem["f0"])
    size = max(problem["f0"].abs().max(), problem["y"].abs().max())
    torch.testing.assert_close(test, train, rtol=0, atol=float(0.05 * size))


@given(regressions(), losses, times, st.randoms(use_true_random=False))
def test_the_order_of_the_training_points_does_not_matter(problem, loss, t, random):
    order = list(range(len(problem["y"])))
    random.shuffle(order)
    dynamics = solved(problem, loss)
    shuffled = KernelDynamics(
        problem["k"][order][:, order], problem["y"][order], problem["f0"][order], loss=loss
    )
    close = tolerance(problem["y"], problem["f0"])
    torch.testing.assert_close(shuffled.train(t), dynamics.train(t)[order], **close)


@given(regressions(), losses, st.floats(0, 20), st.floats(0, 20))
def test_flow_may_be_interrupted_and_resumed(problem, loss, first, second):
    dynamics = solved(problem, loss)
    scale = 1 / max(float(dynamics.eigenvalues[-1]), 1e-300)
    first, second = first * scale, second * scale
    middle = dynamics.train(first)
    resumed = KernelDynamics(problem["k"], problem["y"], middle, loss=loss).train(second)
    close = tolerance(problem["y"], problem["f0"])
    torch.testing.assert_close(resumed, dynamics.train(first + second), **close)


@given(regressions(), losses, st.integers(0, 50), st.integers(0, 50), st.floats(0.01, 0.99))
def test_descent_may_be_interrupted_and_resumed(problem, loss, first, second, share):
    dynamics = solved(problem, loss)
    rate = share * min(dynamics.max_learning_rate, 1e9)
    middle = dynamics.train_steps(first, rate)
    resumed = KernelDynamics(problem["k"], problem["y"], middle, loss=loss)
    close = tolerance(problem["y"], problem["f0"])
    torch.testing.assert_close(
        resumed.train_steps(second, rate), dynamics.train_steps(first + second, rate), **close
    )


@given(regressions(), losses, st.floats(0.01, 3.0))
def test_one_step_is_the_kernel_times_the_residual(problem, loss, share):
    dynamics = solved(problem, loss)
    rate = share * min(dynamics.max_learning_rate, 1e9)
    wrong = problem["f0"] - problem["y"]
    scale = 1 / len(wrong) if loss == "mean" else 1.0
    size = tolerance(problem["y"], problem["f0"])
    wanted = problem["f0"] - rate * scale * (problem["k"] @ wrong)
    torch.testing.assert_close(dynamics.train_steps(1, rate), wanted, **size)
    wanted = problem["f0_test"] - rate * scale * (problem["k_test"] @ wrong)
    found = dynamics.test_steps(1, rate, problem["k_test"], problem["f0_test"])
    pulled = (rate * scale * problem["k_test"].abs() @ wrong.abs()).abs()
    torch.testing.assert_close(found, wanted, **tolerance(problem["f0_test"], pulled))


@given(regressions(dtype=st.just(torch.float64)), st.floats(0.01, 100))
def test_flow_is_the_matrix_exponential(problem, share):
    dynamics = solved(problem, "sum")
    t = share / max(float(dynamics.eigenvalues[-1]), 1e-300)
    wrong = problem["f0"] - problem["y"]
    wanted = problem["y"] + exponential(-t * problem["k"]) @ wrong
    torch.testing.assert_close(
        dynamics.train(t), wanted, **tolerance(problem["y"], problem["f0"], factor=1e5)
    )


@given(regressions(), losses, times)
def test_a_kernel_for_each_output_alone_is_the_coupled_kernel_times_the_identity(problem, loss, t):
    y, f0 = (problem[name].reshape(len(problem["y"]), -1) for name in ("y", "f0"))
    coupled = torch.einsum("ab,ij->abij", problem["k"], torch.eye(y.shape[1]).to(y))
    both = [KernelDynamics(kernel, y, f0, loss=loss).train(t) for kernel in (coupled, problem["k"])]
    torch.testing.assert_close(*both, **tolerance(y, f0))


@given(regressions(dtype=st.just(torch.float64)), losses, st.integers(-20, 20), times)
def test_a_kernel_twice_as_large_is_twice_as_fast(problem, loss, exponent, t):
    factor = 2.0**exponent
    scaled = KernelDynamics(factor * problem["k"], problem["y"], problem["f0"], loss=loss)
    close = tolerance(problem["y"], problem["f0"])
    torch.testing.assert_close(scaled.train(t), solved(problem, loss).train(factor * t), **close)


@given(regressions(), losses, times, parts)
def test_with_a_ridge_outputs_are_finite_and_never_farther_from_the_targets(problem, loss, t, part):
    y, f0 = problem["y"], problem["f0"]
    dynamics = solved(problem, loss, part)
    f = dynamics.train(t)
    assert torch.isfinite(dynamics.test(t, problem["k_test"], problem["f0_test"])).all()
    assert (f - y).norm() <= (f0 - y).norm() * (1 + 1e4 * torch.finfo(y.dtype).eps)
    stopped = solved(problem, loss).train(t)
    room = 1e4 * torch.finfo(y.dtype).eps * ((f0 - y).norm() + y.norm())
    assert (f - f0).norm() <= (stopped - f0).norm() + room  # a ridge holds back


@given(regressions(dtype=st.just(torch.float64)), st.floats(0.01, 100), st.floats(0.01, 100))
def test_flow_with_a_ridge_decays_to_its_rest_as_the_matrix_exponential(problem, share, part):
    k, y, f0 = (problem[name] for name in ("k", "y", "f0"))
    size = float(torch.linalg.eigvalsh(k)[-1])
    t, rho = share / size, part * size
    pulled = k + rho * torch.eye(len(k)).to(k)
    rest = f0 + k @ torch.linalg.solve(pulled, y - f0)
    wanted = rest + exponential(-t * pulled) @ (f0 - rest)
    dynamics = solved(problem, "sum", part)
    torch.testing.assert_close(dynamics.train(t), wanted, **tolerance(y, f0, factor=1e5))
    torch.testing.assert_close(dynamics.train(math.inf), rest, **tolerance(y, f0, factor=1e5))


@given(regressions(dtype=st.just(torch.float64)), losses, st.integers(-20, 20), times, parts)
def test_kernel_and_ridge_twice_as_large_are_twice_as_fast(problem, loss, exponent, t, part):
    factor = 2.0**exponent
    faster = {**problem, "k": factor * problem["k"]}
    close = tolerance(problem["y"], problem["f0"])
    found = solved(faster, loss, part).train(t)
    torch.testing.assert_close(found, solved(problem, loss, part).train(factor * t), **close)


@given(regressions(dtype=st.just(torch.float64)), losses, parts, st.floats(0.01, 3.0))
def test_two_steps_with_a_ridge_are_two_pulls(problem, loss, part, share):
    y, f0 = problem["y"], problem["f0"]
    rho = part * float(torch.linalg.eigvalsh(problem["k"])[-1])
    dynamics = solved(problem, loss, part)
    rate = share * min(dynamics.max_learning_rate, 1e9)
    scale = rate / len(y) if loss == "mean" else rate
    f = f0 - scale * (problem["k"] @ (f0 - y))  # no pull yet: nothing has moved
    f = f - scale * (problem["k"] @ (f - y) + rho * (f - f0))
    torch.testing.assert_close(dynamics.train_steps(2, rate), f, **tolerance(y, f0, factor=1e5))


@given(regressions(), losses, st.integers(1, 10**6), st.floats(1.01, 1e6), parts)
def test_above_the_largest_rate_outputs_may_overflow_but_are_never_nan(
    problem, loss, k, share, part
):
    dynamics = solved(problem, loss, part)
    rate = share * min(dynamics.max_learning_rate, 1e9)
    assert not dynamics.train_steps(k, rate).isnan().any()
    assert not dynamics.test_steps(k, rate, problem["k_test"], problem["f0_test"]).isnan().any()


@given(points(scale=st.sampled_from([1e-2, 1.0, 1e2])), designs(most=10.0), seeds, times, losses)
def test_the_outputs_of_wide_networks_are_a_gaussian_at_every_time(x, design, seed, t, loss):
    x = x[: max(1, len(x) // 2)]
    y, x_test = (
        normal(n, *shape, seed=seed).to(x) for n, shape in ((len(x), ()), (3, x.shape[1:]))
    )
    mean, cov = ntk.wide_ensemble(x, y, x_test.to(x), t, loss=loss, **design)
    assert torch.isfinite(mean).all()
    assert torch.equal(cov, cov.mT)
    prior = ntk.wide_ensemble(x, y, x_test.to(x), 0.0, loss=loss, **design)
    assert not prior.mean.any()
    torch.testing.assert_close(prior.cov, ntk.infinite_kernels(x_test.to(x), **design).nngp)
    kernels = ntk.infinite_kernels(torch.cat([x_test.to(x), x]), **design)
    a = KernelDynamics(kernels.ntk[3:, 3:], y, loss=loss).smoother(t, kernels.ntk[:3, 3:])
    size = (1 + a.abs().sum(1).max()) ** 2 * kernels.nngp.abs().max()
    assert torch.linalg.eigvalsh(cov.double())[0] >= -100 * torch.finfo(x.dtype).eps * size
