"""How long this board works on a block, and when the server should know (PROTOCOL.md section 8).

A board that takes blocks more slowly than they come overflows its queue of six datagrams, and so loses on
a perfect radio what it would have had from a slower stream.
"""

from . import port

FIRST_BLOCKS = 3  # the server sends four at once, one of which may be lost, and waits for a word
MEAN_BLOCKS = 32  # so many count, and after so many it is looked at again
CHANGE = 16  # a change by a sixteenth is worth a word, if it is more than
LEAST_US = 100  # of a block: no server sends so much faster
REPEAT_MS = 2000  # a word may be lost, and an old one counts no more after ten seconds
SLOW_US = 1000  # for a block: flash is what the board waits for
SLACK_US = 1000  # one long pause (the collector's, the radio's) is for the queue to bridge


class Work:
    """A running mean of the time for a write, and the shortest time from one write to the next.

    The latter is what reading and clocking cost when the next frame is there already; it may include
    waiting when none ever was, so it is not taken for much. tell: called with the microseconds for a block
    when the server should know, or None.
    """

    def __init__(self):
        self.tell = None
        self.is_slow = False  # its flash takes a millisecond and more for a block
        self._blocks = 0
        self._write_us = 0
        self._between_us = 1 << 20
        self._start = 0
        self._end = 0
        self._told_us = 0
        self._told_ms = 0

    def begin(self, tell):
        """A session begins: its server knows nothing yet."""
        self.tell = tell
        self._blocks = 0
        self._told_us = 0

    def start(self):
        """A block is about to be written."""
        self._start = start = port.ticks_us()
        if self._blocks:
            between_us = port.ticks_diff(start, self._end)
            if between_us < self._between_us:
                self._between_us = between_us

    def done(self, now_ms):
        """It is written."""
        self._end = end = port.ticks_us()
        self._blocks = blocks = self._blocks + 1
        if blocks > 1:  # a container's first block is not written to flash
            us = port.ticks_diff(end, self._start)
            mean_us = self._write_us
            if us > 2 * mean_us + SLACK_US and blocks > FIRST_BLOCKS:
                us = 2 * mean_us + SLACK_US
            self._write_us = mean_us + (us - mean_us) // (MEAN_BLOCKS if blocks > MEAN_BLOCKS else blocks - 1)
        if (not blocks % MEAN_BLOCKS or blocks == FIRST_BLOCKS) and self.tell is not None:
            self._say(now_ms)
            self.is_slow = self._write_us >= SLOW_US

    def _say(self, now_ms):
        us = self._write_us + min(self._between_us, self._write_us // 8 + SLACK_US // 8)
        change_us = abs(us - self._told_us)
        is_changed = change_us > LEAST_US and change_us * CHANGE > self._told_us
        if is_changed or not self._told_us or now_ms - self._told_ms >= REPEAT_MS:
            self._told_us = us or 1
            self._told_ms = now_ms
            self.tell(self._told_us)
