"""JupyterLab with gpunb and the simulated clouds, ready to click: `make lab`. No account, no bill.

Everything is in a folder of its own that goes away at the end: neither real sessions nor the user's
Jupyter see any of it. Ctrl-C ends it, with all that was rented. PORT=9999 asks for another port.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
UP_S = 120.0


def main() -> int:
    """Run until Ctrl-C or TERM."""
    base = Path(tempfile.mkdtemp(prefix="gpunb-lab-"))
    env = os.environ | {
        "GPUNB_HOME": str(base / "home"),
        "JUPYTER_DATA_DIR": str(base / "data"),
        "JUPYTER_RUNTIME_DIR": str(base / "run"),
        "JUPYTERLAB_SETTINGS_DIR": str(base / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(base / "workspaces"),
    }
    work = base / "notebooks"
    shutil.copytree(ROOT / "examples", work, ignore=shutil.ignore_patterns("demo*.py", "data", "out", ".*"))
    signal.signal(signal.SIGTERM, _interrupt)
    server: subprocess.Popen[bytes] | None = None
    try:
        gpunb(env, "sim", "up", "--boot", "3")
        port = _port(int(os.environ.get("PORT", "0")))
        token = secrets.token_urlsafe(18)
        server = _server(env, work, port, token, base / "lab.log")
        print(f"JupyterLab with gpunb and simulated clouds: http://127.0.0.1:{port}/lab?token={token}")
        print("Click the GPU in the left bar. Ctrl-C ends it, with all that was rented.", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        print("\nending …", flush=True)
        return 0
    finally:
        if server is not None:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(60)
        gpunb(env, "sim", "down", "--yes", "--no-save")
        shutil.rmtree(base, ignore_errors=True)


def gpunb(env: dict[str, str], *words: str) -> None:
    """A line of gpunb's; what it says is shown only if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "gpunb", *words], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)


def _server(env: dict[str, str], work: Path, port: int, token: str, log: Path) -> subprocess.Popen[bytes]:
    arguments = [
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={work}",
        "--allow-root",
    ]
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *arguments],
            env=env | {"JUPYTER_TOKEN": token},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # Ctrl-C is ours: Jupyter would ask
        )
    until = time.monotonic() + UP_S
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5).close()
            return server
        if server.poll() is not None or time.monotonic() > until:
            print(log.read_text("utf-8", "replace")[-3000:], file=sys.stderr)
            server.kill()
            msg = "JupyterLab did not start"
            raise SystemExit(msg)
        time.sleep(0.2)


def _port(wanted: int) -> int:
    """The port asked for, or 8888 and up, or any."""
    for port in (wanted,) if wanted else (8888, 8889, 8890, 8891, 0):
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(free.getsockname()[1])
    msg = f"port {wanted} is taken"
    raise SystemExit(msg)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
