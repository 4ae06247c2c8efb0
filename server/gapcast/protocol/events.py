"""What happened, as frozen values: the shell prints them, tests compare them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; `kind` is the "event" of the JSON line."""

    kind: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class Dropped(Event):
    """A datagram that had no effect, under a stable name."""

    kind: ClassVar[str] = "dropped"
    reason: str


@dataclass(frozen=True, slots=True)
class SessionOpen(Event):
    """A multicast session began. blksize in bytes; blocks as a gap-aware client counts them."""

    kind: ClassVar[str] = "session_open"
    group: str
    port: int
    name: str
    blksize: int
    blocks: int


@dataclass(frozen=True, slots=True)
class MemberJoined(Event):
    """A client joined a session."""

    kind: ClassVar[str] = "member_joined"
    group: str
    address: str
    port: int
    role: str  # "master" or "listener"
    gap_aware: bool


@dataclass(frozen=True, slots=True)
class Handover(Event):
    """A client took mastership over, and asked for the block after `block`."""

    kind: ClassVar[str] = "handover"
    group: str
    address: str
    port: int
    block: int


@dataclass(frozen=True, slots=True)
class StreamEnd(Event):
    """The stream is over. blocks: highest block that was sent; datagrams: DATA sent to the group."""

    kind: ClassVar[str] = "stream_end"
    group: str
    blocks: int
    datagrams: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TurnGiven(Event):
    """A gap-aware client was invited to fetch its gaps."""

    kind: ClassVar[str] = "turn"
    group: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class MemberDone(Event):
    """A client left a session.

    outcome: "complete", "silent", "gone", "error", "expelled", "replaced", "changed" or "evicted".
    """

    kind: ClassVar[str] = "member_done"
    group: str
    address: str
    port: int
    outcome: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Mended(Event):
    """So many repair symbols were sent in a session."""

    kind: ClassVar[str] = "mended"
    group: str
    port: int
    symbols: int


@dataclass(frozen=True, slots=True)
class SessionClosed(Event):
    """A session is over, and why."""

    kind: ClassVar[str] = "session_closed"
    group: str
    port: int
    reason: str
    datagrams: int
    seconds: float


@dataclass(frozen=True, slots=True)
class HandedOut(Event):
    """A small file went to a group in so many rounds; `complete` said that they have it."""

    kind: ClassVar[str] = "handed_out"
    group: str
    port: int
    name: str
    joined: int
    complete: int
    rounds: int


@dataclass(frozen=True, slots=True)
class TransferOpen(Event):
    """A unicast transfer began. ranges: the accepted value of our option, or None."""

    kind: ClassVar[str] = "transfer_open"
    address: str
    port: int
    name: str
    blksize: int
    windowsize: int
    blocks: int
    bytes: int
    ranges: str | None


@dataclass(frozen=True, slots=True)
class TransferDone(Event):
    """A unicast transfer ended.

    outcome: "complete"; "unconfirmed" (all sent, the last ACK never came: RFC 1350 section 6 lets the
    client leave first); "silent"; "gone"; "error"; "replaced"; "changed"; "evicted" (unproven, in a flood).
    """

    kind: ClassVar[str] = "transfer_done"
    address: str
    port: int
    name: str
    outcome: str
    blocks: int
    bytes: int
    datagrams: int
    seconds: float
    ranges: str | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class ReportStored(Event):
    """A board's report is stored. state: "installed", "confirmed", "rolled_back", "refused" or "failed"."""

    kind: ClassVar[str] = "report"
    id: str
    address: str
    sequence: int
    state: str
    version: str
    counter: int
    board: str
    content_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Announced(Event):
    """An image is new; boards whose application runs are told of it. content_id: 32 hex digits."""

    kind: ClassVar[str] = "announced"
    name: str
    content_id: str


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """A request, or a report, that was refused. reason: the name of the drop."""

    kind: ClassVar[str] = "refused"
    address: str
    port: int
    name: str
    reason: str
