"""Vast's instance rows: states, addresses, prices."""

from __future__ import annotations

import pytest

from gpunb.errors import BadAnswer
from gpunb.providers.base import InstanceState as S
from gpunb.providers.vast.instances import InstanceRow, endpoints, map_instance

ROW = {
    "id": 9,
    "label": "gpunb-a",
    "actual_status": "running",
    "cur_state": "running",
    "next_state": "running",
    "intended_status": "running",
    "status_msg": "",
    "is_bid": False,
    "ssh_host": "ssh4.vast.ai",
    "ssh_port": 30000,
    "public_ipaddr": "198.51.100.7\n",
    "ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "20001"}]},
    "image_runtype": "ssh_direc ssh_proxy",
    "dph_total": 0.52,
    "dph_base": 0.5,
    "disk_space": 100.0,
    "storage_cost": 0.144,
    "start_date": 1.8e9,
}


def mapped(**changes):
    return map_instance({**ROW, **changes})


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, S.RUNNING),
        ({"actual_status": None}, S.CREATING),
        ({"actual_status": "created"}, S.CREATING),
        ({"actual_status": "loading", "status_msg": "Pulling fs layer"}, S.CREATING),
        ({"actual_status": "rebooting"}, S.CREATING),
        ({"actual_status": "recycling"}, S.CREATING),
        ({"actual_status": "offline"}, S.OFFLINE),
        ({"actual_status": "unknown"}, S.UNKNOWN),
        ({"actual_status": "frozen"}, S.UNKNOWN),
        # for some seconds after a start or a reboot; the provider takes it for a failure after a minute
        ({"actual_status": "exited"}, S.CREATING),
        ({"actual_status": "exited", "intended_status": "stopped"}, S.STOPPED),
        ({"actual_status": "scheduling"}, S.STOPPED),
        ({"actual_status": "a new word"}, S.UNKNOWN),
        # dstack: stopped is when all three agree
        ({"actual_status": "exited", "cur_state": "stopped", "intended_status": "stopped"}, S.STOPPED),
        ({"actual_status": None, "cur_state": "stopped", "intended_status": "stopped"}, S.STOPPED),
        # asked to run and not running: somebody else has its GPU
        ({"actual_status": "exited", "cur_state": "stopped", "intended_status": "running"}, S.STOPPED),
        # an interruptible one is outbid then
        ({"is_bid": True, "actual_status": "exited", "cur_state": "stopped"}, S.INTERRUPTED),
        (
            {
                "is_bid": True,
                "actual_status": "stopped",
                "cur_state": "stopped",
                "intended_status": "stopped",
                "status_msg": "Outbid",
            },
            S.INTERRUPTED,
        ),
        # a stop that has not happened yet is still billed
        ({"intended_status": "stopped"}, S.RUNNING),
        ({"intended_status": "destroyed", "actual_status": "stopped"}, S.ENDING),
        ({"actual_status": "created", "status_msg": "Error: OCI runtime create failed: x"}, S.FAILED),
        ({"actual_status": "loading", "status_msg": "Unable to find image 'x/ssh' locally"}, S.FAILED),
    ],
)
def test_four_words_make_one_state(changes, state):
    found = mapped(**changes)
    assert found.state is state
    if state is not S.RUNNING:
        assert found.host == ""


def test_frozen_says_that_the_gpu_is_billed():
    assert "billed" in mapped(actual_status="frozen").message


def test_host_and_port_are_a_pair():
    # skypilot pairs ssh_host with the direct port; public_ipaddr ends in a line end (vast-cli#75)
    row = InstanceRow.model_validate(ROW)
    assert endpoints(row) == [("198.51.100.7", 20001), ("ssh4.vast.ai", 30000)]
    assert endpoints(row, "proxy") == [("ssh4.vast.ai", 30000)]
    assert endpoints(row, "direct") == [("198.51.100.7", 20001)]
    found = mapped()
    assert (found.host, found.port, found.user) == ("198.51.100.7", 20001, "root")
    assert (mapped(ports=None).host, mapped(ports=None).port) == ("ssh4.vast.ai", 30000)


def test_jupyter_takes_the_proxy_s_port_and_ssh_the_next():
    # vast-cli#79, off by one
    row = InstanceRow.model_validate({**ROW, "ports": None, "image_runtype": "jupyter_proxy ssh_proxy"})
    assert endpoints(row) == [("ssh4.vast.ai", 30001)]


@pytest.mark.parametrize(
    "ports",
    [
        {},
        {"22/tcp": None},
        {"22/tcp": []},
        {"22/tcp": [{}]},
        {"22/tcp": [{"HostPort": "x"}]},
        {"22/tcp": ["y"]},
        "z",
    ],
)
def test_odd_ports_fall_back_to_the_proxy(ports):
    assert mapped(ports=ports).host == "ssh4.vast.ai"


def test_ports_that_are_open_and_an_address_that_is_none():
    bindings = [{"HostIp": "0.0.0.0", "HostPort": "40512"}, {"HostIp": "::", "HostPort": "40512"}]
    ports = {**ROW["ports"], "8000/tcp": bindings, "9000/udp": bindings, "40513/tcp": [{"HostPort": 40513}]}
    assert mapped(ports=ports).ports == {
        "8000/tcp": "198.51.100.7:40512",
        "9000/udp": "198.51.100.7:40512",
        "40513/tcp": "198.51.100.7:40513",
    }
    assert mapped(ports=ports, public_ipaddr="2001:db8::7").ports["8000/tcp"] == "[2001:db8::7]:40512"
    # a host's own words become a link in the notebook
    for odd in ('evil/" onmouseover="x', "a b", "javascript:alert(1)", "", "a@b", "a/b", "a?b"):
        assert mapped(ports=ports, public_ipaddr=odd).ports == {}
    for odd in (
        {"8000/tcp": None},
        {"x/tcp": bindings},
        {"8000/tcp": [{"HostPort": "70000"}]},
        {"8000/tcp": [3]},
    ):
        assert mapped(ports=odd).ports == {}


def test_prices_running_and_stopped():
    found = mapped()
    assert found.usd_h == 0.52
    assert found.stopped_usd_h == pytest.approx(100 * 0.144 / 720)
    assert mapped(storage_total_cost=0.02).stopped_usd_h == 0.02
    assert mapped(dph_total=None).usd_h == pytest.approx(0.5 + 0.02)


def test_odd_values_do_not_lose_the_row():
    found = mapped(
        start_date="yesterday", dph_base={}, label=None, ssh_port="many", is_bid="perhaps", extra=1
    )
    assert found.id == "9"
    assert found.created is None
    assert found.raw["extra"] == 1


@pytest.mark.parametrize("raw", [{}, {"id": None}, {"id": "x"}, None, []])
def test_a_row_without_an_id_is_an_error_that_names_it(raw):
    with pytest.raises(BadAnswer, match="vast: an instance: field"):
        map_instance(raw)
