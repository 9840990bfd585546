"""Numbers and laws that others published, met by what the package computes."""

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import ntk_helpers as ntk

RELU = {"activation": "relu", "sigma_w": math.sqrt(2), "sigma_b": 0.0}


def arc_cosines(q1, q2, c):
    """Return E[φ(u) φ(v)] and E[φ'(u) φ'(v)] of a ReLU as Cho & Saul 2009 write them."""
    angle = math.acos(max(-1.0, min(1.0, c / math.sqrt(q1 * q2))))
    both = math.sqrt(q1 * q2) * (math.sin(angle) + (math.pi - angle) * math.cos(angle))
    return both / (2 * math.pi), (math.pi - angle) / (2 * math.pi)


def recursion(x, depth, first, weight_variance=1.0, bias_variance=0.0):
    """Return covariance and tangent kernel as matrices, entry by entry, from `first` (x·x')."""
    nngp = [[first(float(a @ b)) for b in x] for a in x]
    ntk, indices = [row[:] for row in nngp], range(len(x))
    for _ in range(depth):
        pairs = [
            [arc_cosines(nngp[i][i], nngp[j][j], nngp[i][j]) for j in indices] for i in indices
        ]
        nngp = [[weight_variance * both + bias_variance for both, _ in row] for row in pairs]
        ntk = [
            [nngp[i][j] + weight_variance * pairs[i][j][1] * ntk[i][j] for j in indices]
            for i in indices
        ]
    return torch.tensor(nngp), torch.tensor(ntk)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_kernels_of_three_libraries(depth):
    # No point twice: arccos near 1 loses half the digits.
    x, d = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), 3

    # scikit-ntk 1.2.1: (depth + 1) · NeuralTangentKernel(depth, bias=0)(x)
    _, wanted = recursion(x, depth, lambda c: c, 2.0)
    got = ntk.infinite_kernels(math.sqrt(d / 2) * x, depth=depth, **RELU).ntk
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=0)

    # Arora et al. 2020, arXiv:1910.01663, the kernel of their experiments on UCI data
    _, wanted = recursion(x, depth, lambda c: c)
    got = ntk.infinite_kernels(math.sqrt(d) * x, depth=depth, activation="relu", sigma_b=0.0).ntk
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=0)

    # BoTorch, InfiniteWidthBNNKernel(depth), weight_var = 1.7, bias_var = 0.3
    wanted, _ = recursion(x, depth, lambda c: 1.7 * c / d + 0.3, 1.7, 0.3)
    settings = {"sigma_w": math.sqrt(1.7), "sigma_b": math.sqrt(0.3)}
    got = ntk.infinite_kernels(x, depth=depth, activation="relu", **settings).nngp
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=0)


# arXiv:2508.11522: a ReLU network of 3 hidden layers without biases, C_W = 2. Its Θ is ours / C_W.
POINTS = (
    (-0.9895229339599609, -0.5992491841316223),
    (-0.17877478897571564, 2.253682851791382),
)
THETA = (2.6765104430302884, 0.99886503184261)


def test_the_infinite_kernel_of_a_deep_relu_network():
    kernel = ntk.infinite_kernels(torch.tensor(POINTS), depth=3, **RELU).ntk / 2
    assert kernel[0].tolist() == pytest.approx(THETA, rel=1e-12)


class Sum(nn.Module):
    """The sum of many such networks, drawn apart: its kernel is the sum of their kernels."""

    def __init__(self, networks, n):
        """Draw the weights of each layer, (networks, inputs, outputs)."""
        super().__init__()
        sizes = [(2, n), (n, n), (n, n), (n, 1)]
        self.layers = nn.ParameterList(torch.randn(networks, *size) for size in sizes)

    def forward(self, x):
        *hidden, last = (math.sqrt(2 / w.shape[1]) * w for w in self.layers)
        h = x.expand(len(last), *x.shape)
        for w in hidden:
            h = torch.relu(h @ w)
        return (h @ last).sum(0)


def test_a_finite_width_moves_the_mean_kernel_off_the_diagonal_only():
    torch.manual_seed(0)
    x, networks = torch.tensor(POINTS), 2500
    draws = (ntk.empirical_ntk(Sum(networks, 20), x, outputs="trace")[0] for _ in range(20))
    means = torch.stack(list(draws)) / networks / 2
    mean, error = means.mean(0), means.std(0) / math.sqrt(len(means))
    assert abs(mean[0] - THETA[0]) < 4 * error[0]  # a theorem: no correction at any width
    assert abs(mean[1] - 0.93473) < 4 * math.hypot(error[1], 0.00132)
    assert THETA[1] - mean[1] > 6 * error[1]


# Novak, Sohl-Dickstein, Schoenholz 2022, arXiv:2206.08720, table 1: time of a fully connected
# network of L layers of width W, for N points and O outputs.
TABLE_1 = {
    "jacobian": lambda L, W, k, N: N**2 * k**2 * (L * W**2 + k * W),
    "ntvp": lambda L, W, k, N: N**2 * k * (L * W**2 + k * W),
    "layerwise": lambda L, W, k, N: N * k * L * W**2 + N**2 * k**2 * L * W + N**2 * k**3,
}


@pytest.mark.parametrize("method", TABLE_1)
def test_each_method_costs_what_table_1_says(method):
    ratios = []
    for width, outputs, points in [(128, 8, 8), (256, 8, 8), (128, 16, 8), (128, 8, 16)]:
        model, x = ntk.MLP(width, width, outputs, depth=3, seed=0), torch.randn(2, points, width)
        with FlopCounterMode(display=False) as counter:
            ntk.empirical_ntk(model, *x, method=method)
        ratios.append(counter.get_total_flops() / TABLE_1[method](3, width, outputs, points) / 2)
    assert max(ratios) < 1.25 * min(ratios)


def test_learnabilities_sum_to_the_number_of_samples():
    # Simon, Dickens, Karkada, DeWeese 2021, arXiv:2110.03922, on 256 points of a circle
    m, n = 256, 12
    angle = 2 * math.pi * torch.arange(m) / m
    kernel = ntk.infinite_kernels(torch.stack([angle.cos(), angle.sin()], 1), depth=2, **RELU).ntk
    _, modes = torch.linalg.eigh(kernel)
    at = torch.randperm(m, generator=torch.Generator().manual_seed(0))[:n]
    learned = ntk.KernelDynamics(kernel[at][:, at], modes[at]).test(math.inf, kernel[:, at])
    assert (modes * learned).sum() == pytest.approx(n, rel=1e-9)
