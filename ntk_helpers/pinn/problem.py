"""The problem that a physics-informed network solves, Poisson's, and standardised inputs."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad

from ntk_helpers import _checks

Field = Callable[[Tensor], Tensor]  # a function of one point, (d,) → scalar
Operator = Callable[[Field], Field]  # u ↦ Lu


def second_derivative(u: Field) -> Field:
    """Return u'' of a function of one point with one input, as the operator of `pinn_kernel`.

    Example:
        >>> second_derivative(lambda x: (x**3).sum())(torch.tensor([2.0]))
        tensor(12.)
    """
    slope = grad(u)
    return lambda x: grad(lambda y: slope(y).sum())(x).sum()


@dataclass(frozen=True)
class PoissonProblem:
    """u'' = f on [0, 1], with the boundary values of a known solution u = Σ_m c_m sin(a_m π x).

    So f = −Σ_m c_m (a_m π)² sin(a_m π x).

    Source: Wang, Yu, Perdikaris 2022, arXiv:2007.14527, sections 7.1 and 7.2
    (one sine, a = 1 and a = 4).

    Attributes:
        frequency: a, or a tuple of a_m.
        amplitude: c, or a tuple of c_m, one for each frequency.

    Example:
        >>> problem = PoissonProblem(frequency=2)
        >>> problem.solution(torch.tensor([0.25])), problem.boundary(4).flatten().tolist()
        (tensor([1.]), [0.0, 0.0, 1.0, 1.0])
    """

    frequency: float | tuple[float, ...] = 1
    amplitude: float | tuple[float, ...] = 1.0
    operator = staticmethod(second_derivative)

    def __post_init__(self):
        """Check that modes are numbers, one amplitude for each frequency."""
        frequencies, amplitudes = self._listed(self.frequency), self._listed(self.amplitude)
        for value in frequencies:
            _checks.require_number("frequency", value, positive=True)
        for value in amplitudes:
            _checks.require_number("amplitude", value, signed=True)
        if len(frequencies) != len(amplitudes):
            raise ValueError(
                f"frequency has {len(frequencies)} value(s) but amplitude has {len(amplitudes)}: "
                f"give one amplitude for each frequency."
            )

    def solution(self, x: Tensor) -> Tensor:
        """Return u at the points `x`, in the shape of x."""
        return sum(c * torch.sin(a * math.pi * x) for a, c in self._modes())

    def forcing(self, x: Tensor) -> Tensor:
        """Return f = u'' at the points `x`, in the shape of x."""
        return sum(-c * (a * math.pi) ** 2 * torch.sin(a * math.pi * x) for a, c in self._modes())

    def boundary(self, n: int, *, device=None, dtype=None) -> Tensor:
        """Return the two ends as n points, (n, 1), n even: copies of 0, then as many of 1."""
        _checks.require_integer("n", n, at_least=2)
        if n % 2:
            raise ValueError(f"n must be even, half for each end of the interval; got {n}.")
        ends = torch.tensor([[0.0], [1.0]], **_checks.place(device, dtype))
        return ends.repeat_interleave(n // 2, 0)

    def interior(self, n: int, *, device=None, dtype=None) -> Tensor:
        """Return n ≥ 2 points at equal distances from 0 to 1, both included, (n, 1)."""
        _checks.require_integer("n", n, at_least=2)
        return torch.linspace(0, 1, n, **_checks.place(device, dtype))[:, None]

    def _modes(self) -> Iterator[tuple[float, float]]:
        """Return the pairs (a, c)."""
        return zip(self._listed(self.frequency), self._listed(self.amplitude), strict=True)

    @staticmethod
    def _listed(value) -> tuple:
        """Return a tuple of one number or of many."""
        return tuple(value) if isinstance(value, tuple | list) else (value,)


class Standardized(nn.Module):
    """u(x) = network((x − m) / s), with the mean m and the standard deviation s of given points.

    By the chain rule u'' carries a factor 1/s², about 12 for points spread evenly over [0, 1].

    Derived in notebooks/06_pinn.ipynb, "What is a PINN?".

    Attributes:
        network: What sees standardised inputs.
        mean: (d,) m.
        scale: (d,) s, the root of the mean squared distance from m.
    """

    def __init__(self, network: nn.Module, points: Tensor):
        """Take m and s from `points` (n, d), as they are now; every input must vary."""
        super().__init__()
        _checks.require_tensor("points", points, ndim=(2,))
        _checks.require_points(network, rowwise=False, points=points)
        scale = points.detach().std(0, correction=0)
        if not (scale > 0).all():
            raise ValueError(
                "points do not vary in some input, so it cannot be divided by its spread. "
                "Give points that fill the domain, such as problem.interior(100)."
            )
        self.network = network
        self.register_buffer("mean", points.detach().mean(0))
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return u of points (…, d)."""
        return self.network((x - self.mean) / self.scale)
