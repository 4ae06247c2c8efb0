"""A multicast session whose losses are mended by repair symbols, solved while the stream goes on.

The slices of solving lie between the frames: an ESP32 queues six datagrams.
"""

from gapcast_core import fec, generations, mender, receiver, wire
from gapcast_core.errors import UsageError

from . import port
from .session import CONTROL_EVERY_MS, Session

POOL_SYMBOLS = (20, 16, 12, 8)  # what is tried
PUT_OFF = 3  # frames in a row that may wait before a slice of solving
PUT_OFF_SLOW = 16  # the same where flash is what a board waits for: a slice may write to it as a block does
SPARE_BYTES = 7 * 1024  # of the heap, for the session itself; all of the pool is free again after it
_SYMBOL_BYTES = 1200  # of the heap for one, with all around it, and blocks of 1 KiB
_REPORT_BYTES = wire.MAX_REQUEST_BYTES
_HEARD = b"\0heard\0"
_RANGES = b"\0ranges\0"
# What is behind `lacks`: two options, with 16 blocks of 5 digits.
_LACKS_END = _REPORT_BYTES - len(_HEARD) - len(_RANGES) - 6 * generations.SURPLUS_BLOCKS - 22


def open_mended(download, answer, local_ip, name):
    """The session that was offered, to be mended; None when that, or memory for it, is not possible."""
    offer = answer.offer
    if not (offer.gap_aware and download.can_load() and download.gaps.total_known):
        return None
    plan = generations.Plan(download.gaps.total, offer.generation_blocks)
    pool = _make_pool(download.blksize) if plan.fits() else None
    if pool is None:
        return None
    return MendedSession(download, answer, local_ip, name, plan, pool)


def _make_pool(blksize):
    """As large as the heap allows; None when it is too small: mending must not cost the download."""
    port.collect()  # in one piece, if there is one
    port.collect_often(False)  # all of a pool stays
    try:
        return _largest_pool(blksize)
    finally:
        port.collect_often(True)


def _largest_pool(blksize):
    for symbols in POOL_SYMBOLS:
        if not port.has_free(symbols * _SYMBOL_BYTES * blksize // 1024 + SPARE_BYTES):
            continue
        try:
            return fec.Pool(blksize, symbols)
        except MemoryError:  # there is enough, but not in one piece
            continue
        except UsageError:
            return None
    return None


class MendedSession(Session):
    """Joined by an RRQ whose answer offered repair symbols."""

    def __init__(self, download, answer, local_ip, name, plan, pool):
        super().__init__(download, answer, local_ip)
        self.rx.mends = pool.capacity
        self.mender = mender.Mender(download.gaps, plan, pool, download.clock.now_ms())
        self._pool = pool
        self._missing = []  # data symbols of the generation being solved
        self._to_store = 0
        # Every report is written into the same buffer: an RRQ with the one option `lacks`.
        head = wire.pack_request(wire.OP_RRQ, name, [(generations.LACKS, "")])
        self._report = bytearray(_REPORT_BYTES)
        self._report[: len(head)] = head
        self._report_at = len(head) - 1
        self._report_view = memoryview(self._report)
        self._tell(0)  # "I am here, and can be mended"

    def run(self):
        try:
            super().run()
        except MemoryError:  # then without symbols
            self.rx.mends = 0
            self.rx.end = receiver.SILENCE
        finally:
            self.mender = self._pool = None  # verifying needs the memory

    def _groups(self):
        offer = self._answer.offer
        return (offer.group, offer.repair_group)

    def listen(self, group):
        """The hot loop: until the session ends (True) or the socket has gone deaf (False)."""
        rx = self.rx
        mender = self.mender
        download = self._download
        frame = download.frame
        # What is a method once for all is not looked up in its object, and then in its class, at each frame.
        now = download.clock.now_ms
        is_waiting = port.Waiting(group).now
        receive = port.frames(group, frame).send
        take = self._take
        put_off = 0
        look_ms = now() + CONTROL_EVERY_MS
        while rx.end == receiver.RUNNING:
            if rx.ack >= 0:
                self.say(rx.ack)
                rx.ack = receiver.NO_ACK
            length = 0
            busy = mender.solving >= 0
            if not busy or is_waiting():
                length = receive(None)
            now_ms = now()
            if length > 0:
                take(frame, length, now_ms)
            elif length == port.DEAF:
                return False
            if mender.solving >= 0:
                longest = PUT_OFF_SLOW if download.work.is_slow else PUT_OFF
                if length > 0 and put_off < longest and is_waiting():
                    put_off += 1
                else:
                    put_off = 0
                    self._solve(now_ms)
            elif length > 0 and download.prove() and not is_waiting():
                download.prove()
            if (now_ms >= mender.look_ms or rx.at_end) and rx.end == receiver.RUNNING:
                count = mender.report(rx.position, rx.at_end, now_ms)
                if count >= 0:
                    self._report_needs(count)
            if now_ms >= look_ms or not (length or busy):
                look_ms = now_ms + CONTROL_EVERY_MS
                self._look(now_ms)
        return True

    def _take(self, frame, length, now_ms):
        """A frame: a block of the stream, or a repair symbol."""
        number = frame[2] << 8 | frame[3]
        if number & generations.REPAIR_FLAG and frame[0] == 0 and frame[1] == wire.OP_DATA:
            if length == len(frame):
                self._take_symbol(number, now_ms)
            return
        block = self.rx.accept(frame, length, now_ms)
        self.mender.note(number, now_ms)
        if block:
            self._take_block(block, length, now_ms)

    def _take_block(self, block, length, now_ms):
        self._download.write(block, length, now_ms)
        self.rx.stored(block)
        solvable = self.mender.stored(block)
        if solvable >= 0:
            self._begin(solvable)

    def _take_symbol(self, number, now_ms):
        rx = self.rx
        solvable = self.mender.accept(number, self._download.payload, rx.position, now_ms)
        rx.hear(now_ms)
        self._begin(solvable)

    # -- reports --------------------------------------------------------------------------

    def _report_needs(self, count):
        rx = self.rx
        if rx.is_master and count == self.mender.plan.count:
            rx.rest()
        self._tell(count)

    def _tell(self, count):
        """Report the needs of the first `count` generations. The view is all that this allocates."""
        port.send(self._answer.sock, self._report_view[: self._write_report(count)])

    def _write_report(self, count):
        report = self._report
        end = generations.write_lacks(report, self._report_at, _LACKS_END, self.mender.needs, count)
        if count:
            end = self._write_heard(generations.write_text(report, end, _HEARD))
        report[end] = 0
        return end + 1

    def _write_heard(self, end):
        report = self._report
        mender = self.mender
        end = generations.write_heard(report, end, mender.latest, mender.count, mender.plan.mixed)
        if mender.surplus_count:
            end = generations.write_text(report, end, _RANGES)
            end = generations.write_surplus(report, end, _REPORT_BYTES, mender.surplus, mender.surplus_count)
        return end

    # -- solving --------------------------------------------------------------------------

    def _begin(self, generation):
        """Start to solve a generation; NONE is none."""
        if generation >= 0:
            self._missing = self.mender.begin(generation)
            self._to_store = 0

    def _solve(self, now_ms):
        """One slice: known blocks are fed, a column is cleared, or a solved block is stored."""
        pool = self._pool
        known = pool.next_known()
        if known >= 0:
            self._feed(known)
        elif not pool.eliminate():
            self._store(self._block(self._missing[self._to_store]), now_ms)
            self._to_store += 1
            if self._to_store == len(self._missing):
                self._begin(self.mender.done())

    def _feed(self, known):
        """One or two blocks that are there."""
        pool = self._pool
        download = self._download
        payload = download.payload
        download.load(self._block(known), payload)
        other = pool.next_known(known + 1)
        if other < 0:
            pool.feed(known, payload)
        else:
            download.load(self._block(other), pool.spare)
            pool.feed_two(known, payload, other)

    def _block(self, symbol):
        """The number of the block that is a data symbol of what is being solved."""
        return self.mender.plan.block(self.mender.solving, symbol)

    def _store(self, block, now_ms):
        """A solved block, unless the stream has brought it meanwhile."""
        download = self._download
        if download.gaps.is_missing(block):
            solved = self._pool.block(self._to_store)
            download.store(block, solved, now_ms)
            self.rx.hear(now_ms)  # who solves is not waiting for anybody
            self.rx.mended(block)
            self.mender.stored(block)
