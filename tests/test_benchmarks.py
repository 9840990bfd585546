"""The benchmark scripts start: they run by hand, so nothing else would notice a stale import."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SCRIPTS = sorted(BENCHMARKS.glob("[!_]*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_benchmark_explains_itself_when_asked_for_help(script):
    done = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout


@pytest.mark.slow
def test_the_measurement_of_drifts_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "drift.json"

    def measure(largest):
        command = [sys.executable, BENCHMARKS / "drift.py", "erf", "half the limit", "--out", out]
        command += ["--draws", "2", "--largest", str(largest)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
        return json.loads(out.read_text("utf-8"))["rows"]["half the limit"], done.stdout

    first, _ = measure(64)
    second, table = measure(128)
    assert (first["widths"], second["widths"]) == ([64], [64, 128])
    assert second["drift"][0] == first["drift"][0]
    assert [line[:14].strip() for line in table.splitlines()[1:]] == ["erf", "half the limit"]


def test_stored_drifts_are_ten_draws_that_agree_with_their_scale_and_shape():
    rows = json.loads((BENCHMARKS / "results" / "drift.json").read_text("utf-8"))["rows"]
    for row in rows.values():
        assert row["diverged"] == 0
        assert len(row["widths"]) >= 4
        for drifts, ratios, cosines in zip(
            row["drift"], row["norm_ratio"], row["cosine"], strict=True
        ):
            assert len(drifts) == 10
            for drift, r, c in zip(drifts, ratios, cosines, strict=True):
                assert drift**2 == pytest.approx((r - 1) ** 2 + 2 * r * (1 - c), rel=0.01)


def test_stored_pinns_are_the_eight_setups_at_three_widths_in_ten_draws_each():
    stored = json.loads((BENCHMARKS / "results" / "the_pinn_paper.json").read_text("utf-8"))
    rows = {(row["setup"], row["width"]): row for row in stored["figure 2"]}
    assert len(stored["figure 2"]) == len(rows) == 24
    assert len({setup for setup, _ in rows}) == 8
    assert {width for _, width in rows} == {10, 100, 500}
    for key, row in rows.items():
        for name in ("theta", "kernel", "rate"):
            exploded = key == ("standard std sum", 500) and name != "rate"
            assert len(row[name]) == 10
            assert [value is None for value in row[name]] == [exploded] * 10


def test_one_draw_of_the_paper_gives_the_number_that_is_stored(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    paper = importlib.import_module("the_pinn_paper")
    stored = json.loads(paper.RESULTS.read_text("utf-8"))["figure 2"]
    setup = "standard std mean"
    (row,) = (row for row in stored if (row["setup"], row["width"]) == (setup, 10))
    again = paper.figure_2(setup, 10, draws=1)
    for name in ("theta", "kernel", "rate"):
        assert again[name] == pytest.approx(row[name][:1], rel=1e-3)


def test_the_wave_is_the_operator_of_its_terms_and_starts_as_stored(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    torch.set_default_dtype(torch.float32)  # as the script runs
    wave = importlib.import_module("wave")
    model = wave.network(100, 0)
    three = wave.terms(300, wave.ntk.generator(1000))
    by_vmap = torch.stack([(t.values(model) - t.target).square().mean() for t in three])
    by_jet = wave.squares(model, three) / torch.tensor([3, 1, 1])
    torch.testing.assert_close(by_jet, by_vmap, rtol=1e-4, atol=0)
    again = wave.run(100, "balance", 0, steps=100)
    runs = json.loads(wave.RESULTS.read_text("utf-8"))["runs"]
    (stored,) = (r for r in runs if (r["weights"], r["seed"]) == ("balance", 0))
    assert again["lambda"][0] == pytest.approx(stored["lambda"][0], rel=1e-2)
    at = [row["step"].index(100) for row in (again, stored)]
    assert again["error"][at[0]] == pytest.approx(stored["error"][at[1]], rel=0.05)
