"""What the layer-wise method takes, and what it leaves to the Jacobian."""

import pytest
import torch
from reference import kernel_by_loop
from test_empirical import make
from torch import nn

import ntk_helpers as ntk
from ntk_helpers.layerwise import make_plan

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
