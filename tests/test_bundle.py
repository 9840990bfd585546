"""The bundle for a room without network holds the course and its packages, and nothing else."""

import subprocess
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import course
from tools import bundle

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Return a bundle of this course, with one package for those that pip would download."""

    def download(command, **_):
        folder = Path(command[command.index("-d") + 1])
        (folder / "torch-1-py3-none-any.whl").write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", download)
    bundle.download(tmp_path)
    target = tmp_path / "bundle.zip"
    bundle.pack(target, sorted(tmp_path.glob("*.whl")), "Unpack me.")
    return zipfile.ZipFile(target)


def test_a_bundle_holds_the_course_and_its_packages(archive):
    names = {name.removeprefix("ntk-course/") for name in archive.namelist()}
    wanted = {"course.py", "constraints.txt", "notebooks/00_start_here.ipynb", "READ-ME-FIRST.txt"}
    assert wanted <= names
    assert f"{course.WHEELS.name}/torch-1-py3-none-any.whl" in names  # where course.py looks
    assert (
        archive.read("ntk-course/ntk_helpers/pinn.py")
        == (ROOT / "ntk_helpers/pinn.py").read_bytes()
    )


def test_a_bundle_holds_nothing_that_belongs_to_this_disk(archive):
    parts = {part for name in archive.namelist() for part in Path(name).parts}
    assert not parts & {".git", ".venv", "__pycache__"}
    assert all(name.startswith("ntk-course/") for name in archive.namelist())


def test_environments_and_caches_beside_the_course_are_left_out(tmp_path, monkeypatch):
    # nox put five gigabytes into .nox, and all of them were packed.
    for name in [
        ".nox/lib",
        ".venv",
        "env/lib",
        "conda/conda-meta",
        "build",
        "notebooks",
        ".github",
    ]:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / ".gitignore").touch()
    monkeypatch.setattr(bundle, "ROOT", tmp_path)
    found = {path.relative_to(tmp_path).as_posix() for path in bundle.course_files()}
    assert found == {"notebooks/file", ".github/file", ".gitignore"}


def test_what_is_downloaded_is_what_course_py_installs():
    names = {Requirement(line).name for line in bundle.requirements()}
    assert {"flit_core", "torch", "jupyterlab", "nbval"} <= names


def test_a_failed_download_makes_no_bundle(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit, match="pip could not download the packages"):
        bundle.download(tmp_path)
