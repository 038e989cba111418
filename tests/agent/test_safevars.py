"""Variables in forms that run nothing: what they carry, and what lying ones come to."""

from __future__ import annotations

import datetime as dt
import io
import json
import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gpunb.agent.shared import plain_values, variables
from gpunb.agent.shared.variables import CantTravel


def there_and_back(value):
    about, raws = variables.pack("x", value, True)
    assert about["as"] in variables.SAFE
    about = json.loads(json.dumps(about))
    assert about["sizes"] == [memoryview(raw).nbytes for raw in raws]
    return variables.unpack(
        about, [bytearray(memoryview(raw).cast("B") if len(raw) else b"") for raw in raws]
    )


@pytest.mark.parametrize(
    "value",
    [
        {"loss": [np.float32(0.5), np.float64(0.25)], "step": (1, 2, ("a", None))},
        {1: "one", (2, 3): {4.5}, None: frozenset(["x"])},
        {"$": "leaf", "n": 7},
        [b"bytes", bytearray(b"more"), 2**200, 1 + 2j, "é\ud83d"[:1]],
        [dt.datetime(2026, 11, 21, 5, tzinfo=dt.timezone.utc), dt.date(2026, 1, 2), dt.timedelta(-1, 5, 7)],
        (),
        b"bytes alone",
        bytearray(b"alone"),
        np.float32(0.5),
        {"deep": [[[[[{"a": {"b": ()}}]]]]]},
    ],
)
def test_containers_come_back_as_they_were(value):
    back = there_and_back(value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.array(["a", "bcd"]),
        np.array([b"x"]),
        np.array(["2026-11-21", "NaT"], "M8[ns]"),
        np.zeros((0, 3), "i2"),
        np.array(5, ">u4"),
        np.arange(3) + 1j,
    ],
)
def test_arrays_inside_containers(array):
    (back,) = there_and_back((array,))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


def test_tables():
    frame = pd.DataFrame(
        {
            "n": [1, 2, None],
            "word": ["a", None, "c"],
            "at": pd.to_datetime(["2026-01-01", None, "2026-02-01"]),
            "kind": pd.Categorical(["x", "y", "x"]),
        },
        index=["r1", "r2", "r3"],
    )
    pd.testing.assert_frame_equal(there_and_back(frame), frame)
    series = pd.Series([1.5, 2.5], name="loss")
    pd.testing.assert_series_equal(there_and_back(series), series)
    pd.testing.assert_series_equal(there_and_back(pd.Series([1, 2])), pd.Series([1, 2]))
    both = there_and_back({"frame": frame, "table": pa.table({"a": [1, 2]})})
    pd.testing.assert_frame_equal(both["frame"], frame)
    assert both["table"].equals(pa.table({"a": [1, 2]}))


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("code of the host ran here",))


@pytest.mark.parametrize(
    "value",
    [
        Evil(),
        [1, Evil()],
        {"a": {"b": Evil()}},
        np.array([Evil()], dtype=object),
        pd.DataFrame({"a": [Evil()]}),
        pd.Series([Evil(), 1]),
        np.zeros(2, [("a", "O")]),
        dict.fromkeys(range(30_000)),
    ],
)
def test_what_has_no_safe_form_says_so(value):
    with pytest.raises(plain_values.NeedsPickle):
        variables.pack("x", value, True)


def leaf(**about):
    return {"name": "x", "sizes": [0], **about}


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def arrow(table: pa.Table, **options) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


PICKLE = pickle.dumps(Evil())


def extension(name: bytes, metadata: bytes, kind: pa.DataType = pa.int64()) -> bytes:  # noqa: B008
    about = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": metadata}
    field = pa.field("a", kind, metadata=about)
    return arrow(pa.table([pa.array([None], kind)], schema=pa.schema([field])))


def views(count: int, size: int) -> pa.Array:
    whole = pa.array(["x" * size], pa.string_view()).buffers()
    return pa.Array.from_buffers(
        pa.string_view(), count, [None, pa.py_buffer(whole[1].to_pybytes() * count), *whole[2:]]
    )


def long_words() -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int8()), pa.array(["x" * (1 << 20)]))


# small bytes that would be large or run something; each as a column alone, in a struct and in a list
BOMBS = {
    "lists of a fixed size of nothing": pa.FixedSizeListArray.from_arrays(pa.nulls(2_000_000_000), 1_000_000),
    "structs of nothing": pa.StructArray.from_arrays(
        [pa.nulls(2_000_000)] * 500, [f"f{n}" for n in range(500)]
    ),
    "lists of a fixed size of no bytes": pa.FixedSizeListArray.from_arrays(
        pa.array([b""] * 10, pa.binary(0)).take(pa.array([0] * 4_000_000, pa.int32())), 1_000
    ),
    "one text seen many times": views(3000, 1 << 20),
    "long words in lists": pa.ListArray.from_arrays(pa.array(range(5001), pa.int32()), long_words()),
    "long words in structs": pa.StructArray.from_arrays([long_words()], ["w"]),
}


def one_more(array: pa.Array) -> list[pa.Array]:
    count = len(array)
    lists = pa.ListArray.from_arrays(pa.array(range(count + 1), pa.int32()), array)
    return [array, pa.StructArray.from_arrays([array], ["a"]), lists]


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("kind", ["pandas.frame", "pyarrow.table"])
def test_small_bytes_stay_small(name, kind):
    for array in one_more(BOMBS[name]):
        raw = bytearray(arrow(pa.table({"a": array})))
        before = pa.total_allocated_bytes()
        with pytest.raises(CantTravel):
            variables.unpack(leaf(**{"as": "arrow"}, kind=kind), [raw])
        assert pa.total_allocated_bytes() - before < 64 << 20


@pytest.mark.parametrize(
    "raw",
    [
        extension(b"arrow.py_extension_type", PICKLE),  # run by pyarrow before 14.0.1
        extension(b"POLARS_EXTENSION_TYPE", b"1;4702111234474983744", pa.binary(16)),  # a pointer
        extension(b"pandas.period", b'{"freq": "D"}'),
        extension(b"arrow.json", b"", pa.string()),
        extension(b"anything.else", b""),
    ],
)
def test_no_type_of_a_package_is_made(raw):
    with pytest.raises(CantTravel, match="a type of a package's own"):
        variables.unpack(leaf(**{"as": "arrow"}, kind="pyarrow.table"), [bytearray(raw)])


def test_an_old_reader_is_not_given_a_strangers_table(monkeypatch):
    monkeypatch.setattr(pa, "__version__", "14.0.0")
    with pytest.raises(CantTravel, match=r"14\.0\.1 or newer"):
        variables.unpack(
            leaf(**{"as": "arrow"}, kind="pyarrow.table"), [bytearray(arrow(pa.table({"a": [1]})))]
        )


@pytest.mark.parametrize(
    "notes",
    [
        b"{",
        nested(100_000),
        b"[]",
        {"index_columns": [{"kind": "range", "name": None, "start": 0, "stop": 10**12, "step": 1}]},
        {"index_columns": [{"kind": "range", "name": None, "start": 0, "stop": 10**400, "step": 1}]},
        {"index_columns": [{"kind": "range", "name": None, "start": 0, "stop": 1, "step": 0}]},
        {"index_columns": ["nowhere"]},
        {"index_columns": [], "column_indexes": [{"numpy_type": "__import__('os').abort()"}]},
        {"index_columns": ["a"], "columns": [{"name": "a", "field_name": "a", "numpy_type": "Sparse[int]"}]},
        {"index_columns": ["a"], "columns": [{"name": {}, "field_name": [], "numpy_type": "interval"}]},
    ],
)
def test_notes_of_pandas_are_made_anew(notes):
    full = {"column_indexes": [], "columns": [], "creator": {}, "pandas_version": "2"}
    text = notes if isinstance(notes, bytes) else json.dumps({**full, **notes}).encode()
    table = pa.table({"a": [1], "b": [2]}).replace_schema_metadata({b"pandas": text})
    found = variables.unpack(leaf(**{"as": "arrow"}, kind="pandas.frame"), [bytearray(arrow(table))])
    assert len(found) == 1
    assert list(found["b"]) == [2]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": [1, 2, 3]}, index=pd.RangeIndex(10, 16, 2, name="r")),
        pd.DataFrame({1: [1.5], 2: [None]}),
        pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": pd.array([True, None], "boolean")}),
        pd.DataFrame({"a": pd.to_datetime(["2026-01-01", None]).tz_localize("Europe/Berlin")}),
        pd.DataFrame({"x": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", None])),
        pd.DataFrame({"empty": pd.Series([None, None], dtype=object)}),
        pd.DataFrame({"flag": [True, False] * 50_000}),
        pd.DataFrame(),
    ],
)
def test_frames_come_back_as_they_were(frame):
    pd.testing.assert_frame_equal(there_and_back(frame), frame)


LIES = {
    "a pickle called a table": (leaf(**{"as": "arrow"}), [PICKLE]),
    "a pickle called a tree": (leaf(**{"as": "tree"}, leaves=[]), [PICKLE]),
    "a pickle inside a tree": (
        leaf(**{"as": "tree"}, leaves=[{"as": "pickle"}]),
        [b'{"$":"leaf","n":0}', PICKLE],
    ),
    "an object array": (leaf(**{"as": "npy"}, dtype="O", shape=[1], fortran=False), [b"\0" * 8]),
    "an object array by name": (leaf(**{"as": "npy"}, dtype="object", shape=[1]), [b"\0" * 8]),
    "a field of objects": (leaf(**{"as": "npy"}, dtype="i4,O", shape=[1]), [b"\0" * 12]),
    "a dtype that is a list": (leaf(**{"as": "npy"}, dtype=[["a", "O"]], shape=[1]), [b"\0" * 8]),
    "a shape that lies": (leaf(**{"as": "npy"}, dtype="<f8", shape=[2**40]), [b"\0" * 8]),
    "a shape below zero": (leaf(**{"as": "npy"}, dtype="<f8", shape=[-3]), [b"\0" * 8]),
    "deep JSON": (leaf(**{"as": "json"}), [nested(100_000)]),
    "a deep tree": (leaf(**{"as": "tree"}, leaves=[]), [nested(900)]),
    "a very deep tree": (leaf(**{"as": "tree"}, leaves=[]), [nested(60_000)]),
    "a broad tree": (leaf(**{"as": "tree"}, leaves=[]), [b"[" + b"[]," * 900_000 + b"[]]"]),
    "a leaf that is not there": (leaf(**{"as": "tree"}, leaves=[]), [b'{"$":"leaf","n":3}']),
    "a leaf from behind": (leaf(**{"as": "tree"}, leaves=[]), [b'{"$":"leaf","n":-1}']),
    "an unknown kind": (leaf(**{"as": "tree"}, leaves=[]), [b'{"$":"os.system","items":["id"]}']),
    "an attribute for a kind": (leaf(**{"as": "tree"}, leaves=[]), [b'{"$":"sys","text":"x"}']),
    "keys that can't be any": (leaf(**{"as": "tree"}, leaves=[]), [b'{"$":"dict","items":[[[1],2]]}']),
    "keys that collide": (
        leaf(**{"as": "tree"}, leaves=[]),
        [b'{"$":"set","items":[' + b",".join(b"%d" % (n * (2**61 - 1)) for n in range(60_000)) + b"]}"],
    ),
    "a number of many digits": (leaf(**{"as": "json"}), [b"9" * 1_000_000]),
    "no buffers": (leaf(**{"as": "tree"}, leaves=[]), []),
    "no leaves": (leaf(**{"as": "tree"}), [b"[]"]),
    "a form that is none": (leaf(**{"as": "zip"}), [b""]),
    "a zstd bomb in Arrow": (
        leaf(**{"as": "arrow"}, kind="pandas.frame"),
        [arrow(pa.table({"a": pa.array(np.zeros(8_000_000))}), compression="zstd")],
    ),
    "an lz4 bomb in Arrow": (
        leaf(**{"as": "arrow"}, kind="pyarrow.table"),
        [arrow(pa.table({"a": pa.array(np.zeros(8_000_000))}), compression="lz4")],
    ),
    "a column of nothing, very long": (
        leaf(**{"as": "arrow"}, kind="pandas.frame"),
        [arrow(pa.table({"a": pa.nulls(500_000_000)}))],
    ),
    "runs that are very long": (
        leaf(**{"as": "arrow"}, kind="pandas.frame"),
        [
            arrow(
                pa.table(
                    {
                        "a": pa.RunEndEncodedArray.from_arrays(
                            pa.array([2**31 - 1], pa.int32()), pa.array([1.0])
                        )
                    }
                )
            )
        ],
    ),
    "a cut table": (leaf(**{"as": "arrow"}, kind="pandas.frame"), [arrow(pa.table({"a": [1, 2, 3]}))[:-40]]),
    "no table": (leaf(**{"as": "arrow"}, kind="pandas.frame"), [b"\xff" * 400]),
    "a tensor of a module's name": (leaf(**{"as": "tensor"}, dtype="hub", shape=[1]), [b"\0"]),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_end_in_one_line_and_little_memory(name):
    about, raws = LIES[name]
    if name.startswith("a tensor"):
        pytest.importorskip("torch")
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    try:
        with pytest.raises(CantTravel) as caught:
            variables.unpack(about, [bytearray(raw) for raw in raws])
        most = tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - before
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert most < 128 << 20


def test_cut_anywhere_a_table_is_refused_or_read():
    whole = arrow(pa.table({"a": [1, 2, 3], "b": ["x", "y", None]}))
    for at in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        about = leaf(**{"as": "arrow"}, kind="pandas.frame")
        try:
            variables.unpack(about, [broken])
        except CantTravel:
            continue
