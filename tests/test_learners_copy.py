"""The learner's copy: without outputs, up to date, and without loss of what a learner wrote."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import learners_copy
from tools.learners_copy import refresh
from tools.run_notebooks import ROOT, notebooks
from tools.stamp import current

HEAD = "# 00 · A lesson\n\nRun it in the browser: [Binder](b) ·\n[Colab](c)\n\n- **Time** none"


def lesson(exercise="return ...", version=1):
    """Return a notebook as it is committed, executed."""
    shown = [new_output("stream", text="a result\n")]
    cells = [
        new_markdown_cell(HEAD),
        new_code_cell("question", outputs=shown, metadata={"tags": ["keep-output"]}),
        new_code_cell(f"print({version})", outputs=shown, execution_count=2),
        new_code_cell(exercise, outputs=shown, execution_count=3),
    ]
    return new_notebook(cells=cells)


@pytest.fixture
def folder(tmp_path):
    """Return a course with two lessons, one of them in a folder."""
    (tmp_path / "notebooks" / "deeper").mkdir(parents=True)
    publish(tmp_path, lesson())
    nbformat.write(lesson(), tmp_path / "notebooks" / "deeper" / "more.ipynb")
    return tmp_path


def publish(folder, notebook):
    """Write a version of lesson 00 into the course."""
    nbformat.write(notebook, folder / "notebooks" / "00_lesson.ipynb")


def again(folder):
    """Bring the learner's copy up to date and return what is told."""
    return refresh(folder / "work", folder / "notebooks")


def sources(folder, name="00_lesson.ipynb"):
    """Return the code of the learner's copy of a lesson."""
    cells = nbformat.read(folder / "work" / name, as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


def edit(folder, change):
    """Let the learner change their copy of lesson 00, and save it."""
    path = folder / "work" / "00_lesson.ipynb"
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


def solve(notebook):
    """Write an answer into the exercise."""
    notebook.cells[3].source = "return 42"


def execute(notebook):
    """Do what running all cells does: new outputs, new numbers, and an empty cell at the end."""
    for cell in notebook.cells[1:]:
        cell.update(outputs=[new_output("stream", text="mine\n")], execution_count=7)
    notebook.cells.append(new_code_cell(" "))


def test_the_copy_has_every_notebook_without_outputs_but_those_that_are_to_stay(folder):
    assert again(folder) == [f"Your copy of the lessons is in {folder / 'work'}."]
    for name in ("00_lesson.ipynb", "deeper/more.ipynb"):
        notebook = nbformat.read(folder / "work" / name, as_version=4)
        nbformat.validate(notebook)
        assert [len(cell.outputs) for cell in notebook.cells[1:]] == [1, 0, 0]
        assert {cell.execution_count for cell in notebook.cells[1:]} == {None}
    assert again(folder) == []


def test_links_to_where_the_lesson_runs_already_are_left_out(folder):
    again(folder)
    (head, *_) = nbformat.read(folder / "work" / "00_lesson.ipynb", as_version=4).cells
    assert head.source == "# 00 · A lesson\n\n- **Time** none"


def test_of_the_real_lessons_the_copy_shows_no_answer(tmp_path):
    refresh(tmp_path / "work")
    names = {p.relative_to(ROOT / "notebooks") for p in notebooks() if "slides" not in p.parts}
    assert {p.relative_to(tmp_path / "work") for p in (tmp_path / "work").rglob("*.ipynb")} == names
    for path in (tmp_path / "work").glob("[0-9]*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert "mybinder.org" not in cells[0].source
        kept = [cell for cell in cells if cell.get("outputs")]
        assert all("keep-output" in cell.metadata.tags for cell in kept)
        assert not [cell for cell in kept if "ntk.claim(" in cell.source]
    size = sum(path.stat().st_size for path in (tmp_path / "work").rglob("*"))
    assert size < 3e6


def test_a_newer_version_takes_the_place_of_a_lesson_that_was_only_executed(folder):
    again(folder)
    edit(folder, execute)
    assert again(folder) == []
    assert (
        nbformat.read(folder / "work" / "00_lesson.ipynb", 4).cells[2].outputs[0].text == "mine\n"
    )
    publish(folder, lesson(version=2))
    assert again(folder) == ["00_lesson.ipynb is now the course's newest version."]
    assert sources(folder)[1] == "print(2)"
    assert again(folder) == []


def test_beside_a_changed_lesson_the_newer_version_is_laid_once(folder):
    again(folder)
    edit(folder, solve)
    publish(folder, lesson(version=2))
    (told,) = again(folder)
    assert told == (
        "You have changed 00_lesson.ipynb: its newer version lies beside it, "
        "as 00_lesson-newer.ipynb."
    )
    assert sources(folder) == ["question", "print(1)", "return 42"]
    assert sources(folder, "00_lesson-newer.ipynb") == ["question", "print(2)", "return ..."]
    assert again(folder) == []


def test_a_still_newer_version_gets_another_name(folder):
    again(folder)
    edit(folder, solve)
    for version in (2, 3):
        publish(folder, lesson(version=version))
        again(folder)
    assert sources(folder)[2] == "return 42"
    assert sources(folder, "00_lesson-newer.ipynb")[1] == "print(2)"
    assert sources(folder, "00_lesson-newer-2.ipynb")[1] == "print(3)"


def test_a_lesson_that_was_deleted_comes_back(folder):
    again(folder)
    (folder / "work" / "00_lesson.ipynb").unlink()
    assert again(folder) == []
    assert sources(folder)[2] == "return ..."


@pytest.mark.parametrize("record", [None, "", "{"])
def test_without_a_record_what_differs_counts_as_changed(folder, record):
    again(folder)
    edit(folder, solve)
    path = folder / "work" / learners_copy.RECORD
    path.unlink() if record is None else path.write_text(record, encoding="utf-8")
    assert "lies beside it" in again(folder)[0]
    assert sources(folder)[2] == "return 42"


@pytest.mark.parametrize("content", ["", "{ half a notebook", "[]", '{"cells": 3}'])
def test_a_file_that_is_no_notebook_is_left_alone(folder, content):
    again(folder)
    mine = folder / "work" / "00_lesson.ipynb"
    mine.write_text(content, encoding="utf-8")
    publish(folder, lesson(version=2))
    assert "lies beside it" in again(folder)[0]
    assert mine.read_text(encoding="utf-8") == content


def test_an_interrupted_copy_goes_on_where_it_stopped(folder, monkeypatch):
    writes = iter([True, False])

    def interrupted(part, path):
        if not next(writes):
            raise KeyboardInterrupt
        os.rename(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            again(folder)
    edit(folder, solve)
    assert again(folder)[0].startswith("You have changed 00_lesson.ipynb")
    assert sources(folder)[2] == "return 42"
    assert sources(folder, "deeper/more.ipynb")[2] == "return ..."
    assert [*(folder / "work").rglob("*.part")] == []


def test_on_a_full_disk_what_was_written_stays_and_it_is_told(folder, monkeypatch, capsys):
    again(folder)
    edit(folder, execute)
    before = (folder / "work" / "00_lesson.ipynb").read_bytes()
    publish(folder, lesson(version=2))

    def full(path, text, **_options):
        path.open("w").close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        patch.setattr(learners_copy, "LESSONS", folder / "notebooks")
        patch.setattr(refresh, "__defaults__", (folder / "work", folder / "notebooks"))
        assert not learners_copy.told(folder / "work")
    assert (folder / "work" / "00_lesson.ipynb").read_bytes() == before
    assert [*(folder / "work").rglob("*.part")] == []
    said = capsys.readouterr().out
    assert f"could not all be copied into {folder / 'work'}: No space left on device." in said
    assert "What you wrote there is untouched. Make room" in said
    assert again(folder) == ["00_lesson.ipynb is now the course's newest version."]


def test_in_a_folder_that_cannot_be_written_nothing_is_lost_and_it_is_told(folder, capsys):
    again(folder)
    edit(folder, solve)
    mine = (folder / "work" / "00_lesson.ipynb").read_bytes()
    (folder / "elsewhere").write_text("a file where the folder should be", encoding="utf-8")
    assert not learners_copy.told(folder / "elsewhere")
    assert "could not all be copied" in capsys.readouterr().out
    if hasattr(os, "geteuid") and os.geteuid() != 0:  # root writes everywhere
        publish(folder, lesson(version=2))
        (folder / "work").chmod(0o500)
        with pytest.raises(PermissionError):
            again(folder)
        (folder / "work").chmod(0o700)
    assert (folder / "work" / "00_lesson.ipynb").read_bytes() == mine


def test_the_copy_opens_with_the_contents_and_keeps_what_the_learner_made_of_it(folder):
    again(folder)
    workspace = folder / "work" / learners_copy.WORKSPACE
    left = json.loads(workspace.read_text(encoding="utf-8"))["data"]["layout-restorer:data"]["left"]
    assert left["current"] == "@jupyterlab/toc:plugin"
    assert not left["collapsed"]
    workspace.write_text("{}", encoding="utf-8")
    again(folder)
    assert workspace.read_text(encoding="utf-8") == "{}"


def test_the_copy_is_no_business_of_git():
    ignored = ["git", "check-ignore", "-q", "work/00_start_here.ipynb"]
    assert subprocess.run(ignored, cwd=ROOT).returncode == 0


# Where the copy is opened.


def test_every_door_opens_the_copy():
    start = (ROOT / "start").read_text(encoding="utf-8")
    assert 'python "$course/tools/learners_copy.py"' in start
    hub = (ROOT / "hub" / "jupyterhub_config.py").read_text(encoding="utf-8")
    assert 'default_url = "/lab/tree/work/00_start_here.ipynb"' in hub
    assert "told(work)" in hub
    assert "python tools/lab.py" in (ROOT / "environment.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", *sorted((ROOT / "notebooks").rglob("*.ipynb"))],
    ids=lambda p: p.stem,
)
def test_links_to_launchers_lead_to_copies_without_outputs(path):
    text, place = path.read_text(encoding="utf-8"), current()
    binder = rf"mybinder\.org/v2/gh/{place.slug}/{place.tag}\?urlpath=lab/tree/work/[\w/]+\.ipynb"
    colab = rf"google\.com/github/{place.slug}/blob/learners-{place.tag}/notebooks/[\w/]+\.ipynb"
    for form, start in [(binder, "mybinder.org/v2"), (colab, "google.com/github/")]:
        assert len(re.findall(form, text)) == text.count(start)


@pytest.mark.skipif(os.name == "nt", reason="the workflow runs on Linux")
def test_the_workflow_makes_a_branch_of_lessons_without_outputs_that_can_be_pulled_again(tmp_path):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "learners.yml").read_text())
    *_, step = workflow["jobs"]["copy"]["steps"]

    def git(*words, folder=tmp_path / "checkout"):
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout

    git("init", "--quiet", "--bare", "hosted.git", folder=tmp_path)
    git("clone", "--quiet", "hosted.git", "checkout", folder=tmp_path)
    (tmp_path / "checkout" / "tools").mkdir()
    (tmp_path / "checkout" / "notebooks" / "deeper").mkdir(parents=True)
    tool = tmp_path / "checkout" / "tools" / "learners_copy.py"
    tool.write_bytes((ROOT / "tools" / "learners_copy.py").read_bytes())
    nbformat.write(lesson(), tmp_path / "checkout" / "notebooks" / "deeper" / "more.ipynb")
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # for `python`
    variables = {**os.environ, "PATH": path, "GITHUB_REF_NAME": "v1.0", "GITHUB_SHA": "abc"}
    for version in (1, 2):
        publish(tmp_path / "checkout", lesson(version=version))
        command = ["bash", "-e", "-c", step["run"]]
        subprocess.run(command, cwd=tmp_path / "checkout", env=variables, check=True)
    git("fetch", "--quiet", "origin", "learners-v1.0")
    files = git("ls-tree", "-r", "--name-only", "FETCH_HEAD").split()
    assert files == ["notebooks/00_lesson.ipynb", "notebooks/deeper/more.ipynb"]
    shown = nbformat.reads(git("show", f"FETCH_HEAD:{files[0]}"), as_version=4)
    assert [len(cell.outputs) for cell in shown.cells[1:]] == [1, 0, 0]
    assert shown.cells[2].source == "print(2)"
    assert len(git("log", "--format=%s", "FETCH_HEAD").splitlines()) == 2
