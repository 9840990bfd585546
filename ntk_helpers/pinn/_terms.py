"""What a PINN is trained on: u or Lu at a point, with every tensor of the model replaceable."""

import torch
from torch import Tensor, nn
from torch.func import vmap

from ntk_helpers import _checks
from ntk_helpers.kernels import _outputs
from ntk_helpers.kernels._jacobian import plain_torch, run
from ntk_helpers.pinn.problem import Operator


class Term(nn.Module):
    """u or Lu at one point, (d,) → scalar, as a module around `model` and `operator`.

    So other tensors in place of the model's parameters reach the operator, too.
    """

    def __init__(self, model: nn.Module, operator: Operator):
        """Hold both."""
        super().__init__()
        self.model, self.operator = model, operator

    def forward(self, point: Tensor) -> Tensor:
        """Return Lu at a `point` (d,)."""
        image = self.operator(self._u) if callable(self.operator) else self.operator
        if not callable(image):
            raise TypeError(
                f"operator must map a function u to a function Lu, as lambda u: lambda x: … does; "
                f"got {type(image).__name__}."
            )
        return image(point)

    def at(self, x: Tensor) -> Tensor:
        """Return Lu (n,) at points `x` (n, d), differentiable in the current parameters."""
        return vmap(self)(x)

    def _u(self, point: Tensor) -> Tensor:
        """Return u at a `point` (d,), or say that torch.func cannot run the model."""
        try:
            return run(self.model, point[None]).reshape(())
        except RuntimeError as error:
            raise ValueError(
                f"torch.func, which differentiates u point by point, cannot run this model: "
                f"{error}\nTake in-place writes, .item() and branches on values out of its forward."
            ) from error


@plain_torch()
def check_pinn(model, x_boundary, x_interior, operator) -> dict[str, nn.Parameter]:
    """Return the trainable parameters of `model`, or say what is wrong with the arguments."""
    for name, x in [("x_boundary", x_boundary), ("x_interior", x_interior)]:
        _checks.require_tensor(name, x, ndim=(2,))
    parameters = _checks.require_points(model, x_boundary=x_boundary, x_interior=x_interior)
    _checks.require_same_inputs(x_boundary=x_boundary, x_interior=x_interior)
    batch = torch.cat([x_boundary, x_interior]).detach()
    with torch.enable_grad():
        outputs = run(model, batch[[-1, -1]])  # a copy beside it shows sums over later rows, too
    _outputs.require_rows(outputs, 2)
    if outputs.numel() != 2 or outputs.is_complex():
        raise ValueError(
            f"model must have one real output, the value u(x); got {outputs.numel() // 2} of "
            f"{outputs.dtype} for one point. Wrap it in a module that picks one."
        )
    _outputs.require_attached(outputs)
    with torch.no_grad():
        among = run(model, batch)
    _outputs.require_outputs(among, len(batch))
    _outputs.require_same_row(outputs[:1], among[-1:])
    value = Term(model, operator)(x_interior[0].detach())
    if not isinstance(value, Tensor) or value.ndim or value.is_complex():
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"operator(u)(x) must be a real scalar tensor for one point x (d,); got {got}. "
            f"Pick an entry, or sum: torch.func.grad(u)(x)[0]."
        )
    return parameters
