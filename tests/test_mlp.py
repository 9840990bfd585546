"""The fast way of an MLP: the right kernel, and only for an MLP as it was made."""

import pytest
import torch
from reference import kernel_by_loop
from torch import nn

import ntk_helpers as ntk
from ntk_helpers.activations import ACTIVATIONS
from ntk_helpers.kernels._mlp import is_as_made

OUTPUTS = ["full", "diagonal", "trace"]


def mlp(**options):
    """Return a small MLP with large biases."""
    return ntk.MLP(3, **({"width": 6, "n_out": 2, "depth": 2, "sigma_b": 0.7, "seed": 0} | options))


def changed(change, model=None):
    """Return an MLP after `change(it)`."""
    model = model or mlp()
    change(model)
    return model


def freeze(model):
    """Freeze one layer, and the weights of another."""
    model.layers[1].requires_grad_(False)
    model.layers[2].weight.requires_grad_(False)


AS_MADE = {
    **{phi: mlp(activation=phi) for phi in ACTIVATIONS},
    "standard": mlp(depth=1, parameterization="standard"),
    "wide for few points": mlp(width=128, activation="relu"),
    "no bias scale": mlp(sigma_b=0.0),
    "frozen": changed(freeze, mlp(depth=3)),
}


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("name", AS_MADE)
def test_the_kernel_written_out_is_that_of_plain_backward_passes(name, outputs):
    model = AS_MADE[name].double()
    x1, x2 = (torch.randn(n, 3, generator=torch.Generator().manual_seed(n)) for n in (5, 4))
    assert is_as_made(model)
    for pair in [(x1, x2), (x1, None)]:
        wanted = kernel_by_loop(model, x1, x1 if pair[1] is None else x2)
        same = wanted.diagonal(dim1=2, dim2=3)
        wanted = {"full": wanted, "diagonal": same, "trace": same.sum(-1)}[outputs]
        kernel = ntk.empirical_ntk(model, *pair, outputs=outputs)
        torch.testing.assert_close(kernel, wanted, rtol=1e-12, atol=1e-12)


def test_layers_keep_their_names_and_frozen_ones_have_none():
    names = list(ntk.layer_ntks(AS_MADE["frozen"], torch.randn(2, 3)))
    assert names == ["layers.0", "layers.2", "layers.3"]


class Doubled(ntk.MLP):
    """An MLP with another forward."""

    def forward(self, x):
        """Return twice what an MLP does."""
        return 2 * super().forward(x)


class Shifted(nn.Linear):
    """A linear layer with another forward."""

    def forward(self, h):
        """Return more than a linear layer does."""
        return super().forward(h) + 1


def tie(model):
    """Let two hidden layers share their weights."""
    model.layers[2].weight = model.layers[1].weight


ALTERED = {
    "hook": changed(lambda m: m.layers[1].register_forward_hook(lambda m, x, z: 2 * z)),
    "hook before": changed(lambda m: m.register_forward_pre_hook(lambda m, x: (2 * x[0],))),
    "forward replaced": changed(lambda m: setattr(m.layers[0], "forward", m.layers[0].extra_repr)),
    "tied": changed(tie, mlp(depth=3)),
    "one parameter more": changed(lambda m: setattr(m, "more", nn.Parameter(torch.ones(1)))),
    "subclass": Doubled(3, 6, 2, seed=0),
    "another layer": changed(lambda m: m.layers.__setitem__(0, Shifted(3, 6))),
    "parametrised": changed(lambda m: nn.utils.parametrizations.weight_norm(m.layers[1])),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_mlp_does_not_take_the_fast_way(name):
    model, x = ALTERED[name].double(), torch.randn(4, 3)
    assert not is_as_made(model)
    if name != "forward replaced":  # by one that cannot run
        torch.testing.assert_close(ntk.empirical_ntk(model, x), kernel_by_loop(model, x, x))


def test_an_mlp_whose_outputs_are_not_finite_is_refused():
    model = mlp()
    with torch.no_grad():
        model.layers[-1].weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match="model returns values that are NaN or infinite"):
        ntk.empirical_ntk(model, torch.ones(2, 3))
