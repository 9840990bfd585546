"""Whether the theory of a constant kernel applies to a run, and the lazy-regime number."""

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ntk_helpers import _checks
from ntk_helpers.kernels import _outputs
from ntk_helpers.kernels._jacobian import real
from ntk_helpers.kernels.empirical import empirical_ntk
from ntk_helpers.theory import _inputs
from ntk_helpers.theory._derivatives import Derivatives, differentiating
from ntk_helpers.theory.change import kernel_drift
from ntk_helpers.theory.dynamics import KernelDynamics
from ntk_helpers.training.descent import gradient_descent


@dataclass(frozen=True)
class LazyRegime:
    """Whether a run is lazy enough for the theory of a constant kernel; print it to read why.

    With r = f_0 − y over all points and outputs, and operator norms (‖∇f‖² = λ_max of the kernel)::

        κ = ‖r‖ ‖∇²f‖ / ‖∇f‖²        and along the flow, û = Jᵀr/‖Jᵀr‖:   ‖r‖ ‖∇²f[û, û]‖ / ‖J û‖²

    κ tells which share of the Jacobian changes while the residual is removed: about 1/√width in the
    NTK parameterisation, because one neuron may carry ∇²f. The flow moves all neurons a little, and
    the second number falls as 1/width. Outputs scaled by α divide both by α where f_0 = 0.

    κ assumes a residual in the fastest mode. Slow modes move the weights much further: the
    linearised flow ends at θ_0 − Jᵀ K⁺ r. What the model itself computes there, without training,
    tells whether the theory agrees with itself.

    Derived in notebooks/deeper/lazy_training.ipynb.
    Derived in notebooks/08_your_network.ipynb, "When may I trust it?".

    Attributes:
        kappa: κ at the start, estimated from below.
        kappa_along_flow: The same along the direction in which gradient flow starts.
        learning_rate: η of the run.
        max_learning_rate: 2 / (c λ_max) at the start.
        fitted_drift: How far the kernel is from that of the start where the linearised flow ends.
        fitted_error: How far f is from its linearisation there, relative to ‖r‖.
        drift: ‖K_end − K_start‖ / ‖K_start‖ after the run; None if it was not made.
        prediction_error: ‖f_end − what K_start predicts‖ / ‖r‖ on the training points, or None.
    """

    kappa: float
    kappa_along_flow: float
    learning_rate: float
    max_learning_rate: float
    fitted_drift: float
    fitted_error: float
    drift: float | None = None
    prediction_error: float | None = None

    @property
    def verdict(self) -> str:
        """Return "applies", "does not apply" or "uncertain" (then measure: give `steps`)."""
        # 0.1, 0.2 and 1 are conventions: what counts as small depends on what the forecast is for.
        if self.learning_rate >= self.max_learning_rate:
            return "does not apply"
        if self.drift is not None:
            small = self.drift <= 0.1 and self.prediction_error <= 0.1
            return "applies" if small else "does not apply"
        if self.kappa <= 0.2 and max(self.fitted_drift, self.fitted_error) <= 0.1:
            return "applies"
        return "uncertain" if self.kappa <= 1 else "does not apply"

    def __str__(self) -> str:
        """Return the verdict and its reasons, a line each."""
        share = self.learning_rate / self.max_learning_rate
        size = "small" if self.kappa <= 0.2 else "moderate" if self.kappa <= 1 else "large"
        stable = "stable" if share < 1 else "too large: the kernel moves, or the loss runs away"
        lines = [
            f"Theory of a constant kernel: {self.verdict}.",
            f"  κ = {self.kappa:.2g} is {size} (along the flow {self.kappa_along_flow:.1g})",
            f"  η = {self.learning_rate:.3g} is {share:.2f} of the largest stable rate, {stable}",
        ]
        if self.drift == math.inf:
            lines.append("  training a copy diverged")
        elif self.drift is not None:
            lines.append(
                f"  training moved the kernel by {self.drift:.1%}, and the outputs are off the "
                f"prediction by {self.prediction_error:.1%} of the first residual"
            )
        elif self.verdict == "uncertain":
            if self.kappa <= 0.2:
                lines.append(
                    f"  but y has slow modes: weights that fit it by linearisation move the "
                    f"kernel by {self.fitted_drift:.0%}, the outputs off by {self.fitted_error:.0%}"
                )
            lines.append("  not decided by κ: give steps=… to train a copy and measure the drift")
        return "\n".join(lines)


def lazy_regime(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    learning_rate: float,
    loss: str = "mean",
    steps: int | None = None,
) -> LazyRegime:
    """Judge whether training `model` on (x, y) stays where a constant kernel predicts it.

    `model` is not changed. ‖∇²f‖ = max a·∇²f[u, v] over unit a, u, v is found by improving each in
    turn with Hessian-vector products, from three starts: a lower bound, tight to some per cent.

    Source: Chizat, Oyallon, Bach 2019, arXiv:1812.07956, section 2.

    Args:
        model: Any module that treats rows independently, (n, …) → (n, k) or (n,).
        x: (n, …) inputs, of any dtype that the model takes.
        y: (n, k) targets; (n,) is allowed where the model has one output.
        learning_rate: η of the run.
        loss: "mean" (1/N Σ ½‖·‖²) or "sum" (Σ ½‖·‖²).
        steps: Train a copy of the model for so many steps, and measure drift and prediction error.

    Returns:
        The measured numbers, and a verdict from them.

    Raises:
        ValueError: If the kernel is zero, or torch cannot differentiate the model three times.
    """
    _checks.require_points(model, x=x)
    _checks.require_tensor("y", y, ndim=(1, 2))
    _checks.require_same_length(x=x, y=y)
    _checks.require_number("learning_rate", learning_rate, positive=True)
    _checks.require_choice("loss", loss, ["mean", "sum"])
    if steps is not None:
        _checks.require_integer("steps", steps, at_least=0)
    kernel = _inputs.start_kernel(model, x)
    moved = _inputs.copied(model)
    theta = [p for p in moved.parameters() if p.requires_grad]
    with differentiating(), torch.enable_grad():
        f = _outputs.fit_to(moved(x), y)
        derivatives = Derivatives(f.reshape(-1), theta)
        f0, r = f.detach(), (f - y).detach().reshape(-1)
        u = nn.functional.normalize(derivatives.pull(r), dim=0)
        gain, along = derivatives.push(u).square().sum(), derivatives.second(u, u).norm()
        bend = derivatives.curvature()
    dynamics = KernelDynamics(kernel, y, f0, loss=loss)
    values, vectors = dynamics.eigenvalues, dynamics.eigenvectors
    solved = vectors @ torch.where(values > 0, vectors.T @ r / values, 0.0)  # K⁺ r
    with torch.no_grad():
        for p, step in zip(theta, derivatives.split(derivatives.pull(solved)), strict=True):
            real(p).sub_(step)
        missed = _outputs.fit_to(moved(x), y) - dynamics.train(math.inf)
    there, drift, error = bool(missed.isfinite().all()), None, None
    if steps is not None:
        trained, drift, error = _inputs.copied(model), math.inf, math.inf
        options = {"learning_rate": learning_rate, "steps": steps, "loss": loss, "progress": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            history = gradient_descent(trained, x, y, **options)
        if not history.diverged:
            drift = kernel_drift(empirical_ntk(trained, x), kernel)
            off = history.outputs[-1] - dynamics.train_steps(steps, learning_rate)
            error = _share(off.norm(), r.norm())
    return LazyRegime(
        kappa=float(r.norm() * bend / values[-1]),
        kappa_along_flow=_share(r.norm() * along, gain),
        learning_rate=float(learning_rate),
        max_learning_rate=dynamics.max_learning_rate,
        fitted_drift=kernel_drift(empirical_ntk(moved, x), kernel) if there else math.inf,
        fitted_error=_share(missed.norm(), r.norm()) if there else math.inf,
        drift=drift,
        prediction_error=error,
    )


def _share(part: Tensor, whole: Tensor) -> float:
    """Return part / whole, and 0 for no part of nothing: where y is f_0, nothing moves."""
    return 0.0 if part == 0 else float(part / whole)
