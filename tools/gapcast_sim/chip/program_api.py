"""What runs on a simulated chip when it is not in its ROM loader."""

from __future__ import annotations

from typing import Protocol


class Program(Protocol):
    """Firmware, or what the ROM does for want of any.

    Called from one thread, the chip's; no call may block for long.
    """

    def start(self) -> None:
        """Power on, or a reset into flash: boot what is there."""

    def feed(self, data: bytes) -> None:
        """Bytes from the host arrived at the chip's serial port."""

    def fileno(self) -> int:
        """A descriptor that is readable when there is output; -1 when nothing runs.

        It is asked for after every other call: a program that starts again by itself, as after
        machine.reset(), does so inside read(), and has another descriptor from then on.
        """

    def read(self) -> bytes:
        """Output for the host; called when fileno() is readable. b"" when the process has ended."""

    def stop(self) -> None:
        """A reset into the ROM loader, or the power is gone: end it at once. May be called twice."""
