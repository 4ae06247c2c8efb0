"""A chip's program behind a pty: what a serial port is to mpremote. Without a ROM loader."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gapcast_sim.chip.program import MicroPythonProgram

SECONDS = 30


class Line:
    """Pumps between a pty and a program, in a thread of its own."""

    def __init__(self, program: MicroPythonProgram) -> None:
        self.program = program
        self.printed = b""  # all that the chip sent
        self._master, self._slave = pty.openpty()
        attributes = termios.tcgetattr(self._slave)
        attributes[0] = attributes[1] = attributes[3] = 0  # no translation, no echo
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
        self.path = os.ttyname(self._slave)
        self._stop_read, self._stop_write = os.pipe()
        self._ready = threading.Condition()
        self._heard = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Line:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for descriptor in (self._master, self._slave, self._stop_read, self._stop_write):
            os.close(descriptor)

    def _run(self) -> None:
        program = self.program
        program.start()
        try:
            while True:
                ready, _w, _x = select.select([self._master, program.fileno(), self._stop_read], [], [])
                if self._stop_read in ready:
                    return
                if self._master in ready:
                    program.feed(os.read(self._master, 4096))
                if program.fileno() in ready:
                    data = program.read()
                    with self._ready:
                        self.printed += data
                        self._ready.notify_all()
                    if self._heard:
                        os.write(self._master, data)
        finally:
            program.stop()

    def wait_for(self, text: bytes, since: int = 0) -> int:
        """Until the chip has printed `text` after byte `since`; where it ends."""
        deadline = time.monotonic() + SECONDS
        with self._ready:
            while text not in self.printed[since:]:
                assert self._ready.wait(deadline - time.monotonic()), self.printed[-2000:]
            return self.printed.index(text, since) + len(text)

    def type(self, data: bytes) -> int:
        """As a person at a terminal; where what the chip prints from now on begins."""
        with self._ready:
            since = len(self.printed)
        os.write(self._slave, data)
        return since

    def answer(self, data: bytes, until: bytes) -> bytes:
        """What the chip prints after `data` was typed, up to `until`, of which nothing is in the echo."""
        since = self.type(data)
        end = self.wait_for(until, since)
        return self.printed[since:end]

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Somebody reads the port: else what the chip sends is lost, and does not fill it."""
        self._heard = True
        try:
            yield
        finally:
            self._heard = False
            termios.tcflush(self._slave, termios.TCIFLUSH)

    def mpremote(self, *arguments: object, fails: bool = False) -> str:
        """The real mpremote against it; what it printed."""
        with self.heard():
            done = subprocess.run(
                [sys.executable, "-m", "mpremote", "connect", self.path, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        assert (done.returncode != 0) == fails, (done, self.printed[-2000:])
        return done.stdout + (done.stderr if fails else "")


def make_line(folder: Path, chip: str = "esp32", **options: Any) -> Line:
    return Line(MicroPythonProgram(folder, chip, "240ac4123456", **options))
