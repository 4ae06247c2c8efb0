"""Scripted TFTP servers, and a bench that joins them to the client's machines in virtual time.

The servers are as simple as PROTOCOL.md allows and share no code with the real one. Both Pythons.
"""

from gapcast_core import offer as offers
from gapcast_core import receiver, repair, wire
from gapcast_core.gaps import GapList

GROUP = "239.192.0.9"
PORT = 1758
TICK_MS = 100
MAX_EVENTS = 60000  # an exchange longer than this will never end
WINDOW = 8


def contents(size, seed=1):
    """`size` bytes that differ everywhere."""
    out = bytearray(size)
    state = seed
    for i in range(size):
        state = (state * 69069 + 1) & 0x7FFFFFFF
        out[i] = state >> 16 & 0xFF
    return bytes(out)


def make_offer(size, blksize, master=True, aware=True, known=True, window=None):
    """The Offer behind a server's OACK."""
    options = [("blksize", str(blksize))]
    if known:
        options.append(("tsize", str(size)))
    options.append(("multicast", "%s,%d,%d" % (GROUP, PORT, master)))
    if aware:
        options.append(("ranges", ""))
    offer = offers.parse_offer(wire.pack_oack(options), blksize, WINDOW)
    if window:
        offer.window = window
    return offer


def oack(is_master, ranges=None, group=GROUP, port=PORT, short=False):
    """A later OACK of a session."""
    value = ",,%d" % is_master if short else "%s,%d,%d" % (group, port, is_master)
    options = [("multicast", value)]
    if ranges is not None:
        options.append(("ranges", ranges))
    return wire.pack_oack(options)


class Bench:
    """Events in virtual time, and a link that loses, doubles, delays and so reorders datagrams."""

    def __init__(self, dice, drop=0, double=0, delay_ms=0):
        self.now_ms = 0
        self.dice = dice
        self.drop = drop
        self.double = double
        self.delay_ms = delay_ms
        self.sent = 0
        self._events = []
        self._order = 0
        self._count = 0

    def at(self, delay_ms, function, *arguments):
        self._order += 1
        self._events.append((self.now_ms + delay_ms, self._order, function, arguments))

    def send(self, function, *arguments):
        """Deliver on the lossy link."""
        self.sent += 1
        if self.dice.percent(self.drop):
            return
        copies = 2 if self.dice.percent(self.double) else 1
        for _copy in range(copies):
            late_ms = self.dice.below(self.delay_ms) if self.delay_ms else 0
            self.at(1 + late_ms, function, *arguments)

    def run(self, done):
        """Until done() holds; an endless exchange is a failed test."""
        while not done():
            assert self._events, "nothing left to happen"
            self._count += 1
            assert self._count < MAX_EVENTS, "an exchange without end"
            best = 0
            for i in range(1, len(self._events)):
                if self._events[i][:2] < self._events[best][:2]:
                    best = i
            when, _order, function, arguments = self._events.pop(best)
            assert when >= self.now_ms
            self.now_ms = when
            function(*arguments)


class Client:
    """One board: a Receiver, and a dictionary for flash. Checks what must hold after every event."""

    def __init__(self, bench, offer, gaps=None, random_16=0):
        self.bench = bench
        self.offer = offer
        self.gaps = gaps or GapList(offer.blocks())
        self.flash = {}
        self.acks = []
        self.server = None
        self.rx = receiver.Receiver(offer, self.gaps, bench.now_ms, random_16)
        self._frame = bytearray(wire.HEADER_BYTES + offer.blksize)
        self._asked = 0  # the position at which the master asked last
        self.flush()
        bench.at(TICK_MS, self.tick)

    def hear(self, datagram):
        """DATA of the group."""
        rx = self.rx
        if rx.end != receiver.RUNNING:
            return
        length = min(len(datagram), len(self._frame))
        self._frame[:length] = datagram[:length]
        before = rx.drops.copy()
        block = rx.accept(self._frame, length, self.bench.now_ms)
        if block:
            assert self.gaps.is_missing(block)
            assert block not in self.flash or self.gaps.merges, "block %d stored twice" % block
            assert rx.drops == before
            self.flash[block] = bytes(self._frame[4:length])
            rx.stored(block)
            assert not self.gaps.is_missing(block)
        self.flush()

    def told(self, datagram):
        """A datagram on the control port."""
        if self.rx.end == receiver.RUNNING:
            self.rx.control(datagram, self.bench.now_ms)
            self.flush()

    def tick(self):
        if self.rx.end == receiver.RUNNING:
            self.rx.tick(self.bench.now_ms)
            self.flush()
            self.bench.at(TICK_MS, self.tick)

    def flush(self):
        """Send the pending ACK, after a look at whether it is a legal one."""
        rx = self.rx
        if not self.gaps.merges:
            for block in self.flash:
                assert not self.gaps.is_missing(block)
        if rx.ack >= 0:
            check_ack(rx)
            self.acks.append(rx.ack)
            self._asked = rx.position - 1
            if self.server:
                self.bench.send(self.server.ack, self, rx.ack)
            rx.ack = receiver.NO_ACK
        elif rx.is_master and rx.offer.gap_aware and rx.end == receiver.RUNNING:
            assert rx.position - 1 - self._asked < max(rx.offer.window // 2, 1), "the master is too quiet"

    def data(self):
        """What is in flash."""
        return b"".join([self.flash[block] for block in sorted(self.flash)])


def check_ack(rx):
    """An ACK n asks for n + 1, which must be missing; or it says that nothing more is wanted."""
    gaps = rx.gaps
    if rx.ack == 0:
        return  # of the OACK
    if rx.end == receiver.COMPLETE:
        assert rx.ack == rx.offer.final_ack()
        return
    assert rx.ack <= gaps.total
    assert rx.ack == gaps.total or gaps.is_missing(rx.ack + 1), "ACK %d asks for nothing" % rx.ack


class GapServer:
    """A gap-aware server, PROTOCOL.md section 7: stream, probes, hand-over, turns."""

    PROBE_MS = 80
    QUIET_PROBES = 4

    def __init__(self, bench, data, blksize, clients, gather_ms=150):
        self.bench = bench
        self.blksize = blksize
        self.data = data
        self.total = -(-len(data) // blksize)
        self.clients = clients
        self.master = clients[0]
        self.finished = []
        self.turns = []
        self.streaming = True
        self.want = 1  # the next block to send
        self.limit = 0  # the last block that the master's ACK lets out
        self.latest = 0
        self.probes = 0
        self.sent_blocks = 0
        self.dead = []
        for client in clients:
            client.server = self
            bench.send(self.ack, client, 0)
        bench.at(gather_ms, self.clock)

    def ack(self, client, number):
        if self.streaming and client is self.master:
            self.probes = 0
            if number >= self.total:
                self.end()
            elif number + WINDOW > self.limit:
                self.limit = min(number + WINDOW, self.total)
                self.want = max(self.want, number + 1)
        if (
            number == self.total
            and client not in self.finished
            and (client.gaps.is_complete() or not self.streaming)
        ):
            self.finished.append(client)

    def clock(self):
        """Send what may be sent; probe when there is nothing."""
        if not self.streaming:
            return
        if self.want <= self.limit:
            self.multicast(self.want)
            self.want += 1
            self.bench.at(2, self.clock)
        else:
            self.bench.at(10, self.clock)
            if self.bench.now_ms - self._sent_ms() > self.PROBE_MS * (self.probes + 1):
                self.probe()

    _last_ms = 0

    def _sent_ms(self):
        return self._last_ms

    def multicast(self, block):
        self._last_ms = self.bench.now_ms
        self.latest = block
        self.sent_blocks += 1
        frame = wire.pack_data(block, self.data[(block - 1) * self.blksize : block * self.blksize])
        for client in self.clients:
            self.bench.send(client.hear, frame)

    def probe(self):
        self.probes += 1
        if self.latest:
            self.multicast(self.latest)
        if self.latest == self.total and self.probes >= 3:
            self.end()
        elif self.probes >= self.QUIET_PROBES:
            self.hand_over()

    def hand_over(self):
        self.dead.append(self.master)
        for client in self.clients:
            if client not in self.dead and client not in self.finished:
                self.master = client
                self.probes = 0
                self.bench.send(client.told, oack(1))
                return
        self.dead = []

    def end(self):
        self.streaming = False
        self.bench.at(5, self.give_turns)

    def give_turns(self):
        waiting = [c for c in self.clients if c not in self.finished and c.rx.end == receiver.RUNNING]
        for client in waiting:
            self.bench.send(client.told, oack(1, "1-%d" % self.total))
        if waiting:
            self.bench.at(100, self.give_turns)


class StockServer:
    """RFC 2090 lock-step: one DATA an ACK, mastership handed from client to client."""

    REPEAT_MS = 5000

    def __init__(self, bench, data, blksize, clients):
        self.bench = bench
        self.blksize = blksize
        self.data = data
        self.final = len(data) // blksize + 1
        self.clients = clients
        self.queue = list(clients)
        self.block = 0
        self._turn = 0
        for client in clients:
            client.server = self

    def start(self):
        self.bench.send(self.ack, self.queue[0], 0)
        self.watch(self._turn)

    def ack(self, client, number):
        if number >= self.final:
            if client in self.queue:
                was_master = client is self.queue[0]
                self.queue.remove(client)
                if was_master:
                    self.next_master()
            return
        if self.queue and client is self.queue[0]:
            self.send(number + 1)

    def next_master(self):
        self.block = 0
        if self.queue:
            self.bench.send(self.queue[0].told, oack(1))
            self._turn += 1
            self.watch(self._turn)

    def send(self, block):
        if block > self.final:
            return
        self.block = block
        frame = wire.pack_data(block, self.data[(block - 1) * self.blksize : block * self.blksize])
        for client in self.clients:
            self.bench.send(client.hear, frame)
        self._turn += 1
        self.watch(self._turn)

    def watch(self, turn):
        self.bench.at(self.REPEAT_MS, self.late, turn)

    def late(self, turn):
        """Nothing since: the DATA, or the OACK, once more."""
        if turn != self._turn or not self.queue:
            return
        if self.queue[0].rx.end != receiver.RUNNING:
            self.queue.pop(0)
            self.next_master()
        elif self.block:
            self.send(self.block)
        else:
            self.bench.send(self.queue[0].told, oack(1))
            self.watch(turn)


class WindowSender:
    """The unicast side: RFC 7440, of a whole file or of the virtual file of `ranges`."""

    def __init__(self, bench, data, offer, repeat_ms=150):
        self.bench = bench
        self.window = offer.window
        blksize = offer.blksize
        blocks = range(1, len(data) // blksize + 2)
        if offer.ranges is not None:
            blocks = []
            for first, length in offer.ranges:
                blocks += range(first, first + length)
        self.payloads = [data[(b - 1) * blksize : b * blksize] for b in blocks]
        if not self.payloads or len(self.payloads[-1]) == blksize:
            self.payloads.append(b"")
        self.base = 0  # acknowledged
        self.sent_frames = 0
        self.reader = None
        self.closed = False
        self.repeat_ms = repeat_ms
        self._timer = 0

    def ack(self, number):
        """The block behind a 16-bit number is the nearest to the window."""
        if self.closed:
            return
        base = self.base + ((number - self.base + 0x8000) & 0xFFFF) - 0x8000
        if not self.base <= base <= len(self.payloads):
            return
        self.base = base
        if base == len(self.payloads):
            self.closed = True
            return
        self.send_window()

    def send_window(self):
        for block in range(self.base + 1, min(self.base + self.window, len(self.payloads)) + 1):
            self.sent_frames += 1
            self.bench.send(self.reader.hear, wire.pack_data(block, self.payloads[block - 1]))
        self._timer += 1
        self.bench.at(self.repeat_ms, self.late, self._timer)

    def late(self, timer):
        if timer == self._timer and not self.closed:
            self.send_window()


class ReadClient:
    """A Reader with a dictionary for flash; `gaps` says what is still wanted."""

    def __init__(self, bench, sender, offer, total, gaps, flash):
        self.bench = bench
        self.sender = sender
        self.gaps = gaps
        self.flash = flash
        self.acks = []
        self.reader = repair.Reader(offer, total, bench.now_ms)
        self._frame = bytearray(wire.HEADER_BYTES + offer.blksize)
        sender.reader = self
        self.flush()
        bench.at(TICK_MS, self.tick)

    @property
    def over(self):
        return self.reader.done or self.reader.failed is not None

    def hear(self, datagram):
        if self.over:
            return
        length = min(len(datagram), len(self._frame))
        self._frame[:length] = datagram[:length]
        reader = self.reader
        if reader.accept(self._frame, length, self.bench.now_ms):
            if length > 4 and self.gaps.is_missing(reader.block):
                assert reader.block not in self.flash
                self.flash[reader.block] = bytes(self._frame[4:length])
                self.gaps.add(reader.block)
            reader.advance()
            if reader.done and not self.gaps.total_known:
                self.gaps.set_total(reader.block if length > 4 else reader.block - 1)
        self.flush()

    def flush(self):
        if self.reader.ack >= 0:
            self.acks.append(self.reader.ack)
            self.bench.send(self.sender.ack, self.reader.ack)
            self.reader.ack = repair.NO_ACK

    def tick(self):
        if not self.over:
            self.reader.tick(self.bench.now_ms)
            self.flush()
            self.bench.at(TICK_MS, self.tick)


def repair_rounds(bench, data, client, aware=True):
    """Fetch what a client's stream left, page after page; how many requests it took."""
    rounds = 0
    while not client.gaps.is_complete():
        rounds += 1
        assert rounds < 60, "repairs without end"
        blksize = client.offer.blksize
        options = [("blksize", str(blksize)), ("tsize", str(len(data))), ("windowsize", str(WINDOW))]
        asked = None
        if aware:
            request, asked = offers.repair_request("f", blksize, WINDOW, client.gaps)
            assert len(request) <= 512
            options.append(("ranges", wire.option(wire.parse_request(request)[3], "ranges")))
        offer = offers.parse_offer(wire.pack_oack(options), blksize, WINDOW, asked)
        sender = WindowSender(bench, data, offer)
        read = ReadClient(bench, sender, offer, offer.blocks(), client.gaps, client.flash)
        bench.run(lambda read=read: read.over)
        assert not read.reader.failed
    return rounds
