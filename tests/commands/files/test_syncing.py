"""``sync`` as typed: several sources, from host to host, its refusals."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import SyncBusy, SyncError
from gpunb.services import transfers
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sync.watch import Wake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.terminal import Gpunb


@pytest.mark.slow
def test_several_sources_a_summary_and_the_engine(demo: Gpunb) -> None:
    for name in ("a", "b"):
        Path(name).mkdir()
        Path(name, "f").write_text(name)
    Path("single").write_text("s")
    shown = demo("sync", "a", "b", "single", ":all", "--dry-run")
    assert shown.code == 0, shown.err
    assert "the agent is there" in shown.out
    sent = demo("sync", "a", "b", "single", ":all")
    assert sent.code == 0, sent.err
    assert "by stream" in sent.out
    assert demo("exec", "--", "ls", "-R", "all").out.split() == [
        "all:", "a", "b", "single", "all/a:", "f", "all/b:", "f",
    ]  # fmt: skip
    back = demo("sync", ":all/a", "demo:all/b", "back", "--limit-rate", "10M")
    assert back.code == 0, back.err
    assert Path("back/a/f").read_text() + Path("back/b/f").read_text() == "ab"
    report = demo("sync", ":all", "whole", "--mirror", "--json").json
    assert (report["engine"], report["sent_files"], report["plan"]["counts"]["items"]) == ("stream", 3, 3)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sync a", ["must have a SRC and a DST"]),
        ("sync a :b c", ["'a' ':b' 'c'", "all are here, or all on a host"]),
        ("sync a :b --limit-rate fast", ["limit-rate 'fast'", "10M"]),
        ("sync one:a two:b --watch", ["--watch", "must be here"]),
        ("sync one:a two:b --via here", ["'two'"]),
        ("sync one:a two:b --via host", ["--via: is for a sync with a URL"]),
        ("sync one:a b --via here", ["--via: is for a sync with a URL"]),
        ("sync :a :b", ["only one", "name both sessions"]),
        ("sync one:a two:b c", ["two sessions"]),
        ("sync . / :x", []),
    ],
)
def test_refusals(gpunb: Gpunb, line: str, words: list[str]) -> None:
    answer = gpunb(*line.split())
    assert answer.code in (1, 2)
    for word in words:
        assert word in answer.err.replace("\n", " "), answer.err


@pytest.mark.slow
def test_what_could_not_go_is_listed_and_the_exit_says_so(demo: Gpunb) -> None:
    Path("tree/sub").mkdir(parents=True)
    Path("tree/sub/x").write_text("x")
    Path("tree/y").write_text("y")
    assert demo("exec", "mkdir", "-p", "t/sub/x/in-the-way").code == 0
    ran = demo("sync", "tree", ":t", "--json")
    assert ran.code == 1
    assert [row["path"] for row in ran.json["failed"]] == ["sub/x"]
    assert demo("exec", "cat", "t/y").out.strip().endswith("y")
    assert "not moved: sub/x: a folder stands in its place" in demo("sync", "tree", ":t").out


@pytest.mark.slow
def test_a_volume_that_is_not_mounted_takes_nothing(demo: Gpunb, home: Path) -> None:
    Path("tree").mkdir()
    Path("tree/x").write_text("x")
    place = Path.cwd() / "disk"
    with Ledger.open() as ledger:
        session = ledger.find("demo")
        (intent,) = ledger.intents(session.id)
        summary = {**intent.summary, "mounts": {"vol-1": str(place)}}
    with sqlite3.connect(home / "ledger.sqlite") as db:
        db.execute("UPDATE intents SET summary = ?", (json.dumps(summary),))
    ran = demo("sync", "tree", f":{place}/deep")
    assert ran.code != 0
    assert "volume vol-1 is not mounted" in ran.err
    assert not place.exists()
    assert demo("sync", "tree", f":{place}-beside").code == 0
    assert demo("sync", "tree", f":{place}/deep", "--yes").code == 0
    assert (place / "deep/x").read_text() == "x"


@pytest.mark.slow
def test_patterns_of_the_hosts_side_have_a_way(demo: Gpunb) -> None:
    assert demo("exec", "sh", "-c", "mkdir -p out/sub; touch out/a.png out/b.txt out/sub/c.png").code == 0
    ran = demo("sync", ":out/*.png", "plots")
    assert ran.code != 0
    assert "patterns are not expanded on the host" in ran.err
    assert "--exclude '*' --exclude '!/*.png'" in ran.err.replace("\n", " ")
    assert demo("sync", ":out", "plots", "--exclude", "*", "--exclude", "!/*.png").code == 0
    assert [path.name for path in Path("plots").iterdir()] == ["a.png"]


class TestWatch:
    @pytest.fixture
    def moves(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What would have been synced; the second try finds another sync at work."""
        done: list[str] = []

        def move(*_args: Any, **_options: Any) -> Any:
            done.append("try")
            if len(done) == 2:
                msg = "another sync into t is running"
                raise SyncBusy(msg)
            if len(done) == 4:
                msg = "the host's disk is full"
                raise SyncError(msg)
            return f"report {len(done)}"

        def changes(*_args: Any, **_patterns: Any) -> Iterator[Wake]:
            yield from (Wake(0), Wake(1), Wake(1), Wake(1))  # the first when the watch has begun
            raise KeyboardInterrupt

        monkeypatch.setattr(transfers, "move", move)
        monkeypatch.setattr(transfers, "summary", str)
        monkeypatch.setattr(transfers, "BUSY_S", 0.01)
        monkeypatch.setattr("gpunb.sync.watch.changes", changes)
        return done

    def test_waits_for_another_sync_and_survives_a_failed_one(
        self, moves: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[str] = []
        context: Any = SimpleNamespace(say=lambda *lines: told.extend(text for text, _ in lines))
        report = SimpleNamespace(
            failed=[("f", "its disk is full")], plan=SimpleNamespace(notes=["a link stays"])
        )
        real = transfers.move

        def move(*args: Any, **options: Any) -> Any:
            real(*args, **options)
            return report

        monkeypatch.setattr(transfers, "move", move)
        plain: dict[str, Any] = {"include": (), "exclude": ()}
        session: Any = SimpleNamespace(id="s1")
        reports = transfers.follow(context, session, ["src"], "t", **plain)
        assert len(moves) == 5  # at first; one that waited; one that failed; one after it
        assert len(reports) == 3
        assert any("the host's disk is full" in text for text in told)
        assert told.count("not moved: f: its disk is full") == 3
        assert told.count("a link stays") == 1


@pytest.mark.slow
def test_ctrl_c_in_the_first_sync_of_a_watch(demo: Gpunb, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: Any, **_options: Any) -> Any:
        raise KeyboardInterrupt

    Path("src").mkdir()
    monkeypatch.setattr(transfers, "move", interrupted)
    ran = demo("sync", "src", ":x", "--watch")
    assert (ran.code, "stopped before the first sync" in ran.out) == (0, True), ran.err


@pytest.mark.slow
def test_watch_follows_changes_until_ctrl_c(demo: Gpunb, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("src").mkdir()
    Path("src/a").write_text("1")
    stop = threading.Event()
    seen: list[Any] = []
    from gpunb.sync import watch

    real = watch.changes

    def changes(source: Path, **patterns: Any) -> Iterator[Wake]:
        yield from real(source, **patterns, stop=stop)

    def follow(*args: Any, **options: Any) -> Any:
        report = move(*args, **options)
        if not seen:
            Path("src/b").write_text("edited while the first sync ran")
        seen.append(report)
        return report

    move = transfers.move
    monkeypatch.setattr(watch, "changes", changes)
    monkeypatch.setattr(transfers, "move", follow)

    def edit() -> None:
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: len(seen) >= 2)
        stop.set()

    editor = threading.Thread(target=edit)
    editor.start()
    ran = demo("sync", "src", ":watched", "--watch")
    editor.join()
    assert ran.code == 0, ran.err
    assert len(seen) >= 2
    assert demo("exec", "ls", "watched").out.split() == ["a", "b"]


def wait_for(what: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)
