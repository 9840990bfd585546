"""Break Python source one sign at a time, and put the broken code where the running one is."""

import ast
import copy
import inspect
import warnings
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType

PLAIN = int | float | str | tuple | dict | FunctionType | None

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
    "maximum": "minimum", "mT": "real", "detach": "clone", "norm": "sum", "add_": "sub_",
    "sub_": "add_", "mul_": "div_", "neg_": "abs_", "exp_": "expm1_", "square_": "sqrt_",
}  # fmt: skip


def mutants(source: str) -> Iterator[tuple[ast.AST, range | None, str, ast.Module]]:
    """Yield (node, lines of its statement, what changes, the broken tree) for each mutant.

    The lines are None outside functions: such code runs when the module is loaded.
    """
    tree = ast.parse(source)
    for node, lines in code(tree):
        for field, new, text in changes(node):
            old = getattr(node, field)
            setattr(node, field, new)
            broken = ast.fix_missing_locations(copy.deepcopy(tree))
            setattr(node, field, old)
            yield node, lines, text.replace("\n", " "), broken


def wrecks(source: str) -> Iterator[tuple[str, range, ast.Module]]:
    """Yield (name, lines of the body, the broken tree) for each function, broken so that it raises.

    What still passes then was not in the place of the code that the tests run.
    """
    tree = ast.parse(source)
    for node, _ in code(tree):
        if isinstance(node, ast.FunctionDef):
            old, first = node.body, node.body[0]
            lines = range(first.lineno, node.end_lineno + 1)
            node.body = [*ast.parse("raise AssertionError").body, *old]
            broken = ast.fix_missing_locations(copy.deepcopy(tree))
            node.body = old
            yield node.name, lines, broken


def changes(node: ast.AST) -> Iterator[tuple[str, object, str]]:
    """Yield (field, new value, what changes) for each mutant of `node`."""
    operator = getattr(node, "op", None) or (getattr(node, "ops", None) or [None])[0]
    if isinstance(operator, ast.USub):
        yield "op", ast.UAdd(), f"− of {ast.unparse(node.operand)}"
    elif type(operator) in SWAPS:
        new = SWAPS[type(operator)]()
        field = "ops" if isinstance(node, ast.Compare) else "op"
        text = f"{type(operator).__name__} → {type(new).__name__}"
        yield field, [new, *node.ops[1:]] if field == "ops" else new, text
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "value", not node.value, f"{node.value} → {not node.value}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield "value", node.value + 1, f"{node.value} → {node.value + 1}"
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield "attr", NAMES[node.attr], f"{node.attr} → {NAMES[node.attr]}"
    elif isinstance(node, ast.Name) and node.id in ("min", "max", "any", "all", "sum"):
        yield "id", NAMES[node.id].replace("mean", "len"), f"{node.id} → other"
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield "test", ast.UnaryOp(ast.Not(), node.test), f"not {ast.unparse(node.test)}"
    elif isinstance(node, ast.Expr):
        yield "value", ast.Constant(None), f"without {ast.unparse(node.value)}"


def code(
    tree: ast.AST, lines: range | None = None, *, within: bool = False
) -> Iterator[tuple[ast.AST, range | None]]:
    """Yield the nodes of `tree` that compute, with the lines of their statement in a function.

    No docstring, annotation or message computes.
    """
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        inside = within or (isinstance(tree, ast.FunctionDef) and field == "body")
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.Raise | ast.JoinedStr):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                continue
            statement = inside and isinstance(node, ast.stmt)
            here = range(node.lineno, node.end_lineno + 1) if statement else lines
            yield node, here
            yield from code(node, here, within=inside)


def replace(
    module: ModuleType,
    broken: ast.Module,
    holders: Iterable[ModuleType] = (),
    closures: Iterable[FunctionType] = (),
) -> None:
    """Put what `broken` defines in the place of what `module`, and others, hold.

    Functions and classes stay the objects that they are and get new code, since anybody may hold
    them; so do the `closures` that functions of `module` have made. Other values are put into
    `module`, and into those of `holders` that have imported them.
    """
    fresh, compiled = ModuleType(module.__name__), compile(broken, module.__file__, "exec")
    fresh.__file__ = module.__file__
    exec(compiled, vars(fresh))
    for name, new in vars(fresh).items():
        old = vars(module).get(name)
        if new is old or name.startswith("__"):
            continue
        if isinstance(old, type) and old.__module__ == module.__name__:
            for key, value in vars(new).items():
                moved = transplant(vars(old).get(key), value)
                if not moved and isinstance(value, PLAIN) and key not in ("__doc__", "__dict__"):
                    setattr(old, key, value)
        elif not transplant(old, new):
            for holder in [module, *holders]:
                if vars(holder).get(name) is old:
                    setattr(holder, name, new)
    by_place = {(c.co_qualname, c.co_firstlineno): c for c in nested(compiled)}
    for closure in closures:
        old = closure.__code__
        new = by_place.get((old.co_qualname, old.co_firstlineno), old)
        if new.co_freevars == old.co_freevars:
            give(closure, new)


def nested(compiled: CodeType) -> Iterator[CodeType]:
    """Yield the code of all functions in `compiled`, those in functions too."""
    for constant in compiled.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from nested(constant)


def transplant(old: object, new: object) -> bool:
    """Give the function inside `old` the code of the one inside `new`; False if there is none."""
    inner = [getattr(f, "fget", None) or getattr(f, "__func__", f) for f in (old, new)]
    old, new = (inspect.unwrap(f) if callable(f) else f for f in inner)
    if not (isinstance(old, FunctionType) and isinstance(new, FunctionType)):
        return False
    if old.__code__.co_freevars != new.__code__.co_freevars:  # as without super()
        return False
    give(old, new.__code__)
    old.__defaults__, old.__kwdefaults__ = new.__defaults__, new.__kwdefaults__
    return True


def give(function: FunctionType, code: CodeType) -> None:
    """Put `code` into `function`, also where its yield is gone, of which Python 3.14 warns."""
    with warnings.catch_warnings():
        text = "Assigning a code object of non-matching type"
        warnings.filterwarnings("ignore", text, DeprecationWarning)
        function.__code__ = code
