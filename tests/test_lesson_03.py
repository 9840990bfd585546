"""The explorers of lesson 03 show the kernels that the lesson speaks of."""

import math

import torch

from ntk_helpers.classroom.explore import lesson_03, lesson_03_digits


def test_the_explored_network_lies_near_the_limit():
    kernel = lesson_03.circle_kernel("relu", 2, 2**0.5, 0.1)
    assert (kernel.measured - kernel.limit).abs().max() < 0.1
    assert kernel.angle[0] == -kernel.angle[-1] == -math.pi
    assert kernel.limit[32] == kernel.measured[32] == 1
    assert torch.allclose(kernel.limit, kernel.limit.flip(0))


def test_explored_eigenvalues_are_those_of_the_kernel_matrix():
    limit = lesson_03.circle_kernel("erf", 1, 2.0, 0.5)
    row = limit.limit[32:].tolist() + limit.limit[1:32].tolist()
    matrix = torch.tensor([row[-i:] + row[:-i] for i in range(64)], dtype=torch.float64)
    expected = torch.linalg.eigvalsh(matrix).flip(0) / torch.linalg.eigvalsh(matrix)[-1]
    found = limit.eigenvalues
    both = torch.cat([found[:1], found[1:].repeat_interleave(2)]).sort(descending=True).values
    assert torch.allclose(both[:7], expected[:7])


def test_a_linear_network_without_biases_has_one_frequency():
    eigenvalues = lesson_03.circle_kernel("linear", 3, 1.0, 0.0).eigenvalues
    assert eigenvalues[1] == 1
    assert torch.cat([eigenvalues[:1], eigenvalues[2:]]).abs().max() < 1e-12


def test_bold_digits_mislead_the_kernel_but_not_its_cosine():
    data, scores = lesson_03_digits.digit_rankings(1)
    hits = {name: (data.label[score.argmax(1)] == data.label) for name, score in scores.items()}
    share = {name: hit.double().mean() for name, hit in hits.items()}
    assert share["kernel"] < 0.85 < 0.9 < share["cosine"]
