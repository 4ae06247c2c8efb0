"""Where blocks go: an OTA slot, a plain file, or memory.

A sink has `write(offset, view)` with the offset in the file as it is on the server. Slots are
erased before the stream (an erase stops Wi-Fi for 45 to 400 ms) and written by the 3-argument
writeblocks, which never erases.
"""

import hashlib

from gapcast_core.container import CHUNK_BYTES, DIGEST_BYTES, HEADER_BYTES

SECTOR_BYTES = 4096
STEP_BYTES = 512  # what is read at a time: small enough for any heap
_BLANK = b"\xff" * STEP_BYTES


class FlashError(Exception):
    """The slot cannot take the image; the text says why."""


class SlotSink:
    """Payload and digest table of one container in an application slot."""

    def __init__(self, partition, header):
        self._partition = partition
        self._header = header
        self._buffer = bytearray(STEP_BYTES)
        size_bytes = partition.info()[3]
        self.needed_bytes = header.payload_bytes + header.table_bytes
        if self.needed_bytes > size_bytes:
            raise FlashError("image needs %d bytes, the slot has %d" % (self.needed_bytes, size_bytes))

    def prepare(self):
        """Erase what the image will cover; sectors that are blank already are left alone."""
        erased = 0
        for sector in range((self.needed_bytes + SECTOR_BYTES - 1) // SECTOR_BYTES):
            if not self._is_blank(sector):
                self._partition.ioctl(6, sector)
                erased += 1
        return erased

    def _is_blank(self, sector):
        for at in range(0, SECTOR_BYTES, STEP_BYTES):
            self._partition.readblocks(sector, self._buffer, at)
            if self._buffer != _BLANK:
                return False
        return True

    def write(self, offset, view):
        """Program bytes of the container; its header is kept in RAM and not stored."""
        if offset < HEADER_BYTES:
            skip = HEADER_BYTES - offset
            if skip >= len(view):
                return
            view = view[skip:]
            offset = HEADER_BYTES
        at = offset - HEADER_BYTES
        self._partition.writeblocks(at // SECTOR_BYTES, view, at % SECTOR_BYTES)

    def erase(self, offset, size_bytes):
        """Erase the sectors of `size_bytes` of the container from `offset` on."""
        first = (offset - HEADER_BYTES) // SECTOR_BYTES
        last = (offset + size_bytes - 1 - HEADER_BYTES) // SECTOR_BYTES
        for sector in range(first, last + 1):
            self._partition.ioctl(6, sector)

    def bad_chunks(self):
        """Container ranges [(offset, bytes), ...] that fail their digest; [] is a good image.

        The digest table is judged first: with a bad table no chunk can be judged.
        """
        header = self._header
        if not self.table_matches():
            return [(HEADER_BYTES + header.payload_bytes, header.table_bytes)]
        bad = []
        digest = bytearray(DIGEST_BYTES)
        for chunk in range(header.chunks):
            at = header.payload_bytes + chunk * DIGEST_BYTES
            self._partition.readblocks(at // SECTOR_BYTES, digest, at % SECTOR_BYTES)
            if self._digest(chunk) != digest:
                bad.append((HEADER_BYTES + chunk * CHUNK_BYTES, CHUNK_BYTES))
        return bad

    def _digest(self, chunk):
        hasher = hashlib.sha256()
        for at in range(0, CHUNK_BYTES, STEP_BYTES):
            self._partition.readblocks(chunk, self._buffer, at)
            hasher.update(self._buffer)
        return hasher.digest()[:DIGEST_BYTES]

    def table_matches(self):
        """True when the slot holds exactly this header's digest table."""
        return holds_table(self._partition, self._header, self._buffer)


def holds_table(partition, header, buffer):
    """True when `partition` holds the digest table of `header`, behind its payload."""
    if header.payload_bytes + header.table_bytes > partition.info()[3]:
        return False
    hasher = hashlib.sha256()
    view = memoryview(buffer)
    done = 0
    while done < header.table_bytes:
        part = view[: min(len(buffer), header.table_bytes - done)]
        at = header.payload_bytes + done
        partition.readblocks(at // SECTOR_BYTES, part, at % SECTOR_BYTES)
        hasher.update(part)
        done += len(part)
    return hasher.digest() == header.table_digest


class RamSink:
    """The first `size_bytes` of a file, in memory (a header)."""

    def __init__(self, size_bytes):
        self.data = bytearray(size_bytes)

    def write(self, offset, view):
        end = offset + len(view)
        if end > len(self.data):
            end = len(self.data)
        if offset < end:
            self.data[offset:end] = view[: end - offset]


class FileSink:
    """A plain file, kept as it came."""

    def __init__(self, path):
        self._file = open(path, "w+b")

    def write(self, offset, view):
        self._file.seek(offset)
        self._file.write(view)

    def close(self):
        self._file.close()
