"""Vast's own copies: between an instance and a linked object store, and between instances.

They work on stopped instances too, and on containers only. Links are made on
Vast's web page; Vast hands the storage's credentials to the host. Only the
instance's status message has a copy's state, half a minute late
(vast-cli's help of ``cloud copy``, and the page on cloud sync).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadAnswer, BadInput
from gpunb.providers.edge.payload import Wire, parse
from gpunb.providers.edge.text import clean
from gpunb.providers.features import CloudCopy, InstanceCopy, ServedFiles, StoppedFiles
from gpunb.providers.vast.base import number
from gpunb.providers.vast.controls import VastControls

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FLAGS", "CloudConnection", "ScheduledJob", "VastCloudCopy", "copy_state"]

_COPY_USER = "vastai_kaalia"  # serves files at a host's computer, also while an instance is off

FLAGS = ("--dry-run", "--size-only", "--ignore-existing", "--update", "--delete-excluded")
_COPIES = "/api/v0/commands/rclone/"
_FREQUENCIES = ("HOURLY", "DAILY", "WEEKLY")
_OVER = re.compile(r"\bcopy operation (finished|complete)", re.IGNORECASE)
_FAILED = re.compile(r"\bcopy.*(fail|error|cancel|abort)|(rclone|rsync).*(fail|error)", re.IGNORECASE)


class CloudConnection(Wire):
    """An object store that is linked to the account: ``s3``, ``drive``, ``b2``, ``dropbox`` or ``hf``."""

    id: int
    cloud_type: str = ""
    name: str = ""


class ScheduledJob(Wire):
    """A job that Vast repeats; a copy if its endpoint is that of copies."""

    id: int
    instance_id: int | None = None
    api_endpoint: str = ""
    frequency: str = ""
    hour_of_the_day: int | None = None
    day_of_the_week: int | None = None
    end_time: float | None = None
    request_body: Any = None


class VastCloudCopy(VastControls, CloudCopy, InstanceCopy, StoppedFiles):
    """Calls to start, schedule and cancel copies."""

    def connections(self) -> list[CloudConnection]:
        """List the stores that are linked to the account."""
        answer = self._call("GET", "/users/cloud_integrations/", expect=(dict, list))
        found = answer if isinstance(answer, list) else answer.get("integrations", [])
        return [
            parse(CloudConnection, row, provider=self.name, what="a cloud connection")
            for row in found
            if isinstance(row, dict)
        ]

    def start_cloud_copy(
        self,
        instance_id: str,
        connection: int,
        source: str,
        target: str,
        *,
        to_instance: bool,
        flags: Sequence[str] = (),
    ) -> None:
        """Ask the host to start a copy; not sent twice.

        Parameters
        ----------
        source, target
            Paths: on the instance from its root, in the storage from its (``/bucket/path``).
        """
        body = self._copy_body(instance_id, connection, source, target, to_instance=to_instance, flags=flags)
        self._done(self._call("POST", "/commands/rclone/", json=body), f"copy for {instance_id}")

    def copy_state(self, message: str) -> bool | None:
        """Return the copy's state from a status message: True done, False failed, None neither."""
        return copy_state(message)

    def cancel_cloud_copy(self, instance_id: str) -> None:
        """Cancel the copy of an instance; it can't be resumed."""
        body = {"client_id": "me", "dst_id": int(number(instance_id, "instance"))}
        answer = self._call("DELETE", "/commands/rclone/", json=body, safe=True)
        self._done(answer, f"end the copy of {instance_id}")

    def copy_between(self, source_id: str, source: str, target_id: str, target: str) -> None:
        """Have the hosts copy from one instance to another; the source may be stopped. Not sent twice.

        Parameters
        ----------
        source, target
            Absolute paths; the target not / or /root itself, where the keys for such copies are.
        """
        for path in (source, target):
            if not path.startswith("/"):
                msg = f"path {clean(path, 80)!r} must be absolute"
                raise BadInput(msg, bill="nothing was moved")
        if target.rstrip("/") in ("", "/root"):
            msg = f"path {clean(target, 80)!r} must not be / or /root itself: SSH would break"
            raise BadInput(msg, bill="nothing was moved")
        body = {
            "client_id": "me",
            "src_id": f"C.{number(source_id, 'instance')}",
            "dst_id": f"C.{number(target_id, 'instance')}",
            "src_path": source,
            "dst_path": target,
        }
        self._done(self._call("PUT", "/commands/copy_direct/", json=body), f"copy from {source_id}")

    def serve_files(self, instance_id: str, path: str) -> ServedFiles:
        """Serve files as vastai 1.9.1 does for ``copy C.ID:PATH local:``, with a key of the instance's."""
        ident = number(instance_id, "instance")
        body = {
            "client_id": "me",
            "src_id": f"C.{ident}",
            "dst_id": "local",
            "src_path": path,
            "dst_path": ".",
        }
        answer = self._call("PUT", "/commands/copy_direct/", json=body, safe=True)
        self._done(answer, f"copy from {ident}")
        address, port = answer.get("src_addr"), answer.get("src_port")
        if not isinstance(address, str) or not str(port).isdecimal():
            shown = clean(repr(answer), 160)
            msg = f"Vast.ai: copy from {ident}: no src_addr and src_port; the answer was {shown}"
            raise BadAnswer(msg, provider=self.name)
        return ServedFiles(host=address.strip(), port=int(str(port)), user=_COPY_USER, module=f"C.{ident}")

    def cancel_copy_between(self, target_id: str) -> None:
        """Cancel all copies into an instance."""
        body = {"client_id": "me", "dst_id": f"C.{number(target_id, 'instance')}"}
        answer = self._call("DELETE", "/commands/copy_direct/", json=body, safe=True)
        self._done(answer, f"end the copies into {target_id}")

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
        """Schedule repeated copies from the instance to the store, between two Unix times.

        Parameters
        ----------
        every
            "hourly", "daily" or "weekly".
        hour
            Of the day in UTC, 0 to 23; not with "hourly".
        weekday
            0 (Sunday) to 6; with "weekly" only.
        """
        frequency = every.upper()
        if frequency not in _FREQUENCIES:
            msg = f"every {every!r}: must be hourly, daily or weekly"
            raise BadInput(msg)
        if (hour is None) != (frequency == "HOURLY") or (weekday is None) != (frequency != "WEEKLY"):
            msg = f"every {every!r}: hourly takes no hour, daily an hour, weekly an hour and a weekday"
            raise BadInput(msg)
        body = {
            "start_time": start,
            "end_time": end,
            "api_endpoint": _COPIES,
            "request_method": "POST",
            "request_body": self._copy_body(instance_id, connection, source, target, to_instance=False),
            "day_of_the_week": weekday,
            "hour_of_the_day": hour,
            "frequency": frequency,
            "instance_id": int(number(instance_id, "instance")),
        }
        self._done(self._call("POST", "/commands/schedule_job/", json=body), "schedule the copy")

    def scheduled_copies(self, instance_id: str | None = None) -> list[ScheduledJob]:
        """List the scheduled copies of an instance, or of all."""
        answer = self._call("GET", "/commands/schedule_job/", expect=(dict, list))
        found = answer if isinstance(answer, list) else answer.get("scheduled_jobs", [])
        jobs = [
            parse(ScheduledJob, row, provider=self.name, what="a scheduled job")
            for row in found
            if isinstance(row, dict)
        ]
        return [
            job
            for job in jobs
            if instance_id in (None, str(job.instance_id))
            and job.api_endpoint.strip("/") == _COPIES.strip("/")
        ]

    def end_scheduled_copy(self, job_id: int) -> None:
        """Delete a scheduled copy."""
        path = f"/commands/schedule_job/{number(job_id, 'scheduled job')}/"
        self._call("DELETE", path, safe=True, expect=(dict, list))

    @staticmethod
    def _copy_body(
        instance_id: str,
        connection: int,
        source: str,
        target: str,
        *,
        to_instance: bool,
        flags: Sequence[str] = (),
    ) -> dict[str, Any]:
        inside = target if to_instance else source
        if not inside.startswith("/") or (to_instance and inside.rstrip("/") in ("", "/root")):
            msg = f"path {clean(inside, 80)!r} must be absolute, and not / or /root itself: SSH would break"
            raise BadInput(msg)
        unknown = [flag for flag in flags if flag not in FLAGS]
        if unknown:
            msg = f"flag {unknown[0]!r}: Vast.ai takes {', '.join(FLAGS)}"
            raise BadInput(msg)
        return {
            "src": source,
            "dst": target,
            "instance_id": int(number(instance_id, "instance")),
            "selected": int(number(connection, "connection")),
            "transfer": "Cloud To Instance" if to_instance else "Instance To Cloud",
            "flags": list(flags),
        }


def copy_state(message: str) -> bool | None:
    """Return the copy's state from a status message: True done, False failed, None neither."""
    if _OVER.search(message):
        return True
    return False if _FAILED.search(message) else None
