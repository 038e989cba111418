"""The end of an instance, the proof that its key lets in, and whether its machine answers."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gpunb.errors import (
    AuthRefused,
    BadInput,
    GpunbError,
    HostError,
    HostKeyChanged,
    InstanceGone,
    OfferGone,
    Unavailable,
    Unreachable,
)
from gpunb.providers.base import Instance, InstanceState, Presence, Provider
from gpunb.providers.features import Host
from gpunb.providers.ssh import hosts, record, scripts
from gpunb.providers.ssh.answers import read
from gpunb.providers.ssh.openssh import NOTHING, OpenSsh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.providers.base import ProviderConfig
    from gpunb.providers.ssh.answers import Answer
    from gpunb.providers.ssh.record import Record
    from gpunb.ssh import Endpoint

__all__ = ["Instances"]

_GREETING_S = 6.0
_FRESH_S = 15.0  # for so long an answer to "is it there" holds
_END_S = 90.0
_CREATE_S = 300.0  # a create that has not ended by then has died


class Instances(Provider):
    """Base class of `gpunb.providers.ssh.provider.SshProvider`: what is done with what is there."""

    def __init__(self, config: ProviderConfig | None = None) -> None:
        super().__init__(config)
        self.wanted: list[Host] = []
        self.ssh = OpenSsh(str(self.config.options.get("config", "")))
        self._seen: dict[str, tuple[float, bool]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the connections of ssh that were left open."""
        self.ssh.close()

    def destroy(self, instance_id: str) -> None:
        """End the session's processes there, then remove its key and its folder. Harmless if it is gone.

        By the session's own key, and if that is not taken any more, as the user.

        Raises
        ------
        Unavailable
            The machine gives no answer, or something can't be removed; it stays in the list until it is.
        """
        one = self._record(instance_id)
        if one is None:
            return
        if one.phase != "ending":
            one.phase = "ending"
            with suppress(Unavailable):  # a full disk here must not keep it alive there
                one.save()
        answer = self._ended(one)
        if answer.failed is not None:
            self._unconfirmed(one, answer.failed[1])
        if not answer.done:
            self._unconfirmed(one, answer.said or "the connection broke")
        one.delete()

    def clean(self, host: Host, left: Sequence[Sequence[str]]) -> list[str]:
        """Remove what broken-off rentals of this installation left there; returns the labels."""
        known, gone = {one.id for one in record.load_all()}, []
        for ident, label in left:
            if ident in known:
                continue
            with suppress(GpunbError):  # the next rental or check tries again
                if self.ssh.run(host, scripts.END, {"ID": ident, "LABEL": label}, timeout=_END_S).done:
                    gone.append(label)
        return gone

    def stays(self, instance_id: str) -> str:
        """Say what is on its machine until it has ended."""
        one = self._record(instance_id)
        if one is None:
            return ""
        line = f"the line with {one.label} in ~/.ssh/authorized_keys"
        return f"on {one.machine} {line}, the folder ~/.gpunb/s/{one.id}, and what runs there for it"

    def drop(self, instance_id: str) -> None:
        """Know of it no more, though its end is not confirmed."""
        one = self._record(instance_id)
        if one is not None:
            one.delete()

    def _ended(self, one: Record) -> Answer:
        values = {"ID": one.id, "LABEL": one.label}
        own, nonce = self._endpoint(one), secrets.token_hex(12)
        if own is not None:
            from gpunb.ssh import Connection

            try:
                with Connection.open(own) as line:
                    done = line.run(
                        "sh -s", input=scripts.compose(scripts.END, nonce, values), timeout=_END_S
                    )
                answer = read(done.out, nonce)
                answer.said = done.err.decode("utf-8", "replace").strip()[-300:]
                if answer.begun:
                    return answer
            except (HostKeyChanged, Unreachable) as err:
                self._unconfirmed(one, err.message)
            except HostError:  # the key is not taken any more, or what it runs is gone: as the user, then
                pass
        try:
            return self.ssh.run(self._host(one), scripts.END, values, timeout=_END_S)
        except GpunbError as err:
            self._unconfirmed(one, err.message)

    def _unconfirmed(self, one: Record, why: str) -> NoReturn:
        msg = f"the end on {one.machine} is not confirmed: {why}"
        left = f"a line with {one.label} in ~/.ssh/authorized_keys, and the folder ~/.gpunb/s/{one.id}"
        hint = f"gpunb tries again; what may be left there: {left}"
        raise Unavailable(msg, provider="ssh", effect="unknown", hint=hint)

    def _prove(self, made: Record, host: Host, known: Sequence[str]) -> None:
        """Log in with the session's key, if there is a session; take everything back if it is refused."""
        if not made.identity:
            return
        from gpunb.ssh import Connection
        from gpunb.ssh.hostkeys import pin

        own = self._endpoint(made)
        if own is None:
            return
        try:
            for line in known:
                with suppress(HostKeyChanged):  # a second key of a type: one of several machines of a name
                    pin(own.known_hosts, own.alias, line)
            with Connection.open(own, timeout=30.0) as opened:
                done = opened.run('printf %s "$GPUNB_SESSION"', timeout=60.0)
            if made.id.encode() in done.out:
                return
            why = f"a login with the key runs something else: {done.out[-200:].decode('utf-8', 'replace')!r}"
        except AuthRefused:
            why = "its SSH server does not take a key that is added to ~/.ssh/authorized_keys"
        except HostError as err:
            why = err.message
        answer = self.ssh.run(host, scripts.END, {"ID": made.id, "LABEL": made.label})
        if not answer.done:
            self._unconfirmed(made, why)
        made.delete()
        msg = f"{host.name} can't be used: {why}"
        raise OfferGone(msg, provider="ssh", bill=NOTHING)

    def _answers(self, one: Record) -> bool:
        """Whether an SSH server answers at the machine; nothing is sent to it."""
        with self._lock:
            at, answered = self._seen.get(one.machine, (0.0, False))
        if time.monotonic() - at < _FRESH_S:
            return answered
        from gpunb.ssh.tcp_socket import connect

        answered = False
        with suppress(GpunbError, OSError):
            wire = connect(self._endpoint(one, any_key=True), timeout=_GREETING_S)
            try:
                wire.settimeout(_GREETING_S)
                answered = wire.recv(4) == b"SSH-"
            finally:
                wire.close()
        with self._lock:
            self._seen[one.machine] = (time.monotonic(), answered)
        return answered

    def presence(self, instance_id: str) -> Presence:
        """Return whether it is there; unknown while its machine gives no answer."""
        try:
            instance = self.get(instance_id)
        except InstanceGone:
            return Presence.GONE
        except GpunbError:
            return Presence.UNKNOWN
        return Presence.UNKNOWN if instance.state is InstanceState.UNKNOWN else Presence.PRESENT

    def _state(self, one: Record) -> InstanceState:
        if one.phase == "ending":
            return InstanceState.ENDING
        if one.phase == "creating":
            late = time.time() - one.created > _CREATE_S
            return InstanceState.FAILED if late else InstanceState.CREATING
        return InstanceState.RUNNING if self._answers(one) else InstanceState.UNKNOWN

    def _view(self, one: Record, state: InstanceState) -> Instance:
        try:
            where = self.ssh.route(self._host(one))
            at = {"host": where.host, "port": where.port, "user": where.user}
        except BadInput:  # its name is no longer in the ssh configuration
            at = {}
        return Instance(
            provider=self.name,
            id=one.id,
            label=one.label,
            state=state,
            raw_state=one.phase,
            message=f"{one.machine} gives no answer" if state is InstanceState.UNKNOWN else "",
            host_key=one.host_key or None,
            usd_h=one.usd_h,
            kind="bare-metal",
            created=one.created,
            raw={"machine": one.machine, "gpus": one.gpus},
            **at,  # type: ignore[arg-type]
        )

    def _host(self, one: Record) -> Host:
        """The machine as it is configured now, or as it was when the instance began."""
        known = hosts.listed(self.config.options).get(one.machine)
        return known or Host(name=one.machine, address=one.address, port=one.port)

    def _endpoint(self, one: Record, *, any_key: bool = False) -> Any:
        """The machine's endpoint with the session's key; None if there is no such key here."""
        from gpunb.ssh import Endpoint

        folder = Path(one.identity)
        if not any_key and not (one.identity and (folder / "id_ed25519").is_file()):
            return None
        where = self.ssh.route(self._host(one))
        made: Endpoint = Endpoint(
            host=where.host,
            port=where.port,
            user=where.user,
            key=folder / "id_ed25519",
            known_hosts=folder / "known_hosts",
            alias=f"gpunb-{folder.name or one.id}",
            proxy=where.proxy,
        )
        return made

    @staticmethod
    def _record(instance_id: str) -> Record | None:
        return next((one for one in record.load_all() if one.id == instance_id), None)
