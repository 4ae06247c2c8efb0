"""The loader in ROM: what answers when a bare chip is reset with its boot pin low."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from gapcast_sim.chip.commands import SYNC_DATA, Command, Op, Status, answer
from gapcast_sim.chip.loader import Action, Exit, Hardware, Loader
from gapcast_sim.chip.session import Session, TooMuchError

_SYNC_ANSWERS = 8
_SYNC_VALUE = int.from_bytes(SYNC_DATA[:4], "little")  # not 0: a stub answers that
_UNKNOWN_ANSWERS = 8
_DEFAULT_FLASH_BYTES = 2 << 20  # until the host sets the parameters
_SLOW_READ_BYTES = 64


class RomLoader(Loader):
    """It erases all at FLASH_BEGIN, and answers a block of data when it is in flash."""

    status_bytes = 4
    invalid = Status.ROM_INVALID

    def __init__(self, hardware: Hardware) -> None:
        super().__init__(hardware)
        self._attached = False
        self._flash_bytes = _DEFAULT_FLASH_BYTES
        self._session: Session | None = None
        self._loaded: list[range] = []  # of RAM
        self._next_load = 0
        self.handlers |= {
            Op.SYNC: self._sync,
            Op.MEM_BEGIN: self._mem_begin,
            Op.MEM_DATA: self._mem_data,
            Op.MEM_END: self._mem_end,
            Op.FLASH_BEGIN: self._flash_begin,
            Op.FLASH_DATA: self._flash_data,
            Op.FLASH_END: self._flash_end,
            Op.FLASH_DEFL_BEGIN: self._flash_begin,
            Op.FLASH_DEFL_DATA: self._flash_data,
            Op.FLASH_DEFL_END: self._flash_end,
            Op.SPI_FLASH_MD5: self._md5,
            Op.READ_FLASH_SLOW: self._read_slow,
        }
        if not hardware.profile.security_info:
            del self.handlers[Op.GET_SECURITY_INFO]

    def unknown(self, command: Command) -> Iterator[Action]:
        """Not one answer but eight, for no command in particular."""
        for _ in range(_UNKNOWN_ANSWERS):
            yield answer(0, status=Status.ROM_INVALID, status_bytes=self.status_bytes)

    def _sync(self, command: Command) -> Iterator[Action]:
        self.hw.registers.set_baud(self.hw.speed())
        for _ in range(_SYNC_ANSWERS):
            yield self.reply(command, value=_SYNC_VALUE)

    def _mem_begin(self, command: Command) -> Iterator[Action]:
        size, _blocks, _block_bytes, offset = command.words(4)
        self._loaded.append(range(offset, offset + size))
        self._next_load = 0
        yield self.reply(command)

    def _mem_data(self, command: Command) -> Iterator[Action]:
        _size, sequence, *_ = command.words(4)
        status = Status.OK
        if not command.block_intact:
            status = Status.ROM_CHECKSUM
        elif not self._loaded or sequence not in (self._next_load, self._next_load - 1):  # or repeated
            status = Status.ROM_FAILED
        else:
            self._next_load = sequence + 1
        yield self.reply(command, status=status)

    def _mem_end(self, command: Command) -> Iterator[Action]:
        stay, entry = command.words(2)
        yield self.reply(command)
        if not stay:  # a jump to where nothing was loaded ends in a watchdog reset
            self.exit = Exit.STUB if any(entry in part for part in self._loaded) else Exit.FLASH

    def _spi_attach(self, command: Command) -> Iterator[Action]:
        self._attached = True
        yield self.reply(command)

    def _spi_set_params(self, command: Command) -> Iterator[Action]:
        _id, self._flash_bytes, *_ = command.words(6)
        yield self.reply(command)

    def _within(self, offset: int, size: int) -> bool:
        return self._attached and offset + size <= self._flash_bytes and self.hw.flash.holds(offset, size)

    def _flash_begin(self, command: Command) -> Iterator[Action]:
        size, _blocks, _block_bytes, offset, *_ = command.words(5 if self.hw.profile.extended_begin else 4)
        if not self._within(offset, size):
            yield self.reply(command, status=Status.ROM_FAILED)
            return
        deflated = command.op == Op.FLASH_DEFL_BEGIN
        self._session = Session(offset, size, deflated=deflated, timing=self.hw.timing)
        yield from self._session.erase()
        yield self.reply(command)

    def _flash_data(self, command: Command) -> Iterator[Action]:
        command.words(4)
        session = self._session
        if session is None or session.deflated != (command.op == Op.FLASH_DEFL_DATA):
            yield self.reply(command, status=Status.ROM_FAILED)
            return
        if not command.block_intact:
            yield self.reply(command, status=Status.ROM_CHECKSUM)
            return
        try:
            data = session.data(command.block)
        except (zlib.error, TooMuchError):
            yield self.reply(command, status=Status.ROM_INFLATE)
            return
        yield from session.write(data)
        yield self.reply(command)

    def _flash_end(self, command: Command) -> Iterator[Action]:
        """Leaves the loader in any case: 0 resets, 1 runs what is in flash."""
        command.words(1)
        yield self.reply(command)
        self.exit = Exit.FLASH

    def _md5(self, command: Command) -> Iterator[Action]:
        """As 32 characters, where a stub sends the 16 bytes."""
        offset, size, *_ = command.words(4)
        if self._within(offset, size):
            yield self.reply(command, data=self.hw.flash.md5(offset, size).hex().encode())
        else:
            yield self.reply(command, status=Status.ROM_FAILED)

    def _read_slow(self, command: Command) -> Iterator[Action]:
        """Always 64 bytes, however many were asked for."""
        offset, size = command.words(2)
        if size <= _SLOW_READ_BYTES and self._within(offset, size):
            data = self.hw.flash.read(offset, size).ljust(_SLOW_READ_BYTES, b"\0")
            yield self.reply(command, data=data)
        else:
            yield self.reply(command, status=Status.ROM_FAILED)
