"""Server of simulated clouds on loopback ports: in threads of this process, or in one of its own.

``python -m gpunb.sim.serving.runner OPTIONS_JSON`` is the detached process that
``gpunb sim up`` starts; it ends at SIGTERM, or when its state file goes away.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.providers import names, provider_class
from gpunb.sim.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import FrameType

    import uvicorn
    from typing_extensions import Self

    from gpunb.sim.cloud import Cloud
    from gpunb.sim.hosts.machines import Hosts

__all__ = ["CLOUDS", "Served", "Simulation", "cloud_class"]


def _simulations() -> dict[str, str]:
    result = {}
    for name in names():
        with contextlib.suppress(BadInput):  # a plug-in that can't be imported has no simulation either
            if where := provider_class(name).simulation:
                result[name] = where
    return result


#: name -> path of its class, as the providers name them; the class is imported when asked for
CLOUDS: Mapping[str, str] = _simulations()


def cloud_class(name: str) -> type[Cloud]:
    """Import and return the simulated cloud's class called `name`.

    Raises
    ------
    ValueError
        There is no such one.
    """
    where = CLOUDS.get(name)
    if where is None:
        msg = f"there is no simulated cloud {name!r}; there are {', '.join(CLOUDS)}"
        raise ValueError(msg)
    module, _, attribute = where.partition(":")
    result: type[Cloud] = getattr(importlib.import_module(module), attribute)
    return result


class Served:
    """One cloud served on a port of its own, in a thread of its own."""

    def __init__(self, cloud: Cloud, port: int = 0) -> None:
        self.cloud = cloud
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start to serve; return when requests are answered."""
        import uvicorn

        config = uvicorn.Config(
            self.cloud.app(),
            log_level="critical",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = _without_loose_ends(uvicorn)(config)
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [self._socket]},
            name=f"sim-{self.cloud.name}",
            daemon=True,
        )
        self._thread.start()
        until = time.monotonic() + 20
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                msg = f"the simulated {self.cloud.title} did not start on port {self.port}"
                raise RuntimeError(msg)
            time.sleep(0.005)

    def end(self) -> None:
        """Start to stop; `stop` waits for it."""
        if self._server is not None:
            self._server.should_exit = self._server.force_exit = True

    def stop(self) -> None:
        """Stop serving and end the cloud's hosts."""
        self.end()
        if self._thread is not None:
            self._thread.join(10)
        self._socket.close()
        self.cloud.close()


def _without_loose_ends(uvicorn: Any) -> Any:
    """Return uvicorn's server, which closes also what it accepted just before its end."""

    class Server(uvicorn.Server):  # type: ignore[misc]
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for server in self.servers:
                server.close()
            await asyncio.sleep(0.01)  # a connection that was accepted gets its protocol, which is closed
            await super().shutdown(sockets)

    return Server


class Simulation:
    """Several clouds on one clock.

    Parameters
    ----------
    names
        Which clouds; all if left out.
    seed, speed, balance
        As for `Cloud` and `Clock`.
    hosts
        Makes each cloud's hosts; `PaperHosts` if left out.
    """

    def __init__(
        self,
        names: Iterable[str] = tuple(CLOUDS),
        *,
        seed: int = 0,
        speed: float = 1.0,
        balance: float = 100.0,
        hosts: Hosts | None = None,
        boot_s: float | None = None,
    ) -> None:
        self.clock = Clock(speed)
        self.hosts = hosts
        self.served: dict[str, Served] = {}
        for name in names:
            cloud = cloud_class(name)(
                clock=self.clock, seed=seed, hosts=hosts, balance=balance, boot_s=boot_s
            )
            self.served[name] = Served(cloud)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __getitem__(self, name: str) -> Cloud:
        return self.served[name].cloud

    def start(self) -> None:
        """Start all clouds."""
        for served in self.served.values():
            served.start()

    def stop(self) -> None:
        """Stop all clouds and their hosts."""
        for served in self.served.values():
            served.end()
        for served in self.served.values():
            served.stop()
        if self.hosts is not None:
            self.hosts.close()

    def description(self) -> dict[str, dict[str, Any]]:
        """Return ``{provider: {"base_url", "key"}}``, as gpunb's settings read it."""
        result: dict[str, dict[str, Any]] = {}
        for name, served in self.served.items():
            row = result[name] = {"base_url": served.url + served.cloud.base_path, "key": served.cloud.key}
            if self.clock.speed > 1:
                # the clouds' minimum intervals are shorter too
                row["http"] = {"pace": 1.0 / self.clock.speed}
            if name == "deepinfra":
                row["accept_terms"] = True  # nothing is rented, so the terms need no consent
        return result


def _main(options: Mapping[str, Any]) -> int:
    from gpunb.sim.serving.state import write_marker

    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    marker = Path(options["marker"])
    hosts = None
    if options.get("hosts", True):
        from gpunb.sim.hosts.real import RealHosts

        hosts = RealHosts(Path(options["root"]))
    simulation = Simulation(
        options.get("clouds") or tuple(CLOUDS),
        seed=int(options.get("seed", 0)),
        speed=float(options.get("speed", 1.0)),
        balance=float(options.get("balance", 100.0)),
        boot_s=options.get("boot_s"),
        hosts=hosts,
    )
    with simulation:
        for served in simulation.served.values():
            if scenario := options.get("scenario"):
                served.cloud.faults.load(Path(scenario))
        mine = write_marker(marker, simulation.description(), active=bool(options.get("active", True)))
        while not ended.wait(0.5):
            for served in simulation.served.values():
                with served.cloud.lock:
                    served.cloud.settle()
            if not marker.exists() or marker.read_bytes() != mine:
                break
    return 0


if __name__ == "__main__":
    sys.exit(_main(json.loads(sys.argv[1])))
