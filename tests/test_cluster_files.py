"""The files for SLURM and Kubernetes: what their deployers make of them, and that it works."""

import importlib.util
import inspect
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import dask
import jsonschema
import numpy as np
import pytest
import torch
import yaml
from dask.utils import parse_timedelta

import ntk_helpers as ntk

distributed = pytest.importorskip("distributed")
ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")


def read(name):
    """Return what stands in a file of the folder cluster."""
    return yaml.safe_load((ROOT / "cluster" / name).read_text(encoding="utf-8"))


def kernel_by_worker(command, client, **variables):
    """Start a worker by a command, and return a kernel that it computed and its true value."""
    model = ntk.MLP(2, 16, seed=0)
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": path} | variables
    worker = subprocess.Popen(
        command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        client.wait_for_workers(1, timeout=120)
        kernel = ntk.kernel_blocks(model, x, chunks=6).compute()
        threads = [w["nthreads"] for w in client.scheduler_info()["workers"].values()]
    finally:
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(timeout=60)
    assert threads == [1]
    np.testing.assert_allclose(
        kernel, ntk.empirical_ntk(model, x, outputs="trace").numpy(), rtol=1e-12
    )


# SLURM.


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Return what dask-jobqueue makes of our file, on this machine: no job is sent.

    Yields:
        The cluster without workers.
    """
    jobqueue = pytest.importorskip("dask_jobqueue")
    monkeypatch.chdir(tmp_path)  # where it makes the folder for logs
    options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    ours = dask.config.merge(dask.config.config, read("jobqueue.yaml"))  # as from ~/.config/dask
    with (
        dask.config.set(ours),
        jobqueue.SLURMCluster(scheduler_options=options) as cluster,
    ):
        yield cluster


def test_the_job_script_is_the_one_on_the_page(slurm):
    (shown,) = re.findall(r"```text\n(#!.+?)```", PAGE, flags=re.DOTALL)
    command = re.compile(r"^\S+( -m distributed\S+) \S+", re.MULTILINE)
    made = command.sub(r"PYTHON\1 ADDRESS", slurm.job_script())
    assert made.split() == shown.split()


def test_a_worker_leaves_before_its_job_ends():
    told = read("jobqueue.yaml")["jobqueue"]["slurm"]
    hours, minutes, seconds = map(int, told["walltime"].split(":"))
    wall = 3600 * hours + 60 * minutes + seconds
    words = told["worker-extra-args"]
    life, stagger = (
        parse_timedelta(words[words.index(name) + 1])
        for name in ("--lifetime", "--lifetime-stagger")
    )
    assert 0.9 * wall < life + stagger < wall


@pytest.mark.slow
def test_the_job_script_starts_a_worker_that_computes_a_kernel(slurm, tmp_path):
    script = tmp_path / "job"
    script.write_text(slurm.job_script(), encoding="utf-8")
    with distributed.Client(slurm) as client:
        kernel_by_worker(["bash", script], client, SLURM_CPUS_PER_TASK="1")


# Kubernetes.


@pytest.fixture
def schema():
    """Return the schema by which Kubernetes judges a DaskCluster, as dask-kubernetes ships it."""
    found = importlib.util.find_spec("dask_kubernetes")
    if found is None:
        pytest.skip("dask-kubernetes, of the extra deploy, is not installed")
    chart = "operator/deployment/helm/dask-kubernetes-operator/crds/daskcluster.yaml"
    text = (Path(found.origin).parent / chart).read_text(encoding="utf-8")
    told = yaml.safe_load(text)["spec"]
    (version,) = told["versions"]
    judge = closed(version["schema"]["openAPIV3Schema"])
    kind = {"apiVersion": f"{told['group']}/{version['name']}", "kind": told["names"]["kind"]}
    judge["properties"] |= {key: {"const": value} for key, value in kind.items()}
    judge["properties"]["metadata"] = {"required": ["name"]}
    return judge | {"required": [*kind, "metadata", "spec"]}


def closed(schema):
    """Return a schema that refuses fields it does not name: Kubernetes would drop them unsaid."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        free = (
            schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        )
        result |= {} if free else {"additionalProperties": False}
    return result


def test_the_file_is_a_dask_cluster_by_the_schema_of_the_operator(schema):
    jsonschema.validate(read("kubernetes.yaml"), schema)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda spec: spec["worker"].pop("spec"),
        lambda spec: spec["worker"].update(replicas="four"),
        lambda spec: spec["worker"]["spec"]["containers"][0]["resources"]["limits"].update(cpu=8),
        lambda spec: spec["worker"]["spec"]["containers"][0].update(arg=["--nthreads"]),
        lambda spec: spec["scheduler"]["service"].update(port=8786),
    ],
    ids=[
        "no pods",
        "a word for a number",
        "a number for a quantity",
        "a field misspelt",
        "a field at the wrong place",
    ],
)
def test_the_schema_refuses_a_broken_file(schema, break_it):
    cluster = read("kubernetes.yaml")
    break_it(cluster["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster, schema)


def test_service_ports_and_names_are_those_that_the_operator_itself_would_write():
    operator = pytest.importorskip("dask_kubernetes.operator.kubecluster.kubecluster")
    cluster = read("kubernetes.yaml")
    name, image = cluster["metadata"]["name"], "REGISTRY/ntk-course:TAG"
    theirs = operator.make_cluster_spec(name, image=image, n_workers=4)
    assert cluster["spec"]["scheduler"]["service"] == theirs["spec"]["scheduler"]["service"]
    ports = [c["spec"]["scheduler"]["spec"]["containers"][0]["ports"] for c in (cluster, theirs)]
    assert ports[0] == ports[1]
    assert cluster["spec"].keys() == theirs["spec"].keys()
    assert "custom_cluster_spec" in inspect.signature(operator.KubeCluster).parameters


@pytest.mark.slow
def test_the_command_of_a_pod_starts_a_worker_that_computes_a_kernel():
    pytest.importorskip("dask_kubernetes")
    (container,) = read("kubernetes.yaml")["spec"]["worker"]["spec"]["containers"]
    name = "ntk-default-worker-0"  # as the operator calls it
    words = [*container["command"], *container["args"]]
    command = [word.replace("$(DASK_WORKER_NAME)", name) for word in words]
    options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    with (
        distributed.LocalCluster(n_workers=0, **options) as empty,
        distributed.Client(empty) as client,
    ):
        kernel_by_worker(command, client, DASK_SCHEDULER_ADDRESS=empty.scheduler_address)
