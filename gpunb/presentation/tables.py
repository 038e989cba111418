"""Tables and notes of sessions, runs, offers and receipts, with the same wording in every verb."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from gpunb.presentation.columns import Column
from gpunb.presentation.result import Cell, Fields, Note, Table
from gpunb.services.lease_warnings import silence_text
from gpunb.sessions.model import SessionState, machine, offer_from_dict
from gpunb.units import bytes_text, duration_text, files_text, money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.presentation import models
    from gpunb.presentation.result import Block
    from gpunb.presentation.rows import Left, SessionRow
    from gpunb.sessions.model import Cost, IdleVolume, Orphan, Receipt, RunNote, Session, Silence
    from gpunb.sessions.start_check import StartCheck

__all__ = [
    "ago",
    "check_blocks",
    "check_notes",
    "dollars",
    "lease_cells",
    "left",
    "machine",
    "orphan_notes",
    "receipt_blocks",
    "said",
    "session_data",
    "state_cell",
    "volume_notes",
    "warnings",
]

_TONES = {
    SessionState.READY: "ok",
    SessionState.STOPPED: "warn",
    SessionState.ENDING: "warn",
    SessionState.FAILED: "bad",
    SessionState.UNKNOWN: "bad",
    SessionState.GONE: "dim",
}
# no entry for unreachable: a host that missed one check may answer at the next
_AWAY = {"interrupted": "taken back by the cloud (spot)", "offline": "the host is offline"}
_CHECK_TONES = {"wrong": "bad", "weak": "warn"}


def ago(at: float | None, now: float | None = None) -> str:
    """Return how long ago `at` (Unix seconds) was."""
    if not at:
        return ""
    seconds = (now or time.time()) - at
    return "just now" if seconds < 1 else f"{duration_text(seconds)} ago"


def state_cell(session: Session) -> Cell:
    """Return the session's state, with the cloud's own word where it matters."""
    away = session.cloud_state if session.cloud_state in _AWAY else ""
    text = f"{session.state.value} ({away})" if away else session.state.value
    return Cell(text, "bad" if away else _TONES.get(session.state, "info"))


def trust_cell(trust: str) -> Cell:
    """Return a host's trust level; stranger is highlighted."""
    return Cell(trust, "warn" if trust == "stranger" else "dim")


def left(session: Session, cost: Cost, running: int, now: float) -> Left:
    """Return what is left of the lease: seconds to the deadline, idle seconds, dollars; None is no limit."""
    lease = session.lease
    since = session.last_activity or session.ready or session.created
    idle: float | None = None
    if lease.idle_s is not None:
        idle = lease.idle_s if running else lease.idle_s - max(0.0, now - since)
    return {
        "time_s": None if lease.deadline is None else lease.deadline - now,
        "idle_s": idle,
        "budget_usd": None if lease.budget_usd is None else lease.budget_usd - lease.counted(cost),
    }


def lease_cells(session: Session, cost: Cost, running: int, now: float) -> list[Cell]:
    """Return time, idle time and budget left; nearly used-up ones are highlighted."""
    if not session.alive:
        return [Cell(""), Cell(""), Cell("")]
    rest = left(session, cost, running, now)
    out = []
    for seconds, soon in ((rest["time_s"], 600.0), (rest["idle_s"], 120.0)):
        if seconds is None:
            out.append(Cell("-", "dim"))
        else:
            out.append(Cell(duration_text(max(0.0, seconds)), "warn" if seconds < soon else ""))
    if running and rest["idle_s"] is not None:
        out[1] = Cell("busy", "dim")
    if rest["budget_usd"] is None:
        out.append(Cell("-", "dim"))
    else:
        near = rest["budget_usd"] < 0.1 * (session.lease.budget_usd or 0)
        out.append(Cell(money_text(max(0.0, rest["budget_usd"])), "warn" if near else ""))
    return out


def dollars(cost: Cost) -> models.Cost:
    """Return a cost as plain values."""
    return {"gpu": cost.gpu, "disk": cost.disk, "bandwidth": cost.bandwidth, "total": cost.total}


def session_data(session: Session, cost: Cost, running: Sequence[RunNote], now: float) -> SessionRow:
    """Return a session as plain values, for ``--json``."""
    keep = asdict(session)
    keep.pop("offer")
    keep.pop("again")  # it has the run's environment
    row = {
        **keep,
        "state": session.state.value,
        "cost": dollars(cost),
        "usd_h_now": session.hourly,
        "left": left(session, cost, sum(run.active for run in running), now) if session.alive else None,
        "running": [asdict(run) for run in running],
        "alarm": session.alarm,
    }
    return cast("SessionRow", row)


def hardware_rows(session: Session) -> list[tuple[str, str]]:
    """Return rows of the rented hardware beside the GPUs: processor, memory, disk, image, address."""
    offer = offer_from_dict(session.offer)
    parts = [
        f"{offer.cores:g} cores" if offer.cores else "",
        f"{offer.ram_gb:g} GB memory" if offer.ram_gb else "",
        f"{max(session.disk_gb, offer.disk_included_gb):g} GB disk",
        offer.cpu,
    ]
    static = offer.raw.get("static_ip")
    kind = {True: "static", False: "may change"}.get(static, "") if isinstance(static, bool) else ""
    return [
        ("hardware", ", ".join(part for part in parts if part)),
        ("image", session.image),
        ("public IP", kind),
    ]


def port_rows(session: Session) -> list[tuple[str, Cell]]:
    """Return a row for each port open to the world, with a link where a browser can follow it."""
    from gpunb.providers.machine import ports

    return [
        (f"open to all: {name}", Cell(at, link=at if at.startswith("http://") else ""))
        for name, at in ports.links(session.ports)
    ]


def orphan_notes(orphans: Sequence[Orphan]) -> list[Note]:
    """Return notes on orphaned instances: ours are being ended, others are only shown."""
    notes = []
    for orphan in orphans:
        price = f" at {price_text(orphan.usd_h)}/h" if orphan.usd_h else ""
        what = f"instance {orphan.instance_id} ({orphan.label}) of {orphan.provider} is billed{price}"
        if orphan.ours:
            tries = f", {orphan.tries} tries" if orphan.tries else ""
            text = (
                f"WARNING: {what} and belongs to no session; the supervisor ends it{tries}: {orphan.detail}"
            )
            notes.append(Note(text, "bad"))
        else:
            notes.append(Note(f"{what}; another gpunb installation rented it, so it is left alone", "warn"))
    return notes


def volume_notes(volumes: Sequence[IdleVolume]) -> list[Note]:
    """Return notes on unused volumes: they are billed, and never deleted automatically."""
    notes = []
    for volume in volumes:
        price = f" at {price_text(volume.usd_h)}/h" if volume.usd_h is not None else ""
        what = f"volume {volume.name} ({volume.provider} {volume.id}, {volume.size_gb:g} GB) is billed{price}"
        text = f"WARNING: {what} and no machine uses it; volumes --delete {volume.id} ends it and its data"
        notes.append(Note(text, "bad"))
    return notes


def warnings(
    sessions: Sequence[Session], silences: Mapping[str, Silence] | None = None, now: float = 0.0
) -> list[Note]:
    """Return warnings on bills in doubt, silent hosts, and stopped sessions that still cost."""
    notes = []
    for session in sessions:
        silence = silence_text(session, (silences or {}).get(session.id), now)
        if silence:
            notes.append(Note(f"WARNING: {silence}", "bad"))
        if session.alarm:
            notes.append(Note(f"WARNING: {session.alarm}", "bad"))
        elif session.state is SessionState.ENDING:
            notes.append(
                Note(f"{session.name} is ending; {session.provider} has not confirmed it yet", "warn")
            )
        elif session.cloud_state in _AWAY:
            notes.append(Note(f"{session.name}: {_AWAY[session.cloud_state]}; {_next_step(session)}", "bad"))
            if session.save:
                lost = f"{', '.join(session.save)} can't be brought back while it is away"
                notes.append(
                    Note(f"{session.name}: {lost}, and is lost with it at the end of its lease", "bad")
                )
        elif session.state is SessionState.STOPPED and session.stopped_usd_h > 0:
            price = price_text(session.stopped_usd_h)
            what = f"{session.name} is stopped and still costs {price} an hour for its disk"
            files = (
                f"; {', '.join(session.save)} comes home by a start before its end" if session.save else ""
            )
            notes.append(Note(f"{what}{files}; down {session.name} ends that", "warn"))
    return notes


def _next_step(session: Session) -> str:
    """Say what to do about an unreachable machine, and what it costs meanwhile."""
    disk = price_text(session.stopped_usd_h)
    costs = f"its disk costs {disk} an hour; " if session.stopped_usd_h > 0 else ""
    if session.cloud_state == "offline":
        costs = f"{price_text(session.usd_h)} an hour is billed on; "
        if not session.offline_billed:
            costs = "nothing is billed until it is back; "
    back = "it may come back by itself"
    if session.cloud_state == "interrupted":
        back = f"vast bid win -s {session.name} and start -s {session.name} may bring it back"
    return f"{costs}{back}, down {session.name} ends it for good"


def said(receipt: Receipt) -> str:
    """Compare the cloud's own bill with gpunb's count."""
    if receipt.provider_usd is None:
        return "not billed yet: cost --ask tells later" if receipt.not_billed else ""
    more = receipt.provider_usd - receipt.cost.total
    word = "more" if more > 0 else "less"
    far = f" ({money_text(abs(more))} {word} than counted here)" if abs(more) >= 0.005 else " (matches)"
    against = f"; this contradicts {receipt.contradicts}" if receipt.contradicts else ""
    return money_text(receipt.provider_usd) + far + against


def receipt_blocks(receipt: Receipt) -> list[Block]:
    """Return a receipt as readable blocks."""
    from gpunb.presentation.receipt_columns import ENDED_BY
    from gpunb.sessions.model import FORGOTTEN

    cost = receipt.cost
    kinds = ", ".join(
        f"{kind} {money_text(usd)}"
        for kind, usd in (("gpu", cost.gpu), ("disk", cost.disk), ("bandwidth", cost.bandwidth))
        if usd
    )
    confirmed: object = Cell("NOT CONFIRMED YET: gpunb keeps trying", "bad")
    if receipt.why.startswith(FORGOTTEN):
        confirmed = Cell("NOT CONFIRMED: its machine gave no answer", "bad")
    if receipt.confirmed is not None:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(receipt.confirmed))
        confirmed = Cell(f"confirmed by {receipt.provider} at {at}", "ok")
    done = sum(1 for run in receipt.runs if run.get("state") == "ok")
    blocks: list[Block] = [
        Note(f"receipt: {receipt.name}", "strong"),
        Fields(
            [
                ("machine", f"{machine(receipt.gpu, receipt.gpus)} on {receipt.provider}"),
                ("instance", receipt.instance_id),
                ("duration", duration_text(receipt.seconds)),
                ("cost", f"{money_text(cost.total)}" + (f" ({kinds})" if kinds else "")),
                (f"billed by {receipt.provider}", said(receipt)),
                ("checked", _checked(receipt)),
                ("runs", f"{len(receipt.runs)}, of them {done} ok" if receipt.runs else "none"),
                ("ended by", ENDED_BY.get(receipt.why, receipt.why)),
                ("destroyed", confirmed),
                ("saved", "; ".join(_brought(receipt))),
            ]
        ),
    ]
    for one in receipt.brought:
        blocks += [
            Note(f"{path}: another one stands here and stays; what came is {name}", "warn")
            for path, name in one["beside"][:5]
        ]
        blocks += [
            Note(f"{path}: it could run on this side, and came as {name}", "warn")
            for path, name in one["held"][:5]
        ]
    blocks += [Note(f"not saved: {path}: {reason}", "bad") for path, reason in receipt.unsaved]
    return blocks


def _checked(receipt: Receipt) -> str:
    from gpunb.sessions.start_check import StartCheck  # offers' modules: not for every `ps`

    return StartCheck.from_data(receipt.check).summary() if receipt.check else ""


def _brought(receipt: Receipt) -> list[str]:
    """Return the saved paths, each with its files, bytes and local folder."""
    known = {one["path"]: one for one in receipt.brought}
    out = []
    for path in receipt.saved:
        one = known.get(path)
        if one is None:
            out.append(path)
            continue
        files = f"{files_text(one['files'])}, {bytes_text(one['bytes'])}"
        out.append(f"{path} ({files}) in {', '.join(one['to'])}")
    return out


def check_notes(check: StartCheck | None) -> list[Block]:
    """Return a line for each thing that is worse than offered, or that could not be compared."""
    if check is None:
        return []
    return [
        *(Note(one, "bad") for one in check.wrong),
        *(Note(one, "warn") for one in check.weak),
        *(Note(note, "dim") for note in check.notes),
    ]


def check_blocks(check: StartCheck | None) -> list[Block]:
    """Return the figures as a table, and the lines about them."""
    if check is None:
        return []
    rows = [
        [
            figure.what,
            figure.offered,
            Cell(figure.found, _CHECK_TONES.get(figure.verdict, "")),
            Cell(figure.verdict, "dim"),
        ]
        for figure in check.figures
    ]
    heads = [Column("checked"), Column("offered", wrap=True), Column("there", wrap=True), Column("", drop=1)]
    return [*([Table(heads, rows)] if rows else []), *check_notes(check)]
