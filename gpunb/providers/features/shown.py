"""Optional information beside offers: images, templates, benchmarks and reports of machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gpunb.providers.features.asking import lacking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.providers.machine.templates import Template
    from gpunb.providers.models import CreateSpec

__all__ = ["Benchmark", "Benchmarks", "Images", "MachineReports", "Report", "SavedTemplates", "Templates"]


@lacking("list images of its own")
@runtime_checkable
class Images(Protocol):
    """Images that the cloud keeps for its containers."""

    def default_images(self) -> Sequence[Mapping[str, Any]]:
        """List their records as the cloud has them: ``image``, ``expose``, ``environment``."""


@lacking("list templates")
@runtime_checkable
class Templates(Protocol):
    """Saved configurations of containers."""

    def templates(self) -> Sequence[Template]:
        """List all templates that the account can see."""

    def template(self, wanted: str) -> Template:
        """Return the template with the id, or the name, `wanted`; none or several are `BadInput`."""


@lacking("keep templates")
@runtime_checkable
class SavedTemplates(Templates, Protocol):
    """Templates that the account can save."""

    def save_template(self, name: str, spec: CreateSpec) -> tuple[str, bool]:
        """Save image, variables, ports, scripts and disk of `spec`; return id, and whether one changed."""


class Report(Protocol):
    """A renter's report of a machine; `created_at` as Unix seconds or the cloud's text."""

    problem: str
    message: str
    created_at: float | str | None


class Benchmark(Protocol):
    """A benchmark result of a machine's GPUs; `value` in the unit of its `type`, the higher the better."""

    machine_id: int | None
    gpu_name: str
    num_gpus: int
    value: float | None
    type: str
    image: str
    last_update: float | None


@lacking("show benchmarks")
@runtime_checkable
class Benchmarks(Protocol):
    """Benchmark results of machines in the cloud's own tests."""

    def benchmarks(self, of: str) -> Sequence[Benchmark]:
        """Return the newest results of the machine with that number, or of GPUs with that name."""


@lacking("show what renters reported")
@runtime_checkable
class MachineReports(Protocol):
    """Renters' recent reports of machines."""

    def machine_reports(self, machine_id: str) -> Sequence[Report]:
        """Return the reports of the machine with that `Offer.machine_id`."""
