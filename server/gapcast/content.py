"""The bytes of one version of a file, which never mix with another version's."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

from gapcast.protocol.types import ContentChangedError

PIECE_BYTES = 64 << 10  # read in 10 us when it is in the page cache


@dataclass(frozen=True, slots=True)
class Stamp:
    """What os.fstat says about a file's version."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int  # mtime can be set back

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class FileContent:
    """One version of one file: in memory, or read block by block from an open descriptor.

    What is to be in memory is read by PIECE_BYTES: the first piece at once, then one more with each read.
    All of 64 MiB at once would hold up the streams of others for a tenth of a second.
    """

    def __init__(self, descriptor: int, stamp: Stamp, in_memory: bool) -> None:
        """Takes `descriptor` over. Raises ContentChangedError, OSError."""
        self._stamp = stamp
        self._descriptor = descriptor
        self._in_memory = in_memory
        self.held_bytes = stamp.size if in_memory else 0
        self._held = _zeros(self.held_bytes)
        self._unread = dict.fromkeys(range(-(-self.held_bytes // PIECE_BYTES)))  # an ordered set of pieces
        if in_memory:
            try:
                self._read_some(range(1))
            except BaseException:
                self._close()
                raise

    def __del__(self) -> None:
        self._close()

    @property
    def size(self) -> int:
        """Bytes."""
        return self._stamp.size

    def read(self, offset: int, count: int) -> bytes:
        """See types.Content."""
        try:
            if not self._in_memory:
                data = os.pread(self._descriptor, count, offset)
                self._check()  # after the read: what was read belongs to the version that is checked
                return data
            if self._unread:
                self._read_some(range(offset // PIECE_BYTES, (offset + count - 1) // PIECE_BYTES + 1))
        except OSError as error:  # a disk or a network folder fails: the end of this transfer, not of others
            raise ContentChangedError from error
        return self._held[offset : offset + count].tobytes()

    def _read_some(self, wanted: range) -> None:
        """These pieces, if they are to be read yet, and one more; when there are no more, let the file go."""
        for piece in [*wanted, next(iter(self._unread), -1)]:
            if piece in self._unread:
                self._read_piece(piece * PIECE_BYTES, min((piece + 1) * PIECE_BYTES, self.held_bytes))
                del self._unread[piece]
        if not self._unread:
            self._close()

    def _read_piece(self, start: int, end: int) -> None:
        while start < end:
            count = os.preadv(self._descriptor, [self._held[start:end]], start)
            if not count:
                raise ContentChangedError
            start += count
        self._check()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _check(self) -> None:
        try:
            status = os.fstat(self._descriptor)
        except OSError as error:
            raise ContentChangedError from error
        if Stamp.of(status) != self._stamp:
            raise ContentChangedError


def _zeros(size_bytes: int) -> memoryview:
    """Memory that costs nothing before it is written to. Raises OSError."""
    if not size_bytes:
        return memoryview(b"")
    return memoryview(mmap.mmap(-1, size_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


class BytesContent:
    """Bytes that are in memory anyway."""

    held_bytes = 0

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self._data)

    def read(self, offset: int, count: int) -> bytes:
        """See types.Content."""
        return self._data[offset : offset + count]
