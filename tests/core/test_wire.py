"""Datagrams against bytes from elsewhere: captured from other programs, or laid out by hand from an RFC."""

from core_helpers import Dice, misused, refused, survives, unhex

from gapcast_core import wire

# atftp 0.8.0 to a server: --option multicast --option "blksize 1024" -g -r fw.gap
RRQ_ATFTP = unhex("0001 66772e67617000 6f6374657400 626c6b73697a6500 3130323400 6d756c74696361737400 00")
# curl 7.88.1: tftp://.../fw.gap
RRQ_CURL = unhex(
    "0001 66772e67617000 6f6374657400 7473697a6500 3000 626c6b73697a6500 35313200 74696d656f757400 3600"
)
# busybox 1.35 tftp -g -r fw.gap -b 1024
RRQ_BUSYBOX = unhex("0001 66772e67617000 6f6374657400 626c6b73697a6500 3130323400 7473697a6500 3000")
# atftpd 0.8.0, asked for multicast, blksize and our `ranges`, which it leaves out
OACK_ATFTPD = unhex(
    "0006 626c6b73697a6500 3130323400 6d756c74696361737400 3233392e3235352e302e312c313735382c3100"
)
# atftpd 0.8.0, asked for a file that it does not have
ERROR_ATFTPD = unhex("0005 0001 46696c65206e6f7420666f756e6400")
# RFC 1350 section 5, figures 5-1 to 5-4; RFC 1350's own mode names in mixed case
WRQ_RFC1350 = unhex("0002 6100 4e6574417363694900")
DATA_RFC1350 = unhex("0003 0102 616263")
ACK_RFC1350 = unhex("0004 fffe")
# RFC 7440 section 2: windowsize in a request
RRQ_RFC7440 = unhex("0001 666f6f62617200 6f6374657400 77696e646f7773697a6500 313600")


def test_requests_of_other_clients():
    assert wire.parse_request(RRQ_ATFTP) == (1, "fw.gap", "octet", [("blksize", "1024"), ("multicast", "")])
    options = [("tsize", "0"), ("blksize", "512"), ("timeout", "6")]
    assert wire.parse_request(RRQ_CURL) == (1, "fw.gap", "octet", options)
    assert wire.parse_request(RRQ_BUSYBOX)[3] == [("blksize", "1024"), ("tsize", "0")]
    assert wire.parse_request(RRQ_RFC7440) == (1, "foobar", "octet", [("windowsize", "16")])


def test_a_write_request_and_a_mode_in_mixed_case():
    assert wire.parse_request(WRQ_RFC1350) == (2, "a", "netascii", [])


def test_packing_gives_the_bytes_of_other_clients():
    assert wire.pack_request(1, "fw.gap", [("blksize", "1024"), ("multicast", "")]) == RRQ_ATFTP
    assert wire.pack_request(1, "foobar", [("windowsize", "16")]) == RRQ_RFC7440
    assert wire.pack_oack([("blksize", "1024"), ("multicast", "239.255.0.1,1758,1")]) == OACK_ATFTPD
    assert wire.pack_error(1, "File not found") == ERROR_ATFTPD
    assert wire.pack_data(0x0102, b"abc") == DATA_RFC1350
    assert wire.pack_ack(0xFFFE) == ACK_RFC1350


def test_answers_of_another_server():
    assert wire.parse_oack(OACK_ATFTPD) == [("blksize", "1024"), ("multicast", "239.255.0.1,1758,1")]
    assert wire.parse_error(ERROR_ATFTPD) == (1, "File not found")
    assert wire.parse_ack(ACK_RFC1350) == 0xFFFE


def test_block_numbers_wrap_at_16_bits():
    assert wire.pack_ack(65536) == wire.pack_ack(0)
    assert wire.pack_data(65537, b"")[2:4] == b"\0\1"


def test_an_ack_is_written_in_place():
    buf = bytearray(b"\xff" * 6)
    wire.pack_ack_into(buf, 0x12345)
    assert bytes(buf) == unhex("0004 2345 ffff")


def test_opcode():
    assert wire.opcode(b"\0\6") == 6
    assert wire.opcode(b"\xff\xff") == 65535
    assert refused("short", wire.opcode, b"") == wire.ERR_ILLEGAL
    assert refused("short", wire.opcode, b"\0") == wire.ERR_ILLEGAL


def test_bytearrays_and_memoryviews_parse_too():
    for kind in (bytearray, memoryview):
        assert wire.parse_request(kind(RRQ_ATFTP))[1] == "fw.gap"
        assert wire.parse_oack(kind(OACK_ATFTPD))[0] == ("blksize", "1024")
        assert wire.parse_error(kind(ERROR_ATFTPD))[0] == 1
        assert wire.parse_ack(kind(ACK_RFC1350)) == 0xFFFE


def test_option_names_in_any_case_and_the_first_lookup():
    parsed = wire.parse_request(b"\0\1f\0OCTET\0BlkSize\x001024\0")
    assert parsed == (1, "f", "octet", [("blksize", "1024")])
    assert wire.option(parsed[3], "blksize") == "1024"
    assert wire.option(parsed[3], "tsize") is None
    assert wire.option([], "tsize") is None


def test_every_refusal_of_a_request():
    illegal, bad_option = wire.ERR_ILLEGAL, wire.ERR_OPTION
    cases = [
        ("short", b"\0", illegal),
        ("not_a_request", DATA_RFC1350, illegal),
        ("not_a_request", unhex("0100 6100 6200"), illegal),
        ("request_too_long", b"\0\1" + b"a" * 510 + b"\0octet\0", illegal),
        ("no_final_nul", b"\0\1f\0octet", illegal),
        ("bad_text", b"\0\1\xff\xfe\0octet\0", illegal),
        ("no_mode", b"\0\1f\0", illegal),
        ("no_mode", b"\0\1", illegal),
        ("no_mode", b"\0\1\0octet\0", illegal),
        ("option_without_value", b"\0\1f\0octet\0tsize\0", bad_option),
        ("too_many_options", b"\0\1f\0octet\0" + b"a\x000\0" * 17, bad_option),
        ("too_many_options", b"\0\1f\0octet\0" + b"\0" * 400, bad_option),
        ("duplicate_option", b"\0\1f\0octet\0tsize\x000\0TSIZE\x001\0", bad_option),
    ]
    for reason, datagram, code in cases:
        assert refused(reason, wire.parse_request, datagram) == code


def test_refusals_of_answers():
    assert refused("not_an_oack", wire.parse_oack, RRQ_ATFTP) == wire.ERR_ILLEGAL
    assert refused("no_final_nul", wire.parse_oack, OACK_ATFTPD[:-1]) == wire.ERR_ILLEGAL
    assert refused("option_without_value", wire.parse_oack, b"\0\6tsize\0") == wire.ERR_OPTION
    assert refused("too_many_options", wire.parse_oack, b"\0\6" + b"\0" * 1000) == wire.ERR_OPTION
    assert refused("duplicate_option", wire.parse_oack, b"\0\6a\x001\0A\x001\0") == wire.ERR_OPTION
    assert refused("bad_text", wire.parse_oack, b"\0\6\xc3\x28\0a\0") == wire.ERR_ILLEGAL
    assert refused("not_an_ack", wire.parse_ack, DATA_RFC1350) == wire.ERR_ILLEGAL
    assert refused("short", wire.parse_ack, b"\0\4\0") == wire.ERR_ILLEGAL
    assert refused("short", wire.parse_error, b"\0\5\0") == wire.ERR_ILLEGAL


def test_an_oack_may_be_empty():
    assert wire.parse_oack(wire.pack_oack([])) == []


def test_what_old_peers_get_wrong_is_tolerated():
    assert wire.parse_ack(ACK_RFC1350 + b"\0\0") == 0xFFFE  # padded
    assert wire.parse_error(b"\0\5\0\0") == (0, "")  # no text at all
    assert wire.parse_error(b"\0\5\0\2no NUL") == (2, "no NUL")
    assert wire.parse_error(b"\0\5\0\2a\xe4\x1bb\0rest") == (2, "a??b")


def test_an_error_text_is_cut():
    datagram = wire.pack_error(0, "x" * 1000)
    assert len(datagram) == 4 + wire.MAX_ERROR_TEXT_BYTES + 1
    assert wire.parse_error(b"\0\5\0\0" + b"y" * 5000) == (0, "y" * wire.MAX_ERROR_TEXT_BYTES)


def test_a_request_has_at_most_512_octets():
    fits = wire.pack_request(1, "a" * (512 - 2 - 1 - 6), [])
    assert len(fits) == 512
    assert wire.parse_request(fits)[1] == "a" * 503
    misused(wire.pack_request, 1, "a" * 504, [])


def test_a_nul_cannot_be_packed():
    misused(wire.pack_request, 1, "a\0b", [])
    misused(wire.pack_request, 1, "a", [("tsize", "0\0")])
    misused(wire.pack_oack, [("a\0", "")])


def test_names_beyond_ascii_survive():
    assert wire.parse_request(wire.pack_request(1, "gerät/ü.gap", []))[1] == "gerät/ü.gap"


def test_every_prefix_parses_or_is_refused():
    for datagram in (
        RRQ_ATFTP,
        RRQ_CURL,
        RRQ_BUSYBOX,
        RRQ_RFC7440,
        WRQ_RFC1350,
        OACK_ATFTPD,
        ERROR_ATFTPD,
        ACK_RFC1350,
    ):
        for size in range(len(datagram) + 1):
            part = datagram[:size]
            for parser in (
                wire.opcode,
                wire.parse_request,
                wire.parse_oack,
                wire.parse_ack,
                wire.parse_error,
            ):
                survives(parser, part)


def test_random_damage_parses_or_is_refused():
    dice = Dice(2090)
    for _ in range(2000):
        datagram = bytearray((RRQ_CURL, OACK_ATFTPD, ERROR_ATFTPD)[dice.below(3)])
        for _ in range(1 + dice.below(6)):
            datagram[dice.below(len(datagram))] = dice.below(256)
        for parser in (wire.parse_request, wire.parse_oack, wire.parse_error, wire.parse_ack):
            survives(parser, datagram)
