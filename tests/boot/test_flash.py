"""Where blocks go: slots and memory, whatever the block size (firmware/lib/gapcast_boot/flash.py)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from boot_world import SECTOR, World, make_container

HEADER = 1024


@pytest.fixture
def slot(world: World) -> Any:
    return world.esp32.Partition("ota_1")


def fill(sink: Any, data: bytes, blksize: int, order: random.Random | None = None) -> None:
    offsets = list(range(0, len(data), blksize))
    if order:
        order.shuffle(offsets)
    for offset in offsets:
        sink.write(offset, memoryview(data)[offset : offset + blksize])


def contents(slot: Any, size: int) -> bytes:
    data = bytearray(size)
    slot.readblocks(0, data)
    return bytes(data)


@pytest.mark.parametrize("blksize", [8, 100, 512, 1000, 1023, 1024, 1025, 1428, 4096, 5000, 30000])
def test_blocks_of_any_size_in_any_order_make_the_same_slot(world: World, slot: Any, blksize: int) -> None:
    container = make_container(13000)
    data = bytes(container.data)
    sink = world.flash.SlotSink(slot, container.header)
    fill(sink, data, blksize, random.Random(blksize))
    assert contents(slot, len(data) - HEADER) == data[HEADER:]
    assert sink.table_matches()
    assert list(sink.bad_chunks()) == []


def test_blocks_that_come_twice_do_no_harm(world: World, slot: Any) -> None:
    container = make_container()
    sink = world.flash.SlotSink(slot, container.header)
    fill(sink, bytes(container.data), 1024)
    fill(sink, bytes(container.data), 700)
    assert list(sink.bad_chunks()) == []


def test_each_damaged_chunk_is_found(world: World, slot: Any) -> None:
    container = make_container(20000)
    chunks = container.header.chunks
    assert chunks == 5
    for damaged in range(chunks):
        world.nor("ota_1")
        for sector in range(7):
            slot.ioctl(6, sector)
        sink = world.flash.SlotSink(slot, container.header)
        data = bytearray(container.data)
        for at in (HEADER + damaged * SECTOR, HEADER + damaged * SECTOR + SECTOR - 1):
            copy = bytearray(data)
            copy[at] ^= 0x80
            sink.erase(HEADER, len(data) - HEADER)
            fill(sink, bytes(copy), 1024)
            assert list(sink.bad_chunks()) == [(HEADER + damaged * SECTOR, SECTOR)]


def test_a_damaged_table_is_judged_first(world: World, slot: Any) -> None:
    container = make_container(20000)
    sink = world.flash.SlotSink(slot, container.header)
    data = bytearray(container.data)
    data[HEADER + 5] ^= 1  # a bad chunk too
    data[-1] ^= 1
    fill(sink, bytes(data), 1024)
    payload = container.header.payload_bytes
    assert not sink.table_matches()
    assert list(sink.bad_chunks()) == [(HEADER + payload, container.header.table_bytes)]


def test_what_was_found_right_is_not_read_again(world: World, slot: Any) -> None:
    container = make_container(20000)
    sink = world.flash.SlotSink(slot, container.header)
    damaged = bytearray(container.data)
    damaged[HEADER + 2 * SECTOR] ^= 1
    fill(sink, bytes(damaged), 1024)
    sound = bytearray(1)
    assert list(sink.bad_chunks(sound)) == [(HEADER + 2 * SECTOR, SECTOR)]
    assert sound[0] == 0b11011
    sink.erase(HEADER + 2 * SECTOR, SECTOR)
    assert list(sink.bad_chunks(sound)) == [(HEADER + 2 * SECTOR, SECTOR)]
    sink.write(HEADER + 2 * SECTOR, container.data[HEADER + 2 * SECTOR : HEADER + 3 * SECTOR])
    slot.writeblocks(0, bytes(16), 0)  # nobody does that: it shows that chunk 0 is not looked at
    assert list(sink.bad_chunks(sound)) == []
    assert sound[0] == 0b11111
    assert list(sink.bad_chunks()) == [(HEADER, SECTOR)]


def test_blank_flash_has_no_table(world: World, slot: Any) -> None:
    container = make_container()
    sink = world.flash.SlotSink(slot, container.header)
    assert not sink.table_matches()
    assert len(list(sink.bad_chunks())) == 1


def test_only_sectors_that_are_not_blank_are_erased(
    world: World, slot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = make_container(20000)
    needed = container.header.payload_bytes + container.header.table_bytes
    erased: list[int] = []
    original = world.flash_file.NorFile.erase

    def watch(self: Any, sector: int) -> None:
        erased.append(sector)
        original(self, sector)

    monkeypatch.setattr(world.flash_file.NorFile, "erase", watch)
    sink = world.flash.SlotSink(slot, container.header)
    assert sink.is_blank()
    sink.erase(HEADER, needed)
    assert erased == []
    slot.writeblocks(1, b"\0", 17)
    slot.writeblocks(4, b"\xfe", 4095)
    behind = -(-needed // SECTOR)
    slot.writeblocks(behind, b"keep", 0)
    assert not sink.is_blank()
    sink.erase(HEADER, needed)
    assert erased == [1, 4]
    assert sink.is_blank()
    assert contents(slot, needed) == b"\xff" * needed
    kept = bytearray(4)
    slot.readblocks(behind, kept)
    assert kept == b"keep"


def watch_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the reads from now on."""
    sizes: list[int] = []
    original = world.esp32.Partition.readblocks

    def readblocks(self: Any, block: int, buf: Any, offset: int = 0) -> None:
        sizes.append(len(buf))
        original(self, block, buf, offset)

    monkeypatch.setattr(world.esp32.Partition, "readblocks", readblocks)
    return sizes


def shorten_heap(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for a buffer of a whole sector."""

    def small(size: int) -> bytearray:
        if size >= SECTOR:
            raise MemoryError
        return bytearray(size)

    monkeypatch.setattr(world.flash, "bytearray", small, raising=False)


@pytest.mark.parametrize("short", [False, True])
def test_a_blank_slot_is_read_in_as_few_pieces_as_memory_allows(
    world: World, slot: Any, monkeypatch: pytest.MonkeyPatch, short: bool
) -> None:
    container = make_container(20000)
    sink = world.flash.SlotSink(slot, container.header)
    assert sink.sectors == 6
    if short:
        shorten_heap(world, monkeypatch)
    sizes = watch_reads(world, monkeypatch)
    assert sink.is_blank()
    assert sizes == ([512] * 48 if short else [SECTOR] * 6)


@pytest.mark.parametrize("short", [False, True])
def test_one_bit_anywhere_is_not_blank(
    world: World, slot: Any, monkeypatch: pytest.MonkeyPatch, short: bool
) -> None:
    sink = world.flash.SlotSink(slot, make_container(20000).header)
    if short:
        shorten_heap(world, monkeypatch)
    for at in (0, 511, 512, 1024, 4095, 4096, 9000, 5 * SECTOR, 6 * SECTOR - 512, 6 * SECTOR - 1):
        assert sink.is_blank()
        slot.writeblocks(at // SECTOR, b"\x7f", at % SECTOR)
        assert not sink.is_blank()
        slot.ioctl(6, at // SECTOR)
    slot.writeblocks(6, b"\0", 0)
    assert sink.is_blank(), "what is behind the image does not count"


def test_an_erase_looks_with_the_small_buffer(
    world: World, slot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be needed when the heap is full."""
    container = make_container(20000)
    sink = world.flash.SlotSink(slot, container.header)
    fill(sink, bytes(container.data), 1024)
    shorten_heap(world, monkeypatch)
    sink.erase(HEADER, sink.needed_bytes)
    assert sink.is_blank()


def test_a_repair_erases_only_its_chunk(world: World, slot: Any) -> None:
    container = make_container(20000)
    sink = world.flash.SlotSink(slot, container.header)
    fill(sink, bytes(container.data), 1024)
    sink.erase(HEADER + 2 * SECTOR, SECTOR)
    assert list(sink.bad_chunks()) == [(HEADER + 2 * SECTOR, SECTOR)]
    payload = container.header.payload_bytes
    sink.erase(HEADER + payload, container.header.table_bytes)
    assert list(sink.bad_chunks()) == [(HEADER + payload, container.header.table_bytes)]


def test_an_image_that_does_not_fit_is_refused_to_the_byte(world: World, slot: Any) -> None:
    container = make_container(20000)
    needed = container.header.payload_bytes + container.header.table_bytes
    world.nor("ota_1").size_bytes = needed
    world.flash.SlotSink(slot, container.header)
    world.nor("ota_1").size_bytes = needed - 1
    with pytest.raises(world.flash.FlashError, match=str(needed)):
        world.flash.SlotSink(slot, container.header)
    header = container.header
    buffer = bytearray(SECTOR)
    assert world.flash.table_digest(slot, header.payload_bytes, header.table_bytes, buffer) == b""


def test_a_long_table_is_read_in_pieces(world: World, slot: Any) -> None:
    world.nor("ota_1").size_bytes = 0x200000
    container = make_container(300 * SECTOR)
    assert container.header.table_bytes > SECTOR
    sink = world.flash.SlotSink(slot, container.header)
    fill(sink, bytes(container.data), 65536)
    assert list(sink.bad_chunks()) == []


def test_the_start_of_a_file_in_memory(world: World) -> None:
    data = bytes(range(256)) * 10
    for blksize in (8, 100, 1024, 3000):
        sink = world.flash.RamSink(1024)
        fill(sink, data, blksize, random.Random(1))
        assert bytes(sink.data) == data[:1024]


def test_a_plain_file_is_written_in_any_order(world: World) -> None:
    path = world.folder / "raw.bin"
    data = bytes(range(256)) * 9 + b"end"
    sink = world.flash.FileSink(str(path))
    fill(sink, data, 100, random.Random(3))
    sink.close()
    assert path.read_bytes() == data


def test_the_whole_image_is_read_back(world: World, slot: Any) -> None:
    container = make_container(20000)
    sink = world.flash.SlotSink(slot, container.header)
    fill(sink, bytes(container.data), 1024)
    assert sink.image_matches()
    container.header.image_digest = bytes(32)
    assert not sink.image_matches()


def test_an_image_with_another_head_than_its_header_says_is_no_match(world: World, slot: Any) -> None:
    container = make_container(20000)
    sink = world.flash.SlotSink(slot, container.header)
    fill(sink, bytes(container.data), 1024)
    container.header.image_head = b"\0" * 288
    assert not sink.image_matches()
    assert not sink.has_head()


@pytest.mark.parametrize("at", [0, 1, 100, 287])
def test_the_head_is_compared_to_its_last_byte(world: World, slot: Any, at: int) -> None:
    container = make_container(20000)
    sink = world.flash.SlotSink(slot, container.header)
    assert not sink.has_head(), "blank"
    fill(sink, bytes(container.data), 1024)
    assert sink.has_head()
    head = container.header.image_head
    container.header.image_head = head[:at] + bytes([head[at] ^ 1]) + head[at + 1 :]
    assert not sink.has_head()


def test_the_head_of_an_image_that_is_shorter_than_a_head(world: World, slot: Any) -> None:
    """What the header says of it is filled up with zeros, and flash is not."""
    header = make_container(20000).header
    header.image_bytes = 50
    header.image_head = bytes(range(50)) + bytes(238)
    slot.writeblocks(0, bytes(range(50)), 0)
    sink = world.flash.SlotSink(slot, header)
    assert sink.has_head()
    header.image_bytes = 51
    assert not sink.has_head()
