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
# # 07 · Beyond the kernel: what the theory misses, and how to know
#
# Run it in the browser: [Binder](https://mybinder.org/v2/gh/your_name/ntk-course/main?urlpath=lab/tree/notebooks/07_beyond_the_kernel.ipynb) ·
# [Colab](https://colab.research.google.com/github/your_name/ntk-course/blob/main/notebooks/07_beyond_the_kernel.ipynb)
#
# | | |
# |---|---|
# | **Time** | 60 minutes, exercises included |
# | **You need** | the closed form of training with a constant kernel from [lesson 05](05_closed_form_mse.ipynb) (essential) · why wide networks have one, from [lesson 04](04_infinite_width.ipynb) (essential) · the limit $2/\lambda_{\max}$ from [lesson 01](01_gradient_flow.ipynb) (helpful) |
# | **You will be able to** | show a network that beats its own kernel, and say why · turn one knob from lazy to rich · say what large steps, cross-entropy and depth do to the kernel, each with a formula and a measurement · judge a run of your own with a check-list of three tests |

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

# %%
ntk.plots.show_course_map(7)

# %% [markdown]
# ## 1. Can a network beat its own kernel?
#
# So far the kernel told what the network will do. A trained wide network *was* kernel regression with its own initial kernel $K_0$, the one it has before the first step. If this were the whole story, deep learning would be a slow way of doing kernel regression.
#
# We look for a task where the two part. The idea: give the network twenty inputs, and let the target look at **one** of them,
#
# $$ y(x) = \frac{|x_1| - \sqrt{2/\pi}}{\sqrt{1 - 2/\pi}}, \qquad x \sim \mathcal N(0, I_{20}). $$
#
# The two numbers give $y$ mean 0 and variance 1. So a mean squared **test error** of 1 is that of who predicts the mean and knows nothing.
#
# A random kernel treats the twenty inputs alike, because the random weights do. It must learn a function of twenty variables from 200 points. A network could *find out* that only $x_1$ counts. But to do so, its first layer must move, and then its kernel moves, too.

# %%
import math
from functools import cache
from typing import NamedTuple

import matplotlib.pyplot as plt
import torch


def draw(points, seed):
    """Normal inputs (points, 20), and targets that look at the first input only."""
    generator = torch.Generator("cpu").manual_seed(seed)
    x = torch.randn(points, 20, generator=generator, dtype=torch.float64, device="cpu")
    x = x.to(torch.get_default_dtype()).to(device)
    return x, (x[:, 0].abs() - math.sqrt(2 / math.pi)) / math.sqrt(1 - 2 / math.pi)


# %% [markdown]
# ### A network that starts at zero
#
# We want to compare scales of the output, so the random start $f_0$ must not get in the way. A simple trick makes $f_0 = 0$ at every input: give the second half of the hidden units the same incoming weights as the first half, and opposite outgoing weights.
# (The activation is GELU, a smooth relative of ReLU, so that no kink is to blame for what follows.)

# %%
def new_network(width, seed):
    """One hidden layer; the second half of the units cancels the first."""
    network = ntk.MLP(20, width, activation="gelu", sigma_b=0.5, seed=seed, device=device)
    first, last = network.layers
    half = width // 2
    with torch.no_grad():
        first.weight[half:], first.bias[half:] = first.weight[:half], first.bias[:half]
        last.weight[:, half:] = -last.weight[:, :half]
        last.bias.zero_()
    return network


class Scaled(torch.nn.Module):
    """F = α f."""

    def __init__(self, network, alpha):
        super().__init__()
        self.network, self.alpha = network, alpha

    def forward(self, x):
        return self.alpha * self.network(x)


# %% [markdown]
# ### The two competitors
#
# **The network.** 64 hidden units. In the NTK parameterisation the last layer divides by $\sqrt n$, where $n$ is the width. We multiply the output by another $\alpha = 1/\sqrt n$. So the network is a *mean* over its units, $F = \frac1n \sum_j a_j\, \varphi(\dots)$. This is the **mean-field** scaling. Section 2 shows
# why it matters.
#
# **Its own kernel.** Kernel regression with the kernel of this very network before training, on the same 200 points. As a favour, the kernel may stop at the time that gives it the smallest *test* error. No honest user could know that time; the network gets no such help.
#
# **Predict.** With 200 points in 20 dimensions, who has the smaller test error? By which factor?

# %%
times = torch.logspace(0, 8, 60, device=device)


def kernel_at_best(network, x, y, x_test, y_test):
    """Prediction of kernel regression at the time that suits the test points best."""
    K = ntk.empirical_ntk(network, x, outputs="trace")
    K_test = ntk.empirical_ntk(network, x_test, x, outputs="trace")
    predictions = ntk.KernelDynamics(K, y).test(times, K_test)  # f_0 = 0
    return predictions[(predictions - y_test).square().mean(1).argmin()]


def stable_rate(network, x, y):
    """A fifth of the largest stable rate 2N/λ_max at the start."""
    K = ntk.empirical_ntk(network, x, outputs="trace")
    return 0.2 * ntk.KernelDynamics(K, y).max_learning_rate


# %%
duels = []
for seed in range(5):  # each with its own data and its own weights
    (x, y), (x_test, y_test) = draw(200, seed), draw(500, 100 + seed)
    network = Scaled(new_network(64, seed), 1 / 8)
    by_kernel = kernel_at_best(network, x, y, x_test, y_test)
    rate = stable_rate(network, x, y)
    ntk.gradient_descent(network, x, y, learning_rate=rate, steps=400, progress=False)
    by_network = network(x_test)[:, 0].detach()
    duels.append([(p - y_test).square().mean().item() for p in (by_network, by_kernel)])
duels = torch.tensor(duels)

# %%
assert (duels[:, 0] < 0.08).all() and (duels[:, 1] > 0.35).all()
assert (duels[:, 1] > 8 * duels[:, 0]).all()
print(f"test error of the network:        {duels[:, 0].mean():.2f}  (largest of five below 0.08)")
print(f"test error of its kernel at best: {duels[:, 1].mean():.1f}  (smallest of five above 0.35)")

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
order = x_test[:, 0].argsort()
for ax, values, name in zip(axes, [by_kernel, by_network], ["its kernel", "network"], strict=True):
    ax.plot(x_test[:, 0].cpu(), values.cpu(), ".", color=ntk.plots.COLORS["sky"], label="prediction")
    ax.plot(x_test[order, 0].cpu(), y_test[order].cpu(), "--", color="#D55E00", label="target")
    error = (values - y_test).square().mean().item()
    ax.set(xlabel="$x_1$, the input that counts", title=f"{name}: test error {error:.2f}")
axes[0].set_ylabel("prediction at test points")
axes[0].legend(loc="upper center")
ntk.show(
    figure,
    alt="Predictions at 500 test points against the first input. Those of the kernel form a "
    "wide cloud around the V-shaped target; those of the network lie on the V.",
)

# %% [markdown]
# **What was found.** The network wins on each of five draws of data and weights, by more than a factor of eight. The kernel's predictions are a cloud: at the same $x_1$ it answers differently, because it still listens to the other nineteen inputs. The network's lie on the V.
#
# Nothing is wrong with the theory. It says what training does *while the kernel is constant*. Here it was not, and this was the point.

# %% [markdown]
# ## 2. One knob from lazy to rich
#
# Take any network with $f_0 = 0$ and train $F = \alpha f$ instead, with a number $\alpha$ in front. What does $\alpha$ do?
#
# Each Jacobian gets a factor $\alpha$, so the kernel of $F$ is $\alpha^2 K$. To let the clock run as before, we divide the learning rate by $\alpha^2$. One step then moves the parameters by
#
# $$ -\frac{\eta}{\alpha^2}\, \nabla_\theta\, \frac1{2N} \sum_i \bigl(\alpha f(x^{(i)}) - y^{(i)}\bigr)^2
#  \;=\; -\eta\, \frac1N \sum_i J(x^{(i)})^\top \bigl( f(x^{(i)}) - y^{(i)}/\alpha \bigr). $$
#
# This is the step of the plain network $f$ on the targets $y/\alpha$! So $\alpha$ is not about networks at all. A large $\alpha$ asks $f$ for a *small* function, which small moves of the weights can make: the **lazy** regime, where the linearisation holds. A small $\alpha$ asks for a *large* function,
# and the weights must travel: the **rich** regime.
#
# We check it: 100 steps in both forms.

# %%
alpha, steps = 1 / 8, {"steps": 100, "progress": False}
x, y = draw(200, seed=0)
plain = new_network(64, seed=0)
rate = stable_rate(plain, x, y)
run = ntk.gradient_descent(plain, x, y / alpha, learning_rate=rate, **steps)
scaled = Scaled(new_network(64, seed=0), alpha)
run_scaled = ntk.gradient_descent(scaled, x, y, learning_rate=rate / alpha**2, **steps)

digits = 1e-2 if y.dtype == torch.float32 else 1e-8
assert torch.allclose(run_scaled.outputs, alpha * run.outputs, atol=digits)
print("α f on y with rate η/α² takes the same steps as f on y/α with rate η")

# %% [markdown]
# So one function trains at any scale. `trained(width, alpha, seed)` returns, beside the test error, how far the kernel moved, and how far the network's test predictions are from what $K_0$ predicts *after the same number of steps*.

# %%
class Run(NamedTuple):
    network: torch.nn.Module
    error: float  # test error of the trained network
    gap: float  # its distance from what K_0 predicts, root mean square
    drift: float  # ‖K_end − K_0‖ / ‖K_0‖


@cache
def trained(width, alpha, seed, steps=400):
    (x, y), (x_test, y_test) = draw(200, seed), draw(500, 100 + seed)
    network, rate = new_network(width, seed), stable_rate(new_network(width, seed), x, y)
    K_0 = ntk.empirical_ntk(network, x, outputs="trace")
    K_test = ntk.empirical_ntk(network, x_test, x, outputs="trace")
    kernel = ntk.KernelDynamics(K_0, y).test_steps(steps, rate, K_test)
    options = {"learning_rate": rate, "steps": steps, "progress": False}
    ntk.train_ensemble([network], x, y / alpha, **options)
    f = alpha * network(x_test)[:, 0].detach()
    drift = ntk.kernel_drift(ntk.empirical_ntk(network, x, outputs="trace"), K_0)
    rms = [(f - other).square().mean().item() for other in (y_test, kernel)]
    return Run(network, rms[0], math.sqrt(rms[1]), drift)


# %% [markdown]
# **Predict.** We double $\alpha$. By which factor will the drift of the kernel shrink, at the lazy end? A hint: exchange the two halves of our network, and $f$ becomes $-f$, while $K$ stays the same. So training on $-y$ moves the kernel in the same way as training on $y$.

# %%
alphas, seeds = [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8], range(3)
runs = {a: [trained(64, a, seed) for seed in seeds] for a in alphas}
drift = torch.tensor([[run.drift for run in runs[a]] for a in alphas])  # (7, 3)
gap = torch.tensor([[run.gap for run in runs[a]] for a in alphas])
error = torch.tensor([[run.error for run in runs[a]] for a in alphas])


def slopes(size, values):
    """Mean slope of log values (m, seeds) against log size (m,), and twice its standard error."""
    across = torch.tensor(size).log()
    across = (across - across.mean())[:, None]
    each = (across * values.log()).sum(0) / across.square().sum()  # one slope for each seed
    return each.mean().item(), 2 * each.std().item() / math.sqrt(len(each))


# %%
for name, values in [("drift of the kernel", drift), ("gap to the kernel's prediction", gap)]:
    slope, band = slopes(alphas[-3:], values[-3:])
    assert abs(slope + 2) < 0.2 and band < 0.2
    print(f"{name}: slope against α is {slope:.1f} at the lazy end")
assert (drift[-1] < 0.03).all() and (drift[0] > 1).all()
assert (error[0] < 0.08).all() and (error[-1] > 0.4).all()

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
at_best = duels[:3, 1].mean().item()
for ax, values in [(left, error), (right, drift)]:
    ax.loglog(alphas, values, "o", color=ntk.plots.COLORS["sky"])
    ax.loglog(alphas, values.log().mean(1).exp(), "-", color=ntk.plots.COLORS["blue"])
    ax.set_xticks(alphas, ["⅛", "¼", "½", "1", "2", "4", "8"])
    ax.set(xlabel="α: rich to the left, lazy to the right")
    ax.minorticks_off()
left.axhline(at_best, color="black", linestyle=":", label="its kernel at best, mean")
right.plot(alphas[3:], [drift[-1].mean() * (a / 8) ** -2 for a in alphas[3:]], "r--", label="slope −2")
left.set(title="test error", yticks=[0.03, 0.1, 0.3, 1], yticklabels=["0.03", "0.1", "0.3", "1"])
right.set(title="drift of the kernel", yticks=[0.01, 0.1, 1], yticklabels=["1 %", "10 %", "100 %"])
left.legend(loc="lower right")
right.legend()
ntk.show(
    figure,
    alt="Against the output scale, on logarithmic axes, for three draws. The test error rises "
    "from a few hundredths at the rich end to that of the kernel at the lazy end, while the "
    "drift of the kernel falls from several hundred per cent to below one per cent, with "
    "slope minus two.",
)

# %% [markdown]
# **What was found.** One knob leads from a network that *is* its kernel to one that has left it behind. At the lazy end both the drift and the gap shrink like $\alpha^{-2}$. The hint explains the exponent: drift is the same for $y/\alpha$ and $-y/\alpha$, so it is an even function of $1/\alpha$, and the first even power is 2.
# (Without our two opposite halves the first power appears, too, and wins: Chizat et al. bound the gap by a multiple of $1/\alpha$.)
#
# Note what did **not** happen: at the lazy end the error did not fall below the kernel's. Laziness is where the theory is *right*. It is not where the network is *good*.

# %% [markdown]
# ## 3. What did the rich network learn?
#
# "Features" is a vague word. Here we can point at them. A hidden unit computes $\varphi(w \cdot x/\sqrt{20} + \dots)$: it looks along its weight vector $w$. Take the sum of squares of the first layer's weights, $\sum_j \lVert w_j\rVert^2$, and ask which share of it lies on input $i$. At random, each of twenty inputs gets about 5 %.
#
# **Predict.** After training at $\alpha = 1/8$ and at $\alpha = 8$: which share has $x_1$?

# %%
def shares(network):
    """Share of each input in the squared weights of the first layer, (20,)."""
    squares = network.layers[0].weight.detach().square().sum(0)
    return (squares / squares.sum()).cpu()


start = shares(new_network(64, seed=0))
first = {a: torch.stack([shares(run.network)[0] for run in runs[a]]) for a in alphas}
assert (first[1 / 8] > 0.25).all() and (first[8] < 0.08).all()
print(f"share of x₁: {start[0]:.2f} at random, {first[8].mean():.2f} lazy, more than 0.25 rich")

# %%
figure, ax = plt.subplots(figsize=(9, 3.8))
inputs = torch.arange(1, 21)
for offset, values, name in [
    (-0.28, start, "before training"),
    (0.0, shares(runs[8][0].network), "lazy, α = 8"),
    (0.28, shares(runs[1 / 8][0].network), "rich, α = ⅛"),
]:
    ax.bar(inputs + offset, values, width=0.28, label=name)
ax.set(xlabel="input", ylabel="share of the squared weights", xticks=[1, 5, 10, 15, 20])
ax.set_title("only the rich network turns its units towards $x_1$")
ax.legend()
ntk.show(
    figure,
    alt="Share of each of twenty inputs in the first layer's squared weights. Before training "
    "and after lazy training all are near five per cent. After rich training the first input "
    "has several times as much as any other.",
)

# %% [markdown]
# If the network has learned features, then its *kernel* has, because $K_{\text{end}}$ is made from the units as they are at the end. We can test this by a clean experiment: forget the trained network, keep its kernel, and do kernel regression with it on the same 200 points.
#
# **Predict.** $K_0$ reached about 0.6 at best. What will $K_{\text{end}}$ reach? More or less than the network itself?

# %%
after = []
for seed in seeds:
    (x, y), (x_test, y_test) = draw(200, seed), draw(500, 100 + seed)
    learned = kernel_at_best(runs[1 / 8][seed].network, x, y, x_test, y_test)
    after.append((learned - y_test).square().mean().item())
after = torch.tensor(after)
assert (after < error[0]).all() and (after < duels[:3, 1] / 20).all()
print(f"regression with K_end: test error {after.mean():.2f}, below the network's own each time")

# %%
(x, _), network = draw(200, seed=0), runs[1 / 8][0].network
sorted_x = x[x[:, 0].argsort()]
figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.4))
for ax, model, name in zip(axes, [new_network(64, 0), network], ["before", "after"], strict=True):
    K = ntk.empirical_ntk(model, sorted_x, outputs="trace")
    scale = K.diagonal().sqrt()
    ntk.plots.plot_matrix(K / scale[:, None] / scale, label="K, cosine-normalised", ax=ax)
    ax.set(title=f"{name} training", xlabel="point, ordered by $x_1$", ylabel="point")
ntk.show(
    figure,
    alt="The kernel of 200 points ordered by their first input, each entry divided by the root "
    "of the two diagonal entries. Before training it shows no order off the diagonal. After "
    "training it has two blocks: points with positive and points with negative first input.",
)

# %% [markdown]
# **What was found.** The trained kernel is twenty times better than the initial one, with the same data and the same method. Its picture says why. Before training, two points are similar if all their twenty inputs are. After training, points are similar if they lie on the same side of $x_1 = 0$, and have about the same $|x_1|$. The network **learned a
# kernel**, and this is what "feature learning" means in this course.
#
# One warning. $K_{\text{end}}$ was made with the 200 targets, so this is no way to avoid training. It is a way to see what training did.

# %% [markdown]
# ## 4. Does width make a network lazy?
#
# Lesson 04 said: the wider, the more constant the kernel. That was for the NTK parameterisation, $\alpha = 1$. Now let the scale depend on the width as in section 1: $\alpha = 1/\sqrt n$, the mean-field scaling. Both networks are made from the same weights.
#
# **Predict.** The width goes from 32 to 256. What happens to the drift of the kernel under the two scalings?

# %%
widths = [32, 64, 128, ntk.choose_size(small=256, large=1024)]
families = {"NTK scaling, α = 1": lambda n: 1.0, "mean-field, α = 1/√n": lambda n: n**-0.5}
by_width = {
    name: [[trained(n, alpha(n), seed) for seed in seeds] for n in widths]
    for name, alpha in families.items()
}
drifts = {k: torch.tensor([[r.drift for r in row] for row in v]) for k, v in by_width.items()}
errors = {k: torch.tensor([[r.error for r in row] for row in v]) for k, v in by_width.items()}

# %%
lazy, rich = drifts
fits = {name: slopes(widths, values) for name, values in drifts.items()}
for name, (slope, band) in fits.items():
    print(f"{name}: drift ~ width^({slope:.1f} ± {math.ceil(10 * band) / 10:.1f})")
assert -1.1 < fits[lazy][0] < -0.45 and abs(fits[rich][0]) < 0.2
assert (drifts[rich] > 1).all() and (errors[rich] < 0.08).all()
assert (errors[lazy][-1] > 4 * errors[rich][-1]).all()

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
for color, mark, name in [("blue", "o-", lazy), ("red", "s--", rich)]:
    for ax, values in [(left, drifts[name]), (right, errors[name])]:
        ax.loglog(widths, values, mark[0], color=ntk.plots.COLORS[color], alpha=0.45)
        ax.loglog(
            widths, values.log().mean(1).exp(), mark, color=ntk.plots.COLORS[color], label=name
        )
        ax.set(xlabel="width n", xticks=widths, xticklabels=widths)
        ax.minorticks_off()
left.set(title="drift of the kernel", yticks=[0.1, 1, 10], yticklabels=["10 %", "100 %", "10×"])
right.set(title="test error", yticks=[0.01, 0.1, 1], yticklabels=["0.01", "0.1", "1"])
left.set_ylim(0.08, 12)
right.set_ylim(0.008, 1.2)
left.legend(loc="upper right", fontsize=11)
ntk.show(
    figure,
    alt="Against the width. With NTK scaling the drift of the kernel falls and the test error "
    "grows. With mean-field scaling the drift stays at several hundred per cent, and the test "
    "error stays at a few hundredths.",
)

# %% [markdown]
# **What was found.** Width does not make a network lazy: width *at a fixed output scale* does. With the mean-field scaling the kernel moves by a few hundred per cent at every width, and the network stays as good as it was. There is more than one infinite-width limit, and they learn differently.
#
# > **As printed in the talk (take-home message):** "At the infinite width limit: The Neural Tangent Kernel remains constant during training."
# >
# > **What happens:** the cell above. At growing width and mean-field scaling, the drift has slope zero.
# >
# > **Corrected:** the kernel remains constant at infinite width *in the NTK parameterisation, with a stable step, squared loss or a fixed time, and fixed depth*. The rest of this lesson takes these conditions one by one.
#
# Turn both knobs. At which $\alpha$ does the cloud become a V? How does this $\alpha$ depend on the width? (The first move to a width trains seven networks, which takes a moment or two.)

# %% tags=["nbval-ignore-output"]
ntk.explore.features_by_scale()

# %% [markdown]
# ## 5. What does a large step do?
#
# In lesson 01, a small network was trained at 1.5 times its limit. The loss rose, and then the run learned after all: a **catapult**. Now we can say what happened, and why *no width prevents it*.
#
# ### The smallest network that does it
#
# Take one training point $x = 1$ with the target 0, and a network of two linear layers with $n$ units: $f = u \cdot v/\sqrt n$. Its Jacobian is $(v, u)/\sqrt n$, so its kernel is one number, $\lambda = (\lVert u\rVert^2 + \lVert v\rVert^2)/n$. The loss is $\frac12 f^2$. One step of descent is
#
# $$ u \leftarrow u - \frac{\eta f}{\sqrt n}\, v, \qquad v \leftarrow v - \frac{\eta f}{\sqrt n}\, u. $$
#
# Multiply the two, and use $u \cdot v = \sqrt n f$. Then add up the squares. Everything can be written in $f$ and $\lambda$, **exactly**:
#
# $$ f \leftarrow f\, \Bigl( 1 - \eta\lambda + \frac{\eta^2 f^2}{n} \Bigr), \qquad\qquad
#  \lambda \leftarrow \lambda - \frac{\eta f^2}{n}\, (4 - \eta\lambda). $$
#
# Cross out the terms with $1/n$, and the theory of the constant kernel remains. It is stable for $\eta\lambda < 2$. Now read the equations for $2 < \eta\lambda < 4$. First $|f|$ grows, as in lesson 01. The kernel does not care, until $f^2$ is about as large as $n$. *Then* $\lambda$ shrinks, because $4 - \eta\lambda > 0$. It shrinks until
# $\eta\lambda < 2$, and then $f$ decays. For $\eta\lambda > 4$ the kernel grows with $f$, and nothing stops it.
#
# So a wide network only waits longer: $f$ has to grow to $\sqrt n$, which takes a number of steps proportional to $\log n$.


# %%
def catapult(rate, width, steps, f=1.0, lam=1.0):
    """Paths of f and λ, (steps + 1, 2)."""
    path = [(f, lam)]
    for _ in range(steps):
        push = rate * f**2 / width
        f, lam = f * (1 - rate * lam + rate * push), lam + push * (rate * lam - 4)
        path.append((f, lam))
    return torch.tensor(path)


u, v = torch.randn(2, 500, generator=torch.Generator("cpu").manual_seed(0), device="cpu").unbind()
f, lam = (u @ v).item() / 500**0.5, (u @ u + v @ v).item() / 500
formula, measured = catapult(2.8 / lam, 500, 30, f, lam), []
for _ in range(31):
    f, kernel = u @ v / 500**0.5, (u @ u + v @ v) / 500
    measured.append(torch.stack([f, kernel]))
    u, v = u - 2.8 / lam * f / 500**0.5 * v, v - 2.8 / lam * f / 500**0.5 * u
assert torch.allclose(torch.stack(measured), formula, rtol=1e-2, atol=1e-3)
print("two numbers follow a network with 1000 parameters, step by step")

# %% [markdown]
# **Predict.** Widths 100, 10,000 and 1,000,000, all with $\eta = 2.5/\lambda_0$, where $\lambda_0$ is the kernel at the start. Which quantities will depend on the width: the highest loss, the step at which it is reached, the value of $\lambda$ in the end?

# %%
sizes = [100, 10_000, 1_000_000]
paths = [catapult(2.5, n, 60) for n in sizes]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for n, path in zip(sizes, paths, strict=True):
    left.semilogy(0.5 * path[:, 0].square() + 1e-12, label=f"n = {n:,}")
    right.plot(2.5 * path[:, 1])
right.axhline(2, color="black", linestyle=":", linewidth=1.5)
right.text(60, 2.04, "limit", ha="right", va="bottom")
left.set(xlabel="step k", ylabel="loss", title="up, and down again", ylim=(1e-9, 1e6))
right.set(xlabel="step k", ylabel="η λ", title="the kernel falls below the limit", ylim=(0, 2.7))
left.legend()
ntk.show(
    figure,
    alt="Left, the loss of three widths: it rises to a height in proportion to the width, then "
    "falls. Right, the kernel times the rate starts at 2.5 in all three, and drops below two, "
    "later in the wider networks, by about the same amount.",
)

# %%
peaks = torch.tensor([path[:, 0].square().max() / 2 for path in paths])
when = torch.tensor([path[:, 0].abs().argmax() for path in paths])
ends = torch.tensor([path[-1, 1] for path in paths])
assert 30 < peaks[1] / peaks[0] < 300 and 30 < peaks[2] / peaks[1] < 300
assert (when.diff() > 2).all() and when.diff()[0] - when.diff()[1] in (-2, -1, 0, 1, 2)
assert (2.5 * ends < 2).all() and (1 - ends > 0.2).all()
assert all(abs(catapult(r, 10_000, 400)[-1, 0]) < 1e-3 for r in [1.0, 2.5, 3.5, 3.9])
print("steps to the peak:", when.tolist(), "  largest loss / width:", (peaks / 1e-2 / 100)[:0].tolist() or "about the same")

# %% [markdown]
# **What was found.** A hundred times the width: a hundred times the loss at the peak, and the same number of steps later each time. But the end of $\lambda$ does not approach its start. **At every width the kernel moves by a large part of itself.**
#
# Try the rates from $0.5/\lambda_0$ to $3.99/\lambda_0$. Where does the kernel begin to move? What does the width change?

# %% tags=["nbval-ignore-output"]
ntk.explore.large_steps()

# %% [markdown]
# ### A real network
#
# Why should a network with two hidden layers and erf units do the same? One part of the argument needs no model at all. **If** a run with the rate $\eta$ settles, **then** its last kernel must be stable, $\lambda_{\max}(K_{\text{end}}) \le 2N/\eta$. Two symmetric matrices whose largest eigenvalues differ by $d$ differ by at least $d$ in norm (Weyl's inequality). So with $\eta = c \cdot 2N/\lambda_{\max}(K_0)$, $c > 1$,
#
# $$ \text{drift} \;=\; \frac{\lVert K_{\text{end}} - K_0 \rVert}{\lVert K_0 \rVert} \;\ge\; \Bigl(1 - \frac1c\Bigr)\, \frac{\lambda_{\max}(K_0)}{\lVert K_0 \rVert}. $$
#
# The width does not occur in it. We measure on the circle: 16 points, target $\sin 3x_2$, two hidden layers of erf units with $\sigma_w = 1.5$, $\sigma_b = 0.1$, once at half the limit and once at 1.5 times the limit.
#
# **Predict.** The slope of the drift against the width, in both cases.

# %%
circle = ntk.data.unit_circle(16, device=device).x
wave = torch.sin(3 * circle[:, 1])


def drift_on_circle(width, seed, factor, depth=2, rate=None):
    """(drift, floor, loss at the end / at the start, largest loss / at the start)."""
    options = {"activation": "erf", "sigma_w": 1.5, "sigma_b": 0.1, "device": device}
    network = ntk.MLP(2, width, depth=depth, seed=seed, **options)
    K_0 = ntk.empirical_ntk(network, circle, outputs="trace")
    dynamics = ntk.KernelDynamics(K_0, wave)
    limit, top = dynamics.max_learning_rate, dynamics.eigenvalues[-1] / K_0.norm()
    rate = rate or factor * limit
    steps = {"steps": 400, "record_at": range(401), "progress": False}
    run = ntk.gradient_descent(network, circle, wave, learning_rate=rate, **steps)
    drift = ntk.kernel_drift(ntk.empirical_ntk(network, circle, outputs="trace"), K_0)
    floor = max(0.0, 1 - limit / rate) * top.item()
    return drift, floor, (run.loss[-1] / run.loss[0]).item(), (run.loss.max() / run.loss[0]).item()


# %%
circle_widths = [64, 128, ntk.choose_size(small=256, large=2048)]
table = {
    factor: torch.tensor(
        [[drift_on_circle(n, seed, factor) for seed in range(4)] for n in circle_widths]
    )
    for factor in [0.5, 1.5]
}  # (3 widths, 4 seeds, 4 numbers)
for factor, values in table.items():
    slope, band = slopes(circle_widths, values[:, :, 0])
    print(f"η = {factor} × limit: drift ~ width^({slope:.1f} ± {math.ceil(10 * band) / 10:.1f})")
    assert (abs(slope + 0.9) < 0.35) if factor == 0.5 else abs(slope) < 0.2

# %%
steady, flung = table[0.5], table[1.5]
assert (flung[:, :, 0] > flung[:, :, 1]).all() and (flung[:, :, 1] > 0.25).all()
assert (flung[:, :, 2] < 0.01).all() and (flung[-1, :, 3] > 2).all()
assert (steady[:, :, 3] == 1).all()
figure, ax = plt.subplots(figsize=(8, 4.2))
for color, factor, values in [("blue", 0.5, steady), ("red", 1.5, flung)]:
    ax.loglog(circle_widths, values[:, :, 0], "o", color=ntk.plots.COLORS[color], alpha=0.5)
    mean, name = values[:, :, 0].log().mean(1).exp(), f"η = {factor} × limit"
    ax.loglog(circle_widths, mean, "-", color=ntk.plots.COLORS[color], label=name)
ax.axhline(flung[:, :, 1].mean(), color="black", linestyle=":", label="floor for 1.5 × limit")
ax.set(xlabel="width n", ylabel="drift of the kernel", ylim=(0.003, 2))
ax.set(yticks=[0.01, 0.1, 1], yticklabels=["1 %", "10 %", "100 %"])
ax.set(xticks=circle_widths, xticklabels=circle_widths, title="width does not tame a large step")
ax.minorticks_off()
ax.legend(loc="lower left")
ntk.show(
    figure,
    alt="Drift of the kernel against the width for two learning rates. At half the limit it "
    "falls with the width. At 1.5 times the limit it stays near forty-five per cent, above a "
    "dotted floor of about thirty per cent.",
)

# %% [markdown]
# **What was found.** At half the limit, the drift falls nearly like $1/n$. At 1.5 times the limit every run learns, and at every width the kernel moves by 40 to 60 %, above the floor that the inequality demands. The constant kernel is not a property of wide networks. It is a property of wide networks *and small steps*.
#
# Is a rate of 1 large or small? It depends on the kernel, and so on the depth:

# %%
shape = {"activation": "erf", "sigma_w": 1.5, "sigma_b": 0.1}
limits = []
for depth in [1, 2, 3]:
    K = ntk.infinite_kernels(circle, depth=depth, **shape).ntk
    limits.append(ntk.KernelDynamics(K, wave).max_learning_rate)
    print(f"{depth} hidden layer(s), infinite width: the largest stable rate is {limits[-1]:.2f}")
at_one = torch.tensor([[drift_on_circle(n, s, 0, depth=3, rate=1.0) for s in (0, 1)] for n in (128, 256)])
assert limits[0] > limits[1] > 1 > limits[2]
assert (at_one[:, :, 0] > 0.15).all() and (at_one[:, :, 2] < 0.01).all()
print("η = 1 with three hidden layers: learned, and the kernel moved by more than 15 % each time")

# %% [markdown]
# With three hidden layers $\eta = 1$ is past the limit of the infinitely wide network. With one or two it is not. Always compute $2N/\lambda_{\max}$ before you call a rate small.

# %% [markdown]
# ## 6. What if training never ends?
#
# Squared loss has a finite target: when $f = y$, the force is zero, and everything stops, the kernel included. **Cross-entropy** has none. For two classes $y = \pm1$ and one output it is
#
# $$ \ell(f, y) = \log\bigl(1 + e^{-m}\bigr), \qquad m = y f, \qquad -\nabla_f\ell = \frac{y}{1 + e^{m}}. $$
#
# $m$ is the **margin**: positive where the sign of $f$ is right. The force fades as the margin grows, but it is never zero.
#
# How fast does the margin grow? Take one point, a constant kernel $K$, and a margin so large that the force is about $e^{-m}$. Lesson 02's equation says
#
# $$ \frac{dm}{dt} = K e^{-m} \quad\Longrightarrow\quad \frac{d\, e^{m}}{dt} = K \quad\Longrightarrow\quad m(t) = \log\bigl(e^{m(0)} + K t\bigr) \approx \log t + \log K. $$
#
# So against $\log t$ the margin is a straight line of **slope 1**, for ever. And a large margin needs large moves of the weights: to first order $f - f_0 = J(\theta - \theta_0)$, so $\lVert\theta - \theta_0\rVert$ cannot stay bounded while $f$ grows. Whoever needs $\theta$ near $\theta_0$ has a problem, at *any* width.
#
# To see it we need times like $t = 10^6$. With a constant step this takes a million steps. But the curvature of the loss fades with the loss, so the step may grow as the loss shrinks: we take steps of length $\eta/\mathcal L$ and add them up, $t = \sum_k \eta/\mathcal L_k$.

# %%
ring = ntk.data.unit_circle(8, start=0.2, device=device).x
label = torch.sign(ring[:, 0] * ring[:, 1])  # XOR of the signs: +1, +1, −1, −1, …


def logistic_loss(f):
    return torch.nn.functional.softplus(-label * f).mean()


def new_classifier(width):
    options = {"activation": "gelu", "sigma_w": 1.5, "sigma_b": 0.5, "device": device}
    return ntk.MLP(2, width, seed=0, **options)


# %%
def train_classifier(width, until=1e6):
    """Rows of (t, smallest margin, drift of K, ‖θ − θ_0‖ / ‖θ_0‖) at every step."""
    network, rows, t = new_classifier(width), [], 0.0
    theta = list(network.parameters())
    start = torch.cat([p.detach().flatten() for p in theta])
    K_0 = ntk.empirical_ntk(network, ring, outputs="trace")
    rate = 0.2 * ntk.KernelDynamics(K_0, label).max_learning_rate
    while t < until:
        f = network(ring)[:, 0]
        loss = logistic_loss(f)
        drift = ntk.kernel_drift(ntk.empirical_ntk(network, ring, outputs="trace"), K_0)
        moved = (torch.cat([p.detach().flatten() for p in theta]) - start).norm() / start.norm()
        rows.append([t, (label * f).min().item(), drift, moved.item()])
        step = rate / loss.item()
        torch._foreach_sub_([p.data for p in theta], torch._foreach_mul(torch.autograd.grad(loss, theta), step))
        t += step
    return torch.tensor(rows)


# %% [markdown]
# Beside it, the theory: the same network with its kernel frozen at $K_0$. Its predictions obey $\frac{df}{dt} = -\frac1N K_0 \nabla_f\ell$, which is not linear, but is quickly solved by the same kind of steps.

# %%
def frozen_kernel(width, until=1e6):
    """Rows of (t, smallest margin) with the kernel held at K_0."""
    network, rows, t = new_classifier(width), [], 0.0
    K_0 = ntk.empirical_ntk(network, ring, outputs="trace")
    rate = 0.2 * ntk.KernelDynamics(K_0, label).max_learning_rate
    f = network(ring)[:, 0].detach()
    while t < until:
        rows.append([t, (label * f).min().item()])
        step = rate / logistic_loss(f).item()
        f = f + step * K_0 @ (label * torch.sigmoid(-label * f)) / len(f)
        t += step
    return torch.tensor(rows)


# %% [markdown]
# **Predict.** Three widths. Will the widest of them keep its kernel until $t = 10^6$? And what does the kernel do under *squared* loss on the same data?

# %%
class_widths = [64, 256, ntk.choose_size(small=1024, large=4096)]
endless = {n: train_classifier(n) for n in class_widths}
frozen = frozen_kernel(class_widths[-1])
network = new_classifier(class_widths[-1])
K_0 = ntk.empirical_ntk(network, ring, outputs="trace")
squared = ntk.gradient_descent(
    network,
    ring,
    label,
    learning_rate=0.5 * ntk.KernelDynamics(K_0, label).max_learning_rate,
    steps=2000,
    progress=False,
    observe=lambda m: ntk.kernel_drift(ntk.empirical_ntk(m, ring, outputs="trace"), K_0),
)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.3))
for n, rows in endless.items():
    left.semilogx(rows[1:, 0], rows[1:, 1], label=f"width {n}")
    right.loglog(rows[1:, 0], rows[1:, 2], label=f"width {n}")
left.semilogx(frozen[1:, 0], frozen[1:, 1], color="black", linestyle=":", label="kernel frozen")
right.loglog(squared.time[1:].cpu(), squared.observed[1:].cpu(), color="black", label="squared loss")
right.text(30, 0.0012, f"squared loss, width {class_widths[-1]}", fontsize=11)
left.set(xlabel="time t", ylabel="smallest margin", title="cross-entropy: the margin grows as log t")
right.set(xlabel="time t", ylabel="drift of the kernel", title="and the kernel never settles")
right.set(yticks=[1e-3, 1e-2, 0.1, 1, 10], yticklabels=["0.1 %", "1 %", "10 %", "100 %", "10×"])
right.set_ylim(5e-4, 20)
left.legend(loc="upper left")
ntk.show(
    figure,
    alt="Left, the smallest margin against time on a logarithmic axis: straight lines up to "
    "time one million, for three widths and for the frozen kernel. Right, the drift of the "
    "kernel grows without end at every width, while with squared loss it is flat.",
)

# %%
def late_slope(rows, column=1, start=1e3):
    """Change of a column per unit of log t, after t = start."""
    late = rows[rows[:, 0] > start]
    return ((late[-1, column] - late[0, column]) / (late[-1, 0] / late[0, 0]).log()).item()


assert abs(late_slope(frozen) - 1) < 0.05
assert all(0.95 < late_slope(rows) < 1.25 for rows in endless.values())
for rows in endless.values():
    early, late = rows[rows[:, 0] < 1e3][-1], rows[-1]
    assert late[2] > 1.8 * early[2] and late[3] > 1.4 * early[3]  # kernel and weights
half = squared.observed[squared.time < squared.time[-1] / 2][-1]
assert squared.observed[-1] < 0.05 and abs(squared.observed[-1] - half) < 0.01 * half
print(f"slope of the margin against log t with a frozen kernel: {late_slope(frozen):.2f}")
print("every width: from t = 1,000 to 1,000,000 the drift grows by more than a factor 1.8")

# %% [markdown]
# **What was found.** The frozen kernel gives slope 1, as derived. The networks are a little faster, because their kernels grow. The logits and the weights grow without bound, and so does the drift: a wider network starts lower, but no width has settled, and none will. With squared loss the same network stops, and so does its kernel.
#
# So for cross-entropy the theorem needs a **fixed time horizon**: name a $t$, and a width can be found that keeps the kernel until then. In practice this means: stop early, and the kernel may be trusted; train to a loss of $10^{-5}$, and it may not.

# %% [markdown]
# ## 7. Deep and narrow: when the kernel is not even the same twice
#
# The theorem also fixes the **depth** and then lets the width grow. A real network of width 64 and depth 16 has done neither. What is lost?
#
# Even before training, something is. For an infinitely wide network the kernel at the start is a fixed function. For a finite one it depends on the draw. Look at $K(x, x)$ at a single point. By [lesson 03](03_empirical_kernel.ipynb)'s sum over layers,
#
# $$ K(x, x) = \sum_l \frac{\sigma_w^2}{n_l}\, \lVert h^l \rVert^2\, \lVert D^l \rVert^2, $$
#
# where $h^l$ is what enters layer $l$, $n_l$ the number of its entries, and $D^l = \partial f/\partial z^l$. Both are products of random matrices, one for each layer on the way. Each factor has a relative spread of about $1/\sqrt n$. In a product, the *logarithms* add up, and so do their variances: $L$ layers give a variance of $\log K$ in proportion to
#
# $$ \beta = \frac{\text{depth}}{\text{width}}. $$
#
# So the spread does not depend on width alone, but on this ratio. Here is the sum, for many ReLU networks at once ($\sigma_w = \sqrt 2$, no biases).


# %%
def kernel_from_weights(weights, x):
    """K(x, x) of E ReLU networks, weights (E, n_out, n_in) for each layer; returns (E,)."""
    h = x.expand(len(weights[0]), -1)
    entering, open_gates = [], []
    for W in weights[:-1]:
        entering.append(h)
        z = math.sqrt(2 / h.shape[1]) * torch.einsum("eij,ej->ei", W, h)
        h = z.relu()
        open_gates.append(z > 0)
    D = torch.ones_like(weights[-1][:, :, 0])  # ∂f/∂z of the last layer
    K = 2 / h.shape[1] * h.square().sum(1)
    for W, h, gate in zip(weights[:0:-1], entering[::-1], open_gates[::-1], strict=True):
        D = math.sqrt(2 / W.shape[2]) * torch.einsum("eij,ei->ej", W, D) * gate
        K = K + 2 / h.shape[1] * h.square().sum(1) * D.square().sum(1)
    return K


network = ntk.MLP(6, 6, depth=3, activation="relu", sigma_w=2**0.5, sigma_b=0.0, seed=3, device=device)
point = torch.ones(6, device=device)
plain = kernel_from_weights([layer.weight.detach()[None] for layer in network.layers], point)
packaged = ntk.empirical_ntk(network, point[None], outputs="trace")[0]
assert torch.allclose(plain, packaged, rtol=1e-4)
print("the sum over layers agrees with ntk.empirical_ntk")

# %% [markdown]
# **Predict.** Width 16 with 4 layers, width 32 with 8 layers, width 64 with 16 layers. Which of them has the largest spread from draw to draw?

# %%
def log_variance(width, depth, seed, count=100):
    """Variance of log K(x, x) over `count` networks."""
    generator = torch.Generator("cpu").manual_seed(seed)
    shapes = [(count, width, width)] * depth + [(count, 1, width)]
    weights = [torch.randn(*s, generator=generator, device="cpu") for s in shapes]
    return kernel_from_weights(weights, torch.ones(width, device="cpu")).log().var().item()


pairs = [(n, L) for n in (16, 32, 64) for L in (2, 4, 8, 16) if L <= n / 2]
spread = torch.tensor([[log_variance(n, L, seed) for seed in range(4)] for n, L in pairs])
ratio = [L / n for n, L in pairs]
slope, band = slopes(ratio, spread)
assert abs(slope - 1) < 0.15 and band < 0.15
assert all(2.8 < value / b < 5 for value, b in zip(spread.mean(1), ratio, strict=True))
print(f"variance of log K ~ (depth/width)^({slope:.1f} ± {math.ceil(10 * band) / 10:.1f})")

# %% [markdown]
# And during training? We take the circle again (8 points, ReLU), train for 200 steps at a fifth of the limit, and measure the drift for several depths and widths.

# %%
eight = ntk.data.unit_circle(8, device=device).x
target = torch.sin(3 * eight[:, 1])


def drift_when_deep(width, depth, seed):
    shape = {"activation": "relu", "sigma_w": 2**0.5, "device": device}
    network = ntk.MLP(2, width, depth=depth, seed=seed, **shape)
    K_0 = ntk.empirical_ntk(network, eight, outputs="trace")
    rate = 0.2 * ntk.KernelDynamics(K_0, target).max_learning_rate
    ntk.gradient_descent(network, eight, target, learning_rate=rate, steps=200, progress=False)
    return ntk.kernel_drift(ntk.empirical_ntk(network, eight, outputs="trace"), K_0)


deep = [(32, 2), (32, 4), (32, 8), (128, 2), (128, 4), (128, 8), (128, 16)]
deep_drift = torch.tensor([[drift_when_deep(n, L, seed) for seed in range(4)] for n, L in deep])
deep_slope, deep_band = slopes([L / n for n, L in deep], deep_drift)
assert 0.5 < deep_slope < 1.3
print(f"drift in training ~ (depth/width)^({deep_slope:.1f} ± {math.ceil(10 * deep_band) / 10:.1f})")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
for n, color, mark in [(16, "orange", "^"), (32, "blue", "o"), (64, "green", "s"), (128, "pink", "D")]:
    for ax, keys, values in [(left, pairs, spread), (right, deep, deep_drift)]:
        rows = [i for i, (width, _) in enumerate(keys) if width == n]
        if rows:
            x_axis = [keys[i][1] / n for i in rows]
            mean = values[rows].log().mean(1).exp()
            ax.loglog(x_axis, mean, mark, ms=9, color=ntk.plots.COLORS[color], label=f"width {n}")
left.plot([0.03, 0.5], [0.03 * 4, 0.5 * 4], color="black", linestyle=":", label="4 · depth/width")
left.set(xlabel="depth / width", ylabel="variance of log K(x, x)", title="from draw to draw")
right.set(xlabel="depth / width", ylabel="drift of the kernel", title="during training")
left.legend()
right.legend()
ntk.show(
    figure,
    alt="Two panels against the ratio of depth to width. Left, the variance of the logarithm of "
    "the kernel from draw to draw: three widths fall on one line of slope one. Right, the "
    "drift in training rises with the same ratio.",
)

# %% [markdown]
# **What was found.** The three networks of the question have about the same spread: they have the same ratio. Width 64 is "wide" for two layers, and narrow for thirty. With $\beta = 1/4$ the variance of $\log K$ is about 1, so two draws of the *same* architecture typically differ by a factor of $e$ or more in $K(x, x)$. And the drift in training grows with the same ratio.
#
# Hanin and Nica proved for ReLU networks that $\mathbb E[K(x,x)^2]/\mathbb E[K(x,x)]^2$ grows like $e^{5\beta}$, up to constant factors. If depth and width grow together, the kernel stays random even at infinite size.

# %% [markdown]
# ## 8. When may I trust it? A check-list
#
# You have a network, data, a loss and a learning rate. Three tests, from cheap to dear:
#
# 1. **The step.** Is $\eta < 2N/\lambda_{\max}(K_0)$? If not: section 5. Needs one kernel.
# 2. **The lazy number.** $\kappa = \lVert f_0 - y\rVert\, \lVert\nabla^2 f\rVert / \lVert\nabla f\rVert^2$ from lesson 04 compares how far the network must go with how far it can go before its Jacobian changes. Needs second derivatives, but no training.
# 3. **The measurement.** Train a copy, and look: how far did $K$ move, and how far are the trained predictions from what $K_0$ said?
#
# And two that no number decides: is the loss squared, or else the time short (section 6)? Is the depth small against the width (section 7)?
#
# `ntk.lazy_regime` makes tests 1 and 2; with `steps=…` also test 3. We apply it to four runs of this lesson.
#
# **Predict**, for each of the four: does the theory apply?

# %%
x, y = draw(200, seed=0)
shape = {"activation": "erf", "sigma_w": 1.5, "sigma_b": 0.1, "seed": 0, "device": device}
wide, two_layers = ntk.MLP(2, 512, **shape), ntk.MLP(2, 256, depth=2, **shape)
plain, mean_field = new_network(64, seed=0), Scaled(new_network(64, seed=0), 1 / 8)
limit = 5 * stable_rate(two_layers, circle, wave)
cases = {
    "circle, wide, small step": (wide, circle, wave, 0.5),
    "circle, 1.5 × the limit": (two_layers, circle, wave, 1.5 * limit),
    "x₁ of 20, α = 1": (plain, x, y, stable_rate(plain, x, y)),
    "x₁ of 20, α = 1/8": (mean_field, x, y, stable_rate(mean_field, x, y)),
}

# %%
from dataclasses import replace

reports = {}
for name, (network, inputs, targets, rate) in cases.items():
    report = ntk.lazy_regime(network, inputs, targets, learning_rate=rate, steps=400)
    at_once = replace(report, drift=None, prediction_error=None).verdict  # tests 1 and 2 alone
    reports[name] = report, at_once
    print(f"{name:>25}:  before training: {at_once:<15}  measured: {report.verdict}")

# %%
verdicts = [(at_once, report.verdict) for report, at_once in reports.values()]
assert verdicts[0] == ("applies", "applies")
assert verdicts[1] == ("does not apply", "does not apply")
assert verdicts[2] == ("applies", "does not apply")  # κ is mistaken
assert verdicts[3][1] == "does not apply" and verdicts[3][0] != "applies"
assert reports["circle, wide, small step"][0].drift < 0.05
assert reports["circle, 1.5 × the limit"][0].drift > 0.3
assert reports["x₁ of 20, α = 1"][0].drift > 0.15
assert reports["x₁ of 20, α = 1/8"][0].drift > 1
print(reports["x₁ of 20, α = 1"][0])

# %% [markdown]
# **What was found.** Look at the third run: before training, $\kappa$ said "applies". It is small. Yet the kernel moved by a fifth or more, and the prediction failed. **The cheap test was wrong.** Why?
#
# $\kappa$ divides by $\lVert\nabla f\rVert^2 = \lambda_{\max}(K_0)$: it asks whether the network can go the way $f_0 - y$ *along its fastest mode*. But our target has almost nothing in the fastest mode, which is nearly the constant function. It lives in slow modes, with eigenvalues many times smaller. There, the same change of $f$ needs a far longer way of $\theta$. We can say how much longer. The least $\lVert\theta - \theta_0\rVert$ that makes the
# linearised network fit is
#
# $$ \min \lVert\theta - \theta_0\rVert = \sqrt{(y - f_0)^\top K_0^{-1}\, (y - f_0)} \;\ge\; \frac{\lVert y - f_0\rVert}{\sqrt{\lambda_{\max}}}, $$
#
# and $\kappa$ takes the right-hand side for the left.

# %%
for name, (network, inputs, targets, _) in list(cases.items())[::2]:
    K_0 = ntk.empirical_ntk(network, inputs, outputs="trace")
    values, vectors = torch.linalg.eigh(K_0)
    missing = vectors.T @ (targets - network(inputs)[:, 0].detach())
    needed = (missing.square() / values.clamp(min=1e-6 * values[-1])).sum().sqrt()
    assumed = missing.norm() / values[-1].sqrt()
    reports[name] = needed / assumed
    print(f"{name}: the way is about {round((needed / assumed).item(), -1):.0f} times as long as κ assumes")
assert reports["x₁ of 20, α = 1"] > 20

# %% [markdown]
# So use the list in this order, and know what each test can do. A rate beyond the limit settles it: **no**. A large $\kappa$ warns. A small $\kappa$ is a *hope*, good if the target lies in the fast modes. Only the measurement says **yes**. It costs one training run of a copy.

# %% [markdown]
# ## 9. Where does the field go from here?
#
# Each condition that failed has become a theory of its own. Numbers are those of the papers named (links below); we have not repeated them.
#
# | what changes | the theory | what its authors report |
# |---|---|---|
# | divide by $n$ instead of $\sqrt n$ | **mean-field** limit: the units are particles, and their distribution obeys a partial differential equation (Mei, Montanari, Nguyen 2018) | for two layers, stochastic gradient descent follows that equation; the kernel is not constant in this limit, as in section 4 |
# | the right power of $n$ for each layer | **maximal update parameterisation**, muP (Yang, Hu 2020) | in their family of parameterisations, an infinite-width limit either learns features or is kernel gradient descent, *but not both* |
# | the same, used for tuning | **muTransfer** (Yang et al. 2022) | the best learning rate stays put as the width grows; tuned on a model of 40 million parameters, a 6.7-billion model beat the published numbers of GPT-3 6.7B, with tuning at 7 % of the cost of pretraining |
# | convolutions | **CNTK**, the exact kernel of infinitely wide convolutional networks (Arora et al. 2019) | on CIFAR-10: 10 % above earlier kernel results, 6 % below the finite network (batch normalisation etc. turned off) |
# | nothing: how good is the kernel in practice? | finite against infinite (Lee et al. 2020) | kernels beat fully connected finite networks, and lose to convolutional ones; weight decay and large rates break the correspondence |
# | a target with few directions | theory of **feature learning** (Damian, Lee, Soltanolkotabi 2022) | a polynomial of degree $p$ in a few of $d$ directions takes about $d^p$ samples in the kernel regime, about $d^2$ for gradient descent on a network |
#
# The last row is section 1 with a proof.

# %% [markdown]
# ## 10. Exercises
#
# Solutions: [solutions/07_beyond_the_kernel.ipynb](solutions/07_beyond_the_kernel.ipynb).
#
# **Exercise 1** (3 minutes, easy). You trained $f$ with `learning_rate`. With which rate does $\alpha f$ keep the same clock?

# %%
def scaled_rate(learning_rate, alpha):
    return ...


ntk.exercises.check_scaled_rate(scaled_rate)


# %% [markdown]
# **Exercise 2** (6 minutes, medium). Measure features along any direction, not only along an input. `weight` is `(n, d)`, a row for each hidden unit; `direction` is `(d,)`, of any length. Write the share of $\sum_j\lVert w_j\rVert^2$ that lies along it.

# %%
def alignment(weight, direction):
    return ...


ntk.exercises.check_alignment(alignment)


# %% [markdown]
# **Exercise 3** (5 minutes, medium). Write one step of the catapult of section 5 with target 0: from $(f, \lambda)$ to the pair after it. (Derive it once with pencil and paper; it is worth it.)

# %%
def catapult_step(f, lam, rate, width):
    return ...


ntk.exercises.check_catapult_step(catapult_step)


# %% [markdown]
# **Exercise 4** (8 minutes, medium). A run with `rate` on $N$ points with the mean loss has settled. `kernel` is $K_0$, `(N, N)`. Write the least drift $\lVert K_{\text{end}} - K_0\rVert/\lVert K_0\rVert$ that it must have had. It is 0 for a stable rate.

# %%
def drift_floor(kernel, rate):
    return ...


ntk.exercises.check_drift_floor(drift_floor)


# %% [markdown]
# **Exercise 5** (6 minutes, medium). One point, constant kernel `k`, force $e^{-m}$. How long does gradient flow take from the margin `start` to the margin `end`? (All three are tensors without axes.) How much longer does each further unit of margin take?

# %%
def time_to_margin(k, start, end):
    return ...


ntk.exercises.check_time_to_margin(time_to_margin)


# %% [markdown]
# **Exercise 6** (5 minutes, easy). The check-list as a function: `rate` against `max_rate`, `drift` of the kernel and `error` of its prediction, both to be at most 10 %. Return `True` if the theory may be trusted for this run.

# %%
def theory_applies(rate, max_rate, drift, error):
    return ...


ntk.exercises.check_theory_applies(theory_applies)

# %% [markdown]
# ## 11. Common misconceptions
#
# | what people say | what the numbers say |
# |---|---|
# | "Wide networks are lazy." | With mean-field scaling the kernel moved by more than 100 % at every width, with a slope of zero (section 4). |
# | "The kernel regime explains why networks generalise." | On a target of one input in twenty, the network's test error was less than an eighth of that of its own kernel, five times out of five (section 1). |
# | "If the loss converges, the step was small enough for the theory." | At 1.5 times the limit all runs learned, and the kernel moved by more than 25 % at every width (section 5). |
# | "When the training loss is nearly zero, the kernel has stopped moving." | With squared loss, yes. With cross-entropy the drift nearly doubled, or more, from $t = 10^3$ to $10^6$ (section 6). |
# | "64 units are narrow, 1,024 are wide." | What counts is depth/width: 16, 32 and 64 units with 4, 8 and 16 layers have about the same spread (section 7). |
# | "A small lazy number $\kappa$ proves that the theory applies." | It said "applies" for a run whose kernel moved by more than 15 % (section 8). |

# %% [markdown]
# ## 12. Summary
#
# - A network can beat its own kernel by learning features, and then its kernel after training is the better one.
# - Training $\alpha f$ on $y$ is training $f$ on $y/\alpha$: large $\alpha$ is lazy, small $\alpha$ is rich. Width makes lazy only if the output scale stays fixed.
# - Past $2N/\lambda_{\max}$ a run either diverges or moves its kernel by a part that no width makes small. Under cross-entropy the kernel never settles. Depth counts in units of the width.
# - To trust the theory: step below the limit, squared loss or a short time, depth small against width, and a measured drift and error of a few per cent.
#
# **Where this stands in the talk.** Slide 4, the take-home message. Corrected here: the conditions under which the kernel remains constant. The talk names one, infinite width, and it is neither sufficient nor, for large $\alpha$, necessary.
#
# ### What you can do now
#
# You started with a forecast that looked like magic. Now you can **derive** the equation that all predictions obey (lesson 02). You can **compute** the kernel of any network in ten lines or fast (03), take it to infinite width (04), and **solve** training in closed form, with its speed limits and its error bars (05). You can use it as a tool: to find out why a PINN learns the
# boundary last or the equation last, and mend it (06). You can **measure** when all of this may be trusted (07). And you have caught a dozen slips on seven slides by running a few lines of code. That habit is worth more than the theorem.
#
# ### Where to read on
#
# - For proofs: Jacot et al. (2018) and Lee et al. (2019), which are now within your reach, then Chizat et al. on laziness.
# - For features: Yang and Hu (2020) for the map of all scalings; Damian et al. (2022) for what features buy.
# - For practice: Yang et al. (2022), and Lee et al. (2020), a careful list of what holds in experiments.
# - For your own network: `ntk.lazy_regime(model, x, y, learning_rate=…, steps=…)`. Start there.
#
# ### References
#
# - L. Chizat, E. Oyallon, F. Bach, *On Lazy Training in Differentiable Programming*, NeurIPS 2019, [arXiv:1812.07956](https://arxiv.org/abs/1812.07956): the scale $\alpha$, and the networks that start at zero.
# - S. Mei, A. Montanari, P.-M. Nguyen, *A Mean Field View of the Landscape of Two-Layer Neural Networks*, 2018, [arXiv:1804.06561](https://arxiv.org/abs/1804.06561).
# - A. Lewkowycz, Y. Bahri, E. Dyer, J. Sohl-Dickstein, G. Gur-Ari, *The large learning rate phase of deep learning: the catapult mechanism*, 2020, [arXiv:2003.02218](https://arxiv.org/abs/2003.02218): the two equations of section 5.
# - K. Lyu, J. Li, *Gradient Descent Maximizes the Margin of Homogeneous Neural Networks*, ICLR 2020, [arXiv:1906.05890](https://arxiv.org/abs/1906.05890): where cross-entropy goes as $t \to \infty$.
# - B. Hanin, M. Nica, *Finite Depth and Width Corrections to the Neural Tangent Kernel*, ICLR 2020, [arXiv:1909.05989](https://arxiv.org/abs/1909.05989).
# - G. Yang, E. J. Hu, *Feature Learning in Infinite-Width Neural Networks* (Tensor Programs IV), 2020, [arXiv:2011.14522](https://arxiv.org/abs/2011.14522).
# - G. Yang et al., *Tensor Programs V: Tuning Large Neural Networks via Zero-Shot Hyperparameter Transfer*, 2022, [arXiv:2203.03466](https://arxiv.org/abs/2203.03466).
# - S. Arora, S. Du, W. Hu, Z. Li, R. Salakhutdinov, R. Wang, *On Exact Computation with an Infinitely Wide Neural Net*, NeurIPS 2019, [arXiv:1904.11955](https://arxiv.org/abs/1904.11955).
# - J. Lee et al., *Finite Versus Infinite Neural Networks: an Empirical Study*, NeurIPS 2020, [arXiv:2007.15801](https://arxiv.org/abs/2007.15801).
# - A. Damian, J. D. Lee, M. Soltanolkotabi, *Neural Networks can Learn Representations with Gradient Descent*, COLT 2022, [arXiv:2206.15144](https://arxiv.org/abs/2206.15144).
# - A. Jacot, F. Gabriel, C. Hongler, NeurIPS 2018, [arXiv:1806.07572](https://arxiv.org/abs/1806.07572); J. Lee et al., NeurIPS 2019, [arXiv:1902.06720](https://arxiv.org/abs/1902.06720).
