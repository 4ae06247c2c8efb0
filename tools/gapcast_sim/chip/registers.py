"""A chip's registers as far as a loader reads them, and the flash behind its SPI controller."""

from __future__ import annotations

from gapcast_sim.chip.profiles import CRYSTAL_HZ, Profile

_CMD, _ADDR = 0x00, 0x04
_CMD_USR = 1 << 18  # go
_RDID, _RDSFDP = 0x9F, 0x5A
_WINBOND_W25Q = 0x40EF  # manufacturer EF, type 40; the byte after them is log2 of the size


class Registers:
    """Words by address. A word that nothing was said about reads 0 until it is written."""

    def __init__(self, profile: Profile, mac: bytes, flash_bytes: int) -> None:
        """mac: 6 bytes. flash_bytes: a power of two."""
        self._profile = profile
        self._values = profile.register_values(mac)
        self._flash_bytes = flash_bytes

    def read(self, address: int) -> int:
        return self._values.get(address, 0)

    def write(self, address: int, value: int, mask: int) -> None:
        self._values[address] = self.read(address) & ~mask | value & mask
        if address == self._profile.spi.base + _CMD and value & mask & _CMD_USR:
            self._spi_command()

    def set_baud(self, baud: int) -> None:
        """What the UART divides the crystal by: esptool works the crystal out from it."""
        self._values[self._profile.uart_divider] = CRYSTAL_HZ // baud

    def _spi_command(self) -> None:
        """Send the command in USR2 to the flash; its answer appears in W0, and CMD reads 0 again."""
        spi = self._profile.spi
        self._values[spi.base + _CMD] = 0
        command = self.read(spi.base + spi.usr2) & 0xFF
        address = self.read(spi.base + _ADDR)
        if spi.address_shifted:
            address >>= 8
        self._values[spi.base + spi.w0] = self._flash_answer(command, address)

    def _flash_answer(self, command: int, address: int) -> int:
        if command == _RDID:
            return _WINBOND_W25Q | (self._flash_bytes.bit_length() - 1) << 16
        if command == _RDSFDP:  # its signature, and the manufacturer in the second parameter header
            return {0: int.from_bytes(b"SFDP", "little"), 0x10: _WINBOND_W25Q & 0xFF}.get(address, 0)
        return 0  # status registers; resets and write enables have no answer
