"""One file on its way into a sink: what is missing, the frame buffer, and how patient to be.

Both ways in, the multicast session (session.py) and the unicast read (reading.py), share it.
"""

from gapcast_core import wire
from gapcast_core.errors import PeerError
from gapcast_core.gaps import GapList

from .work import Work

BLKSIZE_BYTES = 1024  # four blocks fill a flash sector, and a frame fits any MTU
PROGRESS_MS = 200
# A server may offer less than asked for (RFC 2348), and at 8 bytes and a round trip each it would take
# hours. No server does below TFTP's own default.
MIN_BLKSIZE_BYTES = 512
MAX_RESTARTS = 1  # a server that changes the size or block size again and again gets no third try


class Download:
    """State of one download.

    expected_bytes: the size it must have (an image's header says it), or None.
    stall_ms: how long it may go without a new block. limit_ms: how long it may take in all.
    """

    def __init__(self, sink, clock, progress, stall_ms, limit_ms, expected_bytes=None):
        self.gaps = None
        self.blksize = BLKSIZE_BYTES
        self.size_bytes = None
        self.clock = clock
        self.progress = progress
        self.quiet = False  # tell no progress (the head of a file is not worth it)
        self._set_frame(BLKSIZE_BYTES)
        self.work = Work()
        self.proof = None  # of an image: proof.py
        self._sink = sink
        self._stall_ms = stall_ms
        self._expected_bytes = expected_bytes
        self._restarts = 0
        self._last_new_ms = clock.now_ms()
        self._deadline_ms = self._last_new_ms + limit_ms
        self._told_ms = 0

    def is_complete(self):
        return self.gaps is not None and self.gaps.total_known and self.gaps.is_complete()

    def missing(self):
        """Blocks missing, -1 before the first answer."""
        return -1 if self.gaps is None else self.gaps.missing_blocks()

    def stalled(self, now_ms):
        """True when nothing new has come for too long, or all takes too long: whatever else is going on."""
        return now_ms - self._last_new_ms > self._stall_ms or self.overdue(now_ms)

    def overdue(self, now_ms):
        return now_ms > self._deadline_ms

    def limit(self, limit_ms):
        """So long it may take from now on."""
        self._deadline_ms = self.clock.now_ms() + limit_ms

    def preset(self, gaps):
        """Only these blocks of BLKSIZE_BYTES are missing, of a file of `expected_bytes`.

        A server with other blocks makes it start from nothing: what it writes over what is in
        flash is the same.
        """
        self.gaps = gaps
        self._set_blksize(BLKSIZE_BYTES)
        self.size_bytes = self._expected_bytes
        self._restarts = -1
        self._last_new_ms = self.clock.now_ms()

    def adopt(self, offer):
        """Set the gap list up at the first offer; a later one must fit it.

        Raises PeerError `small_blocks`, `wrong_size`, `size_changed`: what is in flash stays in the gap list.
        """
        if offer.blksize < MIN_BLKSIZE_BYTES:
            raise PeerError("small_blocks")
        if offer.size_bytes is None and offer.blksize == self.blksize:
            offer.size_bytes = self.size_bytes  # `tsize` is optional (RFC 2349); an earlier answer had it
        if self._expected_bytes is not None and offer.size_bytes not in (None, self._expected_bytes):
            raise PeerError("wrong_size")
        if self.gaps is not None:
            if offer.blksize == self.blksize and offer.size_bytes == self.size_bytes:
                return
            if self._restarts == MAX_RESTARTS:
                raise PeerError("size_changed")
            self._restarts += 1
        else:
            self._last_new_ms = self.clock.now_ms()  # somebody is there: the question's second was for that
        self.gaps = GapList(offer.blocks())
        self._set_blksize(offer.blksize)
        self.size_bytes = offer.size_bytes

    def start_over(self):
        """Nothing has come; the next offer begins anew, with all the patience there is."""
        self.gaps = None
        self._last_new_ms = self.clock.now_ms()  # the server is there: it has answered

    def _set_blksize(self, blksize):
        self.blksize = blksize
        if len(self.payload) != blksize:
            self._set_frame(blksize)

    def _set_frame(self, blksize):
        self.frame = bytearray(wire.HEADER_BYTES + blksize)
        self._frame_bytes = len(self.frame)
        self.payload = memoryview(self.frame)[wire.HEADER_BYTES :]

    def write(self, block, length, now_ms):
        """Write the block in the frame of `length` bytes into the sink; its gap stays for now."""
        work = self.work
        work.start()
        view = self.payload
        if length != self._frame_bytes or block == self.gaps.total:
            view = self._part(length, block)
        self.store(block, view, now_ms)
        work.done(now_ms)

    def can_load(self):
        """Whether blocks that are stored can be had back, all of one size."""
        return self._sink.can_load and self.size_bytes is not None and self.size_bytes % self.blksize == 0

    def load(self, block, view):
        """Read a stored block back."""
        self._sink.load((block - 1) * self.blksize, view)

    def store(self, block, view, now_ms):
        """Write a block into the sink."""
        proof = self.proof
        if proof is not None and 1 < block <= proof.at // self.blksize:
            proof.broken = True
        self._sink.write((block - 1) * self.blksize, view)
        self._last_new_ms = now_ms

    def prove(self):
        """Read one more block back, once the frame has been stored. True when there is another."""
        proof = self.proof
        return proof is not None and proof.step()

    def _part(self, length, block):
        """The payload of a frame that is short, or the file's last, which costs an allocation.

        A short last block may come filled up with the head of the next datagram.
        """
        data_bytes = length - wire.HEADER_BYTES
        if self.size_bytes is not None:
            data_bytes = min(data_bytes, self.size_bytes - (block - 1) * self.blksize)
        return self.payload[:data_bytes]

    def end_unsized(self, block, data_bytes):
        """The short DATA tells the length that no `tsize` did (RFC 1350 section 6).

        Raises PeerError `wrong_size`.
        """
        size_bytes = (block - 1) * self.blksize + data_bytes
        if self._expected_bytes not in (None, size_bytes):
            raise PeerError("wrong_size")
        self.gaps.set_total(block if data_bytes else block - 1)
        self.size_bytes = size_bytes

    def mark_missing(self, offset, size_bytes):
        """The blocks of this byte range are bad and have to be fetched again."""
        first = offset // self.blksize + 1
        last = (offset + size_bytes - 1) // self.blksize + 1
        self.gaps.mark_missing(first, last - first + 1)
        self._last_new_ms = self.clock.now_ms()

    def tell(self, now_ms):
        """Let the progress know, now and then."""
        if now_ms - self._told_ms >= PROGRESS_MS and not self.quiet:
            self._told_ms = now_ms
            self.progress.blocks(self.gaps)
