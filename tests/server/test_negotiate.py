"""RRQs and their options: RFC 1350, 2347, 2348, 2349, 7440, 2090 and PROTOCOL.md sections 2 to 4."""

from __future__ import annotations

import pytest

from gapcast.protocol.negotiate import can_multicast, plan_join, plan_unicast, read_request
from gapcast_core import wire
from gapcast_core.errors import PeerError


def rrq(*pairs: tuple[str, str], mode: str = "octet") -> bytes:
    packed: bytes = wire.pack_request(wire.OP_RRQ, "f", list(pairs), mode)
    return packed


@pytest.mark.parametrize(
    ("data", "reason", "code"),
    [
        (b"", "short", 4),
        (b"\0", "short", 4),
        (b"\0\1", "no_mode", 4),
        (b"\0\1f\0octet", "no_final_nul", 4),
        (b"\0\1f\0octet\0blksize\0", "option_without_value", 8),
        (b"\0\1f\0octet\0blksize\x00512\0BLKSIZE\x00512\0", "duplicate_option", 8),
        (b"\0\1f\0octet\0" + b"x\0y\0" * 17, "too_many_options", 8),
        (b"\0\1" + b"f" * 600 + b"\0octet\0", "request_too_long", 4),
        (b"\0\1\xff\xfe\0octet\0", "bad_text", 4),
        (b"\0\2f\0octet\0", "write_request", 2),
        (b"\0\1f\0netascii\0", "mode", 4),
        (b"\0\1f\0mail\0", "mode", 4),
        (b"\0\7f\0octet\0", "not_a_request", 4),
    ],
)
def test_bad_requests_have_a_name_and_an_error_code(data: bytes, reason: str, code: int) -> None:
    with pytest.raises(PeerError) as caught:
        read_request(data)
    assert (caught.value.reason, caught.value.code) == (reason, code)


@pytest.mark.parametrize(
    "pair",
    [
        ("blksize", "7"),
        ("blksize", "65465"),
        ("blksize", "abc"),
        ("blksize", ""),
        ("blksize", "+512"),
        ("tsize", "x"),
        ("timeout", "0"),
        ("timeout", "256"),
        ("windowsize", "0"),
        ("windowsize", "65536"),
        ("multicast", "224.0.0.1,1,1"),
        ("ranges", ""),
    ],
)
def test_values_outside_the_grammar_are_error_8(pair: tuple[str, str]) -> None:
    with pytest.raises(PeerError) as caught:
        read_request(rrq(pair))
    assert caught.value.code == 8


def test_ranges_with_a_list_and_multicast_exclude_each_other() -> None:
    with pytest.raises(PeerError):
        read_request(rrq(("multicast", ""), ("ranges", "1-3")))


def test_the_oack_has_the_known_options_in_the_order_asked() -> None:
    asked = rrq(
        ("TSIZE", "0"), ("whatever", "1"), ("windowsize", "1000"), ("timeout", "3"), ("BlkSize", "1428")
    )
    plan = plan_unicast(read_request(asked), 5000)
    assert plan.oack == b"\0\6tsize\x005000\0windowsize\x0064\0timeout\x003\0blksize\x001428\0"


def test_without_a_known_option_there_is_no_oack() -> None:
    assert plan_unicast(read_request(rrq(("whatever", "1"))), 5).oack is None
    assert read_request(rrq(mode="OcTeT")).blksize == 512


@pytest.mark.parametrize("ranges", ["0", "5-4", "1,1", "3,2", "11", "1-11", "1,", "a", "1-2-3", "1,2,"])
def test_bad_ranges_are_error_8(ranges: str) -> None:
    request = read_request(rrq(("blksize", "1024"), ("ranges", ranges)))
    with pytest.raises(PeerError) as caught:
        plan_unicast(request, 10 * 1024)
    assert caught.value.code == 8


def test_ranges_beyond_65535_blocks_are_cut_to_a_prefix() -> None:
    request = read_request(rrq(("blksize", "8"), ("ranges", "1-60000,60002-70000,80000")))
    plan = plan_unicast(request, 8 * 100_000)
    assert plan.ranges_text == "1-60000"


@pytest.mark.parametrize(
    ("size", "aware", "possible"),
    [
        (0, False, False),
        (1, False, True),
        (65535 * 8 - 1, False, True),
        (65535 * 8, False, False),
        (65535 * 8, True, True),
        (65535 * 8 + 1, True, False),
    ],
)
def test_multicast_needs_16_bit_block_numbers(size: int, aware: bool, possible: bool) -> None:
    pairs = [("blksize", "8"), ("multicast", "")] + ([("ranges", "")] if aware else [])
    assert can_multicast(read_request(rrq(*pairs)), size) == possible


def test_a_multicast_request_served_by_unicast_loses_multicast_and_ranges() -> None:
    request = read_request(rrq(("blksize", "8"), ("multicast", ""), ("ranges", "")))
    assert plan_unicast(request, 0).oack == b"\0\6blksize\x008\0"


def test_windowsize_with_multicast_is_for_gap_aware_clients_only() -> None:
    pairs = [("multicast", ""), ("windowsize", "4")]
    stock = plan_join(read_request(rrq(*pairs)), 5000)
    aware = plan_join(read_request(rrq(*pairs, ("ranges", ""))), 5000)
    assert (stock.windowsize, aware.windowsize) == (1, 4)
    assert b"windowsize" not in stock.oack(("239.1.1.1", 5), True, "")
    assert b"windowsize\x004\0" in aware.oack(("239.1.1.1", 5), True, "")


def test_a_gap_aware_client_without_windowsize_gets_eight() -> None:
    assert plan_join(read_request(rrq(("multicast", ""), ("ranges", ""))), 5000).windowsize == 8


def test_lacks_is_asked_for_with_multicast_and_ranges() -> None:
    aware = [("blksize", "1024"), ("multicast", ""), ("ranges", "")]
    plan = plan_join(read_request(wire.pack_request(wire.OP_RRQ, "f", [*aware, ("lacks", "")])), 5000)
    group = ("239.192.0.1", 20001)
    assert b"lacks\x00239.194.0.1,64\x00" in plan.oack(group, True, "", "239.194.0.1,64")
    assert b"lacks" not in plan.oack(group, True, "")
    plain = plan_join(read_request(wire.pack_request(wire.OP_RRQ, "f", aware)), 5000)
    assert b"lacks" not in plain.oack(group, True, "", "239.194.0.1,64"), "it was not asked for"


@pytest.mark.parametrize(
    "pairs",
    [
        [("multicast", ""), ("ranges", ""), ("lacks", "1")],
        [("multicast", ""), ("lacks", "")],
        [("ranges", "1-2"), ("lacks", "")],
        [("lacks", "")],
    ],
)
def test_lacks_anywhere_else_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(PeerError) as caught:
        read_request(wire.pack_request(wire.OP_RRQ, "f", pairs))
    assert caught.value.code == 8
