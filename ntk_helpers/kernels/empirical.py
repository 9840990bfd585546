"""The empirical Neural Tangent Kernel of any torch module: K(x, x') = J(x) J(x')ᵀ, exactly."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ntk_helpers import _checks
from ntk_helpers._progress import tqdm
from ntk_helpers.kernels._jacobian import can_push, jacobian, plain_attention, push_forward
from ntk_helpers.kernels.grams import add_gram, mirror
from ntk_helpers.kernels.layerwise import Factor, layer_factors, make_plan

WORKING_SET = 400 * 2**20  # bytes; the rest of the promised 512 MB is for what estimates miss


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
    z = s_w W h + s_b b; with D^l = ∂f/∂z^l and h^l read off the running model by hooks (or, for an
    `MLP` and a plain nn.Sequential, written down by hand, which is faster) it sums::

        K(x, x') = Σ_l (s_w² ⟨h^l, h'^l⟩ + s_b²) D^l(x) D^l(x')ᵀ

    It takes every module that is called once and alone uses its parameters: nn.Linear, nn.Conv2d,
    normalisations, your own. What it cannot take (layers called twice, tied weights, parameters
    used outside their module) it leaves to "jacobian", which contracts J, point by point: by vmap,
    or by a loop where vmap fails (branches on values, recurrent layers) or errs (nn.PReLU).
    "ntvp" pushes each row of J forward through the model. "auto" takes the cheapest by estimate.

    Memory: about 512 MB beyond the result, or what four points need; more are cut in chunks.
    x2 = None does half the work and returns an exactly symmetric kernel.

    Source: Jacot, Gabriel, Hongler 2018, arXiv:1806.07572, section 4; Novak, Sohl-Dickstein,
    Schoenholz 2022, arXiv:2206.08720, section 3.

    Args:
        model: Any module that treats rows independently, (n, …) → (n, k) or (n,).
        x1: (n1, …) points.
        x2: (n2, …) points; None means x1.
        outputs: "full" (n1, n2, k, k) with entry [a, b, i, j] = ∂f_i(x1_a) · ∂f_j(x2_b);
            "diagonal" (n1, n2, k) with i = j only; "trace" (n1, n2), the sum over i = j.
        method: "layerwise", "jacobian", "ntvp" or "auto".
        chunk_size: Points of each side that are held at once; None chooses by memory.

    Returns:
        The kernel, detached, with the device and dtype of the model.

    Raises:
        TypeError: If an argument is of the wrong type, or dtypes differ.
        ValueError: If shapes or devices do not fit, a name is unknown, or rows are not independent.
        MemoryError: If the kernel itself does not fit.

    Example:
        >>> line = nn.Linear(1, 1)  # f(x) = θ₁ x + θ₂, so K(x, x') = x x' + 1
        >>> empirical_ntk(line, torch.tensor([[2.0]]), torch.tensor([[3.0]]), outputs="trace")
        tensor([[7.]])
    """
    _checks.require_choice("method", method, ["auto", "layerwise", "jacobian", "ntvp"])
    return _kernels(model, x1, x2, outputs, method, chunk_size, lambda layer: "")[""]


def layer_ntks(
    model: nn.Module, x1: Tensor, x2: Tensor | None = None, *, outputs: str = "full"
) -> dict[str, Tensor]:
    """Return the share of each layer's parameters in the tangent kernel; they sum to the whole.

    Source: Novak, Sohl-Dickstein, Schoenholz 2022, arXiv:2206.08720, section 3.

    Args:
        model: As for `empirical_ntk`.
        x1: (n1, …) points.
        x2: (n2, …) points; None means x1.
        outputs: "full", "diagonal" or "trace".

    Returns:
        A kernel, shaped as that of `empirical_ntk`, for each module that holds trainable parameters
        by its name in `model.named_modules()`; parameters of `model` itself by its class name.

    Raises:
        TypeError: If an argument is of the wrong type, or dtypes differ.
        ValueError: If shapes or devices do not fit, a name is unknown, or rows are not independent.
        MemoryError: If the kernels themselves do not fit.
    """

    def key(layer):
        return layer or type(getattr(model, "_orig_mod", model)).__name__

    return _kernels(model, x1, x2, outputs, "layerwise", None, key)


@plain_attention()
@torch.inference_mode(False)
@torch.no_grad()
def _kernels(
    model, x1, x2, outputs: str, method: str, chunk_size: int | None, key: Callable[[str], str]
) -> dict[str, Tensor]:
    """Return the kernels of the layers, summed over those with the same `key(name)`."""
    model = getattr(model, "_orig_mod", model)  # that of torch.compile, which hooks would compile
    parameters = _checks.trainable_parameters(model)
    _checks.require_rowwise(model)
    _checks.require_choice("outputs", outputs, ["full", "diagonal", "trace"])
    if chunk_size is not None:
        _checks.require_integer("chunk_size", chunk_size, at_least=1)
    symmetric = x2 is None
    x2 = x1 if symmetric else x2
    for name, x in [("x1", x1)] if symmetric else [("x1", x1), ("x2", x2)]:
        _checks.require_tensor(name, x, integers=True)
    _checks.require_matching(model, x1=x1, x2=x2)
    x1, x2 = (x.clone() if x.is_inference() else x.detach() for x in (x1, x2))

    plan = make_plan(model, x1, x2, outputs, structured=method in {"auto", "layerwise"})
    k, row_bytes = plan.value.shape[1], plan.row_bytes
    if method == "auto":
        cheaper = 4 * k * plan.forward_flops < plan.pair_flops
        push = cheaper and can_push(model, parameters, x1, plan.value)
        method = "ntvp" if push else "layerwise"
    if method == "ntvp":
        row_bytes = 4 * k * sum(p.nbytes for p in parameters.values())
    rows = chunk_size or max(1, WORKING_SET // row_bytes)

    def factors(x):
        rest = jacobian(model, plan.rest, x, plan.value).items()
        return [
            *layer_factors(model, plan, x),
            *(Factor(_owner(n), None, j.flatten(2).transpose(0, 1)[:, :, None]) for n, j in rest),
        ]

    def add_grams(blocks, left, right):
        for f1, f2 in zip(left, right, strict=True):
            add_gram(blocks[key(f1.layer)], f1, f2, triangle=right is left)

    groups, each = {"full": (1, k), "diagonal": (k, 1), "trace": (1, 1)}[outputs]
    names = dict.fromkeys(key(name) for name in [*plan.layers, *map(_owner, plan.rest)])
    shape = (groups, len(x1), each, len(x2), each)
    kernels = {name: _zeros(shape, plan.value) for name in names}
    if method == "ntvp":
        kernels = {"": _zeros(shape, plan.value)}
        left = partial(jacobian, model, parameters, value=plan.value)
        push = partial(push_forward, model, parameters)
        _fill(kernels, x1, x2, symmetric, rows, left, lambda x: x, push)
    else:
        _fill(kernels, x1, x2, symmetric, rows, factors, factors, add_grams)
    arrange = {
        "full": lambda kernel: kernel[0].permute(0, 2, 1, 3),
        "diagonal": lambda kernel: kernel[:, :, 0, :, 0].permute(1, 2, 0),
        "trace": lambda kernel: kernel[0, :, 0, :, 0],
    }[outputs]
    return {name: arrange(kernel) for name, kernel in kernels.items()}


def _owner(parameter: str) -> str:
    """Return the name of the module that holds `parameter`."""
    return parameter.rpartition(".")[0]


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return a kernel of zeros, or say that it does not fit."""
    try:
        return torch.zeros(shape, dtype=like.dtype, device=like.device)
    except RuntimeError as error:
        size = math.prod(shape) * like.element_size() / 1e9
        raise MemoryError(
            f"the kernel alone needs {size:,.1f} GB. Take fewer points, or outputs='trace'."
        ) from error


def _fill(
    kernels, x1, x2, symmetric: bool, rows: int, left: Callable, right: Callable, add: Callable
):
    """Fill `kernels` (groups, n1, each, n2, each) block by block of `rows` points.

    Calls add(blocks, left(part of x1), right(part of x2)); for a `symmetric` kernel only on and
    above the diagonal, where `right` gets what `left` gave, and mirrors.
    """
    corners = [
        (a, b) for a in range(0, len(x1), rows) for b in range(a if symmetric else 0, len(x2), rows)
    ]
    at = first = second = None
    if len(corners) > 1:
        corners = tqdm(corners, "tangent kernel", unit="block", leave=False, delay=2)
    for a, b in corners:
        second = None
        if a != at:
            at, first = a, left(x1[a : a + rows])
        share = symmetric and a == b and left is right
        second = first if share else right(x2[b : b + rows])
        blocks = {name: k[:, a : a + rows, :, b : b + rows] for name, k in kernels.items()}
        add(blocks, first, second)
    for kernel in kernels.values():
        if symmetric:
            mirror(kernel)
        if not _checks.is_finite(kernel):
            raise ValueError(
                f"the tangent kernel holds NaN or infinite values although the outputs do not: a "
                f"derivative is infinite, as that of sqrt at 0, or {kernel.dtype} overflows. Mend "
                f"the model, or convert it and the points with .double()."
            )
