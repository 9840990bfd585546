"""Train PINNs for longer than a lesson can wait: ten draws, 40,000 steps, three hidden layers.

Three parts, after Wang, Yu, Perdikaris 2022, arXiv:2007.14527: "drift" is Fig. 2 (one hidden layer,
sin πx, ten draws), "deep" its Fig. 3 (three hidden layers), "weights" its section 7.2 (sin 4πx with
and without balance weights, ten draws). About an hour on one core, most of it for width 500 in
"deep". The results go to benchmarks/results/pinn.json, which lesson 06 reads.

Every row is written as soon as it is there. A part counts as complete only when its name stands
under "finished"; one that was interrupted goes on with its next row.

Run: python benchmarks/pinn.py [drift deep weights] [--draws 10] [--out FILE]
"""

import argparse
import json
import platform
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import ntk_helpers as ntk

RESULTS = Path(__file__).parent / "results" / "pinn.json"
WIDTHS = (10, 100, 500)
WIDEST = 2500  # one more, where the 1/√n law is looked for: the set-up "ntk", one hidden layer
# Set-up → parameterisation, whether inputs are standardised, loss and rate. A rate of 1e-5 on mean
# squares without ½, as in the paper's released code, is a rate of 2e-5 on our mean loss.
SETUPS = {
    "text": ("ntk", False, "sum", 1e-5),
    "code": ("standard", True, "mean", 2e-5),
    "ntk": ("ntk", True, "sum", 1e-5),
}
WEIGHTS = {
    "none": {"weights": (1.0, 1.0)},
    "balance": {"weights": "balance"},
    "refreshed": {"weights": "balance", "refresh_every": 1000},
}
PARTS = ("drift", "deep", "weights")
GRID = torch.linspace(0, 1, 201, dtype=torch.float64)[:, None]


def train(setup, width, seed, *, frequency=1, depth=1, steps=10_000, records=(), **options):
    """Return the history of one run, and the relative L2 error of u at each record."""
    parameterization, standardised, loss, rate = SETUPS[setup]
    problem = ntk.PoissonProblem(frequency)
    x_boundary, x_interior = problem.boundary(100), problem.interior(100)
    shape = {"depth": depth, "activation": "tanh", "sigma_w": 1.0, "sigma_b": 1.0}
    model = ntk.MLP(1, width, parameterization=parameterization, seed=seed, **shape)
    if standardised:
        model = ntk.Standardized(model, x_interior)
    history = ntk.train_pinn(
        model,
        problem,
        x_boundary,
        x_interior,
        learning_rate=rate,
        steps=steps,
        loss=loss,
        record_at=records,
        keep_kernels=True,
        observe=lambda u: u(GRID)[:, 0],
        progress=False,
        **options,
    )
    truth = problem.solution(GRID)[:, 0]
    return history, (history.observed - truth).norm(dim=1) / truth.norm()


def rounded(values):
    """Return a tensor or a list of numbers with four digits each."""
    values = values.tolist() if isinstance(values, torch.Tensor) else values
    return [rounded(v) if isinstance(v, list) else float(f"{v:.4g}") for v in values]


def drift(depth, setup, width, draws):
    """Return how far θ and K move in 10,000 steps, draw by draw."""
    runs = [train(setup, width, seed, depth=depth, records=[0])[0] for seed in range(draws)]
    return {
        "theta": rounded([run.parameter_change[-1].item() for run in runs]),
        "kernel": rounded([run.kernel_change[-1].item() for run in runs]),
        "largest": rounded([run.kernels[0].eigenvalues()[-1].item() for run in runs]),
        "diverged": sum(run.diverged for run in runs),
    }


def errors(weights, draws):
    """Return the error of u against steps for sin 4πx, width 100, draw by draw."""
    records = [0, *(round(100 * 400 ** (i / 24)) for i in range(25))]
    options = WEIGHTS[weights] | {"frequency": 4, "steps": 40_000, "records": records}
    runs = [train("code", 100, seed, **options) for seed in range(draws)]
    return {
        "step": runs[0][0].step.tolist(),
        "error": rounded([error.tolist() for _, error in runs]),
        "kernel": rounded([run.kernel_change.tolist() for run, _ in runs]),
        "lambda_b": rounded([run.weights[[0, -1], 0].tolist() for run, _ in runs]),
    }


def jobs(part, draws):
    """Return the rows of a part, each as the options of the function that fills it."""
    if part == "weights":
        return errors, [{"weights": kind, "draws": draws} for kind in WEIGHTS]
    depth, setups = (1, SETUPS) if part == "drift" else (3, ("code", "ntk"))
    rows = []
    for setup in setups:
        for width in (*WIDTHS, WIDEST) if (part, setup) == ("drift", "ntk") else WIDTHS:
            few = 1 if width == 500 else 3  # a deep network takes minutes
            count = draws if depth == 1 else min(draws, few)
            rows.append({"depth": depth, "setup": setup, "width": width, "draws": count})
    return drift, rows


def save(results, path):
    """Write the results whole or not at all; refuse NaN."""
    text = json.dumps(results, allow_nan=False, ensure_ascii=False).replace(' {"', '\n {"')
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(text + "\n", encoding="utf-8", newline="\n")
    draft.replace(path)


def main():
    """Run the parts that were asked for; after every row, write it beside all others."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("parts", nargs="*", help="drift, deep, weights; all, if none is named")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part(s) {sorted(unknown)}: choose from {', '.join(PARTS)}")
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    results = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    results["command"] = "python benchmarks/pinn.py"
    results["machine"] = f"one CPU core, {platform.system()}, torch {torch.__version__[:6]}"
    finished = results.setdefault("finished", [])
    for part in options.parts or PARTS:
        fill, wanted = jobs(part, options.draws)
        # A part that was interrupted goes on where it stopped; a finished one starts afresh.
        old = [] if part in finished else results.get(part, [])
        results[part] = [row for row in old if any(job.items() <= row.items() for job in wanted)]
        results["finished"] = finished = [name for name in finished if name != part]
        for job in wanted:
            if not any(job.items() <= row.items() for row in results[part]):
                results[part].append(job | fill(**job))
                save(results, options.out)
                print(part, job, flush=True)
        finished.append(part)
        save(results, options.out)


if __name__ == "__main__":
    main()
