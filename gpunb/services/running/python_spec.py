"""``requires-python`` of a script (PEP 723): checked here before it costs, and on the host before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, RunError
from gpunb.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.remote import AgentClient

__all__ = ["check_host", "checked"]

MINORS = 40  # of Python 3 and 4 that a specification is tried on
PATCHES = 30
LOOK_S = 30.0
_VERSION = "import sys; print('%d.%d.%d' % sys.version_info[:3])"


def checked(script: Path, value: Any) -> str:
    """Check the value in a script's block; "" if there is none.

    Raises
    ------
    BadInput
        It is no version specifier (PEP 440), or no Python fits it.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if value is None:
        return ""
    field = f"{str(script)!r}: requires-python {value!r} in its block '# /// script'"
    example = "write it as '>=3.10' or '>=3.10,<3.13'"
    if not isinstance(value, str):
        msg = f"{field} must be a text"
        raise BadInput(msg, hint=example)
    try:
        spec = SpecifierSet(value)
    except InvalidSpecifier as err:
        msg = f"{field} must be a version specifier (PEP 440)"
        raise BadInput(msg, hint=example) from err
    minors = [f"{major}.{minor}" for major in (2, 3, 4) for minor in range(MINORS)]
    known = (f"{minor}.{patch}" for minor in minors for patch in range(PATCHES))
    if next(iter(spec.filter(known, prereleases=True)), None) is None:
        msg = f"{field} contradicts itself: no version of Python fits it"
        raise BadInput(msg, hint=example)
    return value


def check_host(client: AgentClient, wanted: str, name: str) -> None:
    """Refuse a host whose Python does not fit `wanted`.

    Raises
    ------
    RunError
        It does not fit, or can't be asked.
    """
    from packaging.specifiers import SpecifierSet

    from gpunb.ssh import quote

    if not wanted:
        return
    done = client.connection.run(quote([client.info.python, "-c", _VERSION]), timeout=LOOK_S)
    version = one_line(done.out.decode("utf-8", "replace"), 40).strip()
    try:
        fits = done.code == 0 and SpecifierSet(wanted).contains(version, prereleases=True)
    except ValueError:  # a stranger's host may say anything
        fits = False
    if not fits:
        msg = (
            f"{name} requires Python {wanted}, and the host's {client.info.python} is {version or 'unknown'}"
        )
        hint = "--python PATH names another one of the host's; --image takes a system that has it"
        raise RunError(msg, hint=hint)
