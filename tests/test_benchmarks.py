"""The benchmark scripts start: they run by hand, so nothing else would notice a stale import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
