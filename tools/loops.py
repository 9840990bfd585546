"""Draw three short animations from the course's own functions: motion without a click.

python tools/loops.py                  all three, into images/loops/
python tools/loops.py forecast         the one of that name
python tools/loops.py --to DIR         somewhere else

Each loop is NAME.gif, and NAME.png is its most telling frame. GIF, since every code host and every
notebook plays it from a Markdown image; WebP, which not all of them do, would save a quarter. The
corners are transparent: a white card on a dark page. Networks, seeds and rates are those of lessons
00, 05 and 07 (the latter without mirrored units).
"""

import argparse
import copy
import io
import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for who runs this file

import ntk_helpers as ntk
from ntk_helpers._progress import tqdm

WIDTH, HEIGHT, RADIUS, INKS = 720, 480, 18, 63  # pixels, and the number of colours
GREY, COLORS = "#595959", ntk.plots.COLORS
MODE_INKS = [GREY, *(COLORS[c] for c in ("pink", "orange", "sky", "green", "red", "blue"))]
GHOSTS = (50, 500, 5000)  # steps whose forecasts are drawn before training
ALPHAS = {"lazy": 8.0, "rich": 1 / 8}
CAPTIONS = {
    "forecast": "Three dashed curves are drawn before training: the forecast for steps 50, 500 and "
    "5,000. Then the network trains, and its curve runs onto each of them in turn.",
    "modes": "Seven bars show how much is left of a network's mistake in each mode of the kernel. "
    "Smooth modes die first, jagged ones last, and each bar falls with the line that the formula "
    "sets. Beside them, the network's curve takes the trend of the data first, the details last.",
    "lazy_and_rich": "The hidden units of two networks that differ in the scale of the output. In "
    "the lazy one they hardly move; in the rich one some turn to the one input of twenty that "
    "counts. Both learn their training examples, but only the rich one is right about new ones.",
}


class Run(NamedTuple):
    """A network on lesson 00's seven points, beside what its kernel at the start says."""

    points: ntk.data.Curve
    line: Tensor  # (131,) inputs between and beyond the points
    step: Tensor  # (T,) steps taken, 0 first
    seen: Tensor  # (T, 131) the network's predictions on the line
    told: Tensor  # (T, 131) the forecast of them
    gap: Tensor  # (T,) their largest distance, over the farthest that any prediction has moved
    shapes: Tensor  # (7, 7) eigenvectors of the kernel in rows, slowest mode first
    left: Tensor  # (T, 7) share of each mode's mistake that the network has left
    left_told: Tensor  # (T, 7) that of the formula, e^{−λt/N}


class Units(NamedTuple):
    """A lazy and a rich network on lesson 07's target, which looks at one input of twenty."""

    step: Tensor  # (T,) steps taken, 0 first
    counts: Tensor  # (T, 2, 64) each hidden unit's weight on the input that counts
    others: Tensor  # (T, 2, 64) the length of its weights on the nineteen others
    errors: Tensor  # (T, 2, 2) training and test error, over the mean square of the targets
    drift: Tensor  # (T, 2) ‖K − K_0‖ / ‖K_0‖


def spaced(first: int, last: int, count: int) -> list[int]:
    """Return at most `count` whole numbers from `first` to `last`, in ratios nearly even."""
    return sorted({round(first * (last / first) ** (i / (count - 1))) for i in range(count)})


def train_wide(seed: int, learning_rate: float, marks: list[int]) -> Run:
    """Train a network of width 4,096, and forecast it at the steps `marks`."""
    points, line = ntk.data.wavy_curve(7), torch.linspace(-1.3, 1.3, 131)[:, None]
    network = ntk.MLP(1, 4096, activation="erf", sigma_w=3.0, sigma_b=1.0, seed=seed)
    start, start_line = network(points.x)[:, 0].detach(), network(line)[:, 0].detach()
    kernel = ntk.empirical_ntk(network, points.x, outputs="trace")
    kernel_line = ntk.empirical_ntk(network, line, points.x, outputs="trace")
    flow = ntk.KernelDynamics(kernel, points.y, start)
    plan = {"learning_rate": learning_rate, "steps": marks[-1], "record_at": [0, *marks]}
    run = ntk.train_ensemble([network], *points, **plan, x_test=line)
    seen, told = run.test_outputs[:, 0], flow.test(run.time, kernel_line, start_line)
    gap = (seen - told).abs().amax(1) / (seen - seen[0]).abs().amax(1).clamp(min=1e-9)
    left = (run.outputs[:, 0] - points.y) @ flow.eigenvectors / flow.modes(0.0)
    modes = flow.eigenvectors.T, left, flow.modes(run.time) / flow.modes(0.0)
    return Run(points, line[:, 0], run.step, seen, told, gap, *modes)


def forecast_numbers() -> Run:
    """Return the run of lesson 00, section 1."""
    return train_wide(seed=1, learning_rate=0.002, marks=sorted({*spaced(1, 5000, 72), *GHOSTS}))


def mode_numbers() -> Run:
    """Return the first run of lesson 05, section 2, with 3,000 steps more."""
    return train_wide(seed=0, learning_rate=0.01, marks=spaced(1, 8000, 80))


def examples(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return normal inputs (count, 20), and targets that look at the first one only."""
    x = torch.randn(count, 20, generator=ntk.generator(seed))
    return x, (x[:, 0].abs() - math.sqrt(2 / math.pi)) / math.sqrt(1 - 2 / math.pi)


def train_units(alpha: float, marks: list[int]) -> list[Tensor]:
    """Train F = α (f − f_0), as in lesson 07; return what `Units` holds of it after `step`."""
    (x, y), _ = known = examples(200, 0), examples(500, 100)
    network = ntk.MLP(20, 64, activation="gelu", sigma_b=0.5, seed=0)
    start, record = copy.deepcopy(network).requires_grad_(False), []
    kernel = ntk.empirical_ntk(network, x, outputs="trace")
    rate = 0.2 * ntk.KernelDynamics(kernel, y).max_learning_rate
    for before, step in pairwise([0, 0, *marks]):
        plan = {"learning_rate": rate, "steps": step - before, "progress": False}
        ntk.train_ensemble([network], x, start(x)[:, 0] + y / alpha, **plan)
        with torch.no_grad():
            found = [alpha * (network(a) - start(a))[:, 0] - b for a, b in known]
            errors = [each.norm() / b.norm() for each, (_, b) in zip(found, known, strict=True)]
        weight = network.layers[0].weight.detach()
        drift = ntk.kernel_drift(ntk.empirical_ntk(network, x, outputs="trace"), kernel)
        lengths = weight[:, 0].clone(), weight[:, 1:].norm(dim=1)
        record.append((*lengths, torch.stack(errors).square(), torch.tensor(drift)))
    return [torch.stack(part) for part in zip(*record, strict=True)]


def unit_numbers() -> Units:
    """Return the lazy and the rich network, seen at the same steps."""
    marks = spaced(4, 4000, 66)
    both = zip(*(train_units(alpha, marks) for alpha in ALPHAS.values()), strict=True)
    return Units(torch.tensor([0, *marks]), *(torch.stack(pair, dim=1) for pair in both))


def card(headline: str, subline: str, color: str) -> Figure:
    """Return a figure with two lines of text at its top, the second one in a colour."""
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), layout="none")
    figure.text(0.04, 0.955, headline, fontsize=20, va="top", weight="bold")
    figure.text(0.04, 0.855, subline, fontsize=17, va="top", color=color)
    return figure


def plain_axes(figure: Figure, place: tuple, **limits: tuple) -> Axes:
    """Return axes at a place of the figure, without frame and ticks."""
    ax = figure.add_axes(place, **limits)
    ax.axis("off")
    return ax


def draw_curve(ax: Axes, run: Run, row: int) -> None:
    """Draw the network's curve over the one it had at the start, and the points."""
    ax.plot(run.line, run.seen[0], "-", color="0.8", lw=3)
    ax.plot(run.line, run.seen[row], "-", color=COLORS["sky"], lw=8)
    ax.plot(*run.points, "o", color="black", ms=10, zorder=3)


def draw_forecast(run: Run, row: int, ghosts: float = len(GHOSTS)) -> Figure:
    """Draw the network after `step[row]` steps, and its forecasts, the first `ghosts` of them."""
    step, red = int(run.step[row]), COLORS["red"]
    truth = f"off by {100 * run.gap[row]:.1f} % of the way" if step else "made before training"
    figure = card(f"Step {step:,} of 5,000", f"dashed: the forecast, {truth}", red)
    ax = plain_axes(figure, (0.03, 0.02, 0.74, 0.79), xlim=(-1.33, 1.33), ylim=(-1.4, 2.7))
    draw_curve(ax, run, row)
    for i, ghost in enumerate(GHOSTS):
        told, alpha = run.told[run.step == ghost][0], 0.4 if ghost < step else 1
        drawn = round(len(told) * min(max(ghosts - i, 0), 1))
        ax.plot(run.line[:drawn], told[:drawn], "--", color=red, lw=3, alpha=alpha)
        if drawn == len(told):
            name = f" step {ghost:,}" + " ✓" * (ghost <= step)
            ax.text(run.line[-1], told[-1], name, fontsize=17, va="center", color=red)
    return figure


def draw_modes(run: Run, row: int) -> Figure:
    """Draw what is left of each mode after `step[row]` steps, beside the curve."""
    words = "bars: the network's mistakes, lines: the formula"
    figure = card(f"Step {run.step[row]:,} of 8,000", words, GREY)
    ax = plain_axes(figure, (0.02, 0.02, 0.52, 0.76), xlim=(6.6, -0.6), ylim=(-0.62, 1.05))
    ax.bar(range(7), run.left[row].tolist(), width=0.72, color=MODE_INKS)
    for place, ink in enumerate(MODE_INKS):
        ax.plot([place - 0.43, place + 0.43], [run.left_told[row, place]] * 2, "k-", lw=3)
        shape = 0.16 * run.shapes[place] - 0.25
        ax.plot(place - 0.36 * run.points.x, shape, "-", color=ink, lw=3)
    style = {"fontsize": 17, "va": "top", "color": GREY}
    ax.text(6.4, -0.45, "smooth: fast", **style)
    ax.text(-0.4, -0.45, "jagged: slow", ha="right", **style)
    ax = plain_axes(figure, (0.57, 0.06, 0.41, 0.72), xlim=(-1.33, 1.33), ylim=(-2.5, 1.8))
    draw_curve(ax, run, row)
    return figure


def draw_units(units: Units, row: int) -> Figure:
    """Draw units, errors and drift of both networks after `step[row]` steps."""
    words = "needles: where each hidden unit looks"
    figure = card(f"Step {units.step[row]:,} of 4,000", words, GREY)
    now = (part[row] for part in units[1:])
    for x, name, *state in zip((0.04, 0.53), ALPHAS, *now, strict=True):
        figure.text(x, 0.76, name, fontsize=20, weight="bold", va="top")
        ax = plain_axes(figure, (x, 0.41, 0.44, 0.35), xlim=(-18, 18), ylim=(-0.2, 7.2))
        draw_needles(ax, *state[:2])
        ax = plain_axes(figure, (x, 0.03, 0.44, 0.28), xlim=(0, 1), ylim=(-2.5, 0.5))
        draw_errors(ax, *state[2:])
    return figure


def draw_needles(ax: Axes, counts: Tensor, others: Tensor) -> None:
    """Draw weights as needles, in another colour where the input that counts has more than half."""
    for turned, thread, head in [(False, "sky", "blue"), (True, "orange", "red")]:
        tips = [part[(counts.abs() > others) == turned] for part in (counts, others)]
        ax.plot(*(torch.stack([0 * tip, tip]) for tip in tips), "-", color=COLORS[thread], lw=2)
        ax.plot(*tips, "o", color=COLORS[head], ms=8, mec="white", mew=0.8)
    ax.axhline(0, color=GREY, lw=1)
    style = {"fontsize": 16, "color": GREY, "va": "top"}
    ax.text(0, -0.5, "← the input that counts →", ha="center", **style)
    ax.text(18, 7.2, "19 others ↑", ha="right", **style)


def draw_errors(ax: Axes, errors: Tensor, drift: Tensor) -> None:
    """Draw training and test error as bars, and the drift in words."""
    bars = {"training error": "pink", "test error": "green"}
    for at, (name, ink), error in zip((0, -1), bars.items(), errors.tolist(), strict=True):
        ax.text(0, at, name, fontsize=17, va="center")
        ax.barh(at, 0.25 * error, left=0.53, height=0.6, color=COLORS[ink])
        ax.text(0.55 + 0.25 * error, at, f"{100 * error:.0f} %", fontsize=17, va="center")
    ax.text(0, -2, f"kernel moved by {100 * drift:.0f} %", fontsize=17, va="center")


LOOPS = {  # name → what is drawn, how, and which frame is the still picture
    "forecast": (forecast_numbers, draw_forecast, -1),
    "modes": (mode_numbers, draw_modes, 38),
    "lazy_and_rich": (unit_numbers, draw_units, -1),
}


def reel(name: str, steps: list[int]) -> list[tuple[tuple, int]]:
    """Return what is shown in each frame, after the numbers, and for how many milliseconds."""
    rest, before = {0: 800, steps[-1]: 1500}, []
    if name == "forecast":
        rest |= dict.fromkeys(GHOSTS[:-1], 400)
        before = [((0, eighth / 8), 50 if eighth else 700) for eighth in range(24)]
    return before + [((row,), rest.get(step, 50)) for row, step in enumerate(steps)]


def cards(pictures: list[Image.Image]) -> list[Image.Image]:
    """Return the pictures in one palette, not dithered, with transparent corners."""
    sheet = Image.fromarray(np.concatenate([np.asarray(each) for each in pictures[::6]]))
    palette = sheet.quantize(INKS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    corners = Image.new("1", (WIDTH, HEIGHT), 1)
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, WIDTH - 1, HEIGHT - 1), RADIUS, fill=0)
    frames = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in pictures]
    for frame in frames:
        frame.putpalette([*frame.getpalette()[: 3 * INKS], 255, 255, 255])
        frame.paste(INKS, mask=corners)
    return frames


def make(name: str, folder: Path) -> None:
    """Write a loop and its still picture into a folder."""
    numbers, draw, still = LOOPS[name]
    run = numbers()
    shown, times = zip(*reel(name, run.step.tolist()), strict=True)
    pngs = [ntk.plots.quick_png(draw(run, *what)) for what in tqdm(shown, desc=name)]
    frames = cards([Image.open(io.BytesIO(png)).convert("RGB") for png in pngs])
    moving = {"save_all": True, "append_images": frames[1:], "duration": times, "loop": 0}
    file = folder / f"{name}.gif"
    frames[0].save(file, transparency=INKS, **moving)
    frames[still].save(file.with_suffix(".png"), transparency=INKS, optimize=True)
    print(f"{file} ({len(frames)} frames, {file.stat().st_size / 1e6:.2f} MB)", flush=True)


def main() -> None:
    """Make the loops that the command line names."""
    parser = argparse.ArgumentParser(description="Draw the course's animations.")
    parser.add_argument("name", nargs="*", default=[*LOOPS], help="which; all if none")
    folder = Path(__file__).resolve().parent.parent / "images" / "loops"
    parser.add_argument("--to", type=Path, default=folder, metavar="DIR")
    asked = parser.parse_args()
    if unknown := set(asked.name) - set(LOOPS):
        parser.error(f"there is no {min(unknown)}, but {', '.join(LOOPS)}")
    ntk.setup()
    asked.to.mkdir(parents=True, exist_ok=True)
    for name in asked.name:
        make(name, asked.to)


if __name__ == "__main__":
    main()
