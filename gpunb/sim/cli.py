"""``gpunb sim``: start, stop and inspect simulated clouds, and inject faults."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunb import paths
from gpunb.cli.command import verb
from gpunb.errors import BadInput, GpunbError, Unavailable, WrongState
from gpunb.presentation.result import Code, Note, Result, Table
from gpunb.sim.serving import state
from gpunb.text import did_you_mean
from gpunb.units import duration_text, money_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command", "env_lines"]


class _Group(click.Group):
    """Command group that suggests a similar verb for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not ctx.resilient_parsing:
            msg = f"{ctx.command_path}: there is no verb {args[0]!r}"
            hint = did_you_mean(args[0], list(self.commands)) or f"{ctx.command_path} -h lists the verbs"
            raise BadInput(msg, hint=hint)
        return super().resolve_command(ctx, args)


@click.group("sim", cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Try gpunb on simulated clouds: their APIs, real SSH hosts, no account, no cost."""


def env_lines(providers: dict[str, dict[str, Any]]) -> list[str]:
    """Return shell lines that point gpunb and the clouds' own clients at the simulation."""
    from gpunb.providers import keys

    # a ledger of its own: a simulated cloud must not be asked for real instances
    lines = [
        f"export GPUNB_CLOUDS={shlex.quote(','.join(['local', *providers]))}",
        f"export GPUNB_LEDGER={shlex.quote(str(paths.sim_dir() / 'ledger.sqlite'))}",
    ]
    for name, found in providers.items():
        lines.append(f"export {keys.variable(name)}={shlex.quote(found['key'])}")
        if name == "vast":
            lines.append(f"export VAST_URL={shlex.quote(found['base_url'])}")
        prefix = f"GPUNB_PROVIDERS__{name.upper()}__"
        lines.append(f"export {prefix}BASE_URL={shlex.quote(found['base_url'])}")
        if found.get("accept_terms"):
            lines.append(f"export {prefix}ACCEPT_TERMS=true")
        if found.get("http"):
            lines.append(f"export {prefix}HTTP='{{\"pace\": {found['http']['pace']:g}}}'")
    return lines


@verb("up", example="sim up\nsim up --env --speed 10\nsim up --cloud vast --scenario faults.json")
@click.option(
    "--env", is_flag=True, help="Print shell lines instead of making them gpunb's clouds everywhere."
)
@click.option("--cloud", "clouds", multiple=True, metavar="NAME", help="Only this cloud; may be given again.")
@click.option(
    "--speed", type=click.FloatRange(0.1, 1000), default=1.0, help="How fast the clouds' clock runs."
)
@click.option("--seed", type=int, default=0, help="The offers are the same for the same seed.")
@click.option("--balance", type=click.FloatRange(0), default=100.0, help="Dollars on each account.")
@click.option(
    "--boot", type=click.FloatRange(0), default=None, metavar="SECONDS", help="How long a boot takes."
)
@click.option("--scenario", type=click.Path(exists=True, dir_okay=False), help="Faults, a JSON list.")
def up(
    context: Context,
    *,
    env: bool,
    clouds: tuple[str, ...],
    speed: float,
    seed: int,
    balance: float,
    boot: float | None,
    scenario: str | None,
) -> Result:
    """Start the simulated clouds; gpunb uses them until `sim down`.

    They have a ledger of their own: real sessions go on and are watched, and `ps` shows them again
    after `sim down`.
    """
    from gpunb.sim import ending
    from gpunb.sim.serving.runner import CLOUDS

    for name in clouds:
        if name not in CLOUDS:
            msg = f"--cloud {name!r} is not simulated; there are {', '.join(CLOUDS)}"
            raise BadInput(msg)
    options = {
        "clouds": list(clouds),
        "speed": speed,
        "seed": seed,
        "balance": balance,
        "boot_s": boot,
        "active": not env,
        "scenario": str(Path(scenario).absolute()) if scenario else None,
    }
    if state.read_marker() is None:
        ending.close("an earlier simulation ended")
    hidden = [] if env else _watched(context)
    with context.progress("start the simulated clouds"):
        found = state.start(options)
    providers = found["providers"]
    lines = env_lines(providers)
    if env:
        return Result({"env": lines, "providers": providers}, Code("\n".join(lines)))
    rows = [[name, one["base_url"]] for name, one in providers.items()]
    notes = [Note("gpunb rents from these simulated clouds until `gpunb sim down`", "ok")]
    notes += _not_simulated(context, providers)
    if hidden:
        text = f"not shown until then, watched and billed as before: {', '.join(hidden)}"
        notes.append(Note(text, "warn"))
    return Result({"providers": providers, "env": lines}, Table(["cloud", "address"], rows), *notes)


def _watched(context: Context) -> list[str]:
    """Make sure that a supervisor watches the real sessions that the simulation hides; return their names."""
    from gpunb.sessions.supervisor import process

    hidden = [session.name for session in context.ledger.sessions()]
    if hidden:
        process.ensure(context.ledger)
        until = time.monotonic() + 20
        # it must have opened the real ledger before the simulation's ledger replaces it
        while context.ledger.leader() is None:
            if time.monotonic() > until:
                msg = "the supervisor of the real sessions does not start"
                raise GpunbError(msg, hint="gpunb supervise, in a terminal of its own, and sim up again")
            time.sleep(0.05)
    return hidden


def _not_simulated(context: Context, providers: dict[str, Any]) -> list[Note]:
    """Return notes on the user's settings that keep gpunb from using a simulated cloud."""
    from gpunb.providers import keys, names

    settings = context.settings
    kept = [name for name in providers if name not in settings.simulated]
    notes = [
        Note(f"{name}: its base_url is set elsewhere and holds (gpunb config shows where)", "warn")
        for name in kept
    ]
    asked = keys.asked(settings, names())
    unasked = [name for name in providers if name not in asked]
    if unasked:
        text = f"the setting clouds does not name {', '.join(unasked)}: add --cloud {','.join(unasked)}"
        notes.append(Note(text, "warn"))
    return notes


@verb("down", asks=True, example="sim down")
@click.option("--no-save", is_flag=True, help="Don't bring back what rent --save asked for.")
def down(context: Context, *, no_save: bool, yes: bool) -> Result:
    """End the simulation: its sessions, with their receipts, and every host in it."""
    from gpunb.services.confirmations import Question
    from gpunb.sessions.access import host_access
    from gpunb.sim import ending

    found = state.read_marker()
    if found is None:
        closed = ending.close()
        text = f"no simulation is up{'; closed ' + ', '.join(closed) if closed else ''}"
        return Result({"down": False, "ended": []}, Note(text, "dim"))
    sessions = [session.name for session in ending.live()]
    question = Question(
        text=f"End {', '.join(sessions)} and the simulation, with all files in it.", needed=bool(sessions)
    )
    if not context.confirm(question, yes=yes):
        return Result({"down": False, "ended": []}, Note("nothing was changed", "dim"), exit_code=1)
    notes = []
    if sessions:
        receipts, trouble = ending.end_all(found["providers"], context.progress, save=not no_save)
        notes = [
            Note(
                f"{ended.name} ended after {duration_text(ended.seconds)}: {money_text(ended.cost.total)}",
                "ok",
            )
            for ended in receipts
        ]
        notes += [Note(line, "warn") for line in trouble]
    try:
        alive = [row for one in _states(found).values() for row in one["machines"] if row["billed"]]
    except Unavailable:
        alive = []
    with context.progress("end the simulated clouds"):
        state.stop()
    host_access.close_all()
    ending.close()
    notes.append(Note("the simulated clouds are down", "ok"))
    if alive:
        notes.append(Note(f"{len(alive)} simulated instance(s) ended with them", "warn"))
    return Result({"down": True, "sessions": sessions, "ended": [row["id"] for row in alive]}, *notes)


@verb("status", example="sim status")
def status(context: Context) -> Result:  # noqa: ARG001 - a verb's first argument
    """What the simulated clouds know: instances, their true bills, faults that wait."""
    found = _up()
    states = _states(found)
    rows, faults = [], []
    for name, one in states.items():
        rows += [
            [
                name,
                row["id"],
                row["label"],
                row["phase"],
                money_text(row["usd"]),
                ", ".join(row["troubles"]),
            ]
            for row in one["machines"]
        ]
        faults += [[name, row["kind"], row["endpoint"], row["times"] or "always"] for row in one["faults"]]
    blocks: list[Any] = [Table(["cloud", "instance", "label", "phase", ">bill", "troubles"], rows)]
    if faults:
        blocks.append(Table(["cloud", "fault", "endpoint", ">times"], faults, title="faults that wait"))
    if not rows:
        blocks = [Note("nothing was rented from the simulated clouds yet", "dim"), *blocks[1:]]
    return Result(states, *blocks)


@verb(
    "faults",
    example="sim faults\nsim faults vast create error-after\nsim faults fluence * destroy-ignored --times 0",
)
@click.argument("cloud", required=False)
@click.argument("endpoint", required=False)
@click.argument("kind", required=False)
@click.option("--times", type=click.IntRange(0), default=1, help="How often; 0 for ever.")
@click.option("--after", type=click.IntRange(0), default=0, help="Matching calls that pass unharmed first.")
@click.option("--now", "at_once", metavar="INSTANCE", help="Let it happen now to this instance (or `all`).")
@click.option("--clear", is_flag=True, help="Forget the faults that wait.")
@click.option(
    "-p", "--param", "params", multiple=True, metavar="NAME=NUMBER", help="seconds, factor, retry_after."
)
def faults(
    context: Context,  # noqa: ARG001 - a verb's first argument
    *,
    cloud: str | None,
    endpoint: str | None,
    kind: str | None,
    times: int,
    after: int,
    at_once: str | None,
    clear: bool,
    params: tuple[str, ...],
) -> Result:
    """Let something go wrong: CLOUD ENDPOINT KIND; alone, list the kinds."""
    from gpunb.sim.faults import KINDS

    if cloud is None:
        return Result(KINDS, Table(["kind", "what happens"], list(KINDS.items())))
    providers = _up()["providers"]
    if cloud not in providers:
        msg = f"the simulation has no cloud {cloud!r}; it has {', '.join(providers)}"
        raise BadInput(msg)
    if clear:
        return Result(_ask(cloud, providers[cloud], "DELETE", "/_sim/faults"), Note("no faults wait", "ok"))
    if endpoint in KINDS and kind is None:
        endpoint, kind = "*", endpoint
    if kind not in KINDS or endpoint is None:
        msg = f"{kind or endpoint or 'nothing'} is no kind of fault"
        raise BadInput(msg, hint="gpunb sim faults lists the kinds")
    body: dict[str, Any] = {"kind": kind, "endpoint": endpoint, "times": times or None, "after": after}
    body["params"] = dict(_number(entry) for entry in params)
    if at_once:
        body |= {"now": True, "instance": None if at_once == "all" else at_once}
    answer = _ask(cloud, providers[cloud], "POST", "/_sim/faults", body)
    text = (
        f"{kind} waits for {endpoint} at {cloud}"
        if not at_once
        else f"{kind} hit {answer.get('hit')} at {cloud}"
    )
    return Result(answer, Note(f"{text}: {KINDS[kind]}", "ok"))


@verb("clock", example="sim clock --advance 3600\nsim clock --speed 60")
@click.option("--advance", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Jump forward.")
@click.option("--speed", type=click.FloatRange(0), default=None, help="Simulated seconds for each real one.")
def clock(context: Context, *, advance: float, speed: float | None) -> Result:  # noqa: ARG001
    """Move the simulated clouds' clock."""
    providers = _up()["providers"]
    name = next(iter(providers))  # they share one clock
    answer = _ask(name, providers[name], "POST", "/_sim/clock", {"advance": advance, "speed": speed})
    moved = f"was moved on by {duration_text(advance)} and " if advance else ""
    text = f"the clouds' clock {moved}runs at {answer['speed']:g} times the speed of ours"
    return Result(answer, Note(text, "ok"))


for _verb in (up, down, status, faults, clock):
    command.add_command(_verb)


def _number(entry: str) -> tuple[str, float]:
    name, _, value = entry.partition("=")
    try:
        return name, float(value)
    except ValueError:
        msg = f"--param {entry!r} must be NAME=NUMBER"
        raise BadInput(msg) from None


def _up() -> dict[str, Any]:
    result = state.read_marker()
    if result is None:
        msg = "no simulation is up"
        raise WrongState(msg, hint="gpunb sim up")
    return result


def _states(found: dict[str, Any]) -> dict[str, Any]:
    return {name: _ask(name, one, "GET", "/_sim/state") for name, one in found["providers"].items()}


def _ask(name: str, one: dict[str, Any], method: str, path: str, body: Any = None) -> dict[str, Any]:
    import httpx

    root = httpx.URL(one["base_url"]).copy_with(path=path)
    try:
        answer = httpx.request(method, root, json=body, timeout=20, trust_env=False)
        answer.raise_for_status()
    except httpx.HTTPStatusError as err:
        msg = f"the simulated {name} refuses: {err.response.text[:200]}"
        raise BadInput(msg) from err
    except httpx.HTTPError as err:
        msg = f"the simulated {name} does not answer: {err}"
        raise Unavailable(msg, provider=name, hint="gpunb sim down, then gpunb sim up") from err
    result: dict[str, Any] = answer.json()
    return result
