"""The class image, the chart's values and the hub on one machine agree; README.md counts right."""

import copy
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from traitlets.config import Config

from tools.learners_copy import WORKSPACE
from tools.run_notebooks import ROOT

HUB = ROOT / "hub"
README = (HUB / "README.md").read_text(encoding="utf-8")
VALUES = yaml.safe_load((HUB / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((ROOT / "tests" / "z2jh.schema.json").read_text(encoding="utf-8"))
# What the reference of Dockerfiles lists.
INSTRUCTIONS = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
    *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
needs_sh = pytest.mark.skipif(os.name == "nt", reason="the image runs on Linux")


# The chart's values.


def refused(values: dict) -> list[str]:
    """Return what the schema says against `values`."""
    return [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(values)]


def with_value(place: str, value) -> dict:
    """Return a copy of the values with `value` at `place`, such as "cull.timeout"."""
    values = copy.deepcopy(VALUES)
    *folders, name = place.split(".")
    part = values
    for folder in folders:
        part = part[folder]
    part[name] = value
    return values


def test_the_chart_takes_the_values():
    assert refused(VALUES) == []


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("singleuser.defaulturl", "/lab", "'defaulturl' was unexpected"),
        ("scheduling.userPlaceholder.replica", 10, "'replica' was unexpected"),
        ("singleuser.image.tag", 1.0, "1.0 is not of type 'string'"),
        ("singleuser.storage.type", "volume", "'volume' is not one of"),
        ("cull.timeout", "1h", "'1h' is not of type"),
    ],
)
def test_a_misspelt_or_mistyped_value_is_refused(place, value, says):
    (message,) = refused(with_value(place, value))
    assert says in message


def places(values: dict, above: str = "") -> Iterator[str]:
    """Yield the places of all keys in the values."""
    for name, value in values.items():
        yield f"{above}{name}"
        if isinstance(value, dict):
            yield from places(value, f"{above}{name}.")


def test_the_schema_knows_every_key_by_one_name_only():
    free = r"hub\.config\.\w+\.|singleuser\.extraEnv\."  # JupyterHub's names, and variables
    written = [place for place in places(VALUES) if not re.match(free, place)]
    other = [re.sub(r"\w+$", lambda name: name[0].swapcase(), place) for place in written]
    assert len(other) > 30
    assert [place for place in other if refused(with_value(place, None)) == []] == []


def test_the_chart_has_one_version_wherever_it_is_named():
    version = re.search(r"\d\.\d\.\d", SCHEMA["$comment"])[0]
    for name in ("values.yaml", "Dockerfile", "README.md"):
        text = (HUB / name).read_text(encoding="utf-8")
        assert set(re.findall(r"\b4\.\d\.\d\b", text)) == {version}


# One machine and many.


def on_one_machine(monkeypatch, **variables: str) -> Config:
    """Return what jupyterhub_config.py sets, as JupyterHub reads it."""
    known = {"COURSE": str(ROOT), "CLASS_FOLDER": "class", "CLASS_PASSWORD": "a-sentence"}
    for name in ("CLASS_IDLE", "CLASS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**known, **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", [*sys.path])  # which it makes longer
    config = Config()
    code = (HUB / "jupyterhub_config.py").read_text(encoding="utf-8")
    exec(compile(code, "jupyterhub_config.py", "exec"), {"get_config": lambda: config})
    return config


def threads(variables: dict[str, str]) -> dict[str, str]:
    """Return the variables that cap threads."""
    return {name: value for name, value in variables.items() if name.endswith("_NUM_THREADS")}


def test_a_learner_finds_the_same_on_one_machine_and_on_kubernetes(monkeypatch):
    config, learner = on_one_machine(monkeypatch), VALUES["singleuser"]
    assert learner["defaultUrl"] == config.Spawner.default_url
    given = {"guarantee": config.Spawner.mem_guarantee, "limit": config.Spawner.mem_limit}
    assert learner["memory"] == given
    assert VALUES["hub"]["config"]["JupyterHub"] == {
        "authenticator_class": config.JupyterHub.authenticator_class
    }
    assert VALUES["hub"]["config"]["Authenticator"] == config.Authenticator
    caps = threads(config.Spawner.environment)
    assert threads(learner["extraEnv"]) == caps == dict.fromkeys(caps, "1")
    assert threads(environment_of_the_image()) == caps


def test_an_idle_server_is_taken_back_after_the_same_time(monkeypatch):
    (culler,) = on_one_machine(monkeypatch).JupyterHub.services
    wanted = {f"--timeout={VALUES['cull']['timeout']}", f"--cull-every={VALUES['cull']['every']}"}
    assert VALUES["cull"]["enabled"]
    assert wanted <= set(culler["command"])


def test_a_shorter_patience_leaves_the_hub_time_to_notice_who_works(monkeypatch):
    config = on_one_machine(monkeypatch, CLASS_IDLE="90")
    (culler,) = config.JupyterHub.services
    assert "--timeout=90" in culler["command"]
    resolution = 30  # seconds: JupyterHub notes no activity that is newer by less
    assert config.JupyterHub.last_activity_interval + resolution < 90


def test_placeholders_make_room_for_learners():
    assert VALUES["scheduling"]["podPriority"]["enabled"]


# The image.


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, each with what follows it."""
    text = (HUB / "Dockerfile").read_text(encoding="utf-8")
    joined = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def said(word: str) -> list[str]:
    """Return what follows each instruction of that name."""
    return [rest for name, rest in instructions() if name == word]


def environment_of_the_image() -> dict[str, str]:
    """Return the variables that the Dockerfile sets."""
    return dict(pair.split("=", 1) for rest in said("ENV") for pair in rest.split())


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Lay a folder out as the Dockerfile's COPY instructions do, from what git knows."""
    folder = tmp_path_factory.mktemp("image")
    for name, rest in instructions():
        if name == "WORKDIR":
            place = folder / rest.lstrip("/")
        elif name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                known = ["git", "ls-files", "--error-unmatch", source]
                subprocess.run(known, cwd=ROOT, check=True, capture_output=True)
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place / target)
                else:
                    (place / target).mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, place / target)
    return folder


def test_the_dockerfile_has_only_instructions_that_docker_knows():
    names = [name for name, _ in instructions()]
    assert names[0] == "FROM"
    assert set(names) <= INSTRUCTIONS


def test_the_base_is_a_named_version_of_the_python_that_binder_has():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (python,) = (d for d in dependencies if str(d).startswith("python="))
    (base,) = said("FROM")
    assert base == f"{python.replace('=', ':')}-slim-trixie"


@needs_sh
def test_what_runs_while_the_image_is_built_is_a_script(image):
    for command in said("RUN"):
        subprocess.run(["sh", "-n", "-c", command], check=True)


@needs_sh
def test_the_image_installs_the_pinned_versions_and_torch_for_the_cpu(image):
    course = image / "srv" / "ntk-course"
    arguments = dict(rest.split("=") for rest in said("ARG") if "=" in rest)
    installed = []
    for command in said("RUN"):
        if command.startswith("pip install "):
            words = command.removeprefix("pip install ")
            listed = ["sh", "-c", f"printf '%s\\n' {words}"]
            done = subprocess.run(
                listed, cwd=course, env={**os.environ, **arguments}, capture_output=True, text=True
            )
            words = done.stdout.splitlines()
            assert words[words.index("-c") + 1] == "constraints.txt"
            installed += [w for w in words if w[0] != "-" and w != "constraints.txt"]
    (pin,) = re.findall(r"^torch==.+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert installed[:2] == [f"{pin}+cpu", ".[cluster,lab]"]
    lines = (HUB / "requirements.txt").read_text(encoding="utf-8").splitlines()
    ranges = {r.name: r for r in map(Requirement, (li for li in lines if li[0] != "#"))}
    for word in installed[2:]:
        (exact,) = Requirement(word).specifier
        assert exact.operator == "=="
        assert exact.version in ranges[Requirement(word).name].specifier
    assert {Requirement(word).name for word in installed[2:]} == {"jupyterhub", "nbgitpuller"}


def test_the_image_has_what_the_installation_of_the_course_reads(image):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    course = image / "srv" / "ntk-course"
    needed = ["pyproject.toml", f"{project['name'].replace('-', '_')}/__init__.py"]
    for name in needed + project["license-files"]:
        assert (course / name).is_file()


def test_every_path_that_the_image_names_is_in_it(image):
    names = re.findall(r"/srv/[\w/.-]+", " ".join(said("ENV") + said("ENTRYPOINT")))
    assert len(names) == 2
    assert [name for name in names if not (image / name[1:]).exists()] == []


def test_a_server_runs_as_the_user_that_the_chart_expects():
    assert said("USER") == ["1000"]
    assert "useradd --create-home --uid 1000 jovyan" in said("RUN")  # the chart's mount is its home


@needs_sh
@pytest.mark.parametrize("full", [False, True], ids=["", "where nothing can be written"])
def test_the_image_brings_the_lessons_up_to_date_and_then_starts_what_the_hub_asks_for(
    image, tmp_path, full
):
    if full:
        (tmp_path / "work").write_text("no folder", encoding="utf-8")
    tini, dashes, *entry = json.loads(*said("ENTRYPOINT"))
    assert (tini, dashes) == ("tini", "--")
    entry = [str(image / word[1:]) if word.startswith("/") else word for word in entry]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    asked = ["sh", "-c", 'echo "$PWD and $JUPYTERLAB_WORKSPACES_DIR and $*"', "sh", "two words"]
    done = subprocess.run(
        [*entry, *asked],
        env={"HOME": str(tmp_path), "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    workspaces = tmp_path / "work" / WORKSPACE.parent
    assert done.stdout.splitlines()[-1] == f"{tmp_path} and {workspaces} and two words"
    lesson = VALUES["singleuser"]["defaultUrl"].removeprefix("/lab/tree/")
    assert (tmp_path / lesson).exists() is not full
    assert VALUES["singleuser"]["defaultUrl"] in json.loads(*said("CMD"))[-1]


# The numbers of README.md.


def test_the_learners_on_a_node_follow_from_memory_and_cores():
    node = int(re.search(r"about (\d+) GiB", README)[1]) * 2**30
    rows = re.findall(r"^\| [^|]*?\(([\d.]+) (GB|GiB)\b[^|]*\| (\d+) \|$", README, re.MULTILINE)
    assert len(rows) == 3
    for amount, unit, learners in rows:
        assert int(learners) == int(node / (float(amount) * {"GB": 1e9, "GiB": 2**30}[unit]))
    guarantee = VALUES["singleuser"]["memory"]["guarantee"]
    (_, _), (amount, unit), (_, _) = [row[:2] for row in rows]
    assert (f"{amount}G", unit) == (guarantee, "GiB")  # JupyterHub's G is a GiB
    learners = int(rows[1][2])
    assert learners * VALUES["singleuser"]["cpu"]["guarantee"] < 4  # a node of four cores


def test_the_nodes_for_three_hundred_follow_from_the_guarantee():
    by_guarantee = int(re.search(r"guarantee[^|]*\| (\d+) \|", README)[1])
    seats = VALUES["scheduling"]["userPlaceholder"]["replicas"]
    words = {10: "ten", 11: "eleven", 12: "twelve", 13: "thirteen"}
    assert f"{words[seats]} seats" in README
    assert f"{words[math.ceil((300 + seats) / by_guarantee)]} such nodes" in README


def test_the_table_of_nodes_takes_the_most_that_a_learner_took_in_the_trial():
    (row,) = re.findall(r"^\| at most, [^|]*\|(.*)\|$", README, re.MULTILINE)
    measured = re.findall(r"[\d.]+(?= GB)", row)
    assert len(measured) == 2
    assert f"({max(measured, key=float)} GB)" in README
