"""What the layer-wise method takes, and what it leaves to the Jacobian."""

import pytest
import torch
from reference import kernel_by_loop
from test_empirical import make
from torch import nn

import ntk_helpers as ntk
from ntk_helpers.kernels.grams import add_gram
from ntk_helpers.kernels.hooks import close
from ntk_helpers.kernels.layerwise import Factor, _layer, make_plan

TAKEN = {
    "mlp": {"layers.0", "layers.1", "layers.2"},
    "frozen": {"layers.0", "layers.1", "layers.3"},
    "squeeze": {"layers.0", "layers.1", "layers.3"},
    "twice": {"head"},
    "tied": set(),
    "aside": set(),
    "tokens first": {"head"},
    "attention": {"queries", "keys", "values", "before", "after", "up", "down", "head"},
    "multihead": {"head"},
    "odd cnn": {"0", "2", "3", "5", "6", "7", "9"},
    "parametrised": set(),
    "embedding": {"0", "2"},
}


@pytest.mark.parametrize("name", TAKEN)
def test_modules_that_alone_use_their_parameters_are_taken_and_no_others(name):
    model, x, _ = make(name)
    plan = make_plan(model, x, x, "full", structured=True)
    assert set(plan.layers) == TAKEN[name]
    taken = sum(
        p.numel()
        for layer in plan.layers.values()
        for p in layer.module.parameters(recurse=False)
        if p.requires_grad
    )
    rest = sum(p.numel() for p in plan.rest.values())
    assert taken + rest == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_hooks_of_ones_own_that_change_outputs_are_part_of_the_model():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    model[0].register_forward_hook(lambda module, inputs, z: 2 * z)
    model[2].register_forward_hook(lambda module, inputs, z: z**2)
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).double()
    found = ntk.empirical_ntk(model, x, method="layerwise")
    torch.testing.assert_close(found, kernel_by_loop(model, x, x))


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_tensors_are_close_that_differ_by_rounding(dtype, rounding):
    a = torch.tensor([3.0, -4.0], dtype=dtype)
    assert close(a, a * (1 + rounding))
    assert not close(a, a * (1 + 100 * rounding))
    assert not close(a, -a)
    assert close(0 * a, 0 * a)
    assert not close(0 * a, a)
    assert not close(a * torch.nan, a * torch.nan)


class Sine(torch.autograd.Function):
    """A function of one's own whose derivative branches on values, which vmap cannot do."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z.sin()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].cos() if g.any() else g


class Waves(nn.Module):
    """Two linear layers with such a function between them."""

    def __init__(self, outputs):
        """Draw the layers."""
        super().__init__()
        self.first, self.last = nn.Linear(2, 3), nn.Linear(3, outputs)

    def forward(self, x):
        return self.last(torch.tanh(Sine.apply(self.first(x))))


@pytest.mark.parametrize("outputs", [1, 2])
def test_outputs_are_differentiated_in_turn_where_vmap_cannot_do_it(outputs):
    model = Waves(outputs).double()
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).double()
    found = ntk.empirical_ntk(model, x, method="layerwise", outputs="full")
    torch.testing.assert_close(found, kernel_by_loop(model, x, x).reshape(found.shape))


def test_a_factor_with_more_positions_than_a_tile_has_rows_is_added_point_by_point():
    draw = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
    h, d = torch.randn(3, 1100, 2, **draw), torch.randn(1, 3, 1100, 2, **draw)
    block = torch.zeros(1, 3, 1, 3, 1, dtype=torch.float64)
    factor = Factor("layer", h, d, 0.5, 2.0)
    add_gram(block, factor, Factor("layer", h, d, 0.5, 2.0), triangle=False)
    # Σ_{t,t'} (w² h_t · h_t' + b²) D_t · D_t' is w² |Σ h_t ⊗ D_t|² + b² |Σ D_t|², one pair each.
    outer, total = torch.einsum("ntp,ntq->npq", h, d[0]).flatten(1), d[0].sum(1)
    wanted = 0.25 * outer @ outer.T + 4 * total @ total.T
    torch.testing.assert_close(block[0, :, 0, :, 0], wanted)


class Shifted(nn.Linear):
    """A linear layer with a parameter more, whose forward is still that of nn.Linear."""

    def __init__(self):
        """Add a shift."""
        super().__init__(3, 5)
        self.shift = nn.Parameter(torch.ones(5))


def replaced():
    """Return a linear layer that is told to do something else."""
    layer = nn.Linear(3, 5)
    layer.forward = torch.sin
    return layer


def half_frozen():
    """Return a linear layer of which only the bias is trained."""
    layer = nn.Linear(3, 5)
    layer.weight.requires_grad_(False)
    return layer


OTHER = ("other", (1, 0), False)
LAYERS = {
    "linear": (nn.Linear(3, 5), (1, 5), 1, ("linear", (1, 3, 5), True)),
    "linear, one number": (nn.Linear(1, 1), (1, 1), 1, ("linear", (1, 1, 1), True)),
    "linear, no bias": (nn.Linear(3, 5, bias=False), (1, 5), 1, ("linear", (1, 3, 5), True)),
    "linear, frozen weight": (half_frozen(), (1, 5), 1, ("linear", (1, 3, 5), False)),
    # T² (p + pairs q) operations at T positions, against pairs p q: both are 64, then 68 and 72
    "positions, at the edge": (nn.Linear(8, 8), (1, 2, 8), 1, ("linear", (2, 8, 8), False)),
    "positions, below it": (nn.Linear(8, 9), (1, 2, 9), 1, ("linear", (2, 8, 9), True)),
    "positions, two pairs": (nn.Linear(5, 4), (1, 2, 4), 2, ("linear", (2, 5, 4), False)),
    "conv": (nn.Conv2d(2, 1, 2), (1, 1, 4, 4), 1, ("conv", (16, 8, 1), False)),
    "conv of one picture": (nn.Conv2d(2, 3, 2), (3, 4, 4), 1, OTHER),
    "conv in groups": (nn.Conv2d(2, 4, 2, groups=2), (1, 4, 4, 4), 1, OTHER),
    "conv on a ring": (nn.Conv2d(2, 3, 2, padding_mode="circular"), (1, 3, 4, 4), 1, OTHER),
    "conv padded by name": (nn.Conv2d(2, 3, 2, padding="same"), (1, 3, 4, 4), 1, OTHER),
    "normalisation": (nn.LayerNorm(4), (1, 4), 1, OTHER),
    "a vector": (nn.Linear(3, 5), (5,), 1, OTHER),
    "one parameter more": (Shifted(), (1, 5), 1, OTHER),
    "another forward": (replaced(), (1, 5), 1, OTHER),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_taken_by_the_cheapest_way_that_is_right_for_it(name):
    module, shape, pairs, (kind, sizes, gram) = LAYERS[name]
    if kind == "other":
        sizes = (*sizes, sum(p.numel() for p in module.parameters()))
    layer = _layer(module, torch.Size(shape), pairs)
    assert (layer.kind, layer.sizes, layer.gram) == (kind, sizes, gram)


def test_a_chain_is_seen_only_where_structure_is_asked_for():
    model, x = ntk.MLP(2, 3, seed=0), torch.eye(2)
    assert make_plan(model, x, x, "full", structured=True).chain
    plan = make_plan(model, x, x, "full", structured=False)
    assert plan.chain is None
    assert plan.layers == {}
    assert plan.rest.keys() == dict(model.named_parameters()).keys()


class Gained(nn.Module):
    """A layer whose parameters only autograd understands, and a parameter of no layer."""

    def __init__(self):
        """Take a normalisation of three features."""
        super().__init__()
        self.norm, self.gain = nn.LayerNorm(3), nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.norm(x) * self.gain


# A model and points → bytes a row; operations a pair of rows, for all outputs and for the trace;
# operations of the model a row; whether outputs are differentiated at once. Counted by hand: a
# layer p → q at t places holds h and D, t (p + kq) numbers, or its Jacobian, k (p + 1) q.
COSTS = {
    "chain": (  # kept: z and slopes; h and D of 3 → 5 → 2 are 13 + 9
        *(lambda: ntk.MLP(3, 5, 2, seed=0), torch.ones(2, 3)),
        *(8 * (14 + 3 * 22), 2 * (23 + 13), 2 * (13 + 9), 2 * (20 + 12), True),
    ),
    "one output": (  # 8 + 6
        *(lambda: ntk.MLP(3, 5, 1, seed=0), torch.ones(2, 3)),
        *(8 * (12 + 3 * 14), 2 * (8 + 6), 2 * (8 + 6), 2 * (20 + 6), False),
    ),
    "convolution": (  # kept: x and h of the second; 4 → 2 at 16 places is a Jacobian, 32 → 3 not
        *(lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(32, 3)),),
        *(torch.ones(2, 1, 5, 5), 8 * (57 + 160 + 2 * 30 + 3 * 41)),
        *(2 * (90 + 59), 2 * (30 + 41), 2 * (160 + 99), False),
    ),
    "positions": (  # kept: x; 8 → 9 at two places, 18 outputs: h and D apart
        *(lambda: nn.Sequential(nn.Linear(8, 9), nn.Flatten()), torch.ones(2, 2, 8)),
        *(8 * (16 + 3 * 2 * (8 + 18 * 9)), 2 * 4 * (8 + 324 * 9), 2 * 4 * (8 + 18 * 9)),
        *(2 * 2 * 81, True),
    ),
    "the rest": (  # kept once and for each output: x, mean, deviation, and the norm's output
        *(Gained, torch.eye(3)[:2], 8 * (4 * 8 + 36 + 2 * 18 + 2 * 9 + 2 * 9)),
        *(2 * (54 + 27), 2 * (18 + 9), 2 * (6 + 3), True),
    ),
}


@pytest.mark.parametrize("name", COSTS)
def test_the_estimated_costs_are_those_counted_by_hand(name):
    build, x, row_bytes, full, trace, forward, batched = COSTS[name]
    for outputs, pair in [("full", full), ("trace", trace)]:
        plan = make_plan(build(), x.double(), x.double(), outputs, structured=True)
        found = plan.row_bytes, plan.pair_flops, plan.forward_flops, plan.batched
        assert found == (row_bytes, pair, forward, batched)
