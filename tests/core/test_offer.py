"""Requests of a client, and its judgement of the server's first answer (PROTOCOL.md sections 3 and 4)."""

from core_helpers import Dice, misused, refused, survives

from gapcast_core import offer as offers
from gapcast_core import options as opt
from gapcast_core import wire
from gapcast_core.errors import PeerError
from gapcast_core.gaps import MAX_TOTAL_BLOCKS, GapList


def oack(*options):
    return wire.pack_oack(list(options))


def parsed(*options, asked=None):
    return offers.parse_offer(oack(*options), 1024, 8, asked)


def test_an_image_request_asks_for_multicast_and_says_what_it_knows():
    op, name, mode, options = wire.parse_request(offers.image_request("gap/00ff", 1024))
    assert (op, name, mode) == (wire.OP_RRQ, "gap/00ff", "octet")
    assert options == [("blksize", "1024"), ("tsize", "0"), ("multicast", ""), ("ranges", ""), ("lacks", "")]


def test_a_header_is_asked_for_with_multicast_and_without():
    shared, plain = [wire.parse_request(data) for data in offers.head_requests("x.hdr", 1024)]
    assert shared[:3] == plain[:3] == (wire.OP_RRQ, "x.hdr", "octet")
    assert plain[3] == [("blksize", "1024"), ("tsize", "0")]
    assert shared[3] == plain[3] + [("multicast", ""), ("ranges", "")]


def test_a_plain_request_asks_for_nothing_of_ours():
    options = wire.parse_request(offers.plain_request("x", 1024, 8))[3]
    assert options == [("blksize", "1024"), ("tsize", "0"), ("windowsize", "8")]


def test_a_repair_request_lists_gaps_until_it_is_full():
    gaps = GapList(60000)
    for block in range(2, 60000, 2):
        gaps.add(block)
    name = "gap/" + "a" * 32
    request, asked = offers.repair_request(name, 1024, 8, gaps)
    assert len(request) <= wire.MAX_REQUEST_BYTES
    options = wire.parse_request(request)[3]
    assert wire.option(options, "multicast") is None
    text = wire.option(options, "ranges")
    assert opt.parse_ranges(text, 60000) == asked == gaps.ranges()[: len(asked)]
    assert 0 < len(asked) < gaps.gap_count()
    assert len(text) > offers.RANGES_BUDGET_BYTES - 12


def test_a_repair_request_of_one_gap_names_it_whole():
    gaps = GapList(9)
    gaps.add_range(1, 3)
    gaps.add_range(6, 4)
    request, asked = offers.repair_request("f", 1024, 8, gaps)
    assert asked == [(4, 2)]
    assert wire.option(wire.parse_request(request)[3], "ranges") == "4-5"


def test_a_name_too_long_for_a_request_is_our_own_error():
    misused(offers.image_request, "n" * 480, 1024)


def test_the_full_answer_of_our_server():
    offer = parsed(
        ("blksize", "1024"), ("tsize", "5000"), ("multicast", "239.192.0.1,1758,1"), ("ranges", "")
    )
    assert (offer.blksize, offer.size_bytes, offer.window) == (1024, 5000, 8)
    assert (offer.group, offer.port, offer.is_master) == ("239.192.0.1", 1758, True)
    assert offer.gap_aware
    assert not offer.plain
    assert offer.ranges is None
    assert offer.blocks() == 5
    assert offer.final_ack() == 5


def test_a_stock_answer_has_one_final_ack_more_for_an_exact_multiple():
    for size, blocks, final in ((0, 0, 1), (1, 1, 1), (1023, 1, 1), (1024, 1, 2), (1025, 2, 2), (4096, 4, 5)):
        offer = parsed(("blksize", "1024"), ("tsize", str(size)), ("multicast", "239.1.2.3,1758,0"))
        assert not offer.gap_aware
        assert not offer.is_master
        assert offer.window == 1
        assert (offer.blocks(), offer.final_ack()) == (blocks, final)


def test_without_tsize_the_size_is_unknown():
    offer = parsed(("multicast", "239.1.2.3,1758,1"))
    assert offer.size_bytes is None
    assert offer.blocks() is None
    assert offer.blksize == 512
    misused(offer.final_ack)


def test_option_names_come_in_any_case_and_any_order():
    offer = parsed(("RANGES", ""), ("MultiCast", "239.1.2.3,7,0"), ("TSIZE", "1"), ("BlkSize", "512"))
    assert (offer.gap_aware, offer.blksize, offer.size_bytes) == (True, 512, 1)


def test_an_oack_without_options_is_the_default_transfer():
    offer = offers.parse_offer(wire.pack_oack([]), 1024, 8)
    assert (offer.blksize, offer.window, offer.group, offer.plain) == (512, 1, None, False)


def test_a_plain_answer_begins_with_data_1():
    offer = offers.parse_offer(wire.pack_data(1, b"x" * 512), 1024, 8)
    assert offer.plain
    assert (offer.blksize, offer.window, offer.size_bytes, offer.group) == (512, 1, None, None)
    for block in (0, 2, 256, 65535):
        refused("not_an_answer", offers.parse_offer, wire.pack_data(block, b"x"), 1024, 8)
    refused("not_an_answer", offers.parse_offer, b"\0\3\0", 1024, 8)


def test_other_datagrams_are_no_answer():
    for data in (wire.pack_ack(0), offers.plain_request("x", 512, 1), b"\1\6a\0b\0", b"\0\7", b"\0\0"):
        refused("not_an_answer", offers.parse_offer, data, 1024, 8)
    refused("short", offers.parse_offer, b"", 1024, 8)
    refused("short", offers.parse_offer, b"\0", 1024, 8)


def test_an_error_is_a_refusal_that_keeps_its_code_and_text():
    error = None
    try:
        offers.parse_offer(wire.pack_error(1, "no such file"), 1024, 8)
    except PeerError as exc:
        error = exc
    assert error
    assert error.reason == "refused"
    assert (error.error_code, error.error_text) == (1, "no such file")
    refused("short", offers.parse_offer, b"\0\5\0", 1024, 8)


def test_wrong_option_values_are_refused():
    cases = [
        ("blksize", "1025", "bad_number"),
        ("blksize", "7", "bad_number"),
        ("blksize", "", "bad_number"),
        ("blksize", "+8", "bad_number"),
        ("tsize", "-1", "bad_number"),
        ("tsize", "1073741825", "bad_number"),
        ("tsize", "99999999999", "bad_number"),
        ("windowsize", "0", "bad_number"),
        ("windowsize", "9", "bad_number"),
        ("multicast", "", "bad_multicast"),
        ("multicast", ",,1", "bad_multicast"),
        ("multicast", "10.0.0.1,1758,1", "bad_multicast"),
        ("multicast", "239.1.2.3,0,1", "bad_multicast"),
        ("multicast", "239.1.2.3,1758,2", "bad_multicast"),
        ("multicast", "239.1.2,1758,1", "bad_multicast"),
        ("multicast", "239.1.2.3,1758", "bad_multicast"),
        ("timeout", "1", "unrequested_option"),
        ("rollover", "0", "unrequested_option"),
    ]
    for name, value, reason in cases:
        code = refused(reason, offers.parse_offer, oack((name, value)), 1024, 8)
        assert code == wire.ERR_OPTION, name
    huge = oack(("blksize", "8"), ("tsize", str(8 * MAX_TOTAL_BLOCKS + 1)))
    refused("bad_number", offers.parse_offer, huge, 1024, 8)
    refused("duplicate_option", offers.parse_offer, oack(("tsize", "1"), ("TSize", "2")), 1024, 8)
    refused("no_final_nul", offers.parse_offer, b"\0\6tsize\x001", 1024, 8)
    refused("bad_text", offers.parse_offer, b"\0\6tsize\0\xff\xfe\0", 1024, 8)


def test_a_repair_takes_the_list_or_a_prefix_of_it():
    asked = [(2, 1), (5, 3), (9, 1)]
    for text, count in (("2,5-7,9", 3), ("2,5-7", 2), ("2", 1)):
        offer = parsed(("blksize", "1024"), ("ranges", text), asked=asked)
        assert offer.ranges == asked[:count]
        assert not offer.gap_aware


def test_a_server_that_changes_the_list_is_refused():
    asked = [(2, 1), (5, 3), (9, 1)]
    changed = " 1 2-3 2,5-8 2,5-6 5-7 2,9 2,5-7,9,10 9,2 2,2 0 x 2,,9 2-"
    for text in changed.split(" "):
        refused("bad_ranges", offers.parse_offer, oack(("ranges", text)), 1024, 8, asked)


def test_no_echo_of_a_repair_means_a_stock_server():
    offer = parsed(("blksize", "1024"), ("tsize", "9000"), ("windowsize", "8"), asked=[(2, 1)])
    assert offer.ranges is None
    assert offer.blocks() == 9


def test_a_turn_is_told_from_all_else():
    assert offers.is_turn(oack(("multicast", "239.1.2.3,7,1"), ("ranges", "1-9")))
    assert offers.is_turn(oack(("multicast", ",,1")))
    for data in (
        oack(("multicast", "239.1.2.3,7,0")),
        oack(("multicast", "x")),
        oack(("tsize", "1")),
        b"",
        b"\0\6",
        b"\0\6a",
        wire.pack_data(1, b""),
        wire.pack_error(1, ""),
    ):
        assert not offers.is_turn(data)


def test_any_bytes_give_an_offer_or_a_peer_error():
    dice = Dice(20)
    good = oack(
        ("blksize", "1024"), ("tsize", "5000"), ("multicast", "239.192.0.1,1758,1"), ("ranges", "2-3")
    )
    for _try in range(1500):
        data = bytearray(good)
        for _change in range(1 + dice.below(3)):
            data[dice.below(len(data))] = dice.below(256)
        data = bytes(data[: len(data) - dice.below(4)])
        for asked in (None, [(2, 2), (7, 1)]):
            offer = survives(offers.parse_offer, data, 1024, 8, asked)
            if offer:
                assert 8 <= offer.blksize <= 1024
                assert 1 <= offer.window <= 8
                assert offer.ranges is None or offer.ranges == [(2, 2)]
        offers.is_turn(data)
