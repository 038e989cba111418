"""The worked example of docs/adding-a-cloud.md keeps the contract, on a server of its API."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from gpunb.errors import AuthFailed, OfferGone, OutcomeUnknown
from gpunb.providers import CreateSpec, OfferQuery, Provider, ProviderConfig
from gpunb.providers.contract import ProviderContract
from tests.support import acme

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def example() -> Iterator[types.ModuleType]:
    module = acme.example()
    yield module
    del sys.modules[module.__name__]


@pytest.fixture
def acme_url() -> Iterator[str]:
    with acme.served() as url:
        yield url


@pytest.fixture
def provider(example: types.ModuleType, acme_url: str) -> Iterator[Provider]:
    made = example.AcmeProvider(ProviderConfig(base_url=acme_url, key=SecretStr(acme.KEY)))
    yield made
    made.close()


class TestAcme(ProviderContract):
    unknown_id = "m-999999"

    @pytest.fixture
    def provider(self, provider: Provider) -> Provider:
        return provider

    @pytest.fixture
    def query(self) -> OfferQuery:
        return OfferQuery(rental="on-demand")


def test_a_wrong_key_is_said_without_it(example: types.ModuleType, acme_url: str) -> None:
    made = example.AcmeProvider(ProviderConfig(base_url=acme_url, key=SecretStr("another-secret")))
    with pytest.raises(AuthFailed) as caught:
        made.check()
    assert "another-secret" not in str(caught.value)
    made.close()


def test_a_lost_answer_leaves_one_machine_that_its_label_finds(provider: Provider) -> None:
    offer = provider.search(OfferQuery())[0]
    acme.Acme.lose_answers = True
    with pytest.raises(OutcomeUnknown):
        provider.create(offer, CreateSpec(label="lost", public_key="ssh-ed25519 AAAA"))
    assert len(provider.find("lost")) == 1


def test_an_offer_that_went_rents_nothing(provider: Provider) -> None:
    offer = provider.search(OfferQuery())[0]
    offer.id = "gone"
    with pytest.raises(OfferGone) as caught:
        provider.create(offer, CreateSpec(label="x", public_key="ssh-ed25519 AAAA"))
    assert caught.value.effect == "none"
    assert provider.instances() == []
