"""What every provider must do, as tests: subclass `ProviderContract` beside your cloud.

::

    class TestMyCloud(ProviderContract):
        @pytest.fixture
        def provider(self):
            return MyCloud(ProviderConfig(base_url=..., key=...))

Instances are really created, through whatever the provider is pointed at: a
simulated cloud, or an account whose owner accepts the cost. Each is destroyed
before its test ends, also if the test fails. Needs pytest.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import time
import traceback
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from gpunb.errors import InstanceGone, NotSupported, ProviderError
from gpunb.providers.base import (
    Account,
    Capability,
    CreateSpec,
    Instance,
    InstanceState,
    Offer,
    OfferQuery,
    Presence,
    Provider,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ProviderContract"]

_TRUST = {"own", "datacenter", "stranger"}
_RENTAL = {"on-demand", "spot", "reserved"}
_KIND = {"container", "vm", "bare-metal"}
_BILLED = {InstanceState.CREATING, InstanceState.RUNNING, InstanceState.STOPPED, InstanceState.OFFLINE}


class ProviderContract:
    """Contract tests. A subclass brings the fixture `provider`, and may replace the other fixtures.

    Attributes
    ----------
    unknown_id
        An id of the cloud's form that no instance has.
    patience_s
        How long a state may take to come, seconds. Lower `poll_s` for a simulated clock.
    """

    unknown_id: ClassVar[str] = "987654321"
    patience_s: ClassVar[float] = 60.0
    poll_s: ClassVar[float] = 0.05

    @pytest.fixture
    def provider(self) -> Provider:
        """The provider under test."""
        msg = "a subclass of ProviderContract must bring the fixture `provider`"
        raise NotImplementedError(msg)

    @pytest.fixture
    def query(self) -> OfferQuery:
        """A query that the cloud has an offer for."""
        return OfferQuery()

    @pytest.fixture
    def spec(self) -> CreateSpec:
        """What is created; the label is new each time."""
        return CreateSpec(label=f"gpunb-contract-{secrets.token_hex(4)}", public_key=_public_line())

    @pytest.fixture
    def offer(self, provider: Provider, query: OfferQuery) -> Offer:
        """The offer that is rented: the cheapest one."""
        offers = provider.search(query)
        assert offers, f"{provider.name}: the query of the contract finds no offer"
        return min(offers, key=lambda found: found.hourly(query.disk_gb))

    @pytest.fixture
    def rent(self, provider: Provider, offer: Offer, spec: CreateSpec) -> Iterator[Callable[[], Instance]]:
        """Rents once when it is called; ends everything under the label afterwards."""
        yield lambda: provider.create(offer, spec)
        for left in provider.find(spec.label):
            if left.state is not InstanceState.GONE:
                provider.destroy(left.id)
                self._until_gone(provider, left.id)

    # -- what is always there

    def test_it_has_a_name_and_says_what_it_can(self, provider: Provider) -> None:
        assert provider.name
        assert provider.name == provider.name.strip().lower()
        assert provider.title
        for capability in Capability:
            assert provider.can(capability) == (capability in provider.capabilities)

    def test_check_names_the_account(self, provider: Provider) -> None:
        account = provider.check()
        assert isinstance(account, Account)
        assert account.provider == provider.name
        assert account.balance_usd is None or math.isfinite(account.balance_usd)

    def test_offers_are_sane(self, provider: Provider, query: OfferQuery) -> None:
        offers = provider.search(query)
        assert offers
        assert len({offer.id for offer in offers}) == len(offers), "two offers have one id"
        for offer in offers:
            assert offer.provider == provider.name
            assert offer.id
            assert offer.trust in _TRUST, offer
            assert offer.rental in _RENTAL, offer
            assert offer.kind in _KIND, offer
            assert offer.gpus >= 0, offer
            assert (offer.gpus > 0) == bool(offer.gpu_raw or offer.gpu), offer
            for field in ("usd_h", "disk_usd_gb_h", "up_usd_gb", "down_usd_gb", "vram_gb", "ram_gb", "cores"):
                value = getattr(offer, field)
                assert math.isfinite(value), (field, offer)
                assert value >= 0, (field, offer)
            assert offer.reliability is None or 0 <= offer.reliability <= 1, offer
            assert offer.total(2.0) >= offer.total(1.0) >= 0, offer

    # -- the life of one instance

    def test_from_create_to_gone(
        self, provider: Provider, offer: Offer, spec: CreateSpec, rent: Callable[[], Instance]
    ) -> None:
        before = {found.id for found in provider.instances()}
        made = rent()
        assert made.id
        assert made.id not in before
        assert made.provider == provider.name
        (listed,) = self._eventually(lambda: provider.find(spec.label))
        assert listed.id == made.id
        assert provider.get(made.id).label == spec.label
        assert provider.presence(made.id) is Presence.PRESENT
        ready = self._until(provider, made.id, InstanceState.RUNNING)
        assert ready.host
        assert 0 < ready.port < 65536
        assert ready.user
        assert ready.usd_h >= offer.usd_h - 1e-9, "an instance is not cheaper than its offer"
        assert 0 <= ready.stopped_usd_h <= ready.usd_h + 1e-9
        provider.destroy(made.id)
        self._until_gone(provider, made.id)
        assert not [found for found in provider.find(spec.label) if found.state in _BILLED]
        assert {found.id for found in provider.instances() if found.state in _BILLED} <= before

    def test_destroy_twice_is_harmless_or_says_gone(
        self, provider: Provider, rent: Callable[[], Instance]
    ) -> None:
        made = rent()
        provider.destroy(made.id)
        self._until_gone(provider, made.id)
        with contextlib.suppress(InstanceGone):
            provider.destroy(made.id)
        assert provider.presence(made.id) is Presence.GONE

    def test_what_is_not_there_is_said_to_be_gone(self, provider: Provider) -> None:
        with pytest.raises(InstanceGone) as caught:
            provider.get(self.unknown_id)
        assert caught.value.provider == provider.name
        assert provider.presence(self.unknown_id) is Presence.GONE
        assert provider.find(f"no-such-label-{secrets.token_hex(4)}") == []

    def test_a_label_is_matched_whole(
        self, provider: Provider, spec: CreateSpec, rent: Callable[[], Instance]
    ) -> None:
        rent()
        assert len(self._eventually(lambda: provider.find(spec.label))) == 1
        assert provider.find(spec.label[:-1]) == []
        assert provider.find(spec.label + "x") == []

    # -- what only some can do: it works, or it is refused in so many words

    def test_stop_and_start(self, provider: Provider, rent: Callable[[], Instance]) -> None:
        if not provider.can(Capability.STOP):
            for call in (provider.stop, provider.start):
                self._refused(provider, call, self.unknown_id)
            return
        made = rent()
        before = self._until(provider, made.id, InstanceState.RUNNING)
        provider.stop(made.id)
        stopped = self._until(provider, made.id, InstanceState.STOPPED)
        assert stopped.stopped_usd_h <= before.usd_h + 1e-9
        assert provider.presence(made.id) is Presence.PRESENT
        provider.start(made.id)
        assert self._until(provider, made.id, InstanceState.RUNNING).id == made.id

    def test_reboot(self, provider: Provider, rent: Callable[[], Instance]) -> None:
        if not provider.can(Capability.REBOOT):
            self._refused(provider, provider.reboot, self.unknown_id)
            return
        made = rent()
        self._until(provider, made.id, InstanceState.RUNNING)
        provider.reboot(made.id)
        assert self._until(provider, made.id, InstanceState.RUNNING).id == made.id

    def test_rename(self, provider: Provider, spec: CreateSpec, rent: Callable[[], Instance]) -> None:
        if not provider.can(Capability.RENAME):
            self._refused(provider, provider.rename, self.unknown_id, "other")
            return
        made = rent()
        label = f"gpunb-contract-{secrets.token_hex(4)}"
        try:
            provider.rename(made.id, label)
            (found,) = self._eventually(lambda: provider.find(label))
            assert found.id == made.id
            assert provider.find(spec.label) == []
        finally:
            provider.destroy(made.id)
            self._until_gone(provider, made.id)

    def test_logs(self, provider: Provider, rent: Callable[[], Instance]) -> None:
        if not provider.can(Capability.LOGS):
            self._refused(provider, provider.logs, self.unknown_id)
            return
        made = rent()
        self._until(provider, made.id, InstanceState.RUNNING)
        assert isinstance(provider.logs(made.id), str)
        assert len(provider.logs(made.id, tail=1).splitlines()) <= 1

    def test_events(self, provider: Provider, rent: Callable[[], Instance]) -> None:
        if not provider.can(Capability.EVENTS):
            self._refused(provider, provider.events, self.unknown_id)
            return
        made = rent()
        self._until(provider, made.id, InstanceState.RUNNING)
        try:
            assert provider.events(made.id)
        except NotSupported:  # a cloud may have them for one kind of machine only
            return
        assert len(provider.events(made.id, tail=1)) <= 1

    def test_usage(self, provider: Provider, rent: Callable[[], Instance]) -> None:
        if not provider.can(Capability.USAGE):
            self._refused(provider, provider.usage, self.unknown_id)
            return
        made = rent()
        self._until(provider, made.id, InstanceState.RUNNING)
        for line in provider.usage(made.id):
            assert line.instance_id == made.id
            assert line.kind
            assert math.isfinite(line.usd)
            assert line.usd >= 0

    # -- the key stays here

    def test_the_key_is_never_shown(self, provider: Provider) -> None:
        secret = provider.config.key.get_secret_value() if provider.config.key else ""
        if not secret:
            assert not provider.needs_key, "the contract needs a provider with a key"
            return
        shown = [repr(provider), str(provider), repr(provider.config), str(provider.config)]
        for call in (lambda: provider.get(self.unknown_id), lambda: provider.destroy(self.unknown_id)):
            try:
                call()
            except ProviderError as err:
                shown.extend([str(err), repr(err), "".join(traceback.format_exception(err))])
        for text in shown:
            assert secret not in text, "the account's key is in a repr or a message"

    # -- helpers

    def _refused(self, provider: Provider, call: Callable[..., Any], *args: object) -> None:
        with pytest.raises(NotSupported) as caught:
            call(*args)
        assert provider.title in str(caught.value)

    def _eventually(self, look: Callable[[], list[Instance]]) -> list[Instance]:
        """The first non-empty answer: some clouds list an instance later than they make it."""
        limit = time.monotonic() + self.patience_s
        while True:
            found = look()
            if found or time.monotonic() > limit:
                return found
            time.sleep(self.poll_s)

    def _until(self, provider: Provider, instance_id: str, state: InstanceState) -> Instance:
        limit = time.monotonic() + self.patience_s
        seen: list[str] = []
        while time.monotonic() < limit:
            try:
                found = provider.get(instance_id)
            except InstanceGone:
                word = "not listed"
            else:
                word = found.state.value
                if found.state is state and (found.port or state is not InstanceState.RUNNING):
                    return found
            if not seen or seen[-1] != word:
                seen.append(word)
            time.sleep(self.poll_s)
        msg = f"{instance_id} was {' → '.join(seen)} and not {state.value} within {self.patience_s:.0f} s"
        raise AssertionError(msg)

    def _until_gone(self, provider: Provider, instance_id: str) -> None:
        limit = time.monotonic() + self.patience_s
        while provider.presence(instance_id) is not Presence.GONE:
            assert time.monotonic() < limit, f"{instance_id} is not gone after {self.patience_s:.0f} s"
            time.sleep(self.poll_s)


def _public_line() -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + " gpunb-contract"
