"""The digest of an image that is worked out while it comes in (firmware/lib/gapcast_boot/proof.py)."""

from __future__ import annotations

import random

import pytest
from boot_world import SECTOR, World
from proof_fill import BLOCK, HEADER, Container, Fill, offer_of

SIZES = [1, 287, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 8193, 20000]


# -- one block after the other ----------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_a_whole_image_holds_however_it_came(world: World, size: int) -> None:
    container = Container(size)
    dice = random.Random(size)
    for shuffled in (False, True):
        for chance in (0, 50, 100):
            fill = Fill(world, container)
            blocks = list(range(1, fill.total + 1))
            if shuffled:
                dice.shuffle(blocks)
            for block in blocks:
                fill.write(block)
                if dice.randrange(100) < chance:
                    fill.download.prove()
            assert fill.proof.holds()
            assert not fill.proof.step()


def test_each_step_takes_the_next_block_that_is_there(world: World) -> None:
    fill = Fill(world, Container(5000))
    assert not fill.proof.step(), "nothing has come"
    last = 1 + -(-5000 // BLOCK)
    for block in range(1, fill.total + 1):
        fill.write(block)
        assert not fill.proof.step(), "there is not another one"
        assert fill.proof.at == min(max(block, 1), last) * BLOCK
    assert fill.proof.holds()


def test_it_stops_before_each_gap(world: World) -> None:
    fill = Fill(world, Container(20000))

    def steps() -> int:
        before = fill.proof.at
        while fill.proof.step():
            pass
        return (fill.proof.at - before) // BLOCK

    for block in (2, 3, 5, 6, 9):
        fill.write(block)
    assert steps() == 0, "block 1 is missing, the header"
    fill.write(1)
    assert steps() == 2
    fill.write(4)
    assert steps() == 3
    for block in (8, 7):
        fill.write(block)
    assert steps() == 3
    assert fill.proof.at == 9 * BLOCK
    assert not fill.proof.holds(), "the rest is missing"
    for block in range(fill.total, 9, -1):
        fill.write(block)
    assert fill.proof.holds()


def test_a_solved_block_is_as_good_as_one_that_came(world: World) -> None:
    fill = Fill(world, Container(5000))
    for block in range(1, fill.total + 1):
        if block == 4:
            fill.download.store(block, memoryview(fill.data)[3 * BLOCK : 4 * BLOCK], 0)
            fill.download.gaps.add(block)
        else:
            fill.write(block)
        fill.download.prove()
    assert fill.proof.holds()


def test_what_is_in_flash_already_needs_not_come(world: World) -> None:
    """As after an interrupted download: salvage.py says which blocks are missing."""
    container = Container(20000)
    fill = Fill(world, container)
    fill.write_all()
    fill.download.gaps.mark_missing(7, 4)
    for block in (10, 9, 8, 7):
        assert not fill.proof.broken
        fill.write(block)
        while fill.download.prove():
            pass
    assert fill.proof.holds()


def test_without_a_proof_nothing_is_read(world: World) -> None:
    fill = Fill(world, Container(5000))
    fill.download.proof = None
    fill.write_all()
    fill.write(3)
    fill.download.store(4, memoryview(fill.data)[3 * BLOCK : 4 * BLOCK], 0)
    assert not fill.download.prove()


# -- what does not hold -----------------------------------------------------------------------


def places() -> dict[str, int]:
    """By what stands there: where bytes of the container of an image of 9000 bytes are."""
    payload_end = HEADER + 3 * SECTOR
    return {
        "first": HEADER,
        "head": HEADER + 287,
        "block": HEADER + BLOCK,
        "chunk": HEADER + SECTOR - 1,
        "middle": HEADER + 5555,
        "last": HEADER + 8999,
        "padding": HEADER + 9000,
        "padding's own block": HEADER + 10 * BLOCK + 5,
        "end of padding": payload_end - 1,
        "table": payload_end,
        "last digest": payload_end + 3 * 16 - 1,
        "padding of the table": payload_end + 3 * 16,
        "end": payload_end + BLOCK - 1,
    }


@pytest.mark.parametrize("place", places())
def test_one_wrong_bit_anywhere(world: World, place: str) -> None:
    at = places()[place]
    container = Container(9000)
    for stepping in (False, True):
        fill = Fill(world, container)
        data = bytearray(container.data)
        data[at] ^= 0x20
        fill.data = bytes(data)
        for block in range(1, fill.total + 1):
            fill.write(block)
            if stepping:
                fill.download.prove()
        assert not fill.proof.holds()
        assert not fill.proof.broken


def test_every_wrong_byte_of_a_small_image(world: World) -> None:
    """Each in its turn: the image's, the padding's next to it, and all of its digest."""
    container = Container(40)
    fill = Fill(world, container)
    fill.write_all()
    assert fill.proof.holds()
    places = [*range(50), SECTOR - 1, *range(SECTOR, SECTOR + 18), SECTOR + BLOCK - 1]
    for place in places:
        data = bytearray(container.data)
        data[HEADER + place] ^= 1
        fill = Fill(world, container)
        fill.data = bytes(data)
        fill.write_all()
        assert not fill.proof.holds(), place


def test_the_containers_first_block_may_be_anything(world: World) -> None:
    """It is not in the slot: the header that counts was judged before."""
    container = Container(5000)
    fill = Fill(world, container)
    fill.data = b"x" * HEADER + container.data[HEADER:]
    for block in range(1, fill.total + 1):
        fill.write(block)
        fill.download.prove()
    fill.write(1)
    fill.download.store(1, memoryview(bytes(BLOCK)), 0)
    assert not fill.proof.broken
    assert fill.proof.holds()


@pytest.mark.parametrize("size", [100, 5000])
def test_another_head_in_the_header(world: World, size: int) -> None:
    """Else what the header says is all true."""
    container = Container(size, image_head=b"another")
    fill = Fill(world, container)
    fill.write_all()
    assert fill.sink.table_matches()
    assert not fill.proof.holds()


@pytest.mark.parametrize("how", ["write", "store"])
@pytest.mark.parametrize("same", [True, False])
def test_what_was_hashed_is_written_again(world: World, how: str, same: bool) -> None:
    container = Container(9000)
    first, last = 2, 10  # of those that carry the image
    for hashed in range(first, last + 1):
        for block in {first, hashed}:
            fill = Fill(world, container)
            for number in range(1, hashed + 1):
                fill.write(number)
                fill.download.prove()
            assert fill.proof.at == hashed * BLOCK
            if not same:
                fill.data = bytes(HEADER) + bytes(len(container.data) - HEADER)
            if how == "write":
                fill.write(block)
            else:
                fill.download.store(block, memoryview(fill.data)[(block - 1) * BLOCK : block * BLOCK], 0)
            assert fill.proof.broken
            fill.data = container.data
            for number in range(hashed + 1, fill.total + 1):
                fill.write(number)
            assert not fill.proof.holds()
            assert fill.proof.broken, "for ever"


def test_what_was_not_hashed_yet_may_be_written_again(world: World) -> None:
    fill = Fill(world, Container(9000))
    for block in range(1, 6):
        fill.write(block)
    fill.download.prove()
    assert fill.proof.at == 2 * BLOCK
    for block in (3, 5, 6):
        fill.write(block)
        fill.download.store(block, memoryview(fill.data)[(block - 1) * BLOCK : block * BLOCK], 0)
    assert not fill.proof.broken
    for block in range(7, fill.total + 1):
        fill.write(block)
    assert fill.proof.holds()


def test_what_is_behind_the_image_may_be_written_again_when_it_is_right(world: World) -> None:
    """It is read at the end only."""
    fill = Fill(world, Container(9000))
    fill.write_all()
    while fill.download.prove():
        pass
    for block in (11, 12, 13, 14):
        fill.write(block)
    assert not fill.proof.broken
    assert fill.proof.holds()


@pytest.mark.parametrize("blksize", [512, 1000, 1023])
def test_blocks_of_another_size_are_not_hashed(world: World, blksize: int) -> None:
    fill = Fill(world, Container(9000), blksize)
    for block in range(1, fill.total + 1):
        fill.write(block)
        assert not fill.download.prove()
    assert fill.proof.at == HEADER
    assert not fill.proof.holds()
    assert list(fill.sink.bad_chunks()) == []


def test_a_server_that_changes_the_block_size(world: World) -> None:
    """Half was hashed; the other half comes in other blocks, and all of the first half again."""
    container = Container(9000)
    for there_and_back in (False, True):
        fill = Fill(world, container)
        fill.download.preset(fill.download.gaps)
        for block in range(1, 7):
            fill.write(block)
            fill.download.prove()
        fill.download.adopt(offer_of(len(fill.data), 512))
        if there_and_back:
            fill.download.adopt(offer_of(len(fill.data)))
        assert not fill.download.prove()
        for block in range(1, -(-len(fill.data) // fill.download.blksize) + 1):
            fill.write(block)
            fill.download.prove()
        assert fill.proof.broken
        assert not fill.proof.holds()
        assert list(fill.sink.bad_chunks()) == []
