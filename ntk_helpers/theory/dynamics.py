"""Training in function space, solved: what a network of constant kernel predicts at any time."""

import torch
from torch import Tensor

from ntk_helpers import _checks
from ntk_helpers.theory import _inputs
from ntk_helpers.theory._modes import Modes, mixed


class KernelDynamics:
    """Squared-loss training of a model whose kernel K = V Λ Vᵀ never changes.

    With c = 1/N for the loss "mean" `(1/N) Σ ½‖f − y‖²`, c = 1 for "sum", and a ridge ρ ≥ 0::

        gradient flow      f_t(X) = f_0(X) + K (K + ρI)⁺ (I − e^{−c(K + ρI)t}) (Y − f_0(X))
                           f_t(x) = f_0(x) + K(x, X) (K + ρI)⁺ (I − e^{−c(K + ρI)t}) (Y − f_0(X))
        gradient descent   (I − ηc(K + ρI))ᵏ in place of e^{−c(K + ρI)t}

    Flow has no learning rate; descent with rate η is its Euler method, and t = ηk. Descent is
    stable while η < 2 / (c (λ_max + ρ)). The ridge is the penalty (cρ/2) ‖θ − θ_0‖² in the loss; at
    t = ∞, f − f_0 is scikit-learn's `KernelRidge(alpha=ρ)` of Y − f_0(X). Without a ridge, the part
    of Y − f_0(X) in the null space of K never decays.

    A kernel (n, n) acts on each output column alone. A kernel (n, n, k, k), as `empirical_ntk`
    returns it, couples the outputs: it is solved as one square of n·k rows, point by point.
    `empirical_ntk(…, outputs="trace")` of k > 1 outputs is a sum, with which training would run k
    times too fast, and is refused; but a slice, a copy or a multiple of it is not recognised.
    Divide it by k, which is the mean over outputs, or give the kernel of "full", or column j of y
    with column j of "diagonal".

    The work is done in float64 (on the CPU where a device has none). A kernel that was *given* in
    float32 has lost eigenvalues to rounding all the same: `rank` tells how many are left, and a
    test point at t = ∞ without a ridge, which needs the others, brings a warning.

    Derived in notebooks/05_closed_form_mse.ipynb, "Can the equation be solved for all points at
    once?", "Which mistakes die first?" (modes), "What about points that were never trained on?",
    "Steps or time?" and "What do a hundred trained networks say?" (smoother); the ridge in
    notebooks/deeper/ensembles.ipynb, "What does a ridge do to a network?".

    Source: Lee et al. 2019, arXiv:1902.06720, section 2.2; Jacot, Gabriel, Hongler 2018,
    arXiv:1806.07572, section 5.

    Attributes:
        eigenvalues: (n,) of K, or (n·k,), ascending; those up to `cutoff` are given as 0.
        eigenvectors: (n, n) or (n·k, n·k), one in each column.
        cutoff: What counts as 0: 10 n ε λ_max, the rounding of the n eigenvalues with headroom and
            the ε of the dtype given, or −λ_min where that is larger. The ridge lifts eigenvalues
            above it.
        rank: How many eigenvalues are above the cutoff; in float32 fewer than in float64.
        max_learning_rate: 2 / (c (λ_max + ρ)); infinite if K = 0 and ρ = 0.

    Example:
        >>> import math
        >>> flow = KernelDynamics(2 * torch.eye(1), torch.tensor([1.0]), loss="sum")
        >>> flow.train(math.log(2) / 2), flow.train(math.inf), flow.max_learning_rate
        (tensor([0.5000]), tensor([1.]), 1.0)
        >>> KernelDynamics(2 * torch.eye(1), torch.tensor([1.0]), ridge=2.0).train(math.inf)
        tensor([0.5000])
    """

    def __init__(
        self,
        k_train: Tensor,
        y: Tensor,
        f0: Tensor | None = None,
        *,
        loss: str = "mean",
        ridge: float = 0.0,
    ):
        """Decompose the kernel of the training points.

        Args:
            k_train: (n, n) or (n, n, k, k), symmetric and positive semidefinite.
            y: (n,) or (n, k) targets.
            f0: Outputs at t = 0 on the training points, shaped as y; None is zero.
            loss: "mean" or "sum".
            ridge: ρ ≥ 0, in the units of the kernel.
        """
        _checks.require_tensor("k_train", k_train, ndim=(2, 4))
        _checks.require_tensor("y", y, ndim=(1, 2))
        f0 = torch.zeros_like(y) if f0 is None else f0
        _checks.require_tensor("f0", f0)
        _checks.require_same_place(k_train=k_train, y=y, f0=f0)
        _checks.require_choice("loss", loss, ["mean", "sum"])
        _checks.require_number("ridge", ridge)
        n, k = y[:, None].flatten(1).shape
        self._coupled = k_train.ndim == 4
        self._kernel_shape = (n, n, k, k) if self._coupled else (n, n)
        if k_train.shape != self._kernel_shape:
            raise ValueError(
                f"k_train must have shape {self._kernel_shape} for y of shape {tuple(y.shape)}, a "
                f"row for each training point; got {tuple(k_train.shape)}."
            )
        _inputs.require_shape("f0", f0, y.shape)
        self._given = {"device": y.device, "dtype": y.dtype}
        self._f0, target = (a.detach().to(**_checks.exact(y)) for a in (f0, y))
        square = _inputs.matrix("k_train", k_train)
        self._modes = Modes(square, 1 / n if loss == "mean" else 1.0, ridge, y.dtype)
        self._amplitudes = self._modes.vectors.T @ (target - self._f0).reshape(len(square), -1)
        self.eigenvalues = self._modes.values.to(**self._given)
        self.eigenvectors = self._modes.vectors.to(**self._given)
        self.cutoff, self.rank = self._modes.cutoff, self._modes.rank
        self.max_learning_rate = self._modes.max_learning_rate

    def train(self, t: float | Tensor) -> Tensor:
        """Return gradient flow's outputs on the training points.

        Args:
            t: Time, ≥ 0; math.inf is allowed. A 1-D tensor of T times adds a leading axis.

        Returns:
            f_t(X), shaped as y, or (T, …).
        """
        return self._train(self._modes.flow(t)[0])

    def test(self, t: float | Tensor, k_test_train: Tensor, f0_test: Tensor | None = None):
        """Return gradient flow's outputs on test points; at t = ∞, kernel (ridge) regression.

        Args:
            t: As in `train`.
            k_test_train: (m, n) or (m, n, k, k), kernel of test points (rows) and training points.
            f0_test: (m,) or (m, k) outputs at t = 0; None is zero.

        Returns:
            f_t(x), (m,) or (m, k), or (T, …).
        """
        return self._test(self._modes.flow_elsewhere(t), k_test_train, f0_test)

    def train_steps(self, k: int | Tensor, learning_rate: float) -> Tensor:
        """Return the training outputs after exactly k steps of gradient descent.

        Args:
            k: Number of steps, ≥ 0. A 1-D tensor of T whole numbers adds a leading axis.
            learning_rate: η. Above `max_learning_rate` the outputs grow with k, in the end to ±inf.

        Returns:
            f_k(X), shaped as y, or (T, …).
        """
        return self._train(self._modes.descent(k, learning_rate)[0])

    def test_steps(self, k: int | Tensor, learning_rate: float, k_test_train: Tensor, f0_test=None):
        """Return the test outputs after exactly k steps; arguments as in `train_steps`, `test`."""
        return self._test(self._modes.descent(k, learning_rate)[1], k_test_train, f0_test)

    def modes(self, t: float | Tensor) -> Tensor:
        """Return the residual along each eigenvector, Vᵀ (f_t(X) − Y).

        It is e^{−cλt} times that at the start; with a ridge, 1 − λ/(λ + ρ) (1 − e^{−c(λ + ρ)t}).

        Args:
            t: As in `train`.

        Returns:
            (n,) or (n, k) as y, (n·k,) for a coupled kernel, or (T, …); ordered as `eigenvalues`.
        """
        left = (self._modes.flow(t)[0] - 1) * self._amplitudes
        shape = (len(self.eigenvalues),) if self._coupled else self._f0.shape
        return left.reshape(*left.shape[:-2], *shape).to(**self._given)

    def smoother(self, t: float | Tensor, k_test_train: Tensor) -> Tensor:
        """Return A(t) = K(x, X) (K + ρI)⁺ (I − e^{−c(K + ρI)t}).

        With it, f_t(x) = f_0(x) + A(t) (Y − f_0(X)).

        Args:
            t: As in `test`.
            k_test_train: As in `test`.

        Returns:
            A(t), (m, n) or (m·k, n·k), or (T, …).
        """
        return self._smooth(self._modes.flow_elsewhere(t), k_test_train).to(**self._given)

    def _train(self, done: Tensor) -> Tensor:
        """Return f_0(X) plus what the modes have done."""
        change = mixed(self._modes.vectors, done, self._amplitudes)
        return (self._f0 + change.reshape(*change.shape[:-2], *self._f0.shape)).to(**self._given)

    def _test(self, gain: Tensor, k_test_train: Tensor, f0_test: Tensor | None) -> Tensor:
        """Return f_0(x) plus what the modes carry to the test points."""
        change = mixed(self._towards(k_test_train), gain, self._amplitudes)
        shape = (len(k_test_train), *self._f0.shape[1:])
        change = change.reshape(*change.shape[:-2], *shape)
        if f0_test is not None:
            _checks.require_tensor("f0_test", f0_test)
            _checks.require_same_place(k_test_train=k_test_train, f0_test=f0_test)
            _inputs.require_shape("f0_test", f0_test, shape)
            change = f0_test.detach().to(change) + change
        return change.to(**self._given)

    def _smooth(self, gain: Tensor, k_test_train: Tensor) -> Tensor:
        """Return what the modes carry to the test points from each target, in float64."""
        return (self._towards(k_test_train) * gain.mT) @ self._modes.vectors.T

    def _towards(self, k_test_train: Tensor) -> Tensor:
        """Return the kernel of the test points as a matrix in the eigenbasis, K(x, X) V."""
        _checks.require_tensor("k_test_train", k_test_train)
        _checks.require_same_place(k_train=self.eigenvectors, k_test_train=k_test_train)
        wanted = (len(k_test_train), *self._kernel_shape[1:])
        if k_test_train.shape != wanted:
            raise ValueError(
                f"k_test_train must have shape {wanted}, a row for each test point; got "
                f"{tuple(k_test_train.shape)}. If it is k(x_train, x_test), transpose it."
            )
        return _inputs.matrix("k_test_train", k_test_train) @ self._modes.vectors
