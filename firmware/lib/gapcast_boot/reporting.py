"""Send a report: a WRQ of one block (RFC 1350 section 4), within a time limit."""

from gapcast_core import report, wire
from gapcast_core.errors import GapcastError

from . import port

REPEAT_MS = 250  # what is not answered is sent again
SAME_TRIES = 3  # then all over again from a new port: the server gave this exchange up
MAX_SENT = 24  # a flood of junk answers must not make a flood of ours
MAX_STRANGERS = 16  # datagrams from elsewhere looked at while waiting for one answer
PAUSE_MIN_MS = 50  # after "busy": the boards of a bench that was switched on at once come back one by one
PAUSE_SPAN_MS = 250
_ANSWER_BYTES = 32  # an ACK has 4, an ERROR begins with 4; the rest is cut

_LOST = 0  # no answer, try again
_STORED = 1
_REFUSED = 2
_BUSY = 3  # no place at the moment: as good as lost, but not to be asked again at once
_ERRORS = {wire.ERR_UNKNOWN_TID: _LOST, wire.ERR_UNDEFINED: _BUSY}


def send(server, local_ip, clock, board_id, datagram, limit_ms):
    """True when the server has stored the report; False when it said no, or nothing in time.

    server: ("ip", port). datagram: of report.pack_report, the same again for the same report: the server
    stores it only once. Takes at most `limit_ms` and one read timeout. Raises OSError.
    """
    try:
        request = wire.pack_request(wire.OP_WRQ, report.report_name(board_id), [])
    except GapcastError:
        return False  # no such id can be told to a server
    exchange = _Exchange(server, clock, clock.now_ms() + limit_ms)
    while exchange.has_time():
        exchange.sock = port.open_udp(local_ip)
        try:
            result = exchange.run(request, datagram)
        finally:
            exchange.sock.close()
        if result == _BUSY:
            exchange.pause()
        elif result != _LOST:
            return result == _STORED
    return False


class _Exchange:
    """One try after the other, until the deadline."""

    def __init__(self, server, clock, deadline_ms):
        self.sock = None
        self._server = server
        self._clock = clock
        self._deadline_ms = deadline_ms
        self._sent = 0
        self._deaf = False

    def has_time(self):
        return self._sent < MAX_SENT and self._clock.now_ms() < self._deadline_ms

    def pause(self):
        """A random time, within the deadline."""
        pause_ms = PAUSE_MIN_MS + port.random_16() % PAUSE_SPAN_MS
        left_ms = self._deadline_ms - self._clock.now_ms()
        if left_ms > 0:
            port.sleep_ms(min(pause_ms, left_ms))

    def run(self, request, datagram):
        """_STORED, _REFUSED, _BUSY or _LOST of one try from the socket's port."""
        self._deaf = False
        answer, tid = self._ask(request, self._server, None, 0)
        if answer != _STORED:
            return answer
        return self._ask(wire.pack_data(1, datagram), tid, tid, 1)[0]

    def _ask(self, data, to, tid, block):
        """(result, TID): send `data` until ACK `block` comes from `tid`; None: any port of the server."""
        for _attempt in range(SAME_TRIES):
            if self._deaf or not self.has_time():
                break
            self._sent += 1
            try:
                self.sock.sendto(data, to)
            except OSError:
                pass  # no buffer, or no route for a moment: like lost on the air
            until_ms = min(self._clock.now_ms() + REPEAT_MS, self._deadline_ms)
            for _stranger in range(MAX_STRANGERS):
                if self._deaf or self._clock.now_ms() >= until_ms:
                    break
                result, source = self._hear(tid, block)
                if result != _LOST:
                    return result, source
        return _LOST, None

    def _hear(self, tid, block):
        """(result, source) of the next datagram; _LOST for nothing, and for what is of no matter."""
        data, source = port.read_from(self.sock, _ANSWER_BYTES)
        if data is None:
            return _LOST, None
        if not data:
            self._deaf = True  # an ESP32's socket never hears again after an empty datagram
            return _LOST, None
        if len(data) < wire.HEADER_BYTES or source[0] != self._server[0] or (tid and source != tid):
            return _LOST, None
        op = wire.opcode(data)
        if op == wire.OP_ERROR:
            return _ERRORS.get(data[3], _REFUSED), source
        if op == wire.OP_ACK and wire.parse_ack(data) == block:
            return _STORED, source
        return _LOST, None
