"""The bundle for a room without network holds the course and its packages, and nothing else."""

import subprocess
import zipfile
from pathlib import Path

import pytest

import course
from tools import bundle

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Let a small checkout be the course, and pip download one package."""
    real = subprocess.run
    for command in ("init --quiet", "config user.name a", "config user.email a@b.c"):
        real(["git", *command.split()], cwd=tmp_path, check=True)
    for name in ("course.py", "notebooks/00.ipynb", ".venv/a", "build/slides/a.html", "build/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    real(["git", "add", "course.py", "notebooks"], cwd=tmp_path, check=True)
    real(["git", "commit", "--quiet", "-m", "a"], cwd=tmp_path, check=True)

    def run(command, **options):
        if "download" not in command:
            return real(command, **options)
        assert command[-len(packages) :] == packages
        (Path(command[command.index("-d") + 1]) / "torch-1-py3-none-any.whl").touch()
        return subprocess.CompletedProcess(command, 0)

    packages = course.requirements(*course.EXTRAS)  # as course.py installs them
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(bundle, "ROOT", tmp_path)
    return tmp_path


def test_a_bundle_holds_the_commit_the_packages_and_what_was_built(checkout):
    bundle.main()
    (target,) = (checkout / "build").glob("ntk-course-*.zip")
    with zipfile.ZipFile(target) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        assert archive.read("ntk-course/course.py") == b"course.py"
    assert names == {
        "ntk-course/course.py",
        "ntk-course/notebooks/00.ipynb",
        "ntk-course/build/slides/a.html",
        "ntk-course/READ-ME-FIRST.txt",
        f"ntk-course/{course.WHEELS.name}/torch-1-py3-none-any.whl",  # where course.py looks
    }


def test_a_failed_download_makes_no_bundle(checkout, monkeypatch):
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit, match="failed, and there is no bundle"):
        bundle.main()
    assert list((checkout / "build").glob("*.zip")) == []
