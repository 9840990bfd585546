"""Break the package's formulas one sign at a time, and see whether a test notices.

python tools/mutate.py                     every module that has a row in TARGETS
python tools/mutate.py dynamics            one module
python tools/mutate.py dynamics --line 180 the mutants of one line

Prints each mutant that no test noticed and is not judged in tools/equivalent_mutants.txt, and the
share of the others that died; exits with 1 if that is below 90 % for a module. A line that no test
runs is named as well, and so is a judgement on a line that is no more.

A tool of our own, since a mutant costs nothing but its tests here: torch is imported and the tests
are collected once; then each mutant lives in a forked process, where it takes the place of the code
inside the functions that everybody holds, and meets only the tests that run its line. Needs a
system that can fork (Linux, macOS). Text is left alone: messages, docstrings, annotations.
"""

import argparse
import ast
import gc
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType, FunctionType, ModuleType

from mutants import mutants, replace, wrecks

ROOT = Path(__file__).resolve().parent.parent
JUDGED = ROOT / "tools" / "equivalent_mutants.txt"
ENOUGH = 0.9
SLOW = "not wide_networks and not random_networks and not benchmark"
BAD = "test_bad_input.py"  # for every module: what is refused
PINN = ["test_pinn.py"]
KERNELS = [
    "test_empirical.py",
    "test_layerwise.py",
    "test_chains.py",
    "test_properties_empirical.py",
]
# Module → the tests that should notice, and test_bad_input.py.
TARGETS = {
    "infinite": ["test_infinite.py", "test_properties_infinite.py"],
    "gaussian": ["test_ensembles.py"],
    "dynamics": ["test_dynamics.py", "test_properties_dynamics.py"],
    "training": ["test_training.py", "test_properties_networks.py"],
    "_records": ["test_training.py", "test_ensembles.py", *PINN],
    "ensembles": ["test_ensembles.py"],
    "batched": ["test_ensembles.py"],
    "lazy": ["test_lazy.py"],
    "linearization": ["test_lazy.py"],
    "pinn": [*PINN, "test_properties_empirical.py"],
    "pinn_problem": PINN,
    "pinn_fields": PINN,
    "pinn_training": PINN,
    "pinn_dynamics": PINN,
    "empirical": KERNELS,
    "layerwise": KERNELS,
    "grams": KERNELS,
    "hooks": KERNELS,
    "chains": KERNELS,
    "slopes": ["test_chains.py", "test_ensembles.py"],
    "jacobians": KERNELS,
    "networks": ["test_networks.py", "test_properties_networks.py"],
    "data": ["test_data.py"],
}


class Examiner:
    """A plugin of pytest: in place of running the tests once, runs them for each mutant."""

    def __init__(self, name: str, line: int | None):
        """Take the name of the module, and the line to look at; None is all."""
        self.name, self.line, self.share = name, line, 0.0

    def pytest_runtestloop(self, session) -> bool:
        """Run the tests on the intact module, then on each mutant, and print the survivors."""
        began = time.monotonic()
        module, known = sys.modules[f"ntk_helpers.{self.name}"], judged(self.name)
        self.watch(session, module.__file__)
        functions = [o for o in gc.get_objects() if type(o) is FunctionType]
        self.closures = [f for f in functions if f.__code__.co_filename == module.__file__]
        source = Path(module.__file__).read_text(encoding="utf-8")
        if not self.survives(session, None, module, ast.parse(source)):
            report(f"The tests of {self.name} fail without any change.")
            return True
        for function, lines, broken in wrecks(source):
            if self.line is None and self.survives(session, lines, module, broken):
                report(f"{self.name} | no test notices that {function} raises | line {lines[0]}")
        text, met = source.splitlines(), set()
        died = survived = 0
        for node, lines, change, broken in mutants(source):
            place = (text[node.lineno - 1].strip(), change)
            if self.line not in (None, node.lineno):
                continue
            if place in known:
                met.add(place)
            elif self.survives(session, lines, module, broken):
                survived += 1
                report(f"{self.name} | {' | '.join(place)} | line {node.lineno}")
            else:
                died += 1
        for place in known - met if self.line is None else ():
            report(f"{self.name} | {' | '.join(place)} | is judged, and is no more")
        self.share = died / max(1, died + survived)
        of = f"{died} of {died + survived} died, {self.share:.1%}"
        minutes = (time.monotonic() - began) / 60
        report(f"{self.name}: {of}; {len(met)} more are judged equal; {minutes:.1f} min.")
        return True

    def watch(self, session, file: str) -> None:
        """Run the intact tests: for the lines of `file` that each runs, and then for its time.

        Tests that run none are left out, and so, with a word, are those that fail.
        """
        self.seconds, self.lines = {}, {}
        for item in session.items:
            lines = set()
            for trace in (sys, threading):
                trace.settrace(tracer(file, lines))
            passed = run(session, item)
            for trace in (sys, threading):
                trace.settrace(None)
            if lines and passed:
                self.lines[item] = lines
            elif not passed:
                report(f"{self.name} | left out, since it fails: {item.name}")
        for item in self.lines:
            start = time.process_time()
            if run(session, item):
                self.seconds[item] = time.process_time() - start
        session.testsfailed = 0

    def survives(self, session, lines: range | None, module: ModuleType, broken) -> bool:
        """Return whether all tests that run `lines` pass with the code `broken` in `module`.

        They run in a forked process, which may compute for ten times as long as they should.
        """
        items = [i for i in self.seconds if lines is None or not self.lines[i].isdisjoint(lines)]
        limit = 20 + 10 * int(sum(self.seconds[i] for i in items))
        child = os.fork()
        if child == 0:
            try:
                resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
                replace(module, broken, course_modules(), self.closures)
                for item in sorted(items, key=self.seconds.get):
                    if not run(session, item):
                        os._exit(1)
            except BaseException:
                os._exit(1)
            os._exit(0)
        for _ in range(100 * 5 * limit):  # in case it waits for ever, without computing
            finished, status = os.waitpid(child, os.WNOHANG)
            if finished:
                return os.waitstatus_to_exitcode(status) == 0
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return False


def run(session, item) -> bool:
    """Run one test, with nothing remembered from before, and return whether it passed."""
    before = session.testsfailed
    for module in course_modules():
        for value in vars(module).values():
            if hasattr(type(value), "cache_clear"):
                value.cache_clear()
    session.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return session.testsfailed == before


def tracer(file: str, lines: set[int]):
    """Return a function for sys.settrace that adds the numbers of the lines run in `file`."""

    def trace(frame: FrameType, event: str, argument: object):
        if frame.f_code.co_filename != file:
            return None
        lines.add(frame.f_lineno)
        return trace

    return trace


def course_modules() -> list[ModuleType]:
    """Return the modules of the package and of its tests that are loaded."""
    homes = (str(ROOT / "ntk_helpers"), str(ROOT / "tests"))
    return [
        m for m in list(sys.modules.values()) if str(getattr(m, "__file__", "")).startswith(homes)
    ]


def report(line: str) -> None:
    """Print a line past pytest, which is silent here."""
    print(line, file=sys.__stderr__, flush=True)


def judged(module: str) -> set[tuple[str, str]]:
    """Return (line, what changes) of the mutants of `module` that change nothing a test can see."""
    rows = JUDGED.read_text(encoding="utf-8").splitlines()
    mine = (
        row.split(" | ", 1)[1].rsplit(" | ", 2) for row in rows if row.startswith(f"{module} |")
    )
    return {(line, change) for line, change, _ in mine}


def main() -> None:
    """Examine the modules that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", nargs="*", choices=[*TARGETS, []], help="all, if none is named")
    parser.add_argument("--line", type=int, help="only the mutants of this line")
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "NTK_HYPOTHESIS": "mutants"}
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import pytest

    shares = []
    for name in arguments.module or TARGETS:
        examiner = Examiner(name, arguments.line)
        options = ["-q", "-o", "addopts=", "-p", "no:cacheprovider", "--capture=no", "-k", SLOW]
        tests = [str(ROOT / "tests" / test) for test in (*TARGETS[name], BAD)]
        with tempfile.TemporaryFile() as said:
            os.dup2(said.fileno(), 1)
            if pytest.main([*options, *tests], plugins=[examiner]) > 1:
                report(os.pread(said.fileno(), 10**6, 0).decode()[-3000:])
        shares.append(examiner.share)
    sys.exit(min(shares) < ENOUGH)


if __name__ == "__main__":
    main()
