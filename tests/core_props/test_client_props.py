"""Whatever a peer sends, at whatever moment: the client's machines stay legal."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gapcast_core import offer as offers
from gapcast_core import receiver, repair, wire
from gapcast_core.errors import PeerError
from gapcast_core.gaps import GapList

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))

from core_peers import GROUP, PORT, check_ack, make_offer

BLK = 16
MAX_SIZE = 40 * BLK

numbers = st.one_of(st.integers(0, 45), st.sampled_from([255, 256, 0x7FFF, 0x8000, 65534, 65535]))
option_values = st.one_of(
    st.just(""),
    st.integers(-1, 1 << 33).map(str),
    st.sampled_from(
        [f"{GROUP},{PORT},0", f"{GROUP},{PORT},1", f"{GROUP},{PORT + 1},1", ",,0", ",,1", "10.1.1.1,5,1"]
    ),
    st.sampled_from(["1-40", "1", "2-3,7", "7,2", "0", "x", "1-"]),
    st.text(max_size=12).filter(lambda text: "\0" not in text),
)
option_names = st.sampled_from(
    ["blksize", "tsize", "windowsize", "multicast", "ranges", "timeout", "RANGES", "Multicast", "x"]
)
oacks = st.lists(st.tuples(option_names, option_values), max_size=6).map(wire.pack_oack)
datagrams = st.one_of(
    oacks,
    st.binary(max_size=24),
    st.builds(wire.pack_error, st.integers(0, 255), st.text(max_size=9)),
    st.builds(wire.pack_data, numbers, st.binary(max_size=BLK + 2)),
    st.builds(wire.pack_ack, numbers),
)
asked_lists = st.one_of(st.none(), st.just([]), st.just([(2, 2), (7, 1)]), st.just([(1, 40)]))


@settings(max_examples=400, deadline=None)
@given(data=datagrams, asked=asked_lists)
def test_an_answer_is_an_offer_or_a_peer_error(data: bytes, asked: list[tuple[int, int]] | None) -> None:
    offers.is_turn(data)
    try:
        offer = offers.parse_offer(data, 1024, 8, asked)
    except PeerError:
        return
    assert 8 <= offer.blksize <= 1024
    assert 1 <= offer.window <= 8
    assert offer.ranges is None or offer.ranges == (asked or [])[: len(offer.ranges)] != []
    assert (offer.group is None) == (offer.port == 0)


@settings(max_examples=200, deadline=None)
@given(
    blksize=st.sampled_from(["8", "512", "1024"]),
    tsize=st.one_of(st.integers(0, 1 << 30), st.sampled_from([1 << 30, (1 << 27) + 8, 1 << 27])),
)
def test_every_offer_that_is_accepted_has_a_gap_list(blksize: str, tsize: int) -> None:
    """A server must not bring about a UsageError: that is for bugs of our own."""
    try:
        offer = offers.parse_offer(wire.pack_oack([("blksize", blksize), ("tsize", str(tsize))]), 1024, 8)
    except PeerError:
        return
    assert GapList(offer.blocks()).total == offer.blocks()


class ReceiverMachine(RuleBasedStateMachine):
    """Frames, control datagrams and time in any order."""

    @initialize(
        size=st.integers(0, MAX_SIZE),
        master=st.booleans(),
        aware=st.booleans(),
        known=st.booleans(),
        capacity=st.sampled_from([2, 4, 480]),
        held=st.lists(st.integers(1, 40), max_size=30),
    )
    def start(
        self, size: int, master: bool, aware: bool, known: bool, capacity: int, held: list[int]
    ) -> None:
        self.now_ms = 1000
        self.size = size
        self.known = known
        self.stored: set[int] = set()
        offer = make_offer(size, BLK, master, aware, known)
        self.gaps = GapList(offer.blocks(), capacity)
        if known:
            for block in held:
                self.gaps.add(block)
        self.rx = receiver.Receiver(offer, self.gaps, self.now_ms, 77)

    def running(self) -> bool:
        return self.rx.end == receiver.RUNNING

    def hear(self, frame: bytes) -> None:
        buffer = bytearray(4 + BLK)
        length = min(len(frame), len(buffer))
        buffer[:length] = frame[:length]
        missing = self.gaps.missing_blocks()
        block = self.rx.accept(buffer, length, self.now_ms)
        if not block:
            assert self.gaps.missing_blocks() <= missing
            return
        assert self.gaps.is_missing(block)
        assert block not in self.stored or self.gaps.merges
        rest = 4 + self.size - (self.gaps.total - 1) * BLK
        assert length == 4 + BLK or block == self.gaps.total
        assert length >= rest or block != self.gaps.total or not self.known
        self.rx.stored(block)
        self.stored.add(block)
        assert not self.gaps.is_missing(block)

    @rule(data=datagrams)
    def any_frame(self, data: bytes) -> None:
        if not self.running():
            return
        self.hear(data)

    @rule(block=numbers, fill=st.sampled_from([0, 1, BLK - 1, BLK, BLK]))
    def data_frame(self, block: int, fill: int) -> None:
        if not self.running():
            return
        self.hear(wire.pack_data(block, b"d" * fill))

    @rule(first=st.integers(1, 40), count=st.integers(1, 12))
    def run_of_blocks(self, first: int, count: int) -> None:
        if not self.running():
            return
        for block in range(first, first + count):
            if self.running():
                self.hear(wire.pack_data(block, b"d" * BLK))
                self.legal()

    @rule(data=datagrams)
    def control(self, data: bytes) -> None:
        if not self.running():
            return
        self.rx.control(data, self.now_ms)

    @rule(step_ms=st.sampled_from([1, 100, 400, 1600, 7000, 16000]))
    def time_passes(self, step_ms: int) -> None:
        if not self.running():
            return
        self.now_ms += step_ms
        self.rx.tick(self.now_ms)

    @invariant()
    def legal(self) -> None:
        rx = self.rx
        assert receiver.RUNNING <= rx.end <= receiver.REFUSED
        assert (rx.error is not None) == (rx.end == receiver.REFUSED)
        assert rx.position <= self.gaps.total + 1
        if rx.end == receiver.COMPLETE:
            assert self.gaps.is_complete()
        if rx.ack >= 0 and self.gaps.total_known:
            check_ack(rx)
        if not self.gaps.merges:
            assert not any(self.gaps.is_missing(block) for block in self.stored)
        rx.ack = receiver.NO_ACK


TestReceiver = ReceiverMachine.TestCase
TestReceiver.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


class ReaderMachine(RuleBasedStateMachine):
    """One unicast read of anything."""

    @initialize(
        ranges=st.sampled_from([None, [(1, 40)], [(2, 2), (7, 1), (30, 11)], [(40, 1)]]),
        window=st.integers(1, 8),
        known=st.booleans(),
        plain=st.booleans(),
    )
    def start(self, ranges: list[tuple[int, int]] | None, window: int, known: bool, plain: bool) -> None:
        self.now_ms = 0
        self.order: list[int] = []
        offer = offers.Offer()
        offer.blksize = BLK
        offer.window = window
        offer.ranges = ranges
        offer.plain = plain
        self.ranges = ranges
        offer.size_bytes = 40 * BLK if known else None
        self.reader = repair.Reader(offer, offer.blocks(), 0)

    def running(self) -> bool:
        return not self.reader.done and not self.reader.failed

    def hear(self, frame: bytes) -> None:
        if self.reader.accept(bytearray(frame), len(frame), self.now_ms):
            self.order.append(self.reader.block)
            self.reader.advance()

    @rule(data=datagrams)
    def any_frame(self, data: bytes) -> None:
        if not self.running():
            return
        self.hear(data)

    @rule(skip=st.integers(-3, 3), fill=st.sampled_from([0, 3, BLK, BLK, BLK, BLK]))
    def near_frame(self, skip: int, fill: int) -> None:
        if not self.running():
            return
        self.hear(wire.pack_data(len(self.order) + 1 + skip, b"d" * fill))

    @rule(step_ms=st.sampled_from([1, 100, 600, 7000]))
    def time_passes(self, step_ms: int) -> None:
        if not self.running():
            return
        self.now_ms += step_ms
        self.reader.tick(self.now_ms)

    @invariant()
    def legal(self) -> None:
        wanted = list(range(1, len(self.order) + 1))
        if self.ranges is not None:
            wanted = [block for first, length in self.ranges for block in range(first, first + length)]
        assert self.order == wanted[: len(self.order)]
        ack = self.reader.ack
        if ack >= 0:
            over = self.ranges is not None and self.reader.done and ack == len(self.order) + 1
            assert ack == len(self.order) or over
        self.reader.ack = repair.NO_ACK


TestReader = ReaderMachine.TestCase
TestReader.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
