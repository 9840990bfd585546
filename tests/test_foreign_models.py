"""Models that nobody here wrote: each has the kernel of plain backward passes, and still trains.

Small, with random weights, in eval mode. The extra `foreign` brings their packages; without one,
its models are skipped.
"""

import math
import warnings
from contextlib import suppress
from importlib import import_module

import pytest
import torch
from reference import kernel_by_loop
from torch import nn

import ntk_helpers as ntk


class Reads(nn.Module):
    """A foreign model, and what is read off it: (n, …) points in, (n, k) outputs out."""

    def __init__(self, body, read, head=None):
        """Keep the model, the function that reads it, and a linear layer where it has none."""
        super().__init__()
        self.body, self.read, self.head = body, read, head

    def forward(self, x):
        f = self.read(self.body, x)
        return f if self.head is None else self.head(f)


@pytest.fixture(scope="module")
def package():
    """Return a function that imports a package, or skips the test that needs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with suppress(ModuleNotFoundError):
                import_module("torchvision")  # transformers and timm import it, these models do not
        except RuntimeError:  # its operators are compiled for CUDA, and this torch is not
            for name in ("nms", "qnms"):
                torch.library.define(
                    f"torchvision::{name}", "(Tensor boxes, Tensor scores, float limit) -> Tensor"
                )

    def load(name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of their imports, as pytest would raise them
            return pytest.importorskip(name)

    return load


def words(n):
    """Return texts of 6 of 40 words, of which 0 is padding at the end of all but the first."""
    x = torch.randint(1, 40, (n, 6))
    return torch.where(torch.arange(6) < torch.tensor([6, 3, 5, 4])[:n, None], x, 0)


def images(n, channels=1, size=8):
    return torch.randn(n, channels, size, size)


def graphs(n):
    """Return graphs of 5 nodes: 3 features of a node, and its row of a symmetric adjacency."""
    edges = (torch.rand(n, 5, 5) < 0.5).triu(1)
    return torch.cat([torch.randn(n, 5, 3), (edges | edges.mT).double()], 2)


def transformer(name, points=words, read=None, **sizes):
    """Return the points and the builder of a model of transformers, two layers deep."""

    def build(package):
        library = package("transformers")
        config = getattr(library, f"{name}Config")(
            hidden_size=8, num_hidden_layers=2, num_attention_heads=2, vocab_size=40, **sizes
        )
        suffix = "LMHeadModel" if name == "GPT2" else "Model"
        body = getattr(library, name + suffix)(config)
        return Reads(body, read or last_word, None if name == "GPT2" else nn.Linear(8, 2))

    return build, points


def last_word(body, x):
    return body(input_ids=x).last_hidden_state[:, -1]


def masked(body, x):
    return body(input_ids=x, attention_mask=(x != 0).long()).pooler_output


def logits(body, x):
    return body(input_ids=x).logits[:, -1, :2]


def patches(body, x):
    return body(pixel_values=x).last_hidden_state[:, 0]


def of_timm(name, points, **sizes):
    """Return the points and the builder of a model of timm."""

    def build(package):
        return package("timm").create_model(name, pretrained=False, num_classes=2, **sizes)

    return build, points


def gcn(package):
    """Return two graph convolutions; n graphs are one graph of 5 n nodes, as in its loaders."""
    library = package("torch_geometric.nn")

    def read(body, x):
        graph, a, b = x[:, :, 3:].nonzero(as_tuple=True)
        edges = torch.stack([5 * graph + a, 5 * graph + b])
        h = body[0](x[:, :, :3].reshape(-1, 3), edges).relu()
        owner = torch.arange(len(x)).repeat_interleave(5)
        return library.global_mean_pool(body[1](h, edges), owner, len(x))

    return Reads(nn.ModuleList([library.GCNConv(3, 6), library.GCNConv(6, 2)]), read)


class Sine(nn.Linear):
    """A layer of a SIREN: sin(ω (W x + b)), ω = 30 (Sitzmann et al. 2020, arXiv:2006.09661)."""

    def __init__(self, n_in, n_out, bound):
        """Draw the weights uniformly."""
        super().__init__(n_in, n_out)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x):
        return torch.sin(30 * super().forward(x))


def siren(package):
    bound = math.sqrt(6 / 16) / 30
    return nn.Sequential(Sine(2, 16, 1 / 2), Sine(16, 16, bound), nn.Linear(16, 3))


class UNet(nn.Module):
    """One step down, one up, and the skip between (Ronneberger et al. 2015, arXiv:1505.04597)."""

    def __init__(self):
        """Draw the layers."""
        super().__init__()
        self.down, self.bottom = self.block(1, 4), self.block(4, 8)
        self.up, self.last = nn.ConvTranspose2d(8, 4, 2, stride=2), self.block(8, 4)
        self.out = nn.Conv2d(4, 1, 1)

    @staticmethod
    def block(p, q):
        return nn.Sequential(nn.Conv2d(p, q, 3, padding=1), nn.BatchNorm2d(q), nn.ReLU())

    def forward(self, x):
        skip = self.down(x)
        h = self.up(self.bottom(nn.functional.max_pool2d(skip, 2)))
        return self.out(self.last(torch.cat([skip, h], 1)))[:, :, ::4, ::4].flatten(1)


MODELS = {
    "BERT with a padding mask": transformer(
        "Bert", read=masked, intermediate_size=12, max_position_embeddings=6
    ),
    "GPT-2, tied": transformer("GPT2", read=logits, n_positions=6),
    "LLaMA": transformer("Llama", num_key_value_heads=1, intermediate_size=12),
    "Mamba": transformer("Mamba", state_size=3, conv_kernel=2),
    "ViT": transformer(
        "ViT", images, patches, image_size=8, patch_size=4, num_channels=1, intermediate_size=12
    ),
    "resnet18": of_timm(
        "resnet18", lambda n: images(n, 3, 32), channels=(4, 4, 8, 8), stem_width=4
    ),
    "convnext_atto": of_timm(
        "convnext_atto", lambda n: images(n, 3, 32), depths=(1, 1, 2, 1), dims=(4, 4, 8, 8)
    ),
    "vit_tiny": of_timm(
        "vit_tiny_patch16_224", images, img_size=8, patch_size=4, in_chans=1, embed_dim=9, depth=2
    ),
    "mobilenetv3": of_timm("mobilenetv3_small_050", lambda n: images(n, 3, 32)),
    "GCN": (gcn, graphs),
    "SIREN": (siren, lambda n: torch.rand(n, 2) * 2 - 1),
    "U-Net": (lambda package: UNet(), images),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_foreign_model_has_the_kernel_of_plain_backward_passes_and_still_trains(name, package):
    torch.manual_seed(0)
    build, points = MODELS[name]
    model, x = build(package).double().eval(), points(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 1.5)
    before = {key: (p, p.requires_grad) for key, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters())

    wanted = kernel_by_loop(model, x[:2], x)
    got = ntk.empirical_ntk(model, x[:2], x)
    assert (got - wanted).abs().max() <= 1e-9 * wanted.abs().max()
    square = ntk.empirical_ntk(model, x, outputs="trace")
    trace = wanted.diagonal(dim1=2, dim2=3).sum(-1)
    assert (square[:2] - trace).abs().max() <= 1e-9 * trace.abs().max()

    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[key] is p and p.requires_grad == wants for key, (p, wants) in before.items())
    optimizer.param_groups[0]["lr"] = 0.1 / square.trace().item()  # far below 1 / λ_max
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]


LIKELY = ["GPT-2, tied", "BERT with a padding mask", "ViT", "resnet18", "GCN", "SIREN", "U-Net"]


@pytest.mark.parametrize("name", LIKELY)
def test_a_foreign_model_gets_a_page_and_learns_below_its_limit(name, package):
    torch.manual_seed(0)
    build, points = MODELS[name]
    model, x = build(package).double().eval(), points(4)
    y = torch.arange(4) % model(x).shape[1]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    loss = nn.functional.cross_entropy
    look = ntk.diagnose(model, x, y, loss=loss, learning_rate=1.0)
    run = ntk.diagnose(model, x, y, loss=loss, learning_rate=0.1 * look.max_learning_rate, steps=10)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert 0 < look.max_learning_rate < math.inf
    assert run.losses[-1] < run.losses[0]
    assert math.isfinite(run.gap)
    assert sum(run.layers.values()) == pytest.approx(1)
    assert "The rate is 10 % of it" in repr(run)
    assert "Forecast" in run._repr_html_()
