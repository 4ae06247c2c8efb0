"""What the other slot holds already is not fetched again, over real sockets (gapcast_boot/salvage.py)."""

from __future__ import annotations

import pytest
from boot_world import CHIP, SECTOR, MiniServer, World, files_of, make_container

from gapcast.image.sample import build_sample
from gapcast_core import options as opt

CONTAINER = make_container(40000)
DATA = bytes(CONTAINER.data[1024:])
CHUNKS = CONTAINER.header.chunks
TABLE_BLOCK = 2 + 4 * CHUNKS


@pytest.fixture
def board(world: World) -> World:
    world.program("ota_0", build_sample(8192, "1.0.0", CHIP))
    assert world.power_on() == 0
    return world


def blocks_asked(server: MiniServer) -> int:
    """Blocks of all repairs."""
    total = 0
    for _name, ranges in server.requests:
        if ranges:
            total += opt.count_blocks(opt.parse_ranges(ranges, 65535))
    return total


def whole_files(server: MiniServer) -> int:
    return sum(1 for name, ranges in server.requests if name.startswith("gap/") and not ranges)


def update(board: World, server: MiniServer) -> None:
    with server.running():
        told = board.preboot(board.config(server.port))
    assert (told.outcome, told.reset) == ("updated", True)
    assert board.read("ota_1", len(DATA)) == DATA


def test_a_slot_with_one_wrong_chunk_gets_the_table_and_that_chunk(board: World) -> None:
    data = bytearray(DATA)
    data[2 * SECTOR + 5] ^= 0xFF
    data[-1024:] = b"\0" * 1024  # and another table
    board.program("ota_1", bytes(data))
    server = MiniServer(files_of(CONTAINER))
    update(board, server)
    assert [ranges for _name, ranges in server.requests if ranges] == [str(TABLE_BLOCK), "10-13"]
    assert whole_files(server) == 0


def test_a_slot_with_the_table_is_judged_without_a_request(board: World) -> None:
    data = bytearray(DATA)
    data[0] ^= 0xFF
    board.program("ota_1", bytes(data))
    server = MiniServer(files_of(CONTAINER))
    update(board, server)
    assert [ranges for _name, ranges in server.requests] == ["", "2-5"]


def test_an_interrupted_download_goes_on(board: World) -> None:
    """The power goes in the middle of the 21st block."""
    server = MiniServer(files_of(CONTAINER))
    board.power.reset(cut_at=22, cut_half=True)
    with server.running(), pytest.raises(board.power.PowerCut):
        board.preboot(board.config(server.port))
    board.power.reset()
    assert board.power_on() == 0
    again = MiniServer(files_of(CONTAINER))
    update(board, again)
    assert blocks_asked(again) in (1, 1 + 20), "the table, and then the rest, streamed or not"
    assert board.power.slot_bytes <= len(DATA) - 20 * 1024


def test_a_stock_server_gets_a_slot_that_is_erased(board: World) -> None:
    """Nothing vouches for what is there: what is not blank is erased, and the whole file fetched."""
    board.program("ota_1", make_container(50000, "1.5.0", seed=4).data[1024:])
    server = MiniServer(files_of(CONTAINER))
    server.knows_ranges = False
    update(board, server)
    assert whole_files(server) == 1


def test_a_stock_server_goes_on_where_it_was_interrupted(board: World) -> None:
    server = MiniServer({"image.gap": bytes(CONTAINER.data)})
    server.knows_ranges = False
    board.power.reset(cut_at=22, cut_half=False)
    with server.running(), pytest.raises(board.power.PowerCut):
        board.preboot(board.config(server.port))
    board.power.reset()
    board.power_on()
    again = MiniServer({"image.gap": bytes(CONTAINER.data)})
    again.knows_ranges = False
    update(board, again)
    assert board.power.slot_bytes <= len(DATA) - 20 * 1024, "what was there is not written again"


def test_a_server_of_512_byte_blocks_starts_from_nothing(board: World) -> None:
    """RFC 1350 knows no other size: what it writes over what is there is the same."""
    server = MiniServer(files_of(CONTAINER))
    board.power.reset(cut_at=22)
    with server.running(), pytest.raises(board.power.PowerCut):
        board.preboot(board.config(server.port))
    board.power.reset()
    board.power_on()
    plain = MiniServer(files_of(CONTAINER))
    plain.plain = True
    update(board, plain)


def test_a_table_that_comes_damaged_is_fetched_again(board: World) -> None:
    data = bytearray(DATA)
    data[-1024:] = b"\0" * 1024
    board.program("ota_1", bytes(data))
    left = [1]

    def damage(name: str, block: int, payload: bytes) -> bytes:
        if name.endswith(".hdr") or block != TABLE_BLOCK or not left:
            return payload
        left.pop()
        return bytes([payload[0] ^ 1]) + payload[1:]

    server = MiniServer(files_of(CONTAINER), damage)
    update(board, server)
    assert blocks_asked(server) == 2


def test_a_table_that_stays_damaged_has_an_end(board: World) -> None:
    data = bytearray(DATA)
    data[-1024:] = b"\0" * 1024
    board.program("ota_1", bytes(data))

    def damage(name: str, block: int, payload: bytes) -> bytes:
        return payload if name.endswith(".hdr") or block != TABLE_BLOCK else bytes(len(payload))

    server = MiniServer(files_of(CONTAINER), damage)
    with server.running():
        told = board.preboot(board.config(server.port))
    assert told.outcome == "failed"
    assert "table" in told.detail
    assert board.power_on() == 0


def test_the_running_slot_is_never_touched(board: World) -> None:
    board.power.reset(keep_log=True)
    board.program("ota_1", make_container(50000, "1.5.0", seed=4).data[1024:])
    update(board, MiniServer(files_of(CONTAINER)))
    assert not [what for what in board.power.log if "ota_0" in what]
    assert [what for what in board.power.log if "erase ota_1" in what]
