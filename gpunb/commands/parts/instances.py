"""Instances as reported by clouds: all of an account (``ps --account``), or one (``show --instance``)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, GpunbError
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Block, Cell, Fields, Note, Result, Table
from gpunb.providers.base import InstanceState
from gpunb.text import clean
from gpunb.units import hourly_text, price_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpunb.cli.context import Context
    from gpunb.providers import Instance
    from gpunb.sessions.model import Session

__all__ = ["Wanted", "facts", "instances"]

_FREE = {InstanceState.GONE, InstanceState.ENDING}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The filter of a list by clouds, kinds and states; empty is all."""

    clouds: frozenset[str]
    kinds: frozenset[str]
    states: frozenset[str]

    @classmethod
    def read(
        cls,
        context: Context,
        *,
        cloud: Sequence[str],
        kind: Sequence[str],
        state: Sequence[str],
        states: Iterable[str],
    ) -> Wanted:
        """Create the filter from the options; `states` are the values that ``--state`` allows.

        Raises
        ------
        BadInput
            A word is not a cloud, a kind or a state.
        """
        return cls(
            cls._clouds(context, cloud) if cloud else frozenset(),
            cls._kinds(kind) if kind else frozenset(),
            frozenset(_known("--state", state, {word: word for word in states})),
        )

    @staticmethod
    def _clouds(context: Context, given: Sequence[str]) -> frozenset[str]:
        from gpunb.services import searching  # the search's own modules, which a plain `ps` needs not

        return frozenset(searching.clouds(context, given))

    @staticmethod
    def _kinds(given: Sequence[str]) -> frozenset[str]:
        from gpunb.offers.language.fields import KINDS

        return frozenset(_known("--type", given, KINDS))

    @property
    def all(self) -> bool:
        """Whether nothing is filtered out."""
        return not (self.clouds or self.kinds or self.states)

    def has(self, session: Session) -> bool:
        """Whether `session` passes the filter."""
        return (
            (not self.clouds or session.provider in self.clouds)
            and (not self.kinds or session.offer.get("kind") in self.kinds)
            and (not self.states or not self.states.isdisjoint({session.state.value, session.cloud_state}))
        )


def _known(option: str, given: Sequence[str], known: dict[str, str]) -> set[str]:
    from gpunb.text import did_you_mean

    words = [word.strip().lower() for one in given for word in one.split(",") if word.strip()]
    for word in words:
        if word not in known:
            msg = f"ps {option} {word!r}: must be one of {', '.join(dict.fromkeys(known.values()))}"
            raise BadInput(msg, hint=did_you_mean(word, list(known)))
    return {known[word] for word in words}


def facts(context: Context, session: Session) -> Result:
    """The present facts of a session's instance as its cloud reports them."""
    provider = context.provider(session.provider)
    with context.progress(f"asking {provider.name}"):
        instance = provider.get(session.instance_id)
    created = time.strftime("%Y-%m-%d %H:%M", time.localtime(instance.created)) if instance.created else ""
    rows = [
        ("instance", instance.id),
        ("label", clean(instance.label)[:60]),
        (
            "state",
            f"{instance.state.value} ({clean(instance.raw_state)})"
            if instance.raw_state
            else instance.state.value,
        ),
        ("detail", clean(instance.message)),
        ("kind", instance.kind or str(session.offer.get("kind", ""))),
        ("image", instance.image),
        ("command", instance.command),
        ("SSH key", instance.ssh_key),
        (
            "address",
            f"{clean(instance.user)}@{clean(instance.host)} port {instance.port}" if instance.host else "",
        ),
        ("price", hourly_text(instance.usd_h) if instance.usd_h else ""),
        ("created", created),
        *((f"open to all: {name}", at) for name, at in sorted(instance.ports.items())),
    ]
    data = {
        "provider": session.provider,
        "session": session.name,
        "id": instance.id,
        "label": instance.label,
        "state": instance.state.value,
        "raw_state": instance.raw_state,
        "kind": instance.kind or session.offer.get("kind", ""),
        "image": instance.image,
        "command": instance.command,
        "ssh_key": instance.ssh_key,
        "host": instance.host,
        "port": instance.port,
        "user": instance.user,
        "usd_h": instance.usd_h,
        "created": instance.created,
        "ports": dict(instance.ports),
    }
    return Result(data, Fields([(name, value) for name, value in rows if value]))


def instances(context: Context, wanted: Wanted) -> Result:
    """List the instances of each cloud with a key, each with its session; gpunb ends only its own."""
    from gpunb.providers import keys, names

    used = {one.provider for one in context.ledger.sessions()}
    clouds = sorted(wanted.clouds or used | set(keys.asked(context.settings, names())))
    ours = {(one.provider, one.instance_id): one.name for one in context.ledger.sessions(alive=False)}
    rows: list[tuple[str, Instance]] = []
    notes: list[Block] = []
    with context.progress("instances") as progress:
        for name in clouds:
            progress.say(f"asking {name}")
            try:
                provider = context.provider(name)
                listed = (
                    [instance for kind in sorted(wanted.kinds) for instance in provider.of_kind(kind)]
                    if wanted.kinds
                    else provider.instances()
                )
                rows += [
                    (name, instance)
                    for instance in listed
                    if not provider.ended(instance)
                    and (not wanted.states or instance.state.value in wanted.states)
                ]
            except GpunbError as err:
                notes.append(Note(f"{name}: {err.message}; what it has is not known", "bad"))
    data: list[dict[str, Any]] = []
    cells = []
    for name, instance in rows:
        session = ours.get((name, instance.id), "")
        usd_h = instance.stopped_usd_h if instance.state is InstanceState.STOPPED else instance.usd_h
        data.append(
            {
                "provider": name,
                "id": instance.id,
                "label": instance.label,
                "state": instance.state.value,
                "kind": instance.kind,
                "usd_h": usd_h,
                "session": session,
            }
        )
        cells.append(
            [
                name,
                instance.id,
                Cell(session, "strong") if session else Cell("not of this gpunb", "warn"),
                clean(instance.label)[:60],
                instance.state.value,
                instance.kind,
                "" if instance.state in _FREE else price_text(usd_h),
            ]
        )
    heads = [
        Column("cloud"),
        Column("instance", wrap=True),
        Column("session", wrap=True),
        Column("label", drop=1, wrap=True),
        Column("state"),
        Column("kind", drop=2),
        Column("$/h", right=True),
    ]
    if not cells:
        none = f"{', '.join(clouds) or 'no cloud'}: no instances{'' if wanted.all else ' like that'}"
        return Result(data, *notes, Note(none, "dim"))
    text = "gpunb ends only what it rented; the others end on their cloud's page"
    return Result(data, Table(heads, cells), *notes, Note(text, "dim"), exit_code=1 if notes else 0)
