from __future__ import annotations

import logging
import multiprocessing
import os
import re
import stat
from typing import TYPE_CHECKING

import pytest

from gpunb import log, paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path))
    root = logging.getLogger("gpunb")
    before = (list(root.handlers), root.level, root.propagate)
    monkeypatch.setattr(log, "_secrets", set())
    log.setup(0)
    yield
    log.setup(0)
    root.handlers[:], root.level, root.propagate = before[0], before[1], before[2]


def test_file_is_private_and_has_the_record() -> None:
    log.get("gpunb.x").warning("something %s", "happened")
    assert "WARNING gpunb.x: something happened" in paths.log_file().read_text()
    assert stat.S_IMODE(paths.log_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(paths.log_file().parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer SESAME123456",
        "{'authorization': 'Bearer SESAME123456'}",
        "Authorization: SESAME123456",
        "GET /x?api_key=SESAME123456&y=2",
        '{"api_key": "SESAME123456"}',
        "VAST_API_KEY=SESAME123456",
        "token: SESAME123456",
        "password = 'SESAME123456'",
        "https://user:SESAME123456@example.org/",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nSESAME123456\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nSESAME123456 cut off",
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str) -> None:
    log.get("gpunb.x").warning("%s", text)
    written = paths.log_file().read_text()
    assert "SESAME" not in written
    assert "****" in written


def test_harmless_text_stays() -> None:
    text = "tokens per second: 12, keyboard=us, https://example.org/a@b"
    assert log.redact(text) == text


def test_registered_secret_is_taken_out_of_tracebacks_too() -> None:
    log.add_secret("open-sesame")
    try:
        int("open-sesame")
    except ValueError:
        log.get("gpunb.x").exception("failed")
    written = paths.log_file().read_text()
    assert "Traceback" in written
    assert "open-sesame" not in written


def test_terminal_codes_do_not_reach_the_file() -> None:
    log.get("gpunb.x").warning("a\x1b[2Jb\x07c")
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", paths.log_file().read_text())


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    log.get("gpunb.x").debug("quiet")
    log.setup(1)
    log.get("gpunb.x").info("told")
    log.get("gpunb.x").debug("not told")
    log.setup(2)
    log.get("gpunb.x").debug("all told")
    err = capsys.readouterr().err
    assert "told" in err
    assert "all told" in err
    assert "not told" not in err
    assert "quiet" not in paths.log_file().read_text()


def test_rotation_keeps_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_BYTES", 2000)
    for number in range(200):
        log.get("gpunb.x").warning("line %04d %s", number, "x" * 50)
    files = sorted(path.name for path in paths.log_file().parent.iterdir())
    assert files == ["gpunb.log", "gpunb.log.1", "gpunb.log.2", "gpunb.log.3"]
    assert all(path.stat().st_size <= 2000 for path in paths.log_file().parent.iterdir())
    assert "line 0199" in paths.log_file().read_text()


def test_a_log_that_cannot_be_written_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "file"))
    log.get("gpunb.x").warning("lost")
    assert "file" in (log.problem() or "")
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path))
    log.get("gpunb.x").warning("found")
    assert log.problem() is None


def _write(home: str, number: int) -> None:
    os.environ["GPUNB_HOME"] = home
    log.MAX_BYTES = 20_000
    log.KEEP = 1000
    log.setup(0)
    for line in range(200):
        log.get("gpunb.many").warning("<%d-%d> %s", number, line, "y" * 40)


@pytest.mark.slow
def test_many_processes_lose_no_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(str(tmp_path), number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    files = list(paths.log_file().parent.iterdir())
    assert len(files) > 2
    text = "".join(path.read_text() for path in files)
    found = re.findall(r"<(\d+)-(\d+)>", text)
    assert len(found) == 800
    assert len(set(found)) == 800
