"""``notify``: where notices go, and a test of each place; never the address."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from support.webhook import SECRET, Hook

from gpunb import paths

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb


def test_notify_shows_the_places_and_sends_a_test(gpunb: Gpunb) -> None:
    assert "set a place" in gpunb("notify").out
    assert gpunb("notify", "test").code == 1
    with Hook() as hook:
        file = paths.config_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'[notify]\nwebhook = "{hook.url}"\n')
        ran = gpunb("notify", "test", "--json")
        assert ran.json == {"test": [{"channel": "webhook", "sent": True, "why": ""}]}
        assert [one["text"] for one in hook.bodies] == ["this is a test of gpunb's notices"]
        hook.status = 403
        ran = gpunb("notify", "test")
        assert ran.code == 1
        assert "webhook: not sent: the webhook answers 403" in ran.out
        shown = gpunb("config").out + gpunb("notify").out + ran.out + ran.err
        assert SECRET not in shown
        assert "notices go to: webhook" in shown


def test_notify_test_calls_the_supervisor_as_vast_would(gpunb: Gpunb) -> None:
    """The secret is shown nowhere; without a supervisor nothing is tried."""
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.notices.wakeups import WakeUps

    secret = "5f2c-of-vast-5f2c-of-vast"
    file = paths.config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket() as kept:  # it keeps the port; nothing listens there
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{kept.getsockname()[1]}"
        file.write_text(f'[notify]\nvast_secret = "{secret}"\nvast_listen = "{at}"\n')
        alone = gpunb("notify", "test")
        assert (alone.code, "while a supervisor runs" in alone.out) == (0, True), alone.out
        with Ledger.open() as ledger:
            ledger.lead("detached", 3600.0)
            nobody = gpunb("notify", "test")
            assert nobody.code == 1
            assert f"nothing takes them at {at}" in nobody.out
            bell = WakeUps(ledger.clock)
            try:
                bell.serve(on=True)
                ran = gpunb("notify", "test", "--json")
                assert (ran.code, ran.json) == (
                    0,
                    {"test": [{"channel": "vast", "sent": True, "why": ""}]},
                ), ran.out
                assert bell.taken() == {"vast"}
            finally:
                bell.close()
    shown = gpunb("notify")
    assert f"takes Vast.ai's webhooks at {at}" in shown.out
    assert gpunb("notify", "--json").json["vast_listen"] == at
    assert secret not in shown.out + gpunb("config").out + alone.out + nobody.out + nobody.err
