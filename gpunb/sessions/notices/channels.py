"""The ways that a notice can go: the desktop, a webhook, the addresses of the apprise library."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError
from gpunb.hints import written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import SecretStr

    from gpunb.sessions.ledger.notices import Notice
    from gpunb.settings import NotifySettings

__all__ = ["NotSent", "channels", "send", "title"]

TIMEOUT_S = 15.0


class NotSent(GpunbError):
    """A notice could not be sent; the message never has the address, which may hold a secret."""


def channels(to: NotifySettings) -> list[str]:
    """The names of the channels that are set, "desktop", "webhook", "to:1" and so on."""
    out = ["desktop"] if to.desktop else []
    out += ["webhook"] if to.webhook is not None else []
    return [*out, *(f"to:{number}" for number, _ in enumerate(to.to, 1))]


def title(notices: Sequence[Notice]) -> str:
    """What stands above a message of these notices."""
    names = sorted({notice.session for notice in notices if notice.session})
    return "gpunb" + (f": {', '.join(names[:3])}{' …' if len(names) > 3 else ''}" if names else "")


def send(channel: str, to: NotifySettings, notices: Sequence[Notice]) -> None:
    """Send notices as one message.

    Raises
    ------
    NotSent
        The channel did not take it, or is not set any more.
    """
    text = "\n".join(_text(notice) for notice in notices)
    if channel == "desktop" and to.desktop:
        _desktop(title(notices), text)
    elif channel == "webhook" and to.webhook is not None:
        _webhook(to.webhook, text, notices)
    elif channel.startswith("to:") and int(channel[3:]) <= len(to.to):
        _apprise(to.to[int(channel[3:]) - 1], title(notices), text)
    else:
        msg = f"{channel} is not set any more"
        raise NotSent(msg)


def _text(notice: Notice) -> str:
    lines = [written(notice.text, "terminal"), *(f"| {line}" for line in notice.output.splitlines())]
    return "\n".join(lines)


def _desktop(head: str, text: str) -> None:
    if sys.platform == "darwin":
        script = "display notification (item 2 of argv) with title (item 1 of argv)"
        command = ["osascript", "-e", "on run argv", "-e", script, "-e", "end run", head, text]
    else:
        command = ["notify-send", "--app-name=gpunb", "--", head, text]
    if shutil.which(command[0]) is None:
        msg = f"notices on the desktop need {command[0]}, which is not there"
        raise NotSent(msg)
    try:
        ran = subprocess.run(
            command, timeout=TIMEOUT_S, check=False, capture_output=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        msg = f"{command[0]}: {type(err).__name__}"
        raise NotSent(msg) from err
    if ran.returncode:
        msg = f"{command[0]} ended with {ran.returncode}"
        raise NotSent(msg)


def _webhook(url: SecretStr, text: str, notices: Sequence[Notice]) -> None:
    import httpx

    body = {
        "title": title(notices),
        "text": text,
        "notices": [
            {
                "id": notice.key,
                "kind": notice.kind,
                "session": notice.session,
                "at": notice.at,
                "text": str(notice.text),
                **({"output": notice.output} if notice.output else {}),
            }
            for notice in notices
        ],
    }
    try:
        answer = httpx.post(url.get_secret_value(), json=body, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as err:  # its text may have the address
        msg = f"the webhook can't be reached: {type(err).__name__}"
        raise NotSent(msg) from None
    if not answer.is_success:
        msg = f"the webhook answers {answer.status_code}"
        raise NotSent(msg)


def _apprise(url: SecretStr, head: str, text: str) -> None:
    try:
        import apprise
    except ImportError:
        msg = "notify.to needs the apprise library"
        raise NotSent(msg, hint="pip install 'gpunb[notify]'") from None
    service = apprise.Apprise()
    address = url.get_secret_value()
    if not service.add(address):
        msg = f"apprise does not know the address {address.partition(':')[0]}://…"
        raise NotSent(msg, hint="its forms are in apprise's documentation")
    if not service.notify(body=text, title=head, body_format=apprise.NotifyFormat.TEXT):
        msg = f"{address.partition(':')[0]}://… did not take it"
        raise NotSent(msg)
