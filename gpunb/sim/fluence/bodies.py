"""Request bodies of Fluence's API, checked as it checks them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, field_validator, model_validator

__all__ = ["DeployContainer", "DeployMachine", "Key", "Rename", "UpdateContainer"]

_NAME = r"^[a-z0-9]([a-z0-9-]{0,23}[a-z0-9])?$"


class Port(BaseModel):
    """An exposed port."""

    port: str
    protocol: Literal["tcp", "udp", "http"] = "tcp"

    @field_validator("port")
    @classmethod
    def _in_range(cls, value: str) -> str:
        if not value.isdecimal() or not 1 <= int(value) <= 65535:
            msg = "Port must be between 1 and 65535"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _http_on_80(self) -> Port:
        if self.protocol == "http" and self.port != "80":
            msg = "Only port 80 supports the http protocol"
            raise ValueError(msg)
        return self


class Variable(BaseModel):
    """An environment variable."""

    name: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    value: str


class Credentials(BaseModel):
    """Credentials of a registry."""

    host: Literal["docker.io", "ghcr.io"]
    username: str
    password: str


class ContainerSettings(BaseModel):
    """Settings of a container: image, command, variables, ports."""

    image: str = Field(max_length=255, pattern=r"^[^A-Z\s]+$")
    expose: list[Port] = Field(min_length=1, max_length=10)
    environment: list[Variable] = Field(default=[], max_length=64)
    startup_command: str | None = Field(default=None, max_length=2048)
    credentials: Credentials | None = None


class Constraints(BaseModel):
    """Constraints on the location."""

    location: str | None = None


class DeployContainer(BaseModel):
    """Request body of ``POST /gpu/instances/``."""

    plan_id: str
    name: str = Field(pattern=_NAME)
    container_settings: ContainerSettings
    constraints: Constraints = Constraints()
    ssh_key: str | None = None


class UpdateSettings(ContainerSettings):
    """The container settings without ports, as in Fluence's own example; those of the deployment stay."""

    expose: list[Port] = Field(default=[], max_length=10)


class UpdateContainer(BaseModel):
    """Request body of ``PUT /gpu/instances/{id}``, a full replacement."""

    name: str = Field(pattern=_NAME)
    container_settings: UpdateSettings
    ssh_key: str | None = None


class DeployMachine(BaseModel):
    """Request body of ``POST /gpu/instances/vms`` and ``/baremetal``."""

    plan_id: str
    name: str = Field(pattern=_NAME)
    ssh_key: str = Field(min_length=20)
    os_image: str


class Rename(BaseModel):
    """Request body of ``PUT /gpu/instances/vms/{id}``."""

    name: str = Field(pattern=_NAME)


class Key(BaseModel):
    """Request body of ``POST /ssh_keys``."""

    name: str
    publicKey: str  # noqa: N815 - the API's name
