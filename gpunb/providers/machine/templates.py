"""Saved configuration of a container: Vast's templates, Fluence's default images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Template"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template: values of a rental that the user does not set.

    Attributes
    ----------
    id
        How it is named: Vast's hash, Fluence's slug.
    onstart
        A script that its cloud would run, and that gpunb's own replaces.
    disk_gb
        GB of disk that it needs; 0 where it does not say.
    ports, env, start_command
        As in `gpunb.providers.base.CreateSpec`, where the create call has to name them.
    """

    id: str
    name: str = ""
    image: str = ""
    onstart: str = ""
    disk_gb: float = 0.0
    ports: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    start_command: str = ""
