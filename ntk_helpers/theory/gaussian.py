"""The Gaussian that the outputs of infinitely wide networks form, at any time of training."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_helpers import _checks
from ntk_helpers.kernels.infinite import infinite_kernels
from ntk_helpers.theory.dynamics import KernelDynamics


@dataclass(frozen=True)
class Gaussian:
    """The outputs of random wide networks at m test points after training for a time t.

    With the NTK Θ, the NNGP Σ and `A(t) = Θ(x, X) Θ⁺ (I − e^{−cΘt})`, c = 1/N or 1::

        mean = A Y      cov = Σ(x, x) − A Σ(X, x) − Σ(x, X) Aᵀ + A Σ(X, X) Aᵀ

    t = 0 is the prior N(0, Σ); at t = ∞ the mean is ridgeless kernel regression with Θ. It is not
    the Bayesian posterior of Σ. Unpacks as `mean, cov`.

    Attributes:
        mean: (m,) or (m, k) as y, or (T, …).
        cov: (m, m), the same for each output, which are independent; or (T, m, m).
        cutoff: Eigenvalues of Θ(X, X) up to this count as 0.
        rank: How many of them are above it: fewer than n for points that come twice, and for smooth
            kernels of many points in few dimensions.
    """

    mean: Tensor
    cov: Tensor
    cutoff: float
    rank: int

    @property
    def std(self) -> Tensor:
        """Return the standard deviation at each test point, (m,) or (T, m)."""
        return self.cov.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()

    def __iter__(self) -> Iterator[Tensor]:
        """Yield mean and cov."""
        yield from (self.mean, self.cov)


def wide_ensemble(
    x: Tensor,
    y: Tensor,
    x_test: Tensor,
    t: float | Tensor,
    *,
    depth: int = 1,
    activation: str = "erf",
    sigma_w: float = 1.0,
    sigma_b: float = 0.1,
    loss: str = "mean",
) -> Gaussian:
    """Return the distribution of f_t(x_test) over infinitely wide networks in gradient flow.

    It is computed in float64 (on the CPU where a device has none): the eigenvalues of these kernels
    fall so fast that float32 would keep 18 of 100 points on a line.

    Derived in notebooks/05_closed_form_mse.ipynb, "What do a hundred trained networks say?".

    Source: Lee et al. 2019, arXiv:1902.06720, section 2.3.1, equations 13–16.

    Args:
        x: (n, d) training inputs.
        y: (n,) or (n, k) targets.
        x_test: (m, d) test inputs.
        t: Time of gradient flow, ≥ 0; math.inf is allowed. A 1-D tensor of T times adds a leading
            axis. After k steps of gradient descent with a small rate η, t = ηk.
        depth: Number of hidden layers.
        activation: As in `infinite_kernels`.
        sigma_w: Standard deviation σ_w of the weights.
        sigma_b: Standard deviation σ_b of the biases.
        loss: "mean" (1/N Σ ½‖·‖²) or "sum" (Σ ½‖·‖²).

    Returns:
        Mean and covariance at the test points, with the device and dtype of x.
    """
    _checks.require_tensor("x", x, ndim=(2,))
    _checks.require_tensor("x_test", x_test, ndim=(2,))
    _checks.require_tensor("y", y, ndim=(1, 2))
    _checks.require_same_place(x=x, y=y, x_test=x_test)
    _checks.require_same_length(x=x, y=y)
    _checks.require_same_inputs(x=x, x_test=x_test)
    m = len(x_test)
    exact = {"device": "cpu" if x.device.type == "mps" else x.device, "dtype": torch.float64}
    targets = y.detach().to(**exact)
    nngp, ntk = infinite_kernels(
        torch.cat([x_test, x]).to(**exact),
        depth=depth,
        activation=activation,
        sigma_w=sigma_w,
        sigma_b=sigma_b,
    )
    dynamics = KernelDynamics(ntk[m:, m:], targets, loss=loss)
    a = dynamics.smoother(t, ntk[:m, m:])
    combination = torch.cat([torch.eye(m, **exact).expand(*a.shape[:-1], m), -a], dim=-1)  # (I, −A)
    cov = combination @ nngp @ combination.mT
    mean, cov = (a @ targets).to(x), ((cov + cov.mT) / 2).to(x)
    return Gaussian(mean, cov, dynamics.cutoff, dynamics.rank)
