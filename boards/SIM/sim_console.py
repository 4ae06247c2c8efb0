"""A chip's serial port: what is typed, and Ctrl-C. MicroPython only.

Whoever runs this process writes what comes over the line to its standard input, Ctrl-C too, and then sends
SIGINT. While Python code of the chip runs that is a KeyboardInterrupt; while the REPL reads it is ignored,
and the character counts, in its place. So it is on a chip: the driver takes the character while code
runs, and keeps it otherwise. Line ends become CR LF outside, as a chip's driver does.
"""

import select
import sys

import micropython
import sim_exit

CTRL_C = 3
_SIGINT = 2
_IGNORE = 1  # SIG_IGN
_READ_BYTES = 512


class Console:
    def __init__(self):
        host = sim_exit.host()
        self._read = host.func("i", "read", "ipi")
        self._signal = host.func("p", "signal", "ip")
        self._kbd_intr = micropython.kbd_intr
        self._poll = select.poll()
        self._poll.register(sys.stdin, select.POLLIN)
        self._buffer = bytearray(_READ_BYTES)
        self._at = 0
        self._end = 0

    def write(self, text):
        sys.stdout.write(text)

    def write_raw(self, data):
        sys.stdout.buffer.write(data)

    def get(self):
        """The next byte; waits for it."""
        while self._at == self._end:
            self._at = 0
            for _ready in self._poll.ipoll(-1):
                self._end = self._receive(0)
        self._at += 1
        return self._buffer[self._at - 1]

    def _receive(self, at):
        """Fill the buffer from `at`; the end of what is in it."""
        view = memoryview(self._buffer)[at:]
        size = self._read(0, view, len(view))
        if size == 0:
            sim_exit.leave(0)  # nobody is there any more
        return at + max(size, 0)

    def take_interrupt(self):
        """Read what is there without waiting, and take Ctrl-C out of it: True when there was one.

        It is what the driver does while code runs.
        """
        kept = self._end - self._at
        self._buffer[:kept] = self._buffer[self._at : self._end]
        self._at = 0
        self._end = kept
        if kept < len(self._buffer):
            for _ready in self._poll.ipoll(0):
                self._end = self._receive(kept)
        typed = bytes(self._buffer[: self._end])
        if CTRL_C not in typed:
            return False
        typed = typed.replace(bytes((CTRL_C,)), b"")
        self._buffer[: len(typed)] = typed
        self._end = len(typed)
        return True

    def listen(self, character):
        """micropython.kbd_intr: CTRL_C makes SIGINT raise KeyboardInterrupt from now on, -1 ignores it.

        To ignore a signal discards one that waits, too.
        """
        if character == CTRL_C:
            self._kbd_intr(CTRL_C)
        else:
            self._signal(_SIGINT, _IGNORE)
