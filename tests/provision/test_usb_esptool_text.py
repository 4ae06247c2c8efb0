"""What esptool prints, understood. All texts are esptool 5.6.0's own, run against simulated chips."""

from __future__ import annotations

import signal

import pytest

from gapcast_tools.usb import esptool_text
from gapcast_tools.usb.esptool_text import Identity, fault, find_mac, position, read_identity, verdicts
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.process import Ended

PORT = __file__  # it is there, and nobody has it open
CONNECTING = """\
esptool v5.6.0
Serial port /dev/ttyUSB0:
Connecting...
"""
ESP32 = """\
Detecting chip type... ESP32
Connected to ESP32 on /dev/ttyUSB0:
Chip type:          ESP32-D0WD-V3 (revision v3.1)
Features:           Wi-Fi, BT, Dual Core + LP Core, 240MHz, Coding Scheme None
Crystal frequency:  40MHz
MAC:                24:0a:c4:00:00:01

Uploading stub flasher...
Running stub flasher...
Stub flasher running.
Changing baud rate to 460800...
Changed.

"""
C6 = """\
Detecting chip type... ESP32-C6
Connected to ESP32-C6 on /dev/ttyUSB0:
Chip type:          ESP32-C6 (QFN40) (revision v0.1)
Features:           Wi-Fi 6, BT 5 (LE), IEEE802.15.4, Single Core + LP Core, 160MHz, Embedded Flash 4MB
Crystal frequency:  40MHz
MAC:                24:0a:c4:ff:fe:00:00:06
BASE MAC:           24:0a:c4:00:00:06
MAC_EXT:            ff:fe

Uploading stub flasher...
"""
FLASH = """\
Flash Memory Information:
=========================
Manufacturer: ef
Device: 4014
Detected flash size: 1MB
Flash voltage set by a strapping pin: 3.3V

Staying in bootloader.
"""
VERIFIED = """\
Verifying 0xc354 (50004) bytes at 0x00001000 in flash against 'a.bin'...
Verification successful (digest matched).
Verifying 0xc354 (50004) bytes at 0x00010000 in flash against 'a.bin'...
Verification failed (digest mismatch).

Staying in bootloader.

ERROR: A fatal error occurred: Verification failed.
"""
TROUBLE = (
    "For troubleshooting steps visit: "
    "https://docs.espressif.com/projects/esptool/en/latest/troubleshooting.html\n"
)
PYSERIAL = (
    "Note: This error originates from pySerial. It is likely not a problem with esptool, but with the "
    "hardware connection or drivers.\n" + TROUBLE
)

BEFORE = [  # no loader has answered yet
    (
        "Could not open /dev/ttyUSB0, the port is busy or doesn't exist.\n([Errno 2] could not open port "
        "/dev/ttyUSB0: [Errno 2] No such file or directory: '/dev/ttyUSB0')\n\nHint: Check if the port is "
        "correct and ESP connected\n",
        "gone",
    ),
    (
        "Could not open /dev/ttyUSB0, the port is busy or doesn't exist.\n([Errno 11] Could not exclusively "
        "lock port /dev/ttyUSB0: [Errno 11] Resource temporarily unavailable)\n",
        "busy",
    ),
    (
        "Could not open /dev/ttyUSB0, the port is busy or doesn't exist.\n([Errno 16] could not open port "
        "/dev/ttyUSB0: [Errno 16] Device or resource busy: '/dev/ttyUSB0')\n",
        "busy",
    ),
    (
        "Could not open /dev/ttyUSB0, the port is busy or doesn't exist.\n([Errno 13] could not open port "
        "/dev/ttyUSB0: [Errno 13] Permission denied: '/dev/ttyUSB0')\n\nHint: Try to add user into dialout "
        "or uucp group.\n",
        "denied",
    ),
    (
        "Could not open /dev/null, the port is busy or doesn't exist.\n(Could not configure port: (25, "
        "'Inappropriate ioctl for device'))\n",
        "failed",
    ),
    ("Failed to connect to Espressif device: No serial data received.\n" + TROUBLE, "silent"),
    (
        "Failed to connect to ESP32: Wrong boot mode detected (0x13)! The chip needs to be in download "
        "mode.\n" + TROUBLE,
        "silent",
    ),
    (
        "Failed to connect to ESP32: Download mode successfully detected, but getting no sync reply: The "
        "serial TX path seems to be down.\n" + TROUBLE,
        "silent",
    ),
    (
        "Failed to connect to Espressif device: Invalid head of packet (0x68): Possible serial noise or "
        "corruption.\n" + TROUBLE,
        "garbage",
    ),
    ("This chip is ESP32-C6, not ESP32-C3. Wrong chip argument?\n", "wrong_chip"),
]
AFTER = [  # it has
    (
        "File 'app.0x10000' (length 50001) at offset 0x000ff000 will not fit in 1048576 bytes of flash. "
        "Change the flash_size argument or flashing address.\n",
        "small_flash",
    ),
    ("Specified size 0x200000 is greater than detected flash size 0x100000.\n", "small_flash"),
    ("'app.0x1000' is not an ESP32-C3 image. Use --force to flash anyway.\n", "wrong_chip"),
    (
        "'app.0x1000' requires chip revision v3.0 or higher (this chip is revision v1.0). Use --force to "
        "flash anyway.\n",
        "wrong_chip",
    ),
    ("MD5 of file does not match data in flash!\n", "damaged"),
    ("Write failed, the written flash region is empty.\n", "damaged"),
    (
        "No more data to read from the serial port. This can have many causes, for troubleshooting steps "
        "visit: https://docs.espressif.com/projects/esptool/en/latest/troubleshooting.html\n",
        "interrupted",
    ),
    ("Serial data stream stopped: Possible serial noise or corruption.\n", "interrupted"),
    (
        "Digest mismatch: expected F4202133D12F2284B405FD5E0B3EABA7, got DA92D4C2BA02902A91FD3C8DE4E0D58C\n",
        "garbage",
    ),
    (
        "Failed to write compressed data to flash after seq 3 (result was C100: Bad data checksum)\n",
        "garbage",
    ),
    (
        "Detected flash encryption enabled and download manual encrypt disabled.\nData must be encrypted "
        "appropriately before flashing.\n",
        "failed",
    ),
    ("Failed to set baud rate 5000000. The driver may not support this rate.\n", "failed"),
    ("Something that no pattern knows.\n", "failed"),
]


def failed(text: str, code: int = 2) -> Ended:
    return Ended(code, text)


def test_identity() -> None:
    found = read_identity(PORT, CONNECTING + ESP32 + FLASH)
    assert found == Identity("esp32", "240ac4000001", 1 << 20, "ESP32-D0WD-V3 (revision v3.1)")


def test_the_base_mac_of_a_chip_with_a_longer_one() -> None:
    found = read_identity(PORT, CONNECTING + C6 + FLASH.replace("1MB", "16MB"))
    assert (found.chip, found.mac, found.flash_bytes) == ("esp32c6", "240ac4000006", 16 << 20)
    assert [find_mac(line) for line in C6.splitlines() if "MAC" in line] == [None, "240ac4000006", None]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (CONNECTING + ESP32 + FLASH.replace("1MB", "Unknown"), "flash"),
        (CONNECTING + "Connected to ESP32-S2 on /dev/ttyUSB0:\n" + FLASH, "chip and MAC"),
    ],
)
def test_a_board_that_does_not_tell_all(text: str, part: str) -> None:
    with pytest.raises(PortFault, match=part) as caught:
        read_identity(PORT, text)
    assert caught.value.reason == "failed"


def test_progress() -> None:
    bar = "━━━━━━━╸                        25.0% 4.00kB/16.00kB [0s] "
    assert position(f"Reading from 0x00001000 {bar}") == ("reading", 0x1000)
    assert position(f"Writing at 0x0000d354 {bar}") == ("writing", 0xD354)
    assert position(f"Writing at 0x0000d354 {bar}".replace("━", "=").replace("╸", ">")) == ("writing", 0xD354)
    for line in (*CONNECTING.splitlines(), *ESP32.splitlines(), "Writing 'a.bin' at 0x00001000..."):
        assert position(line) is None


def test_what_matches() -> None:
    assert verdicts(CONNECTING + ESP32 + VERIFIED) == [True, False]


@pytest.mark.parametrize(("error", "reason"), BEFORE)
def test_faults_before_the_board_answers(error: str, reason: str) -> None:
    told = fault(PORT, "writing", failed(f"{CONNECTING}ERROR: A fatal error occurred: {error}"))
    assert told.reason == reason
    assert PORT in str(told)
    assert told.hint


@pytest.mark.parametrize(("error", "reason"), AFTER)
def test_faults_after_the_board_answered(error: str, reason: str) -> None:
    told = fault(PORT, "writing", failed(f"{CONNECTING}{ESP32}ERROR: A fatal error occurred: {error}"))
    assert told.reason == reason
    assert "--force" not in f"{told} {told.hint}"
    assert "\n" not in f"{told} {told.hint}"


def test_what_fits_is_told_in_bytes() -> None:
    error = "File 'a' (length 16) at offset 0x00100000 will not fit in 1048576 bytes of flash. Change the ..."
    told = fault(PORT, "writing", failed(f"{ESP32}ERROR: A fatal error occurred: {error}"))
    assert str(told) == f"the flash of the board on {PORT} has only 1048576 bytes"
    assert "1048592" in told.hint


@pytest.mark.parametrize(
    "error",
    [
        "Could not configure port: (5, 'Input/output error')\n",
        "write failed: [Errno 5] Input/output error\n",
        "device reports readiness to read but returned no data (device disconnected or multiple access on "
        "port?)\n",
    ],
)
@pytest.mark.parametrize("connected", [False, True])
def test_a_cable_pulled_out(error: str, connected: bool) -> None:
    text = CONNECTING + (ESP32 if connected else "")
    told = fault(
        PORT, "writing", failed(f"{text}ERROR: A serial exception error occurred: {error}{PYSERIAL}")
    )
    assert told.reason == "interrupted"
    assert ("while writing" in str(told)) == connected


def test_a_traceback_is_told_by_its_last_line() -> None:
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n'
    assert fault(PORT, "writing", failed(trace + "termios.error: (5, 'Input/output error')\n")).reason == (
        "interrupted"
    )
    told = fault(PORT, "writing", failed(trace + "ZeroDivisionError: division by zero\n"))
    assert (told.reason, str(told)) == (
        "failed",
        f"{PORT}: esptool: ZeroDivisionError: division by zero",
    )
    assert "it said nothing" in str(fault(PORT, "writing", failed("")))


def test_the_same_loss_on_a_port_that_is_gone() -> None:
    error = "ERROR: A fatal error occurred: No serial data received."
    assert fault("/dev/gone", "writing", failed(CONNECTING + ESP32 + error)).reason == "interrupted"


@pytest.mark.parametrize(
    ("cut", "connected", "reason"),
    [
        ("silent", False, "silent"),
        ("silent", True, "interrupted"),
        ("slow", True, "interrupted"),
        ("stopped", True, "interrupted"),
    ],
)
def test_what_we_ended(cut: str, connected: bool, reason: str) -> None:
    text = CONNECTING + (ESP32 if connected else "")
    told = fault(PORT, "writing", Ended(-signal.SIGKILL, text, cut))
    assert told.reason == reason
    assert told.hint


def test_a_second_program_on_the_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(esptool_text, "holders", lambda _port: ["minicom (pid 7)"])
    text = f"{ESP32}ERROR: A serial exception error occurred: device disconnected or multiple access on port?"
    told = fault(PORT, "reading", failed(text))
    assert told.reason == "busy"
    assert "minicom (pid 7)" in str(told)
