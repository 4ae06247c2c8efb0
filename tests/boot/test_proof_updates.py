"""An update whose image is proven reads it once; any other is judged by its chunks (updating.py)."""

from __future__ import annotations

from typing import Any

import pytest
from boot_world import SECTOR, MiniServer, World, files_of, make_container
from proof_fill import BLOCK, HEADER
from shipped import Board


class Reads:
    """How often each byte of the slot was read since the transfer began, and since it was over."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: list[int] = []
        self.after_transfer: Any = lambda _transfer: None
        original = world.esp32.Partition.readblocks
        run = world.transfer.Transfer.run

        def readblocks(partition: Any, block: int, buf: Any, offset: int = 0) -> None:
            if partition.info()[4] == "ota_1":
                for at in range(block * SECTOR + offset, block * SECTOR + offset + len(buf)):
                    self.counts[at] += 1
            original(partition, block, buf, offset)

        def run_counted(transfer: Any) -> None:
            if transfer.download.proof is not None:
                self.clear()
            run(transfer)
            if transfer.download.proof is not None:
                self.after_transfer(transfer)

        self._size = world.esp32.Partition("ota_1").info()[3]
        self.clear()
        monkeypatch.setattr(world.esp32.Partition, "readblocks", readblocks)
        monkeypatch.setattr(world.transfer.Transfer, "run", run_counted)

    def clear(self) -> None:
        self.counts = [0] * self._size

    def most(self, first: int, end: int) -> int:
        assert len(set(self.counts[first:end])) == 1
        return self.counts[first]


@pytest.fixture
def reads(board: Board, monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(board.world, monkeypatch)


def is_stored(board: Board) -> bool:
    """The slot holds the fixture's container."""
    stored = bytes(make_container().data[HEADER:])
    return board.world.read("ota_1", len(stored)) == stored


def test_an_image_that_is_proven_is_read_once(board: Board, reads: Reads) -> None:
    told = board.boot()
    assert (told.outcome, told.reset, told.bad) == ("updated", True, [])
    assert "verified" in told.calls
    payload_bytes = make_container().header.payload_bytes
    assert reads.most(288, payload_bytes - SECTOR) == 1, "the image, without its head and its last chunk"
    assert reads.most(0, 288) == 2
    assert reads.most(payload_bytes - SECTOR, 20000) == 2
    assert reads.most(20000, payload_bytes) == 2, "a read of the last block goes on to its end"
    assert is_stored(board)


def test_an_image_whose_proof_is_broken_is_judged_by_its_chunks(board: Board, reads: Reads) -> None:
    def write_again(transfer: Any) -> None:
        download = transfer.download
        while download.prove():
            pass
        payload = memoryview(bytes(make_container().data))[2 * BLOCK : 3 * BLOCK]
        download.store(3, payload, 0)
        assert download.proof.broken

    reads.after_transfer = write_again
    told = board.boot()
    assert (told.outcome, told.reset, told.bad) == ("updated", True, [])
    assert "verified" in told.calls
    assert reads.most(288, make_container().header.payload_bytes - SECTOR) == 3
    assert len(board.server.requests) == 2
    assert is_stored(board)


def test_a_server_of_other_blocks_makes_the_chunks_count(board: Board, reads: Reads) -> None:
    """RFC 2348: it may offer less than was asked for."""
    files = files_of(make_container())

    class Half(MiniServer):
        def _send(self, sock: Any, peer: Any, name: str, options: dict[str, str]) -> None:
            super()._send(sock, peer, name, {**options, "blksize": "512"})

    with Half(files).running() as server:
        told = Board(board.world, server).boot()
    assert (told.outcome, told.bad) == ("updated", [])
    assert reads.most(288, make_container().header.payload_bytes - SECTOR) == 2, "by chunks, and as a whole"
    assert is_stored(board)


@pytest.mark.parametrize(
    ("block", "at"), [(2, 0), (2, 1023), (9, 500), (21, 0), (21, 1023), (22, 0), (22, 100)]
)
def test_what_was_forged_is_fetched_again(board: Board, reads: Reads, block: int, at: int) -> None:
    """Of the image, of what pads it (the end of block 21), of the digest table (22)."""
    left = [block]

    def damage(name: str, number: int, payload: bytes) -> bytes:
        if name.endswith(".hdr") or number not in left:
            return payload
        left.remove(number)
        return payload[:at] + bytes([payload[at] ^ 0x10]) + payload[at + 1 :]

    board.server.damage = damage
    told = board.boot()
    assert (told.outcome, told.reset, told.bad) == ("updated", True, [1])
    assert not left
    assert len(board.server.requests) == 3
    assert "verified" in told.calls
    assert is_stored(board)
    assert board.boot().outcome == "on_trial"


def test_the_proof_is_over_when_bad_chunks_are_fetched(board: Board, reads: Reads) -> None:
    """What it hashed is of no use then, and costs nothing more."""
    proofs = []
    original = board.world.transfer.Transfer.run_again

    def run_again(transfer: Any, by_stream: bool) -> None:
        proofs.append(transfer.download.proof)
        original(transfer, by_stream)

    board.world.transfer.Transfer.run_again = run_again
    left = [9]

    def damage(name: str, number: int, payload: bytes) -> bytes:
        if name.endswith(".hdr") or number not in left:
            return payload
        left.remove(number)
        return bytes(len(payload))

    board.server.damage = damage
    assert board.boot().outcome == "updated"
    assert proofs == [None]
