"""Execute notebooks in place, top to bottom on a fresh kernel, and measure what each costs.

python tools/run_notebooks.py                                  all lessons, solutions and slides
python tools/run_notebooks.py 02 notebooks/00_start_here.ipynb  those whose file name starts so
python tools/run_notebooks.py --publish                        all; table into README.md, a figure

What is written back holds outputs that a reader without a kernel can see, and nothing that
differs from run to run: no times, no widget state; in place of a widget, its picture. A notebook
with a cell that raises is left as it was.
"""

import argparse
import base64
import html
import json
import os
import platform
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("notebooks", "notebooks/deeper", "notebooks/solutions", "slides")
CELL_TIMEOUT = 120  # seconds; a cell that waits for ever must not hold up a test run
KEPT_CELL_METADATA = ("slideshow", "tags")
FORM_TITLES = {"ntk.predict(": "Your prediction", "ntk.show(": "The figure", "": "Preparations"}
MARKS = ("<!-- measured:start -->", "<!-- measured:end -->")

# Run in the kernel after the last cell. On Linux getrusage would not do: a process that was
# forked from a large one, such as a test runner, inherits its peak.
PROBE = """
import json as _json, sys as _sys, time as _time
if _sys.platform == "linux":
    with open("/proc/self/status") as _file:
        _peak = next(int(line.split()[1]) * 1024 for line in _file if line.startswith("VmHWM"))
elif _sys.platform == "win32":
    import psutil as _psutil
    _peak = _psutil.Process().memory_info().peak_wset
else:
    import resource as _resource
    _peak = _resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss
print(_json.dumps([_time.process_time(), _peak]))
"""


class NotebookError(Exception):
    """A notebook that did not reach its last cell; the message names the cell."""


class Cost(NamedTuple):
    """What one execution of a notebook took: start of the kernel and imports included."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def notebooks() -> list[Path]:
    """Return every notebook of the course: lessons, what is deeper, solutions, slides."""
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.ipynb"))]


def kernel_variables() -> dict[str, str]:
    """Return the environment in which notebooks are run, here and by the tests.

    Without progress bars, whose output tells times; with figures in the notebook, as in
    JupyterLab; with the printed draw of the dice; and with one thread, unless the caller has set
    another number: the matrices are small, and several kernels may share the cores.
    """
    fixed = {"TQDM_DISABLE": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    fixed |= {"NTK_DRAW": "0", "NTK_PREDICT": "open"}
    return {"OMP_NUM_THREADS": "1", **os.environ, **fixed}


def execute(path: Path, *, folder: Path | None = None) -> tuple[NotebookNode, Cost]:
    """Execute the notebook at `path` on a fresh kernel.

    Args:
        path: The notebook; the file is only read.
        folder: The kernel's working directory; the notebook's own if None.

    Returns:
        The notebook with its new outputs, and what the execution took.

    Raises:
        NotebookError: If a cell raises, takes too long, or ends the kernel.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(PROBE))
    running = []
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(folder or path.parent)}},
        on_cell_start=lambda cell, cell_index: running.append(cell_index),
    )
    start = time.perf_counter()
    try:
        client.execute(env=kernel_variables())
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        where = f"{path.name}, cell {running[-1]}" if running else path.name
        raise NotebookError(f"{where}:\n{error}") from error
    seconds = time.perf_counter() - start
    cpu_seconds, peak_bytes = json.loads(notebook.cells.pop().outputs[0].text)
    return notebook, Cost(seconds, cpu_seconds, peak_bytes)


def normalise(notebook: NotebookNode) -> None:
    """Take out of an executed notebook what differs from run to run or needs a kernel to be seen.

    Raises:
        NotebookError: If a cell shows a widget without a picture.
    """
    notebook.metadata.pop("jupytext", None)
    stored = notebook.metadata.pop("widgets", {})
    models = stored.get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    for index, cell in enumerate(notebook.cells):
        cell.metadata = NotebookNode(
            {key: value for key, value in cell.metadata.items() if key in KEPT_CELL_METADATA}
        )
        fold(cell)
        for output in cell.get("outputs", []):
            try:
                replace_widget(output, models)
            except LookupError as error:
                raise NotebookError(f"cell {index} shows a widget without a picture") from error
    notebook.metadata.kernelspec = NotebookNode(
        display_name="Python 3", language="python", name="python3"
    )
    notebook.metadata.language_info = NotebookNode(name="python")


def fold(cell: NotebookNode) -> None:
    """Fold the code of a cell that is tagged `plumbing`, wherever a reader may meet it.

    JupyterLab obeys source_hidden, the site the tag hide-input, and Colab cellView, which shows the
    form's title in place of the code.
    """
    tags = [tag for tag in cell.metadata.pop("tags", []) if tag != "hide-input"]
    if "plumbing" in tags:
        tags.append("hide-input")
        cell.metadata.update(cellView="form", jupyter={"source_hidden": True})
        if not cell.source.startswith("# @title "):
            title = next(title for mark, title in FORM_TITLES.items() if mark in cell.source)
            cell.source = f"# @title {title}\n{cell.source}"
    if tags:
        cell.metadata.tags = tags


def replace_widget(output: NotebookNode, models: dict) -> None:
    """Put the picture inside a widget in the widget's place, at half its pixels as its width.

    Its description is the widget's text, and what the widget says under the picture.

    Args:
        output: An output of a cell; one that shows no widget is left alone.
        models: The notebook's widget state, model id → model.

    Raises:
        LookupError: If there is neither a picture inside the widget nor HTML beside it.
    """
    view = output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    if view is None or "text/html" in output.data:
        return
    parts = list(inside(view["model_id"], models))
    pictures = [
        buffer["data"]
        for part in parts
        if part["_model_name"] == "ImageModel"
        for buffer in part["buffers"]
        if buffer["path"] == ["value"]
    ]
    if not pictures:
        raise LookupError(view["model_id"])
    said = [part["value"] for part in parts if part["_model_name"] == "HTMLModel"]
    said = [html.unescape(text[3:-4]) for text in said if text.startswith("<p>")]
    text = output.data["text/plain"]
    width, _ = struct.unpack(">II", base64.b64decode(pictures[0])[16:24])
    output.data = NotebookNode({"image/png": pictures[0], "text/plain": text})
    output.metadata = NotebookNode(
        {"image/png": {"alt": " ".join([text, *said]), "width": width // 2}}
    )


def inside(model_id: str, models: dict) -> Iterator[dict]:
    """Yield the state of a widget, and of each widget below it, from the notebook's widget state.

    Args:
        model_id: The widget's model.
        models: Model id → model.
    """
    model = models[model_id]
    yield {**model["state"], "buffers": model.get("buffers", [])}
    for child in model["state"].get("children", []):
        yield from inside(child.removeprefix("IPY_MODEL_"), models)


def write(notebook: NotebookNode, path: Path) -> None:
    """Write `notebook` with the same bytes on every system."""
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8", newline="\n")


def table(costs: dict[Path, Cost]) -> str:
    """Return the Markdown table of what notebooks cost, under a line that says on what machine."""
    import torch

    lines = [
        f"Measured on {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}; "
        f"threads: {kernel_variables()['OMP_NUM_THREADS']}. "
        "By `python course.py run --publish`.",
        "",
        "| notebook | run time | CPU time | peak memory |",
        "| --- | ---: | ---: | ---: |",
    ]
    for path, cost in costs.items():
        name = path.relative_to(ROOT).as_posix().removeprefix("notebooks/")
        lines.append(
            f"| {name} | {cost.seconds:.0f} s | {cost.cpu_seconds:.0f} s "
            f"| {cost.peak_bytes / 1e9:.2f} GB |"
        )
    return "\n".join(lines)


def publish(text: str, readme: Path) -> None:
    """Put `text` between the two marks in `readme`.

    Raises:
        SystemExit: If the marks are not there.
    """
    old = readme.read_text(encoding="utf-8")
    if not all(mark in old for mark in MARKS):
        sys.exit(f"{readme.name} has no place for the table: it needs {MARKS[0]} … {MARKS[1]}")
    before, after = old.split(MARKS[0])[0], old.split(MARKS[1])[1]
    new = f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}"
    readme.write_text(new, encoding="utf-8", newline="\n")


def forecast_picture() -> bytes:
    """Return the figure of lesson 00 that the hand-out shows, as PNG."""
    lesson = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", as_version=4)
    outputs = [output for cell in lesson.cells for output in cell.get("outputs", [])]
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    panels = [f for f in figures if f.metadata["image/png"]["alt"].startswith("Four panels")]
    return base64.b64decode(panels[0].data["image/png"])


def chosen(names: list[str]) -> list[Path]:
    """Return the notebooks that `names` mean: paths from the course's folder, or starts of names.

    Raises:
        SystemExit: If a name means none.
    """
    found = []
    for name in names:
        exact = (ROOT / name).resolve()
        matches = [path for path in notebooks() if path == exact or path.name.startswith(name)]
        if not matches:
            sys.exit(f"There is no notebook {name!r} in {', '.join(FOLDERS)}.")
        found += [path for path in matches if path not in found]
    return found


def main() -> None:
    """Run what the command line names, and exit with 1 if a notebook failed."""
    parser = argparse.ArgumentParser(
        prog="course.py run", description="Execute notebooks in place, and measure what they cost."
    )
    parser.add_argument("notebook", nargs="*", help="a path, or the start of a file name (02)")
    parser.add_argument("--publish", action="store_true", help="write the table into README.md")
    arguments = parser.parse_args()
    if arguments.publish and arguments.notebook:
        parser.error("--publish needs the whole table: name no notebook")
    costs, failed = {}, False
    for path in chosen(arguments.notebook) if arguments.notebook else notebooks():
        print(f"{path.relative_to(ROOT)} ...", flush=True)
        try:
            notebook, costs[path] = execute(path)
            normalise(notebook)
        except NotebookError as error:
            failed = True
            print(f"{path.relative_to(ROOT)} is left as it was: {error}", file=sys.stderr)
        else:
            write(notebook, path)
    print("\n" + table(costs))
    if failed:
        sys.exit(1)
    if arguments.publish:
        publish(table(costs), ROOT / "README.md")
        (ROOT / "images" / "forecast.png").write_bytes(forecast_picture())


if __name__ == "__main__":
    main()
