"""The rsync engine: the system's rsync over the session's ssh, given the exact list of files.

rsync's delta algorithm pays when large files have changed a little. It makes
no choices of its own here: the names come from the plan, folders, links and
deletions are done over SFTP, and on the way down only regular files whose
names we asked for are taken.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from typing import IO, TYPE_CHECKING

from gpunb.errors import HostError, SyncError, Unreachable
from gpunb.sync.local.safe_root import umask
from gpunb.sync.planning.rules import PARTIAL_DIR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gpunb.progress import Progress
    from gpunb.ssh.connection import Connection
    from gpunb.ssh.endpoint import Endpoint
    from gpunb.sync.planning.plan import Item

__all__ = ["Unusable", "both_have", "from_daemon", "local_version", "reasons", "safe_here", "transfer"]

_HERE = (3, 1, 0)  # --info=progress2, --omit-link-times
# below 3.4, a hostile server can write outside and read files here (CVE-2024-12085 to 12088)
_HERE_DOWN = (3, 4, 0)
_THERE = (3, 0, 0)
_LONGEST_LINE = 2**16
_PARTLY = {23, 24}  # some files could not go, or vanished
_VERSION = re.compile(rb"rsync\s+version\s+v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})")
_UNKEPT = re.compile(r"failed to set (times|permissions) on")
_PROGRESS = re.compile(rb"\s*([\d,.]{1,40})\s+\d{1,3}%")


class Unusable(Exception):
    """rsync could not start (a noisy login shell, an old protocol); nothing was sent."""


def local_version() -> tuple[int, int, int] | None:
    """The version of the local rsync; None if there is none (openrsync does not count)."""
    if shutil.which("rsync") is None or shutil.which("ssh") is None:
        return None
    try:
        shown = subprocess.run(["rsync", "--version"], capture_output=True, check=False, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _version(shown)


def safe_here() -> bool:
    """Whether the local rsync is safe to use with a host that is a stranger."""
    here = local_version()
    return here is not None and here >= _HERE_DOWN


def both_have(connection: Connection, direction: str) -> bool:
    """Whether both ends have a recent enough rsync, and one that is safe for downloads."""
    here = local_version()
    if here is None or here < (_HERE_DOWN if direction == "down" else _HERE):
        return False
    try:
        there = _version(connection.run("rsync --version", timeout=20).out)
    except Unreachable:
        raise
    except HostError:
        return False
    return there is not None and there >= _THERE


def transfer(
    endpoint: Endpoint,
    here: str,
    host_root: str,
    items: Sequence[Item],
    *,
    direction: str,
    total: int,
    rate: float | None = None,
    follow: bool = False,
    progress: Progress,
) -> tuple[int, int, bool, str]:
    """Transfer the files `items`, relative to both roots, with rsync.

    Returns
    -------
    tuple
        Files and bytes sent, whether all were sent, and rsync's last output.

    Raises
    ------
    Unusable
        rsync's two ends did not understand each other.
    Unreachable
        The connection broke; what was finished is in place.
    """
    there = f"[{endpoint.host}]:{host_root}/" if ":" in endpoint.host else f"{endpoint.host}:{host_root}/"
    ends = [f"{here}/", there] if direction == "up" else [there, f"{here}/"]
    argv = [
        "rsync",
        "--times",
        "--perms",
        "--omit-dir-times",
        "--no-implied-dirs",
        f"--chmod=ug-s,o-t{'' if direction == 'up' else _masked()}",
        "--protect-args",
        "--from0",
        "--files-from=-",
        f"--partial-dir={PARTIAL_DIR}",
        "--timeout=120",
        "--info=progress2,name0",
        "--out-format=%i %l",
        "--ignore-times",  # that they differ is known
        *(["--copy-links"] if follow else []),
        *([f"--bwlimit={max(1, int(rate / 1024))}"] if rate else []),
        "-e",
        _rsh(endpoint),
        "--",
        *ends,
    ]
    with tempfile.TemporaryFile() as names:
        for item in items:
            # "./" keeps a name that begins with "#" or ";" from being a comment
            names.write(b"./" + item.path.encode("utf-8", "surrogateescape") + b"\0")
        names.seek(0)
        return _carried_out(argv, names, total, progress)


def from_daemon(
    endpoint: Endpoint,
    source: str,
    into: str,
    *,
    have: str | None,
    progress: Progress,
    started: Callable[[subprocess.Popen[bytes]], object] = lambda _: None,
) -> tuple[int, int, bool, str]:
    """Fetch ``module/path`` from the rsync daemon behind an SSH login, where the machine itself is off.

    Only files, folders, and links that stay inside are taken.

    Parameters
    ----------
    source
        A file, or with a slash at its end what is in a folder.
    into
        An empty folder of ours.
    have
        A folder: what it has in the same size and time is not sent.
    started
        Called with the running rsync.

    Returns, Raises
    ---------------
    As `transfer`.
    """
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    argv = [
        "rsync",
        "--recursive",
        "--links",
        "--safe-links",
        "--no-devices",
        "--no-specials",
        "--times",
        "--perms",
        "--omit-dir-times",
        f"--chmod=ug-s,o-t,u+rw,Du+x{_masked()}",
        "--protect-args",
        *([f"--compare-dest={have}"] if have else []),
        "--timeout=120",
        "--info=progress2,name0",
        "--out-format=%i %l",
        "-e",
        _rsh(endpoint),
        "--",
        f"{endpoint.user}@{host}::{source}",
        f"{into}/",
    ]
    return _carried_out(argv, subprocess.DEVNULL, 0, progress, started)


def _carried_out(
    argv: list[str],
    names: IO[bytes] | int,
    total: int,
    progress: Progress,
    started: Callable[[subprocess.Popen[bytes]], object] = lambda _: None,
) -> tuple[int, int, bool, str]:
    """Run rsync to its end and evaluate its exit code."""
    process = subprocess.Popen(argv, stdin=names, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    words = bytearray()
    listener = threading.Thread(target=_listen, args=(process.stderr, words), daemon=True)
    try:
        assert process.stdout is not None  # noqa: S101 - asked for above
        listener.start()
        started(process)
        files, size = _follow(process.stdout, total, progress)
        code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        listener.join(10)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    last = _last_words(bytes(words))
    if code == 0 or code in _PARTLY:
        return files, size, code == 0, last
    if files == 0 and code in (1, 2, 4, 12, 13, 14):
        raise Unusable(last)
    if code in (10, 12, 30, 35, 255):
        msg = f"the connection broke during rsync: {last}"
        raise Unreachable(
            msg, bill="the instance may still run and be billed", hint="run the same sync again"
        )
    if code in (11, 22):
        msg = f"rsync could not go on (is a disk full?): {last}"
        raise SyncError(msg, hint="run the same sync again when there is room")
    return files, size, False, last


_LETTERS = (("r", 4), ("w", 2), ("x", 1))


def _masked() -> str:
    """The permission bits that the umask removes, as a --chmod option of rsync."""
    bits = umask()
    words = [
        f"{who}-{''.join(letter for letter, bit in _LETTERS if bits >> shift & bit)}"
        for who, shift in (("u", 6), ("g", 3), ("o", 0))
        if bits >> shift & 7
    ]
    return "".join(f",{word}" for word in words)


def reasons(said: str, items: Iterable[Item]) -> Iterator[tuple[str, str]]:
    """For each item that did not arrive: its path and rsync's error, if any."""
    lines = said.splitlines()
    for item in items:
        line = next((line for line in lines if item.path in line), "")
        yield item.path, line.rpartition(": ")[2] or "rsync could not send it"


def unkept(said: str) -> Counter[str]:
    """Attributes that rsync could not set on files it transferred: the error, and how often."""
    counts: Counter[str] = Counter()
    for line in said.splitlines():
        if _UNKEPT.search(line):
            counts[line.rpartition(": ")[2].rpartition(" (")[0] or line[-80:]] += 1
    return counts


def _listen(err: IO[bytes] | None, words: bytearray) -> None:
    """Keep the last of what rsync or the host prints to stderr, which a host may print without end."""
    while err is not None and (chunk := err.read1(2**16)):  # type: ignore[attr-defined]
        words += chunk
        del words[: max(0, len(words) - 2**20)]


def _follow(out: IO[bytes], total: int, progress: Progress) -> tuple[int, int]:
    """Read rsync's output to its end; return files and bytes sent."""
    files = size = 0
    buffer = b""
    while chunk := out.read1(2**16):  # type: ignore[attr-defined]
        *lines, buffer = re.split(rb"[\r\n]", buffer + chunk)
        buffer = buffer[-_LONGEST_LINE:]
        for line in lines:
            if line[:1] in (b"<", b">") and line[1:2] == b"f":
                files += 1
                tail = line.split(b" ")[-1]
                size += int(tail) if tail.isdigit() and len(tail) < 19 else 0
            elif found := _PROGRESS.match(line):
                done = int(re.sub(rb"\D", b"", found.group(1)) or b"0")
                progress.advance(min(done, total) if total else done, total or None, "B")
    return files, size


def _rsh(endpoint: Endpoint) -> str:
    """The ``-e`` argument: rsync splits it at spaces and knows quotes, not backslashes."""
    from gpunb.ssh.endpoint import ssh_options

    words = ["ssh", *ssh_options(endpoint)]
    return " ".join("'" + word.replace("'", "''") + "'" for word in words)


def _version(shown: bytes) -> tuple[int, int, int] | None:
    found = _VERSION.search(shown)
    if found is None:
        return None
    major, minor, patch = (int(part) for part in found.groups())
    return major, minor, patch


def _last_words(raw: bytes) -> str:
    lines = [line for line in raw.decode("utf-8", "replace").splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith("rsync error:")]
    return "\n".join((useful or lines)[-200:]) or "it said nothing"
