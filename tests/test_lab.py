"""The lab as the README starts it: the learner's copy, one clear line, and no noise."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tools import lab
from tools.run_notebooks import ROOT

ADDRESS = re.compile(
    r"^The lessons are open at (http://127\.0\.0\.1:(\d+)(/\S+)\?token=(\w+))$", re.M
)


@pytest.fixture
def course(tmp_path):
    """Return the folder of a small course: two lessons, and what opens them."""
    (tmp_path / "course" / "notebooks").mkdir(parents=True)
    for name in ("00_start_here.ipynb", "01_gradient_flow.ipynb"):
        shutil.copy(ROOT / "notebooks" / name, tmp_path / "course" / "notebooks")
    shutil.copytree(ROOT / "tools", tmp_path / "course" / "tools")
    return tmp_path / "course"


class Lab:
    """A running lab and what it prints."""

    def __init__(self, course: Path, *options: str, runtime: Path):
        """Start it, with its runtime files in the folder `runtime`."""
        home = {"JUPYTER_CONFIG_DIR": str(course.parent), "JUPYTER_RUNTIME_DIR": str(runtime)}
        command = [sys.executable, str(course / "tools" / "lab.py"), *options]
        self.runtime, self.log = runtime, course.parent / "printed"
        with open(self.log, "w", encoding="utf-8") as log:
            variables = {**os.environ, **home}
            self.process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)

    @property
    def said(self) -> str:
        """Everything that was printed until now."""
        return self.log.read_text(encoding="utf-8")

    def wait(self, true, seconds=90):
        """Return what the function `true` gives as soon as that is something."""
        end = time.monotonic() + seconds
        while not (result := true()):
            assert time.monotonic() < end, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.1)
        return result

    def call(self, path: str, body: dict | None = None):
        """Return the answer of the server's interface."""
        _, port, _, token = ADDRESS.search(self.said).groups()
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {token}"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/{path}", data, headers)

        def answer():
            try:
                with urllib.request.urlopen(request, timeout=20) as reply:
                    return json.loads(reply.read())
            except (ConnectionError, urllib.error.URLError):  # it has not begun to listen
                return None

        return self.wait(answer)


@pytest.fixture
def start(course, tmp_path_factory):
    """Let tests start labs in the small course, and end these.

    Yields:
        A function of JupyterLab's options that returns a Lab once it has told its address.
    """
    running = []

    def started(*options, browser="--no-browser"):
        running.append(Lab(course, browser, *options, runtime=tmp_path_factory.mktemp("r")))
        running[-1].wait(lambda: "Ctrl-C here ends JupyterLab." in running[-1].said)
        return running[-1]

    yield started
    for one in running:
        one.process.terminate()
        one.process.wait(30)


def free_port():
    """Return a port that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.slow
def test_it_tells_one_address_and_its_kernels_add_no_noise(start, course):
    opened = start(f"--port={free_port()}")
    root = ["You are root. In a container, add --ip=0.0.0.0 and publish the port to the host."]
    (copy, *sentences, address, end) = opened.said.splitlines()
    assert copy == f"Your copy of the lessons is in {course / 'work'}."
    assert sentences == root * lab.is_root()
    assert ADDRESS.match(address)[3] == "/lab/tree/work/00_start_here.ipynb"
    assert end == "Ctrl-C here ends JupyterLab."
    before = opened.said
    kernel = opened.call("kernels", {"name": "python3"})["id"]
    opened.wait(lambda: opened.call(f"kernels/{kernel}")["execution_state"] in ("starting", "idle"))
    time.sleep(2)  # for what the kernel may have to say
    if lab.sockets_fit(opened.runtime):  # over TCP it warns of eavesdroppers
        assert opened.said == before
    (facts,) = opened.runtime.glob("kernel-*.json")
    transport = json.loads(facts.read_text(encoding="utf-8"))["transport"]
    assert transport == ("ipc" if lab.sockets_fit(opened.runtime) else "tcp")


def test_kernels_listen_on_sockets_where_the_system_has_them_and_their_paths_are_short():
    long = Path("/afs", "a-university.example/department-of-mathematics/students/2026/somebody")
    assert lab.sockets_fit(Path("/home", "somebody", ".local/share/jupyter/runtime")) == (
        os.name != "nt"
    )
    assert not lab.sockets_fit(long)


@pytest.mark.slow
def test_it_answers_on_loopback_alone_and_only_with_its_token(start):
    opened = start(f"--port={free_port()}")
    _, port, _, token = ADDRESS.search(opened.said).groups()
    assert len(token) >= 40
    opened.call("status")

    def status(token):
        try:
            address = f"http://127.0.0.1:{port}/api/contents?token={token}"
            with urllib.request.urlopen(address, timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert [status(token), status(""), status("0" * 48)] == [200, 403, 403]
    for host in ("127.0.0.2", "127.0.0.3"):
        with socket.socket() as visitor:
            visitor.settimeout(1)
            assert visitor.connect_ex((host, int(port))) != 0


@pytest.mark.slow
def test_a_port_that_is_taken_and_a_browser_that_does_not_open_are_told(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        opened = start(f"--port={port}", browser="--browser=no-such-browser")
        other = ADDRESS.search(opened.said)[2]
        assert (
            f"Port {port} is taken, perhaps by another JupyterLab: this one has {other}."
            in opened.said
        )
        opened.wait(
            lambda: "No browser could be opened: copy the address into yours." in opened.said
        )


@pytest.mark.slow
def test_where_no_copy_can_be_made_the_lessons_open_all_the_same(start, course):
    (course / "work").write_text("a file where the folder should be", encoding="utf-8")
    opened = start(f"--port={free_port()}")
    assert f"could not all be copied into {course / 'work'}" in opened.said
    assert ADDRESS.search(opened.said)[3] == "/lab/tree/notebooks/00_start_here.ipynb"


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("google-chrome")), reason="there is no Chromium"
)
def test_the_first_screen_has_the_contents_and_no_news_and_the_lesson_is_nobodys_but_the_learners(
    start, course, request
):
    pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")
    committed = (course / "notebooks" / "00_start_here.ipynb").read_bytes()
    opened = start(f"--port={free_port()}")
    page = request.getfixturevalue("chromium").new_page(viewport={"width": 1280, "height": 720})
    page.goto(ADDRESS.search(opened.said)[1])
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    contents = page.locator(".jp-TableOfContents:visible")
    contents.get_by_text("Exercises").wait_for()
    page.wait_for_selector("text=(ipykernel) | Idle", timeout=60_000)
    assert "Run it in the browser" not in page.locator(".jp-Notebook").inner_text()
    assert page.locator(".jp-Notebook .jp-OutputArea-output img").first.is_visible()
    page.locator(".jp-Notebook .jp-Cell").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.get_by_text("ntk_helpers is ready").wait_for(timeout=60_000)
    page.keyboard.press("Control+s")
    saved = course / "work" / "00_start_here.ipynb"
    opened.wait(lambda: "ntk_helpers is ready" in saved.read_text(encoding="utf-8"))
    assert page.locator(".Toastify__toast").count() == 0
    page.close()
    assert (course / "notebooks" / "00_start_here.ipynb").read_bytes() == committed
