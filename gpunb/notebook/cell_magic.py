"""The ``%%gpu`` cell: variables to the host, the run, variables back."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from gpunb import log
from gpunb.cli import run_notices
from gpunb.cli.command import DURATION, SESSION_OPTION, Verb
from gpunb.cli.context import Context
from gpunb.cli.failures import for_frontend, usage_error
from gpunb.cli.main import words
from gpunb.commands.parts import on_all
from gpunb.commands.running.get import fetch
from gpunb.commands.running.put import send
from gpunb.errors import BadInput, GpunbError, RemoteCellError, SessionAmbiguous
from gpunb.hints import typed
from gpunb.presentation.result import Result
from gpunb.services import lease_warnings
from gpunb.services.project import around
from gpunb.services.running import cell_target, cells, run_secrets

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gpunb.output import Sink

__all__ = ["CELL", "help_text", "run_cell"]

CELL = Verb(
    "%%gpu",
    params=[
        SESSION_OPTION,
        click.Option(
            ["--timeout"], type=DURATION, metavar="TIME", help="Interrupt the cell after so long: 90s, 10m."
        ),
        click.Option(
            ["-d", "--detach"], is_flag=True, help="Start it and go on; %gpu attach shows its output."
        ),
        click.Option(
            ["-i", "--in", "inputs"], multiple=True, metavar="NAME", help="Send this variable first."
        ),
        click.Option(
            ["-o", "--out", "outputs"], multiple=True, metavar="NAME", help="Bring this variable back."
        ),
        click.Option(
            ["--scatter", "scattered"],
            multiple=True,
            metavar="NAME",
            help="Deal this list, range, array or table out to a group's members, as equal as possible.",
        ),
        on_all.RANK,
        on_all.KEEP_GOING,
        click.Option(
            ["--sync", "folder"],
            metavar="DIR",
            type=click.Path(exists=True, file_okay=False),
            help="Send what changed in this folder first, and run inside it.",
        ),
        click.Option(
            ["--here/--no-here"],
            default=None,
            help="Run in this project's folder there, kept the same as here; or no longer.",
        ),
        click.Option(
            ["--secret", "secret_names"],
            multiple=True,
            metavar="NAME",
            help="Give this run the secret NAME: from here's environment, the keyring, or typed.",
        ),
        click.Option(["--trust"], is_flag=True, help="Let -o bring pickles too, which may run code here."),
        click.Option(["--name"], default="", metavar="TEXT", help="What to call the run in lists."),
        click.Option(["-v", "--verbose"], count=True, help="Verbose (-vv: debug)."),
    ],
    help=(
        "Run the cell on the host. Variables live on there from cell to cell.\n\n"
        "Several names may be given with commas: -i x,y.\n\n"
        "On a group it runs on all members, each in its own kernel, where GPUNB_RANK and GPUNB_SIZE are set: "
        "-i sends to all, -o brings a list by rank, equal lines are shown once. The first rank that fails "
        "interrupts the others."
    ),
    example=(
        "%%gpu\n%%gpu -s train --timeout 10m\n%%gpu -i x_train,y_train -o accuracy\n%%gpu --here\n"
        "%%gpu --sync src\n%%gpu -s team --scatter files -o losses"
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)


def help_text() -> str:
    """Return the help of the cell's options, for ``%%gpu -h`` with a body."""
    with click.Context(CELL, info_name="%%gpu", obj=Context("notebook"), **CELL.context_settings) as ctx:
        return CELL.get_help(ctx)


def run_cell(shell: InteractiveShell, line: str, body: str, above: int | None = None) -> Result | None:
    """Run `body` on the host with the flags in `line`.

    Parameters
    ----------
    above
        Lines above `body` in a plain cell; None is a ``%%gpu`` cell.

    Raises
    ------
    RemoteCellError
        The cell raised there; it shows the remote traceback.
    GpunbError
        Anything else that is expected.
    """
    with Context("notebook", shell) as context:
        try:
            args = words(line)
            with CELL.make_context("%%gpu", list(args), obj=context) as parsed:
                options = dict(parsed.params)
            count = shell.displayhook.prompt_count  # what the notebook shows: the shell's own is one ahead
            place = {"count": count, "above": ["# %%gpu"] if above is None else [""] * above}
            head = f"%%gpu {line}".rstrip() + "\n" if above is None else ""
            result = _run(context, body, options, place, head)
        except click.exceptions.Exit:  # -h
            return None
        except click.ClickException as err:
            raise usage_error(err, "%%gpu") from err
        except GpunbError as err:
            if isinstance(err, SessionAmbiguous) and not err.asked:
                err.hint = shlex.join(["%%gpu", "-s", err.proposed or "NAME", *args])
            for_frontend(err, [], context)
            if isinstance(err, RemoteCellError) and err.shown and err.hint:
                sys.stderr.write(f"next: {err.hint}\n")  # the traceback it would follow is shown already
            raise
        except Exception:
            log.get(__name__).exception("unexpected failure in a %%gpu cell")
            raise
        lease_warnings.tell(context)
        return result


def _run(
    context: Context, body: str, options: dict[str, Any], place: dict[str, Any], head: str
) -> Result | None:
    context.verbosity += options["verbose"]
    context.start_log()
    if not body.strip():
        msg = "%%gpu has nothing to run: the cell is empty below its first line"
        raise BadInput(msg, hint="write the code below it; %gpu alone shows the sessions")
    inputs, outputs = _names(options["inputs"]), _names(options["outputs"])
    if outputs and options["detach"]:
        msg = "%%gpu -o and --detach: a detached cell is not waited for, so nothing can be brought back yet"
        raise BadInput(msg, hint="leave -o out, and type " + typed("get", *outputs) + " when it has ended")
    scattered = _names(options["scattered"])
    own_to_groups = {"--scatter": scattered, "--keep-going": options["keep_going"]}
    members = on_all.find(context, options["session"], options["rank"], "%%gpu", **own_to_groups)
    if members is not None:
        from gpunb.notebook.group_cell import run_on_all

        names = {"inputs": inputs, "outputs": outputs, "scattered": scattered}
        cell_target.ran(context.shell, members.name)
        return run_on_all(context, members, body, options, place, **names)
    session = context.session(options["session"])
    secrets = run_secrets.collect(context, session, options["secret_names"])

    def before(found: around.Inside) -> None:
        if inputs:
            found.importable(context.agent(session))
            send(context, session, inputs)

    # `attach` answers the questions of a detached cell
    stdin, late = context.can_ask or options["detach"], not options["detach"]
    about = {"name": options["name"], "timeout": options["timeout"], "secrets": secrets}
    where = {"here": options["here"], "folder": options["folder"]}

    def sink(run_id: str) -> Sink:
        cell_target.ran(context.shell, session.name)
        return context.sink(run_id, head)

    if options["detach"]:
        inside = around.enter(context, session, what="%%gpu", **where)
        before(inside)
        about["place"] = inside.placed(place)
        handle = cells.start(context, session, body, stdin=stdin, late=late, **about)
        cell_target.ran(context.shell, session.name)
        info = cells.let_go(context, handle)
        doing = "waits" if info.state == "queued" else "runs"
        text = f"cell {info.id} {doing} on {session.name}; %gpu attach {info.id} shows its output"
        run_notices.watch(
            context, session, handle.client, info.id, name=cells.label(body, options["name"]), text=text
        )
        return Result({"run": info.id, "session": session.name, "state": info.state})
    cells.run(
        context, session, body, sink, stdin=stdin, late=late, place=place, before=before, **where, **about
    )
    if outputs:
        fetch(context, session, outputs, trust=options["trust"])
    return None


def _names(given: tuple[str, ...]) -> tuple[str, ...]:
    found = [name.strip() for text in given for name in text.split(",") if name.strip()]
    for name in found:
        if not name.isidentifier():
            msg = f"%%gpu: {name!r} is not a variable's name"
            raise BadInput(msg, hint="name variables, not expressions: -o accuracy,history")
    return tuple(dict.fromkeys(found))
