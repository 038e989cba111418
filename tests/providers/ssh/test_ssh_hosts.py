"""What a rental does to a machine of one's own, and what happens when the machine is not as hoped."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest

from gpunb.errors import BadInput, GpunbError, OfferGone, OutcomeUnknown, Unavailable
from gpunb.providers import CreateSpec, InstanceState, OfferQuery, Presence, ProviderConfig
from gpunb.providers.ssh import SshProvider, hosts
from gpunb.ssh import generate
from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpunb.providers import Instance


@pytest.fixture
def cloud(lab: own_hosts.OwnHost) -> Iterator[SshProvider]:
    made = lab.provider()
    yield made
    made.close()


def rent(cloud: SshProvider, folder: Path, label: str = "gpunb-test-1", **more: object) -> Instance:
    """A rental with a key of its own, as a session makes it."""
    (offer,) = cloud.search(OfferQuery())
    key = generate(folder / label, comment=label)
    spec = CreateSpec(label=label, public_key=key.public_line, identity=folder / label, **more)  # type: ignore[arg-type]
    return cloud.create(offer, spec)


@pytest.mark.parametrize(
    ("before", "first"),
    [
        (b"", 0),
        (b"one line\n", 1),
        (b"no end", 0),
        (b"\xff\xfe odd \x00 bytes\r\n\n\n", 0),
        (b"a\nb\nlast has no end", 1),
        (None, 0),
    ],
    ids=["empty", "line", "no-end", "odd", "lines-no-end", "missing"],
)
def test_authorized_keys_are_as_before(
    cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path, before: bytes | None, first: int
) -> None:
    user = lab.keys.read_bytes()
    other = lab.root / "user_keys"  # the user comes in by another file, so that this one may be anything
    other.write_bytes(user)
    _lets_in_by(lab, other)
    lab.keys.unlink()
    if before is not None:
        lab.keys.write_bytes(before)
        lab.keys.chmod(0o640)
    mode = lab.keys.stat().st_mode if before is not None else None
    two = [rent(cloud, tmp_path, f"gpunb-test-{number}") for number in (1, 2)]
    held = lab.keys.read_bytes()
    assert held.count(b"restrict,pty,port-forwarding,command=") == 2
    assert held.startswith(before or b"")
    cloud.destroy(two[first].id)
    assert lab.keys.read_bytes().count(b"restrict,") == 1
    cloud.destroy(two[1 - first].id)
    if before is None:
        assert not lab.keys.exists()
    else:
        assert lab.keys.read_bytes() == before
        assert lab.keys.stat().st_mode == mode
    assert not (lab.home / ".gpunb").exists()


def _lets_in_by(lab: own_hosts.OwnHost, file: Path) -> None:
    """Restart the sshd so that it reads this file of keys beside the user's own."""
    config = lab.root / "sshd_config"
    config.write_text(
        config.read_text().replace(f"AuthorizedKeysFile {lab.keys}", f"AuthorizedKeysFile {lab.keys} {file}")
    )


def test_a_link_stays_a_link(cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path) -> None:
    real = lab.home / "dotfiles-keys"
    lab.keys.rename(real)
    lab.keys.symlink_to(real)
    before = real.read_bytes()
    made = rent(cloud, tmp_path)
    assert lab.keys.is_symlink()
    assert b"gpunb-test-1" in real.read_bytes()
    cloud.destroy(made.id)
    assert lab.keys.is_symlink()
    assert real.read_bytes() == before


def test_many_at_once_keep_each_others_lines(
    cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path
) -> None:
    before = lab.keys.read_bytes()
    made: list[Instance] = []
    failed: list[BaseException] = []

    def one(number: int) -> None:
        try:
            made.append(rent(cloud, tmp_path, f"gpunb-test-{number}"))
        except BaseException as err:  # noqa: BLE001 - shown below
            failed.append(err)

    for work in ([threading.Thread(target=one, args=(number,)) for number in range(4)],):
        for thread in work:
            thread.start()
        for thread in work:
            thread.join(120)
    assert not failed, failed
    assert lab.keys.read_bytes().count(b"restrict,") == 4
    ends = [threading.Thread(target=cloud.destroy, args=(one.id,)) for one in made]
    for thread in ends:
        thread.start()
    for thread in ends:
        thread.join(120)
    assert cloud.instances() == []
    assert lab.keys.read_bytes() == before


def test_a_line_that_was_changed_by_hand_is_not_touched(
    cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path
) -> None:
    made = rent(cloud, tmp_path)
    held = lab.keys.read_bytes().replace(b"gpunb-test-1\n", b"gpunb-test-1 ssh-ed25519 AAAA mine\n")
    lab.keys.write_bytes(held)
    with pytest.raises(Unavailable, match=r"line \d+ of .* is not as gpunb wrote it: remove it by hand"):
        cloud.destroy(made.id)
    assert lab.keys.read_bytes() == held
    assert cloud.presence(made.id) is Presence.PRESENT
    lab.keys.write_bytes(b"".join(one for one in held.splitlines(keepends=True) if b"gpunb-" not in one))
    cloud.destroy(made.id)
    assert cloud.presence(made.id) is Presence.GONE


def test_an_end_takes_the_sessions_processes_and_no_others(
    cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path
) -> None:
    from gpunb.ssh import Connection

    one, two = (rent(cloud, tmp_path, f"gpunb-test-{number}") for number in (1, 2))
    for made in (one, two):
        endpoint = cloud._endpoint(cloud._record(made.id))
        with Connection.open(endpoint) as line:
            done = line.run("sh -c 'trap \"\" TERM; (sleep 300 & sleep 300) >/dev/null 2>&1 &' & echo begun")
            assert b"begun" in done.out
    assert len(own_hosts.marked(f"GPUNB_SESSION={one.id}")) >= 2
    cloud.destroy(one.id)
    assert not own_hosts.marked(f"GPUNB_SESSION={one.id}")
    assert len(own_hosts.marked(f"GPUNB_SESSION={two.id}")) >= 2
    cloud.destroy(two.id)
    assert not own_hosts.marked(f"GPUNB_SESSION={two.id}")


def test_the_key_lets_in_only_as_far_as_it_says(
    cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path
) -> None:
    from gpunb.ssh import Connection

    made = rent(cloud, tmp_path, env={"GREETING": "it's $HOME"})
    with Connection.open(cloud._endpoint(cloud._record(made.id))) as line:
        done = line.run('printf "%s|%s|%s" "$GREETING" "$GPUNB_FOLDER" "$PWD"')
        assert done.out.decode() == f"it's $HOME|{lab.home}/.gpunb/s/{made.id}|{lab.home}"
        files = line.subsystem("sftp")
        files.sendall(b"\0\0\0\5\1\0\0\0\3")  # SSH_FXP_INIT, version 3
        assert files.recv(9)[4] == 2, "an SFTP server answers"
        files.close()
    cloud.destroy(made.id)


def test_a_machine_that_is_off_is_unknown_and_ended_when_it_is_back(
    cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path
) -> None:
    before = lab.keys.read_bytes()
    made = rent(cloud, tmp_path)
    port = lab.sshd.port
    lab.sshd.stop()
    cloud._seen.clear()
    (found,) = cloud.instances()
    assert found.state is InstanceState.UNKNOWN
    assert found.message == "lab3 gives no answer"
    assert cloud.presence(made.id) is Presence.UNKNOWN
    with pytest.raises(Unavailable, match="the end on lab3 is not confirmed") as caught:
        cloud.destroy(made.id)
    assert caught.value.effect == "unknown"
    assert cloud.find("gpunb-test-1"), "what is not confirmed stays in the list"
    lab.sshd.start(port)
    cloud.destroy(made.id)
    assert cloud.presence(made.id) is Presence.GONE
    assert lab.keys.read_bytes() == before


def test_two_installations_see_and_leave_each_other(
    cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = rent(cloud, tmp_path, "gpunb-aaaa-1")
    first = os.environ["GPUNB_HOME"]
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "another"))
    assert cloud.instances() == []
    theirs = rent(cloud, tmp_path, "gpunb-bbbb-1")
    (host,) = cloud.hosts()
    # a test beside this one may have a session in /var/tmp, where a read-only home sends it
    assert {"gpunb-aaaa-1", "gpunb-bbbb-1"} <= set(cloud.look(host).labels)
    cloud.destroy(theirs.id)
    monkeypatch.setenv("GPUNB_HOME", first)
    assert cloud.presence(mine.id) is Presence.PRESENT
    assert b"gpunb-aaaa-1" in lab.keys.read_bytes()
    cloud.destroy(mine.id)


def test_what_a_rental_left_that_broke_off_goes_with_the_next_one(
    cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path
) -> None:
    """Folder and key are there, and no record here: as after a crash, or an end that was given up."""
    before = own_hosts.snapshot(lab.home)
    lost = rent(cloud, tmp_path, "gpunb-lost-1")
    cloud.drop(lost.id)
    (host,) = cloud.hosts()
    seen = cloud.look(host)
    assert seen.left == ((lost.id, "gpunb-lost-1"),)
    assert "gpunb-lost-1" not in seen.labels
    assert b"gpunb-lost-1" in lab.keys.read_bytes(), "a look changes nothing"
    made = rent(cloud, tmp_path)
    assert b"gpunb-lost-1" not in lab.keys.read_bytes()
    assert not (lab.home / ".gpunb/s" / lost.id).exists()
    cloud.destroy(made.id)
    assert own_hosts.snapshot(lab.home) == before


def test_a_folder_of_another_or_an_odd_name_is_never_cleaned(
    cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path
) -> None:
    made = rent(cloud, tmp_path)
    (about,) = lab.home.glob(".gpunb/s/*/about")
    for name, by in (("aaaaaaaaaa", "another"), ("..x", ""), ("B" * 10, "mine")):
        beside = about.parent.parent / name
        beside.mkdir()
        text = about.read_text()
        (beside / "about").write_text(text if by == "mine" else text.replace("by ", f"by {by}"))
    (host,) = cloud.hosts()
    assert cloud.look(host).left == ()
    cloud.destroy(made.id)


def test_a_setup_that_gives_no_answer_in_time_is_not_taken_for_none(
    cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (offer,) = cloud.search(OfferQuery())
    key = generate(tmp_path / "slow", comment="slow")

    def late(*_: object, **__: object) -> NoReturn:
        msg = "lab3 did not answer within 60 s"
        raise Unavailable(msg, provider="ssh", effect="unknown")

    with monkeypatch.context() as patched:
        patched.setattr(cloud.ssh, "run", late)
        with pytest.raises(OutcomeUnknown, match="did not answer"):
            cloud.create(offer, CreateSpec(label="gpunb-slow-1", public_key=key.public_line))
    (found,) = cloud.find("gpunb-slow-1")
    cloud.destroy(found.id)
    assert cloud.instances() == []


def test_a_host_that_wants_a_password_is_refused_where_none_can_be_typed(home: Path, tmp_path: Path) -> None:
    lab = own_hosts.OwnHost(tmp_path / "lab3", extra="PubkeyAuthentication no\nPasswordAuthentication yes")
    try:
        with pytest.raises(
            Unavailable, match=r"could not log in to lab3: .*Permission denied \(password"
        ) as caught:
            lab.provider().search(OfferQuery())
        assert "ssh lab3" in str(caught.value.hint)
    finally:
        lab.stop()


def test_a_changed_host_key_stops_it(cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path) -> None:
    made = rent(cloud, tmp_path)
    port = lab.sshd.port
    lab.sshd.stop()
    lab.sshd.new_host_key()
    lab.sshd.start(port)
    with pytest.raises(Unavailable, match="Host key verification failed"):
        cloud.search(OfferQuery())
    with pytest.raises(Unavailable, match="shows another key"):
        cloud.destroy(made.id)
    assert cloud.find("gpunb-test-1")
    lab.configure()  # the user has compared it, and trusts the new one
    (tmp_path / "gpunb-test-1/known_hosts").unlink()
    cloud.destroy(made.id)
    assert cloud.instances() == []


def test_a_user_without_a_shell_is_refused(home: Path, tmp_path: Path) -> None:
    lab = own_hosts.OwnHost(tmp_path / "lab3", extra="ForceCommand /usr/sbin/nologin")
    before = own_hosts.snapshot(lab.home)
    try:
        with pytest.raises(Unavailable, match=r"lets us in, but runs no command .*not available") as caught:
            lab.provider().search(OfferQuery())
        assert "login shell" in str(caught.value.hint)
        assert own_hosts.snapshot(lab.home) == before
    finally:
        lab.stop()


def test_a_server_that_reads_its_keys_elsewhere_is_left_as_it_was(
    cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path
) -> None:
    other = lab.root / "user_keys"
    other.write_bytes(lab.keys.read_bytes())
    config = lab.root / "sshd_config"
    config.write_text(
        config.read_text().replace(f"AuthorizedKeysFile {lab.keys}", f"AuthorizedKeysFile {other}")
    )
    before = own_hosts.snapshot(lab.home)
    with pytest.raises(OfferGone, match="does not take a key that is added to"):
        rent(cloud, tmp_path)
    assert own_hosts.snapshot(lab.home) == before
    assert cloud.instances() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_changes_nothing(cloud: SshProvider, lab: own_hosts.OwnHost, tmp_path: Path) -> None:
    keys = lab.keys.read_bytes()
    folder = lab.keys.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder], check=True)
    try:
        lab.keys.write_bytes(keys)
        lab.keys.chmod(0o600)
        with pytest.raises(OSError, match="No space"), (folder / "big").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(OfferGone, match="is the disk full"):
            rent(cloud, tmp_path)
        assert lab.keys.read_bytes() == keys
        assert sorted(one.name for one in folder.iterdir()) == ["authorized_keys", "big"]
        assert not (lab.home / ".gpunb").exists()
        assert cloud.instances() == []
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("lab3", "lab3", 0),
        ("me@10.0.0.7:2222", "me@10.0.0.7", 2222),
        ("ssh://me@lab3:22", "me@lab3", 22),
        ("me@[fd00::7]:2222", "me@fd00::7", 2222),
        ("fd00::7", "fd00::7", 0),
    ],
)
def test_addresses(text: str, address: str, port: int) -> None:
    found = hosts.typed_address(text)
    assert (found.address, found.port) == (address, port)


@pytest.mark.parametrize(
    "text", ["", "-oProxyCommand=x", "me@", "a b", "h:0", "h:70000", "h:x", "@h", "[::1", "x;y"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="must be a name of your ssh configuration"):
        hosts.typed_address(text)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"adress": "me@x"}, "hosts.lab3.adress 'me@x': there are address, port"),
        ({"address": 3}, "hosts.lab3.address 3: must be text"),
        ({"port": 70000}, "hosts.lab3.port 70000: must be a number from 1 to 65535"),
        ({"price_usd_h": -1}, "hosts.lab3.price_usd_h -1: must be US dollars"),
        ({"trust": "me"}, "hosts.lab3.trust 'me': must be one of stranger"),
        ({"gpus": "all"}, "hosts.lab3.gpus 'all': must be how many"),
        ({"tags": "a"}, "hosts.lab3.tags 'a': must be a list"),
        ({"share": 1}, "hosts.lab3.share 1: must be true or false"),
        ("me@x", "hosts.lab3 'me@x': must be a table"),
    ],
)
def test_a_table_that_breaks_a_rule_is_named(home: Path, table: object, named: str) -> None:
    cloud = SshProvider(ProviderConfig(options={"hosts": {"lab3": table}}))
    for call in (cloud.check, cloud.hosts):
        with pytest.raises(GpunbError) as caught:
            call()
        assert named in str(caught.value)
