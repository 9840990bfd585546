"""Train PINNs on the wave equation of Wang, Yu, Perdikaris 2022, arXiv:2007.14527, section 7.3.

u_tt = 4 u_xx on the unit square, u = 0 at both ends, u(0, x) = sin πx + ½ sin 4πx, u_t(0, x) = 0.
Three terms: values of u (at the start and at the ends), u_t at the start, and the equation. Set-up
of their released program: three hidden layers of tanh units, Xavier weights, standardised inputs,
new random points in each step, mean squares, Adam with the rate 10⁻³ · 0.9^(k/1000), 80,000 steps;
weights 1, or those of algorithm 1, λ_i = Tr K / Tr K_ii, renewed every 100 steps (here from 50 of
the points of each term). Their networks are 500 wide, ours 100: a run takes about 20 minutes of one
core, and at width 500 four hours. notebooks/deeper/the_pinn_paper.ipynb reads the results,
benchmarks/results/wave.json, which are written run by run: an interrupted call goes on.

Run: python benchmarks/wave.py [--width 100] [--draws 3] [--steps 80000] [--out FILE]
"""

import argparse
import json
import math
import platform
import sys
import time
from itertools import pairwise, product
from pathlib import Path

import torch
from pinn import rounded, save
from torch import nn
from torch.func import jvp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import ntk_helpers as ntk

RESULTS = Path(__file__).parent / "results" / "wave.json"
SPEED, DEPTH = 2.0, 3
GRID = torch.cartesian_prod(*[torch.linspace(0, 1, 201)] * 2)  # points (t, x)
COARSE = torch.cartesian_prod(*[torch.linspace(0, 1, 41)] * 2)
RATE = 1e-3


def solution(points):
    """Return u at points (n, 2) of time t and place x."""
    t, x = math.pi * points.T
    slow, fast = torch.sin(x) * torch.cos(SPEED * t), torch.sin(4 * x) * torch.cos(4 * SPEED * t)
    return slow + fast / 2


def slope(u, axis):
    """Return the derivative of a function of one point along an axis, as a function."""
    along = torch.eye(2)[axis]
    return lambda point: jvp(u, (point,), (along,))[1]


def wave(u):
    """Return u_tt − c² u_xx of a function u of one point (t, x)."""
    return lambda x: slope(slope(u, 0), 0)(x) - SPEED**2 * slope(slope(u, 1), 1)(x)


def terms(n, draw):
    """Return three terms at new random points: values (n), u_t at the start, the equation (n)."""
    t, x = torch.rand(2, n, generator=draw)
    third = n // 3
    start = torch.stack([torch.zeros(third), x[:third]], 1)
    ends = torch.stack([t[third:], (torch.arange(n - third) % 2).float()], 1)
    values = torch.cat([start, ends])
    inside = torch.rand(n, 2, generator=draw)
    return [
        ntk.Term(values, target=solution(values)),
        ntk.Term(start, lambda u: slope(u, 0)),
        ntk.Term(inside, wave),
    ]


def network(width, seed):
    """Return a network as the released program draws it, with standardised inputs."""
    draw = ntk.generator(seed)
    sizes = [2, *[width] * DEPTH, 1]
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    for layer in layers:
        nn.init.xavier_normal_(layer.weight, generator=draw)
        nn.init.zeros_(layer.bias)
    hidden = [part for layer in layers[:-1] for part in (layer, nn.Tanh())]
    return ntk.Standardized(nn.Sequential(*hidden, layers[-1]), GRID)


def jet(model, x):
    """Return u (n,), its two slopes and its two bends (2, n), carried through the layers together.

    The chain rule of notebooks/deeper/the_pinn_paper.ipynb; here it is 6 times as fast as vmap.
    """
    h = (x - model.mean) / model.scale
    slopes = torch.diag(1 / model.scale)[:, None].expand(2, len(x), 2)
    bends = torch.zeros_like(slopes)
    for layer in model.network:
        if isinstance(layer, nn.Tanh):
            h = torch.tanh(h)
            gain = 1 - h * h
            bends = gain * (bends - 2 * h * slopes * slopes)
            slopes = gain * slopes
        else:
            h, slopes, bends = layer(h), slopes @ layer.weight.T, bends @ layer.weight.T
    return h[:, 0], slopes[..., 0], bends[..., 0]


def squares(model, three):
    """Return the mean square of each term; that of the values as a sum over start and two ends."""
    values, start, inside = three
    u, (u_t, _), _ = jet(model, torch.cat([values.points, start.points]))
    _, _, (u_tt, u_xx) = jet(model, inside.points)
    n = len(values.points)
    wrong = 3 * (u[:n] - values.target).square().mean()
    return torch.stack([wrong, u_t[n:].square().mean(), (u_tt - SPEED**2 * u_xx).square().mean()])


def weights_now(model, three):
    """Return λ_i = Tr K / Tr K_ii of algorithm 1, from 50 of the points of each term."""
    few = []
    for term in three:
        at = torch.linspace(0, len(term.points) - 1, 50).long()
        few.append(ntk.Term(term.points[at], term.operator))
    return torch.tensor(ntk.pinn_kernel(model, few).balance_weights())


def run(width, weights, seed, steps):
    """Return the record of one run: error of u, mean squares and weights at some steps."""
    model, draw = network(width, seed), ntk.generator(1000 + seed)
    adam = torch.optim.Adam(model.parameters(), RATE)
    decay = torch.optim.lr_scheduler.ExponentialLR(adam, 0.9**0.001)
    marks = {0, *(round(100 * (steps / 100) ** (i / 24)) for i in range(25))}
    row = {"width": width, "weights": weights, "seed": seed, "steps": steps}
    row |= {"step": [], "error": [], "squares": [], "lambda": []}
    lam, truth, began = torch.ones(3), solution(GRID), time.monotonic()
    for k in range(steps + 1):
        three = terms(300, draw)
        if weights == "balance" and k % 100 == 0:
            lam = weights_now(model, three)
        parts = squares(model, three)
        if k in marks:
            with torch.no_grad():
                error = (model(GRID)[:, 0] - truth).norm() / truth.norm()
            row["step"].append(k)
            row["error"] += rounded([error.item()])
            row["squares"].append(rounded(parts.tolist()))
            row["lambda"].append(rounded(lam.tolist()))
        if k < steps:
            adam.zero_grad()
            (lam @ parts).backward()
            adam.step()
            decay.step()
    if seed == 0:  # for a picture
        with torch.no_grad():
            row["u"] = [round(value, 3) for value in model(COARSE)[:, 0].tolist()]
    return row | {"minutes": round((time.monotonic() - began) / 60, 1)}


def main():
    """Train what is not stored yet; write the results after every run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    results["command"] = "python benchmarks/wave.py"
    results["machine"] = f"one CPU core, {platform.system()}, torch {torch.__version__[:6]}"
    rows = results.setdefault("runs", [])
    for seed, weights in product(range(options.draws), ("none", "balance")):
        asked = {"width": options.width, "weights": weights, "seed": seed, "steps": options.steps}
        if not any(asked.items() <= row.items() for row in rows):
            rows.append(run(*asked.values()))
            save(results, options.out)
            print(asked, rows[-1]["error"][-1], f"{rows[-1]['minutes']} minutes", flush=True)


if __name__ == "__main__":
    main()
