"""Bootstrap script on the host: sent as text and run by ``python -c``, to install the agent.

Reports in lines that start with the caller's nonce, so that output of a login
shell is not taken for an answer. Installs the agent if its content hash is
missing, makes sure that ipykernel is there, and becomes the stdio_bridge.
Imports nothing of this package until it has been installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from typing import NoReturn

MAX_ARCHIVE = 16 << 20
MAX_WHEELS = 256 << 20


def say(kind: str, **more: object) -> None:
    """Send one line to the caller."""
    os.write(1, ("\n%s %s %s\n" % (sys.argv[1], kind, json.dumps(more))).encode())


def fail(step: str, text: str) -> NoReturn:
    """Report why it can't go on, and exit."""
    say("failed", step=step, text=text[-3000:])
    sys.exit(1)


def base() -> str:
    """Return the session's folder, as `agent.shared.folders.base` does."""
    return os.environ.get("GPUNB_FOLDER") or os.path.join(os.path.expanduser("~"), ".gpunb")


def read_exactly(size: int) -> bytes:
    """Read `size` bytes from the caller."""
    data = bytearray()
    while len(data) < size:
        more = os.read(0, min(size - len(data), 1 << 18))
        if not more:
            fail("receive", "the line closed")
        data += more
    return bytes(data)


def install(folder: str, version: str) -> None:
    """Unpack the archive from stdin into `folder`, whole or not at all."""
    say("need")
    (size,) = struct.unpack(">Q", read_exactly(8))
    if size > MAX_ARCHIVE:
        fail("receive", "an archive of %d bytes" % size)
    data = zlib.decompress(read_exactly(size))
    if hashlib.sha256(data).hexdigest()[:16] != version:
        fail("receive", "the archive's checksum is wrong")
    parent = os.path.dirname(folder)
    try:
        for path in (os.path.dirname(parent), parent):
            os.makedirs(path, mode=0o700, exist_ok=True)
        beside = tempfile.mkdtemp(dir=parent)
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for member in archive:
                    target = os.path.join(beside, member.name)
                    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
                    source = archive.extractfile(member)
                    if source is not None:
                        with open(target, "wb") as file:
                            file.write(source.read())
            os.rename(beside, folder)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            if not os.path.isdir(folder):  # else another process was first
                raise
    except OSError as err:
        fail("install", "can't write to %s: %s" % (parent, err.strerror or err))


def attempt(argv: list[str]) -> str:
    """Run a step of the installation; return "" or its error output."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode == 0:
        return ""
    words = done.stdout.decode("utf-8", "replace")
    return "%s ended with %d: %s" % (" ".join(argv), done.returncode, words)


def run(argv: list[str]) -> None:
    """Run a step as `attempt` does, and exit if it fails."""
    wrong = attempt(argv)
    if wrong:
        fail("ipykernel", wrong)


def wheels() -> str:
    """Request ipykernel's wheels from the caller, for a host without network; return their folder."""
    libc, version = platform.libc_ver()
    glibc = int(version.split(".")[1]) if libc == "glibc" and version.startswith("2.") else 0
    say("wheels", python="%d.%d" % sys.version_info[:2], machine=platform.machine(), glibc=glibc)
    (size,) = struct.unpack(">Q", read_exactly(8))
    if size > MAX_WHEELS:
        fail("receive", "%d bytes of wheels" % size)
    folder = tempfile.mkdtemp(prefix="gpunb-wheels-")
    try:
        with tarfile.open(fileobj=io.BytesIO(zlib.decompress(read_exactly(size)))) as archive:
            for member in archive:
                source = archive.extractfile(member)
                if source is not None:
                    with open(os.path.join(folder, os.path.basename(member.name)), "wb") as file:
                        file.write(source.read())
    except OSError as err:
        fail("install", "can't write to %s: %s" % (folder, err.strerror or err))
    return folder


def python_with_kernel() -> str:
    """Find a Python that has ipykernel: this one, or one in a venv that sees this one's packages."""
    if importlib.util.find_spec("ipykernel"):
        return sys.executable
    venv = os.path.join(base(), "venv")
    python = os.path.join(venv, "bin", "python")
    if os.path.exists(python):
        probe = subprocess.call(
            [python, "-c", "import ipykernel"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if probe == 0:
            return python
    say("progress", text="installing ipykernel on the host")
    uv = shutil.which("uv")
    if uv:
        run([uv, "venv", "--allow-existing", "--system-site-packages", "--python", sys.executable, venv])
        install_kernel = [uv, "pip", "install", "--python", python]
    else:
        make_venv(venv)
        install_kernel = [python, "-I", "-m", "pip", "install", "--disable-pip-version-check"]
    patient = [] if uv else ["--retries", "2"]  # without network it must fail soon
    if attempt([*install_kernel, *patient, "ipykernel"]):
        folder = wheels()
        try:
            if not uv and attempt([python, "-I", "-m", "pip", "--version"]):
                unpack(folder, python)
            else:
                run([*install_kernel, "--no-index", "--find-links", folder, "ipykernel"])
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return python


def make_venv(venv: str) -> None:
    """Make a venv that sees this Python's packages; without pip if ensurepip is missing (Debian)."""
    command = [sys.executable, "-I", "-m", "venv", "--system-site-packages"]
    if attempt([*command, venv]):
        shutil.rmtree(venv, ignore_errors=True)
        run([*command, "--without-pip", venv])


def unpack(folder: str, python: str) -> None:
    """Unpack wheels into a Python that has no pip: they are archives of its site-packages folder."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = subprocess.check_output([python, "-I", "-c", code], stdin=subprocess.DEVNULL).decode().strip()
    try:
        for name in sorted(os.listdir(folder)):
            with zipfile.ZipFile(os.path.join(folder, name)) as wheel:
                wheel.extractall(target)  # noqa: S202 - zipfile keeps all names below it
        for name in os.listdir(target):
            for kind in ("purelib", "platlib"):
                inner = os.path.join(target, name, kind)
                if name.endswith(".data") and os.path.isdir(inner):
                    for one in os.listdir(inner):
                        shutil.move(os.path.join(inner, one), os.path.join(target, one))
    except (OSError, shutil.Error, zipfile.BadZipFile) as err:
        fail("install", "can't unpack ipykernel into %s: %s" % (target, err))
    run([python, "-I", "-c", "import ipykernel"])


def main() -> None:
    """Install what is missing, then join stdin and stdout to the agent."""
    version = sys.argv[2]
    folder = os.path.join(base(), "agent", version)
    if not os.path.isdir(folder):
        install(folder, version)
    say("step", name="ipykernel")
    python = python_with_kernel()
    say("step", name="agent start")
    sys.path.insert(0, folder)
    from gpunb_agent import stdio_bridge  # type: ignore[import-not-found, unused-ignore]

    try:
        stdio_bridge.attach(python, folder, version, sys.argv[1])
    except (OSError, TimeoutError) as err:
        fail("start", str(err))


main()
