"""A call of a function on a session's host: its definition and arguments there, its result back."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared import variables
from gpunb.agent.shared.plain_values import CantTravel
from gpunb.errors import GpunbError, ProtocolError, RemoteCellError, RunError, VariableError
from gpunb.hints import typed
from gpunb.services.running import cells, log_filter

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.output import Sink
    from gpunb.services.functions.source import Definition
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session

__all__ = ["Call", "Terms"]

MODULE = "__import__('gpunb_agent.kernel.function_calls', fromlist=['x'])"
ANSWER = "gpunb-call"
INLINE = 256 << 10  # bytes of arguments that go as text
MOST = 512 << 10  # characters of a result that comes as text; the gate cuts a stranger's at 1 MB

_known: set[tuple[str, str]] = set()  # (session, key) of the definitions that were sent
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a function is called.

    Attributes
    ----------
    trust
        Whether results may be pickles though the host is not the user's own: they run code here.
    timeout
        Seconds after which the host interrupts a call; None is the setting ``cell_timeout``.
    """

    trust: bool = False
    timeout: float | None = None


class Call:
    """One call. It may be stopped from another thread, and shows nothing from then on.

    Parameters
    ----------
    show
        Makes the sink that shows what the function prints, from the run's id.
    after
        The begin of the call that goes before this one: calls begin in the order in which they were made.
    begun
        Set when the host has this one.
    """

    def __init__(
        self,
        definition: Definition,
        terms: Terms,
        show: Callable[[str], Sink],
        *,
        after: threading.Event | None = None,
        begun: threading.Event | None = None,
    ) -> None:
        self._after = after
        self._begun = begun
        self.definition = definition
        self.terms = terms
        self.id = secrets.token_hex(8)
        self.run = ""
        self._show = show
        self.stopped = False

    def result(
        self, context: Workspace, session: Session, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call it there with these arguments, and return what it returns.

        Raises
        ------
        RemoteCellError
            What it raised there, with the host's traceback.
        VariableError
            An argument, or what it returned, can't travel.
        GpunbError
            As `gpunb.services.running.cells.run`.
        """
        safe = session.trust != "own" and not self.terms.trust
        given = self._arguments(context, session, args, kwargs)
        what = f"call({self.definition.key!r}, {self.id!r}, {given!r}, {safe!r}, {MOST})"
        answer: dict[str, Any] = {}
        if (session.id, self.definition.key) in _known:
            answer = self._ran(context, session, f"{MODULE}.{what}")
        if not answer or answer.get("undefined") is True:  # or the kernel is a new one
            answer = self._ran(context, session, f"{self._definition(context, session)}\n{MODULE}.{what}")
            with _lock:
                _known.add((session.id, self.definition.key))
        return self._value(context, session, answer, safe=safe)

    def stop(self, context: Workspace, session: Session) -> None:
        """End the call if it runs or waits there; never fails."""
        self.stopped = True
        if self.run:
            with contextlib.suppress(GpunbError):
                context.agent(session).cancel(self.run)

    def _arguments(
        self, context: Workspace, session: Session, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Any]:
        """The arguments as text, or the variables that they were sent as."""
        try:
            about, raws = variables.pack_first_safe("arguments", (args, kwargs))
        except CantTravel:
            about, raws = {"sizes": [INLINE]}, []
        if sum(about["sizes"]) < INLINE:
            return ["text", variables.as_text(about, raws)]
        from gpunb.services import variables as sent

        names = {f"_gpunb_argument_{self.id}_{index}": value for index, value in enumerate(args)}
        keywords = {key: f"_gpunb_argument_{self.id}_{key}" for key in kwargs}
        try:
            values = {**names, **{keywords[key]: value for key, value in kwargs.items()}}
            sent.put(context, session, values, first_safe=True)
        except VariableError as err:
            shown = {
                **dict(zip(names, map(str, range(1, 1000)), strict=False)),
                **{n: k for k, n in keywords.items()},
            }
            for name, word in shown.items():
                err.message = err.message.replace(
                    f"variable {name!r}", f"{self.definition.name}: argument {word}"
                )
            raise
        return ["variables", list(names), keywords]

    def _definition(self, context: Workspace, session: Session) -> str:
        """The code that defines it there; its large values are sent before."""
        from gpunb.services import variables as sent

        if self.definition.large:
            sent.put(context, session, self.definition.large, first_safe=True)
        return f"{MODULE}.define({self.definition.key!r}, {self.definition.text!r})"

    def _ran(self, context: Workspace, session: Session, code: str) -> dict[str, Any]:
        """Run `code` as a cell; returns the answer that it displayed."""
        if self._after is not None:
            self._after.wait()
        if self.stopped:
            msg = f"the call of {self.definition.name} was stopped before it began"
            raise RunError(msg)
        sinks: list[_Answered] = []

        def sink(run_id: str) -> _Answered:
            self.run = run_id
            if self._begun is not None:
                self._begun.set()
            sinks.append(_Answered(self, self._show(run_id)))
            if self.stopped:  # meanwhile
                self.stop(context, session)
            return sinks[0]

        name = f"{self.definition.name}(…)"
        cells.run(context, session, code, sink, name=name, timeout=self.terms.timeout)
        result = sinks[0].answer
        if result is None:
            msg = f"the host did not answer the call of {self.definition.name}"
            raise ProtocolError(msg, hint=typed("logs", self.run) + " shows what it printed")
        return result

    def _value(self, context: Workspace, session: Session, answer: dict[str, Any], *, safe: bool) -> Any:
        name = self.definition.name
        if isinstance(answer.get("value"), str):
            try:
                (value,) = variables.from_text(answer["value"], pickles=not safe)
            except CantTravel as err:
                msg = f"{name} returned what can't be taken: {err}"
                raise VariableError(msg, hint=_hint(safe=safe)) from err
            except Exception as err:  # a pickle runs its class's code, which may exist on the host only
                msg = f"{name} returned what can't be made again here: {type(err).__name__}: {err}"
                raise VariableError(msg, hint="return plain values, arrays or tables of it") from err
            return value
        if isinstance(answer.get("error"), str):
            msg = f"{name} returned what can't travel: {answer['error']}"
            raise VariableError(msg, hint=_hint(safe=safe and answer.get("pickle") is True))
        variable = f"_gpunb_result_{self.id}"
        if answer.get("variable") != variable:
            msg = f"the host answered the call of {name} in an unknown form"
            raise ProtocolError(msg, hint="try again")
        from gpunb.services import variables as sent

        try:
            ((value,),) = sent.get(context, session, [variable], trust=not safe).values()
        finally:
            content = {"code": f"globals().pop({variable!r}, None)", "silent": True}
            with contextlib.suppress(GpunbError):
                context.agent(session).begin(
                    "kernel", type="execute_request", content=content, quick=False, timeout=60
                )
        return value


def _hint(*, safe: bool) -> str:
    more = "; trust=True takes pickles from this host, which may then run code here" if safe else ""
    return f"return plain values, arrays or tables{more}"


class _Answered:
    """Keeps the answer of a call out of what is shown, and passes on all the rest."""

    def __init__(self, call: Call, inner: Sink) -> None:
        self.answer: dict[str, Any] | None = None
        self._head = f"{ANSWER} {call.id} "
        self._call = call
        self._shows = inner
        self._silent = log_filter.KeptText(1)

    @property
    def _inner(self) -> Sink:
        return self._silent if self._call.stopped else self._shows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shows, name)

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Take the answer, or show the display."""
        text = content.get("data", {}).get("text/plain")
        if not isinstance(text, str) or not text.startswith(self._head):
            self._inner.display(content, update=update)
            return
        try:
            data = json.loads(text[len(self._head) :])
        except (ValueError, RecursionError):
            return
        self.answer = data if isinstance(data, dict) else None

    def failure(self, error: RemoteCellError) -> RemoteCellError:
        """Raise the error as it is: its traceback is shown by who catches it."""
        return error

    # a protocol's methods are not found by __getattr__

    def stream(self, name: str, text: str) -> None:
        """Show the text."""
        self._inner.stream(name, text)

    def result(self, content: dict[str, Any]) -> None:
        """Show the result."""
        self._inner.result(content)

    def clear(self, *, wait: bool) -> None:
        """Clear what is shown."""
        self._inner.clear(wait=wait)

    def ask(self, prompt: str, *, password: bool) -> str:
        """Ask through the inner sink."""
        return self._inner.ask(prompt, password=password)

    def note(self, text: str) -> None:
        """Show gpunb's note."""
        self._inner.note(text)

    def finish(self) -> None:
        """Finish the output."""
        self._inner.finish()
