"""Launch and termination of a host: one directory, one detached process, one SSH server on 127.0.0.1.

::

    DIR/config.json       what the host is to be: id, user, port, environment (written here)
    DIR/running.json      pid, start and port of the process that serves it (written by it)
    DIR/authorized_keys   read at every login, so a key can be added later
    DIR/host_key          its private host key
    DIR/home/             HOME, working directory and root of relative SFTP paths
    DIR/bin/              first on the PATH of every process of the host
    DIR/host.log, boot.log
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import secrets
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb import isolated
from gpunb.errors import Unavailable
from gpunb.paths import private_opener, write_private
from gpunb.providers.local import processes
from gpunb.providers.local.environment import HANDED_ON, check_env, environment, remove_runtime_dir
from gpunb.providers.local.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["ADDRESS", "Host", "launch", "running", "terminate"]

ADDRESS = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A running host: its address and its user."""

    directory: Path
    id: str
    pid: int
    port: int
    user: str
    host_key: str  # the public line
    address: str = ADDRESS

    @property
    def home(self) -> Path:
        """The home directory on the host."""
        return self.directory / "home"


def launch(
    directory: Path,
    *,
    authorized_keys: Sequence[str],
    host_key: str | None = None,
    port: int = 0,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    instance_id: str | None = None,
    onstart: str = "",
    timeout: float = 30.0,
) -> Host:
    """Start the host of `directory` and wait until it listens (about half a second).

    Parameters
    ----------
    directory
        Its folder; made if need be. What is in ``home/`` and ``bin/`` stays.
    authorized_keys
        OpenSSH public key lines; they replace the ones in the folder.
    host_key
        A private key, OpenSSH PEM; None keeps the folder's own or makes one.
    port
        0 for any free one.
    env
        More variables for every process on the host.
    user
        The only name that can log in; None for the caller's own.
    instance_id
        The mark of its processes, unique on this machine; None keeps the
        folder's own or makes one.
    onstart
        A shell script that runs in the background at this start; its output is in the log.
    timeout
        Seconds.

    Raises
    ------
    BadInput
        `env` can't be an environment.
    Unavailable
        The port is taken, the folder can't be written, or the host did not
        come up; nothing of it runs then.
    """
    check_env(env or {})
    alive = running(directory)
    if alive is not None:
        return alive
    try:
        ident = instance_id or _known_id(directory) or secrets.token_hex(8)
        _lay_out(directory, authorized_keys, host_key)
        config = {
            "id": ident,
            "user": user or getpass.getuser(),
            "port": port,
            "env": environment(
                directory, ident, user or getpass.getuser(), env or {}, last=_known_env(directory)
            ),
            "onstart": onstart,
        }
        write_json(directory / "config.json", config)
    except OSError as err:
        msg = f"the host's folder {directory} can't be written: {err.strerror or err}"
        raise Unavailable(msg, provider="local", hint="free space there or make it writable") from err
    _spawn(directory, ident, port, timeout)
    host = running(directory)
    if host is None:
        msg = f"the host in {directory} ended right after its start\n{_boot_log(directory)}".rstrip()
        raise Unavailable(msg, provider="local")
    return host


def running(directory: Path) -> Host | None:
    """Return the host of `directory` if its process lives, else None."""
    try:
        seen = read_json(directory / "running.json")
        if seen is None:
            return None
        mark = processes.token(int(seen["pid"]))
        if mark is None or mark != seen["token"]:
            return None
        return Host(
            directory=directory,
            id=str(seen["id"]),
            pid=int(seen["pid"]),
            port=int(seen["port"]),
            user=str(seen["user"]),
            host_key=str(seen["host_key"]),
        )
    except (ValueError, KeyError, TypeError, OSError):
        return None


def terminate(directory: Path, *, instance_id: str | None = None, grace: float = 2.0) -> None:
    """End the host of `directory` and every process that was started through it.

    Also what a crashed host left behind. The folder stays, except for the
    run-time directory, which a real machine loses with its power too. Harmless if nothing runs.

    Parameters
    ----------
    instance_id
        The mark to look for where the folder does not say it any more.
    grace
        Seconds between SIGTERM and SIGKILL.

    Raises
    ------
    Unavailable
        A process can't be ended; the message has its id.
    """
    alive = running(directory)
    ident = instance_id or (alive.id if alive else _known_id(directory))
    if ident is None:
        return
    left = processes.end(ident, host_pid=alive.pid if alive else 0, grace=grace)
    if left:
        pids = " ".join(map(str, left))
        msg = f"processes of local instance {ident} can't be ended: {pids}"
        raise Unavailable(msg, provider="local", effect="unknown", hint=f"ps -fp {pids}")
    remove_runtime_dir(_known_env(directory))
    with contextlib.suppress(OSError):
        (directory / "running.json").unlink()


def _known_id(directory: Path) -> str | None:
    with contextlib.suppress(ValueError, OSError):
        config = read_json(directory / "config.json")
        if config and isinstance(config.get("id"), str):
            return str(config["id"])
    return None


def _known_env(directory: Path) -> dict[str, str]:
    """Return the environment of the last launch."""
    with contextlib.suppress(ValueError, OSError):
        env = (read_json(directory / "config.json") or {}).get("env")
        if isinstance(env, dict):
            return {str(name): str(value) for name, value in env.items()}
    return {}


def _lay_out(directory: Path, authorized_keys: Sequence[str], host_key: str | None) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("home", "bin"):
        (directory / name).mkdir(mode=0o700, exist_ok=True)
    write_private(directory / "authorized_keys", "".join(line.strip() + "\n" for line in authorized_keys))
    if host_key is not None:
        write_private(directory / "host_key", host_key if host_key.endswith("\n") else host_key + "\n")


def _spawn(directory: Path, ident: str, port: int, timeout: float) -> None:
    """Start the host process and wait for its answer; on any failure nothing of it is left."""
    own = {name: os.environ[name] for name in (*HANDED_ON, "HOME", "PATH") if name in os.environ}
    own[processes.MARK] = ident
    argv = isolated.argv("gpunb.providers.local.host", str(directory.absolute()))
    try:
        with (
            open(directory / "boot.log", "wb", opener=private_opener) as errors,
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=own,
                cwd=directory,
                start_new_session=True,
            ) as child,
        ):
            try:
                out, _ = child.communicate(timeout=timeout)
            except BaseException:
                # Ctrl-C too: nothing may stay behind
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                processes.end(ident, grace=0.0)
                raise
    except subprocess.TimeoutExpired:
        log = _boot_log(directory)
        msg = f"the host in {directory} did not come up within {timeout:.0f} s\n{log}".rstrip()
        raise Unavailable(msg, provider="local") from None
    except OSError as err:
        msg = f"the host process can't be started: {err.strerror or err}"
        raise Unavailable(msg, provider="local") from err
    try:
        answer = json.loads(out)
    except ValueError:
        answer = {"error": f"the host in {directory} ended at its start\n{_boot_log(directory)}".rstrip()}
    if "error" in answer:
        processes.end(ident, grace=0.5)
        if answer.get("taken"):
            msg = f"port {port} of local instance {ident} is taken by another program"
            hint = f"end what listens on it (ss -ltnp 'sport = :{port}' names it), then start again"
            raise Unavailable(msg, provider="local", hint=hint)
        raise Unavailable(str(answer["error"]), provider="local")


def _boot_log(directory: Path, lines: int = 12) -> str:
    with contextlib.suppress(OSError):
        text = (directory / "boot.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])
    return ""
