"""Explore where a constant kernel fails: small scales of the output, which learn a feature."""

import math
from functools import cache
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers import _dice
from ntk_helpers.classroom.explore._control import Control, percent
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, to_numpy
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP
from ntk_helpers.theory.change import kernel_drift
from ntk_helpers.theory.dynamics import KernelDynamics
from ntk_helpers.training.ensemble import train_ensemble

PLACE = {"device": "cpu", "dtype": torch.float32}
INPUTS, POINTS, TEST_POINTS, STEPS = 20, 200, 400, 400
WIDTHS = [16, 32, 64, 128]
ALPHAS = {0.125: "⅛", 0.25: "¼", 0.5: "½", 1.0: "1", 2.0: "2", 4.0: "4", 8.0: "8"}


class FeatureRun(NamedTuple):
    """A network α f, trained on a target that looks at one input of twenty.

    Attributes:
        x_test: (400,) the input that matters.
        y_test: (400,) targets.
        trained: (400,) predictions of the trained network.
        error: Its mean square error over the mean square of y_test: 1 if nothing was learned.
        kernel_error: That of its kernel at the start, at the time that suits the kernel best.
        drift: ‖K_end − K_start‖ / ‖K_start‖.
    """

    x_test: Tensor
    y_test: Tensor
    trained: Tensor
    error: float
    kernel_error: float
    drift: float


@cache
def _points() -> tuple[Tensor, Tensor]:
    """Return (600, 20) normal inputs and (600,) targets |x₁|, scaled to mean 0 and variance 1."""
    x = torch.randn(POINTS + TEST_POINTS, INPUTS, generator=_dice.generator(0), **PLACE)
    return x, (x[:, 0].abs() - math.sqrt(2 / math.pi)) / math.sqrt(1 - 2 / math.pi)


def _start(width: int) -> MLP:
    """Return a network that is 0 everywhere: its second half is the first with opposite output."""
    network = MLP(INPUTS, width, activation="gelu", sigma_b=0.5, seed=0, **PLACE)
    first, last = network.layers
    half = width // 2
    with torch.no_grad():
        first.weight[half:], first.bias[half:] = first.weight[:half], first.bias[:half]
        last.weight[:, half:] = -last.weight[:, :half]
        last.bias.zero_()
    return network


@cache
def train_features(width: int, alpha: float) -> FeatureRun:
    """Return the run of one width and one α, always the same.

    Training α f on y with the rate η/α² takes the steps of f on y/α with the rate η.
    """
    (x, x_test), (y, y_test) = (part.split([POINTS, TEST_POINTS]) for part in _points())
    network = _start(width)
    kernel = empirical_ntk(network, x, outputs="trace")
    kernel_test = empirical_ntk(network, x_test, x, outputs="trace")
    flow = KernelDynamics(kernel, y)
    best = (flow.test(torch.logspace(-1, 6, 40), kernel_test) - y_test).square().mean(1).min()
    nothing = y_test.square().mean()
    history = train_ensemble(
        [network],
        x,
        y / alpha,
        learning_rate=0.2 * flow.max_learning_rate,
        steps=STEPS,
        record_at=[STEPS],
        x_test=x_test,
        progress=False,
    )
    trained = alpha * history.test_outputs[-1, 0]
    error = (trained - y_test).square().mean() / nothing
    drift = kernel_drift(empirical_ntk(network, x, outputs="trace"), kernel)
    return FeatureRun(x_test[:, 0], y_test, trained, float(error), float(best / nothing), drift)


class Features(NamedTuple):
    """One run, among those of its width.

    Attributes:
        width: Hidden units n.
        alpha: α.
        run: The run.
        errors: (7,) test errors of all α, ascending.
        drifts: (7,) drifts of all α, ascending.
    """

    width: int
    alpha: float
    run: FeatureRun
    errors: list[float]
    drifts: list[float]


def features_at(width: int, alpha: float) -> Features:
    """Return the run of one width and one α, among those of its width."""
    runs = [train_features(width, each) for each in ALPHAS]
    errors, drifts = [run.error for run in runs], [run.drift for run in runs]
    return Features(width, alpha, train_features(width, alpha), errors, drifts)


def _against_alpha(ax: Axes, values: list[float], alpha: float, ticks: list[float]) -> None:
    """Draw positive values over α on log scales, the one at `alpha` marked.

    The logarithms are taken here: matplotlib's own log axes cost half of a slider's time.
    """
    across, up = [math.log10(a) for a in ALPHAS], [math.log10(value) for value in values]
    here = list(ALPHAS).index(alpha)
    ax.plot(across[here], up[here], "o", color=COLORS["orange"], markersize=15)
    ax.plot(across, up, "o-", color=COLORS["blue"])
    ax.set_xticks(across, [*ALPHAS.values()])
    ax.set_yticks([math.log10(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    ax.set_xlabel("α (lazy to the right)")


def draw_features(now: Features) -> Figure:
    """Return the picture of one run among those of its width: predictions, test error, drift."""
    run = now.run
    figure = Figure(figsize=(10.4, 3.8), layout="none")
    cloud, error, drift = (figure.add_axes((x, 0.17, 0.25, 0.68)) for x in (0.07, 0.405, 0.735))
    cloud.plot(to_numpy(run.x_test), to_numpy(run.trained), ".", color=COLORS["sky"])
    order = run.x_test.argsort()
    cloud.plot(to_numpy(run.x_test[order]), to_numpy(run.y_test[order]), "--", color=COLORS["red"])
    cloud.set(xlabel="x₁, the input that counts", ylabel="prediction", xlim=(-3, 3), ylim=(-2.5, 4))
    cloud.set_title(f"width {now.width}, α = {ALPHAS[now.alpha]}")
    _against_alpha(error, now.errors, now.alpha, [0.01, 0.03, 0.1, 0.3, 1])
    error.axhline(math.log10(run.kernel_error), color=COLORS["black"], linestyle=":")
    error.text(-0.9, math.log10(run.kernel_error), "its kernel, at best", va="bottom", fontsize=11)
    error.set(ylim=(-2.3, 0.25), title=f"test error {run.error:.2f}")
    _against_alpha(drift, now.drifts, now.alpha, [0.001, 0.01, 0.1, 1, 10])
    drift.set(ylim=(-3.2, 1.2), title=f"kernel moved by {percent(run.drift)}")
    return figure


def say_features(now: Features) -> str:
    """Return what `draw_features` shows."""
    return (
        f"Width {now.width}, α = {ALPHAS[now.alpha]}: the test error is {now.run.error:.2f}, where "
        f"1 means that nothing was learned and its own kernel gets to {now.run.kernel_error:.2f} "
        f"at best; the kernel has moved by {percent(now.run.drift)} of itself."
    )


def features_by_scale() -> Explorer:
    """Return the explorer: width and output scale α against test error and drift of the kernel."""
    width = "The number of hidden units. How does the α where the cloud becomes a V depend on it?"
    alpha = "The factor before the output. Towards ⅛ the kernel moves, and the cloud becomes a V."
    return Explorer(
        "width and output scale against test error and drift of the kernel",
        draw_features,
        {
            "width": Control(WIDTHS, "width n", width),
            "alpha": Control(ALPHAS, "scale α", alpha, ALPHAS.get),
        },
        numbers=features_at,
        say=say_features,
        start={"width": 64, "alpha": 0.125},
        slow=("width",),
    )
