"""Receiver._is_next is a short cut and nothing else: with it and without it a session is the same.

Two receivers hear the same frames, datagrams and times; one of them never takes the short cut.
"""

from core_helpers import Dice
from core_peers import make_offer, oack

from gapcast_core import receiver, wire
from gapcast_core.gaps import GapList

BLK = 16
STATE = (
    "ack",
    "position",
    "end",
    "drops",
    "duplicates",
    "is_master",
    "was_master",
    "heard_data",
    "at_end",
    "error",
    "_heard_ms",
    "_acked",
    "_repeats",
    "_in_window",
    "_asked",
    "_far_block",
    "_run_block",
    "_run",
    "_waiting",
    "_last_bytes",
    "_tail_due",
)


def never(_frame, _block):
    return False


class Twins:
    """The same session twice, with the short cut and without it."""

    def __init__(self, dice, blocks, master, aware, known=True, capacity=None, held=(), mends=0, window=8):
        self.dice = dice
        self.now_ms = 1000
        self.ways = 0  # how often the long way was taken by the one that has the short cut
        self.frames = 0
        size = blocks * BLK - dice.below(2) * dice.below(BLK)
        self.quick = self._make(size, master, aware, known, capacity, held, mends, window)
        self.slow = self._make(size, master, aware, known, capacity, held, mends, window)
        self.slow._is_next = never
        self.quick._accept = self._counted
        self.check("made")

    def _make(self, size, master, aware, known, capacity, held, mends, window):
        offer = make_offer(size, BLK, master, aware, known, window)
        gaps = GapList(offer.blocks(), capacity)
        for first, length in held:
            gaps.add_range(first, length)
        rx = receiver.Receiver(offer, gaps, self.now_ms, 77)
        rx.mends = mends
        return rx

    def _counted(self, frame, length, now_ms):
        self.ways += 1
        return receiver.Receiver._accept(self.quick, frame, length, now_ms)

    @property
    def running(self):
        return self.quick.end == receiver.RUNNING

    def check(self, what):
        for name in STATE:
            found = getattr(self.quick, name)
            assert found == getattr(self.slow, name), (what, name, found)
        assert self.quick.gaps.ranges() == self.slow.gaps.ranges(), what
        assert self.quick.gaps.merges == self.slow.gaps.merges, what
        assert self.quick.offer.size_bytes == self.slow.offer.size_bytes, what

    def both(self, what, act):
        """Do the same to both, as long as the session runs."""
        if self.running:
            found = act(self.quick)
            assert act(self.slow) == found, (what, found)
            self.check(what)
            if self.dice.percent(90):
                self.quick.ack = self.slow.ack = receiver.NO_ACK

    def hear(self, block, size=BLK, op=wire.OP_DATA, first=0):
        """One frame, stored if wanted."""
        frame = bytearray(4 + BLK)
        frame[0] = first
        frame[1] = op
        frame[2] = block >> 8 & 255
        frame[3] = block & 255
        self.frames += 1
        self.both((block, size, op, first), lambda rx: take(rx, frame, 4 + size, self.now_ms))


def take(rx, frame, length, now_ms):
    block = rx.accept(frame, length, now_ms)
    if block:
        rx.stored(block)
    return block


class Stream:
    """Frames as a bad network and bad people bring them."""

    def __init__(self, twins):
        self.twins = twins
        self.dice = twins.dice
        self.total = twins.quick.gaps.total if twins.quick.gaps.total_known else 60
        self.next = 1
        self.late = []  # blocks that come out of order
        self.acts = (
            self.run,
            self.run,
            self.lose,
            self.repeat,
            self.reorder,
            self.forge,
            self.spoil,
            self.wait,
            self.tell,
            self.mend,
            self.go_elsewhere,
        )

    def step(self):
        self.twins.now_ms += self.dice.below(4)
        if self.late and self.dice.percent(50):
            self.twins.hear(self.late.pop(self.dice.below(len(self.late))))
        if self.dice.percent(30):
            self.acts[self.dice.below(len(self.acts))]()
        else:
            self.run()

    def run(self):
        for _again in range(1 + self.dice.below(6)):
            size = BLK
            if self.next >= self.total and self.dice.percent(50):
                size = self.dice.below(BLK + 1)
            self.twins.hear(self.next, size)
            self.next += 1
            if self.next > self.total + 1:
                self.go_elsewhere()

    def lose(self):
        self.next = min(self.next + 1 + self.dice.below(9), self.total)

    def repeat(self):
        for block in range(max(self.next - 1 - self.dice.below(4), 0), self.next):
            self.twins.hear(block)

    def reorder(self):
        self.late.append(self.next)
        self.next = min(self.next + 1, self.total)

    def forge(self):
        """A number from anywhere; now and then two or more that go on from each other."""
        block = self.dice.below(2 * self.total)
        if self.dice.percent(30):
            block = self.dice.below(0x10000)
        for _again in range(1 + self.dice.below(4)):
            self.twins.hear(block)
            block += 1 + self.dice.below(receiver.JUMP_STEP_BLOCKS + 1)

    def spoil(self):
        """The next block, but not as it should be; or the end, which it is not."""
        kind = self.dice.below(5)
        if kind == 0:
            self.twins.hear(self.next, self.dice.below(BLK))
        elif kind == 1:
            self.twins.hear(self.next, op=self.dice.below(7))
        elif kind == 2:
            self.twins.hear(self.next, first=1 + self.dice.below(255))
        elif kind == 3:
            self.twins.hear(self.next, self.dice.below(5) - 4)
        else:
            self.twins.hear(self.total + 1, 0)  # as a stock server's last one

    def wait(self):
        """Nothing comes for a while; mostly not for so long that the session ends."""
        twins = self.twins
        for _again in range(1 + self.dice.below(5 if self.dice.percent(90) else 40)):
            twins.now_ms += 100
            twins.both("tick", lambda rx: rx.tick(twins.now_ms))

    def tell(self):
        data = oack(self.dice.below(2), short=self.dice.percent(50))
        self.twins.both("oack", lambda rx: rx.control(data, self.twins.now_ms))

    def mend(self):
        """A symbol, or a block that was solved from some: of any place, also the very next one."""
        twins = self.twins
        twins.both("symbol", lambda rx: rx.hear(twins.now_ms))
        block = twins.quick.gaps.next_missing(1 + self.dice.below(self.next + 2))
        if twins.quick.mends and block <= self.total:
            twins.both("mended", lambda rx: rx.mended(block))

    def go_elsewhere(self):
        """The server sends what was asked for, or starts anew."""
        self.next = 1 + self.dice.below(self.total)
        if self.dice.percent(50):
            self.next = min(self.twins.quick.gaps.next_missing(1), self.total)


def random_held(dice, blocks):
    held = []
    first = 1
    while dice.percent(60) and first < blocks:
        first += dice.below(8)
        length = 1 + dice.below(10)
        held.append((first, min(length, blocks - first + 1)))
        first += length + 1
    return [pair for pair in held if pair[1] > 0]


def session(seed, steps=80):
    """One session from a seed; the twins after it."""
    dice = Dice(seed)
    for _again in range(3):
        dice.below(2)  # neighbouring seeds begin alike
    aware = dice.percent(70)
    known = aware or dice.percent(70)
    blocks = 2 + dice.below(70)
    twins = Twins(
        dice,
        blocks,
        dice.percent(50),
        aware,
        known,
        (2, 5, None)[dice.below(3)],
        random_held(dice, blocks) if known and dice.percent(40) else (),
        20 if aware and dice.percent(40) else 0,
        (1, 2, 3, 8)[dice.below(4)],
    )
    stream = Stream(twins)
    for _step in range(steps):
        if not twins.running:
            break
        stream.step()
    return twins


def test_a_session_is_the_same_with_the_short_cut_and_without_it():
    frames = ways = 0
    ends = {}
    for seed in range(400):
        twins = session(7919 * seed + 3)
        frames += twins.frames
        ways += twins.ways
        ends[twins.quick.end] = ends.get(twins.quick.end, 0) + 1
    assert frames > 10000
    assert frames // 5 < ways < frames - frames // 5, "both ways were gone often enough to compare"
    assert len(ends) >= 3, ends


def test_a_clean_stream_takes_the_short_cut_but_for_its_ends():
    for master in (True, False):
        for aware in (True, False):
            twins = Twins(Dice(1), 50, master, aware)
            for block in range(1, 51):
                twins.hear(block)
            assert twins.quick.gaps.complete
            assert twins.ways == 2, "the first and the last"


def test_what_is_not_simply_the_next_block_goes_the_long_way():
    """Each time the stream has run before, so that the very next block would have taken the short cut."""
    spoilers = (
        lambda twins: twins.hear(21, size=BLK - 1),
        lambda twins: twins.hear(21, op=wire.OP_ACK),
        lambda twins: twins.hear(21, first=1),
        lambda twins: twins.hear(20),
        lambda twins: twins.hear(22),
        lambda twins: twins.hear(0),
        lambda twins: twins.hear(5),
        lambda twins: twins.hear(21 + 256),
        lambda twins: twins.hear(50),
        lambda twins: twins.hear(51),
        lambda twins: twins.hear(51, size=0),
    )
    for spoil in spoilers:
        for master in (True, False):
            twins = Twins(Dice(1), 50, master, True)
            for block in range(1, 21):
                twins.hear(block)
            ways = twins.ways
            spoil(twins)
            assert twins.ways == ways + 1
            for block in range(21, 51):
                twins.hear(block)


def test_after_a_word_of_the_server_or_a_silence_one_block_goes_the_long_way():
    for master in (True, False):
        for word in (0, 1):
            twins = Twins(Dice(1), 50, master, True)
            for block in range(1, 21):
                twins.hear(block)
            ways = twins.ways
            told = oack(word)
            twins.both("oack", lambda rx, told=told, twins=twins: rx.control(told, twins.now_ms))
            twins.hear(21)
            assert twins.ways == ways + (word == 0), "told to wait, it waits no more"
            twins.now_ms += receiver.MASTER_REPEAT_MS + 50
            ways = twins.ways
            twins.both("tick", lambda rx, twins=twins: rx.tick(twins.now_ms))
            repeats = twins.quick._repeats
            twins.hear(22)
            assert twins.ways == ways + (repeats > 0)
            assert twins.quick._repeats == 0
            twins.hear(23)
            assert twins.quick.gaps.next_block == 24
