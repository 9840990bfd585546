"""Explore where a constant kernel fails: the scale of the output, the size of the step."""

import math
from functools import cache
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ntk_helpers import _dice
from ntk_helpers.classroom.explore._explorer import Explorer
from ntk_helpers.classroom.plots import COLORS, to_numpy
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.networks import MLP
from ntk_helpers.theory.dynamics import KernelDynamics
from ntk_helpers.theory.lazy import kernel_drift
from ntk_helpers.training.ensemble import train_ensemble

PLACE = {"device": "cpu", "dtype": torch.float32}
INPUTS, POINTS, TEST_POINTS, STEPS = 20, 200, 400, 400
WIDTHS = [16, 32, 64, 128]
ALPHAS = [8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125]


class FeatureRun(NamedTuple):
    """A network α f, trained on a target that looks at one input of twenty.

    Attributes:
        x_test: (400,) the input that matters.
        y_test: (400,) targets.
        trained: (400,) predictions of the trained network.
        error: Its mean square error over the mean square of y_test: 1 knows nothing.
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


def _against_alpha(ax: Axes, values: list[float], here: int, ticks: list[float]) -> None:
    """Draw positive values over α on log scales, the one at index `here` marked.

    The logarithms are taken here: matplotlib's own log axes cost half of a slider's time.
    """
    across, up = [math.log10(a) for a in ALPHAS], [math.log10(value) for value in values]
    ax.plot(across[here], up[here], "o", color=COLORS["orange"], markersize=15)
    ax.plot(across, up, "o-", color=COLORS["blue"])
    ax.set_xticks(across, ["8", "4", "2", "1", "½", "¼", "⅛"])
    ax.set_yticks([math.log10(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    ax.set_xlabel("α (lazy to the right)")


def draw_features(width: int, alpha: float) -> Figure:
    """Return the picture of one run among those of its width: predictions, test error, drift."""
    runs = [train_features(width, a) for a in ALPHAS]
    here = ALPHAS.index(alpha)
    run = runs[here]
    figure = Figure(figsize=(10.4, 3.8), layout="none")
    cloud, error, drift = (figure.add_axes((x, 0.17, 0.25, 0.68)) for x in (0.07, 0.405, 0.735))
    cloud.plot(to_numpy(run.x_test), to_numpy(run.trained), ".", color=COLORS["sky"])
    order = run.x_test.argsort()
    cloud.plot(to_numpy(run.x_test[order]), to_numpy(run.y_test[order]), "--", color=COLORS["red"])
    cloud.set(xlabel="x₁, the input that counts", ylabel="prediction", xlim=(-3, 3), ylim=(-2.5, 4))
    cloud.set_title(f"width {width}, α = {alpha:g}")
    _against_alpha(error, [r.error for r in runs], here, [0.01, 0.03, 0.1, 0.3, 1])
    error.axhline(math.log10(run.kernel_error), color=COLORS["black"], linestyle=":")
    error.text(-0.9, math.log10(run.kernel_error), "its kernel, at best", va="bottom", fontsize=11)
    error.set(ylim=(-2.3, 0.25), title=f"test error {run.error:.2f}")
    _against_alpha(drift, [r.drift for r in runs], here, [0.001, 0.01, 0.1, 1, 10])
    drift.set(ylim=(-3.2, 1.2), title=f"kernel moved by {run.drift:.1%}")
    return figure


def features_by_scale() -> Explorer:
    """Return the explorer: width and output scale α against test error and drift of the kernel."""
    return Explorer(
        "width and output scale against test error and drift of the kernel",
        draw_features,
        {"width": WIDTHS, "alpha": ALPHAS},
        start={"width": 64, "alpha": 0.125},
    )


RATES = [0.5, 1.0, 1.5, 1.9, 2.1, 2.5, 3.0, 3.5, 3.9, 3.99]


@cache
def catapult(rate: float, width: int, steps: int = 120) -> tuple[Tensor, Tensor]:
    """Return |f| and ηλ, (steps + 1,) each, of f = u·v/√n on the target 0; ηλ starts at `rate`.

    Source: Lewkowycz, Bahri, Dyer, Sohl-Dickstein, Gur-Ari 2020, arXiv:2003.02218, section 2.
    """
    f, lam = 1.0, 1.0
    path = [(f, lam)]
    for _ in range(steps):
        push = rate * f**2 / width
        f, lam = f * (1 - rate * lam + rate * push), lam + push * (rate * lam - 4)
        path.append((f, lam))
    size, kernel = torch.tensor(path, dtype=torch.float64).T
    return size.abs(), rate * kernel


def draw_catapult(rate: float, width: int) -> Figure:
    """Return the picture of one run: the loss, and the curvature ηλ against its limit 2."""
    size, curvature = catapult(rate, width)
    figure = Figure(figsize=(9.6, 4.0), layout="none")
    left, right = (figure.add_axes((x, 0.16, 0.38, 0.72)) for x in (0.1, 0.6))
    left.plot(to_numpy((size**2 / 2).clamp(min=1e-13).log10()), color=COLORS["blue"])
    left.set_yticks([-12, -8, -4, 0, 4], ["10⁻¹²", "10⁻⁸", "10⁻⁴", "1", "10⁴"])
    left.set(xlabel="step k", ylabel="loss", ylim=(-12, 6), title=f"η = {rate:g} / λ₀")
    right.axhline(2, color=COLORS["black"], linestyle=":")
    right.text(118, 2.05, "limit", ha="right", va="bottom", fontsize=12)
    right.plot(to_numpy(curvature), color=COLORS["red"])
    moved = 1 - curvature[-1].item() / rate
    right.set(xlabel="step k", ylabel="η λ", ylim=(0, 4.3), title=f"the kernel fell by {moved:.0%}")
    return figure


def large_steps() -> Explorer:
    """Return the explorer: learning rate and width of the smallest network that catapults."""
    return Explorer(
        "learning rate and width of the smallest network that catapults",
        draw_catapult,
        {"rate": RATES, "width": [10, 100, 1000, 10000, 100000]},
        start={"rate": 3.0, "width": 1000},
    )
