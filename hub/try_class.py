"""Try a class: a JupyterHub on this machine, five learners who all run notebook 00 at once.

.venv/bin/python hub/try_class.py                    a throw-away environment, deleted at the end
.venv/bin/python hub/try_class.py --learners 20 --environment FOLDER       kept, used again

On the first day everybody runs the lesson at once: what do they wait, and what memory do they take?
One of them changes a cell. Then the course is corrected, and the hub starts again with a culler of
little patience: whose file is renewed, whose server is taken back, what is left of the work? Ends
with an error if anything is not as README.md says. Needs Linux, and npm for JupyterHub's proxy.
"""

import argparse
import asyncio
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from contextlib import closing, suppress
from pathlib import Path

import nbformat
import psutil
from nbformat.v4 import output_from_msg
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

ROOT = Path(__file__).resolve().parent.parent
LESSON = "work/00_start_here.ipynb"  # in the folder of each learner
BESIDE = "work/00_start_here-newer.ipynb"  # where a newer version is laid beside a changed one
NOTE, CORRECTION = "# A learner's note.", "A sentence that the course corrected."
IDLE = 90  # seconds: the hub notices who is at work within less
WAIT = 300  # seconds, for anything


def main() -> None:
    """Make the environment, hold the class on two days, and clean up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learners", type=int, default=5, help="two or more; 5 by default")
    parser.add_argument("--environment", type=Path, help="a folder to keep and to use again")
    chosen = parser.parse_args()
    learners = [f"learner{i}" for i in range(1, max(2, chosen.learners) + 1)]
    with tempfile.TemporaryDirectory() as folder:
        programs = environment(chosen.environment or Path(folder, "environment"))
        course = copy_course(Path(folder, "course"))
        with closing(Hub(*programs, course, Path(folder))) as hub:
            asyncio.run(first_day(hub, learners))
        correct(course)
        with closing(Hub(*programs, course, Path(folder), CLASS_IDLE=str(IDLE))) as hub:
            asyncio.run(second_day(hub, *learners[:2]))


def environment(folder: Path) -> tuple[Path, Path]:
    """Return (Python, proxy) of an environment with JupyterHub, made in `folder` if need be.

    It sees the packages of the Python that runs this, so that torch is not installed again.
    """
    python, proxy = folder / "bin" / "python", folder / "node_modules" / ".bin"
    if not python.exists():
        if shutil.which("npm") is None:
            sys.exit("There is no npm: JupyterHub's proxy, configurable-http-proxy, comes from it.")
        print("Installing JupyterHub and its proxy ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "-r", str(ROOT / "hub" / "requirements.txt")], check=True)
        npm = ["npm", "install", "--silent", "--prefix", str(folder), "configurable-http-proxy@5"]
        subprocess.run(npm, check=True)
    own = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    Path(own.stdout.strip(), "course.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python, proxy / "configurable-http-proxy"


def copy_course(folder: Path) -> Path:
    """Return a copy of what learners use of the course, which can be corrected."""
    for part in ("notebooks", "ntk_helpers", "tools"):
        shutil.copytree(ROOT / part, folder / part)
    return folder


def correct(course: Path) -> None:
    """Add a sentence to the lesson, as the course's next version might."""
    path = course / "notebooks" / Path(LESSON).name
    notebook = nbformat.read(path, 4)
    notebook.cells[0].source += f"\n\n{CORRECTION}"
    nbformat.write(notebook, path)


class Hub:
    """A JupyterHub with the configuration of this folder, on loopback."""

    def __init__(self, python: Path, proxy: Path, course: Path, folder: Path, **variables: str):
        """Start it for `course`, with files in `folder` and more environment variables."""
        port = free_port()
        self.address, self.token = f"127.0.0.1:{port}", secrets.token_hex(16)
        self.folder = folder
        variables = {
            **os.environ,
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "COURSE": str(course),
            "CLASS_FOLDER": str(folder),
            "CLASS_PASSWORD": secrets.token_hex(8),
            "CLASS_PORT": str(port),
            "CLASS_PROXY": str(proxy),
            "CLASS_TOKEN": self.token,
            "JUPYTER_PATH": str(Path(sys.prefix, "share", "jupyter")),
            **variables,
        }
        config = ROOT / "hub" / "jupyterhub_config.py"
        self.log = folder / "hub.log"
        with open(self.log, "w", encoding="utf-8") as log:
            command = [str(python), "-m", "jupyterhub", "-f", str(config)]
            self.process = subprocess.Popen(
                command, cwd=folder, env=variables, stdout=log, stderr=log
            )

    def close(self) -> None:
        """End it, and with it the learners' servers."""
        self.process.terminate()
        self.process.wait(WAIT)

    def call(self, path: str, method: str = "GET", body=None):
        """Return the answer to a request with the token of the class."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}"}
        url = f"http://{self.address}/{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return json.loads(answer.read() or "null")

    async def until(self, true, otherwise: str = "The hub does not answer.") -> None:
        """Return as soon as `true` is, which may fail to reach the hub for a while.

        Raises:
            SystemExit: If that does not come; with the sentence `otherwise` and the hub's log.
        """
        end = time.monotonic() + WAIT
        while True:
            try:
                if await asyncio.to_thread(true):
                    return
            except OSError:
                pass
            if time.monotonic() > end or self.process.poll() is not None:
                sys.exit(f"{otherwise} The end of its log:\n{self.log.read_text()[-2000:]}")
            await asyncio.sleep(0.3)


def free_port() -> int:
    """Return the first of three ports in a row that nobody uses."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
        try:
            for number in (port, port + 1, port + 2):
                with socket.socket() as other:
                    other.bind(("127.0.0.1", number))
            return port
        except OSError:
            continue


async def first_day(hub: Hub, learners: list[str]) -> None:
    """Let all learners start and run the lesson at once; print times and memory."""
    await hub.until(lambda: hub.call("hub/api/"))
    start = time.monotonic()
    sent_away = await asyncio.gather(*(arrive(hub, name) for name in learners))
    print(f"{len(learners)} learners have JupyterLab after {time.monotonic() - start:.0f} s")
    print(f"the hub asked {sum(sent_away)} of them to try again")
    peaks = dict.fromkeys(learners, 0)
    watcher = asyncio.create_task(watch(hub, peaks))
    idle = dict(await asyncio.to_thread(memory, hub))
    start = time.monotonic()
    cells = await asyncio.gather(*(run_lesson(hub, name) for name in learners))
    print(f"all ran {cells[0]} cells of {LESSON} after {time.monotonic() - start:.0f} s")
    watcher.cancel()
    for name in learners:
        print(f"{name}: {idle[name] / 1e6:.0f} MB before, at most {peaks[name] / 1e6:.0f} MB")
    mean = sum(peaks.values()) / len(peaks)
    print(f"mean {mean / 1e6:.0f} MB a learner, {sum(peaks.values()) / 1e9:.1f} GB for all")
    notebook = lesson(hub, learners[0])
    notebook.cells[-1].source += f"\n\n{NOTE}"
    await save(hub, learners[0], notebook)


async def second_day(hub: Hub, changed: str, ran: str) -> None:
    """Look at two learners' files after a correction, then at what the culler does.

    Args:
        hub: A hub that starts with the corrected course.
        changed: The learner who changed a cell on the first day.
        ran: One who only ran the lesson.

    Raises:
        SystemExit: If something is not as the sentence printed says.
    """
    await hub.until(lambda: hub.call("hub/api/"))
    await asyncio.gather(arrive(hub, changed), arrive(hub, ran))
    mine = text(hub, changed)
    check(f"{changed} changed a cell: the file is as it was", NOTE in mine, CORRECTION not in mine)
    check(
        f"the newer version lies beside it, as {BESIDE}", CORRECTION in text(hub, changed, BESIDE)
    )
    check(f"{ran} only ran the lesson: it is the newer version now", CORRECTION in text(hub, ran))

    start, user = time.monotonic(), f"hub/api/users/{changed}"
    worker = asyncio.create_task(keep_saving(hub, ran))
    await hub.until(
        lambda: not hub.call(user)["servers"], f"{changed} is idle, and the server is still there."
    )
    print(f"{changed} was idle: the server was taken back after {time.monotonic() - start:.0f} s")
    await asyncio.sleep(IDLE / 2)  # the culler looks twice more
    servers = (await asyncio.to_thread(hub.call, f"hub/api/users/{ran}"))["servers"]
    check(f"{ran} went on working: theirs is still there", servers and servers[""]["ready"])
    worker.cancel()
    await arrive(hub, changed)
    shown = await asyncio.to_thread(hub.call, f"user/{changed}/api/contents/{LESSON}")
    check(f"{changed} came back and finds the changed cell", NOTE in json.dumps(shown["content"]))


def check(sentence: str, *facts: object) -> None:
    """Print a sentence if the facts are true, and end with an error if one is not."""
    if not all(facts):
        sys.exit(f"This is not so: {sentence}.")
    print(sentence)


async def arrive(hub: Hub, name: str) -> bool:
    """Let a learner log in and wait for their JupyterLab; return whether the hub was too busy."""
    user, sent_away = f"hub/api/users/{name}", []

    def start() -> bool:
        try:
            hub.call(f"{user}/server", "POST", {})
        except urllib.error.HTTPError as error:
            sent_away.append(error.code == 429)
            raise
        return True

    try:
        await asyncio.to_thread(hub.call, user, "POST")
    except urllib.error.HTTPError as error:
        if error.code != 409:  # known from the day before
            raise
    await hub.until(start)
    await hub.until(lambda: hub.call(user)["servers"].get("", {}).get("ready"))
    return any(sent_away)


def lesson(hub: Hub, name: str, path: str = LESSON) -> nbformat.NotebookNode:
    """Return a notebook of a learner, as it lies on the disk."""
    return nbformat.read(hub.folder / name / path, 4)


def text(hub: Hub, name: str, path: str = LESSON) -> str:
    """Return what the cells of a learner's notebook say, or nothing if it is not there."""
    if not (hub.folder / name / path).exists():
        return ""
    return "\n".join(cell.source for cell in lesson(hub, name, path).cells)


async def save(hub: Hub, name: str, notebook: nbformat.NotebookNode) -> None:
    """Save a learner's lesson as their JupyterLab does."""
    body = {"type": "notebook", "format": "json", "content": notebook}
    await asyncio.to_thread(hub.call, f"user/{name}/api/contents/{LESSON}", "PUT", body)


async def keep_saving(hub: Hub, name: str) -> None:
    """Be a learner who works, until cancelled, or until the server is gone."""
    with suppress(urllib.error.HTTPError):
        while True:
            await save(hub, name, lesson(hub, name))
            await asyncio.sleep(5)


async def run_lesson(hub: Hub, name: str) -> int:
    """Run a learner's copy of the lesson in a kernel of theirs, save it, and count its cells.

    Raises:
        SystemExit: If a cell fails.
    """
    where = f"user/{name}/api"
    body = {"path": LESSON, "name": "lesson", "type": "notebook", "kernel": {"name": "python3"}}
    session = await asyncio.to_thread(hub.call, f"{where}/sessions", "POST", body)
    url = f"ws://{hub.address}/{where}/kernels/{session['kernel']['id']}/channels"
    headers = {"Authorization": f"token {hub.token}"}
    limits = {"connect_timeout": WAIT, "request_timeout": WAIT}
    socket = await websocket_connect(HTTPRequest(url, headers=headers, **limits))
    notebook = lesson(hub, name)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, start=1):
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
        header |= {"session": session["id"], "username": name, "date": ""}
        content = {"code": cell.source, "silent": False, "store_history": True}
        content |= {"user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
        parts = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        await socket.write_message(json.dumps({**parts, "channel": "shell", "buffers": []}))
        cell.execution_count = number
        cell.outputs = await answered(socket, header["msg_id"], name)
    socket.close()
    await save(hub, name, notebook)
    return len(cells)


async def answered(socket, request: str, name: str) -> list:
    """Return a cell's outputs when the kernel has answered `request`; exit if the cell failed."""
    outputs, awaited = [], {"execute_reply", "idle"}
    while awaited:
        message = await asyncio.wait_for(socket.read_message(), WAIT)
        if message is None:
            sys.exit(f"{name}: the connection to the kernel broke; JupyterLab would try again")
        if isinstance(message, bytes):
            continue  # a picture of a widget
        message = json.loads(message)
        if message["parent_header"].get("msg_id") != request:
            continue
        kind, content = message["header"]["msg_type"], message["content"]
        awaited -= {kind, content.get("execution_state")}
        if kind in ("stream", "display_data", "execute_result"):
            outputs.append(output_from_msg(message))
        if kind == "execute_reply" and content["status"] != "ok":
            sys.exit(f"{name}: {content.get('evalue')}")
    return outputs


async def watch(hub: Hub, peaks: dict[str, int]) -> None:
    """Keep the largest memory of each learner in `peaks`, until cancelled."""
    while True:
        for name, used in (await asyncio.to_thread(memory, hub)).items():
            peaks[name] = max(peaks.get(name, 0), used)
        await asyncio.sleep(2)  # to look costs time, too: the hub's, the learners' and ours


def memory(hub: Hub) -> dict[str, int]:
    """Return learner → bytes of their processes; pages that several share are shared out."""
    used = {}
    for process in psutil.Process(hub.process.pid).children(recursive=True):
        try:
            name = process.environ().get("JUPYTERHUB_USER")
            if name:
                used[name] = used.get(name, 0) + process.memory_full_info().pss
        except psutil.Error:
            continue  # it has just ended
    return used


if __name__ == "__main__":
    main()
