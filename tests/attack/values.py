"""Hostile variables: what `%gpu get` makes of a kernel that sends something else than it should."""

from __future__ import annotations

import json
import pickle
import zlib
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared.variables import PIECE_HEAD
from gpunb.remote import get
from tests.attack.frame import Place, case
from tests.attack.hostile.mimic import Mimic, client, variables

if TYPE_CHECKING:
    from collections.abc import Mapping


def take(
    place: Place, *items: Mapping[str, Any], data: bytes = b"", trust: str = "stranger", far: bool = False
) -> str:
    host = Mimic(place)
    host.bulk = variables(*items, data=data)
    reply = {"reply": {"user_expressions": {"r": {"status": "ok", "data": {"text/plain": "'{}'"}}}}}
    host.answers = {"kernel": reply}
    with client(place, host, trust=trust, far=far) as found:
        return f"taken: {str(get(found, ['x']))[:100]}"


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


@case("a pickle that writes a file", "would come as a pickle, which can run code here")
def _(place: Place) -> str:
    body = pickle.dumps(_Bomb(str(place.touched)))
    return take(place, {"name": "x", "as": "pickle", "sizes": [len(body)]}, data=body)


@case("a pickle under the name of a datacenter", "would come as a pickle, which can run code here")
def _(place: Place) -> str:
    body = pickle.dumps(_Bomb(str(place.touched)))
    return take(place, {"name": "x", "as": "pickle", "sizes": [len(body)]}, data=body, trust="datacenter")


@case("a form that does not exist", "unknown form|would come as")
def _(place: Place) -> str:
    return take(place, {"name": "x", "as": "cloudpickle", "sizes": [1]}, data=b"x")


@case("an array of objects", "array of objects can't come|that is none")
def _(place: Place) -> str:
    about = {"name": "x", "as": "npy", "sizes": [8], "dtype": "|O", "shape": [1], "fortran": False}
    return take(place, about, data=b"\1\2\3\4\5\6\7\0")


@case("dtypes that are programs", "is no plain one|that is none")
def _(place: Place) -> str:
    about = {"name": "x", "as": "npy", "sizes": [8], "shape": [1], "fortran": False}
    return take(place, {**about, "dtype": [["a", "O"], ["b", {"c": 1}]]}, data=b"\0" * 8)


@case("shapes that do not fit", "came as an array that is none")
def _(place: Place) -> str:
    about = {"name": "x", "as": "npy", "sizes": [8], "dtype": "<f8", "shape": [10**9, 10**9], "fortran": True}
    return take(place, about, data=b"\0" * 8)


@case("10 GB announced and 8 bytes sent", "(transfer broke off|closed|line)")
def _(place: Place) -> str:
    about = {"name": "x", "as": "npy", "sizes": [10 * 2**30], "dtype": "<f8", "shape": [1], "fortran": False}
    host = Mimic(place)
    send = variables(about, data=b"\0" * 8)
    host.bulk = lambda channel: (send(channel), channel.close())
    host.answers = {"kernel": {"reply": {"user_expressions": {"r": {"status": "ok", "data": {}}}}}}
    with client(place, host) as found:
        return str(get(found, ["x"]))


def far(place: Place, size: int, packed: int, body: bytes, claimed: int | None = None) -> str:
    """A piece in the form of a far transfer (see `gpunb.agent.shared.variables.give`)."""
    head = PIECE_HEAD.pack(len(body) if claimed is None else claimed, packed)
    return take(place, {"name": "x", "as": "json", "sizes": [size]}, data=head + body, far=True)


@case("1 MB, compressed, in the place of 100 bytes", "a compressed piece that is not of 100 bytes")
def _(place: Place) -> str:
    return far(place, 100, 1, zlib.compress(b"1" * 2**20)[:100])


@case("compressed bytes that are none", "a compressed piece that is none")
def _(place: Place) -> str:
    return far(place, 100, 1, b"1" * 100)


@case("a piece of 4 GB in the place of 100 bytes", "a piece of [0-9]+ bytes in the place of 100")
def _(place: Place) -> str:
    return far(place, 100, 0, b"1" * 100, claimed=2**32 - 1)


@case("a flag that does not exist", "a piece of 100 bytes in the place of 100")
def _(place: Place) -> str:
    return far(place, 100, 7, b"1" * 100)


@case("a variable of 2**60 bytes", "described a variable in an unknown form")
def _(place: Place) -> str:
    return take(place, {"name": "x", "as": "json", "sizes": [2**60]})


@case("JSON 100,000 levels deep", "JSON that is none")
def _(place: Place) -> str:
    body = b"[" * 100_000 + b"]" * 100_000
    return take(place, {"name": "x", "as": "json", "sizes": [len(body)]}, data=body)


@case("descriptions that are no list, or too deep", "described a variable in an unknown form")
def _(place: Place) -> str:
    host = Mimic(place)
    text = b"[" * 200_000 + b"]" * 200_000
    host.bulk = lambda channel: channel.sendall(len(text).to_bytes(8, "big") + text)
    with client(place, host) as found:
        return str(get(found, ["x"]))


@case("a description of 1 GB", "described a variable in an unknown form")
def _(place: Place) -> str:
    host = Mimic(place)
    host.bulk = lambda channel: channel.sendall((2**30).to_bytes(8, "big") + b"[" * 1000)
    with client(place, host) as found:
        return str(get(found, ["x"]))


@case("another variable than asked for", "sent variables that were not asked for")
def _(place: Place) -> str:
    return take(place, {"name": "__builtins__", "as": "json", "sizes": [2]}, data=b"{}")


@case("sizes that are negative, true or texts", "described a variable in an unknown form")
def _(place: Place) -> str:
    return take(place, {"name": "x", "as": "json", "sizes": [-1, True, "9"]})


@case("a reason with escapes why it can't be sent", "^variable 'x': ")
def _(place: Place) -> str:
    return take(place, {"name": "x", "error": "\x1b]0;owned\x07\x1b[2J" * 1000, "sizes": []})


@case("a reply of the kernel that is Python code", "(answered|could not do it|taken)")
def _(place: Place) -> str:
    host = Mimic(place)
    host.bulk = variables({"name": "x", "as": "json", "sizes": [1]}, data=b"1")
    code = f"__import__('os').system('touch {place.touched}')"
    reply = {"user_expressions": {"r": {"status": "ok", "data": {"text/plain": code}}}}
    host.answers = {"kernel": {"reply": reply}}
    with client(place, host) as found:
        return f"taken: {json.dumps(get(found, ['x']))}"


def table(place: Place, made: Any, kind: str = "pandas.frame") -> str:
    """A table, as a host sends it."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    raw = sink.getvalue().to_pybytes()
    return take(place, {"name": "x", "as": "arrow", "kind": kind, "sizes": [len(raw)]}, data=raw)


@case("312 bytes of a table that would be 3 GB", "a table of [0-9]+ cells in [0-9]+ bytes")
def _(place: Place) -> str:
    import pyarrow as pa

    return table(place, pa.table({"a": pa.FixedSizeListArray.from_arrays(pa.nulls(4 * 10**8), 10**6)}))


@case("a table whose type is a pickle", "a type of a package's own")
def _(place: Place) -> str:
    import pyarrow as pa

    bomb = pickle.dumps(_Bomb(str(place.touched)))
    about = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": bomb}
    schema = pa.schema([pa.field("a", pa.int64(), metadata=about)])
    return table(place, pa.table([pa.array([1])], schema=schema), "pyarrow.table")


@case("a table whose type is a pointer of polars", "a type of a package's own")
def _(place: Place) -> str:
    import pyarrow as pa

    about = {b"ARROW:extension:name": b"POLARS_EXTENSION_TYPE", b"ARROW:extension:metadata": b"1;64"}
    schema = pa.schema([pa.field("a", pa.binary(16), metadata=about)])
    return table(place, pa.table([pa.array([b"A" * 16], pa.binary(16))], schema=schema), "polars.frame")


@case("one text seen a thousand times", "a table whose texts would be")
def _(place: Place) -> str:
    import pyarrow as pa

    one = pa.array(["x" * (2 << 20)], pa.string_view()).buffers()
    many = [None, pa.py_buffer(one[1].to_pybytes() * 3000), *one[2:]]
    return table(place, pa.table({"a": pa.Array.from_buffers(pa.string_view(), 3000, many)}))
