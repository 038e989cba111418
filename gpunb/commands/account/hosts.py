"""``hosts``: machines of your own that you can log in to, as offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpunb.cli.command import MONEY, no_use, verb
from gpunb.errors import BadInput, GpunbError
from gpunb.hints import typed
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Cell, Fields, Note, Result, Table
from gpunb.text import clean, did_you_mean
from gpunb.units import hourly_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.providers.features import Host, Machine, OwnHosts

__all__ = ["command"]

ACTIONS = ("list", "check", "add", "remove")


@verb(
    "hosts",
    example="hosts\nhosts add lab3 me@10.0.0.7:2222 --price 0.40\nhosts check lab3\nhosts remove lab3",
)
@click.argument("action", required=False, type=click.Choice(ACTIONS), default="list")
@click.argument("name", required=False)
@click.argument("address", required=False)
@click.option(
    "--price", type=MONEY, metavar="USD", help="With add: what an hour of it is worth. [default: 0]"
)
@click.option("--trust", metavar="LEVEL", help="With add: own, datacenter or stranger. [default: datacenter]")
@click.option("--gpus", metavar="N", help="With add: use so many GPUs, or these: 0,3. [default: all]")
@click.option("--share", is_flag=True, help="With add: give out GPUs on which others compute, too.")
@click.option("--tag", multiple=True, metavar="WORD", help="With add: a word to find it by.")
def command(context: Context, *, action: str, name: str | None, address: str | None, **more: Any) -> Result:
    """List your machines, look whether one can be used, add one to your settings, or remove it.

    The address is what you give to ssh: a name of ~/.ssh/config, or USER@HOST:PORT. `check` logs in as you
    do, and changes nothing there but what a broken-off rental left; it needs no entry. `rent --host` takes
    any address, too.
    """
    from gpunb.providers import keys
    from gpunb.providers.features import OwnHosts, feature

    if action != "add":
        no_use(f"hosts {action}", *more)
    if action in {"check", "remove"} and address is not None:
        msg = f"hosts {action}: takes one name; {address!r} is one too many"
        raise BadInput(msg)
    cloud = feature(context.provider(keys.SSH), OwnHosts)
    if action == "add":
        return _add(context, cloud, name, address, more)
    if action == "remove":
        return _remove(context, cloud, name)
    return _list(context, cloud) if name is None else _check(context, cloud, name)


def _list(context: Context, cloud: OwnHosts) -> Result:
    known = cloud.hosts()
    if not known:
        note = typed("hosts add lab3 me@10.0.0.7") + " lists a machine; " + typed("rent --host me@10.0.0.7")
        return Result([], Note("no machine is listed", "dim"), Note(note + " needs no list", "dim"))
    from concurrent.futures import ThreadPoolExecutor

    with context.progress("hosts") as progress, ThreadPoolExecutor(16) as pool:
        progress.say(f"looking at {', '.join(one.name for one in known)}")
        found = list(pool.map(lambda one: _look(cloud, one), known))
    rows, shown = [], []
    for host, seen in zip(known, found, strict=True):
        rows.append(_row(host, seen))
        state = Cell("cannot be used", "bad") if isinstance(seen, GpunbError) else Cell("ready", "ok")
        free = "" if isinstance(seen, GpunbError) else _gpus(seen)
        using = "" if isinstance(seen, GpunbError) else str(len(seen.labels))
        shown.append([Cell(host.name, "strong"), _address(host), free, using, _price(host), state])
    heads = [
        Column("host"),
        Column("address", wrap=True),
        Column("GPUs free"),
        Column("sessions", right=True),
    ]
    heads += [Column("price", right=True), Column("state")]
    notes = [
        Note(clean(f"{host.name}: {seen.message}"), "warn")
        for host, seen in zip(known, found, strict=True)
        if isinstance(seen, GpunbError)
    ]
    return Result(rows, Table(heads, shown), *notes)


def _check(context: Context, cloud: OwnHosts, name: str) -> Result:
    cloud.only([name])
    (host,) = cloud.hosts()
    with context.progress("hosts") as progress:
        progress.say(f"logging in to {host.name} as you do")
        seen = cloud.look(host, ask=context.interactive)
        cleaned = cloud.clean(host, seen.left)
    fields = [
        ("reached", seen.reached + (f" by {seen.proxy}" if seen.proxy else "")),
        ("GPUs free", _gpus(seen)),
        *((f"GPU {gpu.number}", f"{gpu.name}: taken by {gpu.taken}") for gpu in seen.gpus if gpu.taken),
        ("machine", f"{seen.cores:g} cores, {seen.ram_gb:g} GB of memory, {seen.disk_gb:g} GB of disk free"),
        ("sessions", ", ".join(seen.labels)),
        ("Python", seen.python or "none of 3.8 or newer"),
    ]
    if not seen.python:
        brings = typed("rent --host", host.name, "--python static")
        note = Note(
            f"{host.name} has no Python 3.8 or newer, which the agent needs; {brings} brings one", "bad"
        )
    else:
        note = Note(f"{host.name} can be used: " + typed("rent --host", host.name), "ok")
    row = {**_row(host, seen), "cleaned": cleaned}
    notes = [
        Note(f"removed what {label} left: its rental broke off, or it was forgotten", "dim")
        for label in cleaned
    ]
    return Result(row, Fields([(key, clean(value)) for key, value in fields]), *notes, note)


def _add(context: Context, cloud: OwnHosts, name: str | None, address: str | None, more: Any) -> Result:
    from gpunb import paths
    from gpunb.settings import writing

    if name is None:
        msg = "hosts add: needs a name, and an address if that is another"
        raise BadInput(msg, hint=typed("hosts add lab3 me@10.0.0.7:2222"))
    options = {"price_usd_h": more["price"], "trust": more["trust"], "share": more["share"]}
    table: dict[str, Any] = {
        "address": address or name,
        **{key: value for key, value in options.items() if value},
    }
    if more["gpus"] is not None:
        table["gpus"] = _numbers(more["gpus"])
    if more["tag"]:
        table["tags"] = list(more["tag"])
    host = cloud.table(name, table)
    new = all(one.name != name for one in cloud.hosts())
    writing.write(table, ("providers", "ssh", "hosts", name))
    context.renew("ssh")
    return Result(
        {"host": host.name, "address": host.address, "port": host.port, "added": new},
        Note(f"{'added' if new else 'changed'} {name} in {paths.config_file()}", "ok"),
        Note(typed("hosts check", name) + " looks whether it can be used", "dim"),
    )


def _remove(context: Context, cloud: OwnHosts, name: str | None) -> Result:
    from gpunb import paths
    from gpunb.settings import writing

    known = [host.name for host in cloud.hosts()]
    if name is None or name not in known:
        msg = f"hosts remove: there is no machine {name or ''!r}; listed are {', '.join(known) or 'none'}"
        raise BadInput(msg, hint=did_you_mean(name or "", known))
    writing.write({name: None}, ("providers", "ssh", "hosts"))
    context.renew("ssh")
    notes = [Note(f"removed {name} from {paths.config_file()}", "ok")]
    live = [session.name for session in context.ledger.sessions() if session.offer.get("machine_id") == name]
    if live:
        notes.append(Note(", ".join(live) + " goes on there; " + typed("down", *live) + " ends it", "warn"))
    return Result({"host": name, "removed": True, "sessions": live}, *notes)


def _look(cloud: OwnHosts, host: Host) -> Machine | GpunbError:
    try:
        return cloud.look(host)
    except GpunbError as err:
        return err


def _numbers(text: str) -> int | list[int]:
    parts = [one.strip() for one in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 5 for part in parts):
        msg = f"hosts --gpus {text!r}: must be how many, or numbers as in 0,3"
        raise BadInput(msg)
    return [int(part) for part in parts] if "," in text else int(parts[0])


def _address(host: Host) -> str:
    return f"{host.address}:{host.port}" if host.port else host.address


def _price(host: Host) -> str:
    return hourly_text(host.price_usd_h)


def _gpus(seen: Machine) -> str:
    if not seen.gpus:
        return "no GPU"
    names = sorted({gpu.name.removeprefix("NVIDIA ") for gpu in seen.gpus})
    return clean(f"{len(seen.free)} of {len(seen.gpus)} {', '.join(names)}")


def _row(host: Host, seen: Machine | GpunbError) -> dict[str, Any]:
    """The machine for ``--json``."""
    row: dict[str, Any] = {
        "host": host.name,
        "address": _address(host),
        "price_usd_h": host.price_usd_h,
        "trust": host.trust,
        "tags": list(host.tags),
    }
    if isinstance(seen, GpunbError):
        return {**row, "ready": False, "error": seen.message}
    gpus = [
        {"number": gpu.number, "name": gpu.name, "vram_gb": gpu.vram_gb, "taken": gpu.taken}
        for gpu in seen.gpus
    ]
    return {
        **row,
        "ready": bool(seen.python),
        "reached": seen.reached,
        "gpus": gpus,
        "cores": seen.cores,
        "ram_gb": seen.ram_gb,
        "disk_gb": seen.disk_gb,
        "python": seen.python,
        "sessions": list(seen.labels),
    }
