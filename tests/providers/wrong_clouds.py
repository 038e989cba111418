"""Clouds that are wrong in one way each, under the contract: `test_contract` sees that it fails them.

Not collected by itself. Each class names in `FAILS` the test of the contract that must fail it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from pydantic import SecretStr

from gpunb.errors import InstanceGone, OfferGone, OutcomeUnknown, ProviderError
from gpunb.providers import CreateSpec, Instance, InstanceState, Offer, OfferQuery, Presence, ProviderConfig
from gpunb.providers.contract import ProviderContract
from gpunb.providers.features import SshKeys
from tests.support import acme

if TYPE_CHECKING:
    from collections.abc import Iterator

Right: Any = acme.example().AcmeProvider


class Wrong(ProviderContract):
    unknown_id = "m-999999"
    patience_s = 1.0
    FAILS: ClassVar[str]

    @pytest.fixture
    def provider(self) -> Iterator[Any]:
        with acme.served() as url:
            made = self.Cloud(ProviderConfig(base_url=url, key=SecretStr(acme.KEY)))  # type: ignore[attr-defined]
            yield made
            made.close()


class TestCreateIsSafeToRepeat(Wrong):
    FAILS = "test_a_create_whose_answer_is_lost_is_not_sent_again"

    class Cloud(Right):
        def create(self, offer: Offer, spec: CreateSpec) -> Instance:
            body = {"plan": offer.id, "name": spec.label, "ssh_key": spec.public_key}
            return self._instance(self.http.call("POST", "/machines", json=body, safe=True))


class TestALostCreateCountsAsRefused(Wrong):
    FAILS = "test_a_create_whose_answer_is_lost_is_not_sent_again"

    class Cloud(Right):
        def create(self, offer: Offer, spec: CreateSpec) -> Instance:
            try:
                return super().create(offer, spec)
            except OutcomeUnknown as err:
                raise OfferGone(err.message, provider=self.name) from err


class TestOnlyTheFirstPage(Wrong):
    FAILS = "test_all_are_listed_and_an_end_takes_one"

    class Cloud(Right):
        def instances(self) -> list[Instance]:
            return [self._instance(row) for row in self.http.call("GET", "/machines")["machines"]]


class TestAPageThatFailsIsTheEnd(Wrong):
    FAILS = "test_all_are_listed_and_an_end_takes_one"

    class Cloud(Right):
        def instances(self) -> list[Instance]:
            found, after = [], ""
            while after is not None:
                page = self.http.call("GET", "/machines", params={"after": after})
                found += [self._instance(row) for row in page.get("machines", [])]
                after = page.get("next")
            return found


class TestSpotIsLabelledOnDemand(Wrong):
    FAILS = "test_what_is_rented_is_what_was_offered[on-demand]"

    class Cloud(Right):
        def search(self, query: OfferQuery) -> list[Offer]:
            return [replace(one, rental="on-demand") for one in super().search(query) if one.rental == "spot"]


class TestOnDemandIsLabelledSpot(Wrong):
    FAILS = "test_what_is_rented_is_what_was_offered[spot]"

    class Cloud(Right):
        def search(self, query: OfferQuery) -> list[Offer]:
            return [
                replace(one, rental=query.rental) for one in super().search(query) if one.rental != "spot"
            ]


class TestAnInstanceDoesNotSayThatItIsSpot(Wrong):
    FAILS = "test_what_is_rented_is_what_was_offered[spot]"

    class Cloud(Right):
        def _instance(self, row: Any) -> Instance:
            return replace(super()._instance(row), rental="on-demand")


class TestSpotWithoutTheCapability(Wrong):
    FAILS = "test_offers_are_sane"

    class Cloud(Right):
        capabilities = frozenset[Any]()


class TestAListThatFailsIsEmpty(Wrong):
    FAILS = "test_a_list_that_fails_is_an_error_and_no_empty_list[down]"

    class Cloud(Right):
        def instances(self) -> list[Instance]:
            try:
                return super().instances()
            except ProviderError:
                return []


class TestAnOddListIsEmpty(Wrong):
    FAILS = "test_a_list_that_fails_is_an_error_and_no_empty_list[odd]"

    class Cloud(Right):
        def instances(self) -> list[Instance]:
            listed = self.http.call("GET", "/machines").get("machines") or []
            return [self._instance(row) for row in listed]


class TestWhatItDidNotRentItselfIsGone(Wrong):
    FAILS = "test_another_process_can_end_it_and_twice_is_harmless_or_says_gone"

    class Cloud(Right):
        def create(self, offer: Offer, spec: CreateSpec) -> Instance:
            made = super().create(offer, spec)
            self._mine = {*getattr(self, "_mine", ()), made.id}
            return made

        def destroy(self, instance_id: str) -> None:
            if instance_id not in getattr(self, "_mine", ()):
                msg = f"there is no {instance_id}"
                raise InstanceGone(msg, provider=self.name)
            super().destroy(instance_id)


class TestUnknownIsGone(Wrong):
    FAILS = "test_a_list_that_fails_is_an_error_and_no_empty_list[odd]"

    class Cloud(Right):
        def presence(self, instance_id: str) -> Presence:
            found = super().presence(instance_id)
            return Presence.PRESENT if found is Presence.PRESENT else Presence.GONE


class TestAnEndIsNotWaitedFor(Wrong):
    FAILS = "test_from_create_to_gone"

    class Cloud(Right):
        def destroy(self, instance_id: str) -> None:
            super().destroy(instance_id)
            self._ended = {*getattr(self, "_ended", ()), instance_id}

        def presence(self, instance_id: str) -> Presence:
            return (
                Presence.GONE if instance_id in getattr(self, "_ended", ()) else super().presence(instance_id)
            )


class TestAnEndTakesAll(Wrong):
    FAILS = "test_all_are_listed_and_an_end_takes_one"

    class Cloud(Right):
        def destroy(self, _instance_id: str) -> None:
            for one in self.instances():
                if one.state is not InstanceState.ENDING:
                    super().destroy(one.id)


class TestTheLabelStaysHere(Wrong):
    FAILS = "test_from_create_to_gone"

    class Cloud(Right):
        labels: ClassVar[dict[int, dict[str, str]]] = {}

        def create(self, offer: Offer, spec: CreateSpec) -> Instance:
            made = super().create(offer, replace(spec, label="machine"))
            self.labels.setdefault(id(self), {})[made.id] = spec.label
            return replace(made, label=spec.label)

        def instances(self) -> list[Instance]:
            mine = self.labels.get(id(self), {})
            return [replace(one, label=mine.get(one.id, one.label)) for one in super().instances()]


class TestThePriceIsOfOneGpu(Wrong):
    FAILS = "test_what_is_rented_is_what_was_offered[on-demand]"

    class Cloud(Right):
        def search(self, query: OfferQuery) -> list[Offer]:
            return [replace(one, usd_h=one.usd_h / one.gpus) for one in super().search(query)]


class TestThePriceIsInCents(Wrong):
    FAILS = "test_offers_are_sane"

    class Cloud(Right):
        def search(self, query: OfferQuery) -> list[Offer]:
            return [replace(one, usd_h=one.usd_h * 100) for one in super().search(query)]


class TestTimesAreInMilliseconds(Wrong):
    FAILS = "test_from_create_to_gone"

    class Cloud(Right):
        def _instance(self, row: Any) -> Instance:
            return super()._instance({**row, "created": row["created"] * 1000})


class TestTheBillingStepIsInMilliseconds(Wrong):
    FAILS = "test_offers_are_sane"

    class Cloud(Right):
        def search(self, query: OfferQuery) -> list[Offer]:
            return [replace(one, increment_s=one.increment_s * 1000) for one in super().search(query)]


class TestALabelIsMatchedInPart(Wrong):
    FAILS = "test_a_label_is_matched_whole"

    class Cloud(Right):
        def find(self, label: str) -> list[Instance]:
            return [one for one in self.instances() if label in one.label]


class TestTheKeyIsInAnError(Wrong):
    FAILS = "test_the_key_is_never_shown"

    class Cloud(Right):
        def get(self, instance_id: str) -> Instance:
            msg = f"no {instance_id} for key {self.config.key.get_secret_value()}"
            raise InstanceGone(msg, provider=self.name)


class TestAFeatureGivesNoList(Wrong):
    FAILS = "test_its_features_can_be_read"

    class Cloud(Right, SshKeys):
        def ssh_keys(self) -> Any:
            return None

        def delete_ssh_key(self, key_id: str, /) -> None:
            raise NotImplementedError(key_id)
