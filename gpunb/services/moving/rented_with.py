"""What a session was rented with beside its machine: variables, volumes, options that are not repeated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.services.moving import terms
from gpunb.sessions.model import IntentState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpunb.services.moving.terms import Target
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = ["RentedWith", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RentedWith:
    """Options of a session's rental, as far as its ledger entry has them.

    Attributes
    ----------
    env
        Variables of the machine.
    withheld
        Names of variables whose values are not recorded, since they look like secrets; None if the
        rental's variables are not recorded at all.
    volumes
        Ids of the volumes; each with its mount path, "" where the cloud chose it.
    further
        Options that a move does not repeat.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    withheld: Sequence[str] | None = ()
    volumes: Mapping[str, str] = field(default_factory=dict)
    further: Sequence[str] = ()

    @property
    def places(self) -> list[str]:
        """Where the volumes are mounted, as far as known."""
        return [path for path in self.volumes.values() if path]

    def mounts(self) -> list[str]:
        """The volumes as `gpunb.services.renting_flow.Wish` takes them."""
        # where the cloud chooses the path, it chooses the same one again, whatever is asked for
        return [f"{volume}:{path or '/volume'}" for volume, path in self.volumes.items()]

    def check(self, session: Session, target: Target) -> None:
        """Refuse a cloud that can't mount the volumes, before anything is rented.

        Raises
        ------
        BadInput
            None of the clouds that are asked has them.
        """
        asked = terms.clouds(session, target)
        if not self.volumes or not target.volumes or {session.provider, "all"} & set(asked):
            return
        shown = ", ".join(f"{volume} at {path}" if path else volume for volume, path in self.volumes.items())
        msg = f"move: {session.name} has volumes that only {session.provider} can mount: {shown}"
        hint = typed("move", session.name, "--no-volumes") + " leaves them where they are, billed on"
        raise BadInput(msg, bill="nothing was rented", hint=hint)

    def left(self, target: Target) -> dict[str, str]:
        """What the new machine lacks of it: its name, and why."""
        lost = sorted({*(self.withheld or ())} - {*target.env})
        left = {name: f"its value is not recorded, for it may be a secret (-e {name}=…)" for name in lost}
        if self.withheld is None and not target.env:
            left["variables of the machine"] = "this rental's are not recorded (-e NAME=VALUE)"
        if not target.volumes:
            left.update(dict.fromkeys(self.volumes, "it stays where it is, and is billed on"))
        return {**left, **{f"--{option}": "a move does not repeat it" for option in self.further}}

    def words(self, target: Target) -> Iterator[str]:
        """What a yes has to know of them."""
        kept = sorted({*self.env, *target.env})
        if kept:
            yield f"it gets the variables {', '.join(kept)}"
        if self.volumes and target.volumes:
            yield f"it gets the volumes {', '.join(self.volumes)}"
        for name, why in self.left(target).items():
            yield f"it lacks {name}: {why}"


def read(ledger: Ledger, session: Session) -> RentedWith:
    """Read it from the create call that the session's instance came of."""
    calls = [intent for intent in ledger.intents(session.id) if intent.state is IntentState.ANSWERED]
    if not calls:
        return RentedWith()
    summary = max(calls, key=lambda intent: intent.sent).summary
    env: dict[str, str | None] = summary.get("env") or {}
    mounts: dict[str, str] = summary.get("mounts") or {}
    return RentedWith(
        env={name: value for name, value in env.items() if value is not None},
        withheld=[name for name, value in env.items() if value is None] if "env" in summary else None,
        volumes={volume: mounts.get(volume, "") for volume in summary.get("volumes") or ()},
        further=summary.get("further") or (),
    )
