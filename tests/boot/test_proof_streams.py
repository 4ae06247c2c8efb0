"""An image is read back and hashed between the frames of its stream (session.py and mending.py)."""

from __future__ import annotations

from typing import Any

import pytest
from boot_world import World
from proof_fill import BLOCK, HEADER, Container, Fill, offer_of

from gapcast.protocol.erasure import repair_symbols
from gapcast_core import generations, receiver, wire
from gapcast_core.fec import Pool


class Air:
    """A group's socket: the frames of a script, then silence."""

    def __init__(self, frames: list[bytes]) -> None:
        self.frames = frames

    def readinto(self, buf: bytearray) -> int | None:
        if not self.frames:
            return None
        frame = self.frames.pop(0)
        buf[: len(frame)] = frame
        return len(frame)


class Answer:
    """What the server answered, and the socket and control port that nothing comes from."""

    def __init__(self, offer: Any) -> None:
        self.offer = offer
        self.sock = self

    def send(self, data: bytes) -> int:
        return len(data)

    def read(self) -> None:
        return None


class Idle:
    """In place of port.Waiting: whether the next frame waits already."""

    busy = False

    def __init__(self, _sock: object) -> None:
        pass

    def now(self) -> bool:
        return self.busy


def data_of(container: Container, block: int) -> bytes:
    return wire.pack_data(block, container.block(block))


@pytest.fixture
def fill(world: World, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """A download of 22 blocks that a stream is about to fill."""
    monkeypatch.setattr(world.port, "ControlPort", lambda sock: sock)
    monkeypatch.setattr(world.port, "Waiting", Idle)
    monkeypatch.setattr(Idle, "busy", False)
    return Fill(world, Container(20000))


def listen(fill: Fill, frames: list[bytes], generation_blocks: int = 0) -> Any:
    """The session, after a stream; with the size of a generation it is one that mends."""
    more = [("multicast", "239.192.0.9,1758,0"), ("ranges", "")]
    if generation_blocks:
        more.append(("lacks", f"239.194.0.9,{generation_blocks}"))
    answer = Answer(offer_of(len(fill.data), BLOCK, *more))
    from gapcast_boot import mending, session

    one: Any
    if generation_blocks:
        plan = generations.Plan(fill.total, generation_blocks)
        one = mending.MendedSession(fill.download, answer, "127.0.0.1", "image", plan, Pool(BLOCK, 8))
    else:
        one = session.Session(fill.download, answer, "127.0.0.1")
    assert one.listen(Air(frames))
    assert one.rx.end == receiver.COMPLETE
    return one


@pytest.mark.parametrize("generation_blocks", [0, 8])
def test_a_clean_stream_is_hashed_when_it_is_over(fill: Fill, generation_blocks: int) -> None:
    container = Container(20000)
    listen(fill, [data_of(container, block) for block in range(1, fill.total + 1)], generation_blocks)
    assert fill.proof.at >= HEADER + 20000, "all of it"
    assert fill.proof.holds()


@pytest.mark.parametrize(("busy", "left"), [(False, 0), (True, 5)])
def test_a_session_that_mends_catches_up_while_no_frame_waits(
    fill: Fill, busy: bool, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Block 2 comes behind block 8: two blocks a frame are read back until it has; one if frames wait."""
    monkeypatch.setattr(Idle, "busy", busy)
    container = Container(20000)
    order = [1, *range(3, 9), 2, *range(9, fill.total + 1)]
    listen(fill, [data_of(container, block) for block in order], 8)
    image_blocks = -(-20000 // BLOCK)
    assert max(0, image_blocks + 1 - fill.proof.at // BLOCK) == left
    assert fill.proof.holds()


def test_blocks_that_were_solved_are_hashed_too(fill: Fill) -> None:
    """Every eighth block is lost; a symbol behind each generation brings it back."""
    container = Container(20000)
    frames = []
    size = 8
    for block in range(1, fill.total + 1):
        if block % 8 != 4:
            frames.append(data_of(container, block))
        if block % size == 0 or block == fill.total:
            generation = (block - 1) // size
            first = generation * size + 1
            data = b"".join(container.block(number) for number in range(first, block + 1))
            symbol = repair_symbols(data, block + 1 - first, BLOCK, [generations.FIRST_REPAIR_SYMBOL])[0]
            frames.append(wire.pack_data(generations.number(generations.alone(generation), 0), bytes(symbol)))
    frames.append(frames[0])
    one = listen(fill, frames, size)
    assert one.mender.solved >= 2
    assert not fill.proof.broken
    assert fill.proof.holds()
