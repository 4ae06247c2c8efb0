"""One run of FLASH_BEGIN, ..._DATA, ..._END, compressed or not."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator

from gapcast_sim.chip.flash import Erase, FlashTiming, Step, erase_steps, write_steps


class TooMuchError(Exception):
    """More data than announced."""


class Session:
    """Where the next byte goes, how many are to come, and what is not erased yet."""

    def __init__(self, offset: int, size_bytes: int, *, deflated: bool, timing: FlashTiming) -> None:
        """size_bytes: of the data uncompressed; that range will be erased. Nothing is done yet."""
        self._next = offset
        self.remaining = size_bytes
        self._timing = timing
        self._inflater = zlib.decompressobj() if deflated else None
        self._unerased: deque[Erase] = deque(erase_steps(offset, size_bytes, timing) if size_bytes else ())

    @property
    def deflated(self) -> bool:
        return self._inflater is not None

    def erase(self, end: int | None = None) -> Iterator[Step]:
        """Erase what of the range lies before `end` (None: all), as far as it has not been done."""
        while self._unerased and (end is None or self._unerased[0].offset < end):
            yield self._unerased.popleft()

    def data(self, block: bytes) -> bytes:
        """What a block stands for. Raises zlib.error, and TooMuchError."""
        if self._inflater is None:
            return block[: self.remaining]  # the last block is filled up
        data = self._inflater.decompress(block, self.remaining + 1)
        if len(data) > self.remaining:
            raise TooMuchError
        return data

    def write(self, data: bytes) -> Iterator[Step]:
        """Erase as far as needed, then program."""
        yield from self.erase(self._next + len(data))
        at, self._next = self._next, self._next + len(data)
        self.remaining -= len(data)
        yield from write_steps(at, data, self._timing)
