"""What every board of one `gapcast provision` is to become; judged before any board is touched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gapcast import __version__
from gapcast.errors import OperatorError
from gapcast.image.keys import board_key_text, load_public
from gapcast_tools.boards.definition import BoardDef, load_board
from gapcast_tools.boards.firmware import Firmware, load_firmware
from gapcast_tools.place import parse_place
from gapcast_tools.usb.secrets import Secret, wifi_password
from gapcast_tools.usb.settings import Settings, build_settings

MAX_SSID_BYTES = 32  # IEEE 802.11
NO_FIRMWARE = "as it was"  # what the marker says of a board whose firmware we did not write


@dataclass(frozen=True)
class Network:
    """How the boards get to the server. password: None with `is_open`, or when the board's own is to stay."""

    ssid: str | None
    password: Secret | None
    is_open: bool


@dataclass(frozen=True)
class Plan:
    """One provisioning, the same for all boards.

    firmware: None: the boards run MicroPython already, and it stays (--app-only).
    keys: what boards trust, as it stands in gapcast.json.
    state: the inventory's file; None: the default one.
    erase: everything on the boards goes first, the users' files too.
    """

    board: BoardDef
    firmware: Firmware | None
    image: str
    server: str
    port: int
    network: Network
    keys: tuple[str, ...]
    allow_unsigned: bool
    state: Path | None
    erase: bool = False

    def settings(self, existing: Settings | None, board_id: str, report_key: Secret) -> Settings:
        """The gapcast.json of one board; what its user has added to `existing` stays."""
        settings = build_settings(
            existing,
            server=self.server,
            port=self.port,
            image=self.image,
            board=self.board.name,
            wifi_ssid=self.network.ssid,
            wifi_password=self.network.password,
            wifi_open=self.network.is_open,
            keys=self.keys,
            board_id=board_id,
            report_key=report_key,
            provisioned={"by": f"gapcast {__version__}", "firmware": self.firmware_mark(existing)},
        )
        if self.allow_unsigned or "allow_unsigned" in settings:
            settings["allow_unsigned"] = self.allow_unsigned
        return settings

    def firmware_mark(self, existing: Settings | None) -> str:
        """What the board is marked with: the SHA-256 of the firmware file that it got by USB."""
        if self.firmware is not None:
            return self.firmware.sha256
        return mark_of(existing) or NO_FIRMWARE


def mark_of(settings: Settings | None) -> str | None:
    """The firmware that a board is marked with; None: it is not provisioned."""
    marker = (settings or {}).get("provisioned")
    mark = marker.get("firmware") if isinstance(marker, dict) else None
    return mark if isinstance(mark, str) else None


def make_plan(
    *,
    board: str,
    firmware: Path | None,
    app_only: bool,
    server: str,
    image: str | None,
    ssid: str | None,
    password_file: Path | None,
    wifi_open: bool,
    keys: Sequence[Path],
    allow_unsigned: bool,
    state: Path | None,
    erase: bool,
) -> Plan:
    """Judge all that can be judged without a board; may ask for the Wi-Fi password on the terminal.

    Raises:
        OperatorError: Something is missing or wrong.
    """
    definition = load_board(board)
    _check_choice(firmware, app_only, erase)
    if not keys and not allow_unsigned:
        hint = "--key KEY.pub.pem of `gapcast keygen`; --allow-unsigned for a bench of your own"
        raise OperatorError("whose images may the boards take?", hint)
    if image is not None and not re.fullmatch("[!-~]{1,100}", image):
        raise OperatorError(f"{image!r} is no name of an image", "printable ASCII without blanks: sensor")
    host, port = parse_place(server)
    return Plan(
        board=definition,
        firmware=None if firmware is None else load_firmware(firmware, definition),
        image=image or definition.name,
        server=host,
        port=port,
        keys=tuple(board_key_text(load_public(path)) for path in keys),
        allow_unsigned=allow_unsigned,
        state=state,
        erase=erase,
        network=_network(ssid, password_file, wifi_open),
    )


def _check_choice(firmware: Path | None, app_only: bool, erase: bool) -> None:
    if (firmware is None) != app_only:
        hint = "--firmware FILE.bin writes MicroPython; --app-only keeps the one that runs on the boards"
        raise OperatorError("write a firmware, or keep what the boards run?", hint)
    if erase and app_only:
        raise OperatorError(
            "--erase takes MicroPython off the boards as well", "--firmware FILE.bin writes it"
        )


def _network(ssid: str | None, password_file: Path | None, wifi_open: bool) -> Network:
    if ssid is None:
        if password_file is not None or wifi_open:
            raise OperatorError("a password without a network", "name the network: --wifi SSID")
        return Network(None, None, False)  # what is on a board stays
    if not 0 < len(ssid.encode()) <= MAX_SSID_BYTES:
        raise OperatorError(f"{ssid!r} is no name of a network", f"1 to {MAX_SSID_BYTES} bytes")
    if wifi_open:
        return Network(ssid, None, True)
    return Network(ssid, wifi_password(password_file, ssid), False)
