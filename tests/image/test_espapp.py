"""Application images: what we build esptool accepts, and every kind of wrong file is refused by its name."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapcast.errors import OperatorError
from gapcast.image.boards import BOARD_CHIPS, CHIPS, Chip, chip_of_board
from gapcast.image.espapp import Descriptor, build_app, parse_app
from gapcast.image.espimage import ImageRefused
from gapcast_core.appimage import chip_id_of, head_fault
from gapcast_core.container import IMAGE_HEAD_BYTES

ESP32 = CHIPS["esp32"]
DESCRIPTOR = Descriptor(
    "1.2.0", "test", "Jan  1 2026", "12:34:56", "v5.5", secure_version=3, elf_sha256=bytes(range(32))
)
TABLE_ENTRY = struct.Struct("<2sBBII16sI")


def app(chip: Chip = ESP32, payload: bytes = b"payload" * 50) -> bytes:
    return build_app(chip, DESCRIPTOR, payload)


def sealed(image: bytearray) -> bytes:
    """The image with its SHA-256 put right."""
    return bytes(image[:-32]) + hashlib.sha256(image[:-32]).digest()


def refusal(data: bytes, chip: Chip | None = None) -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        parse_app(data, chip)
    assert caught.value.message
    assert caught.value.hint
    return caught.value


def merged(start: int, app_address: int = 0x10000, leading: bytes = b"") -> bytes:
    """A file for flash offset `start`: a boot loader, the partition table at 0x8000, an application."""
    loader = bytearray(app())
    loader[32:36] = bytes(4)  # a boot loader has no application descriptor
    data = bytearray(b"\xff" * (app_address - start))
    data[: len(leading)] = leading
    data[len(leading) : len(leading) + len(loader)] = loader
    table = TABLE_ENTRY.pack(b"\xaa\x50", 1, 2, 0x9000, 0x4000, b"nvs", 0)
    table += TABLE_ENTRY.pack(b"\xaa\x50", 0, 0x10, app_address, 0x100000, b"ota_0", 0)
    data[0x8000 - start : 0x8000 - start + len(table)] = table
    return bytes(data) + app()


@pytest.mark.interop
@pytest.mark.parametrize("chip", CHIPS.values(), ids=lambda chip: chip.name)
def test_esptool_accepts_it(chip: Chip, tmp_path: Path) -> None:
    file = tmp_path / "app.bin"
    file.write_bytes(app(chip))
    command = [sys.executable, "-m", "esptool", "--chip", chip.name, "image-info", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(valid)\nValidation hash: " in done.stdout
    assert done.stdout.count("(valid)") == 2
    for line in ("Project name: test", "App version: 1.2.0", "Compile time: Jan  1 2026 12:34:56"):
        assert line in done.stdout
    assert f"Chip ID: {chip.chip_id} " in done.stdout
    assert "DROM" in done.stdout
    assert "arning" not in done.stdout


def test_what_is_built_comes_back() -> None:
    image = app()
    parsed = parse_app(image, ESP32)
    assert parsed.descriptor == DESCRIPTOR
    assert (parsed.chip, parsed.image_bytes, parsed.trailer_bytes) == ("esp32", len(image), 0)
    assert parsed.digest == image[-32:]
    part = parsed.segments[0]
    assert (part.address, part.offset) == (0x3F400020, 32)
    assert image[32:36] == bytes.fromhex("3254cdab")


def test_bytes_after_the_image_are_not_part_of_it() -> None:
    parsed = parse_app(app() + b"signature")
    assert parsed.trailer_bytes == 9


@given(st.binary(max_size=300))
@settings(max_examples=50)
def test_every_length_gives_whole_lines_and_a_right_checksum(payload: bytes) -> None:
    image = app(payload=payload)
    assert len(image) % 16 == 0
    checksum = 0xEF
    segment = parse_app(image).segments[0]
    for byte in image[segment.offset : segment.offset + segment.size]:
        checksum ^= byte
    assert parse_app(image).checksum == checksum


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF" + bytes(500), b"GAP1" + bytes(500), b"\xff" * 5000, b"PK\3\4"]
)
def test_no_application_at_all(data: bytes) -> None:
    assert refusal(data).reason == "not_an_app"


def test_the_wrong_chip() -> None:
    error = refusal(app(CHIPS["esp32s3"]), ESP32)
    assert error.reason == "wrong_chip"
    assert "esp32s3" in error.message
    unknown = bytearray(app())
    unknown[12] = 0x12
    assert parse_app(sealed(unknown)).chip == "chip 0x12"
    assert refusal(sealed(unknown), ESP32).reason == "wrong_chip"


def test_a_bad_checksum() -> None:
    image = bytearray(app())
    image[400] ^= 1
    assert refusal(bytes(image)).reason == "bad_checksum"
    assert refusal(sealed(image)).reason == "bad_checksum"


def test_a_bad_hash() -> None:
    image = bytearray(app())
    image[3] ^= 0x10  # the checksum covers segments only, not the header
    assert refusal(bytes(image)).reason == "bad_hash"
    image = bytearray(app())
    image[-1] ^= 1
    assert refusal(bytes(image)).reason == "bad_hash"


def test_every_prefix_is_truncated() -> None:
    image = app()
    for size in range(1, len(image)):
        assert refusal(image[:size]).reason == "truncated"


def test_no_hash() -> None:
    image = bytearray(app()[:-32])
    image[23] = 0
    assert refusal(bytes(image)).reason == "no_hash"


def test_no_descriptor() -> None:
    image = bytearray(app())
    image[32] ^= 1
    image[-33] ^= 1  # the checksum
    assert refusal(sealed(image)).reason == "no_descriptor"


def test_wrong_segments() -> None:
    for count in (0, 17, 255):
        image = bytearray(app())
        image[1] = count
        assert refusal(bytes(image)).reason == "bad_segments"
    image = bytearray(app())
    image[28] ^= 1
    assert refusal(bytes(image)).reason == "bad_segments"
    image = bytearray(app())
    image[31] = 0xFF  # nearly 4 GiB
    assert refusal(bytes(image)).reason == "truncated"


@pytest.mark.parametrize("start", [0, 0x1000, 0x2000])
def test_a_merged_image_names_the_way_out(start: int) -> None:
    data = merged(start)
    error = refusal(data)
    assert error.reason == "merged_image"
    offset = 0x10000 - start
    assert f"tail -c +{offset + 1} " in error.hint
    parse_app(data[offset:])


def test_a_merged_image_that_begins_with_erased_flash() -> None:
    assert refusal(merged(0, leading=b"\xff" * 0x1000)).reason == "merged_image"


def test_a_merged_image_without_its_application() -> None:
    error = refusal(merged(0)[:0x9000])
    assert error.reason == "merged_image"
    assert "tail" not in error.hint
    assert refusal(merged(0)[:0x8010]).reason == "merged_image"


def test_an_application_may_hold_the_bytes_of_a_partition_table() -> None:
    image = app(payload=b"\xaa\x50" * 40000)
    assert image[0x8000:0x8002] == b"\xaa\x50"
    parse_app(image, ESP32)


@given(st.binary(max_size=600))
def test_any_bytes_are_refused_by_name(data: bytes) -> None:
    assert refusal(b"\xe9" + data).reason in (
        "truncated",
        "bad_segments",
        "bad_checksum",
        "no_hash",
        "bad_hash",
        "no_descriptor",
    )


@given(st.data())
@settings(max_examples=200)
def test_no_damage_goes_unnoticed(data: st.DataObject) -> None:
    image = bytearray(app())
    offset = data.draw(st.integers(0, len(image) - 1))
    image[offset] ^= data.draw(st.integers(1, 255))
    refusal(bytes(image))


@pytest.mark.parametrize("version", ["", "x" * 32, "ü"])
def test_a_version_that_does_not_fit(version: str) -> None:
    with pytest.raises(OperatorError, match="31 ASCII"):
        build_app(ESP32, Descriptor(version, "p", "", "", ""), b"")


def test_boards() -> None:
    for board, name in BOARD_CHIPS.items():
        assert chip_of_board(board).name == name
    assert chip_of_board("MY_BOARD", "esp32c3").chip_id == 5
    with pytest.raises(OperatorError, match="--chip"):
        chip_of_board("MY_BOARD")


@pytest.mark.parametrize("chip", CHIPS.values(), ids=lambda chip: chip.name)
def test_the_board_judges_the_head_as_the_host_does(chip: Chip) -> None:
    head = app(chip)[:IMAGE_HEAD_BYTES]
    assert chip_id_of(head) == chip.chip_id
    assert head_fault(head, chip.chip_id) is None
    for other in CHIPS.values():
        if other is not chip:
            assert head_fault(head, other.chip_id) == "wrong_chip"


def test_the_board_sees_a_boot_loader_too() -> None:
    for start, leading in ((0, b""), (0x1000, b""), (0, b"\xff" * 0x1000)):
        data = merged(start, leading=leading)
        assert refusal(data).reason == "merged_image"
        assert head_fault(data[:IMAGE_HEAD_BYTES], ESP32.chip_id) == "merged_image"
    assert head_fault(b"MZ" + bytes(286), ESP32.chip_id) == refusal(b"MZ" + bytes(286)).reason == "not_an_app"


def test_a_terminal_obeys_no_descriptor() -> None:
    image = bytearray(app())
    for start in (48, 80, 112, 128, 144):
        image[start : start + 6] = b"\x1b[2J\r\n"
    checksum_at = len(image) - 33
    image[checksum_at] = 0
    body = image[32 : 32 + struct.unpack_from("<I", image, 28)[0]]
    for byte in body:
        image[checksum_at] ^= byte
    image[checksum_at] ^= 0xEF
    descriptor = parse_app(sealed(image)).descriptor
    for text in (descriptor.version, descriptor.project, descriptor.date, descriptor.time, descriptor.idf):
        assert text.startswith("\ufffd[2J\ufffd\ufffd")
        assert text.isprintable()
