"""The workspace of all verbs and frontends: ledger, settings, clouds and hosts' agents.

A `Workspace` has no user interface. Each frontend brings its own as a subclass: how it shows
progress, shows messages, and asks.
"""

from __future__ import annotations

import contextlib
import os
from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.errors import (
    ConfirmationNeeded,
    GpunbError,
    LedgerError,
    ProviderError,
    SessionAmbiguous,
    WrongState,
)
from gpunb.hints import Frontend, typed
from gpunb.progress import SILENT
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.text import clean
from gpunb.units import hourly_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from typing_extensions import Self

    from gpunb.progress import Progress
    from gpunb.providers import Provider
    from gpunb.remote import AgentClient
    from gpunb.services.confirmations import Question
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session
    from gpunb.settings import Settings

__all__ = ["Workspace"]

STARTED = "no supervisor was alive to end sessions when their lease is over; one is started"
ANSWER_S = 5.0  # an agent that is silent for this long is tried through a new connection


class Workspace:
    """The context of one call: ledger, settings, clouds and agents, without a user interface.

    Parameters
    ----------
    frontend
        "terminal" or "notebook": how the next command is written, and whose sessions are the default.
    shell
        The notebook's IPython shell, for variables and displays.
    """

    def __init__(self, frontend: Frontend = "terminal", shell: Any = None) -> None:
        self.frontend: Frontend = frontend
        self.shell = shell
        self.as_json = False
        self.reads = False  # the verb changes nothing, so a prefix of a name is accepted
        self._ledger: Ledger | None = None
        self._providers: dict[str, Provider] = {}
        self.agreed = False  # whether the user has confirmed: from then on something may have been done
        self.started = False  # whether this call has started a supervisor
        self._told: set[str] = set()  # the supervisor warnings that it has shown

    # -- life ----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def renew(self, name: str) -> None:
        """Discard the client of the cloud `name`; the next use creates one, perhaps with another key."""
        provider = self._providers.pop(name, None)
        if provider is not None:
            provider.close()

    def close(self) -> None:
        """Close the ledger and providers of this call. Connections stay: they belong to the process."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None
        for provider in self._providers.values():
            provider.close()
        self._providers.clear()

    # -- the parts below -----------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        """The ledger, opened at the first use."""
        if self._ledger is None:
            from gpunb.sessions.ledger.sessions import Ledger

            self._ledger = Ledger.open()
        return self._ledger

    @property
    def opened(self) -> Ledger | None:
        """The ledger, if this call has used it."""
        return self._ledger

    @property
    def settings(self) -> Settings:
        """The settings that hold in the working folder."""
        from gpunb import settings

        result = settings.load()
        log.set_level(result.log_level)
        return result

    def provider(self, name: str) -> Provider:
        """The provider called `name`, configured by the settings."""
        if name not in self._providers:
            from gpunb.providers import ProviderConfig, provider_class

            self._same_world()
            made = provider_class(name)
            settings = self.settings
            table = settings.provider(name)
            if made.needs_key and name not in settings.simulated:
                from gpunb.providers import keys

                # order: the cloud's own variable, the settings, the key stored by login
                if table["key"] is None or os.environ.get(keys.variable(name), "").strip():
                    key = keys.find(name)
                    table["key"] = key.key if key is not None else None
            try:
                self._providers[name] = made(ProviderConfig(**table))
            except GpunbError:
                raise
            except ANY as err:  # a plug-in's own
                msg = f"{name} can't be set up: {words(err)}"
                raise ProviderError(msg, provider=name, hint=typed("doctor")) from err
        return self._providers[name]

    def clouds(self, names: Iterable[str]) -> list[Provider]:
        """The providers of `names` that can be configured; each other one gives a warning."""
        result = []
        for name in names:
            try:
                result.append(self.provider(name))
            except GpunbError as err:  # noqa: PERF203 - each cloud for itself
                self.say((clean(f"{name}: {err.message}"), "warn"))
        return result

    def _same_world(self) -> None:
        """Refuse to look for real instances in simulated clouds, and the reverse."""
        from gpunb import paths

        if self._ledger is not None and self._ledger.path != paths.ledger_file():
            msg = "a simulation was started or ended since this began; its sessions are not the real ones"
            raise WrongState(
                msg,
                bill="nothing was changed",
                hint=typed("ps") + " shows the sessions; then type the verb again",
            )

    def session(self, name: str | None) -> Session:
        """The session called `name`; with None the only live one, or the one rented here.

        For a verb that only reads also one that has ended, or whose name begins so. Where several fit, a
        terminal asks, and proposes the one that was rented there last.

        Raises
        ------
        SessionNotFound, SessionOver, SessionAmbiguous
            None or several fit; the message says which there are.
        """
        if name is not None:
            return self.ledger.look_up(name) if self.reads else self.ledger.one(name)
        try:
            return self.ledger.one(here=self.renter())
        except SessionAmbiguous as err:
            if self.frontend != "terminal" or not self.can_ask:
                raise
            text = f"{err.message} {f'[{err.proposed}] ' if err.proposed else ''}"
            given = self._answer(text).strip() or err.proposed
            if not given:
                raise
            return self.ledger.one(given)

    def renter(self) -> list[str]:
        """The marks of this notebook or shell, by which its own sessions are found."""
        from gpunb.sessions.access import renter

        return renter.marks(notebook=self.frontend == "notebook")

    def agent(self, session: Session) -> AgentClient:
        """The agent on the session's host, connected and answering (kept for the process).

        Raises
        ------
        HostError
            The host can't be reached now; states what that means for the bill.
        """
        from gpunb.errors import HostError
        from gpunb.sessions.access import host_access

        self.watch()  # a supervisor that died since the notebook began is started again
        try:
            with self.progress(f"connecting to {session.name}") as progress:
                client = host_access.agent(session, progress=progress)
                return client if self._answers(client, session) else self._anew(session, progress)
        except HostError as err:
            if err.bill is None:
                price = hourly_text(session.hourly)
                err.bill = f"{session.name} is billed ({price}) until it is down or its lease ends"
            err.hint = err.hint or (
                typed("show", session.name) + " tells more; " + typed("down", session.name) + " ends it"
            )
            raise

    def _answers(self, client: AgentClient, session: Session) -> bool:
        """Whether the agent answers when it is sent the ledger's lease, which it may have missed."""
        from gpunb.errors import Unreachable
        from gpunb.sessions.access import host_access

        try:
            host_access.arm(client, self.ledger.get(session.id), timeout=ANSWER_S)
        except Unreachable:
            return False
        return True

    @staticmethod
    def _anew(session: Session, progress: Progress) -> AgentClient:
        """Replace a silent connection; raises if the host does not answer either."""
        from gpunb.sessions.access import host_access
        from gpunb.ssh import probe

        progress.say("the line is silent; trying a new one")
        probe(host_access.endpoint(session))
        host_access.drop(session.id)
        return host_access.agent(session, progress=progress)

    # -- supervision of leases -----------------------------------------------------------------

    def watch(self) -> None:
        """Make sure that a supervisor watches the live sessions, or warn that none does. Never fails."""
        from gpunb import paths
        from gpunb.sessions.ledger import peek

        with contextlib.suppress(OSError):
            file = paths.ledger_file()
            if not file.exists() or peek.watched(file):
                return
            self._say_who_watches()

    def _say_who_watches(self) -> None:
        from gpunb.sessions.supervisor import watchers

        lines: list[tuple[str, str]] = []
        try:
            if self.started:
                lines = [("WARNING: " + line, "bad") for line in watchers.died()]
            elif watchers.ensure(self.ledger, able=self._able):
                self.started = True
                lines = [(STARTED, "warn")]
            else:
                lines = [("WARNING: " + line, "bad") for line in watchers.unwatched(self.ledger)]
        except LedgerError as err:
            log.get(__name__).error("it can't be seen who watches the leases: %s", err)
        except GpunbError as err:
            lines = [(f"WARNING: nothing watches the leases: {err.message}; " + (err.hint or ""), "bad")]
        fresh = [line for line in lines if line[0] not in self._told]
        self._told.update(text for text, _ in lines)
        if fresh and not self.as_json:
            self.say(*fresh)

    def _able(self, name: str) -> bool:
        """Whether the cloud called `name` can be used from this process."""
        try:
            self.provider(name).check()
        except Exception as err:  # noqa: BLE001 - a plug-in may raise anything
            log.get(__name__).info("%s can't be used from here either: %s", name, err)
            return False
        return True

    # -- the frontend, which a subclass has --------------------------------------------------------

    @property
    def interactive(self) -> bool:
        """Whether the user can answer a question in this terminal."""
        return False

    @property
    def can_ask(self) -> bool:
        """Whether the user can answer a question: at a terminal, or in a notebook's frontend."""
        return False

    def say(self, *lines: tuple[str, str]) -> None:
        """Show messages before the result: texts, each with its style (`Note.style`)."""
        for text, tone in lines:
            log.get(__name__).log(WARNING if tone in {"warn", "bad"} else INFO, "%s", text)

    def offer(self, text: str, name: str, words: Sequence[str]) -> None:  # noqa: ARG002 - nothing is shown
        """Show a message; `name` is what a button says that runs the command `words`."""
        self.say((text, "warn"))

    def show_agreed(self, question: Question) -> None:
        """Show what a yes that was given beforehand is for."""

    def progress(self, title: str) -> AbstractContextManager[Progress]:  # noqa: ARG002 - nothing is shown
        """A context manager that shows progress."""
        return contextlib.nullcontext(SILENT)

    def confirm(self, question: Question, *, yes: bool) -> bool:
        """Ask for confirmation by `gpunb.services.confirmations.confirmed`; returns whether to go on.

        Raises
        ------
        ConfirmationNeeded
            It must be asked, and no answer can be given here.
        """
        from gpunb.services.confirmations import confirmed

        answer = confirmed(question, self, yes=yes)
        self.agreed = self.agreed or answer
        return answer

    def put(self, question: Question) -> bool:
        """Ask the user; only "y" or "yes" is a yes."""
        raise ConfirmationNeeded(question.text)

    def _answer(self, prompt: str) -> str:  # noqa: ARG002 - nobody types here
        """Read the user's answer after `prompt`; "" at the end of input."""
        return ""
