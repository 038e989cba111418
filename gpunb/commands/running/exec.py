"""``exec``: run one command on the host, passing through its output and exit code."""

from __future__ import annotations

import codecs
import shlex
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

import click

from gpunb.cli.command import no_use, verb
from gpunb.errors import Unreachable
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.cli.context import Context
    from gpunb.sessions.model import Session
    from gpunb.ssh.channel import Channel

__all__ = ["command"]

CHUNK = 256 * 1024
AT_REST = ("ls", "rm", "du")  # commands that Vast.ai runs on the disk of a stopped instance
KILLED = 255  # a signal ended the command; ssh says the same


@verb(
    "exec",
    example="exec -- nvidia-smi\nexec train -- ls -la data",
    session=True,
    first="dashed",
    words_after=True,
)
@click.argument("words", nargs=-1, required=True, metavar="CMD...", type=click.UNPROCESSED)
@click.option("-i", "--stdin", is_flag=True, help="Pass this side's standard input on.")
def command(context: Context, *, words: tuple[str, ...], stdin: bool, session: str | None) -> Result:
    """Run one command on the host and wait for it. Its words arrive as they are, unexpanded.

    For a pipe or a wildcard, name a shell: exec -- sh -c 'ls *.log | wc -l'. It ends with the
    connection; `run` starts jobs that don't. ls, rm and du run on a stopped session, too (Vast).
    """
    from gpunb.sessions.access import host_access
    from gpunb.sessions.access.activity import at_work
    from gpunb.sessions.model import SessionState
    from gpunb.ssh import quote

    found = context.session(session)
    if found.state is SessionState.STOPPED and words[0] in AT_REST:
        no_use(f"{words[0]} on a stopped session", "stdin")
        return _at_rest(context, found, words)
    with context.progress(f"connecting to {found.name}"):
        connection = host_access.connection(found)
    safe = _Safe(found.trust)
    channel = connection.channel(quote(words))
    channel.doing = f"before {words[0]} ended"
    channel.hint = typed("ps") + " shows the session; use run for commands that must outlive a connection"
    kept: dict[str, list[str]] = {"stdout": [], "stderr": []}
    try:
        with at_work(context.ledger, found):
            code = _stream(channel, kept if context.as_json else None, safe, stdin=stdin)
    except KeyboardInterrupt:
        context.tell(Note(f"left {words[0]}; it may go on on the host until it writes again", "warn"))
        raise
    finally:
        channel.close()
    data: dict[str, Any] = {"session": found.name, "exit_code": code}
    if context.as_json:
        data |= {name: "".join(parts) for name, parts in kept.items()}
    return Result(data, exit_code=code)


def _at_rest(context: Context, found: Session, words: tuple[str, ...]) -> Result:
    """Run ``ls``, ``rm`` or ``du`` on the disk of a stopped session, by its cloud."""
    from gpunb.providers.features import StoppedCommands, feature

    cloud = feature(context.provider(found.provider), StoppedCommands)
    with context.progress(f"{words[0]} on {found.name}"):
        text = cloud.execute(found.instance_id, shlex.join(words))
    data = {"session": found.name, "exit_code": 0, "stdout": text, "stderr": ""}
    if not context.as_json:
        _Safe(found.trust).writer(sys.stdout)(text if text.endswith("\n") or not text else f"{text}\n")
    return Result(data)


class _Safe:
    """Sanitizes a host's output for a terminal or a notebook; a pipe or a file gets every byte."""

    def __init__(self, trust: str) -> None:
        self.trust = trust

    def writer(self, stream: IO[str]) -> Callable[[str], Any]:
        """The function that writes to `stream`; called with "" at the end."""
        write = _writer(stream)
        if self.trust == "own" or not (stream.isatty() or getattr(stream, "buffer", None) is None):
            return write
        from gpunb.text import Escapes

        escapes = Escapes()
        # a byte that is not UTF-8 may be an 8-bit control code: it becomes a character
        return lambda text: write(escapes.feed(_decoded(text)) if text else escapes.finish())


def _stream(channel: Channel, kept: dict[str, list[str]] | None, safe: _Safe, *, stdin: bool) -> int:
    out = kept["stdout"].append if kept is not None else safe.writer(sys.stdout)
    err = kept["stderr"].append if kept is not None else safe.writer(sys.stderr)
    broke: list[Unreachable] = []

    def drain_errors() -> None:
        try:
            _drain(channel.recv_stderr, err)
        except Unreachable as problem:
            broke.append(problem)

    other = threading.Thread(target=drain_errors, daemon=True, name="gpunb-exec-stderr")
    other.start()
    if stdin:
        threading.Thread(target=_feed, args=(channel,), daemon=True, name="gpunb-exec-stdin").start()
    else:
        channel.shutdown_write()
    _drain(channel.recv, out)
    while other.is_alive():
        other.join(0.2)
    if broke:
        raise broke[0]
    while (code := channel.exit_code(0.2)) is None:
        pass
    return code if code >= 0 else KILLED


def _drain(receive: Callable[[int], bytes], write: Callable[[str], Any]) -> None:
    """Write all output, then "", also if the connection breaks or the user interrupts."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    try:
        while True:
            data = receive(CHUNK)
            text = decoder.decode(data, final=not data)
            if text:
                write(text)
            if not data:
                return
    finally:
        write("")


def _decoded(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _feed(channel: Channel) -> None:
    source: Any = sys.stdin.buffer
    try:
        while data := source.read1(CHUNK):
            channel.sendall(data)
        channel.shutdown_write()
    except (Unreachable, OSError):
        pass  # the command ended before its input did


def _writer(stream: IO[str]) -> Callable[[str], Any]:
    raw = getattr(stream, "buffer", None)
    if raw is None:  # a notebook

        def write(text: str) -> None:
            stream.write(_decoded(text))
            stream.flush()

        return write

    def write_bytes(text: str) -> None:
        stream.flush()
        raw.write(text.encode("utf-8", "surrogateescape"))
        raw.flush()

    return write_bytes
