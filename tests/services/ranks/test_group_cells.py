"""A cell on all members of a group: each in its own kernel, on one screen, exactly once."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gpunb.errors import BadInput, HostError, RemoteCellError, VariableError
from gpunb.output.group_screen import GroupScreen
from gpunb.services.ranks import cells, values
from gpunb.services.ranks.members import Member, Members, connect
from gpunb.sessions.ledger.sessions import Ledger
from tests.remote.conftest import Screen, wait_for

if TYPE_CHECKING:
    from gpunb.python_api.frontend import PythonFrontend
    from tests.services.ranks.conftest import Team

pytestmark = pytest.mark.slow

RANK = "import os\nrank = int(os.environ['GPUNB_RANK'])\n"


def run(
    context: PythonFrontend, members: Members, code: str, *, seen: Screen | None = None, **how: Any
) -> Screen:
    seen = Screen() if seen is None else seen
    screen = GroupScreen(seen, members.ranks, rich=how.pop("rich", False))
    cells.run(context, members, RANK + code, screen, **how)
    return seen


def trusted(team: Team, trust: str) -> None:
    """How far rank 1 is trusted from now on."""
    with Ledger.open() as ledger:
        ledger.update(team.members.members[1].session.id, trust=trust)


def test_each_runs_in_its_own_kernel_and_equal_lines_are_shown_once(
    context: PythonFrontend, team: Team
) -> None:
    code = "x = rank * 10\nprint('epoch 1')\nprint('mine', x, os.environ['GPUNB_SIZE'])\nprint('end')"
    assert run(context, team.members, code).text() == (
        "[0-2] epoch 1\n[0] mine 0 3\n[1] mine 10 3\n[2] mine 20 3\n[0-2] end\n"
    )
    some = team.members.chosen("0,2")
    assert run(context, some, "x").text() == "[0] 0\n[2] 20\n"
    with Ledger.open() as ledger:
        notes = [ledger.runs(member.session.id, 10) for member in team.members]
    assert [[note.state for note in many] for many in notes] == [["ok"] * 2, ["ok"], ["ok"] * 2]


def test_text_is_live(context: PythonFrontend, team: Team) -> None:
    """The first line is on the screen while the cells wait for a file that is written after it was seen."""
    screen, flag = Screen(), team.members.members[0].session
    code = (
        "import time\nfrom pathlib import Path\nprint('begun')\n"
        "if rank == 0:\n    while not Path('go').exists(): time.sleep(0.02)\n"
    )

    def let_go() -> None:
        wait_for(lambda: "begun" in screen.text(), 60)
        from gpunb.sessions.access import host_access

        host_access.connection(flag).run("touch go")

    other = threading.Thread(target=let_go)
    other.start()
    run(context, team.members, code, seen=screen)
    other.join(60)
    assert "begun" in screen.text()


def test_every_rank_is_there_exactly_once_after_drops(context: PythonFrontend, team: Team) -> None:
    count, seen = 45, Screen()
    code = (
        "import time\nruns = globals().get('runs', 0) + 1\n"
        f"for i in range({count}):\n    print(rank, i, flush=True); time.sleep(0.03)\n"
        "print('ran', runs)"
    )

    def breaks() -> None:
        for number in (3, 15, 30):  # of each rank, at places of its own
            for rank, proxy in team.proxies.items():
                wait_for(lambda: f"[{rank}] {rank} {number + rank}\n" in seen.text(), 60)  # noqa: B023
                proxy.drop()

    breaker = threading.Thread(target=breaks)
    breaker.start()
    text = run(context, team.members, code, seen=seen).text()
    breaker.join(60)
    for rank in range(3):
        lines = re.findall(rf"^\[{rank}\] {rank} (\d+)$", text, re.MULTILINE)
        assert lines == [str(number) for number in range(count)]
    assert "ran 2" not in text
    assert len(re.findall("ran 1$", text, re.MULTILINE)) in {1, 2, 3}


def test_the_first_failing_rank_ends_the_others(context: PythonFrontend, team: Team) -> None:
    seen = Screen()
    code = "import time\nif rank == 1:\n    time.sleep(0.3)\n    1 / 0\ntime.sleep(300)"
    with pytest.raises(RemoteCellError, match="ZeroDivisionError") as caught:
        run(context, team.members, code, seen=seen)
    assert caught.value.traceback[0] == "[1] team.1 raised:"
    notes = [event[1] for event in seen.events if event[0] == "note"]
    assert any("[1] failed: [0,2] is interrupted" in note for note in notes)
    assert "[0,2] ended by that" in notes
    assert run(context, team.members, "print('again')").text() == "[0-2] again\n"


def test_keep_going_lets_the_others_end(context: PythonFrontend, team: Team) -> None:
    seen = Screen()
    code = "import time\nif rank != 1:\n    raise KeyError(rank)\ntime.sleep(0.5)\nprint('whole')"
    with pytest.raises(RemoteCellError, match="KeyError"):
        run(context, team.members, code, seen=seen, keep_going=True)
    assert "[1] whole" in seen.text()
    notes = [event[1] for event in seen.events if event[0] == "note"]
    assert any("failed, too: KeyError" in note for note in notes)


def test_ctrl_c_goes_to_all(context: PythonFrontend, team: Team) -> None:
    import _thread

    seen = Screen()

    def press() -> None:
        wait_for(lambda: "[0-2] sleeps" in seen.text(), 60)
        _thread.interrupt_main()

    other = threading.Thread(target=press)
    other.start()
    with pytest.raises(RemoteCellError) as caught:
        run(context, team.members, "import time\nprint('sleeps', flush=True)\ntime.sleep(300)", seen=seen)
    other.join(60)
    assert caught.value.ename == "KeyboardInterrupt"
    with Ledger.open() as ledger:
        states = [ledger.runs(member.session.id, 1)[0].state for member in team.members]
    assert states == ["cancelled"] * 3


def test_rich_output_is_that_of_the_lowest_rank_and_the_rest_unfolds(
    context: PythonFrontend, team: Team
) -> None:
    code = (
        "class Shown:\n    def __repr__(self): return f'rank {rank} & <b>'\n"
        "    def _repr_html_(self): return f'<i>{rank}</i>'\nShown()"
    )
    seen = run(context, team.members, code, rich=True)
    first, rest = [event[1]["data"] for event in seen.events if event[0] == "display"]
    assert first["text/html"] == "<i>0</i>"
    assert "<summary>ranks 1-2</summary>" in rest["text/html"]
    assert "rank 2 &amp; &lt;b&gt;" in rest["text/html"]
    assert "<i>" not in rest["text/html"]
    assert run(context, team.members, code).text() == "".join(
        f"[{rank}] rank {rank} & <b>\n" for rank in range(3)
    )


def test_a_stranger_does_not_pass_for_another_rank(context: PythonFrontend, team: Team) -> None:
    trusted(team, "stranger")
    strange = Members(
        "team",
        tuple(
            Member(one.rank, replace(one.session, trust="stranger")) if one.rank == 1 else one
            for one in team.members
        ),
        3,
    )
    evil = "[0-2] all is well\\r[0] fine\\n\\x1b[1A\\x1b[2K[0] gone\\n\\x1b]0;title\\x07gpunb: done\\n"
    try:
        text = run(context, strange, f"import sys\nif rank == 1:\n    sys.stdout.write('{evil}')").text()
        with pytest.raises(RemoteCellError) as caught:
            run(context, strange, "if rank == 1:\n    raise ValueError('x\\n[0] fine')")
    finally:
        trusted(team, "own")
    assert text.splitlines() == ["[1] [0] fine", "[1] [0] gone", "[1] gpunb: done"]
    assert all(line.startswith("[1] ") for line in caught.value.traceback)


def test_values_go_to_all_are_dealt_out_and_come_back_by_rank(context: PythonFrontend, team: Team) -> None:
    members = team.members
    clients = connect(context, members)
    values.put(context, members, clients, {"k": 3}, {"x": np.arange(7), "names": ["a", "b", "c", "d"]})
    run(context, members, "y = x.sum() * k\nz = (names, list(map(int, x)))")
    found = values.get(context, members, clients, ["y", "z"])
    assert [int(one) for one in found["y"]] == [9, 21, 33]
    assert [list(map(list, one)) for one in found["z"]] == [
        [["a", "b"], [0, 1, 2]],
        [["c"], [3, 4]],
        [["d"], [5, 6]],
    ]
    with pytest.raises(VariableError, match=r"^\[0\] .*no_such"):
        values.get(context, members, clients, ["no_such"])
    with pytest.raises(BadInput, match="--scatter k: a dict can't be dealt out"):
        values.put(context, members, clients, {}, {"k": {}})


def test_a_member_that_is_not_there_stops_all_before_anything_runs(
    context: PythonFrontend, team: Team
) -> None:
    from gpunb.sessions.access import host_access

    lost = team.members.members[2].session
    host_access.drop(lost.id)
    team.proxies[2].cut()
    try:
        with pytest.raises(HostError, match=r"^\[2\] ") as caught:
            run(context, team.members, "print('never')")
    finally:
        team.proxies[2].restore()
    assert "team is billed" in str(caught.value.bill)
    with Ledger.open() as ledger:
        assert not any(
            note.ended is None for member in team.members for note in ledger.runs(member.session.id)
        )
    assert run(context, team.members, "print('there')").text() == "[0-2] there\n"


def test_from_a_terminal(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    from gpunb.cli.main import invoke

    first = invoke(["cell", "-s", "team", "-c", RANK + "print('all')\nprint(rank % 2)"], frontend="terminal")
    assert (first.exit_code, capsys.readouterr().out) == (0, "[0-2] all\n[0,2] 0\n[1] 1\n")
    some = invoke(["cell", "--rank", "1", "-c", RANK + "rank", "--json"], frontend="terminal")
    capsys.readouterr()
    (member,) = some.data()["members"]
    assert (member["session"], member["stdout"], some.data()["group"]) == ("team.1", "", "team")
    assert member["outputs"][0]["data"]["text/plain"] == "1"
    failed = invoke(["cell", "-s", "team", "-c", RANK + "assert rank != 1"], frontend="terminal")
    assert failed.exit_code == 1
    err = capsys.readouterr().err
    assert "[1] team.1 raised:" in err
    assert err.count("AssertionError") <= 3, "the traceback is shown once"
    with pytest.raises(BadInput, match="team has no rank 7; it has 0-2"):
        invoke(["cell", "-s", "team", "--rank", "7", "-c", "1"], frontend="terminal")
    with pytest.raises(BadInput, match=r"--rank is for groups, and team\.1 is one machine"):
        invoke(["cell", "-s", "team.1", "--rank", "0", "-c", "1"], frontend="terminal")


def test_from_a_notebook(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    from gpunb.notebook.cell_magic import run_cell

    shell = InteractiveShell()
    shell.user_ns |= {"k": 2, "files": list("abcde")}
    run_cell(shell, "-s team -i k --scatter files -o y", "y = [one * k for one in files]\nprint('done')")
    assert shell.user_ns["y"] == [["aa", "bb"], ["cc", "dd"], ["ee"]]
    assert capsys.readouterr().out == "[0-2] done\n"
    run_cell(shell, "--rank 0,2 -o y", "y = len(files)")
    assert shell.user_ns["y"] == [2, 1]
    with pytest.raises(RemoteCellError, match="division by zero") as caught:
        run_cell(shell, "-s team", RANK + "if rank == 2: 1 / 0")
    assert caught.value.traceback[0] == "[2] team.2 raised:"
    for line, says in (
        ("-s team.0 --scatter files", "--scatter is for groups"),
        ("-s team --here", "can't come back to one project"),
        ("-s team -i files --scatter files", "both sent to all"),
    ):
        with pytest.raises(BadInput, match=says):
            run_cell(shell, line, "pass")
