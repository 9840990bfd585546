"""Every lesson fits a small machine: two cores for a minute, and one gigabyte."""

import pytest
import torch

from tools.run_notebooks import ROOT, execute

CPU_SECONDS = 120  # 60 s on two cores; CPU time, so that a busy machine does not fail the test
PEAK_BYTES = 1.0e9
if torch.version.cuda:  # a build for GPUs takes 0.36 GB more as soon as it is imported
    PEAK_BYTES += 0.4e9


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")), ids=lambda path: path.stem
)
def test_a_lesson_keeps_within_its_budget(path):
    # From the root, as an editor may run it; nbval runs it from its own folder.
    _, cost = execute(path, folder=ROOT)
    assert cost.cpu_seconds <= CPU_SECONDS
    assert cost.peak_bytes <= PEAK_BYTES
