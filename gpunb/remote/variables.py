"""Transfer of variables between this process and the host's kernel, over channels of their own.

The bytes of an array go from its memory into the channel and back into
memory, without a file and without a copy in between (pickle protocol 5).
From a host that is not the user's own, only formats that can't run code are
accepted: JSON, and numpy arrays of plain numbers.
"""

from __future__ import annotations

import ast
import json
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared import variables
from gpunb.agent.shared.bulk_channel import room
from gpunb.agent.shared.plain_values import CantTravel
from gpunb.errors import GpunbError, ProtocolError, RunError, Unreachable, VariableError
from gpunb.progress import SILENT, Progress
from gpunb.python_errors import Lacks
from gpunb.remote.bootstrap import agent_version, patience, read_line
from gpunb.ssh.connection import WINDOW
from gpunb.ssh.quoting import quote
from gpunb.text import one_line
from gpunb.units import bytes_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from gpunb.remote.client import AgentClient
    from gpunb.ssh.channel import Channel

__all__ = ["PutReport", "get", "movable", "put"]

BUSY_TIMEOUT = 24 * 3600.0  # a transfer waits for the cell before it
MODULE = "__import__('gpunb_agent.shared.variables', fromlist=['x'])"
WORTH = 1 << 20  # bytes from which the host is asked whether it has the value
SMALL = 8 << 20  # bytes up to which one channel suffices
NEAR = 0.005  # seconds of round trip up to which one channel fills the network, uncompressed
CHANNELS = 8  # OpenSSH allows 10 sessions on a connection, and the agent's is one
READ = 1 << 20
# sshd buffers as much as our window allows, and copies it in memory
NEAR_WINDOW = 4 << 20


@dataclass(frozen=True, slots=True)
class PutReport:
    """The result of `put`: names, bytes, seconds; `same` were there already, unchanged."""

    names: tuple[str, ...]
    bytes: int
    seconds: float
    same: tuple[str, ...] = ()


class _Counter:
    def __init__(self, progress: Progress, total: int) -> None:
        self.progress = progress
        self.total = total
        self.done = 0
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        with self._lock:
            self.done += size
        self.progress.advance(self.done, self.total, "B")


def put(
    client: AgentClient, values: Mapping[str, Any], *, first_safe: bool = False, progress: Progress = SILENT
) -> PutReport:
    """Set variables in the host's kernel.

    Large ones that are unchanged there, by their content's digest, are not sent again.

    Parameters
    ----------
    first_safe
        Whether a safe form is taken where there is one, which any other Python and numpy can read.

    Raises
    ------
    VariableError
        One can't travel; nothing was sent. Or the host could not take one
        (a class of a module that is missing there): the others are there.
    """
    packed = []
    pack = variables.pack_first_safe if first_safe else variables.pack
    for name, value in values.items():
        _check_name(name)
        try:
            packed.append(pack(name, value))
        except CantTravel as err:
            msg = f"variable {name!r} can't be sent: {err}"
            raise VariableError(msg, hint="nothing was sent") from err
    started = time.monotonic()
    same = _unchanged(client, packed)
    packed = [(about, many) for about, many in packed if about["name"] not in same]
    if not packed:
        return PutReport(tuple(values), 0, time.monotonic() - started, same)
    buffers = [one for _, many in packed for one in many]
    total = sum(sum(about["sizes"]) for about, _ in packed)
    progress.say(f"sending {', '.join(about['name'] for about, _ in packed)} ({bytes_text(total)})")
    far = total >= WORTH and client.round_trip() > NEAR
    count = CHANNELS if far and total >= SMALL else 1
    with _Transfer(client, f"receive(%s, globals(), {far})", count, far=far) as transfer:
        counter = _Counter(progress, total)

        def send(channel: Channel, pieces: Sequence[memoryview]) -> None:
            for piece in pieces:
                if far:
                    variables.give(channel.sendall, piece)
                else:
                    channel.sendall(piece)
                counter.add(len(piece))

        try:
            variables.write_description(transfer.lines[0].channel.sendall, [about for about, _ in packed])
            dealt = variables.shares(buffers, len(transfer.lines))
            pairs = zip(transfer.lines, dealt, strict=True)
            variables.together([partial(send, line.channel, share) for line, share in pairs])
        except Unreachable as err:
            transfer.explain(err)
        report = transfer.finish()
    failed = {name: why for name, why in report.items() if why}
    if failed:
        words = "; ".join(f"{name}: {why}" for name, why in failed.items())
        msg = f"the host could not take {words}"
        raise VariableError(msg, lacks=Lacks.of(words), hint="send plain values, arrays or tables of it")
    return PutReport(tuple(values), total, time.monotonic() - started, same)


def _unchanged(client: AgentClient, packed: Sequence[tuple[dict[str, Any], list[Any]]]) -> tuple[str, ...]:
    """Return the names of large items that are the same in the host's kernel.

    First a few places of each are compared, so that what did change costs next to nothing.
    """
    left = {about["name"]: (about, many) for about, many in packed if sum(about["sizes"]) >= WORTH}
    for whole, mark in ((False, variables.sample), (True, variables.digest)):
        if not left:
            break
        with ThreadPoolExecutor(1) as pool:  # both ends compute at once
            here = {name: pool.submit(mark, many) for name, (_, many) in left.items()}
            answer = _call(client, f"known({list(left)!r}, globals(), {whole})")
        there = {one.get("name"): one for one in answer if isinstance(one, dict)}
        left = {
            name: (about, many)
            for name, (about, many) in left.items()
            if there.get(name) == {**about, "mark": here[name].result()}
        }
    return tuple(left)


def _call(client: AgentClient, call: str) -> list[Any]:
    """Call a function of the agent's `variables`; return its JSON list, or an empty one if it is invalid."""
    content = {"code": "", "user_expressions": {"r": f"{MODULE}.{call}"}}
    reply = client.kernel_request("execute_request", content, timeout=BUSY_TIMEOUT)
    try:
        data = json.loads(ast.literal_eval(reply["user_expressions"]["r"]["data"]["text/plain"]))
    except (KeyError, TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return data if isinstance(data, list) else []


def movable(client: AgentClient) -> tuple[dict[str, int], dict[str, str]]:
    """The kernel's variables that travel in safe forms, with their bytes; and why others don't."""
    sizes: dict[str, int] = {}
    left: dict[str, str] = {}
    for one in _call(client, "movable(globals())"):
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str) or not name.isidentifier():
            continue
        size = one.get("size")
        if type(size) is int and size >= 0:
            sizes[name] = size
        else:
            left[name] = one_line(one.get("why", ""), 200)
    return sizes, left


def get(
    client: AgentClient, names: Sequence[str], *, trust: bool = False, progress: Progress = SILENT
) -> dict[str, Any]:
    """Fetch variables of the host's kernel; with `trust`, also pickles from a host that is not "own".

    Raises
    ------
    VariableError
        One is not there, can't travel, or comes in a form that could run code
        here and the host is not the user's own. Nothing is returned then. Or this
        machine can't make one again; the error has the others.
    """
    for name in names:
        _check_name(name)
    progress.say(f"fetching {', '.join(names)}")
    pickles = trust or client.trust == "own"
    far = client.round_trip() > NEAR
    with _Transfer(
        client, f"send(%s, {list(names)!r}, globals(), {not pickles}, {far})", 1, far=far
    ) as transfer:
        line = transfer.lines[0]
        try:
            items = variables.read_description(line.recv_into)
            _refuse(client, items, names, pickles=pickles)
            _check_size(items)
            total = sum(sum(item["sizes"]) for item in items)
            progress.say(f"fetching {', '.join(names)} ({bytes_text(total)})")
            counter = _Counter(progress, total)

            def recv_into(view: memoryview) -> int:
                got = line.recv_into(view)
                counter.add(got)
                return got

            buffers = [[room(size) for size in item["sizes"]] for item in items]
            (pieces,) = variables.shares([one for many in buffers for one in many], 1)
            if far:
                for piece in pieces:
                    variables.take(line.recv_into, piece)
                    counter.add(len(piece))
            else:
                variables.fill(recv_into, pieces)
        except Unreachable as err:
            transfer.explain(err)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as err:
            msg = f"the host described a variable in an unknown form: {one_line(err, 300)}"
            raise ProtocolError(msg) from err
        transfer.finish()
    values: dict[str, Any] = {}
    failed: list[VariableError] = []
    for item, parts in zip(items, buffers, strict=True):
        try:
            values[item["name"]] = _unpack(item, parts)
        except VariableError as err:  # noqa: PERF203 - of each by itself
            failed.append(err)
    if failed:
        msg = "; ".join(err.message for err in failed)
        raise VariableError(msg, values=values, lacks=failed[0].lacks, hint=failed[0].hint) from failed[0]
    return values


def _unpack(item: Mapping[str, Any], buffers: list[Any]) -> Any:
    try:
        return variables.unpack(item, buffers)
    except ModuleNotFoundError as err:
        msg = f"variable {item['name']!r} needs a module that is missing here: {err.name}"
        raise VariableError(msg, hint=f"pip install {err.name}") from err
    except CantTravel as err:
        msg = f"variable {item['name']!r}: {err}"
        raise VariableError(msg) from err
    except Exception as err:  # a pickle runs its class's code, which may exist on the host only
        why = one_line(f"{type(err).__name__}: {err}", 500)
        msg = f"variable {item['name']!r} can't be made again here: {why}"
        lacks = Lacks.of(str(err))
        raise VariableError(msg, lacks=lacks, hint="bring plain values, arrays or tables of it") from err


def _check_size(items: Sequence[Mapping[str, Any]]) -> None:
    """Refuse variables that exceed this machine's free memory."""
    import psutil

    total, free = sum(sum(item["sizes"]) for item in items), psutil.virtual_memory().available
    if total > free:
        msg = f"the variables take {total / 1e9:,.1f} GB, and {free / 1e9:.1f} GB of memory are free here"
        raise VariableError(msg, hint="bring a part of them, or write a file and sync it")


def _refuse(
    client: AgentClient, items: Sequence[Mapping[str, Any]], names: Sequence[str], *, pickles: bool
) -> None:
    if [item["name"] for item in items] != list(names):
        msg = "the host sent variables that were not asked for"
        raise ProtocolError(msg)
    for item in items:
        if "error" in item:
            msg = f"variable {item['name']!r}: {one_line(item['error'], 500)}"
            hint = "--trust takes pickles from this host for once" if item.get("pickle") is True else None
            raise VariableError(msg, hint=hint)
        form = item.get("as")
        if form not in variables.SAFE and not (form == "pickle" and pickles):
            msg = (
                f"variable {item['name']!r} would come as a {one_line(form, 40)}, which can run code here, "
                f"and this host's trust is {client.trust!r}"
            )
            hint = "bring plain values, arrays or tables; --trust takes pickles from this host for once"
            raise VariableError(msg, hint=hint)


def _check_name(name: str) -> None:
    if not name.isidentifier():
        msg = f"variable: {name!r} is not a Python name"
        raise VariableError(msg)


class _Line:
    """One bulk channel."""

    def __init__(self, client: AgentClient, *, far: bool) -> None:
        nonce, token = secrets.token_hex(12), secrets.token_hex(8)
        folder = f"{client.info.folder}/agent/{agent_version()}"
        command = quote([client.info.python, folder, "bulk", token, nonce])
        self.channel = client.connection.channel(command, window=WINDOW if far else NEAR_WINDOW)
        self.path, rest = read_line(self.channel, nonce, patience(client.connection))
        self._rest = memoryview(rest)
        self.channel.settimeout(None)

    def recv_into(self, view: memoryview) -> int:
        """Read at least one byte into `view`; raises `Unreachable` at the end."""
        if not self._rest:
            self._rest = self.channel.take(READ)
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class _Transfer:
    """Bulk channels, and the silent request in the kernel that uses their other ends."""

    def __init__(self, client: AgentClient, call: str, count: int, *, far: bool) -> None:
        self.client = client
        self.call = call
        self.count = count
        self.far = far
        self.lines: list[_Line] = []
        self._reply: dict[str, Any] = {}
        self._error: GpunbError | None = None

    def __enter__(self) -> Self:
        with ThreadPoolExecutor(self.count) as pool:
            tries = [pool.submit(_Line, self.client, far=self.far) for _ in range(self.count)]
        self.lines = [future.result() for future in tries if future.exception() is None]
        if not self.lines:  # fewer than asked for is fine: hosts limit their sessions
            tries[0].result()
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for line in self.lines:
            line.channel.close()

    def _call(self) -> None:
        paths = repr([line.path for line in self.lines])
        content = {"code": "", "user_expressions": {"r": f"{MODULE}.{self.call % paths}"}}
        try:
            reply = self.client.kernel_request("execute_request", content, timeout=BUSY_TIMEOUT)
            self._reply = _result(reply)
        except RunError as err:
            self._error = VariableError(f"the transfer broke off: {err.message}", hint=err.hint)
        except GpunbError as err:
            self._error = err
        finally:
            if self._reply.get("status") != "ok":
                self.__exit__()  # wakes the threads that read or write

    def finish(self) -> dict[str, Any]:
        """Wait for the report of the kernel's side and return it.

        What was sent may lie in pipes while a cell runs: the request for it ends by itself, with its error
        when the kernel ends or the host is lost.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        raw = self._reply
        if raw.get("status") != "ok":
            why = one_line(f"{raw.get('ename', '')} {raw.get('evalue', 'no reply')}", 500)
            msg = f"the host's kernel could not do it: {why}"
            raise VariableError(msg, lacks=Lacks.of(why))
        try:
            report = json.loads(ast.literal_eval(raw["data"]["text/plain"]))
        except (KeyError, TypeError, ValueError, SyntaxError, MemoryError, RecursionError) as err:
            msg = f"the host's kernel answered {one_line(raw, 300)}"
            raise ProtocolError(msg) from err
        return report if isinstance(report, dict) else {}

    def explain(self, err: BaseException) -> None:
        """Raise the reason why the transfer broke."""
        self._thread.join(5)
        if self._error is not None:
            raise self._error
        raw = self._reply
        why = f"{raw.get('ename')}: {raw.get('evalue')}" if raw.get("status") == "error" else str(err)
        msg = f"the transfer broke off: {one_line(why, 500)}"
        raise VariableError(msg, lacks=Lacks.of(why), hint="try again") from err


def _result(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of the kernel's side, with its ``status``."""
    result = reply.get("user_expressions")
    result = result.get("r") if isinstance(result, dict) else None
    if not isinstance(result, dict):
        msg = f"the host's kernel answered {one_line(reply, 300)}"
        raise ProtocolError(msg, hint="try again")
    return result
