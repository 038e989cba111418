"""Base class of all simulated clouds: accounts, what befalls machines, faults, the lock.

A cloud subclasses `Cloud`, adds routes and its own format of errors and
states, and bills each change of phase in `on_phase`. Time is not
driven by a background task: `settle` brings everything up to the clock before
each request, so a virtual clock and a real one run through the same code.
"""

from __future__ import annotations

import random
import threading
import uuid
from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fastapi.responses import HTMLResponse, JSONResponse, Response

from gpunb.sim.clock import Clock
from gpunb.sim.faults import HOST_KINDS, Fault, Faults
from gpunb.sim.hosts import cheated
from gpunb.sim.hosts.machines import Host, Hosts, HostSpec, PaperHosts
from gpunb.sim.machine import Machine, Phase
from gpunb.sim.money import Account
from gpunb.sim.serving.ratelimit import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request
    from starlette.types import ASGIApp

__all__ = ["Call", "Cloud", "Machine", "Phase", "Refusal"]


class Refusal(Exception):
    """An error answer of the cloud, which a handler raises instead of returning."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"HTTP {response.status_code}")
        self.response = response


@dataclass(slots=True)
class Call:
    """One request to the cloud."""

    method: str
    path: str
    endpoint: str
    at: float
    status: int = 0


class Cloud(ABC):
    """Base class of a simulated cloud.

    Parameters
    ----------
    clock
        Its time; one clock can be shared by several clouds.
    seed
        Offers, ids and chances are the same for the same seed.
    hosts
        The hosts behind the instances; `PaperHosts` if left out.
    balance
        Dollars of the first account.
    key
        That account's key; made from the seed if left out.
    boot_s
        Simulated seconds from create to running; the cloud's usual if left out.
    limits
        Whether the rate limits are enforced.
    offers
        How many offers there are; the cloud's usual number if left out.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    #: endpoint name -> least seconds between two calls
    intervals: ClassVar[Mapping[str, float]] = {}
    #: what the base URL that gpunb is given ends with
    base_path: ClassVar[str] = ""
    boot_s: ClassVar[float] = 30.0
    usual_offers: ClassVar[int] = 60
    end_s: ClassVar[float] = 5.0

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        seed: int = 0,
        hosts: Hosts | None = None,
        balance: float = 100.0,
        key: str | None = None,
        boot_s: float | None = None,
        limits: bool = True,
        offers: int | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.offer_count = self.usual_offers if offers is None else offers
        self.seed = seed
        self.rng = random.Random(f"{self.name}/{seed}")  # noqa: S311 - a simulation
        self.hosts: Hosts = hosts or PaperHosts()
        self.faults = Faults(random.Random(f"faults/{self.name}/{seed}"))  # noqa: S311
        self.limiter = RateLimiter(self.clock.now, self.intervals)
        self.limiter.enabled = limits
        self.boot_seconds = self.boot_s if boot_s is None else boot_s
        self.end_seconds = self.end_s if boot_s is None else min(self.end_s, boot_s)
        self.key = key or f"sim-{self.name}-{self.rng.getrandbits(64):016x}"
        self.accounts: dict[str, Account] = {self.key: Account(self.key, deposit=balance)}
        self.machines: dict[str, Machine] = {}
        self.calls: deque[Call] = deque(maxlen=10_000)
        self.lock = threading.RLock()
        self._app: ASGIApp | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._works: dict[str, Future[Any]] = {}

    # -- to be overridden by each cloud ----------------------------------------

    @abstractmethod
    def routes(self, app: FastAPI) -> None:
        """Add the API to `app`; each route's name is its endpoint's name for faults and limits."""

    @abstractmethod
    def refusal(self, status: int, message: str) -> Response:
        """Return an error in this cloud's format."""

    def invalid(self, errors: list[dict[str, Any]], endpoint: str = "") -> Response:  # noqa: ARG002
        """Return the answer to a body or a query that does not validate (FastAPI's format)."""
        return JSONResponse({"detail": errors}, 422)

    def too_many(self, retry_after: float | None) -> Response:
        """Return a 429, with the seconds to wait or without them."""
        answer = self.refusal(429, "Too many requests")
        if retry_after is not None:
            answer.headers["Retry-After"] = f"{max(1, round(retry_after))}"
        return answer

    def quota(self) -> Response:
        """Return the answer to a request beyond the day's quota."""
        return self.refusal(429, "Daily quota exceeded")

    def wrong_shape(self, endpoint: str) -> Response:  # noqa: ARG002 - for those that care
        """Return a success with another shape than documented."""
        return JSONResponse({"result": {"unexpected": True}, "items": None})

    @abstractmethod
    def on_phase(self, machine: Machine, old: Phase, new: Phase, at: float) -> None:
        """Handle a change of phase: the cloud bills here."""

    def broke(self, account: Account, at: float) -> None:
        """End everything of an account whose money is used up at `at`; clouds may override this."""
        for machine in list(self.machines.values()):
            if machine.account is account and machine.alive and machine.phase is not Phase.ENDING:
                self.end(machine, at)

    # -- accounts and requests -------------------------------------------------

    def identity(self, request: Request) -> str:
        """Return the request's key, "" for none: a bearer token unless overridden."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""

    def wrong_key(self) -> Response:
        """Return the answer to a missing or wrong key."""
        return self.refusal(401, "Unauthorized")

    def login(self, request: Request) -> Account:
        """Return the account of the request's key."""
        account = self.accounts.get(self.identity(request))
        if account is None:
            raise Refusal(self.wrong_key())
        return account

    def refuse(self, status: int, message: str) -> Refusal:
        """Return an error to raise: ``raise cloud.refuse(400, "…")``."""
        return Refusal(self.refusal(status, message))

    def new_id(self) -> str:
        """Return a UUID that depends on the seed only."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def fault(self, kind: str, endpoint: str = "create") -> Fault | None:
        """Take the next fault of `kind` that is due now, if any."""
        return self.faults.take(kind, endpoint, self.clock.now())

    def app(self) -> ASGIApp:
        """Return the ASGI app, gate included; the same at every call."""
        if self._app is None:
            from gpunb.sim.serving.gate import build

            self._app = build(self)
        return self._app

    def html(self, status: int) -> Response:
        """Return an HTML error, as of a proxy in front of a cloud."""
        return HTMLResponse(f"<html><body><h1>{status}</h1><hr>nginx</body></html>", status)

    # -- machines ----------------------------------------------------------------

    def launch(
        self,
        account: Account,
        label: str,
        spec: HostSpec | None,
        *,
        machine_id: str | None = None,
        boot_s: float | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Machine:
        """Start an instance, with the faults that are due for it."""
        now = self.clock.now()
        machine_id = machine_id or self.new_id()
        machine = Machine(
            id=machine_id,
            account=account,
            label=label,
            created=now,
            ready_at=now + (self.boot_seconds if boot_s is None else boot_s),
            bill=account.bill(machine_id, label),
            phase_at=now,
            listed_at=now,
            spec=spec,
            data=dict(data or {}),
        )
        for kind in ("stuck-loading", "wrong-image", "never-starts", "key-late", "list-lag", *HOST_KINDS):
            if fault := self.fault(kind):
                machine.troubles[kind] = fault
        if stuck := machine.troubles.get("stuck-loading"):
            machine.ready_at = now + stuck.number("seconds", float("inf"))
        if lag := machine.troubles.get("list-lag"):
            machine.listed_at = now + lag.number("seconds", 60.0)
        if spec is not None and not machine.troubles.keys() & {
            "stuck-loading",
            "wrong-image",
            "never-starts",
        }:
            if "key-late" in machine.troubles:
                machine.data["late_keys"] = list(spec.public_keys)
                spec.public_keys = ()
            for kind in machine.troubles.keys() & set(HOST_KINDS):
                cheated.worsen(spec, kind)
            self._boot(machine, spec)
        self.machines[machine.id] = machine
        return machine

    def sell_twice(self, machine: Machine) -> None:
        """Sell the offer twice, if that fault is due: `machine` is the one that fails later."""
        if self.fault("double-buy"):
            self.trouble(machine, "double-buy")

    def trouble(self, machine: Machine, kind: str, **params: Any) -> None:
        """Make `machine` suffer from `kind` from its first moment on."""
        machine.troubles[kind] = Fault(kind=kind, params=params)

    def settle(self) -> None:
        """Bring machines and accounts up to the clock; called before each request, under the lock."""
        now = self.clock.now()
        for machine in list(self.machines.values()):
            self._settle_one(machine, now)
        self.check_funds(now)

    def check_funds(self, now: float) -> None:
        """Find the moment at which an account's money was used up."""
        for account in self.accounts.values():
            if account.usd_h() > 0 and account.balance(now) <= 1e-9:
                over = -account.balance(now)
                self.broke(account, now - 3600.0 * over / account.usd_h())

    def _settle_one(self, machine: Machine, now: float) -> None:
        if machine.phase is Phase.BOOTING and now >= machine.ready_at:
            booting = machine.booting
            if "double-buy" in machine.troubles:
                machine.fail_reason = "the machine was rented twice; somebody else has it"
                self.change(machine, Phase.FAILED, machine.ready_at)
            elif "wrong-image" in machine.troubles:
                self.image_failed(machine, machine.ready_at)
            elif booting is None:
                self.change(machine, Phase.RUNNING, machine.ready_at)
            elif booting.done():
                if error := booting.exception():
                    machine.fail_reason = f"host did not start: {error}"
                    self.change(machine, Phase.FAILED, now)
                else:
                    machine.host = booting.result()
                    # a machine without SSH is ready at the exact moment, a real one when it really is
                    self.change(machine, Phase.RUNNING, now if self.hosts.real else machine.ready_at)
        if machine.phase is Phase.RUNNING and (late := machine.troubles.get("key-late")):
            keys = machine.data.get("late_keys")
            if keys and machine.host and now >= machine.phase_at + late.number("seconds", 30.0):
                del machine.data["late_keys"]
                self.hosts.authorize(machine.host, keys)
        self._recover(machine, now)
        if machine.phase is Phase.ENDING and machine.end_at is not None and now >= machine.end_at:
            self.change(machine, Phase.ENDED, machine.end_at)

    def _recover(self, machine: Machine, now: float) -> None:
        """Restart a host whose outage is over, or an outbid machine whose bid wins again."""
        kind = {Phase.OFFLINE: "host-offline", Phase.OUTBID: "outbid"}.get(machine.phase, "")
        fault = machine.troubles.get(kind)
        if fault is None or now < machine.phase_at + fault.number("seconds", float("inf")):
            return
        del machine.troubles[kind]
        self.start(machine, boot_s=min(self.boot_seconds, 5.0))

    def image_failed(self, machine: Machine, at: float) -> None:
        """Fail `machine` because its image can't be pulled; clouds may override this."""
        machine.fail_reason = machine.fail_reason or "image could not be pulled: manifest unknown"
        self.change(machine, Phase.FAILED, at)

    def change(self, machine: Machine, new: Phase, at: float) -> None:
        """Change the phase of `machine` to `new` as of `at`."""
        old, machine.phase, machine.phase_at = machine.phase, new, at
        if old is not new:
            self.on_phase(machine, old, new, at)
        if new in (Phase.ENDED, Phase.FAILED):
            machine.seen_as = None
            self._drop_host(machine)

    def end(self, machine: Machine, at: float | None = None) -> None:
        """Start the end of `machine`."""
        at = self.clock.now() if at is None else at
        machine.end_at = at + self.end_seconds
        if lag := machine.troubles.get("destroy-lag") or self.fault("destroy-lag", "destroy"):
            machine.seen_as = machine.phase
            machine.end_at += lag.number("seconds", 30.0)
        self.change(machine, Phase.ENDING, at)
        self._drop_host(machine)

    def stop(self, machine: Machine, phase: Phase = Phase.STOPPED) -> None:
        """Power off `machine` for the reason that `phase` names; the disk stays."""
        self.change(machine, phase, self.clock.now())
        if machine.host is not None:
            self._later(self.hosts.stop, machine.host)

    def start(self, machine: Machine, *, boot_s: float | None = None) -> None:
        """Power on `machine` again."""
        now = self.clock.now()
        machine.ready_at = now + (self.boot_seconds if boot_s is None else boot_s)
        if machine.host is not None:
            machine.booting = self._later(self.hosts.start, machine.host)
        self.change(machine, Phase.BOOTING, now)

    def afflict(self, kind: str, instance_id: str | None = None, **params: Any) -> int:
        """Inject a fault now, into one instance or all alive ones; return how many."""
        fault = Fault(kind=kind, params=params)
        with self.lock:
            self.settle()
            if kind == "zero-balance":
                now = self.clock.now()
                for account in self.accounts.values():
                    account.deposit -= account.balance(now)
                    account.data |= params  # properties of the account: card=False
                    self.broke(account, now)
                return len(self.accounts)
            hit = [
                found for found in self.machines.values() if found.alive and instance_id in (None, found.id)
            ]
            for machine in hit:
                machine.troubles[kind] = fault
                self.suffer(machine, fault)
            return len(hit)

    def suffer(self, machine: Machine, fault: Fault) -> None:
        """Apply a fault to a live machine; clouds add their own."""
        if fault.kind == "host-offline" and machine.phase is Phase.RUNNING:
            self.stop(machine, Phase.OFFLINE)
        elif fault.kind == "outbid" and machine.phase is Phase.RUNNING:
            self.stop(machine, Phase.OUTBID)

    def listed(self, account: Account) -> list[Machine]:
        """List the account's machines that the list shows now, oldest first."""
        now = self.clock.now()
        return [
            machine
            for machine in self.machines.values()
            if machine.account is account and machine.listed_at <= now
        ]

    def ignores_destroy(self, machine: Machine) -> bool:
        """Return whether this destroy answers success and does nothing."""
        return "destroy-ignored" in machine.troubles or self.fault("destroy-ignored", "destroy") is not None

    # -- true state, for tests and for ``gpunb sim status`` -----------------------

    def billed_now(self) -> list[Machine]:
        """List the machines that are billed at this moment."""
        with self.lock:
            self.settle()
            return [machine for machine in self.machines.values() if machine.bill.billed()]

    def bill_of(self, instance_id: str) -> dict[str, float]:
        """Return the dollars by kind of one instance, until now."""
        with self.lock:
            self.settle()
            return self.machines[instance_id].bill.by_kind(self.clock.now())

    def wait_for_hosts(self, timeout: float = 60.0) -> None:
        """Wait until the hosts that are being started are up (real hosts only)."""
        for machine in list(self.machines.values()):
            if machine.booting is not None:
                machine.booting.exception(timeout)

    def close(self) -> None:
        """End all hosts."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)
        self.hosts.close()

    def _boot(self, machine: Machine, spec: HostSpec) -> None:
        machine.booting = self._later(self.hosts.launch, spec)

    def _drop_host(self, machine: Machine) -> None:
        booting, machine.booting = machine.booting, None
        if machine.host is not None:
            self._later(self.hosts.terminate, machine.host)
            machine.host = None
        elif booting is not None:
            booting.add_done_callback(self._terminate_late)

    def _terminate_late(self, booting: Future[Host]) -> None:
        # ended while it was still being started
        if not booting.cancelled() and booting.exception() is None:
            self.hosts.terminate(booting.result())

    def _later(self, work: Any, *args: Any) -> Future[Any]:
        if not self.hosts.real:
            done: Future[Any] = Future()
            done.set_result(work(*args))
            return done
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix=f"sim-{self.name}")
        # a start must not overtake the stop before it: what is done to one host is done in order
        subject = str(getattr(args[0], "handle", None) or getattr(args[0], "id", "")) if args else ""
        before = self._works.get(subject)

        def in_order() -> Any:
            if before is not None:
                wait_for([before])
            return work(*args)

        begun: Future[Any] = self._pool.submit(in_order)
        self._works[subject] = begun
        return begun
