"""``ssh``: the system's ssh to the host, with the session's key and pinned host key."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from gpunb.cli.command import no_use, verb
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Code, Note, Result
from gpunb.units import duration_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.sessions.model import Session

__all__ = ["command"]


@verb(
    "ssh", example="ssh\nssh --print\nssh train htop\nssh --config --install", session=True, words_after=True
)
@click.argument("words", nargs=-1, metavar="[COMMAND...]", type=click.UNPROCESSED)
@click.option("--print", "print_", is_flag=True, help="Print the command instead of running it.")
@click.option(
    "--config", "as_config", is_flag=True, help="Print a block for an ssh_config file (VS Code, rsync)."
)
@click.option("--install", is_flag=True, help="--config: keep a file with the blocks of all sessions.")
@click.option("--remove", is_flag=True, help="--config: remove that file.")
def command(
    context: Context,
    *,
    words: tuple[str, ...],
    print_: bool,
    as_config: bool,
    install: bool,
    remove: bool,
    session: str | None,
) -> Result:
    """Open a shell on the host, or run one interactive command there.

    Your own ~/.ssh is neither read nor changed. In a notebook the command is printed. --config --install
    writes one file with all sessions, and keeps it up to date when addresses change and sessions end;
    VS Code, Cursor, PyCharm and plain ssh read it by one line in ~/.ssh/config.
    """
    import shutil

    from gpunb.sessions.access import host_access
    from gpunb.ssh import config_block, ssh_argv

    if install or remove:
        option = "--remove" if remove else "--install"
        if not as_config:
            msg = f"{option} goes with --config"
            raise BadInput(msg, hint=typed("ssh --config", option))
        no_use(f"--config {option}", "print_", "words", "session", "install" if remove else "remove")
        return _kept_file(context, remove=remove)
    if as_config:
        no_use("--config", "print_", "words")
    found = context.session(session)
    endpoint = host_access.endpoint(found)
    if not words and not print_:
        _tell_idle(context, found)
    if as_config:
        block = config_block(endpoint, f"gpunb-{found.name}")
        return Result({"session": found.name, "config": block}, Code(block))
    argv = ssh_argv(endpoint, *words, tty=True)
    data = {"session": found.name, "argv": argv}
    if print_ or context.frontend == "notebook" or context.as_json:
        return Result(data, Code(shlex.join(argv)))
    if shutil.which("ssh") is None:
        msg = "there is no ssh program on this machine"
        raise BadInput(msg, hint="install openssh-client; " + typed("exec") + " and run work without it")
    return Result(data, exit_code=context.run_in_terminal(argv) or 0)


def _kept_file(context: Context, *, remove: bool) -> Result:
    from gpunb.sessions.integrations import ssh_config

    path, line = ssh_config.file(), ssh_config.include_line()
    if remove:
        was = ssh_config.remove()
        text = f"{path} is removed" if was else f"there was no {path}"
        notes = [Note(text, "ok"), Note(f"the line {line} in ~/.ssh/config does no harm; remove it", "dim")]
        return Result({"file": str(path), "removed": was}, *notes[: 2 if was else 1])
    sessions = context.ledger.sessions()
    try:
        ssh_config.install(sessions)
    except OSError as err:
        msg = f"{path} can't be written: {err.strerror}"
        raise BadInput(msg) from err
    return Result(
        {"file": str(path), "include": line},
        Note(f"{path} has the live sessions, and is kept up to date from now on", "ok"),
        Note("put this line first in ~/.ssh/config, once:", ""),
        Code(line),
    )


def _tell_idle(context: Context, session: Session) -> None:
    """Warn that work in a shell or an editor there does not count as activity."""
    lease = session.lease
    if lease.idle_s is not None and not lease.count_ssh:
        ends = f"{session.name} ends after {duration_text(lease.idle_s)} without runs and syncs of gpunb's"
        count = typed("extend", session.name, "--count-ssh") + " counts logins, too"
        context.tell(Note(ends, "dim"), Note(count, "dim"))
