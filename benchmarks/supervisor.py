"""The supervisor over many sessions: CPU and memory of a look, and its calls to the clouds.

Sessions are spread over the four simulated clouds, one of each rented as a user does and the others
copied from it. Where CPU is counted, the clouds' answers come from a recording: what is measured is
gpunb, its HTTP client and SQLite, not the simulation. Calls are counted at the simulated clouds
themselves, whose rate limits are enforced.
"""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import Bar, Options, Report, Result
from benchmarks._measure import cpu_seconds, process

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from typing_extensions import Self

    from gpunb.providers import Provider
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.supervisor.sweep import Supervision

CLOUDS = ("vast", "deepinfra", "fluence", "sesterce")
SIZES = (10, 100, 1000, 10_000)
SESSIONS = 1000
CPU_LIMIT_S = 1.0
MEMORY_LIMIT_MB = 100.0
# CPU for each session: 10,000 against 1,000; 1 is a straight line through zero
LINE_LIMIT = 1.5
TICK_S = 15.0
MINUTES = 5
# a list a minute: Vast's has 25 rows a page, the others' come in one to three calls
CALLS_LIMIT = 20.0
START = 1_800_000_000.0
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEPEP0D2MRGhnXPu7Zf0b1ifjSpVeQNeGqAxC0G3Xo gpunb-bench"
CHILD = "import sys; from benchmarks.supervisor import child; child(sys.argv[1])"


def run(options: Options) -> Report:
    """Measure looks of several sizes, memory in a process of its own, and the calls of some minutes."""
    report = Report()
    medians: dict[int, float] = {}
    for size in SIZES:
        with _home() as folder:
            world = World(folder, size)
            world.record()
            looks = [cpu_seconds(world.look) for _ in range(options.rounds(5 if size <= SESSIONS else 3))]
            result = Result(name=f"a look at {size} sessions, with lists", samples=looks, unit="s CPU")
            report.results.append(result)
            medians[size] = result.median
            if size == SESSIONS:
                peaks = [world.child() / 1e6 for _ in range(options.rounds(3))]
                memory = Result(name=f"a process that looks at {size}, peak", samples=peaks, unit="MB")
                report.results.append(memory)
            world.close()
    report.bars += [
        Bar(name=f"a look at {SESSIONS} sessions", value=medians[SESSIONS], limit=CPU_LIMIT_S, unit="s CPU"),
        Bar(name="its process", value=memory.median, limit=MEMORY_LIMIT_MB, unit="MB"),
        Bar(
            name="CPU a session, 10,000 against 1,000",
            value=medians[10_000] / 10_000 / (medians[1000] / 1000),
            limit=LINE_LIMIT,
            unit="x",
        ),
    ]
    with _home() as folder:
        world = World(folder, SESSIONS)
        calls, refused = world.minutes(MINUTES)
        for name, count in calls.items():
            report.results.append(Result(name=f"{name}: calls", samples=[count / MINUTES], unit="1/min"))
        most = max(calls.values()) / MINUTES
        report.bars += [
            Bar(name=f"calls to one cloud, {SESSIONS} sessions", value=most, limit=CALLS_LIMIT, unit="1/min"),
            Bar(name="calls refused for their rate", value=float(refused), limit=0.0, unit=""),
        ]
        world.close()
    return report


class Replay:
    """An httpx transport: passes requests on and keeps the answers, or answers from what it kept."""

    def __init__(self, inner: httpx.BaseTransport | None, kept: dict[Any, Any]) -> None:
        self.inner, self.kept = inner, kept
        self.recording = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        import httpx

        key = (request.method, str(request.url), request.read())
        found = None if self.recording else self.kept.get(key)
        if found is None:
            if self.inner is None:
                msg = f"{request.method} {request.url} was not recorded"
                raise RuntimeError(msg)
            answer = self.inner.handle_request(request)
            found = self.kept[key] = (answer.status_code, dict(answer.headers), answer.read())
        status, headers, body = found
        return httpx.Response(status, headers=headers, content=body, request=request)

    def close(self) -> None:
        """Nothing to do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


class BenchClock:
    """The time of ledger, providers and clouds, which passes when somebody waits."""

    def __init__(self) -> None:
        self.now = START

    def time(self) -> float:
        """Unix seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.now += seconds


def _provider(name: str, transport: object, clock: BenchClock, key: str) -> Provider:
    from pydantic import SecretStr

    from gpunb.providers import ProviderConfig, provider_class

    http = {"transport": transport, "sleep": clock.sleep, "clock": clock.time}
    options: dict[str, Any] = {"http": http, "accept_terms": True} if name == "deepinfra" else {"http": http}
    return provider_class(name)(
        ProviderConfig(base_url="http://127.0.0.1", key=SecretStr(key), options=options)
    )


def _paper_host() -> Any:
    from gpunb.sessions.access.host_access import HostAccess, Pulse

    class PaperHost(HostAccess):
        """A host that is always there and always busy."""

        def prepare(self, session_id: str, label: str) -> str:  # noqa: ARG002
            return KEY

        def pin(self, session: Any, line: str) -> None:  # noqa: ARG002
            return

        def wait(self, session: Any, **more: Any) -> None:  # noqa: ARG002
            return

        def arm(self, session: Any, progress: Any = None) -> None:  # noqa: ARG002
            return

        def pulse(self, session: Any) -> Pulse:  # noqa: ARG002
            return Pulse(logins=True)

        def drop(self, session_id: str) -> None:  # noqa: ARG002
            return

    return PaperHost()


def _watch(ledger: Ledger, providers: dict[str, Provider]) -> Supervision:
    from gpunb.sessions.supervisor.sweep import Supervision

    return Supervision(ledger, providers.__getitem__, host=_paper_host(), tick_s=TICK_S)


class World:
    """`size` ready sessions at the four simulated clouds."""

    def __init__(self, folder: Path, size: int) -> None:
        from gpunb.sessions.ledger.sessions import Ledger
        from gpunb.sim import Clock, InProcessTransport
        from gpunb.sim.serving.runner import cloud_class

        self.folder, self.size = folder, size
        self.clock = BenchClock()
        sim = Clock.virtual(START)
        sim.now, sim.advance = self.clock.time, self.clock.sleep  # type: ignore[method-assign]
        self.ledger = Ledger.open(folder / "ledger.sqlite", clock=self.clock)
        self.clouds: dict[str, Any] = {}
        self.replays: dict[str, Replay] = {}
        self.providers: dict[str, Provider] = {}
        for name in CLOUDS:
            cloud = self.clouds[name] = cloud_class(name)(clock=sim, offers=8, balance=1e9)
            self.replays[name] = Replay(InProcessTransport(cloud), {})
            self.replays[name].recording = True
            self.providers[name] = _provider(name, self.replays[name], self.clock, cloud.key)
        for number, name in enumerate(CLOUDS):
            self._fill(name, size // len(CLOUDS) + (number < size % len(CLOUDS)))
        self.watch = _watch(self.ledger, self.providers)

    def _fill(self, name: str, count: int) -> None:
        from gpunb.providers import OfferQuery
        from gpunb.sessions import lifecycle

        provider, cloud = self.providers[name], self.clouds[name]
        offers = [one for one in provider.search(OfferQuery()) if one.available]
        request = lifecycle.RentRequest(hours=5000.0, idle_s=1800.0, count_ssh=True)
        session = lifecycle.rent(
            self.ledger, provider, [min(offers, key=lambda one: one.hourly())], request, host=_paper_host()
        )
        (machine,) = cloud.machines.values()
        names = {}
        for number in range(1, count):
            twin = copy.copy(machine)
            twin.id = str(int(machine.id) + number) if name == "vast" else f"{machine.id[:-5]}{number:05d}"
            twin.data, twin.label = dict(machine.data), f"{machine.label[:-5]}{number:05d}"
            twin.bill = copy.deepcopy(machine.bill)
            cloud.machines[twin.id] = twin
            names[twin.label] = session.instance_id.replace(machine.id, twin.id)
        self._copy(session.id, names)

    def _copy(self, ident: str, names: dict[str, str]) -> None:
        """The session's rows once more for each of `names` (label -> instance id)."""
        for table, key in (("sessions", "id"), ("intents", "session_id"), ("segments", "session_id")):
            (row,) = [
                dict(one)
                for one in self.ledger._rows(f"SELECT * FROM {table} WHERE {key} = ?", (ident,))  # noqa: SLF001
            ][:1]
            if table == "segments":
                row.pop("id")
            rows = []
            for new, instance in names.items():
                values = {**row, key: new.rpartition("-")[2]}
                changed = {"label": new, "name": new[-20:], "instance_id": instance}
                rows.append({**values, **{one: changed[one] for one in changed if one in row}})
            columns = ", ".join(f'"{one}"' for one in row)
            marks = ", ".join(f":{one}" for one in row)
            with self.ledger._write() as db:  # noqa: SLF001
                db.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)

    def record(self) -> None:
        """Look twice at the clouds themselves; from then on their answers are those."""
        self.look()
        self.look()
        for replay in self.replays.values():
            replay.recording = False
        live = self.ledger.sessions()
        if len(live) != self.size or any(one.state.value != "ready" for one in live):
            msg = f"{len(live)} sessions of {self.size}; {Counter(one.state.value for one in live)}"
            raise RuntimeError(msg)

    def look(self) -> None:
        """A look at which every list is due, every host is asked, and orphans are looked for."""
        self.clock.now += 301.0
        looked = self.watch.tick()
        if looked.errors or looked.ended or looked.sessions != self.size:
            msg = f"the look went wrong: {looked}"
            raise RuntimeError(msg)

    def child(self) -> float:
        """Peak memory in bytes of a process of its own that looks three times."""
        kept = {name: (replay.kept, self.clouds[name].key) for name, replay in self.replays.items()}
        (self.folder / "kept").write_bytes(pickle.dumps((self.clock.now, self.size, kept)))
        return float(process([sys.executable, "-c", CHILD, str(self.folder)], timeout=120.0).peak_bytes)

    def minutes(self, minutes: int) -> tuple[dict[str, int], int]:
        """Ticks of so many minutes: calls of each cloud, and how many were refused for their rate."""
        self.watch.tick()
        for cloud in self.clouds.values():
            cloud.calls.clear()
        end = self.clock.now + 60.0 * minutes
        while self.clock.now < end:
            begun = self.clock.now
            self.watch.tick()
            self.clock.now = max(self.clock.now, begun + TICK_S)
        calls = {name: len(cloud.calls) for name, cloud in self.clouds.items()}
        refused = sum(call.status == 429 for cloud in self.clouds.values() for call in cloud.calls)
        return calls, refused

    def close(self) -> None:
        """Close the ledger and the providers."""
        for provider in self.providers.values():
            provider.close()
        self.ledger.close()


def child(folder: str) -> None:
    """In a process of its own: look three times, with the recorded answers."""
    from gpunb.sessions.ledger.sessions import Ledger

    now, size, kept = pickle.loads(Path(folder, "kept").read_bytes())
    clock = BenchClock()
    clock.now = now
    providers = {
        name: _provider(name, Replay(None, answers), clock, key) for name, (answers, key) in kept.items()
    }
    with Ledger.open(Path(folder, "ledger.sqlite"), clock=clock) as ledger:
        watch = _watch(ledger, providers)
        for _ in range(3):
            clock.now += 301.0
            looked = watch.tick()
            if looked.errors or looked.sessions != size:
                msg = f"the look went wrong: {looked}"
                raise RuntimeError(msg)


@contextlib.contextmanager
def _home() -> Iterator[Path]:
    """A gpunb home in memory where there is such a place: the disk's speed is not measured."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    before = os.environ.get("GPUNB_HOME")
    with tempfile.TemporaryDirectory(prefix="gpunb-bench-", dir=base) as folder:
        os.environ["GPUNB_HOME"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("GPUNB_HOME")
            if before is not None:
                os.environ["GPUNB_HOME"] = before
