"""The numbers behind the explorers of lesson 04 are those of the course's own functions."""

import pytest
import torch

from ntk_helpers.classroom.explore import lesson_04, lesson_04_scale
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP
from ntk_helpers.theory.change import kernel_drift
from ntk_helpers.training.descent import gradient_descent


def test_wide_networks_follow_their_forecast_and_narrow_ones_do_not():
    gaps = {}
    for width in [8, 1024]:
        run = lesson_04.train_width(width)
        gaps[width] = (run.outputs - run.forecast).abs().amax()
    assert gaps[1024] < 0.05 < gaps[8]


def test_the_kernel_of_wide_networks_is_the_limit():
    for width, bound in [(32, 0.5), (1024, 0.15)]:
        start = lesson_04.train_width(width).kernel[0]
        error = (start - lesson_04.limit_kernel()).norm(dim=1) / lesson_04.limit_kernel().norm()
        assert error.mean() < bound


def test_the_points_stand_on_the_curve_of_a_wide_network():
    run = lesson_04.train_width(1024)
    angle = lesson_04.wrapped(lesson_04.DATA.angle)
    for point, target in zip(angle, lesson_04.Y, strict=True):
        near = (lesson_04.GRID.angle - point).abs().argmin()
        assert (run.outputs[-1, :, near] - target).abs().max() < 0.1


def test_forward_in_one_batch_is_the_network():
    net = MLP(2, 16, seed=0, **lesson_04.SETTING, **lesson_04.PLACE)
    theta = {n: p.detach().reshape(1, -1, p.shape[-1]) for n, p in net.named_parameters()}
    outputs = lesson_04_scale._outputs(theta, lesson_04.GRID.x)
    assert torch.allclose(outputs[0], net(lesson_04.GRID.x)[:, 0])


def test_scaled_networks_train_as_gradient_descent_would():
    class Scaled(torch.nn.Module):
        def __init__(self, alpha):
            super().__init__()
            self.net = MLP(2, 16, seed=0, **lesson_04.SETTING, **lesson_04.PLACE)
            self.alpha, self.start = alpha, self.net(lesson_04.DATA.x).detach()

        def forward(self, x):
            return self.alpha * (self.net(x) - self.start)

    alpha, rate = 0.25, lesson_04_scale.SCALED_RATE
    model = Scaled(alpha)
    before = empirical_ntk(model.net, lesson_04.DATA.x, outputs="trace")
    recipe = {"learning_rate": rate / alpha**2, "steps": round(10 / rate), "progress": False}
    gradient_descent(model, lesson_04.DATA.x, lesson_04.Y, **recipe)
    run = lesson_04_scale.train_scaled(16)
    at, a = lesson_04_scale.SCALED_TIMES.index(10), lesson_04_scale.ALPHAS.index(alpha)
    assert torch.allclose(run.units[at, a], model.net.layers[0].weight, rtol=1e-6)
    after = empirical_ntk(model.net, lesson_04.DATA.x, outputs="trace")
    assert run.drift[at, a].item() == pytest.approx(kernel_drift(after, before), rel=1e-5)


@pytest.mark.parametrize("width", lesson_04_scale.SMALL_WIDTHS)
def test_a_large_scale_is_lazy_and_a_small_one_rich(width):
    drift = lesson_04_scale.train_scaled(width).drift[-1]
    assert (drift.diff() < 0).all()
    assert drift[-1] < 0.01 < 1 < drift[0]
