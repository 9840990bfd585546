"""Time an ensemble trained in one batch against a loop over networks, in one run.

The loop trains every network with `gradient_descent`; both use the same threads, seeds and steps.
Run: python benchmarks/ensembles.py [--networks 100] [--width 1024] [--steps 1000] [--rounds 3]
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import ntk_helpers as ntk

parser = argparse.ArgumentParser(description=__doc__)
for name, default in {
    "networks": 100,
    "width": 1024,
    "points": 32,
    "steps": 1000,
    "rounds": 3,
}.items():
    parser.add_argument(f"--{name}", type=int, default=default)
parser.add_argument("--activation", default="erf")
parser.add_argument("--depth", type=int, default=1)
options = parser.parse_args()

torch.set_default_dtype(torch.float32)
generator = torch.Generator().manual_seed(0)
x = torch.randn(options.points, 2, generator=generator)
y = torch.sin(3 * x[:, 1:])
run = {"learning_rate": 0.2, "progress": False}


def networks(count):
    """Return `count` networks of the benchmark's shape."""
    shape = {"depth": options.depth, "activation": options.activation}
    return [ntk.MLP(2, options.width, seed=seed, **shape) for seed in range(count)]


def seconds(work):
    """Return the wall time of `work()`."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def loop(models):
    """Train each network by itself."""
    for model in models:
        ntk.gradient_descent(model, x, y, steps=options.steps // options.rounds, **run)


def batch(models):
    """Train all networks at once."""
    ntk.train_ensemble(models, x, y, steps=options.steps // options.rounds, **run)


# Rounds of both in turn, a share of the steps each: other work on the machine meets both alike.
loop(networks(1)), batch(networks(2))
pairs = [
    (
        seconds(lambda: loop(networks(options.networks))),
        seconds(lambda: batch(networks(options.networks))),
    )
    for _ in range(options.rounds)
]
alone, together = (options.rounds * statistics.median(part) for part in zip(*pairs, strict=True))
ratio = statistics.median(one / other for one, other in pairs)
busy = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
print(
    f"{options.networks} networks, width {options.width}, depth {options.depth}, "
    f"{options.activation}, {options.points} points, {options.steps} steps, float32, "
    f"{torch.get_num_threads()} threads{busy}"
)
print(f"loop over networks {alone:8.1f} s")
print(f"one batch          {together:8.1f} s")
print(f"ratio              {ratio:8.1f}")
