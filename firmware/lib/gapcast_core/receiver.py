"""One multicast session as a client sees it: master or listener (PROTOCOL.md section 7).

Pure: frames, datagrams and milliseconds come in; which block to store, which ACK to send and
how the session ended come out. The order that keeps a power cut harmless is the caller's:
`accept` a frame, write the block to flash, then tell `stored`. Nothing here allocates per
packet.
"""

from . import options as opt
from . import wire
from .errors import PeerError

# How a session ended, for the caller to act on.
RUNNING = 0
COMPLETE = 1  # every block is stored
GAPS_LEFT = 2  # the stream is over (its end seen as master, or our turn): repair now
SILENCE = 3  # nobody speaks any more: go on by ourselves
REFUSED = 4  # the server sent an ERROR

NO_ACK = -1

FIRST_DATA_MS = 3000  # the server gathers, and a master before us may have to be replaced
SILENCE_MS = 1500  # the server replaces a dead master within a second
STOCK_SILENCE_MS = 15000  # atftpd takes up to 12 s to replace a dead master
MASTER_REPEAT_MS = 300  # a master repeats its ACK when nothing comes
# atftpd starts its timeout (5 s) anew at every datagram: a quicker repeat would keep it from sending again.
STOCK_REPEAT_MS = 6000
TAIL_WAIT_MS = 1500  # for a stock server's empty last DATA, once all bytes are in
WAIT_MS = 3500  # the server says "wait" about once a second: three may be lost
BACKOFF_MIN_MS = 500
BACKOFF_SPAN_MS = 1500

# Anybody in the network can send DATA to the group in the server's name, and each number that is
# believed costs a chunk. So a block far ahead of the stream is believed only when it continues from the
# one that was last heard out there. After a long loss that costs one block more.
JUMP_BLOCKS = 4
RUN_BLOCKS = 2
JUMP_STEP_BLOCKS = 4  # of the blocks after the first one some may be lost too


class Receiver:
    """State of one session.

    offer: the server's OACK. gaps: the GapList to fill, in blocks of offer.blksize.
    random_16: a random number 0..65535 for the back-off.
    """

    def __init__(self, offer, gaps, now_ms, random_16):
        self.offer = offer
        self.gaps = gaps
        self.is_master = offer.is_master
        self.was_master = offer.is_master
        self.end = RUNNING
        self.error = None
        self.ack = 0  # every client acknowledges its OACK (RFC 2090)
        self.position = 1  # the stream's next block, whether we wanted it or not
        self.heard_data = False
        self.drops = {}
        self.duplicates = 0
        self.at_end = 0  # how often this one, which mends, was a master and found itself at the end
        self.mends = 0  # repair symbols there is room for: with any the end of the stream is not yet ours
        self.limit_ms = None  # of a short session: so long it may take in all
        self._started_ms = now_ms
        self._random_16 = random_16
        self._heard_ms = now_ms
        self._acked = 0
        self._repeats = 0
        self._in_window = 0
        self._asked = 0
        self._far_block = -JUMP_BLOCKS  # the last one that was heard far ahead
        self._run_block = self._run = 0  # the block heard last, and how many before it were in order
        self._waiting = False  # told so by an OACK mc=0
        self._window = offer.window
        self._half_window = offer.window // 2 or 1
        self._full_bytes = wire.HEADER_BYTES + offer.blksize
        self._set_last()
        # A stock server's last DATA is empty when the size is an exact multiple (RFC 1350).
        size_bytes = offer.size_bytes
        self._tail_due = not offer.gap_aware and size_bytes is not None and size_bytes % offer.blksize == 0
        if gaps.is_complete() and gaps.total_known and not self._tail_due:
            self._finish()
        elif self.is_master:
            self.ack = self._request()

    def _set_last(self):
        """Length of the last block's frame; 0 while the size is unknown."""
        self._last_bytes = 0
        if self.gaps.total_known and self.offer.size_bytes is not None:
            rest = self.offer.size_bytes - (self.gaps.total - 1) * self.offer.blksize
            self._last_bytes = wire.HEADER_BYTES + rest

    # -- DATA ---------------------------------------------------------------------------

    def accept(self, frame, length, now_ms):
        """The block number to store from frame[4:length], or 0 for nothing to store."""
        if length < 4 or frame[0] != 0 or frame[1] != wire.OP_DATA:
            return self._drop("not_data")
        block = frame[2] << 8 | frame[3]
        if block == 0:
            return self._drop("block_zero")
        gaps = self.gaps
        if not gaps.total_known and length < self._full_bytes:
            self._learn_total(block, length)
        if block > gaps.total:
            return self._beyond(block, length)
        if length != self._full_bytes and not (block == gaps.total and length >= self._last_bytes):
            return self._drop("wrong_length")
        if block > self.position and block > self._believed() and not self._is_continued(block):
            return self._drop("far_ahead")
        self._heard_ms = now_ms
        self._repeats = 0
        self.heard_data = True
        self._waiting = False
        self._run = self._run + 1 if block == self._run_block + 1 else 0
        self._run_block = block
        # Where many blocks in a row come, there is the stream: forged ones had moved its position.
        if self._run >= RUN_BLOCKS and block + JUMP_BLOCKS < self.position <= gaps.total:
            self.position = block
        if block >= gaps.next_block or gaps.is_missing(block):
            return block
        self.duplicates += 1
        self._moved(block)
        return 0

    def _believed(self):
        """The last block that may come now: a master knows what it asked for."""
        if self.is_master and self.offer.gap_aware and not self.mends:
            return self._acked + self._window
        return max(self.position, self._acked + 1) + JUMP_BLOCKS

    def _is_continued(self, block):
        """Whether a block far ahead is one to believe."""
        step = block - self._far_block
        self._far_block = block
        return 0 <= step <= JUMP_STEP_BLOCKS  # the same again: the server probes when nobody answers

    def stored(self, block):
        """Block `block` is in flash now."""
        self.gaps.add(block)
        self._moved(block)

    def mended(self, block):
        """Block `block` was solved from repair symbols, and is in flash: no word about the stream."""
        self.gaps.add(block)
        if self.gaps.is_complete():
            self._finish()

    def _drop(self, reason):
        self.drops[reason] = self.drops.get(reason, 0) + 1
        return 0

    def _learn_total(self, block, length):
        """A short DATA is the last (RFC 1350 section 6), once nothing came after it."""
        total = block if length > wire.HEADER_BYTES else block - 1
        if total >= self.gaps.next_block - 1:
            self.gaps.set_total(total)
            self.offer.size_bytes = (block - 1) * self.offer.blksize + length - wire.HEADER_BYTES
            self._set_last()

    def _beyond(self, block, length):
        """A stock session ends an exact multiple with an empty DATA; all else is foreign."""
        if block != self.gaps.total + 1 or length != wire.HEADER_BYTES:
            return self._drop("beyond_end")
        self._tail_due = False
        self._moved(self.gaps.total)
        return 0

    def _moved(self, block):
        gaps = self.gaps
        ahead = block >= self.position
        if ahead:
            self.position = block + 1
        if gaps.next_block > gaps.total and gaps.is_complete() and not self._tail_due:
            self._finish()
        elif self.is_master:
            self._clock(ahead)

    def _clock(self, ahead):
        """The master's ACK: every half window, at the end, and for each probe."""
        if self.offer.gap_aware:
            moved = self.position - 1 - self._acked
            if ahead and moved < self._half_window and self.position <= self.gaps.total:
                return
            self.ack = self._request()
            if self.ack == self.gaps.total and not self.mends:
                self.end = GAPS_LEFT
            self._rest_at_end()
            return
        # A stock server resumes behind the ACK (RFC 7440 section 4): one per window, and one
        # for each new hole.
        self._in_window += 1
        first = self.gaps.next_missing(1)
        hole = first < self.position and first != self._asked
        if hole or self._in_window >= self._window or self.position > self.gaps.total:
            self._asked = first
            self.ack = self._request()

    def _rest_at_end(self):
        """A master that mends says by a report that it is at the end; its ACK `total` says "complete"."""
        if self.mends and self.ack == self.gaps.total:
            self.ack = NO_ACK
            self.rest()

    def rest(self):
        """The stream needs no master any more: wait for symbols, or for our turn."""
        self.is_master = False
        self.at_end += 1

    def hear(self, now_ms):
        """A repair symbol came. It says nothing to a master, whose ACK may be lost."""
        self.heard_data = True
        self._waiting = False
        if not self.is_master:
            self._heard_ms = now_ms

    def _request(self):
        """The ACK that asks for what we want next (an ACK n requests n + 1)."""
        if self.offer.gap_aware:
            self._acked = self.gaps.next_missing(self.position) - 1
        else:
            self._acked = self.gaps.next_missing(1) - 1
            self._in_window = 0
        return self._acked

    def _finish(self):
        self.end = COMPLETE
        is_sized = self.offer.size_bytes is not None  # without `tsize` the short DATA was the last
        self.ack = self.offer.final_ack() if is_sized else self.gaps.total

    # -- control and time ---------------------------------------------------------------

    def control(self, data, now_ms):
        """A datagram from the session's TID on our own port."""
        try:
            op = wire.opcode(data)
            if op == wire.OP_ERROR:
                self.error = wire.parse_error(data)
                self.end = REFUSED
            elif op == wire.OP_OACK:
                self._oack(wire.parse_oack(data), now_ms)
            else:
                self._drop("not_control")
        except PeerError as exc:
            self._drop(exc.reason)

    def _oack(self, options, now_ms):
        value = wire.option(options, opt.MULTICAST)
        if value is None:
            self._drop("oack_without_multicast")
            return
        group, port, is_master = opt.parse_multicast(value)
        if group and (group, port) != (self.offer.group, self.offer.port):
            self._drop("group_changed")
            return
        self._heard_ms = now_ms
        self._repeats = 0
        if not is_master:
            self.is_master = False
            self._waiting = True
        elif wire.option(options, opt.RANGES):
            self.ack = self.gaps.next_missing(1) - 1
            self.end = GAPS_LEFT
        else:
            self.is_master = True
            self.was_master = True
            self.ack = self._request()
            self._rest_at_end()

    def tick(self, now_ms):
        """Time has passed without a frame; call it about every 100 ms."""
        idle_ms = now_ms - self._heard_ms
        repeat_ms = MASTER_REPEAT_MS if self.offer.gap_aware else STOCK_REPEAT_MS
        if self.is_master and idle_ms > repeat_ms * (self._repeats + 1):
            self._repeats += 1
            self.ack = self._request()
        if idle_ms > self._patience_ms() or self._is_over(now_ms):
            self.end = SILENCE
        if self.gaps.is_complete() and idle_ms > TAIL_WAIT_MS:
            self._finish()

    def _is_over(self, now_ms):
        return self.limit_ms is not None and now_ms - self._started_ms > self.limit_ms

    def _patience_ms(self):
        if not self.offer.gap_aware:
            return STOCK_SILENCE_MS
        if self._waiting:
            return WAIT_MS
        if not self.heard_data:
            return FIRST_DATA_MS
        if self.position > self.gaps.total and not self.is_master:
            return self._backoff_ms()
        return SILENCE_MS

    def _backoff_ms(self):
        """Random, and shorter the more is missing (PXE MTFTP's rule), so turns stay spread."""
        total = self.gaps.total
        span_ms = BACKOFF_SPAN_MS * (total - self.gaps.missing_blocks()) // (total or 1)
        return BACKOFF_MIN_MS + span_ms * (self._random_16 & 0xFF) // 255
