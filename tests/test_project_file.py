"""A project's settings file comes with somebody else's folder: it narrows, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpunb import paths, settings
from gpunb.errors import SettingsError
from gpunb.providers.base import Offer
from gpunb.sessions.cost import lease

OWN = {
    "clouds": ["local", "vast"],
    "hours": 3.0,
    "idle": 1200.0,
    "budget": 5.0,
    "price_tolerance": 0.1,
    "disk_gb": 30.0,
    "cell_timeout": 600.0,
    "save": ["mine"],
    "python": "/usr/bin/python3",
    "log_level": "info",
    "check": {"on": True, "memory": 0.1, "disk": 0.5, "line": 0.5},
    "limits": {"usd_day": 10.0, "clouds": ["vast"], "trust": "datacenter"},
    "notify": {"desktop": True},
    "agent": {"usd_day": 5.0},
}
WIDER: dict[str, Any] = {
    "clouds": ["deepinfra"],
    "hours": 8784,
    "idle": "8784h",
    "budget": 1_000_000_000,
    "price_tolerance": 1,
    "disk_gb": 5000,
    "cell_timeout": "8784h",
    "save": [".bashrc", "."],
    "python": "/tmp/evil",
    "log_level": "error",
    "check": {"on": False, "memory": 0.5, "disk": 0.1, "line": 0},
    "limits": {"usd_day": 1000, "clouds": ["deepinfra"], "trust": "stranger"},
    "notify": {"webhook": "https://evil.example/x"},
    "agent": {"usd_day": 5000, "confirm": []},
    "providers": {"vast": {"image": "evil.example/x", "accept_terms": True, "filters": {"a": {"eq": 1}}}},
}
NARROWER: dict[str, Any] = {
    "clouds": ["vast"],
    "hours": 1,
    "idle": "5m",
    "budget": 2,
    "price_tolerance": 0.01,
    "disk_gb": 10,
    "cell_timeout": "1m",
    "check": {"on": True, "memory": 0.0, "disk": 0.9, "line": 0.5},
    "limits": {"usd_day": 3, "gpus": 1},
}


def toml(data: dict[str, Any]) -> str:
    """Enough of TOML for these: JSON's values, inline tables."""

    def value(one: Any) -> str:
        if isinstance(one, dict):
            return "{" + ", ".join(f"{key} = {value(more)}" for key, more in one.items()) + "}"
        return json.dumps(one)

    return "".join(f"{key} = {value(one)}\n" for key, one in data.items())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cloned folder with a gpunb.toml above the working folder; the user's own file says `OWN`."""
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "home"))
    paths.private_dir(tmp_path / "home")
    paths.config_file().write_text(toml({**OWN, "idle": "20m", "cell_timeout": "10m"}))
    (tmp_path / "clone" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "clone" / "deep")
    return tmp_path / "clone" / "gpunb.toml"


def test_every_setting_is_tried(project: Path) -> None:
    """A new setting is refused to a project's file until somebody says how it narrows."""
    del project
    assert set(WIDER) | {"secrets"} == set(settings.Settings.model_fields)


@pytest.mark.parametrize("key", sorted(WIDER))
def test_what_widens_does_not_hold_and_is_named(project: Path, key: str) -> None:
    project.write_text(toml({key: WIDER[key]}))
    found = settings.load()
    for name, value in OWN.items():
        holds = getattr(found, name)
        table = name in ("check", "limits", "notify", "agent")
        assert (holds.model_dump(exclude_unset=True) if table else holds) == value, name
    assert found.providers == {}
    assert {one.key.split(".")[0] for one in found.refused} == {key}
    for one in found.refused:
        assert one.source == str(project)
        assert one.why
        assert one.hint
    assert str(project) not in {row.source for row in settings.origins()}


@pytest.mark.parametrize("key", sorted(NARROWER))
def test_what_narrows_holds(project: Path, key: str) -> None:
    project.write_text(toml({key: NARROWER[key]}))
    found = settings.load()
    assert getattr(found, key) != OWN[key]
    assert not found.refused
    names = {row.key for row in settings.origins() if row.source == str(project)}
    assert {name.split(".")[0] for name in names} == {key}


def test_the_command_line_and_the_environment_stand_above(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_text("hours = 1\nbudget = 2\n")
    monkeypatch.setenv("GPUNB_HOURS", "7")
    found = settings.load({"budget": 9})
    assert (found.hours, found.budget) == (7, 9)


def test_without_a_budget_of_the_user_s_the_lesser_of_a_project_s_and_the_usual_one_holds(
    project: Path,
) -> None:
    paths.config_file().write_text("")
    offer = Offer(provider="p", id="o", gpu="H100", gpus=1, usd_h=2.0)
    usual = lease.lease_for(offer, now=0.0, hours=2).budget_usd
    assert usual is not None
    for asked, holds in ((1e9, usual), (3.0, 3.0)):
        project.write_text(f"budget = {asked}\n")
        found = settings.load()
        assert found.budget is None
        made = lease.lease_for(
            offer, now=0.0, hours=2, budget_usd=found.budget, budget_most=found.budget_most
        )
        assert made.budget_usd == holds
        assert {row.key: row.value for row in settings.origins()}["budget_most"] == asked


def test_config_shows_what_was_refused_and_why(project: Path) -> None:
    project.write_text(toml(WIDER))
    argv = [sys.executable, "-m", "gpunb", "config"]
    shown = subprocess.run([*argv, "--json"], capture_output=True, text=True, check=True)
    data = json.loads(shown.stdout)
    assert {one["key"].split(".")[0] for one in data["refused"]} == set(WIDER)
    text = subprocess.run(
        argv, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "400"}
    )
    assert text.stdout.count("refused:") == len(data["refused"])
    assert "gpunb rent --save .bashrc --save ." in text.stdout


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users")


@needs_root
@pytest.mark.parametrize("how", ["another user's", "writable by all", "writable by a group"])
def test_files_that_others_decide_about_do_not_count(project: Path, how: str) -> None:
    def spoil(path: Path) -> None:
        if how == "another user's":
            os.chown(path, 65534, 65534)
        elif how == "writable by all":
            path.chmod(path.stat().st_mode | 0o002)
        else:
            os.chown(path, -1, 100)
            path.chmod(path.stat().st_mode | 0o020)

    project.write_text("hours = 1\n")
    assert settings.load().hours == 1
    spoil(project)
    found = settings.load()
    assert found.hours == OWN["hours"]
    (one,) = found.refused
    assert one.source == str(project)
    spoil(paths.config_file())
    with pytest.raises(SettingsError, match="can't be trusted"):
        settings.load()
    paths.config_file().unlink()
    settings.load()
    spoil(paths.home())
    for use in (settings.load, paths.ledger_file, paths.config_file, lambda: paths.session_dir("x")):
        with pytest.raises(SettingsError, match=r"GPUNB_HOME .* can't be trusted"):
            use()


@needs_root
def test_a_ledger_that_others_may_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger.sqlite"
    monkeypatch.setenv("GPUNB_LEDGER", str(file))
    assert paths.ledger_file() == file
    file.touch(0o600)
    assert paths.ledger_file() == file
    os.chown(file, 65534, -1)
    with pytest.raises(SettingsError, match=r"GPUNB_LEDGER .* belongs to another user"):
        paths.ledger_file()


@needs_root
def test_a_home_of_another_user_s_is_refused_before_a_key_goes_out(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o777)
    os.chown(home, 65534, 65534)
    (home / "gpunb.toml").write_text('[providers.vast]\nbase_url = "http://127.0.0.1:9"\n')
    env = {**os.environ, "GPUNB_HOME": str(home), "VAST_API_KEY": "k"}
    for words in (["offers", "--cloud", "vast"], ["ps"], ["doctor"], ["config"], ["supervise"]):
        done = subprocess.run(
            [sys.executable, "-m", "gpunb", *words], env=env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode != 0, words
        assert "belongs to another user" in done.stderr + done.stdout, words
        assert "Traceback" not in done.stderr
    assert sorted(path.name for path in home.iterdir()) == ["gpunb.toml"]


@pytest.mark.slow
def test_nothing_that_we_make_can_be_changed_by_others_whatever_the_umask(tmp_path: Path) -> None:
    env = {**os.environ, "GPUNB_HOME": str(tmp_path / "home"), "JUPYTER_DATA_DIR": str(tmp_path / "jupyter")}

    def verb(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "gpunb", *words],
            env=env,
            umask=0,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr

    verb("rent", "--cloud", "local", "--name", "x", "--for", "1h", "--yes")
    try:
        verb("run", "-s", "x", "--shell", "echo fine")
        (tmp_path / "src").mkdir()
        verb("sync", str(tmp_path / "src"), "x:src")
        open_ones = []
        for top in (tmp_path / "home", tmp_path / "jupyter"):
            for folder, names, files in os.walk(top):
                # what runs on the host in there makes files by its own umask, behind a closed folder
                names[:] = [name for name in names if not (name == "home" and "/local/" in f"{folder}/")]
                paths_ = (Path(folder, name) for name in (*names, *files))
                plain = (path for path in paths_ if not path.is_symlink() and not path.is_socket())
                open_ones += [
                    str(path.relative_to(tmp_path)) for path in plain if path.stat().st_mode & 0o022
                ]
        assert not open_ones
    finally:
        verb("down", "--all", "--yes")
