"""Sesterce's records, as its API sends them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gpunb.providers.edge.payload import Wire

__all__ = ["InstanceRow", "KeyRow", "OfferRow", "VolumeOfferRow", "VolumeRow"]


class CloudRow(Wire):
    id: str = Field(alias="_id")
    name: str = ""


class Configuration(Wire):
    ramGB: float = 0.0  # noqa: N815 - the API's name
    storageGB: float = 0.0  # noqa: N815
    vCpu: float = 0.0  # noqa: N815
    vRamGB: float = 0.0  # noqa: N815
    os: list[str] = Field(default_factory=list)
    interconnect: str = ""


class OfferRow(Wire):
    """An offer, to be had in each region of its ``availability``."""

    instance_id: str = Field(alias="instanceId")
    gpu: str = Field(alias="gpuName")
    gpus: int = Field(alias="gpuCount")
    usd_h: float = Field(alias="hourlyPrice")
    cloud: CloudRow
    availability: list[dict[str, Any]]
    deployment: str = Field("", alias="deploymentType")
    cloud_init: bool = Field(default=False, alias="cloudInitAvailable")
    configuration: Configuration = Field(default_factory=Configuration)


class KeyRow(Wire):
    """An SSH key of the account."""

    id: str = Field("", alias="_id")
    name: str = ""
    publicKey: str = ""  # noqa: N815 - the API's name


class InstanceRow(Wire):
    """An instance, in the list or in detail."""

    id: str = Field(alias="_id")
    status: str
    name: str = ""
    ip: str | None = None
    port: int | None = Field(None, alias="sshPort")
    user: str | None = Field(None, alias="sshUser")
    usd_h: float = Field(0.0, alias="hourlyPrice")
    created: str | None = Field(None, alias="createdAt")
    forwards: list[Any] = Field(default_factory=list, alias="portForwards")
    os: str | None = None
    docker_image: str | None = Field(None, alias="dockerImage")
    docker_command: str | None = Field(None, alias="dockerCommand")
    key: Any = Field(None, alias="sshKey")


class VolumeCloud(Wire):
    id: str = Field("", alias="_id")


class VolumeOfferRow(Wire):
    """An offer of volumes: one cloud's price in US dollars an hour for each GB, and its regions."""

    cloud: VolumeCloud = Field(alias="cloudProvider")
    price: float = Field(alias="pricePerGbPerHour")  # a string in the API
    least_gb: float = Field(1.0, alias="minSizeInGb")
    regions: list[str] = Field(default_factory=list)


class VolumeRow(Wire):
    """A volume; cloud and region are texts or objects."""

    id: str = Field(alias="_id")
    name: str = ""
    size_gb: float = Field(0.0, alias="sizeInGb")
    cloud: Any = Field("", alias="cloudProvider")
    region: Any = ""
