"""What is fuzzed: each target takes an input of hypothesis' making and lets only gpunb's own errors out."""

# ruff: noqa: E501 - a target is read best on its line

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import strategies as st

from gpunb.agent.shared import file_frames, variables
from gpunb.agent.shared import frames as protocol
from gpunb.errors import BadInput, GpunbError, ProtocolError
from gpunb.progress import SILENT

ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40),
    st.sampled_from([10**400, -1, float("nan"), float("inf"), "", "../x", "\x1b[2J", "9" * 50, [], {}]),
)  # fmt: skip
JSON = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def framed(body: bytes, number: int) -> bytes:
    return protocol.HEADER.pack(len(body), zlib.crc32(body), number) + body


FRAMES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.builds(framed, st.binary(max_size=60), st.integers(0, 2**64 - 1)),
        st.builds(
            protocol.encode,
            st.dictionaries(st.text(max_size=8), JSON, max_size=4), st.lists(st.binary(max_size=30), max_size=3),
            st.integers(0, 2**64 - 1),
        ),
        st.builds(
            lambda head, rest: framed(struct.pack(">I", len(head)) + head + rest, 1),
            JSON.map(lambda value: json.dumps(value).encode()), st.binary(max_size=30),
        ),
    ),
    max_size=6,
).map(b"".join)  # fmt: skip


def frames(data: bytes, cut: int) -> None:
    decoder = protocol.Decoder(1 << 20)
    with suppress(protocol.FrameError):
        for at in range(0, len(data), max(cut, 1)):
            for number, head, payload in decoder.feed(data[at : at + max(cut, 1)]):
                assert isinstance(head, dict)
                assert 0 <= number < 2**64
                parts = protocol.parts_of(head, payload)
                assert sum(map(len, parts)) == len(payload)


def described(data: bytes) -> None:
    view = memoryview(struct.pack(">Q", len(data)) + data)
    at = [0]

    def recv_into(target: memoryview) -> int:
        part = view[at[0] : at[0] + len(target)]
        target[: len(part)] = part
        at[0] += len(part)
        return len(part)

    with suppress(ValueError, EOFError):
        for item in variables.read_description(recv_into):
            assert all(type(size) is int and size >= 0 for size in item.get("sizes", []))


def unpacked(about: Any, data: bytes) -> None:
    if isinstance(about, dict):
        with suppress(variables.CantTravel):
            variables.unpack({**about, "as": "npy"}, [bytearray(data)])
        with suppress(variables.CantTravel):
            variables.unpack({"as": "json"}, [bytearray(data)])


def runs(raw: Any) -> None:
    from gpunb.remote import RunInfo

    with suppress(ProtocolError):
        info = RunInfo.parse(raw)
        assert info.id.isalnum()


def squeezed(data: bytes) -> None:
    with suppress(ValueError, struct.error, zlib.error, EOFError, IndexError):  # as its callers do
        out = file_frames.unsqueeze(data, 4096)
        assert len(out) <= 4096


def entries(data: bytes) -> None:
    with suppress(ValueError, struct.error, IndexError):
        file_frames.unpack_entries(data)


def query(text: str) -> None:
    from gpunb.offers.language.parser import parse

    with suppress(BadInput):
        parse(text)


def ignore(lines: list[str], path: str) -> None:
    from gpunb.sync.planning.gitignore import Patterns

    with suppress(BadInput, ValueError):
        Patterns(lines).decide(path, folder=False)


def rsync_words(data: bytes) -> None:
    from gpunb.sync import rsync

    files, size = rsync._follow(io.BytesIO(data), 10, SILENT)  # type: ignore[arg-type]
    assert files >= 0
    assert size >= 0
    rsync._version(data)
    rsync._last_words(data)


def vast(row: Any) -> None:
    from gpunb.providers.vast.instances import map_instance
    from gpunb.providers.vast.offers import map_offers

    for offer in map_offers([row], rental="on-demand"):
        assert 0 <= offer.usd_h < 1e9
    with suppress(GpunbError):
        map_instance(row)


def deepinfra(row: Any) -> None:
    from gpunb.providers import deepinfra as module

    with suppress(GpunbError):
        module._offer(row)
    with suppress(GpunbError):
        module.DeepInfraProvider._instance(_bare(module.DeepInfraProvider), row)


def fluence(row: Any) -> None:
    from gpunb.providers.fluence import mapping

    for kind in ("container", "vm"):
        with suppress(GpunbError):
            mapping.instance(row, kind)


def sesterce(row: Any) -> None:
    from gpunb.providers.sesterce import mapping

    with suppress(GpunbError):
        mapping.instance(row)
    with suppress(GpunbError):
        for offer in mapping.offers(row):
            assert 0 <= offer.usd_h < 1e9


def _bare(kind: Any) -> Any:
    return kind.__new__(kind)


def row_of(*fields: str) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(fields), JSON, max_size=len(fields)) | JSON


WORDS = st.sampled_from(
    [
        "gpu",
        "=",
        "!=",
        ">=",
        "<=",
        "(",
        ")",
        "and",
        "or",
        "not",
        "in",
        "[",
        "]",
        ",",
        "$",
        "H100",
        "'x'",
        "80",
        "GB",
        "price",
        "<",
        "vram",
        "1e999",
        "order",
        "by",
        "limit",
        "--",
    ]
)
QUERY = st.one_of(
    st.text(max_size=80),
    st.lists(WORDS, max_size=30).map(" ".join),
    st.lists(st.just("("), max_size=3000).map("".join),
)
TARGETS: dict[str, tuple[Callable[..., None], tuple[st.SearchStrategy[Any], ...]]] = {
    "frames": (frames, (FRAMES, st.integers(1, 64))),
    "a variable's description": (described, (st.binary(max_size=200) | JSON.map(lambda v: json.dumps(v).encode()),)),
    "a variable": (unpacked, (row_of("dtype", "shape", "fortran", "as"), st.binary(max_size=64))),
    "a run's description": (runs, (row_of("run", "kind", "state", "created", "exit", "last", "size", "gpus"),)),
    "compressed files": (squeezed, (st.binary(max_size=200),)),
    "a folder's listing": (entries, (st.binary(max_size=200),)),
    "the query language": (query, (QUERY,)),
    "ignore rules": (ignore, (st.lists(st.text("ab/*!?[]\\# .-^\n\0é", max_size=20), max_size=6), st.text("ab/.", max_size=20))),
    "rsync's words": (rsync_words, (st.lists(st.binary(max_size=40) | st.sampled_from([b">f+++ 7\n", b"9" * 6000, b" 50%\r", b"rsync  version 3.4.1"]), max_size=8).map(b"".join),)),
    "Vast.ai": (vast, (row_of("id", "gpu_name", "num_gpus", "dph_base", "dph_total", "gpu_ram", "ports", "ssh_host", "ssh_port", "actual_status", "geolocation", "status_msg"),)),
    "DeepInfra": (deepinfra, (row_of("id", "gpu_config", "price", "container_id", "state", "ip", "name", "fail_reason"),)),
    "Fluence": (fluence, (row_of("id", "name", "instance_status", "status", "network", "billing", "ssh_connection", "created_at", "domain"),)),
    "Sesterce": (sesterce, (row_of("_id", "id", "status", "ip", "port", "name", "hourlyPrice", "createdAt"),)),
}  # fmt: skip
