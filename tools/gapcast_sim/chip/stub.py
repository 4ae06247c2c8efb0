"""The loader that esptool loads into RAM: it answers a block at once, and writes it meanwhile."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator

from gapcast_sim.chip.commands import Command, Op, Status
from gapcast_sim.chip.flash import SECTOR_BYTES, erase_steps
from gapcast_sim.chip.loader import Action, Exit, Hardware, Loader, Wait
from gapcast_sim.chip.session import Session, TooMuchError

GREETING = b"OHAI"


class StubLoader(Loader):
    """It erases as it writes, and tells of an error in a block with the next answer."""

    status_bytes = 2
    invalid = Status.STUB_LENGTH

    def __init__(self, hardware: Hardware) -> None:
        super().__init__(hardware)
        self._session: Session | None = None
        self._late = Status.OK  # what became of the last block
        self.handlers |= {
            Op.FLASH_BEGIN: self._flash_begin,
            Op.FLASH_DATA: self._flash_data,
            Op.FLASH_END: self._flash_end,
            Op.FLASH_DEFL_BEGIN: self._flash_begin,
            Op.FLASH_DEFL_DATA: self._flash_data,
            Op.FLASH_DEFL_END: self._flash_end,
            Op.SPI_FLASH_MD5: self._md5,
            Op.ERASE_FLASH: self._erase_flash,
            Op.ERASE_REGION: self._erase_region,
            Op.READ_FLASH: self._read_flash,
        }

    def run(self) -> Iterator[Action]:
        yield GREETING
        yield from super().run()

    def unknown(self, command: Command) -> Iterator[Action]:
        yield self.reply(command, status=Status.STUB_UNKNOWN)

    def _flash_begin(self, command: Command) -> Iterator[Action]:
        size, _blocks, _block_bytes, offset = command.words(4)
        if not self.hw.flash.holds(offset, size):
            yield self.reply(command, status=Status.STUB_TOO_MUCH)
            return
        deflated = command.op == Op.FLASH_DEFL_BEGIN
        self._session = Session(offset, size, deflated=deflated, timing=self.hw.timing)
        self._late = Status.OK
        yield self.reply(command)

    def _flash_data(self, command: Command) -> Iterator[Action]:
        command.words(4)
        session = self._session
        if session is None or session.deflated != (command.op == Op.FLASH_DEFL_DATA):
            yield self.reply(command, status=Status.STUB_NOT_WRITING)
            return
        if not command.block_intact:
            yield self.reply(command, status=Status.STUB_CHECKSUM)
            return
        yield self.reply(command, status=self._late)
        try:
            data = session.data(command.block)
        except zlib.error:
            self._late = Status.STUB_INFLATE
        except TooMuchError:
            self._late = Status.STUB_TOO_MUCH
        else:
            yield from session.write(data)

    def _flash_end(self, command: Command) -> Iterator[Action]:
        """0: back to the ROM loader. 1: stay."""
        (stay,) = command.words(1)
        session, status = self._session, self._late
        if session is None:
            status = Status.STUB_NOT_WRITING
        elif status == Status.OK and session.remaining:
            status = Status.STUB_TOO_LITTLE
        yield self.reply(command, status=status)
        self._session = None
        if not stay and status == Status.OK:
            self.exit = Exit.ROM

    def _md5(self, command: Command) -> Iterator[Action]:
        offset, size, *_ = command.words(4)
        if self.hw.flash.holds(offset, size):
            yield self.reply(command, data=self.hw.flash.md5(offset, size))
        else:
            yield self.reply(command, status=Status.STUB_TOO_MUCH)

    def _erase_flash(self, command: Command) -> Iterator[Action]:
        yield from erase_steps(0, self.hw.flash.size_bytes, self.hw.timing)
        yield self.reply(command)

    def _erase_region(self, command: Command) -> Iterator[Action]:
        offset, size = command.words(2)
        if offset % SECTOR_BYTES or size % SECTOR_BYTES or not self.hw.flash.holds(offset, size):
            yield self.reply(command, status=Status.STUB_LENGTH)
            return
        yield from erase_steps(offset, size, self.hw.timing)
        yield self.reply(command)

    def _read_flash(self, command: Command) -> Iterator[Action]:
        """Frames of the flash, so many ahead of what the host says that it has; then the MD5 of all."""
        offset, size, block, ahead = command.words(4)
        if not block or not ahead or not self.hw.flash.holds(offset, size):
            yield self.reply(command, status=Status.STUB_TOO_MUCH)
            return
        yield self.reply(command)
        sent = received = 0
        digest = hashlib.md5(usedforsecurity=False)
        while received < size:
            if sent < size and sent - received < ahead * block and not self.inbox:
                data = self.hw.flash.read(offset + sent, min(block, size - sent))
                digest.update(data)
                sent += len(data)
                yield data
                continue
            while not self.inbox:
                yield Wait.FRAME
            frame = self.inbox.popleft()
            if len(frame) != 4:
                return  # the real stub gives up as well
            received = int.from_bytes(frame, "little")
        yield digest.digest()
