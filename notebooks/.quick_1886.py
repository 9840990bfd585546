import matplotlib; matplotlib.use('Agg')
import time as _tt; _t0=_tt.time()
# %% [markdown]
# # 03 · The empirical kernel: what a real network's kernel looks like
#
# Run it in the browser: [Binder](https://mybinder.org/v2/gh/your_name/ntk-course/main?urlpath=lab/tree/work/03_empirical_kernel.ipynb) ·
# [Colab](https://colab.research.google.com/github/your_name/ntk-course/blob/learners-main/notebooks/03_empirical_kernel.ipynb)
#
# - **Time** 60 minutes with the exercises, estimated from words, code and figures
# - **You need** the kernel $K(x, x') = J(x) J(x')^\top$ and $g(t) = e^{-Kt/N} g(0)$ from [lesson 02](02_function_space.ipynb), eigenvectors of a symmetric matrix
# - **You will be able to** read the picture of a kernel, say in which sense it measures similarity, when it can be inverted, and which patterns a network learns first
#
# Shift+Enter runs a cell; folded cells prepare and draw. Notation: [symbols, terms, formulas](glossary.ipynb).

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "hide-input"]
# @title Find the helper package and prepare PyTorch
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


# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "keep-output", "hide-input"]
# @title The title picture
import math

import matplotlib.pyplot as plt
import torch

colors = ntk.plots.COLORS
around = ([0, 15, 30, 45], ["0", "π/2", "π", "3π/2"])
places = ntk.data.unit_circle(60).x
figure, axes = plt.subplots(1, 2, figsize=(11, 4.4))
for ax, (name, sigma_w) in zip(axes, [("relu", 2**0.5), ("erf", 1.5)], strict=True):
    net = ntk.MLP(2, 2048, depth=2, activation=name, sigma_w=sigma_w, seed=0)
    ntk.plots.plot_matrix(ntk.empirical_ntk(net, places, outputs="trace"), label="K(x, x′)", ax=ax)
    ax.set_xticks(*around)
    ax.set_yticks(*around)
    ax.set(xlabel="angle of x′", ylabel="angle of x", title=f"{name}, two hidden layers")
ntk.show(
    figure,
    alt="The kernels of two random networks on the circle. Both are large on the diagonal and "
    "constant along lines parallel to it. The one with erf is negative for opposite points.",
)

# %% [markdown]
# *How strongly does learning at $x'$ move the prediction at $x$? Two networks with random weights, for all pairs of 60 points on a circle.*

# %% [markdown]
# ## 1. What does the kernel of a network look like?
#
# For $N$ inputs and one output the kernel is an $N \times N$ matrix, and a matrix can be looked at. "Empirical" means: the kernel of *this* network, with the weights that it has now. (Where nothing is said, $\sigma_b = 0.1$ and there is one hidden layer.)
#
# The pictures show stripes that continue around the corners: $K(x, x')$ depends nearly on the *angle between* $x$ and $x'$ alone. The weights of the first layer are normal random numbers, whose distribution looks the same from every direction; "nearly" is the trace of the one draw. To measure it, we replace each entry by the mean of its stripe.

# %%
circle = ntk.data.unit_circle(60, device=device)
stripe = (torch.arange(60)[None, :] - torch.arange(60)[:, None]) % 60  # steps from x to x'
for name, sigma_w, opposite in [("relu", 2**0.5, (0.05, 0.15)), ("erf", 1.5, (-1, -0.85))]:
    design = {"depth": 2, "activation": name, "sigma_w": sigma_w, "device": device}
    nets = [ntk.MLP(2, 2048, seed=s, **design) for s in range(4)]
    kernels = [ntk.empirical_ntk(net, circle.x, outputs="trace").cpu() for net in nets]
    means = [torch.stack([K[stripe == s].mean() for s in range(60)]) for K in kernels]
    off = [(K - m[stripe]).norm() / K.norm() for K, m in zip(kernels, means, strict=True)]
    ntk.claim("part of K off the stripes", torch.stack(off), below=0.15, unit="%", case=name)
    across = torch.stack([m[30] / m[0] for m in means])
    ntk.claim("K of opposite points over K of a point with itself", across, between=opposite, case=name)

# %% [markdown]
# With erf, a push up at $x$ moves the opposite side *down*, nearly as far. Now data: 100 digits, ten of each class, ordered by class.

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "keep-output", "hide-input"]
# @title Your prediction
ntk.predict(
    "The network is random and sees no label. Can one see the ten classes in its kernel?",
    a="no: it has learned nothing yet",
    b="yes, as ten blocks along the diagonal, once the mean of all entries is taken away",
    c="yes, and entries between different classes are negative",
    answer="b",
    tempting="a",
    because="Zeros look like zeros, and the kernel of a random network sees how images look. All "
    "entries are positive, so one has to take the mean away to see the blocks.",
)

# %%
digits = ntk.data.digits(per_class=10, device=device)
relu = {"activation": "relu", "sigma_w": 2**0.5}
readers = [ntk.MLP(64, 1024, **relu, seed=s, device=device) for s in range(4)]
kernels = [ntk.empirical_ntk(net, digits.x, outputs="trace") for net in readers]
same = digits.label[:, None] == digits.label[None, :]
itself = torch.eye(100, dtype=torch.bool, device=device)
ratios = torch.stack([K[same & ~itself].mean() / K[~same].mean() for K in kernels])
ntk.claim("K within a class over K between classes", ratios, between=(1.1, 1.5))
ntk.claim("smallest entry", torch.stack([K.min() for K in kernels]), above=0)

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "hide-input"]
# @title The figure
figure, axes = plt.subplots(1, 2, figsize=(11, 4.4))
titles = ("the kernel", "the kernel minus its mean")
pictures = (kernels[0], kernels[0] - kernels[0].mean())
for ax, K, title in zip(axes, pictures, titles, strict=True):
    ntk.plots.plot_matrix(K, ax=ax)
    ax.set_xticks(range(5, 100, 10), range(10))
    ax.set_yticks(range(5, 100, 10), range(10))
    ax.set(xlabel="class of x′", ylabel="class of x", title=title)
ntk.show(
    figure,
    alt="The kernel of a random network on 100 digits ordered by class. All entries are positive; "
    "after the mean is taken away, ten blocks along the diagonal stand out.",
)

# %% [markdown]
# **What was found.** Answer (b). Two zeros are more alike to a *random* network than a zero and a one. It has this from the images, as lesson 02 saw.

# %% [markdown]
# ## 2. Which rules does every kernel obey?
#
# Three follow from $K(x, x') = J(x) J(x')^\top$ alone.
#
# 1. **Transpose.** $K(x', x) = K(x, x')^\top$.
# 2. **Positive semi-definite.** Stack the Jacobians of all $N$ points to a tall table $J(X)$ with $N n_L$ rows ($n_L$ outputs) and $P$ columns. The whole kernel is the square $J(X) J(X)^\top$, and $v^\top J J^\top v = \lVert J^\top v\rVert^2 \ge 0$: no eigenvalue is negative.
# 3. **Rank.** At most $P$ eigenvalues are not zero.

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "keep-output", "hide-input"]
# @title Your prediction
ntk.predict(
    "A network with 33 parameters and 3 outputs, on 20 points: the whole kernel has 60 rows, and "
    "27 eigenvalues or more are zero. Can training ever move the predictions along those "
    "eigenvectors?",
    a="never: where the eigenvalue is zero, nothing arrives",
    b="not at this moment, but later: the kernel moves, and its null space with it",
    answer="b",
    tempting="a",
    because="The kernel of the start rules the first moment. A tiny network changes its kernel as "
    "it trains, and what was out of reach comes within reach.",
)

# %%
points = ntk.data.unit_circle(20, device=device).x
targets = torch.stack([points[:, 0] * points[:, 1], points[:, 0], points[:, 1] ** 2], 1)
shares = []
for seed in range(8):
    tiny = ntk.MLP(2, 3, n_out=3, depth=2, seed=seed, device=device)  # 9 + 12 + 12 parameters
    K = ntk.empirical_ntk(tiny, points)  # (20, 20, 3, 3): points, then outputs
    eigenvalues, V = torch.linalg.eigh(K.permute(0, 2, 1, 3).reshape(60, 60))  # ascending
    before = tiny(points).detach()
    ntk.gradient_descent(tiny, points, targets, learning_rate=0.2, steps=1000, progress=False)
    move = (tiny(points).detach() - before).flatten()
    shares.append((V[:, :27].T @ move).norm() / move.norm())  # along the zero eigenvalues
ntk.claim("eigenvalue 27 of 60 over the largest", eigenvalues[26].abs() / eigenvalues[-1], below=1e-12)
ntk.claim("part of the way in the null space of the start", max(shares), above=0.05, unit="%")

# %% [markdown]
# **What was found.** Answer (b). The rules hold at every moment, for the kernel of that moment. (For different points the matrix $K(x, x')$ itself need not be symmetric; the whole square is.)

# %% [markdown]
# ## 3. When can the kernel be inverted?
#
# The forecast of lesson 00 contains $K^{-1}$, and an eigenvalue 0 means a part of the residual that is never learned. If the smallest eigenvalue of a wide network's kernel is positive, gradient descent fits *any* labels (Du et al.). It is positive for distinct points on a sphere and an activation that is no polynomial, if there is a bias or more than one hidden layer (Jacot et al., Proposition 2). It is not always so.
#
# **Twice the same input.** If two points coincide, two rows of $K$ are equal, and $K$ is singular. What does a network learn where labels contradict each other?

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "keep-output", "hide-input"]
# @title Your prediction
ntk.predict(
    "One image is twice in the training set, once with the label 1 and once with 3. What does a "
    "network that is trained to the end say?",
    a="1 or 3, as the random start decides",
    b="2, the mean",
    c="nothing: the training diverges",
    answer="b",
    because="Both copies have one prediction. The pull of the one label is cancelled by the other "
    "exactly at their mean.",
)

# %%
x_twice = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], device=device)
y_twice = torch.tensor([1.0, 3.0, 0.0], device=device)
nets = [ntk.MLP(2, 256, seed=s, device=device) for s in range(4)]
ntk.train_ensemble(nets, x_twice, y_twice, learning_rate=0.3, steps=1000, progress=False)
said = torch.stack([net(x_twice)[0, 0].detach() for net in nets])
ntk.claim("prediction between labels 1 and 3", said, near=(2, 0.01))

# %% [markdown]
# **Points on a line.** One hidden ReLU layer without bias on four points, two on each side of 0. On one side of 0, each unit is either linear or off, so on each side all Jacobians are multiples of one.

# %%
along = torch.tensor([-2.0, -1.0, 1.0, 2.0], device=device)
for height, bound in [(0, {"below": 1e-12}), (1, {"above": 1e-3})]:  # through 0, and past it
    line = torch.stack([along, 0.5 * along + height], 1)
    net = ntk.MLP(2, 512, **relu, sigma_b=0.0, seed=0, device=device)
    eigenvalues = torch.linalg.eigvalsh(ntk.empirical_ntk(net, line, outputs="trace"))
    second = (eigenvalues[1] / eigenvalues[-1]).abs()
    ntk.claim("second smallest eigenvalue over the largest", second, **bound, case=f"height {height}")

# %% [markdown]
# **What was found.** Answer (b). And a line through 0 leaves only two of four eigenvalues: such a network cannot fit four labels there, however wide. Moved off 0, the same line can be fitted.

# %% [markdown]
# ## 4. Is the kernel a similarity?
#
# The talk calls the kernel "a function to compare similarity of two data points". For one output $K(x, x') = J(x) \cdot J(x')$ is an inner product, and inner products compare, but only vectors of *equal length*. Nothing makes the $J(x)$ equally long. Dividing by the lengths gives the **cosine** of the angle between them:
#
# $$ c(x, x') = \frac{K(x, x')}{\sqrt{K(x, x)\, K(x', x')}} , \qquad -1 \le c \le 1 . $$

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "keep-output", "hide-input"]
# @title Your prediction
ntk.predict(
    "500 digits with their grey values as they are, some in bold ink, some in thin. For how many "
    "is some other digit more similar than the digit is to itself, by the raw kernel?",
    a="none: nothing is more similar to a thing than itself",
    b="a handful",
    c="more than a hundred",
    answer="c",
    tempting="a",
    because="Bold digits have long Jacobians. An inner product with a long vector is large, "
    "whatever the direction.",
)

# %%
plain = ntk.data.digits(per_class=50, device=device)
pixels = plain.image.flatten(1)  # grey values from 0 to 1, not scaled
writer = ntk.MLP(64, 512, **relu, seed=0, device=device)
K = ntk.empirical_ntk(writer, pixels, outputs="trace")  # (500, 500)


def cosine_of(matrix):
    lengths = matrix.diagonal().sqrt()
    return matrix / lengths.outer(lengths)


scores = {"K": K, "its cosine": cosine_of(K), "cosine of the pixels": cosine_of(pixels @ pixels.T)}
alone = torch.eye(500, dtype=torch.bool, device=device)
nearest = {name: s.masked_fill(alone, -math.inf).argmax(1) for name, s in scores.items()}

# %%
ntk.claim("digits of 500 that are beaten", (K.max(1).values > K.diagonal()).sum(), above=100)
ntk.claim("digits of 500 with the same favourite", nearest["K"].bincount().max(), above=10)
hits = {name: (plain.label[i] == plain.label).sum() for name, i in nearest.items()}
ntk.claim("nearest of 500 in the same class", hits["K"], below=470, case="by K")
for name in ("its cosine", "cosine of the pixels"):
    ntk.claim("nearest of 500 in the same class", hits[name], above=475, case=f"by {name}")

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "hide-input"]
# @title The figure
wrong = plain.label[nearest["K"]] != plain.label
right = plain.label[nearest["its cosine"]] == plain.label
asked = (wrong & right).nonzero()[:, 0]
asked = asked[:: max(1, len(asked) // 7)][:7]
rows = {"asked": asked, "by K": nearest["K"][asked], "by cosine": nearest["its cosine"][asked]}
figure, axes = plt.subplots(3, 1, figsize=(9, 5.6))
for ax, (name, chosen) in zip(axes, rows.items(), strict=True):
    ntk.plots.plot_digits(plain.image[chosen], [f"a {c}" for c in plain.label[chosen]], ax=ax)
    ax.text(-1, 4, name, ha="right", va="center", fontsize=14)
ntk.show(
    figure,
    alt="Seven digits, below each the most similar one by K, which is of another class and in "
    "bolder ink, and the most similar one by the cosine, which is of the same class.",
)

# %% [markdown]
# **What was found.** Answer (c). By the raw kernel bold digits resemble everything. $K(x, x')$ says *how far learning at $x'$ moves the prediction at $x$*; its cosine is the similarity that this network sees. The plain pixels see it as well: a random network has not *learned* any similarity.
#
# **Find a digit for which the raw kernel is right and one for which it is fooled.** What do the fooling ones have in common?

# %% tags=["nbval-ignore-output"]
pass

# %% [markdown]
# ## 5. What does each layer contribute?
#
# A layer with $n$ inputs $h$ computes $z = \frac{\sigma_w}{\sqrt n} W h + \sigma_b\, b$. Write $D = \partial f/\partial z$ for the derivatives of the outputs in what leaves it. The weight $W_{pq}$ acts through $z_p$ and is multiplied by $h_q$, so its derivative is the *product* $\frac{\sigma_w}{\sqrt n} D_p h_q$; and a sum over all pairs $(p, q)$ of products falls apart into two sums. With $h^l$, $n_l$, $D^l$ for layer $l$, and primes for what belongs to $x'$:
#
# $$ \boxed{\; K(x, x') = \sum_l \Bigl[ \frac{\sigma_w^2}{n_l} \langle h^l, h'^l \rangle + \sigma_b^2 \Bigr]\; D^l(x)\, D^l(x')^\top \;} $$
#
# In words: *how alike is what enters the layer, times how alike is what the outputs make of what leaves it.* This is how `ntk.empirical_ntk` computes a kernel, without ever forming a Jacobian; [computing kernels](deeper/computing_kernels.ipynb) derives it in full, compares four ways, and counts their operations.
#
# The sum over layers tells what each layer brings: the kernel that one would have if only this layer were trained. For ReLU, $\sigma_w^2 = 2$ and no biases, a signal keeps its mean square from layer to layer, forwards ($h$) and backwards ($D$): each layer has the same share of $K(x, x)$, whatever its number of weights.

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "keep-output", "hide-input"]
# @title Your prediction
ntk.predict(
    "Three hidden layers make four layers of weights, each with a quarter of K(x, x). Which one "
    "tells two different points apart most sharply?",
    a="the first: it sees the inputs themselves",
    b="the last: it has been through all the others",
    c="all alike",
    answer="a",
    tempting="b",
    because="Every ReLU layer makes what passes through it look more alike. The last layer sees "
    "only what is left.",
)

# %%
angles = ntk.data.unit_circle(64, device=device)
design = {"depth": 3, "sigma_b": 0.0, "device": device}
deep = [ntk.MLP(2, 1024, seed=s, **relu, **design) for s in range(4)]
terms = [list(ntk.layer_ntks(net, angles.x, outputs="trace").values()) for net in deep]
shares = [[(t.diagonal() / sum(each).diagonal()).mean() for t in each] for each in terms]
ntk.claim("share of each layer", torch.tensor(shares), near=(0.25, 0.05))
at_right_angle = torch.tensor([[cosine_of(term)[0, 16] for term in each] for each in terms])
ntk.claim("cosine at a right angle", at_right_angle[:, 0], near=(0, 0.05), case="first layer")
ntk.claim("cosine at a right angle", at_right_angle[:, -1], above=0.4, case="last layer")

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "hide-input"]
# @title The figure
figure, ax = plt.subplots(figsize=(8.4, 4.4))
names = ["layer 1 (first)", "layer 2", "layer 3", "layer 4 (last)"]
for name, term in zip(names, terms[0], strict=True):
    ax.plot(angles.angle.cpu()[:33], cosine_of(term)[0, :33].cpu(), label=name)
ax.set_xticks([0, math.pi / 2, math.pi], ["0", "π/2", "π"])
ax.set(xlabel="angle between x₀ and x", ylabel="cosine of the layer's kernel")
ax.legend(loc="upper right")
ntk.show(
    figure,
    alt="The cosine of each layer's kernel against the angle between two points. That of the "
    "first layer falls to zero fastest, that of the last stays above one third.",
)

# %% [markdown]
# **What was found.** Answer (a). The first layer multiplies the plain $\langle x, x'\rangle$ by the agreement of $D$ and $D'$; the last sees $\langle h, h'\rangle$ after all ReLUs. Training the last layer only is regression on random features, and the full kernel is sharper.

# %% [markdown]
# ## 6. What does a network learn first?
#
# Lesson 02 found $g(t) = e^{-Kt/N} g(0)$ for the residual and a kernel that stays. Along each eigenvector $v_j$ of $K$, with the eigenvalue $\lambda_j$,
#
# $$ v_j \cdot g(t) = e^{-\lambda_j t/N}\; v_j \cdot g(0), \qquad \text{halved after the time} \quad t_{1/2} = \frac{N \ln 2}{\lambda_j} . $$
#
# On the circle the kernel is made of stripes, and the eigenvectors of such a matrix are waves, $\cos m\gamma$ and $\sin m\gamma$ in the angle $\gamma$, with the *frequency* $m = 0, 1, 2, \dots$ We train one hidden ReLU layer on the sum of four waves in equal parts.

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "keep-output", "hide-input"]
# @title Your prediction
ntk.predict(
    "The target has the frequencies 1, 2, 3 and 4. In which order are they learned?",
    a="1, 2, 3, 4: slow waves first",
    b="1, 2, 4, 3",
    c="4, 3, 2, 1",
    d="all at once",
    answer="b",
    tempting="a",
    because="With one hidden ReLU layer and hardly any bias, the odd waves from 3 on belong to "
    "eigenvalues near zero.",
)

# %%
N = 64
waves = torch.stack([torch.cos(m * angles.angle) for m in (1, 2, 3, 4)])  # (4, 64)
waves = waves / waves.norm(dim=1, keepdim=True)
target = N**0.5 * waves.sum(0)
learner = ntk.MLP(2, 2048, **relu, seed=0, device=device)
K_start = ntk.empirical_ntk(learner, angles.x, outputs="trace")
speeds = ((waves @ K_start) * waves).sum(1)  # v · K v, the eigenvalue up to the draw
half_lives = N * math.log(2) / speeds

plan = {"learning_rate": 0.25, "steps": 1600, "record_at": range(0, 1601, 2)}
run = ntk.train_ensemble([learner], angles.x, target, **plan, progress=False)
missing = ((run.outputs[:, 0] - target) @ waves.T).abs()
missing = missing / missing[0]  # (801, 4) share of each wave that is not learned yet

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "hide-input"]
# @title The figure
figure, axes = plt.subplots(1, 2, figsize=(11, 4.4))
for m, wave, left, speed, place in zip(
    (1, 2, 3, 4), waves.cpu(), missing.T.cpu(), speeds.tolist(), (0.55, 6, 150, 60), strict=True
):
    axes[0].plot(angles.angle.cpu(), wave + 0.4 * (4 - m), label=f"m = {m}")
    (band,) = axes[1].semilogx(run.time.cpu()[1:], left[1:], lw=6, alpha=0.45, ls="-")
    told = torch.exp(-speed * run.time.cpu() / N)
    axes[1].plot(run.time.cpu()[1:], told[1:], color="black", lw=1.4, ls="--")
    axes[1].text(place, {1: 0.45, 2: 0.55, 3: 0.86, 4: 0.55}[m], f"m = {m}", color=band.get_color(), fontsize=14)
axes[0].set_xticks([0, math.pi, 2 * math.pi], ["0", "π", "2π"])
axes[0].set(xlabel="angle", yticks=[], title="four waves")
axes[1].set(xlabel="time t = η k", title="share still missing")
ntk.show(
    figure,
    alt="Left, waves of frequency 1 to 4. Right, how much of each is missing over time, as bands, "
    "with dashed forecasts: 1 goes first, then 2, then 4; 3 is hardly begun at the end.",
)

# %%
for m in (1, 2, 4):
    measured = run.time[(missing[:, m - 1] < 0.5).nonzero()[0, 0]]
    ntk.claim("half-life over its forecast", measured / half_lives[m - 1], near=(1, 0.3), case=f"m = {m}")
ntk.claim("forecast half-life of m = 4 over m = 1", half_lives[3] / half_lives[0], above=20)
ntk.claim("what is missing of m = 3 at the end", missing[-1, 2], above=0.4, unit="%")
for depth, bound in [(1, {"below": 1e-12}), (2, {"above": 0.05})]:
    limit = ntk.infinite_kernels(angles.x, depth=depth, **relu, sigma_b=0.0).ntk
    speed = ((waves @ limit) * waves).sum(1)
    ntk.claim("limit speed of m = 3 over m = 1", speed[2].abs() / speed[0], **bound, case=f"depth {depth}")

# %% [markdown]
# **What was found.** Answer (b). The order of the *eigenvalues* decides. "Slow waves first" is right for $m = 0, 1, 2$ and for deeper networks; but one wide ReLU layer without biases does not learn $m = 3, 5, 7, \dots$ at all: their eigenvalues are exactly 0 in the limit (Bietti and Mairal, Basri et al.).
# The reason is parity. $\varphi(z) = \frac12(z + |z|)$: the first half brings $m = 1$, the second is even, and even functions have even frequencies only. (Our biases of size 0.1 leave $m = 3$ a little.)
#
# Look at $m = 3$: it lags even behind its own forecast. Has the kernel moved? We ask it after training, as a whole, and for the speed of each wave.

# %%
K_end = ntk.empirical_ntk(learner, angles.x, outputs="trace")
change = ntk.kernel_change(K_end, K_start)  # in all, in scale, in shape
ntk.claim("change of the kernel", change.drift, below=0.15, unit="%")
ntk.claim("cosine between the kernels", change.cosine, above=0.995)
speeds_end = ((waves @ K_end) * waves).sum(1)
ntk.claim("speed of m = 3, end over start", speeds_end[2] / speeds[2], below=0.75)

# %% [markdown]
# The kernel moved by less than a tenth, mostly in scale; the speed of the slowest wave fell by more than half. "The kernel is nearly constant" is a statement about *large* eigenvalues. Slow patterns are what PINNs suffer from (lesson 06).

# %% [markdown]
# ## 7. What do activation, depth and initial variances change?
#
# On the circle a kernel is one curve over the angle. To see the design and not the draw, we take the limit of wide networks, `ntk.infinite_kernels` (lesson 04 derives it), and divide each curve by its value at angle zero.

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "hide-input"]
# @title The figure


def over_the_angle(**design):
    """K(x₀, x) / K(x₀, x₀) for the angles 0 … π."""
    kernel = ntk.infinite_kernels(angles.x[:1], angles.x[:33], **design).ntk[0]
    return (kernel / kernel[0]).cpu()


he = relu | {"sigma_b": 0.0}
panels = {
    "activation": {a: over_the_angle(activation=a, depth=2, sigma_w=2.0) for a in ["linear", "relu", "erf"]},
    "depth, with relu": {f"{d} hidden": over_the_angle(depth=d, **he) for d in [1, 4, 32]},
    "σ_w, with erf": {f"σ_w = {s:g}": over_the_angle(depth=3, activation="erf", sigma_w=s) for s in [1, 2, 5]},
}
figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), sharey=True)
for ax, (title, curves) in zip(axes, panels.items(), strict=True):
    for name, values in curves.items():
        ax.plot(angles.angle.cpu()[:33], values, label=name)
    ax.set_xticks([0, math.pi / 2, math.pi], ["0", "π/2", "π"])
    ax.set(title=title, xlabel="angle", ylim=(-1.75, 1.1))
    ax.legend(loc="lower left", fontsize=12)
axes[0].set(ylabel="K(x₀, x) / K(x₀, x₀)", yticks=[-1, -0.5, 0, 0.5, 1])
ntk.show(
    figure,
    alt="Three panels of kernels over the angle. Linear and erf become negative, relu does not. "
    "More depth and larger weights make a narrow peak.",
)

# %% [markdown]
# Odd activations make kernels that turn negative. Deep ReLU networks have a peak on a *floor*: all points that differ clearly are equally similar. Large weights make a spike: each point learns for itself, and the predictions between the points learn nothing. A useful kernel lies between, and the *initialisation* decides which it is.
#
# Move the sliders. **Which design comes closest to learning all frequencies equally fast?** The bars are the eigenvalues, the speeds of section 6.

# %% tags=["nbval-ignore-output"]
pass

# %% [markdown]
# Large $\sigma_w$ and depth with erf: the spike. It learns all waves alike, and forecasts nothing between the points.

# %% [markdown]
# ## Exercises
#
# Replace a `...` and run the cell. (On Colab, run the page's first cell before.) [Solutions](solutions/03_empirical_kernel.ipynb).
#
# **Exercise 1** (4 minutes, reading a picture). Four kernels over the angle, as in section 7. The designs are **1** linear, no biases; **2** ReLU, 32 hidden layers; **3** erf, three hidden layers, $\sigma_w = 5$; **4** erf with large biases, $\sigma_b = 2$. Which curve belongs to which?

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "hide-input"]
# @title The picture
unseen = {
    "A": over_the_angle(depth=32, **he),
    "B": over_the_angle(activation="erf", depth=2, sigma_w=1.5, sigma_b=2.0),
    "C": over_the_angle(activation="linear", sigma_b=0.0),
    "D": over_the_angle(activation="erf", depth=3, sigma_w=5.0),
}
figure, ax = plt.subplots(figsize=(7.6, 4.2))
for name, place in [("A", 24), ("B", 28), ("C", 20), ("D", 26)]:
    (drawn,) = ax.plot(angles.angle.cpu()[:33], unseen[name])
    where = (angles.angle[place].item(), unseen[name][place].item() + 0.05)
    ax.annotate(name, where, color=drawn.get_color(), fontsize=16)
ax.set_xticks([0, math.pi / 2, math.pi], ["0", "π/2", "π"])
ax.set(xlabel="angle", ylabel="K(x₀, x) / K(x₀, x₀)")
ntk.show(
    figure,
    alt="Four kernels over the angle. A has a narrow peak and a floor near 0.3. B stays above one "
    "half. C is a cosine, from 1 to −1. D has a spike, is near 0 beyond it, and dips at the end.",
)

# %%
import ntk_helpers as ntk


def design_of(curve):
    return {"A": ..., "B": ..., "C": ..., "D": ...}[curve]


pass

# %% [markdown]
# **Exercise 2** (3 minutes, easy). At least how many eigenvalues of the whole kernel are zero, for any numbers of points, outputs and parameters?

# %%
import ntk_helpers as ntk


def zeros_at_least(n_points, n_outputs, parameters):
    return ...


pass

# %% [markdown]
# **Exercise 3** (5 minutes, a new case). Two parts of the residual, along eigenvectors with the eigenvalues `fast` > `slow`, start with the sizes `c_fast` > `c_slow`. At what time are they equally large? (Our mean loss over `n` points, a kernel that stays.)

# %%
import ntk_helpers as ntk


def crossing_time(c_fast, c_slow, fast, slow, n):
    return ...


pass

# %% [markdown]
# ## Common misconceptions
#
# | what people say | what the numbers say |
# |---|---|
# | "The kernel measures similarity." | More than 100 of 500 digits had another digit "more similar" than themselves; its cosine is a similarity (section 4). |
# | "A kernel is positive." | With erf, opposite points had less than $-0.85$ of $K(x, x)$ (section 1). Its *eigenvalues* are not negative. |
# | "Networks learn slow waves first." | One hidden ReLU layer learned $m = 4$ long before $m = 3$ (section 6). |
# | "The layer with the most parameters learns most." | Four layers of very different size had a quarter each (section 5). |
# | "The kernel moved by 10 %, so every pattern learns as forecast, within 10 %." | The slowest wave lost more than half of its speed (section 6). |

# %% [markdown]
# ## Summary
#
# - On a set of points the kernel is a symmetric square with $N n_L$ rows, positive semi-definite, of rank at most $P$. Equal inputs make it singular; contradicting labels are learned as their mean.
# - It is an inner product of gradients. Its cosine is the similarity that the network sees.
# - $K = \sum_l \bigl[\frac{\sigma_w^2}{n_l}\langle h^l, h'^l\rangle + \sigma_b^2\bigr] D^l D'^{l\top}$, layer by layer.
# - Its eigenvectors are what is learned, each halved after $N \ln 2/\lambda_j$. On the circle they are waves; which comes first is for the design to say.
#
# Which labels suit a kernel: [which tasks does a kernel like?](deeper/how_many_examples.ipynb) **Next:** [04 infinite width](04_infinite_width.ipynb) lets the width grow. In the talk: slide 4.
#
# ### References
#
# - A. Jacot, F. Gabriel, C. Hongler, NeurIPS 2018, [arXiv:1806.07572](https://arxiv.org/abs/1806.07572), sections 4 and 5, Proposition 2.
# - S. Du, X. Zhai, B. Póczos, A. Singh, ICLR 2019, [arXiv:1810.02054](https://arxiv.org/abs/1810.02054): $\lambda_{\min} > 0$ and training to zero loss.
# - A. Bietti, J. Mairal, NeurIPS 2019, [arXiv:1905.12173](https://arxiv.org/abs/1905.12173); R. Basri et al., NeurIPS 2019, [arXiv:1906.00425](https://arxiv.org/abs/1906.00425): frequencies, and what biases do to the odd ones.
# - R. Novak, J. Sohl-Dickstein, S. Schoenholz, ICML 2022, [arXiv:2206.08720](https://arxiv.org/abs/2206.08720): the kernel, layer by layer.
# - E. Alpaydin, C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, 1998: the digits, as shipped by scikit-learn.

# %% cellView="form" jupyter={"source_hidden": true} tags=["plumbing", "hide-input"]
# @title Where this lesson stands
ntk.plots.show_course_map(3)

import resource as _r; print('TIME', round(_tt.time()-_t0,1), 'MB', _r.getrusage(_r.RUSAGE_SELF).ru_maxrss//1024)