"""Break the package's formulas one sign at a time, and see whether a test notices.

python tools/mutate.py                     every module that has a row in TARGETS
python tools/mutate.py dynamics            one module
python tools/mutate.py dynamics --line 180 the mutants of one line

Prints each mutant that no test noticed and is not judged in tools/equivalent_mutants.txt, and the
share of the others that died; exits with 1 if that is below 90 % for a module.

A tool of our own, since a mutant costs nothing but its tests here: torch is imported and the tests
are collected once; then each mutant lives in a forked process, where it takes the place of the code
inside the functions that everybody holds. Needs a system that can fork (Linux, macOS). Text is left
alone: messages, docstrings, annotations.
"""

import argparse
import ast
import copy
import inspect
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

ROOT = Path(__file__).resolve().parent.parent
JUDGED = ROOT / "tools" / "equivalent_mutants.txt"
ENOUGH = 0.9
SLOW = "not wide_networks and not random_networks and not benchmark"
# Module → the tests that should notice, the fastest first.
TARGETS = {
    "infinite": ["test_infinite.py", "test_properties_infinite.py"],
    "dynamics": ["test_dynamics.py", "test_properties_dynamics.py"],
    "training": ["test_training.py", "test_properties_networks.py"],
    "empirical": ["test_empirical.py", "test_layerwise.py", "test_properties_empirical.py"],
    "pinn": ["test_pinn.py", "test_properties_empirical.py"],
}

SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Add, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {
    "sum": "mean", "mean": "sum", "min": "max", "max": "min", "any": "all", "all": "any",
    "exp": "expm1", "expm1": "exp", "sqrt": "square", "square": "sqrt", "zeros": "ones",
    "zeros_like": "ones_like", "ones_like": "zeros_like", "minimum": "maximum", "T": "real",
    "maximum": "minimum", "mT": "real", "detach": "clone", "norm": "sum",
}  # fmt: skip


def places(tree: ast.Module) -> Iterator[tuple[ast.AST, str, object, str]]:
    """Yield (node, field, new value, what changes) for each mutant of `tree`, in source order."""
    for node in code(tree):
        operator = getattr(node, "op", None) or (getattr(node, "ops", None) or [None])[0]
        if isinstance(operator, ast.USub):
            yield node, "op", ast.UAdd(), f"− of {ast.unparse(node.operand)}"
        elif type(operator) in SWAPS:
            new = SWAPS[type(operator)]()
            field = "ops" if isinstance(node, ast.Compare) else "op"
            text = f"{type(operator).__name__} → {type(new).__name__}"
            yield node, field, [new, *node.ops[1:]] if field == "ops" else new, text
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield node, "value", not node.value, f"{node.value} → {not node.value}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            yield node, "value", node.value + 1, f"{node.value} → {node.value + 1}"
        elif isinstance(node, ast.Attribute) and node.attr in NAMES:
            yield node, "attr", NAMES[node.attr], f"{node.attr} → {NAMES[node.attr]}"
        elif isinstance(node, ast.Name) and node.id in ("min", "max", "any", "all", "sum"):
            yield node, "id", NAMES[node.id].replace("mean", "len"), f"{node.id} → other"
        elif isinstance(node, ast.If | ast.IfExp | ast.While):
            yield node, "test", ast.UnaryOp(ast.Not(), node.test), f"not {ast.unparse(node.test)}"
        elif isinstance(node, ast.Expr):
            yield node, "value", ast.Constant(None), f"without {ast.unparse(node.value)}"


def code(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of `tree` that compute: no docstring, annotation or message."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.Raise | ast.JoinedStr):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                continue
            yield node
            yield from code(node)


def mutants(source: str) -> Iterator[tuple[int, str, str, ast.Module]]:
    """Yield (line number, the line, what changes, the broken tree) for each mutant of `source`."""
    lines, tree = source.splitlines(), ast.parse(source)
    for node, field, new, text in places(tree):
        old = getattr(node, field)
        setattr(node, field, new)
        broken = ast.fix_missing_locations(copy.deepcopy(tree))
        setattr(node, field, old)
        yield node.lineno, lines[node.lineno - 1].strip(), text.replace("\n", " "), broken


def replace(module: ModuleType, broken: ast.Module) -> None:
    """Put the code of `broken` into the functions and classes of `module` that others hold."""
    fresh = ModuleType(module.__name__)
    fresh.__file__ = module.__file__
    exec(compile(broken, module.__file__, "exec"), vars(fresh))
    for name, new in vars(fresh).items():
        old = vars(module).get(name)
        if isinstance(old, type) and old.__module__ == module.__name__:
            for key in vars(new):
                transplant(vars(old).get(key), vars(new)[key])
        elif callable(old):
            transplant(old, new)
        elif isinstance(new, int | float | tuple | dict):
            setattr(module, name, new)


def transplant(old: object, new: object) -> None:
    """Give the function inside `old` the code and the defaults of the one inside `new`."""
    if hasattr(old, "cache_clear"):
        old.cache_clear()
    inner = [getattr(f, "fget", None) or getattr(f, "__func__", f) for f in (old, new)]
    old, new = (inspect.unwrap(f) if callable(f) else f for f in inner)
    if isinstance(old, FunctionType) and isinstance(new, FunctionType):
        old.__code__ = new.__code__
        old.__defaults__, old.__kwdefaults__ = new.__defaults__, new.__kwdefaults__


class Examiner:
    """A plugin of pytest: in place of running the tests once, runs them for each mutant."""

    def __init__(self, name: str, line: int | None):
        """Take the name of the module, and the line to look at; None is all."""
        self.name, self.line, self.share = name, line, 0.0

    def pytest_runtestloop(self, session) -> bool:
        """Run the tests on the intact module, then on each mutant, and print the survivors."""
        seconds, failed = {}, set()
        for item in [*session.items, *session.items]:  # some tests cannot be run twice
            start, before = time.perf_counter(), session.testsfailed
            run(session, item)
            seconds[item] = time.perf_counter() - start
            if session.testsfailed > before:
                failed.add(item)
        session.testsfailed = 0
        items = sorted({*session.items} - failed, key=seconds.get)
        limit = 20 + 10 * sum(seconds.values())
        source = (ROOT / "ntk_helpers" / f"{self.name}.py").read_text(encoding="utf-8")
        module, known = sys.modules[f"ntk_helpers.{self.name}"], judged(self.name)
        if not survives(session, items, module, ast.parse(source), limit):
            report(f"The tests of {self.name} fail without any change.")
            return True
        died = survived = equal = 0
        for number, text, change, broken in mutants(source):
            if self.line not in (None, number):
                continue
            if (text, change) in known:
                equal += 1
            elif survives(session, items, module, broken, limit):
                survived += 1
                report(f"{self.name} | {text} | {change} | line {number}")
            else:
                died += 1
        self.share = died / max(1, died + survived)
        of = f"{died} of {died + survived} died, {self.share:.1%}"
        report(f"{self.name}: {of}; {equal} more are judged equal.")
        return True


def run(session, item) -> None:
    """Run one test."""
    session.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


def survives(session, items: list, module: ModuleType, broken: ast.Module, limit: float) -> bool:
    """Return whether all tests pass, in a forked process, with the code `broken` in `module`."""
    child = os.fork()
    if child == 0:
        try:
            replace(module, broken)
            for item in items:
                run(session, item)
                if session.testsfailed:
                    os._exit(1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def report(line: str) -> None:
    """Print a line past pytest, which is silent here."""
    print(line, file=sys.__stderr__, flush=True)


def judged(module: str) -> set[tuple[str, str]]:
    """Return (line, what changes) of the mutants of `module` that change nothing a test can see."""
    rows = (row.split(" | ") for row in JUDGED.read_text(encoding="utf-8").splitlines())
    return {(row[1], row[2]) for row in rows if row[0] == module}


def main() -> None:
    """Examine the modules that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", nargs="*", choices=[*TARGETS, []], help="all, if none is named")
    parser.add_argument("--line", type=int, help="only the mutants of this line")
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "NTK_HYPOTHESIS": "mutants"}
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    import pytest

    shares = []
    for name in arguments.module or TARGETS:
        examiner = Examiner(name, arguments.line)
        options = ["-q", "-o", "addopts=", "-p", "no:cacheprovider", "--capture=no", "-k", SLOW]
        tests = [str(ROOT / "tests" / test) for test in TARGETS[name]]
        pytest.main([*options, *tests], plugins=[examiner])
        shares.append(examiner.share)
    sys.exit(min(shares) < ENOUGH)


if __name__ == "__main__":
    main()
