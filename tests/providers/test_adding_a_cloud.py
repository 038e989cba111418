"""The worked example of docs/adding-a-cloud.md keeps the contract, on a server of its API."""

from __future__ import annotations

import json
import re
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from pydantic import SecretStr

from gpunb.errors import AuthFailed, OfferGone, OutcomeUnknown
from gpunb.providers import CreateSpec, OfferQuery, Provider, ProviderConfig
from gpunb.providers.contract import ProviderContract

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-cloud.md"
KEY = "acme-secret-key"


@pytest.fixture(scope="module")
def example() -> Iterator[types.ModuleType]:
    """The page's first Python block, imported as a module of its own."""
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[0]
    module = types.ModuleType("gpunb_acme")
    sys.modules[module.__name__] = module
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    yield module
    del sys.modules[module.__name__]


class Acme(BaseHTTPRequestHandler):
    """Acme's five endpoints."""

    protocol_version = "HTTP/1.1"
    machines: ClassVar[dict[str, dict[str, Any]]] = {}
    made = 0
    lose_answers = False

    def answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> dict[str, Any]:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def serve(self) -> None:
        data = self.body()
        route, _, ident = self.path[1:].partition("/")
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self.answer(401, {"error": "bad key"})
        elif self.path == "/me":
            self.answer(200, {"email": "a@b.c", "balance": 12.5})
        elif self.path == "/plans":
            plan = {"id": "h100", "gpu": "H100", "count": 1, "usd_per_hour": 2.0, "memory_gb": 80}
            self.answer(200, {"plans": [plan]})
        elif self.command == "POST":
            if data["plan"] != "h100":
                self.answer(409, {"error": "sold out"})
                return
            type(self).made += 1
            one = {"id": f"m-{self.made}", "name": data["name"], "status": "booting", "usd_per_hour": 2.0}
            self.machines[one["id"]] = one
            if self.lose_answers:
                self.close_connection = True
            else:
                self.answer(201, one)
        elif route == "machines" and not ident:
            self.answer(200, {"machines": list(self.machines.values())})
            for one in self.machines.values():
                one |= {"status": "up", "ip": "203.0.113.7", "ssh_port": 2200}
        elif ident not in self.machines:
            self.answer(404, {"error": "no such machine"})
        elif self.command == "DELETE":
            del self.machines[ident]
            self.answer(200, {})
        else:
            self.machines[ident]["name"] = data["name"]
            self.answer(200, {})

    do_GET = do_POST = do_PATCH = do_DELETE = serve  # noqa: N815

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def acme_url() -> Iterator[str]:
    Acme.machines.clear()
    Acme.lose_answers = False
    with ThreadingHTTPServer(("127.0.0.1", 0), Acme) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def provider(example: types.ModuleType, acme_url: str) -> Iterator[Provider]:
    made = example.AcmeProvider(ProviderConfig(base_url=acme_url, key=SecretStr(KEY)))
    yield made
    made.close()


class TestAcme(ProviderContract):
    unknown_id = "m-999999"

    @pytest.fixture
    def provider(self, provider: Provider) -> Provider:
        return provider


def test_a_wrong_key_is_said_without_it(example: types.ModuleType, acme_url: str) -> None:
    made = example.AcmeProvider(ProviderConfig(base_url=acme_url, key=SecretStr("another-secret")))
    with pytest.raises(AuthFailed) as caught:
        made.check()
    assert "another-secret" not in str(caught.value)
    made.close()


def test_a_lost_answer_leaves_one_machine_that_its_label_finds(provider: Provider) -> None:
    (offer,) = provider.search(OfferQuery())
    Acme.lose_answers = True
    with pytest.raises(OutcomeUnknown):
        provider.create(offer, CreateSpec(label="lost", public_key="ssh-ed25519 AAAA"))
    assert len(provider.find("lost")) == 1


def test_an_offer_that_went_rents_nothing(provider: Provider) -> None:
    (offer,) = provider.search(OfferQuery())
    offer.id = "gone"
    with pytest.raises(OfferGone) as caught:
        provider.create(offer, CreateSpec(label="x", public_key="ssh-ed25519 AAAA"))
    assert caught.value.effect == "none"
    assert provider.instances() == []
