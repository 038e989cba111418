from __future__ import annotations

import pytest

from gpunb.agent.shared import restart_policy


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("never", ("never", None)),
        ("on-lost", ("on-lost", None)),
        ("on-lost:2", ("on-lost", 2)),
        ("on-failure", ("on-failure", restart_policy.FAILURES)),
        ("on-failure:7", ("on-failure", 7)),
    ],
)
def test_parse(text, found):
    assert restart_policy.parse(text) == found


@pytest.mark.parametrize(
    "text", ["", "always", "never:1", "on-failure:0", "on-failure:-1", "on-lost:", "on-lost:x"]
)
def test_what_is_no_policy_is_named(text):
    with pytest.raises(ValueError, match="restart"):
        restart_policy.parse(text)


@pytest.mark.parametrize(
    ("text", "attempt", "lost", "expected"),
    [
        ("never", 1, True, False),
        ("on-lost", 99, True, True),
        ("on-lost", 1, False, False),
        ("on-lost:2", 2, True, True),
        ("on-lost:2", 3, True, False),
        ("on-failure:1", 1, False, True),
        ("on-failure:1", 2, False, False),
        ("on-failure:1", 1, True, True),
    ],
)
def test_again(text, attempt, lost, expected):
    assert restart_policy.again(text, attempt, lost) is expected


def test_pauses_grow_to_a_minute():
    assert [restart_policy.pause(attempt) for attempt in (1, 2, 3, 4)] == [0.0, 1.0, 2.0, 4.0]
    assert restart_policy.pause(1000) == 60.0
