"""Real hosts behind simulated instances: each is a host of the ``local`` provider, with SSH."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from gpunb import paths
from gpunb.providers.local import launch, running, terminate
from gpunb.sim.catalog import MODELS
from gpunb.sim.hosts import cheated, container
from gpunb.sim.hosts.machines import NOWHERE, Host, HostSpec

__all__ = ["RealHosts", "install_smi"]

#: the driver that brings a CUDA version
DRIVERS = {11.4: "470.256.02", 12.4: "550.127.08", 12.8: "570.86.15", 13.0: "580.65.06"}


class RealHosts:
    """SSH servers on loopback ports, one folder each.

    Parameters
    ----------
    root
        Where the folders are made; everything in it that an earlier, crashed
        simulation left is ended first.
    """

    real = True

    def __init__(self, root: Path) -> None:
        self.root = paths.private_dir(root)
        # the same seed gives two simulations on this machine the same ids, so each has a folder of its own
        self._mark = hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:12]
        self._lock = threading.Lock()
        self._specs: dict[str, HostSpec] = {}
        for left in self.root.iterdir():
            self._remove(left)

    def launch(self, spec: HostSpec) -> Host:
        """Start a host, ``nvidia-smi`` included."""
        folder = paths.private_dir(self.root / spec.id)
        if spec.gpus:
            install_smi(paths.private_dir(folder / "bin"), spec)
        with self._lock:
            self._specs[spec.id] = spec
        return self._up(spec, spec.onstart)

    def authorize(self, host: Host, public_keys: Sequence[str]) -> None:
        """Add keys, in effect from the next login on."""
        with (self.root / host.handle / "authorized_keys").open("a", encoding="utf-8") as out:
            out.writelines(f"{line}\n" for line in public_keys)

    def stop(self, host: Host) -> None:
        """End the host's processes; its folder stays."""
        terminate(self.root / host.handle)

    def wipe(self, host: Host) -> None:
        """End the host's processes and delete its files, as when a container is recreated."""
        terminate(self.root / host.handle)
        shutil.rmtree(self.root / host.handle / "home", ignore_errors=True)

    def copy(self, host: Host, source: str, other: Host, target: str) -> None:
        """Copy files from one host's disk to another's."""
        there, into = self._on_disk(host, source), self._on_disk(other, target)
        if there.is_dir():
            shutil.copytree(there, into, dirs_exist_ok=True, symlinks=True)
        elif there.is_file():
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(there, into)

    def serve_files(self, host: Host, module: str, user: str) -> tuple[str, int]:
        """Start an SSH server that runs only an rsync daemon, with the host's disk as its `module`."""
        folder, beside = self.root / str(host.handle), self.root / f"{host.handle}.computer"
        root = folder / "root"
        if not root.is_symlink():
            root.symlink_to("home")
        own = paths.private_dir(paths.private_dir(beside) / "bin")
        settings = beside / "rsyncd.conf"
        who = f"uid = {os.getuid()}\ngid = {os.getgid()}\nuse chroot = no\nreverse lookup = no\n"
        settings.write_text(f"{who}[{module}]\npath = {folder}\nread only = no\n", "utf-8")
        program = own / "rsync"
        program.write_text(
            f"#!/bin/sh\n[ \"$1 $2\" = '--server --daemon' ] || exit 1\nexec {shutil.which('rsync')} "
            f"--server --daemon --config='{settings}' .\n",
            "utf-8",
        )
        program.chmod(0o755)
        keys = (folder / "authorized_keys").read_text("utf-8").splitlines()
        made = launch(
            beside, authorized_keys=keys, user=user, instance_id=f"sim-{self._mark}-{host.handle}-computer"
        )
        return made.address, made.port

    def files(self, host: Host) -> dict[str, int]:
        """List the files and links under ``/root`` with their sizes, without gpunb's own."""
        home = self.root / str(host.handle) / "home"
        found = (path for path in home.rglob("*") if path.is_symlink() or path.is_file())
        names = {one: one.relative_to(home) for one in found}
        return {
            f"/root/{name}": path.lstat().st_size for path, name in names.items() if name.parts[0][0] != "."
        }

    def remove(self, host: Host, path: str) -> None:
        """Delete one file."""
        self._on_disk(host, path).unlink(missing_ok=True)

    def _on_disk(self, host: Host, path: str) -> Path:
        """Return the path on this machine of a host's ``/root/…``."""
        home = self.root / str(host.handle) / "home"
        return home / Path(path).relative_to("/root") if path.startswith("/root") else home / path.lstrip("/")

    def start(self, host: Host) -> Host:
        """Start the host again, on another port, as a restarted rented machine has."""
        with self._lock:
            spec = self._specs[host.handle]
        return self._up(spec, spec.onstart if spec.onstart_always else "")

    def terminate(self, host: Host) -> None:
        """End the host and remove its folder."""
        self._remove(self.root / f"{host.handle}.computer")
        self._remove(self.root / host.handle)

    def close(self) -> None:
        """End all hosts."""
        for left in self.root.iterdir():
            self._remove(left)

    def _up(self, spec: HostSpec, onstart: str) -> Host:
        folder = self.root / spec.id
        keys, host_key, env = list(spec.public_keys), spec.host_key, dict(spec.env)
        if spec.gpu_trouble == "dead":
            env["PYTHONPATH"] = str(cheated.dead_torch(folder / "bin", spec.gpus))
        output: Sequence[str] = ()
        if spec.command:
            begun = container.start(spec.command, image=spec.image, env=env)
            output = begun.output
            if not begun.listens:
                return Host(*NOWHERE, spec.user, handle=spec.id, output=output, exited=True)
            keys, host_key, env = begun.public_keys, begun.host_key, begun.env
        known = folder / "authorized_keys"
        if known.exists():
            keys += [line for line in known.read_text("utf-8").splitlines() if line not in keys]
        made = launch(
            folder,
            authorized_keys=keys,
            host_key=host_key,
            env=env,
            user=spec.user,
            instance_id=f"sim-{self._mark}-{spec.id}",
            onstart=onstart,
        )
        return Host(made.address, made.port, made.user, made.host_key, handle=spec.id, output=output)

    def _remove(self, folder: Path) -> None:
        if not folder.is_dir():
            return
        if running(folder) is not None or (folder / "config.json").exists():
            terminate(folder)
        shutil.rmtree(folder, ignore_errors=True)


def install_smi(folder: Path, spec: HostSpec) -> None:
    """Put ``nvidia-smi`` and what it shows into `folder`."""
    from gpunb.sim.hosts import smi

    card = next((model for model in MODELS if model.name == spec.gpu), None)
    capability = card.compute_cap if card else 860
    shown = {
        "name": spec.gpu if spec.gpu.startswith("Tesla") else f"NVIDIA {spec.gpu}",
        "gpus": spec.gpus,
        "vram_mib": spec.vram_mib,
        "watts": card.watts if card else 300,
        "compute_cap": f"{capability // 100}.{capability // 10 % 10}",
        "driver": DRIVERS[spec.cuda],
        "cuda": f"{spec.cuda:.1f}",
        "lost": spec.gpu_trouble == "lost",
        "seed": spec.id,
    }
    (folder / "gpus.json").write_text(json.dumps(shown), "utf-8")
    program = folder / "nvidia-smi"
    source = Path(smi.__file__).read_text("utf-8")
    program.write_text(f"#!{sys.executable} -IS\n{source}", "utf-8")
    program.chmod(0o755)
