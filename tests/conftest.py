"""Fixtures for all: a gpunb home of its own, and a running local instance in one line."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import keyring
import keyring.core
import pytest
from hypothesis import HealthCheck, settings
from keyring.backends.fail import Keyring as NoKeyring

from tests.support.machines.localhost import LocalHost, key_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

# how fast examples are made and tried is the machine's matter, and it may be busy
settings.register_profile("gpunb", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gpunb")

# jsonschema does without; its import compiles a grammar for a second or two (tests/support/quick)
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

# a machine that forbids it has pytest compile 290 files anew in each worker of each run
sys.dont_write_bytecode = False

pytest_plugins = [
    "tests.support.chance",
    "tests.support.verdicts",
    "tests.support.plugins.order",
    "tests.support.plugins.origins",
]

# a shell that runs the tests in the background has Ctrl-C ignored, and what they start would ignore it, too
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short, empty GPUNB_HOME, and no keyring; local instances that a test leaves are destroyed."""
    short = Path(tempfile.mkdtemp(prefix="gpnb", dir="/tmp"))
    path = short / "home"
    monkeypatch.setenv("GPUNB_HOME", str(path))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(short / "jupyter"))
    # a key in the keyring of one test would be a cloud of the next one's
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setattr(keyring.core, "_keyring_backend", NoKeyring())
    try:
        yield path
    finally:
        from gpunb.providers.local import LocalProvider

        os.environ["GPUNB_HOME"] = str(path)  # the test may have set another
        provider = LocalProvider()
        for instance in provider.instances():
            provider.destroy(instance.id)
        shutil.rmtree(short, ignore_errors=True)


@pytest.fixture
def rented_from(home: Path, tmp_path: Path) -> Iterator[None]:
    """The cloud of what is rented anywhere: local, or with TEST_HOSTS=ssh a machine of one's own."""
    from tests.support.machines import own_hosts

    if not own_hosts.wanted():
        yield
        return
    with own_hosts.the_cloud(home, tmp_path):
        yield


@pytest.fixture
def local_host(any_local_host: LocalHost) -> LocalHost:
    """The same; tests of files may get another."""
    return any_local_host


@pytest.fixture
def any_local_host(home: Path, tmp_path: Path) -> Iterator[LocalHost]:
    """A running instance of the local provider; destroyed afterwards."""
    from gpunb.providers import CreateSpec, OfferQuery
    from gpunb.providers.local import LocalProvider

    key, line = key_pair(tmp_path, "session_key")
    provider = LocalProvider()
    (offer,) = provider.search(OfferQuery())
    instance = provider.create(offer, CreateSpec(label="test", public_key=line))
    try:
        yield LocalHost(provider, instance, key, tmp_path / "session_known_hosts")
    finally:
        provider.destroy(instance.id)
