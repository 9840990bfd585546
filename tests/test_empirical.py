"""The empirical kernel: every method against a double loop, its laws, its memory, its refusals."""

import subprocess
import sys

import pytest
import torch
from reference import kernel_by_loop, mlp_kernel_by_formula, peak_memory
from torch import nn
from torch.nn.functional import gelu, linear
from torch.utils.flop_counter import FlopCounterMode

import ntk_helpers as ntk
from ntk_helpers.kernels import _factors, _layers

METHODS = ["layerwise", "jacobian", "ntvp", "auto"]
OUTPUTS = ["full", "diagonal", "trace"]


def select(kernel, outputs):
    """Return the part of a full kernel that `outputs` asks for."""
    same = kernel.diagonal(dim1=2, dim2=3)
    return {"full": kernel, "diagonal": same, "trace": same.sum(-1)}[outputs]


def assert_same(got, wanted, tolerance=1e-10):
    """Fail unless the two agree in shape, and relative to the norm."""
    assert got.shape == wanted.shape
    assert (got - wanted).norm() <= tolerance * wanted.norm()


class Attention(nn.Module):
    """A transformer block, written out: softmax attention, LayerNorm, residuals, GELU."""

    def __init__(self, width=6, tokens=4, outputs=2):
        """Draw the layers."""
        super().__init__()
        self.queries, self.keys, self.values = (nn.Linear(width, width) for _ in range(3))
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 8), nn.Linear(8, width)
        self.place = nn.Parameter(torch.randn(tokens, width))
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        """Return (n, k) for (n, tokens, width)."""
        x = x + self.place
        h = self.before(x)
        weights = (self.queries(h) @ self.keys(h).mT).softmax(-1)
        x = x + weights @ self.values(h)
        x = x + self.down(gelu(self.up(self.after(x))))
        return self.head(x.mean(1))


class Multihead(nn.Module):
    """nn.MultiheadAttention, whose weights are used without a call of their module."""

    def __init__(self):
        """Draw the layers."""
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        """Return (n, 2) for (n, tokens, 4)."""
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Twice(nn.Module):
    """One layer called twice, and a bare parameter."""

    def __init__(self):
        """Draw the layers."""
        super().__init__()
        self.layer, self.head = nn.Linear(3, 3), nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.randn(2))

    def forward(self, x):
        """Return (n, 2)."""
        return self.scale * self.head(torch.tanh(self.layer(torch.tanh(self.layer(x)))))


class Tied(nn.Module):
    """Two layers that share one weight; a third whose weight is used once more by hand."""

    def __init__(self):
        """Draw the layers."""
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight

    def forward(self, x):
        """Return (n, 3)."""
        h = torch.tanh(self.c(torch.sin(self.b(torch.tanh(self.a(x))))))
        return linear(h, self.c.weight)


class Aside(nn.Module):
    """Parameters used outside of their module: one bypasses a call, two calls lead nowhere."""

    def __init__(self):
        """Draw the layers."""
        super().__init__()
        self.a, self.b, self.unused = nn.Linear(3, 3), nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, x):
        """Return (n, 2)."""
        self.a(x + 1)
        self.b(x)
        return linear(torch.tanh(self.a(x)), self.b.weight)


class TokensFirst(nn.Module):
    """A layer inside works on (tokens, n, width): its first axis is not the batch."""

    def __init__(self):
        """Draw the layers."""
        super().__init__()
        self.layer, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        """Return (n, 2) for (n, tokens, 3)."""
        return self.head(torch.tanh(self.layer(x.transpose(0, 1))).transpose(0, 1).sum(1))


class Gain(nn.Module):
    """A model whose only parameter is its own."""

    def __init__(self):
        """Begin at 1."""
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, x):
        """Return (n, 3)."""
        return torch.tanh(self.gain * x)


class Squeeze(nn.Module):
    """A network with outputs (n,), and a LayerNorm over features."""

    def __init__(self):
        """Draw the layers."""
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, x):
        """Return (n,)."""
        return self.layers(x).squeeze(1)


def frozen():
    """Return an MLP with a frozen weight, a frozen bias and a frozen layer."""
    model = ntk.MLP(3, 6, 2, depth=3, seed=0)
    model.layers[0].weight.requires_grad_(False)
    model.layers[1].bias.requires_grad_(False)
    model.layers[2].requires_grad_(False)
    return model


def tutorial_cnn(size=8):
    """Return the network of PyTorch's tutorial on the NTK, on smaller pictures."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3),
        nn.Flatten(), nn.Linear((size - 6) ** 2 * 32, 10),
    )  # fmt: skip


def odd_cnn():
    """Return strided, padded, dilated, grouped and reflecting convolutions and a GroupNorm."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3, dilation=2, padding="same"), nn.GroupNorm(2, 4), nn.Tanh(),
        nn.Conv2d(4, 4, 2, groups=2), nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 3, (1, 2), padding=(1, 0), bias=False), nn.Flatten(), nn.Linear(54, 2),
    )  # fmt: skip


def plain_cnn():
    """Return a convolution whose stride, padding and dilation differ along both axes."""
    return nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 3)),
        nn.Tanh(), nn.Flatten(), nn.Linear(80, 2),
    )  # fmt: skip


def parametrised():
    """Return a layer whose weight is a function of a parameter."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    nn.utils.parametrize.register_parametrization(model[0], "weight", nn.Softplus())
    return model


class Standardised(nn.Conv2d):
    """A convolution that takes the mean off its weights: forward is that of nn.Conv2d."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean((1, 2, 3), keepdim=True), bias)


class Sorts(nn.Module):
    """Two layers that see the rows in another order, as those of packed sequences."""

    def __init__(self):
        """Draw the layers."""
        super().__init__()
        self.layer, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        """Return (n, 2)."""
        order = x[:, 0].argsort()
        return self.head(torch.tanh(self.layer(x[order])))[order.argsort()]


class Recurrent(nn.Module):
    """A recurrent network, read off its last step."""

    def __init__(self, kind):
        """Draw the layers."""
        super().__init__()
        self.cells, self.head = kind(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        """Return (n, 2) for (n, steps, 3)."""
        return self.head(self.cells(x)[0][:, -1])


MODELS = {
    "mlp": (lambda: ntk.MLP(3, 7, 2, depth=2, seed=0), (3,)),
    "standard mlp": (lambda: ntk.MLP(3, 7, depth=2, parameterization="standard", seed=0), (3,)),
    "frozen": (frozen, (3,)),
    "no bias": (
        lambda: nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 2)), (3,)
    ),
    "mlp inside": (lambda: nn.Sequential(nn.Linear(3, 3), ntk.MLP(3, 4, 2, seed=0)), (3,)),
    "squeeze": (Squeeze, (3,)),
    "twice": (Twice, (3,)),
    "tied": (Tied, (3,)),
    "aside": (Aside, (3,)),
    "tokens first": (TokensFirst, (3, 3)),
    "wide tokens": (
        lambda: nn.Sequential(nn.Linear(40, 40), nn.Tanh(), nn.Flatten(), nn.Linear(80, 2)),
        (2, 40),
    ),
    "attention": (Attention, (4, 6)),
    "multihead": (Multihead, (3, 4)),
    "encoder": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), nn.Flatten(), nn.Linear(12, 2)
        ).eval(),
        (3, 4),
    ),
    "plain cnn": (plain_cnn, (2, 7, 4)),
    "odd cnn": (odd_cnn, (2, 9, 9)),
    "standardised": (
        lambda: nn.Sequential(Standardised(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2)),
        (2, 4, 4),
    ),
    "sorts": (Sorts, (3,)),
    "prelu": (lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU(4), nn.Linear(4, 2)), (3,)),
    "batch norm": (lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval(), (3,)),
    "parametrised": (parametrised, (3,)),
    "embedding": (lambda: nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)), None),
    "padded": (
        lambda: nn.Sequential(nn.Embedding(5, 3, padding_idx=1), nn.Flatten(), nn.Linear(6, 2)),
        None,
    ),
}  # fmt: skip


def make(name, n1=4, n2=3, among=MODELS):
    """Return a model of `MODELS`, or of others, and two sets of points for it."""
    torch.manual_seed(0)
    build, shape = among[name]
    model = build()
    if shape is None:
        return model, torch.randint(5, (n1, 2)), torch.randint(5, (n2, 2))
    return model, torch.randn(n1, *shape), torch.randn(n2, *shape)


@pytest.mark.parametrize(
    "name",
    ["no bias", "mlp inside", "wide tokens", "plain cnn", "embedding", "padded", "attention"],
)
def test_layers_of_the_usual_kinds_are_taken_for_what_they_are(name, monkeypatch):
    """What is refuted gives the same kernel, more slowly: no other test would notice."""
    monkeypatch.setattr(_layers.Layers, "_refute", lambda self, name: pytest.fail(name))
    if name != "attention":  # its LayerNorms are differentiated
        monkeypatch.setattr(_factors, "pull_back", lambda *arguments: pytest.fail("differentiated"))
    model, x, z = make(name)
    ntk.empirical_ntk(model, x, z, method="layerwise")


@pytest.mark.parametrize("name", MODELS)
def test_every_method_equals_the_double_loop(name):
    model, x1, x2 = make(name)
    wanted, square = kernel_by_loop(model, x1, x2), kernel_by_loop(model, x1, x1)
    for method in METHODS:
        for outputs in OUTPUTS:
            got = ntk.empirical_ntk(model, x1, x2, outputs=outputs, method=method)
            assert_same(got, select(wanted, outputs))
        assert_same(ntk.empirical_ntk(model, x1, method=method), square)


class Mean(nn.Module):
    """A layer for each token, and the mean over tokens."""

    def __init__(self):
        """Draw the layers."""
        super().__init__()
        self.layer, self.head = nn.Linear(8, 9), nn.Linear(9, 4)

    def forward(self, x):
        """Return (n, 4) for (n, tokens, 8)."""
        return self.head(torch.tanh(self.layer(x)).mean(1))


def pooled():
    """Return a convolution whose pictures may have any size."""
    return nn.Sequential(nn.Conv2d(1, 2, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("build", "shape", "other"),
    [
        (pooled, (1, 4, 4), (1, 5, 6)),
        (Mean, (2, 8), (3, 8)),
        (Mean, (1, 8), (2, 8)),
        (Mean, (2, 8), (1, 8)),
    ],
)
def test_points_of_both_sides_may_have_other_sizes(build, shape, other, method, outputs):
    torch.manual_seed(0)
    model, x1, x2 = build(), torch.randn(3, *shape), torch.randn(4, *other)
    wanted = select(kernel_by_loop(model, x1, x2), outputs)
    assert_same(ntk.empirical_ntk(model, x1, x2, method=method, outputs=outputs), wanted)


LOOPED = {
    # torch.func.vmap takes sums over the batch for derivatives in a PReLU, if the sizes agree
    "prelu": (lambda: nn.Sequential(nn.Linear(3, 2), nn.PReLU(), nn.Linear(2, 2)), (3,)),
    "prelu, one output": (lambda: nn.Sequential(nn.PReLU(), nn.Linear(3, 1)), (3,)),
    "sparse": (
        lambda: nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(6, 2)),
        None,
    ),
    "gru": (lambda: Recurrent(nn.GRU), (5, 3)),
    "lstm": (lambda: Recurrent(nn.LSTM), (5, 3)),
    "cell": (lambda: nn.Sequential(nn.GRUCell(3, 4), nn.Linear(4, 2)), (3,)),
    "branch": (lambda: Returns(branch), (3,)),
    "branch inside": (lambda: nn.Sequential(Returns(branch), nn.Tanh(), nn.Linear(2, 2)), (3,)),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", LOOPED)
def test_what_vmap_cannot_do_or_gets_wrong_is_done_in_a_loop(name, method):
    torch.manual_seed(0)
    model, x1, x2 = make(name, 2, 3, LOOPED)
    assert_same(ntk.empirical_ntk(model, x1, x2, method=method), kernel_by_loop(model, x1, x2))


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_the_tutorial_cnn_equals_the_double_loop(outputs):
    torch.manual_seed(0)
    model, x1, x2 = tutorial_cnn(), torch.randn(2, 3, 8, 8), torch.randn(1, 3, 8, 8)
    wanted = select(kernel_by_loop(model, x1, x2), outputs)
    for method in ["layerwise", "jacobian"]:
        assert_same(ntk.empirical_ntk(model, x1, x2, outputs=outputs, method=method), wanted)


@pytest.mark.parametrize("method", METHODS)
def test_float32_agrees_with_float64(method):
    for name in ["mlp", "attention", "odd cnn"]:
        model, x1, x2 = make(name)
        wanted = ntk.empirical_ntk(model, x1, x2)
        got = ntk.empirical_ntk(model.float(), x1.float(), x2.float(), method=method)
        assert got.dtype == torch.float32
        assert_same(got.double(), wanted, 1e-4)


def test_the_kernel_of_a_network_equals_the_formula_with_its_scales():
    model = ntk.MLP(3, 9, 2, activation="tanh", sigma_w=1.5, sigma_b=0.4, seed=0)
    x1, x2 = torch.randn(4, 3), torch.randn(5, 3)
    wanted = mlp_kernel_by_formula(model, x1, x2, torch.tanh, lambda z: 1 - z.tanh() ** 2, 1.5, 0.4)
    for method in METHODS:
        assert_same(ntk.empirical_ntk(model, x1, x2, method=method), wanted)


def test_the_kernel_of_a_linear_model_is_the_inner_product_plus_one():
    model, x1, x2 = nn.Linear(3, 2), torch.randn(4, 3), torch.randn(5, 3)
    wanted = (x1 @ x2.T + 1)[:, :, None, None] * torch.eye(2)
    for method in METHODS:
        assert_same(ntk.empirical_ntk(model, x1, x2, method=method), wanted)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["mlp", "attention", "twice"])
def test_the_square_kernel_is_exactly_symmetric_and_positive(name, method):
    model, x, _ = make(name, n1=7)
    kernel = ntk.empirical_ntk(model, x, method=method, chunk_size=3)
    assert torch.equal(kernel, kernel.transpose(0, 1).transpose(2, 3))
    n, k = len(x), kernel.shape[2]
    eigenvalues = torch.linalg.eigvalsh(kernel.permute(0, 2, 1, 3).reshape(n * k, n * k))
    assert eigenvalues[0] >= -1e-10 * eigenvalues[-1]
    for outputs in ["diagonal", "trace"]:
        part = ntk.empirical_ntk(model, x, outputs=outputs, method=method)
        assert torch.equal(part, part.transpose(0, 1))


@pytest.mark.parametrize("method", METHODS)
def test_exchanging_the_points_transposes_the_kernel(method):
    model, x1, x2 = make("attention")
    kernel = ntk.empirical_ntk(model, x1, x2, method=method)
    assert_same(ntk.empirical_ntk(model, x2, x1, method=method).permute(1, 0, 3, 2), kernel)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["mlp", "odd cnn", "twice"])
def test_chunks_change_nothing(name, method):
    model, x1, x2 = make(name, n1=7, n2=5)
    for outputs in OUTPUTS:
        whole = ntk.empirical_ntk(model, x1, x2, outputs=outputs, method=method)
        square = ntk.empirical_ntk(model, x1, outputs=outputs, method=method)
        for chunk_size in [1, 2, 3]:
            options = {"outputs": outputs, "method": method, "chunk_size": chunk_size}
            assert_same(ntk.empirical_ntk(model, x1, x2, **options), whole, 1e-12)
            assert_same(ntk.empirical_ntk(model, x1, **options), square, 1e-12)


def test_many_points_are_contracted_in_tiles_without_a_seam():
    model, x = ntk.MLP(2, 3, 2, seed=0), torch.randn(1100, 2)
    j = torch.func.vmap(
        torch.func.jacrev(lambda t, p: torch.func.functional_call(model, t, (p,))), (None, 0)
    )({name: p.detach() for name, p in model.named_parameters()}, x)
    j = torch.cat([leaf.flatten(2) for leaf in j.values()], 2)
    for outputs, wanted in {
        "full": torch.einsum("aip,bjp->abij", j, j),
        "diagonal": torch.einsum("aip,bip->abi", j, j),
        "trace": torch.einsum("aip,bip->ab", j, j),
    }.items():
        assert_same(ntk.empirical_ntk(model, x, outputs=outputs), wanted)
        assert_same(ntk.empirical_ntk(model, x, x[:1050], outputs=outputs), wanted[:, :1050])


def test_a_residual_block_is_contracted_layer_by_layer_and_not_by_its_jacobian():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.norm = nn.Linear(3, 64), nn.Linear(64, 64), nn.LayerNorm(64)

        def forward(self, x):
            h = self.a(x)
            return h[:, :1] + torch.tanh(self.b(self.norm(h)))[:, :1]

    model, x, flops = Residual(), torch.randn(100, 3), {}
    for method in ["auto", "jacobian"]:
        with FlopCounterMode(display=False) as counter:
            ntk.empirical_ntk(model, x, outputs="trace", method=method)
        flops[method] = counter.get_total_flops()
    assert flops["auto"] < 0.2 * flops["jacobian"]


def test_layers_sum_to_the_whole():
    for name in MODELS:
        model, x1, x2 = make(name)
        for points in [(x1,), (x1, x2)]:
            parts = ntk.layer_ntks(model, *points, outputs="trace")
            whole = ntk.empirical_ntk(model, *points, outputs="trace", method="jacobian")
            assert_same(sum(parts.values()), whole)


def test_each_layer_has_the_kernel_of_its_own_parameters():
    model, x1, x2 = make("twice")
    parts = ntk.layer_ntks(model, x1, x2)
    assert set(parts) == {"layer", "head", "Twice"}
    for name, owner in {"layer": model.layer, "head": model.head}.items():
        model.requires_grad_(False)
        owner.requires_grad_(True)
        assert_same(parts[name], kernel_by_loop(model, x1, x2))
    model.requires_grad_(False)
    model.scale.requires_grad_(True)
    assert_same(parts["Twice"], kernel_by_loop(model, x1, x2))


# --- what it leaves behind ------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_as_found(method):
    for name in ["attention", "batch norm"]:
        model, x1, _ = make(name)
        calls, modes = [], [module.training for module in model.modules()]
        handle = model.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        kernel = ntk.empirical_ntk(model, x1.requires_grad_(), method=method)
        assert not kernel.requires_grad
        assert x1.grad is None
        assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert modes == [module.training for module in model.modules()]
        assert sum(len(module._forward_hooks) for module in model.modules()) == 1
        handle.remove()


def test_hooks_are_gone_after_an_error():
    class Breaks(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            if len(self.layer(x)) > 1:
                raise RuntimeError("broken on purpose")
            return self.layer(x)

    model = Breaks()
    with pytest.raises(RuntimeError, match="on purpose"):
        ntk.empirical_ntk(model, torch.randn(3, 2))
    assert not model.layer._forward_hooks


def test_grad_modes_do_not_matter():
    model, x1, x2 = make("attention")
    wanted = ntk.empirical_ntk(model, x1, x2)
    with torch.no_grad():
        assert torch.equal(ntk.empirical_ntk(model, x1, x2), wanted)
    with torch.inference_mode():
        assert torch.equal(ntk.empirical_ntk(model, x1.clone(), x2), wanted)


def test_buffers_that_a_forward_pass_moves_are_not_moved():
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), nn.Tanh())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    ntk.empirical_ntk(model, torch.randn(4, 3), method="layerwise")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_memory_of_an_mlp_stays_within_the_working_set():
    setup = """
        from ntk_helpers.kernels import _mlp
        _mlp.WORKING_SET = 40 * 2**20
        model, x = ntk.MLP(20, 256, depth=8, activation="relu", seed=0), torch.randn(2500, 20)
    """
    assert peak_memory(setup) <= 60


# --- refusals -------------------------------------------------------------------------------------


class Returns(nn.Module):
    """A model whose forward is a given function of its one layer's output."""

    def __init__(self, f):
        """Draw the layers."""
        super().__init__()
        self.layer, self.f = nn.Linear(3, 2), f

    def forward(self, x):
        """Return what the function makes of the layer."""
        return self.f(self.layer(x))


def branch(z):
    """Return another function for each sign of the first entry: control flow on values."""
    return torch.stack([row * 2 if row[0] > 0 else row for row in z])


def nan_later(z):
    """Return a finite value whose derivative is infinite."""
    return (z * 0).sqrt() + 1


LINE = nn.Linear(3, 1)
MIXES = ({}, ValueError, "another output alone than")
REFUSALS = {
    "no module": (abs, {}, TypeError, "model must be a torch.nn.Module; got builtin"),
    "no parameter": (nn.Tanh(), {}, ValueError, "no trainable parameter"),
    "method": (LINE, {"method": "fast"}, ValueError, "method must be one of 'auto'"),
    "outputs": (LINE, {"outputs": "all"}, ValueError, "outputs must be one of 'full'"),
    "chunk 0": (LINE, {"chunk_size": 0}, ValueError, "chunk_size must be at least 1"),
    "chunk ½": (LINE, {"chunk_size": 0.5}, TypeError, "chunk_size must be an integer"),
    "list": (LINE, {"x2": [1.0]}, TypeError, "x2 must be a torch.Tensor; got list"),
    "empty": (LINE, {"x2": torch.ones(0, 3)}, ValueError, "x2 is empty"),
    "number": (LINE, {"x2": torch.tensor(1.0)}, ValueError, r"rows, so one is x2\[None\]"),
    "nan": (LINE, {"x2": torch.full((1, 3), torch.nan)}, ValueError, "3 value.s. that are NaN"),
    "dtype": (LINE, {"x2": torch.ones(1, 3).half()}, TypeError, "x2 is torch.float16 but"),
    "device": (LINE, {"x2": torch.ones(1, 3, device="meta")}, ValueError, "x2 is on meta"),
    "batch norm": (nn.BatchNorm1d(3), {}, ValueError, "mixes the rows of a batch"),
    "dropout": (nn.Sequential(LINE, nn.Dropout()), {}, ValueError, "it is random"),
    "mixes": (Returns(lambda z: z - z.mean(0)), *MIXES),
    "counts": (Returns(lambda z: z / (1 + len(z))), {"method": "jacobian"}, *MIXES[1:]),
    "tuple": (Returns(lambda z: (z, z)), {}, TypeError, "must return one tensor, .* got tuple"),
    "three axes": (Returns(lambda z: z[:, None]), {}, ValueError, r"got shape \(2, 1, 2\)"),
    "one number": (Returns(torch.sum), {}, ValueError, r"n = 2 point\(s\); got shape \(\)"),
    "nan outputs": (Returns(lambda z: z * torch.nan), {}, ValueError, "values that are NaN"),
    "nan kernel": (Returns(nan_later), {}, ValueError, "a derivative is infinite"),
    "detached": (Returns(torch.detach), {}, ValueError, "does not depend on its trainable param"),
    "sums up": (Returns(lambda z: z.cumsum(0)), *MIXES),
    "sums down": (Returns(lambda z: z.flip(0).cumsum(0).flip(0)), *MIXES),
    "mirrors": (Returns(lambda z: z + z.flip(0)), *MIXES),
    "mixes, ntvp": (Returns(lambda z: z - z.mean(0)), {"method": "ntvp"}, *MIXES[1:]),
    "too large": (nn.Linear(1, 1), {"x1": torch.ones(4_000_000, 1)}, MemoryError, "64,000.0 GB"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_refused_with_a_remedy(case):
    model, options, error, message = REFUSALS[case]
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    with pytest.raises(error, match=message):
        ntk.empirical_ntk(model, **{"x1": torch.randn(4, 3)} | options)
    if isinstance(model, nn.Module):
        assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n1", "n2"), [(1, 2), (2, 1), (1, 3), (2, 2)])
def test_mixing_is_found_where_few_points_meet(n1, n2, method):
    model, x = Returns(lambda z: z - z.mean(0)), torch.randn(n1 + n2, 3)
    with pytest.raises(ValueError, match="another output alone than"):
        ntk.empirical_ntk(model, x[:n1], x[n1:], method=method)


def test_a_layer_called_only_for_some_batches_is_refused():
    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.a(x) + (self.b(x) if len(x) < 5 else 0)

    with pytest.raises(ValueError, match="another output alone than"):
        ntk.empirical_ntk(Sometimes(), torch.randn(5, 3), method="layerwise")


def test_in_place_writes_are_no_obstacle_to_the_layerwise_method():
    torch.manual_seed(0)
    model, x = Returns(lambda z: z.add_(1).tanh_() if z.sum() > -99 else z), torch.randn(4, 3)
    assert_same(ntk.empirical_ntk(model, x, method="layerwise"), kernel_by_loop(model, x, x))


def test_a_bar_counts_the_blocks_where_there_are_several(monkeypatch):
    bars, model, x = [], nn.Linear(2, 1), torch.eye(2)
    seen = lambda blocks, name, **options: bars.append((len(blocks), options)) or blocks  # noqa: E731
    monkeypatch.setattr("ntk_helpers.kernels.empirical.tqdm", seen)
    ntk.empirical_ntk(model, x, x, chunk_size=2)
    assert bars == []
    ntk.empirical_ntk(model, x.repeat(2, 1), x, chunk_size=2)
    assert bars == [(2, {"unit": "block", "leave": False, "delay": 2})]


@pytest.mark.parametrize("before", [True, False])
def test_the_fast_path_of_attention_is_left_as_it_was(before):
    usual = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(before)
        ntk.empirical_ntk(nn.Linear(2, 1), torch.eye(2))
        assert torch.backends.mha.get_fastpath_enabled() is before
    finally:
        torch.backends.mha.set_fastpath_enabled(usual)


@pytest.mark.filterwarnings("ignore")  # of what compiles
def test_a_compiled_model_has_the_kernel_of_the_model():
    model, x, _ = make("squeeze")
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    for method in METHODS:
        found = ntk.empirical_ntk(compiled, x, method=method)
        assert torch.equal(found, ntk.empirical_ntk(model, x, method=method))
    assert ntk.layer_ntks(compiled, x).keys() == ntk.layer_ntks(model, x).keys()
    own = ntk.layer_ntks(torch.compile(Gain(), backend="eager"), x)
    assert own.keys() == {"Gain"}


@pytest.mark.parametrize(
    "call",
    [
        "ntk.empirical_ntk(torch.nn.Linear(1, 1), torch.ones(1, 1), method='ntvp')",
        "ntk.setup(); torch.func.jvp(torch.exp, (torch.ones(1),), (torch.ones(1),))",
    ],
)
def test_torch_does_not_warn_the_reader_of_itself(call):
    code = f"import torch, ntk_helpers as ntk; {call}"  # it warns once in a process
    subprocess.run([sys.executable, "-W", "error:`torch.jit.script`", "-c", code], check=True)


@pytest.mark.parametrize("name", ["mlp", "squeeze"])
def test_autocast_does_not_reach_the_kernel(name):
    model, x, _ = make(name)
    model, x = model.float(), x.float()
    with torch.autocast("cpu", torch.bfloat16):
        found = ntk.empirical_ntk(model, x)
    assert torch.equal(found, ntk.empirical_ntk(model, x))


def test_a_network_that_amplifies_rounding_has_a_kernel_in_float64_only():
    model = ntk.MLP(3, 64, depth=3, activation="sin", sigma_w=1e3, seed=0, dtype=torch.float64)
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_products = ntk.empirical_ntk(model, x, method="ntvp")
    by_jacobian = ntk.empirical_ntk(model, x, method="jacobian")
    assert (by_products - by_jacobian).norm() < 1e-4 * by_jacobian.norm()
    with pytest.raises(ValueError, match=r"amplifies rounding.*or float64"):
        ntk.empirical_ntk(model.float(), x.float(), method="ntvp")
