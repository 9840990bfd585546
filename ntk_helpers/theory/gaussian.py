"""Gaussians over functions: wide networks at any time of training, and the Bayesian posterior."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_helpers import _checks
from ntk_helpers.kernels.infinite import infinite_kernels
from ntk_helpers.theory.dynamics import KernelDynamics


@dataclass(frozen=True)
class Gaussian:
    """The values of a random function at m test points; it unpacks as `mean, cov`.

    From `wide_ensemble` the function is a random wide network after training for a time t, from
    `gp_posterior` a draw from a Gaussian process that fits the targets. These are two different
    Gaussians, also where the kernel is the same.

    Attributes:
        mean: (m,) or (m, k) as y, or (T, …).
        cov: (m, m), the same for each output, which are independent; or (T, m, m).
        cutoff: Eigenvalues of the kernel of the training points up to this count as 0.
        rank: How many of them are above it: fewer than n for points that come twice, and for smooth
            kernels of many points in few dimensions, sooner in float32 than in float64.
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

    With the NTK Θ, the NNGP Σ and `A(t) = Θ(x, X) Θ⁺ (I − e^{−cΘt})`, c = 1/N or 1::

        mean = A Y      cov = Σ(x, x) − A Σ(X, x) − Σ(x, X) Aᵀ + A Σ(X, X) Aᵀ

    t = 0 is the prior N(0, Σ); at t = ∞ the mean is ridgeless kernel regression with Θ. It is not
    the Bayesian posterior of Σ, which `gp_posterior` computes.

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
    exact = _checks.exact(x)
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


def gp_posterior(
    k_train: Tensor, y: Tensor, k_test_train: Tensor, k_test: Tensor, *, noise: float
) -> Gaussian:
    """Return what a Gaussian process N(0, K) says of f(x) once noisy targets are known.

    With targets Y = f(X) + independent noise of variance σ² at each point::

        mean = K(x, X) (K + σ²I)⁻¹ Y      cov = K(x, x) − K(x, X) (K + σ²I)⁻¹ K(X, x)

    This is scikit-learn's `GaussianProcessRegressor(alpha=σ²)`. With K the NNGP kernel, draws are
    infinitely wide networks at initialisation, of which those are kept that fit the targets. The
    mean is `KernelDynamics(K, y, ridge=σ²).test(∞, …)`: with the NTK as K, where wide networks end
    on average that are held back by the ridge σ². The covariance is that of f: a new *target* has
    σ² more on the diagonal.

    It is computed in float64, as in `KernelDynamics`; a kernel given in float32 needs noise above
    its rounding, or brings a warning.

    Derived in notebooks/05_closed_form_mse.ipynb, "What do a hundred trained networks say?"
    (without noise), and notebooks/deeper/ensembles.ipynb, "What does a ridge do to a network?".

    Source: Rasmussen, Williams 2006, Gaussian Processes for Machine Learning, equations 2.22–2.24.

    Args:
        k_train: (n, n) kernel K of the training points, symmetric and positive semidefinite.
        y: (n,) or (n, k) targets.
        k_test_train: (m, n) kernel of test points (rows) and training points.
        k_test: (m, m) kernel of the test points.
        noise: Variance σ² of the noise, ≥ 0, in the units of the kernel. At 0 the eigenvalues of K
            up to `cutoff` count as 0, and `rank` tells how many are left.

    Returns:
        Mean and covariance at the test points, with the device and dtype of k_train.

    Example:
        >>> one = torch.ones(1, 1)
        >>> gp_posterior(one, torch.tensor([3.0]), one, one, noise=0.5).mean
        tensor([2.])
    """
    _checks.require_tensor("k_train", k_train, ndim=(2,))
    _checks.require_tensor("k_test", k_test, ndim=(2,))
    _checks.require_same_place(k_train=k_train, k_test=k_test)
    _checks.require_number("noise", noise)
    dynamics = KernelDynamics(k_train, y, ridge=noise)
    a = dynamics._smooth(dynamics._modes.flow_elsewhere(math.inf), k_test_train)
    m = len(k_test_train)
    if k_test.shape != (m, m):
        raise ValueError(
            f"k_test must have shape {(m, m)}, the kernel of the test points with themselves; got "
            f"{tuple(k_test.shape)}."
        )
    cov = k_test.detach().to(a) - a @ k_test_train.detach().to(a).mT
    mean, cov = (b.to(k_train) for b in (a @ y.detach().to(a), (cov + cov.mT) / 2))
    return Gaussian(mean, cov, dynamics.cutoff, dynamics.rank)
