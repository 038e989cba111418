"""What clouds show beside offers: their images, templates, and what renters reported of a machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gpunb.commands import market
from gpunb.commands.result import Cell, Note, Result, Table, clean
from gpunb.errors import BadInput
from gpunb.presentation.columns import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.commands.context import Context

__all__ = ["shown"]


def shown(
    context: Context, named: Sequence[str], *, images: bool, templates: str | None, machine: str | None
) -> Result:
    """One of the three, from the cloud that has it.

    Raises
    ------
    BadInput
        Several are asked for.
    """
    if images + (templates is not None) + (machine is not None) > 1:
        msg = "offers --images, --templates, --reports: one of them"
        raise BadInput(msg)
    if images:
        return _images(_cloud(context, named, "fluence", "default_images", "list images of its own"))
    if templates is not None:
        cloud = _cloud(context, named, "vast", "templates", "list templates")
        return _templates(cloud, templates)
    cloud = _cloud(context, named, "vast", "machine_reports", "show what renters reported")
    return _reports(cloud, machine or "")


def _cloud(context: Context, named: Sequence[str], usual: str, method: str, what: str) -> Any:
    names = market.clouds(context, named) if named else [usual]
    for name in names:
        provider = context.provider(name)
        if hasattr(provider, method):
            return provider
    return context.provider(names[0]).refuse(what)


def _images(cloud: Any) -> Result:
    rows = [row for row in cloud.default_images() if isinstance(row, dict)]
    heads = [
        Column("image", wrap=True),
        Column("ports", drop=1, wrap=True),
        Column("variables", drop=2, wrap=True),
    ]
    cells = []
    for row in rows:
        ports = row.get("expose") or row.get("ports") or []
        env = row.get("environment") or []
        cells.append(
            [
                Cell(clean(row.get("image") or row.get("name") or row.get("slug"))[:120], "strong"),
                ", ".join(clean(one.get("port") if isinstance(one, dict) else one)[:12] for one in ports),
                ", ".join(clean(one.get("name") if isinstance(one, dict) else one)[:40] for one in env),
            ]
        )
    note = Note(
        "gpunb rent --cloud fluence --template NAME takes one with its ports, variables and command;"
        " any other --image that runs SSH will do",
        "dim",
    )
    return Result(rows, Table(heads, cells) if cells else Note("no images", "dim"), note)


def _templates(cloud: Any, word: str) -> Result:
    found = [one for one in cloud.templates() if word.lower() in f"{one.id} {one.name} {one.image}".lower()]
    heads = [
        Column("id", wrap=True),
        Column("name", wrap=True),
        Column("image", drop=1, wrap=True),
        Column("disk GB", right=True, drop=2),
    ]
    cells = [
        [
            Cell(clean(one.id)[:64], "strong"),
            clean(one.name)[:80],
            clean(one.image)[:120],
            f"{one.disk_gb:g}" if one.disk_gb else "",
        ]
        for one in found
    ]
    data = [{"id": row[0].text, "name": row[1], "image": row[2]} for row in cells if isinstance(row[0], Cell)]
    if not cells:
        return Result(data, Note(f"{cloud.title} has no template with {word!r} in its name", "dim"))
    return Result(data, Table(heads, cells), Note("gpunb rent --template ID begins from one", "dim"))


def _reports(cloud: Any, machine: str) -> Result:
    found = cloud.machine_reports(machine)
    data = [{"problem": one.problem, "message": one.message, "created_at": one.created_at} for one in found]
    if not found:
        return Result(data, Note(f"nobody reported machine {machine} lately", "ok"))
    cells = []
    for one in found:
        at = one.created_at
        when = time.strftime("%Y-%m-%d", time.localtime(at)) if isinstance(at, float) else clean(at)[:20]
        cells.append([when, Cell(clean(one.problem)[:80], "warn"), clean(one.message)[:300]])
    heads = [Column("when", drop=1), Column("problem", wrap=True), Column("what they say", wrap=True)]
    return Result(data, Table(heads, cells))
