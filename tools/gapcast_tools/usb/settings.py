"""gapcast.json: the settings of a board's client (firmware/lib/gapcast_boot/config.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.secrets import Secret

SETTINGS_NAME = "gapcast.json"
MARKER = "provisioned"  # ours, and unknown to the client, which ignores it
SECRET_KEYS = ("wifi_password", "report_key")

Settings = dict[str, object]


def build_settings(
    existing: Mapping[str, object] | None = None,
    *,
    server: str | None = None,
    port: int | None = None,
    image: str | None = None,
    board: str | None = None,
    wifi_ssid: str | None = None,
    wifi_password: Secret | None = None,
    wifi_open: bool = False,
    keys: Sequence[str] | None = None,
    board_id: str | None = None,
    report_key: Secret | None = None,
    provisioned: Mapping[str, str] | None = None,
) -> Settings:
    """A board's settings: `existing` (what is on it) with what is given here; None leaves what there is.

    Args:
        wifi_open: the network has no password: one that is on the board goes.
        keys: base64 of the moduli that may sign (gapcast.image.keys.board_key_text), all of them.
        board_id: what it is called in reports: the MAC, 12 lower hex digits.
        provisioned: notes of the provisioning, such as {"firmware": SHA-256, "by": "gapcast 1.0"}.
    """
    given = {
        "server": server,
        "port": port,
        "image": image,
        "board": board,
        "wifi_ssid": wifi_ssid,
        "wifi_password": wifi_password,
        "keys": None if keys is None else list(keys),
        "id": board_id,
        "report_key": report_key,
        MARKER: None if provisioned is None else dict(provisioned),
    }
    settings = dict(existing or {})
    settings |= {key: value for key, value in given.items() if value is not None}
    if wifi_open:
        settings.pop("wifi_password", None)
    return settings


def read_settings(data: bytes | None) -> Settings | None:
    """The settings in a board's gapcast.json, its secrets as Secret; None: it has none.

    Raises:
        PortFault: `damaged`: it is no JSON object; no message shows any of it.
    """
    if data is None or not data.strip():
        return None
    hint = "mend it, or remove it: mpremote connect PORT rm :gapcast.json"
    try:
        found = json.loads(data)
        json.dumps(found, ensure_ascii=False).encode()  # halves of characters ("\\ud800") cannot be written
    except (ValueError, RecursionError):
        raise PortFault("damaged", "gapcast.json on the board is not JSON", hint) from None
    if not isinstance(found, dict):
        raise PortFault("damaged", "gapcast.json on the board is no JSON object", hint)
    return {
        key: Secret(value) if key in SECRET_KEYS and isinstance(value, str) else value
        for key, value in found.items()
    }


def pack_settings(settings: Mapping[str, object]) -> bytes:
    """The content of gapcast.json, secrets in clear text: for the board only."""
    # Not in \u escapes: MicroPython does not put their halves together again (an emoji in a network's name).
    return (json.dumps(settings, default=_revealed, ensure_ascii=False) + "\n").encode()


def same_settings(data: bytes | None, settings: Mapping[str, object]) -> bool:
    """Whether a board's gapcast.json says this already, however it is written."""
    try:
        return data is not None and json.loads(data) == json.loads(pack_settings(settings))
    except (ValueError, RecursionError):
        return False


def _revealed(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"{type(value).__name__} is nothing for JSON")
