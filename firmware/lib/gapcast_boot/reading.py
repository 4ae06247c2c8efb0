"""One unicast read: the shell around repair.py."""

from gapcast_core import repair, wire

from . import port

LAST_WAIT_MS = 500  # for the empty last DATA, once all bytes are in


class Reading:
    """Reads what an answer offers into a download.

    head_bytes: stop, with an ERROR to the server, when so many bytes are in; 0 is the whole file.
    """

    def __init__(self, download, answer, head_bytes=0):
        self.stored_blocks = 0
        self.stored_bytes = 0
        self._download = download
        self._answer = answer
        self._head_bytes = head_bytes
        self._ack_buf = bytearray(4)
        self._frames = None
        self._reader = repair.Reader(answer.offer, answer.offer.blocks(), download.clock.now_ms())

    def run(self):
        """Read to the end, or to a failure, which is noted; closes the socket."""
        download = self._download
        reads = port.frames if download.size_bytes is not None else port.datagrams
        self._frames = reads(self._answer.sock, download.frame)
        try:
            if self._answer.offer.plain:
                first = self._answer.first
                self._download.frame[: len(first)] = first
                self._take(len(first), self._download.clock.now_ms())
            while not self._over():
                self._step()
            self._leave()
        finally:
            self._answer.sock.close()
        if self._reader.failed:
            self._download.progress.note("repair: %s" % (self._reader.failed,))

    def _over(self):
        reader = self._reader
        return reader.done or reader.failed or self.is_head_in()

    def is_head_in(self):
        """The bytes asked for are in (never for a whole file)."""
        gaps = self._download.gaps
        return self._head_bytes and (gaps.next_missing(1) - 1) * self._download.blksize >= self._head_bytes

    def _step(self):
        reader = self._reader
        download = self._download
        self._say()
        length = next(self._frames)
        now_ms = download.clock.now_ms()
        if length > 0:
            self._take(length, now_ms)
        elif length == port.DEAF:
            reader.failed = "empty datagram"
        else:
            reader.tick(now_ms)
            if reader.is_data_complete() and reader.quiet_ms(now_ms) > LAST_WAIT_MS:
                reader.done = True
        if download.stalled(now_ms):
            reader.failed = "stalled"

    def _take(self, length, now_ms):
        reader = self._reader
        download = self._download
        if not reader.accept(download.frame, length, now_ms):
            return
        data_bytes = length - wire.HEADER_BYTES
        if data_bytes and download.gaps.is_missing(reader.block):
            download.write(reader.block, length, now_ms)
            download.gaps.add(reader.block)
            self.stored_blocks += 1
            self.stored_bytes += data_bytes
        reader.advance()
        if reader.done and not download.gaps.total_known:
            download.end_unsized(reader.block, data_bytes)
        download.tell(now_ms)

    def _say(self):
        if self._reader.ack >= 0:
            wire.pack_ack_into(self._ack_buf, self._reader.ack)
            port.send(self._answer.sock, self._ack_buf)
            self._reader.ack = repair.NO_ACK

    def _leave(self):
        if self._reader.done or not self.is_head_in():
            self._say()
        else:
            port.send(self._answer.sock, wire.pack_error(wire.ERR_UNDEFINED, "the head is enough"))
