"""Setting up: once, with the pinned versions, and in a sentence what is wrong when it fails."""

import ast
import contextlib
import importlib.util
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import course

ROOT = Path(__file__).resolve().parent.parent
ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")


class FakeRun:
    """Stands in for subprocess.run: notes the commands, and does what they would, in an instant."""

    def __init__(self):
        """Start with every command succeeding."""
        self.commands, self.options, self.failing = [], [], {}

    def __call__(self, command, **options):
        """Note `command`; return a failure if its words hold a key of `failing`."""
        self.commands.append(command)
        self.options.append(options)
        for word, output in self.failing.items():
            if word in command:
                return subprocess.CompletedProcess(command, 1, stdout=output, stderr=output)
        if "venv" in command:
            make_python(Path(command[-1]))
        return subprocess.CompletedProcess(command, 0, stdout="", stderr="")

    def count(self, word):
        """Return how many commands had `word` among their words."""
        return sum(word in command for command in self.commands)


def make_python(venv):
    """Make the two files of an environment that course.py looks at."""
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    python.parent.mkdir(parents=True)
    python.touch()
    (venv / "pyvenv.cfg").write_text("version = 3.11.7\n", encoding="utf-8")


def settle(folder, monkeypatch):
    """Let course.py believe that it lies in `folder`."""
    monkeypatch.setattr(course, "HERE", folder)
    monkeypatch.setattr(course, "VENV", folder / ".venv")
    monkeypatch.setattr(course, "STAMP", folder / ".venv" / ".course-installed")
    monkeypatch.setattr(course, "WHEELS", folder / "wheels")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Put course.py into an empty folder whose name has a space, with the project's two lists."""
    folder = tmp_path / "my course"
    folder.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    settle(folder, monkeypatch)
    return folder


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
    monkeypatch.setattr(course, "environment", lambda *_: "python")
    monkeypatch.setattr(course, "call", lambda c, **v: noted.append(([*map(str, c)], v)) or 0)
    return noted


# The command line.


def test_help_names_every_verb():
    command = [sys.executable, str(ROOT / "course.py")]
    for arguments in ([], ["--help"]):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
        assert re.findall(r"^  python course\.py (\w+)", done.stdout, flags=re.MULTILINE) == [
            *("lab", "check", "test", "run", "bench"),
            *("site", "handout", "slides", "bundle", "stamp"),
        ]
        assert max(map(len, done.stdout.splitlines())) <= 100


def test_every_verb_of_the_help_exists(monkeypatch):
    for verb in re.findall(r"^  python course\.py (\w+)", course.__doc__, flags=re.MULTILINE):
        monkeypatch.setattr(course, verb, lambda rest: len(rest))
        assert course.main([verb, "a", "-b", "--help"]) == 3


def test_an_unknown_verb_is_told_the_known_ones():
    with pytest.raises(SystemExit, match="no verb 'slide': choose one of lab, check, test, run"):
        course.main(["slide"])


def test_an_old_python_can_read_the_file():
    ast.parse((ROOT / "course.py").read_text(encoding="ascii"), feature_version=(3, 6))


@pytest.mark.parametrize("version", [(3, 6, 15), (3, 10, 13, "final", 0), (3, 15, 0), (4, 0)])
def test_a_python_without_the_pinned_packages_is_told_so(version):
    with pytest.raises(SystemExit, match=r"needs Python 3\.11, .* or 3\.14, and this is Python \d"):
        course.require_python(version)


def test_a_python_with_the_pinned_packages_is_welcome():
    course.require_python((3, 11, 0))
    course.require_python((3, 14, 8))


def test_an_old_python_gets_no_further(monkeypatch, fake_run):
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    with pytest.raises(SystemExit, match="needs Python"):
        course.main(["lab"])
    assert fake_run.commands == []


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_a_replaced_output_is_no_obstacle(monkeypatch, stream):  # IDLE, a notebook, pythonw
    monkeypatch.setattr(course, "lab", lambda _: 0)
    monkeypatch.setattr(sys, "stdout", stream)
    assert course.main(["lab"]) == 0


def test_ctrl_c_ends_quietly(monkeypatch, capfd):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(course, "lab", interrupted)
    assert course.main(["lab"]) == 130
    assert capfd.readouterr() == ("", "")


# The environment.


def test_the_second_call_installs_nothing(folder, fake_run):
    python = course.environment()
    assert fake_run.count("venv") == fake_run.count("install") == 1
    start = time.perf_counter()
    assert course.environment() == python
    assert time.perf_counter() - start < 1
    assert fake_run.count("venv") == fake_run.count("install") == 1


def test_pip_installs_the_pinned_versions_into_the_environment(folder, fake_run):
    python = course.environment()
    (command,) = (command for command in fake_run.commands if "install" in command)
    assert command[:4] == [str(python), "-m", "pip", "install"]
    assert command[-4:] == ["-c", "constraints.txt", "-e", ".[lab,slides,test]"]


def test_new_pins_are_installed(folder, fake_run):
    course.environment()
    with open(folder / "constraints.txt", "a", encoding="utf-8") as file:
        file.write("six==1.17.0\n")
    course.environment()
    course.environment()
    assert fake_run.count("venv") == 1
    assert fake_run.count("install") == 2


def test_a_changed_requirement_is_installed_and_a_changed_setting_is_not(folder, fake_run):
    course.environment()
    path = folder / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("line-length = 100", "line-length = 99"), encoding="utf-8")
    course.environment()
    assert fake_run.count("install") == 1
    path.write_text(text.replace("tqdm >=4.66", "tqdm >=4.67"), encoding="utf-8")
    course.environment()
    assert fake_run.count("install") == 2


def test_a_folder_that_moved_is_still_linked(folder, fake_run, monkeypatch):
    # Python 3.11 on Windows reads the link in the system's encoding: it must not hold the path.
    packages = course.VENV / "lib" / "python3.11" / "site-packages"

    def linking(command, **options):
        done = fake_run(command, **options)
        if "install" in command:
            packages.mkdir(parents=True)
            (packages / "ntk_helpers.pth").write_text(f"{folder}\n", encoding="utf-8")
        return done

    monkeypatch.setattr(subprocess, "run", linking)
    course.environment()
    moved = folder.rename(folder.with_name("Łukasz"))
    settle(moved, monkeypatch)
    course.environment()
    assert fake_run.count("venv") == fake_run.count("install") == 1
    link = moved / packages.relative_to(folder) / "ntk_helpers.pth"
    for text in (link.read_text(encoding="ascii"), f"{folder}\n"):  # as pip by hand writes it
        link.write_text(text, encoding="utf-8")
        course.environment()
        written = link.read_text(encoding="ascii").strip()
        assert not Path(written).is_absolute()
        assert (link.parent / written).resolve() == moved.resolve()


def test_an_interrupted_installation_is_begun_anew(folder, fake_run, monkeypatch):
    def interrupted(command, **options):
        if "install" in command:
            raise KeyboardInterrupt
        return fake_run(command, **options)

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            course.environment()
    course.environment()
    assert fake_run.count("--force-reinstall") == 1
    fake_run.failing["install"] = "ERROR: something else"
    with pytest.raises(SystemExit):
        course.environment("site")
    fake_run.failing.clear()
    course.environment("site")
    assert fake_run.count("--force-reinstall") == 1
    with open(folder / "constraints.txt", "a", encoding="utf-8") as file:
        file.write("six==1.17.0\n")
    fake_run.failing["install"] = "No space left on device"
    for _ in range(2):
        with pytest.raises(SystemExit, match="The disk is full"):
            course.environment()
    assert fake_run.count("--force-reinstall") == 2


def test_packages_of_other_homes_are_not_seen(folder, fake_run, monkeypatch):
    for name in course.FOREIGN:
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("MINE", "kept")
    assert not {*course.FOREIGN} & {*course.own_variables()}
    assert course.own_variables(MINE="default", OTHER="default").items() >= {
        ("MINE", "kept"),
        ("OTHER", "default"),
    }
    seen = "import os, sys; sys.exit('PYTHONPATH' in os.environ)"
    assert course.call([sys.executable, "-c", seen]) == 0
    course.environment()
    course.environment()
    assert len(fake_run.options) == 3  # venv, pip, and whether it works
    assert all("PYTHONPATH" not in options["env"] for options in fake_run.options)


def test_an_environment_made_by_hand_gets_what_it_lacks(folder, fake_run):
    make_python(course.VENV)
    course.environment()
    assert fake_run.count("venv") == 0
    assert fake_run.count("install") == 1


def test_a_failed_installation_is_tried_again(folder, fake_run):
    fake_run.failing["install"] = "ERROR: something else"
    with pytest.raises(SystemExit, match=r"pip could not install the course(.|\n)*something else"):
        course.environment()
    fake_run.failing.clear()
    course.environment()
    assert fake_run.count("venv") == 1
    assert fake_run.count("install") == 2


def test_a_broken_environment_is_to_be_deleted(folder, fake_run):
    make_python(course.VENV)
    fake_run.failing["-c"] = ""
    with pytest.raises(SystemExit, match=r"\.venv does not work here.*Delete it"):
        course.environment()
    assert fake_run.count("install") == 0


def test_an_environment_without_its_python_is_to_be_deleted(folder):
    course.VENV.mkdir()
    with pytest.raises(SystemExit, match=r"\.venv does not work here.*Delete it"):
        course.environment()


def test_the_running_python_passes_for_working(folder):
    course.require_working(Path(sys.executable))


def test_a_full_disk_is_noticed_before(folder, fake_run, monkeypatch):
    monkeypatch.setattr(course, "free_gigabytes", lambda: 0.7)
    with pytest.raises(SystemExit, match=r"needs about 2\.5 GB .* only 0\.7 GB are free"):
        course.environment()
    assert fake_run.commands == []
    assert not course.VENV.exists()


@pytest.mark.parametrize(
    "words",
    [
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        "OSError: [WinError 112] There is not enough space on the disk",
    ],
)
def test_a_full_disk_is_noticed_after(folder, fake_run, words):
    fake_run.failing["install"] = words
    with pytest.raises(SystemExit, match=r"^The disk is full"):
        course.environment()


def test_no_network_is_told_in_a_sentence_by_the_words_of_pip_itself(folder, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    course.VENV.mkdir()
    with pytest.raises(SystemExit) as end:
        course.install(Path(sys.executable))
    assert re.match(r"No connection to the package index: [^\n]*\. Its last words", end.value.code)


def test_packages_come_from_the_folder_wheels_if_it_is_there(folder, fake_run):
    course.WHEELS.mkdir()
    course.environment()
    (command,) = (command for command in fake_run.commands if "install" in command)
    assert command[5:8] == ["--no-index", "--find-links", "wheels"]


def test_an_extra_is_installed_when_it_is_first_needed(folder, fake_run):
    course.environment()
    for _ in range(2):
        course.environment("site")
        course.environment()
    installs = [command[-1] for command in fake_run.commands if "install" in command]
    assert installs == [".[lab,slides,test]", ".[lab,slides,test,site]"]


SAID = {  # what pip says → what course.py says of it
    "ERROR: Could not find a version that satisfies torch (from versions: 2.1, 2.2)\n"
    "ERROR: No matching distribution found for torch==2.13.0": "A pinned package has no build for",
    "ERROR: ResolutionImpossible: for help visit ...": "A pinned package has no build for Python 3",
    # a retry that went well, and then no build
    "WARNING: Retrying after connection broken by 'ReadTimeoutError'\n1\n2\n3\n4\n5\n"
    "ERROR: No matching distribution found for torch==2.13.0": "A pinned package has no build for",
    # PIP_RETRIES=0 and no network
    "ERROR: Could not find a version that satisfies torch (from versions: none)\n"
    "ERROR: No matching distribution found for torch==2.13.0": "No connection to the package",
    "WARNING: Retrying after connection broken by 'SSLError(SSLCertVerificationError(1, "
    "'[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate')'\n"
    "ERROR: Could not find ... (from versions: none)": "The package index shows a certificate",
}


@pytest.mark.parametrize("words", SAID)
def test_the_words_of_pip_are_explained_and_repeated(folder, fake_run, words):
    fake_run.failing["install"] = words
    with pytest.raises(SystemExit) as end:
        course.environment()
    assert end.value.code.startswith(SAID[words])
    assert words.splitlines()[-1] in end.value.code


def test_a_bundle_for_another_machine_is_told(folder, fake_run):
    course.WHEELS.mkdir()
    fake_run.failing["install"] = "(from versions: none)\nERROR: No matching distribution found"
    with pytest.raises(SystemExit, match=r"^The folder wheels/ lacks a package for Python 3"):
        course.environment()


def test_a_python_without_ensurepip_is_told_which_package_is_missing(folder, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    package = f"python3.{sys.version_info.minor}-venv"
    with pytest.raises(SystemExit, match=f"sudo apt install {package}"):
        course.environment()
    assert not course.VENV.exists()


def test_half_an_environment_is_not_left_behind(folder, fake_run, monkeypatch):
    def interrupted(command, **_):
        make_python(Path(command[-1]))
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        course.environment()
    assert not course.VENV.exists()


# The verbs.


def test_lab_serves_on_loopback_with_its_token(started):
    assert course.lab(["--no-browser"]) == 0
    ((command, _),) = started
    assert command[1:3] == ["-m", "jupyterlab"]
    assert "--ServerApp.ip=127.0.0.1" in command
    assert f"--LabApp.default_url=/lab/tree/{course.FIRST_LESSON}" in command
    assert command[-1] == "--no-browser"
    assert not re.search("token|password|allow", " ".join(command))


def test_test_passes_its_arguments_to_pytest(started):
    course.test(["-k", "kernel"])
    ((command, variables),) = started
    assert command[1:3] == ["-m", "pytest"]
    assert command[-2:] == ["-k", "kernel"]
    assert variables == {"OMP_NUM_THREADS": "1"}


def test_check_asks_the_package(started):
    course.check([])
    assert started == [(["python", "-m", "ntk_helpers"], {})]


def test_run_passes_the_names_of_notebooks(started):
    course.run(["02", "--publish"])
    assert started[0][0][1:] == [str(ROOT / "tools" / "run_notebooks.py"), "02", "--publish"]


@pytest.mark.parametrize(
    ("verb", "script"),
    [("site", "build_site.py"), ("handout", "handout.py"), ("bundle", "bundle.py")],
)
def test_other_verbs_run_a_script_of_tools(started, verb, script):
    getattr(course, verb)(["--help"])
    assert started[0][0][1:] == [str(ROOT / "tools" / script), "--help"]
    assert (ROOT / "tools" / script).is_file()


def test_bench_says_that_there_is_no_benchmark(folder):
    with pytest.raises(SystemExit, match="no script in the folder benchmarks/"):
        course.bench([])


def test_bench_runs_all_scripts_or_those_that_are_named(folder, started):
    (folder / "benchmarks").mkdir()
    for name in ("peers", "kernels", "_shared"):
        (folder / "benchmarks" / f"{name}.py").touch()
    course.bench([])
    course.bench(["peers"])
    names = [Path(command[-1]).stem for command, _ in started]
    assert names == ["kernels", "peers", "peers"]
    with pytest.raises(SystemExit, match="no benchmark 'pinn': choose from kernels, peers"):
        course.bench(["pinn"])


def test_bench_stops_at_the_first_failure(folder, monkeypatch):
    (folder / "benchmarks").mkdir()
    for name in "ab":
        (folder / "benchmarks" / f"{name}.py").write_text("raise SystemExit(4)", encoding="utf-8")
    monkeypatch.setattr(course, "environment", lambda: sys.executable)
    assert course.bench([]) == 4


def test_call_hands_on_the_exit_code(folder):
    assert course.call([sys.executable, "-c", "raise SystemExit(5)"]) == 5


def test_an_interrupt_while_the_child_starts_is_left_to_the_child(folder, monkeypatch):
    start = subprocess.Popen

    def interrupted(*arguments, **options):
        process = start(*arguments, **options)
        signal.raise_signal(signal.SIGINT)
        return process

    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(course.subprocess, "Popen", interrupted)
    try:
        assert course.call([sys.executable, "-c", "raise SystemExit(5)"]) == 5
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, usual)


CALLER = """
import course, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
child = '''
import sys, time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("asked", flush=True)
    sys.exit(7)
'''
course.lab = lambda rest: course.call([sys.executable, "-c", child])
sys.exit(course.main(["lab"]))
"""


@ON_POSIX
@pytest.mark.parametrize(
    ("sent", "said", "code"), [(signal.SIGINT, "asked\n", 7), (signal.SIGTERM, "", 143)]
)
def test_signals_reach_the_child(sent, said, code):
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
        assert process.returncode == code
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
