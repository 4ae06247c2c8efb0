"""The parts of a simulated chip, each by itself: framing, flash, the line's time, what the loaders answer."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapcast_sim.chip.commands import SYNC_DATA, Op, Status
from gapcast_sim.chip.faults import Faults, Meddler
from gapcast_sim.chip.flash import NO_TIME, TYPICAL, Flash, erase_steps, write_steps
from gapcast_sim.chip.loader import Exit, Hardware, Loader, Wait
from gapcast_sim.chip.profiles import PROFILES
from gapcast_sim.chip.registers import Registers
from gapcast_sim.chip.rom import RomLoader
from gapcast_sim.chip.slip import Decoder, encode
from gapcast_sim.chip.stub import StubLoader
from gapcast_sim.chip.syncwatch import SyncWatch
from gapcast_sim.chip.wire import Wire

MIB = 1 << 20


# ---- framing ----


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.integers(1, 50))
def test_frames_come_back_however_they_are_cut(frames: list[bytes], step: int) -> None:
    stream = b"".join(encode(frame) for frame in frames)
    decoder = Decoder()
    found = [frame for at in range(0, len(stream), step) for frame in decoder.feed(stream[at : at + step])]
    assert found == frames
    assert not decoder.inside


@given(st.binary(max_size=200))
def test_noise_costs_one_frame_at_most(noise: bytes) -> None:
    decoder = Decoder()
    decoder.feed(noise + encode(b"perhaps lost"))
    decoder.feed(encode(b"between"))
    assert decoder.feed(encode(b"heard"))[-1] == b"heard"


def test_a_sync_frame_is_found_in_pieces_and_text_passes() -> None:
    frame = encode(b"\x00\x08\x24\x00" + bytes(4) + SYNC_DATA)
    watch = SyncWatch()
    assert watch.feed(b"print(1)\r", 0.0) == (b"print(1)\r", b"")
    assert watch.feed(b"x" + frame[:3], 0.0) == (b"x", b"")
    assert watch.feed(frame[3:], 0.0) == (b"", frame)
    assert watch.feed(b"\xc0\x00", 1.0) == (b"", b"")
    assert watch.release() == b"\xc0\x00"  # it was nothing of that kind
    assert watch.feed(b"\xc0\xff", 2.0) == (b"\xc0\xff", b"")


# ---- flash ----


@pytest.fixture
def flash(tmp_path: Path) -> Iterator[Flash]:
    made = Flash(tmp_path / "flash.bin", 4 * MIB)
    yield made
    made.close()


@given(st.lists(st.tuples(st.integers(0, 9000), st.binary(min_size=1, max_size=600)), max_size=6))
def test_programming_only_clears_bits(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, bytes]]
) -> None:
    flash = Flash(tmp_path_factory.mktemp("nor") / "flash.bin", 16384)
    model = bytearray(b"\xff" * 16384)
    for offset, data in writes:
        for step in write_steps(offset, data, NO_TIME):
            step.apply(flash)
        for at, byte in enumerate(data, offset):
            model[at] &= byte
    assert flash.read(0, 16384) == model
    flash.close()


def test_blocks_are_erased_where_they_fit() -> None:
    steps = list(erase_steps(0xF800, 0x21000, TYPICAL))
    assert [(step.offset, step.size_bytes) for step in steps] == [
        (0xF000, 0x1000),
        (0x10000, 0x10000),
        (0x20000, 0x10000),
        (0x30000, 0x1000),
    ]
    assert sum(step.duration_s for step in steps) == pytest.approx(2 * 0.045 + 2 * 0.15)
    assert sum(step.duration_s for step in write_steps(0, bytes(65536), TYPICAL)) == pytest.approx(
        256 * 0.0006
    )


def test_a_cut_leaves_a_part_and_nothing_else(flash: Flash) -> None:
    rng = random.Random(3)
    (write,) = write_steps(0x1000, bytes(4096), TYPICAL)
    write.cut(flash, rng)
    page = flash.read(0x1000, 4096)
    done = page.count(0)
    assert 0 < done < 4096
    assert page[:done].count(0) == done  # from its beginning
    assert flash.read(0, 0x1000).count(0xFF) == 0x1000
    flash.program(0x2000, bytes(4096))
    (erase,) = erase_steps(0x2000, 4096, TYPICAL)
    erase.cut(flash, rng)
    assert 0 < flash.read(0x2000, 4096).count(0) < 4096


# ---- the line ----


def test_bytes_take_ten_bits_each() -> None:
    wire = Wire(pacing=True)
    wire.push(b"a" * 1152, 10.0, 115200)
    wire.push(b"b" * 1152, 10.05, 115200)  # behind the first
    assert wire.pop(10.099) == b""
    assert wire.pop(10.101) == b"a" * 1152
    assert wire.due_at() == pytest.approx(10.2)
    assert wire.pop(10.201) == b"b" * 1152
    assert wire.pending_bytes == 0
    free = Wire(pacing=False)
    free.push(b"a" * 100_000, 5.0, 9600)
    assert free.pop(5.0) == b"a" * 100_000


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_faults_strike_at_their_byte(step: int) -> None:
    stream = bytes(1000)
    meddler = Meddler(Faults(pull_after_rx=700, noise_after_rx=300, noise_bytes=50, seed=4))
    arrived, out = b"", False
    for at in range(0, len(stream), step):
        data, out = meddler.receive(stream[at : at + step])
        arrived += data
        if out:
            break
    assert out
    assert len(arrived) == 700
    assert arrived[:300] == bytes(300)
    assert arrived[350:] == bytes(350)
    assert arrived[300:350] == Meddler(Faults(noise_after_rx=0, noise_bytes=50, seed=4)).receive(bytes(50))[0]
    assert any(arrived[300:350])


# ---- loaders ----


def _hardware(flash: Flash, name: str = "esp32") -> Hardware:
    profile = PROFILES[name]
    return Hardware(profile, Registers(profile, bytes(6), flash.size_bytes), flash, NO_TIME, lambda: 115200)


class Talk:
    """A loader, asked one command at a time; flash operations are done at once."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self._actions = loader.run()
        self.greeting = self._replies()

    def _replies(self) -> list[bytes]:
        replies = []
        for action in self._actions:
            if isinstance(action, bytes):
                replies.append(action)
            elif isinstance(action, Wait):
                if not self.loader.inbox:
                    break
            else:
                action.apply(self.loader.hw.flash)
        return replies

    def ask(
        self, op: int, *words: int, block: bytes | None = None, checksum: int | None = None
    ) -> list[bytes]:
        """The answers. A block comes with the four words before it."""
        data = struct.pack(f"<{len(words)}I", *words)
        if block is not None:
            data = struct.pack("<4I", len(block), *words, 0, 0) + block
            checksum = checksum if checksum is not None else _checksum(block)
        self.loader.inbox.append(struct.pack("<BBHI", 0, op, len(data), checksum or 0) + data)
        return self._replies()

    def status(self, op: int, *words: int, block: bytes | None = None, checksum: int | None = None) -> int:
        """The status of the one answer."""
        (reply,) = self.ask(op, *words, block=block, checksum=checksum)
        assert reply[:2] == bytes([1, op])
        tail = reply[-self.loader.status_bytes :]
        return int.from_bytes(tail[:2], "big")


def _checksum(data: bytes) -> int:
    value = 0xEF
    for byte in data:
        value ^= byte
    return value


def test_the_rom_wants_the_flash_attached_and_its_size(flash: Flash) -> None:
    talk = Talk(RomLoader(_hardware(flash)))
    assert talk.status(Op.FLASH_BEGIN, 4096, 4, 1024, 0) == Status.ROM_FAILED
    assert talk.status(Op.SPI_ATTACH, 0, 0) == Status.OK
    assert talk.status(Op.FLASH_BEGIN, 4096, 4, 1024, 0) == Status.OK
    assert (
        talk.status(Op.FLASH_BEGIN, 4096, 4, 1024, 2 * MIB) == Status.ROM_FAILED
    )  # it takes 2 MiB for granted
    assert talk.status(Op.SPI_SET_PARAMS, 0, 4 * MIB, 65536, 4096, 256, 0xFFFF) == Status.OK
    assert talk.status(Op.FLASH_BEGIN, 4096, 4, 1024, 2 * MIB) == Status.OK
    assert talk.status(Op.FLASH_BEGIN, 4096, 4, 1024, 4 * MIB) == Status.ROM_FAILED


def test_the_rom_checks_each_block(flash: Flash) -> None:
    talk = Talk(RomLoader(_hardware(flash)))
    talk.ask(Op.SPI_ATTACH, 0, 0)
    assert talk.status(Op.FLASH_DATA, 0, block=b"x" * 1024) == Status.ROM_FAILED  # nothing has begun
    talk.ask(Op.FLASH_BEGIN, 4096, 4, 1024, 0)
    assert talk.status(Op.FLASH_DATA, 0, block=b"x" * 1024, checksum=1) == Status.ROM_CHECKSUM
    assert talk.status(Op.FLASH_DATA, 0, block=b"x" * 1024) == Status.OK
    assert flash.read(0, 1025) == b"x" * 1024 + b"\xff"
    assert talk.status(Op.FLASH_BEGIN) == Status.ROM_INVALID
    assert talk.status(Op.FLASH_END, 0) == Status.OK
    assert talk.loader.exit is Exit.FLASH


@pytest.mark.parametrize("name", PROFILES)
def test_what_chips_answer_about_themselves(flash: Flash, name: str) -> None:
    talk = Talk(RomLoader(_hardware(flash, name)))
    replies = talk.ask(Op.GET_SECURITY_INFO)
    profile = PROFILES[name]
    if name == "esp32":  # its ROM does not know the command, and says so eight times
        assert [reply[8:10] for reply in replies] == [b"\x01\x05"] * 8
    elif name == "esp32s2":
        assert [len(reply) - 8 for reply in replies] == [12 + 4]
    else:
        assert struct.unpack_from("<I", replies[0], 8 + 12) == (profile.chip_id,)
    assert len(talk.ask(Op.SYNC)) == 8


def test_the_stub_tells_of_a_bad_block_with_the_next_answer(flash: Flash) -> None:
    talk = Talk(StubLoader(_hardware(flash)))
    assert talk.greeting == [b"OHAI"]
    data = bytes(5000)
    packed = zlib.compress(data)
    assert talk.status(Op.FLASH_DEFL_BEGIN, 5000, 1, 0x4000, 0x1000) == Status.OK
    assert talk.status(Op.FLASH_DEFL_DATA, 0, block=b"\xff" + packed) == Status.OK
    assert talk.status(Op.FLASH_DEFL_DATA, 1, block=packed) == Status.STUB_INFLATE
    assert talk.status(Op.FLASH_DEFL_BEGIN, 5000, 1, 0x4000, 0x1000) == Status.OK
    assert talk.status(Op.FLASH_DEFL_DATA, 0, block=packed) == Status.OK
    assert talk.status(Op.FLASH_DEFL_END, 1) == Status.OK
    assert flash.read(0x1000, 5001) == data + b"\xff"


def test_the_stub_counts_what_was_announced(flash: Flash) -> None:
    talk = Talk(StubLoader(_hardware(flash)))
    assert talk.status(Op.FLASH_END, 1) == Status.STUB_NOT_WRITING
    assert talk.status(Op.FLASH_BEGIN, 5000, 1, 0x4000, 0) == Status.OK
    assert talk.status(Op.FLASH_END, 1) == Status.STUB_TOO_LITTLE
    assert talk.status(Op.FLASH_DEFL_BEGIN, 100, 1, 0x4000, 0) == Status.OK
    assert talk.status(Op.FLASH_DEFL_DATA, 0, block=zlib.compress(bytes(MIB))) == Status.OK
    assert talk.status(Op.FLASH_DEFL_END, 1) == Status.STUB_TOO_MUCH
    assert flash.read(0, 200) == b"\xff" * 200
    assert talk.status(Op.ERASE_REGION, 0x800, 0x1000) == Status.STUB_LENGTH
    assert talk.status(Op.ERASE_REGION, 4 * MIB, 0x1000) == Status.STUB_LENGTH


def test_the_stub_returns_to_the_rom(flash: Flash) -> None:
    talk = Talk(StubLoader(_hardware(flash)))
    talk.ask(Op.FLASH_BEGIN, 0, 0, 0x4000, 0)
    assert talk.status(Op.FLASH_END, 0) == Status.OK
    assert talk.loader.exit is Exit.ROM


def test_reading_stays_within_what_the_host_has_taken(flash: Flash) -> None:
    flash.program(0, random.Random(1).randbytes(10 * 4096))
    talk = Talk(StubLoader(_hardware(flash)))
    replies = talk.ask(Op.READ_FLASH, 0, 10 * 4096, 4096, 3)
    assert [len(reply) for reply in replies[1:]] == [4096] * 3
    read = replies[1:]
    for taken in range(1, 11):
        talk.loader.inbox.append(struct.pack("<I", taken * 4096))
        read += talk._replies()
    assert b"".join(read[:-1]) == flash.read(0, 10 * 4096)
    assert read[-1] == flash.md5(0, 10 * 4096)
