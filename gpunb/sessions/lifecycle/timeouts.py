"""Timeouts and intervals of the lifecycle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpunb.providers.base import Offer, Provider
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = ["Timing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Timeouts and intervals in seconds.

    Attributes
    ----------
    lookup_s
        How long after a create call "not listed" proves nothing, at most; the provider's own
        ``list_lag_s`` may be shorter.
    boot_s
        From the create call until SSH must answer, at least: a large image or a slow network is given more
        (`gpunb.offers.pricing.Terms.wait_s`).
    agent_s
        The same for a quick step of the agent.
    confirm_s
        How long `down` waits for the provider's confirmation that the instance is gone.
    interrupt_s
        The same after Ctrl-C, shorter.
    save_s
        How long bringing back files may hold up an end.
    poll_s, poll_max_s
        First and longest pause between two queries to a provider.
    retry_max_s
        Longest pause between two destroy calls for one instance.
    claim_s
        How long a claim lasts without renewal, where its process can't be checked.
    boots
        How many hosts may fail to boot before `rent` gives up.
    """

    lookup_s: float = 120.0
    boot_s: float = 900.0
    agent_s: float = 15.0
    confirm_s: float = 300.0
    interrupt_s: float = 45.0
    save_s: float = 600.0
    poll_s: float = 0.5
    poll_max_s: float = 10.0
    retry_max_s: float = 300.0
    claim_s: float = 900.0
    boots: int = 3

    def lag(self, provider: Provider) -> float:
        """Seconds for which "not listed" proves nothing at `provider`."""
        return min(self.lookup_s, provider.list_lag_s)

    def boot(self, offer: Offer, image_gb: float = 0.0) -> float:
        """Seconds from the create call until SSH must answer; `image_gb` is 0 if unknown."""
        from gpunb.offers.pricing import LEAST_WAIT_S, Terms

        terms = Terms(image_gb=image_gb) if image_gb > 0 else Terms()
        return self.boot_s * terms.wait_s(offer) / LEAST_WAIT_S

    def boot_of(self, ledger: Ledger, session: Session) -> float:
        """As `boot`, from the value recorded with the create call, which knew the image's size."""
        from gpunb.sessions.model import offer_from_dict

        recorded = [intent.summary.get("boot_s") for intent in ledger.intents(session.id)]
        known = [float(one) for one in recorded if isinstance(one, (int, float)) and one > 0]
        return known[-1] if known else self.boot(offer_from_dict(session.offer))

    def pause(self, step: int) -> float:
        """The pause before query number `step` (0, 1, …)."""
        return min(self.poll_max_s, self.poll_s * 1.6 ** min(step, 20))

    def retry(self, tries: int) -> float:
        """The pause after `tries` destroy calls, in seconds."""
        return min(self.retry_max_s, 5.0 * 2.0 ** min(tries, 10))
