"""The animations: small files that loop for ever, and pictures of what was measured."""

import sys

import pytest
import torch
from PIL import Image, ImageSequence

from tools import loops
from tools.run_notebooks import ROOT

FOLDER = ROOT / "images" / "loops"
each_loop = pytest.mark.parametrize("name", loops.LOOPS)


# The files.


@each_loop
def test_a_loop_is_a_small_gif_that_moves_for_some_seconds_rests_and_starts_again(name):
    file = FOLDER / f"{name}.gif"
    assert file.stat().st_size <= 1_000_000
    with Image.open(file) as gif:
        times = [frame.info["duration"] / 1000 for frame in ImageSequence.Iterator(gif)]
        assert gif.format == "GIF"
        assert gif.info["loop"] == 0  # for ever
        assert 640 <= gif.width <= 800
    assert len(times) >= 20
    assert 4 <= sum(times) <= 8.5
    assert times[-1] == 1.5


@each_loop
def test_a_still_is_a_small_palette_png_of_the_same_size(name):
    file = FOLDER / f"{name}.png"
    assert file.stat().st_size <= 100_000
    with Image.open(file) as still, Image.open(FOLDER / f"{name}.gif") as gif:
        assert (still.format, still.mode, still.size) == ("PNG", "P", gif.size)


@each_loop
def test_a_card_is_white_with_transparent_corners_in_each_frame(name):
    with Image.open(FOLDER / f"{name}.gif") as gif, Image.open(FOLDER / f"{name}.png") as still:
        for frame in (still, *ImageSequence.Iterator(gif)):
            pixels, (right, bottom) = frame.convert("RGBA"), (gif.width - 1, gif.height - 1)
            corners = [(0, 0), (right, 0), (0, bottom), (right, bottom)]
            assert {pixels.getpixel(corner)[3] for corner in corners} == {0}
            assert pixels.getpixel((right // 2, bottom)) == (255, 255, 255, 255)


def test_the_folder_holds_the_loops_and_each_has_a_caption():
    assert {file.name for file in FOLDER.iterdir()} == {
        f"{name}.{kind}" for name in loops.LOOPS for kind in ("gif", "png")
    }
    assert list(loops.CAPTIONS) == list(loops.LOOPS)
    assert [name for name, text in loops.CAPTIONS.items() if not 100 < len(text) < 400] == []


# The command.


def test_an_unknown_name_is_told_which_loops_there_are(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["loops.py", "modse"])
    with pytest.raises(SystemExit):
        loops.main()
    assert "there is no modse, but forecast, modes, lazy_and_rich" in capsys.readouterr().err


def test_the_command_draws_the_same_bytes_again(monkeypatch, tmp_path):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    short = lambda: loops.train_wide(seed=0, learning_rate=0.01, marks=[1, 2, 4])  # noqa: E731
    monkeypatch.setitem(loops.LOOPS, "modes", (short, loops.draw_modes, -1))
    for folder in ("once", "again"):
        monkeypatch.setattr(sys, "argv", ["loops.py", "modes", "--to", str(tmp_path / folder)])
        loops.main()
    made = sorted(file.relative_to(tmp_path / "once") for file in (tmp_path / "once").iterdir())
    assert [file.name for file in made] == ["modes.gif", "modes.png"]
    for file in made:
        assert (tmp_path / "once" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


# What the captions say.


@pytest.mark.slow
def test_the_forecast_is_off_by_less_than_two_per_cent_in_every_frame():
    run = loops.forecast_numbers()
    assert run.gap.max() < 0.02
    assert set(loops.GHOSTS) <= set(run.step.tolist())


@pytest.mark.slow
def test_the_modes_die_in_order_along_the_formula_and_the_last_are_jagged():
    run = loops.mode_numbers()
    assert (run.left - run.left_told).abs().max() < 0.03
    assert run.left[-1].max() < 0.03
    dead = (run.left < 0.05).int().argmax(0)  # the first frame in which little is left
    assert (dead.diff() < 0).all()  # the slowest mode comes first
    turns = (run.shapes[:, 1:].sign() != run.shapes[:, :-1].sign()).sum(1)
    assert turns[:3].min() > turns[-3:].max()


@pytest.mark.slow
def test_lazy_units_stay_and_rich_ones_turn_and_only_the_rich_network_is_right():
    units = loops.unit_numbers()
    start, length = units.counts[0], torch.hypot(units.counts[0], units.others[0])
    assert torch.equal(start[0], start[1])
    moved = (units.counts[-1] - start).norm(dim=1) / length.norm(dim=1)
    assert moved[0] < 0.1
    assert moved[1] > 0.5
    turned = (units.counts[-1].abs() > units.others[-1]).sum(1)
    assert turned[0] == 0
    assert turned[1] >= 5
    assert units.drift[-1, 0] < 0.05
    assert units.drift[-1, 1] > 1
    (lazy_known, lazy_new), (rich_known, rich_new) = units.errors[-1]
    assert max(lazy_known, rich_known) < 0.05
    assert lazy_new > 0.4
    assert rich_new < 0.05
