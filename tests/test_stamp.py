"""One command writes the place where the course is hosted into every link that leads to it."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tools import stamp

ROOT = Path(__file__).resolve().parent.parent

BEFORE = """
[![b](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/a_b/old/main?urlpath=lab)
https://colab.research.google.com/github/a_b/old/blob/learners-main/notebooks/00_start_here.ipynb
https://colab.research.google.com/github/google/neural-tangents/blob/main/notebooks/cookbook.ipynb
"git+https://github.com/a_b/old@main"
https://github.com/a_b/old/archive/main.zip
https://github.com/a_b/old/actions/workflows/ci.yml/badge.svg
https://hub.example/hub/user-redirect/git-pull?repo=https://github.com/a_b/old&branch=learners-main
git clone https://github.com/a_b/old
https://github.com/a_b/older and https://github.com/google/neural-tangents
"""
OLD, NEW = stamp.Place("a_b/old", "main"), stamp.Place("jane-doe/my.course", "v1.0")


def test_a_stamp_reaches_every_link_of_the_course_and_no_other():
    after = stamp.stamp(BEFORE, OLD, NEW)
    assert after == BEFORE.replace("a_b/old", "jane-doe/my.course").replace(
        "jane-doe/my.courseer", "a_b/older"
    ).replace("course/main?", "course/v1.0?").replace(
        "course/blob/learners-main", "course/blob/learners-v1.0"
    ).replace("@main", "@v1.0").replace("main.zip", "v1.0.zip").replace(
        "branch=learners-main", "branch=learners-v1.0"
    )
    assert stamp.stamp(after, NEW, OLD) == BEFORE


def test_a_stamp_leaves_the_packages_of_others_alone():
    other = "pip install git+https://github.com/google/neural-tangents@main"
    assert stamp.stamp(other, OLD, NEW) == other


def test_links_to_another_place_are_found():
    assert stamp.strangers(BEFORE, OLD) == []
    assert len(stamp.strangers(BEFORE, NEW)) == 6
    assert len(stamp.strangers(BEFORE, stamp.Place("a_b/old", "v2"))) == 5


def test_a_stamped_course_agrees_with_itself(tmp_path, monkeypatch):
    for name in (
        "course.py",
        "pyproject.toml",
        *(p.relative_to(ROOT) for p in stamp.stamped_files()),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    command = [sys.executable, str(tmp_path / "course.py"), "stamp", *NEW]
    assert (
        "pyproject.toml"
        in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    monkeypatch.setattr(stamp, "ROOT", tmp_path)
    assert stamp.current() == NEW
    for path in stamp.stamped_files():
        text = path.read_text(encoding="utf-8")
        assert stamp.strangers(text, NEW) == []
        assert stamp.stamp(text, OLD, NEW) == text
    settings = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_readme_shows_badges_only_when_there_is_a_place_they_lead_to():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    stamped = stamp.launch(text, NEW)
    assert "mybinder" not in text
    assert stamp.NOT_HOSTED in text
    assert stamped.count("badge") == text.count("badge") + 2
    assert "https://jane-doe.github.io/my.course/" in stamped
    assert stamp.strangers(stamped.partition(stamp.LAUNCH[1])[0], NEW) == []
    assert stamp.launch(stamped, stamp.current()) == text


@pytest.mark.parametrize("arguments", [[], ["no-slash"], ["under_score/x"], ["a/b", "c", "d"]])
def test_a_place_that_cannot_be_is_refused(arguments):
    with pytest.raises(SystemExit, match=r"Usage: python course\.py stamp OWNER/NAME"):
        stamp.main(arguments)
