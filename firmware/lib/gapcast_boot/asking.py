"""Send a request, repeat it, and find out who answers (RFC 1350 section 4: the answer's port)."""

from gapcast_core import offer as offers
from gapcast_core import wire
from gapcast_core.errors import PeerError

from . import port
from .download import BLKSIZE_BYTES

WINDOW_BLOCKS = 8
ANSWER_TRIES = 4  # an RRQ without an answer is repeated from the same port
ANSWER_WAIT_MS = 600
MAX_STRANGERS = 32  # datagrams from elsewhere looked at while waiting for one answer


class Answer:
    """sock: connected to the server's TID. first: the datagram that was the answer."""

    def __init__(self, sock, offer, first, tid):
        self.sock = sock
        self.offer = offer
        self.first = first
        self.tid = tid


def ask(server, local_ip, clock, request, asked_ranges=None, wait_ms=ANSWER_WAIT_MS, other=None):
    """The Answer to an RRQ, which is sent at most ANSWER_TRIES times, `wait_ms` apart.

    other: sent in turn with `request`, for servers that do not answer that one.
    Raises PeerError: `no_answer`, `refused`, and what offer.parse_offer raises; OSError.
    """
    sock = port.open_udp(local_ip)
    try:
        for attempt in range(ANSWER_TRIES):
            sock.sendto(other if other and attempt % 2 else request, server)
            data, tid = _wait(sock, server, clock, wait_ms)
            if data == b"":  # anybody's, and it deafens the socket
                sock.close()
                sock = port.open_udp(local_ip)
            elif data is not None:
                offer = offers.parse_offer(data, BLKSIZE_BYTES, WINDOW_BLOCKS, asked_ranges)
                sock.connect(tid)
                return Answer(sock, offer, data, tid)
        raise PeerError("no_answer")
    except (PeerError, OSError):
        sock.close()
        raise


def _wait(sock, server, clock, wait_ms):
    """The next datagram from the server's address, or (None, None)."""
    deadline_ms = clock.now_ms() + wait_ms
    for _stranger in range(MAX_STRANGERS):
        if clock.now_ms() >= deadline_ms:
            break
        data, address = port.read_from(sock, wire.HEADER_BYTES + BLKSIZE_BYTES)
        if data == b"" or (data and address[0] == server[0]):
            return data, address
    return None, None
