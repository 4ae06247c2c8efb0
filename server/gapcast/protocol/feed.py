"""The DATA of a multicast session: blocks of the file, in the order that the stream asks for."""

from __future__ import annotations

from gapcast.protocol.blocks import WholeFile, blocks_to_end, blocks_with_bytes
from gapcast.protocol.gathering import Gathering
from gapcast.protocol.stream import Stream
from gapcast.protocol.types import Address, Content, Datagram
from gapcast_core.wire import pack_data


class Feed:
    """Turns the stream's block numbers into datagrams for the group.

    blocks, blocks_stock: the totals of gap-aware and of stock clients (PROTOCOL.md section 1).
    gathering: no DATA before it is over.
    """

    def __init__(
        self, content: Content, blksize: int, group: Address, stream: Stream, gathering: Gathering
    ) -> None:
        self.blocks = blocks_with_bytes(content.size, blksize)
        self.blocks_stock = blocks_to_end(content.size, blksize)
        self.gathering = gathering
        self._file = WholeFile(content, blksize)
        self._group = group
        self._stream = stream
        self._end_block_due = False

    def total(self, gap_aware: bool) -> int:
        """The ACK of this number says "I am at the end"."""
        return self.blocks if gap_aware else self.blocks_stock

    def add_end_block(self) -> None:
        """Stock clients also need the empty last DATA of an exact multiple (RFC 1350 section 6)."""
        self._end_block_due = self._stream.top < self.blocks_stock != self.blocks

    def wants_data(self, now: float) -> bool:
        """Whether next_data would give a datagram."""
        until = self.gathering.until
        if until is not None and now < until:
            return False
        return self._end_block_due or self._stream.wants_data()

    def next_data(self, now: float) -> Datagram | None:
        """The next DATA, or None. Raises ContentChangedError."""
        if not self.wants_data(now):
            return None
        if self._end_block_due:
            self._end_block_due = False
            return Datagram(pack_data(self.blocks_stock, b""), self._group)
        number = self._stream.next_block(now)
        return Datagram(pack_data(number, self._file.payload(number)), self._group)
