"""Simulated NOR flash, and esp32.Partition over it (facts: esp32-micropython, section 2)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from boot_world import SECTOR, World

SIZE = 8 * SECTOR


@pytest.fixture
def nor(world: World, tmp_path: Path) -> Any:
    nor = world.flash_file.NorFile(str(tmp_path / "nor.bin"), SIZE)
    yield nor
    nor._file.close()


def read(nor: Any, offset: int, size: int) -> bytes:
    data = bytearray(size)
    nor.read(offset, data)
    return bytes(data)


def test_new_flash_is_blank_and_costs_nothing(nor: Any, tmp_path: Path) -> None:
    assert read(nor, 0, SIZE) == b"\xff" * SIZE
    nor.erase(3)
    assert (tmp_path / "nor.bin").stat().st_size == 0


def test_programming_only_clears_bits(nor: Any) -> None:
    nor.program(100, b"\xf0\x0f\xaa")
    nor.program(100, b"\x3c\x3c\x55")
    assert read(nor, 99, 5) == b"\xff\x30\x0c\x00\xff"


def test_erasing_takes_a_whole_sector_and_no_more(nor: Any) -> None:
    nor.program(0, b"\0" * 3 * SECTOR)
    nor.erase(1)
    assert read(nor, 0, 3 * SECTOR) == b"\0" * SECTOR + b"\xff" * SECTOR + b"\0" * SECTOR


def test_the_file_is_as_long_as_the_highest_byte(nor: Any, tmp_path: Path) -> None:
    path = tmp_path / "nor.bin"
    nor.program(5000, b"\1")
    assert path.stat().st_size == 5001
    assert read(nor, 4990, 20) == b"\xff" * 10 + b"\1" + b"\xff" * 9
    nor.program(10, b"\2")
    assert path.stat().st_size == 5001
    nor.erase(1)
    assert read(nor, 0, SIZE) == b"\xff" * 10 + b"\2" + b"\xff" * (SIZE - 11)


def test_flash_outlives_the_power(nor: Any, world: World, tmp_path: Path) -> None:
    nor.program(4000, b"kept")
    again = world.flash_file.NorFile(str(tmp_path / "nor.bin"), SIZE)
    assert read(again, 4000, 4) == b"kept"
    again._file.close()


def test_any_sequence_agrees_with_a_model(nor: Any) -> None:
    dice = random.Random(4)
    model = bytearray(b"\xff" * SIZE)
    for _step in range(400):
        if dice.random() < 0.2:
            sector = dice.randrange(8)
            nor.erase(sector)
            model[sector * SECTOR : (sector + 1) * SECTOR] = b"\xff" * SECTOR
            continue
        size = dice.choice([1, 16, 1000, 1024, 4096, 5000])
        offset = dice.randrange(SIZE - size)
        data = dice.randbytes(size)
        nor.program(offset, data)
        for i, byte in enumerate(data):
            model[offset + i] &= byte
        size = dice.randrange(1, 6000)
        offset = dice.randrange(SIZE - size)
        assert read(nor, offset, size) == model[offset : offset + size]


# -- esp32.Partition ----------------------------------------------------------------------------


@pytest.fixture
def slot(world: World) -> Any:
    return world.esp32.Partition("ota_1")


def contents(slot: Any, block: int, size: int, offset: int = 0) -> bytes:
    data = bytearray(size)
    slot.readblocks(block, data, offset)
    return bytes(data)


def test_the_two_argument_write_erases_first(slot: Any) -> None:
    slot.writeblocks(2, b"\0" * SECTOR)
    slot.writeblocks(2, b"\xa5" * SECTOR)
    assert contents(slot, 2, SECTOR) == b"\xa5" * SECTOR
    slot.writeblocks(1, b"\x5a" * 2 * SECTOR)
    assert contents(slot, 1, 2 * SECTOR) == b"\x5a" * 2 * SECTOR


def test_the_three_argument_write_never_erases(slot: Any) -> None:
    slot.writeblocks(2, b"\xf0", 7)
    slot.writeblocks(2, b"\x3c", 7)
    assert contents(slot, 2, 3, 6) == b"\xff\x30\xff"
    slot.writeblocks(2, b"\x0f", 0)
    slot.writeblocks(2, b"\xff" * SECTOR, 0)
    assert contents(slot, 2, 1) == b"\x0f"


def test_the_three_argument_write_takes_any_length_and_offset(slot: Any) -> None:
    slot.writeblocks(0, b"abc" * 3000, 4095)
    assert contents(slot, 0, 9000, 4095) == b"abc" * 3000
    slot.writeblocks(0, b"x", 5 * SECTOR + 3)
    assert contents(slot, 5, 1, 3) == b"x"


@pytest.mark.parametrize("size", [1, 1024, 4095, 4097])
def test_the_two_argument_write_wants_whole_sectors(slot: Any, size: int) -> None:
    slot.writeblocks(1, b"\0", 0)
    with pytest.raises(OSError, match="INVALID_SIZE") as caught:
        slot.writeblocks(1, b"x" * size)
    assert caught.value.args[0] == -0x104
    assert contents(slot, 1, 1) == b"\0"


def test_nothing_goes_past_the_end(slot: Any) -> None:
    blocks = slot.ioctl(4, 0)
    for call in (
        lambda: slot.writeblocks(blocks, b"x", 0),
        lambda: slot.writeblocks(blocks - 1, b"xx", SECTOR - 1),
        lambda: slot.writeblocks(blocks, b"x" * SECTOR),
        lambda: slot.readblocks(blocks, bytearray(1)),
        lambda: slot.readblocks(blocks - 1, bytearray(2), SECTOR - 1),
        lambda: slot.ioctl(6, blocks),
    ):
        with pytest.raises(OSError, match="INVALID_") as caught:
            call()
        assert caught.value.args[0] in (-0x102, -0x104)
    slot.writeblocks(blocks - 1, b"x", SECTOR - 1)


def test_ioctl_counts_measures_and_erases(world: World, slot: Any) -> None:
    assert slot.ioctl(4, 0) == world.settings["slot_bytes"] // SECTOR
    assert slot.ioctl(5, 0) == SECTOR
    slot.writeblocks(3, b"\0", 9)
    assert slot.ioctl(6, 3) == 0
    assert contents(slot, 3, SECTOR) == b"\xff" * SECTOR
    assert slot.ioctl(99, 0) is None


def test_smaller_blocks_count_and_cannot_be_erased_by_ioctl(world: World) -> None:
    slot = world.esp32.Partition("ota_1", 512)
    assert slot.ioctl(4, 0) == world.settings["slot_bytes"] // 512
    assert slot.ioctl(5, 0) == 512
    assert slot.ioctl(6, 0) == -22
    slot.writeblocks(3, b"at 1536", 0)
    assert contents(world.esp32.Partition("ota_1"), 0, 7, 1536) == b"at 1536"


def test_an_erase_that_does_not_start_at_a_sector_is_refused(world: World) -> None:
    """esp_partition_erase_range: ESP_ERR_INVALID_ARG unless the offset is a multiple of 4096."""
    slot = world.esp32.Partition("ota_1", 512)
    with pytest.raises(OSError, match="INVALID"):
        slot.writeblocks(1, b"x" * SECTOR)


def test_partitions_are_found_by_name_kind_and_role(world: World) -> None:
    partition = world.esp32.Partition
    world.power_on()
    running = partition(partition.RUNNING)
    assert running.info()[:2] == (partition.TYPE_APP, 0x10)
    assert running.info()[4] == "ota_0"
    assert partition(partition.BOOT).info()[4] == "ota_0"
    assert running.get_next_update().info()[4] == "ota_1"
    assert [found.info()[4] for found in partition.find()] == ["ota_0", "ota_1"]
    assert [found.info()[4] for found in partition.find(label="ota_1")] == ["ota_1"]
    assert [found.info()[4] for found in partition.find(subtype=0x11)] == ["ota_1"]
    assert partition.find(partition.TYPE_DATA) == []


def test_a_partition_that_is_not_there_is_enoent(world: World) -> None:
    """esp32_partition_new raises OSError(MP_ENOENT)."""
    with pytest.raises(OSError, match="2") as caught:
        world.esp32.Partition("factory")
    assert caught.value.args[0] == 2


def test_flash_timing_sleeps_as_long_as_the_data_sheet_says(
    world: World, nor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[int] = []
    monkeypatch.setattr(world.flash_file.time, "sleep_us", slept.append)
    nor.program(0, b"x" * 1024)
    nor.erase(0)
    assert slept == []
    world.settings["flash_timing"] = True
    slow = world.flash_file.NorFile(str(tmp_path / "slow.bin"), SIZE)
    slow.program(0, b"x" * 1024)
    slow.erase(0)
    slow._file.close()
    assert slept == [4 * 600, 45000]
