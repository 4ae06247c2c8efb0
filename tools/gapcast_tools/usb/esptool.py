"""One board's flash over USB, by the real esptool 5: every call one bounded subprocess.

esptool is GPL, so it is only ever run, never imported. Each run resets the board into its loader by itself
(`--before default-reset`) and, unless told otherwise, leaves it there without starting the application
(`--after no-reset`: back from the stub to the ROM's loader at 115200 baud). So runs can follow each other
also on a board without auto-reset, whose BOOT button was held once, and no half-written application runs
between them. `no-reset-stub` would save uploading the stub, 7 KB or 0.6 s at 115200 baud; but the stub stays
at the raised baud rate, where the next run's first words do not reach it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from gapcast_tools.usb.esptool_parts import Part, as_files, ends_of
from gapcast_tools.usb.esptool_text import (
    HINT_CABLE,
    LOST_LINE,
    Identity,
    fault,
    find_mac,
    position,
    read_identity,
    verdicts,
)
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.process import Stop, run_tool

__all__ = ["Esptool", "Identity", "Part", "Progress"]

DEFAULT_BAUD = 460800
ROM_BAUD = 115200  # what the loader starts with: not raised where hardly anything is sent
CONNECT_ATTEMPTS = 7  # esptool's own number: about 8 s for a board that does not answer
# -P: what lies in the working directory is not imported.
COMMAND = (sys.executable, "-P", "-m", "esptool")
# esptool has time-outs of its own for every command, so ours are for an esptool that hangs: a little longer.
SILENCE_S = 30.0
MD5_S_PER_MB = 10.0  # esptool: 8
ERASE_S_PER_MB = 45.0  # esptool: 40
ERASE_ALL_S = 260.0  # esptool: 120, or 240 with a long time-out in its configuration
START_S = 90.0

Progress = Callable[[str, int, int], None]


class Esptool:
    """One port. Every call raises PortFault; after any exception its process is dead.

    The first call remembers the board's MAC, and later ones stop before they do anything to another board.

    Args:
        port: Device path, or a URL of pyserial.
        chip: What it must be (`esp32`, `esp32s3`), or `auto`.
        baud: Rate for data.
        progress: Called in the caller's thread with what goes on (`connecting`, `comparing`, `erasing`,
            `writing`, `reading`, `resetting`), how many bytes of it are done, and of how many.
        attempts: How often to try to connect.
        stop: Ends runs from another thread: PortFault `interrupted`.
    """

    def __init__(
        self,
        port: str,
        chip: str = "auto",
        baud: int = DEFAULT_BAUD,
        progress: Progress | None = None,
        *,
        attempts: int = CONNECT_ATTEMPTS,
        stop: Stop | None = None,
    ) -> None:
        self.port = port
        self.chip = chip
        self.baud = baud
        self._progress: Progress = progress or (lambda _what, _done, _total: None)
        self._attempts = attempts
        self._stop = stop
        self._mac: str | None = None

    def identify(self, *, then_reset: bool = False) -> Identity:
        """Which board this is. It is reset into its loader for that, and stays there unless `then_reset`."""
        self._progress("connecting", 0, 0)
        text = self._run("asking which board it is", ["flash-id"], baud=ROM_BAUD, then_reset=then_reset)
        return read_identity(self.port, text)

    def matches(self, parts: Sequence[Part]) -> list[bool]:
        """For each part, whether the flash holds exactly it, by an MD5 that the chip computes.

        Nothing is written, and 16 bytes a part come over the wire. One run for all of them.
        """
        if not parts:
            return []
        total = sum(len(part.data) for part in parts)
        ends = ends_of(parts)
        seen: list[bool] = []

        def on_line(line: str) -> None:
            for verdict in verdicts(line):
                seen.append(verdict)
                self._progress("comparing", ends[min(len(seen), len(parts)) - 1], total)

        self._progress("comparing", 0, total)
        with as_files(parts) as (folder, arguments):
            self._run(
                "comparing the flash",
                ["verify-flash", *arguments],
                folder=folder,
                on_line=on_line,
                extra_s=MD5_S_PER_MB * total / 1e6,
                work_s=MD5_S_PER_MB * total / 1e6,
                failed_is_fine=lambda: len(seen) == len(parts) and not all(seen),
            )
        if len(seen) != len(parts):
            raise PortFault("failed", f"esptool did not compare everything on {self.port}")
        return seen

    def write(self, parts: Sequence[Part], *, then_reset: bool = False) -> None:
        """Erase the sectors of the parts, write them compressed, and have the chip compute their MD5.

        Not with `--diff-with`, which trusts a file about what is in the flash; nor `--skip-flashed`, because
        whoever calls this has asked matches() before. Nor `--erase-all`: what is not a part stays. Flash
        mode, size and frequency in the boot loader's header stay as they were built (`keep`, the default),
        else its MD5 would not match the next time.
        """
        parts = sorted(parts, key=lambda part: part.offset)
        total = sum(len(part.data) for part in parts)
        ends = ends_of(parts)

        def on_line(line: str) -> None:
            where = position(line)
            if where is None or where[0] != "writing":
                return
            for part, end in zip(parts, ends, strict=True):
                if part.offset < where[1] <= part.offset + len(part.data) + 3:  # esptool pads to 4 bytes
                    left = max(part.offset + len(part.data) - where[1], 0)
                    self._progress("writing", end - left, total)

        self._progress("writing", 0, total)
        with as_files(parts) as (folder, arguments):
            self._run(
                "writing",
                ["write-flash", *arguments],
                folder=folder,
                on_line=on_line,
                extra_s=MD5_S_PER_MB * total / 1e6,
                work_s=(ERASE_S_PER_MB * total / 1e6) + self._wire_s(total),
                then_reset=then_reset,
            )
        self._progress("writing", total, total)

    def erase(self, offset: int, size_bytes: int) -> None:
        """Erase whole sectors of 4096 bytes."""
        self._progress("erasing", 0, size_bytes)
        arguments = ["erase-region", hex(offset), hex(size_bytes)]
        self._run("erasing", arguments, baud=ROM_BAUD, extra_s=ERASE_S_PER_MB * size_bytes / 1e6)
        self._progress("erasing", size_bytes, size_bytes)

    def erase_all(self) -> None:
        """Erase the whole flash: calibration data and settings too."""
        self._progress("erasing", 0, 0)
        self._run("erasing everything", ["erase-flash"], baud=ROM_BAUD, extra_s=ERASE_ALL_S)

    def read(self, offset: int, size_bytes: int, path: Path, *, then_reset: bool = False) -> None:
        """Read flash into a file, 0600 because it holds secrets; checked by the stub's MD5.

        Raises:
            OSError: The file cannot be made.
        """
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(handle, 0o600)
        os.close(handle)

        def on_line(line: str) -> None:
            where = position(line)
            if where is not None and where[0] == "reading":
                self._progress("reading", min(max(where[1] - offset, 0), size_bytes), size_bytes)

        self._progress("reading", 0, size_bytes)
        self._run(
            "reading",
            ["read-flash", hex(offset), hex(size_bytes), str(path.absolute())],
            on_line=on_line,
            work_s=self._wire_s(size_bytes),
            then_reset=then_reset,
        )
        if path.stat().st_size != size_bytes:
            raise PortFault("failed", f"esptool read {path.stat().st_size} of {size_bytes} bytes", HINT_CABLE)

    def reset(self) -> None:
        """Into the application."""
        self._progress("resetting", 0, 0)
        self._run("resetting", ["read-mac"], baud=ROM_BAUD, then_reset=True, stub=False)

    def _wire_s(self, size_bytes: int) -> float:
        """How long the wire may take: four times what the baud rate allows."""
        return 4 * size_bytes * 10 / self.baud

    def _run(
        self,
        doing: str,
        command: list[str],
        *,
        folder: Path | None = None,
        baud: int | None = None,
        on_line: Callable[[str], None] | None = None,
        extra_s: float = 0.0,
        work_s: float = 0.0,
        then_reset: bool = False,
        stub: bool = True,
        failed_is_fine: Callable[[], bool] = lambda: False,
    ) -> str:
        """One run; what it printed.

        extra_s, work_s: Seconds that it may be silent more than usual, and may take in all beside that.
        """
        whole = [
            *COMMAND,
            f"--port={_anywhere(self.port)}",
            "--chip",
            self.chip,
            "--baud",
            str(baud or self.baud),
        ]
        whole += ["--connect-attempts", str(self._attempts), "--before", "default-reset"]
        whole += ["--after", "hard-reset" if then_reset else "no-reset", *([] if stub else ["--no-stub"])]
        silence_s = SILENCE_S + extra_s
        with tempfile.TemporaryDirectory(prefix="gapcast-") as nowhere:
            # A folder of our own: an esptool.cfg, setup.cfg or tox.ini where the operator is changes nothing.
            # The one in ~/.config/esptool is in force: it says how this machine's adapters reset boards.
            ended = run_tool(
                [*whole, *command],
                silence_s=silence_s,
                limit_s=START_S + silence_s + work_s,
                on_line=self._watch(doing, on_line),
                cwd=folder or Path(nowhere),
                stop=self._stop,
            )
        if ended.cut or (ended.code and not failed_is_fine()):
            raise fault(self.port, doing, ended)
        return ended.text

    def _watch(self, doing: str, on_line: Callable[[str], None] | None) -> Callable[[str], None]:
        def watch(line: str) -> None:
            mac = find_mac(line)
            if mac is not None and self._mac not in (None, mac):
                message = f"another board is on {self.port} now: {mac}, not {self._mac}"
                raise PortFault("interrupted", message, "leave the boards plugged in until all is done")
            self._mac = mac or self._mac
            if LOST_LINE in line:
                message = f"the connection to {self.port} broke while {doing}"
                raise PortFault("interrupted", message, HINT_CABLE)
            if on_line is not None:
                on_line(line)

        return watch


def _anywhere(port: str) -> str:
    """The port as it is called from any working directory."""
    return port if "://" in port else str(Path(port).absolute())  # not resolved: udev names links
