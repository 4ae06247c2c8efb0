"""Lines for stdout from a thread of their own: a full pipe or disk costs lines, never the server."""

from __future__ import annotations

import os
import queue
import select
import threading
from typing import TextIO

MAX_LINES = 2000  # that wait for a slow reader
CLOSE_S = 0.5


class Output:
    """Writes lines in order, each at once. lost: lines that nobody could take."""

    def __init__(self, out: TextIO) -> None:
        self.lost = 0
        self._out = out
        self._reader_left = False
        self._queue: queue.Queue[bytes | None] = queue.Queue(MAX_LINES)
        self._thread: threading.Thread | None = None
        try:
            out.flush()
            self._descriptor = out.fileno()
        except (OSError, ValueError):
            return  # in memory: it cannot block
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)
        self._thread.start()

    def line(self, text: str) -> None:
        """One line; dropped and counted when there is no room."""
        if self._thread is None:
            self._print(text)
            return
        encoding = getattr(self._out, "encoding", None) or "utf-8"
        try:
            self._queue.put_nowait((text + "\n").encode(encoding, "backslashreplace"))
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Wait a moment until all is written."""
        if self._thread is None:
            return
        try:
            self._queue.put(None, timeout=CLOSE_S)
        except queue.Full:
            return
        self._thread.join(CLOSE_S)

    def _print(self, text: str) -> None:
        try:
            print(text, file=self._out, flush=True)
        except (OSError, ValueError):
            self.lost += 1

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            if self._reader_left:
                continue
            try:
                self._write(data)
            except BrokenPipeError:
                self._reader_left = True  # serving goes on
            except (OSError, ValueError):
                self.lost += 1

    def _write(self, data: bytes) -> None:
        """Past the buffer of sys.stdout: its lock must be free when the interpreter exits."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
