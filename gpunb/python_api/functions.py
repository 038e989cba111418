"""Functions that run on a host: ``@s.function``, and ``@gpunb.function(...)``, which rents for itself."""

from __future__ import annotations

import collections
import functools
import inspect
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from gpunb.errors import GpunbError
from gpunb.python_api import process_end, words
from gpunb.python_api.frontend import frontend
from gpunb.python_api.waiting import twin
from gpunb.services.functions import Call, Terms, gather
from gpunb.services.functions.source import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gpunb.python_api.live_session import Session
    from gpunb.python_api.words import Names
    from gpunb.sessions.model import Receipt

__all__ = ["Function", "RentedFunction", "function", "on_session"]

P = ParamSpec("P")
T = TypeVar("T")

STOP_S = 10.0  # for calls that were interrupted to end
AHEAD = 4  # calls of one function that are on their way at once; the host's kernel runs one after the other


class Function(Generic[P, T]):
    """A function on a session's host: ``f(x)`` waits, ``f.submit(x)`` does not, ``f.map(xs)`` does many.

    Its source travels, with what it uses: imports, functions and classes of its file, plain values, each as
    it is when the call is made. Calls run in the session's kernel, one after the other.

    Attributes
    ----------
    local
        The function itself, which runs here.
    """

    def __init__(self, local: Callable[P, T], session: Session | None, *, pip: Names, terms: Terms) -> None:
        check(inspect.unwrap(local))
        functools.update_wrapper(self, local)
        self.local = local
        self._session = session
        self._pip = words.packages("function", pip)
        self._terms = terms
        self._lock = threading.Lock()  # held while it rents and installs
        self._prepared = False
        self._order = threading.Lock()
        self._last: threading.Event | None = None  # set when the newest call has begun
        self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix=f"gpunb-{local.__name__}")

    def __repr__(self) -> str:
        where = self._session.name if self._session is not None else "no session yet"
        return f"<gpunb.Function {self.local.__name__} on {where}>"

    @property
    def session(self) -> Session | None:
        """The session that it runs on; None before the first call of a function that rents for itself."""
        return self._session

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it there, and return what it returns; what it prints is shown here.

        Raises
        ------
        BadInput
            Something that it uses can't travel; the message names all of it. Nothing was sent.
        VariableError
            An argument or the result can't travel.
        RemoteCellError
            What it raised there, with the host's traceback.
        """
        return self.call(*args, **kwargs)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the same as calling it; ``call_async`` is its twin."""
        return self._run([], args, kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run it there without waiting. At most four calls are on their way, the rest wait here."""
        return self._submit([], args, kwargs)

    def map(self, *iterables: Iterable[Any], return_exceptions: bool = False) -> Iterator[T]:
        """Run it for each element, of several iterables for each of their tuples; yield results in order.

        Elements are taken as results are: an endless iterable will do. The first error stops the rest: calls
        that wait are dropped, those that run are interrupted; so does leaving the loop.

        Parameters
        ----------
        return_exceptions
            Whether an error is yielded in the place of its result, and the rest goes on.
        """
        waiting: collections.deque[tuple[Future[T], list[Call]]] = collections.deque()
        elements = zip(*iterables, strict=False) if iterables else iter(())
        self._ready()
        try:
            for element in elements:
                calls: list[Call] = []
                waiting.append((self._submit(calls, element, {}), calls))
                if len(waiting) >= AHEAD:
                    yield _first(waiting, return_exceptions=return_exceptions)
            while waiting:
                yield _first(waiting, return_exceptions=return_exceptions)
        finally:
            self._drop(waiting)

    def _submit(self, calls: list[Call], args: Any, kwargs: Any) -> Future[T]:
        begun = threading.Event()
        with self._order:
            after, self._last = self._last, begun
            future = self._pool.submit(self._run, calls, args, kwargs, after, begun)
        future.add_done_callback(lambda _: begun.set())  # also if it never began
        return future

    def _drop(self, waiting: Iterable[tuple[Future[T], list[Call]]]) -> None:
        left = [(future, calls) for future, calls in waiting if not future.cancel() and not future.done()]
        if not left or self._session is None:
            return
        end = time.monotonic() + STOP_S
        with frontend() as context:
            record = context.ledger.get(self._session.id)
            while left and time.monotonic() < end:  # an interrupt between two cells is lost in the kernel
                for call in [call for _, calls in left for call in calls]:
                    call.stop(context, record)
                wait([future for future, _ in left], timeout=1.0)
                left = [(future, calls) for future, calls in left if not future.done()]

    def _run(
        self,
        calls: list[Call],
        args: Any,
        kwargs: Any,
        after: threading.Event | None = None,
        begun: threading.Event | None = None,
    ) -> T:
        definition = gather(self.local, _plain, arguments=(args, kwargs))
        session = self._ready()
        with frontend() as context:
            call = Call(definition, self._terms, context.sink, after=after, begun=begun)
            calls.append(call)
            result: T = call.result(context, context.live(session.id), args, kwargs)
        return result

    def _ready(self) -> Session:
        """The session, with the packages installed."""
        with self._lock:
            session = self._session = self._session or self._rent()
            if not self._prepared and self._pip:
                session.pip(*self._pip)
            self._prepared = True
        return session

    def _rent(self) -> Session:
        raise NotImplementedError

    call_async = twin(call)


class RentedFunction(Function[P, T]):
    """A function that rents at its first call; `down`, its block or this process's end ends the session."""

    def __init__(self, local: Callable[P, T], rental: dict[str, Any], *, pip: Names, terms: Terms) -> None:
        super().__init__(local, None, pip=pip, terms=terms)
        self._rental = rental

    def _rent(self) -> Session:
        from gpunb.python_api.renting import rent

        gather(self.local, _plain)  # before a machine is paid for
        session = rent(**self._rental)
        process_end.entered(session)
        return session

    def down(self) -> Receipt | None:
        """End its session, results first; None if it never rented one. See `Session.down`."""
        if self._session is None:
            return None
        process_end.left(self._session)
        return self._session.down()

    def __enter__(self) -> RentedFunction[P, T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()


def on_session(
    session: Session, local: Callable[P, T], *, pip: Names, trust: bool, timeout: float | None
) -> Function[P, T]:
    """Make a function of a session."""
    return Function(local, session, pip=pip, terms=Terms(trust=trust, timeout=timeout))


@overload
def function(local: Callable[P, T], /) -> RentedFunction[P, T]: ...


@overload
def function(
    local: None = None,
    /,
    *,
    pip: Names = (),
    trust: bool = False,
    timeout: float | None = None,
    **rental: Any,
) -> Callable[[Callable[P, T]], RentedFunction[P, T]]: ...


def function(
    local: Callable[P, T] | None = None,
    /,
    *,
    pip: Names = (),
    trust: bool = False,
    timeout: float | None = None,
    **rental: Any,
) -> Any:
    """Make a function run on a machine that is rented for it at its first call.

    It ends with ``f.down()``, a block ``with f:``, this process, or by its lease: whatever is first.

    Parameters
    ----------
    pip
        Requirements that are installed there before the first call.
    trust
        Whether results may be pickles though the host is not your own: what it sends may then run code here.
    timeout
        Seconds after which the host interrupts a call.
    rental
        Everything that `rent` takes: ``gpu="L4", budget=3``.

    Examples
    --------
    >>> @gpunb.function(gpu="L4", budget=3, pip=["torch"])  # doctest: +SKIP
    ... def train(rate): ...
    """
    from gpunb.python_api.renting import rent

    own = {name for name, one in inspect.signature(rent).parameters.items() if one.kind is one.KEYWORD_ONLY}
    words.filters("function", {name: one for name, one in rental.items() if name not in {*own, "query"}})
    words.hours_s("function", rental.get("hours"))
    words.idle_s("function", rental.get("idle"))
    words.usd("function", "budget", rental.get("budget"))

    def decorate(made: Callable[P, T]) -> RentedFunction[P, T]:
        return RentedFunction(made, rental, pip=pip, terms=Terms(trust=trust, timeout=timeout))

    return decorate if local is None else decorate(local)


function.is_gpunb_decorator = True  # type: ignore[attr-defined]


def _plain(value: Any) -> Any:
    return value.local if isinstance(value, Function) else value


def _first(waiting: collections.deque[tuple[Future[T], list[Call]]], *, return_exceptions: bool) -> Any:
    """What came of the first; until it has ended it is among those that wait, and Ctrl-C stops it, too."""
    try:
        result: Any = waiting[0][0].result()
    except (GpunbError, TimeoutError) as err:
        if not return_exceptions:
            raise
        result = err
    waiting.popleft()
    return result
