"""The frame of `make attack`: each case attacks a real component, and is watched from outside.

Cases stand in groups; each group runs in a process of its own, so that its
memory can be measured and a hang ends with it. A case raises the error that
the user would see, or returns the line that he would see. The watch around
it: no canary touched, nothing written outside of the case's own folder, no
key among the bytes that the attacker got, an end in time, memory below the
bound, and one clear line that says what the case says it must.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import hashlib
import importlib
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GROUPS = ("ssh", "cloud", "agent", "files", "values", "local", "browser")
MOST_SECONDS = 60.0
MOST_BYTES = 256 * 2**20
_ONE_LINE = 900
CASE = "case: "


class Escaped(BaseException):
    """An attack worked: something happened that must not. No `except Exception` hides it."""


@dataclass(frozen=True)
class Case:
    """One attack: who does what, and what gpunb must say."""

    group: str
    name: str
    says: str
    body: Callable[[Place], str | None]

    @property
    def id(self) -> str:
        return f"{self.group}: {self.name}"


CASES: list[Case] = []


def case(name: str, says: str) -> Callable[[Callable[[Place], str | None]], Callable[[Place], str | None]]:
    """Put a function on the list of attacks; `says` is a regular expression for the one line."""

    def add(body: Callable[[Place], str | None]) -> Callable[[Place], str | None]:
        group = body.__module__.split(".")[2]  # tests.attack.GROUP, or a module of that folder
        assert not any(one.group == group and one.name == name for one in CASES), name
        CASES.append(Case(group, name, says, body))
        return body

    return add


@dataclass
class Place:
    """Where a case happens: a folder of its own, and what must stay as it is around it."""

    root: Path
    canary: Canary
    mine: Path
    stack: contextlib.ExitStack
    heard: list[bytes] = field(default_factory=list)
    """What the attackers were sent: no key may be in it."""

    @property
    def url(self) -> str:
        """Whoever is made to fetch it is caught."""
        return self.canary.url

    @property
    def touched(self) -> Path:
        """Whoever is made to write it is caught."""
        return self.root / "canary"

    def use(self, context: Any) -> Any:
        """Enter a context manager until the case's end."""
        return self.stack.enter_context(context)

    def hear(self, data: bytes) -> None:
        if sum(map(len, self.heard)) < 2**20:
            self.heard.append(bytes(data[:65536]))


class Canary:
    """A web server that nobody may be made to visit."""

    def __init__(self) -> None:
        self.hits: list[str] = []
        canary = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.hits.append(f"{self.command} {self.path} {dict(self.headers)}"[:500])
                self.send_response(204)
                self.send_header("Access-Control-Allow-Origin", "*")
                self.end_headers()

            do_POST = do_PUT = do_HEAD = do_OPTIONS = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/canary"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


KEYS = {
    "account": "canarykey" + "a1B2" * 8,
    "ssh": "CANARYSSHKEY" + "Zz9" * 12,
}


def prepare(root: Path) -> None:
    """A user's machine: a home with keys in it, and gpunb's own folder."""
    home = root / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    (home / ".ssh/id_ed25519").write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{KEYS['ssh']}\n")
    (home / ".ssh/config").write_text(f"Host *\n  ProxyCommand touch {root}/canary\n  ForwardAgent yes\n")
    (home / "thesis.tex").write_text("years of work\n")
    (root / "cases").mkdir()
    (root / "tmp").mkdir()
    os.environ.update(
        HOME=str(home),
        TMPDIR=str(root / "tmp"),
        GPUNB_HOME=str(root / "gpunb"),
        JUPYTER_DATA_DIR=str(root / "tmp/jupyter"),
        PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring",
        XDG_RUNTIME_DIR=str(root / "tmp"),
    )
    for name in [name for name in os.environ if name.startswith(("VAST", "GPUNB_")) and name != "GPUNB_HOME"]:
        del os.environ[name]
    tempfile.tempdir = None


def _around(root: Path) -> dict[str, str]:
    """Everything that no case may change: name -> what it is and holds."""
    found = {}
    own = {root / "cases", root / "gpunb", root / "tmp"}
    for folder, names, files in os.walk(root):
        where = Path(folder)
        names[:] = [name for name in names if where / name not in own and name != "__pycache__"]
        for name in (*names, *files):
            path = where / name
            kind = path.lstat().st_mode
            data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path.relative_to(root))] = f"{kind:o} {hashlib.sha256(data).hexdigest()}"
    return found


def _peak() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def _forget_peak() -> None:
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def _line(error: BaseException) -> str:
    """What the user reads, or an account of a failure that is none of gpunb's."""
    from gpunb.errors import GpunbError

    if isinstance(error, GpunbError):
        return error.lines()[0].split("\n")[0]
    return "TRACEBACK: " + "".join(traceback.format_exception(error))[-1500:]


def run_one(one: Case, root: Path, canary: Canary) -> dict[str, Any]:
    """Run a case under watch; what became of it."""
    folder = root / "cases" / secrets.token_hex(4)
    folder.mkdir()
    said: list[str] = []
    before, canary.hits[:] = _around(root), []
    _forget_peak()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        place = Place(root, canary, folder, stack)

        def body() -> None:
            try:
                said.append(one.body(place) or "")
            except Escaped as err:
                said.append(f"ESCAPED: {err}")
            except BaseException as err:  # noqa: BLE001 - what it is, is the question
                said.append(_line(err))

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        most = getattr(sys.modules.get(f"tests.attack.{one.group}"), "MOST_SECONDS", MOST_SECONDS)
        thread.join(most)
        hangs = thread.is_alive()
        if hangs:
            faulthandler.dump_traceback(all_threads=True)
        took, peak = time.monotonic() - began, _peak()
        wrong: list[str] = []
        if hangs:
            said.append("")
            wrong.append(f"no end within {most:.0f} s")
            stack.pop_all()  # nobody waits for what hangs
    line = said[0]
    if line.startswith(("TRACEBACK", "ESCAPED")) or not line:
        wrong.append(line or "no line")
    elif not re.search(one.says, line):
        wrong.append(f"says {line!r}, not {one.says!r}")
    if not line.startswith(("TRACEBACK", "ESCAPED")) and (not line.isprintable() or len(line) > _ONE_LINE):
        wrong.append(f"its line is not one clear line: {line[:200]!r}")
    if peak > MOST_BYTES:
        wrong.append(f"took {peak >> 20} MB")
    if canary.hits:
        wrong.append(f"the canary was visited: {canary.hits[:3]}")
    after = _around(root)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        wrong.append(f"written outside: {changed[:5]}")
    sent = b"".join(place.heard)
    wrong += [f"the attacker got the {name} key" for name, key in KEYS.items() if key.encode() in sent]
    shutil.rmtree(folder, ignore_errors=True)
    found = {"group": one.group, "name": one.name, "line": line, "wrong": wrong}
    return {**found, "seconds": round(took, 2), "mb": peak >> 20, "hangs": hangs}


def load(group: str) -> list[Case]:
    """The cases of a group."""
    importlib.import_module(f"tests.attack.{group}")
    return [one for one in CASES if one.group == group]


@contextlib.contextmanager
def machine() -> Iterator[tuple[Path, Canary]]:
    """A short folder with a user's machine in it, and a canary."""
    root = Path(tempfile.mkdtemp(prefix="gpna", dir="/tmp"))
    canary = Canary()
    try:
        prepare(root)
        yield root, canary
    finally:
        canary.close()
        shutil.rmtree(root, ignore_errors=True)


def main(argv: list[str]) -> int:
    """Run the group ``argv[0]`` (only cases with one of ``argv[1:]`` in their name); one JSON line a case."""
    group, *words = argv
    os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])])
    with machine() as (root, canary):
        for one in load(group):
            if words and not any(word in one.name for word in words):
                continue
            found = run_one(one, root, canary)
            print(f"\n{CASE}{json.dumps(found)}", flush=True)
            if found["hangs"]:
                sys.stdout.flush()
                os._exit(3)
        sys.stdout.flush()
        close = getattr(sys.modules[f"tests.attack.{group}"], "close", None)
        if close is not None:
            close()
    return 0


if __name__ == "__main__":
    # under its own name, so that the cases' modules and this one share one list
    from tests.attack import frame

    sys.exit(frame.main(sys.argv[1:]))
