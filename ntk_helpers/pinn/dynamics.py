"""Training of a physics-informed network in closed form, for a kernel that stays constant."""

import torch
from torch import Tensor

from ntk_helpers import _checks
from ntk_helpers.pinn.kernel import PINNKernel, loss_scales, weight_pair
from ntk_helpers.theory.dynamics import KernelDynamics


class PINNDynamics:
    """Training of a PINN whose kernel never changes: u and Lu at any time, from the start alone.

    With D = diag(λ_b c_b …, λ_r c_r …), F = (u(x_b); Lu(x_r)) and Y = (g; f)::

        dF/dt = −K D (F − Y)      F_t = Y + D^{−½} e^{−D^½ K D^½ t} D^½ (F_0 − Y)

    Derived in notebooks/06_pinn.ipynb, "What is learned first?".
    Derived in notebooks/06_pinn.ipynb, "Why does the PINN for sin 4πx fail?" (D).

    Attributes:
        flow: The `KernelDynamics` of D^½ F with the kernel D^½ K D^½.
        eigenvalues: (n_b + n_r,) of D^½ K D^½, ascending.
        max_learning_rate: 2 / λ_max.
    """

    def __init__(
        self,
        kernel: PINNKernel,
        targets: tuple[Tensor, Tensor],
        start: tuple[Tensor, Tensor],
        *,
        weights: tuple[float, float] = (1.0, 1.0),
        loss: str = "sum",
    ):
        """Decompose the weighted kernel.

        Args:
            kernel: At the start.
            targets: g (n_b,) and f (n_r,).
            start: u (n_b,) and Lu (n_r,) at t = 0.
            weights: (λ_b, λ_r), greater than 0.
            loss: "sum" or "mean", as in `train_pinn`.
        """
        if not isinstance(kernel, PINNKernel):
            raise TypeError(
                f"kernel must be a PINNKernel, as ntk.pinn_kernel(…) returns; got "
                f"{type(kernel).__name__}."
            )
        shape = tuple(kernel.ur.shape)
        for name, parts in [("targets", targets), ("start", start)]:
            pair = parts if isinstance(parts, tuple | list) else ()
            for part in pair:
                _checks.require_tensor(name, part)
                _checks.require_same_place(kernel=kernel.uu, **{name: part})
            if tuple(part.numel() for part in pair) != shape:
                raise ValueError(
                    f"{name} must be a pair of tensors, {name}=(boundary, interior), of {shape[0]} "
                    f"and {shape[1]} values, as the kernel has; got {parts!r:.60}."
                )
        self._n = shape[0]
        scales = loss_scales(loss, *shape)
        pair = [w * c for w, c in zip(weight_pair(weights, positive=True), scales, strict=True)]
        root = kernel.uu.new_tensor(pair).sqrt()
        self._root = torch.cat([d.expand(n) for d, n in zip(root, shape, strict=True)])
        y, f0 = (torch.cat([part.reshape(-1) for part in parts]) for parts in (targets, start))
        square = kernel.weighted(*pair).full
        self.flow = KernelDynamics(square, self._root * y, self._root * f0, loss="sum")
        self.eigenvalues = self.flow.eigenvalues
        self.max_learning_rate = self.flow.max_learning_rate

    def train(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return u (n_b,) and Lu (n_r,) at time t; T times add a leading axis."""
        return self._split(self.flow.train(t))

    def train_steps(self, k: int | Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        """Return u and Lu after exactly k steps of gradient descent, shaped as in `train`."""
        return self._split(self.flow.train_steps(k, learning_rate))

    def test(self, t: float | Tensor, k_test_train: Tensor, f0_test: Tensor) -> Tensor:
        """Return u (m,) or (T, m) at other points.

        Args:
            t: Time, or T times.
            k_test_train: (m, n_b + n_r) kernel of u at those points with u(x_b) and Lu(x_r).
            f0_test: (m,) u at those points at t = 0.
        """
        return self.flow.test(t, self._scaled(k_test_train), f0_test)

    def test_steps(
        self, k: int | Tensor, learning_rate: float, k_test_train: Tensor, f0_test: Tensor
    ) -> Tensor:
        """Return u at other points after exactly k steps of descent, shaped as in `test`."""
        return self.flow.test_steps(k, learning_rate, self._scaled(k_test_train), f0_test)

    def _scaled(self, k_test_train: Tensor) -> Tensor:
        """Return K(x, X) D^½ (m, n_b + n_r)."""
        _checks.require_tensor("k_test_train", k_test_train, ndim=(2,))
        _checks.require_same_place(kernel=self._root, k_test_train=k_test_train)
        n_b, n = self._n, len(self._root)
        if k_test_train.shape[1] != n:
            raise ValueError(
                f"k_test_train must have a column for each of the {n_b} boundary and {n - n_b} "
                f"interior values; got shape {tuple(k_test_train.shape)}. torch.cat([uu, ur], 1) "
                f"joins the two blocks."
            )
        return k_test_train * self._root

    def _split(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """Divide by D^½ and separate the boundary from the interior."""
        values = scaled / self._root
        return values[..., : self._n], values[..., self._n :]
