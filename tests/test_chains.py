"""Chains of linear layers: the same kernel as by hooks, and only where it is safe."""

from collections import OrderedDict

import pytest
import torch
from reference import kernel_by_loop
from torch import nn

import ntk_helpers as ntk
from ntk_helpers.activations import IN_PLACE
from ntk_helpers.kernels._mlp import as_chain, as_mlp
from ntk_helpers.networks import ACTIVATIONS


class Wrapped(nn.Module):
    """A module around another: it cannot be seen to be a chain."""

    def __init__(self, inner):
        """Take the module to call."""
        super().__init__()
        self.inner = inner

    def forward(self, x):
        """Return what the inner module does."""
        return self.inner(x)


def stack(*modules):
    """Return the modules in a row."""
    return nn.Sequential(*modules)


def without_bias():
    """Return a network of torch's own layers, the first without a bias."""
    return stack(
        nn.Linear(3, 5, bias=False), nn.ReLU(), nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 2)
    )


def frozen():
    """Return a network whose middle layer is frozen, and the weights of its last."""
    model = ntk.MLP(3, 5, 2, depth=3, activation="tanh", seed=0)
    model.layers[1].requires_grad_(False)
    model.layers[3].weight.requires_grad_(False)
    return model


CHAINS = {
    **{
        f"{phi}": ntk.MLP(3, 6, 2, depth=2, activation=phi, sigma_b=0.7, seed=0) for phi in IN_PLACE
    },
    "standard": ntk.MLP(3, 6, depth=1, activation="erf", parameterization="standard", seed=0),
    "few points": ntk.MLP(3, 128, 2, depth=2, activation="relu", sigma_b=0.7, seed=0),
    "few points, no bias": stack(nn.Linear(3, 99, bias=False), nn.ReLU(), nn.Linear(99, 2)),
    "without bias": without_bias(),
    "no bias scale": ntk.MLP(3, 4, 2, sigma_b=0.0, seed=0),
    "frozen": frozen(),
    "activation last": stack(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3), nn.GELU()),
    "linear layers only": stack(nn.Linear(3, 4), nn.Linear(4, 2), nn.Identity()),
    "named": nn.Sequential(OrderedDict(up=nn.Linear(3, 4), bend=nn.ReLU(), down=nn.Linear(4, 1))),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("outputs", ["full", "diagonal", "trace"])
def test_a_chain_has_the_kernel_that_hooks_and_a_loop_give(name, outputs):
    model = CHAINS[name].double()
    x1, x2 = (
        torch.randn(n, 3, generator=torch.Generator().manual_seed(n)).double() for n in (5, 4)
    )
    wrapped = Wrapped(model)
    assert as_chain(model, x1)
    assert as_chain(wrapped, x1) is None
    for pair in [(x1, x2), (x1,)]:
        kernel = ntk.empirical_ntk(model, *pair, outputs=outputs, method="layerwise")
        by_hooks = ntk.empirical_ntk(wrapped, *pair, outputs=outputs, method="layerwise")
        torch.testing.assert_close(kernel, by_hooks, rtol=1e-12, atol=1e-12)
    if outputs == "full":
        loop = kernel_by_loop(model, x1, x1)
        torch.testing.assert_close(kernel, loop, rtol=1e-12, atol=1e-12)


def test_layers_of_a_chain_keep_their_names():
    x = torch.randn(2, 3)
    assert list(ntk.layer_ntks(CHAINS["named"], x)) == ["up", "down"]
    assert list(ntk.layer_ntks(CHAINS["frozen"], x)) == ["layers.0", "layers.2", "layers.3"]


def hooked(register):
    """Return a network of one hidden layer after `register(the activation)`."""
    model = stack(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    register(model[1])
    return model


def twice():
    """Return a network that uses one layer twice."""
    layer = nn.Linear(3, 3)
    return stack(layer, nn.Tanh(), layer)


def tied():
    """Return a network in which two layers share their weights."""
    model = stack(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    return model


def with_more():
    """Return a network that holds a parameter that its layers do not."""
    model = ntk.MLP(3, 4, seed=0)
    model.more = nn.Parameter(torch.ones(1))
    return model


class Shifted(nn.Linear):
    """A linear layer with another forward."""

    def forward(self, h):
        """Return 1 more than a linear layer does."""
        return super().forward(h) + 1


def changed(change):
    """Return an MLP after `change(it)`."""
    model = ntk.MLP(3, 4, depth=2, seed=0).double()
    change(model)
    return model


class Doubled(ntk.MLP):
    """An MLP with another forward."""

    def forward(self, x):
        """Return twice what an MLP does."""
        return 2 * super().forward(x)


NO_CHAINS = {
    "forward hook": hooked(lambda m: m.register_forward_hook(lambda m, x, z: 2 * z)),
    "hook before": hooked(lambda m: m.register_forward_pre_hook(lambda m, x: (2 * x[0],))),
    "backward hook": hooked(lambda m: m.register_full_backward_hook(lambda m, g, h: (2 * g[0],))),
    "forward replaced": hooked(lambda m: setattr(m, "forward", torch.sin)),
    "layer twice": twice(),
    "tied weights": tied(),
    "more parameters": with_more(),
    "derived class": Doubled(3, 4, seed=0),
    "derived layer": changed(lambda m: m.layers.__setitem__(0, Shifted(3, 4))),
    "unknown activation": changed(lambda m: setattr(m, "activation", "mish")),
    "another GELU": stack(nn.Linear(3, 4), nn.GELU("tanh"), nn.Linear(4, 2)),
    "another activation": stack(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 2)),
    "two activations": stack(nn.Linear(3, 4), nn.Tanh(), nn.ReLU(), nn.Linear(4, 2)),
    "activation first": stack(nn.Tanh(), nn.Linear(3, 2)),
    "nested": stack(stack(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 2)),
    "parametrised": stack(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))),
    "nothing": nn.Sequential(),
    "no container": nn.Linear(3, 2),
}


@pytest.mark.parametrize("name", NO_CHAINS)
def test_what_is_no_chain_is_not_taken_for_one(name):
    x = torch.randn(2, 3, dtype=torch.float64)
    assert as_chain(hooked(lambda m: None).double(), x)
    assert not as_chain(NO_CHAINS[name].double(), x)


def test_inputs_that_a_chain_does_not_take_are_left_to_the_model():
    model, good = stack(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double(), torch.ones(2, 3)
    assert as_chain(model, good.double(), good.double())
    for x in [torch.ones(2, 5, 3), torch.ones(3), torch.ones(2, 4), torch.ones(0, 2)]:
        assert as_chain(model, x.double()) is None
        assert as_chain(model, good.double(), x.double()) is None
    assert as_chain(model, good.float()) is None
    model[0].bias.data = model[0].bias.data.float()
    assert as_chain(model, good.double()) is None
    assert as_chain(model.bfloat16(), good.bfloat16()) is None


@pytest.mark.parametrize("phi", IN_PLACE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slopes_in_place_are_the_derivatives_of_the_activations(phi, dtype):
    z = torch.cat([torch.linspace(-6, 6, 401), torch.tensor([0.0, 1e-8, -1e-8, 1e8, -1e8])])
    z = z.to(dtype).requires_grad_()
    h = ACTIVATIONS[phi](z)
    (slope,) = torch.autograd.grad(h.sum(), z)
    activate, differentiate = IN_PLACE[phi]
    memory, out = z.detach().clone(), torch.empty_like(z)
    activate(memory, out=out)
    differentiate(memory, out)
    tolerance = {"rtol": 0, "atol": 4 * torch.finfo(dtype).eps}
    torch.testing.assert_close(out, h.detach(), **(tolerance | {"rtol": 4e-7}))
    torch.testing.assert_close(memory, slope, **tolerance)


def test_a_chain_whose_outputs_are_not_finite_is_refused():
    model = ntk.MLP(3, 4, seed=0)
    with torch.no_grad():
        model.layers[1].weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match="model returns values that are NaN or infinite"):
        ntk.empirical_ntk(model, torch.ones(2, 3))


def test_an_mlp_is_taken_as_it_was_made_or_not_at_all():
    x, made, changed = torch.ones(2, 3), ntk.MLP(3, 4, seed=0), ntk.MLP(3, 4, seed=0)
    assert [link.layer for link in as_mlp(made, x)] == list(made.layers)
    changed.layers[1] = nn.Linear(4, 1)
    assert as_chain(changed, x)
    assert as_mlp(changed, x) is None
    assert as_mlp(nn.Sequential(*made.layers), x) is None
    made.register_forward_hook(lambda *_: None)
    assert as_mlp(made, x) is None
