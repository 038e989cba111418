"""The search of all frontends: which clouds are asked, for what, and which offers were meant."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.hints import typed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.offers import Ranked, SearchResult
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = ["KeptHistory", "checked", "chosen", "clouds", "find", "further"]

# the options that `offers` and `rent` share, and whether they may be given several times
_FILTERS: dict[str, type] = {
    "gpu": tuple,
    "gpus": str,
    "vram": str,
    "max_price": str,
    "max_total": str,
    "cloud": tuple,
    "host": tuple,
    "region": tuple,
    "disk": str,
    "kind": tuple,
    "spot": bool,
    "reserved": bool,
    "verified": bool,
    "up": str,
    "down": str,
}


class KeptHistory:
    """History of earlier rentals, read from the ledger once."""

    def __init__(self, ledger: Ledger) -> None:
        from gpunb.offers.pricing import OWN_BOOT_S, Terms
        from gpunb.sessions.model import offer_from_dict

        self._failed: dict[tuple[str, str], int] = {}
        since = ledger.clock.time() - 14 * 86400.0
        for failure in ledger.failures(since=since):
            key = (failure.provider, failure.machine_id)
            self._failed[key] = self._failed.get(key, 0) + 1
        boots: dict[str, list[float]] = {}
        for session in ledger.sessions(alive=False):
            if session.ready and session.created:
                # the image's pull is predicted for each offer, and comes on top
                pulled = Terms().ready(offer_from_dict(session.offer)).image_s
                took = session.ready - session.created
                boots.setdefault(session.provider, []).append(max(OWN_BOOT_S, took - pulled))
        self._boots = {name: statistics.median(times[-20:]) for name, times in boots.items()}

    def failures(self, provider: str, machine_id: str, host_id: str) -> int:  # noqa: ARG002 - the protocol's names
        """Count failed rentals on that machine in the last two weeks."""
        return self._failed.get((provider, machine_id), 0) if machine_id else 0

    def boot_seconds(self, provider: str) -> float | None:
        """Median time of the last twenty boots there, in seconds."""
        return self._boots.get(provider)


def clouds(context: Workspace, asked: Sequence[str]) -> list[str]:
    """The names of the clouds to query.

    Raises
    ------
    BadInput
        One of them is not installed.
    """
    from gpunb.providers import keys, names
    from gpunb.text import did_you_mean

    wanted = [name.strip().lower() for given in asked for name in given.split(",") if name.strip()]
    source = "--cloud" if wanted else "the setting clouds"
    installed = names()
    wanted = wanted or keys.asked(context.settings, installed)
    if "all" in wanted:
        return installed
    for name in wanted:
        if name not in installed:
            msg = f"{source}: there is no cloud {name!r}; installed are {', '.join(installed)}"
            raise BadInput(msg, bill="nothing was rented", hint=did_you_mean(name, installed))
    return list(dict.fromkeys(wanted))


def _no_key() -> str:
    from gpunb.providers import keys, names

    others = ", ".join(sorted(set(names()) - {keys.LOCAL, keys.SSH, "vast"}))
    asked = "no cloud has a key yet, so only this computer is asked"
    return f"{asked}; " + typed("login vast") + f" adds one (or {others})"


def further(context: Workspace, asked: Sequence[str]) -> list[str]:
    """Hints on how to query clouds that are not among `asked`: an option, or a key."""
    from gpunb.providers import keys, names

    others = [name for name in names() if name not in asked and name not in {keys.LOCAL, keys.SSH}]
    keyed = [name for name in others if keys.has_key(context.settings, name)]
    keyless = [name for name in others if name not in keyed]
    out = [f"--cloud all asks {', '.join(keyed)} too"] if keyed else []
    if keyless:
        rest = f" (or {', '.join(keyless[1:])})" if keyless[1:] else ""
        out.append(typed("login", keyless[0]) + f"{rest} adds a cloud")
    return out


def find(
    context: Workspace, query: Sequence[str], *, length: float | None, limit: int | None, **flags: Any
) -> SearchResult:
    """Search the clouds for offers by the flags and the query text.

    Parameters
    ----------
    length
        Seconds of the rental; None is the setting.
    flags
        The values of the filter options: see `gpunb.offers.query_from_flags`, and ``cloud`` and ``host``.
    """
    from gpunb.offers import query_from_flags, search
    from gpunb.providers import keys

    settings = context.settings
    named, own = flags.pop("cloud", ()), flags.pop("host", ())
    if own:
        named = _with_own(context, named, own)
    asked = clouds(context, named)
    hours = settings.hours if length is None else length / 3600
    disk = flags.pop("disk", None)
    given = {name: value for name, value in flags.items() if value not in (None, (), False)}
    if own:  # a machine that is named may also be one without a GPU
        given.setdefault("gpus", "0..")
    disk = disk or f"{settings.disk_gb:g}"
    wanted = query_from_flags(" ".join(query), hours=hours, disk=disk, limit=limit, **given)
    if not named and asked == [keys.LOCAL] and keys.LOCAL not in settings.clouds:
        context.say((_no_key(), "warn"))
    with context.progress("offers") as progress:
        waiting = set(asked)
        progress.say(f"asking {', '.join(sorted(waiting))}")

        def answered(answer: Any) -> None:
            waiting.discard(answer.provider)
            if waiting:
                progress.say(f"waiting for {', '.join(sorted(waiting))}")

        return search(
            {
                provider.name: provider
                for provider in (context.clouds(asked) if not named else map(context.provider, asked))
            },
            wanted,
            on_answer=answered,
            history=KeptHistory(context.ledger),
        )


def _with_own(context: Workspace, clouds: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    """Narrow the search to machines of the user's own; returns the clouds to ask.

    Raises
    ------
    BadInput
        Other clouds were named too, or a machine's address is none.
    """
    from gpunb.providers import keys
    from gpunb.providers.features import OwnHosts, feature

    if set(clouds) - {keys.SSH}:
        msg = f"--host {own[0]!r} is a machine of your own, and --cloud names {', '.join(clouds)}"
        raise BadInput(msg, bill="nothing was rented", hint="leave one of them out")
    feature(context.provider(keys.SSH), OwnHosts).only(own)
    return (keys.SSH,)


def chosen(rows: Sequence[Ranked], wanted: str, *, whole: bool = False) -> list[Ranked]:
    """The rows whose offer has the id `wanted`, or the only one whose id begins with it.

    Parameters
    ----------
    whole
        Whether a prefix is refused: where the user does not see the offer before it is rented.

    Raises
    ------
    BadInput
        Several offers begin so, or one does and its whole id is needed.
    """
    exact = [row for row in rows if row.offer.id == wanted]
    start = wanted.rstrip("…")
    near = [row for row in rows if start and row.offer.id.startswith(start)]
    if not exact and len({(row.offer.provider, row.offer.id) for row in near}) > 1:
        ids = ", ".join(f"{row.offer.provider} {row.offer.id}" for row in near[:5])
        msg = f"rent --offer {wanted!r} begins {len(near)} ids: {ids}"
        raise BadInput(msg, bill="nothing was rented", hint="type more of it")
    if whole and near and not exact:
        offer = near[0].offer
        msg = f"rent --offer {wanted!r} is only the beginning of {offer.id} at {offer.provider}"
        hint = f"with --yes no question shows which one is meant, so type the whole id: --offer {offer.id}"
        raise BadInput(msg, bill="nothing was rented", hint=hint)
    return exact or near


def checked(verb: str, filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return filters that `verb` was called with in Python as the options of `offers` give them.

    Raises
    ------
    BadInput
        There is no such filter, or its value is of no use.
    """
    from gpunb.text import did_you_mean

    out: dict[str, Any] = {}
    for name, value in filters.items():
        if name not in _FILTERS:
            msg = f"{verb}: there is no filter {name!r}; there are {', '.join(_FILTERS)}"
            raise BadInput(msg, hint=did_you_mean(name, list(_FILTERS)))
        kind = _FILTERS[name]
        if kind is bool:
            fits, rule = isinstance(value, bool), "True or False"
            out[name] = value
        else:
            several = list(value) if kind is tuple and isinstance(value, (list, tuple)) else [value]
            fits = all(isinstance(one, (str, int, float)) and not isinstance(one, bool) for one in several)
            rule = "a text or a number" + (", or a list of them" if kind is tuple else "")
            texts = [str(one) for one in several]
            out[name] = tuple(texts) if kind is tuple else texts[0]
        if not fits:
            msg = f"{verb}: {name}={value!r} must be {rule}"
            raise BadInput(msg)
    return out
