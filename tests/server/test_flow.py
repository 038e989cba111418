"""From rent to receipt through the API of a real Jupyter server, on this machine's own provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpunb.providers import names
from gpunb.sessions.access import host_access
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import RunNote
from tests.support.machines import own_hosts
from tests.support.machines.jupyter import Client, Jupyter, until

pytestmark = pytest.mark.slow
STOPS = [] if own_hosts.wanted() else ["stop"]


def run_cell(session_id: str, code: str) -> str:
    """A cell that a kernel of the user's runs: its note in the ledger, the run on the host."""
    from gpunb.remote.client import new_run_id

    with Ledger.open() as ledger:
        session = ledger.get(session_id)
        run_id = new_run_id()
        ledger.add_run(RunNote(id=run_id, session_id=session.id, name="cell", front="notebook"))
        host_access.agent(session).run_cell(code, run_id=run_id, name="cell")
    return run_id


@pytest.fixture(autouse=True)
def _lines() -> Any:
    yield
    host_access.close_all()


def test_rent_run_extend_stop_start_down(rented_from: None, jupyter: Jupyter) -> None:
    client = jupyter.client()
    events = jupyter.events()
    assert events.next()["type"] == "hello"
    assert events.next()["data"]["sessions"] == []

    job = client.rent("box", hours=1)
    done = client.wait(job)
    assert done["result"]["name"] == "box"
    assert done["session"]
    ident = done["session"]
    events.until("session", lambda data: data["id"] == ident and data["state"] == "ready")
    events.until("job", lambda data: data["id"] == job["id"] and data["state"] == "done")
    (session,) = client.get("/sessions")["sessions"]
    assert (session["name"], session["state"], session["can"]) == ("box", "ready", ["extend", *STOPS, "down"])
    whole = client.get("/sessions/box")
    assert [one["state"] for one in whole["events"] if one["kind"] == "transition"] == [
        "requested", "creating", "booting", "reachable", "ready",
    ]  # fmt: skip

    _a_run(jupyter, client, events, ident)
    _files(client, jupyter.root)
    _ports_and_load(client)

    before = client.get("/sessions/box")["lease"]["deadline"]
    token = client.confirmed("extend", session="box", hours=2.0)
    longer = client.post("/sessions/box/extend", {"hours": 2.0, "token": token})
    assert longer["lease"]["deadline"] == pytest.approx(before + 7200)
    events.until("session", lambda data: data["lease"]["deadline"] == longer["lease"]["deadline"])

    if STOPS:
        client.wait(client.act("stop", "box"))
        assert client.get("/sessions/box")["can"] == ["extend", "start", "down"]
        assert client.ask("GET", "/sessions/box/files").status_code == 502
        client.wait(client.act("start", "box"))
    assert client.get("/sessions/box")["state"] == "ready"
    (file,) = client.get("/sessions/box/files", path="out")["entries"]
    assert file["name"] == "a b.bin"

    done = client.wait(client.act("down", "box"))
    assert done["result"]["confirmed"] is not None
    events.until("removed", lambda data: data["id"] == ident)
    assert client.get("/sessions")["sessions"] == []
    assert client.get("/sessions", all="1")["sessions"][0]["state"] == "gone"
    (receipt,) = client.get("/receipts")["receipts"]
    assert (receipt["name"], receipt["why"], len(receipt["runs"])) == ("box", "down", 1)
    for by in ("session", "day", "cloud"):
        assert client.get("/cost", by=by)["by"] == by
    events.close()


def _a_run(jupyter: Jupyter, client: Client, events: Any, ident: str) -> None:
    code = "import sys, time\nprint('hello', flush=True)\n"
    code += "print('\\x1b[31mred\\x1b[0m \\x1b]0;t\\x07', file=sys.stderr)\n"
    run = run_cell(ident, code + "time.sleep(300)")
    events.until("run", lambda data: data["id"] == run)
    found = until(lambda: _with_text(client, run, "red"))
    assert not found["ended"]
    texts = {(one["kind"], one["text"]) for one in found["records"]}
    assert ("stdout", "hello\n") in texts
    assert any(
        kind == "stderr" and "\x1b[31mred\x1b[0m" in text and "\x07" not in text for kind, text in texts
    )
    assert "\x1b" not in found["text"]
    assert "\x1b[31mred\x1b[0m" in found["coloured"]
    assert "\x07" not in found["coloured"]
    rest = client.get(f"/runs/{run}/log", after=found["next"])
    assert rest["records"] == []
    assert client.get(f"/sessions/{ident}/runs")["runs"][0]["state"] == "running"
    assert client.get("/sessions/box")["runs_active"] == 1
    client.post(f"/runs/{run}/interrupt")
    ended = until(lambda: _over(client, run))
    assert ended["state"] in {"error", "cancelled"}
    last = client.get(f"/runs/{run}/log", after=rest["next"])
    assert last["ended"]
    assert last["records"][-1]["kind"] in {"end", "error"}
    assert client.get(f"/sessions/{ident}/runs")["runs"][0]["ended"] is not None
    assert client.post(f"/runs/{run}/cancel")["ended"] is not None


def _with_text(client: Client, run: str, text: str) -> Any:
    found = client.get(f"/runs/{run}/log")
    return found if text in found["text"] else None


def _over(client: Client, run: str) -> Any:
    found = client.get(f"/runs/{run}")
    return found if found["ended"] is not None else None


def _places(client: Client) -> None:
    """Folders are made, and things renamed and deleted; nothing is replaced, and gpunb's own stays."""

    def ask(method: str, path: str, **more: Any) -> int:
        return int(client.ask(method, "/sessions/box/files", params={"path": path}, **more).status_code)

    assert ask("POST", "new folder", json={}) == 200
    assert ask("POST", "new folder", json={}) == 400
    assert ask("PATCH", "out/a b.bin", json={"to": "new folder/c.bin"}) == 200
    (entry,) = client.get("/sessions/box/files", path="new folder")["entries"]
    assert entry["name"] == "c.bin"
    assert ask("PATCH", "new folder", json={"to": "out"}) == 400, "nothing is replaced"
    assert ask("PATCH", "new folder", json={"to": "folder"}) == 200
    for path in (
        "",
        "/",
        "~",
        ".",
        "..",
        "../x",
        ".gpunb",
        ".gpunb/runs",
        "./.gpunb",
        ".ssh",
        ".ssh/authorized_keys",
        "a\0b",
    ):
        assert ask("DELETE", path) == 400, path
        assert ask("PATCH", "folder", json={"to": path}) == 400, path
    assert ask("DELETE", "nope") == 404
    assert ask("PATCH", "folder/c.bin", json={"to": "out/a b.bin"}) == 200
    assert ask("DELETE", "folder") == 200
    assert client.ask("GET", "/sessions/box/files", params={"path": "folder"}).status_code == 404


def _files(client: Client, root: Path) -> None:
    body = bytes(range(256)) * 20_000  # several pieces
    answer = client.ask("PUT", "/sessions/box/file", params={"path": "out/a b.bin"}, content=body)
    assert answer.json() == {"path": "out/a b.bin", "size": len(body)}
    back = client.ask("GET", "/sessions/box/file", params={"path": "out/a b.bin"})
    assert back.content == body
    assert back.headers["content-disposition"] == "attachment; filename*=utf-8''a%20b.bin"
    assert back.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in back.headers["content-security-policy"]
    assert client.get("/sessions/box/files", path="out")["entries"][0] | {"mtime": 0} == {
        "name": "a b.bin", "path": "out/a b.bin", "type": "file", "size": len(body), "mtime": 0
    }  # fmt: skip
    for path, status in (("out", 400), ("nope", 404), ("", 400), ("a\0b", 400)):
        assert client.ask("GET", "/sessions/box/file", params={"path": path}).status_code == status, path
    assert client.ask("PUT", "/sessions/box/file", params={"path": "out"}, content=b"x").status_code == 400
    _places(client)
    (root / "set").mkdir()
    (root / "set" / "one.txt").write_text("one")
    job = client.post("/sessions/box/transfers", {"source": "set", "target": ":set", "dry_run": True}, 202)[
        "job"
    ]
    assert client.wait(job)["result"]["items_count"] == 1
    assert client.ask("GET", "/sessions/box/files", params={"path": "set"}).status_code == 404
    job = client.post("/sessions/box/transfers", {"source": "set", "target": ":set"}, 202)["job"]
    assert client.wait(job)["result"]["sent_files"] == 1
    job = client.post("/sessions/box/transfers", {"source": ":set", "target": "back"}, 202)["job"]
    client.wait(job)
    assert (root / "back" / "one.txt").read_text() == "one"
    assert {one["direction"] for one in client.get("/transfers")["transfers"]} == {"up", "down"}
    for source, target, word in (
        ("set", "set", "only one"), (":a", ":b", "only one"), ("none", ":x", "no such"),
        ("set", "other:x", "other"),
    ):  # fmt: skip
        error = client.post("/sessions/box/transfers", {"source": source, "target": target}, 400)
        assert word in error["message"]


def _ports_and_load(client: Client) -> None:
    (port,) = client.post("/sessions/box/ports", {"port": 6006})["ports"]
    assert port["host_port"] == 6006
    assert port["here"]
    assert client.post("/sessions/box/ports", {"port": 6006})["ports"] == [port]
    assert client.get("/sessions/box")["ports"] == [port]
    assert client.ask("DELETE", "/sessions/box/ports/6006").json() == {"ports": []}
    assert "6006" in client.ask("DELETE", "/sessions/box/ports/6006").json()["message"]
    load = until(lambda: client.get("/sessions/box/telemetry")["latest"])
    assert load["memory"][1] > 0
    assert client.get("/sessions/box")["load"] is not None
    name = client.post("/sessions/box/terminal")["name"]
    listed = client.http.get(client.base.rpartition("/gpunb")[0] + "/api/terminals").json()
    assert name in {one["name"] for one in listed}


def test_bad_arguments_name_field_value_and_rule(jupyter: Jupyter) -> None:
    client = jupyter.client()
    key = client.post("/offers", {"hours": 1})["offers"][0]["key"]
    client.wait(client.rent("there"))
    for path, body, words in (
        ("/confirm", {"action": "rent", "offer": "x", "hours": 1}, ("offer", "'x'", "not shown")),
        ("/confirm", {"action": "rent", "offer": key, "hours": 0}, ("hours", "0", "greater")),
        (
            "/confirm",
            {"action": "rent", "offer": key, "hours": 1, "name": "<script>alert(1)</script>"},
            ("name",),
        ),
        (
            "/confirm",
            {"action": "rent", "offer": key, "hours": 1, "name": "there"},
            ("name", "there", "taken"),
        ),
        (
            "/confirm",
            {"action": "rent", "offer": key, "hours": 1, "disk_gb": 9e5},
            ("disk", "900000", "at most"),
        ),
        ("/confirm", {"action": "sell"}, ("action", "'sell'", "rent")),
        ("/confirm", {"action": "down"}, ("session", "missing")),
        ("/confirm", {"action": "extend", "session": "there"}, ("extend", "hours")),
        ("/confirm", {"action": "extend", "session": "there", "hours": -2}, ("hours", "-2", "greater")),
        ("/confirm", {"action": "stop", "session": "there", "hours": 2}, ("hours", "no field")),
        ("/offers", {"query": "vram >>> 8"}, ("vram",)),
        ("/offers", {"clouds": ["nowhere"]}, ("nowhere", "installed")),
        ("/login", {"provider": "nowhere", "key": "k"}, ("nowhere", "installed")),
        ("/login", {"provider": "local", "key": "k"}, ("local", "needs no key")),
    ):
        error = client.post(path, body, 400)
        for word in words:
            assert word in error["message"], (body, error)
    assert client.post("/confirm", {"action": "start", "session": "there"}, 409)["reason"] == "WrongState"
    assert client.post("/confirm", {"action": "down", "session": "nope"}, 404)["reason"] == "SessionNotFound"
    assert client.post("/confirm", {"action": "down", "session": "the"}, 404)["reason"] == "SessionNotFound"
    for path in ("/sessions/nope", "/runs/nope", "/runs/nope/log", "/jobs/nope", "/of/another/version"):
        assert client.ask("GET", path).status_code == 404
    for path, query in (
        ("/sessions", {"all": "yes"}), ("/cost", {"by": "week"}), ("/receipts", {"limit": "0"}),
        ("/sessions/there/runs", {"limit": "x"}), ("/sessions/there/telemetry", {"seconds": "1"}),
    ):  # fmt: skip
        answer = client.ask("GET", path, params=query)
        assert answer.status_code == 400
        assert next(iter(query.values())) in answer.json()["message"]
    assert client.ask("POST", "/offers", content=b"{not json").status_code == 400


def test_settings_are_written_and_keys_never_leave(jupyter: Jupyter) -> None:
    jupyter.home.mkdir(exist_ok=True)
    file = jupyter.home / "gpunb.toml"
    file.write_text(
        '# mine\nhours = 1\n\n[providers.vast]\nkey = "very-secret-key"\nbase_url = "http://127.0.0.1:9"\n'
    )
    client = jupyter.client()
    answer = client.ask("GET", "/settings")
    assert "very-secret-key" not in answer.text
    rows = {one["key"]: one for one in answer.json()["settings"]}
    assert rows["hours"]["value"] == 1
    assert "providers.vast.key" not in rows
    changed = client.ask(
        "PATCH", "/settings", {"hours": "3h", "budget": 5, "clouds": ["local", "vast"]}
    ).json()
    rows = {one["key"]: one["value"] for one in changed["settings"]}
    assert (rows["hours"], rows["budget"], rows["clouds"]) == (3, 5, ["local", "vast"])
    assert file.read_text().startswith("# mine\n")
    assert 'key = "very-secret-key"' in file.read_text()
    assert {
        one["key"]: one["value"]
        for one in client.ask("PATCH", "/settings", {"budget": None}).json()["settings"]
    }["budget"] is None
    for body, words in (
        ({"hours": "3"}, ()), ({"hours": "soon"}, ("hours", "soon")), ({"idle": "1s"}, ("idle", "60")),
        ({"budget": -1}, ("budget", "-1")), ({"providers": {}}, ("providers",)), ({}, ("empty",)),
        ({"log_level": "loud"}, ("log_level", "loud")),
    ):  # fmt: skip
        answer = client.ask("PATCH", "/settings", body)
        assert answer.status_code == (400 if words else 200), (body, answer.text)
        for word in words:
            assert word in answer.json()["message"]
    status = client.ask("GET", "/status")
    assert "very-secret-key" not in status.text
    assert {one["name"]: one["key"] for one in status.json()["clouds"]} == {
        name: name in {"local", "ssh", "vast"} for name in names()
    }
