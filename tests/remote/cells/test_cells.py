from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from gpunb.errors import KernelDied, RemoteCellError, RunError, RunNotFound, RunTimeout
from gpunb.output import TextSink, show
from gpunb.output.player import play_history
from tests.remote.conftest import Screen, kernel_pid, kill_agent, wait_for

pytestmark = pytest.mark.slow


def test_a_cell_shows_what_it_would_show_here(client, screen):
    code = """
import sys
from IPython.display import HTML, clear_output, display, update_display
print("out 1"); sys.stdout.flush()
print("err 1", file=sys.stderr); sys.stderr.flush()
print("out 2"); sys.stdout.flush()
display({"text/plain": "a picture", "text/html": "<b>a</b>"}, raw=True, display_id="pic")
update_display({"text/plain": "another"}, raw=True, display_id="pic")
clear_output(wait=True)
6 * 7
"""
    info = show(client.run_cell(code), screen)
    assert info.state == "ok"
    assert screen.kinds() == ["stdout", "stderr", "stdout", "display", "update", "clear", "result", "finish"]
    shown = dict(zip(screen.kinds(), screen.events, strict=True))
    assert shown["display"][1]["data"]["text/html"] == "<b>a</b>"
    assert (
        shown["display"][1]["transient"]["display_id"]
        == shown["update"][1]["transient"]["display_id"]
        == "pic"
    )
    assert shown["result"] == ("result", "42")
    assert shown["clear"] == ("clear", True)


def test_a_history_that_is_here_before_it_is_asked_for_is_shown(client, screen):
    run = client.run_cell("print('once')")
    show(run, Screen())
    again = client.attach(run.id)
    wait_for(lambda: again.over)  # the reader's thread has all of it
    play_history(again, screen, again.history)
    assert screen.text() == "once\n"


def test_state_lives_between_cells(client, screen):
    show(client.run_cell("x = [1]"), screen)
    show(client.run_cell("x.append(2); x"), screen)
    assert ("result", "[1, 2]") in screen.events


def test_an_error_is_raised_once_with_the_remote_traceback(client, screen):
    with pytest.raises(RemoteCellError) as caught:
        show(client.run_cell("def f():\n    1 / 0\nf()"), screen)
    assert caught.value.ename == "ZeroDivisionError"
    assert "f()" in "".join(caught.value.traceback)
    assert screen.text("stderr") == ""
    show(client.run_cell("print('goes on')"), screen)
    assert screen.text() == "goes on\n"


def test_input_and_getpass_are_asked_here(client):
    screen = Screen(["Ada", "secret"])
    asks = "name = input('name? ')\nword = getpass('word? ')"
    code = f"from getpass import getpass\n{asks}\nprint(name, len(word))"
    run = client.run_cell(code)
    show(run, screen)
    assert [event[1:] for event in screen.events if event[0] == "ask"] == [
        ("[gpunb-test1 asks] name? ", False),
        ("[gpunb-test1 asks for a password] word? ", True),
    ]
    assert screen.text() == "Ada 6\n"
    again = Screen()
    show(client.attach(run.id), again)
    assert "ask" not in again.kinds()
    assert again.text() == "Ada 6\n"


def test_the_end_of_the_input_and_a_question_that_waits(client):
    class Endpoints(Screen):
        def ask(self, prompt, *, password):
            waiting.append(client.run_info(run.id).waiting)
            raise EOFError

    waiting = []
    run = client.run_cell("try:\n    input('name? ')\nexcept EOFError:\n    print('no more')")
    screen = Endpoints()
    show(run, screen)
    assert screen.text() == "no more\n"
    assert waiting == ["name?"]
    assert client.run_info(run.id).waiting is None


def test_what_was_typed_is_not_in_the_journal(client, host):
    screen = Screen(["hunter2-canary"])
    run = client.run_cell("from getpass import getpass\n_ = getpass()")
    show(run, screen)
    folder = host.home / ".gpunb" / "runs" / run.id
    assert all(b"hunter2-canary" not in path.read_bytes() for path in folder.iterdir())


def test_ctrl_c_interrupts_the_cell_and_the_kernel_lives(client, screen):
    run = client.run_cell(
        "v = 1\nprint('started', flush=True)\nimport time\nfor _ in range(600): time.sleep(0.1)"
    )
    main = threading.main_thread().ident

    def press():
        wait_for(lambda: "started" in screen.text())
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(RemoteCellError, match="KeyboardInterrupt"):
        show(run, screen)
    thread.join()
    show(client.run_cell("print(v)"), screen)
    assert screen.text().endswith("1\n")


DEAF = """
import time
print("started", flush=True)
until = time.time() + {seconds}
while time.time() < until:
    try:
        time.sleep(0.05)
    except KeyboardInterrupt:
        print("not now", flush=True)
print("done")
"""


def press_twice(screen: Screen) -> threading.Thread:
    main = threading.main_thread().ident
    assert main is not None

    def press():
        wait_for(lambda: "started" in screen.text(), 60.0)
        signal.pthread_kill(main, signal.SIGINT)
        wait_for(lambda: "not now" in screen.text(), 60.0)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def test_a_second_ctrl_c_leaves_the_cell_and_it_can_be_attached(client):
    screen = Screen(["n"])
    run = client.run_cell(DEAF.format(seconds=3))
    thread = press_twice(screen)
    with pytest.raises(RunError, match="continues on the host"):
        show(run, screen)
    thread.join()
    assert [event[1] for event in screen.events if event[0] == "ask"] == [
        "The cell goes on. Restart the host's kernel and lose its variables? [y/N] "
    ]
    again = Screen()
    assert show(client.attach(run.id), again).state == "ok"
    assert again.text() == "started\nnot now\ndone\n"


def test_a_second_ctrl_c_offers_to_restart_the_kernel(client):
    screen = Screen(["y"])
    show(client.run_cell("kept = 1"), screen)
    run = client.run_cell(DEAF.format(seconds=600))
    thread = press_twice(screen)
    with pytest.raises(RunError, match="restarted"):
        show(run, screen)
    thread.join()
    after = Screen()
    show(client.run_cell("print('kept' in globals())"), after)
    assert after.text() == "False\n"


def test_the_end_of_a_cell_is_told_to_those_who_do_not_follow_it(client, reconnect):
    heard = []
    end = reconnect().listen(lambda head: heard.append((head.get("k"), head.get("run"), head.get("state"))))
    run = client.run_cell("1 / 0")
    wait_for(lambda: ("run-ended", run.id, "error") in heard, 60.0)
    end()


def test_a_timeout_is_kept_by_the_host(client, screen):
    with pytest.raises(RunTimeout, match=r"0\.5 s were over"):
        show(client.run_cell("import time; time.sleep(60)", timeout=0.5), screen)


def test_two_who_follow_in_one_process_both_see_all_of_it(client):
    first = client.run_cell("import time\nfor n in range(40):\n    print(n, flush=True); time.sleep(0.02)")
    early, late = Screen(), Screen()
    watching = threading.Thread(target=show, args=(first, early))
    watching.start()
    wait_for(lambda: "5\n" in early.text())
    again = client.attach(first.id)
    third = client.attach(first.id)
    third.close()  # one that leaves takes nothing from the others
    show(again, late)
    watching.join(60)
    assert not watching.is_alive()
    assert early.text() == late.text() == "".join(f"{n}\n" for n in range(40))


def test_a_second_front_sees_the_same_from_the_start(client, reconnect):
    run = client.run_cell("import time\nfor i in range(5):\n    print(i, flush=True); time.sleep(0.1)")
    other = Screen()
    thread = threading.Thread(target=lambda: show(reconnect().attach(run.id), other, interactive=False))
    thread.start()
    mine = Screen()
    show(run, mine)
    thread.join(30)
    assert mine.text() == other.text() == "0\n1\n2\n3\n4\n"


def test_the_same_run_asked_for_twice_runs_once(client, screen):
    show(client.run_cell("n = globals().get('n', 0) + 1", run_id="samename01"), screen)
    show(client.run_cell("n = globals().get('n', 0) + 1", run_id="samename01"), screen)
    show(client.run_cell("n"), screen)
    assert ("result", "1") in screen.events


def test_cells_wait_in_line_and_a_failure_does_not_drop_the_next(client):
    first = client.run_cell("import time; time.sleep(0.5); 1/0")
    second, screen = client.run_cell("print('second')"), Screen()
    with pytest.raises(RemoteCellError):
        show(first, Screen())
    show(second, screen)
    assert screen.text() == "second\n"


def test_a_waiting_cell_can_be_cancelled(client):
    first = client.run_cell("import time; time.sleep(1)")
    second = client.run_cell("print('never')")
    client.cancel(second.id)
    screen = Screen()
    with pytest.raises(RunError, match="had not started"):
        show(second, screen)
    show(first, Screen())
    assert screen.text() == ""


def test_a_killed_kernel_ends_the_cell_and_the_next_starts_anew(client, host, screen):
    run = client.run_cell("keep = 1\nprint('before', flush=True)\nimport time; time.sleep(60)")
    thread = threading.Thread(
        target=lambda: (
            wait_for(lambda: "before" in screen.text()),
            os.kill(kernel_pid(host), signal.SIGKILL),
        )
    )
    thread.start()
    with pytest.raises(KernelDied, match="memory") as caught:
        show(run, screen)
    thread.join()
    assert "billed" in caught.value.bill
    assert screen.text() == "before\n"
    after = Screen()
    show(client.run_cell("print('keep' in globals())"), after)
    assert after.text() == "False\n"
    assert any("variables are empty" in event[1] for event in after.events if event[0] == "note")


@pytest.mark.parametrize("code", ["%gpu ps", "%%gpu\nprint(1)"])
def test_gpunb_s_own_magic_is_no_riddle_on_the_host(client, screen, code):
    with pytest.raises(RemoteCellError, match="runs on the rented host already"):
        show(client.run_cell(code), screen)


def test_a_restart_empties_the_kernel_and_keeps_the_runs(client, screen):
    show(client.run_cell("y = 5"), screen)
    client.restart_kernel()
    show(client.run_cell("print('y' in globals())"), screen)
    assert screen.text() == "False\n"
    assert len(client.runs()) == 2
    assert not [event for event in screen.events if event[0] == "note"]  # who asked for it knows


def test_a_kernel_that_is_new_since_the_machine_was_stopped_is_told_once(client, host):
    show(client.run_cell("y = 5"), Screen())
    kernel = kernel_pid(host)
    kill_agent(host)  # all ends at once, and nobody is there to see it
    os.kill(kernel, signal.SIGKILL)
    notes = []
    for _ in range(2):
        screen = Screen()
        show(client.run_cell("print('y' in globals())"), screen)
        assert screen.text() == "False\n"
        notes.append([event[1] for event in screen.events if event[0] == "note" and "new" in event[1]])
    assert len(notes[0]) == 1
    assert "variables are empty" in notes[0][0]
    assert notes[1] == []


def test_bytes_that_are_not_utf8_arrive_replaced(client, screen):
    show(client.run_cell("import os\n_ = os.write(1, b'caf\\xe9 \\xff\\n')\nprint('after')"), screen)
    assert "after" in screen.text()
    assert "caf\ufffd" in screen.text()


def test_what_children_wrote_to_the_descriptor_is_there_before_the_cell_ends(client):
    """In a piece of a multi-byte character each, too."""
    for number in range(30):
        screen = Screen()
        code = (
            f"import os, subprocess\nfor byte in 'é{number}'.encode(): _ = os.write(1, bytes([byte]))\n"
            "_ = subprocess.run(['sh', '-c', 'echo to the end >&2'])"
        )
        show(client.run_cell(code), screen)
        assert screen.text() == f"é{number}"
        assert screen.text("stderr") == "to the end\n"


def test_two_hundred_megabytes_arrive_whole_and_in_order(client):
    class Count(TextSink):
        def __init__(self):
            self.size, self.tail = 0, ""

        def stream(self, name, text):
            self.size += len(text)
            self.tail = text[-100:]

        def finish(self):
            pass

    sink = Count()
    code = (
        "line = 'x' * 99 + '\\n'\nfor _ in range(2_000):\n    print(line * 1_000, end='')\nprint('THE END')"
    )
    show(client.run_cell(code), sink)
    assert sink.size == 200_000_000 + len("THE END\n")
    assert sink.tail.endswith("THE END\n")


def test_an_unknown_run_is_named(client):
    with pytest.raises(RunNotFound, match="nosuchrun1"):
        client.attach("nosuchrun1")


def test_completion_and_inspection_answer_from_the_host(client, screen):
    show(client.run_cell("import collections\nmy_variable = 3"), screen)
    client.prepare_completion()
    read = {"code": "", "user_expressions": {"r": "len(__import__('parso.cache').cache.parser_cache)"}}

    def prepared() -> bool:  # the builtins' types have been read: that is what the first Tab would wait for
        made = client.kernel_request("execute_request", dict(read), timeout=120)["user_expressions"]["r"]
        return made["data"]["text/plain"] != "0"

    wait_for(prepared, 120)
    reply = client.kernel_request("complete_request", {"code": "my_vari", "cursor_pos": 7}, timeout=120)
    assert "my_variable" in reply["matches"]
    reply = client.kernel_request(
        "inspect_request", {"code": "my_variable", "cursor_pos": 5, "detail_level": 0}, timeout=120
    )
    assert reply["found"]


def test_a_request_without_a_run_waits_for_a_busy_kernel_as_long_as_it_says(client, screen):
    run = client.run_cell("import time\ntime.sleep(600)")
    wait_for(lambda: client.run_info(run.id).state == "running")
    with pytest.raises(RunError, match="busy and did not answer in time"):  # the agent's word, not the wire's
        client.kernel_request("kernel_info_request", {}, timeout=0.2)
    run.interrupt()
    with pytest.raises(RemoteCellError):
        show(run, screen)


def test_the_lease_ends_the_work_and_more_time_brings_it_back(client, screen):
    run = client.run_cell("import time\nprint('on', flush=True)\ntime.sleep(60)")
    client.set_lease(time.time() + 1, None)
    with pytest.raises(RunError, match="lease is over"):
        show(run, screen)
    wait_for(lambda: client.lease()["over"])
    with pytest.raises(RunError, match="lease of this host is over"):
        show(client.run_cell("1"), screen)
    client.set_lease(time.time() + 3600, 600)
    show(client.run_cell("print('again')"), screen)
    assert screen.text().endswith("again\n")
