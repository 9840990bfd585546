"""Bad input × public functions: each is refused by a sentence that names what is wrong.

`python tests/test_bad_input.py` prints the table: function, argument, what is bad, the message.
"""

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import ntk_helpers as ntk

F64 = {"dtype": torch.float64}
NAN, INF = math.nan, math.inf
X, Y = torch.linspace(-1, 1, 6, **F64).reshape(3, 2), torch.tensor([1.0, -1.0, 0.5], **F64)
K, K_TEST = X @ X.T + torch.eye(3, **F64), X @ X.T


class Odd(nn.Module):
    """A linear model whose result goes through a function that spoils it."""

    def __init__(self, n_in, spoil):
        """Take the number of inputs, and the function."""
        super().__init__()
        self.line, self.spoil = nn.Linear(n_in, 1, **F64), spoil

    def forward(self, x):
        return self.spoil(self.line(x))


def models(n_in: int) -> dict[str, object]:
    """Return what is no model of a function of one point with `n_in` inputs, by name."""
    line, broken = nn.Linear(n_in, 3, **F64), nn.Linear(n_in, 1, **F64)
    nn.init.constant_(broken.weight, NAN)
    last = nn.Linear(3, 1, **F64)
    return {
        "None": None,
        "a function": lambda x: x,
        "no parameter": nn.ReLU(),
        "frozen": nn.Linear(n_in, 1, **F64).requires_grad_(False),
        "NaN parameter": broken,
        "float32": nn.Linear(n_in, 1, dtype=torch.float32),
        "on meta": nn.Linear(n_in, 1, device="meta", **F64),
        "other inputs": ntk.MLP(n_in + 3, 2, **F64),
        "returns two": Odd(n_in, lambda f: (f, f)),
        "returns rank 3": Odd(n_in, lambda f: f[None]),
        "detached": Odd(n_in, lambda f: f.detach()),
        "mixes rows": Odd(n_in, lambda f: f - f.mean(0)),
        "BatchNorm in train mode": nn.Sequential(line, nn.BatchNorm1d(3, **F64), last),
        "Dropout in train mode": nn.Sequential(line, nn.Dropout(0.5), last),
    }


def points(x: torch.Tensor) -> dict[str, object]:
    """Return what is no table of points like `x`, by name."""
    return {
        "None": None,
        "text": "x",
        "a list": x.tolist(),
        "numpy": x.numpy(),
        "integers": x.to(torch.int64),
        "booleans": x > 0,
        "complex": x + 0j,
        "float32": x.float(),
        "on meta": x.to("meta"),
        "sparse": x.to_sparse(),
        "NaN": x * NAN,
        "infinite": x / 0,
        "empty": x[:0],
        "no columns": x[:, :0],
        "other columns": torch.ones(len(x), 5, **F64),
        "a vector": x[:, 0],
        "a number": x[0, 0],
        "rank 3": x[None],
    }


def targets(y: torch.Tensor) -> dict[str, object]:
    """Return what is no vector of targets like `y`, by name."""
    bad = points(y[:, None])
    left_out = ("no columns", "other columns", "a vector", "rank 3", "a list", "numpy")
    for name in left_out:
        del bad[name]
    return bad | {"too few": y[:2], "a list": y.tolist(), "rank 3": y[None, None]}


NUMBERS = {"negative": -1.0, "NaN": NAN, "infinite": INF, "text": "1", "None": None}
NUMBERS |= {"a tensor": torch.tensor(0.1), "a boolean": True, "complex": 1j}
POSITIVE = NUMBERS | {"zero": 0.0}
COUNTS = {
    "negative": -1,
    "a fraction": 1.5,
    "text": "3",
    "None": None,
    "a boolean": True,
    "NaN": NAN,
}
SIZES = COUNTS | {"zero": 0}
SEEDS = {name: value for name, value in COUNTS.items() if name != "None"}
TIMES = {
    "negative": -1.0,
    "NaN": NAN,
    "text": "1",
    "None": None,
    "complex": 1j,
    "a list of text": ["a"],
}
TIMES |= {"rank 2": torch.ones(1, 1), "one negative": torch.tensor([0.0, -1.0])}
NAMES = {"unknown": "best", "in capitals": "MEAN", "None": None, "a number": 3, "a list": ["mean"]}
DTYPES = {"int64": torch.int64, "text": "float64", "numpy's": np.float64}
RECORDS = {"too late": [5], "negative": [-1], "a fraction": [0.5], "a number": 3, "text": "ab"}
KERNELS = points(K) | {"not square": K[:2], "other size": torch.eye(5, **F64)}
KERNELS |= {"rank 4": torch.ones(3, 3, 2, 2, **F64)}
del KERNELS["other columns"], KERNELS["no columns"]
NO_MATRIX = {"asymmetric": K + torch.ones(3, 3).triu(1), "negative": -K}


def without(bad: dict, *names: str) -> dict:
    """Return `bad` without what is good here."""
    return {name: value for name, value in bad.items() if name not in names}


def growing():
    """Return an `observe` whose result has another shape at each record."""
    seen = []
    return lambda model: torch.ones(len(seen.append(0) or seen))


def functions() -> Iterator[tuple[str, Callable, dict, dict]]:
    """Yield name, function, good arguments, and argument → bad values by name."""
    design = {"depth": SIZES, "activation": NAMES, "sigma_w": POSITIVE, "sigma_b": NUMBERS}
    mlp, points_x, targets_y = ntk.MLP(2, 4, **F64), points(X), targets(Y)
    kernel = {"model": models(2), "x1": points_x, "x2": without(points_x, "None"), "outputs": NAMES}
    good = {"model": mlp, "x1": X}
    yield "layer_ntks", ntk.layer_ntks, good, kernel
    chunk = {"method": NAMES, "chunk_size": without(SIZES, "None")}
    yield "empirical_ntk", ntk.empirical_ntk, good, kernel | chunk
    parts = {"chunks": SIZES, **without(kernel, "outputs")}
    yield "kernel_blocks", ntk.kernel_blocks, good | {"chunks": 2}, parts

    alone = without(points_x, "float32", "on meta", "other columns")
    both = {"x1": alone, "x2": without(points_x, "None")}
    functions = {"a function of a number": math.tanh, "of two": lambda u, v: u}
    functions |= {"returns a number": lambda u: 1.0, "sums": torch.sum, "a class": nn.SiLU}
    functions |= {"NaN": lambda u: u * NAN, "mixes": lambda u: u / u.norm(), "chance": nn.Dropout()}
    wide = both | design | {"activation": NAMES | functions}
    yield "infinite_kernels", ntk.infinite_kernels, {"x1": X}, wide
    shape = {"n_in": SIZES, "width": SIZES, "n_out": SIZES, "parameterization": NAMES}
    place = {"dtype": DTYPES}
    good = {"n_in": 2, "width": 3}
    yield "MLP", ntk.MLP, good, design | shape | place | {"seed": SEEDS}
    as_torch = ("empty", "NaN", "infinite", "sparse", "rank 3")  # a module does as torch does
    yield "MLP.forward", mlp.forward, {}, {"x": without(points_x, *as_torch)}

    rates = {"learning_rate": POSITIVE, "steps": COUNTS, "loss": NAMES}
    run = {"learning_rate": 1e-3, "steps": 2, "progress": False}
    watch = {"a number": 3, "returns text": lambda model: "a", "grows": growing()}
    mixing = ("mixes rows", "BatchNorm in train mode", "Dropout in train mode")  # may be trained
    train = {"model": without(models(2), *mixing), "x": points_x, "y": targets_y}
    train |= rates | {"record_at": RECORDS, "observe": watch}
    good = {"model": mlp, "x": X, "y": Y}
    yield "gradient_descent", ntk.gradient_descent, good | run, train
    pairs = without(models(2), *mixing[:1])
    pairs = {name: [model, copy.deepcopy(model)] for name, model in pairs.items()}
    shared = [nn.Sequential(mlp.layers[0], nn.Linear(4, 1, **F64)) for _ in range(2)]
    pairs |= {"empty": [], "one module": mlp, "unlike": [mlp, ntk.MLP(2, 5, **F64)]}
    pairs |= {"shared": shared, "other activation": [mlp, ntk.MLP(2, 4, activation="sin", **F64)]}
    many = {"models": pairs, "x_test": without(points_x, "None")}
    many |= without(train, "model", "observe")
    twins = {"models": [ntk.MLP(2, 4, **F64), ntk.MLP(2, 4, **F64)], "x": X, "y": Y}
    yield "train_ensemble", ntk.train_ensemble, twins | run, many
    judged = {"model": models(2), "x": points_x, "y": targets_y} | rates
    judged["steps"] = without(COUNTS, "None")
    yield "lazy_regime", ntk.lazy_regime, good | {"learning_rate": 0.1}, judged
    losses = {"no number": lambda f, y: f - y, "detached": lambda f, y: f.detach().mean()}
    losses |= {"raises": lambda f, y: f[7]}
    looked = judged | {"loss": NAMES | losses}
    good_look = good | {"learning_rate": 0.1, "loss": "squared"}
    yield "diagnose", ntk.diagnose, good_look, looked
    expanded = without(models(2), "NaN parameter", "other inputs")

    def taylor(model, x=X):
        return ntk.linearize(model)(dict(model.named_parameters()), x)

    yield "linearize", taylor, {}, {"model": expanded}
    f_lin = ntk.linearize(mlp)
    named = {"empty": {}, "a list": []}
    bad = {"params": named, "x": without(points_x, *as_torch)}
    yield "f_lin", f_lin, {"params": dict(mlp.named_parameters()), "x": X}, bad
    drift = {"k_now": KERNELS, "k_start": KERNELS | {"zero": 0 * K}}
    yield "kernel_drift", ntk.kernel_drift, {"k_now": K, "k_start": K}, drift
    laws = {"values": {"None": None, "NaN": NAN * K[0], "zero": 0 * K[0], "too few": K[0, :2]}}
    yield "exponent", ntk.exponent, {"sizes": range(1, len(K) + 1), "values": K[0].abs()}, laws
    changed = {"k_now": KERNELS | {"zero": 0 * K}, "k_start": KERNELS | {"zero": 0 * K}}
    yield "kernel_change", ntk.kernel_change, {"k_now": K, "k_start": K}, changed

    start = without(targets_y, "None")
    bad = {"k_train": KERNELS | NO_MATRIX, "y": targets_y, "f0": start, "loss": NAMES}
    bad |= {"ridge": NUMBERS}
    yield "KernelDynamics", ntk.KernelDynamics, {"k_train": K, "y": Y}, bad
    flow = ntk.KernelDynamics(K, Y)
    test, good = {"k_test_train": without(KERNELS, "not square"), "f0_test": start}, {"t": 1.0}
    good_test = {"k_test_train": K_TEST, "f0_test": Y}
    yield "KernelDynamics.train", flow.train, {}, {"t": TIMES}
    yield "KernelDynamics.modes", flow.modes, {}, {"t": TIMES}
    yield "KernelDynamics.test", flow.test, good | good_test, test | {"t": TIMES}
    late = {"k_test_train": K_TEST, "t": 1.0}
    yield "KernelDynamics.smoother", flow.smoother, late, {"t": TIMES, **without(test, "f0_test")}
    whole = {"k": TIMES | {"a fraction": 0.5, "infinite": INF}, "learning_rate": POSITIVE}
    good = {"k": 1, "learning_rate": 0.1}
    yield "KernelDynamics.train_steps", flow.train_steps, good, whole
    yield "KernelDynamics.test_steps", flow.test_steps, good | good_test, whole | test
    blocks = {"k_train": KERNELS | NO_MATRIX, "y": targets_y, "k_test_train": test["k_test_train"]}
    blocks |= {"k_test": KERNELS | {"of other points": K[:2, :2]}, "noise": NUMBERS}
    good = {"k_train": K, "y": Y, "k_test_train": K_TEST, "k_test": K, "noise": 0.1}
    yield "gp_posterior", ntk.gp_posterior, good, blocks
    law = {"x": points_x, "y": targets_y, "x_test": points_x, "t": TIMES, "loss": NAMES} | design
    yield "wide_ensemble", ntk.wide_ensemble, {"x": X, "y": Y, "x_test": X, "t": 1.0}, law

    poisson = ntk.PoissonProblem()
    waves = {"frequency": POSITIVE | {"none": ()}, "amplitude": without(NUMBERS, "negative")}
    yield "PoissonProblem", ntk.PoissonProblem, {}, waves
    yield "PoissonProblem.boundary", poisson.boundary, {}, {"n": SIZES | {"odd": 3}}
    yield "PoissonProblem.interior", poisson.interior, {}, {"n": SIZES}
    xb, xr = poisson.boundary(4, **F64), poisson.interior(5, **F64)
    net, waves = ntk.MLP(1, 4, activation="tanh", **F64), points(xb)
    operators = {"None": None, "a number": 3, "no function": lambda u: 3}
    operators |= {"a vector": lambda u: lambda x: torch.ones(3) * u(x)}
    operators |= {"NaN": lambda u: lambda x: u(x) * NAN, "a float": lambda u: lambda x: 1.0}
    solvers = models(1) | {"two outputs": ntk.MLP(1, 2, 2, **F64)}
    solvers |= {"adds rows": Odd(1, lambda f: f.cumsum(0))}
    solvers |= {"a branch": Odd(1, lambda f: f if f.isfinite().all() else 0 * f)}
    blocks = {"model": solvers, "x_boundary": waves, "x_interior": waves}
    pinn = {"model": net, "x_boundary": xb, "x_interior": xr}
    good = pinn | {"operator": poisson.operator}
    yield "pinn_kernel", ntk.pinn_kernel, good, blocks | {"operator": operators}
    pairs = {"a number": 3.0, "unknown": "best", "one": (1.0,), "NaN": (NAN, 1.0)}
    pairs |= {"negative": (-1.0, 1.0)}
    forcings = {"NaN": lambda x: x * NAN, "too few": lambda x: x[:2], "a float": lambda x: 1.0}
    forcings |= {"float32": lambda x: x.float(), "booleans": lambda x: x > 0}
    asked = {"operator": poisson.operator, "solution": poisson.solution}
    problems = {name: SimpleNamespace(**asked, forcing=f) for name, f in forcings.items()}
    problems |= {"None": None, "a number": 3}
    solved = blocks | rates | {"problem": problems, "weights": pairs}
    solved |= {"refresh_every": without(SIZES, "None"), "record_at": RECORDS, "method": NAMES}
    solved |= {"observe": watch | {"grows": growing()}}
    yield "train_pinn", ntk.train_pinn, pinn | run | {"problem": poisson}, solved
    asked = {"points": without(waves, "float32", "on meta", "other columns"), "weight": NUMBERS}
    asked |= {"operator": {"a number": 3}, "target": without(NUMBERS, "negative", "a tensor")}
    yield "Term", ntk.Term, {"points": xb}, asked
    measured = ntk.pinn_kernel(net, xb, xr, poisson.operator)
    weights = {"boundary": without(NUMBERS, "a tensor"), "residual": without(NUMBERS, "a tensor")}

    def weighted(boundary=1.0, residual=1.0):
        return measured.weighted(boundary, residual)

    yield "PINNKernel.weighted", weighted, {}, weights
    zero, five = torch.zeros(4, **F64), torch.zeros(5, **F64)
    sides = {"None": None, "one": (zero,), "too few": (zero[:2], five), "NaN": (zero * NAN, five)}
    sides |= {"float32": (zero.float(), five.float()), "a list": (zero.tolist(), five)}
    sides |= {"swapped": (five, zero), "all on one side": (torch.zeros(9, **F64), five[:0])}
    bad = {"kernel": {"None": None, "a matrix": K}, "targets": sides, "start": sides}
    bad |= {"weights": pairs | {"zero": (0.0, 1.0)}, "loss": NAMES}
    good = {"kernel": measured, "targets": (zero, five), "start": (zero, five)}
    yield "PINNDynamics", ntk.PINNDynamics, good, bad
    frozen, near = ntk.PINNDynamics(**good), measured.full[:3]
    test = points(near) | {"other size": near[:, :5], "one column": near[:, :1]}
    test = {"k_test_train": test, "f0_test": start}
    good = {"k_test_train": near, "f0_test": Y}
    yield "PINNDynamics.test", frozen.test, good | {"t": 1.0}, test | {"t": TIMES}
    good |= {"k": 1, "learning_rate": 1e-9}
    yield "PINNDynamics.test_steps", frozen.test_steps, good, test | whole
    spread = without(waves, "float32", "other columns") | {"all equal": 0 * xb}
    some = {name: models(1)[name] for name in ("None", "a function", "no parameter", "frozen")}
    good = {"network": net, "points": xr}
    yield "Standardized", ntk.Standardized, good, {"network": some, "points": spread}

    yield "setup", ntk.setup, {}, {"seed": COUNTS | SEEDS}
    gone = {"unknown": "gpu", "not here": "mps", "a number": 3}
    yield "best_device", ntk.best_device, {}, {"prefer": gone}
    text = {"None": None, "empty": "", "a number": 3}
    good = {"figure": Figure(), "alt": "An empty figure."}
    yield "show", ntk.show, good, {"figure": {"None": None, "a list": []}, "alt": text}
    yield "generator", ntk.generator, {}, {"seed": SEEDS}
    shown = {"a verdict": True, "nothing": torch.tensor([]), "complex": 1j}
    yield "claim", ntk.claim, {"name": "gap", "below": 1.0}, {"value": shown}
    asked = {"question": "?", "a": "1", "b": "2", "answer": "a", "because": "so"}
    letters = {"None": None, "no choice": "c", "a number": 1}
    votes = {"answer": letters, "tempting": without(letters, "None") | {"the answer": "a"}}
    yield "predict", ntk.predict, asked, votes
    drawn = place | {"seed": SEEDS}
    circle = place | {"n": SIZES, "start": without(NUMBERS, "negative")}
    yield "data.unit_circle", ntk.data.unit_circle, {"n": 3}, circle
    curve = drawn | {"n": SIZES, "noise": NUMBERS}
    yield "data.wavy_curve", ntk.data.wavy_curve, {"n": 3}, curve
    classes = {"None": None, "a number": 3, "empty": [], "no digit": [11], "twice": [1, 1]}
    images = drawn | {"per_class": SIZES | {"too many": 1000}, "classes": classes | {"text": "12"}}
    yield "data.digits", ntk.data.digits, {"per_class": 3}, images
    places = drawn | {"n": SIZES | {"too many": 10**6}}
    yield "data.terrain", ntk.data.terrain, {"n": 3}, places


# What the sentence may call an argument, where that is not its name.
SHAPE = ("x must", "model must return")
NAMED = {
    **{"models": ("model", *SHAPE), "network": ("model",), "model": SHAPE},
    **{"x": SHAPE, "x1": ("x ", *SHAPE), "x2": ("x ", *SHAPE)},
    **{"boundary": ("λ_b",), "residual": ("λ_r",), "weights": ("λ_b",)},
}


def table() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield "function, argument, what is bad" and a call that must be refused."""
    for name, function, good, bad in functions():
        for argument, values in bad.items():
            for label, value in values.items():
                yield f"{name}, {argument}, {label}", partial(function, **good | {argument: value})


def fault(name: str, call: Callable[[], object]) -> str:
    """Return what is wrong with the refusal of a bad call; "" if it names the argument."""
    argument = name.split(", ")[1]
    try:
        result = call()
    except (ValueError, TypeError) as error:
        told = str(error)
        if not any(name in told for name in (argument, *NAMED.get(argument, ()))):
            return f"{argument} is not named: {told}"
        return "" if len(told) >= 25 and told.endswith((".", ")")) else f"bare: {told}"
    return f"accepted: {result!r:.60}"


CASES = dict(table())

# Its Jacobian is zero, by autograd's words; a look at each call would cost a forward pass.
ACCEPTED = {"linearize, model, detached"}


def test_every_public_function_is_in_the_table():
    names = {name.split(",")[0].split(".")[0] for name in CASES} | {"exercises", "explore", "plots"}
    results = {
        "Diagnosis",
        "EnsembleHistory",
        "Gaussian",
        "History",
        "KernelChange",
        "Kernels",
        "LazyRegime",
    }
    results |= {"PINNHistory"}
    assert {*ntk.__all__} - names - results == {"choose_size"}  # takes whatever it is given


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_with_a_sentence(name):
    wrong = fault(name, CASES[name])
    assert wrong.startswith("accepted") if name in ACCEPTED else wrong == ""


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    print("| function, argument, what is bad | message |\n| --- | --- |")
    for name, call in CASES.items():
        try:
            call()
        except Exception as error:
            print(f"| {name} | {type(error).__name__}: {str(error).replace('|', '¦')} |")
