"""Run under MicroPython by test_allocation.py: which parts of the receive path allocate.

Prints a JSON object: case -> 0, or the text of the MemoryError that the locked heap raised, or the
bytes that gc.mem_alloc() counted.
"""

import gc
import json
import sys

import micropython
import sim_world

sim_world.load(sys.argv[1])

from gapcast_boot import download, flash, mending, port, session
from gapcast_boot.progress import Progress
from gapcast_boot.proof import Proof
from gapcast_core import fec, generations, receiver, repair, wire
from gapcast_core import offer as offers
from gapcast_core.gaps import GapList

BLOCKS = 400
GENERATION = 50
FRAME = bytearray(1028)
PAYLOAD = memoryview(FRAME)[4:]
FRAME[1] = 3
ACK = bytearray(4)
results = {}


class Slot:
    """A partition that keeps nothing."""

    def info(self):
        return (0, 0x11, 0x190000, 0x180000, "ota_1", False)

    def readblocks(self, block, buf, offset=None):
        return None

    def writeblocks(self, block, buf, offset=None):
        return None


class Header:
    payload_bytes = 399 * 1024
    image_bytes = payload_bytes  # a short last block costs a view, once an image
    table_bytes = 1024


def make_receiver(master):
    options = [("blksize", "1024"), ("tsize", str(BLOCKS * 1024))]
    options += [("multicast", "239.192.0.1,1758,%d" % master), ("ranges", "")]
    offer = offers.parse_offer(wire.pack_oack(options), 1024, 8)
    return receiver.Receiver(offer, GapList(BLOCKS), 0, 1)


def locked(case, function):
    """0 when the function ran with the heap locked, else why not (*arguments would allocate themselves)."""
    gc.collect()
    problem = 0
    micropython.heap_lock()
    try:
        function()
    except MemoryError as exc:
        problem = exc
    finally:
        micropython.heap_unlock()
    results[case] = str(problem) if problem else 0


def run_receiver(rx, sink, step, skip):
    for block in range(1, BLOCKS + 1):
        if skip and block % 3 == 0:
            continue
        FRAME[2] = block >> 8
        FRAME[3] = block & 255
        got = rx.accept(FRAME, 1028, block * step)
        if got:
            if sink:
                sink.write((got - 1) * 1024, PAYLOAD)
            rx.stored(got)
        if rx.ack >= 0:
            wire.pack_ack_into(ACK, rx.ack)
            rx.ack = receiver.NO_ACK


def run_writes(sink):
    for block in range(1, BLOCKS):
        sink.write(block * 1024, PAYLOAD)


def run_acks():
    for block in range(70000):
        wire.pack_ack_into(ACK, block)


def run_duplicates(rx):
    for _again in range(300):
        rx.accept(FRAME, 1028, 5)


def run_reader(reader):
    for block in range(1, BLOCKS):
        FRAME[2] = block >> 8
        FRAME[3] = block & 255
        if reader.accept(FRAME, 1028, block):
            reader.advance()
        if reader.ack >= 0:
            wire.pack_ack_into(ACK, reader.ack)
            reader.ack = repair.NO_ACK


def run_clock(clock):
    for _again in range(300):
        clock.now_ms()


def locked_loop(case, job, group):
    """As locked(), but from the first frame on: a session allocates when it begins to listen."""
    gc.collect()
    problem = 0
    group.locks = True
    try:
        job.listen(group)
    except MemoryError as exc:
        problem = exc
    finally:
        if not group.locks:
            micropython.heap_unlock()
    results[case] = str(problem) if problem else 0


class Group:
    """A socket that hears blocks in order."""

    def __init__(self):
        self.block = 0
        self.left = 0
        self.locks = False  # the heap, at the first frame

    def readinto(self, buf):
        if self.locks:
            self.locks = False
            micropython.heap_lock()
        if not self.left:
            return None
        self.left -= 1
        self.block += 1
        buf[1] = 3
        buf[2] = self.block >> 8
        buf[3] = self.block & 255
        return 1028


class Session:
    """A control port: hears nothing; its end is simulated by ending the session."""

    def __init__(self):
        self.sock = self
        self.rx = None

    def send(self, data):
        return len(data)

    def read(self):
        return None


class BareSession(session.Session):
    """The hot loop without sockets."""

    def __init__(self):
        pass


class LossyGroup(Group):
    """Every eighth block is lost; behind each generation come as many symbols as it needs, and one more."""

    def __init__(self):
        super().__init__()
        self.index = 0

    def readinto(self, buf):
        if self.block == BLOCKS and not self.index:
            return None
        super().readinto(buf)
        if self.index:
            self.index -= 1
            self.block -= 1
            number = generations.number(generations.alone((self.block - 1) // GENERATION), self.index)
            buf[2] = number >> 8
            buf[3] = number & 255
        elif self.block % GENERATION == 0:
            self.index = 9
        elif self.block % 8 == 4:
            self.block += 1
            buf[3] = self.block & 255
        return 1028


def run_frames(frames):
    for _again in range(300):
        next(frames)


class Silence:
    """A socket that hears nothing, and in place of port.ControlPort and port.Waiting."""

    def __init__(self, sock=None):
        self.looks = 0

    def send(self, data):
        return len(data)

    def read(self):
        return None

    def now(self):
        """A slice of solving is an eighth of the time between two frames."""
        self.looks += 1
        return not self.looks & 7


class Sink(flash.SlotSink):
    """The first block is not in flash: two slices copy it, once a session."""

    def load(self, offset, view):
        if offset:
            super().load(offset, view)


class Ticks:
    """A clock that has moved on by a millisecond at each look."""

    def __init__(self):
        self.ms = 0

    def now_ms(self):
        self.ms += 1
        return self.ms


class CountingSession(mending.MendedSession):
    """What is allocated by intention: lists of a generation; views of a report and of the last block."""

    def __init__(self, *arguments):
        self.reports = 0
        self.solved = 0
        super().__init__(*arguments)

    def _begin(self, generation):
        if generation >= 0:
            micropython.heap_unlock()
            super()._begin(generation)
            micropython.heap_lock()

    def _take_block(self, block, length, now_ms):
        if block != BLOCKS:
            super()._take_block(block, length, now_ms)
        else:
            micropython.heap_unlock()
            super()._take_block(block, length, now_ms)
            micropython.heap_lock()

    def _store(self, block, now_ms):
        super()._store(block, now_ms)
        self.solved += 1

    def _tell(self, count):
        self._write_report(count)
        self.reports += 1


class CountingPool(fec.Pool):
    """How often known blocks were fed by two."""

    pairs = 0

    def feed_two(self, j, view, other):
        super().feed_two(j, view, other)
        self.pairs += 1


def run_proof(proof):
    """What is left of it when the stream is over."""
    while proof.step():
        pass


def run_rewrites(job):
    """Blocks that were hashed, as `write` and `store` have them."""
    for block in range(2, BLOCKS):
        job.write(block, 1028, block)
        job.store(block, job.payload, block)


def mended(case):
    """Blocks, symbols, slices of solving and reports until the end of the file."""
    rx = make_receiver(False)
    answer = Silence()
    answer.sock = answer
    answer.offer = rx.offer
    port.ControlPort = port.Waiting = Silence
    job = download.Download(Sink(Slot(), Header(), bytes(1024)), Ticks(), Progress(), 1000, 100000)
    job.gaps = rx.gaps
    job.size_bytes = BLOCKS * 1024
    job.quiet = True
    job.proof = Proof(job._sink, Header(), job)
    plan = generations.Plan(BLOCKS, GENERATION)
    pool = CountingPool(1024, 12)
    one = CountingSession(job, answer, "127.0.0.1", "image", plan, pool)
    group = LossyGroup()
    group.left = 1000
    locked_loop(case, one, group)
    one.mender.surplus_count = generations.SURPLUS_BLOCKS
    locked("report", lambda: one._write_report(plan.count))
    results["mended"] = [one.rx.end, one.solved, one.reports]
    results["pairs fed"] = pool.pairs
    results["hashed in the loop"] = job.proof.at // 1024 - 1
    locked("the rest of the proof", lambda: run_proof(job.proof))
    results["hashed"] = [job.proof.at // 1024 - 1, job.proof.broken]
    locked("blocks that break the proof", lambda: run_rewrites(job))
    results["broken"] = job.proof.broken


class Stop:
    """Ends the hot loop after so many frames, without allocating."""

    def __init__(self, sink, rx, frames):
        self.sink = sink
        self.rx = rx
        self.left = frames

    def write(self, offset, view):
        self.sink.write(offset, view)
        self.left -= 1
        if not self.left:
            self.rx.end = receiver.SILENCE


def main():  # noqa: PLR0915 - one measurement after another
    sink = flash.SlotSink(Slot(), Header())
    fresh = make_receiver(False)
    locked("accept and stored, in order", lambda: run_receiver(fresh, None, 7, False))
    locked("slot write", lambda: run_writes(sink))
    locked("ack", run_acks)
    master = make_receiver(True)
    locked("master, in order", lambda: run_receiver(master, sink, 7, False))
    rx = make_receiver(True)
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    run_receiver(rx, sink, 7, False)
    results["master, in order, by mem_alloc"] = gc.mem_alloc() - before
    gc.enable()
    lossy = make_receiver(False)
    locked("listener with a loss every third block", lambda: run_receiver(lossy, sink, 7, True))
    rx = make_receiver(False)
    rx.accept(FRAME, 1028, 1)
    rx.stored(FRAME[2] << 8 | FRAME[3])
    locked("duplicates", lambda: run_duplicates(rx))
    offer = offers.Offer()
    offer.blksize = 1024
    offer.window = 8
    reader = repair.Reader(offer, BLOCKS, 0)
    locked("unicast reader", lambda: run_reader(reader))
    clock = port.Clock()
    locked("clock", lambda: run_clock(clock))
    group = Group()
    group.left = 290
    frames = port.frames(group, FRAME)
    next(frames)
    locked("frames", lambda: run_frames(frames))

    rx = make_receiver(True)
    job = BareSession()
    job.rx = rx
    job._download = download.Download(Stop(sink, rx, 60), clock, Progress(), 1000, 1000)
    job._download.gaps = rx.gaps
    job._download.size_bytes = BLOCKS * 1024
    proof = job._download.proof = Proof(sink, Header(), job._download)
    job._ack_buf = bytearray(4)
    job._answer = Session()
    job._control = job._answer
    group = Group()
    group.left = 1000
    locked_loop("listen, 60 frames", job, group)
    results["hashed of 60"] = proof.at // 1024 - 1
    mended("listen and mend")
    print(json.dumps(results))


main()
