"""One call at the top of a notebook sets seeds, dtype and style, and says so in one line."""

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch

from ntk_helpers.classroom import setup as device
from ntk_helpers.classroom.setup import FLOORS, best_device, choose_size, setup


def _pretend(monkeypatch, *, cuda=False, mps=False):
    """Make torch say that it has these devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(device, "_gpu_works", lambda: cuda)


@pytest.mark.parametrize(
    ("cuda", "mps", "best"),
    [
        (True, True, "cuda"),
        (True, False, "cuda"),
        (False, True, "mps"),
        (False, False, "cpu"),
    ],
)
def test_the_best_device_is_cuda_then_mps_then_cpu(monkeypatch, cuda, mps, best):
    _pretend(monkeypatch, cuda=cuda, mps=mps)
    assert best_device() == torch.device(best)


def test_a_wish_for_a_device_that_is_here_is_granted(monkeypatch):
    _pretend(monkeypatch, cuda=True, mps=True)
    for name in ["cuda", "mps", "cpu"]:
        assert best_device(name) == torch.device(name)


def test_a_wish_for_a_device_that_is_not_here_is_refused(monkeypatch):
    _pretend(monkeypatch, mps=True)
    with pytest.raises(ValueError, match=r"no 'cuda'; it has mps, cpu\. Use prefer=None"):
        best_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "CUDA", "cuda:0", 0])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(ValueError, match="prefer must be one of 'cuda', 'mps', 'cpu'; got"):
        best_device(name)


def test_setup_prints_one_line_and_returns_the_device(monkeypatch, capsys):
    _pretend(monkeypatch)
    assert setup(seed=3) == torch.device("cpu")
    assert capsys.readouterr().out == "ntk_helpers is ready: device cpu, float64, seed 3.\n"


def test_setup_makes_draws_repeat():
    def draws(seed):
        setup(seed)
        return torch.rand(3).tolist() + np.random.rand(3).tolist()  # noqa: NPY002

    assert draws(0) == draws(0)
    assert not set(draws(0)) & set(draws(1))


@pytest.mark.parametrize("seed", [np.int64(5), 2**32, 2**63 - 1])
def test_setup_takes_any_seed_that_torch_takes(seed):
    setup(seed)


def test_notebooks_take_a_gpu_of_nvidia_or_the_cpu_and_float64(monkeypatch):
    # On mps, torch 2.13 has neither float64 nor eigenvalues: lesson 00 would stop.
    for cuda, mps, wanted in [(0, 0, "cpu"), (0, 1, "cpu"), (1, 0, "cuda"), (1, 1, "cuda")]:
        _pretend(monkeypatch, cuda=bool(cuda), mps=bool(mps))
        torch.set_default_dtype(torch.float16)
        assert setup() == torch.device(wanted)
        assert torch.get_default_dtype() == torch.float64


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU that works")
def test_a_gpu_that_does_not_work_is_left_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    device._gpu_works.cache_clear()
    with pytest.warns(RuntimeWarning, match="The GPU does not work; using the CPU: "):
        assert setup() == torch.device("cpu")
    assert choose_size(8, 99) == 8
    device._gpu_works.cache_clear()


def test_setup_sets_the_style_of_the_course():
    mpl.rcdefaults()
    assert mpl.rcParams["axes.spines.top"]
    setup()
    assert not mpl.rcParams["axes.spines.top"]
    colours = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    okabe_ito = {"000000", "E69F00", "56B4E9", "009E73", "F0E442", "0072B2", "D55E00", "CC79A7"}
    assert {colour.lstrip("#").upper() for colour in colours} == okabe_ito


def test_setup_refuses_seeds_that_are_none():
    with pytest.raises(TypeError, match=r"seed must be an integer; got 0\.5 of type float"):
        setup(0.5)
    with pytest.raises(ValueError, match=r"seed must be at least 0; got -1"):
        setup(-1)


@pytest.mark.parametrize(("cuda", "mps", "size"), [(0, 0, 8), (1, 0, 99), (0, 1, 8)])
def test_the_size_follows_the_device(monkeypatch, cuda, mps, size):
    monkeypatch.delenv("NTK_SIZE", raising=False)
    _pretend(monkeypatch, cuda=bool(cuda), mps=bool(mps))
    assert choose_size(small=8, large=99) == size


@pytest.mark.parametrize("cuda", [True, False])
@pytest.mark.parametrize(("wish", "size"), [("small", 8), ("large", 99)])
def test_the_environment_overrides_the_size(monkeypatch, cuda, wish, size):
    _pretend(monkeypatch, cuda=cuda)
    monkeypatch.setenv("NTK_SIZE", wish)
    assert choose_size(8, 99) == size


def test_an_empty_wish_for_a_size_is_none(monkeypatch):
    _pretend(monkeypatch)
    monkeypatch.setenv("NTK_SIZE", "")
    assert choose_size(8, 99) == 8


def test_an_unknown_size_is_refused(monkeypatch):
    monkeypatch.setenv("NTK_SIZE", "huge")
    with pytest.raises(ValueError, match="NTK_SIZE must be one of 'small', 'large'; got 'huge'"):
        choose_size(8, 99)


def test_the_first_import_loads_neither_figures_nor_widgets_nor_data_sets():
    code = (
        "import sys, ntk_helpers; heavy = {'matplotlib', 'ipywidgets', 'sklearn', 'IPython'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert run.stdout.strip() == "[]"


def test_this_environment_is_above_the_floors():
    from importlib.metadata import version

    from packaging.version import Version

    for package, floor in FLOORS.items():
        assert Version(version(package)) >= Version(floor), package


def test_setup_says_what_is_too_old(monkeypatch, capsys):
    monkeypatch.setitem(device.FLOORS, "numpy", "99.0")
    monkeypatch.setitem(device.FLOORS, "not-a-package", "1.0")
    assert device.outdated() == ["numpy>=99.0", "not-a-package>=1.0"]
    device.setup()
    assert "pip install 'numpy>=99.0' 'not-a-package>=1.0'" in capsys.readouterr().out
