"""All errors that gpunb expects, in one tree.

::

    GpunbError                  what happened, what it means for the bill, what to type next
    ├── BadInput                a flag, field or file that breaks a rule; names all three
    ├── ConfirmationNeeded      it costs or ends something, and needs a yes
    │   └── ConfirmationRefused the yes was for something else, or is too old
    ├── SettingsError           a settings file or variable that can't be used
    ├── LimitReached            a cap over all sessions refuses it (settings [limits])
    ├── LedgerError             the ledger file can't be read or written
    │   ├── LedgerDamaged       not a database, or a broken one; left as it is
    │   ├── LedgerTooNew        written by a newer gpunb; left as it is
    │   └── LedgerUnwritable    read-only folder, full disk, wrong owner
    ├── SessionError            something about one session
    │   ├── SessionNotFound     no session has that name
    │   ├── SessionAmbiguous    several sessions would fit
    │   ├── WrongState          the verb does not fit the session's state
    │   │   └── SessionOver     the session of that name has ended
    │   └── Cancelled           Ctrl-C; says what was confirmed
    ├── ProviderError           a cloud refused or did not answer
    │   ├── AuthFailed          the key is missing, wrong or lacks a scope
    │   ├── NotSupported        this cloud can't do that
    │   ├── OfferGone           the offer was taken, changed or withdrawn
    │   ├── NoFunds             the account's balance or limit forbids it
    │   ├── RateLimited         too many calls; says when to try again
    │   ├── QuotaExhausted      the day's quota is used up
    │   ├── InstanceGone        the provider confirms that the instance is no more
    │   ├── Unavailable         down, timed out or answering 5xx; nothing was changed
    │   ├── OutcomeUnknown      a call with an effect whose answer was lost
    │   └── BadAnswer           an answer that is not of the documented shape
    ├── HostError               the rented machine, reached over SSH
    │   ├── Unreachable         no connection could be made, or it broke for good
    │   │   └── HostSilent      the connection is open, but no data arrived in time
    │   ├── Incompatible        its SSH server can never be talked to: waiting changes nothing
    │   ├── HostKeyChanged      another key than the pinned one; never connects
    │   ├── AuthRefused         the host does not take the session's key
    │   ├── BootstrapFailed     the agent could not be put there or started
    │   └── ProtocolError       bytes that are not our protocol
    ├── RunError                one run on the host
    │   ├── RunNotFound         the host has no such run
    │   ├── NobodyToAsk         it waits for input, and no answer can be given here
    │   ├── RemoteCellError     the cell raised; carries the remote traceback
    │   ├── KernelDied          the kernel ended under the cell
    │   ├── RunTimeout          the time given to the run is over
    │   └── JobFailed           a job ended with another exit code than 0
    ├── VariableError           an object that can't travel, with the reason
    └── SyncError               a transfer that is not complete
        ├── SyncBusy            another sync writes into the same place
        └── NotEnoughSpace      the target has no room for the plan
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from gpunb.hints import Hint, typed, written
from gpunb.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.hints import Frontend
    from gpunb.python_errors import Lacks

__all__ = [
    "AuthFailed",
    "AuthRefused",
    "BadAnswer",
    "BadInput",
    "BootstrapFailed",
    "Cancelled",
    "ConfirmationNeeded",
    "ConfirmationRefused",
    "GpunbError",
    "HostError",
    "HostKeyChanged",
    "HostSilent",
    "Incompatible",
    "InstanceGone",
    "JobFailed",
    "KernelDied",
    "LedgerDamaged",
    "LedgerError",
    "LedgerTooNew",
    "LedgerUnwritable",
    "LimitReached",
    "NoFunds",
    "NobodyToAsk",
    "NotEnoughSpace",
    "NotSupported",
    "OfferGone",
    "OutcomeUnknown",
    "ProtocolError",
    "ProviderError",
    "QuotaExhausted",
    "RateLimited",
    "RemoteCellError",
    "RunError",
    "RunNotFound",
    "RunTimeout",
    "SessionAmbiguous",
    "SessionError",
    "SessionNotFound",
    "SessionOver",
    "SettingsError",
    "SyncBusy",
    "SyncError",
    "Unavailable",
    "Unreachable",
    "VariableError",
    "WrongState",
]


class GpunbError(Exception):
    """Base class of all errors that gpunb expects.

    Parameters
    ----------
    message
        What happened, one sentence, without a full stop at the end. Terminal
        escapes and hidden marks are taken out: a stranger's words may be in it.
    bill
        What it means for the bill, if it touches one ("nothing was rented").
    hint
        What to type or do next. Commands in it are made by `gpunb.hints.typed`: each frontend writes
        them in its own way.

    Notes
    -----
    ``exit_code`` is the terminal's exit code. ``runs_on`` is whether its bill is of a machine that
    is billed on: that is shown after every verb, also after one that can't affect a bill.
    """

    exit_code = 1
    runs_on = False

    def __init__(self, message: str, *, bill: str | None = None, hint: str | None = None) -> None:
        message = plain(message)
        super().__init__(message)
        self.message = message
        self.bill = bill
        self.hint = hint.plain() if isinstance(hint, Hint) else hint if hint is None else plain(hint)

    def lines(self, frontend: Frontend = "terminal") -> list[str]:
        """The error as plain text, one line each: what, bill, next."""
        out = [self.message]
        if self.bill:
            out.append(f"bill: {self.bill}")
        if self.hint:
            out.append(f"next: {written(self.hint, frontend)}")
        return out

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _render_traceback_(self) -> list[str]:
        # IPython hides the traceback of the exact class UsageError only
        # (ipython#14024), so an expected failure renders itself.
        first, *rest = self.lines("notebook")
        return [f"{type(self).__name__}: {first}", *(f"  {line}" for line in rest)]


class BadInput(GpunbError):
    """A flag, field or file that breaks a rule; the message names all three."""

    exit_code = 2


class ConfirmationNeeded(GpunbError):
    """It costs or ends something and needs a yes; ``question`` is what ``--yes`` answers, if that helps."""

    exit_code = 2

    def __init__(self, message: str, *, question: str = "", **more: Any) -> None:
        super().__init__(message, **more)
        self.question = question

    @classmethod
    def of(cls, question: str, *, bill: str) -> ConfirmationNeeded:
        """Create the error for a question that can't be asked; the frontend completes the hint."""
        msg = f"this needs a confirmation, and no question can be asked here. {question}"
        return cls(msg, question=question, bill=bill, hint="add --yes")


class ConfirmationRefused(ConfirmationNeeded):
    """The yes is unknown, used up, too old, another user's, or (``other``) for another question."""

    def __init__(self, message: str, *, other: bool = False, **more: Any) -> None:
        super().__init__(message, **more)
        self.other = other


class SettingsError(GpunbError):
    """A settings file or variable that can't be used."""

    exit_code = 2


class LimitReached(GpunbError):
    """A cap over all sessions refuses it; the message names the cap, its value and what is used."""

    exit_code = 2


class LedgerError(GpunbError):
    """The ledger file can't be read or written."""

    runs_on = True


class LedgerDamaged(LedgerError):
    """The ledger is not a database, or a broken one; it is left as it is."""


class LedgerTooNew(LedgerError):
    """The ledger was written by a newer gpunb; it is left as it is."""


class LedgerUnwritable(LedgerError):
    """The ledger's folder is read-only or full, or belongs to another user."""


class SessionError(GpunbError):
    """An error that concerns one session."""


class _AskedFor(SessionError):
    """Base class of errors where a session's name does not identify one.

    Parameters
    ----------
    asked
        The name that was asked for; "" if none was.
    close
        Names of similar live sessions.
    """

    def __init__(self, message: str, *, asked: str = "", close: Sequence[str] = (), **more: Any) -> None:
        super().__init__(message, **more)
        self.asked = asked
        self.close = list(close)


class SessionNotFound(_AskedFor):
    """No session has that name."""


class SessionAmbiguous(_AskedFor):
    """Several sessions would fit; the message lists them. ``proposed`` is the last that was rented here."""

    def __init__(self, message: str, *, proposed: str = "", **more: Any) -> None:
        super().__init__(message, **more)
        self.proposed = proposed


class WrongState(SessionError):
    """The verb does not fit the session's state."""


class SessionOver(_AskedFor, WrongState):
    """The session of that name has ended."""


class Cancelled(SessionError):
    """Ctrl-C cancelled it; the message says what was confirmed."""

    exit_code = 130


class ProviderError(GpunbError):
    """A cloud refused or did not answer.

    Parameters
    ----------
    provider
        The provider's name.
    effect
        ``"none"`` if the failed call certainly changed nothing at the
        provider, ``"unknown"`` if it may have.
    retry_after
        Seconds to wait before the same call can work, if known.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        effect: Literal["none", "unknown"] = "none",
        retry_after: float | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message, **more)
        self.provider = provider
        self.effect = effect
        self.retry_after = retry_after


class AuthFailed(ProviderError):
    """The key is missing, wrong, or lacks a scope."""


class NotSupported(ProviderError):
    """The cloud can't do that."""


class OfferGone(ProviderError):
    """The offer was taken, changed or withdrawn; nothing was rented."""


class NoFunds(ProviderError):
    """The account's balance or limit forbids it; nothing was rented."""


class RateLimited(ProviderError):
    """Too many calls in a short time."""


class QuotaExhausted(ProviderError):
    """The day's quota of calls is used up."""


class InstanceGone(ProviderError):
    """The provider confirms that the instance is no more."""


class Unavailable(ProviderError):
    """The provider is down, timed out or answered 5xx; nothing was changed."""


class OutcomeUnknown(ProviderError):
    """A call with an effect was sent and its answer was lost."""

    def __init__(self, message: str, *, provider: str, **more: Any) -> None:
        more.setdefault("effect", "unknown")
        super().__init__(message, provider=provider, **more)


class BadAnswer(ProviderError):
    """An answer that is not of the documented shape; names field and value."""


class HostError(GpunbError):
    """An error of the rented machine or the SSH connection to it."""

    runs_on = True


class Unreachable(HostError):
    """No connection could be made, or it broke and did not come back."""


class HostSilent(Unreachable):
    """The connection is open, but no data arrived in time."""


class Incompatible(HostError):
    """The host's SSH server supports nothing that gpunb does; waiting changes nothing."""


class HostKeyChanged(HostError):
    """The host shows another key (``shown``, a public line) than the pinned one; gpunb does not connect."""

    def __init__(self, message: str, *, shown: str = "", **more: Any) -> None:
        super().__init__(message, **more)
        self.shown = shown


class AuthRefused(HostError):
    """The host does not take the session's key."""


class BootstrapFailed(HostError):
    """The agent could not be installed on the host, or did not start."""


class ProtocolError(HostError):
    """The host sent bytes that are not our protocol."""


class RunError(GpunbError):
    """One run on the host did not end well."""

    runs_on = True


class RunNotFound(RunError):
    """The host has no such run, or several, whose ids are in ``close``."""

    def __init__(self, message: str, *, close: Sequence[str] = (), **more: Any) -> None:
        super().__init__(message, **more)
        self.close = list(close)


class NobodyToAsk(RunError):
    """A run waits for the answer to an ``input()``, and none can be given here."""

    @classmethod
    def of(cls, run: str, prompt: str) -> NobodyToAsk:
        """Create the error for a run and its prompt."""
        return cls(
            f"run {run} waits for an answer to {prompt.strip()[:200]!r}, and no answer can be given here",
            bill="it goes on waiting; the session runs on, is billed, and may be ended as idle",
            hint=typed("attach", run)
            + " in a terminal or a notebook answers it, "
            + typed("cancel", run)
            + " ends it",
        )


class RemoteCellError(RunError):
    """The cell raised on the host.

    Parameters
    ----------
    ename, evalue
        The exception's class name and text, as the kernel reported them.
    traceback
        The kernel's own traceback lines, ANSI colours included.
    """

    def __init__(self, ename: str, evalue: str, traceback: list[str]) -> None:
        super().__init__(f"{ename}: {evalue}" if evalue else ename)
        self.ename = ename
        self.evalue = evalue
        self.traceback = traceback
        self.shown = False  # at its place in the output, before later output

    def named(self) -> RemoteCellError:
        """The same error with its class name of the host, for tools that report class and text."""
        kind = type(self.ename.replace("\0", "") or type(self).__name__, (_Named,), {"__module__": __name__})
        made: RemoteCellError = kind(self.ename, self.evalue, self.traceback)
        made.hint, made.shown = self.hint, self.shown
        return made

    def _render_traceback_(self) -> list[str]:
        if not self.traceback:
            return super()._render_traceback_()
        return [*self.traceback, *(f"next: {line}" for line in [self.hint] if line)]


class _Named(RemoteCellError):
    """A `RemoteCellError` that IPython, nbclient and papermill take for the host's own exception."""

    def __str__(self) -> str:
        return self.evalue


class KernelDied(RunError):
    """The kernel ended under the cell."""


class RunTimeout(RunError):
    """The time given to the run is over; it was interrupted."""


class JobFailed(RunError):
    """A job ended with another exit code than 0."""

    def __init__(self, message: str, *, exit_code: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code if 0 < exit_code < 256 else 1


class VariableError(GpunbError):
    """An object that can't be sent between the notebook and the host.

    Parameters
    ----------
    values
        The variables that were asked for in the same call and did arrive.
    lacks
        What the Python lacks that would rebuild the object, if known.
    """

    def __init__(
        self,
        message: str,
        *,
        values: Mapping[str, Any] | None = None,
        lacks: Lacks | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message, **more)
        self.values = dict(values or {})
        self.lacks = lacks


class SyncError(GpunbError):
    """A transfer that is not complete; the message says what is missing."""


class SyncBusy(SyncError):
    """Another sync writes into the same place; nothing was written."""


class NotEnoughSpace(SyncError):
    """The target has no room for the plan; nothing was written."""
