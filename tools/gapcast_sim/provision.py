"""What makes a simulated board this one: its settings, its physics, its flash as it leaves the factory."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapcast.errors import OperatorError
from gapcast.image.boards import chip_of_board
from gapcast.image.sample import build_sample

BOARD_TYPE = "SIM"
FACTORY_VERSION = "0.0.0-factory"
FACTORY_BYTES = 8192
# machine.reset_cause() of boards/SIM/machine.py
PWRON_RESET = 1
WDT_RESET = 3
SOFT_RESET = 5


@dataclass(frozen=True)
class BoardSpec:
    """Everything about a board that is not in its flash."""

    id: str
    folder: Path
    server: str
    port: int
    image: str
    ip: str
    loss: float = 0.0
    burst: int = 1  # datagrams lost in a row on average; 1: each by itself
    seed: int = 1
    rx_queue: int = 6
    flash_timing: bool = False
    flash_slowness: int = 1  # times the data sheet's time; only with flash_timing
    heap_bytes: int | None = None  # None: the default of what it runs in
    at_s: float = 0.0
    go_file: Path | None = None  # see boards/SIM/sim_world.py
    raw: bool = False
    # These three are for benches, where what is not needed would take this machine's time.
    quiet: bool = False  # tell of no progress between two phases
    weigh: bool = True  # look at each change of phase how much of the heap is in use
    off_when_verified: bool = False
    limit_s: float = 300.0
    keys: tuple[str, ...] = ()  # trusted: base64 of the moduli, as in gapcast.json
    allow_unsigned: bool = False
    report_key: str | None = None  # 64 hex digits; without one the board reports nothing
    health_ms: int | None = None  # None: the client's own default
    power_cuts: int = 0  # how often it loses power, at seeded random flash operations
    image_bytes: int | None = None  # of the container, as far as it is known here
    wifi: str = "ok"  # see boards/SIM/network.py
    wifi_ms: int = 0  # that it takes to connect
    run_s: float | None = (
        None  # how long to let its application run; None: as long as it takes to see it live
    )

    @property
    def mac(self) -> str:
        """A locally administered address that follows from the id."""
        digest = hashlib.sha256(self.id.encode()).digest()
        return ":".join(f"{byte:02x}" for byte in (2, *digest[:5]))

    def settings(self) -> dict[str, Any]:
        """Its gapcast.json."""
        found: dict[str, Any] = {
            "server": self.server,
            "port": self.port,
            "image": self.image,
            "board": BOARD_TYPE,
            "wifi_ssid": "simulated",
            "id": self.id,
            "keys": list(self.keys),
            "allow_unsigned": self.allow_unsigned,
            "report_key": self.report_key,
        }
        if self.health_ms is not None:
            found["health_ms"] = self.health_ms
        return found

    def world(self, reset_cause: int, cut_at: int, cut_half: bool) -> dict[str, Any]:
        """Its sim.json for one boot."""
        return {
            "ip": self.ip,
            "loss_1000": round(self.loss * 1000),
            "loss_burst": self.burst,
            "seed": self.seed,
            "rx_queue": self.rx_queue,
            "flash_timing": self.flash_timing,
            "flash_slowness": self.flash_slowness,
            "mac": self.mac,
            "at_s": self.at_s,
            "go_file": str(self.go_file.absolute()) if self.go_file else None,
            "raw": self.raw,
            "quiet": self.quiet,
            "weigh": self.weigh,
            "off_when_verified": self.off_when_verified,
            "wifi": self.wifi,
            "wifi_ms": self.wifi_ms,
            "reset_cause": reset_cause,
            "cut_at": cut_at,
            "cut_half": cut_half,
        }


def local_address(server: str, port: int) -> str:
    """This host's address on the way to `server` (nothing is sent).

    Raises:
        OperatorError: The name does not resolve, or no network leads there.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((server, port))
            return str(probe.getsockname()[0])
    except UnicodeError as error:  # from the encoding of host names
        raise OperatorError(f"{server} is no host name") from error
    except OSError as error:
        raise OperatorError(f"no way to the server {server}: {error.strerror}") from error


def factory_image() -> bytes:
    """What a board leaves the factory with in slot 0."""
    return build_sample(FACTORY_BYTES, FACTORY_VERSION, chip_of_board(BOARD_TYPE))


def prepare(spec: BoardSpec, factory: bytes) -> None:
    """Write the board's settings; a folder without flash gets the factory's.

    Raises:
        OperatorError: The folder cannot be made or written.
    """
    slot = spec.folder / "ota_0.bin"
    try:
        spec.folder.mkdir(parents=True, exist_ok=True)
        if not slot.exists():
            slot.write_bytes(factory)
        _write_private(spec.folder / "gapcast.json", json.dumps(spec.settings()))
        set_world(spec)
    except OSError as error:
        message = f"cannot write the board's flash in {spec.folder}: {error.strerror}"
        raise OperatorError(message, "name a folder of your own, or one that is not there yet") from error


def _write_private(path: Path, text: str) -> None:
    """Of mode 0600 before anything is in it: it holds the report key. Raises OSError."""
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)  # one of an earlier version may be open to others
        file.truncate()
        file.write(text)


def set_world(
    spec: BoardSpec, reset_cause: int = PWRON_RESET, cut_at: int = 0, cut_half: bool = False
) -> None:
    """Before each boot: why it starts, and when its power goes. Raises OSError."""
    (spec.folder / "sim.json").write_text(json.dumps(spec.world(reset_cause, cut_at, cut_half)))


def kept_report_key(folder: Path) -> str | None:
    """The report key of a board whose flash was kept; None when there is none that could be one."""
    try:
        key = json.loads((folder / "gapcast.json").read_text())["report_key"]
        return str(key) if len(bytes.fromhex(key)) == 32 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
