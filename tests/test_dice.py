"""A draw gives every seed another stream, and leaves alone what no result may depend on."""

import pytest
import torch

import ntk_helpers as ntk
from ntk_helpers import _dice


@pytest.fixture(autouse=True)
def printed_draw(monkeypatch):
    """Start from draw 0, and come back to it."""
    monkeypatch.setattr(_dice, "draw", 0)


def drawn() -> dict[str, torch.Tensor]:
    """Return what the public sources of random numbers give for the seed 3."""
    return {
        "network": ntk.MLP(2, 4, seed=3).layers[0].weight.detach(),
        "noise": ntk.data.wavy_curve(5, noise=1.0, seed=3).y,
        "digits": ntk.data.digits(2, seed=3).x,
        "numbers": torch.randn(4, generator=ntk.generator(3), device="cpu"),
    }


def test_in_the_printed_draw_a_seed_is_what_it_says():
    expected = torch.randn(4, generator=torch.Generator().manual_seed(3))
    assert torch.equal(drawn()["numbers"], expected)
    assert _dice.number("numbers", 3) == 3


@pytest.mark.parametrize("kind", drawn())
def test_another_draw_gives_other_numbers_and_the_same_ones_again(kind, monkeypatch):
    seen = []
    for draw in (0, 1, 2, 1):
        monkeypatch.setattr(_dice, "draw", draw)
        seen.append(drawn()[kind])
    zeroth, first, second, again = seen
    assert torch.equal(first, again)
    assert not torch.equal(zeroth, first)
    assert not torch.equal(first, second)


def test_in_another_draw_networks_and_numbers_of_one_seed_are_independent(monkeypatch):
    monkeypatch.setattr(_dice, "draw", 1)
    assert len({_dice.number(kind, 3) for kind in ("weights", "noise", "digits", "numbers")}) == 4


def test_power_iterations_are_the_same_in_every_draw(monkeypatch):
    model, x = ntk.MLP(2, 8, seed=0), ntk.data.unit_circle(4).x  # drawn once
    rates = []
    for draw in (0, 7):
        monkeypatch.setattr(_dice, "draw", draw)
        rates.append(ntk.lazy_regime(model, x, torch.ones(4), learning_rate=0.1).kappa)
    assert rates[0] == rates[1]


def test_setup_reads_the_draw_and_says_so(monkeypatch, capsys):
    monkeypatch.setenv("NTK_DRAW", "7")
    ntk.setup()
    assert _dice.draw == 7
    assert "seed 0, draw 7." in capsys.readouterr().out
    seventh = torch.rand(3)
    monkeypatch.setenv("NTK_DRAW", "0")
    ntk.setup()
    assert _dice.draw == 0
    assert "draw" not in capsys.readouterr().out
    assert not torch.equal(seventh, torch.rand(3))


@pytest.mark.parametrize("text", ["-1", "one", "1.5"])
def test_a_draw_is_an_integer(text, monkeypatch):
    monkeypatch.setenv("NTK_DRAW", text)
    with pytest.raises(
        ValueError, match=f"NTK_DRAW must be an integer of at least 0; got '{text}'"
    ):
        ntk.setup()


def test_setup_takes_one_thread_unless_told_otherwise(monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("NTK_THREADS", "2")
        ntk.setup()
        assert torch.get_num_threads() == 2
        monkeypatch.delenv("NTK_THREADS")
        ntk.setup()
        assert torch.get_num_threads() == 1
        monkeypatch.setenv("NTK_THREADS", "0")
        with pytest.raises(ValueError, match="NTK_THREADS must be an integer of at least 1"):
            ntk.setup()
    finally:
        torch.set_num_threads(before)
