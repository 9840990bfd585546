"""The page of questions: its example prints what stands below it, and its answers hold."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import ntk_helpers as ntk

PAGE = (Path(__file__).parents[1] / "docs" / "questions.md").read_text(encoding="utf-8")
NUMBER = r"\d+\.\d\d$"


def test_the_example_prints_what_stands_below_it():
    code, told = re.findall(r"```(?:python|text)\n(.*?)```", PAGE, flags=re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/questions.md", "exec"), {})
    lines, told = printed.getvalue().splitlines(), told.splitlines()
    assert [re.sub(NUMBER, "", line) for line in lines] == [re.sub(NUMBER, "", t) for t in told]
    found, wanted = ([float(line.split()[-1]) for line in text] for text in (lines, told))
    assert found == pytest.approx(wanted, abs=0.011)
    (raw, *raw_ridged), (scaled, *scaled_ridged) = found[:3], found[3:]
    assert raw > 5 * scaled
    assert scaled > 2 * scaled_ridged[0]
    assert raw_ridged[0] > 1.1 * raw_ridged[1]  # a large kernel asks for a large ridge
    assert scaled_ridged[0] < 0.8 * scaled_ridged[1]


def test_the_first_answer_is_short():
    answer = PAGE.split("\n## ")[1].split("```")[0]
    assert len(re.sub(r"\(http\S+\)|\(\.\./\S+\)", "", answer).split()) <= 150


def test_half_of_the_units_bend_within_the_ratio_of_the_standard_deviations():
    weights, biases = torch.randn(2, 100_000, generator=ntk.generator(0))
    bend = -1.0 * biases / (2.0 * weights)  # σ_w w x + σ_b b = 0 with σ_w = 2, σ_b = 1
    assert (bend.abs() < 0.5).double().mean() == pytest.approx(0.5, abs=0.01)


class Hard(nn.Module):
    """A function that is zero at 0 and at 1, whatever its network says."""

    def __init__(self, network):
        """Keep the network."""
        super().__init__()
        self.network = network

    def forward(self, x):
        return x * (1 - x) * self.network(x)


def test_a_hard_constraint_takes_the_ends_out_of_the_kernel():
    poisson = ntk.PoissonProblem()
    model = Hard(ntk.MLP(1, 16, activation="tanh", seed=0))
    boundary, interior = poisson.boundary(4), poisson.interior(9)
    kernel = ntk.pinn_kernel(model, boundary, interior, poisson.operator)
    assert not kernel.uu.any()
    assert not kernel.ur.any()
    assert torch.linalg.matrix_rank(kernel.rr) > 2
