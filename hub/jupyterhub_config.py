"""JupyterHub for a class on one machine: each learner gets the lessons, one thread, and no trouble.

Read from the environment: COURSE (this checkout), CLASS_PASSWORD (eight letters or more, one for
all), CLASS_FOLDER (where each learner's copy lies). May be missing: CLASS_IDLE (seconds until an
idle server is taken back: 3600), CLASS_PORT (8000), CLASS_PROXY, CLASS_TOKEN (for programs).
Served on loopback: put a web server with a certificate before it, or use Kubernetes (README.md).
"""

import os
import sys
from pathlib import Path

c = get_config()  # noqa: F821
course, folder = Path(os.environ["COURSE"]), Path(os.environ["CLASS_FOLDER"])
sys.path.append(str(course))
from tools.learners_copy import WORKSPACE, told  # noqa: E402 (the line above says where it is)

c.JupyterHub.bind_url = f"http://127.0.0.1:{os.environ.get('CLASS_PORT', '8000')}"
c.JupyterHub.hub_port = int(os.environ.get("CLASS_PORT", "8000")) + 1
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{c.JupyterHub.hub_port + 1}"
c.ConfigurableHTTPProxy.command = [os.environ.get("CLASS_PROXY", "configurable-http-proxy")]
c.JupyterHub.db_url = f"sqlite:///{folder / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(folder / "cookie_secret")

# One password for the room; a name is all that a learner chooses.
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ["CLASS_PASSWORD"]
c.Authenticator.allow_all = True

# All learners are processes of one account: right for a trusted room, not for strangers.
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(folder / "{username}")
if os.geteuid() == 0:
    c.Spawner.args = ["--allow-root"]
c.Spawner.default_url = "/lab/tree/work/00_start_here.ipynb"
c.Spawner.start_timeout = c.Spawner.http_timeout = 180  # when thirty start at once
c.JupyterHub.concurrent_spawn_limit = 40  # whoever comes above it is sent away with an error
c.Spawner.environment = {
    # The matrices are small: a second thread only takes it from a neighbour.
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "PYTHONPATH": str(course),
    "JUPYTER_PATH": os.environ.get("JUPYTER_PATH", ""),
    "JUPYTER_CONFIG_PATH": str(course / "tools" / "jupyter"),  # no pop-up with news
}
# What a learner may take. The simple spawner only tells it; those of systemd, Docker and Kubernetes
# enforce it. Measured by try_class.py: see README.md.
c.Spawner.mem_guarantee, c.Spawner.mem_limit = "0.5G", "1.5G"


def copy_lessons(spawner):
    """Bring a learner's copy of the lessons up to date at each start; their work stays."""
    work = folder / spawner.user.name / "work"
    spawner.environment["JUPYTERLAB_WORKSPACES_DIR"] = str((work / WORKSPACE).parent)
    told(work)


c.Spawner.pre_spawn_hook = copy_lessons

# A server that nobody has used for an hour is taken back; the learner's files stay. The culler
# knows of work what the hub learns from its proxy, once a minute.
idle = int(os.environ.get("CLASS_IDLE", "3600"))
c.JupyterHub.last_activity_interval = min(60, idle // 4)
culler = [sys.executable, "-m", "jupyterhub_idle_culler", f"--timeout={idle}"]
culler += [f"--cull-every={min(600, idle // 4)}"]
c.JupyterHub.services = [{"name": "culler", "command": culler}]
c.JupyterHub.load_roles = [
    {
        "name": "culler",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["culler"],
    }
]
if "CLASS_TOKEN" in os.environ:
    c.JupyterHub.services.append({"name": "class", "api_token": os.environ["CLASS_TOKEN"]})
    c.JupyterHub.load_roles.append(
        {
            "name": "class",
            "scopes": ["admin:users", "admin:servers", "access:servers"],
            "services": ["class"],
        }
    )
