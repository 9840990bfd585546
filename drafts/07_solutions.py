# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 07 · Beyond the kernel
#
# The lesson: [07_beyond_the_kernel.ipynb](../07_beyond_the_kernel.ipynb). Read a solution after you have tried: the hint of a checker teaches more than the answer.

# %%
# Finds ntk_helpers in this checkout, or installs it; torch and numpy stay as they are.
import importlib.util
import pathlib
import subprocess
import sys

here = pathlib.Path.cwd()
root = next(
    (p for p in (here, *here.parents) if (p / "ntk_helpers" / "__init__.py").is_file()), None
)
if root is not None:
    sys.path.insert(0, str(root))
elif importlib.util.find_spec("ntk_helpers") is None:
    source = "git+https://github.com/your_name/ntk-course@main"
    subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", source])

import ntk_helpers as ntk

device = ntk.setup()


# %% [markdown]
# ## Exercise 1: the rate of a scaled network
#
# The Jacobian of $\alpha f$ is $\alpha J$, so its kernel is $\alpha^2 K$, and everything happens $\alpha^2$ times faster. A rate smaller by $\alpha^2$ makes up for it.

# %%
def scaled_rate(learning_rate, alpha):
    return learning_rate / alpha**2


feedback = ntk.exercises.check_scaled_rate(scaled_rate)
assert feedback.passed
feedback


# %% [markdown]
# ## Exercise 2: features along a direction
#
# The part of $w_j$ along the unit vector $e = \text{direction}/\lVert\text{direction}\rVert$ is $w_j \cdot e$. By Pythagoras the squares of these parts, over an orthonormal basis, add up to $\lVert w_j\rVert^2$: so the shares of a basis add up to 1.

# %%
def alignment(weight, direction):
    unit = direction / direction.norm()
    return (weight @ unit).square().sum() / weight.square().sum()


feedback = ntk.exercises.check_alignment(alignment)
assert feedback.passed
feedback


# %% [markdown]
# ## Exercise 3: one step of the catapult
#
# Write $c = \eta f/\sqrt n$, so that $u' = u - c v$ and $v' = v - c u$. The product is $u' \cdot v' = u\cdot v - c\, (\lVert u\rVert^2 + \lVert v\rVert^2) + c^2\, u \cdot v$. Divide by $\sqrt n$, with $\lVert u\rVert^2 + \lVert v\rVert^2 = n\lambda$ and $u \cdot v = \sqrt n f$: $f' = f - \eta\lambda f + \frac{\eta^2 f^2}{n} f$.
#
# The squares are $\lVert u'\rVert^2 + \lVert v'\rVert^2 = n\lambda - 4 c\, u \cdot v + c^2 n\lambda$. Divide by $n$: $\lambda' = \lambda - \frac{4\eta f^2}{n} + \frac{\eta^2 f^2}{n} \lambda$.

# %%
def catapult_step(f, lam, rate, width):
    push = rate * f**2 / width
    return f * (1 - rate * lam + rate * push), lam - push * (4 - rate * lam)


feedback = ntk.exercises.check_catapult_step(catapult_step)
assert feedback.passed
feedback

# %% [markdown]
# ## Exercise 4: the least drift of a large step
#
# A settled run needs $\lambda_{\max}(K_{\text{end}}) \le 2N/\eta$. If $\lambda_{\max}(K_0)$ is larger, at least the difference must have gone, and the Frobenius norm of a change is at least the change of the largest eigenvalue.

# %%
import torch


def drift_floor(kernel, rate):
    excess = torch.linalg.eigvalsh(kernel)[-1] - 2 * len(kernel) / rate
    return excess.clamp(min=0) / kernel.norm()


feedback = ntk.exercises.check_drift_floor(drift_floor)
assert feedback.passed
feedback


# %% [markdown]
# ## Exercise 5: the time to a margin
#
# $\frac{dm}{dt} = k e^{-m}$ means $e^m\, dm = k\, dt$. Integrate both sides: $e^{\text{end}} - e^{\text{start}} = k t$. Each further unit of margin takes $e \approx 2.7$ times as long as the one before.

# %%
def time_to_margin(k, start, end):
    return (end.exp() - start.exp()) / k


feedback = ntk.exercises.check_time_to_margin(time_to_margin)
assert feedback.passed
feedback


# %% [markdown]
# ## Exercise 6: the check-list
#
# All three tests must be passed. A run that diverged has an infinite drift and fails by itself.

# %%
def theory_applies(rate, max_rate, drift, error):
    return rate < max_rate and drift <= 0.1 and error <= 0.1


feedback = ntk.exercises.check_theory_applies(theory_applies)
assert feedback.passed
feedback
