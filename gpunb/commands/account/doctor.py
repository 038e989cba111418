"""``doctor``: checks of the installation, files, tools and keys, with remedies."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from gpunb import __version__, log, paths
from gpunb.cli.command import verb
from gpunb.errors import GpunbError
from gpunb.hints import typed
from gpunb.presentation.result import Block, Cell, Note, Result, Table
from gpunb.units import bytes_text, money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.cli.context import Context
    from gpunb.providers import Provider
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = ["Finding", "command"]

MIN_FREE = 500_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: "ok", "warn", "bad" or "-" (not set up), and what to do about it."""

    what: str
    level: str
    text: str
    todo: str = ""


@verb("doctor", reads=True, example="doctor\ndoctor --offline")
@click.option("--offline", is_flag=True, help="Don't ask the clouds.")
def command(context: Context, *, offline: bool) -> Result:
    """Check the installation, the files, the tools and each cloud's key, and say what to do."""
    findings: list[Finding] = []
    checks = [_installation(), _files(), _settings(context), _ledger(context), _tools(), _supervisor(context)]
    if not offline:
        checks.append(_clouds(context))
    with context.progress("doctor") as progress:
        for check in checks:
            for finding in check:
                progress.say(finding.what)
                findings.append(finding)
    rows = [
        [
            Cell(one.what, "strong"),
            Cell(one.level, _tone(one)),
            one.text,
            one.todo,
        ]
        for one in findings
    ]
    bad = sum(one.level == "bad" for one in findings)
    warn = sum(one.level == "warn" for one in findings)
    summary = "all is well" if not bad and not warn else f"{_many(bad, 'problem')}, {_many(warn, 'warning')}"
    blocks: list[Block] = [
        Table(["what", "", "status", "fix"], rows),
        Note(summary, "bad" if bad else "warn" if warn else "ok"),
    ]
    data = [{"what": one.what, "level": one.level, "finding": one.text, "todo": one.todo} for one in findings]
    return Result(data, *blocks, exit_code=1 if bad and context.frontend == "terminal" else 0)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _tone(one: Finding) -> str:
    return "dim" if one.level == "-" else one.level


def _installation() -> Iterator[Finding]:
    yield Finding(
        "gpunb",
        "ok",
        f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    )


def _files() -> Iterator[Finding]:
    home = paths.home()
    try:
        paths.private_dir(home)
        probe = home / f".doctor-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except (OSError, GpunbError) as err:
        yield Finding("home", "bad", f"{home} can't be written: {err}", paths.unlock_hint(home))
        return
    free = shutil.disk_usage(home).free
    if free < MIN_FREE:
        yield Finding(
            "home", "warn", f"{home}: only {bytes_text(free)} free", "make room: the ledger must be writable"
        )
    else:
        yield Finding("home", "ok", f"{home} ({bytes_text(free)} free)")
    mode = home.stat().st_mode & 0o777
    if mode & 0o077:
        yield Finding("home", "warn", f"{home} is open to others (mode {mode:o})", f"chmod 700 {home}")
    log.get(__name__).info("doctor")
    problem = log.problem()
    if problem:
        yield Finding("log", "warn", f"can't be written: {problem}", "gpunb works without it")
    else:
        yield Finding("log", "ok", str(paths.log_file()))


def _settings(context: Context) -> Iterator[Finding]:
    try:
        context.settings  # noqa: B018 - loading is the check
    except GpunbError as err:
        yield Finding("settings", "bad", err.message, err.hint or "")
        return
    yield Finding("settings", "ok", typed("config") + " shows them")


def _ledger(context: Context) -> Iterator[Finding]:
    try:
        findings = context.ledger.check()
        live = context.ledger.sessions()
    except GpunbError as err:
        yield Finding("ledger", "bad", err.message, err.hint or "")
        return
    if not findings:
        yield Finding("ledger", "ok", f"{paths.ledger_file()}, live sessions: {len(live)}")
    for text in findings:
        yield Finding("ledger", "bad", text, "copy the file before you do anything else")
    for session in live:
        if session.alarm:
            yield Finding("bill", "bad", session.alarm, typed("down", session.name))


def _tools() -> Iterator[Finding]:
    for name, argv, why in (
        ("ssh", ["ssh", "-V"], typed("ssh") + " needs it; everything else works without"),
        ("rsync", ["rsync", "--version"], "sync works without it, slower for many files"),
    ):
        where = shutil.which(name)
        if where is None:
            yield Finding(
                name,
                "warn",
                f"not installed; {why}",
                f"apt-get install {'openssh-client' if name == 'ssh' else name}",
            )
            continue
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired) as err:
            yield Finding(name, "warn", f"{where} does not answer: {err}", why)
            continue
        first = (done.stdout or done.stderr).strip().splitlines()
        yield Finding(name, "ok", f"{first[0] if first else 'no version'} ({where})")


def _supervisor(context: Context) -> Iterator[Finding]:
    try:
        live = context.ledger.sessions()
        leader = context.ledger.leader()
    except GpunbError:
        return  # reported already
    now = time.time()
    if leader is not None:
        yield Finding(
            "supervisor", "ok", f"{leader.kind}, last sign of life {max(0.0, now - leader.beat):.0f} s ago"
        )
    elif live:
        yield Finding(
            "supervisor",
            "bad",
            f"none is alive, and {len(live)} session(s) are",
            typed("supervise") + " ends them when their lease is over",
        )
    else:
        yield Finding("supervisor", "ok", "none, and none is needed: no session is alive")


def _clouds(context: Context) -> Iterator[Finding]:
    from gpunb.providers import keys, names, provider_class
    from gpunb.sessions.foreign_errors import ANY, words

    try:
        used = set(keys.asked(context.settings, names()))
        used |= {session.provider for session in context.ledger.sessions()}
    except GpunbError:
        return  # reported already
    for name in names():
        try:
            kind = provider_class(name)
            provider = context.provider(name)
            if name not in used and kind.needs_key and provider.config.key is None:
                yield Finding(
                    f"cloud {name}",
                    "-",
                    "not set up: no key",
                    typed("login", name),
                )
                continue
            account = provider.check()
        except ANY as err:  # a plug-in raises what it likes, and the other clouds are asked all the same
            todo = getattr(err, "hint", None) or ""
            yield Finding(f"cloud {name}", "bad" if name in used else "warn", words(err), todo)
        else:
            money = "" if account.balance_usd is None else f", balance {money_text(account.balance_usd)}"
            who = f" as {account.user}" if account.user else ""
            purse = f", spends from {account.spends_from}" if account.spends_from else ""
            more = f"; {account.message}" if account.message else ""
            yield Finding(f"cloud {name}", "ok", f"{kind.title} answers{who}{money}{purse}{more}")
            yield from _strays(context, provider)
            yield from _volumes(context.ledger, provider)


def _strays(context: Context, provider: Provider) -> Iterator[Finding]:
    """Find instances without a session: an empty ledger does not prove there are none (marin-dna#564)."""
    from gpunb.sessions.foreign_errors import ANY, words
    from gpunb.sessions.supervisor.orphans import strays

    try:
        found = strays(context.ledger, provider)
    except ANY as err:
        yield Finding(f"cloud {provider.name}", "warn", f"its instances can't be listed: {words(err)}")
        return
    for instance, ours in found:
        price = f", {price_text(instance.usd_h)}/h" if instance.usd_h else ""
        what = f"instance {instance.id} ({instance.label}, {instance.state.value}{price}) at {provider.title}"
        if ours:
            text = f"{what} belongs to no session of this ledger"
            yield Finding("orphan", "bad", text, typed("supervise") + " ends it")
        else:
            text = f"{what} was rented by gpunb elsewhere; it is left alone"
            yield Finding("stray", "warn", text, "end it where it was rented, or on the cloud's own page")


def _volumes(ledger: Ledger, provider: Provider) -> Iterator[Finding]:
    from gpunb.sessions.cost import volumes
    from gpunb.sessions.foreign_errors import ANY, words

    try:
        idle = volumes.idle(ledger, provider)
    except ANY as err:
        yield Finding(f"cloud {provider.name}", "warn", f"its volumes can't be listed: {words(err)}")
        return
    if idle:
        price = price_text(sum(volume.usd_h or 0.0 for volume in idle))
        names = ", ".join(volumes.short(volume.name) or volume.id for volume in idle[:5])
        text = f"{len(idle)} volumes that no machine is known to use cost {price} an hour: {names}"
        yield Finding("volumes", "warn", text, typed("volumes --delete ID"))
