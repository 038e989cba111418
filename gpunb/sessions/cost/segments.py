"""Cost segments that an instance's state opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.providers.base import InstanceState
from gpunb.sessions.cost.totals import rates
from gpunb.sessions.model import Segment, Session, SessionState, offer_from_dict

if TYPE_CHECKING:
    from gpunb.providers.base import Instance, Offer

__all__ = ["opening", "pays_traffic"]

_BOOTING = {SessionState.CREATING, SessionState.UNKNOWN, SessionState.BOOTING}


def opening(
    session: Session, instance: Instance | None, at: float, *, state: SessionState = SessionState.BOOTING
) -> list[Segment]:
    """Build the cost segments that start at `at`; none where the price is 0.

    Clouds differ in when the meter starts (at the call, at boot, at SSH), and do not always
    say. We count from the create call: a budget should end too early rather than too late.
    Where the cloud says that booting is free (`Offer.bills_boot`), the gpu's segment is opened
    when the instance is seen to run.
    """
    offer = offer_from_dict(session.offer)
    gpu, disk = rates(offer, session.disk_gb, instance)
    if not offer.bills_boot and session.state in _BOOTING and not _runs(instance):
        return _positive([_segment(session, "disk", disk, at, offer)])
    if state is SessionState.STOPPED:
        stopped = instance.stopped_usd_h if instance is not None else 0.0
        return _positive([_segment(session, "disk", stopped or disk, at, offer)])
    return _positive([_segment(session, "gpu", gpu, at, offer), _segment(session, "disk", disk, at, offer)])


def pays_traffic(session: Session) -> bool:
    """Whether the instance's traffic is charged."""
    return any(float(session.offer.get(key) or 0.0) > 0 for key in ("up_usd_gb", "down_usd_gb"))


def _runs(instance: Instance | None) -> bool:
    return instance is not None and instance.state is InstanceState.RUNNING


def _segment(session: Session, kind: str, rate: float, at: float, offer: Offer) -> Segment:
    return Segment(
        session_id=session.id,
        kind=kind,
        rate=rate,
        start=at,
        increment_s=offer.increment_s,
        clock_hours=offer.clock_hours,
        label=session.label,
    )


def _positive(segments: list[Segment]) -> list[Segment]:
    return [segment for segment in segments if segment.rate > 0]
