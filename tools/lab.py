"""Open the learner's copy of the lessons in JupyterLab; `python course.py lab` calls this.

python tools/lab.py [OPTION ...]      options of JupyterLab, such as --no-browser or --port=9000
"""

import os
import secrets
import sys
import webbrowser
from pathlib import Path

from jupyter_core.paths import jupyter_runtime_dir
from jupyter_server.serverapp import DEFAULT_JUPYTER_SERVER_PORT, ServerApp
from jupyterlab.labapp import LabApp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for who runs this file

from tools.learners_copy import COPY, LESSONS, ROOT, WORKSPACE, told

FIRST = "00_start_here.ipynb"
VARIABLES = {
    "JUPYTER_CONFIG_PATH": str(ROOT / "tools" / "jupyter"),  # no pop-up with news
    "JUPYTER_TOKEN": secrets.token_hex(24),  # ours, so that JupyterLab leaves the telling to us
}
SOCKET = f"kernel-{'0' * 36}-ipc-1"  # the longest name that a kernel's socket gets
LONGEST_PATH = 103  # bytes that a system gives to the path of a socket: macOS; Linux four more


class QuietServer(ServerApp):
    """The server, with one clear line in place of its log; errors are still printed."""

    def start_app(self) -> None:
        """Say where the lessons are, and start."""
        asked = {**self.config.ServerApp, **self.config.QuietServer}  # by file, by command line
        wanted = asked.get("port", DEFAULT_JUPYTER_SERVER_PORT)
        if wanted not in (0, self.port):
            say(f"Port {wanted} is taken, perhaps by another JupyterLab: this one has {self.port}.")
        if self.ip == "127.0.0.1" and is_root():
            say("You are root. In a container, add --ip=0.0.0.0 and publish the port to the host.")
        address = self.local_url.replace("token=...", f"token={self.identity_provider.token}")
        say(f"The lessons are open at {address}\nCtrl-C here ends JupyterLab.")
        super().start_app()

    def launch_browser(self) -> None:
        """Open a browser, or say that there is none."""
        try:
            webbrowser.get(self.browser or None)
        except webbrowser.Error:
            say("No browser could be opened: copy the address into yours.")
        else:
            super().launch_browser()


def main(options: list[str]) -> None:
    """Bring the copy up to date, and run JupyterLab until it is stopped."""
    told()
    lesson = next(path for path in (COPY / FIRST, LESSONS / FIRST) if path.exists())
    ours = [f"--ServerApp.root_dir={ROOT}", "--ServerApp.ip=127.0.0.1"]
    ours += [f"--LabApp.default_url=/lab/tree/{lesson.relative_to(ROOT).as_posix()}"]
    if (COPY / WORKSPACE).exists():  # with the table of contents open
        ours += [f"--LabApp.workspaces_dir={(COPY / WORKSPACE).parent}"]
    ours += ["--Application.log_level=ERROR"]
    if sockets_fit(Path(jupyter_runtime_dir())):
        ours += ["--KernelManager.transport=ipc"]  # over TCP each kernel warns of eavesdroppers
    if is_root():
        ours += ["--ServerApp.allow_root=True"]
    os.environ.update({**VARIABLES, **os.environ})
    LabApp.serverapp_class = QuietServer
    LabApp.launch_instance([*ours, *options])


def sockets_fit(folder: Path) -> bool:
    """Return whether kernels can listen on Unix sockets in `folder`."""
    return os.name != "nt" and len(os.fsencode(folder / SOCKET)) <= LONGEST_PATH


def is_root() -> bool:
    """Return whether this runs as root, as in a container."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def say(sentence: str) -> None:
    """Print a sentence at once."""
    print(sentence, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
