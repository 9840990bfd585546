"""Every public function that takes a model leaves it the same object graph, and trainable."""

import copy

import pytest
import torch
from torch import nn

import ntk_helpers as ntk

X, Y = torch.linspace(-1, 1, 4, dtype=torch.float64)[:, None], torch.ones(4, 1, dtype=torch.float64)
PROBLEM = ntk.PoissonProblem()
RATE = {"learning_rate": 0.01}
RUN = RATE | {"steps": 3, "progress": False}


def called_twice():
    """Return a model with one layer under two names."""
    layer = nn.Linear(1, 1)
    return nn.Sequential(layer, nn.Tanh(), layer)


def shared_block():
    """Return a model with one block of layers under two names, at two depths."""
    block = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    return nn.Sequential(nn.Linear(1, 3), block, nn.Sequential(block, nn.Linear(3, 1)))


def tied_weights():
    """Return a model with one parameter in two layers, and under a third name."""
    model = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
    model.insert(3, nn.Linear(3, 3))
    model[3].weight = model[2].weight
    model.register_parameter("alias", model[0].weight)
    return model


def with_a_buffer():
    """Return a model with a frozen weight, and a buffer that a step of training may not lose."""
    model = nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 1)).eval()
    model[0].weight.requires_grad_(False)
    return model


def mlp():
    """Return the network of the package."""
    return ntk.MLP(1, 4, depth=2, activation="tanh")


def fail_inside(model):
    """Ask for the kernel at points that the model cannot take."""
    with pytest.raises((RuntimeError, ValueError)):
        ntk.empirical_ntk(model, torch.ones(2, 5, dtype=torch.float64))


MODELS = [called_twice, shared_block, tied_weights, with_a_buffer, mlp]
FUNCTIONS = {
    **{
        f"empirical_ntk by {method}": lambda m, method=method: ntk.empirical_ntk(
            m, X, method=method, chunk_size=3
        )
        for method in ("auto", "layerwise", "jacobian", "ntvp")
    },
    "layer_ntks": lambda m: ntk.layer_ntks(m, X, X[:2]),
    "linearize": lambda m: ntk.linearize(m)(dict(m.named_parameters()), X).sum().backward(),
    "gradient_descent": lambda m: ntk.gradient_descent(m, X, Y, **RUN),
    "train_ensemble": lambda m: ntk.train_ensemble([m, copy.deepcopy(m)], X, Y, x_test=X, **RUN),
    "lazy_regime": lambda m: ntk.lazy_regime(m, X, Y, steps=2, **RATE),
    "diagnose": lambda m: ntk.diagnose(m, X, Y, loss="squared", steps=2, **RATE),
    "pinn_kernel": lambda m: ntk.pinn_kernel(m, X[:2], X, PROBLEM.operator),
    "train_pinn": lambda m: ntk.train_pinn(
        m, PROBLEM, X[:2], X, weights="balance", refresh_every=2, keep_kernels=True,
        **RUN | {"learning_rate": 1e-6},
    ),
    "Standardized": lambda m: ntk.Standardized(m, X)(X),
    "what fails inside": fail_inside,
}  # fmt: skip


def object_graph(model):
    """Return by name, with repetitions, which objects a model is made of, and how it stands."""
    modules = dict(model.named_modules(remove_duplicate=False))
    return {
        name: (
            id(module), module.training, {*vars(module)}, len(module._forward_hooks),
            {key: (id(p), p.requires_grad, type(p)) for key, p in module._parameters.items()},
            {key: id(buffer) for key, buffer in module._buffers.items()},
            {key: id(child) for key, child in module._modules.items()},
        )
        for name, module in modules.items()
    }  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("build", MODELS)
def test_the_model_is_the_same_object_graph_and_trains_with_an_optimizer_made_before(build, name):
    torch.manual_seed(0)
    model = build()
    optimizer, before = torch.optim.SGD(model.parameters(), lr=0.02), object_graph(model)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    FUNCTIONS[name](model)
    assert object_graph(model) == before
    if "train" not in name and "descent" not in name:
        after = model.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in state.items())
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = (model(X) - Y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.any() for p in trained)
