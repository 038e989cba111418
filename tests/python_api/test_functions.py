"""Functions on a real host: what travels, what is named, and what the calls of one function do."""

from __future__ import annotations

import functools
import math
import os
import threading
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gpunb
from gpunb.errors import BadInput, RemoteCellError, RunTimeout, VariableError
from gpunb.python_api.frontend import frontend
from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

RATE = 0.5
TABLE = {"a": (1, {2}), "b": b"\0\1"}
WEIGHTS = np.arange(100_000.0)  # larger than what goes beside the source
square = lambda x: x * x  # noqa: E731


@dataclass
class Point:
    """A class of this file."""

    x: float
    y: float | None = None

    def norm(self) -> float:
        return math.hypot(self.x, self.y or 0.0)


@functools.lru_cache
def half(x: Point | float) -> float:
    return square(x) * RATE


def even(n: int) -> bool:
    return n == 0 or odd(n - 1)


def odd(n: int) -> bool:
    return n != 0 and even(n - 1)


def everything(n: float, *, by: int = 2) -> dict[str, Any]:
    return {
        "half": half(n) * by,
        "norm": Point(3, 4).norm(),
        "count": Counter("aab")["a"],
        "table": TABLE,
        "sum": float(WEIGHTS.sum()),
        "even": even(4),
        "there": os.environ.get("GPUNB_RUN_IS_THERE", os.getpid()),
    }


def test_what_a_function_uses_travels(session: gpunb.Session) -> None:
    there = session.function(everything)
    found = there(3, by=4)
    assert found.pop("there") != os.getpid()
    here = everything(3, by=4)
    assert here.pop("there") == os.getpid()
    assert found == here
    assert there.local is everything
    assert there.__name__ == "everything"
    assert there.session is session


def test_it_is_sent_as_it_is_now(session: gpunb.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    there = session.function(half.__wrapped__)
    assert there(2) == 2.0
    monkeypatch.setitem(globals(), "RATE", 5)
    assert there(2) == 20


def test_it_is_sent_again_to_a_new_kernel(session: gpunb.Session) -> None:
    there = session.function(square_of)
    assert there(3) == 9
    with frontend() as context:
        context.agent(session.record).restart_kernel()
    assert there(4) == 16


def square_of(x: int) -> int:
    return x * x


def test_decorated_where_it_is_written(session: gpunb.Session) -> None:
    scale = 3

    @session.function(timeout=60)
    @functools.cache
    def scaled(x: int) -> tuple[int, str]:
        """Has a text of
        several lines."""
        return x * scale, scaled_text(x)

    def scaled_text(x: int) -> str:
        return f"{x}!"

    assert scaled(2) == (6, "2!")
    scale = 4
    assert scaled(2) == (8, "2!"), "the variable that it closes over is sent as it is now"
    assert gpunb.Function is type(scaled)


def test_values_of_each_form(session: gpunb.Session) -> None:
    @session.function
    def same(*args: Any, **kwargs: Any) -> Any:
        return (args, kwargs)

    args = (
        None,
        True,
        1,
        -2.5,
        "é",
        b"\0",
        [1, [2]],
        (1, (2,)),
        {1, 2},
        {1: "a"},
        1j,
        np.float32(2),
        Point(1, 2),
    )
    assert same(*args, key={"a": (1,)}) == (args, {"key": {"a": (1,)}})
    many = np.arange(300_000)
    (back,), named = same(many, table={"x": many[:3]})
    assert back.dtype == many.dtype
    assert np.array_equal(back, many)
    assert np.array_equal(named["table"]["x"], many[:3])
    rest = session.run_cell("[n for n in globals() if n.startswith('_gpunb_')]").text
    assert rest == "[]\n", "nothing of a call stays in the kernel"


ANONYMOUS = eval("lambda x: x")


def test_what_cannot_travel_is_named_before_anything_is_sent(session: gpunb.Session, work: Path) -> None:
    lock, file = threading.Lock(), (work / "log").open("w")

    def logs(x: int) -> int:
        file.write(str(x))
        with lock:
            return ANONYMOUS(x) + session.record.gpus

    with pytest.raises(BadInput) as caught:
        session.function(logs)(1)
    file.close()
    said = caught.value.message
    assert said.startswith("function logs can't go to the host: ")
    for part in (
        "file (an open file: open it inside the function)",
        "lock (_thread.lock has no form but a pickle)",
        "ANONYMOUS (a lambda whose source can't be found",
        "session (a Session of gpunb, which lives in this process)",
    ):
        assert part in said


def test_kinds_that_are_no_functions(session: gpunb.Session) -> None:
    async def later() -> None: ...

    def several() -> Any:
        yield 1

    for wrong, says in (
        (later, "must not be async"),
        (several, "must return, not yield"),
        (len, "written in Python"),
    ):
        with pytest.raises(BadInput, match=says):
            session.function(wrong)
    made: dict[str, Any] = {}
    exec("def typed(x): return x", made)
    with pytest.raises(BadInput, match="its source can't be found"):
        session.function(made["typed"])(1)
    with pytest.raises(BadInput, match="must be a requirement of one line"):
        session.function(pip=[""])(square_of)


def test_what_it_raises_has_the_traceback_of_there(session: gpunb.Session) -> None:
    @session.function
    def fails(x: int) -> int:
        inner = x + 1
        raise LookupError(f"no {inner}")

    with pytest.raises(RemoteCellError, match="LookupError: no 2") as caught:
        fails(1)
    shown = str(caught.value.__cause__)
    assert 'raise LookupError(f"no {inner}")' in shown
    assert "test_functions.py" in shown
    assert "__import__" not in shown, "not the call itself, with all its arguments"
    with pytest.raises(RemoteCellError, match="NameError"):
        session.run_cell("fails")
    with pytest.raises(RemoteCellError) as other:
        session.run_cell("1/0")
    assert "1/0" in str(other.value.__cause__), "the next cell shows its own lines"


def test_what_it_returns_and_cannot(session: gpunb.Session) -> None:
    @session.function
    def lock() -> Any:
        return threading.Lock()

    with pytest.raises(VariableError, match="lock returned what can't travel"):
        lock()

    @session.function
    def takes(x: Any) -> Any:
        return x

    with pytest.raises(VariableError, match="takes: argument 1 can't be sent"):
        takes(threading.Lock())
    with pytest.raises(VariableError, match="takes: argument x can't be sent"):
        takes(x=threading.Lock())


def test_a_call_has_its_time(session: gpunb.Session) -> None:
    @session.function(timeout=1)
    def sleeps() -> None:
        time.sleep(60)

    with pytest.raises(RunTimeout):
        sleeps()


def test_what_it_prints_is_shown_here(session: gpunb.Session, capfd: pytest.CaptureFixture[str]) -> None:
    @session.function
    def says(x: int) -> int:
        print("x is", x)
        return x

    assert says(4) == 4
    assert capfd.readouterr().out == "x is 4\n"


def test_map_is_ordered_bounded_and_lazy(session: gpunb.Session) -> None:
    taken: list[int] = []

    def endless() -> Any:
        while True:
            taken.append(len(taken))
            yield taken[-1]

    there = session.function(added)
    results = there.map(endless(), endless())
    assert [next(results) for _ in range(3)] == [0 + 1, 2 + 3, 4 + 5]
    assert len(taken) <= 2 * (3 + 4)
    results.close()  # type: ignore[attr-defined]
    assert list(there.map([])) == list(there.map()) == []
    futures = [there.submit(n, n) for n in range(6)]
    assert all(isinstance(one, Future) for one in futures)
    assert [one.result(timeout=60) for one in futures] == [0, 2, 4, 6, 8, 10]


def added(a: int, b: int) -> int:
    return a + b


def test_the_first_error_stops_the_rest(session: gpunb.Session) -> None:
    @session.function
    def noted(n: int) -> int:
        import pathlib
        import time

        pathlib.Path(f"began-{n}").touch()
        if n == 1:
            raise ValueError(n)
        time.sleep(30 if n > 1 else 0)
        return n

    began = time.monotonic()
    results = noted.map(range(100))
    assert next(results) == 0
    with pytest.raises(RemoteCellError, match="ValueError: 1"):
        next(results)
    assert time.monotonic() - began < 25, "the call that ran was interrupted"
    ran = session.exec("sh", "-c", "ls began-* | wc -l").stdout
    assert int(ran) <= 4, "of the calls that waited none began"
    assert session.run_cell("1").text == "1\n", "the kernel is free"


def test_errors_in_their_places(session: gpunb.Session) -> None:
    @session.function
    def inverse(n: int) -> float:
        return 1 / n

    found = list(inverse.map([1, 0, 2], return_exceptions=True))
    assert (found[0], found[2]) == (1.0, 0.5)
    assert isinstance(found[1], RemoteCellError)


def test_awaited(session: gpunb.Session) -> None:
    import asyncio

    there = session.function(added)

    async def both() -> list[int]:
        return await asyncio.gather(there.call_async(1, 2), there.call_async(3, 4))

    assert asyncio.run(both()) == [3, 7]


def test_a_function_that_rents_for_itself(work: Path) -> None:
    with pytest.raises(BadInput, match="there is no filter 'gpuu'"):
        gpunb.function(gpuu="L4")
    with pytest.raises(BadInput, match="budget=-1 must be an amount"):
        gpunb.function(budget=-1)
    bad = gpunb.function(cloud=own_hosts.CLOUD)(uses_a_file)
    with pytest.raises(BadInput, match="ANONYMOUS"):
        bad(1)
    assert gpunb.sessions() == [], "nothing is paid for what can't run"
    assert bad.down() is None

    @gpunb.function(cloud=own_hosts.CLOUD, hours=0.5, name="fit", save="out")
    def train(rate: float) -> float:
        import pathlib

        pathlib.Path("out").mkdir(exist_ok=True)
        pathlib.Path("out/rate").write_text(str(rate))
        return rate * 2

    with train:
        assert train.session is None
        assert list(train.map([1, 2, 3])) == [2, 4, 6]
        assert [one.name for one in gpunb.sessions()] == ["fit"]
    assert (work / "out" / "rate").read_text() == "3"
    assert own_hosts.instances() == []


def uses_a_file(x: int) -> int:
    return ANONYMOUS(x)


def test_a_strangers_results_run_no_code_here(session: gpunb.Session) -> None:
    @session.function
    def point(x: float) -> Any:
        return Point(x, 1)

    @session.function(trust=True)
    def trusted(x: float) -> Any:
        return Point(x, 1)

    there = session.function(everything)
    with frontend() as context:
        context.ledger.update(session.id, trust="stranger")
    with pytest.raises(
        VariableError, match=r"point returned what can't travel: .*Point has no form"
    ) as caught:
        point(2)
    assert "trust=True takes pickles from this host" in str(caught.value)
    assert there(3)["norm"] == 5.0
    assert trusted(2) == Point(2, 1)


def test_an_answer_of_another_form_is_refused(session: gpunb.Session) -> None:
    """A host that is no one's own says what it likes; a pickle beside the agreed forms is not read."""
    import pickle

    from gpunb.agent.shared import variables

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, ("pwned",)

    body = pickle.dumps(Evil())
    text = variables.as_text({"as": "pickle", "sizes": [len(body)]}, [body])
    for odd in (text, "[]", "{", '[{"as": "tree", "sizes": [3], "leaves": []}, ["aaaa"]]', "[[1], 2]"):
        with pytest.raises(variables.CantTravel):
            variables.from_text(odd, pickles=False)
    assert not os.path.exists("pwned")
