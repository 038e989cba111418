"""Options of `rent` for the container or system: image, variables, ports, scripts, logins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunb import log
from gpunb.cli.command import CloudOption
from gpunb.errors import BadInput
from gpunb.presentation.result import Note
from gpunb.providers.machine import ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import SecretStr

    from gpunb.cli.context import Context
    from gpunb.providers import RegistryLogin

__all__ = ["NAMES", "ask_secret", "options", "read", "registry"]

#: The options' names, as `read` takes them.
NAMES = (
    "image",
    "env",
    "port",
    "onstart",
    "entrypoint",
    "start_command",
    "template",
    "registry_login",
    "ssh_key",
    "hostname",
)
#: The longest script; a longer one belongs in a file that is sent.
_MOST_SCRIPT = 16_384


def options(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a verb."""
    listed = [
        click.option(
            "--image", metavar="NAME", help="The container image or the system, as the cloud calls it."
        ),
        click.option(
            "-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set a variable on the machine."
        ),
        click.option(
            "--port",
            multiple=True,
            metavar="N[/udp]",
            cls=CloudOption,
            help="Open this port of the machine to the world; `show` says where (Vast, Fluence).",
        ),
        click.option(
            "--onstart",
            metavar="FILE",
            type=click.Path(),
            cls=CloudOption,
            help="Run this shell script at the start of the machine (not on Fluence).",
        ),
        click.option(
            "--entrypoint",
            metavar="COMMAND",
            cls=CloudOption,
            help="Run the image's own entrypoint beside SSH: the command that its page names, or auto, which"
            " reads it from the image's registry (Vast).",
        ),
        click.option(
            "--start-command",
            metavar="COMMAND",
            cls=CloudOption,
            help="Start this instead of the image's own command; SSH must come up all the same (Fluence).",
        ),
        click.option(
            "--template",
            metavar="ID|NAME",
            cls=CloudOption,
            help="Begin from this template (Vast) or default image (Fluence).",
        ),
        click.option(
            "--registry-login",
            metavar="[USER@]SERVER",
            help="Pull a private image; the password is asked for, or found where `docker login` kept it.",
        ),
        click.option(
            "--ssh-key",
            metavar="ID",
            cls=CloudOption,
            help="Let this SSH key of your account log in, too: its id in `keys` (Sesterce).",
        ),
        click.option(
            "--hostname",
            metavar="NAME",
            cls=CloudOption,
            help="What the machine calls itself; its host reads it, too (Vast).",
        ),
    ]
    for option in reversed(listed):
        fn = option(fn)
    return fn


def read(
    context: Context,
    *,
    image: str | None,
    env: tuple[str, ...],
    port: tuple[str, ...],
    onstart: str | None,
    entrypoint: str | None,
    start_command: str | None,
    template: str | None,
    registry_login: str | None,
    ssh_key: str | None,
    hostname: str | None,
) -> dict[str, Any]:
    """Convert the options to fields of `gpunb.sessions.lifecycle.RentRequest`; may ask for a password.

    Raises
    ------
    BadInput
        A port, a script or a login is malformed.
    """
    return {
        "image": image,
        "env": variables("rent", env),
        "ports": ports.wanted(port),
        "onstart": _script(onstart) if onstart is not None else "",
        "entrypoint": (entrypoint or "").strip(),
        "start_command": (start_command or "").strip(),
        "template": template or "",
        "ssh_key": (ssh_key or "").strip().removeprefix("ssh:"),
        "hostname": _hostname(hostname) if hostname is not None else "",
        "login": registry(context, "rent", registry_login) if registry_login is not None else None,
    }


def _hostname(given: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", given):
        msg = f"rent --hostname {given!r}: must be 1 to 63 letters, digits and -, no - at an end"
        raise BadInput(msg, bill="nothing was rented")
    return given


def _script(given: str) -> str:
    try:
        text = Path(given).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or err
        msg = f"rent --onstart {given!r}: can't be read: {reason}"
        raise BadInput(msg, bill="nothing was rented") from err
    if not text.strip() or len(text) > _MOST_SCRIPT or "\0" in text:
        msg = f"rent --onstart {given!r}: must be a shell script of 1 to {_MOST_SCRIPT} characters"
        raise BadInput(msg, bill="nothing was rented", hint="send the rest with sync and start it with run")
    return text


def registry(context: Context, verb: str, given: str, *, undone: str = "nothing was rented") -> RegistryLogin:
    """The registry login for ``[USER@]SERVER``, from where it is stored or by asking.

    Raises
    ------
    BadInput
        It is malformed, or the user can't be asked.
    """
    from gpunb.providers import RegistryLogin
    from gpunb.providers.machine import registries

    user, server = registries.split(verb, given, undone=undone)
    found = registries.find(server, user)
    if found is not None:
        context.tell(Note(f"{server}: {found[0]}, with the password from {found[1].source}", "dim"))
        return RegistryLogin(server=server, user=found[0], password=found[1].key)
    if not user:
        msg = f"{verb} --registry-login {server}: docker has no login for it, so name the user, too"
        raise BadInput(msg, bill=undone, hint=f"--registry-login USER@{server}")
    hint = f"set {registries.VARIABLE}, or docker login {server}"
    password = ask_secret(context, f"password of {user} at {server}", undone=undone, hint=hint)
    return RegistryLogin(server=server, user=user, password=password)


def ask_secret(context: Context, what: str, *, undone: str, hint: str) -> SecretStr:
    """Ask for a secret; it is not shown, and hidden in the log.

    Raises
    ------
    BadInput
        The user can't be asked here, or gave nothing.
    """
    from pydantic import SecretStr

    if not (context.interactive or (context.frontend == "notebook" and context.shell is not None)):
        msg = f"there is no terminal to ask for the {what}"
        raise BadInput(msg, bill=undone, hint=hint)
    import getpass

    text = getpass.getpass(f"{what} (not shown): ").strip()
    if not text:
        msg = f"no {what} was given"
        raise BadInput(msg, bill=undone)
    log.add_secret(text)
    return SecretStr(text)


def variables(verb_name: str, pairs: tuple[str, ...]) -> dict[str, str]:
    """Parse ``NAME=VALUE`` words to a mapping.

    Raises
    ------
    BadInput
        One is not of that form.
    """
    out = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            msg = f"{verb_name} --env {pair!r} is not NAME=VALUE"
            raise BadInput(msg)
        out[key] = value
    return out
