"""Questions before an action costs or ends something, the same in every frontend."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from gpunb.providers.keys import SSH
from gpunb.services import reservations
from gpunb.services.confirmations import Question
from gpunb.sessions.cost.lease import CONTRACT_S, extended, lease_for
from gpunb.sessions.lifecycle.fetch_results import awaited
from gpunb.sessions.model import machine, offer_from_dict
from gpunb.units import costs_text, duration_text, hourly_text, money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpunb.providers import Offer, Volume
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle import RentRequest
    from gpunb.sessions.lifecycle.agreement import Agreement
    from gpunb.sessions.model import Group, Lease, Session

__all__ = [
    "budget_text",
    "to_answer_increase",
    "to_bid",
    "to_delete_volume",
    "to_down",
    "to_extend",
    "to_extend_group",
    "to_forget",
    "to_reboot",
    "to_rent",
    "to_restart",
    "to_start",
    "to_stop",
    "to_update",
]

LOST = "this destroys the machine and all files that are only there"
_HOSTS = {
    "stranger": "a stranger's, who can read what you put there",
    "datacenter": "of a verified data centre",
    "own": "your own machine, or one that you trust like it",
}


def to_rent(
    offer: Offer, request: RentRequest, agreed: Agreement, *, before: str = "", short: str = ""
) -> Question:
    """The question before a rental: the machine, its host, the price, and its lease.

    Parameters
    ----------
    agreed
        What a yes to this covers if the offer is gone.
    before
        The outcome of an earlier offer.
    short
        A warning that the account can't pay (`gpunb.sessions.cost.funds.shortage`).

    Raises
    ------
    BadInput
        A limit of the lease breaks its rule.
    """
    hours = agreed.hours
    lease = lease_for(
        offer,
        now=0.0,
        hours=hours,
        idle_s=request.idle_s,
        budget_usd=request.budget_usd,
        budget_most=request.budget_most,
        disk_gb=request.disk_gb,
    )
    hourly, total = offer.hourly(request.disk_gb), offer.total(hours, disk_gb=request.disk_gb)
    plan = reservations.of_offer(offer, hours) if offer.rental == "reserved" else None
    if plan is not None:
        total -= plan.usd_h * plan.hours - plan.usd
    place = _place(offer)
    length = duration_text(hours * 3600.0)
    price = f"{hourly_text(hourly)} with {_disk(offer, request.disk_gb)}"
    traffic = _traffic(offer)
    steps = ""
    if offer.clock_hours:
        steps = f"whole hours of the clock (UTC), {offer.billed_h(hours):g} at most"
    ends = [f"after {length}"]
    if lease.idle_s is not None:
        ends.append(f"after {duration_text(lease.idle_s)} without work")
    budget = budget_text(lease, traffic=bool(traffic))
    if budget:
        ends.append(f"at {budget}")
    host = f"{_HOSTS.get(offer.trust, offer.trust)}; {offer.kind}, {offer.rental}"
    rows = [
        ("machine", f"{machine(offer.gpu, offer.gpus)} on {place}"),
        ("host", f"{offer.trust}: {host}"),
        ("price", price),
        (f"total for {length}", money_text(total)),
        ("billed", steps),
        ("traffic", traffic),
        ("ends", " or ".join(ends)),
    ]
    sentences = [
        f"Rent {machine(offer.gpu, offer.gpus)} on {place}: {price}, {money_text(total)} for {length}.",
        f"Its host is {host}.",
        f"It ends by itself {' or '.join(ends)}.",
    ]
    if steps:
        sentences.insert(1, f"It is billed by {steps}.")
    if traffic:
        sentences.append(f"Traffic costs {traffic}.")
    for name, value, sentence in _besides(offer, request, plan):
        sentences.append(sentence)
        rows.append((name, value))
    if agreed.most_usd_h > hourly:
        instead = f"the next like it, for {price_text(agreed.most_usd_h)} an hour at most"
        sentences.append(f"If it is gone: {instead}.")
        rows.append(("if it is gone", instead))
    if offer.ends is not None and offer.ends - CONTRACT_S < time.time() + hours * 3600.0:
        contract = f"the host's contract ends in {duration_text(max(0.0, offer.ends - time.time()))}"
        sentences.append(f"The lease is shorter: {contract}.")
        rows.append(("contract", contract))
    if short:
        sentences.append(f"NOT ENOUGH MONEY: {short}.")
        rows.append(("not enough money", short))
    if before:
        sentences.insert(0, f"{before}.")
        rows.insert(0, ("before", before))
    paid = hourly > 0 or bool(traffic)
    return Question(
        text=" ".join(sentences),
        rows=tuple((name, value) for name, value in rows if value),
        prompt="Rent it?",
        usd=round(total, 6),
        needed=paid,
        undone="nothing was rented",
    )


def _besides(
    offer: Offer, request: RentRequest, plan: reservations.Plan | None
) -> Iterator[tuple[str, str, str]]:
    """Further effects of a yes to the rental, each as name, value and sentence."""
    if request.ports:
        opened = ", ".join(str(port) for port in request.ports)
        yield "open to all", opened, f"Open to the world: {opened}."
    if request.login is not None:
        shown = f"{request.login.user} at {request.login.server}; cloud and host are given the password"
        yield "pulled as", shown, f"The image is pulled as {shown}."
    if request.ssh_key:
        shown = f"the key {request.ssh_key} of your account, beside gpunb's own"
        yield "logs in", shown, f"{shown[0].upper()}{shown[1:]}, may log in."
    if request.entrypoint:
        yield "runs", request.entrypoint[:300], f"Beside SSH it runs {request.entrypoint[:300]}."
    if request.start_command:
        shown = f"{request.start_command[:100]}, instead of the image's own command"
        yield "starts", shown, f"It starts {shown}."
    if plan is not None:
        shown = f"{plan.text}; an early end gives back a part"
        yield "in advance", shown, f"It is paid in advance: {shown}."
    if offer.rental == "spot":
        yield "spot", "the cloud may take it back before", "The cloud may take it back before."


def budget_text(lease: Lease, *, traffic: bool = True) -> str:
    """A budget and what it counts, as text; "" where there is none."""
    if lease.budget_usd is None:
        return ""
    amount = money_text(lease.budget_usd)
    if lease.budget_set:
        return f"{amount} for gpu, disk and traffic"
    rest = ", traffic comes on top" if traffic else ""
    return f"{amount} for gpu and disk (the default budget{rest})"


def to_extend(
    ledger: Ledger,
    session: Session,
    *,
    hours: float | None = None,
    idle_s: float | None = None,
    budget_usd: float | None = None,
    count_ssh: bool | None = None,
) -> Question:
    """The question before a lease is extended; not needed if that costs nothing.

    Raises
    ------
    BadInput, WrongState
        As `gpunb.sessions.cost.lease.extend`.
    """
    new = extended(ledger, session, hours=hours, idle_s=idle_s, budget_usd=budget_usd, count_ssh=count_ssh)
    old, parts, usd = session.lease, [], 0.0
    if hours is not None:
        offer = offer_from_dict(session.offer)
        usd = max(offer.total(hours, disk_gb=session.disk_gb, more=True), session.usd_h * hours)
        parts.append(f"{duration_text(hours * 3600.0)} more{f' for {money_text(usd)}' if usd > 0 else ''}")
    if idle_s is not None:
        parts.append(f"{'no' if new.idle_s is None else duration_text(new.idle_s)} idle limit")
    if new.budget_usd != old.budget_usd or new.budget_set != old.budget_set:
        text = budget_text(new) or "no budget"
        was = f" (it was {money_text(old.budget_usd)})" if old.budget_usd is not None else ""
        if budget_usd is None and new.budget_usd is not None and old.budget_usd is not None:
            rise = f"from {money_text(old.budget_usd)} to {money_text(new.budget_usd)}"
            reserve = f"{money_text(new.budget_usd - old.budget_usd - usd)} of it in reserve"
            parts.append(f"and raise its default budget {rise}, {reserve}")
        else:
            parts.append(f"a budget of {text}{was}" if new.budget_usd is not None else f"{text}{was}")
        if budget_usd is not None:
            spent = new.counted(ledger.cost(session.id))
            more = (new.budget_usd or math.inf) - (old.budget_usd if old.budget_usd is not None else spent)
            usd = max(usd, more)
    if count_ssh is not None:
        parts.append(f"logins that {'' if count_ssh else 'do not '}count as activity")
    return Question(
        text=f"Give {session.name} {', '.join(parts)}. It has cost {_spent(ledger, session)} so far.",
        prompt=f"extend {session.name}?",
        usd=round(usd, 6) if math.isfinite(usd) else None,
        needed=session.usd_h > 0 and (usd > 0 or _longer(old.idle_s, new.idle_s) or count_ssh is True),
    )


def to_extend_group(ledger: Ledger, group: Group, lease: Lease, hours: float | None) -> Question:
    """The question before the one lease of a group is extended; not needed if that costs nothing."""
    members = [member for member in group.live if member.ready is not None]
    old = members[0].lease if members else lease
    usd = sum(member.usd_h for member in members) * (hours or 0.0)
    more = (lease.budget_usd or 0.0) - (old.budget_usd or 0.0) if lease.budget_set else 0.0
    parts = []
    if hours is not None:
        parts.append(f"{duration_text(hours * 3600.0)} more{f' for {money_text(usd)}' if usd > 0 else ''}")
    if lease.idle_s != old.idle_s:
        parts.append(f"{'no' if lease.idle_s is None else duration_text(lease.idle_s)} idle limit")
    if lease.budget_usd != old.budget_usd:
        was = f" (it was {money_text(old.budget_usd)})" if old.budget_usd is not None else ""
        parts.append(f"a budget of {budget_text(lease) or 'no limit'}{was}")
    if lease.count_ssh != old.count_ssh:
        parts.append(f"logins that {'' if lease.count_ssh else 'do not '}count as activity")
    spent = money_text(sum(ledger.cost(member.id).total for member in group.members))
    return Question(
        text=f"Give all {len(members)} members of {group.name} {', '.join(parts) or 'the same lease'}. "
        f"They have cost {spent} so far.",
        prompt=f"extend {group.name}?",
        usd=round(max(usd, more), 6),
        needed=any(member.usd_h > 0 for member in members)
        and (usd > 0 or more > 0 or _longer(old.idle_s, lease.idle_s) or lease.count_ssh),
    )


def to_stop(ledger: Ledger, *sessions: Session) -> Question:
    """The question before machines are stopped and their disks kept."""
    names = ", ".join(session.name for session in sessions)
    usd_h = sum(session.stopped_usd_h for session in sessions)
    if len(sessions) == 1:
        stays = f"its disk stays and {costs_text(usd_h)} until it is down.{_running(ledger, sessions[0])}"
    else:
        cost = f"cost {hourly_text(usd_h)} in all" if usd_h else "cost nothing"
        ends = [(session.name, _running(ledger, session)) for session in sessions]
        stays = f"their disks stay and {cost} until they are down."
        stays += "".join(f" {name}:{runs}" for name, runs in ends if runs)
    return Question(
        text=f"Stop {names}: variables are lost, {stays}",
        prompt=f"stop {names}?",
        usd=0.0,
    )


def to_start(ledger: Ledger, *sessions: Session) -> Question:
    """The question before stopped machines run, and cost, again."""
    names = ", ".join(session.name for session in sessions)
    parts: list[str] = []
    usd: float | None = 0.0
    for session in sessions:
        price = hourly_text(session.usd_h)
        if session.lease.deadline is None:
            parts.append(f"{price} until it is stopped or down")
            usd = None
        else:
            hours = max(0.0, session.lease.deadline - ledger.clock.time()) / 3600.0
            left = f"for the {duration_text(hours * 3600.0)} that its lease has left"
            parts.append(f"{price}, {money_text(session.usd_h * hours)} {left}")
            usd = None if usd is None else round(usd + session.usd_h * hours, 6)
    if len(sessions) == 1:
        text = f"Start {names}: {parts[0]}."
    else:
        end = "" if usd is None else f", {money_text(usd)} for all that their leases have left"
        each = "; ".join(f"{session.name} {part}" for session, part in zip(sessions, parts, strict=True))
        text = (
            f"Start {names}: {hourly_text(sum(session.usd_h for session in sessions))} in all{end}. {each}."
        )
    return Question(
        text=text,
        prompt=f"start {names}?",
        usd=usd,
        needed=any(session.usd_h > 0 for session in sessions),
    )


def to_reboot(ledger: Ledger, session: Session, *, recycle: bool = False) -> Question:
    """The question before the machine restarts or its container is recreated."""
    if recycle:
        lost = f" {', '.join(session.save)} is not brought back first." if session.save else ""
        return Question(
            text=f"Recycle {session.name}: the container is made anew from its image, and ALL its files and "
            f"variables are lost, but those on a volume; it {costs_text(session.usd_h)} all the time.{lost}"
            f"{_running(ledger, session)}",
            prompt=f"recycle {session.name}?",
            usd=0.0,
        )
    return Question(
        text=f"Reboot {session.name}: variables are lost, files stay; "
        f"it {costs_text(session.usd_h)} all the time."
        f"{_running(ledger, session)}",
        prompt=f"reboot {session.name}?",
        usd=0.0,
    )


def to_update(ledger: Ledger, session: Session, what: str) -> Question:
    """The question before a container is changed and recreated; `what` is all that changes."""
    lost = f" {', '.join(session.save)} is not brought back first." if session.save else ""
    return Question(
        text=f"Update {session.name}: {what}. The container is made anew, and ALL its files and variables "
        f"are lost; it {costs_text(session.usd_h)} all the time.{lost}{_running(ledger, session)}",
        prompt=f"update {session.name}?",
        usd=0.0,
    )


def to_restart(session: Session) -> Question:
    """The question before the host's kernel is restarted."""
    return Question(
        text=f"Restart the kernel on {session.name}: its variables are lost. Files and jobs stay, "
        f"and it is billed as before.",
        prompt=f"restart the kernel on {session.name}?",
        usd=0.0,
        undone="nothing was restarted",
    )


def to_down(ledger: Ledger, sessions: Sequence[Session], *, save: bool = True) -> Question:
    """The question before sessions end for good; always asked."""
    parts = []
    for session in sessions:
        results = ", ".join(awaited(ledger, session)) if save else ""
        back = f", {results} is brought back first" if results else ""
        age = duration_text(max(0.0, ledger.clock.time() - session.created))
        spent = _spent(ledger, session)
        held = reservations.paid(ledger, session)
        if held:
            back += (
                f", of {money_text(held)} paid in advance what is left comes back, less the discount so far"
            )
        parts.append(
            f"{session.name} on {session.provider} ({age}, {spent} so far{back}).{_running(ledger, session)}"
        )
    own = all(session.provider == SSH for session in sessions)
    lost = "your machine and your files stay, what runs there ends" if own else LOST
    return Question(
        text=f"End {', '.join(session.name for session in sessions)} for good: {lost}. {' '.join(parts)}",
        prompt="Continue?",
        usd=0.0,
        undone="nothing was ended; it goes on and is billed",
    )


def to_forget(sessions: Sequence[Session], stays: Sequence[str]) -> Question:
    """The question before sessions end whose machines give no answer; `stays` is what is on each."""
    names = ", ".join(session.name for session in sessions)
    left = "; ".join(stay for stay in stays if stay)
    return Question(
        text=f"Forget {names}: if the machine gives no answer now either, gpunb tries no more, and this "
        f"stays: {left or 'nothing that gpunb knows of'}. Nothing is billed: it is a machine of your own.",
        prompt="Forget it?",
        usd=0.0,
        undone="nothing was forgotten",
    )


def to_bid(session: Session, usd_h: float | None) -> Question:
    """The question before a bid for an interruptible machine changes; None is what wins now."""
    price = "what wins now" if usd_h is None else f"{price_text(usd_h)} an hour"
    now = f"{costs_text(session.usd_h)} while it runs"
    return Question(
        text=f"Bid {price} for {session.name}, which {now}.",
        prompt="bid it?",
    )


def to_answer_increase(name: str, terms: str, *, accept: bool) -> Question:
    """The question before a host's price increase is accepted or refused; `terms` is all that changes."""
    if accept:
        return Question(text=f"Accept for {name} from now on: {terms}.", prompt="Accept it?")
    return Question(
        text=f"Refuse for {name}: {terms}; the host may end the rental, with its files.", prompt="Refuse it?"
    )


def to_delete_volume(name: str, volume: Volume) -> Question:
    """The question before a volume is deleted with its data."""
    return Question(
        text=f"Delete volume {name} ({volume.size_gb:g} GB at {volume.provider}) and all data on it.",
        prompt="Delete it?",
        usd=0.0,
        undone="nothing was deleted; it goes on and is billed",
    )


def _place(offer: Offer) -> str:
    where = offer.region if offer.country and offer.country in offer.region else offer.country or offer.region
    return f"{offer.provider} in {where}" if where and where != offer.provider else offer.provider


def _traffic(offer: Offer) -> str:
    if not offer.down_usd_gb and not offer.up_usd_gb:
        return ""
    named = (("received", offer.down_usd_gb), ("sent", offer.up_usd_gb))
    text = " and ".join(f"{price_text(usd)} a GB {word}" for word, usd in named if usd)
    pulled = offer.kind == "container" and offer.trust != "own" and offer.down_usd_gb > 0
    return f"{text} (pulling the image may count, and is not in the count here)" if pulled else text


def _disk(offer: Offer, wanted_gb: float) -> str:
    if offer.disk_sized:
        return f"{wanted_gb:g} GB of disk"
    if offer.disk_included_gb > 0:
        return f"its {offer.disk_included_gb:.0f} GB of disk"
    return f"the disk that it comes with: {offer.provider} takes no size and names none"


def _longer(old: float | None, new: float | None) -> bool:
    return old is not None and (new is None or new > old)


def _spent(ledger: Ledger, session: Session) -> str:
    return money_text(ledger.cost(session.id).total)


def _running(ledger: Ledger, session: Session) -> str:
    count = sum(1 for run in ledger.runs(session.id, 100) if run.ended is None)
    return "" if not count else f" {count} run{'s' if count > 1 else ''} on it will end."
