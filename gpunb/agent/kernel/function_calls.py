"""Runs inside the kernel: functions that came as source, and their calls.

A definition is JSON: the imports, plain values and pieces of source that a function uses, in the order in
which they depend on each other. Arguments and results travel in the forms of `variables`: as text where they
are small, as variables of the kernel where they are not.
"""

from __future__ import annotations
import __future__

import importlib
import json
import linecache
import sys
import types
from typing import TYPE_CHECKING, Any

from ..shared import variables
from ..shared.plain_values import CantTravel, NeedsPickle

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER = "gpunb-call"
MOST_KEPT = 200  # definitions; an older one is sent again

_defined: dict[str, Callable[..., Any]] = {}


def define(key: str, text: str) -> None:
    """Make the function of a definition, unless it is there.

    Raises
    ------
    ImportError, SyntaxError, Exception
        Whatever its imports and source raise here.
    """
    __tracebackhide__ = True
    if key in _defined:
        return
    about = json.loads(text)
    user: dict[str, Any] = sys.modules["__main__"].__dict__
    module = types.ModuleType(about["module"])
    lent = sys.modules.setdefault(about["module"], module)  # dataclasses and pickles look a class's module up
    space = module.__dict__
    space["__file__"] = about["file"]
    for name, path, member in about["imports"]:
        found = importlib.import_module(path)
        for part in member.split(".") if member else ():
            found = getattr(found, part)
        space[name] = found
    for name, value in about["values"]:
        (space[name],) = variables.from_text(value)
    for name, variable in about["large"]:
        (space[name],) = user[variable]
    _remember_lines(about["file"], about["parts"])
    flags = __future__.annotations.compiler_flag
    for line, source in about["parts"]:
        code = compile("\n" * (line - 1) + source, about["file"], "exec", flags=flags, dont_inherit=True)
        exec(code, space)  # noqa: S102 - what this is for
    for name in about["classes"]:
        setattr(lent, name, space[name])
    while len(_defined) >= MOST_KEPT:
        del _defined[next(iter(_defined))]
    _defined[key] = space[about["name"]]


def _remember_lines(file: str, parts: list[list[Any]]) -> None:
    """Let tracebacks show the lines of the source, at their numbers."""
    known = linecache.cache.get(file)
    lines = list(known[2]) if known is not None and len(known) > 2 and known[2] is not None else []
    for line, source in parts:
        pieces = source.splitlines(keepends=True)
        lines += ["\n"] * (line - 1 + len(pieces) - len(lines))
        lines[line - 1 : line - 1 + len(pieces)] = pieces
    linecache.cache[file] = (sum(map(len, lines)), None, lines, file)


def call(key: str, call_id: str, arguments: list[Any], safe: bool, most: int) -> None:
    """Call the function, and display its answer: the result as text, or the variable that holds it.

    Parameters
    ----------
    arguments
        ``["text", text]``, or ``["variables", names of the positional ones, {keyword: name}]``.
    safe
        Whether the result must not be a pickle.
    most
        Characters of a result that is answered as text.
    """
    __tracebackhide__ = True
    function = _defined.get(key)
    if function is None:
        _answer(call_id, {"undefined": True})
        return
    user: dict[str, Any] = sys.modules["__main__"].__dict__
    if arguments[0] == "text":
        positional, named = variables.from_text(arguments[1])
    else:
        positional = [user.pop(name) for name in arguments[1]]
        named = {keyword: user.pop(name) for keyword, name in arguments[2].items()}
    try:
        result = (function(*positional, **named),)  # in a tuple every value has its own form
    except BaseException:
        _hide_cell(user)
        raise
    del positional, named
    try:
        packed = variables.pack_first_safe("result", result, only_safe=safe)
    except CantTravel as err:
        pickle = isinstance(err, NeedsPickle)
        _answer(call_id, {"error": str(err), "pickle": pickle})
        return
    if sum(packed[0]["sizes"]) * 4 // 3 < most:
        _answer(call_id, {"value": variables.as_text(*packed)})
        return
    name = "_gpunb_result_" + call_id
    user[name] = result
    _answer(call_id, {"variable": name})


def _hide_cell(user: dict[str, Any]) -> None:
    """Keep the cell that made the call, all of whose arguments are in its line, out of the traceback."""
    shell = _shell()

    def end(*_: Any) -> None:
        user.pop("__tracebackhide__", None)
        shell.events.unregister("post_run_cell", end)

    user["__tracebackhide__"] = True
    shell.events.register("post_run_cell", end)


def _shell() -> Any:
    from IPython.core.getipython import get_ipython  # type: ignore[import-not-found, unused-ignore]

    return get_ipython()


def _answer(call_id: str, what: dict[str, Any]) -> None:
    text = " ".join([ANSWER, call_id, json.dumps(what)])
    _shell().display_pub.publish({"text/plain": text})
