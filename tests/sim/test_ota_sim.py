"""The boot loader of a simulated board: otadata, rollback, and its check of images against ours."""

from __future__ import annotations

import hashlib
import random
import struct
from typing import Any

import pytest
from boot_world import CHIP, SECTOR, World

from gapcast.image.boards import chip_of_board
from gapcast.image.espapp import parse_app
from gapcast.image.espimage import ImageRefused
from gapcast.image.sample import build_sample

IMAGE = build_sample(9000, "1.0.0", CHIP)


@pytest.fixture
def otadata(world: World) -> Any:
    return world.nor("otadata")


def states(world: World, otadata: Any) -> list[tuple[int, int] | None]:
    return [world.ota.read_entry(otadata, index) for index in (0, 1)]


def test_an_entry_is_byte_for_byte_what_esp_idf_writes(world: World, otadata: Any) -> None:
    """The CRC of sequence 1 is 0x4743989a in every ESP-IDF project's otadata."""
    world.ota.write_entry(otadata, 0, 1, world.ota.NEW)
    assert world.read("otadata", 32) == b"\1\0\0\0" + b"\xff" * 20 + b"\0\0\0\0" + b"\x9a\x98\x43\x47"
    world.ota.write_entry(otadata, 1, 2, world.ota.VALID)
    raw = world.read("otadata", SECTOR + 32)[SECTOR:]
    assert struct.unpack("<II", raw[24:]) == (2, 0x55F63774)


def test_blank_otadata_starts_the_first_slot(world: World, otadata: Any) -> None:
    assert world.ota.active(otadata) is None
    assert world.power_on() == 0
    assert states(world, otadata) == [None, None]


def test_a_new_image_is_on_trial_and_then_rolled_back(world: World, otadata: Any) -> None:
    ota = world.ota
    ota.set_boot(otadata, 1)
    assert world.power_on() == 1
    assert ota.active(otadata)[2] == ota.PENDING_VERIFY
    assert world.power_on() == 0
    assert states(world, otadata)[0] == (2, ota.ABORTED)
    assert world.power_on() == 0


def test_a_confirmed_image_stays(world: World, otadata: Any) -> None:
    ota = world.ota
    ota.set_boot(otadata, 1)
    world.power_on()
    world.esp32.Partition.mark_app_valid_cancel_rollback()
    for _again in range(3):
        assert world.power_on() == 1
    assert ota.active(otadata)[2] == ota.VALID
    before = world.read("otadata", 2 * SECTOR)
    world.esp32.Partition.mark_app_valid_cancel_rollback()
    assert world.read("otadata", 2 * SECTOR) == before


def test_updates_alternate_between_slots_and_entries(world: World, otadata: Any) -> None:
    ota = world.ota
    for number in range(1, 6):
        slot = number % 2
        ota.set_boot(otadata, slot)
        assert world.power_on() == slot
        ota.mark_valid(otadata)
    sequences = sorted(entry[0] for entry in states(world, otadata) if entry)
    assert sequences == [5, 6]


def test_a_rolled_back_update_can_be_tried_again(world: World, otadata: Any) -> None:
    ota = world.ota
    ota.set_boot(otadata, 1)
    world.power_on()
    ota.mark_valid(otadata)
    ota.set_boot(otadata, 0)
    assert world.power_on() == 0
    assert world.power_on() == 1
    ota.set_boot(otadata, 0)
    assert world.power_on() == 0


def test_without_an_entry_there_is_nothing_to_confirm(world: World, otadata: Any) -> None:
    assert not world.ota.mark_valid(otadata)
    with pytest.raises(OSError, match="NOT_FOUND") as caught:
        world.esp32.Partition.mark_app_valid_cancel_rollback()
    assert caught.value.args[0] == -261


@pytest.mark.parametrize("at", [0, 1, 28, 31])
def test_a_torn_entry_does_not_count(world: World, otadata: Any, at: int) -> None:
    ota = world.ota
    ota.write_entry(otadata, 0, 1, ota.VALID)
    ota.write_entry(otadata, 1, 2, ota.VALID)
    raw = bytearray(world.read("otadata", SECTOR + 32)[SECTOR:])
    raw[at] ^= 0x41
    otadata.erase(1)
    otadata.program(SECTOR, bytes(raw))
    assert states(world, otadata) == [(1, ota.VALID), None]
    assert world.power_on() == 0


def test_a_power_cut_while_an_entry_is_written_keeps_the_other(world: World, otadata: Any) -> None:
    ota = world.ota
    for cut in range(32):
        ota.write_entry(otadata, 0, 2, ota.VALID)
        ota.write_entry(otadata, 1, 3, ota.NEW)
        raw = world.read("otadata", SECTOR + 32)[SECTOR:]
        otadata.erase(1)
        otadata.program(SECTOR, raw[:cut])
        assert world.power_on() == 1


def test_the_boot_loader_aborts_every_image_on_trial(world: World, otadata: Any) -> None:
    """bootloader_utility.c goes over both entries, not only over the active one."""
    ota = world.ota
    ota.write_entry(otadata, 0, 2, ota.PENDING_VERIFY)
    ota.write_entry(otadata, 1, 3, ota.NEW)
    assert world.power_on() == 0
    assert states(world, otadata) == [(2, ota.ABORTED), (3, ota.PENDING_VERIFY)]


def test_invalid_and_undefined_entries(world: World, otadata: Any) -> None:
    ota = world.ota
    ota.write_entry(otadata, 0, 4, ota.INVALID)
    ota.write_entry(otadata, 1, 3, ota.UNDEFINED)
    assert world.power_on() == 0
    assert ota.active(otadata)[1] == 3


# -- the check of images ------------------------------------------------------------------------


def fault(world: World, data: bytes) -> str | None:
    nor = world.nor("ota_1")
    for sector in range(nor.size_bytes // SECTOR):
        nor.erase(sector)
    nor.program(0, data)
    return world.ota.image_fault(nor)  # type: ignore[no-any-return]


def refusal(data: bytes) -> str | None:
    """What our own parser says, for the reasons that a boot loader knows too."""
    try:
        parse_app(data, CHIP)
    except ImageRefused as error:
        return error.reason
    return None


def test_a_good_image_has_no_fault_and_may_boot(world: World) -> None:
    for size in (2000, 4096, 9001, 70000):
        assert fault(world, build_sample(size, "1.0.0", CHIP)) is None
    world.esp32.Partition("ota_1").set_boot()
    assert world.power_on() == 1


def test_a_blank_slot_may_not_boot(world: World) -> None:
    with pytest.raises(OSError, match="VALIDATE") as caught:
        world.esp32.Partition("ota_1").set_boot()
    assert caught.value.args[0] == -5379
    assert world.power_on() == 0


def test_every_kind_of_damage_is_seen(world: World) -> None:
    cases = {
        "no image header": (0, b"\xea"),
        "bad segment count": (1, b"\0"),
        "image for another chip": (12, b"\5"),
        "segment beyond the slot": (28, b"\xff\xff\xff\x7f"),
    }
    for text, (at, raw) in cases.items():
        assert fault(world, IMAGE[:at] + raw + IMAGE[at + len(raw) :]) == text
    many = bytearray(IMAGE)
    many[1] = 17
    assert fault(world, bytes(many)) == "bad segment count"
    chip = chip_of_board("ESP32_GENERIC_C3") if CHIP.chip_id == 0 else None
    if chip:
        assert fault(world, build_sample(9000, "1.0.0", chip)) == "image for another chip"


def test_any_flipped_bit_that_our_parser_refuses_is_seen(world: World) -> None:
    dice = random.Random(2)
    places = [
        *range(40),
        *range(len(IMAGE) - 60, len(IMAGE)),
        *(dice.randrange(len(IMAGE)) for _ in range(60)),
    ]
    for at in places:
        data = bytearray(IMAGE)
        data[at] ^= 1 << dice.randrange(8)
        ours = refusal(bytes(data))
        if ours in ("no_descriptor", "no_hash"):  # a boot loader does not ask for these
            continue
        assert (fault(world, bytes(data)) is None) == (ours is None), (at, ours)


@pytest.mark.parametrize("size", [0, 1, 23, 24, 31, 300, 5000, len(IMAGE) - 41])
def test_a_cut_image_is_seen(world: World, size: int) -> None:
    assert refusal(IMAGE[:size]) is not None
    assert fault(world, IMAGE[:size]) is not None


def test_a_segment_that_is_not_whole_words_is_refused(world: World) -> None:
    """esp_image_format.c: "unaligned segment length"; our parser says bad_segments."""
    body = IMAGE[32 : 32 + 301]
    image = IMAGE[:28] + struct.pack("<I", 301) + body
    image += bytes(15 - len(image) % 16)
    checksum = 0xEF
    for byte in body:
        checksum ^= byte
    image += bytes([checksum])
    image += hashlib.sha256(image).digest()
    assert refusal(image) == "bad_segments"
    assert fault(world, image) is not None


def test_an_image_without_a_hash_is_judged_by_its_checksum(world: World) -> None:
    data = bytearray(IMAGE)
    data[23] = 0
    assert fault(world, bytes(data)) is None
    data[400] ^= 1
    assert fault(world, bytes(data)) == "checksum"


def test_the_application_is_read_from_flash(world: World) -> None:
    sim_app: Any = world.modules["sim_app"]
    slot = world.esp32.Partition("ota_1")
    with pytest.raises(sim_app.NoApplicationError):
        sim_app.read_source(slot)
    slot.writeblocks(0, IMAGE, 0)
    assert "1.0.0" in sim_app.read_source(slot)
    slot.writeblocks(0, b"\0", 288 + 60)
    with pytest.raises(sim_app.NoApplicationError, match="damaged"):
        sim_app.read_source(slot)
