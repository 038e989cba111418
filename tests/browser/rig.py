"""A real JupyterLab with gpunb, over simulated clouds whose hosts are behind lines that can be cut."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb.sim.hosts.real import RealHosts
from gpunb.sim.serving.runner import Simulation
from gpunb.sim.serving.state import write_marker
from tests.support.machines.proxy import Proxy

if TYPE_CHECKING:
    from gpunb.sim.hosts.machines import Host, HostSpec

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "build" / "labextension" / "gpunb"
TOKEN = "t0ken-of-a-test"
UP_S = 120.0
ARGUMENTS = ["--no-browser", "--ip=127.0.0.1", "--allow-root", "--ServerApp.port_retries=0"]


class CutHosts(RealHosts):
    """Each host's SSH port is a proxy's: the line to it can be cut and mended."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.lines: dict[str, Proxy] = {}

    def _up(self, spec: HostSpec, onstart: str) -> Host:
        made = super()._up(spec, onstart)
        line = self.lines[spec.id] = Proxy(made.port)
        return replace(made, port=line.port)

    def cut(self) -> None:
        """No host can be reached."""
        for line in self.lines.values():
            line.cut()

    def restore(self) -> None:
        """All can."""
        for line in self.lines.values():
            line.restore()


class Rig:
    """Home, clouds and server of a test run; `start` and `stop` the server as often as wanted."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="gpnl", dir="/tmp"))
        self.home = self.base / "home"
        self.work = self.base / "work"
        for folder in (self.home, self.work, self.base / "config", self.base / "share" / "labextensions"):
            folder.mkdir(parents=True)
        self.home.chmod(0o700)
        (self.base / "share" / "labextensions" / "gpunb").symlink_to(BUILT)
        self._config()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.hosts = CutHosts(self.home / "sim" / "hosts")
        self.simulation = Simulation(hosts=self.hosts, boot_s=0.5)
        self.server: subprocess.Popen[bytes] | None = None
        self.log = self.base / "lab.log"

    def _config(self) -> None:
        config = self.base / "config"
        extensions = {"gpunb": True, "jupyterlab": True, "notebook": True, "jupyter_lsp": False}
        (config / "jupyter_server_config.json").write_text(
            json.dumps(
                {
                    "ServerApp": {"jpserver_extensions": extensions, "root_dir": str(self.work)},
                    "IdentityProvider": {"token": TOKEN},
                    # announcements would ask the world
                    "LabApp": {"news_url": None, "expose_app_in_browser": True},
                }
            ),
            "utf-8",
        )
        settings = self.base / "config" / "lab" / "user-settings" / "@jupyterlab"
        quiet = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}
        # no dialog when a page with a busy kernel is left
        for name, values in quiet.items():
            path = settings / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), "utf-8")

    @property
    def env(self) -> dict[str, str]:
        """What the server and its kernels see: nothing of the user's."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("GPUNB_", "JUPYTER"))
        }
        return {
            **kept,
            "GPUNB_HOME": str(self.home),
            "GPUNB_SUPERVISE_EVERY": "1s",
            "JUPYTER_CONFIG_DIR": str(self.base / "config"),
            "JUPYTER_DATA_DIR": str(self.base / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.base / "run"),
            "JUPYTER_PATH": str(self.base / "share"),
            "JUPYTERLAB_SETTINGS_DIR": str(self.base / "config" / "lab" / "user-settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.base / "workspaces"),
            "IPYTHONDIR": str(self.base / "ipython"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "PYTHONWARNINGS": "ignore",
        }

    # -- clouds

    def clouds_up(self) -> None:
        """Serve the clouds and let gpunb use them."""
        self.simulation.start()
        self.mark(self.simulation.description())

    def mark(self, providers: dict[str, dict[str, Any]]) -> None:
        """Say which clouds there are, at which address, with which key."""
        write_marker(self.home / "sim" / "clouds.json", providers, active=True)

    # -- server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start JupyterLab and wait until it answers."""
        with self.log.open("ab") as out:
            self.server = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", *ARGUMENTS, f"--port={self.port}"],
                cwd=self.work,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        until = time.monotonic() + UP_S
        while True:
            with contextlib.suppress(OSError):
                self.ask("api/status")
                return
            assert self.server.poll() is None, self.last_words()
            assert time.monotonic() < until, self.last_words()
            time.sleep(0.2)

    def stop(self) -> None:
        """End JupyterLab and its kernels."""
        if self.server is None:
            return
        self.server.terminate()
        try:
            self.server.wait(60)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        self.server = None

    def kill(self) -> None:
        """A crash: the server is gone at once."""
        if self.server is not None:
            self.server.kill()
            self.server.wait()
            self.server = None

    def last_words(self) -> str:
        """The end of the server's log."""
        return self.log.read_text("utf-8", "replace")[-4000:]

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """What the server answers to a program that has its token."""
        request = urllib.request.Request(
            f"{self.url}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {TOKEN}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            raw = answer.read()
        return json.loads(raw) if raw else None

    def sessions(self) -> list[dict[str, Any]]:
        """The live ones."""
        found: list[dict[str, Any]] = self.ask("gpunb/api/v1/sessions")["sessions"]
        return found

    def theme(self, name: str) -> None:
        """JupyterLab Light or JupyterLab Dark, for pages that are opened from now on."""
        raw = json.dumps({"theme": name})
        self.ask("lab/api/settings/@jupyterlab/apputils-extension:themes", "PUT", {"raw": raw})

    def gpunb(self, *words: str) -> str:
        """A line of the terminal's gpunb in the same home."""
        done = subprocess.run(
            [sys.executable, "-m", "gpunb", *words],
            env=self.env,
            cwd=self.work,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def end_sessions(self) -> None:
        """Give back whatever is rented."""
        self.hosts.restore()
        if self.server is None:
            self.start()
        for one in self.sessions():
            self.gpunb("down", one["name"], "--yes", "--no-save")

    def close(self) -> None:
        """End everything, rented hosts too."""
        with contextlib.suppress(Exception):
            self.hosts.restore()
            for one in self.sessions():
                self.gpunb("down", one["name"], "--yes", "--no-save")
        self.stop()
        (self.home / "sim" / "clouds.json").unlink(missing_ok=True)
        self.simulation.stop()
        shutil.rmtree(self.base, ignore_errors=True)
