"""Predict a landscape from up to 20,000 places with half of a kernel on disk, never in memory.

A network of one hidden layer gets waves of the coordinates; its tangent kernel at initialisation,
plus a ridge, predicts 2,000 places that were held out. For each number N of places: the blocks on
and above the diagonal go to disk (those that lie there already are not computed again), the largest
eigenvalues and the weights come from products K v over the files, each block used twice (B v and
Bᵀ w), and the predictions from blocks that are never stored. At the smallest N all is compared with
a dense kernel in memory. notebooks/deeper/many_points.ipynb reads the results, which are written
row by row: an interrupted run goes on, and a complete one has nothing left to do.

About half an hour on one core, and 1.8 GB on disk. Seconds are those of the processor. Each N runs
in a process of its own, so that its peak memory is its own.

Run: python benchmarks/many_points.py [--points 2500 5000 10000 20000] [--folder DIR] [--out FILE]
"""

import argparse
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pinn
import torch
from scipy.sparse.linalg import LinearOperator, cg, eigsh
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import ntk_helpers as ntk

RESULTS = Path(__file__).parent / "results" / "many_points.json"
CHUNKS, HELD_OUT = 1250, 2000
RIDGE, TOLERANCE, TOP = 0.1, 1e-6, 60
DESIGN = {"depth": 1, "activation": "relu", "sigma_w": 2**0.5, "sigma_b": 0.1}


def waves(x):
    """Return (n, 256) cosines and sines of the places x (n, 2) in km, of mean square 1."""
    directions = torch.randn(2, 128, generator=ntk.generator(0))  # radians per km
    return 2**0.5 * torch.cat([(x @ directions).cos(), (x @ directions).sin()], 1)


def landscape(n):
    """Return waves and standardised heights of n places and of 2,000 others, and 1 sd in metres."""
    data = ntk.data.terrain(HELD_OUT + max(n, 20_000))
    test, train = slice(HELD_OUT), slice(HELD_OUT, HELD_OUT + n)
    mean, sd = data.y[train].mean(), data.y[train].std()
    y = ((data.y - mean) / sd).numpy()
    return data.x[train], y[train], data.x[test], y[test], sd.item()


def store(kernel, folder):
    """Compute the blocks on and above the diagonal that have no file yet; return how many."""
    folder.mkdir(parents=True, exist_ok=True)
    computed = 0
    for i, j in np.ndindex(kernel.numblocks):
        if i <= j and not (path := folder / f"{i}_{j}.npy").exists():
            unfinished = path.with_suffix(".tmp")
            with open(unfinished, "wb") as file:
                np.save(file, kernel.blocks[i, j].compute(scheduler="synchronous"))
            os.replace(unfinished, path)  # a run that is killed leaves no half of a block
            computed += 1
    return computed


def on_disk(folder, sizes, shift=0.0):
    """Return v → K v + shift v, which reads each block once and uses it twice."""
    ends = np.cumsum([0, *sizes])
    parts = [slice(*pair) for pair in itertools.pairwise(ends)]

    def product(v):
        v = v.ravel()
        result = shift * v
        for i, j in np.ndindex(len(parts), len(parts)):
            if i <= j:
                block = np.load(folder / f"{i}_{j}.npy")
                result[parts[i]] += block @ v[parts[j]]
                if i < j:
                    result[parts[j]] += block.T @ v[parts[i]]
        return result

    return LinearOperator((ends[-1], ends[-1]), product, dtype=np.float64)


def solve(operator, y):
    """Return (K + ρ)⁻¹ y by conjugate gradients, and the number of iterations."""
    iterations = []
    weights, failed = cg(operator, y, rtol=TOLERANCE, callback=iterations.append)
    if failed:
        raise RuntimeError(f"conjugate gradients did not converge: code {failed}")
    return weights, len(iterations)


def bound(condition):
    """Return how many iterations suffice for the residual: 2 √κ ((√κ − 1)/(√κ + 1))ᵏ ≤ ε."""
    root = math.sqrt(condition)
    return math.log(2 * root / TOLERANCE) / math.log((root + 1) / (root - 1))


def rms(error, sd):
    """Return the root mean square of an error, in metres."""
    return sd * float(np.sqrt(np.mean(np.square(error))))


def baselines(x, y, x_test, y_test, sd):
    """Return the errors of a plane and of the mean of the three nearest places, in metres."""
    plane = LinearRegression().fit(x, y).predict(x_test)
    nearest = KNeighborsRegressor(3, weights="distance").fit(x, y).predict(x_test)
    return {"plane": rms(plane - y_test, sd), "nearest": rms(nearest - y_test, sd)}


def measure(n, folder):
    """Return the row of n places; its blocks go to a folder of their own inside `folder`."""
    x, y, x_test, y_test, sd = landscape(n)
    model, points = ntk.MLP(256, 1024, seed=0, **DESIGN), waves(x)
    before = peak_megabytes()
    kernel = ntk.kernel_blocks(model, points, chunks=CHUNKS)
    folder /= kernel.name  # names the model, the points and the size of a block
    start = time.process_time()
    computed = store(kernel, folder)
    blocks = len(list(folder.glob("*.npy")))
    per_block = (time.process_time() - start) / max(computed, 1)
    row = {"points": n, "blocks": blocks, "seconds": {"blocks": per_block * blocks}}
    row["bytes"] = sum(path.stat().st_size for path in folder.glob("*.npy"))

    start = time.process_time()
    weights, row["iterations"] = solve(on_disk(folder, kernel.chunks[0], RIDGE), y)
    row["seconds"]["solve"] = time.process_time() - start
    start = time.process_time()
    spectrum = eigsh(on_disk(folder, kernel.chunks[0]), TOP, v0=y, return_eigenvectors=False)[::-1]
    row["seconds"]["spectrum"] = time.process_time() - start
    row["spectrum"] = spectrum.tolist()
    row["bound"] = bound((spectrum[0] + RIDGE) / RIDGE)

    start = time.process_time()
    towards = ntk.kernel_blocks(model, waves(x_test), points, chunks=CHUNKS)
    forecast = 0.0
    for j, part in enumerate(np.split(weights, range(CHUNKS, n, CHUNKS))):
        forecast += towards.blocks[:, j].compute(scheduler="synchronous") @ part
    row["seconds"]["predict"] = time.process_time() - start
    row["error"] = {"kernel": rms(forecast - y_test, sd), **baselines(x, y, x_test, y_test, sd)}
    row["megabytes"] = {"before": before, "most": peak_megabytes()}
    if n <= 2500:
        row["against dense"] = dense(model, points, waves(x_test), y, weights, spectrum, forecast)
    return row


def dense(model, points, test, y, weights, spectrum, forecast):
    """Return how far all is from a kernel in memory, relative to the largest number of each."""
    kernel = ntk.empirical_ntk(model, points, outputs="trace")
    ridged = kernel + RIDGE * torch.eye(len(kernel))
    towards = ntk.empirical_ntk(model, test, points, outputs="trace")
    flow = ntk.KernelDynamics(ridged, torch.from_numpy(y))
    wanted = {
        "weights": (weights, np.linalg.solve(ridged.numpy(), y)),
        "spectrum": (spectrum, np.linalg.eigvalsh(kernel.numpy())[::-1][:TOP]),
        "forecast": (forecast, flow.test(math.inf, towards).numpy()),
    }
    return {name: np.abs(a - b).max() / np.abs(b).max() for name, (a, b) in wanted.items()}


def peak_megabytes():
    """Return the most memory that this process has held, on Linux or macOS."""
    import resource  # there is none on Windows

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def rounded(value):
    """Return nested numbers with four digits each."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main():
    """Measure what is not stored yet; write the results after every row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--points", type=int, nargs="+", default=[2500, 5000, 10_000, 20_000])
    parser.add_argument("--folder", type=Path, help="where blocks are kept; else they are not")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)  # one row, to stdout
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    if options.alone:
        print(json.dumps(rounded(measure(options.alone, options.folder))))
        return
    results = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    results["command"] = "python benchmarks/many_points.py"
    results["machine"] = f"one CPU core, {platform.system()}, torch {torch.__version__[:6]}"
    results["ridge"], results["tolerance"] = RIDGE, TOLERANCE
    rows = results.setdefault("rows", [])
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for n in options.points:
            if not any(row["points"] == n for row in rows):
                command = [sys.executable, __file__, "--alone", str(n), "--folder", str(folder)]
                variables = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=variables)
                rows.append(json.loads(done.stdout))
                pinn.save(results, options.out)
                print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
