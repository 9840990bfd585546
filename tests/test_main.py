"""The environment report says "Ready." where all is well, and otherwise what to fix."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import psutil
import pytest
import torch

from ntk_helpers import __main__ as report
from ntk_helpers.classroom import exercises
from ntk_helpers.classroom.setup import FLOORS

ROOT = Path(__file__).resolve().parent.parent


def test_a_healthy_environment_is_ready():
    done = subprocess.run(
        [sys.executable, "-m", "ntk_helpers"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "Ready."
    for name in FLOORS:
        assert re.search(rf"^{name} +\d", done.stdout, flags=re.MULTILINE)


def test_floors_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = dict(requirement.split(" >=") for requirement in project["dependencies"])
    assert asked == FLOORS


def test_a_missing_package_is_to_be_installed(monkeypatch, capsys):
    monkeypatch.setitem(report.FLOORS, "no-such-package", "1.0")
    assert report.main() == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == 'To fix: pip install "no-such-package>=1.0"'


def test_a_lesson_says_in_one_line_that_all_is_well_and_tells_everything_otherwise(
    monkeypatch, capsys
):
    assert report.main(brief=True) == 0
    assert re.fullmatch(
        r"This machine is ready: Python 3\.\S+, torch \S+\.\n", capsys.readouterr().out
    )
    monkeypatch.setitem(report.FLOORS, "torch", "99.1")
    assert report.main(brief=True) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 8
    assert lines[-1].startswith("To fix: ")


def test_the_exercises_solved_in_a_learner_s_copy_are_counted_for_each_lesson_begun(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert report.main() == 0
    assert "exercises" not in capsys.readouterr().out
    solved = ["check_mse_rate", "check_half_time", "check_steps_until", "check_as_square"]
    solved += ["check_of_another_edition"]
    (tmp_path / "work").mkdir()
    kept = tmp_path / "work" / ".progress.json"
    kept.write_text(json.dumps({"exercises": dict.fromkeys(solved, True)}), encoding="utf-8")
    assert report.main() == 0
    number = sum(name.startswith("check_") for name in exercises.__all__)
    *_, line, empty, last = capsys.readouterr().out.splitlines()
    begun = "lesson 00: 2 of 3, lesson 01: 1 of 3, the deeper notebooks: 1 of 4"
    assert line == f"exercises     4 of {number} solved ({begun})"
    assert (empty, last) == ("", "Ready.")
    assert report.main(brief=True) == 0
    assert "exercises" not in capsys.readouterr().out


@pytest.mark.parametrize("content", ['{"votes": {"?": "a"}}', "{", '{"exercises": 3}'])
def test_a_copy_in_which_nothing_is_solved_yet_is_not_mentioned(
    content, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / ".progress.json").write_text(content, encoding="utf-8")
    assert report.main() == 0
    assert "exercises" not in capsys.readouterr().out


def test_the_report_loads_no_exercises_before_it_needs_them():
    code = "import sys, ntk_helpers.__main__; print([m for m in sys.modules if '.exercises' in m])"
    words = [sys.executable, "-c", code]
    assert subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


def test_an_old_package_is_to_be_upgraded(monkeypatch, capsys):
    monkeypatch.setitem(report.FLOORS, "torch", "99.1")
    assert report.main() == 1
    assert capsys.readouterr().out.endswith('To fix: pip install --upgrade "torch>=99.1"\n')


def test_short_memory_is_reported(monkeypatch):
    memory = type("Memory", (), {"available": 0.3e9})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    line, remedy = report.check_memory()
    assert "0.3 GB" in line
    assert remedy.startswith("close")


@pytest.mark.parametrize("wrong", [torch.tensor([[1.0, 2.0], [0.0, 1.0]]), -torch.eye(2)])
def test_a_wrong_kernel_is_found_out(monkeypatch, wrong):
    monkeypatch.setattr(report, "empirical_ntk", lambda *_, **__: wrong)
    _, remedy = report.check_kernel()
    assert "torch" in remedy


def test_a_failing_device_is_found_out(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(report, "empirical_ntk", broken)
    line, remedy = report.check_kernel()
    assert "no kernel image" in line
    assert "torch" in remedy


def test_a_python_without_torch_is_told_which_python_it_is():
    bare = [sys.executable, "-S", "-c", "import ntk_helpers"]
    done = subprocess.run(bare, cwd=ROOT, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: {sys.executable}, the Python that runs here, has")
    assert "no torch, numpy, matplotlib, tqdm." in last
    assert "`python course.py lab`" in last


def test_versions_compare_as_numbers():
    assert report.numbers("2.9") < report.numbers("2.11.0+cpu")
    assert report.numbers("3.10") <= report.numbers("3.10.0")
