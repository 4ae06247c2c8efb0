"""Option values: the grammars of PROTOCOL.md sections 3 and 4, and their limits."""

from core_helpers import Dice, misused, refused, survives

from gapcast_core import options
from gapcast_core.options import parse_multicast, parse_number, parse_ranges
from gapcast_core.wire import ERR_OPTION


def test_numbers():
    assert parse_number("0", 0, 5) == 0
    assert parse_number("0000000005", 0, 5) == 5
    assert parse_number("65464", options.BLKSIZE_MIN_BYTES, options.BLKSIZE_MAX_BYTES) == 65464
    assert parse_number("4294967295", 0, 0xFFFFFFFF) == 0xFFFFFFFF


def test_what_is_no_number():
    for text in (
        "",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1.0",
        "0x10",
        "1e3",
        "1_0",
        "\u0661",
        "\xb2",
        "00000000001",
        "9" * 5000,
        "a",
    ):
        assert refused("bad_number", parse_number, text, 0, 0xFFFFFFFF) == ERR_OPTION
    refused("bad_number", parse_number, "7", 8, 65464)
    refused("bad_number", parse_number, "65465", 8, 65464)
    refused("bad_number", parse_number, "4294967296", 0, 0xFFFFFFFF)


def test_multicast_in_full():
    assert options.format_multicast("239.192.0.1", 1758, True) == "239.192.0.1,1758,1"
    assert parse_multicast("239.192.0.1,1758,1") == ("239.192.0.1", 1758, True)
    assert parse_multicast("224.100.100.100,65535,0") == ("224.100.100.100", 65535, False)


def test_multicast_short_form():
    # RFC 2090: "Any subsequent OACKs to a client may have an empty multicast address and port fields"
    assert parse_multicast(",,1") == ("", 0, True)
    assert parse_multicast(",,0") == ("", 0, False)


def test_what_is_no_multicast():
    for text in (
        "",
        ",",
        ",,",
        ",,2",
        ",,01",
        ",,,1",
        "239.0.0.1,1758",
        "239.0.0.1,1758,1,",
        "239.0.0.1,1758,x",
    ):
        assert refused("bad_multicast", parse_multicast, text) == ERR_OPTION
    for port in ("", "0", "65536", "-1", "17 58"):
        refused("bad_multicast", parse_multicast, "239.0.0.1,%s,1" % port)
    addresses = (
        "|223.255.255.255|240.0.0.1|10.0.0.1|239.0.0|239.0.0.1.2|239.0.0.256|239.0..1|239.0.0.-1|ff02::1"
    )
    for address in addresses.split("|"):
        text = address + ",1758,1"
        assert refused("bad_multicast", parse_multicast, text) == ERR_OPTION
    refused("bad_multicast", parse_multicast, "." * 60000 + ",1,1")


def test_ranges():
    assert parse_ranges("", 10) == []
    assert parse_ranges("1", 10) == [(1, 1)]
    assert parse_ranges("1-10", 10) == [(1, 10)]
    assert parse_ranges("2,4-6,7,9-10", 10) == [(2, 1), (4, 3), (7, 1), (9, 2)]
    assert parse_ranges("3-3", 10) == [(3, 1)]
    assert parse_ranges("1-65535", 65535) == [(1, 65535)]


def test_what_is_no_ranges():
    beyond = "0;11;1-11;0-3;99999999999"
    out_of_order = "5-3;1-5,5;1-5,3-7;3,1;3,3"
    no_grammar = ",;1,;,1;1,,2;-;1-;-1;1-2-3;1--2;a;1-b; 1;1 -2;1, 2"
    for text in ";".join([beyond, out_of_order, no_grammar]).split(";"):
        assert refused("bad_ranges", parse_ranges, text, 10) == ERR_OPTION
    refused("bad_ranges", parse_ranges, "1", 0)


def test_ranges_have_at_most_128_items():
    items = ["%d" % (2 * i + 1) for i in range(options.MAX_RANGES)]
    assert len(parse_ranges(",".join(items), 65535)) == 128
    refused("bad_ranges", parse_ranges, ",".join(items) + ",65535", 65535)


def test_a_million_items_are_refused_early():
    refused("bad_ranges", parse_ranges, "1," * 1000000, 65535)
    refused("bad_ranges", parse_ranges, "," * 1000000, 65535)
    refused("bad_ranges", parse_ranges, "-" * 1000000, 65535)
    refused("bad_ranges", parse_ranges, "1" * 1000000, 65535)


def test_format_ranges_stops_where_the_room_ends():
    pairs = [(1, 1), (10, 5), (100, 100)]
    assert options.format_ranges(pairs, 480) == ("1,10-14,100-199", 3)
    assert options.format_ranges(pairs, 10) == ("1,10-14", 2)
    assert options.format_ranges(pairs, 1) == ("", 0)
    assert options.format_ranges([], 480) == ("", 0)
    many = [(2 * i + 1, 1) for i in range(1000)]
    assert options.format_ranges(many, 100000)[1] == options.MAX_RANGES
    for room in range(60):
        text, count = options.format_ranges(pairs, room)
        assert len(text) <= room
        assert parse_ranges(text, 65535) == pairs[:count]


def test_format_range_refuses_nonsense():
    misused(options.format_range, 0, 1)
    misused(options.format_range, 1, 0)
    misused(options.format_ranges, [(5, -1)], 100)


def test_the_virtual_file():
    assert options.count_blocks([(3, 2), (10, 1), (20, 3)]) == 6
    assert options.count_blocks([]) == 0


def test_random_ranges_survive_the_trip():
    dice = Dice(7440)
    for _ in range(200):
        pairs = []
        block = 1
        for _ in range(dice.below(20)):
            block += dice.below(50)
            length = 1 + dice.below(30)
            pairs.append((block, length))
            block += length
        text, count = options.format_ranges(pairs, 480)
        assert parse_ranges(text, 65535) == pairs[:count]


def test_random_text_parses_or_is_refused():
    dice = Dice(2349)
    for _ in range(3000):
        text = "".join(["0123456789,-. "[dice.below(14)] for _ in range(dice.below(24))])
        survives(parse_ranges, text, 1000)
        survives(parse_multicast, text)
        survives(parse_number, text, 0, 1000)
