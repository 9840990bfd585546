"""Setting up: once, with the pinned versions, and in a sentence what is wrong when it fails."""

import ast
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import course

ROOT = Path(__file__).resolve().parent.parent
VERBS = re.findall(r"^  python course\.py (\w+) ", course.__doc__, flags=re.MULTILINE)


class FakeRun:
    """Stands in for subprocess.run: notes the commands, and does what they would, in an instant."""

    def __init__(self):
        """Start with every command succeeding."""
        self.commands, self.options, self.failing = [], [], None

    def __call__(self, command, **options):
        """Note `command`; fail if `failing` is one of its words, or raise it if it is an error."""
        command = [str(word) for word in command]
        self.commands.append(command)
        self.options.append(options)
        if "venv" in command:
            make_python(Path(command[-1]))
        if self.failing is KeyboardInterrupt:
            raise KeyboardInterrupt
        return subprocess.CompletedProcess(command, int(self.failing in command))

    def count(self, word):
        """Return how many commands had `word` among their words."""
        return sum(word in command for command in self.commands)


def make_python(venv):
    """Make what course.py looks at in an environment."""
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    python.parent.mkdir(parents=True)
    python.touch()
    (venv / "lib" / "python3.11" / "site-packages").mkdir(parents=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Put course.py into a folder with the project's two lists."""
    folder = tmp_path / "Łukasz' course"
    folder.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    monkeypatch.setattr(course, "HERE", folder)
    monkeypatch.setattr(course, "VENV", folder / ".venv")
    monkeypatch.setattr(course, "WHEELS", folder / "wheels")
    return folder


@pytest.fixture(autouse=True)
def signals():
    """Put back what `call` did to the signals of this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def fake_run(monkeypatch):
    """Replace subprocess.run by a fake."""
    fake = FakeRun()
    monkeypatch.setattr(subprocess, "run", fake)
    return fake


@pytest.fixture
def started(monkeypatch):
    """Note the commands that verbs start, with their environment variables; each ends with 0."""
    noted = []
    monkeypatch.setattr(course, "environment", lambda *extras: "-".join(["python", *extras]))
    monkeypatch.setattr(course, "call", lambda c, **v: noted.append(([*map(str, c)], v)) or 0)
    return noted


# The command line.


def test_an_old_python_can_read_the_file_and_is_told_what_to_install(monkeypatch, fake_run):
    ast.parse((ROOT / "course.py").read_text(encoding="ascii"), feature_version=(3, 6))
    for version in [(3, 6, 15), (3, 10, 13, "final", 0), (3, 15, 0), (4, 0)]:
        monkeypatch.setattr(sys, "version_info", version)
        with pytest.raises(SystemExit, match=r"needs Python 3\.11, .* or 3\.14, and this is"):
            course.main(["lab"])
    assert fake_run.commands == []


def test_help_is_the_docstring_and_fits_a_terminal():
    command = [sys.executable, str(ROOT / "course.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == course.__doc__.strip()
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_an_unknown_verb_is_told_the_known_ones():
    with pytest.raises(SystemExit, match="no verb 'slide': choose one of lab, ") as end:
        course.main(["slide"])
    known = end.value.code.split("one of ")[1].split(", or")[0].split(", ")
    assert {*known} == {*VERBS}


@pytest.mark.parametrize("verb", sorted({*VERBS} - {"bench"}))
def test_a_verb_hands_on_what_follows_it(started, verb):
    assert course.main([verb, "-k", "a word"]) == 0
    ((command, _),) = started
    own = course.SCRIPTS.get(verb, ["-m", "pytest"])
    python = {"site": "python-site", "stamp": sys.executable}
    assert command[0] == python.get(verb, "python")
    assert command[1 : 1 + len(own)] == own
    assert command[-2:] == ["-k", "a word"]
    assert own[0] == "-m" or (ROOT / own[0]).is_file()


def test_tests_share_the_cores_with_one_thread_each_and_quick_leaves_out_what_is_slow(started):
    course.main(["test", "--quick", "-x"])
    ((command, variables),) = started
    assert command[-5:] == ["-m", "not slow", "tests", "ntk_helpers", "-x"]
    assert variables == {"OMP_NUM_THREADS": "1"}


def test_bench_runs_all_scripts_or_those_that_are_named(folder, started):
    (folder / "benchmarks").mkdir()
    for name in ("peers", "kernels", "_shared"):
        (folder / "benchmarks" / f"{name}.py").touch()
    course.main(["bench"])
    course.main(["bench", "peers"])
    names = [Path(command[-1]).stem for command, _ in started]
    assert names == ["kernels", "peers", "peers"]
    with pytest.raises(SystemExit, match="no benchmark 'pinn': choose from kernels, peers"):
        course.main(["bench", "pinn"])


def test_bench_stops_at_the_first_failure(folder, monkeypatch):
    (folder / "benchmarks").mkdir()
    for name in "ab":
        (folder / "benchmarks" / f"{name}.py").write_text("raise SystemExit(4)", encoding="utf-8")
    monkeypatch.setattr(course, "environment", lambda: sys.executable)
    assert course.main(["bench"]) == 4


# The environment.


def test_the_first_call_installs_the_pinned_versions_and_the_second_nothing(folder, fake_run):
    python = course.environment()
    (command,) = (command for command in fake_run.commands if "install" in command)
    assert command[:4] == [str(python), "-m", "pip", "install"]
    assert command[5:7] == ["-c", "constraints.txt"]
    assert {word.split()[0] for word in command[7:]} >= {"torch", "jupyterlab", "jinja2", "nbval"}
    assert course.environment() == python
    assert fake_run.count("venv") == fake_run.count("install") == 1


def test_what_changed_is_installed(folder, fake_run):
    def installed_after(name, old, new):
        path = folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        course.environment()
        return fake_run.count("install")

    course.environment()
    assert installed_after("pyproject.toml", "line-length = 100", "line-length = 99") == 1
    assert installed_after("pyproject.toml", "tqdm >=4.66", "tqdm >=4.67") == 2
    assert installed_after("constraints.txt", "tqdm==", "tqdm==9.") == 3
    assert fake_run.count("venv") == 1


def test_an_extra_is_installed_when_it_is_first_needed(folder, fake_run):
    for _ in range(2):
        course.environment()
        course.environment("site")
    assert fake_run.count("install") == 2
    with_sphinx = [any(w.startswith("sphinx ") for w in c) for c in fake_run.commands]
    assert sum(with_sphinx) == 1


def test_the_link_to_the_course_holds_in_a_folder_of_any_name_that_moves(folder, fake_run):
    course.environment()
    moved = folder.rename(folder.with_name("elsewhere"))
    (link,) = moved.rglob("*.pth")
    target = link.read_text(encoding="ascii").strip()
    assert not Path(target).is_absolute()
    assert (link.parent / target).resolve() == moved


def test_packages_come_from_the_folder_wheels_if_it_is_there(folder, fake_run):
    course.WHEELS.mkdir()
    course.environment()
    (command,) = (command for command in fake_run.commands if "install" in command)
    assert command[5:8] == ["--no-index", "--find-links", "wheels"]


def test_an_interrupted_installation_is_begun_anew(folder, fake_run):
    make_python(course.VENV)
    fake_run.failing = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        course.install("python", [])
    fake_run.failing = None
    course.environment()
    assert fake_run.count("--force-reinstall") == 1


def test_a_failed_installation_is_told_and_tried_again(folder, fake_run):
    fake_run.failing = "install"
    with pytest.raises(SystemExit, match=r"^pip could not install .* no network: check it"):
        course.environment()
    course.WHEELS.mkdir()
    with pytest.raises(SystemExit, match=r"^pip could not install .* wheels/ lacks a package for"):
        course.environment()
    fake_run.failing = None
    course.environment()
    assert fake_run.count("install") == 3
    assert fake_run.count("--force-reinstall") == 0  # pip itself takes back what it began


def test_a_full_disk_is_noticed_before_and_after(folder, fake_run, monkeypatch):
    def free(gigabytes):
        usage = (0, 0, gigabytes * 1e9)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(*usage))

    free(0.7)
    with pytest.raises(SystemExit, match=r"^The disk is full: 0\.7 GB .* needs 2\.5 GB"):
        course.environment()
    assert fake_run.commands == []
    free(5)
    course.make_venv()
    free(0.01)
    fake_run.failing = "install"
    with pytest.raises(SystemExit, match=r"^The disk is full: 0\.0 GB"):
        course.environment()
    free(5)
    fake_run.failing = None
    course.environment()  # what pip had begun to write may be incomplete
    assert fake_run.count("--force-reinstall") == 1


@pytest.mark.parametrize("ending", [KeyboardInterrupt, "venv"])
def test_half_an_environment_is_not_left_behind(folder, fake_run, ending):
    fake_run.failing = ending
    with pytest.raises((KeyboardInterrupt, SystemExit)) as end:
        course.environment()
    assert ending is KeyboardInterrupt or "could not make the folder .venv" in end.value.code
    assert not course.VENV.exists()


def test_an_environment_that_does_not_run_is_to_be_deleted(folder):
    course.require_working(Path(sys.executable))
    make_python(course.VENV)  # empty files, without the right to run
    with pytest.raises(SystemExit, match=r"\.venv does not work here.*Delete it"):
        course.environment()


def test_packages_of_other_homes_are_not_seen(folder, fake_run, monkeypatch):
    for name in course.FOREIGN:
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("MINE", "kept")
    course.environment()
    course.environment()
    assert len(fake_run.options) == 3  # venv, pip, and whether it works
    assert not any({*course.FOREIGN} & {*options["env"]} for options in fake_run.options)
    seen = "import os, sys; sys.exit(os.environ['MINE'] + os.environ['OTHER'] != 'keptdefault')"
    assert course.call([sys.executable, "-c", seen], MINE="default", OTHER="default") == 0


def test_call_hands_on_the_exit_code(folder):
    assert course.call([sys.executable, "-c", "raise SystemExit(5)"]) == 5


CALLER = """
import course, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
child = '''
import sys, time
try:
    print("ready", flush=True)
    for _ in range(600):
        time.sleep(0.1)  # a signal that comes just before a sleep is seen after it
except KeyboardInterrupt:
    print("asked", flush=True)
    sys.exit(7)
'''
course.test = lambda rest: course.call([sys.executable, "-c", child])
sys.exit(course.main(["test"]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize(("sent", "said"), [(signal.SIGINT, "asked\n"), (signal.SIGTERM, "")])
def test_signals_reach_the_child(sent, said):
    process = subprocess.Popen(
        [sys.executable, "-c", CALLER],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        if sent == signal.SIGINT:
            os.killpg(process.pid, sent)  # as a terminal does
        else:
            process.send_signal(sent)
        # The pipe closes when the child is gone, too: this would time out if it were not.
        assert process.communicate(timeout=20) == (said, "")
        assert process.returncode == (7 if said else 256 - signal.SIGTERM)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_ctrl_c_while_installing_ends_quietly(monkeypatch, capfd):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(course, "environment", interrupted)
    assert course.main(["check"]) == 130
    assert capfd.readouterr() == ("", "")
