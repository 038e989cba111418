"""Between stores and a real host: S3 (moto's server), a web server, hosts of the local provider."""

from __future__ import annotations

import functools
import http.server
import os
import re
import stat
import threading
import time
from pathlib import Path

import fsspec.asyn
import pytest

from gpunb.errors import BadInput, NotEnoughSpace, SyncError, Unreachable
from gpunb.ssh import Connection, Endpoint
from gpunb.sync.object_store import drivers, stores, via_here, via_host
from gpunb.sync.object_store.cloud_sync import cloud_sync
from gpunb.sync.planning.rules import PART
from gpunb.sync.sftp.host_tree import Remote
from tests.support.machines import sshd
from tests.support.machines.localhost import LocalHost
from tests.support.machines.stores import Fault, Line, grep, s3_line, web

pytestmark = pytest.mark.slow

CANARY = "canary-secret-that-no-host-may-see"
KEY_ID = "AKIACANARYKEYID00000"
needs_sshd = pytest.mark.skipif(not sshd.available(), reason="needs OpenSSH's sshd and sftp-server")


@pytest.fixture(scope="module")
def server():
    with s3_line() as line:
        yield line


@pytest.fixture
def s3(server: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """An empty S3, whose credentials are in the environment here."""
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "no-aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-aws-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    fs = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    for bucket in fs.ls("", detail=False):
        fs.rm(bucket, recursive=True)
    fs.mkdir("bucket")
    server.seen.clear()
    server.faults.clear()
    server.on_request = None
    monkeypatch.setattr(via_here, "PAUSES", (0.05,) * 4)
    yield fs
    server.faults.clear()
    server.on_request = None
    fsspec.asyn.sync(fs.loop, fs._s3.close)


@pytest.fixture
def line(local_host: LocalHost):
    with Connection.open(Endpoint(**local_host.facts)) as found:
        yield found


def fill(fs, tree: dict[str, bytes], top: str = "bucket/set") -> None:
    for name, data in tree.items():
        fs.pipe_file(f"{top}/{name}", data)


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


TREE = {
    "a.txt": b"alpha",
    "empty": b"",
    "deep/er/b.bin": bytes(range(256)) * 5000,
    "deep/ü n.txt": "ü".encode(),
    "odd/100% + #?&=.txt": b"odd",
}


# -- the way up, the way down


@pytest.mark.parametrize("via", ["host", "here"])
def test_a_tree_there_and_back(s3, server: Line, line, local_host: LocalHost, via, tmp_path):
    fill(s3, TREE)
    report = cloud_sync(line, "s3://bucket/set", "data", direction="up", via=via)
    assert (report.way, report.failed, report.sent_files) == (via, [], len(TREE))
    assert report.sent_bytes == report.total_bytes == sum(map(len, TREE.values()))
    assert tree(local_host.home / "data") == TREE
    assert bool(server.by_host("GET")) == (via == "host"), "who asked the store for the bytes"

    again = cloud_sync(line, "s3://bucket/set", "data", direction="up", via=via)
    assert (again.sent_files, again.unchanged) == (0, len(TREE))
    fill(s3, {"a.txt": b"ALPHA"})
    os.utime(local_host.home / "data" / "a.txt", (1, 1))
    assert cloud_sync(line, "s3://bucket/set", "data", direction="up", via=via).sent_files == 1

    (local_host.home / "data" / "link").symlink_to("a.txt")
    back = cloud_sync(line, "s3://bucket/back", "data", direction="down", via=via)
    assert (back.way, back.failed, back.sent_files) == (via, [], len(TREE))
    assert [out.path for out in back.left_out] == ["link"]
    found = {name.removeprefix("bucket/back/"): s3.cat_file(name) for name in s3.find("bucket/back")}
    assert found == {**TREE, "a.txt": b"ALPHA"}
    assert bool(server.by_host("PUT")) == (via == "host")
    rest = cloud_sync(line, "s3://bucket/back", "data", direction="down", via=via)
    assert (rest.sent_files, rest.unchanged) == (0, len(TREE))


def test_no_credential_touches_the_host(s3, server: Line, line, local_host: LocalHost):
    """Neither key nor signed URL is in a file, an argument or an environment of the host."""
    fill(s3, {f"{number}": os.urandom(2000) for number in range(12)})
    seen: set[str] = set()

    def look() -> None:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environ = (process / "environ").read_bytes()
                if f"HOME={local_host.home}".encode() not in environ.split(b"\0"):
                    continue
                words = environ + (process / "cmdline").read_bytes()
            except OSError:
                continue
            seen.add(process.name)
            assert CANARY.encode() not in words
            assert b"Signature" not in words
            assert KEY_ID.encode() not in words
        assert grep(local_host.directory, [CANARY.encode(), KEY_ID.encode(), b"Signature="]) == []

    problems: list[AssertionError] = []

    def on_request() -> None:
        try:
            look()
        except AssertionError as err:
            problems.append(err)

    server.on_request = on_request
    assert cloud_sync(line, "s3://bucket/set", "data", direction="up", via="host").failed == []
    assert cloud_sync(line, "s3://bucket/out", "data", direction="down", via="host").failed == []
    assert problems == []
    assert seen, "the mover on the host was looked at while it ran"
    assert len(server.by_host("GET")) == 12
    assert len(server.by_host("PUT")) == 12
    look()


def test_one_object_is_a_file(s3, line, local_host: LocalHost):
    fill(s3, {"one.bin": b"one"})
    cloud_sync(line, "s3://bucket/set/one.bin", "into/", direction="up", via="host")
    cloud_sync(line, "s3://bucket/set/one.bin", "named", direction="up", via="here")
    assert (local_host.home / "into" / "one.bin").read_bytes() == b"one"
    assert (local_host.home / "named").read_bytes() == b"one"
    cloud_sync(line, "s3://bucket/results/", "named", direction="down", via="host")
    cloud_sync(line, "s3://bucket/results/other", "named", direction="down", via="here")
    cloud_sync(line, "s3://bucket", "named", direction="down", via="host")
    assert sorted(s3.find("bucket")) == [
        "bucket/named",
        "bucket/results/named",
        "bucket/results/other",
        "bucket/set/one.bin",
    ]


@pytest.mark.parametrize("via", ["host", "here"])
def test_large_files_go_up_in_parts(s3, server: Line, line, local_host: LocalHost, via, monkeypatch):
    monkeypatch.setattr(stores, "PART", 5 * 2**20)
    data = os.urandom(17 * 2**20 + 11)
    (local_host.home / "large").write_bytes(data)
    server.faults.append(Fault("PUT", "large", status=503))
    report = cloud_sync(line, "s3://bucket/large", "large", direction="down", via=via)
    assert report.failed == []
    assert s3.cat_file("bucket/large") == data
    assert "-" in s3.info("bucket/large")["ETag"], "it came in parts"
    again = cloud_sync(line, "s3://bucket/large", "back", direction="up", via=via)
    assert again.failed == []
    assert (local_host.home / "back").read_bytes() == data


def test_by_itself_a_store_of_this_network_goes_through_here(s3, line):
    fill(s3, {"x": b"x"})
    report = cloud_sync(line, "s3://bucket/set", "data", direction="up")
    assert report.way == "here"
    assert "this network only" in report.why


# -- what goes and what stays


def test_a_dry_run_shows_the_manifest_and_moves_nothing(s3, line, local_host: LocalHost):
    fill(s3, {**TREE, ".git/config": b"x", "skip.log": b"y"})
    report = cloud_sync(line, "s3://bucket/set", "data", direction="up", dry_run=True, exclude=["*.log"])
    assert sorted(item.path for item in report.items) == sorted(TREE)
    assert all(item.tag and item.mtime for item in report.items)
    assert {out.path: out.rule for out in report.left_out} == {
        ".git": "default: git's own data",
        "skip.log": "exclude '*.log'",
    }
    assert (report.way, report.sent_files) == ("", 0)
    assert not (local_host.home / "data").exists()


def test_keys_that_lead_out_of_the_folder_stay(s3, line, local_host: LocalHost):
    fill(s3, {"good": b"good"})
    for key in ("set/../../evil", "set//double", "set/./dot", f"set/{'x' * 300}"):
        s3.call_s3("put_object", Bucket="bucket", Key=key, Body=b"evil")
    report = cloud_sync(line, "s3://bucket/set", "data", direction="up", via="host")
    assert tree(local_host.home / "data") == {"good": b"good"}
    assert len(report.left_out) == 4
    assert grep(local_host.directory, [b"evil"]) == []


@pytest.mark.parametrize("via", ["host", "here"])
def test_a_name_of_a_file_and_a_folder_is_told_before_it_moves(s3, line, local_host: LocalHost, via):
    fill(s3, {"x": b"file", "x/inside": b"inside", "y": b"y", "z/a/b": b"b", "z": b""})
    planned = cloud_sync(line, "s3://bucket/set", "data", direction="up", via=via, dry_run=True)
    report = cloud_sync(line, "s3://bucket/set", "data", direction="up", via=via)
    assert (
        sorted(path for path, _ in report.failed) == sorted(path for path, _ in planned.failed) == ["x", "z"]
    )
    assert "folder of this name" in report.failed[0][1]
    assert tree(local_host.home / "data") == {"x/inside": b"inside", "y": b"y", "z/a/b": b"b"}, (
        "no part is left"
    )


def test_what_stands_in_the_way_on_the_host_is_told_before_it_moves(s3, line, local_host: LocalHost):
    fill(s3, {"b": b"b", "c/d": b"d", "e": b"e"})
    (local_host.home / "data" / "b").mkdir(parents=True)
    (local_host.home / "data" / "c").write_bytes(b"mine")
    report = cloud_sync(line, "s3://bucket/set", "data", direction="up")
    assert dict(report.failed) == {
        "b": "a folder stands in its place",
        "c": "a file stands in its place",
        "c/d": "its folder can't be made",
    }
    assert (report.sent_files, tree(local_host.home / "data")) == (1, {"c": b"mine", "e": b"e"})


def test_checksum_compares_contents(s3, line, local_host: LocalHost):
    fill(s3, {"same": b"12345", "other": b"12345"})
    cloud_sync(line, "s3://bucket/set", "data", direction="up", via="host")
    (local_host.home / "data" / "other").write_bytes(b"54321")
    for name in ("same", "other"):
        os.utime(local_host.home / "data" / name, (10**9, 10**9))
    down = cloud_sync(line, "s3://bucket/set", "data", direction="down", checksum=True, dry_run=True)
    assert [item.path for item in down.items] == ["other"]
    report = cloud_sync(line, "s3://bucket/set", "data", direction="up", via="host", checksum=True)
    assert (report.sent_files, report.unchanged) == (1, 1)
    assert (local_host.home / "data" / "other").read_bytes() == b"12345"


# -- what goes wrong


def test_one_file_that_fails_does_not_stop_the_rest(s3, server: Line, line, local_host: LocalHost):
    fill(s3, {"a": b"a", "b": b"b", "c/d": b"d"})
    (local_host.home / "data" / "b").mkdir(parents=True)
    server.faults.append(Fault("GET", "/set/a", status=404, times=9))
    report = cloud_sync(line, "s3://bucket/set", "data", direction="up", via="host")
    assert {path: bool(why) for path, why in report.failed} == {"a": True, "b": True}
    assert "404" in dict(report.failed)["a"]
    assert tree(local_host.home / "data") == {"c/d": b"d"}


def test_an_expired_url_is_signed_again(s3, server: Line, line, local_host: LocalHost):
    fill(s3, {"a": b"a", "b": b"b"})
    server.faults += [
        Fault("GET", "/set/a", status=403, times=2),
        Fault("GET", "/set/b", status=403, times=9),
    ]
    report = cloud_sync(line, "s3://bucket/set", "data", direction="up", via="host")
    assert tree(local_host.home / "data") == {"a": b"a"}
    ((path, why),) = report.failed
    assert path == "b"
    assert "403" in why
    assert len([p for p in server.by_host("GET") if p.endswith("/b")]) == 3


@pytest.mark.parametrize("via", ["host", "here"])
def test_a_cut_line_goes_on_at_the_byte(s3, server: Line, line, local_host: LocalHost, via):
    data = os.urandom(3 * 2**20)
    fill(s3, {"big": data})
    server.faults += [
        Fault("GET", "/set/big", cut=2**20, ours=True),
        Fault("GET", "/set/big", status=503, ours=True),
    ]
    report = cloud_sync(line, "s3://bucket/set", "data", direction="up", via=via)
    assert report.failed == []
    assert tree(local_host.home / "data") == {"big": data}


def test_what_broke_off_is_gone_on_with_the_next_time(s3, server: Line, line, local_host, monkeypatch):
    data = os.urandom(3 * 2**20)
    fill(s3, {"big": data})
    server.faults += [Fault("GET", "/set/big", cut=2**20), Fault("GET", "/set/big", status=410)]
    first = cloud_sync(line, "s3://bucket/set", "data", direction="up", via="host")
    assert [path for path, _ in first.failed] == ["big"]
    (part,) = (local_host.home / "data").iterdir()
    assert part.name.startswith(PART)
    have = part.stat().st_size
    assert 0 < have < len(data)
    server.seen.clear()
    moved: list[float] = []

    class Supervision:
        def say(self, message): ...
        def advance(self, done, total=None, unit=""):
            moved.append(done)

    second = cloud_sync(line, "s3://bucket/set", "data", direction="up", via="here", progress=Supervision())
    assert second.failed == []
    assert moved[0] == have, "the part is where it goes on, whichever way it came"
    assert tree(local_host.home / "data") == {"big": data}


def test_an_upload_that_fails_leaves_nothing_in_the_store(s3, server: Line, line, local_host, monkeypatch):
    monkeypatch.setattr(stores, "PART", 5 * 2**20)
    (local_host.home / "out").mkdir()
    (local_host.home / "out" / "large").write_bytes(os.urandom(12 * 2**20))
    (local_host.home / "out" / "small").write_bytes(b"s")
    for via in ("host", "here"):
        server.faults[:] = [Fault("PUT", "large", status=400, times=99, ours=True)]
        report = cloud_sync(line, "s3://bucket/out", "out", direction="down", via=via)
        assert [path for path, _ in report.failed] == ["large"], via
        assert s3.find("bucket/out") == ["bucket/out/small"]
        assert "Uploads" not in s3.call_s3("list_multipart_uploads", Bucket="bucket"), "no part is left"


def test_a_line_to_the_host_that_breaks_says_how_to_go_on(s3, server: Line, line, local_host: LocalHost):
    fill(s3, {"a": b"a"})
    server.on_request = lambda: line.transport.close() if server.by_host("GET") else None
    with pytest.raises(Unreachable, match="goes on where it was"):
        cloud_sync(line, "s3://bucket/set", "data", direction="up", via="host")
    server.on_request = None
    with Connection.open(Endpoint(**local_host.facts)) as again:
        assert cloud_sync(again, "s3://bucket/set", "data", direction="up", via="host").failed == []
    assert tree(local_host.home / "data") == {"a": b"a"}


def test_bad_input_names_the_field_and_the_way_out(s3, line, local_host: LocalHost, monkeypatch):
    def say(url, path="data", direction="up", **more):
        return cloud_sync(line, url, path, direction=direction, **more)

    with pytest.raises(BadInput, match="nosuch://: no store"):
        say("nosuch://x/y")
    with pytest.raises(BadInput, match=re.compile(r"gcsfs.*pip install 'gpunb\[gs\]'", re.DOTALL)):
        monkeypatch.setattr(drivers.importlib.util, "find_spec", lambda _: None)
        say("gs://bucket/x")
    monkeypatch.undo()


def test_a_bucket_or_path_that_is_not_there(s3, line, local_host: LocalHost):
    with pytest.raises(BadInput, match=r"s3://nobody/x: is not there"):
        cloud_sync(line, "s3://nobody/x", "data", direction="up")
    with pytest.raises(BadInput, match="holds no files"):
        cloud_sync(line, "s3://bucket/nothing", "data", direction="up")
    (local_host.home / "x").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"s3://nobody/x: is not there"):
        cloud_sync(line, "s3://nobody/x", "x", direction="down")
    with pytest.raises(BadInput, match=":none is not found on the host"):
        cloud_sync(line, "s3://bucket/x", "none", direction="down")
    fill(s3, {"a": b"a"})
    with pytest.raises(BadInput, match="never put straight into /"):
        cloud_sync(line, "s3://bucket/set", "/", direction="up")
    with pytest.raises(BadInput, match="the whole of a host"):
        cloud_sync(line, "s3://bucket/x", "/", direction="down")
    with pytest.raises(BadInput, match="via 'moon'"):
        cloud_sync(line, "s3://bucket/set", "data", direction="up", via="moon")


def test_no_permission_and_no_credentials(s3, server: Line, line, monkeypatch):
    fill(s3, {"a": b"a"})
    server.faults.append(Fault("HEAD", "/bucket", status=403, times=99, ours=True))
    server.faults.append(Fault("GET", "/bucket", status=403, times=99, ours=True))
    with pytest.raises(SyncError, match="no permission"):
        cloud_sync(line, "s3://bucket/set", "data", direction="up")
    server.faults.clear()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(SyncError, match="no credentials were found"):
        cloud_sync(line, "s3://bucket/set", "data", direction="up")


def test_no_room_on_the_host_is_known_before(s3, line, local_host: LocalHost, monkeypatch):
    fill(s3, {"a": b"12345"})
    monkeypatch.setattr(Remote, "free_bytes", lambda *_: 4)
    with pytest.raises(NotEnoughSpace, match=r"4 bytes|4 B"):
        cloud_sync(line, "s3://bucket/set", "data", direction="up")
    assert not (local_host.home / "data").exists()


def test_a_host_without_python_goes_through_here(s3, line, local_host: LocalHost, monkeypatch):
    fill(s3, {"a": b"a"})
    monkeypatch.setattr(stores, "is_near", lambda _: False)
    monkeypatch.setattr("gpunb.sync.object_store.store_transfer.is_near", lambda _: False)
    monkeypatch.setattr(via_host, "_FIND", via_host._FIND.replace("command -v", "false"))
    report = cloud_sync(line, "s3://bucket/set", "data", direction="up")
    assert (report.way, report.failed) == ("here", [])
    assert "no Python" in report.why
    with pytest.raises(SyncError, match="no Python"):
        cloud_sync(line, "s3://bucket/set", "again", direction="up", via="host")


# -- plain web servers


@pytest.mark.parametrize("via", ["host", "here"])
def test_the_web_both_ways(line, local_host: LocalHost, tmp_path, via):
    root = tmp_path / "web"
    root.mkdir()
    data = os.urandom(9 * 2**20)
    (root / "model v1.bin").write_bytes(data)
    with web(root) as url:
        report = cloud_sync(line, f"{url}/model%20v1.bin?version=1", "got/", direction="up", via=via)
        assert (report.way, report.failed) == (via, [])
        got = local_host.home / "got" / "model v1.bin"
        assert got.read_bytes() == data
        assert int(got.stat().st_mtime) == int((root / "model v1.bin").stat().st_mtime)
        assert stat.S_IMODE(got.stat().st_mode) & 0o600 == 0o600
        assert cloud_sync(line, f"{url}/model%20v1.bin", "got/", direction="up").unchanged == 1
        sent = cloud_sync(line, f"{url}/up.bin", "got/model v1.bin", direction="down", via=via)
        assert sent.failed == []
        assert (root / "up.bin").read_bytes() == data
        with pytest.raises(BadInput, match="404"):
            cloud_sync(line, f"{url}/none", "got/", direction="up")
        with pytest.raises(BadInput, match="takes one file"):
            cloud_sync(line, f"{url}/x", "got", direction="down")
        with pytest.raises(BadInput, match="names no file"):
            cloud_sync(line, f"{url}/", "got", direction="up")
    with pytest.raises(SyncError, match=r"refused|attempts failed"):
        cloud_sync(line, f"{url}/gone", "got/", direction="up")


def test_a_password_in_a_url_stays_here_unless_allowed(line, local_host: LocalHost, tmp_path, monkeypatch):
    root = tmp_path / "web"
    root.mkdir()
    (root / "x").write_bytes(b"secret data")
    monkeypatch.setattr("gpunb.sync.object_store.store_transfer.is_near", lambda _: False)
    with web(root, password=CANARY) as url:
        with pytest.raises(SyncError, match="login"):
            cloud_sync(line, f"{url}/x", "x", direction="up")
        full = url.replace("://", f"://me:{CANARY}@")
        report = cloud_sync(line, f"{full}/x", "x", direction="up")
        assert (report.way, report.sent_files) == ("here", 1)
        assert "--allow-credentials" in report.why
        assert CANARY not in str(report.data())
        (local_host.home / "x").unlink()
        shown = cloud_sync(line, f"{full}/x", "x", direction="up", allow_credentials=True)
        assert (shown.way, shown.sent_files) == ("host", 1)
        assert "Authorization" in shown.warnings[0]
    assert (local_host.home / "x").read_bytes() == b"secret data"
    assert grep(local_host.directory, [CANARY.encode()]) == [], "in its memory, not on its disk"


def test_a_link_that_expires_half_way_is_told(line, local_host: LocalHost, tmp_path):
    root = tmp_path / "web"
    root.mkdir()
    (root / "x").write_bytes(b"x")
    asked: list[int] = []

    def until() -> bool:
        asked.append(1)
        return len(asked) < 2

    with web(root, until=until) as url:
        report = cloud_sync(line, f"{url}/x", "x", direction="up", via="host")
    ((path, why),) = report.failed
    assert path == "x"
    assert "403" in why
    assert not (local_host.home / "x").exists()


def test_any_store_of_fsspec_goes_through_here(line, local_host: LocalHost):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/gpunb-test/a/b", b"memory")
    report = cloud_sync(line, "memory://gpunb-test", "data", direction="up")
    assert report.way == "here"
    assert tree(local_host.home / "data") == {"a/b": b"memory"}
    cloud_sync(line, "memory://gpunb-back", "data", direction="down")
    assert memory.cat("/gpunb-back/a/b") == b"memory"
    memory.rm("/gpunb-test", recursive=True)
    memory.rm("/gpunb-back", recursive=True)


@needs_sshd
def test_a_store_whose_url_names_a_host(line, local_host: LocalHost, tmp_path):
    """Host, user and port are the driver's; here by SFTP on a real server."""
    server = sshd.Sshd(tmp_path / "sshd").start()
    try:
        (server.home / "set/deep").mkdir(parents=True)
        (server.home / "set/deep/x").write_bytes(b"by sftp")
        user = server.endpoint().user
        url = f"sftp://{user}@127.0.0.1:{server.port}{server.home}"
        options = {"key_filename": str(server.key.private), "look_for_keys": False, "allow_agent": False}
        report = cloud_sync(line, f"{url}/set", "data", direction="up", options=options)
        assert (report.failed, report.way) == ([], "here")
        assert "@" not in report.url
        assert tree(local_host.home / "data") == {"deep/x": b"by sftp"}
        assert cloud_sync(line, f"{url}/set", "data", direction="up", options=options).unchanged == 1
        report = cloud_sync(line, f"{url}/new/place", "data", direction="down", options=options)
        assert report.failed == []
        assert (server.home / "new/place/deep/x").read_bytes() == b"by sftp"
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sftp://127.0.0.1:1/x", "can't be reached"),
        ("ftp://127.0.0.1:1/x", "can't be reached"),
        ("github://org:repo@ref/path", "."),
        ("webhdfs://127.0.0.1:1/x", "."),
        ("sftp:///x", "."),
        ("smb://127.0.0.1:1/share/x", "."),
        ("dir:///tmp", "not a cloud's store"),
        ("zip:///tmp/x.zip", "not a cloud's store"),
        ("reference:///tmp", "not a cloud's store"),
        ("nobody://x", "no store of that name"),
    ],
)
def test_urls_that_can_not_be_opened_say_why(line, url: str, says: str):
    with pytest.raises((BadInput, SyncError), match=says) as caught:
        cloud_sync(line, url, "x", direction="up")
    assert "unexpected" not in str(caught.value)
    assert "positional argument" not in str(caught.value)


def test_a_file_that_was_written_anew_with_an_older_time_goes(s3, line, local_host: LocalHost, monkeypatch):
    monkeypatch.setattr("gpunb.sync.object_store.stores.PART", via_here.PIECE)
    out = local_host.home / "out"
    out.mkdir()
    large = bytes(19 * 2**20)
    (out / "ckpt").write_bytes(b"AAAA")
    (out / "large").write_bytes(large)
    for via in ("here", "host"):
        for name in ("ckpt", "large"):
            os.utime(out / name, (1_600_000_000, 1_600_000_000))
        url = f"s3://bucket/old-{via}"
        cloud_sync(line, url, "out", direction="down", via=via)
        assert cloud_sync(line, url, "out", direction="down", via=via).unchanged == 2
        (out / "ckpt").write_bytes(b"BBBB")
        (out / "large").write_bytes(b"B" + large[1:])
        for name in ("ckpt", "large"):
            os.utime(out / name, (1_600_000_000, 1_600_000_000))
        report = cloud_sync(line, url, "out", direction="down", via=via)
        assert report.unchanged == 0
        assert s3.cat(f"bucket/old-{via}/ckpt") == b"BBBB"
        (out / "ckpt").write_bytes(b"AAAA")
        (out / "large").write_bytes(large)


def test_a_log_that_grows_goes_as_far_as_it_had_come(s3, line, local_host: LocalHost):
    out = local_host.home / "out"
    out.mkdir()
    stop = threading.Event()

    def job() -> None:
        while not stop.is_set():
            with (out / "log").open("ab") as file:
                file.write(b"a line\n" * 3000)
            time.sleep(0.002)

    (out / "log").write_bytes(b"a line\n" * 100_000)
    writer = threading.Thread(target=job)
    writer.start()
    try:
        for via in ("here", "host"):
            assert cloud_sync(line, f"s3://bucket/{via}", "out", direction="down", via=via).failed == []
    finally:
        stop.set()
        writer.join()
    for via in ("here", "host"):
        found = s3.cat(f"bucket/{via}/log")
        assert len(found) >= 700_000
        assert (out / "log").read_bytes().startswith(found)


def test_a_web_servers_folder_is_no_file(line, local_host: LocalHost, tmp_path):
    (tmp_path / "www/dir").mkdir(parents=True)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for path in ("dir/", "dir", ""):
            with pytest.raises(BadInput, match="folders are not listed"):
                cloud_sync(line, f"http://127.0.0.1:{server.server_port}/{path}", "dir", direction="up")
    finally:
        server.shutdown()
        server.server_close()
    assert not (local_host.home / "dir").exists()


def test_credentials_in_a_bucket_do_not_go_to_a_stranger(s3, line, local_host: LocalHost):
    s3.pipe({"bucket/set/.env": b"x", "bucket/set/data": b"x"})
    report = cloud_sync(line, "s3://bucket/set", "set", direction="up", hold=True)
    assert set(tree(local_host.home / "set")) == {"data"}
    assert any(".env" in text and "--include" in text for text in report.warnings)
