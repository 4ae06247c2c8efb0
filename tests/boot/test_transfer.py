"""One file from servers of all kinds over real sockets (firmware/lib/gapcast_boot/transfer.py)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from boot_world import MiniServer, Recording, World

from gapcast_core import wire


def fetch(world: World, server: MiniServer, **more: Any) -> tuple[bytes, Recording]:
    """A plain file, as `gapcast board --raw` fetches it."""
    progress = Recording()
    path = world.folder / "raw.bin"
    world.agent.fetch_file(world.config(server.port, image="file", **more), str(path), progress)
    return path.read_bytes(), progress


def some(size: int) -> bytes:
    return random.Random(size).randbytes(size)


SIZES = [0, 1, 511, 512, 513, 1023, 1024, 1025, 9 * 1024, 20000]


@pytest.mark.parametrize("size", SIZES)
def test_a_server_with_options(world: World, size: int) -> None:
    data = some(size)
    with MiniServer({"file": data}).running() as server:
        assert fetch(world, server)[0] == data


@pytest.mark.parametrize("size", SIZES)
def test_a_server_without_options(world: World, size: int) -> None:
    """RFC 1350: 512 bytes a block, no length, the short DATA is the last."""
    data = some(size)
    server = MiniServer({"file": data})
    server.plain = True
    with server.running():
        assert fetch(world, server)[0] == data


def test_a_plain_server_that_sends_more_than_512_bytes_is_left(world: World) -> None:
    server = MiniServer({"file": b""})
    server.first = lambda _request: [wire.pack_data(1, b"x" * 1024)]
    with server.running(), pytest.raises((world.transfer.TransferError, OSError)):
        fetch(world, server, stall_ms=800)


def test_a_lost_answer_is_asked_for_again(world: World) -> None:
    server = MiniServer({"file": some(3000)})
    server.first = lambda _request: [] if len(server.requests) == 1 else None
    with server.running():
        assert fetch(world, server)[0] == some(3000)
    assert len(server.requests) == 2


def test_a_server_that_is_busy_is_asked_again(world: World) -> None:
    server = MiniServer({"file": some(3000)})
    busy = [wire.pack_error(0, "busy")]
    server.first = lambda _request: busy if len(server.requests) == 1 else None
    with server.running():
        data, told = fetch(world, server)
    assert data == some(3000)
    assert any("busy" in note for note in told.notes)


def test_an_empty_datagram_does_not_end_the_transfer(world: World) -> None:
    """It deafens the socket (facts, section 9.2): a new one has to be opened."""
    server = MiniServer({"file": some(5000)})
    server.first = lambda _request: [b""] if len(server.requests) == 1 else None
    with server.running():
        assert fetch(world, server)[0] == some(5000)


def test_a_transfer_that_breaks_off_goes_on(world: World) -> None:
    """The server sends half and falls silent; the next request brings the rest."""
    data = some(8000)
    server = MiniServer({"file": data})
    oack = wire.pack_oack([("blksize", "1024"), ("tsize", "8000")])
    server.first = lambda _request: [oack, wire.pack_error(0, "gone")] if len(server.requests) == 1 else None
    with server.running():
        assert fetch(world, server)[0] == data


def test_a_file_that_is_not_there_is_told_at_once(world: World) -> None:
    with MiniServer({}).running() as server, pytest.raises(world.transfer.TransferError) as caught:
        fetch(world, server)
    assert caught.value.code == wire.ERR_NOT_FOUND
    assert len(server.requests) == 1


def test_nothing_new_for_too_long_is_an_end(world: World) -> None:
    server = MiniServer({})
    server.first = lambda _request: [wire.pack_error(0, "busy")]
    with server.running(), pytest.raises(world.transfer.TransferError, match="busy"):
        fetch(world, server, stall_ms=700)


@pytest.mark.parametrize("size", [1100, 2047])
def test_a_short_last_block_that_is_repeated_quickly_is_taken_once(world: World, size: int) -> None:
    """readinto merges it with its repetition (facts, section 9.1)."""
    server = MiniServer({"file": some(size)})
    server.repeat_s = 0.03
    with server.running():
        assert fetch(world, server)[0] == some(size)
