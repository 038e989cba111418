from __future__ import annotations

import io
import os
import sys
import threading
import types
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gpunb.agent.shared import variables
from gpunb.errors import GpunbError, VariableError
from gpunb.output import show
from gpunb.remote import AgentClient, get, put
from gpunb.remote import variables as transfers
from tests.remote.conftest import kernel_pid, wait_for
from tests.support.machines.proxy import Proxy

pytestmark = pytest.mark.slow


class LocalThing:
    """Defined in a module that the host does not have."""


# the folder of these tests can be imported on this machine's hosts, too
LocalThing.__module__ = "only_here"
sys.modules["only_here"] = types.ModuleType("only_here")
sys.modules["only_here"].LocalThing = LocalThing


def test_variables_go_there_and_come_back_the_same(client):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    values = {
        "floats": np.random.default_rng(1).random((300, 200)),
        "fortran": np.asfortranarray(np.arange(12).reshape(3, 4)),
        "strided": np.arange(20)[::3],
        "empty": np.zeros((0, 3), dtype="f4"),
        "scalar": np.array(5.0),
        "texts": np.array(["a", "bc"]),
        "objects": np.array([{"x": 1}, None], dtype=object),
        "frame": frame,
        "plain": {"k": [1, 2.5, None, "\N{SNOWMAN}"]},
        "tuple_": (1, {2}, b"3"),
    }
    put(client, values)
    found = get(client, list(values))
    pd.testing.assert_frame_equal(found.pop("frame"), values.pop("frame"))
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value)
            assert found[name].dtype == value.dtype
        else:
            assert found[name] == value
            assert type(found[name]) is type(value)


def test_an_array_that_comes_back_can_be_written(client):
    put(client, {"a": np.zeros(10)})
    back = get(client, ["a"])["a"]
    back[0] = 1
    assert back.sum() == 1


def test_what_stands_there_unchanged_is_not_sent_again(client, screen):
    big, frame = np.arange(600_000.0), pd.DataFrame({"x": np.arange(400_000)})
    first = put(client, {"big": big, "frame": frame, "small": 1})
    assert first.same == ()
    again = put(client, {"big": big, "frame": frame, "small": 2})
    assert sorted(again.same) == ["big", "frame"]
    assert again.bytes < 100
    assert get(client, ["small"]) == {"small": 2}
    big[123_457] += 1  # at no place that a sample looks at
    changed = put(client, {"big": big, "frame": frame})
    assert changed.same == ("frame",)
    assert get(client, ["big"])["big"][123_457] == 123_458.0
    # what the host changed, or has under that name by now, is no longer what was sent
    show(client.run_cell("big[5] = -1; frame = 'gone'"), screen)
    assert put(client, {"big": big, "frame": frame}).same == ()
    assert get(client, ["big"])["big"][5] == 5.0
    assert put(client, {"big": big.astype("f4")}).same == ()
    assert put(client, {"other": big}).same == ()


def test_the_host_can_write_what_it_was_sent(client, screen):
    put(client, {"a": np.zeros(3)})
    show(client.run_cell("a[0] = 7; print(a.sum())"), screen)
    assert screen.text() == "7.0\n"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda tmp: (tmp / "f").open("w"), "open file"),
        (lambda tmp: lambda: 1, "function"),
        (lambda tmp: type("Inner", (), {})(), "pickled"),
        (lambda tmp: (x for x in [1]), "generator"),
    ],
    ids=["file", "lambda", "local class", "generator"],
)
def test_what_cannot_travel_says_why_and_nothing_is_sent(client, tmp_path, screen, make, reason):
    value = make(tmp_path)
    with pytest.raises(VariableError, match=reason) as caught:
        put(client, {"fine": 1, "broken": value})
    if hasattr(value, "close"):
        value.close()
    assert "'broken'" in str(caught.value)
    show(client.run_cell("print('fine' in globals())"), screen)
    assert screen.text() == "False\n"


def test_what_the_host_cannot_take_is_named_and_the_rest_is_there(client, screen):
    with pytest.raises(VariableError, match="thing: ModuleNotFoundError"):
        put(client, {"fine": 1, "thing": LocalThing()})
    show(client.run_cell("print(fine)"), screen)
    assert screen.text() == "1\n"


def test_a_variable_that_is_not_there_is_named(client):
    with pytest.raises(VariableError, match="'nothing_here'"):
        get(client, ["nothing_here"])


def test_a_variable_of_the_host_that_cannot_travel_says_why(client, screen):
    show(client.run_cell("gen = (x for x in [1])"), screen)
    with pytest.raises(VariableError, match="generator"):
        get(client, ["gen"])


def test_from_a_stranger_only_forms_that_cannot_run_code(host, client, screen):
    code = (
        "import numpy as np, pandas as pd\nclass Mine: pass\nsafe = {'a': np.arange(3), 'b': {1, 2}}\n"
        "frame = pd.DataFrame({'n': [1, 2]})\nrisky = Mine()\nmixed = pd.DataFrame({'a': [Mine()]})"
    )
    show(client.run_cell(code), screen)
    with AgentClient.connect(host.endpoint(), python=sys.executable, trust="stranger") as stranger:
        found = get(stranger, ["safe", "frame"])
        assert found["safe"]["a"].tolist() == [0, 1, 2]
        assert found["safe"]["b"] == {1, 2}
        assert found["frame"]["n"].tolist() == [1, 2]
        for name in ("risky", "mixed"):
            with pytest.raises(VariableError, match=name) as caught:
                get(stranger, ["safe", name])
            assert "--trust" in str(caught.value)


def test_a_host_that_sends_a_pickle_all_the_same_is_refused(host, client, screen, tmp_path):
    mark = tmp_path / "ran"
    code = f"""
import gpunb_agent.shared.variables as k
honest = k.send
k.send = lambda paths, names, space, safe=False, far=False: honest(paths, names, space, False, far)
class Evil:
    def __reduce__(self):
        import pathlib
        return (pathlib.Path.touch, (pathlib.Path({str(mark)!r}),))
risky = Evil()
"""
    show(client.run_cell(code), screen)
    with AgentClient.connect(host.endpoint(), python=sys.executable, trust="stranger") as stranger:
        with pytest.raises(VariableError, match="can run code here"):
            get(stranger, ["risky"])
        assert not mark.exists()
        get(stranger, ["risky"], trust=True)  # the user's own word, for once
        assert mark.exists()


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (
            "{'name': 'x', 'as': 'npy', 'sizes': [1 << 49], 'dtype': '<f8', 'shape': [1 << 46]}",
            "memory are free",
        ),
        ("{'name': 'x', 'as': 'npy', 'sizes': [-8], 'dtype': '<f8', 'shape': [1]}", "an unknown form"),
        ("{'name': 'x', 'as': 'npy', 'sizes': 'many'}", "an unknown form"),
        ("{'name': 'y', 'as': 'json', 'sizes': [2]}", "not asked for"),
        ("{'name': 'x', 'error': '\\x1b]0;title\\x07' * 9}", "variable 'x'"),
        ("'x'", "an unknown form"),
    ],
)
def test_sizes_and_names_that_lie(host, client, screen, lie, words):
    code = f"""
import gpunb_agent.shared.variables as k
def send(paths, names, space, safe=False, far=False):
    lines = [k.BulkLine(path) for path in paths]
    k.write_description(lines[0].sendall, [{lie}])
    lines[0].close()
    return '{{}}'
k.send = send
"""
    show(client.run_cell(code), screen)
    with AgentClient.connect(host.endpoint(), python=sys.executable, trust="stranger") as stranger:
        with pytest.raises(GpunbError, match=words) as caught:
            get(stranger, ["x"])
        assert "\x1b" not in str(caught.value)


def test_a_host_whose_end_fails_is_not_waited_for(client, screen):
    show(client.run_cell("import gpunb_agent.shared.variables as k\nk.send = k.receive = None"), screen)
    with pytest.raises(VariableError, match="not callable"):
        get(client, ["x"])
    with pytest.raises(VariableError, match="not callable"):
        put(client, {"x": np.zeros(3_000_000)})


def test_a_name_that_is_no_name_is_refused(client):
    with pytest.raises(VariableError, match="not a Python name"):
        get(client, ["__import__('os').system('true')"])


def test_a_transfer_waits_for_the_cell_before_it(client):
    client.run_cell("import time; time.sleep(1); late = 5")
    assert get(client, ["late"]) == {"late": 5}


class _AnyLimitIsOver(threading.Thread):
    """A thread that is never waited for with a limit: after any number of minutes it still runs."""

    def join(self, timeout=None):
        if timeout is None:
            super().join()


def test_what_is_sent_waits_for_the_cell_before_it_however_long_that_runs(client, host, monkeypatch):
    # a value that fits into the pipes was given up after a minute: the kernel "could not do it: no reply"
    monkeypatch.setattr(transfers, "threading", SimpleNamespace(Thread=_AnyLimitIsOver, Lock=threading.Lock))
    go = host.home / "go"
    client.run_cell(f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)")
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(put, client, {"late": 7})
        try:
            client.round_trip()
            assert not sent.done()
        finally:
            go.touch()
        assert sent.result(60).names == ("late",)
    assert get(client, ["late"]) == {"late": 7}


def test_the_host_s_end_of_a_transfer_goes_with_its_user(client, host):
    def ends():
        return [
            pid
            for pid in filter(str.isdigit, os.listdir("/proc"))
            if b"\0bulk\0" in read(f"/proc/{pid}/cmdline")
            and str(host.home).encode() in read(f"/proc/{pid}/cmdline")
        ]

    def read(path):
        try:
            return Path(path).read_bytes()
        except OSError:
            return b""

    line = transfers._Line(client, far=False)  # nobody calls it
    wait_for(ends, 60.0)
    line.channel.close()
    wait_for(lambda: not ends(), 60.0)


def test_a_killed_kernel_ends_the_transfer(host, client, screen):
    show(client.run_cell("x = 1"), screen)
    client.run_cell("import time; time.sleep(30)")
    threading.Timer(1.0, lambda: os.kill(kernel_pid(host), 9)).start()
    with pytest.raises(VariableError):
        get(client, ["x"])


def test_over_a_long_line_what_shrinks_is_compressed_and_what_does_not_is_not(host):
    with (
        Proxy(host.port, rtt=0.02) as proxy,
        AgentClient.connect(host.endpoint(port=proxy.port), python=sys.executable, trust="own") as client,
    ):
        noise, even = np.random.default_rng(2).random(400_000), np.arange(2_000_000) // 1000
        for value, most in ((noise, 1.2), (even, 0.3)):
            up, down = proxy.up, proxy.down
            put(client, {"value": value})
            assert 0.0 < (proxy.up - up) / value.nbytes < most
            back = get(client, ["value"])["value"]
            np.testing.assert_array_equal(back, value)
            assert 0.0 < (proxy.down - down) / value.nbytes < most


def test_a_compressed_piece_is_never_larger_than_what_was_described():
    def told(data):
        stream = io.BytesIO(data)
        return stream.readinto

    def given(piece):
        out = bytearray()
        variables.give(out.extend, memoryview(piece))
        return bytes(out)

    zeros = given(bytes(1000))
    place = bytearray(b"x" * 1000)
    variables.take(told(zeros), memoryview(place))
    assert place == bytes(1000)
    bomb = zlib.compress(bytes(10_000_000), 9)
    head = variables.PIECE_HEAD
    for data in (
        zeros[:-2],
        head.pack(len(bomb), 1) + bomb,
        head.pack(999, 0) + bytes(999),
        head.pack(1 << 31, 0),
        head.pack(1001, 1) + bytes(1001),
        head.pack(5, 2) + bytes(5),
        head.pack(5, 1) + b"hello",
    ):
        with pytest.raises((ValueError, EOFError)):
            variables.take(told(data), memoryview(bytearray(1000)))
