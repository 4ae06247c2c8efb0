"""What a chip does without firmware: the ROM finds nothing to boot, says so, and is reset by its watchdog."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from pathlib import Path

from gapcast_sim.chip.profiles import Profile

_MAGIC = b"\xe9"  # an image begins with it
_LINES = 8  # of complaint, before the watchdog strikes
_PERIOD_NS = 500_000_000
_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC  # sys/timerfd.h: they are the same
_LIBC = ctypes.CDLL(None, use_errno=True)  # os.timerfd_create came with Python 3.13


class BareRom:
    """The Program of a chip that nothing runs on: it prints, again and again, and never answers."""

    def __init__(self, flash: Path, profile: Profile) -> None:
        self._flash = flash
        self._profile = profile
        self._timer = -1

    def start(self) -> None:
        self.stop()
        self._timer = _timer(_PERIOD_NS)

    def feed(self, data: bytes) -> None:
        pass

    def fileno(self) -> int:
        return self._timer

    def read(self) -> bytes:
        os.read(self._timer, 8)
        return self._text().encode()

    def stop(self) -> None:
        if self._timer >= 0:
            os.close(self._timer)
        self._timer = -1

    def _text(self) -> str:
        with open(self._flash, "rb") as file:
            file.seek(self._profile.bootloader_offset)
            header = file.read(4)
        if header.startswith(_MAGIC):
            return ""  # what it boots is for others to simulate
        line = f"invalid header: 0x{int.from_bytes(header, 'little'):08x}\r\n"
        return self._profile.boot_log + line * _LINES


def _timer(period_ns: int) -> int:
    """A descriptor that is readable now and after each period. Raises OSError."""
    timer: int = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
    # struct itimerspec: the period, and the time until the first
    if timer < 0 or _LIBC.timerfd_settime(timer, 0, struct.pack("4l", 0, period_ns, 0, 1), None) < 0:
        raise OSError(ctypes.get_errno(), "no timer")
    return timer
