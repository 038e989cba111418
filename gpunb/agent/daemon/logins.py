"""Detection of terminal logins of our account over SSH."""

from __future__ import annotations

import os

SSH_TTY = b"SSH_TTY="
OURS = (b"HOME", b"GPUNB_FOLDER")  # what every login of this session has in its environment


def any_login(proc: str = "/proc") -> bool:
    """Whether a process runs in a terminal that an SSH login has opened.

    sshd names that terminal in SSH_TTY. A process that left it (in tmux, with nohup) keeps the
    variable, but has another terminal or none: that is no login.
    """
    try:
        names = os.listdir(proc)
    except OSError:
        return False
    return any(name.isdigit() and _at_ssh_terminal(os.path.join(proc, name)) for name in names)


def _at_ssh_terminal(folder: str) -> bool:
    try:
        with open(os.path.join(folder, "stat"), "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        number = int(fields[4])
        if number <= 0 or fields[0] in (b"Z", b"X"):
            return False
        with open(os.path.join(folder, "environ"), "rb") as file:
            words = file.read().split(b"\0")
        ours = (b"%s=%s" % (name, os.environb[name]) for name in OURS if name in os.environb)
        if any(our not in words for our in ours):
            return False  # another account's process, or that of another session on this machine
        found = [word for word in words if word.startswith(SSH_TTY)]
        # proc(5), tty_nr: the minor number in bits 31 to 20 and 7 to 0, the major in 15 to 8
        device = os.makedev((number >> 8) & 0xFF, (number & 0xFF) | ((number >> 12) & 0xFFF00))
        return bool(found) and os.stat(found[0][len(SSH_TTY) :]).st_rdev == device
    except (OSError, ValueError, IndexError):
        return False
