"""Where blocks go: an OTA slot, a plain file, or memory.

A sink has `write(offset, view)` with the offset in the file as it is on the server, and
`load(offset, view)`, which gives a block that was written, when it says `can_load`. Slots are
erased before the stream (an erase stops Wi-Fi for 45 to 400 ms) and written by the 3-argument
writeblocks, which never erases.
"""

import hashlib

from gapcast_core.container import CHUNK_BYTES, DIGEST_BYTES, HEADER_BYTES

SECTOR_BYTES = 4096
STEP_BYTES = 512  # what is read at a time: small enough for any heap


class FlashError(Exception):
    """The slot cannot take the image; the text says why."""


class SlotSink:
    """Payload and digest table of one container in an application slot.

    head: the container's first block, which the slot does not hold.
    """

    def __init__(self, partition, header, head=None):
        self._head = head
        self.can_load = head is not None
        self._partition = partition
        self._header = header
        self._buffer = bytearray(STEP_BYTES)
        self.label = partition.info()[4]
        size_bytes = partition.info()[3]
        self.needed_bytes = header.payload_bytes + header.table_bytes
        if self.needed_bytes > size_bytes:
            raise FlashError("image needs %d bytes, the slot has %d" % (self.needed_bytes, size_bytes))
        self.sectors = (self.needed_bytes + SECTOR_BYTES - 1) // SECTOR_BYTES

    def is_blank(self):
        """True when nothing stands where the image goes."""
        try:  # before a download there is room, and few long reads take less than many short ones
            buffer = bytearray(SECTOR_BYTES)
            blank = b"\xff" * SECTOR_BYTES
        except MemoryError:
            buffer, blank = self._buffer, b"\xff" * STEP_BYTES
        return all(self._is_blank_sector(sector, buffer, blank) for sector in range(self.sectors))

    def _is_blank_sector(self, sector, buffer, blank):
        at = 0
        while at < SECTOR_BYTES:
            self._partition.readblocks(sector, buffer, at)
            if buffer != blank:
                return False
            at += len(buffer)
        return True

    def read(self, at, buf):
        """Fill `buf` from the slot's byte `at`; not beyond its sector."""
        self._partition.readblocks(at // SECTOR_BYTES, buf, at % SECTOR_BYTES)

    def load(self, offset, view):
        """Fill `view` with bytes of the container, within a sector; only with its head."""
        if offset < HEADER_BYTES:
            view[:] = self._head[offset : offset + len(view)]
        else:
            self.read(offset - HEADER_BYTES, view)

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
        """Erase the sectors of `size_bytes` of the container from `offset` on, unless they are blank."""
        sector = (offset - HEADER_BYTES) // SECTOR_BYTES
        last = (offset + size_bytes - 1 - HEADER_BYTES) // SECTOR_BYTES
        blank = b"\xff" * STEP_BYTES
        while sector <= last:
            if not self._is_blank_sector(sector, self._buffer, blank):
                self._partition.ioctl(6, sector)
            sector += 1

    def bad_chunks(self, sound=None):
        """The container ranges (offset, bytes) that fail their digest, one by one: a list would be long.

        The digest table is judged first: with a bad table no chunk can be judged.
        sound: a bit for each chunk that was found right and not written since; it need not be read again.
        """
        header = self._header
        if not self.table_matches():
            yield HEADER_BYTES + header.payload_bytes, header.table_bytes
            return
        for chunk in range(header.chunks):
            bit = 1 << (chunk & 7)
            if sound and sound[chunk >> 3] & bit:
                continue
            if self.chunk_matches(chunk):
                if sound:
                    sound[chunk >> 3] |= bit
            else:
                yield HEADER_BYTES + chunk * CHUNK_BYTES, CHUNK_BYTES

    def chunk_matches(self, chunk):
        """True when a chunk has the digest that the slot's own table says."""
        digest = bytearray(DIGEST_BYTES)
        self.read(self._header.payload_bytes + chunk * DIGEST_BYTES, digest)
        found = _digest(self._partition, chunk * CHUNK_BYTES, CHUNK_BYTES, self._buffer)
        return found[:DIGEST_BYTES] == digest

    def table_matches(self):
        """True when the slot holds exactly this header's digest table."""
        header = self._header
        digest = table_digest(self._partition, header.payload_bytes, header.table_bytes, self._buffer)
        return digest == header.table_digest

    def image_matches(self):
        """True when the whole image, read back, is what the header says, and begins as it says."""
        digest = _digest(self._partition, 0, self._header.image_bytes, self._buffer)
        return digest == self._header.image_digest and self.has_head()

    def has_head(self):
        """True when the image begins as the header says."""
        return has_head(self._partition, self._header)


def table_digest(partition, payload_bytes, table_bytes, buffer):
    """SHA-256 of what stands where an image of that size has its table; b"" when the slot is too small."""
    if payload_bytes + table_bytes > partition.info()[3]:
        return b""
    return _digest(partition, payload_bytes, table_bytes, buffer)


def runs(header):
    """True when the running slot holds this very image (its digest table lies behind it)."""
    import esp32  # nothing else in here is of one port

    running = esp32.Partition(esp32.Partition.RUNNING)
    table = table_digest(running, header.payload_bytes, header.table_bytes, bytearray(STEP_BYTES))
    return table == header.table_digest and has_head(running, header)


def has_head(partition, header):
    """True when the image in `partition` begins as the header's image does: it is this very build."""
    head = bytearray(len(header.image_head))
    partition.readblocks(0, head, 0)
    used = min(len(head), header.image_bytes)
    return head[:used] == header.image_head[:used]


def _digest(partition, at, size_bytes, buffer):
    hasher = hashlib.sha256()
    while size_bytes:
        if size_bytes < len(buffer):
            buffer = memoryview(buffer)[:size_bytes]
        partition.readblocks(at // SECTOR_BYTES, buffer, at % SECTOR_BYTES)
        hasher.update(buffer)
        at += len(buffer)
        size_bytes -= len(buffer)
    return hasher.digest()


class RamSink:
    """The first `size_bytes` of a file, in memory (a header)."""

    can_load = False

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

    can_load = True

    def __init__(self, path):
        self._file = open(path, "w+b")

    def write(self, offset, view):
        self._file.seek(offset)
        self._file.write(view)

    def load(self, offset, view):
        self._file.seek(offset)
        self._file.readinto(view)

    def close(self):
        self._file.close()
