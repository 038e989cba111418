"""What only some clouds show beside offers: images, templates, what machines are like."""

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
        """Their records as the cloud words them: ``image``, ``expose``, ``environment``."""


@lacking("list templates")
@runtime_checkable
class Templates(Protocol):
    """Saved ways of starting a container."""

    def templates(self) -> Sequence[Template]:
        """All that the account sees."""

    def template(self, wanted: str) -> Template:
        """The one with the id, or the name, `wanted`; none or several are `BadInput`."""


@lacking("keep templates")
@runtime_checkable
class SavedTemplates(Templates, Protocol):
    """Templates of the account."""

    def save_template(self, name: str, spec: CreateSpec) -> tuple[str, bool]:
        """Keep image, variables, ports, scripts and disk of `spec`: its id, and whether one changed."""


class Report(Protocol):
    """What a renter said of a machine; `created_at` as Unix seconds or in the cloud's words."""

    problem: str
    message: str
    created_at: float | str | None


class Benchmark(Protocol):
    """What GPUs reached on a machine; `value` in what its `type` counts, the higher the better."""

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
    """What machines reached in the cloud's own tests."""

    def benchmarks(self, of: str) -> Sequence[Benchmark]:
        """The newest of the machine with that number, or of GPUs with such a name."""


@lacking("show what renters reported")
@runtime_checkable
class MachineReports(Protocol):
    """What renters reported of a machine lately."""

    def machine_reports(self, machine_id: str) -> Sequence[Report]:
        """Reports of the machine with that `Offer.machine_id`."""
