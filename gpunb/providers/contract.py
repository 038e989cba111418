"""Contract tests that every provider must pass: subclass `ProviderContract` beside your cloud.

::

    class TestMyCloud(ProviderContract):
        @pytest.fixture
        def provider(self):
            return MyCloud(ProviderConfig(base_url=..., key=...))

Instances are really created, through whatever the provider is pointed at: a
simulated cloud, or an account whose owner accepts the cost. Each is destroyed
before its test ends, also if the test fails. Calls are broken on purpose
(`gpunb.providers.faults`): an answer is lost, a list fails. Needs pytest.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import methodcaller
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from gpunb.errors import GpunbError, InstanceGone, NotSupported, OfferGone, ProviderError
from gpunb.providers import features
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
from gpunb.providers.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpunb.providers.faults import Fault

__all__ = ["ProviderContract"]

_TRUST = {"own", "datacenter", "stranger"}
_RENTAL = {"on-demand", "spot", "reserved"}
_KIND = {"container", "vm", "bare-metal"}
#: Upper bound of a GPU's price an hour; a higher one is in cents, or in another currency.
_MOST_USD_GPU_H = 60.0
#: The calls of the features that only read.
_READING: tuple[tuple[type, Callable[[Provider], object]], ...] = (
    (features.SshKeys, methodcaller("ssh_keys")),
    (features.ApiKeys, methodcaller("api_keys")),
    (features.Variables, methodcaller("env_vars")),
    (features.PriceIncreases, methodcaller("price_increases")),
    (features.Templates, methodcaller("templates")),
    (features.Images, methodcaller("default_images")),
    (features.CloudCopy, methodcaller("connections")),
    (features.VolumeMarket, methodcaller("volume_market", 10)),
)
_BILLED = {InstanceState.CREATING, InstanceState.RUNNING, InstanceState.STOPPED, InstanceState.OFFLINE}


class ProviderContract:
    """Contract tests of a provider. A subclass brings the fixture `provider`, and may replace other fixtures.

    Attributes
    ----------
    unknown_id
        An id of the cloud's form that no instance has.
    patience_s
        How long a state may take to come, seconds. Lower `poll_s` for a simulated clock.
    many
        How many instances the listing test makes: more than a page of the cloud's list has.
    """

    unknown_id: ClassVar[str] = "987654321"
    patience_s: ClassVar[float] = 60.0
    poll_s: ClassVar[float] = 0.05
    many: ClassVar[int] = 3

    @pytest.fixture
    def provider(self) -> Provider:
        """The provider under test."""
        msg = "a subclass of ProviderContract must bring the fixture `provider`"
        raise NotImplementedError(msg)

    @pytest.fixture
    def fresh(self, provider: Provider) -> Iterator[Provider]:
        """The same cloud in a new provider object without cached state, as another process has it."""
        made = type(provider)(provider.config)
        yield made
        made.close()

    @pytest.fixture
    def faults(self) -> Iterator[Faults]:
        """Injects faults into calls; a provider that does not use httpx brings its own."""
        with Faults().installed() as made:
            yield made

    @pytest.fixture
    def query(self) -> OfferQuery:
        """A query that the cloud has an offer for."""
        return OfferQuery()

    @pytest.fixture
    def spec(self) -> CreateSpec:
        """The specification to create; the label is new each time."""
        return CreateSpec(label=f"gpunb-contract-{secrets.token_hex(4)}", public_key=_public_line())

    @pytest.fixture
    def offer(self, provider: Provider, query: OfferQuery) -> Offer:
        """The offer to rent: the cheapest one."""
        offers = provider.search(query)
        assert offers, f"{provider.name}: the query of the contract finds no offer"
        offers = [one for one in offers if one.rental == query.rental] or offers
        return min(offers, key=lambda offer: offer.hourly(query.disk_gb))

    @pytest.fixture
    def rent(self, provider: Provider, offer: Offer, spec: CreateSpec) -> Iterator[Callable[[], Instance]]:
        """A function that rents once when it is called; all under the label is ended afterwards."""
        yield lambda: provider.create(offer, spec)
        self._end_all(provider, spec.label)

    # -- required of every provider

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
            price = offer.usd_h / (offer.gpus or 1)
            assert price <= _MOST_USD_GPU_H, f"{price:g} for a GPU and an hour are not US dollars: {offer}"
            assert 0 < offer.increment_s <= 86_400, f"increment_s is in seconds: {offer}"
            assert offer.ends is None or _is_time(offer.ends), f"ends is in Unix seconds: {offer}"
            for rental, needed in (("spot", Capability.SPOT), ("reserved", Capability.RESERVED)):
                assert offer.rental != rental or provider.can(needed), f"no capability for {rental}: {offer}"
            assert offer.reliability is None or 0 <= offer.reliability <= 1, offer
            assert offer.total(2.0) >= offer.total(1.0) >= 0, offer

    # -- life cycle of one instance

    def test_from_create_to_gone(  # noqa: PLR0917 - fixtures
        self,
        provider: Provider,
        fresh: Provider,
        offer: Offer,
        spec: CreateSpec,
        rent: Callable[[], Instance],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        before = {instance.id for instance in provider.instances()}
        made = rent()
        assert made.id
        assert made.id not in before
        assert made.provider == provider.name
        listed = self._eventually(lambda: fresh.find(spec.label))
        assert [instance.id for instance in listed] == [made.id], "the cloud itself must know the label"
        assert provider.get(made.id).label == spec.label
        assert provider.presence(made.id) is Presence.PRESENT
        ready = self._until(provider, made.id, InstanceState.RUNNING)
        assert ready.host
        assert 0 < ready.port < 65536
        assert ready.user
        assert ready.usd_h >= offer.usd_h - 1e-9, "an instance is not cheaper than its offer"
        assert 0 <= ready.stopped_usd_h <= ready.usd_h + 1e-9
        for at in (ready.created, ready.ends):
            assert at is None or _is_time(at), f"times are in Unix seconds: {ready}"
        odd = [text for text in caplog.messages if text.endswith("is not expected")]
        assert not odd, "a number that no machine has counts as not said"
        provider.destroy(made.id)
        self._until_gone(provider, made.id)
        left = [
            instance for instance in fresh.instances() if instance.id == made.id and not fresh.ended(instance)
        ]
        assert not left, f"it is said to be gone while the cloud still lists it as {left[0].raw_state!r}"
        assert fresh.presence(made.id) is Presence.GONE
        assert not [instance for instance in provider.find(spec.label) if instance.state in _BILLED]
        assert {instance.id for instance in provider.instances() if instance.state in _BILLED} <= before

    def test_another_process_can_end_it_and_twice_is_harmless_or_says_gone(
        self, provider: Provider, fresh: Provider, rent: Callable[[], Instance]
    ) -> None:
        made = rent()
        fresh.destroy(made.id)
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

    @pytest.mark.parametrize("rental", ["on-demand", "spot"])
    def test_what_is_rented_is_what_was_offered(
        self, provider: Provider, fresh: Provider, query: OfferQuery, spec: CreateSpec, rental: str
    ) -> None:
        if rental == "spot" and not provider.can(Capability.SPOT):
            return
        offers = [one for one in provider.search(replace(query, rental=rental)) if one.rental == rental]
        offers = [one for one in offers if one.available]
        assert offers, f"the query of the contract finds nothing {rental}"
        # several GPUs, where there are: a price for each GPU would be noticed
        offer = min(offers, key=lambda one: (one.gpus < 2, one.hourly(query.disk_gb)))
        bid = offer.usd_h * 1.1 if rental == "spot" and isinstance(provider, features.Bids) else None
        try:
            made = provider.create(offer, replace(spec, bid_usd_h=bid))
            ready = self._until(fresh, made.id, InstanceState.RUNNING)
            assert ready.rental == rental, f"offered as {rental}, and rented as {ready.rental}"
            most = 1.5 * offer.hourly(max(spec.disk_gb, query.disk_gb)) + 0.01
            assert ready.usd_h <= most, f"offered for {offer.usd_h:g} $/h, and costs {ready.usd_h:g}"
        finally:
            self._end_all(provider, spec.label)

    def test_all_are_listed_and_an_end_takes_one(
        self, provider: Provider, query: OfferQuery, spec: CreateSpec, faults: Faults
    ) -> None:
        offers = [
            offer for offer in provider.search(query) if offer.rental == query.rental and offer.available
        ]
        offers.sort(key=lambda offer: offer.hourly(query.disk_gb))
        labels = [f"{spec.label}-{number}" for number in range(self.many)]
        try:
            made = [self._one_of(provider, offers, replace(spec, label=label)).id for label in labels]
            assert len(set(made)) == self.many
            for label in labels:
                instances = self._eventually(lambda label=label: provider.find(label))  # type: ignore[misc]
                assert len(instances) == 1, (
                    f"{len(instances)} of {self.many} that were made have the label {label}"
                )
            with faults.broken(lambda _: None):
                listed = {instance.id for instance in provider.instances()}
            assert set(made) <= listed, f"{self.many} were made, {len(listed & set(made))} are listed"
            for whole in range(len(faults.calls)):
                with faults.odd_after(whole):
                    self._whole_or_refused(provider, set(made), f"call {whole + 1} of the list fails")
            provider.destroy(made[0])
            self._until_gone(provider, made[0])
            for ident in made[1:]:
                assert provider.presence(ident) is Presence.PRESENT, f"the end of {made[0]} took {ident}"
        finally:
            for label in labels:
                self._end_all(provider, label)

    # -- failures of the network

    def test_a_create_whose_answer_is_lost_is_not_sent_again(
        self, fresh: Provider, spec: CreateSpec, rent: Callable[[], Instance], faults: Faults
    ) -> None:
        effect = "unknown"
        with faults.broken(lambda one: "lost" if faults.carries(one, spec.label) else None):
            try:
                rent()
            except GpunbError as err:
                effect = getattr(err, "effect", "none")
            sent = [request for request in faults.calls if faults.carries(request, spec.label)]
        if not faults.calls:
            pytest.skip("its calls don't go through httpx")
        assert effect != "none", "the error says that nothing was rented, and it was"
        assert sent, "no call that creates something carries the label"
        assert len(sent) == 1, f"the call that rents was sent {len(sent)} times"
        assert len(self._eventually(lambda: fresh.find(spec.label))) == 1

    @pytest.mark.parametrize("fault", ["down", "odd"])
    def test_a_list_that_fails_is_an_error_and_no_empty_list(
        self, provider: Provider, faults: Faults, fault: Fault
    ) -> None:
        with faults.broken(lambda _: fault):
            try:
                instances = provider.instances()
            except ProviderError:
                pass
            else:
                if not faults.calls:
                    pytest.skip("its calls don't go through httpx")
                msg = f"the list fails, and {len(instances)} instances are said to be all"
                raise AssertionError(msg)
            if fault == "odd":  # a call that is refused is retried each time, which takes long
                with pytest.raises(ProviderError):
                    provider.find("a label")
                assert provider.presence(self.unknown_id) is Presence.UNKNOWN, "nobody was asked"

    def test_a_label_is_matched_whole(
        self, provider: Provider, spec: CreateSpec, rent: Callable[[], Instance]
    ) -> None:
        rent()
        assert len(self._eventually(lambda: provider.find(spec.label))) == 1
        for other in (spec.label[:-1], spec.label + "x"):
            assert provider.find(other) == [], "a part of a label is another label"

    # -- optional features: they work, or are refused with NotSupported

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
            (instance,) = self._eventually(lambda: provider.find(label))
            assert instance.id == made.id
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

    def test_its_features_can_be_read(self, provider: Provider) -> None:
        for wanted, read in _READING:
            if isinstance(provider, wanted):
                found = read(provider)
                assert isinstance(found, (Sequence, Mapping)), f"{read} gives a {type(found).__name__}"
        if isinstance(provider, features.VolumeMarket):
            for space in provider.volume_market(10):
                assert 0 <= space.usd_gb_h <= 0.05, f"a GB and an hour in US dollars: {space}"
                assert space.ends is None or _is_time(space.ends), f"ends is in Unix seconds: {space}"

    # -- secrecy of the key

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

    def _whole_or_refused(self, provider: Provider, wanted: set[str], why: str) -> None:
        try:
            found = {instance.id for instance in provider.instances()}
        except ProviderError:
            return
        assert wanted <= found, f"{why}, and {len(found)} instances are said to be all"

    def _one_of(self, provider: Provider, offers: list[Offer], spec: CreateSpec) -> Instance:
        """Rent the cheapest offer that is still available: a market has each machine once."""
        for offer in offers:
            with contextlib.suppress(OfferGone):
                return provider.create(offer, spec)
        msg = f"none of {len(offers)} offers can be rented"
        raise AssertionError(msg)

    def _end_all(self, provider: Provider, label: str) -> None:
        for left in provider.find(label):
            if not provider.ended(left):
                with contextlib.suppress(InstanceGone):
                    provider.destroy(left.id)
                self._until_gone(provider, left.id)

    def _refused(self, provider: Provider, call: Callable[..., Any], *args: object) -> None:
        with pytest.raises(NotSupported) as caught:
            call(*args)
        assert provider.title in str(caught.value)

    def _eventually(self, look: Callable[[], list[Instance]]) -> list[Instance]:
        """Return the first non-empty answer: some clouds list an instance only some time after create."""
        limit = time.monotonic() + self.patience_s
        while True:
            instances = look()
            if instances or time.monotonic() > limit:
                return instances
            time.sleep(self.poll_s)

    def _until(self, provider: Provider, instance_id: str, state: InstanceState) -> Instance:
        limit = time.monotonic() + self.patience_s
        seen: list[str] = []
        while time.monotonic() < limit:
            try:
                instance = provider.get(instance_id)
            except InstanceGone:
                word = "not listed"
            else:
                word = instance.state.value
                if instance.state is state and (instance.port or state is not InstanceState.RUNNING):
                    return instance
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


def _is_time(at: float) -> bool:
    """Return whether `at` is plausible as Unix seconds."""
    return 1.4e9 < at < 1e11


def _public_line() -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + " gpunb-contract"
