"""One file from the server into a sink: multicast first, then the gaps over unicast TFTP.

Decides what to ask for next and when to give up; session.py and reading.py do the work.
"""

from gapcast_core import offer as offers
from gapcast_core import receiver, wire
from gapcast_core.errors import PeerError

from . import port
from .asking import ANSWER_TRIES, ANSWER_WAIT_MS, WINDOW_BLOCKS, ask
from .download import BLKSIZE_BYTES, Download
from .session import Session

_READING = ("gapcast_boot.reading", "gapcast_core.repair")  # what is not loaded during a session
# Loaded when a server offers repair symbols.
MENDING = ("gapcast_boot.mending", "gapcast_core.mender", "gapcast_core.missing")
MENDING += ("gapcast_core.fec", "gapcast_core.fec_viper", "gapcast_core.gf")
MENDING_BYTES = 24 * 1024  # of the heap: for the modules, 8 symbols, and the session
REJOIN_SHARE = 4  # more than a quarter missing: join a stream again rather than repair
MAX_UNANSWERED = 5  # questions in a row, each asked several times: the server is gone
MAX_UNHEARD = 2  # sessions without one DATA: multicast does not reach this board
RETRY_MIN_MS = 300
RETRY_SPAN_MS = 1200
LIMIT_MS = 30 * 60 * 1000  # a server that drips must not hold the application back for ever
HEAD_LIMIT = 4  # the same for the head of a file: so many times its stall_ms
HANDOUT_MS = 300  # PROTOCOL.md section 12: five rounds of a server that hands a small file out to a fleet


class TransferError(Exception):
    """The file did not come; the text says why. `code` is the server's ERROR code or None."""

    def __init__(self, text, code=None):
        super().__init__(text)
        self.code = code


class Transfer:
    """Fetch `name` from `server` into `sink`.

    server: ("ip", port). local_ip: this board's address. progress: told of phases and counts
    (progress.py). stall_ms, expected_bytes: see Download.
    """

    def __init__(self, server, local_ip, name, sink, clock, progress, stall_ms, expected_bytes=None):
        self.download = Download(sink, clock, progress, stall_ms, LIMIT_MS, expected_bytes)
        self.repaired_blocks = 0  # stored from unicast answers
        self.repaired_bytes = 0
        self._server = server
        self._local_ip = local_ip
        self._name = name
        self._clock = clock
        self._progress = progress
        self._stall_ms = stall_ms
        self._session = None  # the last multicast session: its TID wants to hear of us
        self._turn = False  # the server said that the stream is over
        self._prefer_stream = False
        self._no_stream = False
        self._unanswered = 0
        self._wait_ms = ANSWER_WAIT_MS
        self._unheard = 0
        self.ranges_known = True  # until an answer shows a stock server
        self._ask_plainly = False  # tftpy does not answer a request with empty option values
        self._why = "no answer from the server"

    def run(self):
        """Until every block is in the sink. Raises TransferError."""
        download = self.download
        while not download.is_complete():
            before = (download.missing(), self._turn, self._unheard)
            self._attempt(self._stream if self._wants_stream() else self._repair)
            if download.is_complete():
                break
            self._check_patience()
            if (download.missing(), self._turn, self._unheard) == before:
                self._turn = False  # nobody served it: the server may have started anew
                self._pause()
        if self._session:
            self._session.say_complete()

    def run_ranges(self):
        """Until every block is there, by `ranges` alone; False when the server does not know them.

        Raises TransferError.
        """
        while not self.download.is_complete():
            before = self.download.missing()
            self._attempt(lambda: self._repair(True))
            if not self.ranges_known:
                return False
            if self.download.missing() == before:
                self._check_patience()
                self._pause()
        return True

    def run_again(self, by_stream):
        """As run, for blocks that were bad. by_stream: other boards may well miss the same ones.

        Else none comes by multicast from now on, however many: who forged there may do so again.
        """
        self._prefer_stream = by_stream
        self._no_stream = not by_stream
        self._turn = False
        self.run()

    def run_head(self, size_bytes, is_sound=None):
        """Only the first `size_bytes` bytes, asked for within stall_ms. Raises TransferError.

        is_sound: the file has no more bytes, so it may come by multicast if other boards ask for it, too;
        tells whether what came that way can be true, for anybody may have sent it.
        """
        self._ask_plainly = is_sound is None
        self.download.quiet = True
        self.download.limit(HEAD_LIMIT * self._stall_ms)
        self._wait_ms = self._stall_ms // ANSWER_TRIES
        while not self._attempt(lambda: self._head(size_bytes, is_sound)):
            if self.download.is_complete():
                raise TransferError("%s is shorter than %d bytes" % (self._name, size_bytes))
            self._check_patience()
            self._pause()

    def rename(self, name):
        """Ask for the same bytes by another name from now on."""
        self._name = name

    def close(self):
        """Say farewell to the session and let go of its sockets."""
        if self._session:
            self._session.close()
            self._session = None
            port.drop(*MENDING)

    # -- what next ------------------------------------------------------------------------

    def _wants_stream(self):
        """A stream, or a repair? Whoever got its turn repairs; a stream that broke off goes on."""
        gaps = self.download.gaps
        if gaps is None or not gaps.total_known:
            return True
        if self._turn or self._no_stream or self._unheard >= MAX_UNHEARD:
            return False
        if self._prefer_stream:
            self._prefer_stream = False
            return True
        return gaps.missing_blocks() * REJOIN_SHARE > gaps.total

    def _attempt(self, step):
        """What `step` returns; None when it failed in a way that may be tried again."""
        try:
            return step()
        except PeerError as exc:
            self._judge(exc)
        except OSError as exc:
            self._why = "network: %s" % exc
            self._progress.note(self._why)
        except MemoryError:  # with what mending took there is room to ask again
            self._why = "no memory"
            self.close()
        return None

    def _judge(self, exc):
        """A refusal of the server ends the transfer; anything else malformed is tried again."""
        if exc.reason == "refused" and exc.error_code in (wire.ERR_NOT_FOUND, wire.ERR_ACCESS):
            raise TransferError("server refuses %s: %s" % (self._name, exc.error_text), exc.error_code)
        if exc.reason == "no_answer":
            self._why = "no answer from the server"
            self._unanswered += 1
            if self._session is None and not self._name.startswith("gap/"):
                self._ask_plainly = not self._ask_plainly
            return
        self._why = "server: %s %s" % (exc.reason, exc.error_text)
        self._progress.note(self._why)

    def _check_patience(self):
        if self._unanswered >= (1 if self.download.quiet else MAX_UNANSWERED):
            raise TransferError(self._why)
        now_ms = self._clock.now_ms()
        self._check_limit(now_ms)
        if self.download.stalled(now_ms):
            raise TransferError("nothing new for %d ms: %s" % (self._stall_ms, self._why))

    def _check_limit(self, now_ms):
        if self.download.overdue(now_ms):
            raise TransferError("not complete in time: %s" % self._why)

    def _pause(self):
        """A random moment before the next attempt: a whole fleet may be in the same state."""
        port.sleep_ms(RETRY_MIN_MS + port.random_below(RETRY_SPAN_MS))

    def _ask(self, request, asked_ranges=None, other=None):
        self._check_limit(self._clock.now_ms())
        answer = ask(self._server, self._local_ip, self._clock, request, asked_ranges, self._wait_ms, other)
        self._unanswered = 0
        try:
            self.download.adopt(answer.offer)
        except PeerError:
            answer.sock.close()
            raise
        return answer

    # -- the three ways to ask ------------------------------------------------------------

    def _stream(self):
        """Join the image's multicast session, or take the whole file if there is none."""
        if self._ask_plainly:
            request = offers.plain_request(self._name, BLKSIZE_BYTES, WINDOW_BLOCKS)
        else:
            request = offers.image_request(self._name, BLKSIZE_BYTES)
        answer = self._ask(request)
        self.ranges_known = answer.offer.gap_aware
        if answer.offer.group is None:
            self._progress.phase("unicast", self.download.gaps)
            self._read(answer)
            return
        self.close()
        self._session = self._open_session(answer)
        self._session.run()
        self._turn = self._session.rx.end == receiver.GAPS_LEFT
        self._unheard = 0 if self._session.rx.heard_data else self._unheard + 1

    def _open_session(self, answer):
        """A session with repair symbols, or without when the server has none or memory is short."""
        port.drop(*_READING)
        if answer.offer.repair_group is not None and port.has_free(MENDING_BYTES):
            try:
                from .mending import open_mended

                session = open_mended(self.download, answer, self._local_ip, self._name)
                if session is not None:
                    return session
            except (ImportError, MemoryError):
                pass
            port.drop(*MENDING)
        return Session(self.download, answer, self._local_ip)

    def _repair(self, only_ranges=False):
        """One page of gaps; from a stock server the whole file again, unless `only_ranges`."""
        gaps = self.download.gaps
        if self.ranges_known:
            request, asked = offers.repair_request(self._name, BLKSIZE_BYTES, WINDOW_BLOCKS, gaps)
            if self._session:
                self._session.say(gaps.next_missing(1) - 1)
        else:
            request = offers.plain_request(self._name, BLKSIZE_BYTES, WINDOW_BLOCKS)
            asked = None
        self._progress.phase("repair", gaps)
        answer = self._ask(request, asked)
        if only_ranges and answer.offer.ranges is None:
            self.ranges_known = False
            port.send(answer.sock, wire.pack_error(wire.ERR_UNDEFINED, "ranges are needed"))
            answer.sock.close()
            return
        self._read(answer)

    def _head(self, size_bytes, is_sound):
        """True when the head is in."""
        shared, plain = offers.head_requests(self._name, BLKSIZE_BYTES)
        if not self._ask_plainly:
            self._ask_plainly = True  # whatever comes of it
            answer = self._ask(shared, other=plain)
            if answer.offer.group is None:
                return self._reading(answer, size_bytes).is_head_in()
            if self._hear_head(answer, size_bytes) and is_sound():
                return True
            self.download.start_over()
        return self._reading(self._ask(plain), size_bytes).is_head_in()

    def _hear_head(self, answer, size_bytes):
        """By multicast, in a moment or not at all."""
        session = Session(self.download, answer, self._local_ip)
        session.rx.limit_ms = HANDOUT_MS
        try:
            if answer.offer.size_bytes == size_bytes:  # a stock server's may be any file
                session.run()
        except OSError as exc:  # no group can be joined here
            self._why = "network: %s" % exc
        finally:
            session.close()
        return self.download.is_complete()

    def _read(self, answer):
        reading = self._reading(answer)
        self.repaired_blocks += reading.stored_blocks
        self.repaired_bytes += reading.stored_bytes

    def _reading(self, answer, head_bytes=0):
        """A read that is over."""
        from .reading import Reading

        reading = Reading(self.download, answer, head_bytes)
        reading.run()
        return reading
