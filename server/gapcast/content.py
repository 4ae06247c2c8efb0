"""The bytes of one version of a file, which never mix with another version's."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gapcast.protocol.types import ContentChangedError


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
    """One version of one file: whole in memory, or read piece by piece from an open descriptor."""

    def __init__(self, descriptor: int, stamp: Stamp, in_memory: bool) -> None:
        """Takes `descriptor` over. Raises ContentChangedError."""
        self._stamp = stamp
        self._descriptor = descriptor
        self._bytes: bytes | None = None
        self.held_bytes = 0
        if in_memory:
            try:
                self._bytes = self._read_whole()
            finally:
                os.close(descriptor)
                self._descriptor = -1
            self.held_bytes = len(self._bytes)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._stamp.size

    def read(self, offset: int, count: int) -> bytes:
        """See types.Content."""
        if self._bytes is not None:
            return self._bytes[offset : offset + count]
        try:
            data = os.pread(self._descriptor, count, offset)
        except OSError as error:  # a disk or a network folder fails: the end of this transfer, not of others
            raise ContentChangedError from error
        self._check()  # after the read: what was read belongs to the version that is checked
        return data

    def _read_whole(self) -> bytes:
        pieces = []
        left = self._stamp.size
        while left:
            piece = os.read(self._descriptor, left)  # mostly all at once: nothing to join
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        self._check()
        return b"".join(pieces)

    def _check(self) -> None:
        try:
            status = os.fstat(self._descriptor)
        except OSError as error:
            raise ContentChangedError from error
        if Stamp.of(status) != self._stamp:
            raise ContentChangedError


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
