"""One multicast session: the shell around receiver.py, with the hot loop of the download."""

from gapcast_core import offer as offers
from gapcast_core import options, receiver, wire

from . import port

CONTROL_EVERY_MS = 100  # how often the busy stream looks at its control port
MAX_CONTROL = 8  # datagrams taken at one look: a flood must not keep the stream waiting
MAX_DEAF = 8  # sockets lost to empty datagrams before the session is given up
MAX_FAREWELLS = 8  # atftpd answers each late ACK with an OACK: this must not go on for ever


class Session:
    """Joined by an RRQ whose answer offered a group."""

    def __init__(self, download, answer, local_ip):
        self._download = download
        self._answer = answer
        self._local_ip = local_ip
        self._control = port.ControlPort(answer.sock)
        self._ack_buf = bytearray(4)
        self.rx = receiver.Receiver(answer.offer, download.gaps, download.clock.now_ms(), port.random_16())

    def run(self):
        """Receive until the session ends; `rx.end` says how."""
        rx = self.rx
        download = self._download
        if not download.quiet:
            download.progress.phase("master" if rx.is_master else "listener", download.gaps)
        group = self._join()
        if self._answer.offer.gap_aware:
            download.work.begin(self._tell_pace)
        deaf = 0
        try:
            while rx.end == receiver.RUNNING:
                if not self.listen(group):
                    deaf += 1
                    group.close()
                    group = self._join()
                    if deaf > MAX_DEAF:
                        rx.end = receiver.SILENCE
        finally:
            group.close()
            download.work.tell = None
        self.say(rx.ack)
        if not download.quiet:
            download.progress.stream_over(download.gaps, rx)
        if rx.error:
            download.progress.note("server: %d %s" % rx.error)

    def _join(self):
        offer = self._answer.offer
        return port.open_group(self._groups(), offer.port, self._local_ip, self._answer.tid)

    def _groups(self):
        return (self._answer.offer.group,)

    def listen(self, group):
        """The hot loop: until the session ends (True) or the socket has gone deaf (False)."""
        rx = self.rx
        download = self._download
        frame = download.frame
        clock = download.clock
        reads = port.frames if download.size_bytes is not None else port.datagrams
        frames = reads(group, frame)
        look_ms = clock.now_ms() + CONTROL_EVERY_MS
        while rx.end == receiver.RUNNING:
            if rx.ack >= 0:
                self.say(rx.ack)
                rx.ack = receiver.NO_ACK
            length = next(frames)
            now_ms = clock.now_ms()
            if length > 0:
                block = rx.accept(frame, length, now_ms)
                if block:
                    download.write(block, length, now_ms)
                    rx.stored(block)
                    download.prove()
                if now_ms < look_ms:
                    continue
            elif length == port.DEAF:
                return False
            look_ms = now_ms + CONTROL_EVERY_MS
            self._look(now_ms)
        return True

    def _look(self, now_ms):
        """The control port, the timers, and the patience of the whole download."""
        rx = self.rx
        for _waiting in range(MAX_CONTROL):
            data = self._control.read()
            if data is None or rx.end != receiver.RUNNING:
                break
            rx.control(data, now_ms)
        if rx.end == receiver.RUNNING:
            rx.tick(now_ms)
            if self._download.stalled(now_ms):
                rx.end = receiver.SILENCE
        self._download.tell(now_ms)

    def say(self, block):
        """An ACK to the session's TID; NO_ACK says nothing."""
        if block >= 0:
            wire.pack_ack_into(self._ack_buf, block)
            port.send(self._answer.sock, self._ack_buf)

    def _tell_pace(self, us):
        """So long this board works on a block: an RRQ with the one option `pace`."""
        port.send(
            self._answer.sock,
            wire.pack_request(wire.OP_RRQ, options.PACE, [(options.PACE, "%d" % us)]),
        )

    def say_complete(self):
        """ACK of the last block: this client has everything (RFC 2090)."""
        offer = self._answer.offer
        if offer.size_bytes is None:
            offer.size_bytes = self._download.size_bytes
        if offer.size_bytes is not None:
            self.say(offer.final_ack())

    def close(self):
        """Answer what the server still asked of this client, then let go."""
        for _waiting in range(MAX_FAREWELLS):
            data = self._control.read()
            if data is None:
                break
            if self._download.is_complete() and offers.is_turn(data):
                self.say_complete()
        self._control.close()
