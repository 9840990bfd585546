"""Measure every claim of the course again, in other draws of the dice.

python tools/redraw.py                  draws 1 … 20 of all lessons that make claims
python tools/redraw.py 5 02             draws 1 … 5 of those whose file name starts so
python tools/redraw.py --publish        draws 101 … 120 of all, into tests/claims.json and README.md
python tools/redraw.py --publish 05     of these; what was published of the others stays
python tools/redraw.py --check          draws 101 and 102: does what held there still hold?

Whoever mends a claim looks at the first draws, so that the published ones are news. What is
finished is kept in build/redraw until the code of the notebook or of the package changes. Cells
are numbered as JupyterLab does in brackets: code cells only, from 1.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import math
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from ntk_helpers._progress import tqdm
from tools import run_notebooks
from tools.run_notebooks import NotebookError, chosen, kernel_variables, notebooks

MENDED, PUBLISHED, CHECKED = range(1, 21), range(101, 121), range(101, 103)
LEAST_SHARE = 0.95  # of the draws, in which a claim has to hold
STOPPED = "runs to its end"  # the claim that fails when a kernel dies or a cell never ends
NOT_MEASURED = {"held": False, "shown": "not measured", "ends": []}
NO_ERROR = {"held": True, "shown": "no error", "ends": []}
CLAIMS = "tests/claims.json"
MARKS = ("<!-- draws:start -->", "<!-- draws:end -->")
LEGEND = ". held, x failed, ? not measured; number held, values, [cell], claim (bound)"
TEXT_WIDTH = 48  # of the table's last column; with 20 draws the table is 100 wide


class Row(NamedTuple):
    """One claim of a notebook, or one error, and what became of it in each draw."""

    notebook: str
    cell: int
    claim: str
    bound: str  # empty for an error
    draws: dict[int, dict]  # draw → held, shown, and ends: the least and the largest value

    def failed(self) -> list[int]:
        """Return the draws in which the claim did not hold, or was not measured."""
        return [draw for draw, line in self.draws.items() if not line["held"]]

    def ends(self) -> list[float]:
        """Return the least and the largest finite value over all draws, or nothing."""
        values = [end for line in self.draws.values() for end in line["ends"] if math.isfinite(end)]
        return [min(values), max(values)] if values else []

    def no_draw(self) -> bool:
        """Return whether the claim had the same value in every draw."""
        first, *others = [line["ends"] for line in self.draws.values()]
        return first != [] and others != [] and all(ends == first for ends in others)


# One notebook in one draw.


def code(path: Path) -> list[str]:
    """Return the sources of a notebook's code cells."""
    cells = nbformat.read(path, as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


def code_hash(path: Path, *others: str) -> str:
    """Return a hash of a notebook's code, and of other texts; its own text does not change it."""
    return hashlib.sha256(json.dumps([*code(path), *others]).encode()).hexdigest()[:16]


def relative(path: Path) -> str:
    """Return a path as seen from the course's folder, the same on every system."""
    return path.relative_to(run_notebooks.ROOT).as_posix()


def kept(path: Path, draw: int) -> Path:
    """Return the file for what a notebook gives in a draw, with the code as it is now."""
    package = sorted((run_notebooks.ROOT / "ntk_helpers").rglob("*.py"))
    version = code_hash(path, *(file.read_text(encoding="utf-8") for file in package))
    name = relative(path).removesuffix(".ipynb").replace("/", ".")
    return run_notebooks.ROOT / "build" / "redraw" / f"{name}-{version}-{draw}.json"


async def measure(path: Path, draw: int) -> list[dict]:
    """Execute a notebook in one draw of the dice, all cells, whatever fails.

    Returns:
        A line for each claim and each error: cell, claim, bound, held, shown, ends.

    Raises:
        NotebookError: If two claims have one name.
    """
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "claims")

        def collect(cell: NotebookNode, execute_reply: dict, **_) -> None:
            new = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
            file.unlink(missing_ok=True)
            lines.extend(json.loads(line) | {"cell": cell.execution_count} for line in new)
            if execute_reply["content"]["status"] == "error":
                lines.append(error(cell.execution_count, execute_reply["content"]))

        client = NotebookClient(
            nbformat.read(path, as_version=4),
            timeout=run_notebooks.CELL_TIMEOUT,
            kernel_name="python3",
            allow_errors=True,
            shutdown_kernel="immediate",
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_executed=collect,
        )
        variables = kernel_variables() | {"NTK_DRAW": str(draw), "NTK_CLAIMS": str(file)}
        try:
            await client.async_execute(env=variables)
        except (RuntimeError, TimeoutError) as reason:  # the kernel died, or a cell never ends
            lines.append(failure(client.code_cells_executed, STOPPED, str(reason)))
    claims = [line["claim"] for line in lines]
    for line in lines:
        if claims.count(line["claim"]) > 1:
            raise NotebookError(
                f"{relative(path)}, cell {line['cell']}: {line['claim']!r} is claimed twice. "
                "Give each claim its own name, or tell them apart by case=."
            )
    return lines


def error(cell: int, content: dict) -> dict:
    """Return the line for a cell that raised: the message, or the line of code if it has none."""
    trace = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(content["traceback"]))
    place = re.search(r"^-+> \d+ +(.*)$", trace, flags=re.MULTILINE)
    message = content["evalue"] or (place[1] if place else "")
    if content["ename"] == "AssertionError":
        return failure(cell, f"assert in cell {cell}", message)
    return failure(cell, f"error in cell {cell}", f"{content['ename']}: {message}")


def failure(cell: int, claim: str, message: str) -> dict:
    """Return the line for what has no bound and did not hold."""
    shown = message.strip().partition("\n")[0]
    return {"cell": cell, "claim": claim, "bound": "", "held": False, "shown": shown, "ends": []}


# All notebooks in all draws.


def with_claims() -> list[Path]:
    """Return the notebooks that make claims of their own; the decks repeat those of lessons."""
    lessons = [path for path in notebooks() if not relative(path).startswith("slides/")]
    return [path for path in lessons if any("ntk.claim(" in source for source in code(path))]


async def measure_all(paths: list[Path], draws: range) -> list[Row]:
    """Return the rows of all notebooks; as many kernels as there are cores run side by side.

    What is kept is not run again. A run that stopped is not kept: it may be the machine's fault.
    """
    loop, cores = asyncio.get_running_loop(), asyncio.Semaphore(os.cpu_count() or 1)
    # Each kernel's client would take Ctrl-C for itself alone; left to asyncio.run, it ends all.
    loop.add_signal_handler = loop.remove_signal_handler = lambda *_: None

    async def one(path: Path, draw: int) -> list[dict]:
        async with cores:
            file = kept(path, draw)
            if file.exists():
                lines = json.loads(file.read_text(encoding="utf-8"))
            else:
                lines = await measure(path, draw)
                if not any(line["claim"] == STOPPED for line in lines):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(json.dumps(lines), encoding="utf-8")
            bar.update()
            return lines

    runs = list(itertools.product(paths, draws))
    with tqdm(total=len(runs), desc="notebooks × draws") as bar:
        found = dict(zip(runs, await asyncio.gather(*itertools.starmap(one, runs)), strict=True))
    return [row for path in paths for row in rows(path, {d: found[path, d] for d in draws})]


def rows(path: Path, found: dict[int, list[dict]]) -> list[Row]:
    """Return what became of each claim of a notebook, in order of cells; `found`: draw → lines."""
    first = {}
    for line in itertools.chain(*found.values()):
        first.setdefault(line["claim"], line)
    return [
        Row(
            relative(path),
            line["cell"],
            line["claim"],
            line["bound"],
            {draw: outcome(line, lines) for draw, lines in found.items()},
        )
        for line in sorted(first.values(), key=lambda line: line["cell"])
    ]


def outcome(wanted: dict, lines: list[dict]) -> dict:
    """Return what the lines of one draw say of a claim or an error that some draw told of."""
    for line in lines:
        if line["claim"] == wanted["claim"]:
            return line
    ended = any(
        line["claim"] == STOPPED or (line["cell"] == wanted["cell"] and not line["bound"])
        for line in lines
    )  # by another error, so that nobody knows of this one
    return NOT_MEASURED if wanted["bound"] or ended else NO_ERROR


# What is told of it.


def table(rows: list[Row]) -> str:
    """Return the claims × draws as text."""
    lines = []
    for name, group in itertools.groupby(rows, key=lambda row: row.notebook):
        lines += ["", name]
        for row in group:
            told = row.draws.values()
            signs = "".join("." if t["held"] else "?" if t == NOT_MEASURED else "x" for t in told)
            scale = 100 if row.bound.endswith("%") else 1
            values = " … ".join(dict.fromkeys(f"{scale * end:.2g}" for end in row.ends()))
            start = f"{signs} {len(signs) - len(row.failed()):2}  {values:<18} [{row.cell:2}] "
            text = row.claim + f" ({row.bound})" * (row.bound != "") + ", no draw" * row.no_draw()
            lines.append(start + ("\n" + " " * len(start)).join(textwrap.wrap(text, TEXT_WIDTH)))
    return "\n".join(lines)


def publish(rows: list[Row], codes: dict[str, str]) -> None:
    """Write into tests/claims.json, and a sentence on it between the marks in README.md.

    What is there of other notebooks that make claims stays.

    Args:
        rows: What was measured.
        codes: Notebook → hash of its code when it was measured.
    """
    there = {relative(path) for path in with_claims()}
    entries = {name: entry for name, entry in published().items() if name in there}
    entries |= {notebook: {"code": code, "claims": {}} for notebook, code in codes.items()}
    for row in rows:
        least, largest = [float(f"{end:.3g}") for end in row.ends()] or (None, None)
        claim = {"bound": row.bound, "failed": row.failed(), "no_draw": row.no_draw()}
        entries[row.notebook]["claims"][row.claim] = claim | {"least": least, "largest": largest}
    text = json.dumps(entries, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (run_notebooks.ROOT / CLAIMS).write_text(text, encoding="utf-8", newline="\n")
    claims = [claim for entry in entries.values() for claim in entry["claims"].values()]
    measured = len(claims) * len(PUBLISHED)
    held = measured - sum(len(claim["failed"]) for claim in claims)
    before, after = around_the_sentence()
    sentence = (
        f"**Other dice**: {len(claims)} claims of {len(entries)} notebooks, "
        f"{sum(not claim['no_draw'] for claim in claims)} of them on random numbers, each measured "
        f"in {len(PUBLISHED)} other draws: {held} of {measured} hold; "
        "[claims.json](tests/claims.json) names the rest. By `python course.py redraw --publish`."
    )
    text = f"{before}\n{sentence}\n{after}"
    (run_notebooks.ROOT / "README.md").write_text(text, encoding="utf-8", newline="\n")


def published() -> dict:
    """Return what tests/claims.json holds: notebook → code and claims."""
    file = run_notebooks.ROOT / CLAIMS
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def around_the_sentence() -> list[str]:
    """Return what README.md has up to the first mark, and from the second one on.

    Raises:
        SystemExit: If the marks are not there.
    """
    text = (run_notebooks.ROOT / "README.md").read_text(encoding="utf-8")
    parts = re.split(f"(?<={MARKS[0]}).*(?={MARKS[1]})", text, flags=re.DOTALL)
    if len(parts) != 2:
        sys.exit(f"README.md has no place for the sentence: it needs {MARKS[0]} … {MARKS[1]}")
    return parts


def failures(rows: list[Row], known: dict) -> Iterator[tuple[Row, int]]:
    """Yield each claim and draw in which it did not hold, except for those that were published."""
    for row in rows:
        claims = known.get(row.notebook, {"claims": {}})["claims"]
        failed = claims.get(row.claim, {"failed": []})["failed"]
        yield from ((row, draw) for draw in row.failed() if draw not in failed)


def arguments() -> argparse.Namespace:
    """Return what the command line asks for: names of notebooks, draws, publish and check."""
    parser = argparse.ArgumentParser(
        prog="course.py redraw",
        description="Measure every claim again, in other draws of the dice.",
    )
    parser.add_argument("names", nargs="*", metavar="[N] [NOTEBOOK ...]", help="draws 1 … N (20)")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--publish", action="store_true", help="write down draws 101 … 120")
    kinds.add_argument("--check", action="store_true", help="compare draws 101 and 102 with those")
    asked = parser.parse_args()
    asked.draws = PUBLISHED if asked.publish else CHECKED if asked.check else MENDED
    a_number = asked.names and re.fullmatch(r"[1-9]\d*", asked.names[0])  # a notebook's has a 0
    if (asked.check and asked.names) or (asked.publish and a_number):
        parser.error("--publish and --check know their draws, and --check its notebooks")
    if a_number:
        asked.draws = range(1, int(asked.names.pop(0)) + 1)
    return asked


def main() -> None:
    """Measure what the command line asks for, and exit with 1 if claims fail that should hold."""
    asked, known = arguments(), {}
    paths = chosen(asked.names) if asked.names else with_claims()
    if asked.publish:
        paths = [path for path in paths if path in with_claims()]
    if asked.publish:
        around_the_sentence()  # if there is no place for it, better told now than after an hour
    if asked.check:
        known = published()
        claims = {name: entry["claims"].values() for name, entry in known.items()}
        drawn = [name for name in claims if not all(claim["no_draw"] for claim in claims[name])]
        paths = [run_notebooks.ROOT / name for name in drawn]
    codes = {relative(path): code_hash(path) for path in paths}
    try:
        rows = asyncio.run(measure_all(paths, asked.draws))
    except NotebookError as reason:
        sys.exit(str(reason))
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        sys.exit(130)
    print(f"Draws {asked.draws[0]} … {asked.draws[-1]}: {LEGEND}\n{table(rows)}\n")
    news = list(failures(rows, known))
    for row, draw in news:
        bound = f" ({row.bound})" * (row.bound != "")
        place = f"{row.notebook}, cell {row.cell}, draw {draw}"
        print(f"{place}: {row.claim}: {row.draws[draw]['shown']}{bound}")
    if asked.publish:
        publish(rows, codes)
    shares = [1 - len(row.failed()) / len(row.draws) for row in rows]
    if news if asked.check else min(shares, default=1) < LEAST_SHARE:
        sys.exit(1)


if __name__ == "__main__":
    main()
