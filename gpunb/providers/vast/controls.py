"""Calls for an instance at Vast beyond those that all clouds have."""

from __future__ import annotations

import json
import math
import re
import shlex
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.providers.edge.payload import Wire, parse, rows
from gpunb.providers.edge.text import clean
from gpunb.providers.features import (
    Bids,
    DaemonLog,
    InstanceKeys,
    Prepay,
    PriceIncrease,
    PriceIncreases,
    Snapshots,
    StoppedCommands,
)
from gpunb.providers.vast import api
from gpunb.providers.vast.base import VastBase, number
from gpunb.providers.vast.create import checked_key
from gpunb.providers.vast.offers import HOURS_A_MONTH

if TYPE_CHECKING:
    from pydantic import SecretStr

    from gpunb.providers.base import ProviderConfig

__all__ = ["AttachedKey", "VastControls"]


class AttachedKey(Wire):
    """An SSH key of one instance."""

    id: int
    public_key: str = ""
    key: str = ""
    ssh_key: str = ""

    @property
    def line(self) -> str:
        """The public key; the field's name differs between answers."""
        return self.public_key or self.key or self.ssh_key


class VastControls(
    VastBase, Bids, Prepay, PriceIncreases, DaemonLog, StoppedCommands, Snapshots, InstanceKeys
):
    """Calls for bids, deposits, keys, logs, files of stopped instances, price increases."""

    def __init__(self, config: ProviderConfig | None = None) -> None:
        super().__init__(config)
        self._late_keys: dict[str, str] = {}
        self._exited: dict[str, float] = {}  # instance -> the time since which its container is "exited"

    def recycle(self, instance_id: str) -> None:
        """Pull the image again and recreate the container; the GPU is kept, the container's disk is not."""
        path = f"/instances/recycle/{number(instance_id, 'instance')}/"
        self._done(self._call("PUT", path, json={}), f"recycle {instance_id}")

    def change_bid(self, instance_id: str, usd_h: float | None) -> None:
        """Bid `usd_h` dollars an hour for the machine; None bids what wins now."""
        if usd_h is not None and not (math.isfinite(usd_h) and 0 < usd_h <= 32 * 64):
            msg = f"bid: {usd_h!r} $/h must be above 0, and at most 32 for each GPU"
            raise BadInput(msg)
        path = f"/instances/bid_price/{number(instance_id, 'instance')}/"
        body = {"client_id": "me", "price": usd_h}
        self._done(self._call("PUT", path, json=body, safe=True), f"change the bid of {instance_id}")

    def prepay(self, instance_id: str, usd: float) -> dict[str, Any]:
        """Pay `usd` dollars into an instance for a discount; return its duration and rate.

        Adding small amounts later can make the discount smaller (Vast's page
        on reserved instances). Never sent twice.
        """
        if not (math.isfinite(usd) and usd > 0):
            msg = f"amount: {usd!r} must be above 0 dollars"
            raise BadInput(msg)
        path = f"/instances/prepay/{number(instance_id, 'instance')}/"
        answer: dict[str, Any] = self._call("PUT", path, json={"amount": usd})
        self._done(answer, f"take a deposit for {instance_id}")
        return answer

    def deposit(self, instance_id: str) -> dict[str, Any]:
        """Return what is left of an instance's deposit."""
        path = f"/instances/balance/{number(instance_id, 'instance')}/"
        answer: dict[str, Any] = self._call("GET", path, params={"owner": "me"})
        return answer

    def instance_log(
        self, instance_id: str, *, tail: int = 1000, pattern: str = "", daemon: bool = False
    ) -> str:
        """Return a snapshot of the container's log, or of the host daemon's (it tells why a pull failed)."""
        body: dict[str, Any] = {"tail": str(max(int(tail), 1))}
        if pattern:
            body["filter"] = pattern
        if daemon:
            body["daemon_logs"] = "true"
        path = f"/instances/request_logs/{number(instance_id, 'instance')}/"
        answer = self._call("PUT", path, json=body, safe=True, effect=False)
        return self._result(answer, f"the log of {instance_id}")

    def daemon_log(self, instance_id: str, *, tail: int = 1000) -> str:
        """Return the host daemon's log."""
        return self.instance_log(instance_id, tail=tail, daemon=True)

    def execute(self, instance_id: str, command: str) -> str:
        """Run ``ls``, ``rm`` or ``du`` on an instance, also a stopped one; Vast allows no other command."""
        try:
            words = shlex.split(command)
        except ValueError as err:
            msg = f"command: {command!r}: {err}"
            raise BadInput(msg) from err
        if not words or words[0] not in ("ls", "rm", "du"):
            msg = f"command: {clean(command, 80)!r} must begin with ls, rm or du; Vast.ai runs nothing else"
            raise BadInput(msg, hint=typed("exec") + " runs anything on a running instance")
        if len(command) > 512 or re.search(r"[;&|`$<>\n\r\x00]", command):
            msg = f"command: {clean(command, 80)!r} must be one plain command of at most 512 characters"
            raise BadInput(msg)
        path = f"/instances/command/{number(instance_id, 'instance')}/"
        answer = self._call("PUT", path, json={"command": command})
        text = self._result(answer, f"{words[0]} on {instance_id}")
        writable = answer.get("writeable_path")
        return text.replace(writable, "") if isinstance(writable, str) and writable else text

    # keys of one instance

    def attach_key(self, instance_id: str, public_key: str) -> None:
        """Let `public_key` (an OpenSSH line) log in.

        Vast owns ``authorized_keys`` and rewrites it, so a key must be known
        to Vast to stay (skypilot#10730). One that is there already is fine.
        """
        line = checked_key(public_key)
        path = f"/instances/{number(instance_id, 'instance')}/ssh/"
        try:
            answer = self._call("POST", path, json={"ssh_key": line}, safe=True)
        except api.AlreadyAttachedError:
            return
        if answer.get("success") is False and not api.already(answer):
            self._done(answer, f"attach a key to {instance_id}")

    def attached_keys(self, instance_id: str) -> list[AttachedKey]:
        """List the keys that Vast puts on an instance."""
        answer = self._call("GET", f"/instances/{number(instance_id, 'instance')}/ssh/", expect=(dict, list))
        found = answer
        if isinstance(answer, dict):
            field = "ssh_keys" if "ssh_keys" in answer else "keys"
            if isinstance(answer.get(field), str):  # a list as JSON text (show_instance_ssh_keys.yaml)
                answer = {field: _listed(answer[field])}
            found = rows(answer, field, provider=self.name, what="the keys of an instance")
        return [parse(AttachedKey, row, provider=self.name, what="a key") for row in found]

    def detach_key(self, instance_id: str, key_id: int) -> None:
        """Remove a key from an instance."""
        path = f"/instances/{number(instance_id, 'instance')}/ssh/{number(key_id, 'key')}/"
        self._done(self._call("DELETE", path, json={}, safe=True), f"detach key {key_id}")

    # price increases

    def price_increases(self) -> list[PriceIncrease]:
        """List the increases that hosts ask for and that wait for an answer."""
        answer = self._call("GET", "/instances/pending-price-increases/")
        found = rows(answer, "pending_price_increases", provider=self.name, what="price increases")
        return [
            _increase(parse(_IncreaseRow, row, provider=self.name, what="a price increase")) for row in found
        ]

    def answer_price_increase(self, increase_id: int, *, accept: bool) -> None:
        """Accept an increase, or reject it; the body must hold nothing else."""
        word = "accept" if accept else "reject"
        body = {"pending_price_increase_id": int(number(increase_id, "price increase"))}
        self._done(self._call("PUT", f"/instances/{word}-price-increase/", json=body), f"{word} the increase")

    def snapshot(
        self,
        instance_id: str,
        *,
        repository: str,
        user: str,
        password: SecretStr,
        registry: str = "docker.io",
        pause: bool = True,
    ) -> None:
        """Push the container as an image to the user's own registry."""
        body = {
            "id": int(number(instance_id, "instance")),
            "container_registry": registry,
            "personal_repo": repository,
            "docker_login_user": user,
            "docker_login_pass": password.get_secret_value(),
            "pause": "true" if pause else "false",
        }
        answer = self._call("POST", f"/instances/take_snapshot/{instance_id}/", json=body)
        self._done(answer, f"take a snapshot of {instance_id}")


def _listed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # the caller names it


class _IncreaseRow(Wire):
    pending_price_increase_id: int
    contract_id: int
    old_gpu_costpersec: float | None = None
    new_gpu_costpersec: float | None = None
    old_disk_ram_costpersec: float | None = None
    new_disk_ram_costpersec: float | None = None
    old_bwu_cost: float | None = None
    new_bwu_cost: float | None = None
    old_bwd_cost: float | None = None
    new_bwd_cost: float | None = None
    old_platform_fee: float | None = None
    new_platform_fee: float | None = None
    contract_end_date: float | None = None
    ask_end_date: float | None = None


def _increase(row: _IncreaseRow) -> PriceIncrease:
    def pair(old: float | None, new: float | None, scale: float = 1.0) -> tuple[float, float]:
        before = old or 0.0
        return before * scale, (before if new is None else new) * scale  # null leaves it as it is

    gpu = pair(row.old_gpu_costpersec, row.new_gpu_costpersec, 3600)
    disk = pair(row.old_disk_ram_costpersec, row.new_disk_ram_costpersec, 3600 * HOURS_A_MONTH)
    up = pair(row.old_bwu_cost, row.new_bwu_cost)
    down = pair(row.old_bwd_cost, row.new_bwd_cost)
    fee = pair(row.old_platform_fee, row.new_platform_fee)
    return PriceIncrease(
        id=row.pending_price_increase_id,
        instance_id=str(row.contract_id),
        old_gpu_usd_h=gpu[0],
        new_gpu_usd_h=gpu[1],
        old_disk_usd_gb_month=disk[0],
        new_disk_usd_gb_month=disk[1],
        old_up_usd_gb=up[0],
        new_up_usd_gb=up[1],
        old_down_usd_gb=down[0],
        new_down_usd_gb=down[1],
        old_fee=fee[0],
        new_fee=fee[1],
        contract_end=row.contract_end_date,
        new_end=row.ask_end_date,
    )
