"""What the first 288 bytes of an image give away; heads laid out by hand after ESP-IDF's headers."""

from core_helpers import Dice, unhex

from gapcast_core.appimage import chip_id_of, head_fault

ESP32, S3 = 0, 9
# magic, segments 5, DIO, 4 MB; entry; wp pin; drives; chip id 9; revisions; reserved; hash appended
HEADER = unhex("e9050220 84813740 ee000000 0900 00 0000 6300 00000000 01".replace(" ", ""))
SEGMENT = unhex("20000c3c b8230200")  # to 3c0c0020, 140216 bytes
DESCRIPTOR = unhex("3254cdab 00000000 0000000000000000") + b"v1.25.0" + bytes(233)
APP = HEADER + SEGMENT + DESCRIPTOR
# ESP-IDF 5's boot loader has a descriptor of its own, which begins with 50
LOADER = APP[:32] + unhex("50000000 01000000") + APP[40:]


def with_bytes(head, offset, text):
    new = unhex(text)
    return head[:offset] + new + head[offset + len(new) :]


def test_an_application():
    assert len(APP) == 288
    assert chip_id_of(APP) == chip_id_of(APP[:14]) == S3
    assert head_fault(APP, S3) is None
    assert head_fault(bytearray(APP + b"more"), S3) is None
    assert head_fault(memoryview(APP), S3) is None


def test_another_chip():
    assert head_fault(APP, ESP32) == "wrong_chip"
    assert head_fault(with_bytes(APP, 12, "0000"), ESP32) is None
    assert head_fault(with_bytes(APP, 12, "0901"), S3) == "wrong_chip"
    assert chip_id_of(with_bytes(APP, 12, "0901")) == 0x109


def test_a_boot_loader_first():
    assert head_fault(LOADER, S3) == "merged_image"
    assert head_fault(b"\xff" * 288, S3) == "merged_image"
    assert head_fault(bytes(288), S3) == "merged_image"
    for offset in range(32, 36):
        assert head_fault(APP[:offset] + b"\x01" + APP[offset + 1 :], S3) == "merged_image"


def test_something_else():
    for head in (
        b"",
        APP[:287],
        b"\xe9" * 31,
        b"text" * 72,
        b"\xfe" * 288,
        b"\xff" * 287 + b"\0",
        with_bytes(APP, 0, "ea"),
        with_bytes(APP, 1, "00"),
        with_bytes(APP, 1, "11"),
        with_bytes(APP, 28, "ff000000"),  # the descriptor does not fit into the first segment
        with_bytes(APP, 28, "00000000"),
    ):
        assert head_fault(head, S3) == "not_an_app", head
    assert head_fault(with_bytes(with_bytes(APP, 1, "10"), 28, "00010000"), S3) is None


def test_any_bytes_get_an_answer():
    dice = Dice(288)
    for _ in range(500):
        head = bytearray(APP)
        for _ in range(1 + dice.below(3)):
            head[dice.below(40)] = dice.below(256)
        assert head_fault(head, S3) in (None, "merged_image", "not_an_app", "wrong_chip")
