"""What esptool 5 prints, read: the chip, how far it is, and what went wrong as a sentence for the operator.

Its texts are no interface, so every pattern here is one that tests/provision checks against the installed
esptool; what none of them knows is told as esptool's own last line.
"""

from __future__ import annotations

import errno
import getpass
import grp
import re
from dataclasses import dataclass
from pathlib import Path

from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.holders import holders
from gapcast_tools.usb.process import Ended

_CONNECTED = re.compile(r"^Connected to (\S+) on ", re.M)
_TYPE = re.compile(r"^Chip type: +(.+)$", re.M)
_MAC = re.compile(r"^(?:BASE )?MAC: +((?:[0-9a-f]{2}:){5}[0-9a-f]{2})$", re.M)  # not the EUI-64 of a C6
_FLASH = re.compile(r"^Detected flash size: (\d+)(KB|MB)$", re.M)
_AT = re.compile(r"^(Writing|Reading) (?:at|from) (0x[0-9a-f]+) .*%")
_VERIFIED = re.compile(r"^Verification (successful|failed) \(digest (?:matched|mismatch)\)", re.M)
_ERROR = re.compile(r"(?:A fatal error occurred|A serial exception error occurred): (.*)", re.S)
_ERRNO = re.compile(r"\[Errno (\d+)\]|(?:termios\.error|Could not configure port): \((\d+),")
_WRONG_CHIP = re.compile(r"This chip is (.+?), not (.+?)\. Wrong chip")
_TOO_LARGE = re.compile(r"\(length (\d+)\) at offset (0x[0-9a-f]+) will not fit in (\d+) bytes")
_NOT_FOR_CHIP = re.compile(r"(?:is not an? \S+ image|does not contain an? \S+ image|requires chip revision)")

_NOISE = (
    "Invalid head of packet",
    "Invalid SLIP escape",
    "Packet content transfer stopped",
    "Corrupt data",
    "Digest mismatch",
    "Guru Meditation",
    "Expected digest",
    "Read more than expected",
    "Response doesn't match request",
    "Checksum error",
    "Bad data checksum",
    "Bad data length",
    "Adler32",
    "Inflate error",
    "format of the received message is invalid",
)
_MUTE = (
    "No serial data received",
    "stopped responding",
    "Serial data stream stopped",
    "No more data to read",
    "Write timeout",
    "There was no response",
)
_DAMAGED = (
    "MD5 of file does not match",
    "the written flash region is empty",
    "Flash write error",
    "Failed SPI operation",
    "Failed SPI unlock",
)
_SECURED = (
    "Secure Boot",
    "Secure Download Mode",
    "secure download mode",
    "security features",
    "flash encryption",
)
_LOST = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBADF)
LOST_LINE = "Lost connection, retrying"  # it would go on by itself with whichever board comes next

HINT_CABLE = "check the cable, and run the command again"
HINT_BOOT = "hold its BOOT button while you run the command again; is the cable one that carries data?"
HINT_NOISE = "unplug it and plug it in again; then another cable, or a lower baud rate"


@dataclass(frozen=True, slots=True)
class Identity:
    """The board on a port.

    chip: as esptool's --chip wants it: `esp32`, `esp32s3`.
    mac: its base address, 12 lower hex digits.
    flash_bytes: size of its flash.
    description: the chip with its revision, for people.
    """

    chip: str
    mac: str
    flash_bytes: int
    description: str = ""


def chip_name(text: str) -> str:
    """`esp32s3` for ESP32-S3."""
    return text.lower().replace("-", "")


def find_mac(text: str) -> str | None:
    """The base MAC of a banner, 12 hex digits; None before it is printed."""
    found = _MAC.findall(text)
    return str(found[-1]).replace(":", "") if found else None


def read_identity(port: str, text: str) -> Identity:
    """The board of a `flash-id` run.

    Raises:
        PortFault: It does not tell everything (`failed`): no MAC, or a flash that does not answer.
    """
    connected, mac, flash, kind = (
        _CONNECTED.search(text),
        find_mac(text),
        _FLASH.search(text),
        _TYPE.search(text),
    )
    if connected is None or mac is None:
        raise PortFault(
            "failed", f"the board on {port} does not tell its chip and MAC", "is it in Secure Download Mode?"
        )
    if flash is None:
        message = f"the flash of the board on {port} does not answer"
        raise PortFault("failed", message, "take off whatever is wired to its flash pins; else it is broken")
    flash_bytes = int(flash[1]) * (1 << 20 if flash[2] == "MB" else 1 << 10)
    return Identity(chip_name(connected[1]), mac, flash_bytes, kind[1] if kind else connected[1])


def position(line: str) -> tuple[str, int] | None:
    """A line of progress: `writing` or `reading`, and the address up to which it is done."""
    match = _AT.match(line)
    return (match[1].lower(), int(match[2], 16)) if match else None


def verdicts(text: str) -> list[bool]:
    """Of a `verify-flash` run: for each file, in order, whether the flash holds it."""
    return [word == "successful" for word in _VERIFIED.findall(text)]


def fault(port: str, doing: str, ended: Ended) -> PortFault:
    """Why a run failed, and what to do next.

    Args:
        port: The port.
        doing: What was under way, as in `while writing`.
        ended: How it ended; its code is not 0, or it was cut.
    """
    connected = _CONNECTED.search(ended.text) is not None
    if ended.cut == "stopped":
        return PortFault("interrupted", f"stopped while {doing}", "run the command again")
    if ended.cut:
        return _silence(port, doing, connected)
    match = _ERROR.search(ended.text)
    message = match[1].strip() if match else _last_line(ended.text)  # the end of a traceback
    if "Could not open" in message:
        return _not_opened(port, message)
    found = None if connected else _no_answer(port, message)
    return found or _lost(port, doing, connected, message) or _refused(port, message)


def _silence(port: str, doing: str, connected: bool) -> PortFault:
    if connected:
        return PortFault("interrupted", f"the board on {port} fell silent while {doing}", HINT_CABLE)
    return PortFault("silent", f"no board answers on {port}", HINT_BOOT)


def busy_fault(port: str) -> PortFault:
    """Another program has the port: which one, if we may know."""
    who = ", ".join(holders(port)) or "another program"
    return PortFault("busy", f"{port} is busy: {who} has it open", "close that, and run the command again")


def open_fault(port: str, number: int) -> PortFault | None:
    """Why a port could not be opened, from the system's error number; None for an unknown one."""
    if number in (errno.EAGAIN, errno.EBUSY):
        return busy_fault(port)
    if number == errno.ENOENT or number in _LOST:
        return PortFault("gone", f"{port} is not there", "plug the board in; `gapcast ports` lists what is")
    if number in (errno.EACCES, errno.EPERM):
        hint = f"`sudo usermod -aG {_group(port)} {_user()}`, and log in again"
        return PortFault("denied", f"no permission to open {port}", hint)
    if number in (errno.ENOTTY, errno.EISDIR, errno.EINVAL):
        return PortFault("failed", f"{port} is no serial port", "`gapcast ports` lists what is plugged in")
    return None


def _not_opened(port: str, message: str) -> PortFault:
    number = _number(message)
    known = open_fault(port, number) if number is not None else None
    return known or PortFault("failed", f"{port} cannot be opened: {_first_line(message)}")


def _no_answer(port: str, message: str) -> PortFault | None:
    """Nothing, or nothing of sense, came before the loader answered."""
    if "Wrong boot mode" in message:
        return PortFault("silent", f"the board on {port} does not go into its loader by itself", HINT_BOOT)
    if "TX path seems to be down" in message:
        hint = "its RX pin is not connected, or something else drives it"
        return PortFault("silent", f"the board on {port} does not hear us", hint)
    if any(text in message for text in _NOISE):
        return PortFault("garbage", f"what comes from {port} is garbage, no boot loader", HINT_NOISE)
    if any(text in message for text in _MUTE):
        return PortFault("silent", f"no board answers on {port}", HINT_BOOT)
    return None


def _lost(port: str, doing: str, connected: bool, message: str) -> PortFault | None:
    """The connection broke: by a cable, or by noise."""
    number = _number(message)
    gone = port.startswith("/") and not Path(port).exists()
    torn = number in _LOST or "device disconnected" in message or LOST_LINE in message
    if gone or torn:
        others = holders(port)
        if others and not gone:  # it opened the port without a lock, and eats what is meant for us
            return busy_fault(port)
        when = f"while {doing}" if connected else "before the board answered"
        return PortFault("interrupted", f"the connection to {port} broke {when}", HINT_CABLE)
    if any(text in message for text in _NOISE):
        return PortFault("garbage", f"what comes from {port} broke up while {doing}", HINT_NOISE)
    if any(text in message for text in _MUTE):
        return _silence(port, doing, connected)
    return None


def _refused(port: str, message: str) -> PortFault:
    """The board answers, and it does not work all the same."""
    first = _first_line(message).removesuffix(" Use --force to flash anyway.")
    if match := _WRONG_CHIP.search(message):
        text = f"the chip on {port} is {match[1]}, not {match[2]}"
        return PortFault("wrong_chip", text, "name the board and the firmware that are made for it")
    if _NOT_FOR_CHIP.search(message) or "Unexpected chip" in message:
        return PortFault("wrong_chip", f"not for the chip on {port}: {first}", "take firmware made for it")
    if match := _TOO_LARGE.search(message):
        text = f"the flash of the board on {port} has only {match[3]} bytes"
        need = int(match[1]) + int(match[2], 16)
        return PortFault("small_flash", text, f"this needs {need}: take firmware for a flash of that size")
    if "detected flash size" in message:
        return PortFault("small_flash", f"the flash of the board on {port} is too small: {first}")
    if any(text in message for text in _DAMAGED):
        text = f"the flash of the board on {port} does not keep what is written: {first}"
        return PortFault(
            "damaged", text, "a better cable, power supply or lower baud rate; else it is worn out"
        )
    if any(text in message for text in _SECURED):
        text = f"the board on {port} is locked by its fuses: {first}"
        return PortFault("failed", text, "Gapcast cannot write to such a board over USB")
    if "Failed to set baud rate" in message:
        return PortFault("failed", f"{port}: {first}", "give a lower baud rate, such as 115200")
    return PortFault("failed", f"{port}: esptool: {first}")


def _number(message: str) -> int | None:
    found = _ERRNO.search(message)
    return int(found[1] or found[2]) if found else None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip() or "it said nothing"


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2].strip() or "it said nothing"


def _group(port: str) -> str:
    """The group that may open the port; `dialout` if that cannot be told."""
    try:
        name = grp.getgrgid(Path(port).stat().st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"
    return "dialout" if name == "root" else name


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "$USER"
