"""Install the agent on the host and open the connection to it, in one SSH channel.

The agent's files are named by the hash of their content, so a second connection
sends nothing, and two versions never mix. Of the host's output before the agent
is connected only lines that start with our nonce count; banners and slow login
shells are skipped.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import secrets
import struct
import tarfile
import time
import zlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from gpunb.errors import BootstrapFailed, HostSilent, Unreachable
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress, step
from gpunb.ssh.quoting import quote
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.abc import Traversable

    from gpunb.ssh.channel import Channel
    from gpunb.ssh.connection import Connection

__all__ = ["agent_version", "open_line", "patience", "read_line"]

STATIC = "static"
INSTALL_TIMEOUT = 600.0  # seconds for ipykernel from a slow mirror
SILENCE = 60.0  # seconds that a host's shell may be silent
SLOW = 30.0  # ... or so many times what its login took: one that is busy with other things is no dead one
WINDOW = 16 << 20  # bytes in transit: twice the unacknowledged window of a run
WORDS = 1000  # bytes of other output that an error message shows
MAX_NOISE = 1 << 20  # bytes of banner before we give up
# What is passed to the login shell has no line ends: a C shell takes no quoted word of several lines.
FIND_PYTHON = """
nonce=$1; version=$2; want=$3; code=$4; size=$5;
case $want in "~"|"~/"*) want=$HOME${want#"~"};; esac;
if [ -n "$want" ]; then set -- "$want"; else
set -- "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" /venv/main/bin/python
  "${CONDA_PREFIX:+$CONDA_PREFIX/bin/python}" /opt/conda/bin/python
  python3 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 python;
fi;
for p in "$@"; do
  [ -n "$p" ] && command -v "$p" >/dev/null 2>&1 || continue;
  "$p" -c "import sys; sys.exit(sys.version_info < (3, 8))" 2>/dev/null || continue;
  exec "$p" -c "$code" "$nonce" "$version" "$size";
done;
what="no Python 3.8 or newer was found";
[ -n "$want" ] && what="$want is not there, or is no Python 3.8 or newer";
what=$(printf %s "$what" | tr -cd "[:alnum:] ~/._+,-");
printf "\\n%s failed %s\\n" "$nonce" "{\\"step\\": \\"python\\", \\"text\\": \\"$what\\"}"
""".strip().replace("\n", " ")
READ_STAGE = "exec({!r})".format(
    """
import sys
sys.path[:] = [one for one in sys.path if one]  # not the folder that -c adds: files of the user lie there
import os
text = b""
while len(text) < int(sys.argv[3]):
    text += os.read(0, int(sys.argv[3]) - len(text)) or sys.exit("the line closed")
exec(text)
"""
)
START_FILES = (
    "the start-up files of its login shell (.bashrc, .profile, .zshrc, .cshrc, .tmux.conf) may start "
    "another program or exit; what is run without a terminal must come through: try again, or another image"
)
ADVICE = {
    "python": "--python static brings one there for the session; or rent with an image that has Python 3.8 "
    "or newer, or name one with --python",
    "ipykernel": "the host must reach PyPI, or use an image that has ipykernel",
    "read-only": "the home folder of the login user must be writable: rent with another image or user",
    "start": "the agent keeps its own log there: " + typed("exec -- cat .gpunb/agent.out .gpunb/agent.log"),
    "install": "free some space in the host's home folder, or rent with a larger disk",
}


def _modules(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the agent's modules: paths below the host's folder, and their content."""
    for traversable in folder.iterdir():
        if traversable.name.endswith(".py"):
            yield f"{name}/{traversable.name}", traversable.read_bytes()
        elif traversable.is_dir() and traversable.name != "__pycache__":
            yield from _modules(traversable, f"{name}/{traversable.name}")


@functools.cache
def _payload() -> tuple[str, bytes]:
    """Return the agent's version (a content hash) and its compressed archive."""
    out = io.BytesIO()
    sources = dict(_modules(files("gpunb.agent"), "gpunb_agent"))
    sources["__main__.py"] = (
        b"import sys\n\nfrom gpunb_agent.main import main\n\nsys.exit(main(sys.argv[1:]))\n"
    )
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(sources):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(sources[name]), 0o600, 0
            archive.addfile(info, io.BytesIO(sources[name]))
    data = out.getvalue()
    return hashlib.sha256(data).hexdigest()[:16], zlib.compress(data, 6)


def agent_version() -> str:
    """Return the content hash that names this gpunb's agent on a host."""
    return _payload()[0]


def patience(connection: Connection) -> float:
    """Return for how many seconds the shell at `connection` may be silent; more where logging in was slow."""
    return min(max(SILENCE, SLOW * connection.opened_s), INSTALL_TIMEOUT)


def open_line(
    connection: Connection,
    *,
    python: str | None = None,
    progress: Progress = SILENT,
    timeout: float | None = None,
) -> tuple[Channel, bytes]:
    """Open a channel to the agent, and install the agent if needed.

    Parameters
    ----------
    python
        The host's Python to use; found there by default (an active or image
        environment first, then ``python3``). "static" brings one there.
    timeout
        Seconds that the host may be silent, by default `patience`; installing
        ipykernel may take ten minutes.

    Returns
    -------
    The channel, and bytes of the first frames that were received with it.

    Raises
    ------
    BootstrapFailed
        With the host's own output.
    """
    step(progress, "python")
    if python == STATIC:
        from gpunb.remote import static_python

        python = static_python.put(connection, progress)
    timeout = patience(connection) if timeout is None else timeout
    nonce = secrets.token_hex(12)
    version, archive = _payload()
    stage = files("gpunb.agent").joinpath("install.py").read_bytes()
    size = str(len(stage))
    command = quote(["sh", "-c", FIND_PYTHON, "gpunb", nonce, version, python or "", READ_STAGE, size])
    channel = connection.channel(command, window=WINDOW)
    try:
        _send(channel, stage)
        lines = LineReader(channel)
        kind, more = lines.next(nonce, timeout)
        begun = time.monotonic()
        asked: set[str] = set()
        while kind in ("need", "progress", "step", "wheels"):
            _once(kind, asked, begun, timeout)
            if kind == "step":
                step(progress, str(more.get("name")))
            elif kind == "need":
                if not step(progress, "agent"):
                    progress.say("putting the agent on the host")
                _send(channel, struct.pack(">Q", len(archive)) + archive)
            elif kind == "wheels":  # the host can't reach a package index
                from gpunb.remote import wheels

                data = wheels.archive(more, progress)
                _send(channel, struct.pack(">Q", len(data)) + data)
            else:
                progress.say(one_line(more.get("text", ""), 200))
                timeout = INSTALL_TIMEOUT
            kind, more = lines.next(nonce, timeout)
    except BaseException:
        channel.close()
        raise
    if kind != "ready":
        channel.close()
        raise _failed(more)
    return channel, lines.rest


def _send(channel: Channel, data: bytes) -> None:
    """Send data; a channel that the host closed is no error here: reading reports the reason."""
    try:
        channel.sendall(data)
    except Unreachable:
        if not channel.closed_there:
            raise


def _once(kind: str, asked: set[str], begun: float, timeout: float) -> None:
    """Raise `BootstrapFailed` if the host repeats a request, or prepares for too long."""
    if kind in asked or time.monotonic() - begun > INSTALL_TIMEOUT + 2 * timeout:
        msg = f"the host repeats {kind!r} and does not become ready"
        raise BootstrapFailed(msg, bill="the instance runs and is billed")
    if kind not in ("progress", "step"):
        asked.add(kind)


def _failed(more: dict[str, Any]) -> BootstrapFailed:
    text = one_line(more.get("text", ""), 800)
    msg = f"the agent could not be started on the host: {text}"
    step = str(more.get("step", ""))
    if step == "install" and "read-only" in text.lower():
        step = "read-only"
    advice = ADVICE.get(step)
    return BootstrapFailed(msg, bill="the instance runs and is billed", hint=advice)


class LineReader:
    """Reads the lines that start with a nonce; `rest` holds the bytes after the last one."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.rest = b""
        self._noise = 0
        self._words = b""  # the end of other output: an image may print there why it refuses logins

    def next(self, nonce: str, timeout: float) -> tuple[str, dict[str, Any]]:
        """Return the next line's kind and JSON; skips everything else.

        Raises
        ------
        BootstrapFailed
            The channel closed, was silent for `timeout` seconds, or sent other output only.
        """
        start = nonce.encode() + b" "
        deadline = time.monotonic() + timeout
        while True:
            while b"\n" in self.rest:
                line, self.rest = self.rest.split(b"\n", 1)
                self._noise += len(line) + 1
                if line.startswith(start):
                    return self._parse(line[len(start) :])
                self._words = (self._words + line + b"\n")[-WORDS:]
            if self._noise + len(self.rest) > MAX_NOISE:
                msg = f"the host sent more than {MAX_NOISE} bytes and not one of ours"
                raise BootstrapFailed(msg)
            self.rest += self._receive(deadline, timeout)

    def _receive(self, deadline: float, timeout: float) -> bytes:
        self._channel.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            data = self._channel.recv(1 << 16)
        except HostSilent as err:
            msg = f"the host's shell was silent for {timeout:.0f} s{self._said()}"
            raise BootstrapFailed(msg, bill="the instance runs and is billed", hint=START_FILES) from err
        if not data:
            msg = f"the host closed the connection before the agent was up{self._said()}"
            raise BootstrapFailed(msg, bill="the instance runs and is billed", hint=START_FILES)
        return data

    def _said(self) -> str:
        """The end of the host's other output, on both of its streams, for an error message."""
        words = self._words + self.rest + b"\n" + self._channel.stderr()
        text = one_line(words.decode("utf-8", "replace").strip()[-WORDS:], WORDS)
        return f": {text}" if text else ""

    @staticmethod
    def _parse(line: bytes) -> tuple[str, dict[str, Any]]:
        kind, _, text = line.decode("utf-8", "replace").strip().partition(" ")
        try:
            more = json.loads(text) if text.startswith("{") else {"text": text}
        except (ValueError, RecursionError):
            more = {"text": text}
        return kind, more


def read_line(channel: Channel, nonce: str, timeout: float) -> tuple[str, bytes]:
    """Wait for ``ready`` on another channel of the agent; return its text, and bytes that followed."""
    lines = LineReader(channel)
    kind, more = lines.next(nonce, timeout)
    if kind != "ready":
        msg = f"the host answered {one_line(kind, 60)!r}: {one_line(more.get('text', ''), 500)}"
        raise BootstrapFailed(msg)
    return str(more.get("text", "")), lines.rest
