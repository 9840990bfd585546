"""Training in function space, solved: what a network of constant kernel predicts at any time."""

import math

import torch
from torch import Tensor

from ntk_helpers import _checks
from ntk_helpers.theory import _inputs


class KernelDynamics:
    """Squared-loss training of a model whose kernel K = V Λ Vᵀ never changes.

    With c = 1/N for the loss "mean" `(1/N) Σ ½‖f − y‖²` and c = 1 for "sum"::

        gradient flow      f_t(X) = f_0(X) + (I − e^{−cKt}) (Y − f_0(X))
                           f_t(x) = f_0(x) + K(x, X) K⁺ (I − e^{−cKt}) (Y − f_0(X))
        gradient descent   (I − ηcK)ᵏ in place of e^{−cKt}

    Flow has no learning rate; descent with rate η is its Euler method, and t = ηk. Descent
    is stable while η < 2 / (c λ_max). The part of Y − f_0(X) in the null space of K never decays.

    A kernel (n, n) acts on each output column alone. A kernel (n, n, k, k), as `empirical_ntk`
    returns it, couples the outputs: it is solved as one square of n·k rows, point by point. For y
    (n, k) do not give `empirical_ntk(…, outputs="trace")` as it is: it sums over the k outputs, so
    that training would run k times too fast. Divide it by k, which is the mean over outputs, or
    give the kernel of "full", or column j of y with column j of "diagonal".

    Derived in notebooks/05_closed_form_mse.ipynb, "Can the equation be solved for all points at
    once?", "Which mistakes die first?" (modes), "What about points that were never trained
    on?", "Steps or time?" and "What do a hundred trained networks say?" (smoother).

    Source: Lee et al. 2019, arXiv:1902.06720, section 2.2; Jacot, Gabriel, Hongler 2018,
    arXiv:1806.07572, section 5.

    Attributes:
        eigenvalues: (n,) of K, or (n·k,), ascending; those up to `cutoff` are given as 0.
        eigenvectors: (n, n) or (n·k, n·k), one in each column.
        cutoff: What counts as 0: 10 n ε λ_max, the rounding of the n eigenvalues with headroom, or
            −λ_min where that is larger.
        rank: How many eigenvalues are above the cutoff; in float32 fewer than in float64.
        max_learning_rate: 2 / (c λ_max); infinite if K = 0.

    Example:
        >>> flow = KernelDynamics(2 * torch.eye(1), torch.tensor([1.0]), loss="sum")
        >>> flow.train(math.log(2) / 2), flow.train(math.inf), flow.max_learning_rate
        (tensor([0.5000]), tensor([1.]), 1.0)
    """

    def __init__(self, k_train: Tensor, y: Tensor, f0: Tensor | None = None, *, loss: str = "mean"):
        """Decompose the kernel of the training points.

        Args:
            k_train: (n, n) or (n, n, k, k), symmetric and positive semidefinite.
            y: (n,) or (n, k) targets.
            f0: Outputs at t = 0 on the training points, shaped as y; None is zero.
            loss: "mean" or "sum".
        """
        _checks.require_tensor("k_train", k_train, ndim=(2, 4))
        _checks.require_tensor("y", y, ndim=(1, 2))
        f0 = torch.zeros_like(y) if f0 is None else f0
        _checks.require_tensor("f0", f0)
        _checks.require_same_place(k_train=k_train, y=y, f0=f0)
        _checks.require_choice("loss", loss, ["mean", "sum"])
        n, k = y[:, None].flatten(1).shape
        self._coupled = k_train.ndim == 4
        self._kernel_shape = (n, n, k, k) if self._coupled else (n, n)
        if k_train.shape != self._kernel_shape:
            raise ValueError(
                f"k_train must have shape {self._kernel_shape} for y of shape {tuple(y.shape)}, a "
                f"row for each training point; got {tuple(k_train.shape)}."
            )
        _inputs.require_shape("f0", f0, y.shape)
        self._scale = 1 / n if loss == "mean" else 1.0
        self._f0 = f0.detach()
        raw, self.eigenvectors = _inputs.eigenpairs("k_train", self._square(k_train))
        low, high = float(raw[0]), float(raw[-1])
        self._amplitudes = self.eigenvectors.T @ (y - f0).detach().reshape(len(raw), -1)
        self.cutoff = max(10 * len(raw) * torch.finfo(raw.dtype).eps * high, -low)
        self.eigenvalues = torch.where(raw > self.cutoff, raw, 0.0)
        self.rank = int((self.eigenvalues > 0).sum())
        self.max_learning_rate = 2 / (self._scale * high) if high > 0 else math.inf

    def train(self, t: float | Tensor) -> Tensor:
        """Return gradient flow's outputs on the training points.

        Args:
            t: Time, ≥ 0; math.inf is allowed. A 1-D tensor of T times adds a leading axis.

        Returns:
            f_t(X), shaped as y, or (T, …).
        """
        return self._train(self._flow(t)[0])

    def test(self, t: float | Tensor, k_test_train: Tensor, f0_test: Tensor | None = None):
        """Return gradient flow's outputs on test points; at t = ∞, ridgeless kernel regression.

        Args:
            t: As in `train`.
            k_test_train: (m, n) or (m, n, k, k), kernel of test points (rows) and training points.
            f0_test: (m,) or (m, k) outputs at t = 0; None is zero.

        Returns:
            f_t(x), (m,) or (m, k), or (T, …).
        """
        return self._test(self._flow(t)[1], k_test_train, f0_test)

    def train_steps(self, k: int | Tensor, learning_rate: float) -> Tensor:
        """Return the training outputs after exactly k steps of gradient descent.

        Args:
            k: Number of steps, ≥ 0. A 1-D tensor of T whole numbers adds a leading axis.
            learning_rate: η. Above `max_learning_rate` the outputs grow with k, in the end to ±inf.

        Returns:
            f_k(X), shaped as y, or (T, …).
        """
        return self._train(self._descent(k, learning_rate)[0])

    def test_steps(self, k: int | Tensor, learning_rate: float, k_test_train: Tensor, f0_test=None):
        """Return the test outputs after exactly k steps; arguments as in `train_steps`, `test`."""
        return self._test(self._descent(k, learning_rate)[1], k_test_train, f0_test)

    def modes(self, t: float | Tensor) -> Tensor:
        """Return the residual along each eigenvector, Vᵀ (f_t(X) − Y) = e^{−cΛt} Vᵀ (f_0(X) − Y).

        Args:
            t: As in `train`.

        Returns:
            (n,) or (n, k) as y, (n·k,) for a coupled kernel, or (T, …); ordered as `eigenvalues`.
        """
        left = (self._flow(t)[0] - 1) * self._amplitudes
        shape = (len(self.eigenvalues),) if self._coupled else self._f0.shape
        return left.reshape(*left.shape[:-2], *shape)

    def smoother(self, t: float | Tensor, k_test_train: Tensor) -> Tensor:
        """Return A(t) = K(x, X) K⁺ (I − e^{−cKt}): f_t(x) = f_0(x) + A(t) (Y − f_0(X)).

        Args:
            t: As in `test`.
            k_test_train: As in `test`.

        Returns:
            A(t), (m, n) or (m·k, n·k), or (T, …).
        """
        return (self._towards(k_test_train) * self._flow(t)[1].mT) @ self.eigenvectors.T

    def _flow(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return 1 − e^{−cλt} and (1 − e^{−cλt})/λ, (n, 1) or (T, n, 1)."""
        t = _inputs.grid("t", t, like=self._f0)
        rate = self._scale * self.eigenvalues[:, None]
        done = torch.where(rate > 0, -torch.expm1(-rate * t), 0.0)
        return done, self._divided(done, t)

    def _descent(self, k: int | Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        """Return 1 − (1 − ηcλ)ᵏ and the same over λ, (n, 1) or (T, n, 1)."""
        _checks.require_number("learning_rate", learning_rate, positive=True)
        k = _inputs.grid("k", k, like=self._f0)
        if not torch.equal(k, k.round()) or k.isinf().any():
            raise ValueError(f"k must hold whole, finite numbers; got {k.flatten().tolist()[:5]}.")
        a = learning_rate * self._scale * self.eigenvalues[:, None]
        small = -torch.expm1(k * torch.log1p(-a.clamp(max=0.5)))
        done = torch.where(a < 0.5, small, 1 - (1 - a) ** k)
        return done, self._divided(done, learning_rate * k)

    def _divided(self, done: Tensor, t: Tensor) -> Tensor:
        """Return done/λ, and its limit ct where λ counts as 0.

        The limit fades as t passes 1/cutoff: exactly, K(x, X) carries nothing from the null space
        to test points, and by then ct would amplify the rounding that it does carry.
        """
        values, ct = self.eigenvalues[:, None], self._scale * t
        limit = torch.where(t.isinf(), 0.0, ct * torch.exp(-self.cutoff * ct))
        return torch.where(values > 0, done / values, limit)

    def _train(self, done: Tensor) -> Tensor:
        """Return f_0(X) plus what the modes have done."""
        change = self._mixed(self.eigenvectors, done)
        return self._f0 + change.reshape(*change.shape[:-2], *self._f0.shape)

    def _test(self, gain: Tensor, k_test_train: Tensor, f0_test: Tensor | None) -> Tensor:
        """Return f_0(x) plus what the modes carry to the test points."""
        change = self._mixed(self._towards(k_test_train), gain)
        shape = (len(k_test_train), *self._f0.shape[1:])
        change = change.reshape(*change.shape[:-2], *shape)
        if f0_test is None:
            return change
        _checks.require_tensor("f0_test", f0_test)
        _checks.require_same_place(k_test_train=k_test_train, f0_test=f0_test)
        _inputs.require_shape("f0_test", f0_test, shape)
        return f0_test.detach() + change

    def _mixed(self, vectors: Tensor, factors: Tensor) -> Tensor:
        """Return Σ_j vectors_j factors_j amplitude_j; where descent overflows, ±inf."""
        modes = torch.where(self._amplitudes == 0, 0.0, factors * self._amplitudes)
        change, grown = vectors @ modes, ~modes.isfinite()
        if grown.any():  # a point that no such mode reaches has got 0 · inf
            reached = (vectors != 0).to(modes) @ grown.to(modes) > 0
            change = torch.where(reached, change, vectors @ modes.masked_fill(grown, 0.0))
        return torch.where(change.isnan(), math.inf, change)

    def _square(self, kernel: Tensor) -> Tensor:
        """Return a kernel as a matrix: (m, n) as it is, (m, n, k, k) as (m·k, n·k)."""
        if self._coupled:
            kernel = kernel.transpose(1, 2).flatten(2).flatten(0, 1)
        return kernel.detach()

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
        return self._square(k_test_train) @ self.eigenvectors
