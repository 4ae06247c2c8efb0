"""The digest of an image, worked out from flash while the rest of it still comes in.

To read two megabytes back and hash them takes a board half a second and more; done at the end it would
be all that the board does then. The blocks are taken in their order, as far as nothing is missing.
"""

import hashlib

from gapcast_core.container import HEADER_BYTES

from .download import BLKSIZE_BYTES


class Proof:
    """sink: a SlotSink of the image of `header`. download: what fills it."""

    def __init__(self, sink, header, download):
        self.at = HEADER_BYTES  # of the container: so far it was read and hashed
        self.broken = False  # what was hashed was written once more
        self._sink = sink
        self._header = header
        self._download = download
        self._end = HEADER_BYTES + header.image_bytes
        self._hasher = hashlib.sha256()

    def step(self):
        """Take the next block, if it is there. True when there is another one to take.

        The download's frame must hold nothing that is still needed.
        """
        download = self._download
        at = self.at
        end = (download.gaps.first(0) - 1) * BLKSIZE_BYTES
        if end > self._end:
            end = self._end
        if at >= end or download.blksize != BLKSIZE_BYTES:
            return False
        view = download.payload
        self._sink.read(at - HEADER_BYTES, view)
        if self._end - at < BLKSIZE_BYTES:
            view = view[: self._end - at]
        self._hasher.update(view)
        self.at = at = at + BLKSIZE_BYTES
        return at < end

    def holds(self):
        """Take the rest; True when flash holds exactly the image that the header says, and its table.

        Then every chunk is right: the signature covers this digest as it does the table's.
        """
        while self.step():
            pass
        if self.broken or self.at < self._end:
            return False
        header = self._header
        if self._hasher.digest() != header.image_digest or not self._sink.table_matches():
            return False
        # What pads the image is in no digest but that of the last chunk.
        return self._sink.chunk_matches(header.chunks - 1) and self._sink.has_head()
