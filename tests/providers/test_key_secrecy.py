"""An account's key stands in no repr, error, traceback, log or JSON."""

from __future__ import annotations

import json
import logging
import traceback
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from gpunb import log, paths, settings
from gpunb.cli.main import invoke
from gpunb.errors import GpunbError
from gpunb.providers import ProviderConfig, keys, names, provider_class
from gpunb.providers.http import ApiClient

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canarykey0123456789abcdef"
CLOUDS = [name for name in names() if provider_class(name).needs_key]


@pytest.mark.parametrize("name", CLOUDS)
def test_a_provider_and_its_failures(name: str, home: Path) -> None:
    config = ProviderConfig(base_url="http://127.0.0.1:9", key=SecretStr(CANARY), options={})
    assert CANARY not in repr(config)
    provider = provider_class(name)(config)
    try:
        assert CANARY not in repr(provider)
        with pytest.raises(GpunbError) as caught:
            provider.instances()
    finally:
        provider.close()
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=False)
    text = "".join(shown.format()) + str(caught.value) + repr(caught.value) + repr(vars(caught.value))
    assert CANARY not in text


def test_settings_keys_and_logs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAST_API_KEY", CANARY)
    monkeypatch.setenv("GPUNB_PROVIDERS__VAST__KEY", CANARY)
    found = settings.load()
    assert CANARY not in repr(found)
    assert CANARY not in repr(keys.find("vast"))
    assert CANARY not in repr(settings.origins())
    assert CANARY not in json.dumps(invoke("config --json", frontend="terminal").data(), default=str)
    log.setup()
    logging.getLogger("gpunb.test").warning("with %s in %r", CANARY, {"key": CANARY})
    assert CANARY not in paths.log_file().read_text("utf-8")


def test_the_http_client(home: Path) -> None:
    client = ApiClient(provider="vast", title="Vast", base_url="http://127.0.0.1:9", key=SecretStr(CANARY))
    try:
        assert CANARY not in repr(client)
        assert CANARY not in repr(client._auth)
    finally:
        client.close()
