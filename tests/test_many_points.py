"""The benchmark of many points: half a kernel on disk, resumed, multiplied; what is stored."""

import importlib
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import ntk_helpers as ntk

pytest.importorskip("dask")
BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def many_points(monkeypatch):
    """Return the script as a module, with blocks of 20 points."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("many_points")
    monkeypatch.setattr(module, "CHUNKS", 20)
    return module


@pytest.fixture
def kernel(many_points, tmp_path):
    """Return 50 points, their kernel in memory, the same lazily, and a folder that is not there."""
    model = ntk.MLP(256, 32, seed=0, **many_points.DESIGN)
    points = many_points.waves(ntk.data.terrain(50).x)
    whole = ntk.empirical_ntk(model, points, outputs="trace").numpy()
    return points, whole, ntk.kernel_blocks(model, points, chunks=20), tmp_path / "blocks"


def test_a_block_that_has_a_file_is_not_computed_again(many_points, kernel):
    _, whole, lazy, folder = kernel
    assert many_points.store(lazy, folder) == 6
    kept = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "0_2.npy").unlink()
    (folder / "1_1.tmp").write_bytes(b"half of")  # a run that was killed leaves such a thing
    assert many_points.store(lazy, folder) == 1
    again = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert {name for name in kept if again[name] != kept[name]} == {"0_2.npy"}
    np.testing.assert_allclose(np.load(folder / "0_2.npy"), whole[:20, 40:], rtol=1e-12)


def test_half_a_kernel_on_disk_multiplies_like_the_whole(many_points, kernel):
    _, whole, lazy, folder = kernel
    many_points.store(lazy, folder)
    v = torch.randn(50, generator=torch.Generator().manual_seed(0)).numpy()
    operator = many_points.on_disk(folder, lazy.chunks[0], shift=0.5)
    np.testing.assert_allclose(operator @ v, whole @ v + 0.5 * v, rtol=1e-12)


def test_the_bound_is_the_first_step_at_which_chebyshevs_residual_is_small(many_points):
    for condition in (10.0, 1e3, 1e5):
        root = math.sqrt(condition)
        left = (2 * root * ((root - 1) / (root + 1)) ** k for k in itertools.count())
        first = next(k for k, share in enumerate(left) if share <= many_points.TOLERANCE)
        assert math.ceil(many_points.bound(condition)) == first
        values = np.geomspace(1, condition, 400)
        _, steps = many_points.solve(np.diag(values), np.sqrt(values))
        assert 0.3 * first < steps <= first


def test_a_row_agrees_with_a_kernel_in_memory(many_points, tmp_path):
    row = many_points.measure(100, tmp_path)
    assert row["blocks"] == 15
    assert row["bytes"] == pytest.approx(8 * 100**2 * (1 + 1 / 5) / 2, rel=0.05)  # and headers
    assert row["against dense"]["weights"] < 1e-4
    assert row["against dense"]["spectrum"] < 1e-12
    assert row["against dense"]["forecast"] < 1e-5


def test_what_is_stored_is_complete_and_agrees_with_itself(many_points):
    stored = json.loads(many_points.RESULTS.read_text("utf-8"))
    rows = {row["points"]: row for row in stored["rows"]}
    assert sorted(rows) == [2500, 5000, 10_000, 20_000]
    assert max(rows[2500]["against dense"].values()) < 1e-4
    for n, row in rows.items():
        side = n / 1250
        assert row["blocks"] == side * (side + 1) / 2
        assert row["bytes"] == pytest.approx(8 * 1250**2 * row["blocks"], rel=1e-3)
        ridged = row["spectrum"][0] + stored["ridge"]
        assert row["bound"] == pytest.approx(many_points.bound(ridged / stored["ridge"]), rel=1e-3)
        assert row["iterations"] < row["bound"]
        assert math.isfinite(row["error"]["kernel"])
