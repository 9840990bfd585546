"""Time `empirical_ntk` against PyTorch's tutorial, neural-tangents and plain matrix products.

All in one run and in interleaved rounds; medians. Writes results/kernels.json and .png.
Run: python course.py bench kernels    (about 6 minutes on 2 cores, when nothing else runs)
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from _peers import NeuralTangents, tutorial_bytes, tutorial_contraction, tutorial_products
from torch import nn

mpl.use("Agg")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import ntk_helpers as ntk
from ntk_helpers.classroom.plots import COLORS, png

HERE = Path(__file__).resolve().parent
SHAPES = [
    (784, 512, 3, 1, 128),
    (784, 512, 3, 10, 64),
    (2, 2048, 2, 1, 64),
    (784, 1024, 3, 1, 1024),
]
METHODS = ["jacobian contraction", "NTK-vector products", "structured derivatives"]
LIMIT = 6e9  # bytes that a peer may hold
MEMORY = """
import sys, torch
import ntk_helpers as ntk

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

torch.set_default_dtype(torch.float32)
model = ntk.MLP(784, 1024, depth=3, activation="relu", seed=0)
x = torch.randn(int(sys.argv[1]), 784)
ntk.empirical_ntk(model, x[:64])
before = peak()
kernel = ntk.empirical_ntk(model, x)
print(peak() - before - kernel.nbytes / 2**20)
"""


def seconds(work):
    """Return the wall time of `work()`, or the one that it measured itself."""
    start = time.perf_counter()
    given = work()
    return given if isinstance(given, float) else time.perf_counter() - start


def medians(works, rounds):
    """Return the median time of each of `works`, run in turn; the slow ones in fewer rounds.

    Each timed call of a fast one follows an untimed one, so that no method finds the caches that
    another has left.
    """
    times = {name: [seconds(work), seconds(work)][1:] for name, work in works.items()}
    for turn in range(1, rounds):
        for name, work in works.items():
            if times[name][0] < 0.3:
                work()
            if turn < rounds * min(1, 0.3 / times[name][0]):
                times[name].append(seconds(work))
    return {name: statistics.median(values) for name, values in times.items()}


def flops(n_in, width, depth, k, n):
    """Return the operations of the layer-wise kernel of one square batch, its symmetry used."""
    hidden = n_in * width + (depth - 1) * width**2
    passes = 2 * n * (hidden + width * k) + 2 * n * k * (hidden - n_in * width + width)
    inner = n * (n + 1) * (n_in + depth * width)
    return passes + inner + n * k * (n * k + 1) * depth * width


def contestants(shape, jax, names=None):
    """Return what to time for a network of `shape`; only those `names`, if given."""
    n_in, width, depth, k, n = shape
    model = ntk.MLP(n_in, width, k, depth=depth, activation="relu", seed=0)
    x, needs = torch.randn(n, n_in), tutorial_bytes(model, n, n, k)
    works = {"ours": lambda: ntk.empirical_ntk(model, x)}
    peers = {"tutorial contraction": tutorial_contraction, "tutorial products": tutorial_products}
    for name, peer in peers.items():
        if needs[name] <= LIMIT:
            works[name] = lambda peer=peer: peer(model, x, x)
    for method in [] if jax.missing else METHODS:
        if method == METHODS[-1] or needs["tutorial contraction"] <= LIMIT:
            sizes = [n_in, *[width] * depth, k]
            works[method] = lambda method=method, sizes=sizes: jax.seconds(method, sizes, n)
    return {name: work for name, work in works.items() if names is None or name in names}


def table(jax, rounds):
    """Return the times of all methods on the four shapes, and on the tutorial's CNN."""
    a = torch.randn(1024, 1024)
    rows = []
    for shape in SHAPES:
        works = {"matmul": lambda: a @ a.T, **contestants(shape, jax)}
        times = medians(works, rounds)
        rate = 2 * 1024**3 / times.pop("matmul")
        rows.append(
            {
                "shape": shape,
                "seconds": times,
                "matmul_gflops": rate / 1e9,
                "share_of_matmul_rate": flops(*shape) / times["ours"] / rate,
            }
        )
        report(rows[-1])
    torch.manual_seed(0)
    cnn = nn.Sequential(
        *(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3)),
        *(nn.Flatten(), nn.Linear(26 * 26 * 32, 10)),
    )
    x1, x2 = torch.randn(20, 3, 32, 32), torch.randn(5, 3, 32, 32)
    works = {
        "ours": lambda: ntk.empirical_ntk(cnn, x1, x2),
        "tutorial contraction": lambda: tutorial_contraction(cnn, x1, x2),
        "tutorial products": lambda: tutorial_products(cnn, x1, x2),
    }
    rows.append({"shape": "the tutorial's CNN, 20 × 5 points", "seconds": medians(works, rounds)})
    report(rows[-1])
    return rows


def report(row):
    """Print one row of the table: our time, and how many times longer the others take."""
    times = row["seconds"]
    print(f"\n{row['shape']}: ours {1e3 * times['ours']:.1f} ms", end="")
    if "share_of_matmul_rate" in row:
        share, rate = row["share_of_matmul_rate"], row["matmul_gflops"]
        print(f", {share:.0%} of the rate of matrix products ({rate:.0f} GFLOP/s)", end="")
    print()
    for name, value in times.items():
        if name != "ours":
            print(f"    {name:<24} {value / times['ours']:8.1f} ×")


def growth(jax, rounds):
    """Return times by number of points, by width and by number of outputs."""
    names = ["ours", "tutorial contraction", "structured derivatives"]
    sweeps = {
        "points N": [(784, 512, 3, 1, n) for n in (16, 64, 256, 1024, 4096)],
        "width n": [(784, width, 3, 1, 64) for width in (64, 128, 256, 512, 1024, 2048)],
        "outputs k": [(784, 256, 3, k, 32) for k in (1, 2, 4, 8, 16, 32)],
    }
    axis = {"points N": 4, "width n": 1, "outputs k": 3}
    curves = {}
    for label, shapes in sweeps.items():
        curves[label] = {name: [] for name in names}
        for shape in shapes:
            for name, value in medians(contestants(shape, jax, names), rounds).items():
                curves[label][name].append((shape[axis[label]], value))
        curves[label] = {name: points for name, points in curves[label].items() if points}
    return curves


def draw(curves):
    """Return the picture of growth: three log–log panels, each line named where it ends."""
    plt.style.use(HERE.parent / "ntk_helpers" / "classroom" / "course.mplstyle")
    looks = {
        "ours": ("this course", COLORS["blue"], "o-", (8, -16), "left"),
        "tutorial contraction": ("PyTorch's tutorial", COLORS["red"], "s--", (0, 9), "center"),
        "structured derivatives": ("neural-tangents", COLORS["green"], "^-.", (-9, 5), "right"),
    }
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.6), sharey=True)
    for ax, (label, lines) in zip(axes, curves.items(), strict=True):
        for name, points in lines.items():
            text, color, style, offset, side = looks[name]
            ax.loglog(*zip(*points, strict=True), style, color=color)
            if ax is axes[0]:
                at = points[-1] if name == "tutorial contraction" else points[-2]
                ax.annotate(text, at, offset, color=color, textcoords="offset points", ha=side)
        ax.set_xlabel(label)
    axes[0].set(ylabel="seconds for one kernel", title="784 inputs, 3 × 512, k = 1")
    axes[1].set_title("784 inputs, N = 64, k = 1")
    axes[2].set_title("784 inputs, 3 × 256, N = 32")
    return figure


def memory(sizes):
    """Return the peak memory in MB beyond the result, by N, each in a fresh process."""
    if not Path("/proc/self/status").exists():
        print("\nPeak memory is measured on Linux only.")
        return {}
    peaks = {}
    for n in sizes:
        command = [sys.executable, "-c", MEMORY, str(n)]
        answer = subprocess.run(
            command, cwd=HERE.parent, capture_output=True, text=True, check=True
        )
        peaks[n] = float(answer.stdout)
        print(
            f"\nN = {n}, width 1024: {peaks[n]:.0f} MB beyond the result of {n * n * 4e-6:.0f} MB"
        )
    return peaks


def main():
    """Measure, print, and write the results unless the run is a quick one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the table only; write nothing")
    quick = parser.parse_args().quick
    torch.set_default_dtype(torch.float32)
    jax = NeuralTangents()
    if jax.missing:
        print(f"neural-tangents is left out: {jax.missing}.")
    rows = table(jax, rounds=15)
    if quick:
        return
    results = {
        "command": "python course.py bench kernels",
        "machine": {"cores": os.cpu_count(), "torch": torch.__version__, "dtype": "float32"},
        "shape": "inputs, width, hidden layers, outputs, points (x1 = x2)",
        "table": rows,
        "memory_beyond_result_mb": memory([4096, 10000]),
        "growth": growth(jax, rounds=5),
    }
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    (folder / "kernels.json").write_text(json.dumps(results, indent=1, default=float) + "\n")
    (folder / "kernels.png").write_bytes(png(draw(results["growth"])))


if __name__ == "__main__":
    main()
