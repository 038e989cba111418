"""Copies that a cloud makes itself, and what it reads of a stopped instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gpunb.providers.features.asking import lacking
from gpunb.providers.features.instances import StoppedCommands

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["CloudConnection", "CloudCopy", "InstanceCopy", "ScheduledJob", "ServedFiles", "StoppedFiles"]


class CloudConnection(Protocol):
    """An object store that is linked to the account."""

    id: int
    cloud_type: str
    name: str


class ScheduledJob(Protocol):
    """A copy that is made again and again; `request_body` has ``src``, ``dst`` and ``selected``."""

    id: int
    instance_id: int | None
    frequency: str
    hour_of_the_day: int | None
    day_of_the_week: int | None
    end_time: float | None
    request_body: Any


@lacking("copy between an instance and an object store itself")
@runtime_checkable
class CloudCopy(Protocol):
    """Copies between an instance, also a stopped one, and an object store that is linked to the account."""

    def connections(self) -> Sequence[CloudConnection]:
        """The linked stores."""

    def start_cloud_copy(
        self, instance_id: str, connection: int, source: str, target: str, *, to_instance: bool
    ) -> None:
        """Begin; absolute paths, in the store ``/bucket/path``. Never sent twice."""

    def cancel_cloud_copy(self, instance_id: str) -> None:
        """End it; what it has moved stays."""

    def copy_state(self, message: str) -> bool | None:
        """What an instance's `message` says of its copy: True done, False failed, None neither."""

    def schedule_cloud_copy(
        self,
        instance_id: str,
        connection: int,
        source: str,
        target: str,
        *,
        every: str,
        start: float,
        end: float,
        hour: int | None = None,
        weekday: int | None = None,
    ) -> None:
        """Copy from the instance ``hourly``, ``daily`` or ``weekly`` between two Unix times (UTC hours)."""

    def scheduled_copies(self, instance_id: str | None = None) -> Sequence[ScheduledJob]:
        """Those of an instance, or of all."""

    def end_scheduled_copy(self, job_id: int) -> None:
        """No further copies of this job."""


@lacking("copy from a stopped instance")
@runtime_checkable
class InstanceCopy(StoppedCommands, Protocol):
    """Copies from one instance, also a stopped one, to one that runs."""

    def copy_between(self, source_id: str, source: str, target_id: str, target: str) -> None:
        """Begin; absolute paths. Never sent twice."""

    def cancel_copy_between(self, target_id: str) -> None:
        """End it; what it has moved stays."""

    def copy_state(self, message: str) -> bool | None:
        """As in `CloudCopy`, of the target's message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFiles:
    """The SSH login, with the instance's key, behind which an rsync daemon has its files as `module`."""

    host: str
    port: int
    user: str
    module: str


@lacking("give the files of a stopped instance")
@runtime_checkable
class StoppedFiles(StoppedCommands, Protocol):
    """Files of a stopped instance, from the computer that it is on."""

    def serve_files(self, instance_id: str, path: str) -> ServedFiles:
        """Have the computer let rsync come for the absolute `path`."""
