"""The unicast side: one TFTP read with a window, of a whole file or of a virtual file.

RFC 1350, 2347, 2348, 7440, and `ranges` (PROTOCOL.md section 4). Pure, like receiver.py: the
caller reads a frame, asks `accept`, stores the block if it is still missing, then `advance`.
"""

from . import options as opt
from . import wire
from .errors import UsageError

NO_ACK = -1
REPEAT_MS = 500  # a silent Gapcast server gets our last ACK again; its own timer is shorter
GIVE_UP_REPEATS = 8
FIRST_AGAIN_MS = 200  # the ACK of an OACK is repeated so soon: a board has a second for a header
FIRST_TIMES = 4  # and so often
ASK_AGAIN_MS = 100  # what comes sooner may have been on its way before our ACK
STOCK_REPEAT_MS = 6000  # see receiver.py
STOCK_GIVE_UP_REPEATS = 3


class Reader:
    """One read.

    offer: the server's answer. total: blocks of the whole file that carry bytes, or None.
    """

    def __init__(self, offer, total, now_ms):
        self.offer = offer
        self.done = False  # the last DATA is in
        self.failed = None  # "timeout", or (code, text) of an ERROR
        self.block = 0  # the real block of the frame just accepted
        self.ack = NO_ACK if offer.plain else 0
        self.repeats = 0
        self._total = total
        self._next = 1  # the next number of the virtual file
        self._in_window = 0
        self._asked_again = False  # since the last block in order
        self._asked_ms = now_ms
        self._first_times = 0
        self._stale = False  # the server repeated blocks that we have
        self._full_bytes = wire.HEADER_BYTES + offer.blksize
        self._last_frame = False
        self._heard_ms = now_ms
        self._range = 0
        self._offset = 0
        self._count = None
        if offer.ranges is not None:
            if not offer.ranges:
                raise UsageError("a repair of no ranges")
            self._count = opt.count_blocks(offer.ranges)

    def quiet_ms(self, now_ms):
        """How long nothing has come."""
        return now_ms - self._heard_ms

    def is_data_complete(self):
        """All that was asked for is in; only the empty last DATA may be outstanding."""
        if self._count is not None:
            return self._next > self._count
        return self._total is not None and self._next > self._total

    def accept(self, frame, length, now_ms):
        """True when frame[4:length] is the next block in order; its number is `block`."""
        if length < 4 or frame[0] != 0:
            return False
        if frame[1] == wire.OP_ERROR:
            self.failed = wire.parse_error(frame[:length])
            return False
        if frame[1] != wire.OP_DATA or length > self._full_bytes:
            return False
        ahead = ((frame[2] << 8 | frame[3]) - self._next) & 0xFFFF
        if ahead == 0:
            return self._in_order(length, now_ms)
        if ahead >= 0x8000 and ahead != 0xFFFF:
            self._stale = True
        elif not self._asked_again or now_ms - self._asked_ms >= ASK_AGAIN_MS:
            # Ahead: a block is lost (RFC 7440 section 4). The one before: our ACK was lost.
            self._ask_again(now_ms)
        return False

    def _ask_again(self, now_ms):
        """Resume from here."""
        self.ack = self._next - 1
        self._asked_again = True
        self._asked_ms = now_ms
        self._stale = False
        self._in_window = 0

    def _in_order(self, length, now_ms):
        """Only the file's last block can be short; a frame that is too short is no block at all."""
        block = self._real_block()
        want_bytes = length if self.offer.size_bytes is None else self._frame_bytes(block)
        if length < want_bytes:
            return False
        self._heard_ms = now_ms
        self.repeats = 0
        self.block = block
        self._last_frame = want_bytes < self._full_bytes
        return True

    def _frame_bytes(self, block):
        rest_bytes = self.offer.size_bytes - (block - 1) * self.offer.blksize
        if rest_bytes < 0:
            rest_bytes = 0
        return min(wire.HEADER_BYTES + rest_bytes, self._full_bytes)

    def _real_block(self):
        if self._count is None or self._range >= len(self.offer.ranges):
            return self._next
        return self.offer.ranges[self._range][0] + self._offset

    def advance(self):
        """The accepted block is dealt with."""
        if self._count is not None and self._range < len(self.offer.ranges):
            self._offset += 1
            if self._offset == self.offer.ranges[self._range][1]:
                self._range += 1
                self._offset = 0
        number = self._next
        self._next = number + 1
        self._in_window += 1
        self._asked_again = False
        if self._last_frame:
            self.done = True
            self.ack = number
        elif self._count == number:
            # The empty last DATA may be acknowledged unseen (PROTOCOL.md section 4).
            self.done = True
            self.ack = number + 1
        elif self._in_window >= self.offer.window:
            self._in_window = 0
            self.ack = number

    def tick(self, now_ms):
        """Nothing came for a while; call it about every 100 ms."""
        stock = self.offer.ranges is None
        quiet_ms = self.quiet_ms(now_ms)
        first = self._next == 1 and self._first_times < FIRST_TIMES
        if stock and first and quiet_ms >= FIRST_AGAIN_MS * (self._first_times + 1):
            # A server that knows no more of us than a request may not repeat itself.
            self._first_times += 1
            self._ask_again(now_ms)
        if (self._stale or (stock and self._in_window)) and quiet_ms >= ASK_AGAIN_MS:
            # The end of a window is lost: it did not fit into a board's short queue, and would not the
            # next time. Now the queue is empty. A Gapcast server's window may be waiting for the pacer.
            self._ask_again(now_ms)
        repeat_ms = STOCK_REPEAT_MS if stock else REPEAT_MS
        if now_ms - self._heard_ms > repeat_ms * (self.repeats + 1):
            self.repeats += 1
            self._in_window = 0
            self._asked_again = False
            self.ack = self._next - 1
            if self.repeats > (STOCK_GIVE_UP_REPEATS if stock else GIVE_UP_REPEATS):
                self.failed = "timeout"
