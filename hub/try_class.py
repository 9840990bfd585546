"""Try a class: a JupyterHub on this machine, five learners who all run notebook 00 at once.

.venv/bin/python hub/try_class.py                    a throw-away environment, deleted at the end
.venv/bin/python hub/try_class.py --learners 10 --environment FOLDER       kept, used again

Prints how long everybody waited and what each learner takes in memory. Needs Linux, and npm for
JupyterHub's proxy.
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
import urllib.request
import uuid
from pathlib import Path

import nbformat
import psutil
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

ROOT = Path(__file__).resolve().parent.parent
LESSON = "work/00_start_here.ipynb"  # in the folder of each learner
WAIT = 300  # seconds, for anything


def main() -> None:
    """Make the environment, start the hub, let the class work, and clean up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learners", type=int, default=5)
    parser.add_argument("--environment", type=Path, help="a folder to keep and to use again")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python, proxy = environment(chosen.environment or Path(folder, "environment"))
        hub = Hub(python, proxy, Path(folder))
        try:
            asyncio.run(hold_class(hub, [f"learner{i}" for i in range(1, chosen.learners + 1)]))
        finally:
            hub.process.terminate()
            hub.process.wait(60)


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


class Hub:
    """A JupyterHub with the configuration of this folder, on loopback."""

    def __init__(self, python: Path, proxy: Path, folder: Path):
        """Start it with files in `folder`."""
        port = free_port()
        self.address, self.token = f"127.0.0.1:{port}", secrets.token_hex(16)
        self.folder = folder
        variables = {
            **os.environ,
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "COURSE": str(ROOT),
            "CLASS_FOLDER": str(folder),
            "CLASS_PASSWORD": secrets.token_hex(8),
            "CLASS_PORT": str(port),
            "CLASS_PROXY": str(proxy),
            "CLASS_TOKEN": self.token,
            "JUPYTER_PATH": str(Path(sys.prefix, "share", "jupyter")),
        }
        config = ROOT / "hub" / "jupyterhub_config.py"
        self.log = folder / "hub.log"
        with open(self.log, "w", encoding="utf-8") as log:
            command = [str(python), "-m", "jupyterhub", "-f", str(config)]
            self.process = subprocess.Popen(
                command, cwd=folder, env=variables, stdout=log, stderr=log
            )

    def call(self, path: str, method: str = "GET", body=None):
        """Return the answer to a request with the token of the class."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}"}
        url = f"http://{self.address}/{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return json.loads(answer.read() or "null")

    async def until(self, true) -> None:
        """Return as soon as `true` is, which may fail to reach the hub for a while."""
        end = time.monotonic() + WAIT
        while True:
            try:
                if await asyncio.to_thread(true):
                    return
            except OSError:
                pass
            if time.monotonic() > end or self.process.poll() is not None:
                sys.exit(f"The hub does not answer:\n{self.log.read_text()[-2000:]}")
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


async def hold_class(hub: Hub, learners: list[str]) -> None:
    """Let all learners start and run the lesson at once; print times and memory."""
    await hub.until(lambda: hub.call("hub/api/"))
    start = time.monotonic()
    await asyncio.gather(*(arrive(hub, name) for name in learners))
    print(f"{len(learners)} learners have JupyterLab after {time.monotonic() - start:.0f} s")
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
    print(f"mean {mean / 1e6:.0f} MB a learner; a machine with 16 GB holds {14e9 / mean:.0f}")


async def arrive(hub: Hub, name: str) -> None:
    """Let a learner log in and wait for their JupyterLab."""
    user = f"hub/api/users/{name}"
    await asyncio.to_thread(hub.call, user, "POST")
    await asyncio.to_thread(hub.call, f"{user}/server", "POST", {})
    await hub.until(lambda: hub.call(user)["servers"].get("", {}).get("ready"))


async def run_lesson(hub: Hub, name: str) -> int:
    """Run a learner's copy of the lesson in a kernel of theirs; return how many cells ran.

    Raises:
        SystemExit: If a cell fails.
    """
    where = f"user/{name}/api"
    body = {"path": LESSON, "name": "lesson", "type": "notebook", "kernel": {"name": "python3"}}
    session = await asyncio.to_thread(hub.call, f"{where}/sessions", "POST", body)
    url = f"ws://{hub.address}/{where}/kernels/{session['kernel']['id']}/channels"
    headers = {"Authorization": f"token {hub.token}"}
    socket = await websocket_connect(HTTPRequest(url, headers=headers, connect_timeout=WAIT))
    code = [
        cell.source
        for cell in nbformat.read(hub.folder / name / LESSON, 4).cells
        if cell.cell_type == "code"
    ]
    for source in code:
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
        header |= {"session": session["id"], "username": name, "date": ""}
        content = {"code": source, "silent": False, "store_history": True, "stop_on_error": True}
        content |= {"user_expressions": {}, "allow_stdin": False}
        parts = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        await socket.write_message(json.dumps({**parts, "channel": "shell", "buffers": []}))
        await answered(socket, header["msg_id"], name)
    socket.close()
    return len(code)


async def answered(socket, request: str, name: str) -> None:
    """Return when the kernel has answered `request`; exit if the cell failed."""
    while True:
        text = await asyncio.wait_for(socket.read_message(), WAIT)
        if text is None:
            sys.exit(f"{name}: the kernel is gone")
        if isinstance(text, bytes):
            continue  # a picture of a widget
        message = json.loads(text)
        mine = message["parent_header"].get("msg_id") == request
        if mine and message["header"]["msg_type"] == "execute_reply":
            if message["content"]["status"] != "ok":
                sys.exit(f"{name}: {message['content'].get('evalue')}")
            return


async def watch(hub: Hub, peaks: dict[str, int]) -> None:
    """Keep the largest memory of each learner in `peaks`, until cancelled."""
    while True:
        for name, used in (await asyncio.to_thread(memory, hub)).items():
            peaks[name] = max(peaks.get(name, 0), used)
        await asyncio.sleep(0.5)


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
