from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gpunb import log, paths, settings
from gpunb.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "project" / "deep").mkdir(parents=True)


def write_project(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "project" / "gpunb.toml"
    file.write_text(text)
    return file


def test_defaults(tmp_path: Path) -> None:
    found = settings.load(cwd=tmp_path)
    assert (found.clouds, found.hours, found.idle, found.budget) == (["auto"], 2.0, 1800.0, None)


def test_order_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.config_file().write_text('hours = 1\nidle = "10m"\nbudget = 1\ndisk_gb = 1')
    write_project(tmp_path, 'idle = "20m"\nbudget = 2\ndisk_gb = 2')
    monkeypatch.setenv("GPUNB_BUDGET", "$3")
    monkeypatch.setenv("GPUNB_DISK_GB", "3")
    here = tmp_path / "project" / "deep"
    found = settings.load({"disk_gb": 4, "hours": None}, here)
    assert (found.hours, found.idle, found.budget, found.disk_gb) == (1, 600, 3, 4)
    sources = {row.key: row.source for row in settings.origins({"disk_gb": 4}, here)}
    assert sources["hours"] == str(paths.config_file())
    assert sources["idle"] == str(paths.config_file()), "a project's longer one does not hold"
    assert sources["budget"] == "GPUNB_BUDGET"
    assert sources["disk_gb"] == "the command line"
    assert sources["python"] == "default"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("huors = 3", ["gpunb.toml", "'huors'", "did you mean 'hours'"]),
        ("idle = 5", ["'idle'", "has the value 5", "no unit"]),
        ('idle = "5 parsecs"', ["'idle'", "'5 parsecs'", "length of time"]),
        ("hours = -1", ["'hours'", "-1", "greater than 0"]),
        ('disk_gb = "big"', ["'disk_gb'", "'big'", "number"]),
        ("providers = 3", ["'providers'", "3", "dictionary"]),
        ("[providers.vast]\nbase_url = 3", ["'providers.vast.base_url'", "may not set"]),
        ('[providers.vast]\nkey = ["sesame-open"]', ["'providers.vast.key'", "may not set"]),
        ('[secrets]\nmin_trust = "stranger"', ["'secrets'", "may not set"]),
        (
            "[providers.fluence]\nhost_key = false",
            ["providers.fluence.host_key", "may not set", "yours to say"],
        ),
        ("clouds = []", ["'clouds'", "at least 1"]),
        ('log_level = "loud"', ["'log_level'", "'loud'", "'debug'"]),
        ("= 3", ["gpunb.toml", "line 1"]),
    ],
)
def test_bad_file_names_file_key_value_and_rule(tmp_path: Path, text: str, words: list[str]) -> None:
    write_project(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        settings.load(cwd=tmp_path / "project")
    for word in words:
        assert word in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_bad_value_in_the_user_s_own_file_hides_a_key(tmp_path: Path) -> None:
    paths.config_file().parent.mkdir(parents=True, exist_ok=True)
    paths.config_file().write_text('[providers.vast]\nkey = ["sesame-open"]')
    with pytest.raises(SettingsError) as caught:
        settings.load(cwd=tmp_path)
    assert "'providers.vast.key' has the value ****" in str(caught.value)


def test_bad_environment_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNB_HOURS", "soon")
    with pytest.raises(SettingsError, match=r"GPUNB_HOURS.*'soon'"):
        settings.load(cwd=tmp_path)


def test_misspelt_variable_is_refused_but_strangers_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SOMETHING_ELSE_ENTIRELY", "VENV", "REPO", "DIR"):
        monkeypatch.setenv(f"GPUNB_{name}", "1")
    settings.load(cwd=tmp_path)
    for name in ("HOUR", "IDEL", "CLOUD", "SAVES"):
        with monkeypatch.context() as other, pytest.raises(SettingsError, match="did you mean"):
            other.setenv(f"GPUNB_{name}", "1")
            settings.load(cwd=tmp_path)
    monkeypatch.setenv("GPUNB_BUGDET", "5")
    with pytest.raises(SettingsError, match="GPUNB_BUDGET"):
        settings.load(cwd=tmp_path)


def test_provider_tables_hide_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(tmp_path, "")
    paths.config_file().parent.mkdir(parents=True, exist_ok=True)
    paths.config_file().write_text(
        '[providers.vast]\nbase_url = "http://127.0.0.1:1"\nkey = "a-key-of-mine"\nregion_token = "tok"'
    )
    monkeypatch.setenv("GPUNB_PROVIDERS__FLUENCE__KEY", "another-key")
    here = tmp_path / "project"
    found = settings.load(cwd=here)
    table = found.provider("vast")
    assert table["base_url"] == "http://127.0.0.1:1"
    assert table["key"].get_secret_value() == "a-key-of-mine"
    assert table["options"] == {"region_token": "tok"}
    assert found.provider("none") == {"base_url": None, "key": None, "options": {}}
    rows = {row.key: (row.value, row.source) for row in settings.origins(cwd=here)}
    assert rows["providers.vast.key"] == ("****", str(paths.config_file()))
    assert rows["providers.vast.region_token"][0] == "****"
    assert rows["providers.fluence.key"] == ("****", "GPUNB_PROVIDERS__FLUENCE__KEY")
    assert "a-key-of-mine" not in repr(found)
    assert log.redact("used a-key-of-mine and another-key") == "used **** and ****"


def test_cached_until_the_environment_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = settings.load()
    assert settings.load() is first
    monkeypatch.setenv("GPUNB_HOURS", "7")
    assert settings.load().hours == 7


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "home" / "gpunb.toml").mkdir()
    with pytest.raises(SettingsError, match=r"gpunb\.toml can't be read"):
        settings.load(cwd=tmp_path)


def simulate(providers: dict[str, dict[str, object]], *, active: bool = True, pid: int | None = None) -> None:
    folder = paths.sim_dir()
    folder.mkdir(parents=True, exist_ok=True)
    marker = {"pid": pid or os.getpid(), "started": 0, "active": active, "providers": providers}
    (folder / "clouds.json").write_text(json.dumps(marker))


SIM = {"vast": {"base_url": "http://127.0.0.1:1", "key": "sim-key", "http": {"pace": 0.1}}}


def test_a_simulation_stands_in_for_the_clouds_that_it_simulates(tmp_path: Path) -> None:
    simulate(SIM)
    found = settings.load(cwd=tmp_path)
    assert found.clouds == ["vast"]
    assert found.simulated == {"vast"}
    table = found.provider("vast")
    assert table["base_url"] == "http://127.0.0.1:1"
    assert table["key"].get_secret_value() == "sim-key"
    assert table["options"] == {"http": {"pace": 0.1}}
    sources = {row.key: row.source for row in settings.origins(cwd=tmp_path)}
    assert sources["clouds"] == sources["providers.vast.base_url"] == "gpunb sim up"


def test_what_the_user_set_beats_the_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(SIM)
    monkeypatch.setenv("GPUNB_CLOUDS", "local")
    paths.config_file().write_text('[providers.vast]\nimage = "mine"')
    found = settings.load(cwd=tmp_path)
    assert found.clouds == ["local"]
    assert found.provider("vast")["options"] == {"http": {"pace": 0.1}, "image": "mine"}


def test_a_real_key_is_never_paired_with_a_simulated_address_nor_the_other_way(tmp_path: Path) -> None:
    simulate(SIM)
    paths.config_file().write_text('[providers.vast]\nkey = "real-key"')
    found = settings.load(cwd=tmp_path)
    assert found.provider("vast")["key"].get_secret_value() == "sim-key"
    paths.config_file().write_text('[providers.vast]\nbase_url = "https://vast.example"')
    found = settings.load(cwd=tmp_path)
    assert found.simulated == frozenset()
    assert found.provider("vast") == {"base_url": "https://vast.example", "key": None, "options": {}}


def test_the_simulation_counts_only_while_it_is_active_and_alive(tmp_path: Path) -> None:
    real = paths.ledger_file()
    simulate(SIM)
    assert settings.load().clouds == ["vast"]
    assert paths.ledger_file() != real, "real instances are never looked for in a simulated cloud"
    simulate(SIM, active=False)
    assert settings.load().clouds == ["auto"], "the cached settings notice it"
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    simulate(SIM, pid=int(dead.stdout))
    assert settings.load().clouds == ["auto"]
    (paths.sim_dir() / "clouds.json").write_text("not json")
    assert settings.load().clouds == ["auto"]
    assert paths.ledger_file() == real


def test_the_ledger_can_be_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNB_LEDGER", str(tmp_path / "other.sqlite"))
    assert paths.ledger_file() == tmp_path / "other.sqlite"
    settings.load()
