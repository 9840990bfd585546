"""tools/mutants.py breaks what it should, and reaches everybody who holds the code."""

import ast
import contextlib
import functools
import sys
from types import ModuleType

import pytest

from tools.mutants import mutants, replace, wrecks

SOURCE = '''
import functools
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

SIZE = 2
TABLE = {"double": lambda x: 2 * x}
halve = functools.partial(lambda a, x: x / a, 2)


def add(x, more=1):
    """Text with 7 in it stays."""
    if not isinstance(x, int):
        raise TypeError(f"{7} stays")
    return x + more


@functools.cache
def remembered(x):
    return x + 3


@contextmanager
def managed():
    yield 4


def make(y):
    return lambda x: x * y


@dataclass(frozen=True)
class Point:
    x: int = 5

    @property
    def twice(self):
        return self.x * 6


class Pair(NamedTuple):
    first: int = 8


class Child(Pair):
    level = 9

    def __new__(cls):
        return super().__new__(cls, 10)

    @staticmethod
    def still():
        return 11

    @classmethod
    def make(cls):
        yield from (12,)
'''


@pytest.fixture
def module(monkeypatch):
    made = ModuleType("broken_on_purpose")
    made.__file__ = "broken_on_purpose.py"
    monkeypatch.setitem(sys.modules, made.__name__, made)
    exec(compile(SOURCE, made.__file__, "exec"), vars(made))
    return made


def looks(module):
    """Return functions that look at what `module` computes, held by other names."""
    add, remembered, managed, still = (
        module.add, module.remembered, module.managed, module.Child.still
    )  # fmt: skip
    point, child, times = module.Point(), module.Child(), module.make(5)
    return {
        "SIZE": lambda: module.SIZE,
        "TABLE": lambda: module.TABLE["double"](7),
        "halve": lambda: module.halve(8),
        "add": lambda: add(1),
        "cached": lambda: remembered.__wrapped__(1),
        "context": lambda: contextlib.ExitStack().enter_context(managed()),
        "closure": lambda: times(3),
        "default of a class": lambda: module.Point().x,
        "property": lambda: point.twice,
        "default of a tuple": lambda: module.Pair().first,
        "constant of a class": lambda: child.level,
        "super": lambda: tuple(module.Child()),
        "static": still,
        "class": lambda: next(iter(child.make())),
    }, times


def test_every_number_that_is_changed_is_seen_by_those_who_hold_the_code(module):
    seen = set()
    for _, _, _, broken in mutants(SOURCE):
        fresh = ModuleType("broken_on_purpose")
        fresh.__file__ = module.__file__
        sys.modules[fresh.__name__] = fresh
        exec(compile(SOURCE, fresh.__file__, "exec"), vars(fresh))
        look, times = looks(fresh)
        before = {name: f() for name, f in look.items()}
        replace(fresh, broken, closures=[times])
        for name, f in look.items():
            with contextlib.suppress(Exception):
                if f() != before[name]:
                    seen.add(name)
    assert seen == set(before)


def test_who_has_imported_a_constant_gets_the_changed_one(module):
    importer = ModuleType("importer")
    importer.SIZE, importer.halve, importer.add = module.SIZE, module.halve, module.add
    for _, _, change, broken in mutants(SOURCE):
        if change == "2 → 3":
            replace(module, broken, [importer])
            assert importer.SIZE == module.SIZE
            assert importer.halve is module.halve
    assert importer.add is module.add


def test_messages_docstrings_and_annotations_are_left_alone():
    changed = {change for _, _, change, _ in mutants(SOURCE)}
    assert "7 → 8" not in changed
    assert {"2 → 3", "Add → Sub", "Mult → Div", "not not isinstance(x, int)"} <= changed


def test_a_mutant_knows_the_lines_of_its_statement():
    source = "A = 1\n\n\ndef f(x, y=2):\n    z = (\n        3\n    )\n    return z\n"
    places = {change: lines for _, lines, change, _ in mutants(source)}
    assert places == {"1 → 2": None, "2 → 3": None, "3 → 4": range(5, 8)}


def test_every_function_can_be_made_to_raise(module):
    uses = {
        "add": lambda: module.add(1),
        "remembered": lambda: module.remembered.__wrapped__(1),
        "managed": lambda: contextlib.ExitStack().enter_context(module.managed()),
        "twice": lambda: module.Point().twice,
        "__new__": lambda: module.Child(),
        "still": module.Child.still,
        "make": lambda: [module.make(1), *module.Child.make()],
    }
    names = []
    for name, _, broken in wrecks(SOURCE):
        replace(module, broken)
        names.append(name)
        with pytest.raises(AssertionError):
            uses[name]()
    assert names == ["add", "remembered", "managed", "make", "twice", "__new__", "still", "make"]


def test_the_intact_source_changes_nothing(module):
    look, times = looks(module)
    before = {name: f() for name, f in look.items()}
    replace(module, ast.parse(SOURCE), closures=[times])
    assert {name: f() for name, f in look.items()} == before
    assert functools.reduce(module.add, [1, 2, 3]) == 6
