"""The exponent of a power law, from measurements."""

import torch
from torch import Tensor

from ntk_helpers import _checks


def exponent(sizes: Tensor | list, values: Tensor) -> Tensor:
    """Return p of the law values ≈ c · sizes^p: the slope of log values against log sizes.

    Derived in notebooks/01_gradient_flow.ipynb, "How far is descent from the flow?".

    Args:
        sizes: (m,) positive sizes, as step lengths or widths; two or more of them differ.
        values: (..., m) positive measurements at these sizes; a row for each draw, for instance.

    Returns:
        (...) exponents by least squares, one for each row; a 0-d tensor for a single row.
    """
    sizes = torch.as_tensor(list(sizes), dtype=torch.float64, device="cpu")
    _checks.require_tensor("sizes", sizes, ndim=(1,))
    _checks.require_tensor("values", values)
    values = values.detach().cpu().double()
    if values.shape[-1:] != sizes.shape:
        raise ValueError(
            f"values need one entry for each size in their last axis; got {tuple(values.shape)} "
            f"for {len(sizes)} sizes."
        )
    if not (sizes > 0).all() or not (values > 0).all() or len(sizes.unique()) < 2:
        raise ValueError(
            "an exponent needs positive sizes, two or more of them different, and positive values."
        )
    across = sizes.log() - sizes.log().mean()
    return (values.log() * across).sum(-1) / across.square().sum()
