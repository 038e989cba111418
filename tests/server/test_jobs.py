"""Jobs: told, joined, broken off where it is safe, and their failures in four fields."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from gpunb.errors import Cancelled, OfferGone
from gpunb.server.failures import Busy, UnknownJob
from gpunb.server.jobs import KEPT, MOST, Job, Jobs

BOUND_S = 60.0


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def jobs(told: list[dict[str, Any]]) -> Jobs:
    return Jobs(lambda job: told.append(job.data()))


def test_a_job_is_told_from_begin_to_end(jobs: Jobs, told: list[dict[str, Any]]) -> None:
    def work(job: Job) -> dict[str, Any]:
        job.know("s1")
        job.say("waiting for \x1b[31mSSH\x1b[0m")
        return {"answer": 42}

    job = jobs.begin("rent", None, "rent it", work)
    assert job.over.wait(BOUND_S)
    last = told[-1]
    assert (last["state"], last["session"], last["result"], last["error"]) == (
        "done",
        "s1",
        {"answer": 42},
        None,
    )
    assert any(one["says"] == "waiting for SSH" for one in told)
    assert {one["state"] for one in told} == {"running", "done"}
    assert jobs.get(job.id) is job
    assert jobs.listed()[0]["id"] == job.id


def test_a_failure_has_message_reason_hint_and_bill(jobs: Jobs) -> None:
    def work(job: Job) -> None:
        raise OfferGone("it was taken", provider="vast", bill="nothing was rented", hint="search again")

    job = jobs.begin("rent", None, "rent", work)
    assert job.over.wait(BOUND_S)
    assert job.state == "failed"
    assert job.error == {
        "message": "it was taken", "reason": "OfferGone", "hint": "search again", "bill": "nothing was rented"
    }  # fmt: skip


def test_a_bug_is_told_too(jobs: Jobs) -> None:
    job = jobs.begin("rent", None, "rent", lambda job: {}["x"])
    assert job.over.wait(BOUND_S)
    assert job.error is not None
    assert job.error["reason"] == "InternalError"


def test_interrupt_wakes_a_wait(jobs: Jobs) -> None:
    waiting = threading.Event()

    def work(job: Job) -> None:
        waiting.set()
        try:
            job.sleep(BOUND_S)
        except KeyboardInterrupt:
            raise Cancelled("cancelled", bill="confirmed: nothing is rented") from None

    job = jobs.begin("rent", None, "rent", work)
    assert waiting.wait(BOUND_S)
    job.interrupt()
    assert job.over.wait(BOUND_S)
    assert job.state == "cancelled"
    assert job.error is not None
    assert job.error["bill"] == "confirmed: nothing is rented"


def test_each_interrupt_is_raised_once_and_only_in_the_jobs_thread(jobs: Jobs) -> None:
    seen: list[str] = []
    go = threading.Event()

    def work(job: Job) -> None:
        job._break.set()
        other = threading.Thread(target=lambda: job.say("from a helper"))
        other.start()
        other.join()
        seen.append("helper was spared")
        with pytest.raises(KeyboardInterrupt):
            job.say("now")
        job.say("and once more")
        seen.append("went on")
        go.set()

    job = jobs.begin("rent", None, "rent", work)
    assert job.over.wait(BOUND_S)
    assert seen == ["helper was spared", "went on"]


def test_the_second_of_a_kind_joins_the_first(jobs: Jobs) -> None:
    hold = threading.Event()
    ran: list[int] = []

    def work(job: Job) -> None:
        ran.append(1)
        hold.wait(BOUND_S)

    one = jobs.begin("down", "s1", "down", work)
    assert jobs.begin("down", "s1", "down", work) is one
    other = jobs.begin("down", "s2", "down", work)
    assert other is not one
    assert jobs.begin("stop", "s1", "stop", work) is not one
    hold.set()
    assert one.over.wait(BOUND_S)
    assert other.over.wait(BOUND_S)
    again = jobs.begin("down", "s1", "down", work)
    assert again is not one
    assert again.over.wait(BOUND_S)
    assert len(ran) == 4


def test_too_many_are_refused_and_the_ended_are_forgotten(jobs: Jobs) -> None:
    hold = threading.Event()
    begun = [jobs.begin("rent", None, "rent", lambda job: hold.wait(BOUND_S) and None) for _ in range(MOST)]
    with pytest.raises(Busy):
        jobs.begin("rent", None, "rent", lambda job: None)
    hold.set()
    for job in begun:
        assert job.over.wait(BOUND_S)
    last = jobs.begin("rent", None, "rent", lambda job: None)
    assert last.over.wait(BOUND_S)
    assert len(jobs.listed()) <= KEPT + 1
    with pytest.raises(UnknownJob):
        jobs.get(begun[0].id)


def test_one_that_waits_for_its_turn_can_be_cancelled(jobs: Jobs) -> None:
    hold = threading.Event()
    begun = [jobs.begin("rent", None, "rent", lambda job: hold.wait(BOUND_S) and None) for _ in range(16)]
    ran: list[int] = []
    late = jobs.begin("rent", None, "rent", lambda job: ran.append(1))
    late.interrupt()
    hold.set()
    for job in [*begun, late]:
        assert job.over.wait(BOUND_S)
    assert (late.state, ran) == ("cancelled", [])
