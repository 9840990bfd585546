"""Measure how the move of the kernel depends on the width, in every set-up that a lesson speaks of.

For each row (a set-up), width and draw: K on the training points before and after training, and
ntk.kernel_change of the two, that is ‖K − K_0‖/‖K_0‖ (the drift), ‖K‖/‖K_0‖ and the cosine between
K and K_0. Printed are the exponent p of drift ~ n^p over all widths, and the local one, over the
widths from an eighth of the largest on. Each draw gives an exponent of its own; the table has their
mean ± 2.26 standard errors (Student's t for ten draws, 95 %).

About 75 minutes on one core, 25 of them for width 12,500 of "pinn ntk". The results go to
benchmarks/results/drift.json after every width: an interrupted run goes on, and a complete one only
prints its table, for the widths up to --largest. To measure a row again, give another --out.

Run: python benchmarks/drift.py ["erf, x1x2" jacot …] [--draws 10] [--largest 65536] [--out FILE]
"""

import argparse
import json
import math
import platform
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pinn
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import ntk_helpers as ntk

RESULTS = Path(__file__).parent / "results" / "drift.json"
NUMBERS = ("drift", "norm_ratio", "cosine")


def trained(network, x, y, rate, steps=400):
    """Return the change of the kernel, None if training diverges; η = rate(width, 2N/λ_max)."""
    K_0 = ntk.empirical_ntk(network, x, outputs="trace")
    eta = rate(network.width, ntk.KernelDynamics(K_0, y).max_learning_rate)
    run = {"learning_rate": eta, "steps": steps, "record_at": [steps], "progress": False}
    if ntk.train_ensemble([network], x, y, **run).diverged.any():
        return None
    return ntk.kernel_change(ntk.empirical_ntk(network, x, outputs="trace"), K_0)


def wave(width, seed, rate, *, y=lambda x: torch.sin(3 * x[:, 1]), **changes):
    """Train on sin 3x₂, or another y, at 16 points of the circle."""
    x = ntk.data.unit_circle(16).x
    shape = {"activation": "erf", "sigma_w": 1.5, "sigma_b": 0.1} | changes
    return trained(ntk.MLP(2, width, seed=seed, **shape), x, y(x), rate)


def product(width, seed, activation):
    """Train on x₁x₂ at the same points."""
    shape = {"activation": activation, "sigma_w": 1.0, "sigma_b": 1.0}
    return wave(width, seed, lambda *_: 0.3, y=lambda x: x[:, 0] * x[:, 1], **shape)


def jacot(width, seed, steps):
    """Train the network of Jacot et al. 2018, Fig. 1."""
    x = torch.randn(16, 2, generator=ntk.generator(1))
    shape = {"depth": 3, "activation": "relu", "sigma_w": 1.0, "sigma_b": 0.1, "seed": seed}
    return trained(ntk.MLP(2, width, **shape), x, x[:, 0] * x[:, 1], lambda *_: 1.0, steps)


def features(width, seed, power):
    """Train α f with α = n^power and f_0 = 0 on a target that looks at one of 20 inputs."""
    x = torch.randn(200, 20, generator=ntk.generator(seed))
    y = (x[:, 0].abs() - math.sqrt(2 / math.pi)) / math.sqrt(1 - 2 / math.pi)
    network, half = ntk.MLP(20, width, activation="gelu", sigma_b=0.5, seed=seed), width // 2
    first, last = network.layers
    with torch.no_grad():  # the second half of the units cancels the first
        first.weight[half:], first.bias[half:] = first.weight[:half], first.bias[:half]
        last.weight[:, half:] = -last.weight[:, :half]
        last.bias.zero_()
    return trained(network, x, y / width**power, lambda _, top: top / 5)  # the steps of α f on y


def poisson(width, seed, setup):
    """Train a PINN as benchmarks/pinn.py does."""
    history, _ = pinn.train(setup, width, seed, records=[0])
    ends = (history.kernels[i].full for i in (-1, 0))
    return None if history.diverged else ntk.kernel_change(*ends)


ERF = "erf, σ_w 1.5, σ_b 0.1, 16 points of the circle, sin 3x₂, 400 steps, "
ONE, TWO = "one hidden layer, " + ERF, "two hidden layers, " + ERF
XY = "one hidden layer, σ_w = σ_b = 1, 16 points of the circle, x₁x₂, 400 steps, η = 0.3, "
JACOT = "three hidden ReLU layers, σ_w 1, σ_b 0.1, 16 points from N(0, 1), x₁x₂, 200 steps, η = 1"
V = "one hidden GELU layer, f_0 = 0, 200 points, |x₁| of 20 inputs, 400 steps, η = limit/5, "
PINN, STD = "PINN, one hidden tanh layer, sin πx, 10,000 steps, ", "standard parameterisation, "
WIDTHS, PINNS = [2**i for i in range(5, 17)], [10, 100, 500, 2500, 12500]
WIDE, DEEP, V_WIDTHS = WIDTHS[1:], WIDTHS[1:7], WIDTHS[:7]
two, standard = partial(wave, depth=2), partial(wave, parameterization="standard")
both = partial(standard, depth=2)
# Key → lesson, what it is, widths, and a function of width, seed and the last entry, which for most
# is η as a function of the width n and of `top`, the limit 2N/λ_max of the network at the start.
ROWS = {
    "erf": ("04", ONE + "η = 1", WIDE, wave, lambda n, top: 1.0),
    "erf, x1x2": ("04", XY + "erf", WIDE, product, "erf"),
    "relu, x1x2": ("04", XY + "ReLU", WIDE, product, "relu"),
    "standard, one hidden": ("04", ONE + STD + "η = 2/n", WIDE[:7], standard, lambda n, top: 2 / n),
    "standard, two hidden": ("04", TWO + STD + "η = 0.6/n", DEEP, both, lambda n, top: 0.6 / n),
    "erf two hidden": ("04", TWO + "η = 0.3", DEEP, two, lambda n, top: 0.3),
    "jacot": ("04", JACOT, [125, 250, 500, 1000, 2000], jacot, 200),
    "features, ntk scaling": ("07", V + "α = 1", V_WIDTHS, features, 0.0),
    "features, mean field": ("07", V + "α = 1/√n", V_WIDTHS, features, -0.5),
    "half the limit": ("07", TWO + "η = limit/2", DEEP, two, lambda n, top: top / 2),
    "1.5 times the limit": ("07", TWO + "η = 1.5 limit", DEEP, two, lambda n, top: 1.5 * top),
    "pinn text": ("06", PINN + "the paper's text", PINNS[:4], poisson, "text"),
    "pinn code": ("06", PINN + "the paper's program", PINNS[:4], poisson, "code"),
    "pinn ntk": ("06", PINN + "NTK parameterisation, inputs standardised", PINNS, poisson, "ntk"),
}


def table(rows, largest):
    """Print a line for each row: means over the draws, without those that diverged somewhere."""
    form = "{:21} {:>12} {:>19} {:>13} {:>13} {:>15} {:>19}".format
    print(form("", "widths", "drift", "exponent", "local", "norm ratio", "1 − cosine"))
    for key, row in rows.items():
        widths = np.array([n for n in row["widths"] if n <= largest])
        if len(widths) < 2:
            continue
        values = np.array([row[name] for name in NUMBERS], dtype=float)[:, : len(widths)]
        drift, ratio, cosine = values[..., np.isfinite(values).all((0, 1))]
        ends = [values.mean(1)[[0, -1]] for values in (drift, ratio, 1 - cosine)]
        cells = [f"{widths[0]} … {widths[-1]}", *(f"{a:.3g} → {b:.3g}" for a, b in ends)]
        for place, some in [(2, widths > 0), (3, widths >= min(widths[-1] / 8, widths[-2]))]:
            p = ntk.exponent(widths[some].tolist(), torch.from_numpy(drift[some].T))
            cells.insert(place, f"{p.mean():+.2f} ± {2.26 * p.std() / len(p) ** 0.5:.2f}")
        print(form(key, *cells))


def main():
    """Measure the rows that were asked for, and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("rows", nargs="*", help=f"{'; '.join(ROWS)}: all, if none is named")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--largest", type=int, default=max(WIDTHS), help="the largest width")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"unknown row(s) {sorted(unknown)}: choose from {'; '.join(ROWS)}")
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    results = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    results["command"] = "python benchmarks/drift.py"
    results["machine"] = f"one CPU core, {platform.system()}, torch {torch.__version__[:6]}"
    rows = results.setdefault("rows", {})
    for key in options.rows or ROWS:
        lesson, what, widths, function, how = ROWS[key]
        lists = {"widths": [], **{name: [] for name in NUMBERS}}
        row = rows.setdefault(key, {"lesson": lesson, "what": what, **lists, "diverged": 0})
        if row["drift"] and len(row["drift"][0]) != options.draws:
            parser.error(f"{key!r} is stored with {len(row['drift'][0])} draws: give another --out")
        for n in widths:
            if n <= options.largest and n not in row["widths"]:
                changes = [function(n, seed, how) for seed in range(options.draws)]
                row["widths"].append(n)
                row["diverged"] += changes.count(None)
                for name, start in {"drift": 0, "norm_ratio": 1, "cosine": 1}.items():
                    found = [change and getattr(change, name) - start for change in changes]
                    found = [v if v is None else start + float(f"{v:.4g}") for v in found]
                    row[name].append([v if v is None else round(v, 12) for v in found])
                pinn.save(results, options.out)
    table({key: rows[key] for key in options.rows or ROWS}, options.largest)


if __name__ == "__main__":
    main()
