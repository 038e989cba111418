"""What `rent` says while a session starts, and what `show` keeps of it; a real local session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gpunb.progress import STEPS
from gpunb.ssh import Connection

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow


def test_the_wait_is_told_by_step_and_kept(gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    real = Connection.open.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Connection], endpoint: Any, **more: Any) -> Connection:
        made: Connection = real(cls, endpoint, **more)
        opened.append(endpoint)
        return made

    monkeypatch.setattr(Connection, "open", classmethod(counted))
    rented = gpunb("rent", "--name", "demo", "--for", "30m")
    assert rented.code == 0, rented.err
    assert len(opened) == 1, "one login is enough"
    events = gpunb("show", "demo", "--json").json["events"]
    (start,) = [one for one in events if one["kind"] == "start"]
    named = [part.rsplit(" ", 2)[0] for part in start["detail"].split("; ")[0].split(", ")]
    assert named == [name for name in STEPS if name in named], "each once, in their order"
    assert {"host key", "login", "python", "agent", "agent start", "kernel", "first cell"} <= set(named)
    assert "start" in gpunb("show", "demo").out
    assert start["detail"] in gpunb("show", "demo").out
    assert f"{STEPS['kernel']} (agent start: " in rented.err
    # the first cell of the user is the kernel's first, and no run is left of ours
    assert gpunb("runs", "--json").json == []
    assert gpunb("down", "demo", "--yes").code == 0


def test_a_kernel_that_cant_start_is_no_reason_to_end_the_machine(
    gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpunb.errors import RunError
    from gpunb.remote import AgentClient

    def broken(*_: Any, **__: Any) -> Any:
        msg = "the kernel ended before it answered"
        raise RunError(msg)

    monkeypatch.setattr(AgentClient, "kernel_request", broken)
    rented = gpunb("rent", "--name", "demo", "--for", "30m")
    assert rented.code == 0, rented.err
    shown = gpunb("show", "demo").out
    assert "no cell runs yet: the kernel ended before it answered" in shown
    assert gpunb("down", "demo", "--yes").code == 0
