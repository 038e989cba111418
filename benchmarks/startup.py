"""What people wait for before anything happens: %load_ext gpunb in a fresh IPython, and gpunb ps.

Both use a ledger in which three sessions live and forty have ended. `%load_ext` is
timed inside a fresh IPython process, around the load alone; `gpunb ps` and its peers (a bare
interpreter; click and rich imported) are whole processes, measured from outside, in turns.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import Bar, Options, Report, Result
from benchmarks._measure import interleave, process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# at most so many times a peer's time, in the same run: no machine is as quick as another
LOAD_PEER, LOAD_LIMIT = "python -c pass", 1.0
PS_PEER, PS_LIMIT = "python -c 'import click, rich'", 1.6
ROUNDS = 11
# variables of ours, and one that would have each module compiled again in each process
LEFT_OUT = ("GPUNB_", "PYTHONDONTWRITEBYTECODE", "COLUMNS")
LIVING, ENDED = 3, 40

# What a first cell does; the last line printed is read back.
CELL = """
import json, time
from IPython import get_ipython
shell = get_ipython()
a = time.perf_counter(); shell.run_line_magic("load_ext", "gpunb"); b = time.perf_counter()
shell.run_line_magic("gpu", "ps"); c = time.perf_counter()
assert "gpunb" in shell.extension_manager.loaded
print(); print(json.dumps({"load": b - a, "ps": c - b}))
"""


def run(options: Options) -> Report:
    """Measure, with a home and an IPython profile of its own."""
    with tempfile.TemporaryDirectory(prefix="gpunb-bench-") as folder:
        home = Path(folder, "home")
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(LEFT_OUT)},
            "GPUNB_HOME": str(home),
            "IPYTHONDIR": str(Path(folder, "ipython")),
        }
        fill(home / "ledger.sqlite")
        return measure(environment, options.rounds(ROUNDS))


def fill(ledger_file: Path) -> None:
    """Write the sessions, with runs and open segments of cost."""
    from gpunb.sessions.ledger.sessions import Ledger, label_for, new_id
    from gpunb.sessions.model import Intent, RunNote, Segment, Session, SessionState

    ledger_file.parent.mkdir(mode=0o700, parents=True)
    with Ledger.open(ledger_file) as ledger:
        for number in range(LIVING + ENDED):
            number_id = new_id()
            label = label_for(ledger.installation, number_id)
            session = Session(
                id=number_id,
                name=f"bench-{number}",
                provider="local",
                label=label,
                usd_h=1.0,
                gpu="H100",
                gpus=1,
            )
            session = ledger.add_session(session)
            intent = Intent(label=label, session_id=session.id, provider="local", offer_id="cpu")
            session = ledger.begin_create(session, intent)
            paid = Segment(session_id=session.id, kind="gpu", rate=1.0, start=time.time() - 3600)
            session = ledger.answer_create(session, f"bench-{number}", [paid])
            for index in range(5):
                run_id = f"{number_id}{index}"
                ledger.add_run(
                    RunNote(id=run_id, session_id=session.id, name="train.py", started=time.time())
                )
                if index:
                    ledger.finish_run(run_id, "ok")
            if number >= LIVING:
                ledger.transition(session, SessionState.GONE, "bench")
            else:
                session = ledger.transition(session, SessionState.REACHABLE)
                ledger.transition(session, SessionState.READY)
        # as long as this process lives nobody else starts a supervisor, who would end what is not there
        ledger.lead("server", 3600.0)


def measure(environment: Mapping[str, str], rounds: int) -> Report:
    """Take the samples in turns."""
    first_ps: list[float] = []
    peak: list[float] = []

    def load() -> float:
        argv = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", CELL]
        found = json.loads(process(argv, env=environment).out.splitlines()[-1])
        first_ps.append(found["ps"] * 1000)
        return float(found["load"]) * 1000

    def ps() -> float:
        done = process([str(Path(sysconfig.get_path("scripts"), "gpunb")), "ps"], env=environment)
        if "bench-0" not in done.out:
            msg = f"gpunb ps did not list the sessions:\n{done.out}"
            raise RuntimeError(msg)
        peak.append(done.peak_bytes / 1e6)
        return done.seconds * 1000

    def python(code: str) -> Callable[[], float]:
        return lambda: process([sys.executable, "-c", code], env=environment).seconds * 1000

    peers = {
        LOAD_PEER: python("pass"),
        PS_PEER: python("import click, rich"),
    }
    found = interleave({"%load_ext gpunb": load, "gpunb ps": ps, **peers}, rounds)
    notes = {
        "%load_ext gpunb": "inside a fresh IPython, the load alone",
        "gpunb ps": f"whole process; {LIVING} sessions live, {ENDED} ended",
        LOAD_PEER: "peer: the interpreter itself",
        PS_PEER: "peer: its two imports, and nothing done",
    }
    results = [
        Result(name=name, samples=values, unit="ms", note=notes[name]) for name, values in found.items()
    ]
    by_name = {result.name: result.median for result in results}
    # the warm-up's samples came first
    results.append(
        Result(name="first %gpu ps", samples=first_ps[-rounds:], unit="ms", note="right after the load")
    )
    results.append(Result(name="peak of gpunb ps", samples=peak[-rounds:], unit="MB"))
    return Report(
        results=results,
        bars=[
            Bar(
                name=f"%load_ext gpunb, against {LOAD_PEER}",
                value=by_name["%load_ext gpunb"] / by_name[LOAD_PEER],
                limit=LOAD_LIMIT,
                unit="times",
            ),
            Bar(
                name=f"gpunb ps, against {PS_PEER}",
                value=by_name["gpunb ps"] / by_name[PS_PEER],
                limit=PS_LIMIT,
                unit="times",
            ),
        ],
    )
