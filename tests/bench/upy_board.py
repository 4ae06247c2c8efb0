"""Run under MicroPython by board.py: how fast a board's client is, and what it takes of the heap.

Prints a JSON object. The argument is a folder with a sim.json (boards/SIM), which may be empty: {}.
"""
# ruff: noqa: E402 - the simulated board's settings come before its modules

import gc
import json
import sys
import time
from array import array

gc.collect()
BEFORE_BYTES = gc.mem_alloc()

import sim_world

sim_world.load(sys.argv[1])

from gapcast_boot import download, flash, port, session
from gapcast_boot.progress import Progress
from gapcast_core import fec, fec_plain, gf, receiver, wire
from gapcast_core import offer as offers
from gapcast_core.gaps import GapList

BLKSIZE = 1024
GENERATION = 64
LOSSES = (1, 6, 13, 20)
FRAMES = 20000
BLOCKS = 30000
REPEATS = 5
FRAME = bytearray(BLKSIZE + 4)
PAYLOAD = memoryview(FRAME)[4:]


def best_us(function, times):
    """Microseconds a call, the best of some rounds: other programs only ever make it slower."""
    best = None
    for _round in range(REPEATS):
        start = time.ticks_us()
        for _again in range(times):
            function()
        us = time.ticks_diff(time.ticks_us(), start) / times
        best = us if best is None or us < best else best
    return best


def mul_us(kernel):
    """dst ^= c * src for 1 KiB, from coefficients to result: a quarter of what does four at once."""
    quad = array("H", bytes(4 * BLKSIZE))
    table = array("H", bytes(1024))
    four = bytearray(4)
    symbols = bytes((128, 150, 201, 255))

    def once():
        kernel.coefficients(four, symbols, 7, gf.CAUCHY)
        kernel.table(table, four)
        kernel.spread(quad, PAYLOAD, table, BLKSIZE)

    return best_us(once, 3 if kernel is fec_plain else 100) / 4


def decode_us(pool, losses):
    """Microseconds of one generation, by step."""
    missing = list(range(losses))
    steps = {"add": None, "feed": None, "solve": None, "blocks": None}

    def took(step, start):
        us = time.ticks_diff(time.ticks_us(), start)
        steps[step] = us if steps[step] is None else min(us, steps[step])
        return time.ticks_us()

    for _round in range(REPEATS):
        gc.collect()
        start = time.ticks_us()
        for i in range(losses):
            pool.add(0, 128 + i, PAYLOAD, losses)
        start = took("add", start)
        pool.begin(0, missing, GENERATION)
        while pool.next_known() >= 0:
            pool.feed(pool.next_known(), PAYLOAD)
        start = took("feed", start)
        pool.solve()
        start = took("solve", start)
        for i in range(losses):
            pool.block(i)
        took("blocks", start)
        pool.release(0)
    steps["total"] = sum(steps.values())
    return steps


class Slot:
    """A partition that keeps nothing."""

    def info(self):
        return (0, 0x11, 0x190000, 0x1E00000, "ota_1", False)

    def writeblocks(self, block, buf, offset=None):
        return None


class Header:
    payload_bytes = (BLOCKS - 1) * BLKSIZE
    table_bytes = BLKSIZE


class Group:
    """A socket that hears blocks in order, but every `lost`-th."""

    def __init__(self, lost):
        self.block = 0
        self.lost = lost

    def readinto(self, buf):
        self.block += 1
        if self.lost and self.block % self.lost == 0:
            self.block += 1
        buf[1] = 3
        buf[2] = self.block >> 8
        buf[3] = self.block & 255
        return len(buf)


class Silence:
    """A control port that hears nothing, in place of a session's too."""

    def __init__(self):
        self.sock = self
        self.rx = None

    def send(self, data):
        return len(data)

    def read(self):
        return None


class Stop:
    """Ends the loop after so many frames."""

    def __init__(self, sink, rx):
        self.sink = sink
        self.rx = rx
        self.left = FRAMES

    def write(self, offset, view):
        self.sink.write(offset, view)
        self.left -= 1
        if not self.left:
            self.rx.end = receiver.SILENCE


class BareSession(session.Session):
    """The receive loop without sockets."""

    def __init__(self, rx, sink):
        self.rx = rx
        self._download = download.Download(Stop(sink, rx), port.Clock(), Progress(), 1000, 1 << 29)
        self._download.gaps = rx.gaps
        self._download.size_bytes = BLOCKS * BLKSIZE
        self._ack_buf = bytearray(4)
        self._answer = self._control = Silence()


def frames_per_s(lost):
    """The receive loop of a listener, from readinto to the write into flash, neither of which takes time."""
    options = [("blksize", "1024"), ("tsize", str(BLOCKS * BLKSIZE))]
    options += [("multicast", "239.192.0.1,1758,0"), ("ranges", "")]
    offer = offers.parse_offer(wire.pack_oack(options), BLKSIZE, 8)
    rx = receiver.Receiver(offer, GapList(BLOCKS), 0, 1)
    job = BareSession(rx, flash.SlotSink(Slot(), Header()))
    group = Group(lost)
    gc.collect()
    start = time.ticks_us()
    while not rx.end:
        job.listen(group)
    return FRAMES * 1e6 / time.ticks_diff(time.ticks_us(), start)


def symbols_per_s(pool):
    """How many repair symbols the pool takes, 13 a generation."""

    def thirteen():
        for i in range(13):
            pool.add(0, 128 + i, PAYLOAD, 13)
        pool.release(0)

    return 13e6 / best_us(thirteen, 20)


def heap(found):
    """Bytes of the heap.

    client: it and what simulates its board, with their code. decoding: what one leaves for the collector.
    """
    gc.collect()
    found["client"] = gc.mem_alloc() - BEFORE_BYTES
    start = gc.mem_alloc()
    pool = fec.Pool(BLKSIZE)
    gc.collect()
    found["pool"] = gc.mem_alloc() - start
    gc.disable()
    start = gc.mem_alloc()
    for i in range(20):
        pool.add(0, 128 + i, PAYLOAD, 20)
    pool.begin(0, list(range(20)), GENERATION)
    while pool.next_known() >= 0:
        pool.feed(pool.next_known(), PAYLOAD)
    pool.solve()
    for i in range(20):
        pool.block(i)
    pool.release(0)
    found["decoding"] = gc.mem_alloc() - start
    gc.enable()
    return pool


def main():
    for i in range(BLKSIZE):
        PAYLOAD[i] = i * 167 + (i >> 3) & 255
    found = {"heap_bytes": {}, "mul_us_per_kib": {}, "decode_us": {}, "per_s": {}}
    pool = heap(found["heap_bytes"])
    found["kernel"] = fec.kernel.__name__
    found["mul_us_per_kib"]["native"] = None if fec.kernel is fec_plain else mul_us(fec.kernel)
    found["mul_us_per_kib"]["plain"] = mul_us(fec_plain)
    for losses in LOSSES:
        found["decode_us"][str(losses)] = decode_us(pool, losses)
    found["per_s"]["frames in order"] = frames_per_s(0)
    found["per_s"]["frames, one in ten lost"] = frames_per_s(10)
    found["per_s"]["repair symbols"] = symbols_per_s(pool)
    print(json.dumps(found))


main()
