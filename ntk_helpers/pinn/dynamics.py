"""Training of a physics-informed network in closed form, for a kernel that stays constant."""

import torch
from torch import Tensor

from ntk_helpers import _checks
from ntk_helpers.pinn.kernel import PINNKernel
from ntk_helpers.pinn.terms import loss_scales, weight_list
from ntk_helpers.theory.dynamics import KernelDynamics


class PINNDynamics:
    """Training of a PINN whose kernel never changes: Lu of its terms at any time, from the start.

    With D = diag(λ_1 c_1 …, λ_2 c_2 …), the values F of all terms and their targets Y, for two
    terms F = (u(x_b); Lu(x_r)) and Y = (g; f)::

        dF/dt = −K D (F − Y)      F_t = Y + D^{−½} e^{−D^½ K D^½ t} D^½ (F_0 − Y)

    Derived in notebooks/06_pinn.ipynb, "What is learned first?".
    Derived in notebooks/06_pinn.ipynb, "Why does the PINN for sin 4πx fail?" (D).

    Attributes:
        flow: The `KernelDynamics` of D^½ F with the kernel D^½ K D^½.
        eigenvalues: (n,) of D^½ K D^½, ascending; n points in all.
        max_learning_rate: 2 / λ_max.
    """

    def __init__(
        self,
        kernel: PINNKernel,
        targets: tuple[Tensor, ...],
        start: tuple[Tensor, ...],
        *,
        weights: tuple[float, ...] | None = None,
        loss: str = "sum",
    ):
        """Decompose the weighted kernel.

        Args:
            kernel: At the start.
            targets: Of each term, (n_i,): g and f for two terms.
            start: Lu of each term at t = 0, (n_i,): u and Lu for two terms.
            weights: λ_i, greater than 0; None is 1 for each.
            loss: "sum" or "mean", as in `train_pinn`.
        """
        if not isinstance(kernel, PINNKernel):
            raise TypeError(
                f"kernel must be a PINNKernel, as ntk.pinn_kernel(…) returns; got "
                f"{type(kernel).__name__}."
            )
        self._sizes = list(kernel.sizes)
        for name, parts in [("targets", targets), ("start", start)]:
            listed = parts if isinstance(parts, tuple | list) else ()
            for part in listed:
                _checks.require_tensor(name, part)
                _checks.require_same_place(kernel=kernel.uu, **{name: part})
            if [part.numel() for part in listed] != self._sizes:
                raise ValueError(
                    f"{name} must hold a tensor for each term, of "
                    f"{' and '.join(map(str, self._sizes))} values, as the kernel has; got "
                    f"{parts!r:.60}."
                )
        weights = [1.0] * len(self._sizes) if weights is None else weights
        weights = weight_list(weights, len(self._sizes), positive=True)
        scales = loss_scales(loss, *self._sizes)
        each = [w * c for w, c in zip(weights, scales, strict=True)]
        root = kernel.uu.new_tensor(each).sqrt()
        self._root = root.repeat_interleave(torch.tensor(self._sizes, device=root.device))
        y, f0 = (torch.cat([part.reshape(-1) for part in parts]) for parts in (targets, start))
        square = kernel.weighted(*each).full
        self.flow = KernelDynamics(square, self._root * y, self._root * f0, loss="sum")
        self.eigenvalues = self.flow.eigenvalues
        self.max_learning_rate = self.flow.max_learning_rate

    def train(self, t: float | Tensor) -> tuple[Tensor, ...]:
        """Return Lu (n_i,) of each term at time t, as u and Lu; T times add a leading axis."""
        return self._split(self.flow.train(t))

    def train_steps(self, k: int | Tensor, learning_rate: float) -> tuple[Tensor, ...]:
        """Return Lu of each term after exactly k steps of descent, shaped as in `train`."""
        return self._split(self.flow.train_steps(k, learning_rate))

    def test(self, t: float | Tensor, k_test_train: Tensor, f0_test: Tensor) -> Tensor:
        """Return u (m,) or (T, m) at other points.

        Args:
            t: Time, or T times.
            k_test_train: (m, n) kernel of u at those points with the values of all terms.
            f0_test: (m,) u at those points at t = 0.
        """
        return self.flow.test(t, self._scaled(k_test_train), f0_test)

    def test_steps(
        self, k: int | Tensor, learning_rate: float, k_test_train: Tensor, f0_test: Tensor
    ) -> Tensor:
        """Return u at other points after exactly k steps of descent, shaped as in `test`."""
        return self.flow.test_steps(k, learning_rate, self._scaled(k_test_train), f0_test)

    def _scaled(self, k_test_train: Tensor) -> Tensor:
        """Return K(x, X) D^½ (m, n)."""
        _checks.require_tensor("k_test_train", k_test_train, ndim=(2,))
        _checks.require_same_place(kernel=self._root, k_test_train=k_test_train)
        if k_test_train.shape[1] != len(self._root):
            raise ValueError(
                f"k_test_train must have a column for each of the "
                f"{' and '.join(map(str, self._sizes))} values of the terms; got shape "
                f"{tuple(k_test_train.shape)}. torch.cat([uu, ur], 1) joins blocks."
            )
        return k_test_train * self._root

    def _split(self, scaled: Tensor) -> tuple[Tensor, ...]:
        """Divide by D^½ and separate the terms."""
        return (scaled / self._root).split(self._sizes, -1)
