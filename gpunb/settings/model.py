"""All settings, with their rules: what ``gpunb config`` shows."""

from __future__ import annotations

import contextvars
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from gpunb import units
from gpunb.settings.project import Refused
from gpunb.trust import rank

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "PREFIX",
    "AgentSettings",
    "CheckSettings",
    "LimitsSettings",
    "NotifySettings",
    "ProviderSettings",
    "SecretsSettings",
    "Settings",
]

PREFIX = "GPUNB_"
SECRET_LEAST = 16
#: What a notice may be of.
NoticeKind = Literal["run", "lease", "budget", "machine", "unconfirmed", "increase", "cap"]

#: What `Settings` is built of, beside its arguments and the environment: the files from the highest
#: priority down, whether the environment is left out, and the lowest defaults.
file_layers: contextvars.ContextVar[tuple[Mapping[str, Any], ...]] = contextvars.ContextVar(
    "gpunb_settings_files", default=()
)
without_environment: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "gpunb_settings_bare", default=False
)
lowest_layer: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar(
    "gpunb_settings_lowest", default=MappingProxyType({})
)


def _hours(value: object) -> object:
    return units.duration(value) / 3600 if isinstance(value, str) and not _number(value) else value


def _seconds(value: object) -> object:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        msg = f"{value!r} has no unit; write it with one: 90s, 15m or 2h"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns ValueError into a named field
    return units.duration(value) if isinstance(value, str) else value


def _dollars(value: object) -> object:
    return units.money(value) if isinstance(value, str) else value


def _words(value: object) -> object:
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class ProviderSettings(BaseModel):
    """One ``[providers.NAME]`` table; other keys than these two are the provider's own."""

    model_config = ConfigDict(extra="allow")

    base_url: str | None = None
    key: SecretStr | None = None


class SecretsSettings(BaseModel):
    """The ``[secrets]`` table: which hosts a run's secrets may go to."""

    model_config = ConfigDict(extra="forbid")

    min_trust: Literal["own", "datacenter", "stranger"] = "datacenter"


class CheckSettings(BaseModel):
    """The ``[check]`` table: whether a machine is compared with its offer, and how much less is accepted."""

    model_config = ConfigDict(extra="forbid")

    on: bool = Field(default=True, description="check a machine when it is rented, before it is ready")
    memory: float = Field(
        default=0.05, ge=0, le=1, description="how much less GPU memory will do; 0.05 is 5%"
    )
    disk: float = Field(default=0.2, ge=0, le=1, description="part of the offered disk speed that will do")
    line: float = Field(default=0.2, ge=0, le=1, description="part of the offered line that will do")


class LimitsSettings(BaseModel):
    """The ``[limits]`` table: caps over all sessions; None is no cap, 0 allows nothing that costs."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    usd_h: Annotated[float | None, BeforeValidator(_dollars)] = Field(
        default=None, ge=0, description="US dollars an hour that all sessions cost together"
    )
    usd_day: Annotated[float | None, BeforeValidator(_dollars)] = Field(
        default=None, ge=0, description="US dollars a day (local time)"
    )
    usd_month: Annotated[float | None, BeforeValidator(_dollars)] = Field(
        default=None, ge=0, description="US dollars a month (local time)"
    )
    sessions: int | None = Field(default=None, ge=0, description="live sessions at a time")
    gpus: int | None = Field(default=None, ge=0, description="GPUs at a time")
    max_hours: Annotated[float | None, BeforeValidator(_hours)] = Field(
        default=None, gt=0, le=8784, description="how long a session may last, extensions included (hours)"
    )
    clouds: Annotated[list[str] | None, BeforeValidator(_words)] = Field(
        default=None, description="clouds that may be rented from"
    )
    trust: Literal["own", "datacenter", "stranger"] | None = Field(
        default=None, description="the least trust of a host that may be rented"
    )

    def looser(self, other: LimitsSettings) -> list[str]:
        """The caps of `other` that allow more than these do."""
        return [name for name in sorted(other.model_fields_set) if self._less(name, getattr(other, name))]

    def _less(self, name: str, value: Any) -> bool:
        mine = getattr(self, name)
        if mine is None:
            return False
        if value is None:
            return True
        if name == "clouds":
            return not {*value} <= {*mine}
        return rank(value) < rank(mine) if name == "trust" else bool(value > mine)


class AgentSettings(LimitsSettings):
    """The ``[agent]`` table: caps over the sessions that agents rent, and what a person has to confirm.

    A cap counts agents' sessions only; those of ``[limits]`` count all and hold as well.
    """

    confirm: Annotated[list[Literal["rent", "extend", "down"]] | None, BeforeValidator(_words)] = Field(
        default=None,
        description="what a person confirms: rent, extend, down; unset: all, or none once usd_h, usd_day or "
        "usd_month is set",
    )

    @property
    def confirmed(self) -> list[str]:
        """What a person has to confirm."""
        if self.confirm is not None:
            return list(self.confirm)
        capped = any(cap is not None for cap in (self.usd_h, self.usd_day, self.usd_month))
        return [] if capped else ["rent", "extend", "down"]


class NotifySettings(BaseModel):
    """The ``[notify]`` table: where the supervisor's notices go, and which; nowhere if no place is set."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    desktop: bool = Field(default=False, description="notices on this computer's desktop")
    webhook: SecretStr | None = Field(default=None, description="an address that JSON is posted to")
    to: Annotated[list[SecretStr], BeforeValidator(_words)] = Field(
        default=[], description="addresses of apprise, mailto://… or slack://…; needs gpunb[notify]"
    )
    events: Annotated[list[NoticeKind], BeforeValidator(_words)] = Field(
        default=list(get_args(NoticeKind)), description="what notices are of"
    )
    output: bool = Field(default=False, description="the last lines of a run in the notice of its end")
    vast_secret: SecretStr | None = Field(
        default=None, description="the secret of a webhook of Vast.ai, whose calls make the supervisor look"
    )
    vast_listen: str = Field(
        default="127.0.0.1:8750", description="where the supervisor takes those calls, if vast_secret is set"
    )

    @field_validator("webhook")
    @classmethod
    def _address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("https://", "http://")):
            msg = "it must begin with https:// or http://"
            raise ValueError(msg)
        return value

    @field_validator("vast_secret")
    @classmethod
    def _not_empty(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SECRET_LEAST:
            msg = f"it must have {SECRET_LEAST} characters or more: whoever guesses it can call"
            raise ValueError(msg)
        return value

    @field_validator("vast_listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        import ipaddress

        host, _, port = value.rpartition(":")
        try:
            ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
        except ValueError:
            host = ""
        if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            msg = f"{value!r} is no ADDRESS:PORT of this computer; write 127.0.0.1:8750 or [::1]:8750"
            raise ValueError(msg)
        return value


class Settings(BaseSettings):
    """All settings. Each field's description is what ``gpunb config`` shows."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", validate_default=False
    )

    clouds: Annotated[list[str], NoDecode, BeforeValidator(_words)] = Field(
        default=["auto"],
        min_length=1,
        description="clouds that offers and rent ask, by name; auto: those with a key, else this computer",
    )
    hours: Annotated[float, BeforeValidator(_hours)] = Field(
        default=2.0, gt=0, le=8784, description="lease: how long a session lives (hours, or 90m)"
    )
    idle: Annotated[float, BeforeValidator(_seconds)] = Field(
        default=1800.0, ge=60, description="lease: idle timeout (15m)"
    )
    budget: Annotated[float | None, BeforeValidator(_dollars)] = Field(
        default=None,
        gt=0,
        description="lease: what it may cost, US dollars; unset: 1.2 x gpu and disk for the hours",
    )
    price_tolerance: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="what the next offer may cost more than the one agreed to, unasked; 0.05 is 5%",
    )
    disk_gb: float = Field(default=20.0, ge=0, description="disk to rent with the machine, GB")
    python: str | None = Field(default=None, description="the host's Python for cells; unset: found there")
    save: Annotated[list[str], NoDecode, BeforeValidator(_words)] = Field(
        default=[], description="folders on the host that are brought back before the end"
    )
    cell_timeout: Annotated[float | None, BeforeValidator(_seconds)] = Field(
        default=None, description="how long a %%gpu cell may run (10m); unset: no limit"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="how much the log file keeps"
    )
    check: CheckSettings = Field(
        default=CheckSettings(), description="the check of a new machine: whether, and its tolerances"
    )
    secrets: SecretsSettings = Field(
        default=SecretsSettings(),
        description="secrets.min_trust: the least trust of a host that gets any: own, datacenter, stranger",
    )
    limits: LimitsSettings = Field(
        default=LimitsSettings(),
        description="caps over all sessions: usd_h, usd_day, usd_month, sessions, gpus, max_hours, clouds, "
        "trust",
    )
    agent: AgentSettings = Field(
        default=AgentSettings(),
        description="caps over what agents rent, as in limits, and confirm",
    )
    notify: NotifySettings = Field(
        default=NotifySettings(),
        description="where notices go, and which: desktop, webhook, to, events",
    )
    providers: dict[str, ProviderSettings] = Field(
        default={}, description="one table a cloud: base_url, key, its own options"
    )
    _simulated: frozenset[str] = PrivateAttr(default=frozenset())
    _refused: tuple[Refused, ...] = PrivateAttr(default=())
    _budget_most: float | None = PrivateAttr(default=None)

    @property
    def simulated(self) -> frozenset[str]:
        """The clouds whose address is a simulation's (``gpunb sim up``)."""
        return self._simulated

    @property
    def refused(self) -> tuple[Refused, ...]:
        """Settings of a project's file that are refused."""
        return self._refused

    @property
    def budget_most(self) -> float | None:
        """A project's budget if the user has set none: the lesser of it and the default holds."""
        return self._budget_most

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Set the order of sources; no .env file and no secrets folder."""
        files = tuple(_DataSource(settings_cls, data) for data in file_layers.get())
        above = (init_settings,) if without_environment.get() else (init_settings, env_settings)
        return (*above, *files, _DataSource(settings_cls, lowest_layer.get()))

    def provider(self, name: str) -> dict[str, Any]:
        """The keyword arguments of the provider's config: base_url, key and options."""
        table = self.providers.get(name, ProviderSettings())
        return {"base_url": table.base_url, "key": table.key, "options": dict(table.model_extra or {})}


class _DataSource(PydanticBaseSettingsSource):
    """A settings source of given values: one file, or the lowest defaults."""

    def __init__(self, settings_cls: type[BaseSettings], data: Mapping[str, Any]) -> None:
        super().__init__(settings_cls)
        self.data = data

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Not used: the source is read as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self.data)
