"""The numbers behind lesson 07's explorers agree with real runs and with the kernel's forecast."""

import pytest
import torch

import ntk_helpers as ntk
from ntk_helpers.classroom.exercises import lesson_07 as exercises
from ntk_helpers.classroom.explore import lesson_07, lesson_07_steps


def _linear_network(width, seed=0):
    """Return u and v, (width,) each, with ‖u‖² + ‖v‖² = width and u·v = √width: λ = f = 1."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, width, generator=generator, dtype=torch.float64)
    a = a / a.norm()
    b = b - (a @ b) * a
    b = b / b.norm()
    half = torch.tensor(width / 2, dtype=torch.float64)
    angle = torch.asin(2 / torch.tensor(width, dtype=torch.float64).sqrt())
    return half.sqrt() * a, half.sqrt() * (angle.sin() * a + angle.cos() * b)


@pytest.mark.parametrize("rate", [0.5, 1.9, 2.5, 3.5])
def test_two_numbers_follow_a_linear_network_step_by_step(rate):
    width = 1000
    u, v = _linear_network(width)
    sizes, curvature = lesson_07_steps.catapult(rate, width, 40)
    for size, eta_lambda in zip(sizes, curvature, strict=True):
        f = u @ v / width**0.5
        assert torch.allclose(f.abs(), size, rtol=1e-6, atol=1e-9)
        assert torch.allclose(rate * (u @ u + v @ v) / width, eta_lambda, rtol=1e-6)
        push = rate * f / width**0.5
        u, v = u - push * v, v - push * u


@pytest.mark.parametrize("target", [0.0, 1.5])
def test_the_checker_of_the_catapult_knows_the_step_of_a_linear_network(target):
    width, rate = 50, 1.3
    u, v = _linear_network(width)
    f = (u @ v / width**0.5).item()
    expected = exercises._step(f, 1.0, target, rate, width)
    push = rate * (f - target) / width**0.5
    u, v = u - push * v, v - push * u
    measured = [(u @ v / width**0.5).item(), ((u @ u + v @ v) / width).item()]
    assert measured == pytest.approx(expected, rel=1e-9)


def test_below_the_limit_a_wide_kernel_stays_and_above_it_none_does():
    for width in (100, 10_000, 100_000):
        assert lesson_07_steps.catapult(2.5, width)[1][-1] < 2
    assert lesson_07_steps.catapult(1.5, 100_000)[1][-1] == pytest.approx(1.5, rel=1e-3)


def test_the_network_of_the_explorer_starts_at_zero():
    x, _ = lesson_07._points()
    assert lesson_07._start(16)(x).abs().max() < 1e-6


def test_a_lazy_run_predicts_what_its_kernel_predicts_after_as_many_steps():
    run = lesson_07.train_features(32, 8.0)
    x, y = lesson_07._points()
    x, x_test, y = x[:200], x[200:], y[:200]
    network = lesson_07._start(32)
    dynamics = ntk.KernelDynamics(ntk.empirical_ntk(network, x, outputs="trace"), y)
    towards = ntk.empirical_ntk(network, x_test, x, outputs="trace")
    rate = 0.2 * dynamics.max_learning_rate
    forecast = dynamics.test_steps(lesson_07.STEPS, rate, towards)
    assert (run.trained - forecast).norm() < 0.05 * forecast.norm()
    assert run.drift < 0.02
    assert run.error > 0.99 * run.kernel_error


def test_a_rich_run_moves_its_kernel_and_beats_it():
    run = lesson_07.train_features(32, 0.125)
    assert run.drift > 1
    assert run.error < run.kernel_error / 10
    share = (run.trained - run.y_test).square().mean() / run.y_test.square().mean()
    assert run.error == pytest.approx(share.item(), rel=1e-5)
