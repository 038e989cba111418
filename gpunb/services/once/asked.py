"""What `once` was asked for, in texts and numbers: the ledger keeps it for the process that goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.services import renting_flow
from gpunb.services.once import task as tasks
from gpunb.sessions.attempts.chain import MOST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.services.once.task import Task

__all__ = ["Asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The words of one `once`; as in `gpunb.services.once.task.task` and `gpunb.services.renting_flow.Wish`.

    Attributes
    ----------
    cwd
        The folder that it was typed in.
    checkpoint
        The folder that comes home while the run goes on; "" if it does not go on elsewhere.
    """

    cwd: str
    words: tuple[str, ...] = ()
    module: str | None = None
    is_command: bool = False
    save: tuple[str, ...] = ()
    requirements: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    output: str | None = None
    checkpoint: str = ""
    flags: Mapping[str, Any] = field(default_factory=dict)
    disk: str | None = None
    python: str | None = None
    image: str | None = None

    def plan(self) -> dict[str, Any]:
        """Itself as JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, plan: Mapping[str, Any]) -> Asked:
        """The words of `plan`, as `plan` has made them; lists are tuples again.

        Raises
        ------
        BadInput
            Another version of gpunb has written it, with a word that this one does not know.
        """
        known = {one.name for one in fields(cls)}
        if not isinstance(plan, dict) or set(plan) - known or "cwd" not in plan:
            msg = "what once was asked for can't be read in the ledger"
            raise BadInput(msg)
        values = {name: _tuples(value) for name, value in plan.items()}
        return cls(**{**values, "flags": {name: _tuples(one) for name, one in plan["flags"].items()}})

    def task(self, run_id: str) -> Task:
        """Check what is to run; the working folder must be `cwd`.

        Raises
        ------
        BadInput
            As `gpunb.services.once.task.task`.
        """
        return tasks.task(
            self.words,
            run_id=run_id,
            module=self.module,
            is_command=self.is_command,
            save=self.save,
            requirements=None if self.requirements is None else Path(self.requirements),
            env=self.env,
            secrets=self.secrets,
            values=self.values,
            output=self.output,
            checkpoint=self.checkpoint,
        )

    def wish(self, **more: Any) -> renting_flow.Wish:
        """The rental that it asks for; `more` are further fields."""
        inside = {} if self.image is None else {"image": self.image}
        before = ""
        if self.checkpoint:
            before = (
                f"If the machine is taken, the next one that fits is rented, up to {MOST} in all, one at a "
                f"time, within the same time and budget, and the run begins again from {self.checkpoint}"
            )
        return renting_flow.Wish(
            flags=self.flags, disk=self.disk, python=self.python, inside=inside, before=before, **more
        )


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
