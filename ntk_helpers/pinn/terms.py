"""What a PINN is trained on: terms, each with points, an operator of u, targets and a weight."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import vmap

from ntk_helpers import _checks
from ntk_helpers.kernels import _outputs
from ntk_helpers.kernels._jacobian import plain_torch, run
from ntk_helpers.pinn.problem import Operator

TWO = ("x_boundary", "x_interior")  # what the call for two terms calls its points


@dataclass(frozen=True, eq=False)
class Term:
    """One demand on a network u: (Lu)(x) = target at n points, with a weight λ in the loss.

    The equation, boundary values, initial values, a slope at a wall (Neumann), equal values at two
    ends (periodic), and measurements of u are all terms::

        Term(x)                                             u(x) = 0
        Term(x, target=data)                                u(x) = data
        Term(x, lambda u: lambda x: grad(u)(x)[1])          ∂u/∂x_1 = 0
        Term(left, lambda u: lambda x: u(x) - u(x + L))     u(x) = u(x + L)
        Term(x, lambda u: lambda x: u(x)[0] + ...)          one equation of a system

    Derived in notebooks/deeper/the_pinn_paper.ipynb, "Does the cure work for three terms?".

    Attributes:
        points: (n, d); one that is listed m times counts m times.
        operator: Maps u, a function of one point, to Lu, another, (d,) → scalar, built with
            torch.func. u returns a scalar if the network has one output, else (k,). None is u.
        target: (n,), or one number for all points.
        weight: λ, 0 or greater.
    """

    points: Tensor
    operator: Operator | None = None
    target: Tensor | float = 0.0
    weight: float = 1.0

    def __post_init__(self):
        """Look at the arguments, and give each point its target."""
        _checks.require_tensor("points", self.points, ndim=(2,))
        _checks.require_number("weight", self.weight)
        if not (self.operator is None or callable(self.operator)):
            raise no_operator(self.operator)
        target = self.target
        if not isinstance(target, Tensor):
            _checks.require_number("target", target, signed=True)
            target = torch.full_like(self.points[:, 0], target)
        _checks.require_tensor("target", target)
        _checks.require_same_place(points=self.points, target=target)
        if target.numel() != len(self.points):
            raise ValueError(
                f"target must hold one number for each of the {len(self.points)} points; got shape "
                f"{tuple(target.shape)}."
            )
        object.__setattr__(self, "target", target.detach().reshape(-1))

    def values(self, model: nn.Module) -> Tensor:
        """Return Lu (n,) of `model` at the points, differentiable in its parameters.

        With it a training loop of your own is short:
        `loss = sum(t.weight * (t.values(model) - t.target).square().mean() for t in terms)`.
        """
        x = self.points.detach()
        if self.operator is None:
            return model(x).reshape(-1)
        return vmap(AtPoint(model, self.operator))(x)


class AtPoint(nn.Module):
    """Lu at one point, (d,) → scalar, as a module around `model` and `operator`.

    So other tensors in place of the model's parameters reach the operator, too.
    """

    def __init__(self, model: nn.Module, operator: Operator | None):
        """Hold both."""
        super().__init__()
        self.model, self.operator = model, operator

    def forward(self, point: Tensor) -> Tensor:
        """Return Lu at a `point` (d,)."""
        image = self._u if self.operator is None else self.operator(self._u)
        if not callable(image):
            raise no_operator(image)
        return image(point)

    def _u(self, point: Tensor) -> Tensor:
        """Return u () or (k,) at a `point` (d,), or say that torch.func cannot run the model."""
        try:
            u = run(self.model, point[None])
        except RuntimeError as error:
            raise ValueError(
                f"torch.func, which differentiates u point by point, cannot run this model: "
                f"{error}\nTake in-place writes, .item() and branches on values out of its forward."
            ) from error
        return u.reshape(()) if u.numel() == 1 else u.reshape(-1)


def no_operator(got: object) -> TypeError:
    """Return the error for what is not, or does not return, a function."""
    return TypeError(
        f"operator must map a function u to a function Lu, as lambda u: lambda x: … does; "
        f"got {type(got).__name__}."
    )


def two_terms(x_boundary, x_interior, operator, g=0.0, f=0.0) -> list[Term]:
    """Return u = g on the boundary and Lu = f inside as terms."""
    for name, x in zip(TWO, (x_boundary, x_interior), strict=True):
        _checks.require_tensor(name, x, ndim=(2,))
    _checks.require_same_inputs(x_boundary=x_boundary, x_interior=x_interior)
    if operator is None:
        raise no_operator(operator)
    return [Term(x_boundary, None, g), Term(x_interior, operator, f)]


def solving(problem, x_boundary: Tensor, x_interior: Tensor) -> list[Term]:
    """Return the two terms of a problem, or say what it lacks."""
    for part in ("operator", "solution", "forcing"):
        if not callable(getattr(problem, part, None)):
            raise TypeError(
                f"problem must have the functions operator, solution and forcing, or be a list of "
                f"ntk.Term; {type(problem).__name__} has no {part}. ntk.PoissonProblem() has all."
            )
    two_terms(
        x_boundary, x_interior, problem.operator
    )  # a look at the points, before they are used
    g = _asked("problem.solution(x)", problem.solution(x_boundary), x_boundary)
    f = _asked("problem.forcing(x)", problem.forcing(x_interior), x_interior)
    return two_terms(x_boundary, x_interior, problem.operator, g, f)


def _asked(name: str, value, x: Tensor) -> Tensor:
    """Return the `value` that a problem gives for points `x` as (n,), or say what is wrong."""
    if not isinstance(value, Tensor) or value.numel() != len(x):
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"{name} must be a tensor with one value for each row of x, which is {tuple(x.shape)}; "
            f"got {got}. A constant c is torch.full_like(x[:, 0], c)."
        )
    value = value.detach().reshape(-1)
    _checks.require_tensor(name, value)
    _checks.require_same_place(x=x, **{name: value})
    return value


def are_terms(terms: object) -> bool:
    """Return whether `terms` is a list of one `Term` or more."""
    return isinstance(terms, list | tuple) and {type(term) for term in terms} == {Term}


@plain_torch()
def check_terms(model, terms: list[Term], names: Iterable[str] = ()) -> dict[str, nn.Parameter]:
    """Return the trainable parameters of `model`, or say what is wrong with it or the terms.

    Messages call the points by `names`, without which they are terms[0].points, ….
    """
    points = {f"terms[{i}].points": term.points.detach() for i, term in enumerate(terms)}
    points = dict(zip(names or points, points.values(), strict=True))
    parameters = _checks.require_points(model, **points)
    (first, x), *others = points.items()
    for name, z in others:
        _checks.require_same_inputs(**{first: x, name: z})
    batch = torch.cat([*points.values()])
    with torch.enable_grad():
        outputs = run(model, batch[[-1, -1]])  # a copy beside it shows sums over later rows, too
    _outputs.require_rows(outputs, 2)
    _outputs.require_attached(outputs)
    with torch.no_grad():
        among = run(model, batch)
    _outputs.require_outputs(among, len(batch))
    _outputs.require_same_row(outputs[:1], among[-1:])
    k = outputs.numel() // 2
    for term in terms:
        if outputs.is_complex() or (k > 1 and term.operator is None):
            raise ValueError(
                f"model must have one real output, the value u(x); got {k} of {outputs.dtype} for "
                f"one point. A term picks one by operator=lambda u: lambda x: u(x)[0]."
            )
        value = AtPoint(model, term.operator)(term.points[0].detach())
        if not isinstance(value, Tensor) or value.ndim or value.is_complex():
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"operator(u)(x) must be a real scalar tensor for one point x (d,); got {got}. "
                f"Pick an entry, or sum: torch.func.grad(u)(x)[0]."
            )
    return parameters


def loss_scales(loss: str, *sizes: int) -> list[float]:
    """Return c_i of each term: 1 for the loss "sum", 1/n_i for "mean"."""
    _checks.require_choice("loss", loss, ["sum", "mean"])
    return [1.0 if loss == "sum" else 1 / n for n in sizes]


def weight_list(weights, m: int, *, positive: bool = False) -> list[float]:
    """Return a weight λ_i for each of m terms as floats, or say what is wrong with them."""
    names = ("λ_b", "λ_r") if m == 2 else [f"λ_{i}" for i in range(m)]
    if not isinstance(weights, tuple | list | Tensor) or len(weights) != m:
        one_each = "a pair" if m == 2 else "a number for each term,"
        raise TypeError(
            f"weights must be {one_each} ({', '.join(names)}) or 'balance'; got {weights!r}."
        )
    found = [w.item() if isinstance(w, Tensor) else w for w in weights]
    for name, value in zip(names, found, strict=True):
        _checks.require_number(name, value, positive=positive)
    return [float(value) for value in found]
