"""Writing settings to the user's file, keeping comments, blank lines and order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb import paths, settings
from gpunb.errors import SettingsError
from gpunb.settings.files import tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["write"]


def write(changes: Mapping[str, Any], table: Sequence[str] = ()) -> None:
    """Write settings to the user's file; None removes one.

    Parameters
    ----------
    changes
        The settings by name. Those outside a table must keep their rules (`gpunb.settings.load`).
    table
        Where they belong: ``("providers", "vast")`` for ``[providers.vast]``; made if it is not there.

    Raises
    ------
    SettingsError
        A value breaks its rule, or the file can't be read, written or kept whole. It is as it was.
    """
    if not table:
        settings.load({name: value for name, value in changes.items() if value is not None})
    file = paths.config_file()
    try:
        raw = file.read_bytes().decode("utf-8") if file.exists() else ""
        text = raw.replace("\r\n", "\n")
        changed = _changed(text, changes, table)
        if _filled(tomllib.loads(changed)) != _filled(_wanted(text, changes, table)):
            msg = "it is written in a way that can't be changed here"
            raise ValueError(msg)  # noqa: TRY301 - one way out for all that may be wrong with a file
        if "\r\n" in raw:
            changed = changed.replace("\n", "\r\n")
        paths.private_dir(file.parent)
        paths.write_private(file.resolve(), changed)  # a symbolic link to the file stays one
    except (OSError, ValueError, TypeError) as err:
        why = err.strerror or err if isinstance(err, OSError) else err
        msg = f"{file} can't be changed: {why}"
        raise SettingsError(msg, bill="nothing was changed", hint=_by_hand(changes, table)) from err


def _changed(text: str, changes: Mapping[str, Any], table: Sequence[str]) -> str:
    import tomlkit

    document = tomlkit.parse(text if text.endswith("\n") or not text else f"{text}\n")
    inside: Any = document
    for name in table:
        if name not in inside:
            inside[name] = tomlkit.table(is_super_table=name != table[-1])
        inside = inside[name]
    new = {}
    for name, value in changes.items():
        if value is None:
            inside.pop(name, None)
        elif name in inside:
            inside[name] = value
        else:
            new[name] = value
    _append(inside, new)
    return document.as_string()


def _append(inside: Any, new: Mapping[str, Any]) -> None:
    """Append settings after the existing ones, and before the comment above the next table."""
    import tomlkit
    from tomlkit.items import AoT, Comment, Table, Whitespace

    if not isinstance(inside, (tomlkit.TOMLDocument, Table)):  # {inline = 1}, or a table in several places
        inside.update(new)
        return
    body = (inside.value if isinstance(inside, Table) else inside).body
    tables = (
        index
        for index, (key, item) in enumerate(body)
        if isinstance(item, (Table, AoT)) and key is not None and not key.is_dotted()
    )
    at = next(tables, len(body))
    while at and isinstance(body[at - 1][1], Comment):
        at -= 1
    while at and isinstance(body[at - 1][1], Whitespace):
        at -= 1
    rows: list[Any] = [(tomlkit.key(name), tomlkit.item(value)) for name, value in new.items()]
    if rows and at < len(body) and not isinstance(body[at][1], Whitespace):
        rows.append((None, tomlkit.nl()))
    body[at:at] = rows


def _wanted(text: str, changes: Mapping[str, Any], table: Sequence[str]) -> dict[str, Any]:
    """The values that the file must have afterwards."""
    out: dict[str, Any] = tomllib.loads(text)
    inside = out
    for name in table:
        inside = inside.setdefault(name, {})
    for name, value in changes.items():
        if value is None:
            inside.pop(name, None)
        else:
            inside[name] = value
    return out


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    """The values without empty tables: the last one of a table may go with its heading."""
    inner = {name: _filled(one) if isinstance(one, dict) else one for name, one in values.items()}
    return {name: one for name, one in inner.items() if one != {}}


def _by_hand(changes: Mapping[str, Any], table: Sequence[str]) -> str:
    import tomlkit

    named = {name: value for name, value in changes.items() if value is not None}
    lines = ", ".join(tomlkit.dumps({name: value}).strip() for name, value in named.items())
    where = f" under [{'.'.join(table)}]" if table else ""
    return f"in an editor, write{where}: {lines}" if lines else "change it in an editor"
