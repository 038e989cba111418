"""Injection of gpunb's host key into a Fluence container, by its start command.

Fluence runs no script at a container's first boot. It takes a start command,
which replaces the image's own entrypoint ("Deploy GPU instances"), so the
command has to start SSH itself, and needs an image with OpenSSH's server. No
page of Fluence says what its default images hold beside "SSH", or where: only
the user can confirm that an image is suitable (`OPTION`).

The command is one ``sh -c`` with one quoted word, which comes out the same
whether Fluence hands the line to a shell or splits it into words. It has no
``$(``, which Kubernetes would take for a variable of its own.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.providers.edge.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BESIDE", "HINT", "OPTION", "command", "is_ours", "started", "wanted", "why_stopped"]

OPTION = "host_key"
#: The variable with the user's own start command, which ours runs beside sshd.
BESIDE = "GPUNB_START_COMMAND"
HINT = f"rent an image with OpenSSH's server, or set {OPTION} = false under [providers.fluence]"

_MARK = "gpunb-host-key:"
_UP = "sshd starts"
_KEY = "/run/gpunb/host_key"
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0", ""})

# What goes wrong is printed by the trap, with the step that it was; a successful exec prints
# nothing more. The server's own configuration is left out (-f /dev/null), because its HostKey
# lines would count beside ours. Root's environment file is how logins see the container's
# variables: sshd gives a login none of its own.
_SCRIPT = """\
set -e
w="this image has no sshd"
trap "echo {mark} \\$w" EXIT
for s in /usr/sbin/sshd /usr/local/sbin/sshd /usr/bin/sshd; do [ -x $s ] && break; s=; done
[ -n "$s" ]
w="Fluence set no SSH_PUBKEY"
[ -n "$SSH_PUBKEY" ]
w="the host key can not be written"
mkdir -p /run/sshd
umask 077
mkdir -p /run/gpunb ~root/.ssh
rm -f {key}
printf "%s\\n" {lines} >{key}
printf "\\n%s\\n" "$SSH_PUBKEY" >>~root/.ssh/authorized_keys
env >~root/.ssh/environment
[ -z "${beside}" ] || (sh -c "${beside}" &)
echo {mark} {up}
exec $s -D -e -f /dev/null -o HostKey={key} -o PermitRootLogin=prohibit-password \
-o PasswordAuthentication=no -o PermitUserEnvironment=yes -o "Subsystem=sftp internal-sftp"
"""


def wanted(options: Mapping[str, Any]) -> bool:
    """Return whether the user's settings ask for it.

    Raises
    ------
    BadInput
        The option is neither true nor false.
    """
    value = options.get(OPTION, False)
    text = str(value).strip().lower()
    if text in _YES:
        return True
    if text in _NO:
        return False
    msg = f"providers.fluence.{OPTION} {clean(repr(value), 40)} must be true or false"
    raise BadInput(msg, bill="nothing was rented")


def command(private: str) -> str:
    """The start command that lets sshd show the host key `private` (OpenSSH PEM), and no other."""
    lines = " ".join(f'"{line}"' for line in private.split("\n") if line)
    script = _SCRIPT.format(mark=_MARK, up=_UP, key=_KEY, lines=lines, beside=BESIDE)
    return shlex.join(["sh", "-c", "; ".join(script.strip().split("\n"))])


def is_ours(start_command: object) -> bool:
    """Return whether a container's start command was made by `command`."""
    return isinstance(start_command, str) and _MARK in start_command


def started(log: Sequence[str]) -> bool:
    """Return whether the container's log shows that the command reached sshd."""
    return any(line.strip().endswith(f"{_MARK} {_UP}") for line in log)


def why_stopped(log: Sequence[str]) -> str:
    """Return the error that the command printed when it gave up; "" if it printed none."""
    reasons = [line.partition(_MARK)[2] for line in log if _MARK in line]
    return clean(reasons[-1].strip(), 100) if reasons else ""
