"""Settings written into the user's own file, the rest of which stays as it is, comments included."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gpunb import paths, settings
from gpunb.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["write"]


def write(changes: Mapping[str, Any]) -> None:
    """Put top-level settings into the user's file; None takes one out.

    Raises
    ------
    SettingsError
        A value breaks its rule, or the file can't be read, written or kept whole.
    """
    settings.load({name: value for name, value in changes.items() if value is not None})
    file = paths.config_file()
    try:
        text = file.read_text("utf-8") if file.exists() else ""
        changed = _changed(text, changes)
        wanted = {name: value for name, value in changes.items() if value is not None}
        found = settings.tomllib.loads(changed)
        if any(found.get(name) != value for name, value in wanted.items()):
            msg = f"{file} is written in a way that can't be changed here"
            raise SettingsError(msg, bill="nothing was changed", hint="change it in an editor")
        before = {key: value for key, value in settings.tomllib.loads(text).items() if key not in changes}
        if {key: value for key, value in found.items() if key not in changes} != before:
            msg = f"{file} is written in a way that can't be changed here"
            raise SettingsError(msg, bill="nothing was changed", hint="change it in an editor")
        paths.private_dir(file.parent)
        paths.write_private(file, changed)
    except (OSError, ValueError) as err:
        msg = f"{file} can't be changed: {err}"
        raise SettingsError(msg, bill="nothing was changed", hint="change it in an editor") from err


def _changed(text: str, changes: Mapping[str, Any]) -> str:
    lines = text.splitlines()
    end = next((index for index, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    head = [line for line in lines[:end] if line.split("=")[0].strip().strip("\"'") not in changes]
    while head and not head[-1].strip():
        head.pop()
    head += [f"{name} = {_value(value)}" for name, value in changes.items() if value is not None]
    rest = lines[end:]
    return "\n".join([*head, *([""] if head and rest else []), *rest]) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(one) for one in value)}]"
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    # JSON's escapes are TOML's, but for DEL
    return json.dumps(str(value)).replace("\x7f", "\\u007f")
