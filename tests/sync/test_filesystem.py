"""Hosts as an fsspec filesystem: fsspec's own abstract tests, and what they do not ask."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import fsspec
import pytest
from fsspec.callbacks import Callback
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests import abstract

from gpunb.ssh import Connection, Endpoint
from gpunb.sync.fs.filesystem import HostsFileSystem
from gpunb.sync.planning.rules import PART
from tests.support.machines import sshd as support


class Hosts(HostsFileSystem):
    """Hosts given by their endpoints."""

    protocol = "gpunb-test"
    cachable = False

    def __init__(self, ends: dict[str, Endpoint], **kwargs):
        super().__init__(ends=ends, **kwargs)
        self.ends = ends
        self.opened: list[Connection] = []

    def connect(self, host):
        if host not in self.ends:
            raise FileNotFoundError(2, "no such host", host)
        self.opened.append(Connection.open(self.ends[host]))
        return self.opened[-1]

    def hosts(self):
        return sorted(self.ends)

    def close(self):
        for one in self.opened:
            one.close()


@pytest.fixture
def fs(sshd: support.Sshd):
    found = Hosts({"box": sshd.endpoint()})
    yield found
    found.close()


@pytest.fixture
def host_home(sshd: support.Sshd) -> Path:
    return sshd.home


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A host and its filesystem for all of fsspec's tests: they are many, and clean up."""
    if not support.available():
        pytest.skip("needs OpenSSH's sshd and sftp-server")
    server = support.Sshd(tmp_path_factory.mktemp("abstract") / "sshd").start()
    fs = Hosts({"box": server.endpoint()})
    yield server, fs
    fs.close()
    server.stop()


class Fixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, server):
        return server[1]

    @pytest.fixture
    def fs_path(self, server):
        return "box/work"

    @pytest.fixture(autouse=True)
    def nothing_left(self, server):
        """No unfinished file outlives an operation."""
        yield
        left = [name for _, _, names in os.walk(server[0].home) for name in names if name.startswith(PART)]
        assert left == []


class TestCopy(abstract.AbstractCopyTests, Fixtures):
    pass


class TestGet(abstract.AbstractGetTests, Fixtures):
    pass


class TestPut(abstract.AbstractPutTests, Fixtures):
    pass


class TestOpen(abstract.AbstractOpenTests, Fixtures):
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):
    pass


def test_paths_begin_at_the_home_and_two_slashes_at_the_root(fs, host_home, tmp_path):
    (host_home / "a").write_bytes(b"home")
    far = tmp_path / "far"
    far.write_bytes(b"root")
    assert fs.cat("gpunb-test://box/a") == b"home"
    assert fs.cat(f"box/{far}") == b"root"
    assert fs.ls(f"box/{tmp_path}", detail=False).count(f"box/{far}") == 1
    assert fs._parent(f"box/{far}") == f"box/{tmp_path}"
    assert fs._parent("box//etc") == "box//"
    assert fs._parent("box/a/b") == "box/a"
    assert "box//etc" in fs.ls("box//", detail=False)
    assert fs.unstrip_protocol("box/a") == "gpunb-test://box/a"
    assert fs.ls("", detail=False) == ["box"]


def test_a_host_that_is_not_there_is_a_file_that_is_not_there(fs):
    assert not fs.exists("nobody/x")
    with pytest.raises(FileNotFoundError, match="nobody"):
        fs.open("nobody/x")
    with pytest.raises(FileNotFoundError, match="box/none"):
        fs.cat("box/none")
    with pytest.raises(FileNotFoundError, match="HOST/PATH"):
        fs.cat_file("")


def test_reads_ahead_in_ranges_over_several_channels(fs, host_home):
    data = os.urandom(11 * 2**20 + 7)
    (host_home / "large").write_bytes(data)
    with fs.open("box/large", "rb", block_size=2**20) as file:
        assert file.read(10) == data[:10]
        file.seek(5 * 2**20 - 3)
        assert file.read(3 * 2**20) == data[5 * 2**20 - 3 : 8 * 2**20 - 3]
        file.seek(-7, 2)
        assert file.read() == data[-7:]
    assert fs.cat_file("box/large", start=-9) == data[-9:]
    assert fs.cat_file("box/large", start=5, end=-5) == data[5:-5]
    assert fs.cat_file("box/large", start=len(data) - 3, end=len(data) + 2**21) == data[-3:]
    assert fs.cat_ranges(["box/large"] * 3, [0, 9, 2**23], [4, 9, 2**23 + 5]) == [
        data[:4],
        b"",
        data[2**23 : 2**23 + 5],
    ]
    found = fs.cat_ranges(["box/large", "box/none"], [0, 0], [2, 2])
    assert found[0] == data[:2]
    assert isinstance(found[1], FileNotFoundError)
    assert len(fs.opened) == 1, "one connection for all of it"


def test_many_threads_share_the_channels(fs, host_home):
    for number in range(40):
        (host_home / f"f{number}").write_bytes(str(number).encode() * 5000)
    wrong = []

    def read(number):
        if fs.cat(f"box/f{number}") != str(number).encode() * 5000:
            wrong.append(number)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert len(fs.opened) == 1


def test_text_pandas_compression_and_caching(fs, host_home, tmp_path):
    import pandas as pd

    with fs.open("box/out/a.csv.gz", "wt", compression="gzip") as file:
        pd.DataFrame({"a": [1, 2], "b": ["x", "ü"]}).to_csv(file, index=False)
    with fs.open("box/out/a.csv.gz", "rt", compression="infer") as file:
        assert list(pd.read_csv(file).b) == ["x", "ü"]
    cached = fsspec.filesystem("filecache", fs=fs, cache_storage=str(tmp_path / "cache"), check_files=True)
    (host_home / "c").write_bytes(b"one")
    assert cached.cat("box/c") == b"one"
    (host_home / "c").write_bytes(b"three")
    os.utime(host_home / "c", (5, 5))
    assert cached.cat("box/c") == b"three"


def test_files_and_filesystem_travel_by_pickle(fs, host_home):
    (host_home / "p").write_bytes(b"0123456789")
    with fs.open("box/p") as file:
        file.seek(4)
        again = pickle.loads(pickle.dumps(file))
    assert again.read() == b"456789"
    again.close()
    again.fs.close()
    other = pickle.loads(pickle.dumps(fs))
    assert other.cat("box/p") == b"0123456789"
    other.close()


class Watcher(Callback):
    def __init__(self):
        super().__init__()
        self.children: list[Callback] = []

    def branched(self, path_1, path_2, **kwargs):
        self.children.append(Callback())
        return self.children[-1]


def test_callbacks_count_files_and_bytes(fs, host_home, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for number in range(30):
        (source / f"{number}").write_bytes(b"x" * number)
    (source / "large").write_bytes(os.urandom(20 * 2**20))
    watch = Watcher()
    fs.put(f"{source}/", "box/up/", recursive=True, callback=watch)
    assert (watch.size, watch.value) == (len(watch.children), len(watch.children))
    assert sum(child.value for child in watch.children) == sum(range(30)) + 20 * 2**20
    back = Watcher()
    fs.get("box/up/", f"{tmp_path}/back/", recursive=True, callback=back)
    assert sum(child.value for child in back.children) == sum(range(30)) + 20 * 2**20
    for path in source.iterdir():
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()
    assert fs.du("box/up") == sum(range(30)) + 20 * 2**20
    assert fs.glob("box/up/*9") == ["box/up/19", "box/up/29", "box/up/9"]


def test_an_open_file_takes_its_name_only_when_it_is_whole(fs, host_home):
    (host_home / "w").write_bytes(b"old")
    os.chmod(host_home / "w", 0o750)
    with pytest.raises(RuntimeError, match="stop"), fs.open("box/w", "wb", block_size=10) as file:
        file.write(b"new" * 1000)
        raise RuntimeError("stop")
    assert (host_home / "w").read_bytes() == b"old"
    assert [path.name for path in host_home.iterdir()] == ["w"]
    with fs.open("box/w", "wb", block_size=10) as file:
        file.write(b"new" * 1000)
        assert (host_home / "w").read_bytes() == b"old"
        assert fs.ls("box", detail=False) == ["box/w"], "an unfinished file is not listed"
    assert (host_home / "w").read_bytes() == b"new" * 1000
    assert (host_home / "w").stat().st_mode & 0o777 == 0o750
    with fs.open("box/w", "ab") as file:
        file.write(b"!")
    assert (host_home / "w").read_bytes() == b"new" * 1000 + b"!"
    with fs.transaction:
        fs.pipe("box/t", b"1")
        assert not (host_home / "t").exists()
    assert (host_home / "t").read_bytes() == b"1"


def test_refusals_name_the_path_and_leave_nothing(fs, host_home, tmp_path):
    (host_home / "d").mkdir()
    with pytest.raises(IsADirectoryError, match="box/d"):
        fs.open("box/d", "rb")
    with pytest.raises(IsADirectoryError, match="box/d"):
        fs.open("box/d", "wb")
    with pytest.raises(FileExistsError):
        fs.mkdir("box/d")
    with pytest.raises(IsADirectoryError):
        fs.rm("box/d")
    with pytest.raises(PermissionError, match="home"):
        fs.rm("box", recursive=True)
    for around in (f"box/{host_home}", f"box/{host_home}/d/..", f"box/{host_home.parent}", "box//"):
        with pytest.raises(PermissionError, match="home"):
            fs.rm(around, recursive=True)
        with pytest.raises(PermissionError, match="home"):
            fs.mv(around, "box/elsewhere", recursive=True)
    with pytest.raises(FileNotFoundError):
        fs.get_file("box/none", tmp_path / "none")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IsADirectoryError):
        fs.put_file(tmp_path / "file", "box/d")
    assert [path.name for path in host_home.iterdir()] == ["d"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(PART)] == []


def test_links_are_followed_when_named_and_never_walked(fs, host_home, tmp_path):
    (host_home / "t" / "deep").mkdir(parents=True)
    (host_home / "t" / "f").write_bytes(b"f")
    (host_home / "t" / "deep" / "loop").symlink_to("..")
    (host_home / "t" / "to_f").symlink_to("f")
    (host_home / "t" / "broken").symlink_to("nothing")
    kinds = {info["name"]: info["type"] for info in fs.ls("box/t")}
    assert kinds == {
        "box/t/deep": "directory",
        "box/t/f": "file",
        "box/t/to_f": "file",
        "box/t/broken": "link",
    }
    assert fs.isdir("box/t/deep/loop")
    assert set(fs.find("box/t")) == {"box/t/broken", "box/t/deep/loop", "box/t/f", "box/t/to_f"}
    fs.rm("box/t", recursive=True)
    assert list(host_home.iterdir()) == []


def test_odd_names(fs, host_home, tmp_path):
    odd = ["a b", "-rf", "new\nline", "quote'\"", "emoji😀", "x" * 250, "#hash", "per%20cent"]
    for name in odd:
        fs.pipe_file(f"box/odd/{name}", name.encode())
    assert sorted(os.listdir(host_home / "odd")) == sorted(odd)
    fs.get("box/odd", f"{tmp_path}/odd", recursive=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "odd").iterdir()} == {
        name: name.encode() for name in odd
    }
    fs.mv("box/odd/a b", "box/moved")
    fs.cp_file("box/moved", "box/copied")
    assert (host_home / "copied").read_bytes() == b"a b"


def test_a_broken_line_is_opened_anew(fs, host_home):
    (host_home / "x").write_bytes(b"x")
    assert fs.cat("box/x") == b"x"
    fs.opened[0].transport.close()
    assert fs.cat("box/x") == b"x"
    assert len(fs.opened) == 2


def test_between_hosts(sshd, tmp_path):
    other = support.Sshd(tmp_path / "other").start()
    fs = Hosts({"one": sshd.endpoint(), "two": other.endpoint(alias="gpunb-test2")})
    try:
        data = os.urandom(3 * 2**20)
        fs.pipe_file("one/a/b", data)
        fs.copy("one/a", "two/c", recursive=True)
        assert (other.home / "c" / "b").read_bytes() == data
        fs.mv("two/c/b", "one/back")
        assert (sshd.home / "back").read_bytes() == data
        assert not (other.home / "c" / "b").exists()
    finally:
        fs.close()
        other.stop()


def test_the_local_filesystem_agrees_on_globs(fs, host_home):
    for name in ("a/x.py", "a/b/y.py", "a/b/c/z.txt", "w.py"):
        fs.pipe_file(f"box/{name}", b"")
    here = LocalFileSystem()
    for pattern in ("*.py", "**/*.py", "a/*", "a/**", "?.py", "a/{b,x.py}", "[aw]*"):
        theirs = [path[len(str(host_home)) + 1 :] for path in here.glob(f"{host_home}/{pattern}")]
        ours = [path[len("box/") :] for path in fs.glob(f"box/{pattern}")]
        assert ours == theirs, pattern


def test_appending_beside_a_job_loses_nothing(fs, host_home):
    """What is appended goes behind what is there by then, whoever wrote it."""
    log = host_home / "log"
    log.write_bytes(b"line 0\n")
    with fs.open("box/log", "ab") as one, fs.open("box/log", "ab") as two:
        one.write(b"from here\n")
        with log.open("ab") as job:
            job.write(b"the job\n")
        two.write(b"x" * 5_000_000)
        with log.open("ab") as job:
            job.write(b"the job again\n")
        two.write(b"the end\n")
    found = log.read_bytes()
    for part in (
        b"line 0\n",
        b"from here\n",
        b"the job\n",
        b"x" * 5_000_000,
        b"the job again\n",
        b"the end\n",
    ):
        assert found.count(part) == 1
    assert len(found) == 5_000_000 + len(b"line 0\nfrom here\nthe job\nthe job again\nthe end\n")


@pytest.mark.timeout(60)
def test_pipes_and_links_to_nothing_hang_nothing(fs, host_home, tmp_path):
    for root in (host_home / "ff", tmp_path / "here"):
        (root / "sub").mkdir(parents=True)
        os.mkfifo(root / "sub/pipe")
        (root / "dangling").symlink_to("nowhere")
        (root / "file").write_text("x")
    with pytest.warns(UserWarning, match="left out.*pipe"):
        fs.get("box/ff/", f"{tmp_path}/back/", recursive=True)
    assert (tmp_path / "back/file").read_text() == "x"
    with pytest.warns(UserWarning, match="left out.*pipe"):
        fs.put(f"{tmp_path}/here/", "box/put/", recursive=True)
    assert (host_home / "put/file").read_text() == "x"
    one = "box/ff/sub/pipe"
    asks = [
        lambda: fs.get(one, str(tmp_path / "x")),
        lambda: fs.get_file(one, str(tmp_path / "x")),
        lambda: fs.put(str(tmp_path / "here/sub/pipe"), "box/y"),
        lambda: fs.cat_file(one),
        lambda: fs.cat(one),
        lambda: fs.cat("box/ff/", recursive=True),
        lambda: fs.open(one, "rb"),
        lambda: fs.head(one),
        lambda: fs.cp_file(one, "box/z"),
    ]
    for ask in asks:
        with pytest.raises(OSError, match="pipe, socket or device"):
            ask()
    found = fs.cat("box/ff/", recursive=True, on_error="omit")
    assert list(found) == ["box/ff/file"]


def test_du_is_what_the_local_file_system_says_and_asks_no_file_by_file(fs, host_home, monkeypatch):
    root = host_home / "du"
    (root / "sub/deep").mkdir(parents=True)
    for number in range(20):
        (root / f"sub/deep/{number}").write_bytes(bytes(number))
    (root / "one").write_bytes(bytes(7))
    local = LocalFileSystem()
    asked = []
    real = fs.info
    monkeypatch.setattr(fs, "info", lambda path, **kwargs: (asked.append(path), real(path, **kwargs))[1])
    assert fs.du("box/du") == local.du(str(root)) == 197
    assert fs.du("box/du/one") == 7
    assert fs.du("box/du", maxdepth=1) == local.du(str(root), maxdepth=1) == 7
    found = fs.du("box/du", total=False)
    assert {name.removeprefix("box/du/"): size for name, size in found.items()} == {
        name.removeprefix(f"{root}/"): size for name, size in local.du(str(root), total=False).items()
    }
    assert len(asked) <= 4
