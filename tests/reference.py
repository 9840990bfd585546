"""Slow, naive twins of what the package computes, to compare it with."""

import math

import torch

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
        for output in model(point[None]).reshape(-1):
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
