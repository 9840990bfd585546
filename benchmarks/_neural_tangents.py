"""Time one call of a neural-tangents method; runs in an environment of its own, one job a line."""

import json
import sys
import time
from itertools import pairwise

import jax
import neural_tangents as nt
import numpy as np
from jax import numpy as jnp

METHODS = {
    "jacobian contraction": nt.NtkImplementation.JACOBIAN_CONTRACTION,
    "NTK-vector products": nt.NtkImplementation.NTK_VECTOR_PRODUCTS,
    "structured derivatives": nt.NtkImplementation.STRUCTURED_DERIVATIVES,
}
ready = {}


def prepare(method, sizes, n):
    """Return a compiled kernel with its arguments, for a ReLU network of the given layer sizes."""
    random = np.random.default_rng(0)
    parameters = [
        (jnp.asarray(random.standard_normal((p, q)), jnp.float32), jnp.zeros(q, jnp.float32))
        for p, q in pairwise(sizes)
    ]
    x = jnp.asarray(random.standard_normal((n, sizes[0])), jnp.float32)

    def f(parameters, x):
        for layer, (w, b) in enumerate(parameters):
            x = x if layer == 0 else jax.nn.relu(x)
            x = x @ w / np.float32(np.sqrt(len(w))) + np.float32(0.1) * b
        return x

    ntk = nt.empirical_ntk_fn(f, trace_axes=(), vmap_axes=0, implementation=METHODS[method])
    return jax.jit(lambda x, parameters: ntk(x, None, parameters)), x, parameters


for line in sys.stdin:
    try:
        if line not in ready:
            if len(ready) == len(METHODS):
                ready.clear()
            ready[line] = prepare(*json.loads(line))
            kernel, *arguments = ready[line]
            kernel(*arguments).block_until_ready()
        kernel, *arguments = ready[line]
        start = time.perf_counter()
        kernel(*arguments).block_until_ready()
        print("seconds", time.perf_counter() - start, flush=True)
    except RuntimeError as error:
        print("failed", type(error).__name__, flush=True)
