"""Child processes: they end when we end, whatever they print is bounded, and SIGTERM cleans up."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click

EXIT_TERMINATED = 143  # what a shell reports for SIGTERM
MAX_LINE_BYTES = 65536
TAIL_BYTES = 4096
_READ_BYTES = 65536
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)  # looked up before any fork


def dies_with_us(number: signal.Signals) -> Callable[[], None]:
    """A preexec_fn: the kernel sends the child `number` when this process dies, even by SIGKILL.

    It outlives exec, and works for a child that knows nothing of it, such as MicroPython.
    """
    parent = os.getpid()

    def in_child() -> None:
        if _PRCTL is not None:
            _PRCTL(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
            if os.getppid() != parent:  # we died before the line above
                os._exit(1)

    return in_child


async def read_lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of `stream` without their ends; of a line over MAX_LINE_BYTES only the beginning."""
    line = b""
    while part := await stream.read(_READ_BYTES):
        *ended, rest = part.split(b"\n")
        for piece in ended:
            yield (line + piece)[:MAX_LINE_BYTES]
            line = b""
        line = (line + rest)[:MAX_LINE_BYTES]
    if line:
        yield line


class Tail:
    """The end of what a process wrote to its standard error, read while it runs."""

    def __init__(self) -> None:
        self._kept = b""

    async def drain(self, stream: asyncio.StreamReader) -> None:
        """Read to the end: a full pipe would stop the process."""
        while part := await stream.read(TAIL_BYTES):
            self._kept = (self._kept + part)[-TAIL_BYTES:]

    @property
    def text(self) -> str:
        return self._kept.decode(errors="replace").strip()

    @property
    def last_line(self) -> str:
        return self.text.rpartition("\n")[2]


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """Make SIGTERM end the block as Ctrl-C does, cleaned up, and then the command with exit code 143."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    told = False

    def on_sigterm(_number: int, frame: FrameType | None) -> None:
        nonlocal told
        if told:
            return  # once is enough: a second one would cut the cleaning up short
        told = True
        # While asyncio runs this is its own handler, which cancels the main task first.
        interrupt = signal.getsignal(signal.SIGINT)
        if not callable(interrupt):  # ignored, as a shell does for jobs in the background
            raise KeyboardInterrupt
        interrupt(signal.SIGINT, frame)

    before = signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    except KeyboardInterrupt:
        if not told:
            raise
        click.echo("gapcast: terminated", err=True)
        raise click.exceptions.Exit(EXIT_TERMINATED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
