"""What the loaders in ROM and in RAM have in common.

A loader is a generator of actions, and the chip carries them out: a frame to send, a flash operation that
takes its time, or waiting for the next frame from the host. So the loader reads from top to bottom as the
real one does, and nothing blocks.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

from gapcast_sim.chip.commands import Command, Op, Status, answer, parse
from gapcast_sim.chip.flash import Flash, FlashTiming, Step
from gapcast_sim.chip.profiles import Profile
from gapcast_sim.chip.registers import Registers


class Wait(Enum):
    """An action: go on when the inbox has a frame."""

    FRAME = auto()


class Exit(Enum):
    """How a loader ended: what runs next."""

    STUB = auto()  # the program that was loaded into RAM
    ROM = auto()  # a software reset, which comes back to the ROM loader
    FLASH = auto()


Action = bytes | Step | Wait
Handler = Callable[[Command], Iterator[Action]]


@dataclass(frozen=True)
class Hardware:
    """What a loader works on."""

    profile: Profile
    registers: Registers
    flash: Flash
    timing: FlashTiming
    speed: Callable[[], int]  # the host's, in baud: the ROM finds it out from the sync frame


class Loader(ABC):
    """The commands that both understand. `inbox` takes frames; run() is the generator."""

    status_bytes: ClassVar[int]
    invalid: ClassVar[Status]  # a request with too few words

    def __init__(self, hardware: Hardware) -> None:
        self.hw = hardware
        self.inbox: deque[bytes] = deque()
        self.exit: Exit | None = None  # set when run() has ended
        self.handlers: dict[int, Handler] = {
            Op.READ_REG: self._read_reg,
            Op.WRITE_REG: self._write_reg,
            Op.SPI_ATTACH: self._spi_attach,
            Op.SPI_SET_PARAMS: self._spi_set_params,
            Op.CHANGE_BAUDRATE: self._change_baud,
            Op.GET_SECURITY_INFO: self._security_info,
        }

    def run(self) -> Iterator[Action]:
        """Serve commands until one of them ends the loader."""
        while self.exit is None:
            while not self.inbox:
                yield Wait.FRAME
            command = parse(self.inbox.popleft())
            if command is not None:
                yield from self._serve(command)

    def _serve(self, command: Command) -> Iterator[Action]:
        handler = self.handlers.get(command.op)
        if handler is None:
            yield from self.unknown(command)
            return
        try:
            yield from handler(command)
        except struct.error:
            yield self.reply(command, status=self.invalid)

    @abstractmethod
    def unknown(self, command: Command) -> Iterator[Action]:
        """Answer a command that this loader does not have."""

    def reply(self, command: Command, *, value: int = 0, data: bytes = b"", status: int = Status.OK) -> bytes:
        return answer(command.op, value=value, data=data, status=status, status_bytes=self.status_bytes)

    def _read_reg(self, command: Command) -> Iterator[Action]:
        (address,) = command.words(1)
        yield self.reply(command, value=self.hw.registers.read(address))

    def _write_reg(self, command: Command) -> Iterator[Action]:
        """One or more times four words: address, value, mask, microseconds to wait before."""
        words = command.words(len(command.data) // 16 * 4)
        for at in range(0, len(words), 4):
            address, value, mask, _delay = words[at : at + 4]
            self.hw.registers.write(address, value, mask)
        yield self.reply(command)

    def _spi_attach(self, command: Command) -> Iterator[Action]:
        yield self.reply(command)

    def _spi_set_params(self, command: Command) -> Iterator[Action]:
        """Words: id, size of the flash, of a block, a sector, a page, status mask."""
        command.words(6)
        yield self.reply(command)

    def _change_baud(self, command: Command) -> Iterator[Action]:
        """The answer still goes out at the old speed; from then on the host's speed is the new one."""
        baud, _old = command.words(2)
        yield self.reply(command)
        self.hw.registers.set_baud(max(baud, 1))

    def _security_info(self, command: Command) -> Iterator[Action]:
        """Flags (4 bytes), encryption counter, 7 key purposes; chip id and API version, but not on an S2."""
        chip_id = self.hw.profile.chip_id
        data = bytes(12) if chip_id is None else bytes(12) + struct.pack("<II", chip_id, 0)
        yield self.reply(command, data=data)
