"""Whether networks can be trained in one batch: they differ in nothing but their parameters."""

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from ntk_helpers import _checks

TABLES = ("_parameters", "_buffers", "_modules")
VALUES = (int, float, complex, str, bytes, set, frozenset, torch.dtype, torch.device)
VALUES += (type, BuiltinFunctionType)


def require_alike(models: Sequence[nn.Module]) -> list[nn.Module]:
    """Return `models` as a list, or say which of them is not built as the first, and in what.

    Raises:
        TypeError: If `models` is not a list of modules.
        ValueError: If it is empty, or they differ in more than the values of parameters and
            buffers, or share a parameter that is trained.
    """
    if isinstance(models, nn.Module) or not isinstance(models, Iterable):
        raise TypeError(
            f"models must be a list of modules; got {type(models).__name__}. [model] makes one."
        )
    models = list(models)
    if not models:
        raise ValueError("models is empty: give at least one network.")
    owners = {}
    for e, model in enumerate(models):
        parameters = _checks.trainable_parameters(model)
        what = next(_differences(models[0], model), None)
        if what is not None:
            raise ValueError(
                f"models[{e}] is not built as models[0]: they differ in {what}. Networks that are "
                f"trained in one batch may differ in their parameters' values only."
            )
        for name, p in parameters.items():
            if owners.setdefault(p, e) != e:
                raise ValueError(
                    f"models[{owners[p]}] and models[{e}] share the parameter {name!r}, but each "
                    f"is trained by itself. Give each its own, as copy.deepcopy(model) does."
                )
    return models


def _differences(one: nn.Module, other: nn.Module) -> Iterator[str]:
    """Yield in what two models are not built alike: layers, their tensors, their attributes."""
    for kind in ("modules", "parameters", "buffers"):
        first, second = ([n for n, _ in getattr(m, f"named_{kind}")()] for m in (one, other))
        if first != second:
            yield f"the names of their {kind}"
            return
    for (name, a), b in zip(one.named_modules(), other.modules(), strict=True):
        layer = f"layer {name!r}" if name else "the model itself"
        if type_before_parametrizations(a) is not type_before_parametrizations(b):
            yield f"the type of {layer}"
        for kind in TABLES[:2]:
            if _kinds(vars(a)[kind]) != _kinds(vars(b)[kind]):
                yield f"shape, dtype, device or requires_grad of {kind[1:]} of {layer}"
        for key in vars(a) | vars(b):
            if key not in TABLES and not _same(vars(a).get(key), vars(b).get(key), {}):
                yield f"{key!r} of {layer}"


def _kinds(tensors: dict[str, Tensor | None]) -> list[tuple]:
    """Return what of some named tensors does not depend on their values."""
    return [
        (name, t if t is None else (t.shape, t.dtype, t.device, t.requires_grad))
        for name, t in tensors.items()
    ]


def _same(a: object, b: object, met: dict) -> bool:
    """Return whether two attributes do the same, as far as can be seen; `met` ends cycles.

    Modules and parameters among them are compared where they are registered.
    """
    if a is b:
        return True
    if isinstance(a, VALUES):
        return type(a) is type(b) and a == b
    for kind in (nn.Module | nn.Parameter, logging.Logger):
        if isinstance(a, kind):
            return isinstance(b, kind)
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        if _kinds({"": a}) != _kinds({"": b}):
            return False
        same = (a == b) | ((a != a) & (b != b))  # so is NaN
        return a.requires_grad or bool(same.all())  # with a graph, it follows from parameters
    if (id(a), id(b)) in met:
        return True
    met[id(a), id(b)] = a, b  # alive, so that no other object gets this id
    one, other = map(_parts, (a, b))
    return len(one) == len(other) and all(map(_same, one, other, repeat(met)))


def _parts(thing: object) -> list[object]:
    """Return what a collection, a function or any object holds, and what a function does."""
    if isinstance(thing, list | tuple):
        return thing
    if isinstance(thing, OrderedDict):  # of hooks: its keys are running numbers
        return list(thing.values())
    if isinstance(thing, dict):
        return [*thing.keys(), *thing.values()]
    if isinstance(thing, FunctionType):
        closure = [_content(cell) for cell in thing.__closure__ or ()]
        return [thing.__code__, thing.__defaults__, thing.__kwdefaults__, closure]
    if isinstance(thing, CodeType):  # its equality would compare numbers of lines
        return [thing.co_code, thing.co_names, thing.co_consts]
    if isinstance(thing, MethodType):
        return [thing.__func__, thing.__self__]
    if isinstance(thing, partial):
        return [thing.func, thing.args, thing.keywords]
    return [getattr(thing, "__dict__", None)]


def _content(cell: CellType) -> object:
    """Return what a variable of a closure holds, None for one that was never set."""
    try:
        return cell.cell_contents
    except ValueError:
        return None
