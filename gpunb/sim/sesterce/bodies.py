"""Request bodies of Sesterce's API."""

from __future__ import annotations

from pydantic import BaseModel

__all__ = ["CreateIn", "KeyIn", "VmIn", "VolumeIn"]


class VmIn(BaseModel):
    """Request body ``VirtualMachineDto``."""

    os: str
    base64CloudInitScript: str | None = None  # noqa: N815 - the API's name


class DockerIn(BaseModel):
    """Request body ``DockerContainerDto``."""

    image: str


class CreateIn(BaseModel):
    """Request body ``CreateInstanceDto``."""

    name: str
    cloudProvider: str  # noqa: N815
    instanceId: str  # noqa: N815
    region: str
    volumeId: str | None = None  # noqa: N815
    vm: VmIn | None = None
    dockerContainer: DockerIn | None = None  # noqa: N815
    sshKeyId: str | None = None  # noqa: N815
    sshKey: str | None = None  # noqa: N815


class KeyIn(BaseModel):
    """Request body of a new key."""

    name: str
    publicKey: str  # noqa: N815


class VolumeIn(BaseModel):
    """Request body of a new volume."""

    cloudProvider: str  # noqa: N815
    region: str
    name: str
    sizeInGb: int  # noqa: N815
