"""A Python for a host that has none: python-build-standalone's, fetched here by uv and sent over SSH.

It lies in the session's own folder there, and goes with it. Here it is kept in gpunb's folder, by system.
"""

from __future__ import annotations

import io
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb import paths
from gpunb.errors import BootstrapFailed
from gpunb.progress import SILENT, Progress
from gpunb.ssh.quoting import quote
from gpunb.text import one_line

if TYPE_CHECKING:
    from gpunb.ssh.connection import Connection

__all__ = ["put"]

VERSION = "3.12"
TIMEOUT = 600.0  # seconds
_RUNS = "the instance runs and is billed"
_SYSTEM = re.compile(r"(linux)-(x86_64|aarch64)-(gnu|musl)")
# no line ends: a C shell takes no quoted word of several lines
_LOOK = """
d=${GPUNB_FOLDER:-$HOME/.gpunb}/python; p=$d/bin/python3; libc=musl;
for l in /lib64/ld-linux-* /lib/ld-linux-*; do [ -e "$l" ] && libc=gnu; done;
"$p" -c "import sys" >/dev/null 2>&1 && printf "\\n%s there %s\\n" "$1" "$p";
printf "\\n%s system %s-%s-%s\\n" "$1" "$(uname -s | tr A-Z a-z)" "$(uname -m)" "$libc"
""".strip().replace("\n", " ")
_UNPACK = """
d=${GPUNB_FOLDER:-$HOME/.gpunb}/python; umask 077; rm -rf "$d";
mkdir -p "$d" && gzip -dc | tar -xf - -C "$d" &&
"$d/bin/python3" -c "import sys; sys.exit(sys.version_info < (3, 8))" &&
printf "\\n%s there %s\\n" "$1" "$d/bin/python3"
""".strip().replace("\n", " ")


def put(connection: Connection, progress: Progress = SILENT) -> str:
    """Make sure that the Python is on the host; returns its path there.

    Raises
    ------
    BootstrapFailed
        There is none for its system, it can't be fetched here, or not be unpacked there.
    """
    nonce = secrets.token_hex(12)
    done = connection.run(quote(["sh", "-c", _LOOK, "gpunb", nonce]), timeout=60.0)
    there = _answer(done.out, nonce, "there")
    if there:
        return there
    system = _answer(done.out, nonce, "system")
    if not _SYSTEM.fullmatch(system):
        named = one_line(system, 60) or "which it does not say"
        msg = f"there is no Python to bring for the host's system, {named}"
        raise BootstrapFailed(msg, bill=_RUNS, hint="name one that is there with --python")
    data = _archive(_fetched(system, progress))
    progress.say(f"sending Python {VERSION} to the host, {len(data) / 1e6:.0f} MB")
    done = connection.run(quote(["sh", "-c", _UNPACK, "gpunb", nonce]), input=data, timeout=TIMEOUT)
    there = _answer(done.out, nonce, "there")
    if not there:
        words = one_line(done.err.decode("utf-8", "replace").strip()[-600:], 600)
        msg = f"Python {VERSION} was sent to the host, but does not run there: {words or 'it said nothing'}"
        raise BootstrapFailed(msg, bill=_RUNS, hint="is its disk full, or mounted noexec?")
    return there


def folder(system: str) -> Path:
    """Where the Python for a system is kept here; it has a ``bin`` with ``python3``."""
    return paths.home() / "pythons" / f"{VERSION}-{system}"


def _answer(out: bytes, nonce: str, word: str) -> str:
    start = f"{nonce} {word} "
    lines = out.decode("utf-8", "replace").splitlines()
    return next((line[len(start) :].strip() for line in lines if line.startswith(start)), "")


def _fetched(system: str, progress: Progress) -> Path:
    """The Python for a system, fetched at the first call."""
    kept = folder(system)
    if (kept / "bin" / "python3").exists():
        return kept
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        msg = "the host has no Python 3.8 or newer, and bringing one there needs uv here"
        raise BootstrapFailed(
            msg, bill=_RUNS, hint="pip install uv, or name a Python of the host with --python"
        )
    progress.say(f"fetching Python {VERSION} for the host")
    beside = paths.private_dir(kept.parent) / f"new-{secrets.token_hex(4)}"
    argv = [uv, "python", "install", "--install-dir", str(beside), "--no-bin", f"cpython-{VERSION}-{system}"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=TIMEOUT, check=False)
        made = next(
            (
                path.parent.parent
                for path in beside.glob("cpython-*/bin/python3")
                if not path.parent.parent.is_symlink()
            ),
            None,
        )
        if done.returncode or made is None:
            words = one_line(done.stderr.decode("utf-8", "replace").strip()[-400:], 400)
            msg = f"Python {VERSION} for the host ({system}) can't be fetched here: {words}"
            hint = "UV_PYTHON_INSTALL_MIRROR names a mirror; or unpack an archive of python-build-standalone "
            hint += f"as {kept}"
            raise BootstrapFailed(msg, bill=_RUNS, hint=hint)
        made.replace(kept)
    except subprocess.TimeoutExpired as err:
        msg = f"Python {VERSION} for the host was not fetched within {TIMEOUT:.0f} s"
        raise BootstrapFailed(
            msg, bill=_RUNS, hint="try again, or name a Python of the host with --python"
        ) from err
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return kept


def _archive(kept: Path) -> bytes:
    """The folder as a compressed tar, without what an agent never needs."""

    def wanted(one: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = set(one.name.split("/"))
        one.uid = one.gid = 0
        one.uname = one.gname = ""
        return None if parts & {"__pycache__", "test", "idlelib", "tkinter", "include", "share"} else one

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=3) as tar:
        tar.add(kept, ".", filter=wanted)
    return out.getvalue()
