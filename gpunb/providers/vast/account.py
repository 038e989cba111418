"""The account at Vast: user, credit, charges, keys, variables, templates."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any

from pydantic import Field, SecretStr

from gpunb.errors import BadAnswer, BadInput, ProviderError
from gpunb.hints import typed
from gpunb.providers.base import UsageLine
from gpunb.providers.edge.payload import Wire, parse, rows
from gpunb.providers.edge.text import clean
from gpunb.providers.features import (
    ApiKeys,
    Benchmarks,
    MachineReports,
    SavedTemplates,
    ScopedKeys,
    SshKeys,
    Variables,
)
from gpunb.providers.machine.templates import Template
from gpunb.providers.vast import api, search, templates
from gpunb.providers.vast.base import VastBase, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.providers.models import CreateSpec

__all__ = ["SCOPES", "ApiKey", "Benchmark", "Report", "User", "VastAccount"]

_log = logging.getLogger("gpunb.providers.vast")

#: The smallest set of categories with which gpunb works: search, the key's
#: owner, instances, and what they were charged (Vast's page on permissions).
SCOPES = ("misc", "user_read", "instance_read", "instance_write", "billing_read")

#: All of them (its page on permissions).
_CATEGORIES = (
    "misc",
    *(
        f"{kind}_{way}"
        for kind in ("user", "instance", "billing", "machine", "team")
        for way in ("read", "write")
    ),
)

_DAY_S = 86_400.0
_KINDS = {"gpu": "gpu", "disk": "disk", "bwu": "bandwidth", "bwd": "bandwidth"}


class User(Wire):
    """``GET /users/current``, without its ``api_key``."""

    id: int | None = None
    username: str = ""
    email: str = ""
    credit: float | None = None
    balance: float | None = None
    parent_id: int | None = None

    @property
    def left(self) -> float | None:
        """US dollars that can be spent."""
        return self.credit if self.credit is not None else self.balance

    @property
    def spends_from(self) -> str:
        """The account that pays for rentals; a sub-account has credit of its own."""
        if self.id is None:
            return ""
        if self.parent_id is not None:
            return f"its own credit, as sub-account {self.id} of account {self.parent_id}"
        return f"the credit of account {self.id}"


class _Template(Wire):
    """A saved configuration of a container."""

    id: int | None = None
    creator_id: int | None = None
    hash_id: str = ""
    name: str = ""
    image: str = ""
    tag: str = ""
    onstart: str = ""
    recommended_disk_space: float | None = None


class Report(Wire):
    """A renter's report of a machine."""

    problem: str = ""
    message: str = ""
    created_at: float | str | None = None


class Benchmark(Wire):
    """A benchmark result of a machine's GPUs, with one of Vast's templates."""

    machine_id: int | None = None
    gpu_name: str = ""
    num_gpus: int = 1
    value: float | None = None
    type: str = ""
    image: str = ""
    last_update: float | None = None


class ApiKey(Wire):
    """An API key of the account; the secret is shown only when it is made."""

    id: int
    name: str = ""
    permissions: Any = None
    created_at: float | str | None = None


class _Charge(Wire):
    source: str = ""
    amount: float = 0.0
    start: float | None = None
    end: float | None = None
    items: list[dict[str, Any]] = Field(default_factory=list)


class VastAccount(
    VastBase, SshKeys, ApiKeys, ScopedKeys, Variables, SavedTemplates, MachineReports, Benchmarks
):
    """Calls that concern the account and not one instance."""

    def gpu_names(self) -> list[str]:
        """Return the GPU names that Vast has, cached; empty, for no filter, if Vast does not give them."""
        if self._gpu_names is None:
            try:
                answer = self._api.call(
                    "GET", "/api/v0/gpu_names/unique/", expect=(dict, list), deadline=10.0
                )
            except ProviderError as err:
                _log.info("vast: GPU names: %s", err.message)
                return []
            found = answer if isinstance(answer, list) else answer.get("gpu_names") or []
            self._gpu_names = [name for name in found if isinstance(name, str) and len(name) < 100]
        return self._gpu_names

    _gpu_names: list[str] | None = None

    def user(self) -> User:
        """Return the owner of the key."""
        answer = self._call("GET", "/users/current/")
        answer.pop("api_key", None)
        return parse(User, answer, provider=self.name, what="the user")

    def charges(self, *, since: float | None = None, until: float | None = None) -> list[UsageLine]:
        """Return Vast's charges, by instance (or volume) and kind; of the last 90 days by default."""
        end = time.time() + _DAY_S if until is None else until
        start = end - 90 * _DAY_S if since is None else since
        found = self._pages(
            "/charges/",
            "results",
            what="charges",
            limit=500,
            select_filters={"day": {"gte": start, "lte": end}, "type": {"in": ["instance", "volume"]}},
        )
        out: list[UsageLine] = []
        for raw in found:
            row = parse(_Charge, raw, provider=self.name, what="a charge")
            ident = row.source.removeprefix("instance-")
            for item in row.items or [{"type": "other", "amount": row.amount}]:
                amount = item.get("amount")
                if isinstance(amount, (int, float)):
                    kind = str(item.get("type", "other"))
                    line = UsageLine(
                        instance_id=ident,
                        kind=_KINDS.get(kind, clean(kind, 40)),
                        usd=float(amount),
                        start=row.start,
                        end=row.end,
                    )
                    out.append(line)
        return out

    # variables of the account, injected into every container of it

    def env_vars(self) -> dict[str, SecretStr]:
        """List the account's variables. Each host that is rented can read them."""
        answer = self._call("GET", "/secrets/")
        found = answer.get("secrets")
        if not isinstance(found, dict):
            msg = (
                f"Vast.ai: the account's variables: field secrets is {clean(repr(found), 60)}, not an object"
            )
            raise BadAnswer(msg, provider=self.name)
        return {str(name): SecretStr(str(value)) for name, value in found.items()}

    def set_env_var(self, name: str, value: SecretStr) -> str:
        """Set a variable; return its name as Vast stores it, in capitals."""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name):
            msg = f"variable {clean(name, 60)!r} must be letters, digits and _, not beginning with a digit"
            raise BadInput(msg)
        kept = name.upper()
        method = "PUT" if kept in self.env_vars() else "POST"
        self._call(method, "/secrets/", json={"key": kept, "value": value.get_secret_value()}, safe=True)
        return kept

    def delete_env_var(self, name: str) -> None:
        """Delete a variable."""
        self._call("DELETE", "/secrets/", json={"key": name.upper()}, safe=True)

    # SSH keys of the account: only instances that are made later get them

    def ssh_keys(self) -> list[dict[str, Any]]:
        """List the account's SSH keys."""
        try:
            answer = self._call("GET", "/ssh/", expect=(dict, list))
        except api.NoKeysError:
            return []
        found = answer if isinstance(answer, list) else answer.get("ssh_keys", answer.get("keys"))
        if not isinstance(found, list):
            msg = f"Vast.ai: the account's SSH keys must be a list; the answer was {clean(repr(answer), 120)}"
            raise BadAnswer(msg, provider=self.name)
        return [row for row in found if isinstance(row, dict)]

    def delete_ssh_key(self, key_id: str) -> None:
        """Remove a key; running instances keep it."""
        self._call("DELETE", f"/ssh/{number(key_id, 'key')}/", json={}, safe=True)

    # API keys

    def create_scoped_key(self, name: str = "gpunb", more: Sequence[str] = ()) -> SecretStr:
        """Make the smallest key with which gpunb works, plus the categories `more`.

        It is shown this once, and never sent twice.
        """
        unknown = [scope for scope in more if scope not in _CATEGORIES]
        if unknown:
            msg = f"--may {clean(unknown[0], 40)!r}: must be one of {', '.join(_CATEGORIES)}"
            raise BadInput(msg, bill="no key was made")
        scopes = dict.fromkeys([*SCOPES, *more])
        body = {"name": name, "permissions": {"api": {scope: {} for scope in scopes}}}
        answer = self._call("POST", "/auth/apikeys/", json=body)
        value = answer.get("key") or answer.get("api_key")
        if not isinstance(value, str) or not value:
            msg = "Vast.ai made a key and did not show it (field key)"
            raise BadAnswer(
                msg, provider=self.name, effect="unknown", hint="look at cloud.vast.ai/manage-keys"
            )
        return SecretStr(value)

    def api_keys(self) -> list[ApiKey]:
        """List the account's API keys, without the secrets."""
        answer = self._call("GET", "/auth/apikeys/", expect=(dict, list))
        found = answer
        if isinstance(answer, dict):
            found = rows(answer, "apikeys", provider=self.name, what="API keys")
        keys = [{k: v for k, v in row.items() if k not in ("key", "api_key")} for row in found]
        return [parse(ApiKey, row, provider=self.name, what="an API key") for row in keys]

    def delete_api_key(self, key_id: int) -> None:
        """Revoke an API key."""
        self._call("DELETE", f"/auth/apikeys/{number(key_id, 'key')}/", json={}, safe=True)

    # shared information

    def templates(self) -> list[Template]:
        """List all templates that the account can see."""
        return self.search_templates()

    def save_template(self, name: str, spec: CreateSpec) -> tuple[str, bool]:
        """Save a private template; an existing one of that name gets a new version with a new hash."""
        sent = templates.body(name, spec)
        me = self.user().id
        mine = [
            template
            for template in self._templates({"name": {"eq": name}})
            if template.creator_id == me and template.id is not None
        ]
        if mine:
            last = max(mine, key=lambda one: one.id or 0)
            sent |= {"id": last.id, "hash_id": last.hash_id}
            answer = self._call("PUT", "/api/v1/template/", json=sent)
        else:
            answer = self._call("POST", "/template/", json=sent)
        self._done(answer, f"keep the template {clean(name, 80)}")
        made = parse(_Template, answer.get("template") or {}, provider=self.name, what="the template")
        if not made.hash_id:
            msg = f"Vast.ai took the template {clean(name, 80)} and named no hash (field template.hash_id)"
            raise BadAnswer(msg, provider=self.name, hint=typed("offers --templates WORD") + " lists it")
        return made.hash_id, bool(mine)

    def search_templates(self, filters: dict[str, Any] | None = None) -> list[Template]:
        """Search templates by ``{"name": {"eq": …}}``."""
        return [
            Template(
                id=template.hash_id,
                name=template.name,
                image=f"{template.image}:{template.tag}"
                if template.image and template.tag
                else template.image,
                onstart=template.onstart,
                disk_gb=template.recommended_disk_space or 0.0,
            )
            for template in self._templates(filters or {})
        ]

    def _templates(self, filters: dict[str, Any]) -> list[_Template]:
        params = api.query(select_cols=["*"], select_filters=filters)
        answer = self._call("GET", "/template/", params=params)
        found = rows(answer, "templates", provider=self.name, what="templates")
        return [parse(_Template, row, provider=self.name, what="a template") for row in found]

    def template(self, wanted: str) -> Template:
        """Return the one template with the hash, or the name, `wanted`.

        Raises
        ------
        BadInput
            There is none, or several.
        """
        by_hash = re.fullmatch(r"[0-9a-fA-F]{32}", wanted) is not None
        found = self.search_templates({"hash_id" if by_hash else "name": {"eq": wanted}})
        if len(found) == 1 and found[0].id:
            return found[0]
        word = "hash" if by_hash else "name"
        shown = ", ".join(f"{one.id} ({clean(one.image, 60)})" for one in found[:5])
        msg = f"template {clean(wanted, 80)!r}: Vast.ai has {len(found) or 'none'} of that {word}"
        hint = (
            f"name one by its hash: {shown}" if found else (typed("offers --templates WORD") + " lists them")
        )
        raise BadInput(msg, bill="nothing was rented", hint=hint)

    def benchmarks(self, of: str) -> list[Benchmark]:
        """Return the newest 100 benchmarks of the machine with the number `of`, or of GPUs with that name."""
        if of.isdecimal():
            filters: dict[str, Any] = {"machine_id": {"eq": int(of)}}
        else:
            names = search.gpu_names((of,), self.gpu_names())
            if not names:
                msg = f"benchmarks of {clean(of, 60)!r}: {self.title} has no such GPU"
                raise BadInput(msg, hint=typed("offers") + " lists them; a number is a machine's")
            filters = {"gpu_name": {"in": names}}
        order = [{"col": "last_update", "dir": "desc"}]
        params = api.query(select_cols=["*"], select_filters=filters, order_by=order, limit=100)
        answer = self._call("GET", "/benchmarks", params=params)
        found = rows(answer, "benchmarks", provider=self.name, what="benchmarks")
        return [parse(Benchmark, row, provider=self.name, what="a benchmark") for row in found]

    def machine_reports(self, machine_id: str) -> list[Report]:
        """Return renters' recent reports of a machine."""
        path = f"/machines/{number(machine_id, 'machine')}/reports/"
        answer = self._call("GET", path, expect=(dict, list))
        found = answer
        if isinstance(answer, dict):
            found = rows(answer, "reports", provider=self.name, what="reports")
        return [parse(Report, row, provider=self.name, what="a report") for row in found]
