"""What a session saves: where it comes to lie, what the receipt says, whoever ends it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpunb import paths
from gpunb.providers import OfferQuery, ProviderConfig
from gpunb.providers.local import LocalProvider
from gpunb.sessions import lifecycle
from gpunb.sessions.access import host_access
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.lifecycle import RentRequest, fetch_results
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.model import Receipt, Session, SessionState
from gpunb.sessions.project import places, state
from gpunb.sessions.supervisor import process
from tests.sessions.scripted import ScriptedReach, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("save", "lands"),
    [
        (["out"], ["out"]),
        (["a/b/out", "/data/model.pt"], ["a/b/out", "model.pt"]),
        (["/run1/ckpt", "/run2/ckpt"], ["run1/ckpt", "run2/ckpt"]),
        (["/a/run1/ckpt", "/b/run1/ckpt"], ["a/run1/ckpt", "b/run1/ckpt"]),
        (["/a/CKPT", "/b/ckpt"], ["a/CKPT", "b/ckpt"]),
        (["out", "/a/out"], ["out", "a/out"]),
        (["out/x", "/a/out"], ["out/x", "a/out"]),
        (["../out", "/a/out"], ["out", "a/out"]),
        (["/a/x/out/*.csv", "/b/x/out/*.csv"], ["a/x/out", "b/x/out"]),
        (["out/*.csv"], ["out"]),
        (["*.csv"], ["."]),
        (["~/out", "/out"], ["out", "out"]),
    ],
)
def test_no_two_saves_land_in_one_place(save: list[str], lands: list[str]) -> None:
    session = Session(id="s", name="s", provider="p", label="l", save=save, save_to="/base")
    found = fetch_results.targets(session)
    assert list(found) == save
    assert [path.relative_to("/base") for path in found.values()] == [Path(place) for place in lands]


def test_at_the_end_what_can_t_lie_in_its_place_lies_in_gpunb_s(ledger: Ledger, tmp_path: Path) -> None:
    """The folder that it was rented in is a file by now; nobody is there to be asked."""
    (tmp_path / "gone").write_text("a file")
    session = Session(
        id="s1", name="fit", provider="p", label="l", save=["out"], save_to=str(tmp_path / "gone")
    )
    session.state = SessionState.READY
    host = ScriptedReach(VirtualClock())
    ledger.add_session(session, slug="x")
    assert fetch_results.fetch_saves(ledger, session, host, Timing(), last=True) == []
    assert host.fetched == [("out", paths.home() / "saved" / "fit-s1" / "out")]
    (tmp_path / "gone").unlink()
    fetch_results.fetch_saves(ledger, session, host, Timing(), last=True)
    assert host.fetched[-1] == ("out", tmp_path / "gone/out")


@pytest.fixture
def cloud(home: Path) -> LocalProvider:
    del home
    return LocalProvider(ProviderConfig())


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    del home
    with Ledger.open() as opened:
        yield opened
    host_access.close_all()


SAVE = ["out", "logs/*.txt", "/tmp/gpunb-test-saving/a/ckpt", "/tmp/gpunb-test-saving/b/ckpt", "gone/*.csv"]
ON_HOST = """
mkdir -p proj/out logs /tmp/gpunb-test-saving/a/ckpt /tmp/gpunb-test-saving/b/ckpt /tmp/gpunb-test-saving/disk
echo result > proj/out/r.json; echo log > logs/1.txt; echo no > logs/1.bin
echo a > /tmp/gpunb-test-saving/a/ckpt/last.pt; echo b > /tmp/gpunb-test-saving/b/ckpt/last.pt
echo big > /tmp/gpunb-test-saving/disk/model.bin
ln -s /tmp/gpunb-test-saving/disk proj/out/models; ln -s /proc proj/out/system
"""


def _check(here: Path, receipt: Receipt) -> None:
    found = {str(path.relative_to(here)): path.read_text() for path in here.rglob("*") if path.is_file()}
    assert found == {
        "out/r.json": "result\n",
        "out/models/model.bin": "big\n",
        "logs/1.txt": "log\n",
        "a/ckpt/last.pt": "a\n",
        "b/ckpt/last.pt": "b\n",
    }
    bound = here.parent / "bound"
    assert receipt.saved == [str(bound), *SAVE[:4]]
    found = {str(path.relative_to(bound)): path.read_text() for path in bound.rglob("*") if path.is_file()}
    (copy,) = found.keys() - {"kept.txt", "late/m.txt"}
    assert found == {"kept.txt": "mine\n", copy: "theirs\n", "late/m.txt": "m\n"}, "kept twice"
    assert not list(paths.home().glob("projects/*")), "the state of a session that is over"
    unsaved = dict(receipt.unsaved)
    assert set(unsaved) == {"gone/*.csv", "out/system"}
    assert "no file on the host matches" in unsaved["gone/*.csv"]
    assert "a folder of the system" in unsaved["out/system"]
    facts = {one["path"]: one for one in receipt.brought}
    assert (facts["out"]["files"], facts["out"]["bytes"]) == (2, 11)
    assert facts["out"]["to"] == [str(here / "out")]
    assert Receipt.from_data(receipt.data()) == receipt


@pytest.mark.slow
@pytest.mark.parametrize("who", ["the lease", "down"])
def test_all_is_saved_and_said_whoever_ends_it(
    ledger: Ledger, cloud: LocalProvider, tmp_path: Path, who: str
) -> None:
    here, bound = tmp_path / "here", tmp_path / "bound"
    bound.mkdir()
    (bound / "kept.txt").write_text("mine\n")
    session = lifecycle.rent(
        ledger, cloud, cloud.search(OfferQuery()), RentRequest(save=SAVE, save_to=str(here))
    )
    try:
        assert host_access.connection(session).run(ON_HOST).code == 0
        place = places.place(ledger, session, bound)
        state.State.load(session.id, bound).save()
        places.bind(ledger, session, bound)
        run = f"mkdir -p {place}/late; echo m > {place}/late/m.txt; echo theirs > {place}/kept.txt"
        assert host_access.connection(session).run(run).code == 0
        fetch_results.note_folder(ledger, session, "proj/")
        fetch_results.note_folder(ledger, session, "proj/")
        if who == "down":
            with pytest.raises(Exception, match="no file on the host matches"):
                lifecycle.down(ledger, cloud, session)
            _check(here, lifecycle.down(ledger, cloud, session, save=False))
            return
        ledger.update(session.id, lease=type(session.lease)(deadline=time.time() + 0.5))
        stop = threading.Event()
        timer = threading.Timer(60, stop.set)
        timer.start()
        process.run(ledger, lambda name: cloud, tick_s=0.2, stop=stop)
        timer.cancel()
        receipt = ledger.receipt(session.id)
        assert receipt is not None
        assert receipt.why == "deadline"
        _check(here, receipt)
    finally:
        if ledger.get(session.id).alive:
            lifecycle.down(ledger, cloud, session, save=False)
        for path in sorted(Path("/tmp/gpunb-test-saving").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        Path("/tmp/gpunb-test-saving").rmdir()
