"""Firmware files: the real layout is taken; anything else is refused by name, before a board is touched."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gapcast.cli import cli
from gapcast.errors import OperatorError
from gapcast.image.boards import CHIPS
from gapcast.image.build import build_container
from gapcast.image.espapp import Descriptor
from gapcast.image.espimage import build_image
from gapcast.image.sample import build_sample
from gapcast_tools.boards.bootloader import build_bootloader
from gapcast_tools.boards.definition import BoardDef, load_board
from gapcast_tools.boards.firmware import Firmware, FirmwareRefused, build_merged, load_firmware
from gapcast_tools.boards.table import Entry, Table
from provision.boards_files import BOARDS, ESP32, IDF, MIB, UPSTREAM_OTA, UPSTREAM_PLAIN, micropython, real


def load(data: bytes, tmp_path: Path, board: BoardDef = ESP32) -> Firmware:
    path = tmp_path / "firmware.bin"
    path.write_bytes(data)
    return load_firmware(path, board)


def refusal(data: bytes, tmp_path: Path, board: BoardDef = ESP32) -> FirmwareRefused:
    with pytest.raises(FirmwareRefused) as caught:
        load(data, tmp_path, board)
    assert caught.value.message.startswith(f"{tmp_path}/firmware.bin: ")
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_micropythons_own_file_is_taken(board: BoardDef, tmp_path: Path) -> None:
    data = real(board=board)
    found = load(data, tmp_path, board)
    start = {"esp32": 0x1000, "esp32s2": 0x1000}.get(board.chip, 0)
    assert (found.chip, found.version, found.rollback, found.simulated) == (board.chip, "1.26.0", True, False)
    assert found.flash_bytes == (4 * MIB, 8 * MIB, 16 * MIB)
    assert found.warnings == ()
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert [(part.name, part.offset) for part in found.parts] == [
        ("bootloader", start),
        ("partition table", 0x8000),
        ("app", 0x10000),
    ]
    flash = b"\xff" * start + data
    for part in found.parts:
        assert flash[part.offset : part.offset + len(part.data)] == part.data
    assert len(found.parts[1].data) == 0xC00
    assert found.parts[2].data == micropython(chip=board.chip)


def test_a_file_that_begins_at_0_and_one_padded_to_the_end_are_the_same(tmp_path: Path) -> None:
    plain = load(real(), tmp_path)
    whole = load(b"\xff" * 0x1000 + real() + b"\xff" * 100_000, tmp_path)
    assert whole.parts == plain.parts


def test_what_the_file_has_for_other_partitions_is_not_written(tmp_path: Path) -> None:
    data = bytearray(real())
    data[0xD000 - 0x1000] = 0
    found = load(bytes(data), tmp_path)
    assert [part.name for part in found.parts] == ["bootloader", "partition table", "app"]
    assert found.warnings == ("what it has for the partition 'otadata' is not written",)


def test_a_file_with_a_factory_application_beside_two_slots(tmp_path: Path) -> None:
    entries = (Entry("factory", 0, 0, 0x310000, 0x80000), *UPSTREAM_OTA.entries)
    data = real(table=Table(entries))
    assert load(data, tmp_path).parts[2].offset == 0x10000  # only ota_0 is in the file
    data += b"\xff" * (0x310000 - 0x1000 - len(data)) + micropython(b"1.27.0")
    assert load(data, tmp_path).version == "1.27.0"  # which is what a blank otadata boots


@pytest.mark.parametrize(
    ("version", "found"),
    [(b"1.23.0", "1.23.0"), (b"1.24", "1.24.0"), (b"1.27.0-preview.12.gabc.dirty", "1.27.0")],
)
def test_the_version_is_in_the_banner(version: bytes, found: str, tmp_path: Path) -> None:
    assert load(real(version), tmp_path).version == found


def test_a_preview_of_version_2_is_micropython_too(tmp_path: Path) -> None:
    data = real().replace(b"MicroPython v1.26.0", b"MicroPython (with v2.0 preview) v1.26.0")[: len(real())]
    app = data[0xF000:]
    described = app[32:288]
    again = build_image(CHIPS["esp32"], 0x3F400020, described + app[288:10_000])
    loader = build_bootloader("esp32", IDF, rollback=None)
    assert load(build_merged("esp32", UPSTREAM_OTA, again, loader), tmp_path).version == "1.26.0"


def test_a_table_without_md5_is_written_as_it_is(tmp_path: Path) -> None:
    data = bytearray(real())
    data[0x7000 + 5 * 32 : 0x7000 + 6 * 32] = b"\xff" * 32
    assert load(bytes(data), tmp_path).parts[1].data == bytes(data[0x7000:0x7C00])


def test_or_in_the_descriptor(tmp_path: Path) -> None:
    described = Descriptor("v1.26.1", "micropython", "Aug  9 2025", "12:00:00", IDF).pack()
    app = build_image(CHIPS["esp32"], 0x3F400020, described + bytes(1000))
    loader = build_bootloader("esp32", IDF, rollback=None)
    assert load(build_merged("esp32", UPSTREAM_OTA, app, loader), tmp_path).version == "1.26.1"


def test_a_sample_is_taken_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "fw.bin"
    arguments = ["image", "sample", "--merged", "--board", "ESP32_GENERIC_S3", "--size", "64k"]
    done = CliRunner().invoke(cli, [*arguments, "--version", "1.0.0", "-o", str(path)])
    assert done.exit_code == 0, done.output
    found = load_firmware(path, load_board("ESP32_GENERIC_S3"))
    assert (found.version, found.rollback, found.simulated) == ("1.0.0", True, True)
    assert "simulated" in found.warnings[0]


def test_micropythons_application_needs_a_version_for_a_container() -> None:
    with pytest.raises(OperatorError, match="its version") as caught:
        build_container(micropython(), "x", "ESP32_GENERIC", CHIPS["esp32"])
    assert "--version" in caught.value.hint
    assert build_container(micropython(), "x", "ESP32_GENERIC", CHIPS["esp32"], "1.0").header.version == "1.0"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 70_000,
        b"<html>not found</html>",
        b"\x7fELF" + bytes(100),
        b"UF2\n" + bytes(9),
        bytes(70_000),
    ],
    ids=["empty", "erased", "html", "elf", "uf2", "zeros"],
)
def test_no_firmware_at_all(data: bytes, tmp_path: Path) -> None:
    assert refusal(data, tmp_path).reason == "not_firmware"


def test_an_application_alone(tmp_path: Path) -> None:
    error = refusal(micropython(), tmp_path)
    assert error.reason == "app_image"
    assert ".app-bin" in error.hint
    app = build_sample(20_000, "1.0.0", CHIPS["esp32"])
    assert refusal(build_container(app, "x", "SIM", CHIPS["esp32"]).data, tmp_path).reason == "app_image"


def test_another_chip(tmp_path: Path) -> None:
    s3 = load_board("ESP32_GENERIC_S3")
    error = refusal(real(board=s3), tmp_path)
    assert error.reason == "wrong_chip"
    assert "esp32s3" in error.message
    assert refusal(real(), tmp_path, s3).reason == "wrong_chip"
    assert refusal(b"\xff" * 0x1000 + real(), tmp_path, s3).reason == "wrong_chip"
    mixed = build_merged("esp32", UPSTREAM_OTA, micropython(chip="esp32c3"))
    assert "application is for esp32c3" in refusal(mixed, tmp_path).message
    assert refusal(micropython(chip="esp32c6"), tmp_path).reason == "wrong_chip"


def test_no_two_slots(tmp_path: Path) -> None:
    """MicroPython's own firmware for every generic board but the OTA variant."""
    error = refusal(real(table=UPSTREAM_PLAIN), tmp_path)
    assert error.reason == "no_slots"
    assert "factory" in error.message
    assert "ESP32_GENERIC-OTA" in error.hint
    c3 = load_board("ESP32_GENERIC_C3")
    assert "build boards/ESP32_GENERIC_C3" in refusal(real(board=c3, table=UPSTREAM_PLAIN), tmp_path, c3).hint
    one = Table(tuple(entry for entry in UPSTREAM_OTA.entries if entry.label != "ota_1"))
    assert refusal(real(table=one), tmp_path).reason == "no_slots"
    blind = Table(tuple(entry for entry in UPSTREAM_OTA.entries if entry.label != "otadata"))
    assert "otadata" in refusal(real(table=blind), tmp_path).message


def test_an_application_too_large_for_its_slot(tmp_path: Path) -> None:
    """The standard one, 1.67 MiB, in MicroPython's own slots of 1.5 MiB; ours hold it."""
    app = micropython(size=0x1A2180)
    loader = build_bootloader("esp32", IDF, rollback=None)
    error = refusal(build_merged("esp32", UPSTREAM_OTA, app, loader), tmp_path)
    assert error.reason == "too_large"
    assert "1673 KiB" in error.message
    assert "1536 KiB" in error.message
    for size in ESP32.flash_bytes:
        load(build_merged("esp32", ESP32.table(size), app, loader), tmp_path)


@pytest.mark.parametrize(
    ("label", "changes"),
    [
        ("ota_1", {"offset": 0x191000}),
        ("ota_1", {"offset": 0x180000}),
        ("ota_1", {"size_bytes": 17 * MIB}),
        ("nvs", {"size_bytes": 0x5000}),
        ("ota_1", {"size_bytes": 16 * MIB - 0x190000}),
        ("ota_1", {"size_bytes": 16 * MIB - 0x190000 - 0x10000}),
    ],
    ids=["misaligned", "overlap", "beyond flash", "nvs over otadata", "no file system", "a tiny one"],
)
def test_a_table_that_cannot_work(label: str, changes: dict[str, int], tmp_path: Path) -> None:
    entries = tuple(replace(e, **changes) if e.label == label else e for e in UPSTREAM_OTA.entries)
    assert refusal(real(table=Table(entries)), tmp_path).reason == "bad_table"


def test_a_table_for_larger_flash_tells_for_which(tmp_path: Path) -> None:
    assert load(real(table=ESP32.table(8 * MIB)), tmp_path).flash_bytes == (8 * MIB, 16 * MIB)


def test_too_old_and_none(tmp_path: Path) -> None:
    error = refusal(real(b"1.22.2"), tmp_path)
    assert error.reason == "old_micropython"
    assert "1.22.2" in error.message
    assert "1.23" in error.hint
    assert refusal(real(b"none"), tmp_path).reason == "no_micropython"


def test_every_cut_is_found(tmp_path: Path) -> None:
    whole = real()
    for size in (1, 100, 300, 0x6FFF, 0x7000, 0x7100, 0x7BFF, 0xEFFF, 0xF000, 0xF001, 0xF100, len(whole) - 1):
        assert refusal(whole[:size], tmp_path).reason in ("truncated", "not_firmware"), size


def test_damage_in_any_part_is_found(tmp_path: Path) -> None:
    whole = real()
    for at, reason in [(40, "damaged"), (0x7010, "bad_table"), (0xF000, "damaged"), (0xF050, "damaged")]:
        damaged = bytearray(whole)
        damaged[at] ^= 1
        assert refusal(bytes(damaged), tmp_path).reason == reason, hex(at)


def test_a_file_too_large_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="larger"):
        load(bytes(33 * MIB), tmp_path)
    with pytest.raises(OperatorError, match="cannot read"):
        load_firmware(tmp_path / "none", ESP32)


def test_build_merged_refuses_what_cannot_be_laid_out() -> None:
    with pytest.raises(OperatorError, match="no place"):
        build_merged("esp32", Table(()), micropython())
    with pytest.raises(OperatorError, match="no room"):
        build_merged("esp32", UPSTREAM_OTA, micropython(), bytes(0x8000))


@given(st.lists(st.tuples(st.integers(0, len(real()) - 1), st.binary(min_size=1, max_size=40)), max_size=6))
def test_no_bytes_do_worse_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes]]
) -> None:
    data = bytearray(real())
    for at, new in edits:
        data[at : at + len(new)] = new
    refused_or_good(bytes(data), tmp_path_factory)


ENTRIES = st.builds(
    Entry,
    st.sampled_from(["nvs", "vfs", "", "a", "b"]),
    st.sampled_from([0, 1, 1, 0x40]),
    st.sampled_from([0, 1, 2, 0x10, 0x11, 0x12, 0x81]),
    st.sampled_from([0, 0x8000, 0x9000, 0xD000, 0x10000, 0x190000, 0xFFFFFFFF]),
    st.sampled_from([0, 0x1000, 0x2000, 0x4000, 0x180000, 0xFFFFFFFF]),
)


@given(st.lists(ENTRIES, max_size=6), st.booleans())
def test_no_table_does_worse_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry], added: bool
) -> None:
    lines = Table(tuple(replace(entry, label=entry.label or "x") for entry in entries)).pack()
    lines = lines.replace(b"x".ljust(16, b"\0"), bytes(16))  # a name that is empty, and so cannot be packed
    more = UPSTREAM_OTA.pack()[: 5 * 32] if added else b""
    table = (more + lines[: 32 * len(entries)]).ljust(0xC00, b"\xff")
    data = bytearray(real())
    data[0x7000 : 0x7000 + 0xC00] = table
    refused_or_good(bytes(data), tmp_path_factory)


def refused_or_good(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.bin"
    path.write_bytes(data)
    try:
        found = load_firmware(path, ESP32)
    except FirmwareRefused:
        return
    assert len(found.table.slots) >= 2
    assert len(found.parts) == 3
