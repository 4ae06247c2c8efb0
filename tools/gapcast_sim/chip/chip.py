"""A simulated chip that runs in a thread of its own: for tests, and for `gapcast chip`."""

from __future__ import annotations

import os
import queue
import re
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from gapcast.errors import OperatorError
from gapcast_sim.chip.bare import BareRom
from gapcast_sim.chip.core import Core
from gapcast_sim.chip.faults import Faults
from gapcast_sim.chip.flash import NO_TIME, SECTOR_BYTES, Flash, FlashTiming
from gapcast_sim.chip.line import DEFAULT_BAUD, Line
from gapcast_sim.chip.loader import Hardware
from gapcast_sim.chip.profiles import PROFILES
from gapcast_sim.chip.program_api import Program
from gapcast_sim.chip.registers import Registers

FLASH_NAME = "flash.bin"
PORT_NAME = "port"
NO_FAULTS = Faults()
_OUI = bytes.fromhex("240ac4")  # one of Espressif's
_LOOK_S = 0.2  # how often to look whether the thread is still there
_STOP_S = 10.0  # for a thread that never blocks


class SimChip:
    """A chip in FOLDER: its flash is FOLDER/flash.bin, its port FOLDER/port. A context manager.

    It boots when it is entered. Whatever runs on it besides its loaders is `program`; None: nothing does.
    """

    def __init__(
        self,
        folder: Path,
        chip: str = "esp32",
        *,
        mac: str | None = None,
        flash_bytes: int = 4 << 20,
        program: Program | None = None,
        pacing: bool = True,
        timing: FlashTiming = NO_TIME,
        faults: Faults = NO_FAULTS,
        link: Path | None = None,
    ) -> None:
        """mac: 12 hex digits, colons allowed; by default it depends on the folder. link: the port's path.

        pacing: bytes take their time on the line. timing: erasing and programming take theirs.
        Raises OperatorError for what cannot be, or a folder that cannot be used.
        """
        if chip not in PROFILES:
            raise OperatorError(f"there is no chip {chip!r}", f"it is one of {', '.join(PROFILES)}")
        if flash_bytes < SECTOR_BYTES or flash_bytes & (flash_bytes - 1):
            raise OperatorError(f"flash has no {flash_bytes} bytes", "it is a power of two, such as 4M")
        self.folder = folder
        self.chip = chip
        self.mac = mac_of(mac, folder)
        self.port = link if link is not None else folder / PORT_NAME
        self.pulled = threading.Event()  # set while there is no cable
        self._flash_bytes = flash_bytes
        self._program = program
        self._pacing, self._timing, self._faults = pacing, timing, faults
        self._requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = False
        self._ended = threading.Event()
        self._failure: BaseException | None = None

    # ---- what tests ask for ----

    @property
    def flash(self) -> bytes:
        """All of the flash, as it is now."""
        return (self.folder / FLASH_NAME).read_bytes()

    @property
    def mode(self) -> str:
        """off (no cable), program, rom, stub: what it is doing just now."""
        return self._core.mode

    @property
    def busy(self) -> bool:
        """Whether a loader's flash operation is under way, which takes time only with `timing`."""
        return self._core.busy

    @property
    def received_bytes(self) -> int:
        """So much has come from the host since it was plugged in, or faults injected."""
        return self._core.received_bytes

    def pull(self) -> None:
        """Pull the cable out: the port is gone, and the power."""
        self._ask(self._core.pull)

    def plug(self, faults: Faults = NO_FAULTS) -> None:
        """Plug the cable in again: a new port behind the same link; the chip boots from its flash."""
        self._ask(lambda: self._core.plug(faults))

    def reset(self) -> None:
        """Press the board's reset button."""
        self._ask(self._core.reset)

    def inject(self, faults: Faults) -> None:
        """Other faults from now on; bytes are counted from here."""
        self._ask(lambda: self._core.inject(faults))

    # ---- life ----

    def __enter__(self) -> Self:
        """Raises OperatorError if the folder cannot be used."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            flash = Flash(self.folder / FLASH_NAME, self._flash_bytes)
        except (OSError, ValueError) as error:
            raise OperatorError(f"no chip in {self.folder}: {error}", "give another folder") from error
        profile = PROFILES[self.chip]
        line = Line(self.port)
        registers = Registers(profile, bytes.fromhex(self.mac), self._flash_bytes)
        registers.set_baud(DEFAULT_BAUD)
        hardware = Hardware(profile, registers, flash, self._timing, line.speed)
        program = self._program or BareRom(flash.path, profile)
        self._flash = flash
        self._core = Core(hardware, line, program, pacing=self._pacing, faults=self._faults)
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name=f"chip-{self.mac}", daemon=True)
        self._thread.start()
        try:
            self.plug(self._faults)  # in the thread: programs may not outlive the one that starts them
        except OSError as error:
            self._end()
            raise OperatorError(f"no port {self.port}: {error}", "give another path for its link") from error
        except BaseException:
            self._end()
            raise
        return self

    def wait(self) -> None:
        """Until the chip's thread ends, which it does only when something is wrong in here."""
        self._ended.wait()  # and not join(): interrupted, it takes the thread for ended (bpo-45274)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._failure is not None and error is None:
            raise self._failure

    def _end(self) -> None:
        self._stopping = True
        os.write(self._wake_write, b"\0")
        self._thread.join(_STOP_S)
        for descriptor in (self._wake_read, self._wake_write):
            os.close(descriptor)
        self._flash.close()

    def _run(self) -> None:
        """The thread."""
        try:
            while not self._stopping:
                self._core.turn(self._wake_read)
                self._serve_requests()
                self._note_cable()
        except BaseException as error:  # whoever uses the chip must hear of it
            self._failure = error
        finally:
            try:
                self._core.pull()
            finally:
                self.pulled.set()
                self._ended.set()

    def _serve_requests(self) -> None:
        while not self._requests.empty():
            os.read(self._wake_read, 1)
            self._requests.get()()

    def _note_cable(self) -> None:
        if self._core.line.plugged:
            self.pulled.clear()
        else:
            self.pulled.set()

    def _ask(self, what: Callable[[], None]) -> None:
        """Have the thread do it, and wait until it is done. Raises what it raises."""
        done = threading.Event()
        failures: list[Exception] = []

        def task() -> None:
            try:
                what()
                self._note_cable()
            except Exception as error:
                failures.append(error)
            done.set()

        self._requests.put(task)
        os.write(self._wake_write, b"\0")
        while not done.wait(_LOOK_S):
            if self._ended.is_set():
                raise RuntimeError("the chip's thread has ended") from self._failure
        if failures:
            raise failures[0]


def mac_of(text: str | None, folder: Path) -> str:
    """12 lower hex digits. Raises OperatorError."""
    if text is None:
        return (_OUI + zlib.crc32(str(folder.resolve()).encode()).to_bytes(4, "big")[1:]).hex()
    digits = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{12}", digits):
        raise OperatorError(f"{text!r} is no MAC", "it has 12 hex digits, such as 24:0a:c4:12:34:56")
    return digits
