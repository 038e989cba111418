"""The provider ``local``: this machine, rented through a real SSH server."""

from __future__ import annotations

import contextlib
import getpass
import re
import secrets
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from gpunb import paths
from gpunb.errors import InstanceGone, LedgerUnwritable, ProviderError, Unavailable
from gpunb.providers.base import (
    Account,
    Capability,
    CreateSpec,
    Instance,
    InstanceState,
    Offer,
    OfferQuery,
    Provider,
    UsageLine,
)
from gpunb.providers.local import machine
from gpunb.providers.local.checks import NOTHING, check_label, check_spec, price
from gpunb.providers.local.files import locked, read_json, write_json
from gpunb.providers.local.launcher import launch, running, terminate
from gpunb.providers.local.record import Record
from gpunb.providers.machine.ports import wanted

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LocalProvider"]

_ID = re.compile(r"[a-z0-9]{4,40}\Z")
_KEPT_BILLS = 200
_SCRAP_S = 60.0


class LocalProvider(Provider):
    """The provider for the machine that gpunb runs on, without account and without cost.

    An instance is a detached process with an SSH server, a port, a host key
    and a home directory of its own. It outlives the process that made it, keeps
    its port over stop and start, and is found by every process of this user.

    Options of its `ProviderConfig`: ``usd_h`` and ``disk_usd_gb_h``, US dollars
    an hour (default 0), so that cost code has something to count.
    """

    name: ClassVar[str] = "local"
    title: ClassVar[str] = "local"
    needs_key: ClassVar[bool] = False
    list_lag_s: ClassVar[float] = 0.0  # the list is the folder itself, so it never lags
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.STOP,
            Capability.REBOOT,
            Capability.RENAME,
            Capability.LOGS,
            Capability.HOST_KEY,
            Capability.USAGE,
            Capability.PORTS,
            Capability.ONSTART,
        }
    )

    def check(self) -> Account:
        """Prove that instances can be kept on this machine.

        Raises
        ------
        BadInput
            A price option is no price.
        Unavailable
            The folder of the instances can't be written.
        """
        price(self.config.options, "usd_h")
        price(self.config.options, "disk_usd_gb_h")
        root = _root()
        try:
            probe = root / f".new-{secrets.token_hex(4)}"
            probe.mkdir(mode=0o700)
            probe.rmdir()
        except OSError as err:
            raise _cant_write(root, err) from err
        message = f"this machine: {machine.cores()} cores, {machine.ram_gb():.0f} GB of memory"
        return Account(provider=self.name, user=getpass.getuser(), message=message)

    def search(self, query: OfferQuery) -> list[Offer]:  # noqa: ARG002  (there is one machine, whatever is asked)
        """Return one offer: this machine."""
        cards = machine.gpus()
        raw = cards[0][0] if cards else ""
        free = machine.disk_free_gb(paths.local_dir())
        return [
            Offer(
                provider=self.name,
                id="local",
                gpu=raw.removeprefix("NVIDIA ").strip(),
                gpu_raw=raw,
                gpus=len(cards),
                vram_gb=min((memory for _, memory in cards), default=0.0),
                usd_h=price(self.config.options, "usd_h"),
                disk_usd_gb_h=price(self.config.options, "disk_usd_gb_h"),
                disk_max_gb=free,
                kind="container",
                region="local",
                cpu=machine.cpu_model(),
                cores=float(machine.cores()),
                ram_gb=machine.ram_gb(),
                reliability=1.0,
                verified=True,
                trust="own",
                machine_id="local",
                host_id="local",
                raw={"gpus": [name for name, _ in cards]},
            )
        ]

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        """Start a host on this machine and wait until it listens, about half a second.

        ``spec.image`` is noted and not used: this machine runs what it runs.
        ``spec.onstart`` runs in the background at every start.

        Raises
        ------
        BadInput
            A field of `spec` breaks a rule; it is named.
        OfferGone
            `offer` is not this machine's.
        NotSupported
            A bid or a volume was asked for.
        Unavailable
            The host did not come up, or its folder can't be written. Nothing is left behind.
        """
        check_spec(offer, spec)
        if spec.bid_usd_h is not None:
            self.refuse("be rented by a bid")
        if spec.volumes:
            self.refuse("attach volumes")
        root = _root()
        _sweep_scrap(root)
        ident = secrets.token_hex(5)
        record = Record(
            id=ident,
            label=spec.label,
            phase="creating",
            user=getpass.getuser(),
            created=time.time(),
            usd_h=offer.usd_h,
            disk_usd_gb_h=offer.disk_usd_gb_h,
            disk_gb=spec.disk_gb,
            image=spec.image,
            onstart=spec.onstart,
            env=dict(spec.env),
            ports=list(wanted(spec.ports)),
            public_keys=[spec.public_key],
            deadline=spec.deadline,
        )
        scrap, directory = root / f".new-{ident}", root / ident
        try:
            # listed with all that is known from the first moment, or not at all
            scrap.mkdir(mode=0o700)
            record.save(scrap)
            scrap.rename(directory)
            with locked(directory):
                self._boot(record, directory, host_key=spec.host_key)
        except BaseException as err:
            self._undo(ident, scrap, directory)
            if isinstance(err, OSError):
                raise _cant_write(root, err) from err
            if isinstance(err, ProviderError):
                err.bill = err.bill or NOTHING
            raise
        return record.view(directory, self.name)

    def unfit(self, offer: Offer, spec: CreateSpec) -> str:
        """Accept any image: it is noted and not used."""
        return super().unfit(offer, replace(spec, image=None))

    def instances(self) -> list[Instance]:
        """List all local instances of this user, damaged ones too."""
        root = paths.local_dir()
        try:
            names = sorted(path.name for path in root.iterdir() if _ID.match(path.name))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as err:
            msg = f"the folder of local instances {root} can't be read: {err.strerror}"
            raise Unavailable(msg, provider=self.name) from err
        views = [self._view(root / name) for name in names]
        return sorted((view for view in views if view), key=lambda view: (view.created or 0.0, view.id))

    def get(self, instance_id: str) -> Instance:
        """Return one instance; `InstanceGone` if there is none of that id."""
        view = self._view(self._directory(instance_id))
        if view is None:
            raise _gone(instance_id)
        return view

    def destroy(self, instance_id: str) -> None:
        """End all processes of the instance, then delete its folder. Harmless if it is gone already."""
        try:
            directory = self._directory(instance_id)
        except InstanceGone:
            return
        with contextlib.suppress(InstanceGone), locked(directory):
            record = self._record(directory)
            if record is not None:
                record.turn("ending")
                with contextlib.suppress(OSError):  # a full disk must not keep it alive
                    record.save(directory)
                self._keep_bill(record)
            terminate(directory, instance_id=instance_id)
            old = directory.with_name(f".old-{instance_id}")
            try:
                directory.rename(old)
            except OSError as err:
                msg = f"the folder of local instance {instance_id} can't be removed: {err.strerror}"
                hint = f"its processes are ended; delete {directory} by hand"
                raise Unavailable(msg, provider=self.name, effect="unknown", hint=hint) from err
            # a login during the end of its SSH server has left processes without a folder: end them too
            with contextlib.suppress(Unavailable):  # its other processes have ended, as was seen above
                terminate(old, instance_id=instance_id, grace=0.0)
            shutil.rmtree(old, ignore_errors=True)

    def stop(self, instance_id: str) -> None:
        """Stop the instance: end all its processes; its home and its port stay."""
        directory = self._directory(instance_id)
        with locked(directory):
            record = self._known(directory)
            if record.phase == "stopped":
                return
            host = running(directory)
            if host is not None:
                record.port = host.port
            terminate(directory, instance_id=instance_id)
            record.turn("stopped")
            self._save(record, directory)

    def start(self, instance_id: str) -> None:
        """Start it on its previous port. Harmless if it runs.

        Raises
        ------
        Unavailable
            The port is taken by another program; the instance stays stopped.
        """
        directory = self._directory(instance_id)
        with locked(directory):
            record = self._known(directory)
            if record.phase == "running" and running(directory):
                return
            self._restart(record, directory)

    def reboot(self, instance_id: str) -> None:
        """End all processes of the instance and start it again, on the same port."""
        directory = self._directory(instance_id)
        with locked(directory):
            record = self._known(directory)
            host = running(directory)
            if host is not None:
                record.port = host.port
            self._restart(record, directory)

    def rename(self, instance_id: str, label: str) -> None:
        """Change the instance's label."""
        check_label(label)
        directory = self._directory(instance_id)
        with locked(directory):
            record = self._known(directory)
            record.label = label
            self._save(record, directory)

    def logs(self, instance_id: str, *, tail: int = 1000) -> str:
        """Return the last `tail` lines of its host process: starts, logins, onstart, errors."""
        directory = self._directory(instance_id)
        if not directory.is_dir():
            raise _gone(instance_id)
        lines: list[str] = []
        for name in ("host.log.1", "host.log", "boot.log"):
            with contextlib.suppress(OSError):
                text = (directory / name).read_text(encoding="utf-8", errors="replace")
                lines.extend(text.splitlines())
        return "\n".join(lines[-tail:] if tail > 0 else [])

    def usage(self, instance_id: str) -> list[UsageLine]:
        """Return the instance's cost, from its own record; after its end too."""
        directory = self._directory(instance_id)
        record = self._record(directory)
        if record is not None:
            return record.usage()
        try:
            bill = read_json(_bill_file(instance_id))
            if bill is not None:
                return [UsageLine(**line) for line in bill["usage"]]
        except (OSError, ValueError, KeyError, TypeError) as err:
            msg = f"the bill of local instance {instance_id} can't be read: {err}"
            raise Unavailable(msg, provider=self.name) from err
        raise _gone(instance_id)

    def _directory(self, instance_id: str) -> Path:
        # the id becomes a path, so an id of another form is refused
        if not _ID.match(instance_id):
            raise _gone(instance_id)
        return paths.local_dir() / instance_id

    def _record(self, directory: Path) -> Record | None:
        try:
            return Record.load(directory)
        except (ValueError, OSError):
            return None

    def _known(self, directory: Path) -> Record:
        try:
            record = Record.load(directory)
        except (ValueError, OSError) as err:
            msg = f"the state file of local instance {directory.name} is damaged: {err}"
            raise Unavailable(msg, provider=self.name, hint="destroy it; that needs no state file") from err
        if record is None:
            raise _gone(directory.name)
        if record.phase == "ending":
            msg = f"local instance {record.id} is being destroyed"
            raise InstanceGone(msg, provider=self.name)
        return record

    def _view(self, directory: Path) -> Instance | None:
        try:
            record = Record.load(directory)
        except (ValueError, OSError) as err:
            return Instance(
                provider=self.name,
                id=directory.name,
                state=InstanceState.FAILED,
                raw_state="damaged",
                message=f"its state file is damaged ({err}); destroy it",
                raw={"directory": str(directory)},
            )
        if record is not None:
            return record.view(directory, self.name)
        if not directory.is_dir():
            return None
        return Instance(
            provider=self.name,
            id=directory.name,
            state=InstanceState.FAILED,
            raw_state="damaged",
            message="its state file is missing; destroy it",
            raw={"directory": str(directory)},
        )

    def _save(self, record: Record, directory: Path) -> None:
        try:
            record.save(directory)
        except OSError as err:
            raise _cant_write(directory, err) from err

    def _boot(self, record: Record, directory: Path, *, host_key: str | None = None) -> None:
        host = launch(
            directory,
            authorized_keys=record.public_keys,
            host_key=host_key,
            port=record.port,
            env=record.env,
            user=record.user,
            instance_id=record.id,
            onstart=record.onstart,
        )
        record.port, record.host_key = host.port, host.host_key
        record.turn("running")
        record.save(directory)

    def _restart(self, record: Record, directory: Path) -> None:
        """End what is left of it, also of a crashed host, and boot; on failure it is stopped."""
        terminate(directory, instance_id=record.id)
        try:
            self._boot(record, directory)
        except BaseException as err:
            with contextlib.suppress(ProviderError):
                terminate(directory, instance_id=record.id)
            record.turn("stopped")
            with contextlib.suppress(OSError):
                record.save(directory)
            if isinstance(err, OSError):
                raise _cant_write(directory, err) from err
            if isinstance(err, ProviderError):
                hourly = record.disk_usd_gb_h * record.disk_gb
                err.bill = err.bill or f"the instance is stopped: {hourly:g} $/h"
            raise

    def _undo(self, ident: str, scrap: Path, directory: Path) -> None:
        """Remove everything of a failed create."""
        with contextlib.suppress(ProviderError):
            terminate(directory, instance_id=ident, grace=0.2)
        for leftover in (scrap, directory):
            shutil.rmtree(leftover, ignore_errors=True)

    def _keep_bill(self, record: Record) -> None:
        """Keep the costs of the last instances, so that a receipt can be compared with them."""
        with contextlib.suppress(OSError):
            path = _bill_file(record.id)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_json(path, record.archive())
            old = sorted(path.parent.glob("*.json"), key=lambda found: found.stat().st_mtime)
            for file in old[:-_KEPT_BILLS]:
                file.unlink()


def _gone(instance_id: str) -> InstanceGone:
    msg = f"there is no local instance {instance_id[:60]!r}"
    return InstanceGone(msg, provider="local")


def _cant_write(where: Path, err: OSError) -> Unavailable:
    msg = f"local instances can't be kept in {where}: {err.strerror or err}"
    hint = "free space there or make it writable, or set GPUNB_HOME to another folder"
    return Unavailable(msg, provider="local", bill=NOTHING, hint=hint)


def _bill_file(instance_id: str) -> Path:
    return paths.local_dir() / ".bills" / f"{instance_id}.json"


def _root() -> Path:
    try:
        return paths.private_dir(paths.local_dir())
    except LedgerUnwritable as err:
        raise Unavailable(err.message, provider="local", bill=err.bill, hint=err.hint) from err


def _sweep_scrap(root: Path) -> None:
    """Delete leftovers of an interrupted create or destroy, unless they are recent."""
    with contextlib.suppress(OSError):
        for path in root.iterdir():
            if path.name.startswith((".new-", ".old-")) and time.time() - path.stat().st_mtime > _SCRAP_S:
                shutil.rmtree(path, ignore_errors=True)
