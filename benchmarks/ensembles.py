"""Time an ensemble trained in one batch against a loop over networks, in one run.

The loop trains every network with `gradient_descent`; both use the same threads, seeds and steps.
Run: python benchmarks/ensembles.py [--networks 100] [--width 1024] [--steps 1000] [--rounds 1]
Where other work shares the processors, OMP_NUM_THREADS=1 and the processor times tell more.
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

shape = {"networks": 100, "width": 1024, "depth": 1, "points": 32, "steps": 1000, "rounds": 1}
parser = argparse.ArgumentParser(description=__doc__)
for name, default in shape.items():
    parser.add_argument(f"--{name}", type=int, default=default)
parser.add_argument("--activation", default="erf")
options = parser.parse_args()

torch.set_default_dtype(torch.float32)
generator = torch.Generator().manual_seed(0)
x = torch.randn(options.points, 2, generator=generator)
y = torch.sin(3 * x[:, 1:])
run = {"learning_rate": 0.2, "steps": options.steps, "progress": False}


def networks(count):
    """Return `count` networks of the benchmark's shape."""
    shape = {"depth": options.depth, "activation": options.activation}
    return [ntk.MLP(2, options.width, seed=seed, **shape) for seed in range(count)]


def loop(models):
    """Train each network by itself."""
    for model in models:
        ntk.gradient_descent(model, x, y, **run)


def batch(models):
    """Train all networks at once."""
    ntk.train_ensemble(models, x, y, **run)


def seconds(work):
    """Return the wall time and the processor time of training all networks by `work`."""
    models = networks(options.networks)
    start = time.perf_counter(), time.process_time()
    work(models)
    return time.perf_counter() - start[0], time.process_time() - start[1]


pairs = [(*seconds(loop), *seconds(batch)) for _ in range(options.rounds)]
load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
print(
    f"{options.networks} networks, width {options.width}, depth {options.depth}, "
    f"{options.activation}, {options.points} points, {options.steps} steps, float32, "
    f"{torch.get_num_threads()} threads{load}"
)
alone, alone_busy, together, together_busy = map(statistics.median, zip(*pairs, strict=True))
print(f"loop over networks  {alone:7.1f} s, processor {alone_busy:7.1f} s")
print(f"one batch           {together:7.1f} s, processor {together_busy:7.1f} s")
print(f"ratio               {alone / together:7.1f}              {alone_busy / together_busy:7.1f}")
