"""How much memory is left, asked before it is needed."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import torch

ROOT = Path("/")
SMALL = 2**26  # bytes, about which nobody is asked: that would take longer than a small kernel


@contextlib.contextmanager
def memory_for(what: str, size: float, device: torch.device, advice: str) -> Iterator[None]:
    """Raise MemoryError if `device` has fewer than `size` bytes left, before any is taken.

    To try is no test: Linux grants memory that it does not have, and ends whoever fills it. Where
    the system tells nothing, the error comes from what is tried in the `with` block.

    Args:
        what: What needs the memory, with its verb.
        size: Bytes.
        device: Where it lies.
        advice: What to do instead.
    """
    needs = f"{what} {size / 1e9:,.1f} GB of memory"
    if size > SMALL and size > (left := memory_left(device)):
        raise MemoryError(f"{needs}, and {left / 1e9:,.1f} GB are left. {advice}")
    try:
        yield
    except RuntimeError as error:
        raise MemoryError(f"{needs}. {advice}") from error


def memory_left(device: torch.device) -> float:
    """Return the bytes that can still be had on `device`; infinity where nothing tells."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return min(_on_linux(), default=math.inf)


def _on_linux() -> Iterator[float]:
    """Yield what the machine has left, and what each container around this process has."""
    with contextlib.suppress(OSError, KeyError, ValueError):  # written otherwise, or not at all
        yield 1024 * _numbers(ROOT / "proc/meminfo")["MemAvailable:"]
        for line in (ROOT / "proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds == "":  # control groups, version 2
                group = ROOT / "sys/fs/cgroup" / path[1:]
                limit, used = "memory.max", "memory.current"
                files = ("active_file", "inactive_file")
            elif kinds == "memory":  # version 1
                group = ROOT / "sys/fs/cgroup/memory" / path[1:]
                limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
                files = ("total_active_file", "total_inactive_file")
            else:
                continue
            for folder in (group, *group.parents):  # seen from inside, a container is the root
                if (folder / limit).is_file() and (folder / limit).read_text() != "max\n":
                    most, taken = (int((folder / name).read_text()) for name in (limit, used))
                    stat = _numbers(folder / "memory.stat")
                    yield most - taken + sum(stat[name] for name in files)  # copies of files can go


def _numbers(table: Path) -> dict[str, int]:
    """Return the numbers of a table, of which each row is a name and a number."""
    rows = (row.split() for row in table.read_text().splitlines())
    return {name: int(number) for name, number, *_ in rows}
