"""What the property tests draw from: points with duplicates, extreme scales, kernels of any rank.

Every run tries the same examples, NTK_EXAMPLES of them (40 if not set), and leaves no file behind.
"""

import os
import tempfile

import torch
from hypothesis import HealthCheck, Phase, configuration, settings
from hypothesis import strategies as st

configuration.set_hypothesis_home_dir(f"{tempfile.gettempdir()}/ntk-course-hypothesis")
settings.register_profile(
    "course",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=int(os.environ.get("NTK_EXAMPLES", "40")),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
# What is broken on purpose (nox -s mutants) need not be made small.
settings.register_profile(
    "mutants", settings.get_profile("course"), max_examples=10, phases=[Phase.generate]
)
settings.load_profile(os.environ.get("NTK_HYPOTHESIS", "course"))

seeds = st.integers(0, 2**31)
dtypes = st.sampled_from([torch.float64, torch.float32])
scales = st.integers(-8, 8).map(lambda exponent: 10.0**exponent)
losses = st.sampled_from(["mean", "sum"])
times = st.sampled_from([0.0, 1e-30, 1e-8, 0.3, 1.0, 1e3, 1e8, 1e30, float("inf")])
activations = st.sampled_from(["erf", "relu", "tanh", "gelu", "sin", "linear"])


def normal(*shape: int, seed: int) -> torch.Tensor:
    """Return standard normal numbers of this seed, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@st.composite
def points(draw, scale=scales, dtype=dtypes, close: bool = False) -> torch.Tensor:
    """Draw (n, d) points: plain, with duplicates, parallel, opposite, zero, or `close` together."""
    n, d, seed = draw(st.integers(1, 7)), draw(st.integers(1, 4)), draw(seeds)
    x = normal(n, d, seed=seed)
    if close:
        return (x[:1] + 10.0 ** -draw(st.integers(1, 15)) * x).to(draw(dtype))
    factor = draw(st.sampled_from([None, 1.0, 3.0, -1.0, 0.0]))
    if n > 1 and factor is not None:
        x[-1] = factor * x[0]
    return (draw(scale) * x).to(draw(dtype))


@st.composite
def designs(draw, most: float = 1e3) -> dict:
    """Draw depth, activation and standard deviations of an MLP."""
    exponents = st.floats(-3, torch.tensor(most).log10().item())
    return {
        "depth": draw(st.integers(1, 4)),
        "activation": draw(activations),
        "sigma_w": 10.0 ** draw(exponents),
        "sigma_b": draw(st.one_of(st.just(0.0), exponents.map(lambda e: 10.0**e))),
    }


@st.composite
def regressions(draw, scale=scales, dtype=dtypes) -> dict[str, torch.Tensor]:
    """Draw a positive semidefinite kernel of any rank, targets, start, and test points' share.

    k (n, n) and k_test (m, n) are blocks of one Gram matrix, as those of a network are.
    """
    n, m, seed = draw(st.integers(1, 6)), draw(st.integers(1, 3)), draw(seeds)
    rank = draw(st.integers(1, n + 2))
    columns = draw(st.sampled_from([(), (1,), (3,)]))
    dtype, size, height = draw(dtype), draw(scale), draw(scale)
    features = normal(n + m, rank, seed=seed)
    if n > 1 and draw(st.booleans()):
        features[1] = features[0]
    features = (size**0.5 * features).to(dtype)
    gram = features @ features.T
    gram = (gram + gram.T) / 2
    y, f0 = (height * normal(2, n, *columns, seed=seed + 1)).to(dtype)
    f0_test = (height * normal(m, *columns, seed=seed + 2)).to(dtype)
    return {"k": gram[:n, :n], "k_test": gram[n:, :n], "y": y, "f0": f0, "f0_test": f0_test}
