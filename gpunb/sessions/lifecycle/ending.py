"""Ending sessions: lost answers resolved by label, destroys repeated until they are confirmed.

Each step is short and leaves the ledger such that any process can take the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpunb import log, paths
from gpunb.errors import InstanceGone, ProviderError, WrongState
from gpunb.progress import SILENT, Progress
from gpunb.providers.base import Instance, InstanceState, Presence, Provider
from gpunb.providers.features import OwnHosts, feature
from gpunb.sessions.attempts import checkpoints
from gpunb.sessions.cost.receipts import write_receipt
from gpunb.sessions.cost.segments import opening
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.integrations import kernelspecs, ssh_config
from gpunb.sessions.model import FORGOTTEN, OVER, Intent, IntentState, Orphan, Session, SessionState
from gpunb.sessions.project import state as project_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle.timeouts import Timing

__all__ = ["Listing", "begin_end", "clear_up", "end", "end_step", "forget", "resolve_lost_create"]


@dataclass
class Listing:
    """A provider's list of instances, fetched at most once; `error` if that failed.

    `shared` if one list serves many sessions, as in a tick of the supervisor.
    """

    provider: Provider
    shared: bool = False
    _found: list[Instance] | None = None
    error: ProviderError | None = field(default=None)
    cause: BaseException | None = field(default=None)  # what `error` stands for, if that is another class

    @property
    def answered(self) -> bool:
        """Whether the list was fetched."""
        return self._found is not None

    def instances(self) -> list[Instance] | None:
        """The instances, or None if the list could not be fetched."""
        if self._found is None and self.error is None:
            try:
                self._found = self.provider.instances()
            except ProviderError as err:
                self.error = err
            except ANY as err:  # an error while reading the list counts as a failed fetch
                self.error, self.cause = ProviderError(words(err), provider=self.provider.name), err
        return self._found

    def labelled(self, label: str) -> list[Instance] | None:
        """Instances with exactly this label that are not gone, or None if the list could not be fetched."""
        instances = self.instances()
        if instances is None:
            return None
        return [
            instance
            for instance in instances
            if instance.label == label and instance.state is not InstanceState.GONE
        ]


def resolve_lost_create(ledger: Ledger, listing: Listing, session: Session, timing: Timing) -> Session:
    """Resolve the session's lost create answers by their label, as far as possible now.

    Found: the id is recorded (the state becomes booting unless it is ending). Not found
    although the list is old enough to have it: the intent is absent. Else nothing changes.
    """
    for intent in ledger.intents(session.id, unresolved=True):
        instances = listing.labelled(intent.label)
        if instances is None:
            continue
        if instances:
            session = _adopt(ledger, session, intent, instances)
            _finish_create(listing.provider, session)
        elif _age(ledger, intent) >= timing.lag(listing.provider) and not ledger.claimed(session.id):
            ledger.resolve_intent(intent.label, IntentState.ABSENT, "no list has it")
            ledger.note(session.id, "absent", f"nothing carries the label {intent.label}")
    return ledger.get(session.id)


def _adopt(ledger: Ledger, session: Session, intent: Intent, found: Sequence[Instance]) -> Session:
    first, *more = sorted(found, key=lambda one: (one.created or 0.0, one.id))
    ledger.note(session.id, "adopt", f"instance {first.id} carries the label {intent.label}")
    for extra in more:  # one call, two machines: the second has no session and is ended as an orphan
        ledger.save_orphan(
            Orphan(
                provider=extra.provider,
                instance_id=extra.id,
                label=extra.label,
                ours=True,
                first_seen=ledger.clock.time(),
                usd_h=extra.usd_h,
                detail=f"a second instance with the label of {session.name}",
            )
        )
    return ledger.answer_create(
        session,
        first.id,
        opening(session, first, intent.sent),
        cloud_state=first.state.value,
        seen=True,
    )


def _finish_create(provider: Provider, session: Session) -> None:
    """Finish what `create` does after its answer; a failure shows when SSH is refused."""
    try:
        key = paths.session_dir(session.id).joinpath("id_ed25519.pub").read_text("utf-8").strip()
        provider.adopted(session.instance_id, key)
    except ANY as err:
        log.get(__name__).warning("%s: adopted, but not finished: %s", session.name, words(err))


def begin_end(ledger: Ledger, session_id: str, why: str) -> Session:
    """Record that the session is to be destroyed, whatever state it is in by now."""
    for _ in range(20):
        session = ledger.get(session_id)
        if session.state in OVER or session.state is SessionState.ENDING:
            return session
        try:
            return ledger.transition(session, SessionState.ENDING, why, tries=0, next_try=0.0)
        except WrongState:
            continue  # another process moved it in between
    msg = f"session {session_id} changes its state faster than it can be ended"
    raise WrongState(msg)


def end_step(
    ledger: Ledger,
    listing: Listing,
    session: Session,
    timing: Timing,
    *,
    then: SessionState | None = None,
) -> Session:
    """Take one step of ending a session; returns the updated session (over if that is certain).

    Parameters
    ----------
    then
        The state after a confirmed end; None is gone, or failed if it never was ready.
    """
    session = resolve_lost_create(ledger, listing, session, timing)
    if session.state is not SessionState.ENDING:
        return session
    if not session.instance_id:
        if ledger.intents(session.id, unresolved=True):
            return _again(ledger, session, timing, "the answer to its create call is still unknown")
        return _over(ledger, listing.provider, session, then, "nothing was rented")
    # A shared list was made before this step: it can only prove what an earlier call did.
    presence = _presence(listing, session) if listing.shared and session.tries else Presence.UNKNOWN
    if presence is not Presence.GONE and ledger.clock.time() >= session.next_try:
        session = _destroy(ledger, listing.provider, session, timing)
    if not listing.shared:
        presence = _presence(listing, session)
    if presence is Presence.PRESENT and not session.seen:
        return ledger.update(session.id, seen=True)
    if presence is Presence.GONE and _believable(ledger, session, timing.lag(listing.provider)):
        detail = f"{listing.provider.title} confirms that it is gone"
        return _over(ledger, listing.provider, session, then, detail)
    return session


def _believable(ledger: Ledger, session: Session, lag: float) -> bool:
    """Whether the answer "gone" can be believed.

    Yes if the instance was shown and the provider then took our call, or if every list would
    have it by now. An early 404 may also come from a lagging replica.
    """
    if session.seen and session.cloud_state == InstanceState.ENDING.value:
        return True
    return all(_age(ledger, intent) >= lag for intent in ledger.intents(session.id))


def _age(ledger: Ledger, intent: Intent) -> float:
    """Seconds since the create call was sent or given up."""
    return ledger.clock.time() - max(intent.sent, intent.resolved or 0.0)


def _destroy(ledger: Ledger, provider: Provider, session: Session, timing: Timing) -> Session:
    ledger.note(session.id, "destroy", f"asking {provider.title} to end instance {session.instance_id}")
    detail = session.detail
    try:
        provider.destroy(session.instance_id)
    except InstanceGone:
        ledger.note(session.id, "destroyed", "the provider says that there is no such instance")
    except ANY as err:  # an end must not stop at a provider's bug
        ledger.note(session.id, "destroy-failed", words(err))
    else:
        ledger.note(session.id, "destroyed", "the provider took the call")
        session = ledger.update(session.id, cloud_state=InstanceState.ENDING.value)
    return _again(ledger, session, timing, detail)


def _again(ledger: Ledger, session: Session, timing: Timing, detail: str) -> Session:
    now = ledger.clock.time()
    if now < session.next_try:
        return session
    return ledger.update(
        session.id,
        tries=session.tries + 1,
        next_try=now + timing.retry(session.tries),
        detail=detail,
    )


def _presence(listing: Listing, session: Session) -> Presence:
    """Query whether the instance is gone: only if the list and the single answer agree.

    With a shared list, an instance that it lacks costs one call more; else the provider is
    asked for both.
    """
    provider = listing.provider
    try:
        if not listing.shared:
            return provider.presence(session.instance_id)
        instances = listing.instances()
        if instances is None:
            return Presence.UNKNOWN
        if any(instance.id == session.instance_id and not provider.ended(instance) for instance in instances):
            return Presence.PRESENT
        single = provider.get(session.instance_id)
    except InstanceGone:
        return Presence.GONE
    except ANY:  # whatever it is, it is not "gone"
        return Presence.UNKNOWN
    return Presence.GONE if provider.ended(single) else Presence.PRESENT


def _over(
    ledger: Ledger, provider: Provider, session: Session, then: SessionState | None, detail: str
) -> Session:
    rented = bool(session.instance_id)
    for intent in ledger.intents(session.id):
        if intent.state is IntentState.ANSWERED:
            ledger.resolve_intent(intent.label, IntentState.GONE, detail)
    why = session.detail
    state = then or (SessionState.GONE if session.ready is not None else SessionState.FAILED)
    changed: dict[str, Any] = {
        "tries": 0,
        "next_try": 0.0,
        "cloud_state": InstanceState.GONE.value if rented else "",
    }
    if state is SessionState.REQUESTED:
        changed |= {"instance_id": "", "host": "", "port": 0, "seen": False}
    try:
        session = ledger.transition(session, state, detail, **changed)
    except WrongState:
        return ledger.get(session.id)  # another process was first
    if session.state in OVER:
        clear_up(ledger, provider, session, why=why)
    return session


def forget(ledger: Ledger, provider: Provider, session_id: str) -> Session:
    """End a session on a machine of the user's that gives no answer; asks it once more before.

    What stays there is in its events and on its receipt. Only for machines that bill nothing: of others,
    an unconfirmed end is never an end.
    """
    cloud = feature(provider, OwnHosts)
    session = begin_end(ledger, session_id, FORGOTTEN)
    if session.state in OVER:
        return session
    known = (
        [session.instance_id]
        if session.instance_id
        else [instance.id for instance in provider.find(session.label)]
    )
    left = []
    for ident in known:
        stays = cloud.stays(ident)
        try:
            provider.destroy(ident)
        except ProviderError:
            left.append(stays)
    if not left:
        return _over(ledger, provider, session, None, f"{provider.title} confirms that it is gone")
    # the ledger first: a supervisor that finds no instance would call it confirmed
    ledger.note(session.id, FORGOTTEN, "; ".join(left))
    session = _over(
        ledger, provider, session, None, f"forgotten, not confirmed; what may stay: {'; '.join(left)}"
    )
    for ident in known:
        cloud.drop(ident)
    return session


def clear_up(ledger: Ledger, provider: Provider | None, session: Session, *, why: str) -> None:
    """Clean up after a confirmed end, and write the receipt. Errors do not undo the end."""
    for step in (
        lambda: kernelspecs.remove(session.id),
        lambda: project_state.remove(session.id),
        lambda: ssh_config.refresh(ledger.sessions()),
        lambda: write_receipt(ledger, provider, session, why=why),
        lambda: checkpoints.remove(ledger, session),  # by what the receipt says came home
    ):
        try:
            step()
        except ANY as err:  # noqa: PERF203 - it is over, whatever this says
            log.get(__name__).warning("%s is over; clearing up after it: %s", session.name, words(err))


def end(
    ledger: Ledger,
    provider: Provider,
    session_id: str,
    *,
    why: str,
    within: float,
    timing: Timing,
    progress: Progress = SILENT,
    then: SessionState | None = None,
    each: Callable[[], None] | None = None,
) -> Session:
    """Destroy, and wait until the provider confirms it or `within` seconds are over.

    Returns the session; it is over (or in state `then`) only if that is confirmed, else it
    stays ending, and the supervisor goes on.
    """
    begin = ledger.clock.time()
    step = 0
    while True:
        session = begin_end(ledger, session_id, why)
        if session.state is SessionState.ENDING:
            session = end_step(ledger, Listing(provider), session, timing, then=then)
        if session.state in OVER or session.state is then:
            return session
        spent = ledger.clock.time() - begin
        if spent >= within:
            return session
        progress.say(f"waiting until {provider.title} agrees that {session.name} is gone")
        progress.advance(spent, within, "s")
        if each is not None:
            each()
        ledger.clock.sleep(timing.pause(step))
        step += 1
