"""What a board's process prints: events of its pre-boot, or anything else, which becomes a note.

The application on a board prints what it likes. Nothing of it may look like an event that its pre-boot
never told, or break the launcher: from the event `application` on, only its `app` counts; and `confirmed`,
which the launcher looks up in the board's flash, and `cut`, which is the board's last word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]

MAX_TEXT = 500  # of a note: there are up to 20, and they go into the results
_MAX_NUMBER = 1 << 53
_CELLS = re.compile(r"[0-9a-f]{64}")  # MAP_CELLS of boards/SIM/sim_report.py


def _number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_NUMBER


def _text(value: object) -> bool:
    return isinstance(value, str)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value))


def _map(value: object) -> bool:
    return isinstance(value, str) and _CELLS.fullmatch(value) is not None


_BLOCKS: dict[str, Callable[[object], bool]] = {"total": _number, "missing": _number, "map": _map}
# The fields that someone here reads; an event may have more.
_FIELDS: dict[str, dict[str, Callable[[object], bool]]] = {
    "boot": {"slot": _number},
    "note": {"text": _text},
    "ready": {},
    "started": {"ms": _number},
    "header": {"version": _text, "container_bytes": _number},
    "phase": {"phase": _text, **_BLOCKS},
    "blocks": _BLOCKS,
    "stream_over": {
        **_BLOCKS, "unsent": _number, "gaps": _number, "largest": _number, "was_master": _flag,
        "symbols": _number,
    },
    "verified": {"ms": _number, "repaired_blocks": _number, "repaired_bytes": _number},
    "bad_chunks": {"count": _number},
    "kept": {"blocks": _number, "total": _number},
    "unsigned": {},
    "confirmed": {"version": _text},
    "rolled_back": {"version": _text, "reason": _text},
    "cut": {"ops": _number, "slot_bytes": _number},
    "result": {"outcome": _text, "detail": _text, "heap_peak_bytes": _number, "slot_bytes": _number},
    "received": {"counts": _pair},
    "application": {"preboot_us": _number},
    "app": {"version": _text, "heap_peak_bytes": _number},
    "raw": {"heap_peak_bytes": _number},
}  # fmt: skip
_OF_APPLICATION = ("app", "confirmed", "cut")


def parse(line: bytes, *, in_application: bool = False) -> Event:
    """The event in one line of output; a note with the line's text if there is none.

    Args:
        line: Without its end.
        in_application: Pre-boot is over, so only the application itself has something to tell.
    """
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        event = None
    if isinstance(event, dict):
        kind = event.get("event")
        fields = _FIELDS.get(kind) if isinstance(kind, str) else None
        known = fields is not None and all(check(event.get(name)) for name, check in fields.items())
        if known and (kind in _OF_APPLICATION or not in_application):
            return note(event["text"]) if kind == "note" else event
    return note(line.decode(errors="replace"))


def note(text: str) -> Event:
    """An event that only tells `text`."""
    return {"event": "note", "text": printable(text)}


def printable(text: str) -> str:
    """`text` for a person's terminal: one short line without control characters."""
    return "".join(char if char.isprintable() else " " for char in text[:MAX_TEXT]).strip()
