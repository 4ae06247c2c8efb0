"""What the operator sees: one JSON object or one short line an event, counters of the air and of drops."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections import Counter
from typing import TextIO

from gapcast.net.output import Output
from gapcast.protocol import events
from gapcast.protocol.types import HEADERS_BYTES, Address

AIR_EVERY_S = 0.2
MAX_REFUSED_PER_S = 50  # lines; a flood must not fill the disk
MAX_TEXT = 100  # an ERROR text or a file name from the network, in a human's line


class Air:
    """Everything the server sent, with 42 bytes of headers a datagram."""

    def __init__(self) -> None:
        self.multicast = 0
        self.unicast = 0
        self.datagrams = 0

    def count(self, payload_bytes: int, to_group: bool) -> None:
        """One datagram left."""
        if to_group:
            self.multicast += payload_bytes + HEADERS_BYTES
        else:
            self.unicast += payload_bytes + HEADERS_BYTES
        self.datagrams += 1


class Report:
    """Prints events and keeps the counters."""

    def __init__(self, as_json: bool, out: TextIO | None = None) -> None:
        self.air = Air()
        self.drops: Counter[str] = Counter()
        self._as_json = as_json
        self._output = Output(out or sys.stdout)
        self._air_told = 0
        self._drops_told: Counter[str] = Counter()
        self._started_at = time.monotonic()
        self._refused_since = self._started_at
        self._refused = 0

    def event(self, event: events.Event) -> None:
        """Print an event of a machine; a drop is only counted."""
        if isinstance(event, events.Dropped):
            self.drops[event.reason] += 1
            return
        if isinstance(event, events.Refused):
            self.refused((event.address, event.port), event.name, event.reason)
            return
        fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
        self.line(event.kind, fields)

    def refused(self, source: Address, name: str, reason: str) -> None:
        """A request that was refused; beyond MAX_REFUSED_PER_S only counted."""
        now = time.monotonic()
        if now - self._refused_since >= 1.0:
            self._refused_since = now
            self._refused = 0
        self._refused += 1
        if self._refused > MAX_REFUSED_PER_S:
            self.drops["refused_untold"] += 1
            return
        fields: dict[str, object] = {"address": source[0], "port": source[1]}
        self.line("refused", {**fields, "name": name[:MAX_TEXT], "reason": reason})

    def line(self, kind: str, fields: dict[str, object]) -> None:
        """Print one line."""
        if self._as_json:
            t = round(time.monotonic() - self._started_at, 6)
            text = json.dumps({"event": kind, "t": t, **fields})
        else:
            text = f"{time.strftime('%H:%M:%S')} {human(kind, fields)}"
        self._output.line(text)

    def tick(self) -> None:
        """About five times a second: the counters that changed. All are totals since the start."""
        if self._output.lost:
            self.drops["output_lost"] = self._output.lost
        if not self._as_json:
            return
        if self.air.datagrams != self._air_told:
            self._air_told = self.air.datagrams
            self.line("air", {**self._air_bytes(), "datagrams": self.air.datagrams})
        if self.drops != self._drops_told:
            self._drops_told = Counter(self.drops)
            self.line("drops", dict(self.drops))

    def stopped(self) -> None:
        """The last line."""
        self.tick()
        self.line("stopped", {"air_bytes": self._air_bytes(), "drops": dict(self.drops)})
        self._output.close()

    def _air_bytes(self) -> dict[str, object]:
        return {"multicast": self.air.multicast, "unicast": self.air.unicast}


def human(kind: str, fields: dict[str, object]) -> str:
    """An event as a short line for people."""
    form = _FORMS.get(kind)
    if form is None:
        return f"{kind} " + " ".join(f"{key}={value}" for key, value in fields.items())
    shown = {key: _clean(value) for key, value in fields.items()}
    if kind == "refused":
        shown["reason"] = _WHY.get(str(fields.get("reason")), shown["reason"])
    return form.format(**shown)


def _clean(value: object) -> object:
    """Names and texts come from the network: no terminal escapes, no endless lines."""
    if isinstance(value, str):
        return "".join(char if char.isprintable() else "?" for char in value[:MAX_TEXT])
    return value


_FORMS = {
    "listening": "listening on {address} port {port}, serving {root}",
    "session_open": "{name}: multicast to {group} port {port}, {blocks} blocks of {blksize} bytes",
    "member_joined": "{group}: {address} joined as {role}, gap-aware: {gap_aware}",
    "handover": "{group}: {address} is the master now, after block {block}",
    "stream_end": "{group}: stream over after {seconds:.2f} s, {datagrams} DATA for {blocks} blocks",
    "turn": "{group}: {address} may fetch its gaps",
    "member_done": "{group}: {address} done: {outcome} {text}",
    "mended": "{group}: mended by {symbols} repair symbols",
    "handed_out": "{group}: {name} for {joined} boards in {rounds} rounds, {complete} said that they have it",
    "session_closed": "{group}: session over: {reason}, {seconds:.2f} s",
    "transfer_open": "{address}: asks for {name}, {blocks} blocks of {blksize} bytes, ranges: {ranges}",
    "transfer_done": "{address}: {name}: {outcome} {text}: {bytes} bytes in {seconds:.2f} s",
    "announced": "{name}: a new image, {content_id}; boards that run are told of it",
    "scan_truncated": "more than {entries} files and folders: some containers are not found by their id",
    "plain_limited": "{address}: a request without options goes unanswered: too many a second, or forged",
    "refused": "{address}: refused {name}: {reason}",
    "report": "{address}: {id} ({board}) reports {state}: version {version} {reason}",
    "fleet": "{boards} boards may report, see `gapcast fleet list`; state in {path}",
    "stopped": "stopped; bytes sent: {air_bytes[multicast]} multicast, {air_bytes[unicast]} unicast",
}

# What a person needs to hear about a refused report, beside the stable name that --json has.
_WHY = {
    "unknown_board": "this board is not known here: `gapcast fleet add` makes it known",
    "wrong_mac": "not signed with this board's key: a forgery, or its report_key differs from ours",
    "old_sequence": "a replay, or its flash was erased: give it a new key (`gapcast fleet add --replace`)",
    "state_locked": "the fleet's state file is locked by another program",
    "state_full": "no space left for the fleet's state file",
    "state_failed": "the fleet's state file cannot be written: see `gapcast fleet list`",
    "no_options": "a request without options, see --require-options",
}
