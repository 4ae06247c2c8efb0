"""One JSON line an event on standard output: how the launcher watches a board."""

import gc
import json
import sys
import time

import sim_exit
import sim_power
import sim_socket
import sim_world

from gapcast_boot.progress import Progress
from gapcast_core import receiver as receiving

MAP_CELLS = 64


# The server has not told that its stream was over: what nobody sent is not lost, but a window may be.
_CUT_SHORT = (receiving.SILENCE, receiving.REFUSED)


class Reporter:
    """Writes events, and keeps the highest heap use that measure() has seen.

    heap_peak_bytes: what live objects took, code included, at the fullest change of phase. Without garbage
    (hence the collection, which is too slow for the receive loop), so it is less than what the
    heap must hold: garbage and fragments come on top. 0 under CPython.
    """

    def __init__(self):
        self.heap_peak_bytes = 0
        self.own_us = 0  # spent here, not in the client

    def measure(self):
        """Collect, and look how much is left in use."""
        if not sim_world.settings["weigh"]:
            return
        start_us = time.ticks_us()
        gc.collect()
        used = gc.mem_alloc()
        if used > self.heap_peak_bytes:
            self.heap_peak_bytes = used
        self.own_us += time.ticks_diff(time.ticks_us(), start_us)

    def emit(self, event, **fields):
        start_us = time.ticks_us()
        fields["event"] = event
        fields["ms"] = time.ticks_ms()
        sys.stdout.write(json.dumps(fields) + "\n")
        if hasattr(sys.stdout, "flush"):
            sys.stdout.flush()
        self.own_us += time.ticks_diff(time.ticks_us(), start_us)


def gap_map(gaps, cells=MAP_CELLS):
    """One hex digit a cell of the image: 0 nothing received yet, f all of it."""
    if not gaps.total:
        return "f" * cells
    missing = [0] * cells
    for i in range(gaps.gap_count()):
        _spread(missing, gaps.first(i) - 1, gaps.length(i), gaps.total)
    digits = []
    for cell in range(cells):
        size = (cell + 1) * gaps.total // cells - cell * gaps.total // cells
        have = size - missing[cell]
        digits.append("0123456789abcdef"[15 * have // size if size else 15])
    return "".join(digits)


def _spread(missing, start, length, total):
    """Count the blocks start..start+length-1 (from 0) into the cells they fall in."""
    cells = len(missing)
    while length > 0:
        cell = ((start + 1) * cells - 1) // total
        end = (cell + 1) * total // cells
        step = min(length, end - start)
        missing[cell] += step
        start += step
        length -= step


class SimProgress(Progress):
    """The client's progress as events."""

    def __init__(self, reporter):
        self._reporter = reporter
        self._emit = reporter.emit
        self._measure = reporter.measure

    def note(self, text):
        self._emit("note", text=text)

    def started(self):
        self._emit("started")

    def header(self, header):
        self._emit(
            "header",
            name=header.name,
            version=header.version,
            image_bytes=header.image_bytes,
            container_bytes=header.container_bytes,
        )

    def phase(self, name, gaps):
        self._measure()
        self._emit("phase", phase=name, total=gaps.total, missing=gaps.missing_blocks(), map=gap_map(gaps))

    def blocks(self, gaps):
        if sim_world.settings["quiet"]:
            return
        self._emit(
            "blocks",
            total=gaps.total,
            missing=gaps.missing_blocks(),
            gaps=gaps.gap_count(),
            map=gap_map(gaps),
        )

    def stream_over(self, gaps, receiver):
        self._measure()
        tail = gaps.total + 1 - gaps.next_block  # behind the last block heard
        unsent = tail if receiver.end in _CUT_SHORT and tail > receiver.offer.window else 0
        count = gaps.gap_count() - (1 if unsent else 0)
        largest = 0
        for i in range(count):
            largest = max(largest, gaps.length(i))
        self._emit(
            "stream_over",
            end=receiver.end,
            was_master=receiver.was_master,
            total=gaps.total,
            missing=gaps.missing_blocks(),
            unsent=unsent,
            gaps=count,
            largest=largest,
            merges=gaps.merges,
            duplicates=receiver.duplicates,
            drops=receiver.drops,
            symbols=receiver.mends,
            map=gap_map(gaps),
        )

    def verified(self, transfer):
        self._measure()
        self._emit(
            "verified",
            repaired_blocks=transfer.repaired_blocks,
            repaired_bytes=transfer.repaired_bytes,
            heap_peak_bytes=self._reporter.heap_peak_bytes,
        )
        if sim_world.settings["off_when_verified"]:
            sim_exit.leave(0)

    def kept(self, blocks, total):
        """So many of the image's blocks were right in flash before anything was fetched."""
        self._emit("kept", blocks=blocks, total=total)

    def unsigned(self):
        self._emit("unsigned")

    def confirmed(self, version):
        self._emit("confirmed", version=version)

    def rolled_back(self, version, reason):
        # No reason to blame the image for: it is going to be taken again.
        self._emit("rolled_back", version=version, reason=reason or "power lost before it was confirmed")

    def bad_chunks(self, count):
        self._emit("bad_chunks", count=count)

    def result(self, outcome, detail):
        self._measure()
        self._emit("received", counts=sim_socket.counts)
        heap_peak_bytes = self._reporter.heap_peak_bytes
        self._emit(
            "result",
            outcome=outcome,
            detail=detail,
            heap_peak_bytes=heap_peak_bytes,
            slot_bytes=sim_power.slot_bytes,
        )
