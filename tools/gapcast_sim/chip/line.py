"""The serial port: a pty that can be plugged in and pulled out, behind a link whose name stays.

It has no DTR and RTS. That nobody has it open shows as POLLHUP, and as EIO once all is read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import termios
import tty
from pathlib import Path

DEFAULT_BAUD = 115200
_READ_BYTES = 65536
_PTYS = "/dev/pts/"
_SPEEDS = {
    getattr(termios, name): int(name[1:]) for name in dir(termios) if name[:1] == "B" and name[1:].isdigit()
}


class Line:
    """The chip's end of the cable."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self._master = -1
        self._device = ""

    @property
    def plugged(self) -> bool:
        return self._master >= 0

    def fileno(self) -> int:
        return self._master

    def plug(self) -> None:
        """Make the port, raw and at 115200 baud, and the link to it. Only an old link is replaced.

        Raises:
            OSError: It cannot be made, or there is something else of that name.
        """
        if self.link.is_symlink():
            if not str(self.link.readlink()).startswith(_PTYS):
                raise FileExistsError(errno.EEXIST, "it is a link to something else")
        elif self.link.exists():
            raise FileExistsError(errno.EEXIST, "there is a file of that name")
        self._master, slave = os.openpty()
        try:
            tty.setraw(slave)  # nothing is echoed before the host has set it up
            attributes = termios.tcgetattr(slave)
            attributes[4] = attributes[5] = termios.B115200
            termios.tcsetattr(slave, termios.TCSANOW, attributes)
            self._device = os.ttyname(slave)
        finally:
            os.close(slave)
        os.set_blocking(self._master, False)
        fresh = self.link.with_name(self.link.name + ".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self._device)
        fresh.replace(self.link)

    def unplug(self) -> None:
        """The link is gone, then the port: whoever has it open finds it dead."""
        if not self.plugged:
            return
        with contextlib.suppress(OSError):  # somebody removed the folder, or made the name a file of his
            if self.link.is_symlink() and str(self.link.readlink()) == self._device:
                self.link.unlink()
        os.close(self._master)
        self._master = -1

    def opened(self) -> bool:
        """Whether a host has the port open."""
        poll = select.poll()
        poll.register(self._master, 0)  # POLLHUP comes unasked
        return not poll.poll(0)

    def read(self) -> bytes | None:
        """What the host sent; b"" if there is nothing, None once the host has closed the port."""
        try:
            return os.read(self._master, _READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return None

    def write(self, data: bytes) -> int:
        """Send to the host; how many bytes were taken."""
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return len(data)  # nobody listens

    def speed(self) -> int:
        """What the host has set, in baud."""
        return _SPEEDS.get(termios.tcgetattr(self._master)[5], DEFAULT_BAUD)
