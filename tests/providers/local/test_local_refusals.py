"""What the local provider refuses, and homes that it can't write into: nothing is left behind."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpunb import paths
from gpunb.errors import BadInput, NotSupported, OfferGone, Unavailable
from gpunb.providers import CreateSpec, Offer, OfferQuery, ProviderConfig
from gpunb.providers.local import LocalProvider
from tests.support.machines.localhost import LINE, the_offer


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"label": ""}, BadInput, "label"),
        ({"label": "a\x1b[2Jb"}, BadInput, "label"),
        ({"public_key": "rubbish"}, BadInput, "public_key"),
        ({"public_key": LINE + "\n" + LINE}, BadInput, "public_key"),
        ({"disk_gb": -1.0}, BadInput, "disk_gb"),
        ({"disk_gb": 1e9}, BadInput, "1e+09 GB are more than"),
        ({"disk_gb": math.nan}, BadInput, "disk_gb"),
        ({"env": {"1X": "a"}}, BadInput, "1X"),
        ({"env": {"X": "a\0b"}}, BadInput, "NUL"),
        ({"bid_usd_h": 0.1}, NotSupported, "bid"),
        ({"volumes": {"v": "/v"}}, NotSupported, "volumes"),
    ],
)
def test_a_bad_spec_rents_nothing(
    provider: LocalProvider, change: dict[str, object], error: type[Exception], words: str
) -> None:
    spec = CreateSpec(**{"label": "x", "public_key": LINE} | change)  # type: ignore[arg-type]
    with pytest.raises(error, match=words.replace("+", r"\+")):
        provider.create(the_offer(provider), spec)
    assert provider.instances() == []
    assert not paths.local_dir().exists()


def test_another_clouds_offer_is_refused(provider: LocalProvider) -> None:
    with pytest.raises(OfferGone, match="vast/77"):
        provider.create(Offer(provider="vast", id="77"), CreateSpec(label="x", public_key=LINE))


@pytest.mark.parametrize("value", [-1, "cheap", math.inf, None])
def test_a_price_must_be_one(home: Path, value: object) -> None:
    with pytest.raises(BadInput, match="usd_h"):
        LocalProvider(ProviderConfig(options={"usd_h": value})).search(OfferQuery())


def test_a_home_that_is_no_folder_is_said_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("mine")
    monkeypatch.setenv("GPUNB_HOME", str(blocker / "home"))
    provider = LocalProvider()
    for call in (
        provider.check,
        lambda: provider.create(the_offer(provider), CreateSpec(label="x", public_key=LINE)),
    ):
        with pytest.raises(Unavailable) as caught:
            call()
        assert str(blocker) in caught.value.message
        assert "GPUNB_HOME" in (caught.value.hint or "")
        assert caught.value.bill == "nothing was rented"
    assert provider.instances() == []
    assert blocker.read_text() == "mine"


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_full_or_read_only_home_leaves_nothing_behind(home: Path, tmp_path: Path, how: str) -> None:
    """A file size limit of 0 fails every write as a full disk does; another user's folder is read-only."""
    script = tmp_path / "creator.py"
    paths.private_dir(paths.local_dir())
    limit = "import os, resource\nfrom gpunb.providers.local import LocalProvider, launcher, server\n"
    if how == "full":
        limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    elif os.getuid() == 0:
        limit += "os.setuid(65534)\n"
    else:
        paths.local_dir().chmod(0o500)
    script.write_text(
        limit + "import sys\n"
        "from gpunb.errors import Unavailable\n"
        "from gpunb.providers import CreateSpec, OfferQuery\n"
        "provider = LocalProvider()\n"
        "(offer,) = provider.search(OfferQuery())\n"
        "try:\n"
        f"    provider.create(offer, CreateSpec(label='x', public_key={LINE!r}))\n"
        "except Unavailable as err:\n"
        "    sys.stdout.write(str(err))\n"
    )
    read_end, write_end = os.pipe()  # a pipe is not held to the file size limit
    with subprocess.Popen([sys.executable, script], stdout=write_end, stderr=subprocess.PIPE) as child:
        os.close(write_end)
        with os.fdopen(read_end) as out:
            said = out.read()
        _, errors = child.communicate(timeout=60)
    paths.local_dir().chmod(0o700)
    assert str(paths.local_dir()) in said, (said, errors)
    assert "GPUNB_HOME" in said
    assert "nothing was rented" in said
    assert list(paths.local_dir().iterdir()) == []
