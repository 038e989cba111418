"""Copies that a cloud makes itself, and access to the files of a stopped instance."""

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
    """A scheduled copy; `request_body` has ``src``, ``dst`` and ``selected``."""

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
        """List the linked stores."""

    def start_cloud_copy(
        self, instance_id: str, connection: int, source: str, target: str, *, to_instance: bool
    ) -> None:
        """Start a copy; absolute paths, in the store ``/bucket/path``. Never sent twice."""

    def cancel_cloud_copy(self, instance_id: str) -> None:
        """Cancel a copy; what it has moved stays."""

    def copy_state(self, message: str) -> bool | None:
        """Return the copy's state from an instance's `message`: True done, False failed, None neither."""

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
        """Schedule ``hourly``, ``daily`` or ``weekly`` copies from it between two Unix times (UTC hours)."""

    def scheduled_copies(self, instance_id: str | None = None) -> Sequence[ScheduledJob]:
        """List the scheduled copies of an instance, or of all."""

    def end_scheduled_copy(self, job_id: int) -> None:
        """Delete a scheduled copy."""


@lacking("copy from a stopped instance")
@runtime_checkable
class InstanceCopy(StoppedCommands, Protocol):
    """Copies from one instance, also a stopped one, to one that runs."""

    def copy_between(self, source_id: str, source: str, target_id: str, target: str) -> None:
        """Start a copy; absolute paths. Never sent twice."""

    def cancel_copy_between(self, target_id: str) -> None:
        """Cancel a copy; what it has moved stays."""

    def copy_state(self, message: str) -> bool | None:
        """Return the copy's state as in `CloudCopy`, from the target's message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFiles:
    """SSH login, with the instance's key, to an rsync daemon that serves its files as `module`."""

    host: str
    port: int
    user: str
    module: str


@lacking("give the files of a stopped instance")
@runtime_checkable
class StoppedFiles(StoppedCommands, Protocol):
    """Files of a stopped instance, read from the computer that it is on."""

    def serve_files(self, instance_id: str, path: str) -> ServedFiles:
        """Have the computer serve the absolute `path` to rsync."""
