from __future__ import annotations

import os
import stat
import threading

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

from gpunb import log
from gpunb.errors import BadInput, SettingsError
from gpunb.providers import keys, names


class Ring(KeyringBackend):
    """A keyring in memory."""

    priority = 5

    def __init__(self, *, locked: bool = False) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = locked

    def _open(self) -> None:
        if self.locked:
            msg = "locked"
            raise KeyringLocked(msg)

    def get_password(self, service, username):
        self._open()
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self._open()
        self.kept[service, username] = password

    def delete_password(self, service, username):
        self._open()
        if self.kept.pop((service, username), None) is None:
            msg = "none"
            raise PasswordDeleteError(msg)


class NoRing(Ring):
    priority = 0


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "home"))
    for name in map(keys.variable, names()):
        monkeypatch.delenv(name, raising=False)
    before = keyring.get_keyring()
    keyring.set_keyring(NoRing())
    yield tmp_path / "home"
    keyring.set_keyring(before)


def test_the_order_is_environment_keyring_file(monkeypatch):
    assert keys.find("vast") is None
    assert "0600" in keys.store("vast", "from-the-file")
    found = keys.find("vast")
    assert found is not None
    assert found.key.get_secret_value() == "from-the-file"
    assert str(keys.key_file("vast")) in found.source
    ring = Ring()
    ring.kept["gpunb", "vast"] = "from-the-ring"
    keyring.set_keyring(ring)
    found = keys.find("vast")
    assert found is not None
    assert (found.key.get_secret_value(), found.source[:14]) == ("from-the-ring", "system keyring")
    monkeypatch.setenv("VAST_API_KEY", " from-the-environment\n")
    found = keys.find("vast")
    assert found is not None
    assert found.key.get_secret_value() == "from-the-environment"
    assert found.source == "environment variable VAST_API_KEY"


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("vast", "VAST_API_KEY"),
        ("deepinfra", "DEEPINFRA_TOKEN"),
        ("fluence", "FLUENCE_API_KEY"),
        ("sesterce", "SESTERCE_API_KEY"),
        ("my-cloud", "MY_CLOUD_API_KEY"),
    ],
)
def test_the_variables(provider, name, monkeypatch):
    monkeypatch.setenv(name, "abcdef123")
    assert keys.variable(provider) == name
    assert keys.find(provider).key.get_secret_value() == "abcdef123"


def test_the_file_is_private_from_the_start(home):
    old = os.umask(0)
    try:
        keys.store("vast", "secret-value")
    finally:
        os.umask(old)
    file = keys.key_file("vast")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [found.name for found in file.parent.iterdir()] == ["vast"]


def test_a_file_that_others_may_read_is_not_used():
    keys.store("vast", "secret-value")
    keys.key_file("vast").chmod(0o644)
    with pytest.raises(SettingsError, match="0644") as caught:
        keys.find("vast")
    assert "chmod 600" in caught.value.hint
    assert "secret-value" not in str(caught.value)


def test_the_keyring_replaces_an_older_file_and_delete_forgets_both():
    keys.store("vast", "in-the-file")
    ring = Ring()
    keyring.set_keyring(ring)
    assert keys.store("vast", "in-the-ring").startswith("system keyring")
    assert not keys.key_file("vast").exists()
    assert len(keys.delete("vast")) == 1
    assert keys.find("vast") is None
    assert keys.delete("vast") == []


def test_a_locked_keyring_is_as_good_as_none():
    keyring.set_keyring(Ring(locked=True))
    assert "file" in keys.store("vast", "in-the-file")
    assert keys.find("vast").key.get_secret_value() == "in-the-file"
    assert len(keys.delete("vast")) == 1


@pytest.mark.parametrize("value", ["", "  ", "two words", "line\nend", "ключ"])
def test_what_is_no_key_is_not_stored(value):
    with pytest.raises(BadInput, match="key of vast"):
        keys.store("vast", value)


@pytest.mark.parametrize("name", ["../x", "", "A", "a/b", ".hidden"])
def test_a_provider_s_name_can_not_leave_the_folder(name):
    with pytest.raises(BadInput):
        keys.key_file(name)


def test_a_found_key_is_hidden_in_repr_and_log(monkeypatch):
    monkeypatch.setenv("VAST_API_KEY", "hide-me-please-1")
    assert "hide-me" not in repr(keys.find("vast"))
    assert "hide-me" not in log.redact("the key is hide-me-please-1, really")


class Broken(Ring):
    """A backend that raises what its libraries do."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def get_password(self, service, username):
        raise self.error


@pytest.mark.parametrize(
    "error", [KeyError("x"), AttributeError("dbus"), EOFError(), SystemExit(1), MemoryError()]
)
def test_whatever_a_keyring_raises_the_file_is_read(error):
    keyring.set_keyring(Broken(error))
    keys._write(keys.key_file("vast"), "from-the-file")
    found = keys.find("vast")
    assert found is not None
    assert found.key.get_secret_value() == "from-the-file"


def test_a_keyring_that_hangs_is_given_up_for_a_while(monkeypatch):
    hang = threading.Event()

    class Silent(Ring):
        asked = 0

        def get_password(self, service, username):
            Silent.asked += 1
            hang.wait(30)

    keyring.set_keyring(Silent())
    monkeypatch.setattr(keys, "PATIENCE_S", 0.2)
    monkeypatch.setattr(keys, "_given_up", 0.0)
    keys._write(keys.key_file("vast"), "from-the-file")
    try:
        for _ in range(3):
            found = keys.find("vast")
            assert found is not None
            assert found.source.startswith("file")
        assert Silent.asked == 1
    finally:
        hang.set()
        monkeypatch.setattr(keys, "_given_up", 0.0)
