"""What comes out of a port where mpremote found no prompt: it does not tell."""

from __future__ import annotations

import re
import time

import serial

from gapcast_tools.usb.fault import PortFault

BAUD = 115200
MAX_BYTES = 4096
# What a chip without an application says for ever: ROM loader, boot loader.
_BARE = re.compile(rb"invalid header|No bootable app|csum err|flash read err|ets_main\.c", re.I)


def no_prompt(port: str, listen_s: float) -> PortFault:
    """Why MicroPython does not answer there: `no_micropython`, `garbage`, `silent`; or `gone`."""
    try:
        data = _overhear(port, listen_s)
    except (OSError, ValueError):  # SerialException is an OSError
        return PortFault("gone", f"{port} went away", "plug it in again, and run the command again")
    if _BARE.search(data):
        hint = "write MicroPython to it first: `gapcast provision` with --firmware"
        return PortFault("no_micropython", "there is no firmware on the board that starts", hint)
    if b"raw REPL" in data:
        return PortFault("silent", f"MicroPython answered too late on {port}", "run the command again")
    if data:
        hint = (
            "is MicroPython on it? write it: `gapcast provision` with --firmware; else press its reset button"
        )
        return PortFault("garbage", f"what answers on {port} is not MicroPython's prompt", hint)
    hint = "press its reset button, try another cable (some only charge), and run the command again"
    return PortFault("silent", f"nothing answers on {port}", hint)


def _overhear(port: str, listen_s: float) -> bytes:
    """Interrupt what runs there, and listen. Raises OSError, ValueError."""
    deadline = time.monotonic() + listen_s
    heard = b""
    with serial.serial_for_url(port, BAUD, timeout=0.1, write_timeout=1, exclusive=True) as line:
        line.write(b"\r\x03\r\x01")
        while time.monotonic() < deadline and len(heard) < MAX_BYTES and not _BARE.search(heard):
            heard += line.read(256)
    return heard
