"""``once``: rent a machine, send the project, run, bring the results back and end, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli import offer_options
from gpunb.cli.command import DURATION, MONEY, OrNever, verb
from gpunb.cli.container_options import variables
from gpunb.cli.first_word import places
from gpunb.commands.parts import run_options
from gpunb.errors import BadInput, GpunbError, HostError
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result
from gpunb.units import costs_text, money_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.services.once import flow
    from gpunb.services.running.jobs import Started
    from gpunb.sessions.model import Session

__all__ = ["command"]

COMMAND = "--as-command"


@verb(
    "once",
    asks=True,
    undone="nothing was rented",
    example=(
        "once train.py --gpu L4 --for 2h --budget 3 --save out -- --epochs 3\nonce -m pytest --gpu L4\n"
        "once report.ipynb -p year 2026\nonce --gpu L4 -- nvidia-smi -L"
    ),
)
@click.argument("words", nargs=-1, metavar="[SCRIPT|NOTEBOOK] [-- ARGS...|-- COMMAND...]", type=click.Path())
@run_options.MODULE
@click.option(COMMAND, "is_command", is_flag=True, hidden=True)
@offer_options.filters
@click.option(
    "--budget", type=OrNever(MONEY, "none"), metavar="USD", help="End before the cost exceeds this, or none."
)
@click.option(
    "--idle", type=OrNever(DURATION, "never"), metavar="TIME", help="End after this much idle time, too."
)
@click.option("--name", metavar="NAME", help="What to call the session. [default: from the GPU]")
@click.option("--image", metavar="NAME", help="The container image or the system, as the cloud calls it.")
@click.option("--python", metavar="PATH", help="The host's Python. [default: found there]")
@run_options.ENV
@run_options.SECRET
@click.option(
    "--requirements",
    metavar="FILE",
    type=click.Path(),
    help="Install what this file lists. [default: what the script or the project lists]",
)
@click.option(
    "--save",
    multiple=True,
    metavar="PATH",
    help="Bring this back, from the folder that it runs in. [default: what it writes there, to 2 GB]",
)
@run_options.PARAMETER
@click.option(
    "-o", "--output", metavar="FILE", help="What a notebook's result is called. [default: NAME.out.ipynb]"
)
@click.option(
    "--checkpoint",
    metavar="DIR",
    help="Bring DIR here every 5 min; if the machine is taken, go on from it on the next one.",
)
@click.option("--keep", is_flag=True, help="Keep the session afterwards, with its lease.")
@click.option("-d", "--detach", is_flag=True, help="Start it and return; it ends with its run.")
def command(
    context: Context,
    *,
    words: tuple[str, ...],
    module: str | None,
    is_command: bool,
    budget: float | None,
    idle: float | None,
    name: str | None,
    image: str | None,
    python: str | None,
    env: tuple[str, ...],
    secret_names: tuple[str, ...],
    requirements: str | None,
    save: tuple[str, ...],
    values: tuple[tuple[str, str], ...],
    output: str | None,
    checkpoint: str | None,
    keep: bool,
    detach: bool,
    yes: bool,
    length: float | None,
    disk: str | None,
    **flags: Any,
) -> Result:
    """Rent a machine, send the project, run, bring the results back, end.

    The project is the folder of gpunb.toml, pyproject.toml or .git around the working folder, else the
    script's folder; the run is in the same place of it. Packages come from the script's own list (PEP
    723), else from the project's. Output and exit code are the run's.

    With --checkpoint a machine that is taken (--spot) is followed by the next that fits, in the same time and
    budget: DIR is sent there, and the run begins again with GPUNB_ATTEMPT=2, 3, ….

    Ctrl-C asks whether to end it or leave it running. Left, or with this machine asleep or off, it goes on up
    to its lease, ends with the run, and its results come back when a supervisor is there; `attach` shows it.
    """
    from gpunb.remote import new_run_id
    from gpunb.services.once import flow
    from gpunb.services.once.asked import Asked

    if checkpoint is not None and keep:
        msg = "once --checkpoint can't be with --keep: the session ends with its run, wherever that is"
        raise BadInput(msg)
    asked = Asked(
        cwd=str(Path.cwd()),
        words=words,
        module=module,
        is_command=is_command,
        save=save,
        requirements=requirements,
        env=variables("once", env),
        secrets=secret_names,
        values=values,
        output=output,
        checkpoint=checkpoint or "",
        flags=flags,
        disk=disk,
        python=python,
        image=image,
    )
    wanted = asked.task(new_run_id())
    wish = asked.wish(length=length, name=name, idle_s=idle, budget_usd=budget)
    session = flow.rent(context, asked, wanted, wish, yes=yes, keep=keep)
    if session is None:
        return Result({"rented": False}, exit_code=1)
    started = flow.begin(context, session, wanted, detach=detach)
    data: dict[str, Any] = {"session": session.name, "run": started.handle.id, "name": started.label}
    note = Note(f"run {started.handle.id} on {session.name}: {started.label}", "dim")
    if detach:
        context.tell(note, _goes_on(session, started.handle.id, str(wanted.root), keep=keep))
        return Result({**data, "state": "running"})
    context.tell(note)
    try:
        session, outcome = _followed(context, session, started)
        data["session"] = session.name
    except flow.Left:
        context.tell(_goes_on(session, started.handle.id, str(wanted.root), keep=keep))
        return Result({**data, "state": "running"}, exit_code=130)
    return _ended(context, session, outcome, data, keep=keep)


def _followed(context: Context, session: Session, started: Started) -> tuple[Session, flow.Outcome]:
    """Show the run to its end, on whatever machine that is."""
    from gpunb.services.once import flow
    from gpunb.services.running import log_filter, runs

    while True:
        try:
            return session, flow.follow(context, started, context.sink(started.handle.id))
        except HostError:  # noqa: PERF203 - once for each machine
            try:
                later = flow.next_attempt(context, session)
            except KeyboardInterrupt:
                raise flow.Left from None
            except runs.RunKept as over:  # its results are here, too
                if over.note.session_id == session.id:  # a part of its output is on the screen
                    text = "the run ended while its line was away; "
                    context.tell(
                        Note(text + typed("logs", over.note.id) + " shows all of its output", "warn")
                    )
                else:
                    text = f"the machine of {session.name} was taken: its run went on as {over.note.id}"
                    context.tell(Note(f"{text}, and has ended", "warn"))
                    log_filter.play_text(over.file, context.sink(over.note.id))
                outcome = flow.Outcome(over.note.state, int(over.note.state != "ok"))
                return context.ledger.get(over.note.session_id), outcome
            if later is None:
                raise
            was, (session, started) = session, later
            text = f"the machine of {was.name} was taken: its run goes on as {started.handle.id}"
            context.tell(Note(f"{text} on the next one", "warn"))


def _ended(
    context: Context, session: Session, outcome: flow.Outcome, data: dict[str, Any], *, keep: bool
) -> Result:
    """Bring the results back, end the session, and say both; the exit code stays the run's."""
    from gpunb.services.once import flow

    if outcome.why:
        context.tell(Note(f"the run ended: {outcome.why}", "warn"))
    data |= {"state": outcome.state, "exit_code": outcome.exit_code}
    try:
        receipt, failed = (None, flow.bring_only(context, session)) if keep else flow.finish(context, session)
    except KeyboardInterrupt:
        text = f"left {session.name}: the supervisor brings the results back and ends it; "
        context.tell(Note(text + typed("ps") + " shows it", "warn"))
        return Result(data, exit_code=130)
    except GpunbError as err:
        context.tell(
            *(Note(line, "bad" if not number else "warn") for number, line in enumerate(err.lines()))
        )
        return Result(data, exit_code=outcome.exit_code or 1)
    notes = [Note(text, tone) for text, tone in flow.came(context, session)]
    if failed:
        bill = (
            f"nothing was ended: {session.name} goes on and {costs_text(session.hourly)} until its lease ends"
        )
        then = (
            typed("down", session.name)
            + " tries again and ends it; "
            + typed("down", session.name, "--no-save")
            + " ends it without its results"
        )
        notes += [Note(bill, "bad"), Note(then, "dim")]
    elif receipt is not None:
        data["usd"] = receipt.cost.total
        confirmed = "confirmed gone" if receipt.confirmed is not None else "its end is NOT confirmed yet"
        notes.append(
            Note(f"{session.name} has ended ({confirmed}); it cost {money_text(receipt.cost.total)}")
        )
    else:
        notes.append(Note(f"{session.name} goes on and {costs_text(session.hourly)}", "warn"))
    context.tell(*notes)
    return Result(data, exit_code=outcome.exit_code or int(bool(failed)))


def _goes_on(session: Session, run_id: str, root: str, *, keep: bool) -> Note:
    then = "" if keep else f", ends with it, and its results come to {root}"
    return Note(
        f"{session.name} goes on with run {run_id}{then}; " + typed("attach", run_id) + " shows it", "ok"
    )


def _rewrite(params: list[click.Parameter], args: list[str]) -> list[str]:
    """Tell ``-- COMMAND`` from ``SCRIPT -- ARGS``; what follows a script with gpunb in its #! is its own."""
    found = places(params, args)
    if "--" in args and not found:
        at = args.index("--")
        module = any(arg == "-m" or (arg.startswith("-m") and not arg.startswith("--")) for arg in args[:at])
        return args if module else [*args[:at], COMMAND, *args[at:]]
    if found and args[found[0] + 1 : found[0] + 2] != ["--"] and _names_us(args[found[0]]):
        return [*args[: found[0] + 1], "--", *args[found[0] + 1 :]]
    return args


def _names_us(script: str) -> bool:
    """Whether the first line of `script` has gpunb run it, as a kernel does with what was typed after it."""
    try:
        with Path(script).open("rb") as file:
            first = file.readline(1000)
    except (OSError, ValueError):
        return False
    return first.startswith(b"#!") and b"gpunb" in first


command.own_words = True  # type: ignore[attr-defined]
command.rewrite = _rewrite
