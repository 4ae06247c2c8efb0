"""One file from the server into a sink: multicast first, then the gaps over unicast TFTP.

The shell around receiver.py and repair.py: it owns the sockets and the clock, and nothing
about the protocol is decided here except when to ask again.
"""

from gapcast_core import offer as offers
from gapcast_core import receiver, repair, wire
from gapcast_core.errors import PeerError
from gapcast_core.gaps import GapList

from . import port

BLKSIZE_BYTES = 1024  # four blocks fill a flash sector, and a frame fits any MTU
WINDOW_BLOCKS = 8
ANSWER_TRIES = 4  # an RRQ without an answer is repeated from the same port
ANSWER_WAIT_MS = 600
CONTROL_EVERY_FRAMES = 64  # how often the busy stream looks at its control port
PROGRESS_MS = 200
LAST_WAIT_MS = 500  # for the empty last DATA, once all bytes are in
MAX_FAREWELLS = 8  # atftpd answers each late ACK with an OACK: this must not go on for ever
REJOIN_SHARE = 4  # more than a quarter missing: join a stream again rather than repair
RETRY_MIN_MS = 300
RETRY_SPAN_MS = 1200


class TransferError(Exception):
    """The file did not come; the text says why. `code` is the server's ERROR code or None."""

    def __init__(self, text, code=None):
        super().__init__(text)
        self.code = code


class Transfer:
    """Fetch `name` from `server` into `sink`.

    server: ("ip", port). local_ip: this board's address. stall_ms: how long the transfer may
    go without a new block before it fails. progress: told of phases and counts (progress.py).
    """

    def __init__(self, server, local_ip, name, sink, clock, progress, stall_ms):
        self.gaps = None
        self.blksize = BLKSIZE_BYTES
        self.size_bytes = None
        self.was_master = False
        self.repaired_blocks = 0  # stored from unicast answers
        self.repaired_bytes = 0
        self._server = server
        self._local_ip = local_ip
        self._name = name
        self._sink = sink
        self._clock = clock
        self._progress = progress
        self._stall_ms = stall_ms
        self._last_new_ms = clock.now_ms()
        self._told_ms = 0
        self._turn = False  # the server said that the stream is over
        self._head_bytes = 0  # stop after so many; 0 is the whole file
        self._session = None  # the control port of the last multicast session
        self._session_offer = None
        self._ranges_known = True  # until an answer shows a stock server
        self._ask_plainly = False  # tftpy does not answer a request with empty option values
        self._why = "no answer from the server"
        self._ack_buf = bytearray(4)
        self._frame = bytearray(wire.HEADER_BYTES + BLKSIZE_BYTES)
        self._payload = memoryview(self._frame)[wire.HEADER_BYTES :]

    # -- the whole transfer ---------------------------------------------------------------

    def run(self):
        """Until every block is in the sink. Raises TransferError."""
        while not self._complete():
            before = (self._missing(), self._turn)
            try:
                if self._wants_stream():
                    self._stream()
                else:
                    self._repair()
            except PeerError as exc:
                self._judge(exc)
            except OSError as exc:
                self._why = "network: %s" % exc
                self._progress.note(self._why)
            if (self._missing(), self._turn) == before and not self._complete():
                self._turn = False  # nobody served it: the server may have started anew
                self._wait_or_fail()
        self._say_complete()

    def run_head(self, size_bytes):
        """Only the first `size_bytes` bytes, by unicast. Raises TransferError."""
        self._head_bytes = size_bytes
        while not self._head_in:
            try:
                sock, offer, first, _tid = self._open(offers.plain_request(self._name, BLKSIZE_BYTES, 1))
                self._adopt(offer)
                self._read(sock, offer, first)
            except PeerError as exc:
                self._judge(exc)
            except OSError as exc:
                self._progress.note("network: %s" % exc)
            if self._complete() and not self._head_in:
                raise TransferError("%s is shorter than %d bytes" % (self._name, size_bytes))
            if not self._head_in:
                self._wait_or_fail()

    def rename(self, name):
        """Ask for the same bytes by another name from now on."""
        self._name = name

    def mark_missing(self, offset, size_bytes):
        """The blocks of this byte range are bad and have to be fetched again."""
        first = offset // self.blksize + 1
        last = (offset + size_bytes - 1) // self.blksize + 1
        self.gaps.mark_missing(first, last - first + 1)
        self._last_new_ms = self._clock.now_ms()

    def close(self):
        """Answer what the server still asked of this client, then let go."""
        if self._session:
            for _waiting in range(MAX_FAREWELLS):
                data = self._session.read()
                if data is None:
                    break
                if self._complete() and offers.is_turn(data):
                    self._say_complete()
            self._session.close()
            self._session = None

    @property
    def _head_in(self):
        if not self._head_bytes or self.gaps is None:
            return False
        return (self.gaps.next_missing(1) - 1) * self.blksize >= self._head_bytes

    def _complete(self):
        return self.gaps is not None and self.gaps.total_known and self.gaps.complete

    def _missing(self):
        return -1 if self.gaps is None else self.gaps.missing_blocks

    def _wants_stream(self):
        """A stream, or a repair? Whoever got its turn repairs; a stream that broke off goes on."""
        if self.gaps is None or not self.gaps.total_known:
            return True
        return not self._turn and self.gaps.missing_blocks * REJOIN_SHARE > self.gaps.total

    def _judge(self, exc):
        """A refusal of the server ends the transfer; anything else malformed is tried again."""
        if exc.reason == "refused" and exc.error_code in (wire.ERR_NOT_FOUND, wire.ERR_ACCESS):
            raise TransferError("server refuses %s: %s" % (self._name, exc.error_text), exc.error_code)
        if exc.reason == "no_answer":
            self._why = "no answer from the server"
            if self._session_offer is None and not self._name.startswith("gap/"):
                self._ask_plainly = not self._ask_plainly
            return
        self._why = "server: %s %s" % (exc.reason, exc.error_text)
        self._progress.note(self._why)

    def _wait_or_fail(self):
        if self._clock.now_ms() - self._last_new_ms > self._stall_ms:
            raise TransferError("nothing new for %d ms: %s" % (self._stall_ms, self._why))
        port.sleep_ms(RETRY_MIN_MS + port.random_below(RETRY_SPAN_MS))

    # -- asking ---------------------------------------------------------------------------

    def _open(self, request, asked_ranges=None):
        """(connected socket, Offer, first datagram, TID) of the answer. Raises PeerError."""
        sock = port.open_udp(self._local_ip)
        try:
            for _attempt in range(ANSWER_TRIES):
                sock.sendto(request, self._server)
                data, address = self._answer(sock)
                if data is None:
                    continue
                offer = offers.parse_offer(data, BLKSIZE_BYTES, WINDOW_BLOCKS, asked_ranges)
                sock.connect(address)
                return sock, offer, data, address
            raise PeerError("no_answer")
        except (PeerError, OSError):
            sock.close()
            raise

    def _answer(self, sock):
        """The next datagram from the server's address (its port is the new TID)."""
        deadline_ms = self._clock.now_ms() + ANSWER_WAIT_MS
        while self._clock.now_ms() < deadline_ms:
            data, address = port.read_from(sock, wire.HEADER_BYTES + BLKSIZE_BYTES)
            if data is not None and address[0] == self._server[0]:
                return data, address
        return None, None

    def _adopt(self, offer):
        """Set the gap list up at the first offer; a later one must fit it."""
        if offer.size_bytes is None and offer.blksize == self.blksize:
            offer.size_bytes = self.size_bytes  # `tsize` is optional (RFC 2349); an earlier answer had it
        if self.gaps is None or offer.blksize != self.blksize or offer.size_bytes != self.size_bytes:
            self.gaps = GapList(offer.blocks())
            self.blksize = offer.blksize
            self.size_bytes = offer.size_bytes
            if len(self._payload) != offer.blksize:
                self._frame = bytearray(wire.HEADER_BYTES + offer.blksize)
                self._payload = memoryview(self._frame)[wire.HEADER_BYTES :]

    # -- multicast ------------------------------------------------------------------------

    def _stream(self):
        if self._ask_plainly:
            request = offers.plain_request(self._name, BLKSIZE_BYTES, WINDOW_BLOCKS)
        else:
            request = offers.image_request(self._name, BLKSIZE_BYTES)
        sock, offer, first, tid = self._open(request)
        self._adopt(offer)
        if offer.group is None:
            self._ranges_known = False
            self._progress.phase("unicast", self.gaps)
            self._read(sock, offer, first)
            return
        self._ranges_known = offer.gap_aware
        self.close()
        self._session = port.ControlPort(sock)
        self._session_offer = offer
        rx = receiver.Receiver(offer, self.gaps, self._clock.now_ms(), port.random_16())
        self._progress.phase("master" if offer.is_master else "listener", self.gaps)
        group = port.open_group(offer.group, offer.port, self._local_ip, tid)
        try:
            while rx.end == receiver.RUNNING:
                if self._listen(rx, group) == port.DEAF:
                    group.close()
                    group = port.open_group(offer.group, offer.port, self._local_ip, tid)
        finally:
            group.close()
        self._say(rx.ack)
        self._turn = rx.end == receiver.GAPS_LEFT
        self.was_master = self.was_master or rx.was_master
        self._progress.stream_over(self.gaps, rx)
        if rx.error:
            self._progress.note("server: %d %s" % rx.error)

    def _listen(self, rx, group):
        """The hot loop: until the session ends or the socket goes deaf."""
        frame = self._frame
        until_control = CONTROL_EVERY_FRAMES
        while rx.end == receiver.RUNNING:
            if rx.ack >= 0:
                self._say(rx.ack)
                rx.ack = receiver.NO_ACK
            length = port.read_frame(group, frame)
            now_ms = self._clock.now_ms()
            if length > 0:
                block = rx.accept(frame, length, now_ms)
                if block:
                    self._sink.write((block - 1) * self.blksize, self._view(length, block))
                    rx.stored(block)
                    self._last_new_ms = now_ms
                until_control -= 1
                if until_control:
                    continue
            elif length == port.DEAF:
                return port.DEAF
            until_control = CONTROL_EVERY_FRAMES
            self._control(rx, now_ms)
        return 0

    def _control(self, rx, now_ms):
        data = self._session.read()
        while data is not None and rx.end == receiver.RUNNING:
            rx.control(data, now_ms)
            data = self._session.read()
        if rx.end == receiver.RUNNING:
            rx.tick(now_ms)
        self._tell(now_ms)

    def _view(self, length, block):
        """The payload of the frame just read; only a short one costs an allocation.

        The image's short last block may come filled up with the head of the next datagram.
        """
        if length == len(self._frame) and block != self.gaps.total:
            return self._payload
        data_bytes = length - wire.HEADER_BYTES
        if self.size_bytes is not None:
            data_bytes = min(data_bytes, self.size_bytes - (block - 1) * self.blksize)
        return self._payload[:data_bytes]

    def _say(self, block):
        """An ACK to the session's TID."""
        if self._session and block >= 0:
            wire.pack_ack_into(self._ack_buf, block)
            port.send(self._session.sock, self._ack_buf)

    def _say_complete(self):
        """ACK of the last block: this client has everything (RFC 2090)."""
        if self._session:
            self._say(self._session_offer.final_ack())

    def _tell(self, now_ms):
        if now_ms - self._told_ms >= PROGRESS_MS and not self._head_bytes:
            self._told_ms = now_ms
            self._progress.blocks(self.gaps)

    # -- unicast --------------------------------------------------------------------------

    def _repair(self):
        """One page of gaps, or the whole file again from a stock server."""
        if not self._ranges_known:
            request = offers.plain_request(self._name, BLKSIZE_BYTES, WINDOW_BLOCKS)
            asked = None
        else:
            request, asked = offers.repair_request(self._name, BLKSIZE_BYTES, WINDOW_BLOCKS, self.gaps)
            self._say(self.gaps.next_missing(1) - 1)
        self._progress.phase("repair", self.gaps)
        sock, offer, first, _tid = self._open(request, asked)
        self._adopt(offer)
        self._read(sock, offer, first)

    def _read(self, sock, offer, first):
        """One unicast read; what it brings and is still missing goes into the sink."""
        reader = repair.Reader(offer, offer.blocks(), self._clock.now_ms())
        try:
            if offer.plain:
                self._frame[: len(first)] = first
                self._take(reader, len(first))
            while not reader.done and not reader.failed and not self._head_in:
                self._answer_reader(sock, reader)
                length = port.read_frame(sock, self._frame)
                if length > 0:
                    self._take(reader, length)
                elif length == port.DEAF:
                    break
                else:
                    now_ms = self._clock.now_ms()
                    reader.tick(now_ms)
                    if reader.data_complete and reader.quiet_ms(now_ms) > LAST_WAIT_MS:
                        break
            if reader.done or not self._head_in:
                self._answer_reader(sock, reader)
            else:
                port.send(sock, wire.pack_error(wire.ERR_UNDEFINED, "the head is enough"))
        finally:
            sock.close()
        if reader.failed:
            self._progress.note("repair: %s" % (reader.failed,))

    def _answer_reader(self, sock, reader):
        if reader.ack >= 0:
            wire.pack_ack_into(self._ack_buf, reader.ack)
            port.send(sock, self._ack_buf)
            reader.ack = repair.NO_ACK

    def _take(self, reader, length):
        now_ms = self._clock.now_ms()
        if not reader.accept(self._frame, length, now_ms):
            return
        data_bytes = length - wire.HEADER_BYTES
        if data_bytes and self.gaps.is_missing(reader.block):
            self._sink.write((reader.block - 1) * self.blksize, self._view(length, reader.block))
            self.gaps.add(reader.block)
            self.repaired_blocks += 1
            self.repaired_bytes += data_bytes
            self._last_new_ms = now_ms
        reader.advance()
        if reader.done and not self.gaps.total_known:
            self._end_of_unsized(reader, data_bytes)
        self._tell(now_ms)

    def _end_of_unsized(self, reader, data_bytes):
        """The short DATA tells the length that no `tsize` did (RFC 1350 section 6)."""
        self.gaps.set_total(reader.block if data_bytes else reader.block - 1)
        self.size_bytes = (reader.block - 1) * self.blksize + data_bytes
