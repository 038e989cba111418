"""Variables between here and the host's kernel, over a channel of their own.

The bytes of an array go from its memory into the channel and back into
memory, without a file and without a copy in between (pickle protocol 5).
From a host that is not the user's own, only forms that can't run code are
taken: JSON, and numpy arrays of plain numbers.
"""

from __future__ import annotations

import ast
import json
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.agent import kernelvars
from gpunb.errors import GpunbError, ProtocolError, RunError, VariableError
from gpunb.progress import SILENT, Progress
from gpunb.remote.bootstrap import agent_version, read_line
from gpunb.ssh.quoting import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paramiko import Channel
    from typing_extensions import Self

    from gpunb.remote.client import AgentClient

__all__ = ["PutReport", "get", "put"]

BUSY_TIMEOUT = 24 * 3600.0  # a transfer waits for the cell before it


@dataclass(frozen=True, slots=True)
class PutReport:
    """What was sent: names, bytes, seconds."""

    names: tuple[str, ...]
    bytes: int
    seconds: float


class _Counter:
    def __init__(self, progress: Progress, total: int) -> None:
        self.progress = progress
        self.total = total
        self.done = 0

    def add(self, size: int) -> None:
        self.done += size
        self.progress.advance(self.done, self.total, "B")


def put(client: AgentClient, values: Mapping[str, Any], *, progress: Progress = SILENT) -> PutReport:
    """Set variables in the host's kernel.

    Raises
    ------
    VariableError
        One can't travel; nothing was sent. Or the host could not take one
        (a class of a module that is missing there): the others are there.
    """
    packed = []
    for name, value in values.items():
        _check_name(name)
        try:
            packed.append(kernelvars.pack(name, value))
        except kernelvars.CantTravel as err:
            msg = f"variable {name!r} can't be sent: {err}"
            raise VariableError(msg, hint="nothing was sent") from err
    total = sum(sum(about["sizes"]) for about, _ in packed)
    started = time.monotonic()
    with _Transfer(client, "receive(%s, globals())") as transfer:
        progress.say(f"sending {', '.join(values)}")
        counter = _Counter(progress, total)

        def sendall(data: bytes | memoryview) -> None:
            transfer.channel.sendall(data)  # type: ignore[arg-type]  # any buffer will do
            counter.add(len(data))

        try:
            kernelvars.write_items(sendall, packed)
        except OSError as err:
            transfer.explain(err)
        report = transfer.finish()
    failed = {name: why for name, why in report.items() if why}
    if failed:
        words = "; ".join(f"{name}: {why}" for name, why in failed.items())
        msg = f"the host could not take {words}"
        raise VariableError(msg, hint="install there what is missing (gpunb exec -- pip install …)")
    return PutReport(tuple(values), total, time.monotonic() - started)


def get(client: AgentClient, names: Sequence[str], *, progress: Progress = SILENT) -> dict[str, Any]:
    """Variables of the host's kernel.

    Raises
    ------
    VariableError
        One is not there, can't travel, or comes in a form that could run code
        here and the host is not the user's own. Nothing is returned then.
    """
    for name in names:
        _check_name(name)
    found: dict[str, Any] = {}
    with _Transfer(client, f"send(%s, {list(names)!r}, globals())") as transfer:
        progress.say(f"fetching {', '.join(names)}")
        try:
            items = kernelvars.read_description(transfer.recv_into)
            _refuse(client, items, names)
            counter = _Counter(progress, sum(sum(item.get("sizes", [])) for item in items))

            def recv_into(view: memoryview) -> int:
                got = transfer.recv_into(view)
                counter.add(got)
                return got

            for item in items:
                buffers = [kernelvars.read_exactly(recv_into, size) for size in item["sizes"]]
                found[item["name"]] = _unpack(item, buffers)
        except (OSError, EOFError) as err:
            transfer.explain(err)
        except (ValueError, KeyError, TypeError) as err:
            msg = f"the host described a variable as something else than agreed: {err}"
            raise ProtocolError(msg) from err
        transfer.finish()
    return found


def _unpack(item: Mapping[str, Any], buffers: list[bytearray]) -> Any:
    try:
        return kernelvars.unpack(item, buffers)
    except ModuleNotFoundError as err:
        msg = f"variable {item['name']!r} needs a module that is missing here: {err.name}"
        raise VariableError(msg, hint=f"pip install {err.name}") from err
    except kernelvars.CantTravel as err:
        msg = f"variable {item['name']!r}: {err}"
        raise VariableError(msg) from err


def _refuse(client: AgentClient, items: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    if [item["name"] for item in items] != list(names):
        msg = "the host sent other variables than asked for"
        raise ProtocolError(msg)
    for item in items:
        if "error" in item:
            msg = f"variable {item['name']!r}: {str(item['error'])[:500]}"
            raise VariableError(msg)
        if item["as"] == "pickle" and client.trust != "own":
            msg = (
                f"variable {item['name']!r} would come as a pickle, which can run code here, "
                f"and this host's trust is {client.trust!r}"
            )
            raise VariableError(
                msg, hint="bring plain numbers, lists or numpy arrays, or write a file and sync it"
            )


def _check_name(name: str) -> None:
    if not name.isidentifier():
        msg = f"variable: {name!r} is not a Python name"
        raise VariableError(msg)


class _Transfer:
    """A bulk channel, and the silent call in the kernel that uses its other end."""

    def __init__(self, client: AgentClient, call: str) -> None:
        self.client = client
        self.call = call
        self.channel: Channel
        self._rest = b""
        self._reply: dict[str, Any] = {}
        self._error: GpunbError | None = None

    def __enter__(self) -> Self:
        nonce, token = secrets.token_hex(12), secrets.token_hex(8)
        folder = f"{self.client.info.home}/.gpunb/agent/{agent_version()}"
        command = quote([self.client.info.python, folder, "bulk", token, nonce])
        self.channel = self.client.connection.channel(command)
        path, self._rest = read_line(self.channel, nonce)
        self.channel.settimeout(None)
        self._thread = threading.Thread(target=self._call, args=(path,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.channel.close()

    def _call(self, path: str) -> None:
        module = "__import__('gpunb_agent.kernelvars', fromlist=['x'])"
        content = {"code": "", "user_expressions": {"r": f"{module}.{self.call % repr(path)}"}}
        try:
            self._reply = self.client.kernel_request("execute_request", content, timeout=BUSY_TIMEOUT)
        except RunError as err:
            self._error = VariableError(f"the transfer broke off: {err.message}", hint=err.hint)
        except GpunbError as err:
            self._error = err
        if self._error is not None:
            with suppress(OSError):
                self.channel.close()  # whoever reads or writes wakes up

    def recv_into(self, view: memoryview) -> int:
        """Read into `view`; 0 at the end."""
        data = self._rest or self.channel.recv(min(len(view), 1 << 20))
        self._rest = data[len(view) :]
        data = data[: len(view)]
        view[: len(data)] = data
        return len(data)

    def finish(self) -> dict[str, Any]:
        """The report of the kernel's side."""
        self._thread.join(60)
        if self._error is not None:
            raise self._error
        raw = self._reply.get("user_expressions", {}).get("r", {})
        if raw.get("status") != "ok":
            msg = f"the host's kernel could not do it: {raw.get('ename', '')} {raw.get('evalue', 'no reply')}"
            raise VariableError(msg)
        try:
            report = json.loads(ast.literal_eval(raw["data"]["text/plain"]))
        except (KeyError, ValueError, SyntaxError, MemoryError, RecursionError) as err:
            msg = f"the host's kernel answered {str(raw)[:300]}"
            raise ProtocolError(msg) from err
        return report if isinstance(report, dict) else {}

    def explain(self, err: BaseException) -> None:
        """Raise why the transfer broke."""
        self._thread.join(5)
        if self._error is not None:
            raise self._error
        raw = self._reply.get("user_expressions", {}).get("r", {})
        why = f"{raw.get('ename')}: {raw.get('evalue')}" if raw.get("status") == "error" else str(err)
        msg = f"the transfer broke off: {why}"
        raise VariableError(msg, hint="try again") from err
