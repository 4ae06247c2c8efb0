"""What tells one kind of chip from another: registers, eFuses, what its ROM says.

Sources: the technical reference manuals' eFuse and register chapters, and what esptool 5.6 asks for.
"""

from __future__ import annotations

from dataclasses import dataclass

CRYSTAL_HZ = 40_000_000
MAGIC_REGISTER = 0x40001000  # an address in every ROM, where each has something else


@dataclass(frozen=True)
class SpiLayout:
    """Where the controller of the flash has its registers (offsets from `base`)."""

    base: int
    usr: int
    usr1: int
    usr2: int
    w0: int
    address_shifted: bool  # the address stands in the top bits of its register


def _old_spi(base: int) -> SpiLayout:
    return SpiLayout(base, usr=0x1C, usr1=0x20, usr2=0x24, w0=0x80, address_shifted=True)


def _new_spi(base: int) -> SpiLayout:
    return SpiLayout(base, usr=0x18, usr1=0x1C, usr2=0x20, w0=0x58, address_shifted=False)


@dataclass(frozen=True)
class Profile:
    """One kind of chip."""

    name: str  # as esptool's --chip takes it
    chip_id: int | None  # what GET_SECURITY_INFO tells; None: the answer has no such field (S2)
    magic: int
    spi: SpiLayout
    mac_register: int
    registers: dict[int, int]  # what an unprovisioned chip of a usual revision holds; others read 0
    uart_divider: int  # register
    boot_log: str  # what the ROM prints at a reset into flash, before it looks there
    bootloader_offset: int
    security_info: bool = True  # whether the ROM knows that command
    extended_begin: bool = True  # FLASH_BEGIN has a fifth word

    def register_values(self, mac: bytes) -> dict[int, int]:
        """Every register that does not read 0, for a chip with this MAC (6 bytes)."""
        high, low = int.from_bytes(mac[:2], "big"), int.from_bytes(mac[2:], "big")
        values = {MAGIC_REGISTER: self.magic, **self.registers}
        values[self.mac_register] = low
        values[self.mac_register + 4] = high | values.get(self.mac_register + 4, 0)
        return values


def _boot_log(rom: str, built: str, straps: str) -> str:
    return f"{rom}\r\nBuild:{built}\r\nrst:0x1 (POWERON),boot:{straps} (SPI_FAST_FLASH_BOOT)\r\n"


def _efuse(base: int, words: dict[int, int]) -> dict[int, int]:
    return {base + 4 * number: value for number, value in words.items()}


ESP32 = Profile(
    name="esp32",
    chip_id=None,
    magic=0x00F01D83,
    spi=_old_spi(0x3FF42000),
    mac_register=0x3FF5A004,
    registers={
        # ESP32-D0WD-V3 v3.1: package 1, rated 240 MHz, revision bits 1 and 1 (the third is below)
        **_efuse(0x3FF5A000, {3: 1 << 15 | 1 << 13 | 1 << 9, 4: 128, 5: 1 << 24 | 1 << 20}),
        0x3FF6607C: 1 << 31,  # APB_CTL_DATE: revision bit 2
        0x3FF5F06C: 800 << 7,  # RTC calibration: with the 128 of eFuse word 4 a crystal of exactly 40 MHz
    },
    uart_divider=0x3FF40014,
    boot_log="ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n",
    bootloader_offset=0x1000,
    security_info=False,
    extended_begin=False,
)
ESP32S2 = Profile(
    name="esp32s2",
    chip_id=None,
    magic=0x000007C6,
    spi=_new_spi(0x3F402000),
    mac_register=0x3F41A044,
    registers=_efuse(0x3F41A044, {3: 1 << 18}),  # v1.0
    uart_divider=0x3F400014,
    boot_log=_boot_log("ESP-ROM:esp32s2-rc4-20191025", "Oct 25 2019", "0x8"),
    bootloader_offset=0x1000,
)
ESP32S3 = Profile(
    name="esp32s3",
    chip_id=9,
    magic=0x9,
    spi=_new_spi(0x60002000),
    mac_register=0x60007044,
    registers=_efuse(0x60007044, {3: 2 << 18}),  # v0.2
    uart_divider=0x60000014,
    boot_log=_boot_log("ESP-ROM:esp32s3-20210327", "Mar 27 2021", "0x8"),
    bootloader_offset=0x0,
)
ESP32C3 = Profile(
    name="esp32c3",
    chip_id=5,
    magic=0x1B31506F,
    spi=_new_spi(0x60002000),
    mac_register=0x60008844,
    registers=_efuse(0x60008844, {3: 4 << 18}),  # v0.4
    uart_divider=0x60000014,
    boot_log=_boot_log("ESP-ROM:esp32c3-api1-20210207", "Feb  7 2021", "0xc"),
    bootloader_offset=0x0,
)
ESP32C6 = Profile(
    name="esp32c6",
    chip_id=13,
    magic=0x2CE0806F,
    spi=_new_spi(0x60003000),
    mac_register=0x600B0844,
    registers=_efuse(0x600B0844, {1: 0xFFFE << 16, 3: 1 << 18, 4: 1}),  # v0.1, EUI-64 infix FF:FE
    uart_divider=0x60000014,
    boot_log=_boot_log("ESP-ROM:esp32c6-20220919", "Sep 19 2022", "0xc"),
    bootloader_offset=0x0,
)
PROFILES = {profile.name: profile for profile in (ESP32, ESP32S2, ESP32S3, ESP32C3, ESP32C6)}
