"""The kernel in blocks: the numbers of the whole, half of it computed, and workers that die."""

import copy
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from reference import kernel_by_loop
from torch import nn

import ntk_helpers as ntk
from ntk_helpers.kernels import blocks

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


def points(n, n_in=2, seed=0):
    """Return (n, n_in) normal numbers."""
    return torch.randn(n, n_in, generator=torch.Generator().manual_seed(seed))


class Tied(nn.Module):
    """One matrix, used twice."""

    def __init__(self):
        """Draw it."""
        super().__init__()
        self.first = nn.Linear(3, 3, dtype=torch.float64)
        self.second = nn.Linear(3, 3, dtype=torch.float64)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


@pytest.fixture
def counted(monkeypatch):
    """Return a list of the shapes that `empirical_ntk` is asked for, while it works as always."""
    asked = []

    def count(model, x1, x2=None, **options):
        asked.append((len(x1), None if x2 is None else len(x2)))
        return ntk.empirical_ntk(model, x1, x2, **options)

    monkeypatch.setattr(blocks, "empirical_ntk", count)
    return asked


@pytest.mark.parametrize("chunks", [1, 4, 5, 11, 50])
@pytest.mark.parametrize("n2", [None, 7])
def test_blocks_are_those_of_the_whole_kernel(chunks, n2):
    model, x1 = ntk.MLP(2, 8, n_out=3, seed=0), points(11)
    x2 = None if n2 is None else points(n2, seed=1)
    lazy = ntk.kernel_blocks(model, x1, x2, chunks=chunks)
    whole = ntk.empirical_ntk(model, x1, x2, outputs="trace").numpy()
    assert lazy.shape == whole.shape
    assert lazy.numblocks == tuple(-(-n // chunks) for n in whole.shape)
    np.testing.assert_allclose(lazy.compute(), whole, rtol=1e-12, atol=1e-12)


def test_blocks_agree_with_a_loop_over_gradients():
    model, x1, x2 = Tied(), points(5, 3), points(4, 3, seed=1)
    full = kernel_by_loop(model, x1, x2)
    lazy = ntk.kernel_blocks(model, x1, x2, chunks=2)
    trace = full.diagonal(dim1=2, dim2=3).sum(-1).numpy()
    np.testing.assert_allclose(lazy.compute(), trace, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_kind_are_known_before_anything_is_computed(dtype):
    model = ntk.MLP(2, 8, dtype=dtype, seed=0)
    lazy = ntk.kernel_blocks(model, points(6).to(dtype), chunks=4)
    assert str(dtype).endswith(str(lazy.dtype))
    assert isinstance(lazy._meta, np.ndarray)
    assert lazy.compute().dtype == lazy.dtype


def test_half_of_a_symmetric_kernel_is_computed_and_the_other_half_is_its_transpose(counted):
    lazy = ntk.kernel_blocks(ntk.MLP(2, 8, seed=0), points(10), chunks=3)
    assert counted == [(2, None)]  # the first look
    del counted[:]
    kernel = lazy.compute()
    sides = [3, 3, 3, 1]
    above = [(a, b) for i, a in enumerate(sides) for b in sides[i + 1 :]]
    assert sorted(counted, key=str) == sorted([*((n, None) for n in sides), *above], key=str)
    assert (kernel == kernel.T).all()


def test_one_block_is_computed_where_one_is_asked_for(counted):
    lazy = ntk.kernel_blocks(ntk.MLP(2, 8, seed=0), points(10), chunks=3)
    del counted[:]
    assert lazy.blocks[2, 0].compute().shape == (3, 3)
    assert counted == [(3, 3)]


def test_the_model_is_taken_as_it_is_at_the_call_and_left_alone():
    model, x = ntk.MLP(2, 8, seed=0), points(6)
    before = ntk.empirical_ntk(model, x, outputs="trace").numpy()
    lazy = ntk.kernel_blocks(model, x, chunks=6)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
        x.zero_()
    assert (lazy.compute() == before).all()


def test_equal_work_has_an_equal_name_and_other_work_another():
    def name(model, x, **options):
        return ntk.kernel_blocks(model, x, **{"chunks": 3} | options).name

    x, tied = points(6, 3), Tied()
    loose = copy.deepcopy(tied)
    loose.second.weight = nn.Parameter(tied.first.weight.detach().clone())
    frozen, moved = copy.deepcopy(tied), copy.deepcopy(tied)
    frozen.first.bias.requires_grad_(False)
    with torch.no_grad():
        moved.first.bias[0] += 1e-12
    smooth = [ntk.MLP(3, 4, activation=name, seed=0) for name in ("erf", "tanh")]
    names = [name(model, x) for model in (tied, loose, frozen, moved, *smooth)]
    names += [name(tied, x, chunks=2), name(tied, x, x2=x), name(tied, x + 1e-12)]
    assert len(set(names)) == len(names)
    assert name(copy.deepcopy(tied), x.clone()) == names[0]


def test_another_process_gives_the_same_name():
    code = (
        "import torch, ntk_helpers as ntk\n"
        "model = ntk.MLP(2, 4, seed=0, dtype=torch.float64)\n"
        "x = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)\n"
        "print(ntk.kernel_blocks(model, x, chunks=2).name)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout.startswith("kernel-")
    assert runs[0].stdout == runs[1].stdout


def test_threads_of_one_process_do_not_disturb_each_other():
    # Of a model that is no MLP hooks are used, and switches of torch that hold for all threads.
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    lazy = ntk.kernel_blocks(model, points(24), chunks=2)
    whole = lazy.compute(scheduler="synchronous")
    assert (lazy.compute(scheduler="threads", num_workers=4) == whole).all()
    assert torch.backends.mha.get_fastpath_enabled()


def test_without_dask_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install .*the extra `cluster`"):
        ntk.kernel_blocks(ntk.MLP(2, 8, seed=0), points(4), chunks=2)


def test_importing_the_package_does_not_import_dask():
    code = "import sys, ntk_helpers; print({'dask', 'distributed'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Several processes.


class Slow(nn.Module):
    """A linear model that says in a file which process runs it, and how often it travelled."""

    def __init__(self, log):
        """Take the file's path."""
        super().__init__()
        self.line, self.log = nn.Linear(2, 1, dtype=torch.float64), str(log)
        nn.init.ones_(self.line.weight)
        nn.init.zeros_(self.line.bias)

    def __deepcopy__(self, memo):
        """Make a copy that has not travelled."""
        return Slow(self.log)

    def __setstate__(self, state):
        """Say that a copy has come to this process."""
        super().__setstate__(state)
        self.write("arrived")

    def write(self, what):
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {what}\n")

    def forward(self, x):
        self.write("ran")
        time.sleep(0.005)
        return torch.tanh(self.line(x))


def pids(log, what):
    """Return the processes that wrote `what`, line by line."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [int(line.split()[0]) for line in lines if line.endswith(what)]


@pytest.fixture
def cluster():
    """Start two worker processes on this machine; see to it that they are gone afterwards.

    Yields:
        The cluster.
    """
    options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1"}
    with distributed.LocalCluster(
        **options, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as local:
        workers = [p.pid for p in psutil.Process().children(recursive=True)]
        yield local
    assert [pid for pid in workers if is_worker(pid)] == []


def is_worker(pid):
    """Return whether a process is there and is no helper of multiprocessing's own."""
    try:
        return "resource_tracker" not in "".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


@pytest.mark.slow
def test_model_and_points_do_not_travel_with_each_block(cluster, tmp_path):
    log = tmp_path / "log"
    with distributed.Client(cluster):
        lazy = ntk.kernel_blocks(Slow(log), points(40), chunks=4)
        log.unlink()  # of the first look, here
        kernel = lazy.compute()
    workers = {*pids(log, "ran")}
    assert len(workers) == 2
    # Once to each, and once more where Dask moves the task that holds them; 55 blocks are computed.
    assert max(pids(log, "arrived").count(pid) for pid in workers) <= 3
    assert (kernel == lazy.compute(scheduler="synchronous")).all()


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_costs_time_and_no_number(cluster, tmp_path):
    log, x = tmp_path / "log", points(40)
    lazy = ntk.kernel_blocks(Slow(log), x, chunks=4)  # 55 blocks
    undisturbed = lazy.compute(scheduler="synchronous")
    log.unlink()
    with distributed.Client(cluster) as client:
        future = client.compute(lazy)
        deadline = time.monotonic() + 120
        while len(pids(log, "ran")) < 60 or len({*pids(log, "ran")}) < 2:
            assert time.monotonic() < deadline, "the workers do not start"
            time.sleep(0.01)
        victim = pids(log, "ran")[-1]
        os.kill(victim, signal.SIGKILL)
        assert not future.done()
        kernel = future.result(timeout=120)
        client.wait_for_workers(2, timeout=120)  # another one has taken its place
        told = [text for _, text in reversed(client.get_scheduler_logs())]
        nannies = client.get_worker_logs(nanny=True).values()  # all in this process: all alike
        told += [text for _, text in reversed(next(iter(nannies)))]
    print("", *(line[:160] for line in told), sep="\n")
    assert any(f"Worker process {victim} was killed by signal 9" in line for line in told)
    assert (kernel == undisturbed).all()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() == 0, reason="there is no GPU")
def test_one_worker_a_gpu_computes_what_the_cpu_does():
    model, x = ntk.MLP(2, 64, n_out=2, seed=0, dtype=torch.float64), points(50)
    options = {"cls": distributed.Nanny, "options": {"nthreads": 1}}
    workers = {}
    for gpu in range(torch.cuda.device_count()):
        workers[gpu] = copy.deepcopy(options)
        workers[gpu]["options"]["env"] = {"CUDA_VISIBLE_DEVICES": str(gpu)}
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": "127.0.0.1:0"}}
    scheduler["options"]["host"] = "127.0.0.1"
    with (
        distributed.SpecCluster(workers=workers, scheduler=scheduler) as gpus,
        distributed.Client(gpus) as client,
    ):
        lazy = ntk.kernel_blocks(model.to("cuda"), x.to("cuda"), chunks=10)
        kernel = lazy.compute()
        seen = client.run(torch.cuda.max_memory_allocated)
    assert min(seen.values()) > 0
    whole = ntk.empirical_ntk(model.cpu(), x, outputs="trace").numpy()
    np.testing.assert_allclose(kernel, whole, rtol=1e-10)
