"""What a chip does without firmware: the ROM finds nothing to boot, and says so."""

from __future__ import annotations

import os
from pathlib import Path

from gapcast_sim.chip.profiles import Profile

_MAGIC = b"\xe9"  # an image begins with it
_TRIES = 8  # then its watchdog resets it, and it goes on like that


class BareRom:
    """The Program of a chip that nothing runs on: it prints, and never answers."""

    def __init__(self, flash: Path, profile: Profile) -> None:
        self._flash = flash
        self._profile = profile
        self._output = -1

    def start(self) -> None:
        self.stop()
        self._output, write_end = os.pipe()
        os.write(write_end, self._text().encode())
        os.close(write_end)

    def _text(self) -> str:
        with open(self._flash, "rb") as file:
            file.seek(self._profile.bootloader_offset)
            header = file.read(4)
        if header.startswith(_MAGIC):
            return self._profile.boot_log  # what it boots is for others to simulate
        line = f"invalid header: 0x{int.from_bytes(header, 'little'):08x}\r\n"
        return self._profile.boot_log + line * _TRIES

    def feed(self, data: bytes) -> None:
        pass

    def fileno(self) -> int:
        return self._output

    def read(self) -> bytes:
        data = os.read(self._output, 4096)
        if not data:
            self.stop()
        return data

    def stop(self) -> None:
        if self._output >= 0:
            os.close(self._output)
        self._output = -1
