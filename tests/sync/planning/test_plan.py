from __future__ import annotations

from gpunb.sync.planning.plan import LeftOut, Tree, link_stays_inside
from tests.support.memory_side import folder, link, planned, text


def _hidden(left_out: tuple[str, ...] = (), failed: tuple[str, ...] = ()) -> Tree:
    return Tree([], [LeftOut(p, "r") for p in left_out], [(p, "denied") for p in failed])


def test_new_changed_same_and_modes() -> None:
    source = {
        "new": text(10), "size": text(3), "time": text(mtime=9), "same": text(), "mode": text(mode=0o755),
    }  # fmt: skip
    target = {"size": text(2), "time": text(), "same": text(), "mode": text(), "extra": text()}
    plan = planned(source, target)
    assert [i.path for i in plan.items] == ["new", "size", "time"]
    assert [i.path for i in plan.modes] == ["mode"]
    assert {i.path for i in plan.unchanged} == {"same", "mode"}
    assert plan.deletions == []
    assert plan.total_bytes == 14
    assert [i.path for i in plan.largest(2)] == ["new", "size"]


def test_a_file_whose_mode_changes_keeps_its_time() -> None:
    """SFTP knows whole seconds, up to 2106: its word is not written over what the target knows."""
    plan = planned({"a": text(mtime=2**32 - 1, mode=0o600)}, {"a": text(mtime=2**33)}, coarse=True)
    assert [(i.path, i.mtime) for i in plan.modes] == [("a", 2**33)]
    assert plan.items == []


def test_times_that_sftp_can_t_tell_are_the_same() -> None:
    """A server cuts a time to 32 bits, and what we send is capped: neither is sent again each time."""
    for mine, told in ((-5, 2**32 - 5), (2**32 + 5, 5), (-5, 0), (2**33, 2**32 - 1)):
        assert planned({"a": text(mtime=mine)}, {"a": text(mtime=told)}, coarse=True).items == []
        assert planned({"a": text(mtime=told)}, {"a": text(mtime=mine)}, coarse=True).items == []
    assert len(planned({"a": text(mtime=8)}, {"a": text(mtime=5)}, coarse=True).items) == 1


def test_deletes_deepest_first_and_only_what_is_not_hidden() -> None:
    hidden = _hidden(left_out=("cache", "keep/big.bin"), failed=("locked",))
    target = {
        "keep": folder(), "keep/big.bin": text(), "keep/old": text(),
        "gone": folder(), "gone/x": folder(), "gone/x/f": text(),
        "locked": folder(), "locked/f": text(), "cache": text(),
        "half": folder(), "half/f": text(), "half/__pycache__": folder(), "half/__pycache__/f": text(),
    }  # fmt: skip
    plan = planned({"keep": folder()}, target, hidden, delete="delete")
    assert plan.deletions == ["keep/old", "half/f", "gone/x/f", "gone/x", "gone"]
    assert plan.kinds["gone"] == "dir"


def test_an_unreadable_source_deletes_nothing() -> None:
    target = {"a": text(), "b": folder()}
    assert planned({}, target, _hidden(failed=("",)), delete="delete").deletions == []


def test_something_of_another_kind_in_the_way() -> None:
    source = {"a": folder(), "a/f": text(), "b": text(), "c": link("b"), "d": text()}
    target = {"a": text(), "b": folder(), "b/x": text(), "c": text(), "d": link("b")}
    plan = planned(source, target)
    assert plan.blocked == [
        ("a", "a file stands in its place"),
        ("a/f", "its folder can't be made"),
        ("b", "a folder stands in its place"),
    ]
    assert [i.path for i in plan.items] == ["c", "d"]  # one name for another: replaced in one step
    plan = planned(source, target, delete="delete")
    assert plan.blocked == []
    assert plan.deletions == ["b/x", "b", "a"]
    assert [i.path for i in plan.folders] == ["a"]
    assert {i.path for i in plan.items} == {"a/f", "b", "c", "d"}


def test_a_folder_with_hidden_files_is_not_taken_away_for_a_file() -> None:
    target = {"b": folder(), "b/.git": folder(), "b/.git/config": text()}
    plan = planned({"b": text()}, target, delete="delete")
    assert plan.blocked == [("b", "a folder stands in its place")]
    assert plan.deletions == []


def test_room_counts_what_is_replaced() -> None:
    source = {"a": text(100, 9), "b": text(50, 9)}
    assert planned(source, {}).needed_bytes() == 150
    assert planned(source, {"a": text(100), "b": text(50)}).needed_bytes() == 100


def test_no_chain_of_links_leads_out() -> None:
    out = [
        ("l", ".."),
        ("l", "/x"),
        ("a/l", "../.."),
        ("l", "a/../.."),
        ("l", "a/.."),
        ("l", ""),
        ("l", "a\0"),
    ]
    for path, goal in out:
        assert not link_stays_inside(path, goal), (path, goal)
    for path, goal in [("l", "a"), ("l", "./a/b"), ("a/l", ".."), ("a/b/l", "../../c"), ("l", "..a/b..")]:
        assert link_stays_inside(path, goal), (path, goal)
