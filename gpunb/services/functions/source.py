"""What a function needs to run elsewhere: its source, and the imports, values and definitions that it uses.

Source travels, not bytecode, so that the two Pythons need not be of one version. A name that the function
uses travels as an import (modules, and what other modules define), as source (functions and classes of its
own file), or as a plain value. What can't is named, with the reason, before anything is sent.
"""

from __future__ import annotations

import builtins
import inspect
import json
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared import variables
from gpunb.agent.shared.plain_values import CantTravel
from gpunb.errors import BadInput
from gpunb.services.functions import parsing
from gpunb.services.functions.argument_classes import argument_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Definition", "gather"]

LARGE = 256 << 10  # bytes of a value from which it is sent by itself, once
_OWN = frozenset(["__name__", "__file__", "__doc__", "__builtins__", "__spec__", "__package__"])


@dataclass(frozen=True, slots=True)
class Definition:
    """A function as it travels.

    Attributes
    ----------
    text
        What `gpunb.agent.kernel.function_calls.define` takes.
    key
        The digest of all that it is: equal definitions are one.
    large
        Values that are sent as variables of the host's kernel, by their names there.
    """

    name: str
    key: str
    text: str
    large: dict[str, Any]


@dataclass(slots=True)
class _Gathered:
    module: str
    file: str
    plain: Callable[[Any], Any]
    imports: list[list[str]] = field(default_factory=list)
    values: list[list[str]] = field(default_factory=list)
    large: dict[str, Any] = field(default_factory=dict)
    parts: list[list[Any]] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    bound: dict[str, Any] = field(default_factory=dict)  # what each name stands for
    problems: list[str] = field(default_factory=list)


def gather(
    function: Callable[..., Any],
    plain: Callable[[Any], Any] = lambda value: value,
    *,
    arguments: Any = None,
) -> Definition:
    """Write down `function` and what it uses, as it is now.

    Parameters
    ----------
    plain
        Gives the function behind a value that stands for one (a decorated function of gpunb's).
    arguments
        What it is called with: classes of its own file, of which there is something in them, go too.

    Raises
    ------
    BadInput
        Something that it uses can't travel; the message names all of it.
    """
    from hashlib import sha256

    raw = inspect.unwrap(function)
    check(raw)
    file = raw.__code__.co_filename
    gathered = _Gathered(
        raw.__module__, Path(file).name if Path(file).suffix == ".py" else f"<{raw.__name__}>", plain
    )
    name = raw.__name__
    _definition(gathered, name, function)
    for cls in argument_classes(raw.__module__, arguments):
        _name(gathered, cls.__name__, {cls.__name__: cls})
    if gathered.problems:
        msg = f"function {name} can't go to the host: {'; '.join(dict.fromkeys(gathered.problems))}"
        raise BadInput(msg, hint="pass it as an argument, make it inside the function, or import it there")
    names = {
        one: f"_gpunb_value_{sha256(f'{gathered.module}.{one}'.encode()).hexdigest()[:16]}"
        for one in gathered.large
    }
    about = {
        "name": name,
        "module": gathered.module,
        "file": gathered.file,
        "imports": gathered.imports,
        "values": gathered.values,
        "large": list(names.items()),
        "parts": gathered.parts,
        "classes": gathered.classes,
    }
    text = json.dumps(about)
    large = {names[one]: (value,) for one, value in gathered.large.items()}
    marks = [variables.digest(variables.pack_first_safe("value", value)[1]) for value in large.values()]
    return Definition(name, sha256("\0".join([text, *marks]).encode()).hexdigest()[:20], text, large)


def check(function: object) -> None:
    """Refuse what is no plain function.

    Raises
    ------
    BadInput
        It is something else, a coroutine or a generator.
    """
    kinds = (
        (not isinstance(function, types.FunctionType), "must be a function that is written in Python"),
        (inspect.iscoroutinefunction(function), "must not be async: await its calls here, by call_async"),
        (
            inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function),
            "must return, not yield",
        ),
    )
    for wrong, rule in kinds:
        if wrong:
            msg = f"function {getattr(function, '__name__', function)!r:.80}: it {rule}"
            raise BadInput(msg)


def _definition(found: _Gathered, name: str, value: Any) -> None:
    """Add a function or class of the module by its source, after what it uses."""
    raw = inspect.unwrap(value)
    if name in found.bound:
        if inspect.unwrap(found.bound[name]) is not raw:
            found.problems.append(f"two different things are called {name} in what it uses")
        return
    found.bound[name] = value
    try:
        piece = parsing.piece(raw, name, lambda decorator: _is_ours(decorator, raw))
    except parsing.NoSource as err:
        found.problems.append(f"{name} ({err})")
        return
    around = _around(raw)
    for used in sorted(piece.uses):
        if used != piece.name and used not in _OWN:
            _name(found, used, around)
    found.parts.append([piece.line, piece.text])
    if piece.name != name:
        found.parts.append([piece.line, f"{name} = {piece.name}\n"])
    if isinstance(raw, type):
        found.classes.append(name)


def _around(raw: Any) -> dict[str, Any]:
    """What names mean where `raw` was written: its module's, and the variables that it closes over."""
    functions = [raw] if isinstance(raw, types.FunctionType) else list(parsing.methods(raw))
    module = sys.modules.get(raw.__module__)
    names: dict[str, Any] = dict(vars(module)) if module is not None else {}
    for one in functions:
        names.update(one.__globals__)
    for one in functions:
        for name, cell in zip(one.__code__.co_freevars, one.__closure__ or (), strict=True):
            try:
                names[name] = cell.cell_contents
            except ValueError:  # noqa: PERF203
                names.pop(name, None)  # not set yet
    return names


def _is_ours(decorator: str, raw: Any) -> bool:
    """Whether a decorator's expression is one of gpunb's, which makes no part of the function there."""
    value: Any = None
    names = {**vars(builtins), **_around(raw)}
    for index, part in enumerate(decorator.split(".")):
        value = names.get(part) if not index else getattr(value, part, None)
    return bool(getattr(value, "is_gpunb_decorator", False)) or (
        value is None and decorator.rpartition(".")[2] == "function"
    )


def _name(found: _Gathered, name: str, around: dict[str, Any]) -> None:
    if name not in around:
        return  # a builtin, or nothing yet: the call says so, as it would here
    value = found.plain(around[name])
    if name in found.bound and found.bound[name] is value:
        return
    raw = inspect.unwrap(value) if callable(value) else value
    if isinstance(raw, (types.FunctionType, type)) and raw.__module__ == found.module:
        _definition(found, name, value)
        return
    for module, member in _paths(found.module, name, value, raw):
        if not member or _member(module, member) is value:
            _bind(found, name, value, [module, member])
            return
    _value(found, name, value)


def _paths(own: str, name: str, value: Any, raw: Any) -> Iterator[tuple[str, str]]:
    """By which modules and members `value` may be imported."""
    if isinstance(value, types.ModuleType):
        yield value.__name__, ""
    if isinstance(raw, (types.FunctionType, type)):
        yield raw.__module__, raw.__qualname__
    path = parsing.imported(sys.modules.get(own), name)
    if path is not None:
        yield path
    if callable(value):  # a function that is not written in Python
        at = (
            getattr(value, "__module__", None),
            getattr(value, "__qualname__", None) or getattr(value, "__name__", None),
        )
        if isinstance(at[0], str) and isinstance(at[1], str):
            yield at[0], at[1]


def _member(module: str, path: str) -> Any:
    value: Any = sys.modules.get(module)
    for part in path.split("."):
        value = getattr(value, part, None)
    return value


def _bind(found: _Gathered, name: str, value: Any, path: list[str]) -> None:
    if name in found.bound:
        found.problems.append(f"two different things are called {name} in what it uses")
        return
    found.bound[name] = value
    found.imports.append([name, *path])


def _value(found: _Gathered, name: str, value: Any) -> None:
    if name in found.bound:
        found.problems.append(f"two different things are called {name} in what it uses")
        return
    found.bound[name] = value
    if why := _unfit(value):
        found.problems.append(f"{name} ({why})")
        return
    try:
        packed = variables.pack("value", (value,), safe=True)
    except CantTravel as err:
        found.problems.append(f"{name} ({err})")
        return
    if sum(packed[0]["sizes"]) >= LARGE:
        found.large[name] = value
    else:
        found.values.append([name, variables.as_text(*packed)])


def _unfit(value: Any) -> str:
    """Why a value can't travel, in the words of who wrote it; "" if its form decides."""
    if hasattr(value, "fileno") and hasattr(value, "read"):
        return "an open file: open it inside the function"
    if type(value).__module__.startswith("gpunb."):
        return f"a {type(value).__name__} of gpunb, which lives in this process"
    if isinstance(value, types.FunctionType):
        return (
            "a lambda whose source can't be found"
            if value.__name__ == "<lambda>"
            else "a function without source"
        )
    return ""
