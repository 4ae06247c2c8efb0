"""What runs on a simulated chip out of its flash: a real MicroPython process."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

from gapcast.errors import OperatorError
from gapcast.image.boards import CHIPS
from gapcast_sim.chip.boot_flash import NoBootError, find_partitions
from gapcast_sim.provision import PWRON_RESET, SOFT_RESET, WDT_RESET
from gapcast_sim.runtime import Runtime, find_runtime

FLASH_NAME = "flash.bin"
CTRL_C = b"\x03"
HEAP_BYTES = 160 * 1024  # 144 KiB are enough for an update with 12 repair symbols
# The process must have taken one Ctrl-C before the next: the unix port ends when a second finds the first.
INTERRUPT_PAUSE_S = 0.1
_IGNORING_SIGINT = ("/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh")  # from its first instruction on
_READ_BYTES = 65536
_CUT_EXIT_CODE = 4  # boards/SIM/sim_power.py
# By exit code: what machine.reset_cause() says at the next boot, and what the ROM prints then.
_RESETS = {
    3: (SOFT_RESET, "rst:0xc (SW_CPU_RESET)"),
    _CUT_EXIT_CODE: (PWRON_RESET, "rst:0x1 (POWERON_RESET)"),
    5: (WDT_RESET, "rst:0x8 (TG1WDT_SYS_RESET)"),
}
_POWERON = "rst:0x1 (POWERON_RESET)"


@functools.cache
def chip_runtime() -> Runtime:
    """MicroPython with the simulated hardware in ROM, and no client: that is on the chip's file system.

    Raises:
        OperatorError: There is no MicroPython here, or one that runs nothing from ROM.
    """
    runtime = find_runtime(lambda _text: None, unfrozen=True)
    if not runtime.is_micropython or runtime.rom is None:
        raise OperatorError(
            "a simulated chip needs MicroPython 1.25 or later, with ffi and VfsRom",
            "python -m gapcast_tools.upy says what is there",
        )
    return runtime


class MicroPythonProgram:
    """The Program of a chip (gapcast_sim.chip.program_api): boots from FOLDER/flash.bin.

    start() is to be called by a thread that lives as long as the chip: the kernel ends the process with it.

    Args:
        folder: Holds flash.bin; sim.json is written there before each boot.
        chip: As in gapcast.image.boards.CHIPS; with it come the boot loader's offset and the images' chip id.
        mac: 12 hex digits, with or without colons.
        ip: What it has in the simulated Wi-Fi: an address of this machine.
        loss: Of multicast datagrams on their way to it, 0 to 1.
        seed: Of what is lost.
        world: More of what is around it, as in boards/SIM/sim_world.py, such as {"wifi": "missing"}. Power
            is cut only once.
        heap_bytes: Of MicroPython, HEAP_BYTES by default (twice that where it is a 64-bit one). The client is
            loaded into it, and so is what mpremote runs.
        runtime: By default chip_runtime().

    Raises:
        OperatorError: See chip_runtime().
    """

    def __init__(
        self,
        folder: Path,
        chip: str,
        mac: str,
        ip: str = "127.0.0.1",
        *,
        loss: float = 0.0,
        seed: int = 1,
        world: Mapping[str, object] | None = None,
        heap_bytes: int | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._chip = chip
        digits = mac.replace(":", "").lower()
        self._world = {
            "mac": ":".join(digits[at : at + 2] for at in range(0, 12, 2)),
            "ip": ip,
            "loss_1000": round(loss * 1000),
            "seed": seed,
            **(world or {}),
        }
        self._runtime = runtime or chip_runtime()
        self._heap_bytes = heap_bytes or HEAP_BYTES * (2 if self._runtime.is_64_bit else 1)
        self._process: subprocess.Popen[bytes] | None = None
        self._epoll: select.epoll | None = None
        self._said = b""  # by the ROM; not read yet
        self._bell = -1  # readable while there is something
        self._interrupted_s = 0.0

    def start(self) -> None:
        """Power on, or a reset into flash. Raises OSError when there is no flash file."""
        self.stop()
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._boot(PWRON_RESET, _POWERON)

    def fileno(self) -> int:
        """Readable when there is output; the same from start() to stop(), and -1 else."""
        return self._epoll.fileno() if self._epoll is not None else -1

    def feed(self, data: bytes) -> None:
        """What the host sends. What nobody takes is lost, as it is on a wire."""
        process = self._process
        if process is None or process.stdin is None:
            return
        for part in _split(data):
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(process.stdin.fileno(), part)
            if part == CTRL_C:
                self._interrupt(process)

    def read(self) -> bytes:
        """What the chip sends: call it when fileno() is readable. A reset of its own happens in here."""
        if self._said:
            said, self._said = self._said, b""
            os.eventfd_read(self._bell)
            return said
        process = self._process
        if process is None or process.stdout is None:
            return b""
        try:
            data = os.read(process.stdout.fileno(), _READ_BYTES)
        except BlockingIOError:
            return b""
        return data.replace(b"\n", b"\r\n") if data else self._ended()

    def stop(self) -> None:
        """Reset, or the power goes: the process dies at once."""
        self._end()
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None
            os.close(self._bell)
        self._said = b""

    def _boot(self, cause: int, reason: str) -> None:
        self._say(f"{reason},boot:0x13 (SPI_FAST_FLASH_BOOT)")
        try:
            partitions = find_partitions(self._folder / FLASH_NAME, self._chip)
        except NoBootError as error:
            self._say(str(error))
            return
        world = {
            **self._world,
            "flash": FLASH_NAME,
            "chip": self._chip,
            "chip_id": CHIPS[self._chip].chip_id,
            "reset_cause": cause,
            "parent": os.getpid(),
            "partitions": [astuple(place) for place in partitions],
        }
        (self._folder / "sim.json").write_text(json.dumps(world))
        self._process = process = subprocess.Popen(
            self._command(),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._runtime.environment},
            start_new_session=True,  # Ctrl-C at our terminal is not the chip's
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert self._epoll is not None
        os.set_blocking(process.stdin.fileno(), False)
        os.set_blocking(process.stdout.fileno(), False)
        self._epoll.register(process.stdout.fileno(), select.EPOLLIN)

    def _command(self) -> list[str]:
        heap = ["-X", f"heapsize={self._heap_bytes}"]
        chip = ["-m", "sim_chip", str(self._runtime.rom), str(self._folder)]
        return [*_IGNORING_SIGINT, *self._runtime.argv, *heap, *chip]

    def _ended(self) -> bytes:
        """The process has ended: the chip resets, or it hangs. What it says then."""
        assert self._process is not None
        code = self._process.wait()
        self._end()
        if code == _CUT_EXIT_CODE:
            self._world.pop("cut_at", None)
        if code in _RESETS:
            self._boot(*_RESETS[code])
        else:
            self._say(f"MicroPython ended with code {code}: the simulated chip hangs")
        said, self._said = self._said, b""
        os.eventfd_read(self._bell)
        return said

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        if self._epoll is not None:
            self._epoll.unregister(process.stdout.fileno())
        process.stdin.close()
        process.stdout.close()

    def _say(self, text: str) -> None:
        self._said += text.encode() + b"\r\n"
        os.eventfd_write(self._bell, 1)

    def _interrupt(self, process: subprocess.Popen[bytes]) -> None:
        """Ctrl-C: see boards/SIM/sim_console.py."""
        pause_s = self._interrupted_s + INTERRUPT_PAUSE_S - time.monotonic()
        if pause_s > 0:
            time.sleep(pause_s)
        if not _would_die(process.pid):
            process.send_signal(signal.SIGINT)
        self._interrupted_s = time.monotonic()


def _would_die(pid: int) -> bool:
    """Whether SIGINT still kills that process: it has just been started. No board hears Ctrl-C then."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    masks = dict(line.split(":\t", 1) for line in text.splitlines() if line.startswith(("SigIgn", "SigCgt")))
    return not any(int(mask, 16) >> (signal.SIGINT - 1) & 1 for mask in masks.values())


def _split(data: bytes) -> list[bytes]:
    """`data` with each Ctrl-C by itself."""
    first, *others = data.split(CTRL_C)
    parts = [first]
    for other in others:
        parts += [CTRL_C, other]
    return [part for part in parts if part]
