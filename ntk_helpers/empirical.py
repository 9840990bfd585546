"""The empirical Neural Tangent Kernel of any torch module: K(x, x') = J(x) J(x')ᵀ, exactly."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from ntk_helpers import _checks


def empirical_ntk(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    outputs: str = "full",
    method: str = "auto",
    chunk_size: int | None = None,
) -> Tensor:
    """Return the tangent kernel `K(x, x') = J(x) J(x')ᵀ` of `model` at its current parameters.

    J(x) = ∂f(x)/∂θ has shape (k, P): one row for each output, one column for each trainable parameter.

    Source: Jacot, Gabriel, Hongler 2018, arXiv:1806.07572, section 4.

    Args:
        model: Any module that treats rows independently, (n, …) → (n, k) or (n,).
        x1: (n1, …) points.
        x2: (n2, …) points; None means x1.
        outputs: "full" (n1, n2, k, k) with entry [a, b, i, j] = ∂f_i(x1_a) · ∂f_j(x2_b); "diagonal" (n1, n2, k)
            with i = j only; "trace" (n1, n2), the sum over i = j.
        method: "jacobian" or "auto".
        chunk_size: Points whose Jacobians are held at once; None chooses.

    Returns:
        The kernel, detached, with the device and dtype of the model.

    Raises:
        TypeError: If an argument is of the wrong type, or dtypes differ.
        ValueError: If shapes or devices do not fit, a name is unknown, or rows are not independent.

    Example:
        >>> line = nn.Linear(1, 1)  # f(x) = θ₁ x + θ₂, so K(x, x') = x x' + 1
        >>> empirical_ntk(line, torch.tensor([[2.0]]), torch.tensor([[3.0]]), outputs="trace")
        tensor([[7.]])
    """
    parameters = {name: p.detach() for name, p in _checks.trainable_parameters(model).items()}
    _checks.require_rowwise(model)
    _checks.require_tensor("x1", x1)
    x2 = x1 if x2 is None else x2
    _checks.require_tensor("x2", x2)
    _checks.require_matching(model, x1=x1, x2=x2)
    _checks.require_choice("outputs", outputs, ["full", "diagonal", "trace"])
    _checks.require_choice("method", method, ["auto", "jacobian"])

    def f(theta, point):
        return functional_call(model, theta, (point[None],))[0].reshape(-1)

    def jacobian(points):
        leaves = vmap(jacrev(f), in_dims=(None, 0), chunk_size=chunk_size)(parameters, points)
        return torch.cat([leaf.flatten(2) for leaf in leaves.values()], dim=2)

    j1 = jacobian(x1)
    j2 = j1 if x2 is x1 else jacobian(x2)
    subscripts = {"full": "aip,bjp->abij", "diagonal": "aip,bip->abi", "trace": "aip,bip->ab"}
    return torch.einsum(subscripts[outputs], j1, j2)
