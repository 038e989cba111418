"""``code``: open an editor on the host, through the system's ssh."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import click

from gpunb.cli.command import verb
from gpunb.errors import BadInput, WrongState
from gpunb.hints import typed
from gpunb.presentation.result import Code, Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]

#: Editors that open a folder of a host by ``--remote ssh-remote+HOST``, first found first.
EDITORS = ("code", "cursor", "windsurf", "code-insiders", "codium")


@verb("code", example="code\ncode /root/project -s train\ncode --editor cursor", session=True)
@click.argument("folder", required=False, metavar="[FOLDER]")
@click.option(
    "--editor", metavar="PROGRAM", help=f"Which one. [default: the first installed of {', '.join(EDITORS)}]"
)
def command(context: Context, *, folder: str | None, editor: str | None, session: str | None) -> Result:
    """Open the host in VS Code, or an editor like it, on this computer.

    FOLDER is a folder on the host. [default: the home folder] The editor uses the system's ssh, and
    finds the session's address in the file that `ssh --config --install` keeps.
    """
    from gpunb.sessions.integrations import ssh_config

    found = context.session(session)
    program = _program(editor)
    if not ssh_config.is_included(found):
        msg = f"the system's ssh does not know {ssh_config.host_name(found)} yet"
        line = ssh_config.include_line()
        hint = typed("ssh --config --install") + f", then put this line first in ~/.ssh/config: {line}"
        raise WrongState(msg, hint=hint)
    argv = [program, "--remote", f"ssh-remote+{ssh_config.host_name(found)}", *([folder] if folder else [])]
    data = {"session": found.name, "argv": argv}
    if context.as_json:
        return Result(data, Code(shlex.join(argv)))
    code = subprocess.run(argv, stdin=subprocess.DEVNULL, check=False).returncode
    count = typed("extend", found.name, "--count-ssh")
    note = Note(f"typing in an editor is not activity; {count} lets its terminals count", "dim")
    return Result(data, *([note] if not found.lease.count_ssh else []), exit_code=code)


def _program(editor: str | None) -> str:
    names = [editor] if editor else list(EDITORS)
    for name in names:
        if shutil.which(name):
            return name
    what = (
        f"--editor: there is no program {editor!r}" if editor else "no editor with remote folders was found"
    )
    msg = f"{what} on this machine's PATH"
    hint = f"install one of {', '.join(EDITORS)} with its command on the PATH, or use " + typed("ssh")
    raise BadInput(msg, hint=hint)
