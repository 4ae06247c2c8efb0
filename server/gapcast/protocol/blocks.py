"""Which bytes a block number stands for: whole files, and the virtual files of `ranges`."""

from __future__ import annotations

from bisect import bisect_right

from gapcast.protocol.types import Content
from gapcast_core import options

Ranges = list[tuple[int, int]]  # (first block, blocks), ascending and disjoint


def blocks_with_bytes(size: int, blksize: int) -> int:
    """The gap-aware total: blocks that carry bytes (PROTOCOL.md section 1)."""
    return -(-size // blksize)


def blocks_to_end(size: int, blksize: int) -> int:
    """The stock total: RFC 1350 section 6 ends a file with a block shorter than blksize, maybe empty."""
    return size // blksize + 1


class WholeFile:
    """Blocks 1..total of a file, the last one short."""

    def __init__(self, content: Content, blksize: int) -> None:
        self._content = content
        self._blksize = blksize
        self.total = blocks_to_end(content.size, blksize)
        self.bytes = content.size

    def payload(self, number: int) -> bytes:
        """The bytes of block `number`; empty beyond the end. Raises ContentChangedError."""
        return self._content.read((number - 1) * self._blksize, self._blksize)


class VirtualFile:
    """The accepted ranges one after another, as blocks 1..k (PROTOCOL.md section 4)."""

    def __init__(self, content: Content, blksize: int, ranges: Ranges) -> None:
        self._file = WholeFile(content, blksize)
        self._firsts = [first for first, _length in ranges]
        self._starts: list[int] = []  # virtual number, from 0, of each item's first block
        count = 0
        for _first, length in ranges:
            self._starts.append(count)
            count += length
        self._count = count
        last_real = ranges[-1][0] + ranges[-1][1] - 1
        tail = min(content.size - (last_real - 1) * blksize, blksize)
        self.bytes = (count - 1) * blksize + tail
        # A full last block would look like "more to come": an empty DATA k+1 ends it (RFC 1350 section 6).
        self.total = count if tail < blksize else count + 1

    def payload(self, number: int) -> bytes:
        """The bytes of virtual block `number`; empty for k+1. Raises ContentChangedError."""
        if number > self._count:
            return b""
        item = bisect_right(self._starts, number - 1) - 1
        return self._file.payload(self._firsts[item] + number - 1 - self._starts[item])


def open_file(content: Content, blksize: int, ranges: Ranges | None) -> WholeFile | VirtualFile:
    """What a transfer sends: all of a file, or the ranges of it."""
    return WholeFile(content, blksize) if ranges is None else VirtualFile(content, blksize, ranges)


def acceptable(ranges: Ranges) -> Ranges:
    """The items that fit one virtual file of 65535 blocks (no wrap): a prefix, maybe empty."""
    count = 0
    for index, (_first, length) in enumerate(ranges):
        count += length
        if count > options.MAX_BLOCK:
            return ranges[:index]
    return ranges
