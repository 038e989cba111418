"""Safe encoding of variables that runs no code: trees of plain values, arrays, tables, tensors.

Used where the other end accepts no pickle. A value without such a form raises
`NeedsPickle`, which names the part that prevents it. The reader checks
everything: counts, depths and types; tables are read by `tables`.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_NODES = 200_000  # values in one tree
MAX_DEPTH = 40
MAX_KEYS = 20_000  # of a set, or of a dict without string keys: hashes of numbers can be made to collide
MAX_TREE = 32 << 20  # bytes of a tree's JSON
_NUMBERS = ["%s%d" % (kind, bits) for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
TENSORS = frozenset(
    ["bool", "uint8", *_NUMBERS[:4], "float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
)


class CantTravel(Exception):
    """An object that can't be sent, with the reason."""


class NeedsPickle(CantTravel):
    """An object that can only be sent as a pickle."""


def pack(name: str, value: Any) -> tuple[dict[str, Any], list[Any]]:
    """Encode `value`: its description and its buffers.

    Raises
    ------
    NeedsPickle
        It, or something in it, has no safe form.
    """
    leaf = _leaf(value)
    if leaf is not None and leaf[0]["as"] != "bytes" and "scalar" not in leaf[0]:  # those only in a tree
        return dict(leaf[0], name=name), [leaf[1]]
    leaves: list[tuple[dict[str, Any], Any]] = []
    tree = _Tree(leaves)
    text = json.dumps(tree.plain(value, 0)).encode("utf-8")
    if len(text) > MAX_TREE:
        raise NeedsPickle("it holds over %d MB of plain values; put numbers in an array" % (MAX_TREE >> 20))
    raws = [raw for _, raw in leaves]
    about: dict[str, Any] = {"name": name, "as": "tree", "sizes": [len(text), *[_size(raw) for raw in raws]]}
    about["leaves"] = [one for one, _ in leaves]
    return about, [text, *raws]


def _size(raw: Any) -> int:
    return memoryview(raw).nbytes


def _leaf(value: Any) -> tuple[dict[str, Any], Any] | None:
    """Encode an array, a table, a tensor or bytes; None for anything else."""
    from . import variables

    kind = type(value)
    if kind in (bytes, bytearray):
        return {"as": "bytes", "sizes": [len(value)], "kind": kind.__name__}, value
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and (kind is numpy.ndarray or isinstance(value, numpy.generic)):
        return variables.pack_array(numpy.asarray(value), scalar=kind is not numpy.ndarray)
    if torch is not None and isinstance(value, torch.Tensor):
        return _tensor(torch, value)
    return _table(value)


def _tensor(torch: Any, value: Any) -> tuple[dict[str, Any], Any]:
    if value.device.type != "cpu":
        msg = "it lives on %s; send a copy in main memory (.cpu())" % value.device
        raise CantTravel(msg)
    name = str(value.dtype).partition(".")[2]
    if name not in TENSORS or value.layout is not torch.strided:
        raise NeedsPickle("a tensor of %s, %s" % (value.dtype, value.layout))
    flat = value.detach().contiguous().reshape(-1)
    raw = memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else memoryview(b"")
    return {"as": "tensor", "sizes": [raw.nbytes], "dtype": name, "shape": list(value.shape)}, raw


def _table(value: Any) -> tuple[dict[str, Any], Any] | None:
    """Encode a table of pandas, polars or pyarrow as an Arrow stream."""
    module = type(value).__module__.partition(".")[0]
    kind = {"DataFrame": "frame", "Series": "series", "Table": "table"}.get(type(value).__name__)
    if module not in ("pandas", "polars", "pyarrow") or kind is None:
        return None
    try:
        import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        msg = "a table travels by Arrow, and pyarrow is missing on the host"
        raise NeedsPickle(msg) from None
    try:
        if module == "pandas":
            name = "value" if kind == "frame" or value.name is None else value.name
            table = pa.Table.from_pandas(value.to_frame(name=name) if kind == "series" else value)
        elif module == "polars":
            table = (value.to_frame() if kind == "series" else value).to_arrow()
        else:
            table = value
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    except (pa.ArrowException, TypeError, ValueError) as err:
        raise NeedsPickle("Arrow has no form for it: %s" % str(err)[:300]) from None
    raw = memoryview(sink.getvalue())
    about: dict[str, Any] = {"as": "arrow", "sizes": [raw.nbytes], "kind": "%s.%s" % (module, kind)}
    if kind == "series" and getattr(value, "name", None) is None:
        about["nameless"] = True
    return about, raw


class _Tree:
    """Encodes containers as JSON; other values go to `leaves` or under ``$``."""

    def __init__(self, leaves: list[tuple[dict[str, Any], Any]]) -> None:
        self.leaves = leaves
        self.nodes = 0

    def plain(self, value: Any, depth: int) -> Any:
        """Encode `value` as JSON."""
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise NeedsPickle("it holds over %d values, or %d levels" % (MAX_NODES, MAX_DEPTH))
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value
        if kind is list:
            return [self.plain(one, depth + 1) for one in value]
        if kind is dict and all(type(key) is str for key in value) and "$" not in value:
            return {key: self.plain(one, depth + 1) for key, one in value.items()}
        return self._marked(kind, value, depth)

    def _marked(self, kind: type, value: Any, depth: int) -> dict[str, Any]:
        """Encode a value that JSON does not have."""
        if kind is dict:
            self._few(value)
            pairs = [[self.plain(key, depth + 1), self.plain(one, depth + 1)] for key, one in value.items()]
            return {"$": "dict", "items": pairs}
        if kind in (tuple, set, frozenset):
            if kind is not tuple:
                self._few(value)
            return {"$": kind.__name__, "items": [self.plain(one, depth + 1) for one in value]}
        if kind is complex:
            return {"$": "complex", "items": [value.real, value.imag]}
        if kind in (dt.datetime, dt.date, dt.time):
            return {"$": kind.__name__, "text": value.isoformat()}
        if kind is dt.timedelta:
            return {"$": "timedelta", "items": [value.days, value.seconds, value.microseconds]}
        leaf = _leaf(value)
        if leaf is None:
            raise NeedsPickle("%s.%s has no form but a pickle" % (kind.__module__, kind.__qualname__))
        self.leaves.append(leaf)
        return {"$": "leaf", "n": len(self.leaves) - 1}

    @staticmethod
    def _few(value: Any) -> None:
        if len(value) > MAX_KEYS:
            raise NeedsPickle("a set, or a dict with other keys than texts, of over %d" % MAX_KEYS)


def unpack(about: Mapping[str, Any], buffers: Sequence[Any]) -> Any:
    """Decode the result of `pack`, without trust in the sender.

    Raises
    ------
    CantTravel, ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError
        It is not as described.
    """
    form = about["as"]
    if form == "tree":
        text = bytes(buffers[0])
        if len(text) > MAX_TREE or text.count(b",") + text.count(b"[") + text.count(b"{") > 4 * MAX_NODES:
            msg = "a tree of too many values"
            raise CantTravel(msg)
        found = [_read_leaf(one, raw) for one, raw in zip(about["leaves"], buffers[1:])]
        return _built(json.loads(text.decode("utf-8")), found, 0)
    return _read_leaf(about, buffers[0])


def _read_leaf(about: Mapping[str, Any], raw: Any) -> Any:
    form = about["as"]
    if form == "npy":
        from . import variables

        found = variables.unpack(about, [raw])
        return found[()] if about.get("scalar") else found
    if form == "bytes":
        return bytearray(raw) if about.get("kind") == "bytearray" else bytes(raw)
    if form == "tensor":
        return _read_tensor(about, raw)
    if form == "arrow":
        return _read_table(about, raw)
    raise CantTravel("a part of unknown form %.40r" % (form,))


def _read_tensor(about: Mapping[str, Any], raw: Any) -> Any:
    import torch  # type: ignore[import-not-found, unused-ignore]

    if about["dtype"] not in TENSORS:
        raise CantTravel("a tensor of unknown type %.40r" % (about["dtype"],))
    dtype = getattr(torch, about["dtype"])
    shape = [int(size) for size in about["shape"][:64]]
    if not len(raw):
        return torch.empty(shape, dtype=dtype) if 0 in shape else torch.zeros(shape, dtype=dtype)[:0]
    return torch.frombuffer(raw, dtype=dtype).reshape(shape)


def _built(tree: Any, leaves: Sequence[Any], depth: int) -> Any:
    if depth > 2 * MAX_DEPTH:
        msg = "a tree of too many levels"
        raise CantTravel(msg)
    if isinstance(tree, list):
        return [_built(one, leaves, depth + 1) for one in tree]
    if not isinstance(tree, dict):
        return tree
    mark = tree.get("$")
    if mark is None:
        return {key: _built(one, leaves, depth + 1) for key, one in tree.items()}
    if mark == "leaf":
        number = tree["n"]
        if type(number) is not int or number < 0:
            raise CantTravel("a part of number %.40r" % (number,))
        return leaves[number]
    if mark in ("datetime", "date", "time"):
        return getattr(dt, mark).fromisoformat(str(tree["text"])[:64])
    items = tree["items"]
    if not isinstance(items, list) or mark not in _MAKERS or (mark != "tuple" and len(items) > MAX_KEYS):
        raise CantTravel("a %.40r of unknown kind, or of too many items" % (mark,))
    return _MAKERS[mark]([_built(item, leaves, depth + 1) for item in items])


# constructors from a list of decoded values
_MAKERS: dict[str, Callable[[list[Any]], Any]] = {
    "dict": lambda pairs: {key: one for key, one in pairs},  # noqa: C416 - pairs that are no pairs fail here
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "complex": lambda two: complex(*two),
    "timedelta": lambda three: dt.timedelta(*three),
}


def _read_table(about: Mapping[str, Any], raw: Any) -> Any:
    import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

    from . import tables

    try:
        table = tables.read(pa, raw)
        kind = str(about.get("kind"))
        if kind.startswith("pandas."):
            frame = tables.to_pandas(table)
            found = frame.iloc[:, 0] if kind == "pandas.series" else frame
            return found.rename(None) if about.get("nameless") else found
        if kind.startswith("polars."):
            import polars as pl  # type: ignore[import-not-found, unused-ignore]

            made = pl.from_arrow(table)
            return made.to_series() if kind == "polars.series" else made
    except tables.BadTable as err:
        raise CantTravel(str(err)) from None
    except (CantTravel, ImportError):
        raise
    except Exception as err:  # noqa: BLE001 - whatever these libraries say to bytes that are no table
        raise CantTravel("it is no table: %s" % str(err)[:200].replace("\n", " ")) from None
    return table
