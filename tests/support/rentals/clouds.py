"""Simulated clouds that gpunb takes for its own, as after ``gpunb sim up``, served by this process."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from gpunb.sim.serving import state
from gpunb.sim.serving.runner import CLOUDS, Simulation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextlib.contextmanager
def simulated(
    names: Iterable[str] = tuple(CLOUDS), *, real: bool = True, active: bool = True, **options: Any
) -> Iterator[Simulation]:
    """`names` up, quick, with SSH hosts if `real`; GPUNB_HOME must be set."""
    hosts = None
    if real:
        from gpunb.sim.hosts.real import RealHosts

        hosts = RealHosts(state.directory() / "hosts")
    options = {"speed": 20.0, "boot_s": 1.0, **options}
    with Simulation(names, hosts=hosts, **options) as simulation, known(simulation, active=active):
        yield simulation


@contextlib.contextmanager
def known(simulation: Simulation, *, active: bool = True) -> Iterator[None]:
    """A simulation that runs already, as the clouds of this GPUNB_HOME."""
    state.write_marker(state.marker_file(), simulation.description(), active=active)
    try:
        yield
    finally:
        state.marker_file().unlink(missing_ok=True)
