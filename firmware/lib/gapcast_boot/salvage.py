"""The flash is the journal: what of an image a slot holds already, and what has to be erased.

Blocks are the container's blocks of 1024 bytes: 1 is the header, chunk c (from 0) is 2+4c to
5+4c, the digest table is the last. A chunk whose digest is right is kept. While the journal says
that the whole slot was erased for this very image, what stands in a wrong chunk is part of it too: only
the blocks that were not written to their end are missing, and writing the same bytes over a torn
block is legal for NOR flash. A wrong chunk without such a block is erased.
"""

from gapcast_core.container import CHUNK_BYTES, DIGEST_BYTES, HEADER_BYTES
from gapcast_core.gaps import GapList

from . import port
from .download import BLKSIZE_BYTES
from .flash import FlashError
from .journal import ALL_ERASED, ID_BYTES, NOT_PREPARED, TABLE_ERASED

CHUNK_BLOCKS = CHUNK_BYTES // BLKSIZE_BYTES
TABLE_ROUNDS = 3
_END_BYTES = 16  # of a block: all FF when it was never written, or not to its end
_BLANK = b"\xff" * _END_BYTES


class Salvage:
    """sink: the SlotSink of the image of `header`. Everything here raises OSError when flash or NVS do."""

    def __init__(self, sink, header, journal):
        self._sink = sink
        self._header = header
        self._journal = journal
        self._table = header.table_digest[:ID_BYTES]
        self._stage = journal.prepared(sink.label, self._table)
        self._first_table_block = 2 + header.chunks * CHUNK_BLOCKS
        self._total = header.container_bytes // BLKSIZE_BYTES

    def derive(self, fetch):
        """The GapList of what is missing, or None when nothing is there. Erases what has to be.

        fetch(gaps) gets the blocks of the digest table; False when the server knows no `ranges`.
        Raises FlashError, and what fetch raises.
        """
        is_blank = self._sink.is_blank()
        port.collect()  # its buffers: what comes now would stand behind them, and split the heap
        if is_blank:
            self._set_stage(ALL_ERASED)
            return None
        is_judged = self._sink.table_matches() or self._get_table(fetch)
        gaps = GapList(self._total)
        gaps.add_range(1, self._total)
        for chunk in range(self._header.chunks):
            if not (is_judged and self._sink.chunk_matches(chunk)):
                self._judge(chunk, gaps, is_judged)
        if not is_judged:
            for block in range(self._first_table_block, self._total + 1):
                if self._is_missing(block):
                    gaps.mark_missing(block, 1)
        self._set_stage(ALL_ERASED)
        return gaps

    def _judge(self, chunk, gaps, is_judged):
        """A chunk that is wrong, or that no table vouches for."""
        first = 2 + chunk * CHUNK_BLOCKS
        if self._stage == ALL_ERASED:
            lost = [block for block in range(first, first + CHUNK_BLOCKS) if self._is_missing(block)]
            for block in lost:
                gaps.mark_missing(block, 1)
            if lost or not is_judged:
                return
        elif self._stage == NOT_PREPARED:
            self._journal.drop("prepared")  # it may be about another image in this slot
        self._sink.erase(HEADER_BYTES + chunk * CHUNK_BYTES, CHUNK_BYTES)
        gaps.mark_missing(first, CHUNK_BLOCKS)

    def _set_stage(self, stage):
        if self._stage != stage:
            self._journal.put_prepared(self._sink.label, self._table, stage)
            self._stage = stage

    # -- the digest table -----------------------------------------------------------------

    def _get_table(self, fetch):
        """True when the slot holds the table now; False when nobody sends it alone."""
        if self._stage == NOT_PREPARED:
            self._journal.drop("prepared")
            self._erase_table()
            self._set_stage(TABLE_ERASED)
        for _round in range(TABLE_ROUNDS):
            gaps = self._table_gaps()
            if gaps.is_complete():
                self._erase_table()  # whole, but wrong
                gaps = self._table_gaps()
            if not fetch(gaps):
                return False
            if self._sink.table_matches():
                return True
        raise FlashError("the digest table is still damaged after %d tries" % TABLE_ROUNDS)

    def _table_gaps(self):
        gaps = GapList(self._total)
        gaps.add_range(1, self._first_table_block - 1)
        for block in range(self._first_table_block, self._total + 1):
            if not self._is_missing(block):
                gaps.add(block)
        return gaps

    def _erase_table(self):
        header = self._header
        self._sink.erase(HEADER_BYTES + header.payload_bytes, header.table_bytes)

    # -- one block ------------------------------------------------------------------------

    def _is_missing(self, block):
        """True when a block was not written to the end of what it carries.

        The padding behind the image and behind the table is FF, as blank flash is.
        """
        header = self._header
        start = (block - 2) * BLKSIZE_BYTES
        end = header.image_bytes
        if start >= header.payload_bytes:
            end = header.payload_bytes + header.chunks * DIGEST_BYTES
        end = min(end, start + BLKSIZE_BYTES)
        if end <= start:
            return False
        tail = bytearray(min(_END_BYTES, end - start))
        self._sink.read(end - len(tail), tail)
        return tail == _BLANK[: len(tail)]
