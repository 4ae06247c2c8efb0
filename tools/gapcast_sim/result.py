"""What became of one board: gathered from its events, written as the `--json` of `board` and `sim`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gapcast_core.container import HEADER_BYTES
from gapcast_sim.events import Event

KEPT = "k"
FAILURES = ("failed", "refused", "rolled_back")


@dataclass
class BoardResult:
    """One row of the table. Blocks are of the transfer's block size (1024 bytes as a rule)."""

    id: str
    role: str = "none"  # master, listener, unicast; none: it never came so far
    lost_blocks: int = 0  # missing when its first stream was over; never sent is not lost
    gaps: int = 0
    largest_gap_blocks: int = 0
    repaired_blocks: int = 0  # stored from unicast answers
    repaired_bytes: int = 0
    elapsed_s: float | None = None  # first request to verified
    digest_ok: bool | None = None  # every chunk's digest; None for a raw file
    version: str | None = None  # as the application that runs now reports it
    heap_peak_bytes: int = 0  # live objects, the most at any change of phase
    heap_own_bytes: int = 0  # of those: what plays the hardware, and the names of what is in ROM
    symbols: int | None = None  # repair symbols it had room for, the least in any stream; 0: not mended
    boots: int = 0
    slot: int | None = None
    offered_version: str | None = None
    outcome: str = "none"  # updated, up_to_date, refused, failed, rolled_back, on_trial, raw
    detail: str = ""
    confirmed: bool = False  # the image that runs has proven itself: nothing goes back from it
    unsigned: bool = False  # the image had no signature, and this board is provisioned to take such
    kept_blocks: int = 0  # right in flash when its last try began: not downloaded again
    cuts: int = 0  # times that it lost its power
    bytes_again: int | None = None  # of the image, downloaded although it had them before; with power cuts
    state: str | None = None  # the last report of it that the server has
    rejoins: int = 0
    rx_datagrams: int = 0  # read from its sockets, of all boots
    rx_overflows: int = 0  # that found the queue of a socket full
    notes: list[str] = field(default_factory=list)

    MAX_NOTES = 20  # a board in trouble says the same thing over and over

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass
class Recorder:
    """Turns a board's events into its result and the state a display needs."""

    result: BoardResult
    total_blocks: int = 0
    missing_blocks: int = 0
    gap_map: str = ""
    kept_map: str = ""  # as it was when this boot's download began
    phase: str = "off"
    _started_ms: int = 0
    _streams: int = 0
    _unsent: int = 0
    _keeps: bool = False  # the next map is what was kept
    stored_bytes: int = 0  # payload and digest table of the image offered
    written_slot: int | None = None  # where the image is, complete; the board may have gone back from it

    def take(self, event: Event) -> None:
        """One event line of the board."""
        handler = getattr(self, "_on_" + str(event.get("event")), None)
        if handler is not None:
            handler(event)

    @property
    def picture_map(self) -> str:
        """The gap map with KEPT for the cells that were complete before anything was downloaded."""
        kept = self.kept_map or "0" * len(self.gap_map)
        cells = zip(self.gap_map, kept, strict=False)
        return "".join(KEPT if now == before == "f" else now for now, before in cells)

    def note(self, text: str) -> None:
        """Something to read about this board."""
        if text and len(self.result.notes) < BoardResult.MAX_NOTES:
            self.result.notes.append(text)

    def _on_boot(self, event: Event) -> None:
        self.result.boots += 1
        self.result.slot = event["slot"]
        self.result.heap_own_bytes = event.get("heap_own_bytes", 0)
        self.phase = "boot"

    def _on_note(self, event: Event) -> None:
        self.note(event["text"])

    def _on_started(self, event: Event) -> None:
        if self.result.boots == 1:
            self._started_ms = event["ms"]

    def _on_header(self, event: Event) -> None:
        self.result.offered_version = event["version"]
        self.stored_bytes = max(event["container_bytes"] - HEADER_BYTES, 0)

    def _on_kept(self, event: Event) -> None:
        self.result.kept_blocks = event["blocks"]
        self.kept_map = ""
        self._keeps = True

    def _on_unsigned(self, _event: Event) -> None:
        self.result.unsigned = True

    def _on_confirmed(self, _event: Event) -> None:
        self.result.confirmed = True

    def _on_rolled_back(self, event: Event) -> None:
        self.result.outcome = "rolled_back"
        self.result.detail = f"{event['version']}: {event['reason']}"

    def _on_phase(self, event: Event) -> None:
        self.phase = event["phase"]
        self.total_blocks = event["total"]
        self.missing_blocks = event["missing"]
        if self._keeps:
            self.gap_map = self.kept_map = event["map"]
            self._keeps = False
        if self.phase != "repair" and self.result.role in ("none", "unicast", "listener"):
            self.result.role = event["phase"]

    def _on_blocks(self, event: Event) -> None:
        self.total_blocks = event["total"]
        self.missing_blocks = event["missing"]
        self.gap_map = event["map"]

    def _on_stream_over(self, event: Event) -> None:
        self._on_blocks(event)
        result = self.result
        if self._streams == 0:
            self._unsent = event.get("unsent", 0)
            result.lost_blocks = event["missing"] - self._unsent
            result.gaps = event["gaps"]
            result.largest_gap_blocks = event["largest"]
        symbols = event["symbols"]
        result.symbols = symbols if result.symbols is None else min(result.symbols, symbols)
        result.rejoins = self._streams
        self._streams += 1
        if event["was_master"]:
            result.role = "master"

    def _on_verified(self, event: Event) -> None:
        self.result.elapsed_s = (event["ms"] - self._started_ms) / 1000
        self.result.digest_ok = True
        if self.result.slot is not None:
            self.written_slot = 1 - self.result.slot
        self.result.repaired_blocks = event["repaired_blocks"]
        self.result.repaired_bytes = event["repaired_bytes"]
        if self._streams == 1 and self._unsent:
            self._count_tail(self.result)
        self.phase = "verified"
        self.missing_blocks = 0
        self.gap_map = "f" * len(self.gap_map)

    def _count_tail(self, result: BoardResult) -> None:
        """The server was there all the time, and sent it: this board alone went deaf."""
        result.lost_blocks += self._unsent
        result.gaps += 1
        result.largest_gap_blocks = max(result.largest_gap_blocks, self._unsent)

    def _on_received(self, event: Event) -> None:
        self.result.rx_datagrams += event["counts"][0]
        self.result.rx_overflows += event["counts"][1]

    def _on_result(self, event: Event) -> None:
        self._heap(event)
        result = self.result
        outcome, detail = event["outcome"], event["detail"]
        if outcome == "updated":
            result.confirmed = False
        elif result.outcome in ("updated", "on_trial", "rolled_back"):
            # What a later boot finds, or does not find, undoes neither an update nor a rollback.
            if outcome not in ("up_to_date", "on_trial", result.outcome):
                self.note(f"boot {result.boots}: {outcome}: {detail}")
            return
        elif outcome == "up_to_date":
            result.confirmed = True  # no trial any more; the flash is asked all the same
        result.outcome = outcome
        result.detail = detail

    def _on_app(self, event: Event) -> None:
        self.result.version = event.get("version")
        self._heap(event)
        self.phase = "running"

    def _on_raw(self, event: Event) -> None:
        self.result.outcome = "raw"
        self.result.digest_ok = None
        self._heap(event)

    def _heap(self, event: Event) -> None:
        self.result.heap_peak_bytes = max(self.result.heap_peak_bytes, event.get("heap_peak_bytes", 0))
