from __future__ import annotations

import shutil
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import BadInput, HostError, HostKeyChanged, LedgerUnwritable
from gpunb.ssh import fingerprint, generate, generate_host_key, hostkeys

if TYPE_CHECKING:
    from pathlib import Path


def test_files_are_private_and_the_pair_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    pair = generate(folder, comment="gpunb-abc")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    assert pair.public_line.startswith("ssh-ed25519 ")
    assert pair.public_line.endswith(" gpunb-abc")
    assert pair.public.read_text() == pair.public_line + "\n"
    assert generate(folder, comment="gpunb-abc") == pair
    pair.public.unlink()
    assert generate(folder, comment="gpunb-abc") == pair
    assert {p.name for p in folder.iterdir()} == {"id_ed25519", "id_ed25519.pub"}


def test_many_makers_at_once_get_one_pair(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        pairs = list(pool.map(lambda _: generate(tmp_path / "s", comment="c"), range(16)))
    assert len(set(pairs)) == 1


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_openssh_reads_both_kinds(tmp_path: Path) -> None:
    pair = generate(tmp_path / "s", comment="c")
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", pair.private], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split()[:2] == pair.public_line.split()[:2]
    pem, line = generate_host_key()
    path = tmp_path / "host"
    path.touch(0o600)
    path.write_text(pem)
    listed = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True)
    assert fingerprint(line) in listed.stdout


def test_a_damaged_private_key_is_named_and_left_alone(tmp_path: Path) -> None:
    pair = generate(tmp_path / "s", comment="c")
    pair.private.write_text("not a key")
    with pytest.raises(HostError, match="id_ed25519 is not an ed25519 private key"):
        generate(tmp_path / "s", comment="c")
    assert pair.private.read_text() == "not a key"


def test_bad_comment_and_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="comment 'a\\\\nb'"):
        generate(tmp_path / "s", comment="a\nb")
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnwritable):
        generate(tmp_path / "file", comment="c")


def test_pins_are_kept_by_alias_and_a_second_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    first, second = generate_host_key()[1], generate_host_key()[1]
    assert not hostkeys.check(path, "gpunb-a", first)
    hostkeys.pin(path, "gpunb-a", first + " root@image")
    hostkeys.pin(path, "gpunb-a", first)
    hostkeys.pin(path, "gpunb-b", second)
    assert path.read_text() == f"gpunb-a {first}\ngpunb-b {second}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert hostkeys.check(path, "gpunb-a", first)
    for call in (hostkeys.check, hostkeys.pin):
        with pytest.raises(HostKeyChanged) as caught:
            call(path, "gpunb-a", second)
        text = str(caught.value)
        for part in (
            "reinstalled",
            "another machine",
            "in its place",
            "sent nothing",
            "gpunb show a",
            "gpunb down a",
        ):
            assert part in text
        assert fingerprint(first) in text
        assert fingerprint(second) in text
        assert "bill: the instance may still run" in text
    assert hostkeys.pinned(path, "gpunb-a") == [first]


def test_a_damaged_pin_is_not_no_pin(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    line = generate_host_key()[1]
    for text in ("gpunb-a ssh-ed25519\n", "gpunb-a ssh-ed25519 AAAA\n", "\udcff"):
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(HostError, match="damaged"):
            hostkeys.check(path, "gpunb-a", line)
        with pytest.raises(HostError, match="damaged"):
            hostkeys.pin(path, "gpunb-a", line)


@pytest.mark.parametrize(
    "line", ["", "ssh-ed25519", "ssh-ed25519 %%%", "ssh-rsa " + "AAAAC3NzaC1lZDI1NTE5AAAA"]
)
def test_what_is_no_host_key_is_not_pinned(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadInput, match="host key"):
        hostkeys.pin(tmp_path / "k", "gpunb-a", line)
    with pytest.raises(BadInput, match="alias"):
        hostkeys.pin(tmp_path / "k", "a b,*", generate_host_key()[1])


def test_many_pins_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    lines = {f"gpunb-{i}": generate_host_key()[1] for i in range(24)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: hostkeys.pin(path, *pair), lines.items()))
    assert all(hostkeys.check(path, alias, line) for alias, line in lines.items())
