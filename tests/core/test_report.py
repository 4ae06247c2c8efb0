"""Reports against bytes made elsewhere: laid out by hand, the MAC by CPython's own hmac."""

from core_helpers import Dice, misused, refused, survives, unhex

from gapcast_core import report

KEY = bytes(range(32))
CONTENT_ID = bytes(range(16))
# As in PROTOCOL.md section 10, then hmac.digest(KEY, b"gapcast report\0" + id + b"\0" + body, "sha256")
CONFIRMED = unhex(
    "47525031 00000007 02 00 0000 00000005 000102030405060708090a0b0c0d0e0f"
    "322e302e30000000000000000000000000000000000000000000000000000000"
    "45535033325f47454e455249432d4f5441000000000000000000000000000000"
    "4e7d8b3df420b57bb4adc8fc0d317571c0161348cd3393ace29dfcba6f429a4d"
)
ROLLED_BACK = unhex(
    "47525031ffffffff03000018ffffffff00000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "53494d0000000000000000000000000000000000000000000000000000000000"
    "68696e673a205072c3bc66756e67206e61636820363020736db2db90d04f26cc"
    "52c7c0162f8d632c213d88b32ea523552e6184d258646980"
)


def packed(**change):
    """A report; changes by name."""
    fields = {
        "sequence": 7,
        "state": report.CONFIRMED,
        "content_id": CONTENT_ID,
        "version": "2.0.0",
        "board": "ESP32_GENERIC-OTA",
        "counter": 5,
        "reason": "",
    }
    fields.update(change)
    return report.pack_report(
        change.pop("key", KEY),
        change.pop("board_id", "a4cf12f05e68"),
        fields["sequence"],
        fields["state"],
        fields["content_id"],
        fields["version"],
        fields["board"],
        fields["counter"],
        fields["reason"],
    )


def test_golden_vectors():
    assert packed() == CONFIRMED
    other = report.pack_report(
        b"\xff" * 32,
        "bench-7",
        0xFFFFFFFF,
        report.ROLLED_BACK,
        bytes(16),
        "",
        "SIM",
        0xFFFFFFFF,
        "hing: Pr\u00fcfung nach 60 s",
    )
    assert other == ROLLED_BACK


def test_what_was_packed_is_parsed():
    found = report.parse_report(CONFIRMED)
    assert (found.sequence, found.state, found.content_id) == (7, report.CONFIRMED, CONTENT_ID)
    assert (found.version, found.board, found.counter, found.reason) == ("2.0.0", "ESP32_GENERIC-OTA", 5, "")
    assert found.body + found.mac == CONFIRMED
    assert report.report_mac(KEY, "a4cf12f05e68", found.body) == found.mac
    other = report.parse_report(memoryview(ROLLED_BACK))
    assert (other.sequence, other.counter, other.version) == (0xFFFFFFFF, 0xFFFFFFFF, "")
    assert other.reason == "hing: Pr\u00fcfung nach 60 s"


def test_the_mac_depends_on_key_id_and_every_bit():
    found = report.parse_report(CONFIRMED)
    assert report.report_mac(bytes(32), "a4cf12f05e68", found.body) != found.mac
    assert report.report_mac(KEY, "a4cf12f05e69", found.body) != found.mac
    for bit in range(0, 8 * len(found.body), 61):
        body = bytearray(found.body)
        body[bit // 8] ^= 1 << bit % 8
        assert report.report_mac(KEY, "a4cf12f05e68", bytes(body)) != found.mac


def test_a_reason_is_cut_at_a_character_and_has_no_control_characters():
    assert report.parse_report(packed(reason="a\nb\x1b[31mc\x7f\x85")).reason == "a?b?[31mc??"
    for width, char in ((1, "x"), (2, "\u00e9"), (3, "\u20ac"), (4, "\U0001f4a5")):
        for shift in range(4):
            text = "." * shift + char * 201
            data = packed(reason=text)
            kept = report.parse_report(data).reason
            assert text.startswith(kept)
            assert len(kept.encode()) == len(data) - report.MIN_BYTES
            assert 200 - width < len(kept.encode()) <= 200
    assert len(packed(reason="x" * 1000)) == report.MAX_BYTES < 512


def test_long_and_odd_names_are_cut_and_replaced():
    found = report.parse_report(packed(version="v" * 40, board="B\u00f6ard\n"))
    assert (found.version, found.board) == ("v" * 32, "B?ard?")


def test_misuse():
    misused(packed, key=bytes(31))
    misused(packed, key=b"")
    misused(packed, content_id=bytes(15))
    misused(packed, sequence=0)
    misused(packed, sequence=1 << 32)
    misused(packed, counter=-1)
    misused(packed, counter=1 << 32)
    misused(packed, state=0)
    misused(packed, state=6)
    for board_id in BAD_IDS:
        misused(packed, board_id=board_id)
        misused(report.report_name, board_id)


BAD_IDS = ["", "A", "a b", "a/b", "..", "a.b", "a_b", "\u00e4", "a\0", "a\n", "x" * 33]


def test_only_one_name_form_may_be_written():
    for board_id in ("a", "a4cf12f05e68", "-", "0", "x" * 32):
        assert report.parse_name(report.report_name(board_id)) == board_id
    for board_id in BAD_IDS:
        assert refused("write_request", report.parse_name, "report/" + board_id) == 2
    for name in ("", "report", "reports/a", "/report/a", "report//a", "./report/a", "Report/a", "a", "gap/a"):
        assert refused("write_request", report.parse_name, name) == 2


def test_bad_reports_are_refused():
    for length in range(report.MIN_BYTES):
        refused("bad_length", report.parse_report, CONFIRMED[:length])
    refused("bad_length", report.parse_report, CONFIRMED + b"x")
    refused("bad_length", report.parse_report, bytes(report.MAX_BYTES + 1))
    refused("bad_magic", report.parse_report, b"GRP2" + CONFIRMED[4:])
    for place, value, reason in (
        (8, 0, "bad_format"),
        (8, 6, "bad_format"),
        (9, 1, "bad_format"),
        (7, 0, "bad_format"),
        (10, 1, "bad_length"),
        (11, 201, "bad_length"),
        (32, 0, "bad_text"),
        (32, 200, "bad_text"),
        (63, 65, "bad_text"),
        (64, 10, "bad_text"),
    ):
        data = bytearray(CONFIRMED)
        data[place] = value
        refused(reason, report.parse_report, bytes(data))
    for junk in (b"\xff", b"\xc3", b"a\nb", b"\x1b", b"\x7f", b"\xc2\x80"):
        data = bytearray(CONFIRMED[:96] + junk + CONFIRMED[96:])
        data[11] = len(junk)
        refused("bad_text", report.parse_report, bytes(data))


def test_damaged_reports_never_surprise():
    dice = Dice(5)
    for _ in range(1500):
        data = bytearray(ROLLED_BACK)
        for _ in range(1 + dice.below(4)):
            data[dice.below(len(data))] = dice.below(256)
        survives(report.parse_report, bytes(data[: dice.below(len(data) + 1)] if dice.percent(20) else data))
