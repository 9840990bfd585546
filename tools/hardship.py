"""Run notebooks under constrained resources, and compare what they print.

python tools/hardship.py                       every hardship, every lesson
python tools/hardship.py offline memory -- 00  these hardships, the lessons whose names start so

memory      at most 2 GB of data for each process        one-core    on one core
offline     without a network, but for loopback          two-at-once two notebooks side by side
read-only   in a checkout that cannot be written         odd-path    in a folder called ODD below
repeat      three times, the last with two threads: the text outputs must be the same to the letter

Linux only; offline and read-only need `unshare`, and rights for it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ODD = "Übung 1 – Kern K(x, x′) & Co"
MEMORY = 2 * 2**30
NBVAL = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--nbval-current-env"]


def call(command: list, folder: Path, before: Callable | None = None) -> bool:
    """Run `command` in `folder`, after `before` in the new process; return whether it succeeded."""
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(command, cwd=folder, env=variables, preexec_fn=before).returncode == 0


def check(names: list[str], *options: str) -> list[str]:
    """Return the command that runs notebooks and compares their outputs with the committed ones."""
    return [sys.executable, *NBVAL, *options, *names]


def copied(names: list[str], place: Path) -> Path:
    """Copy what git knows, and return the copy."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place / name)
    return place


def memory(names: list[str]) -> bool:
    """Run with at most 2 GB of data for each process."""
    import resource

    return call(
        check(names), ROOT, lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    )


def one_core(names: list[str]) -> bool:
    """Run on one core."""
    return call(check(names), ROOT, lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))


def offline(names: list[str]) -> bool:
    """Run without a network; kernels talk over loopback, which has to be there."""
    up = "import fcntl, socket, struct; s = socket.socket(); "
    up += "fcntl.ioctl(s, 0x8914, struct.pack('16sh14x', b'lo', 73))"  # SIOCSIFFLAGS: up, running
    inside = f'"{sys.executable}" -c "{up}" && exec "$@"'
    return call(["unshare", "--net", "sh", "-c", inside, "sh", *check(names)], ROOT)


def two_at_once(names: list[str]) -> bool:
    """Run two notebooks side by side."""
    return call(check(names, "-n", "2", "--dist=loadscope"), ROOT)


def read_only(names: list[str]) -> bool:
    """Run in a copy that is mounted read-only."""
    with tempfile.TemporaryDirectory() as folder:
        place = copied(names, Path(folder) / "course")
        inside = 'mount --bind . . && mount -o remount,ro,bind "$PWD" && cd "$PWD" && '
        inside += 'test ! -w README.md && exec "$@"'
        return call(["unshare", "--mount", "sh", "-c", inside, "sh", *check(names)], place)


def odd_path(names: list[str]) -> bool:
    """Run in a folder whose name has spaces and letters that are not ASCII."""
    with tempfile.TemporaryDirectory() as folder:
        return call(check(names), copied(names, Path(folder) / ODD))


def repeat(names: list[str]) -> bool:
    """Run three times, the last with two threads, and compare the text outputs."""
    sys.path.insert(0, str(ROOT))
    from tools.run_notebooks import execute

    same = True
    for name in names:
        texts = []
        for threads in ("1", "1", "2"):
            os.environ["OMP_NUM_THREADS"] = os.environ["NTK_THREADS"] = threads
            notebook, _ = execute(ROOT / name)
            outputs = [
                output.get("text") or output.get("data", {}).get("text/plain", "")
                for cell in notebook.cells
                if "nbval-ignore-output" not in cell.metadata.get("tags", [])
                for output in cell.get("outputs", [])
            ]
            texts.append(outputs)
        for again, what in zip(texts[1:], ("a second run", "two threads"), strict=True):
            if again != texts[0]:
                same = False
                print(f"{name}: {what} prints something else")
    return same


HARDSHIPS = {
    "memory": memory,
    "one-core": one_core,
    "offline": offline,
    "two-at-once": two_at_once,
    "read-only": read_only,
    "odd-path": odd_path,
    "repeat": repeat,
}


def main() -> None:
    """Run what the command line names; print a line for each hardship, exit with 1 on a failure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hardship", nargs="*", help=f"of {', '.join(HARDSHIPS)}; all, if none")
    before, _, after = " ".join(sys.argv[1:]).partition("--")
    chosen, starts = parser.parse_args(before.split()).hardship, after.split() or [""]
    if strangers := {*chosen} - {*HARDSHIPS}:
        parser.error(f"there is no hardship {', '.join(strangers)}")
    lessons = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    names = [f"notebooks/{p.name}" for p in lessons if p.name.startswith(tuple(starts))]
    lines = []
    for hardship in chosen or HARDSHIPS:
        start = time.perf_counter()
        passed = HARDSHIPS[hardship](names)
        seconds = time.perf_counter() - start
        lines.append(f"{hardship}: {'passed' if passed else 'FAILED'} in {seconds:.0f} s")
        print(lines[-1], flush=True)
    print("\n".join(["", *lines]))
    sys.exit(any("FAILED" in line for line in lines))


if __name__ == "__main__":
    main()
