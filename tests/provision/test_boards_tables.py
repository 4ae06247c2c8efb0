"""Partition tables: every one that we ship can work, and no file can do worse than be refused."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapcast.errors import OperatorError
from gapcast_tools.boards.definition import BoardDef, board_names, load_board
from gapcast_tools.boards.table import TABLE_BYTES, Entry, Table, faults, parse_binary, parse_csv

BOARDS = [load_board(name) for name in board_names()]
LAYOUTS = [(board, size) for board in BOARDS for size in board.flash_bytes]
MIB = 1 << 20
CSV = """
# Name, Type, SubType, Offset, Size, Flags
nvs,      data, nvs,   0x9000,  0x4000
otadata,  data, ota,   0xd000,  0x2000
ota_0,    app,  ota_0, 0x10000, 1M
ota_1,    app,  ota_1, ,        1024K, encrypted
own,      0x40, 7,     ,        4096,  readonly:encrypted
"""


def changed(label: str, **changes: int) -> Table:
    """The table of CSV with one entry changed."""
    table = parse_csv(CSV)
    return Table(tuple(replace(e, **changes) if e.label == label else e for e in table.entries))


@pytest.mark.parametrize(("board", "size"), LAYOUTS, ids=lambda value: getattr(value, "name", f"{value}"))
def test_every_table_we_ship_works_and_holds_the_claimed_image(board: BoardDef, size: int) -> None:
    table = board.table(size)
    assert faults(table, size) == []
    assert [slot.label for slot in table.slots] == ["ota_0", "ota_1"]
    for slot in table.slots:
        assert slot.offset % 0x10000 == 0
        assert slot.size_bytes % 0x10000 == 0
        assert slot.size_bytes == board.slot_bytes[size] >= board.image_bytes
    spans = sorted((entry.offset, entry.end) for entry in table.entries)
    assert spans[0][0] >= 0x9000  # boot loader and table are before
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert spans[-1][1] < size
    assert table.otadata == Entry("otadata", 1, 0, 0xD000, 0x2000)
    nvs = table.data(2)
    assert nvs is not None
    assert (nvs.offset, nvs.size_bytes >= 0x4000) == (0x9000, True)
    vfs = table.vfs(size)
    assert vfs is not None
    assert vfs.end == size
    assert vfs.size_bytes >= 512 << 10


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_a_slot_holds_the_standard_application(board: BoardDef) -> None:
    """0x1a2180 bytes: MicroPython 1.21 for ESP32, which its own OTA slots of 1.5 MiB do not hold."""
    assert board.image_bytes >= 0x1A2180
    assert board.image_bytes > 0x180000


def test_the_csv_form() -> None:
    table = parse_csv(CSV)
    assert table.entries[3] == Entry("ota_1", 0, 0x11, 0x110000, MIB, 1)
    assert table.entries[4] == Entry("own", 0x40, 7, 0x210000, 4096, 3)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a, data, nvs", "3 fields"),
        ("a, data, nvs, 0x9000, 0x1000, encrypted, x", "7 fields"),
        ("a, data, nvs, 0x9000, -1", "-1"),
        ("a, data, nvs, here, 0x1000", "here"),
        ("a, data, nvs, 0x9000, 0x1_000", "0x1_000"),
        ("a, data, nvs, 0x9000, 1G", "1G"),
        ("a, data, nvs, 0x9000, 4096M", "4096M"),
        ("a, data, nvs, 0x9000,", "is no number"),
        ("a, app, ota_16, 0x10000, 1M", "ota_16"),
        ("a, nothing, nvs, 0x9000, 0x1000", "nothing"),
        ("a, 0xff, 0, 0x9000, 0x1000", "0xff"),
        (", data, nvs, 0x9000, 0x1000", "1 to 16"),
        ("seventeen-letters, data, nvs, 0x9000, 0x1000", "1 to 16"),
        ("ä, data, nvs, 0x9000, 0x1000", "ASCII"),
        ("a, data, nvs, 0x9000, 0x1000, secret", "secret"),
    ],
)
def test_a_wrong_line_is_named(line: str, why: str) -> None:
    with pytest.raises(OperatorError) as caught:
        parse_csv(f"nvs, data, nvs, 0x9000, 0x1000\n\n{line}\n")
    assert "line 3" in caught.value.message
    assert why in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "# nothing\n", "a, data, nvs, , 0x1000\n" * 96])
def test_too_few_and_too_many_lines(text: str) -> None:
    with pytest.raises(OperatorError, match="partitions in the table"):
        parse_csv(text)


def test_the_bytes_in_flash() -> None:
    """Against ESP-IDF's form, written out by hand."""
    table = Table((Entry("nvs", 1, 2, 0x9000, 0x6000), Entry("0123456789abcdef", 0, 0x10, 0x10000, MIB, 1)))
    lines = bytes.fromhex("aa50 01 02 00900000 00600000 6e767300000000000000000000000000 00000000")
    lines += bytes.fromhex("aa50 00 10 00000100 00001000 30313233343536373839616263646566 01000000")
    sealed = lines + b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(lines).digest()
    assert table.pack() == sealed + b"\xff" * (0xC00 - len(sealed))
    assert parse_binary(table.pack()) == table
    assert parse_binary(lines + b"\xff" * 32) == table  # without MD5, as before ESP-IDF 3.1


@pytest.mark.parametrize(("board", "size"), LAYOUTS, ids=lambda value: getattr(value, "name", f"{value}"))
def test_there_and_back(board: BoardDef, size: int) -> None:
    table = board.table(size)
    assert len(table.pack()) == TABLE_BYTES
    assert parse_binary(table.pack() + b"more") == table


def test_damage_anywhere_is_found() -> None:
    good = parse_csv(CSV).pack()
    for at in range(6 * 32):
        damaged = bytearray(good)
        damaged[at] ^= 4
        with pytest.raises(OperatorError) as caught:
            parse_binary(bytes(damaged))
        assert caught.value.hint
    for size in range(6 * 32):
        with pytest.raises(OperatorError):
            parse_binary(good[:size])


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (changed("ota_1", offset=0x111000), "not at a multiple of 0x10000"),
        (changed("nvs", offset=0x9800), "not at a multiple of 0x1000"),
        (changed("nvs", size_bytes=0x3800), "not whole sectors"),
        (changed("ota_0", size_bytes=0), "not whole sectors"),
        (changed("ota_0", size_bytes=2 * MIB), "overlaps 'ota_0'"),
        (changed("nvs", offset=0x8000), "overlaps the partition table"),
        (changed("own", offset=3 * MIB, size_bytes=2 * MIB), "behind the end of flash"),
        (changed("ota_1", subtype=0x10), "the same subtype"),
        (changed("otadata", size_bytes=0x1000), "otadata"),
        (changed("nvs", subtype=6), "no nvs"),
        (changed("nvs", size_bytes=0x2000), "no nvs"),
        (Table((*parse_csv(CSV).entries, Entry("nvs", 1, 0x82, 3 * MIB, 0x1000))), "the same name"),
    ],
)
def test_faults_are_told(table: Table, why: str) -> None:
    assert faults(parse_csv(CSV), 4 * MIB) == []
    assert any(why in fault for fault in faults(table, 4 * MIB)), faults(table, 4 * MIB)


def test_an_overlap_behind_a_small_partition_inside_is_found() -> None:
    """ota_0 reaches over `own`, which lies in it, into ota_1."""
    entries = parse_csv(CSV).entries[:4]
    inside = Entry("own", 0x40, 7, 0x20000, 0x1000)
    table = Table((*entries[:2], replace(entries[2], size_bytes=0x180000), inside, entries[3]))
    assert any("'ota_1' at 0x110000 overlaps 'ota_0'" in fault for fault in faults(table, 4 * MIB))


def test_slots_are_counted_as_the_boot_loader_does() -> None:
    assert changed("ota_1", subtype=0x12).slots == parse_csv(CSV).slots[:1]  # ota_0, and ota_2 behind a gap
    assert changed("ota_0", subtype=0).slots == ()


def test_where_the_file_system_is() -> None:
    table = parse_csv(CSV)
    assert table.vfs(4 * MIB) == Entry("vfs", 1, 0x81, 0x211000, 4 * MIB - 0x211000)
    assert table.vfs(0x211000) is None
    own = Table((*table.entries, Entry("vfs", 1, 0x81, 3 * MIB, 0x10000)))
    assert own.vfs(16 * MIB) == own.entries[-1]


@given(st.text(max_size=200) | st.lists(st.sampled_from(CSV.split("\n") + list(",x0-\n"))).map("".join))
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    try:
        table = parse_csv(text)
    except OperatorError:
        return
    faults(table, 4 * MIB)
    assert parse_binary(table.pack()) == table


@given(st.binary(max_size=300) | st.lists(st.binary(min_size=30, max_size=30), max_size=4), st.booleans())
def test_no_bytes_do_worse_than_be_refused(lines: bytes | list[bytes], ended: bool) -> None:
    data = lines if isinstance(lines, bytes) else b"".join(b"\xaa\x50" + line for line in lines)
    try:
        table = parse_binary(data + b"\xff" * 32 * ended)
    except OperatorError:
        return
    faults(table, 4 * MIB)
    assert all(entry.label.isprintable() or not entry.label for entry in table.entries)


def test_a_table_too_long_or_a_label_too_long_is_not_packed() -> None:
    with pytest.raises(OperatorError):
        Table((Entry("x" * 17, 1, 2, 0x9000, 0x1000),)).pack()
    with pytest.raises(OperatorError):
        Table((Entry("x", 1, 2, 0x9000, 0x1000),) * 96).pack()


def test_definitions_are_refused_with_a_sentence(tmp_path: Path) -> None:
    from gapcast_tools.boards.definition import read_definition

    good = Path(BOARDS[0].folder / "gapcast.toml").read_text()
    for old, new in [
        ('chip = "', 'chip = "z80'),
        ("baud = 460800", "baud = 0"),
        ("baud = 460800", "baud = true"),
        ("baud = 460800", ""),
        ("[[flash]]", "[flash]"),
        ("bytes = 0x400000", "bytes = 0x4000000"),
        ("chip = ", "chip == "),
    ]:
        (tmp_path / "gapcast.toml").write_text(good.replace(old, new, 1))
        with pytest.raises(OperatorError) as caught:
            read_definition(tmp_path)
        assert caught.value.hint
    (tmp_path / "gapcast.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(OperatorError):
        read_definition(tmp_path)
    with pytest.raises(OperatorError, match="no board"):
        load_board("../boards/ESP32_GENERIC")


def test_the_layout_follows_the_flash() -> None:
    board = load_board("ESP32_GENERIC")
    assert board.layout(4 * MIB).flash_bytes == 4 * MIB
    assert board.layout(32 * MIB).flash_bytes == 16 * MIB
    with pytest.raises(OperatorError, match="2048 KiB"):
        board.layout(2 * MIB)
