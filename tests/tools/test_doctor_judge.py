"""What `gapcast doctor` concludes, from observations written down here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gapcast_tools import doctor_judge as judge
from gapcast_tools.doctor_host import parse_igmp, parse_routes, read_bridges, read_interface
from gapcast_tools.doctor_judge import FAIL, OK, SKIP, WARN, Bridge, GroupTest, Interface, Reply, Route

ETH0 = Interface("eth0", 0x1003, 1500)
LO = Interface("lo", 0x9, 65536)
GROUP = GroupTest("239.192.0.1", 5000, True, expected=8, heard=8)
ALL_OPTIONS = {"blksize": "1468", "tsize": "50000", "timeout": "1", "windowsize": "8"}


@pytest.mark.parametrize(
    ("reason", "level"),
    [
        ("not_found", OK),
        ("refused", OK),
        ("", WARN),
        ("no_server", FAIL),
        ("timeout", FAIL),
        ("protocol", FAIL),
    ],
)
def test_up(reason: str, level: str) -> None:
    finding = judge.judge_up("h:69", reason, "message", "")
    assert finding.level == level
    assert bool(finding.todo) == (level != OK)


@pytest.mark.parametrize(
    ("reply", "level", "says"),
    [
        (Reply("oack", {"multicast": "239.0.0.1,1,1", "ranges": ""}), OK, "Gapcast server"),
        (Reply("oack", {"ranges": ""}), WARN, "without multicast"),
        (Reply("oack", {"multicast": "239.0.0.1,1,1"}), WARN, "RFC 2090"),
        (Reply("oack", {"blksize": "1000"}), WARN, "plain TFTP"),
        (Reply("data", data_bytes=512), WARN, "plain TFTP"),
        (Reply("error", error="File not found", error_code=1), FAIL, "File not found"),
        (Reply("error", error_code=8), FAIL, "8"),
        (Reply("silence"), FAIL, "no answer"),
    ],
)
def test_kind(reply: Reply, level: str, says: str) -> None:
    finding = judge.judge_kind(reply, Reply("silence"))
    assert finding.level == level
    assert says in finding.text
    assert bool(finding.todo) == (level != OK)


def test_a_server_that_drops_empty_values() -> None:
    finding = judge.judge_kind(Reply("silence"), Reply("oack", ALL_OPTIONS))
    assert finding.level == FAIL
    assert "empty value" in finding.text


def test_options() -> None:
    assert judge.judge_options(Reply("oack", ALL_OPTIONS)).level == OK
    only_blksize = judge.judge_options(Reply("oack", {"blksize": "1468"}))
    assert only_blksize.level == OK
    assert "not tsize, timeout, windowsize" in only_blksize.text
    assert judge.judge_options(Reply("oack", {"tsize": "1"})).level == WARN
    assert judge.judge_options(Reply("data", data_bytes=512)).text == "takes no options"
    assert judge.judge_options(Reply("silence")).level == FAIL
    assert judge.judge_options(Reply("error", error="no")).level == FAIL


@pytest.mark.parametrize(
    ("changes", "data_bytes", "level"),
    [
        ({}, 1468, OK),
        ({}, None, FAIL),
        ({"blksize": "512"}, 512, WARN),
        ({"blksize": "1024"}, 1024, OK),
        ({"blksize": "nonsense"}, 512, SKIP),
        ({"tsize": "100"}, 100, SKIP),
        ({"tsize": "1468"}, 1468, OK),
    ],
)
def test_mtu(changes: dict[str, str], data_bytes: int | None, level: str) -> None:
    assert judge.judge_mtu(Reply("oack", ALL_OPTIONS | changes, data_bytes=data_bytes)).level == level
    assert judge.judge_mtu(Reply("data", data_bytes=512)).level == SKIP


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, OK),
        ({"heard": 20}, OK),
        ({"heard": 3}, WARN),
        ({"heard": 0}, FAIL),
        ({"heard": 0, "unicast": 8}, FAIL),
        ({"heard": 0, "is_master": False, "expected": 1}, WARN),
        ({"heard": 5, "is_master": False, "expected": 1}, OK),
        ({"join_error": "No such device"}, FAIL),
        ({"expected": 0, "heard": 0}, SKIP),
    ],
)
def test_group(changes: dict[str, object], level: str) -> None:
    finding = judge.judge_group(dataclasses.replace(GROUP, **changes))  # type: ignore[arg-type]
    assert finding.level == level
    assert bool(finding.todo) == (level != OK)


def test_no_group_is_no_test() -> None:
    assert judge.judge_group(None).level == SKIP


def test_interfaces() -> None:
    def levels(interface: Interface | None) -> list[str]:
        return [finding.level for finding in judge.judge_interface(interface)]

    assert levels(ETH0) == [OK]
    assert levels(LO) == [OK]
    assert levels(None) == [WARN]
    assert levels(Interface("eth0", 0x1002, 1500)) == [FAIL]
    assert levels(Interface("eth0", 0x0003, 1500)) == [FAIL]
    assert levels(Interface("wg0", 0x1003, 1420)) == [OK, WARN]


def test_routes() -> None:
    def levels(server: Route | None, groups: Route | None, interface: Interface | None) -> list[str]:
        return [finding.level for finding in judge.judge_route(server, groups, interface)]

    assert levels(Route("eth0"), Route("eth0", "10.0.0.1"), ETH0) == [OK]
    assert levels(Route("eth0"), None, ETH0) == [WARN]
    assert levels(Route("eth0"), Route("wlan0"), ETH0) == [WARN]
    assert levels(Route("eth0", "10.0.0.1"), Route("eth0"), ETH0) == [WARN, OK]
    assert levels(Route("lo"), None, LO) == []
    assert levels(None, None, None) == []


def test_igmp() -> None:
    def levels(versions: dict[str, int], interface: Interface) -> list[str]:
        return [finding.level for finding in judge.judge_igmp(versions, interface)]

    assert levels({"eth0": 3}, ETH0) == [OK]
    assert levels({"eth0": 2}, ETH0) == [OK]
    assert levels({"eth0": 1}, ETH0) == [WARN]
    assert levels({"lo": 3}, ETH0) == [WARN]
    assert levels({"lo": 3}, LO) == []


def test_bridges() -> None:
    def levels(bridge: Bridge) -> list[str]:
        return [finding.level for finding in judge.judge_bridges([bridge])]

    assert levels(Bridge("br0", 2, snooping=True, querier=False)) == [WARN]
    assert levels(Bridge("br0", 2, snooping=True, querier=True)) == [OK]
    assert levels(Bridge("br0", 2, snooping=False, querier=False)) == [OK]
    assert levels(Bridge("br0", 0, snooping=True, querier=False)) == []


# /proc/net/igmp of Linux 6: the groups themselves stand on lines of their own
IGMP = """Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
4\teth0      :     2      V2
\t\t\t\tFB0000E0     1 0:00000000\t\t1
\t\t\t\t010000E0     1 0:00000000\t\t0
38\tbr-0123456789ab:     1      V3
"""
# /proc/net/route: default by 192.0.2.1, 192.0.2.0/24 on eth0, 239.0.0.0/8 on eth1, and a rejected 10.9.0.0/16
ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
wlan0\t00000000\t020200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth1\t000000EF\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
*\t0000090A\t00000000\t0201\t0\t0\t0\t0000FFFF\t0\t0\t0
"""


def test_the_kernels_igmp_table() -> None:
    assert parse_igmp(IGMP) == {"lo": 3, "eth0": 2, "br-0123456789ab": 3}
    assert parse_igmp("") == {}
    assert parse_igmp("Idx\nnonsense\n4\teth0\n5\teth1 :\n") == {}


def test_the_kernels_routes() -> None:
    assert parse_routes(ROUTES, "192.0.2.9") == Route("eth0")
    assert parse_routes(ROUTES, "198.51.100.7") == Route("eth0", "192.0.2.1")
    assert parse_routes(ROUTES, "239.192.0.1") == Route("eth1")
    assert parse_routes(ROUTES, "10.9.0.1") is None
    assert parse_routes("", "10.9.0.1") is None
    assert parse_routes("header\nshort line\n", "10.9.0.1") is None


def test_the_kernels_interfaces_and_bridges(tmp_path: Path) -> None:
    bridge = tmp_path / "br0"
    for directory in (bridge / "bridge", bridge / "brif" / "veth1"):
        directory.mkdir(parents=True)
    files = {
        "flags": "0x1003",
        "mtu": "1500",
        "bridge/multicast_snooping": "1",
        "bridge/multicast_querier": "0",
    }
    for name, text in files.items():
        (bridge / name).write_text(text + "\n")
    assert read_interface("br0", tmp_path) == Interface("br0", 0x1003, 1500)
    assert read_interface("br1", tmp_path) is None
    assert read_bridges(tmp_path) == [Bridge("br0", 1, snooping=True, querier=False)]
    assert read_bridges(tmp_path / "nowhere") == []
