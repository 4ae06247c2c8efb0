"""When a board looks whether it has something to report: not at every block, and at once where it counts."""

from fec_helpers import BLKSIZE

from gapcast_core import fec, mender
from gapcast_core import generations as gen
from gapcast_core.gaps import GapList

K = 32
TOTAL = 96
LOSSES = (3, 5)
START_MS = 100  # long after the last report


class Board:
    """A Mender that has heard the stream, and how often it has looked."""

    def __init__(self):
        self.gaps = GapList(TOTAL)
        self.mender = mender.Mender(self.gaps, gen.Plan(TOTAL, K), fec.Pool(BLKSIZE, 6), 0)
        self.looks = 0
        self.position = 1
        self._passed = self.mender._passed
        self.mender._passed = self._look

    def _look(self, position):
        self.looks += 1
        return self._passed(position)

    def hear(self, last, now_ms):
        """The stream up to block `last`, but for the losses."""
        while self.position <= last:
            block = self.position
            self.position += 1
            if block not in LOSSES:
                self.mender.note(block, now_ms)
                self.gaps.add(block)
                self.mender.stored(block)

    def symbol(self, unit, now_ms):
        self.mender.accept(gen.number(unit, 0), bytes(BLKSIZE), self.position, now_ms)

    def report(self, now_ms, at_end=0):
        """The needs that are reported, or None."""
        count = self.mender.report(self.position, at_end, now_ms)
        return None if count < 0 else list(self.mender.needs[:count])


def looked():
    """A board that has just found nothing to say: what it lacks may be on its way."""
    board = Board()
    board.hear(K + 8, START_MS)
    assert board.report(START_MS) is None
    assert board.looks == 1
    return board


def test_a_look_is_put_off():
    board = looked()
    board.hear(K + mender.SLACK_BLOCKS, START_MS)
    for now_ms in range(START_MS, START_MS + mender.LOOK_MS):
        assert board.report(now_ms) is None
    assert board.looks == 1
    assert board.report(START_MS + mender.LOOK_MS) == [2]
    assert board.looks == 2


def test_the_first_look_waits_for_nothing():
    board = Board()
    board.hear(K + mender.SLACK_BLOCKS, mender.REPORT_MS)
    assert board.report(mender.REPORT_MS - 1) is None, "its session began just now"
    assert board.looks == 0
    assert board.report(mender.REPORT_MS) == [2]


def test_the_end_is_told_at_once():
    board = looked()
    board.hear(TOTAL, START_MS)
    assert board.report(START_MS) is None
    assert board.report(START_MS, at_end=1) == [2, 0, 0]
    assert board.report(START_MS, at_end=1) is None
    assert board.report(START_MS, at_end=2) == [2, 0, 0], "as master once more"


def test_a_symbol_makes_it_look_at_once():
    board = looked()
    board.symbol(0, START_MS + 1)
    assert board.report(START_MS + 1) == [1]


def test_a_symbol_of_no_use_does_not():
    board = looked()
    board.hear(K + mender.SLACK_BLOCKS, START_MS)
    for unit in (gen.alone(2000), gen.alone(3)):
        board.symbol(unit, START_MS + 1)
    board.mender.accept(gen.number(0, 0) | gen.MIXED_FLAG, bytes(BLKSIZE), board.position, START_MS + 1)
    assert board.report(START_MS + 1) is None
    assert board.looks == 1


def test_a_pause_of_the_server_makes_it_look_at_once():
    board = looked()
    just_now_ms = START_MS + mender.PAUSE_MS - 1
    assert board.report(just_now_ms) is None
    assert board.looks == 2
    board.hear(K + 9, just_now_ms + 1)
    assert board.report(just_now_ms + 1) == [2]


def test_a_block_in_time_is_no_pause():
    board = looked()
    now_ms = START_MS + mender.PAUSE_MS - 1
    assert board.report(now_ms) is None
    board.hear(K + 9, now_ms)
    assert board.report(now_ms + 1) is None
    assert board.looks == 2


def test_at_a_slow_rate_the_usual_time_between_two_blocks_is_no_pause():
    """At 1 Mbit/s a block comes each 9 ms: nobody waits for a word then."""
    board = Board()
    now_ms = START_MS
    for last in range(1, 2 * K + 1):
        board.hear(last, now_ms)
        board.report(now_ms)
        now_ms += 9
    assert board.looks
    looks = board.looks
    board.hear(2 * K + 1, now_ms)
    assert not board.mender._woken
    now_ms += 9 * (mender.PAUSE_DATAGRAMS + 1)
    board.hear(2 * K + 2, now_ms)
    assert board.mender._woken
    board.report(now_ms)
    assert board.looks == looks + 1


def test_pauses_are_not_the_usual_time_for_ever():
    """After the stream the server waits longer and longer between two symbols: each must wake a report."""
    board = Board()
    board.hear(2 * K, START_MS)
    now_ms = START_MS
    for _ in range(500):
        now_ms += 768
        board.mender.note(0, now_ms)
        board.report(now_ms)
    assert board.mender._pause_ms <= mender.PAUSE_DATAGRAMS * mender.SPACING_MAX_MS
    now_ms += mender.PAUSE_DATAGRAMS * mender.SPACING_MAX_MS
    board.mender._woken = False
    board.mender.note(0, now_ms)
    assert board.mender._woken


def test_silence_is_noticed_a_look_later_at_most():
    """Nothing comes at all: what was reported is asked for again."""
    for start_ms in range(START_MS, START_MS + mender.LOOK_MS):
        board = Board()
        board.hear(K + mender.SLACK_BLOCKS, START_MS)
        assert board.report(START_MS) == [2]
        now_ms = start_ms
        while board.report(now_ms) is None:
            now_ms += 1
        due_ms = START_MS + max(mender.REPORT_MS, mender.PAUSE_MS)
        assert due_ms <= now_ms < due_ms + mender.LOOK_MS


def test_so_many_blocks_a_look():
    """Two blocks a millisecond, the pace of a good radio; what is reported is what it was."""
    board = Board()
    reports = []
    for block in range(1, TOTAL + 1):
        now_ms = START_MS + block // 2
        board.hear(block, now_ms)
        needs = board.report(now_ms)
        if needs is not None:
            reports.append(needs)
    assert board.looks <= TOTAL // 2 // mender.LOOK_MS + 1
    assert reports[0] == [2]
