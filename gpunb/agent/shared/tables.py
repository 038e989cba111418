"""Tables as Arrow streams, read without trust in the sender.

Arrow's readers trust their input: old ones run a pickle that describes a type, a few bytes can claim
any amount of memory (compressed bodies, empty columns, one text referred to a thousand times), and the
metadata of pandas and polars makes them build types by name. So a stream is checked before a reader
gets it, the table after it, and the metadata is rebuilt.
"""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST = (14, 0, 1)  # of pyarrow: those before run what a stream brings (CVE-2023-47248)
CELLS_A_BYTE = 16  # a truth value takes a bit
FREE_CELLS = 100_000
TEXT_A_BYTE = 64  # of views, which may refer to one text many times
MAX_NOTES = 4 << 20
_DICTIONARY, _RECORDS = 2, 3  # kinds of messages
_NUMBERS = ["%s%d" % (kind, bits) for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
_VIEWS = frozenset(["string_view", "binary_view"])
_FLAT_TYPES = frozenset(
    ["null", "bool", "halffloat", "float", "double", *_NUMBERS, *_VIEWS]
    + ["string", "large_string", "binary", "large_binary", "fixed_size_binary"]
    + ["date32", "date64", "time32", "time64", "timestamp", "duration", "month_day_nano_interval"]
    + ["decimal%d" % bits for bits in (32, 64, 128, 256)]
)
_NESTED = frozenset(["list", "large_list", "fixed_size_list", "struct", "map"])
# of pandas' own types: numpy's, its nullable ones, texts and categories
_PANDAS_TYPE = re.compile(
    r"(?:bool|boolean|object|str|string(?:\[(?:python|pyarrow|pyarrow_numpy)\])?|category"
    r"|[Uu]?[Ii]nt(?:8|16|32|64)|[Ff]loat(?:16|32|64)"
    r"|(?:datetime64|timedelta64)\[(?:s|ms|us|ns)\]|datetime64\[(?:s|ms|us|ns), [\w+:/-]{1,40}\])\Z",
    re.ASCII,
)
_WORD = re.compile(r"[a-z0-9_\[\]]{1,40}\Z")


class BadTable(Exception):
    """A stream that is refused, with the reason."""


def read(pa: Any, raw: Any) -> Any:
    """Read the table in `raw`; its size is in proportion to the bytes received.

    Raises
    ------
    BadTable
        It is none, or one that would cost or do more than it should.
    """
    found = tuple(int(part) for part in re.findall(r"\d+", pa.__version__)[:3])
    if found < OLDEST:
        raise BadTable("pyarrow %s may run what a table brings; it takes 14.0.1 or newer" % pa.__version__)
    _look(raw)
    table = pa.ipc.open_stream(pa.py_buffer(raw)).read_all()
    for field in table.schema:
        _check_type(field.type, 0)
    shown = sum(_shown(chunk) for column in table.columns for chunk in column.chunks)
    if shown > TEXT_A_BYTE * len(raw) + FREE_CELLS:
        raise BadTable("a table whose texts would be %d bytes, of %d" % (shown, len(raw)))
    table.validate(full=True)
    return table


def _look(raw: Any) -> None:
    """Check a stream's messages before Arrow reads them."""
    cells = 0
    for metadata in _messages(memoryview(raw).cast("B")):
        if b"ARROW:extension:" in metadata:
            msg = "a table with a type of a package's own"
            raise BadTable(msg)
        batch = _batch(metadata)
        if batch:
            if _field(metadata, batch, 3):
                msg = "a compressed table, which may claim any amount of memory"
                raise BadTable(msg)
            cells += sum(_lengths(metadata, batch))
    if cells > CELLS_A_BYTE * len(raw) + FREE_CELLS:
        raise BadTable("a table of %d cells in %d bytes" % (cells, len(raw)))


def _messages(data: memoryview) -> Iterator[bytes]:
    """Yield the metadata of each message of a stream (Arrow's "encapsulated message format")."""
    at = 0
    while at + 8 <= len(data):
        begin, size = struct.unpack_from("<Ii", data, at)
        if begin != 0xFFFFFFFF or size < 0:
            msg = "it is no Arrow stream"
            raise BadTable(msg)
        if size == 0:
            return
        metadata = bytes(data[at + 8 : at + 8 + size])
        message = struct.unpack_from("<I", metadata)[0]
        length_at = _field(metadata, message, 3)
        body = struct.unpack_from("<q", metadata, length_at)[0] if length_at else 0
        if len(metadata) < size or not 0 <= body <= len(data):
            msg = "an Arrow stream that is cut"
            raise BadTable(msg)
        yield metadata
        at += 8 + size + body


def _batch(metadata: bytes) -> int:
    """The offset of a message's RecordBatch, 0 if it has none (Message.fbs of Arrow)."""
    message = struct.unpack_from("<I", metadata)[0]
    kind_at, header = _field(metadata, message, 1), _field(metadata, message, 2)
    kind = metadata[kind_at] if kind_at else 0
    if kind not in (_DICTIONARY, _RECORDS) or not header:
        return 0
    batch = int(header + struct.unpack_from("<I", metadata, header)[0])
    if kind == _DICTIONARY:
        data = _field(metadata, batch, 1)
        return int(data + struct.unpack_from("<I", metadata, data)[0]) if data else 0
    return batch


def _lengths(metadata: bytes, batch: int) -> Iterator[int]:
    """Yield the number of values of each column and of each part of one."""
    length_at, nodes_at = _field(metadata, batch, 0), _field(metadata, batch, 1)
    yield _positive(struct.unpack_from("<q", metadata, length_at)[0] if length_at else 0)
    if not nodes_at:
        return
    vector = nodes_at + struct.unpack_from("<I", metadata, nodes_at)[0]
    for number in range(min(struct.unpack_from("<I", metadata, vector)[0], len(metadata))):
        yield _positive(struct.unpack_from("<q", metadata, vector + 4 + 16 * number)[0])


def _positive(number: int) -> int:
    if number < 0:
        msg = "a table with fewer than no values"
        raise BadTable(msg)
    return int(number) + 1


def _field(data: bytes, table: int, number: int) -> int:
    """The offset of field `number` in the flatbuffer table at `table`, 0 if it is not set.

    Raises
    ------
    struct.error
        There is no such table.
    """
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if vtable < 0:
        msg = "a table before the beginning"
        raise struct.error(msg)
    size = struct.unpack_from("<H", data, vtable)[0]
    at = 4 + 2 * number
    offset = struct.unpack_from("<H", data, vtable + at)[0] if at + 2 <= size else 0
    return table + offset if offset else 0


def _check_type(kind: Any, depth: int) -> None:
    name = _name(kind)
    if name == "dictionary" and depth == 0:  # a column of categories; nested ones would be expanded
        _check_type(kind.value_type, depth + 1)
        return
    if depth > 8 or (name not in _FLAT_TYPES and name not in _NESTED):
        raise BadTable("a table with a column of %.60s" % kind)
    for number in range(kind.num_fields):
        _check_type(kind.field(number).type, depth + 1)


def _name(kind: Any) -> str:
    return str(kind).partition("[")[0].partition("<")[0].partition("(")[0].strip()


def _shown(array: Any) -> int:
    """Bytes of text that views in `array` refer to; types with offsets can't exceed their data."""
    name = _name(array.type)
    if name in _VIEWS:
        views = array.buffers()[1]
        lengths = memoryview(views).cast("B").cast("i")[::4] if views is not None and views.size else []
        return sum(max(int(length), 0) for length in lengths)
    if name == "dictionary":
        return _shown(array.dictionary)
    if name == "struct":
        return sum(_shown(array.field(number)) for number in range(array.type.num_fields))
    if name == "map":
        return _shown(array.keys) + _shown(array.items)
    return _shown(array.values) if name in _NESTED else 0


def to_pandas(table: Any) -> Any:
    """Convert to a DataFrame, with pandas metadata rebuilt from checked values."""
    metadata = table.schema.metadata or {}
    raw = metadata.get(b"pandas")
    notes = _notes(raw, table) if raw is not None and len(raw) <= MAX_NOTES else None
    kept = None if notes is None else {b"pandas": json.dumps(notes).encode("utf-8")}
    return table.replace_schema_metadata(kept).to_pandas()


def _notes(raw: bytes, table: Any) -> dict[str, Any] | None:
    """Rebuild pandas' metadata of index and columns: known fields, in known types."""
    try:
        data = json.loads(raw.decode("utf-8"))
        index = [_index(column, table) for column in data["index_columns"]]
        columns = [_column(column) for column in data["columns"][: 2 * table.num_columns + 100]]
        levels = [_column(one) for one in data["column_indexes"][:16]]
        version = str(data.get("pandas_version", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
    creator = {"library": "pyarrow", "version": "0"}
    known = version if re.match(r"[\w.+-]{1,40}\Z", version) else "2.0.0"
    made = {"index_columns": index, "columns": columns, "column_indexes": levels}
    return dict(made, creator=creator, pandas_version=known)


def _index(one: Any, table: Any) -> Any:
    if isinstance(one, str):
        if one not in table.column_names:
            raise ValueError
        return one
    start, stop, step = (one[name] for name in ("start", "stop", "step"))
    whole = all(type(number) is int for number in (start, stop, step)) and one["kind"] == "range" and step
    if not whole or len(range(start, stop, step)) != table.num_rows:
        raise ValueError
    return {"kind": "range", "name": _label(one["name"]), "start": start, "stop": stop, "step": step}


def _column(one: Any) -> dict[str, Any]:
    pandas_type, numpy_type = one.get("pandas_type"), one.get("numpy_type")
    return {
        "name": _label(one.get("name")),
        "field_name": _label(one.get("field_name")),
        "pandas_type": pandas_type if _fits(_WORD, pandas_type) else "object",
        "numpy_type": numpy_type if _fits(_PANDAS_TYPE, numpy_type) else "object",
        "metadata": _more(one.get("metadata")),
    }


def _fits(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.match(value) is not None


def _label(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError
    return value


def _more(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    kinds = {"encoding": str, "timezone": str, "unit": str, "num_categories": int, "ordered": bool}
    kinds.update(precision=int, scale=int)
    return {key: value[key] for key, kind in kinds.items() if type(value.get(key)) is kind} or None
