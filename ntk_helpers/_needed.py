"""Say which Python runs and what it lacks, in place of "No module named 'torch'"."""

import sys
from importlib.util import find_spec

NAMES = ("torch", "numpy", "matplotlib", "tqdm")
if missing := [name for name in NAMES if name not in sys.modules and not find_spec(name)]:
    raise ModuleNotFoundError(
        f"{sys.executable}, the Python that runs here, has no {', '.join(missing)}. In a notebook, "
        "choose the kernel of the course's folder .venv; in a terminal, `python course.py lab` "
        "makes that folder and opens the lessons."
    )
