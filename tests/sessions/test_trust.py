"""How far a host is trusted: by its cloud's facts at first, then by the user's word alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gpunb.cli.main import invoke
from gpunb.errors import BadInput, VariableError, WrongState
from gpunb.remote import get
from gpunb.sessions.access import host_access
from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpunb.sessions.model import Session

CANARY = "hf_canary_51d0e6"


@pytest.fixture
def session(home: Path) -> Iterator[Session]:
    invoke("rent --name demo --for 30m --yes", frontend="terminal")
    with Ledger.open() as ledger:
        yield ledger.find("demo")
    invoke("down demo --yes", frontend="terminal")
    host_access.close_all()


def answer(line: str) -> dict:
    return json.loads(json.dumps(invoke(f"{line} --json", frontend="terminal").data()))


@pytest.mark.slow
def test_the_users_word_is_kept_shown_and_heard_by_open_clients(session: Session) -> None:
    assert answer("trust") == {"session": "demo", "trust": "own"}
    invoke(["exec", "--", "true"], frontend="terminal")
    client = host_access.agent(session)
    assert client.trust == "own"
    assert answer("trust demo stranger")["was"] == "own"
    with Ledger.open() as ledger:
        found = ledger.find("demo")
        told = [event.detail for event in ledger.events(found.id) if event.kind == "trust"]
    assert found.trust == "stranger"
    assert told == ["own -> stranger, set by the user"]
    assert host_access.agent(found) is client
    assert client.trust == "stranger"
    assert answer("ps")[0]["trust"] == "stranger"
    assert answer("trust datacenter")["trust"] == "datacenter"
    for line in ("trust demo friend", "trust demo own more", "trust demo"):
        if line == "trust demo":
            assert answer(line)["trust"] == "datacenter"
            continue
        with pytest.raises(BadInput, match="trust"):
            invoke(line, frontend="terminal")


@pytest.mark.slow
def test_what_a_stranger_may_not_do_it_may_once_trusted(session: Session) -> None:
    invoke("trust stranger", frontend="terminal")
    with Ledger.open() as ledger:
        client = host_access.agent(ledger.find("demo"))
    from gpunb.output import show
    from tests.remote.conftest import Screen

    screen = Screen()
    show(client.run_cell("class Mine:\n    pass\nmine = Mine()\nprint('\\x1b]0;t\\x07hi')"), screen)
    assert screen.text() == "hi\n"
    with pytest.raises(VariableError, match="--trust"):
        get(client, ["mine"])


@pytest.mark.slow
def test_secrets_go_to_hosts_of_enough_trust(
    session: Session, monkeypatch: pytest.MonkeyPatch, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CANARY_TOKEN", CANARY)
    line = ["run", "--secret", "CANARY_TOKEN", "--shell", 'echo "len ${#CANARY_TOKEN} $CANARY_TOKEN"']
    result = invoke([*line, "--json"], frontend="terminal")
    shown = capsys.readouterr()
    assert f"len {len(CANARY)} ****" in shown.err
    assert CANARY not in shown.err + shown.out + json.dumps(result.data())
    invoke("trust stranger", frontend="terminal")
    with pytest.raises(WrongState, match="stranger") as caught:
        invoke(line, frontend="terminal")
    assert "secrets.min_trust" in str(caught.value)
    assert CANARY not in str(caught.value)
    monkeypatch.setenv("GPUNB_SECRETS__MIN_TRUST", "stranger")
    invoke(line, frontend="terminal")
    for words in (
        ["--secret", f"CANARY_TOKEN={CANARY}"],
        ["--secret", "A B"],
        ["--secret", "NOT_THERE_AT_ALL"],
    ):
        with pytest.raises(BadInput, match="--secret") as refused:
            invoke(["run", *words, "--shell", "true"], frontend="terminal")
        assert CANARY not in str(refused.value)
    # nothing that was written knows it: ledger, logs, receipts, the host's own disk but for what it printed
    known = [path for path in home.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert all(path.name == "journal" for path in known), known
