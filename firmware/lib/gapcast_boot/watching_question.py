"""Pre-boot's one question, asked beside an application: nothing here waits but in asyncio.

By unicast alone: boards that run ask at random moments, so a handout would have nobody to share it.
"""

import asyncio

from gapcast_core import offer as offers
from gapcast_core import repair, wire
from gapcast_core.container import HEADER_BYTES
from gapcast_core.errors import PeerError

from . import port

BLKSIZE_BYTES = 1024
STEP_MS = 20
SAME_TRIES = 2  # from one port
TRIES = 3  # ports: an empty datagram deafens one, and late answers go to the one before
ANSWER_MS = 500
LIMIT_MS = 5000  # for all of it, from the answer on
MAX_STRANGERS = 4  # datagrams from elsewhere in one step


async def fetch_header(server, local_ip, clock, image):
    """The 1024 bytes of the image's header; None when the server has none.

    server: ("ip", port). Raises PeerError (`no_answer`, `refused`, ...), OSError.
    """
    for name in (image + ".hdr", image + ".gap"):  # a stock server knows no `.hdr`
        try:
            return await _fetch_head(server, local_ip, clock, name)
        except PeerError as exc:
            if exc.reason != "refused" or exc.error_code != wire.ERR_NOT_FOUND:
                raise
    return None


async def _fetch_head(server, local_ip, clock, name):
    request = offers.head_requests(name, BLKSIZE_BYTES)[1]
    attempt = 1
    while True:
        exchange = _Exchange(server, local_ip, clock)
        try:
            return await exchange.run(request)
        except PeerError as exc:
            if exc.reason not in ("no_answer", "deaf") or attempt == TRIES:
                raise
        finally:
            exchange.sock.close()
        attempt += 1


class _Exchange:
    """The first bytes of a file, by one socket."""

    def __init__(self, server, local_ip, clock):
        self.sock = port.open_udp(local_ip, port.NO_WAIT)
        self._server = server
        self._clock = clock
        self._tid = None  # the answer's port is where the rest goes (RFC 1350 section 4)
        self._head = bytearray(HEADER_BYTES)
        self._filled = 0

    async def run(self, request):
        """Those bytes. Raises PeerError, OSError."""
        first = await self._answer(request)
        offer = offers.parse_offer(first, BLKSIZE_BYTES, 1)
        clock = self._clock
        reader = repair.Reader(offer, offer.blocks(), clock.now_ms())
        until_ms = clock.now_ms() + LIMIT_MS
        frame = first if offer.plain else None
        while True:
            if frame is None:
                reader.tick(clock.now_ms())
            elif reader.accept(frame, len(frame), clock.now_ms()):
                self._store(reader.block, frame, offer.blksize)
                reader.advance()
            if self._filled == HEADER_BYTES:
                self._send(wire.pack_error(wire.ERR_UNDEFINED, "the head is enough"))
                return self._head
            if reader.ack >= 0:
                self._send(wire.pack_ack(reader.ack))
                reader.ack = repair.NO_ACK
            if reader.done:
                raise PeerError("short_header")
            if reader.failed or clock.now_ms() > until_ms:
                raise PeerError("broke_off")
            frame = await self._hear()

    async def _answer(self, request):
        """The first datagram of the server."""
        for _attempt in range(SAME_TRIES):
            self._send(request)
            until_ms = self._clock.now_ms() + ANSWER_MS
            while self._clock.now_ms() < until_ms:
                data = await self._hear()
                if data is not None:
                    return data
        raise PeerError("no_answer")

    def _store(self, block, frame, blksize):
        at = (block - 1) * blksize
        view = memoryview(frame)[wire.HEADER_BYTES : wire.HEADER_BYTES + HEADER_BYTES - at]
        self._head[at : at + len(view)] = view
        self._filled = at + len(view)

    def _send(self, data):
        try:
            self.sock.sendto(data, self._tid or self._server)
        except OSError:  # no buffer, or no route for a moment: like lost on the air
            pass

    async def _hear(self):
        """The next datagram of the server, or None after a step."""
        for _stranger in range(MAX_STRANGERS):
            data, source = port.read_from(self.sock, wire.HEADER_BYTES + BLKSIZE_BYTES)
            if data is None:
                break
            if not data:
                raise PeerError("deaf")
            if self._tid is None and source[0] == self._server[0]:
                self._tid = source
            if source == self._tid:
                return data
        await asyncio.sleep_ms(STEP_MS)
        return None
