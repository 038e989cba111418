"""Nobody who is not logged in gets an answer; nothing is spent without the same user's confirmation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import websocket

from gpunb.server import PREFIX
from gpunb.server.handlers.base import Missing
from gpunb.server.routes import routes
from tests.server.test_openapi import served
from tests.support.machines.jupyter import TOKEN, Jupyter

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
ROUTES = sorted(
    {(path.replace("/ports/{}", "/ports/1").replace("{}", "x"), method) for path, method in served()}
)
WRITES = {"post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    base = tmp_path_factory.mktemp("auth")
    found = Jupyter(base / "home").start()
    yield found
    found.end()


def bare(server: Jupyter, method: str, path: str, **more: Any) -> httpx.Response:
    return httpx.request(method, server.url.rstrip("/") + PREFIX + path, timeout=60, verify=False, **more)


@pytest.mark.parametrize(("path", "method"), ROUTES)
def test_no_route_answers_without_a_login(server: Jupyter, path: str, method: str) -> None:
    for headers in ({}, {"Authorization": "token wrong"}, {"Cookie": "username-x=forged"}):
        answer = bare(server, method, path, headers=headers)
        assert answer.status_code in {401, 403}, (method, path, headers, answer.status_code)
        assert answer.json()["reason"] == "Forbidden"
        assert set(answer.json()) == {"message", "reason", "hint", "bill"}


@pytest.mark.parametrize(("path", "method"), [one for one in ROUTES if one[1] in WRITES])
def test_a_login_by_cookie_needs_the_xsrf_token(server: Jupyter, path: str, method: str) -> None:
    browser = server.browser()
    for headers in ({}, {"X-XSRFToken": "forged"}):
        answer = browser.http.request(method, browser.base + path, headers=headers, json={})
        assert answer.status_code == 403, (method, path, answer.status_code)
        assert "xsrf" in answer.json()["message"].lower()
    answer = browser.ask(method.upper(), path, {} if method != "put" else None)
    assert answer.status_code != 403 or answer.json()["reason"].startswith("Confirmation")


def test_what_is_no_route_needs_a_login_too(server: Jupyter) -> None:
    assert routes()[-1][1] is Missing
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        assert bare(server, method, "/of/another/version").status_code == 403
    error = server.client().ask("GET", "/of/another/version")
    assert (error.status_code, error.json()["reason"]) == (404, "NoRoute")
    assert "version" in error.json()["message"]


def test_a_foreign_origin_is_refused(server: Jupyter) -> None:
    browser = server.browser()
    headers = browser.xsrf() | {"Origin": "http://evil.example"}
    assert browser.ask("POST", "/offers", {}, headers=headers).status_code in {403, 404}


def test_the_server_has_nothing_to_say_against_our_routes(server: Jupyter) -> None:
    # Jupyter warns of endpoints without @authenticated when allow_unauthenticated_access is off
    assert "gpunb | extension was successfully loaded" in server.said()
    for line in server.said().splitlines():
        assert "gpunb" not in line or "without @" not in line, line
        assert PREFIX not in line or " registered for " not in line, line


def refused(server: Jupyter, **more: Any) -> int:
    try:
        server.events(**more)
    except websocket.WebSocketBadStatusException as err:
        return int(err.status_code)
    return 101


def test_the_websocket_wants_a_login_and_its_own_origin(server: Jupyter) -> None:
    assert refused(server, header=[]) == 403
    assert refused(server, header=["Authorization: token wrong"]) == 403
    browser = server.browser()
    assert refused(server, client=browser, origin="http://evil.example", header=[]) == 403
    assert refused(server, client=browser, origin=server.url.rstrip("/"), header=[]) == 101


def rentable(client: Any) -> dict[str, Any]:
    key = client.post("/offers", {"hours": 1})["offers"][0]["key"]
    return {"offer": key, "hours": 1.0}


def test_spending_needs_the_same_users_confirmation(server: Jupyter) -> None:
    ann, bob = server.browser(), server.browser()
    wanted = rentable(ann)
    assert ann.post("/rent", wanted, 403)["reason"] == "ConfirmationNeeded"
    assert ann.post("/rent", {**wanted, "token": ""}, 403)["reason"] == "ConfirmationNeeded"
    assert ann.post("/rent", {**wanted, "token": "guess"}, 403)["reason"] == "ConfirmationRefused"
    token = ann.confirmed("rent", **wanted)
    assert "another user" in bob.post("/rent", {**wanted, "token": token}, 403)["message"]
    assert "other arguments" in ann.post("/rent", {**wanted, "hours": 2.0, "token": token}, 403)["message"]
    # used up by that
    assert ann.post("/rent", {**wanted, "token": token}, 403)["reason"] == "ConfirmationRefused"
    assert ann.get("/sessions")["sessions"] == []
    token = ann.confirmed("rent", **wanted)
    job = ann.post("/rent", {**wanted, "token": token}, 202)["job"]
    assert ann.post("/rent", {**wanted, "token": token}, 403)["reason"] == "ConfirmationRefused"
    session = ann.wait(job)["session"]
    for action in ("extend", "stop", "start", "down"):
        body = {"hours": 1.0} if action == "extend" else {}
        path = f"/sessions/{session}/{action}"
        assert ann.post(path, body, 403)["reason"] == "ConfirmationNeeded"
        assert ann.post(path, {**body, "token": "guess"}, 403)["reason"] == "ConfirmationRefused"
    token = ann.confirmed("stop", session=session)
    assert "is for stop" in ann.post(f"/sessions/{session}/down", {"token": token}, 403)["message"]
    assert ann.get(f"/sessions/{session}")["state"] == "ready"
    ann.wait(ann.act("down", session))


def test_a_token_of_the_servers_is_its_owner_whatever_cookie_comes_with_it(server: Jupyter) -> None:
    owner = server.client()
    wanted = rentable(owner)
    token = owner.confirmed("rent", **wanted)
    owner.http.cookies.clear()
    assert owner.post("/rent", {**wanted, "hours": 3.0, "token": token}, 403)["message"].endswith(
        "other arguments"
    )


def test_an_authorizer_may_forbid_to_write(tmp_path: Path) -> None:
    (tmp_path / "lookers.py").write_text(
        "from jupyter_server.auth import Authorizer\n"
        "class Lookers(Authorizer):\n"
        "    def is_authorized(self, handler, user, action, resource):\n"
        "        return action == 'read' or resource != 'gpunb'\n"
    )
    server = Jupyter(tmp_path / "home", PYTHONPATH=str(tmp_path))
    server.start("--ServerApp.authorizer_class=lookers.Lookers")
    try:
        client = server.client()
        assert client.get("/sessions") == {"sessions": []}
        for path, method in ROUTES:
            if method in WRITES:
                answer = client.ask(method.upper(), path, {} if method != "put" else None)
                assert answer.status_code == 403, (path, method)
                assert answer.json()["reason"] == "Forbidden"
        events = server.events()
        assert events.next()["type"] == "hello"
    finally:
        server.end()


def test_bodies_are_bounded(server: Jupyter) -> None:
    client = server.client()
    body = json.dumps({"query": "x" * (1 << 20)}).encode()
    assert client.ask("POST", "/offers", content=body).status_code == 400
    assert TOKEN not in server.said()
