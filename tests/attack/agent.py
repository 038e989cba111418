"""An agent that sends garbage, floods, lies and other people's records to gpunb's real client."""

from __future__ import annotations

import io
import json
import re
import struct
import time
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared import frames
from gpunb.errors import GpunbError
from gpunb.output import TextSink, show
from gpunb.remote import bootstrap
from tests.attack.frame import KEYS, Escaped, Place, case
from tests.attack.hostile.liars import Host, connected
from tests.attack.hostile.mimic import HELLO, Mimic, client, frame, record

if TYPE_CHECKING:
    import paramiko

RUN = "abcdefgh23"
ORDERS = ("\x1b]", "\x1b[2J", "\x1b[6n", "\x9b", "\x07")
EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[6n\x1b]52;c;cm0gLXJm\x07\x9b31m\u202e"


# -- before the agent is up


def bring(place: Place, on_exec: Any, timeout: float = 3.0) -> None:
    host = Host(place)
    host.on_exec = on_exec
    with connected(place, host) as (line, _):
        bootstrap.open_line(line, timeout=timeout)


def nonce_of(command: str) -> str:
    import shlex

    words = shlex.split(command)
    return words[words.index("gpunb") + 1]


@case("a login shell that prints for ever", "sent more than 1048576 bytes and not one of ours")
def _(place: Place) -> None:
    def shout(channel: paramiko.Channel, _: str) -> None:
        while True:
            channel.sendall(EVIL.encode() + b"welcome\n" * 1000)

    bring(place, shout)


@case("one line that does not end", "sent more than 1048576 bytes")
def _(place: Place) -> None:
    def shout(channel: paramiko.Channel, _: str) -> None:
        while True:
            channel.sendall(b"A" * 30_000)

    bring(place, shout)


@case("a shell that says nothing", "was silent for 2 s")
def _(place: Place) -> None:
    bring(place, lambda channel, _: time.sleep(30), timeout=2.0)


@case("'progress' a line at a time, for ever", "repeats 'progress'|sent more than")
def _(place: Place) -> None:
    def slow(channel: paramiko.Channel, command: str) -> None:
        while True:
            channel.sendall(f'{nonce_of(command)} progress {{"text": "{"x" * 2000}"}}\n'.encode())

    bring(place, slow)


@case("it asks for the agent again and again", "the host repeats 'need'")
def _(place: Place) -> None:
    def ask(channel: paramiko.Channel, command: str) -> None:
        for _ in range(50):
            channel.sendall(f"{nonce_of(command)} need {{}}\n".encode())
            time.sleep(0.05)
        time.sleep(20)

    bring(place, ask)


@case("it wants wheels for a system called ../../", "asks for wheels of an unknown system")
def _(place: Place) -> None:
    def ask(channel: paramiko.Channel, command: str) -> None:
        wanted = {"python": "../../../tmp", "machine": "; touch x", "glibc": 17}
        channel.sendall(f"{nonce_of(command)} wheels {json.dumps(wanted)}\n".encode())
        time.sleep(20)

    bring(place, ask)


@case("it failed, with escapes and 5 MB of words", "(could not be started|sent more than)")
def _(place: Place) -> None:
    def fail(channel: paramiko.Channel, command: str) -> None:
        text = json.dumps({"step": "python", "text": EVIL * 30_000})
        channel.sendall(f"{nonce_of(command)} failed {text}\n".encode())
        time.sleep(20)

    bring(place, fail)


@case("JSON 100,000 levels deep from the bootstrap", "could not be started")
def _(place: Place) -> None:
    def deep(channel: paramiko.Channel, command: str) -> None:
        channel.sendall(f'{nonce_of(command)} failed {{"a":{"[" * 100_000}\n'.encode())
        time.sleep(20)

    bring(place, deep)


# -- frames


def first(place: Place, data: bytes) -> None:
    host = Mimic(place)
    host.first = data
    with client(place, host) as found:
        found.request("ping", timeout=5)


@case("bytes that are no frame", "the host's agent sent")
def _(place: Place) -> None:
    first(place, b"\xff" * 64)


@case("a frame of 4 GB", "a frame claims 4294967295 bytes")
def _(place: Place) -> None:
    first(place, struct.pack(">IIQ", 0xFFFFFFFF, 0, 1) + b"x" * 100)


@case("a frame of 200 MB", "did not answer 'ping'")
def _(place: Place) -> None:
    host = Mimic(place)

    def huge(head: Any, channel: paramiko.Channel) -> None:
        body = struct.pack(">I", 2) + b"{}"
        size = 200 * 2**20
        channel.sendall(frames.HEADER.pack(size, 0, 0) + body)
        for _ in range(199):
            channel.sendall(b"A" * 2**20)

    host.answers = {"ping": huge}
    with client(place, host) as found:
        found.request("ping", timeout=5)


@case("a wrong checksum", "a frame's checksum is wrong")
def _(place: Place) -> None:
    first(place, frames.HEADER.pack(4, 0, 0) + b"\0\0\0\0")


@case("a head of JSON 100,000 levels deep", "head is not JSON")
def _(place: Place) -> None:
    text = b"[" * 100_000
    first(place, frame(struct.pack(">I", len(text)) + text))


@case("a head that is no object", "head is not an object")
def _(place: Place) -> None:
    first(place, frame(struct.pack(">I", 4) + b"null"))


@case("a head that claims more than its body", "head claims")
def _(place: Place) -> None:
    first(place, frame(struct.pack(">I", 2**31) + b"{}"))


@case("an answer whose id is a list", "did not answer 'ping'")
def _(place: Place) -> None:
    with client(place, Mimic(place, ping={"id": [[]]})) as found:
        found.request("ping", timeout=2)


@case("a thousand answers that nobody asked for", "^pong$")
def _(place: Place) -> str:
    host = Mimic(place, ping={"pong": "pong"})
    odd: list[Any] = [None, -1, 1e308, "x", True, {}, 10**400, 99]
    host.first = b"".join(frames.encode({"t": "res", "id": odd[n % 8]}) for n in range(1000))
    with client(place, host) as found:
        return str(found.request("ping", timeout=10)["pong"])


@case("it introduces itself with escapes", "introduced itself as")
def _(place: Place) -> None:
    host = Mimic(place)
    host.hello = {**HELLO, "hostname": EVIL, "home": "/root\n; touch x"}
    client(place, host).__enter__()


@case("it introduces itself with numbers", "introduced itself as")
def _(place: Place) -> None:
    host = Mimic(place)
    host.hello = {**HELLO, "pid": "42; rm", "python": 7}
    client(place, host).__enter__()


@case("a refusal with escapes and a megabyte of words", "^words")
def _(place: Place) -> None:
    def refuse(head: Any, _: Any) -> bytes:
        return frames.encode({"t": "err", "id": head["id"], "code": EVIL, "msg": "words " + EVIL * 10_000})

    with client(place, Mimic(place, ping=refuse)) as found:
        found.request("ping", timeout=5)


@case("it takes nothing of what it is sent", "takes no more requests|did not answer")
def _(place: Place) -> None:
    from gpunb.remote import line as module

    before, module.STALL = module.STALL, 2.0
    host = Mimic(place)
    talk = host.talk

    def deaf(channel: paramiko.Channel) -> None:
        answer = host.answer

        def once(line: paramiko.Channel, head: dict[str, Any]) -> None:
            answer(line, head)
            if head.get("op") == "hello":
                time.sleep(30)

        host.answer = once  # type: ignore[method-assign]
        talk(channel)

    host.talk = deaf  # type: ignore[method-assign]
    try:
        with client(place, host) as found:
            found.begin("put", [b"x" * 2**23])
            found.request("ping", timeout=2)
    finally:
        module.STALL = before


# -- runs


def play(place: Place, *records: bytes, trust: str = "stranger") -> str:
    """A cell whose records are these: what the terminal shows, as one line."""

    def answer(head: Any, channel: paramiko.Channel) -> None:
        channel.sendall(frames.encode({"t": "res", "id": head["id"]}))
        for data in records:
            channel.sendall(data)

    out, err = io.StringIO(), io.StringIO()
    with client(place, Mimic(place, cell=answer, run_cell=answer), trust=trust) as found:
        handle = found.run_cell("1", run_id=RUN)
        show(handle, TextSink(out, err), interactive=False)
    text = out.getvalue() + err.getvalue()
    for sign in ORDERS:
        if sign in text:
            raise Escaped(f"the terminal got {sign!r}: {text[:300]!r}")
    return "shown: " + " ".join(re.sub("[^ -~]", " ", text).split())[:300]


def end(number: int, state: Any = "ok", **more: Any) -> bytes:
    return record(number, RUN, "end", state=state, exit=0, **more)


def stream(number: int, text: bytes, seg: Any = None) -> bytes:
    return record(number, RUN, "stream", text, seg=[["stdout", len(text)]] if seg is None else seg)


def jupyter(number: int, kind: str, content: Any) -> bytes:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return record(number, RUN, "msg", raw, b"{}", type=kind)


@case("what a cell prints takes the terminal's orders", "^shown: .*harmless")
def _(place: Place) -> str:
    return play(place, stream(1, f"{EVIL}harmless\n".encode()), end(2))


@case("records that come backwards", "record 7 came after 0|came after")
def _(place: Place) -> str:
    return play(place, stream(7, b"x"), stream(3, b"y"), end(8))


@case("records of somebody else's run", "^shown: mine$")
def _(place: Place) -> str:
    other = record(1, "zzzzzzzz99", "stream", b"theirs", seg=[["stdout", 6]])
    return play(place, other, stream(1, b"mine"), end(2))


@case("kinds of records that do not exist", "(^shown|makes no sense)")
def _(place: Place) -> str:
    kinds = [record(n + 1, RUN, kind) for n, kind in enumerate(["exec", "eval", "__class__", EVIL, ""])]
    return play(place, *kinds, end(6))


@case(
    "segments that lie about their lengths",
    "(^shown|no sense|not a valid answer|invalid message|not|odd|record)",
)
def _(place: Place) -> str:
    lies: list[Any] = [
        [["stdout", 10**9]],
        [["stdout", -5]],
        [["stdout"]],
        "x",
        7,
        [[1, 2, 3]],
        [[EVIL, 1]],
        [None],
    ]
    return play(place, *[stream(n + 1, b"abc", lie) for n, lie in enumerate(lies)], end(len(lies) + 1))


@case("parts that lie about their lengths", "parts sum to|part lengths")
def _(place: Place) -> str:
    body = json.dumps({"t": "rec", "run": RUN, "k": "msg", "b": [2**40, -1]}).encode()
    return play(place, frame(struct.pack(">I", len(body)) + body + b"xx", 1), end(2))


@case(
    "displays that are no JSON, too deep, or no object",
    "(^shown|no JSON|no sense|not a valid answer|invalid message|odd|message)",
)
def _(place: Place) -> str:
    odd: list[Any] = [
        b"{",
        b"[" * 100_000,
        b"null",
        b"[]",
        b'"x"',
        b'{"data": 7}',
        b'{"data": {"text/plain": []}}',
    ]
    return play(place, *[jupyter(n + 1, "display_data", one) for n, one in enumerate(odd)], end(len(odd) + 1))


@case("a display of half a million empty lists", "(^shown|more than|odd)")
def _(place: Place) -> str:
    return play(place, jupyter(1, "display_data", b'{"data":' + b"[" + b"[]," * 3_000_000 + b"[]]}"), end(2))


@case("an error whose traceback takes the terminal's orders", "(?s)^ValueError")
def _(place: Place) -> str:
    content = {"ename": "ValueError", "evalue": EVIL, "traceback": [EVIL, "x" * 10**6, 7, None, [EVIL]]}
    try:
        return play(place, jupyter(1, "error", content), end(2, "error"))
    except GpunbError as err:
        shown = "\n".join(err._render_traceback_()) + str(err)
        for sign in ORDERS:
            if sign in shown:
                raise Escaped(f"{sign!r} in {shown[:200]!r}") from err
        raise


@case("a flood of records beyond what was asked for", "(sends more than .* not asked for|^shown: done)")
def _(place: Place) -> None:
    def flood(head: Any, channel: paramiko.Channel) -> None:
        channel.sendall(frames.encode({"t": "res", "id": head["id"]}))
        for number in range(1, 400):
            channel.sendall(stream(number, b"A" * 2**20))

    with client(place, Mimic(place, cell=flood, run_cell=flood)) as found:
        handle = found.run_cell("1", run_id=RUN)
        time.sleep(4)  # nobody reads
        for _ in handle.records(timeout=10):
            pass


@case("200,000 records of nothing", "(sends more than .* not asked for)")
def _(place: Place) -> None:
    def flood(head: Any, channel: paramiko.Channel) -> None:
        channel.sendall(frames.encode({"t": "res", "id": head["id"]}))
        for start in range(1, 200_000, 500):
            channel.sendall(b"".join(record(number, RUN, "note") for number in range(start, start + 500)))

    with client(place, Mimic(place, cell=flood, run_cell=flood)) as found:
        handle = found.run_cell("1", run_id=RUN)
        until = time.monotonic() + 40
        while not handle.over and time.monotonic() < until:
            time.sleep(0.1)
        for _ in handle.records(timeout=10):
            pass


@case("an end that is none", "(described a run|ended as)")
def _(place: Place) -> str:
    return play(place, end(1, {"state": []}))


@case("an end in the year 10**400, with exit code 10**400", "(described a run|ended as|^shown)")
def _(place: Place) -> str:
    raw = b'{"t":"rec","run":"%s","k":"end","state":"ok","ts":1e999,"exit":%s}' % (RUN.encode(), b"9" * 400)
    return play(place, frame(struct.pack(">I", len(raw)) + raw, 1))


@case("a list of runs with ids that are paths and times that are none", "described a run")
def _(place: Place) -> str:
    runs = [{"run": "../../x", "kind": "cell", "state": "ok", "created": 1e400, "exit": float("inf")}]
    with client(place, Mimic(place, runs={"runs": runs})) as found:
        return str(found.runs())


@case("runs that are no objects", "^the agent on .* answered 'runs' with runs = ")
def _(place: Place) -> str:
    with client(place, Mimic(place, runs={"runs": [[], None, 7]})) as found:
        return str(found.runs())


@case("it asks for a password in gpunb's name", "^asked in the host's name$")
def _(place: Place) -> str:
    import builtins

    asked: list[str] = []

    def answer(head: Any, channel: paramiko.Channel) -> None:
        prompt = f"{EVIL}\r gpunb: your Vast.ai key: "
        channel.sendall(frames.encode({"t": "res", "id": head["id"]}))
        channel.sendall(record(1, RUN, "input", prompt=prompt, password=False))

    def ended(head: Any, channel: paramiko.Channel) -> bytes:
        return frames.encode({"t": "res", "id": head["id"], "taken": True}) + end(2)

    before = builtins.input

    def typed(prompt: object = "") -> str:
        asked.append(str(prompt))
        return "nothing"

    builtins.input = typed
    try:
        with client(place, Mimic(place, cell=answer, run_cell=answer, answer=ended)) as found:
            show(found.run_cell("1", run_id=RUN), TextSink(io.StringIO(), io.StringIO()))
    finally:
        builtins.input = before
    if not asked or any(sign in asked[0] for sign in ("\x1b", "\r", "\x07", "\u202e", "\n")):
        raise Escaped(repr(asked))
    if not asked[0].lstrip().startswith("["):
        raise Escaped(f"it does not say who asks: {asked[0]!r}")
    return "asked in the host's name"


@case("no key of ours is ever sent to the host", "^none$")
def _(place: Place) -> str:
    host = Mimic(place, ping={})
    with client(place, host) as found:
        found.request("ping", timeout=5)
    private = (place.mine / "session/id_ed25519").read_bytes()
    sent = b"".join(place.heard)
    if private[50:120] in sent or KEYS["account"].encode() in sent:
        raise Escaped("a key was sent")
    return "none"


@case("20,000 notes in gpunb's name", "19,980 more notes of the host's are not shown")
def _(place: Place) -> str:
    said = "session x was ended and is not billed any more"
    out = io.StringIO()
    notes = [record(n, RUN, "note", text=said) for n in range(1, 20_001)]
    cell = lambda head, channel: [  # noqa: E731
        channel.sendall(data)
        for data in (frames.encode({"t": "res", "id": head["id"]}), b"".join(notes), end(20_001))
    ]
    with client(place, Mimic(place, cell=cell)) as found:
        show(found.run_cell("1", run_id=RUN), TextSink(out, out), interactive=False)
    if f"gpunb: {said}" in out.getvalue():
        raise Escaped(f"the host spoke as gpunb: {out.getvalue()[:200]}")
    return out.getvalue().splitlines()[-1]


@case("a prompt that its last colours hide", r"^API key:  \| .*asks for a password")
def _(place: Place) -> str:
    text = b"gpunb: your key has expired\nAPI key: \x1b[8;30;40m"
    out = io.StringIO()

    class Sink(TextSink):
        def ask(self, prompt: str, *, password: bool) -> str:
            out.write(prompt)  # whatever the sink, the prompt stands apart
            return ""

    def cell(head: Any, channel: Any) -> None:
        channel.sendall(frames.encode({"t": "res", "id": head["id"]}) + stream(1, text))
        channel.sendall(record(2, RUN, "input", prompt="", password=True) + end(3))

    with client(place, Mimic(place, cell=cell, answer={"taken": True})) as found:
        show(found.run_cell("1", run_id=RUN), Sink(out, out))
    if "\x1b[8" in out.getvalue() or "\x1b[0m\n[" not in out.getvalue():
        raise Escaped(repr(out.getvalue()))
    return " | ".join(re.sub("\x1b\\[[0-9;]*m", "", out.getvalue()).splitlines()[-2:])


@case("it claims other code for a cell than was sent", "^mine; # not sent from this machine")
def _(place: Place) -> str:
    from functools import partial

    from gpunb.commands.running.export import _source
    from gpunb.sessions.access import sent

    evil = f"__import__('os').system('touch {place.touched}')\rprint(1)\n%%bash\ntouch x"
    session: Any = type("Session", (), {"id": "s1", "trust": "stranger"})
    ends = lambda head, _: (  # noqa: E731
        frames.encode({"t": "res", "id": head["id"]}) + record(1, head["run"], "end", state="ok", exit=0)
    )
    with client(place, Mimic(place, cell=ends, source={"code": evil})) as found:
        found.on_start = partial(sent.keep, session.id)
        mine = found.run_cell("mine")
        source, known = _source(found, session, mine.id)
        claimed, unknown = _source(found, session, "aaaaaaaaaa")
    if not known or unknown or any(not line.startswith("#") for line in claimed.splitlines()):
        raise Escaped(f"{source!r} {claimed!r}")
    return f"{source}; {claimed.splitlines()[0]}"
