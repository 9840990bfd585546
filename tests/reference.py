"""Slow, naive twins of what the package computes, to compare it with."""

import math
import subprocess
import sys
import textwrap

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import nn

# --- the empirical kernel ------------------------------------------------------------------------


def outputs_at(model, point):
    """Return f (k,) at one point, which stands beside a copy of itself.

    In a batch of one, torch's own backward pass through BatchNorm2d and InstanceNorm2d is wrong
    where their output becomes tokens (torch 2.11 to 2.13, CPU).
    """
    return model(torch.stack([point, point]))[0].reshape(-1)


def kernel_by_loop(model, x1, x2):
    """Return (n1, n2, k, k), two loops over points and two over outputs, one gradient each.

    The real and the imaginary part of a complex parameter count as a parameter each.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]

    def gradients(point):
        return [
            torch.autograd.grad(
                output, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for output in outputs_at(model, point)
        ]

    def inner(gi, gj):
        return sum(torch.sum((g * h.conj()).real) for g, h in zip(gi, gj, strict=True))

    second = [gradients(point) for point in x2]
    first = second if x2 is x1 else [gradients(point) for point in x1]
    return torch.tensor(
        [[[[inner(gi, gj) for gj in b] for gi in a] for b in second] for a in first]
    )


def mlp_kernel_by_formula(model, x1, x2, activation, slope, sigma_w, sigma_b):
    """Return Σ_l [(σ_w²/n_l) ⟨h, h'⟩ + σ_b²] D D'ᵀ for one hidden layer, from its two matrices."""
    (w1, b1), (w2, _) = ((layer.weight, layer.bias) for layer in model.layers)
    d, n = x1.shape[1], len(w1)
    z1, z2 = (sigma_w / math.sqrt(d) * x @ w1.T + sigma_b * b1 for x in (x1, x2))
    last = sigma_w**2 / n * activation(z1) @ activation(z2).T + sigma_b**2
    first = sigma_w**2 / d * x1 @ x2.T + sigma_b**2
    d1, d2 = (sigma_w / math.sqrt(n) * w2 * slope(z)[:, None] for z in (z1, z2))
    share = first[:, :, None, None] * torch.einsum("aip,bjp->abij", d1, d2)
    return (share + last[:, :, None, None] * torch.eye(len(w2))).detach()


# --- networks and training ---------------------------------------------------------------------


def mlp_by_loop(weights, biases, x, activation, sigma_w, sigma_b, parameterization="ntk"):
    """Return f(x) of a multilayer perceptron, one point, one unit and one input at a time."""
    rows = []
    for point in x.tolist():
        h = point
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            scale, shift = 1.0, 1.0
            if parameterization == "ntk":
                scale, shift = sigma_w / math.sqrt(len(h)), sigma_b
            z = [
                scale * sum(w * value for w, value in zip(row, h, strict=True)) + shift * b
                for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
            ]
            h = z if layer == len(weights) - 1 else [activation(value) for value in z]
        rows.append(h)
    return torch.tensor(rows, dtype=x.dtype)


def jacobian_by_loop(model, x):
    """Return ∂f/∂θ as (n·k, P), point by point and output by output, by reverse mode."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for point in x:
        for output in outputs_at(model, point):
            gradient = torch.autograd.grad(output, parameters, retain_graph=True)
            rows.append(torch.cat([g.reshape(-1) for g in gradient]))
    return torch.stack(rows)


def descend_by_loop(model, x, y, learning_rate, steps, loss="mean"):
    """Train `model` sample by sample.

    Returns:
        The (steps + 1) losses and the outputs (steps + 1, …), shaped as y.
    """
    losses, outputs = [], []
    share = 1 / len(x) if loss == "mean" else 1
    for k in range(steps + 1):
        model.zero_grad()
        total, rows = 0.0, []
        for point, target in zip(x, y, strict=True):
            row = model(point[None]).reshape(target.shape)
            one = share * 0.5 * ((row - target) ** 2).sum()
            one.backward()
            total, rows = total + one.item(), [*rows, row.detach()]
        losses.append(total)
        outputs.append(torch.stack(rows))
        if k < steps:
            for p in model.parameters():
                if p.requires_grad:
                    p.data = p.data - learning_rate * p.grad
    model.zero_grad()
    return torch.tensor(losses, dtype=x.dtype), torch.stack(outputs)


# --- infinite width and training in function space ---------------------------------------------


def gaussian_pair_by_grid(phi, q1, q2, c, nodes=120):
    """Return E[phi(u) phi(v)] for a Gaussian pair, quadrant by quadrant; |correlation| < 0.98.

    Gauss–Legendre on a grid of (u, v) itself, so that a kink at 0 is a border, never inside.
    """
    points, weights = np.polynomial.legendre.leggauss(nodes)
    half, share = 4.5 * (points + 1), 4.5 * weights
    axis = torch.tensor(np.concatenate([-half[::-1], half]))
    mass = torch.tensor(np.concatenate([share[::-1], share]))
    u, v = math.sqrt(q1) * axis[:, None], math.sqrt(q2) * axis[None, :]
    determinant = q1 * q2 - c * c
    exponent = -(q2 * u * u - 2 * c * u * v + q1 * v * v) / (2 * determinant)
    density = torch.exp(exponent) / (2 * math.pi * math.sqrt(determinant))
    area = math.sqrt(q1 * q2) * mass[:, None] * mass[None, :]
    return float((area * density * phi(u) * phi(v)).sum())


def gaussian_square_by_grid(phi, q, nodes=200):
    """Return E[phi(u)²] for u ~ N(0, q), one half of the line at a time."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    u, mass = torch.tensor(5 * (points + 1)), torch.tensor(5 * weights)
    density = torch.exp(-u * u / 2) / math.sqrt(2 * math.pi)
    halves = (phi(math.sqrt(q) * sign * u) ** 2 for sign in (1, -1))
    return float(sum((mass * density * half).sum() for half in halves))


def infinite_kernels_by_loop(x1, x2, depth, phi, slope, sigma_w, sigma_b):
    """Return (NNGP, NTK) pair by pair, each expectation by a grid; no two points (anti)parallel."""
    nngp, ntk = torch.zeros(len(x1), len(x2)), torch.zeros(len(x1), len(x2))
    for i, a in enumerate(x1):
        for j, b in enumerate(x2):
            q1, q2, c = (
                sigma_w**2 * float(p @ q) / len(a) + sigma_b**2 for p, q in [(a, a), (b, b), (a, b)]
            )
            theta = c
            for _ in range(depth):
                if torch.equal(a, b):
                    both, slopes = (gaussian_square_by_grid(g, q1) for g in (phi, slope))
                else:
                    both, slopes = (gaussian_pair_by_grid(g, q1, q2, c) for g in (phi, slope))
                q1, q2 = (
                    sigma_w**2 * gaussian_square_by_grid(phi, q) + sigma_b**2 for q in (q1, q2)
                )
                c = sigma_w**2 * both + sigma_b**2
                theta = c + sigma_w**2 * slopes * theta
            nngp[i, j], ntk[i, j] = c, theta
    return nngp, ntk


def flow_by_ode(k_train, k_test_train, y, f0, f0_test, t, scale, ridge=0.0):
    """Integrate df/dt = −scale · [K (f − y) + ridge (f − f0)]; return train and test outputs."""
    n = len(y)
    start = torch.cat([f0, f0_test]).numpy()

    def velocity(_, f):
        residual = f[:n] - y.numpy()
        push = np.concatenate([k_train.numpy() @ residual, k_test_train.numpy() @ residual])
        return -scale * (push + ridge * (f - start))

    end = solve_ivp(velocity, (0, t), start, rtol=1e-10, atol=1e-12, method="DOP853").y[:, -1]
    return torch.tensor(end[:n]), torch.tensor(end[n:])


def descend_in_function_space(k_train, k_test_train, y, f0, f0_test, learning_rate, steps, scale):
    """Take Euler steps f ← f − η · scale · K (f(X) − y); return train and test outputs."""
    for _ in range(steps):
        residual = f0 - y
        f0 = f0 - learning_rate * scale * k_train @ residual
        f0_test = f0_test - learning_rate * scale * k_test_train @ residual
    return f0, f0_test


# --- physics-informed networks ------------------------------------------------------------------


def second_derivative_by_autograd(model, x):
    """Return u'' (n,) at points (n, 1), differentiable in the parameters."""
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
    return curvature[:, 0]


def pinn_kernel_by_loop(model, x_boundary, x_interior, operator):
    """Return the kernel of (u(x_b); Lu(x_r)), row by row; `operator(model, x)` returns (n,)."""
    return kernel_of_rows(model, [model(x_boundary).reshape(-1), operator(model, x_interior)])


def kernel_of_rows(model, values):
    """Return the kernel of the values (n_i,) of several terms, one backward pass for each row."""
    parameters = list(model.parameters())
    rows = [
        torch.autograd.grad(
            value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for value in torch.cat(values)
    ]

    def product(a, b):  # of real and imaginary parts, if they are complex
        return sum(float((g * h.conj()).real.sum()) for g, h in zip(a, b, strict=True))

    return torch.tensor([[product(a, b) for b in rows] for a in rows])


def train_terms_by_loop(model, terms, rate, steps, factors):
    """Descend on Σ_i factor_i Σ ½ (value − target)²; return the values and the loss at the end.

    A term is (points, operator(model, x) → (n,), target).
    """
    for k in range(steps + 1):
        values = [operator(model, x) for x, operator, _ in terms]
        wrong = [v - target for v, (_, _, target) in zip(values, terms, strict=True)]
        loss = sum(c * 0.5 * (r**2).sum() for c, r in zip(factors, wrong, strict=True))
        if k == steps:
            return [value.detach() for value in values], loss.detach()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for p, gradient in zip(model.parameters(), gradients, strict=True):
            p.data = p.data - rate * gradient


def train_pinn_by_loop(model, problem, x_boundary, x_interior, rate, steps, factors):
    """Descend on a Σ ½ (u − g)² + c Σ ½ (u'' − f)² with (a, c) = factors; return u and u''."""
    for k in range(steps + 1):
        u, curvature = model(x_boundary), second_derivative_by_autograd(model, x_interior)
        if k == steps:
            return u.detach()[:, 0], curvature.detach()
        wrong_b = u - problem.solution(x_boundary)
        wrong_r = curvature - problem.forcing(x_interior)[:, 0]
        loss = 0.5 * (factors[0] * (wrong_b**2).sum() + factors[1] * (wrong_r**2).sum())
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for p, gradient in zip(model.parameters(), gradients, strict=True):
            p.data = p.data - rate * gradient


class Attentive(nn.Module):
    """A layer of a transformer and a mean; its fast kernels know neither vmap nor forward mode."""

    def __init__(self):
        """Draw the layers, without dropout."""
        super().__init__()
        options = {"batch_first": True, "dropout": 0.0}
        self.layer, self.last = nn.TransformerEncoderLayer(8, 2, 16, **options), nn.Linear(8, 1)

    def forward(self, x):
        """Return (n, 1) for (n, tokens, 8)."""
        return self.last(self.layer(x).mean(1))


class Written(nn.Module):
    """A model written as a function of itself and the points; `parts` become its attributes."""

    def __init__(self, written, **parts):
        """Keep the function and the parts."""
        super().__init__()
        self.written = written
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.written(self, x)


MEASURE = """
import threading, time, psutil, torch
import ntk_helpers as ntk
from torch import nn
torch.set_num_threads(1)
torch.manual_seed(0)
{setup}
process, peak, done = psutil.Process(), 0, False
def watch():
    global peak
    while not done:
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.001)
before, watcher = process.memory_info().rss, threading.Thread(target=watch)
watcher.start()
result = {call}
done = True
watcher.join()
taken = peak - before
print({told})
"""


def peak_memory(setup, call=None, told="(taken - result.nbytes) / 2**20"):
    """Return what the code `told` makes of the bytes `taken` by a `call` after a `setup`.

    Without a call it is the kernel of `model` at `x`, which `setup` defines, and what is told are
    the MB that it takes beyond itself.
    """
    setup = textwrap.dedent(setup)
    if call is None:
        setup += '\nntk.empirical_ntk(model, x[:2], outputs="trace")'
        call = 'ntk.empirical_ntk(model, x, outputs="trace")'
    code = MEASURE.format(setup=setup, call=call, told=told)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)
