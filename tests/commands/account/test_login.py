"""``login`` and ``logout``: checked with a real call to a simulated cloud, kept where nobody else reads."""

from __future__ import annotations

import io
import json
import stat
from typing import TYPE_CHECKING, Any

import keyring
import pytest
from keyring.backends.fail import Keyring as NoKeyring
from support.rentals.clouds import simulated

from gpunb import log, paths, settings
from gpunb.providers import keys, names, provider_class

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.terminal import Gpunb

    from gpunb.sim.serving.runner import Simulation


@pytest.fixture
def clouds(gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    """Two clouds at their settings' addresses, and no keyring."""
    monkeypatch.setattr(keyring, "get_keyring", NoKeyring)
    for name in map(keys.variable, names()):
        monkeypatch.delenv(name, raising=False)
    with simulated(("vast", "deepinfra"), real=False, active=False) as simulation:
        for name, one in simulation.description().items():
            monkeypatch.setenv(f"GPUNB_PROVIDERS__{name.upper()}__BASE_URL", one["base_url"])
            monkeypatch.setenv(f"GPUNB_PROVIDERS__{name.upper()}__HTTP", '{"pace": 0.05}')
        yield simulation


def logged() -> str:
    return paths.log_file().read_text() if paths.log_file().exists() else ""


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_good_key_is_checked_and_kept_for_its_owner_alone(
    gpunb: Gpunb, clouds: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = clouds["vast"].key
    typed(monkeypatch, f"{key}\n")
    ran = gpunb("login", "vast", "--stdin")
    assert ran.code == 0, ran.err
    assert "Vast.ai takes the key" in ran.out
    assert "mode 0600, there is no system keyring here" in " ".join(ran.out.split())
    assert "$100" in ran.out
    file = keys.key_file("vast")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in ran.out + ran.err + logged()
    assert "balance $100" in gpunb("doctor").out, "the kept key is what the cloud is asked with"
    again = gpunb("logout", "vast")
    assert "forgot" in again.out
    assert not file.exists()
    assert "no key of Vast.ai was kept" in gpunb("logout", "vast").out


def test_a_wrong_key_is_not_kept_and_vast_s_404_is_not_called_not_found(
    gpunb: Gpunb, clouds: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "not-the-key-of-anybody\n")
    ran = gpunb("login", "vast", "--stdin")
    assert ran.code == 1
    assert "key" in ran.err
    assert "bill:" not in ran.err
    assert "not-the-key" not in ran.out + ran.err
    assert keys.find("vast") is None


@pytest.mark.parametrize("scope", ["user_read"])
def test_a_key_without_the_scope_is_named(
    gpunb: Gpunb, clouds: Simulation, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    cloud: Any = clouds["vast"]
    cloud.owners["narrow-key"] = cloud.accounts[cloud.key]
    cloud.scopes["narrow-key"] = (frozenset({"misc"}), None)
    typed(monkeypatch, "narrow-key\n")
    ran = gpunb("login", "vast", "--stdin")
    assert ran.code == 1
    assert scope in ran.err, "what it lacks is named"
    assert keys.find("vast") is None


def test_scoped_makes_and_keeps_a_smaller_key(
    gpunb: Gpunb, clouds: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud: Any = clouds["vast"]
    typed(monkeypatch, f"{cloud.key}\n")
    ran = gpunb("login", "vast", "--scoped", "--stdin", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["scoped"] is True
    kept = keys.find("vast")
    assert kept is not None
    value = kept.key.get_secret_value()
    assert value != cloud.key
    assert cloud.scopes[value][0] < {*cloud.scopes[value][0], "user_write"}, "it can make no further keys"
    assert value not in ran.out + ran.err + logged()
    offers = gpunb("offers", "--cloud", "vast", "--json")
    assert offers.json["matched"] > 0


def test_a_scoped_key_may_do_what_is_named_too(
    gpunb: Gpunb, clouds: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud: Any = clouds["vast"]
    typed(monkeypatch, f"{cloud.key}\n")
    wrong = gpunb("login", "vast", "--scoped", "--may", "everything", "--stdin")
    assert wrong.code == 2
    assert "--may 'everything': must be one of misc, user_read, user_write" in wrong.err
    assert keys.find("vast") is None
    assert "is for --scoped" in gpunb("login", "vast", "--may", "user_write", "--stdin").err
    typed(monkeypatch, f"{cloud.key}\n")
    ran = gpunb("login", "vast", "--scoped", "--may", "user_write", "--stdin")
    assert ran.code == 0, ran.err
    assert "no more than gpunb needs, and user_write" in ran.out
    assert "can make further keys" in ran.out
    kept = keys.find("vast")
    assert kept is not None
    assert "user_write" in cloud.scopes[kept.key.get_secret_value()][0]
    assert "billing_write" not in cloud.scopes[kept.key.get_secret_value()][0]


def test_terms_are_shown_accepted_once_and_remembered_beside_the_user_s_own_lines(
    gpunb: Gpunb, clouds: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.config_file().parent.mkdir(parents=True, exist_ok=True)
    paths.config_file().write_text('# mine\nhours = 3\n\n[providers.vast]\nimage = "x"\n')
    monkeypatch.setenv("DEEPINFRA_TOKEN", clouds["deepinfra"].key)
    refused = gpunb("rent", "--cloud", "deepinfra", "--yes")
    assert refused.code == 2
    assert "mining" in refused.err
    assert "nothing was rented" in refused.err
    assert "gpunb login deepinfra --accept-terms" in refused.err
    ran = gpunb("login", "deepinfra", "--accept-terms")
    assert ran.code == 0, ran.err
    assert "mining" in ran.out
    text = paths.config_file().read_text()
    assert text.startswith("# mine\nhours = 3\n")
    assert settings.load().provider("deepinfra")["options"]["accept_terms"] is True
    assert settings.load().provider("vast")["options"]["image"] == "x"
    assert gpunb("login", "deepinfra", "--accept-terms").code == 0
    assert paths.config_file().read_text().count("accept_terms") == 1, "once"


def test_the_environment_beats_the_kept_key_and_that_is_said(
    gpunb: Gpunb, clouds: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, clouds["vast"].key)
    monkeypatch.setenv("VAST_API_KEY", "another")
    ran = gpunb("login", "vast", "--stdin")
    assert "VAST_API_KEY is set, and beats the kept key" in ran.out
    assert "key" in gpunb("doctor", "--json").out
    found = next(row for row in gpunb("doctor", "--json").json if row["what"] == "cloud vast")
    assert found["level"] != "ok"


NO_KEY = {name for name in names() if not provider_class(name).needs_key}


class TestBadInput:
    def test_a_key_on_the_command_line_is_refused_and_not_repeated(self, gpunb: Gpunb) -> None:
        ran = gpunb("login", "vast", "sk-on-the-command-line")
        assert ran.code == 2
        assert "history" in ran.err
        assert "sk-on-the" not in ran.out + ran.err
        assert "sk-on-the" not in logged()

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            (["login", "vats"], ["no provider 'vats'", "did you mean vast"]),
            (["login", "local"], ["needs no key"]),
            (["login", "vast"], ["no terminal to ask", "--stdin"]),
            *(
                (["login", name], ["a key is made at https://", provider_class(name).key_page])
                for name in names()
                if name not in NO_KEY
            ),
            (["login", "fluence", "--scoped"], ["Fluence can't make a key that may do less; Vast.ai can"]),
            (["login", "vast", "--accept-terms"], ["Vast.ai can't show terms to accept here; DeepInfra can"]),
            (["logout", "nobody"], ["no provider 'nobody'"]),
        ],
    )
    def test_refused(self, gpunb: Gpunb, line: list[str], words: list[str]) -> None:
        ran = gpunb(*line)
        assert ran.code != 0
        for word in words:
            assert word in ran.err

    @pytest.mark.parametrize("text", ["", "\n", "two words\n", "käse\n"])
    def test_what_is_no_key(
        self, gpunb: Gpunb, clouds: Simulation, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        typed(monkeypatch, text)
        ran = gpunb("login", "vast", "--stdin")
        assert ran.code != 0
        assert keys.find("vast") is None

    def test_a_simulated_cloud_has_its_own_key(self, gpunb: Gpunb) -> None:
        with simulated(("vast",), real=False):
            ran = gpunb("login", "vast", "--stdin")
        assert "is simulated now" in ran.err
        assert "gpunb sim down" in ran.err


def test_nothing_secret_is_in_the_log_by_name() -> None:
    log.add_secret("a-secret-of-the-tests")
    assert "a-secret-of-the-tests" not in log.redact(json.dumps({"key": "a-secret-of-the-tests"}))
