"""What every verb is given: the door it came through, and the parts below it, opened when asked for."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Literal

from gpunb import log
from gpunb.errors import BadInput, GpunbError, LedgerError, ProviderError, SessionAmbiguous, WrongState
from gpunb.sessions.trouble import ANY, words
from gpunb.units import hourly_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from gpunb.commands.progress import Shown
    from gpunb.progress import Progress
    from gpunb.providers import Provider
    from gpunb.remote import AgentClient, Sink
    from gpunb.services.confirmations import Question
    from gpunb.sessions.ledger import Ledger
    from gpunb.sessions.model import RunNote, Session
    from gpunb.settings import Settings

__all__ = ["Context", "Door", "known_runs", "known_sessions"]

Door = Literal["terminal", "notebook"]
STARTED = "no supervisor was alive to end sessions when their lease is over; one is started"
ANSWER_S = 5.0  # an agent that is silent for so long is asked through a new connection


class Context:
    """One call of one verb.

    Parameters
    ----------
    door
        "terminal" or "notebook".
    shell
        The notebook's IPython shell, for variables and displays.
    """

    def __init__(self, door: Door, shell: Any = None) -> None:
        self.door: Door = door
        self.shell = shell
        self.verbosity = 0
        self.as_json = False
        self.reads = False  # the verb changes nothing, so the beginning of a name will do
        self._ledger: Ledger | None = None
        self._providers: dict[str, Provider] = {}
        self.agreed = False  # to what it costs or ends: from then on something may have been done
        self.started = False  # whether this call has started a supervisor
        self._told: set[str] = set()  # what it has said of who watches

    # -- life ----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start_log(self) -> None:
        """Write to the log file from here on, as loud as ``-v`` says."""
        log.setup(self.verbosity)

    def renew(self, name: str) -> None:
        """Set the cloud called `name` up anew when it is asked for next: its key may be another by now."""
        found = self._providers.pop(name, None)
        if found is not None:
            found.close()

    def close(self) -> None:
        """Close what this call opened. Connections stay: they belong to the process."""
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
            from gpunb.sessions.ledger import Ledger

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

        found = settings.load()
        log.set_level(found.log_level)
        return found

    def provider(self, name: str) -> Provider:
        """The cloud called `name`, set up as the settings say."""
        if name not in self._providers:
            from gpunb.providers import ProviderConfig, provider_class

            self._same_world()
            made = provider_class(name)
            settings = self.settings
            table = settings.provider(name)
            if made.needs_key and name not in settings.simulated:
                from gpunb.providers import keys

                # the cloud's own variable beats the settings, and they what login has stored
                if table["key"] is None or os.environ.get(keys.variable(name), "").strip():
                    found = keys.find(name)
                    table["key"] = found.key if found is not None else None
            try:
                self._providers[name] = made(ProviderConfig(**table))
            except GpunbError:
                raise
            except ANY as err:  # a plug-in's own
                msg = f"{name} can't be set up: {words(err)}"
                raise ProviderError(msg, provider=name, hint="gpunb doctor") from err
        return self._providers[name]

    def clouds(self, names: Iterable[str]) -> list[Provider]:
        """Those of `names` that can be set up; each other one is told, and hides none of them."""
        from gpunb.commands.result import Note, clean

        found = []
        for name in names:
            try:
                found.append(self.provider(name))
            except GpunbError as err:  # noqa: PERF203 - each cloud for itself
                self.tell(Note(clean(f"{name}: {err.message}"), "warn"))
        return found

    def _same_world(self) -> None:
        """Refuse to look for real instances in simulated clouds, and the other way round."""
        from gpunb import paths

        if self._ledger is not None and self._ledger.path != paths.ledger_file():
            msg = "a simulation was started or ended since this began; its sessions are not the real ones"
            raise WrongState(msg, bill="nothing was changed", hint="gpunb ps, and the verb again")

    def session(self, name: str | None) -> Session:
        """The session called `name`; with None the only live one, or the one that was rented here.

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
            if self.door != "terminal" or not self.can_ask:
                raise
            text = f"{err.message} {f'[{err.proposed}] ' if err.proposed else ''}"
            given = self._answer(text).strip() or err.proposed
            if not given:
                raise
            return self.ledger.one(given)

    def renter(self) -> list[str]:
        """The marks of this notebook or shell: what it has rented is its own."""
        from gpunb.sessions import renter

        return renter.marks(notebook=self.door == "notebook")

    def agent(self, session: Session) -> AgentClient:
        """The agent on the session's host, connected and answering (kept for the process).

        Raises
        ------
        HostError
            The host can't be reached now; says what that means for the bill.
        """
        from gpunb.errors import HostError
        from gpunb.sessions import reach

        self.watch()  # one that died since the notebook began is started again
        try:
            with self.progress(f"connecting to {session.name}") as progress:
                client = reach.agent(session, progress=progress)
                return client if self._answers(client, session) else self._anew(session, progress)
        except HostError as err:
            if err.bill is None:
                price = hourly_text(session.hourly)
                err.bill = f"{session.name} is billed ({price}) until it is down or its lease ends"
            err.hint = err.hint or f"gpunb show {session.name} tells more; gpunb down {session.name} ends it"
            raise

    def _answers(self, client: AgentClient, session: Session) -> bool:
        """Whether it answers; the question is the lease as the ledger has it, which it may have missed."""
        from gpunb.errors import Unreachable
        from gpunb.sessions import reach

        try:
            reach.arm(client, self.ledger.get(session.id), timeout=ANSWER_S)
        except Unreachable:
            return False
        return True

    @staticmethod
    def _anew(session: Session, progress: Progress) -> AgentClient:
        """The line is silent: raise if the host is dead too, else open another."""
        from gpunb.sessions import reach
        from gpunb.ssh import probe

        progress.say("the line is silent; trying a new one")
        probe(reach.endpoint(session))
        reach.drop(session.id)
        return reach.agent(session, progress=progress)

    def sink(self, run_id: str = "", head: str = "") -> Sink:
        """Where the output of run `run_id` goes at this door; `head` as in `NotebookSink`.

        With ``--json`` it goes to stderr: stdout holds the JSON only.
        """
        if self.door == "notebook" and self.shell is not None:
            from gpunb.remote import NotebookSink

            return NotebookSink(self.shell, run_id=run_id, head=head, offer=self._offer)
        from gpunb.remote import TextSink

        return TextSink(sys.stderr if self.as_json else sys.stdout, sys.stderr)

    def _offer(self, run_id: str, text: str) -> None:
        """Under a stranger's run: what would show all of it."""
        from gpunb.commands import offering

        offering.offer(self.shell, run_id, text)

    # -- who watches the leases ----------------------------------------------------------------

    def watch(self) -> None:
        """Make sure that somebody watches what lives and is billed, or say that nobody does. Never fails."""
        from gpunb import paths
        from gpunb.sessions import glance

        with contextlib.suppress(OSError):
            file = paths.ledger_file()
            if not file.exists() or glance.watched(file):
                return
            self._say_who_watches()

    def _say_who_watches(self) -> None:
        from gpunb.commands.result import Note
        from gpunb.sessions import watchers

        said: list[Note] = []
        try:
            if self.started:
                said = [Note(f"WARNING: {line}", "bad") for line in watchers.died()]
            elif watchers.ensure(self.ledger, able=self._able):
                self.started = True
                said = [Note(STARTED, "warn")]
            else:
                said = [Note(f"WARNING: {line}", "bad") for line in watchers.unwatched(self.ledger)]
        except LedgerError as err:
            log.get(__name__).error("it can't be seen who watches the leases: %s", err)
        except GpunbError as err:
            said = [Note(f"WARNING: nothing watches the leases: {err.message}; {err.hint}", "bad")]
        fresh = [note for note in said if note.text not in self._told]
        self._told.update(note.text for note in said)
        if fresh and not self.as_json:
            self.tell(*fresh)

    def _able(self, name: str) -> bool:
        """Whether the cloud called `name` can be used from this process."""
        try:
            self.provider(name).check()
        except Exception as err:  # noqa: BLE001 - a plug-in may raise anything
            log.get(__name__).info("%s can't be used from here either: %s", name, err)
            return False
        return True

    # -- people --------------------------------------------------------------------------------

    @property
    def interactive(self) -> bool:
        """Whether somebody can answer a question in this terminal."""
        return self.door == "terminal" and not self.as_json and sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def can_ask(self) -> bool:
        """Whether somebody can answer a question: at a terminal, or in a notebook's front end."""
        if self.door == "terminal":
            return sys.stdin.isatty() and sys.stderr.isatty()
        kernel = getattr(self.shell, "kernel", None)
        if kernel is not None:
            # the front end says with each cell whether it can ask (nbconvert and papermill can't)
            return bool(getattr(kernel, "_allow_stdin", False))
        return self.shell is not None and sys.stdin.isatty()

    def confirm(self, question: Question, *, yes: bool) -> bool:
        """Whether to go on: `gpunb.services.confirmations.confirmed`, which is the one rule.

        Raises
        ------
        ConfirmationNeeded
            It has to be asked, and nobody can answer here.
        """
        from gpunb.services.confirmations import confirmed

        self.agreed = confirmed(question, self, yes=yes) or self.agreed
        return self.agreed

    def put(self, question: Question) -> bool:
        """Ask whoever is there; only "y" or "yes" is one."""
        from gpunb.commands.result import Fields, clean

        if question.rows:
            self.tell(Fields(list(question.rows)))
        text = question.prompt if question.rows else f"{clean(question.text)} {question.prompt}"
        return self._answer(f"{text} [y/N]: ").strip().lower() in {"y", "yes"}

    def _answer(self, prompt: str) -> str:
        """What somebody types after `prompt`; "" where the input ends."""
        try:
            if self.door == "notebook":
                return input(prompt)
            print(prompt, end="", file=sys.stderr, flush=True)  # noqa: T201 - stdout holds the result
            return sys.stdin.readline()
        except EOFError:
            return ""

    def tell(self, *blocks: Any) -> None:
        """Show something before the result is there (on stderr, or as a display)."""
        from gpunb.commands.result import Result

        result = Result(None, *blocks)
        if self.door == "notebook":
            from IPython.display import display

            display(result)
        else:
            from rich.console import Console

            Console(stderr=True).print(result)

    def progress(self, title: str) -> Shown:
        """Something to watch while it takes time; a context manager."""
        from gpunb.commands import progress

        return progress.shown(title, self.door)

    def run_in_terminal(self, argv: list[str]) -> int | None:
        """Run `argv` with this terminal as its own; None where there is no terminal."""
        import subprocess

        if self.door != "terminal" or self.as_json:
            return None
        return subprocess.run(argv, check=False).returncode

    def needs_notebook(self, verb: str, instead: str) -> None:
        """Refuse `verb` in a terminal, where there are no variables.

        Raises
        ------
        BadInput
            This is not a notebook.
        """
        if self.shell is None:
            msg = f"{verb} moves variables of a notebook, and a terminal has none"
            raise BadInput(msg, hint=instead)


@contextlib.contextmanager
def _quiet_ledger() -> Iterator[Ledger | None]:
    # completion must never print or fail
    from gpunb import paths

    try:
        if not paths.ledger_file().exists():
            yield None
            return
        from gpunb.sessions.ledger import Ledger

        with Ledger.open() as ledger:
            yield ledger
    except (GpunbError, OSError) as err:
        logging.getLogger("gpunb.commands").debug("completion: %s", err)


def known_sessions() -> list[Session]:
    """The live sessions, or none if the ledger can't be read."""
    found: list[Session] = []
    with _quiet_ledger() as ledger:
        if ledger is not None:
            found = ledger.sessions()
    return found


def known_runs() -> list[RunNote]:
    """The newest runs, or none if the ledger can't be read."""
    found: list[RunNote] = []
    with _quiet_ledger() as ledger:
        if ledger is not None:
            found = ledger.runs(None, 30)
    return found
