"""``notify``: where notices go, and a test of each place; never the address."""

from __future__ import annotations

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
