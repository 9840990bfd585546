"""Claims are measured in many draws: what fails is counted, named and written down."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import redraw, run_notebooks
from tools.redraw import MARKS, STOPPED, code_hash, relative, with_claims

SETUP = "import os, torch, ntk_helpers as ntk\nntk.setup()\ndraw = int(os.environ['NTK_DRAW'])"
LESSON = [
    SETUP,
    "x = torch.randn(1000, generator=ntk.generator(0), device='cpu')\n"
    "ntk.claim('mean', x.mean(), near=(0, 0.2))\n"
    "ntk.claim('mean of squares', x.square().mean(), near=(2, 0.2))",  # a wrong formula: it is 1
    "ntk.claim('luck', draw / 100, below=0.03, unit='%')\nntk.claim('two', 2.0, above=1)",
    "assert draw != 2",
    "if draw == 3:\n    raise ValueError('no\\nmore')\nntk.claim('behind it', draw, above=0)",
    "print(x[0], 'and execution goes on')\nntk.claim('the end', draw, above=0)",
]


def write(path, *sources, text="# A title"):
    """Write a notebook with the given code cells."""
    cells = [new_markdown_cell(text), *map(new_code_cell, sources)]
    nbformat.write(new_notebook(cells=cells), path)


def make_course(patch, folder):
    """Make an empty course and let the tools work in it; return its folder for notebooks."""
    for name in ("notebooks", "ntk_helpers", "tests"):
        (folder / name).mkdir(parents=True)
    readme = f"above\n{MARKS[0]}\nold\n{MARKS[1]}\nbelow\n"
    (folder / "README.md").write_text(readme, encoding="utf-8")
    patch.setattr(run_notebooks, "ROOT", folder)
    patch.setenv("TQDM_DISABLE", "1")
    return folder / "notebooks"


def run(*arguments):
    """Run the tool's command line and return what it exits with: 0, 1, or a sentence."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["redraw", *arguments])
        try:
            redraw.main()
        except SystemExit as end:
            return end.code
        return 0


@pytest.fixture
def lessons(tmp_path, monkeypatch):
    """Return the folder for notebooks of an empty course."""
    return make_course(monkeypatch, tmp_path / "a course")


@pytest.fixture
def course(lessons, monkeypatch):
    """Return a course of one notebook whose runs are played: its lines by draw, and what ran."""
    write(lessons / "01_a.ipynb", "ntk.claim('a', 1, below=2)")

    class Played:
        notebook, ran, root = lessons / "01_a.ipynb", [], lessons.parent

        def lines(self, draw):
            return [line("luck", draw), line("two", 2.0)]

    played = Played()

    async def measure(path, draw):
        played.ran.append((path.name, draw))
        return played.lines(draw)

    monkeypatch.setattr(redraw, "measure", measure)
    return played


def line(claim, value, *, held=True):
    """Return what a run tells of a claim."""
    told = {"cell": 2, "claim": claim, "bound": "below 200", "held": held}
    return told | {"shown": str(value), "ends": [value, value]}


def drawn(claim, *failing):
    """Return lines by draw: one claim that fails in the draws that are named."""
    return lambda draw: [line(claim, draw, held=draw not in failing)]


# What kernels do.


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Return what three draws of LESSON give: the exit code, rows by claim, and failures."""
    with pytest.MonkeyPatch.context() as patch, pytest.MonkeyPatch.context() as out:
        write(make_course(patch, tmp_path_factory.mktemp("course") / "c") / "01_a.ipynb", *LESSON)
        printed = []
        out.setattr("builtins.print", lambda text, **_: printed.append(text))
        code = run("3")
    table = printed[0].splitlines()
    return code, {re.search(r"\] ([^(,]*[^(, ])", row)[1]: row for row in table[3:]}, printed[1:]


@pytest.mark.slow
def test_a_claim_that_fails_in_some_draws_is_counted_and_named(measured):
    code, rows, failures = measured
    assert code == 1
    assert rows["luck"].split(maxsplit=2)[:2] == ["..x", "2"]
    assert "1 … 3" in rows["luck"]
    assert "[ 3] luck (below 3 %)" in rows["luck"]
    assert "notebooks/01_a.ipynb, cell 3, draw 3: luck: 3 % (below 3 %)" in failures


@pytest.mark.slow
def test_a_wrong_formula_fails_in_every_draw(measured):
    _, rows, failures = measured
    assert rows["mean of squares"].startswith("xxx  0 ")
    assert len([told for told in failures if "mean of squares" in told]) == 3


@pytest.mark.slow
def test_draws_differ_and_a_value_that_does_not_is_told(measured):
    _, rows, _ = measured
    assert [claim for claim, row in rows.items() if row.endswith(", no draw")] == ["two"]
    assert rows["mean"].startswith("...  3 ")
    assert re.search(r"\d … ", rows["mean"])


@pytest.mark.slow
def test_a_plain_assert_that_fails_is_a_claim_that_fails(measured):
    _, rows, failures = measured
    assert rows["assert in cell 4"].startswith(".x.  2 ")
    assert "notebooks/01_a.ipynb, cell 4, draw 2: assert in cell 4: assert draw != 2" in failures


@pytest.mark.slow
def test_an_error_is_named_and_what_it_kept_from_running_is_not_measured(measured):
    _, rows, failures = measured
    assert rows["error in cell 5"].startswith("..x  2 ")
    assert rows["behind it"].startswith("..?  2 ")
    assert rows["the end"].startswith("...  3 ")
    start = "notebooks/01_a.ipynb, cell 5, draw 3: "
    assert f"{start}error in cell 5: ValueError: no" in failures
    assert f"{start}behind it: not measured (above 0)" in failures


@pytest.mark.slow
def test_a_name_used_twice_is_an_error_of_the_notebook(lessons):
    claim = "ntk.claim('gap', 1.0, below=2)"
    write(lessons / "01_a.ipynb", SETUP, claim, claim)
    message = run("1")
    assert "notebooks/01_a.ipynb, cell 2: 'gap' is claimed twice" in message
    assert not (lessons.parent / "build").exists()


@pytest.mark.slow
def test_a_notebook_that_stops_is_a_failed_claim_and_is_tried_again(lessons, monkeypatch, capsys):
    monkeypatch.setattr(run_notebooks, "CELL_TIMEOUT", 5)
    draw = "import os\ndraw = os.environ['NTK_DRAW']"
    write(lessons / "01_a.ipynb", draw, "if draw == '2': os._exit(3)\nwhile draw == '3': pass")
    assert run("3", "01") == 1
    printed = capsys.readouterr().out
    assert f".xx  1                     [ 2] {STOPPED}" in printed
    assert f"cell 2, draw 2: {STOPPED}: Kernel died" in printed
    assert f"cell 2, draw 3: {STOPPED}: A cell timed out" in printed
    assert [file.stem[-2:] for file in (lessons.parent / "build/redraw").iterdir()] == ["-1"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_the_kernels(lessons):
    sleep = "import os, pathlib, time\npathlib.Path(str(os.getpid())).touch()\ntime.sleep(100)"
    write(lessons / "01_a.ipynb", sleep)
    program = "import pathlib, signal\nfrom tools import redraw, run_notebooks\n"
    program += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # jobs may ignore it
    program += f"run_notebooks.ROOT = pathlib.Path({str(lessons.parent)!r})\nredraw.main()"
    command = [sys.executable, "-c", program, "2", "01"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wanted = min(2, os.cpu_count())
    while len(kernels := [p.name for p in lessons.glob("[0-9]*") if p.name.isdigit()]) < wanted:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith("Interrupted. The same command goes on from here.\n")
    assert "Traceback" not in errors
    assert not any(psutil.pid_exists(int(kernel)) for kernel in kernels)


# What is run, and what is not run again.


def test_a_second_call_runs_nothing_and_a_change_of_code_runs_all(course):
    run("2")
    run("3")
    assert course.ran == [("01_a.ipynb", draw) for draw in (1, 2, 3)]
    write(course.notebook, "ntk.claim('a', 1, below=2)", text="# Another title")
    run("3")
    assert len(course.ran) == 3
    write(course.notebook, "ntk.claim('a', 1, below=3)")
    run("3")
    assert len(course.ran) == 6
    (course.root / "ntk_helpers" / "_new.py").touch()
    run("3")
    assert len(course.ran) == 9


def test_an_interrupted_call_goes_on_where_it_stopped(course, capsys):
    def interrupt(draw):
        if draw == 3:
            raise KeyboardInterrupt
        return [line("luck", draw)]

    course.lines = interrupt
    assert run("4") == 130
    assert "goes on from here" in capsys.readouterr().err
    course.lines = drawn("luck")
    course.ran.clear()
    assert run("4") == 0
    assert {3} <= {draw for _, draw in course.ran} <= {3, 4}


def test_only_notebooks_with_claims_are_run_unless_named(course):
    write(course.root / "notebooks" / "02_b.ipynb", "1 + 1", text="`ntk.claim(...)` is a function")
    run("1")
    assert course.ran == [("01_a.ipynb", 1)]
    run("1", "02")
    assert course.ran[1:] == [("02_b.ipynb", 1)]
    assert run("1", "03").startswith("There is no notebook '03'")


@pytest.mark.parametrize(("failing", "code"), [((4,), 0), ((4, 5), 1)])
def test_a_claim_has_to_hold_in_19_of_20_draws(course, capsys, failing, code):
    course.lines = drawn("luck", *failing)
    assert run() == code
    printed = capsys.readouterr().out
    assert "Draws 1 … 20" in printed
    assert "cell 2, draw 4: luck: 4 (below 200)" in printed


def test_the_table_of_20_draws_fits_100_columns(course, capsys):
    course.lines = drawn("the largest gap " * 6 + "to the forecast", 4)
    run()
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert len(table) == 4
    assert max(map(len, table)) <= 100


def test_an_assert_behind_another_error_is_not_measured(course, capsys):
    failing = {
        1: [redraw.failure(4, "assert in cell 4", "assert x")],
        2: [redraw.failure(4, "error in cell 4", "NameError: x")],
        3: [redraw.failure(2, STOPPED, "Kernel died")],
        4: [redraw.failure(3, "error in cell 3", "NameError: y")],
    }
    course.lines = failing.get
    run("4")
    rows = capsys.readouterr().out.splitlines()
    assert next(row for row in rows if row.endswith("assert in cell 4")).startswith("x??.  1 ")


# What is published, and checked.


def test_what_is_published_names_each_claim_and_the_draws_that_failed(course):
    course.lines = lambda draw: [line("luck", draw, held=draw != 103), line("two", 2.0)]
    write(course.root / "notebooks" / "02_b.ipynb", "ntk.claim('b', 1, below=2)")
    for _ in range(2):
        assert run("--publish") == 0
    text = (course.root / "tests/claims.json").read_text(encoding="utf-8")
    claims = {
        "luck": {"failed": [103], "least": 101.0, "largest": 120.0, "no_draw": False},
        "two": {"failed": [], "least": 2.0, "largest": 2.0, "no_draw": True},
    }
    claims = {name: {"bound": "below 200"} | claim for name, claim in claims.items()}
    published = {
        relative(path): {"code": code_hash(path), "claims": claims} for path in with_claims()
    }
    assert [*published] == ["notebooks/01_a.ipynb", "notebooks/02_b.ipynb"]
    assert json.loads(text) == published
    assert text == json.dumps(published, indent=2, sort_keys=True) + "\n"
    readme = (course.root / "README.md").read_text(encoding="utf-8")
    sentence = (
        "**Other dice**: 4 claims of 2 notebooks, 2 of them on random numbers, each measured in 20 "
        "other draws: 78 of 80 hold; [claims.json](tests/claims.json) names the rest. "
        "By `python course.py redraw --publish`."
    )
    assert readme == f"above\n{MARKS[0]}\n{sentence}\n{MARKS[1]}\nbelow\n"


def test_a_readme_without_marks_is_told_before_anything_runs(course):
    (course.root / "README.md").write_text("nothing", encoding="utf-8")
    assert run("--publish").startswith("README.md has no place for the sentence")
    assert course.ran == []


def test_a_check_fails_only_where_the_published_claim_held(course, capsys):
    course.lines = drawn("luck", 102)
    run("--publish")
    assert run("--check") == 0
    for file in (course.root / "build/redraw").iterdir():
        file.unlink()
    course.lines = drawn("luck", 101, 102)
    capsys.readouterr()
    assert run("--check") == 1
    assert course.ran[20:] == [("01_a.ipynb", 101), ("01_a.ipynb", 102)]
    failures = capsys.readouterr().out.split("\n\n")[2]
    assert failures == "notebooks/01_a.ipynb, cell 2, draw 101: luck: 101 (below 200)\n"


def test_a_check_leaves_out_what_draws_nothing(course):
    course.lines = lambda draw: [line("two", 2.0)]
    run("--publish")
    course.ran.clear()
    (course.root / "ntk_helpers" / "_new.py").touch()
    assert run("--check") == 0
    assert course.ran == []


@pytest.mark.parametrize("words", [["--publish", "3"], ["--check", "01"], ["--check", "--publish"]])
def test_which_draws_are_published_and_checked_is_not_asked(course, words):
    assert run(*words) == 2
    assert course.ran == []


def test_publishing_one_notebook_keeps_the_draws_of_the_others_that_are_there(course):
    for name in ("02_b", "03_c"):
        write(course.root / "notebooks" / f"{name}.ipynb", "ntk.claim('b', 1, below=2)")
    run("--publish")
    (course.root / "notebooks" / "03_c.ipynb").unlink()
    write(course.root / "notebooks" / "02_b.ipynb", "ntk.claim('b', 1, below=200)")
    course.ran.clear()
    course.lines = drawn("luck", 107)
    run("--publish", "02")
    assert {name for name, _ in course.ran} == {"02_b.ipynb"}
    claims = json.loads((course.root / "tests/claims.json").read_text(encoding="utf-8"))
    failed = {name: entry["claims"]["luck"]["failed"] for name, entry in claims.items()}
    assert failed == {"notebooks/01_a.ipynb": [], "notebooks/02_b.ipynb": [107]}
    readme = (course.root / "README.md").read_text(encoding="utf-8")
    claimed = sum(len(entry["claims"]) for entry in claims.values())
    assert f"{claimed} claims of 2 notebooks" in readme
    assert f"{20 * claimed - 1} of {20 * claimed} hold" in readme


def test_a_claim_that_is_no_number_leaves_a_file_that_every_reader_can_read(course):
    course.lines = lambda draw: [
        line("luck", float("nan") if draw == 101 else draw, held=draw > 101)
    ]
    run("--publish")
    claims = json.loads((course.root / "tests/claims.json").read_text(), parse_constant=pytest.fail)
    assert claims["notebooks/01_a.ipynb"]["claims"]["luck"]["least"] == 102


# The course as it is committed.


def published():
    """Return notebook → hash of the code whose claims were published."""
    text = (run_notebooks.ROOT / redraw.CLAIMS).read_text(encoding="utf-8")
    return {name: entry["code"] for name, entry in json.loads(text).items()}


def test_every_notebook_that_makes_claims_has_published_its_draws():
    wanted = sorted(map(relative, with_claims()))
    assert [*published()] == wanted, "run: python course.py redraw --publish"


def test_published_draws_are_those_of_the_code_as_it_is():
    stale = [
        name for name, code in published().items() if code_hash(run_notebooks.ROOT / name) != code
    ]
    assert stale == [], "their code has changed; run: python course.py redraw --publish"
