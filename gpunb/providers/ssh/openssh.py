"""Logging in as the user does: by the system's ssh, with its configuration, agent, keys and known hosts."""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.errors import BadInput, Unavailable
from gpunb.providers.ssh.answers import Answer, last_line, read
from gpunb.providers.ssh.scripts import compose

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpunb.providers.features import Host

__all__ = ["NOTHING", "OpenSsh", "Route"]

NOTHING = "nothing was rented"
CONNECT_S = 15
_SSH_FAILED = 255  # ssh's own exit code; every other one is the command's
# what a login for a script must not bring along from the user's configuration
_PLAIN = {
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "ConnectTimeout": str(CONNECT_S),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where ssh would go for a machine, and the command of the way there ("" if it is direct)."""

    host: str
    port: int
    user: str
    proxy: str
    known_as: str
    known_files: tuple[str, ...]
    shared: bool = False  # whether the user's own configuration shares connections


class OpenSsh:
    """The system's ssh.

    Parameters
    ----------
    config
        A configuration file in the place of the user's (``ssh -F``); "" is the user's own.
    """

    def __init__(self, config: str = "") -> None:
        self._first = ["-F", str(Path(config).expanduser())] if config else []
        self._folder: Path | None = None
        self._open: set[tuple[str, ...]] = set()

    def route(self, host: Host) -> Route:
        """Ask ``ssh -G`` where it would go.

        Raises
        ------
        BadInput
            There is no ssh here, or it refuses the address or its configuration.
        """
        try:
            done = subprocess.run(
                ["ssh", "-G", *self._target(host)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=20,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as err:
            msg = f"ssh can't be asked for the way to {host.name}: {getattr(err, 'strerror', None) or err}"
            raise BadInput(msg, bill=NOTHING, hint="install OpenSSH's client") from err
        if done.returncode:
            msg = f"ssh refuses {host.name}: {last_line(done.stderr)}"
            raise BadInput(msg, bill=NOTHING, hint=f"try `ssh -G {host.address}`")
        found: dict[str, str] = {}
        for line in done.stdout.decode("utf-8", "replace").splitlines():
            name, _, value = line.partition(" ")
            found.setdefault(name.lower(), value.strip())
        name, port = found.get("hostname", host.address), int(found.get("port", "22"))
        alias = found.get("hostkeyalias", "none")
        place = name if port == 22 else f"[{name}]:{port}"
        files = shlex.split(f"{found.get('userknownhostsfile', '')} {found.get('globalknownhostsfile', '')}")
        return Route(
            host=name,
            port=port,
            user=found.get("user", ""),
            proxy=self._proxy(host, found),
            known_as=place if alias in {"none", ""} else alias,
            known_files=tuple(str(Path(file).expanduser()) for file in files),
            shared=found.get("controlpath", "none") != "none",
        )

    def run(
        self, host: Host, script: str, values: Mapping[str, str], *, ask: bool = False, timeout: float = 60.0
    ) -> Answer:
        """Log in and run `script`; returns its answers, also if it did not come to its end.

        Parameters
        ----------
        ask
            Whether ssh may ask for a password or whether it shall trust the machine, at the terminal. One
            answer is enough for the later calls.

        Raises
        ------
        Unavailable
            The login failed, in ssh's own words; nothing ran there.
        """
        nonce = secrets.token_hex(12)
        argv = ["ssh", *self._login(host, ask=ask), *self._target(host), "sh -s"]
        # a file: a connection that ssh leaves open for the next call keeps its standard error
        with tempfile.TemporaryFile() as errors:
            try:
                done = subprocess.run(
                    argv,
                    input=compose(script, nonce, values),
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    timeout=None if ask else timeout,
                    check=False,
                )
                code, out = done.returncode, done.stdout
            except subprocess.TimeoutExpired as err:
                code, out = -1, err.stdout or b""
            except OSError as err:
                msg = f"ssh can't be started here: {err.strerror or err}"
                raise Unavailable(msg, provider="ssh", bill=NOTHING, hint="install OpenSSH's client") from err
            errors.seek(0)
            words = errors.read(1 << 16)
        answer = read(out, nonce)
        answer.said = last_line(words if words.strip() else out)
        if answer.begun:
            return answer
        hint = f"see what `ssh {host.address}` says: gpunb goes the same way"
        if code == _SSH_FAILED:
            msg = f"ssh could not log in to {host.name}: {answer.said}"
        elif code == -1:
            msg = (
                f"{host.name} did not answer within {timeout:g} s{f': {answer.said}' if answer.said else ''}"
            )
        else:
            msg = f"{host.name} lets us in, but runs no command (exit code {code}): {answer.said}"
            hint = "the user needs a login shell there that runs what is asked of it"
        # one that was slow may have begun all the same
        raise Unavailable(
            msg, provider="ssh", bill=NOTHING, hint=hint, effect="unknown" if code == -1 else "none"
        )

    def known_keys(self, route: Route) -> list[str]:
        """The machine's host keys that the user's known_hosts files hold."""
        result = []
        for file in route.known_files:
            if not Path(file).is_file():
                continue
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                done = subprocess.run(
                    ["ssh-keygen", "-F", route.known_as, "-f", file],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=20,
                    check=False,
                )
                lines = done.stdout.decode("utf-8", "replace").splitlines()
                result += [" ".join(line.split()[1:3]) for line in lines if line[:1] not in {"#", "@", ""}]
        return result

    def close(self) -> None:
        """End the connections that were left open for the next call."""
        for target in self._open:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    ["ssh", *self._mux(), "-O", "exit", *target],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=10,
                    check=False,
                )
        self._open.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _target(self, host: Host) -> tuple[str, ...]:
        port = ["-p", str(host.port)] if host.port else []
        return (*self._first, *port, "--", host.address)

    def _login(self, host: Host, *, ask: bool) -> Iterator[str]:
        yield "-T"
        for name, value in {**_PLAIN, "BatchMode": "no" if ask else "yes"}.items():
            yield from ("-o", f"{name}={value}")
        if ask and not self.route(host).shared:
            self._open.add(self._target(host))
            yield from ("-o", "ControlMaster=auto", "-o", "ControlPersist=120")
        if self._target(host) in self._open:
            yield from self._mux()

    def _mux(self) -> list[str]:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="gpunb-ssh-"))
        return ["-o", f"ControlPath={self._folder}/%C"]

    def _proxy(self, host: Host, found: Mapping[str, str]) -> str:
        """The command of the way there, for ssh's ``ProxyCommand``."""
        jumps, command = found.get("proxyjump", "none"), found.get("proxycommand", "none")
        if jumps != "none":
            *before, last = jumps.split(",")
            # the jump host's own settings are the user's; no question can be asked on the way
            argv = ["ssh", *self._first, "-o", "BatchMode=yes", *(["-J", ",".join(before)] if before else [])]
            target = f"ssh://{last}" if re.search(r":\d+$", last) and "://" not in last else last
            return f"{shlex.join(argv)} -W '[%h]:%p' -- {shlex.quote(target)}"
        if command == "none":
            return ""
        if found.get("proxyusefdpass", "no") == "yes":
            msg = f"the way to {host.name} has ProxyUseFdpass, which gpunb can't use"
            raise BadInput(msg, bill=NOTHING, hint="leave it out of its ProxyCommand")
        return command.replace("%n", host.address.rpartition("@")[2])
