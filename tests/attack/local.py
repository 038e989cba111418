"""Other users of this machine, what children are started with, and notebooks that were made to harm."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from gpunb.errors import BadInput, GpunbError
from gpunb.ssh import quote
from tests.attack.frame import KEYS, Escaped, Place, case

ACCOUNT = KEYS["account"]
SECRET = "canarysecret" + "Q7x" * 9
MOST_SECONDS = 200.0


def gpunb(*args: str) -> tuple[int, str]:
    """``gpunb …`` as typed in a terminal: its code, and all that it printed."""
    from gpunb.cli.main import run

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run(list(args))
    return code, out.getvalue()


class _Watch:
    """Looks at the command lines and environments of all our processes while something runs."""

    def __init__(self, words: list[str]) -> None:
        self.words = [word.encode() for word in words]
        self.found: set[str] = set()
        self.seen = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watch:  # noqa: PYI034 - final in practice
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(10)

    def _look(self) -> None:
        me = psutil.Process()
        while not self._end.wait(0.02):
            for one in me.children(recursive=True):
                self.seen += 1
                self._read(one.pid)

    def _read(self, pid: int) -> None:
        # the user's own environment is inherited; a host's processes have another, see `found["host"]`
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            self.found |= {f"command line of {pid}: {line[:80]!r}" for word in self.words if word in line}
        with contextlib.suppress(OSError):
            if ACCOUNT.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                self.found.add(f"environment of {pid}")


_full: dict[str, Any] = {}


def whole_run(place: Place) -> dict[str, Any]:
    """One rental from its offer to its end on a simulated cloud with the canary's key; made once."""
    if _full:
        return _full
    from gpunb.sessions.access import host_access
    from gpunb.sim.serving import state
    from tests.support.rentals.clouds import simulated
    from tests.support.rentals.supervisors import end_supervisors

    home = Path(os.environ["GPUNB_HOME"])
    work = place.root / "tmp/work"
    work.mkdir(parents=True, exist_ok=True)
    said = []
    with contextlib.ExitStack() as stack, _Watch([ACCOUNT, SECRET]) as watch:
        simulation = stack.enter_context(simulated(("vast",)))
        cloud: Any = simulation["vast"]
        account = next(iter(cloud.accounts.values()))
        cloud.accounts[ACCOUNT] = account
        marker = json.loads(state.marker_file().read_text())
        text = json.dumps(marker).replace(cloud.key, ACCOUNT)
        state.marker_file().write_text(text)
        state.marker_file().chmod(0o600)
        stack.callback(end_supervisors, home)
        stack.callback(host_access.close_all)
        (work / "data.txt").write_text("data\n")
        script = "import os; value = os.environ.get('CANARY_TOKEN', ''); print(f'[{len(value)}]')\n"
        (work / "show.py").write_text(script)
        here = Path.cwd()
        os.chdir(work)
        stack.callback(os.chdir, here)
        os.environ["CANARY_TOKEN"] = SECRET
        steps: list[list[str]] = [
            ["rent", "--cloud", "vast", "--name", "box", "--for", "30m", "--yes"],
            ["trust", "box", "datacenter"],
            ["ps", "--json"], ["show", "box", "--json"], ["config", "--json"], ["doctor", "--json"],
            ["sync", "data.txt", "box:"],
            ["run", "--secret", "CANARY_TOKEN", "show.py"],
            ["exec", "--", "true"], ["runs", "--json"], ["logs"], ["offers", "--cloud", "vast", "--json"],
        ]  # fmt: skip
        for step in steps:
            code, text = gpunb(*step)
            said.append((step[0], code, text))
        hosts = [path for path in home.rglob("*") if path.is_file() and "hosts" in path.parts]
        _full["host"] = {str(path): path.read_bytes() for path in hosts if path.stat().st_size < 2**22}
        said.append(("down", *gpunb("down", "box", "--yes")))
    _full.update(home=home, said=said, watch=watch)
    return _full


@case(
    "a whole rental leaves no account key but in its one file", "^found nowhere: [0-9]+ files, [0-9]+ looks"
)
def _(place: Place) -> str:
    found = whole_run(place)
    if found["said"][0][1] != 0:
        raise Escaped(found["said"][0][2][-1500:])
    home, files = found["home"], 0
    for path in home.rglob("*"):
        if path.is_file() and path.name != "clouds.json":
            files += 1
            if ACCOUNT.encode() in path.read_bytes():
                raise Escaped(f"in {path.relative_to(home)}")
    for name, data in found["host"].items():
        if ACCOUNT.encode() in data:
            raise Escaped(f"on the host: {name}")
    for verb, _, text in found["said"]:
        if ACCOUNT in text:
            raise Escaped(f"printed by {verb}: {text[:300]}")
    if found["watch"].found:
        raise Escaped(str(sorted(found["watch"].found)[:3]))
    return f"found nowhere: {files} files, {found['watch'].seen} looks at processes"


@case(
    "a run's secret is on no disk and in no command line", "^found nowhere, and the run had it hidden: True$"
)
def _(place: Place) -> str:
    found = whole_run(place)
    verbs = {verb: (code, text) for verb, code, text in found["said"]}
    code, text = verbs["run"]
    if code != 0:
        raise Escaped(f"run --secret ended with {code}: {text[-600:]}")
    for path in found["home"].rglob("*"):
        if path.is_file() and SECRET.encode() in path.read_bytes():
            raise Escaped(f"in {path}")
    for name, data in found["host"].items():
        if SECRET.encode() in data:
            raise Escaped(f"on the host: {name}")
    if any(SECRET in text for _, _, text in found["said"]):
        raise Escaped("printed")
    return f"found nowhere, and the run had it hidden: {f'[{len(SECRET)}]' in text and '[]' not in text}"


@case("another user reads what gpunb keeps", "^[0-9]+ files and folders, none open to others$")
def _(place: Place) -> str:
    found = whole_run(place)
    home: Path = found["home"]
    if home.stat().st_mode & 0o077:
        raise Escaped(f"{home} has mode {home.stat().st_mode:o}")
    count = 0
    for path in home.rglob("*"):
        mode = path.lstat().st_mode
        count += 1
        if path.is_symlink() or "hosts" in path.parts:
            continue  # what the simulated host keeps as its own
        if mode & 0o077:
            raise Escaped(f"{path.relative_to(home)} has mode {mode:o}")
    return f"{count} files and folders, none open to others"


@case("another user connects to a socket of gpunb's", "^[0-9]+ sockets, each in a folder of ours alone$")
def _(place: Place) -> str:
    count = 0
    for path in (place.root / "gpunb").rglob("*"):
        if stat.S_ISSOCK(path.lstat().st_mode):
            count += 1
            above = [one for one in path.parents if one.is_relative_to(place.root / "gpunb")]
            if all(one.stat().st_mode & 0o077 for one in above):
                raise Escaped(str(path))
    return f"{count} sockets, each in a folder of ours alone"


@case("a key in a traceback with its local variables", "^a traceback of [0-9]+ characters, no key$")
def _(place: Place) -> str:
    import traceback

    from pydantic import SecretStr

    from gpunb.providers.http import ApiClient

    client = ApiClient(
        provider="vast", title="Vast.ai", base_url="http://127.0.0.1:1", key=SecretStr(ACCOUNT)
    )
    try:
        client.call("GET", "/x", deadline=0.5)
    except GpunbError as err:
        text = "".join(traceback.TracebackException.from_exception(err, capture_locals=True).format())
    finally:
        client.close()
    if ACCOUNT in text:
        at = text.index(ACCOUNT)
        raise Escaped(text[max(0, at - 300) : at])
    return f"a traceback of {len(text)} characters, no key"


@case("a key in the log, whoever writes it there", "^a log without it$")
def _(place: Place) -> str:
    import logging

    from gpunb import log, paths

    log.add_secret(ACCOUNT)
    log.setup(2)
    logging.getLogger("gpunb.x").warning(
        "the key is %s, and %r", ACCOUNT, {"Authorization": f"Bearer {ACCOUNT}"}
    )
    for path in paths.home().rglob("*.log*"):
        if ACCOUNT in path.read_text(errors="replace"):
            raise Escaped(str(path))
    return "a log without it"


@case(
    "a settings file in a cloned folder that sends keys elsewhere",
    "a project.s file may not set .providers.vast.base_url.",
)
def _(place: Place) -> str:
    (place.mine / "gpunb.toml").write_text(f'[providers.vast]\nbase_url = "{place.url}"\nkey = "x"\n')
    done = subprocess.run(
        [sys.executable, "-c", "from gpunb.cli.main import main; main()", "offers"],
        cwd=place.mine, env={**os.environ, "VAST_API_KEY": ACCOUNT},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    text = " ".join((done.stderr or done.stdout).split())
    return text[:300] or f"code {done.returncode}"


@case("words that are shell programs", "^word for word$")
def _(place: Place) -> str:
    words = [
        f"$(touch {place.touched})",
        f"`touch {place.touched}`",
        f"; touch {place.touched}",
        "a'b\"c",
        "\n",
        "*",
        "~",
    ]
    argv = [sys.executable, "-c", "import sys, json; print(json.dumps(sys.argv[1:]))", *words]
    done = subprocess.run(["sh", "-c", quote(argv)], capture_output=True, text=True, timeout=30)
    if json.loads(done.stdout) != words:
        raise Escaped(done.stdout)
    return "word for word"


@case("a word with a NUL", "can't hold a NUL")
def _(place: Place) -> None:
    quote(["a\0b"])


@case("names of sessions and forwards that are options or paths", "^[0-9]+ names refused$")
def _(place: Place) -> str:
    from gpunb.ssh import config_block
    from tests.attack.hostile.liars import endpoint

    names = ["../x", "-oProxyCommand=x", "a b", "*", "!x", "a\nHost *", "$(x)", "", "\x1b[2J", "a/b"]
    refused = 0
    for name in names:
        with contextlib.suppress(BadInput):
            config_block(endpoint(place, 22), name)
            continue
        refused += 1
    if refused != len(names):
        raise Escaped(f"{len(names) - refused} were taken")
    return f"{refused} names refused"


@case("a notebook whose metadata is a path and a program", "^(prepared|.*notebook)")
def _(place: Place) -> str:
    from gpunb.services.running.notebook_jobs import prepare

    book = {
        "nbformat": 4, "nbformat_minor": 5, "cells": [],
        "metadata": {
            "kernelspec": {"name": "../../evil", "display_name": "<script>", "language": "python"},
            "papermill": {"output_path": str(place.touched)}, "gpunb": {"trust": "own", "key": "x"},
        },
    }  # fmt: skip
    path = place.mine / "evil.ipynb"
    path.write_text(json.dumps(book))
    data = prepare(path, {"lr": 0.1})
    if b"__import__" in data:
        raise Escaped("code of its own")
    return f"prepared: {len(data)} bytes"


@case("parameters that are Python programs", "not a name|^prepared")
def _(place: Place) -> str:
    from gpunb.services.running.notebook_jobs import parameters

    return f"prepared {parameters([('x=__import__(os)', '1')], [])}"


@case("a lock on the pins that another process holds", "^waited for no more than the pin took$")
def _(place: Place) -> str:
    from gpunb.ssh.hostkeys import pin
    from gpunb.ssh.keys import generate_host_key

    threads = [
        threading.Thread(target=pin, args=(place.mine / "known", f"gpunb-{n}", generate_host_key()[1]))
        for n in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(20)
    if len((place.mine / "known").read_text().splitlines()) != 8:
        raise Escaped("a pin was lost")
    return "waited for no more than the pin took"


@case("a forward of ours is reached from this machine only", "^on loopback$")
def _(place: Place) -> str:
    from gpunb.ssh import forward
    from tests.attack.hostile.liars import connected

    with connected(place) as (line, _), forward.local(line, "127.0.0.1", 80) as found:
        here = [c for c in psutil.Process().net_connections("tcp") if c.laddr and c.laddr.port == found.port]
        if not here or any(one.laddr.ip not in ("127.0.0.1", "::1") for one in here):
            raise Escaped(str(here))
    return "on loopback"
