from __future__ import annotations

from gpunb.sync.planning.plan import Item, LeftOut, Tree, diff, link_stays_inside


def _tree(*items: Item, left_out: tuple[str, ...] = (), failed: tuple[str, ...] = ()) -> Tree:
    return Tree(
        sorted(items, key=lambda i: i.path),
        [LeftOut(p, "r") for p in left_out],
        [(p, "denied") for p in failed],
    )


def _file(path: str, size: int = 1, mtime: int = 5, mode: int = 0o644) -> Item:
    return Item(path, "file", size, mtime, mode)


def _dir(path: str, mode: int = 0o755) -> Item:
    return Item(path, "dir", mode=mode)


def test_new_changed_same_and_modes() -> None:
    source = _tree(
        _file("new", 10), _file("size", 3), _file("time", mtime=9), _file("same"), _file("mode", mode=0o755)
    )
    target = _tree(_file("size", 2), _file("time"), _file("same"), _file("mode"), _file("extra"))
    plan = diff(source, target)
    assert [i.path for i in plan.items] == ["new", "size", "time"]
    assert [i.path for i in plan.modes] == ["mode"]
    assert {i.path for i in plan.unchanged} == {"same", "mode"}
    assert plan.deletions == []
    assert plan.total_bytes == 14
    assert [i.path for i in plan.largest(2)] == ["new", "size"]


def test_deletes_deepest_first_and_only_what_is_not_hidden() -> None:
    source = _tree(_dir("keep"), left_out=("cache", "keep/big.bin"), failed=("locked",))
    target = _tree(
        _dir("keep"), _file("keep/big.bin"), _file("keep/old"),
        _dir("gone"), _dir("gone/x"), _file("gone/x/f"),
        _dir("locked"), _file("locked/f"), _dir("half"), _file("half/f"), _file("cache"),
        left_out=("half/__pycache__",),
    )  # fmt: skip
    plan = diff(source, target, delete=True)
    assert plan.deletions == ["keep/old", "half/f", "gone/x/f", "gone/x", "gone"]
    assert plan.kinds["gone"] == "dir"


def test_an_unreadable_source_deletes_nothing() -> None:
    assert diff(_tree(failed=("",)), _tree(_file("a"), _dir("b")), delete=True).deletions == []


def test_something_of_another_kind_in_the_way() -> None:
    source = _tree(_dir("a"), _file("a/f"), _file("b"), Item("c", "link", goal="b"), _file("d"))
    target = _tree(_file("a"), _dir("b"), _file("b/x"), _file("c"), Item("d", "link", goal="b"))
    plan = diff(source, target)
    assert plan.blocked == [
        ("a", "a file stands in its place"),
        ("a/f", "its folder can't be made"),
        ("b", "a folder stands in its place"),
    ]
    assert [i.path for i in plan.items] == ["c", "d"]  # one name for another: replaced in one step
    plan = diff(source, target, delete=True)
    assert plan.blocked == []
    assert plan.deletions == ["b/x", "b", "a"]
    assert [i.path for i in plan.folders] == ["a"]
    assert [i.path for i in plan.items] == ["a/f", "b", "c", "d"]


def test_a_folder_with_hidden_files_is_not_taken_away_for_a_file() -> None:
    target = _tree(_dir("b"), left_out=("b/.git",))
    plan = diff(_tree(_file("b")), target, delete=True)
    assert plan.blocked == [("b", "a folder stands in its place")]
    assert plan.deletions == []


def test_room_counts_what_is_replaced() -> None:
    source = _tree(_file("a", 100, 9), _file("b", 50, 9))
    assert diff(source, _tree()).needed_bytes() == 150
    assert diff(source, _tree(_file("a", 100), _file("b", 50))).needed_bytes() == 100


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
