"""The empirical Neural Tangent Kernel of any torch module: K(x, x') = J(x) J(x')ᵀ, exactly."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ntk_helpers import _checks
from ntk_helpers._progress import tqdm
from ntk_helpers.kernels._factors import WORKING_SET
from ntk_helpers.kernels._jacobian import plain_torch, push_forward
from ntk_helpers.kernels._layers import Layers, RefutedError
from ntk_helpers.kernels._memory import memory_for
from ntk_helpers.kernels._mlp import WrittenOut
from ntk_helpers.kernels._tiles import Rows, add_product, in_rows, mirror, tiles


def empirical_ntk(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    outputs: str = "full",
    method: str = "auto",
    chunk_size: int | None = None,
) -> Tensor:
    """Return the tangent kernel `K(x, x') = J(x) J(x')ᵀ` of `model` at its current parameters.

    J(x) = ∂f(x)/∂θ has shape (k, P): one row for each output, one column for each trainable
    parameter. The methods differ in cost, not in result. "layerwise" never forms J for a layer
    z = s_w W h + s_b b; with D^l = ∂f/∂z^l and the inputs h^l of the layer it sums::

        K(x, x') = Σ_l (s_w² ⟨h^l, h'^l⟩ + s_b²) D^l(x) D^l(x')ᵀ

    For an `MLP` both are written out by hand, which is fastest. Of any other model hooks read them
    off: of every module that is called once, linear layers, convolutions, embeddings, your own. The
    result is compared with one plain backward pass over the points given, and what disagrees
    (layers called twice, tied weights, parameters used outside their module) is left to "jacobian",
    which contracts J point by point. "ntvp" pushes each row of J forward through the model. "auto"
    is "layerwise".

    Memory: about 512 MB beyond the result, or what a point needs; more points are cut in blocks.
    x2 = None does half the work and returns an exactly symmetric kernel.

    Derived in notebooks/deeper/computing_kernels.ipynb; in short in
    notebooks/03_empirical_kernel.ipynb, "What does each layer contribute?".

    Source: Jacot, Gabriel, Hongler 2018, arXiv:1806.07572, section 4; Novak, Sohl-Dickstein,
    Schoenholz 2022, arXiv:2206.08720, section 3.

    Args:
        model: Any module that treats rows independently, (n, …) → (n, k) or (n,). Of complex
            parameters the real and the imaginary part count as two.
        x1: (n1, …) points.
        x2: (n2, …) points; None means x1.
        outputs: "full" (n1, n2, k, k) with entry [a, b, i, j] = ∂f_i(x1_a) · ∂f_j(x2_b);
            "diagonal" (n1, n2, k) with i = j only; "trace" (n1, n2), the sum over i = j, of which
            `KernelDynamics` wants the mean, 1/k of it.
        method: "layerwise", "jacobian", "ntvp" or "auto".
        chunk_size: Points of each side that are held at once; None chooses by memory.

    Returns:
        The kernel, detached, in the dtype of the outputs.

    Raises:
        ValueError: If rows are not independent or random, or parameters act in training mode only.
        MemoryError: If the kernel itself does not fit.

    Example:
        >>> line = nn.Linear(1, 1)  # f(x) = θ₁ x + θ₂, so K(x, x') = x x' + 1
        >>> empirical_ntk(line, torch.tensor([[2.0]]), torch.tensor([[3.0]]), outputs="trace")
        tensor([[7.]])
    """
    with plain_torch(), torch.inference_mode(False), torch.no_grad():
        work = Work(model, x1, x2, outputs, method, chunk_size)  # looks at the arguments
        (kernel,) = work.new_kernels(1)
        if method == "ntvp":
            return work.finished(work.pushed_forward(kernel))
        for tile, f, g in work.tiles(dict.fromkeys(work.layers, kernel)):  # a layer at x1, at x2
            inner = (f.h @ g.h.mT).mul_(f.weight**2).add_(f.bias**2)
            add_product(tile, inner, f.d @ g.d.mT)  # tile += (w² ⟨h, h'⟩ + b²) D D'ᵀ
        return work.finished(kernel)


def layer_ntks(
    model: nn.Module, x1: Tensor, x2: Tensor | None = None, *, outputs: str = "full"
) -> dict[str, Tensor]:
    """Return the share of each layer's parameters in the tangent kernel; they sum to the whole.

    Derived in notebooks/03_empirical_kernel.ipynb, "What does each layer contribute?".

    Source: Novak, Sohl-Dickstein, Schoenholz 2022, arXiv:2206.08720, section 3.

    Args:
        model: As for `empirical_ntk`.
        x1: (n1, …) points.
        x2: (n2, …) points; None means x1.
        outputs: "full", "diagonal" or "trace".

    Returns:
        A kernel, shaped as that of `empirical_ntk`, for each module that holds trainable parameters
        by its name in `model.named_modules()`; parameters of `model` itself by its class name.
    """
    with plain_torch(), torch.inference_mode(False), torch.no_grad():
        work = Work(model, x1, x2, outputs, "auto", None)
        kernels = dict(zip(work.layers, work.new_kernels(len(work.layers)), strict=True))
        for tile, f, g in work.tiles(kernels):
            inner = (f.h @ g.h.mT).mul_(f.weight**2).add_(f.bias**2)
            add_product(tile, inner, f.d @ g.d.mT)
        return {key or type(work.model).__name__: work.finished(k) for key, k in kernels.items()}


class Work:
    """What one kernel takes: a model taken apart, and blocks of points that fit in memory."""

    def __init__(self, model, x1, x2, outputs: str, method: str, chunk_size: int | None):
        """Look at the arguments of `empirical_ntk`, and take the model apart."""
        self.model = getattr(model, "_orig_mod", model)
        points = {"x1": x1} if x2 is None else {"x1": x1, "x2": x2}
        self.parameters = _checks.require_points(self.model, **points)
        _checks.require_choice("outputs", outputs, ["full", "diagonal", "trace"])
        _checks.require_choice("method", method, ["auto", "layerwise", "jacobian", "ntvp"])
        if chunk_size is not None:
            _checks.require_integer("chunk_size", chunk_size, at_least=1)
        self.symmetric, self.outputs, self.chunk_size = x2 is None, outputs, chunk_size
        self.x1, self.x2 = x1.clone(), (x1 if x2 is None else x2).clone()
        self.layers = list(dict.fromkeys(name.rpartition(".")[0] for name in self.parameters))
        layerwise = method in {"auto", "layerwise"}
        if layerwise and all(WrittenOut.takes(self.model, x) for x in (self.x1, self.x2)):
            self.parts = WrittenOut(self.model, self.x1)
        else:
            self.parts = Layers(self.model, self.parameters, self.x1, outputs, method)
        self.value, self.k = self.parts.value, self.parts.value.shape[1]
        self.each = self.k if outputs == "full" else 1  # rows of the kernel for a point

    def new_kernels(self, many: int) -> list[Tensor]:
        """Return kernels of zeros, shaped as in `_tiles`, or say that they do not fit."""
        shape = (len(self.x1) * self.each, len(self.x2) * self.each)
        shape = (self.k, *shape) if self.outputs == "diagonal" else shape
        size = many * math.prod(shape) * self.value.element_size()
        what = "the kernel alone needs" if many == 1 else f"the kernels of {many} layers need"
        with memory_for(what, size, self.value.device, "Take fewer points, or outputs='trace'."):
            return [self.value.new_zeros(shape) for _ in range(many)]

    def tiles(self, kernels: dict[str, Tensor]) -> Iterator[tuple[Tensor, Rows, Rows]]:
        """Yield tiles of the kernels of layers, with the layer at the rows and at the columns."""
        while True:
            try:
                for group, rows in self.parts.groups(max(len(self.x1), len(self.x2))):
                    yield from self._tiles(kernels, group, self.chunk_size or rows)
                return
            except RefutedError:  # something is taken in a plainer way from now on
                for kernel in kernels.values():
                    kernel.zero_()

    def _tiles(self, kernels: dict, group: list[str], rows: int) -> Iterator[tuple]:
        """Yield the tiles of a group of layers, in blocks of `rows` points of each side."""

        def factors(x, start, *, look):
            for factor in self.parts.factors(x[start : start + rows], group, look=look):
                yield factor.names[0].rpartition(".")[0], in_rows(factor, self.outputs)

        at = left = None
        for a, b in self.blocks(rows):
            if a != at:
                at, left = a, list(factors(self.x1, a, look=True))
            same, look = self.symmetric and a == b, not self.symmetric and a == 0
            right = left if same else factors(self.x2, b, look=look)
            for (layer, f), (_, g) in zip(left, right, strict=True):
                block = self.block(kernels[layer], a, b, rows)
                yield from tiles(block, f, g, self.each, triangle=same)

    def block(self, kernel: Tensor, a: int, b: int, rows: int) -> Tensor:
        """Return the block of `kernel` for `rows` points from `a` of x1 and from `b` of x2."""
        e = self.each
        return kernel[..., a * e : (a + rows) * e, b * e : (b + rows) * e]

    def blocks(self, rows: int) -> Iterator[tuple[int, int]]:
        """Yield the first points of both sides of all blocks; half of a symmetric kernel."""
        corners = [
            (a, b)
            for a in range(0, len(self.x1), rows)
            for b in range(a if self.symmetric else 0, len(self.x2), rows)
        ]
        if len(corners) > 1:
            corners = tqdm(corners, "tangent kernel", unit="block", leave=False, delay=2)
        yield from corners

    def pushed_forward(self, kernel: Tensor) -> Tensor:
        """Fill `kernel` by forward mode along the rows of the Jacobian."""
        size = sum(p.nbytes for p in self.parameters.values())
        rows = self.chunk_size or max(1, WORKING_SET // (4 * self.k * size))
        for a, b in self.blocks(rows):
            x1, x2 = self.x1[a : a + rows], self.x2[b : b + rows]
            pushed = push_forward(self.model, self.parameters, x1, x2, self.k)  # (n1, k, n2, k)
            same = pushed.diagonal(dim1=1, dim2=3).movedim(-1, 0)
            whole = pushed.flatten(2).flatten(0, 1)
            wanted = {"full": whole, "diagonal": same, "trace": same.sum(0)}
            self.block(kernel, a, b, rows).copy_(wanted[self.outputs])
        return kernel

    def finished(self, kernel: Tensor) -> Tensor:
        """Return `kernel` as the caller wants it, after a look at it."""
        if self.symmetric:
            mirror(kernel)
        if not _checks.is_finite(kernel):
            raise ValueError(
                f"the tangent kernel holds NaN or infinite values although the outputs do not: a "
                f"derivative is infinite, as that of sqrt at 0, or {kernel.dtype} overflows. Fix "
                f"the model, or convert it and the points with .double()."
            )
        if self.outputs == "full":
            return kernel.view(len(self.x1), self.k, -1, self.k).transpose(1, 2)
        kernel = kernel.movedim((-2, -1), (0, 1))
        if self.outputs == "trace":  # a mark, by which KernelDynamics refuses a sum over several
            kernel.summed_outputs = (self.k, kernel._version)
        return kernel
