"""Runs inside the kernel: moves variables over a private socket, without a file.

Layout of a transfer, both ways: u64 length, JSON description, then the raw
bytes of every item in order, split in pieces over one or several channels
(`shares`); with a long round trip each piece may be compressed (`give`). An item is one of::

    {"name", "as": "json",   "sizes": [n]}
    {"name", "as": "npy",    "sizes": [n], "dtype", "shape", "fortran"}
    {"name", "as": "arrow",  "sizes": [n], "kind"}      an Arrow stream: a table, or a pandas one
    {"name", "as": "tensor", "sizes": [n], "dtype", "shape"}          a torch tensor's numbers
    {"name", "as": "tree",   "sizes": [n, ...], "leaves": [...]}   containers of all these
    {"name", "as": "pickle", "sizes": [n, buffer, buffer, ...]}
    {"name", "error": reason, "pickle": whether it would go as one}

All but a pickle are `SAFE`: reading them runs no code of the sender's. A tree
is JSON in which ``{"$": kind, ...}`` encodes values that JSON does not have.

The same code packs and unpacks at the other end (`gpunb.remote.variables`).
Pickle protocol 5 keeps large buffers out of band, so nothing is copied.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import pickle
import struct
import sys
import threading
import types
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

from . import plain_values
from .bulk_channel import BulkLine, room
from .plain_values import CantTravel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LENGTH = struct.Struct(">Q")
MAX_DESCRIPTION = 16 << 20
MAX_JSON = 1 << 20
MAX_PIECES = 500_000
CHUNK = 4 << 20
SAMPLE = 16 << 10  # bytes that a sample reads at each place
SAMPLES = 16
WORTHWHILE = 0.8  # of its size: a piece that compresses less is sent as it is
PIECE_HEAD = struct.Struct(">IB")
PIECE = 1 << 20  # bytes dealt to one channel at a time


SAFE = frozenset(["json", "npy", "arrow", "tensor", "tree"])


def _plain(value: Any, depth: int = 0) -> bool:
    if depth > 20:
        return False
    if value is None or type(value) in (bool, int, float, str):
        return True
    if type(value) is list:
        return len(value) < 100000 and all(_plain(one, depth + 1) for one in value)
    if type(value) is dict:
        return len(value) < 100000 and all(
            type(key) is str and _plain(one, depth + 1) for key, one in value.items()
        )
    return False


def _reason(value: Any, err: object) -> str:
    kind = type(value)
    where = "%s.%s" % (kind.__module__, kind.__qualname__)
    device = getattr(value, "device", None)
    if device is not None and "cuda" in str(device):
        return "it lives on %s; send a copy in main memory (.cpu())" % device
    if hasattr(value, "fileno") and hasattr(value, "read"):
        return "it is an open file; send its path or its contents"
    if "<locals>" in where or "<lambda>" in str(err):
        return "%s is defined inside a function; define it at the top of a module" % where
    return "%s can't be pickled: %s" % (where, err)


def pack(name: str, value: Any, safe: bool = False) -> tuple[dict[str, Any], list[Any]]:
    """Encode `value`: its description and its buffers (bytes-like), without copies where possible.

    With `safe` never as a pickle, since the other end would refuse one.
    """
    if _plain(value):
        text = json.dumps(value).encode("utf-8")
        if len(text) <= MAX_JSON:
            return {"name": name, "as": "json", "sizes": [len(text)]}, [text]
    numpy = sys.modules.get("numpy")
    if numpy is not None and type(value) is numpy.ndarray:
        packed = pack_array(value)
        if packed is not None:
            return dict(packed[0], name=name), [packed[1]]
    if "cuda" in str(getattr(value, "device", "")):
        raise CantTravel(_reason(value, ""))
    if safe:
        return plain_values.pack(name, value)
    buffers: list[pickle.PickleBuffer] = []
    try:
        body = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    except Exception as err:  # whatever __reduce__ raises is the reason
        raise CantTravel(_reason(value, err)) from err
    raws = [buffer.raw() for buffer in buffers]
    return {"name": name, "as": "pickle", "sizes": [len(body)] + [raw.nbytes for raw in raws]}, [body, *raws]


def pack_first_safe(name: str, value: Any, only_safe: bool = False) -> tuple[dict[str, Any], list[Any]]:
    """Encode `value` in a safe form where it has one, else as a pickle unless `only_safe`.

    Between two versions of Python or numpy the safe forms are also the ones that both can read.
    """
    try:
        return pack(name, value, True)
    except plain_values.NeedsPickle:
        if only_safe:
            raise
        return pack(name, value)


def as_text(about: Mapping[str, Any], buffers: Sequence[Any]) -> str:
    """Write what `pack` made as one line of text."""
    raws = [base64.b64encode(bytes(buffer)).decode("ascii") for buffer in buffers]
    return json.dumps([dict(about), raws])


def from_text(text: str, pickles: bool = True) -> Any:
    """Decode the result of `as_text`; without `pickles` only the safe forms.

    Raises
    ------
    CantTravel
        It is not of that form, or is a pickle.
    """
    try:
        about, raws = json.loads(text)
        buffers = [bytearray(base64.b64decode(raw, validate=True)) for raw in raws]
        form, sizes = about["as"], about["sizes"]
    except (KeyError, RecursionError, TypeError, ValueError) as err:
        raise CantTravel("it came in an unknown form: %s" % str(err)[:200]) from None
    if form not in SAFE and not (pickles and form == "pickle"):
        raise CantTravel("it came as a %.40s, which can run code here" % (form,))
    if sizes != [len(buffer) for buffer in buffers]:
        raise CantTravel("it came with other sizes than it said")  # noqa: EM101
    return unpack(about, buffers)


def pack_array(value: Any, scalar: bool = False) -> tuple[dict[str, Any], Any] | None:
    """Encode an array of plain numbers; None for one that has no such form."""
    if value.dtype.hasobject or value.dtype.names or value.dtype.kind not in "biufcSUmM":
        return None
    fortran = bool(value.flags.f_contiguous and not value.flags.c_contiguous)
    whole = value if value.flags.c_contiguous or fortran else value.copy(order="C")
    plain = whole.view("i8") if whole.dtype.kind in "mM" else whole  # datetimes have no buffer protocol
    raw = memoryview(plain.T if fortran else plain).cast("B") if whole.size else memoryview(b"")
    about = {"as": "npy", "sizes": [len(raw)], "dtype": whole.dtype.str, "shape": list(whole.shape)}
    about["fortran"] = fortran
    if scalar:
        about["scalar"] = True
    return about, raw


def unpack(about: Mapping[str, Any], buffers: Sequence[Any]) -> Any:
    """Decode the result of `pack`; `buffers` are writable bytes-like objects."""
    if about["as"] == "json":
        try:
            return json.loads(bytes(buffers[0]).decode("utf-8"))
        except (ValueError, RecursionError, IndexError) as err:
            raise CantTravel("it came as JSON that is none: %s" % str(err)[:200]) from None
    if about["as"] == "npy":
        try:
            return _array(about, buffers[0])
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, SyntaxError) as err:
            raise CantTravel("it came as an array that is none: %s" % str(err)[:200]) from None
    if about["as"] in ("arrow", "tensor", "tree"):
        try:
            return plain_values.unpack(about, buffers)
        except (
            AttributeError,
            IndexError,
            KeyError,
            OverflowError,
            RecursionError,
            struct.error,
            TypeError,
            ValueError,
        ) as err:
            raise CantTravel("it came as a %s that is none: %s" % (about["as"], str(err)[:200])) from None
    if about["as"] == "pickle":
        return pickle.loads(bytes(buffers[0]), buffers=buffers[1:])  # noqa: S301
    raise CantTravel("an item of unknown form %r" % about["as"])


def _array(about: Mapping[str, Any], buffer: Any) -> Any:
    """Make an array of plain numbers over `buffer`, without a copy."""
    import numpy as np

    if not isinstance(about["dtype"], str) or len(about["dtype"]) > 32:
        msg = "its dtype is no plain one"
        raise CantTravel(msg)
    dtype = np.dtype(about["dtype"])
    if dtype.hasobject:
        msg = "an array of objects can't come as plain bytes"
        raise CantTravel(msg)
    shape = tuple(int(n) for n in about["shape"][:64])
    if min(shape, default=0) < 0:
        msg = "its shape is below zero"
        raise CantTravel(msg)
    flat = np.frombuffer(buffer, dtype=dtype)
    return flat.reshape(shape[::-1]).T if about.get("fortran") else flat.reshape(shape)


def sample(buffers: Sequence[Any]) -> str:
    """Digest a few places of `buffers`: a different result means different content."""
    found = hashlib.blake2b(digest_size=16)
    for buffer in buffers:
        view = memoryview(buffer).cast("B") if memoryview(buffer).nbytes else memoryview(b"")
        for at in range(0, len(view), max(SAMPLE, len(view) // SAMPLES)):
            found.update(view[at : at + SAMPLE])
        found.update(view[-SAMPLE:])
    return found.hexdigest()


def digest(buffers: Sequence[Any]) -> str:
    """Digest all of `buffers`."""
    found = hashlib.blake2b(digest_size=16)
    for buffer in buffers:
        found.update(buffer)
    return found.hexdigest()


def known(names: list[str], namespace: dict[str, Any], whole: bool) -> str:
    """Describe the variables `names` as JSON: each item's description with a `sample` or `digest`.

    Missing variables, and those that have another form or can't be sent, are left out.
    """
    out = []
    for name in names:
        try:
            about, buffers = pack(name, namespace[name])
        except (KeyError, CantTravel):
            continue
        out.append(dict(about, mark=digest(buffers) if whole else sample(buffers)))
    return json.dumps(out)


def movable(namespace: dict[str, Any]) -> str:
    """Describe as JSON which variables travel in forms that can't run code, and why others don't."""
    hidden = getattr(namespace.get("get_ipython", dict)(), "user_ns_hidden", {})
    code = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
    out = []
    for name, value in list(namespace.items()):
        if name.startswith("_") or name in hidden or isinstance(value, code):
            continue
        try:
            about, _ = pack(name, value, safe=True)
        except CantTravel as err:
            out.append({"name": name, "why": str(err)})
        else:
            out.append({"name": name, "size": sum(about["sizes"])})
    return json.dumps(out)


def read_exactly(recv_into: Callable[[memoryview], int], size: int) -> bytearray:
    """Read `size` bytes into a bytearray."""
    data = bytearray(size)
    view = memoryview(data)
    at = 0
    while at < size:
        got = recv_into(view[at : at + CHUNK])
        if not got:
            raise EOFError("the line closed after %d of %d bytes" % (at, size))
        at += got
    return data


def read_description(recv_into: Callable[[memoryview], int]) -> list[dict[str, Any]]:
    """Read the list of items that follow.

    Raises
    ------
    ValueError
        Too long, or not of the documented shape.
    """
    (size,) = LENGTH.unpack(bytes(read_exactly(recv_into, LENGTH.size)))
    if size > MAX_DESCRIPTION:
        raise ValueError("a description of %d bytes is over the limit" % size)
    text = bytes(read_exactly(recv_into, size))
    if text.count(b",") + text.count(b"[") + text.count(b"{") > MAX_PIECES:
        raise ValueError("a description of %d bytes has more than %d pieces" % (size, MAX_PIECES))
    try:
        items = json.loads(text.decode("utf-8"))
    except RecursionError:
        msg = "a description that is too deep"
        raise ValueError(msg) from None
    if not isinstance(items, list):
        msg = "a description that is no list"
        raise ValueError(msg)  # noqa: TRY004 - one error for all that is not as agreed
    for item in items:
        sizes = item.get("sizes", []) if isinstance(item, dict) else None
        if (
            not isinstance(sizes, list)
            or not isinstance(item.get("name"), str)
            or not all(type(n) is int and 0 <= n < 1 << 50 for n in sizes)
        ):
            raise ValueError("an item's description is %.200r" % (item,))
    return items


def write_description(sendall: Callable[[Any], Any], items: list[dict[str, Any]]) -> None:
    """Write the list of items that follow."""
    text = json.dumps(items).encode("utf-8")
    sendall(LENGTH.pack(len(text)) + text)


def shares(buffers: Sequence[Any], count: int) -> list[list[memoryview]]:
    """Cut `buffers` into pieces and deal them to `count` channels; both ends deal alike.

    One channel is limited to one window per round trip, so with a long round
    trip several carry more. A piece is a view: nothing is copied.
    """
    dealt: list[list[memoryview]] = [[] for _ in range(count)]
    turn = 0
    for buffer in buffers:
        view = memoryview(buffer)
        if view.nbytes:
            view = view.cast("B")
            for at in range(0, len(view), PIECE):
                dealt[turn % count].append(view[at : at + PIECE])
                turn += 1
    return dealt


def fill(recv_into: Callable[[memoryview], int], pieces: Sequence[memoryview]) -> None:
    """Read one channel's pieces into place."""
    for piece in pieces:
        at = 0
        while at < len(piece):
            got = recv_into(piece[at:])
            if not got:
                raise EOFError("the line closed with %d bytes to come" % (len(piece) - at))
            at += got


def squeezed(piece: memoryview) -> bytes | None:
    """Compress `piece`; None if a sample of it shows that this does not pay."""
    middle = len(piece) // 2
    some = bytes(piece[: SAMPLE // 2]) + bytes(piece[middle : middle + SAMPLE // 2])
    if len(zlib.compress(some, 1)) > WORTHWHILE * len(some):
        return None
    packed = zlib.compress(piece, 1)
    return packed if len(packed) < WORTHWHILE * len(piece) else None


def give(sendall: Callable[[Any], Any], piece: memoryview) -> None:
    """Send one piece of a far transfer: its length on the wire, a compression flag, its bytes."""
    packed = squeezed(piece)
    if packed is None:
        sendall(PIECE_HEAD.pack(len(piece), 0))
        sendall(piece)
    else:
        sendall(PIECE_HEAD.pack(len(packed), 1) + packed)


def take(recv_into: Callable[[memoryview], int], piece: memoryview) -> None:
    """Read the result of `give` into place.

    Raises
    ------
    ValueError
        It is not of the size that was described: nothing larger is ever unpacked.
    """
    size, packed = PIECE_HEAD.unpack(bytes(read_exactly(recv_into, PIECE_HEAD.size)))
    if packed not in (0, 1) or (size != len(piece) if not packed else size > len(piece)):
        raise ValueError("a piece of %d bytes in the place of %d" % (size, len(piece)))
    if not packed:
        fill(recv_into, [piece])
        return
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(bytes(read_exactly(recv_into, size)), len(piece))
    except zlib.error as err:
        raise ValueError("a compressed piece that is none: %s" % err) from None
    if len(data) != len(piece) or not unpacker.eof:
        raise ValueError("a compressed piece that is not of %d bytes" % len(piece))
    piece[:] = data


def take_all(recv_into: Callable[[memoryview], int], pieces: Sequence[memoryview]) -> None:
    """Read one channel's pieces, each with `take`."""
    for piece in pieces:
        take(recv_into, piece)


def together(work: Sequence[Callable[[], None]]) -> None:
    """Run all of `work` at once, in threads; the first failure is raised."""
    errors: list[BaseException] = []

    def one(each: Callable[[], None]) -> None:
        try:
            each()
        except BaseException as err:  # noqa: BLE001 - raised below, in the caller's thread
            errors.append(err)

    threads = [threading.Thread(target=one, args=(each,)) for each in work[1:]]
    for thread in threads:
        thread.start()
    if work:
        one(work[0])
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def receive(paths: list[str], namespace: dict[str, Any], far: bool = False) -> str:
    """Receive items from the sockets at `paths` into `namespace`; returns a JSON report.

    With `far` each piece has a header of its own (`give`).
    """
    report: dict[str, str | None] = {}
    with contextlib.ExitStack() as opened:
        lines = [opened.enter_context(contextlib.closing(BulkLine(path))) for path in paths]
        items = read_description(lines[0].recv_into)
        buffers = [[room(size) for size in item["sizes"]] for item in items]
        dealt = shares([one for many in buffers for one in many], len(lines))
        taking = take_all if far else fill
        together([partial(taking, line.recv_into, share) for line, share in zip(lines, dealt)])
        for about, parts in zip(items, buffers):
            try:
                namespace[about["name"]] = unpack(about, parts)
                report[about["name"]] = None
            except Exception as err:  # noqa: BLE001 - e.g. a module that is missing here
                report[about["name"]] = "%s: %s" % (type(err).__name__, err)
    return json.dumps(report)


def send(
    paths: list[str], names: list[str], namespace: dict[str, Any], safe: bool = False, far: bool = False
) -> str:
    """Send the variables `names` of `namespace` to the sockets at `paths`; with `safe` not as pickles."""
    items: list[dict[str, Any]] = []
    buffers: list[Any] = []
    for name in names:
        try:
            if name not in namespace:
                raise CantTravel("there is no variable of that name on the host")  # noqa: EM101, TRY301
            about, raws = pack(name, namespace[name], safe)
        except CantTravel as err:
            about, raws = {"name": name, "error": str(err), "sizes": []}, []
            about["pickle"] = isinstance(err, plain_values.NeedsPickle)
        items.append(about)
        buffers += raws
    with contextlib.ExitStack() as opened:
        lines = [opened.enter_context(contextlib.closing(BulkLine(path))) for path in paths]
        write_description(lines[0].sendall, items)
        dealt = shares(buffers, len(lines))
        together([partial(_send_share, line, share, far) for line, share in zip(lines, dealt)])
    return json.dumps({})


def _send_share(line: BulkLine, pieces: Sequence[memoryview], far: bool) -> None:
    for piece in pieces:
        if far:
            give(line.sendall, piece)
        else:
            line.sendall(piece)
