from __future__ import annotations

import json

import pytest

from gpunb.agent.shared.comm_state import Models, parse


def opened(comm_id="a", state=None, paths=(), buffers=()):
    data = {"state": {} if state is None else state, "buffer_paths": [list(path) for path in paths]}
    return (
        "comm_open",
        {"comm_id": comm_id, "target_name": "jupyter.widget", "data": data},
        {"version": "2"},
        buffers,
    )


def update(comm_id="a", state=None, paths=(), buffers=(), method="update"):
    data = {"method": method, "state": state or {}, "buffer_paths": [list(path) for path in paths]}
    return "comm_msg", {"comm_id": comm_id, "data": data}, {}, buffers


def test_an_opening_leads_to_what_is_now():
    models = Models()
    models.take(*opened(state={"value": 1, "max": 9}))
    models.take(*update(state={"value": 2}))
    models.take(*update(state={"value": 3}, method="echo_update"))
    models.take("comm_msg", {"comm_id": "a", "data": {"method": "custom", "content": {"value": 4}}}, {}, [])
    ((content, metadata, buffers),) = models.openings()
    assert content["data"]["state"] == {"value": 3, "max": 9}
    assert (metadata, buffers) == ({"version": "2"}, [])
    again = Models()
    again.take("comm_open", content, metadata, buffers)
    assert list(again.openings()) == [(content, metadata, buffers)]


def test_buffers_go_with_their_keys():
    models = Models()
    models.take(*opened(state={"d": {"n": 1}}, paths=[("d", "a"), ("p",)], buffers=[b"one", b"two"]))
    models.take(*update(paths=[("p",)], buffers=[memoryview(b"three")]))
    ((content, _, buffers),) = models.openings()
    found = dict(zip(map(tuple, content["data"]["buffer_paths"]), buffers, strict=True))
    assert found == {("d", "a"): b"one", ("p",): b"three"}
    models.take(*update(state={"d": {"n": 2}}))  # the key's whole value is new
    models.take(*update(state={"p": None}))
    ((content, _, buffers),) = models.openings()
    assert content["data"]["state"] == {"d": {"n": 2}, "p": None}
    assert buffers == []


def test_closed_and_unknown_comms_leave_nothing():
    models = Models()
    models.take(*update(comm_id="nobody", state={"value": 1}))
    models.take(*opened())
    models.take("comm_close", {"comm_id": "a"}, {}, [])
    assert not models.open


def test_comms_of_other_targets_keep_their_opening():
    models = Models()
    models.take("comm_open", {"comm_id": "x", "target_name": "mine", "data": {"n": 1}}, {}, [b"raw"])
    models.take("comm_msg", {"comm_id": "x", "data": {"n": 2}}, {}, [])
    ((content, _, buffers),) = models.openings()
    assert (content["target_name"], content["data"], buffers) == ("mine", {"n": 1}, [b"raw"])


@pytest.mark.parametrize(
    "parts", [[], [b"{}"], [b"nonsense", b"{}"], [b"[]", b"{}"], [b"{}", b"3"], [b"\xff", b"{}"]]
)
def test_what_is_no_comm_message_is_refused(parts):
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own errors are ValueErrors with many texts
        parse(parts)


@pytest.mark.parametrize(
    "data", [None, [], {"state": 3}, {"state": {}, "buffer_paths": "no"}, {"buffer_paths": [3]}]
)
def test_odd_data_is_folded_without_harm(data):
    models = Models()
    models.take("comm_open", {"comm_id": "a", "target_name": "t", "data": data}, {}, [b"x"])
    models.take(
        "comm_msg",
        {"comm_id": "a", "data": {**(data if isinstance(data, dict) else {}), "method": "update"}},
        {},
        [b"y"],
    )
    assert len(list(models.openings())) == 1
    json.dumps([content for content, _, _ in models.openings()])
