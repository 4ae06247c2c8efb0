"""Which board is behind a port: a running MicroPython is asked first, and only then the loader."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from gapcast_tools.usb.esptool import Esptool
from gapcast_tools.usb.esptool_text import chip_name
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.look import look
from gapcast_tools.usb.mpremote import Mpremote
from gapcast_tools.usb.ports_list import Port
from gapcast_tools.usb.process import Stop

SHOWN_SETTINGS = ("id", "board", "image", "server", "port")  # of gapcast.json: all the rest may be secret
ATTEMPTS = 4  # one with each of esptool's ways to reset; about 4 s for a port that does not answer
# To MicroPython's first answer: milliseconds, but not while it starts, as some boards do when they are asked.
REPL_FIRST_S = (3.0, 4.0)
MAX_WORKERS = 32
_CHIP = re.compile(r"\bwith (ESP32[-\w]*)", re.I)  # in MicroPython's name of the machine
# Asking the loader after these would change nothing: the port itself is what does not work.
TOLD = ("old_micropython", "no_micropython")
FINAL = ("busy", "gone", "denied")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is behind one port.

    state: `micropython` (it runs), `loader` (a board without MicroPython answers), `not asked`, or the
        reason of a PortFault, with its text in `detail` and `hint`.
    repl: why there is no MicroPython to talk to (a PortFault's reason) if state is `loader`.
    settings: of a provisioned board those of SHOWN_SETTINGS; None: not provisioned, or not known.
    """

    port: Port
    state: str
    chip: str = ""
    mac: str = ""
    micropython: str = ""
    flash_bytes: int = 0
    repl: str = ""
    settings: dict[str, object] | None = None
    detail: str = ""
    hint: str = ""

    @property
    def ok(self) -> bool:
        return self.state in ("micropython", "loader", "not asked")

    def facts(self) -> dict[str, object]:
        """All of it, for JSON."""
        facts = asdict(self)
        facts |= facts.pop("port")
        del facts["known"]
        return {name: value for name, value in facts.items() if value not in ("", 0)}


def probe_all(ports: Sequence[Port], stop: Stop) -> list[Finding]:
    """Ask all of them at the same time; what was found, in their order."""
    if not ports:
        return []
    with ThreadPoolExecutor(min(len(ports), MAX_WORKERS), "probe") as pool:
        try:
            return list(pool.map(lambda port: probe(port, stop), ports))
        except BaseException:
            stop.stop()  # Ctrl-C: else the pool would wait for all of them
            raise


def probe(port: Port, stop: Stop) -> Finding:
    """Ask one port."""
    try:
        return _running(port, stop)
    except PortFault as error:
        repl = error
    if repl.reason in FINAL:
        return _failed(port, repl)
    try:
        found = Esptool(port.device, attempts=ATTEMPTS, stop=stop).identify(then_reset=True)
    except PortFault as error:
        return _failed(port, error)
    told = str(repl) if repl.reason in TOLD else ""
    return Finding(
        port, "loader", found.chip, found.mac, flash_bytes=found.flash_bytes, repl=repl.reason, detail=told
    )


def _running(port: Port, stop: Stop) -> Finding:
    """What MicroPython tells about its board, which starts again afterwards; raises PortFault."""
    tool = Mpremote(port.device, first_s=REPL_FIRST_S, stop=stop)
    seen = look(tool)
    tool.reset()
    settings, detail = None, ""
    try:
        settings = seen.settings
    except PortFault as error:  # gapcast.json is damaged: told, and all the rest is still good
        detail = str(error)
    return Finding(
        port,
        "micropython",
        chip_of(seen.runtime.machine),
        seen.runtime.unique_id,
        ".".join(map(str, seen.runtime.version)),
        settings=None if settings is None else shown(settings),
        detail=detail,
    )


def chip_of(machine: str) -> str:
    """`esp32c3` for "ESP32C3 module with ESP32C3"; empty for another kind of name."""
    found = _CHIP.findall(machine)
    return chip_name(found[-1]) if found else ""


def shown(settings: Mapping[str, object]) -> dict[str, object]:
    """Of gapcast.json what is no secret: only what is known to be none."""
    return {name: settings[name] for name in SHOWN_SETTINGS if name in settings}


def _failed(port: Port, error: PortFault) -> Finding:
    return Finding(port, error.reason, detail=str(error), hint=error.hint)
