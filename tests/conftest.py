"""What every test starts from: float64, one thread, no window; and what it must leave as it was."""

import os
import shutil
import sys

os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib
import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def float64_and_clean_state():
    """Make float64 the default; put back dtype, generators and figure style after the test."""
    dtype, torch_state, numpy_state = (
        torch.get_default_dtype(),
        torch.get_rng_state(),
        np.random.get_state(),  # noqa: NPY002
    )
    torch.set_default_dtype(torch.float64)
    with matplotlib.rc_context():
        yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    torch.set_default_dtype(dtype)
    torch.set_rng_state(torch_state)
    np.random.set_state(numpy_state)  # noqa: NPY002


@pytest.fixture(scope="module")
def chromium():
    """Start the browser once.

    Yields:
        The browser.
    """
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    options = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()
