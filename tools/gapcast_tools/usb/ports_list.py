"""The serial ports of this machine that a board may be behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from serial.tools import list_ports

# Vendor ids of what boards with Espressif chips have on their USB plug.
ADAPTERS = {
    0x303A: "Espressif native USB",
    0x10C4: "CP210x",
    0x1A86: "CH340",
    0x0403: "FTDI",
}


@dataclass(frozen=True, slots=True)
class Port:
    """One serial port.

    device: its path.
    usb: vendor and product id as lsusb writes them, `303a:1001`; empty without USB.
    description: what it calls itself.
    known: whether it is an adapter that boards use; others are asked only when they are named.
    """

    device: str
    usb: str = ""
    description: str = ""
    known: bool = False


def usb_ports() -> list[Port]:
    """Every USB serial port, those that boards use first."""
    found = [_port(info) for info in list_ports.comports() if info.vid is not None]
    return sorted(found, key=lambda port: (not port.known, _natural(port.device)))


def named_ports(devices: Iterable[str]) -> list[Port]:
    """The ports of these names, each once; one that is in no list (a pty, a URL) is asked all the same."""
    listed = {port.device: port for port in usb_ports()}
    return [listed.get(device, Port(device)) for device in dict.fromkeys(devices)]


def _port(info: list_ports.ListPortInfo) -> Port:
    adapter = ADAPTERS.get(info.vid)
    parts = [part for part in (info.manufacturer, info.product) if part]
    text = " ".join(parts) or (info.description if info.description not in (None, "n/a") else "") or ""
    if adapter and adapter.lower() not in text.lower():
        text = f"{adapter}: {text}" if text else adapter
    return Port(info.device, f"{info.vid:04x}:{info.pid or 0:04x}", text, adapter is not None)


def _natural(device: str) -> tuple[str, int]:
    """So that ttyUSB10 comes after ttyUSB9."""
    name = device.rstrip("0123456789")
    return name, int(device[len(name) :] or 0)
