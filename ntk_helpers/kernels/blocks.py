"""The tangent kernel of more points than fit in memory: lazy blocks, for a disk or a cluster."""

import copy
import threading

import numpy as np
import torch
from torch import Tensor, nn

from ntk_helpers import _checks
from ntk_helpers.kernels.empirical import empirical_ntk

ONE_IN_A_PROCESS = threading.Lock()  # torch has threads of its own, and switches for all


class Job:
    """What all blocks need: one task of the graph, which a worker gets once, pickled whole."""

    def __init__(self, model: nn.Module, x1: Tensor, x2: Tensor | None, chunks: int):
        """Copy all to the CPU: lazy blocks may be computed after `model` has learned more."""
        self.device, self.chunks = x1.device.type, chunks
        self.model = copy.deepcopy(getattr(model, "_orig_mod", model)).cpu()
        self.x1, self.x2 = (None if x is None else x.detach().cpu().clone() for x in (x1, x2))

    def block(self, i: int, j: int):
        """Return block (i, j) as a numpy array, computed on the first GPU that a worker sees."""
        x2 = self.x1 if self.x2 is None else self.x2
        a, b = (x[k * self.chunks :][: self.chunks] for x, k in ((self.x1, i), (x2, j)))
        both = [a.to(self.device), None if self.x2 is None and i == j else b.to(self.device)]
        with ONE_IN_A_PROCESS:  # of a copy, since another worker may fetch this job meanwhile
            model = copy.deepcopy(self.model).to(self.device)
            return empirical_ntk(model, *both, outputs="trace").cpu().numpy()


def contents(value: object) -> object:
    """Return `value` such that its hash is the same in each process, with tensors as bytes."""
    if isinstance(value, Tensor):
        numbers = value.detach().contiguous().flatten().view(torch.uint8).numpy()
        return str(value.dtype), tuple(value.shape), value.requires_grad, numbers
    if isinstance(value, nn.Module):
        return type(value), [*dict(value.named_parameters())], contents(vars(value))  # tied: fewer
    return {k: contents(v) for k, v in value.items()} if isinstance(value, dict) else value


def kernel_blocks(model: nn.Module, x1: Tensor, x2: Tensor | None = None, *, chunks: int):
    """Return `empirical_ntk(model, x1, x2, outputs="trace")` as a lazy Dask array, in blocks.

    Blocks are computed when they are asked for: by this machine (`.compute()`) or the workers of a
    `dask.distributed.Client`, as docs/clusters.md says. The model is taken as it is now. x2 = None
    computes half: blocks below the diagonal are transposes. Equal arguments give equal names.

    Args:
        model: As for `empirical_ntk`. If it is on a GPU, so is a worker's; blocks are on the CPU.
        x1: (n1, …) points.
        x2: (n2, …) points; None means x1.
        chunks: Points on each side of a block.

    Returns:
        A `dask.array.Array` (n1, n2), in the dtype of the outputs.
    """
    try:
        from dask import array, base, delayed, highlevelgraph
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'kernel_blocks needs Dask: pip install "dask[array,distributed]", the extra `cluster`.'
        ) from error
    points = {"x1": x1} | ({} if x2 is None else {"x2": x2})
    _checks.require_points(model, **points)
    _checks.require_integer("chunks", chunks, at_least=1)
    few = empirical_ntk(model, *(x[:2] for x in points.values()), outputs="trace")  # a first look
    job = Job(model, x1, x2, chunks)
    name = "kernel-" + base.tokenize(contents(vars(job)))
    sizes = [tuple(map(len, x.split(chunks))) for x in (x1, points.get("x2", x1))]
    job = delayed(job, name=f"job-{name}", traverse=False)
    graph = {}
    for i, j in np.ndindex(*map(len, sizes)):
        mirrored = x2 is None and i > j
        graph[name, i, j] = (np.transpose, (name, j, i)) if mirrored else (Job.block, job.key, i, j)
    graph = highlevelgraph.HighLevelGraph.from_collections(name, graph, dependencies=[job])
    return array.Array(graph, name, sizes, dtype=few.cpu().numpy().dtype)
