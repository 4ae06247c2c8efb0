"""What a server does when it is asked: a few datagrams, then a polite goodbye. Everything raw is here."""

from __future__ import annotations

import socket
import struct
import time
from types import TracebackType

from gapcast.errors import OperatorError
from gapcast_core import wire
from gapcast_core.errors import PeerError, UsageError
from gapcast_core.options import parse_multicast
from gapcast_tools.doctor_judge import FULL_BLKSIZE_BYTES, GroupTest, Reply

RETRY_S = 0.7
TRIES = 3
DATA_WAIT_S = 1.5
LISTEN_S = 2.5  # another master's stream, or a stock server's one-second timers
FEW_BLOCKS = 8
# Not the 1024 of boards: a session of our own, so that no board gets a master that leaves at once.
GROUP_BLKSIZE_BYTES = 1000
_MAX_DATAGRAM_BYTES = 65536
_UNICAST_OPTIONS = [
    ("blksize", str(FULL_BLKSIZE_BYTES)),
    ("tsize", "0"),
    ("timeout", "1"),
    ("windowsize", "8"),
]
_GROUP_OPTIONS = [
    ("multicast", ""),
    ("ranges", ""),
    ("blksize", str(GROUP_BLKSIZE_BYTES)),
    ("tsize", "0"),
    ("windowsize", str(FEW_BLOCKS)),
]


class Visit:
    """One short transfer: asked for, then left with ERROR 0 (RFC 1350: the transfer ends at once)."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._peer: tuple[str, int] | None = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def __enter__(self) -> Visit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._peer is not None:
            self._socket.sendto(wire.pack_error(wire.ERR_UNDEFINED, "thank you, that was a test"), self._peer)
        self._socket.close()

    @property
    def peer(self) -> tuple[str, int] | None:
        """Where the server's answers come from."""
        return self._peer

    def ask(self, name: str, options: list[tuple[str, str]]) -> Reply:
        """Send an RRQ, again if need be, and the server's first answer."""
        request = wire.pack_request(wire.OP_RRQ, name, options)
        for _ in range(TRIES):
            self._socket.sendto(request, self._server)
            datagram = self.receive(RETRY_S)
            if datagram is not None:
                return _reply(datagram)
        return Reply("silence")

    def ack(self, block: int) -> None:
        if self._peer is not None:
            self._socket.sendto(wire.pack_ack(block), self._peer)

    def receive(self, seconds: float) -> bytes | None:
        """The next datagram of the server; the first one fixes its port."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                datagram, sender = self._socket.recvfrom(_MAX_DATAGRAM_BYTES)
            except TimeoutError:
                return None
            if sender[0] == self._server[0] and self._peer in (None, sender):
                self._peer = sender
                return datagram
        return None


def check_name(name: str) -> None:
    """See whether a request for this name can be sent.

    Raises:
        OperatorError: It is too long, or not UTF-8.
    """
    try:
        for options in (_UNICAST_OPTIONS, _GROUP_OPTIONS):
            wire.pack_request(wire.OP_RRQ, name, options)
    except UnicodeError as error:
        raise OperatorError(f"the name {name!r} is not UTF-8", "give the file another name") from error
    except UsageError as error:
        raise OperatorError(f"cannot ask for that name: {error}", "give the file a shorter name") from error


def visit_unicast(host: str, port: int, name: str) -> Reply:
    """Ask with every option but multicast, and take the first DATA."""
    with Visit(host, port) as visit:
        reply = visit.ask(name, _UNICAST_OPTIONS)
        if reply.kind != "oack":
            return reply
        longest = None
        for _ in range(TRIES):
            visit.ack(0)
            datagram = visit.receive(DATA_WAIT_S / TRIES)
            if datagram is not None and datagram[:2] == b"\0\3":
                longest = len(datagram) - wire.HEADER_BYTES
                break
        return Reply(reply.kind, reply.options, data_bytes=longest)


def visit_group(host: str, port: int, name: str, local: str) -> tuple[Reply, GroupTest | None]:
    """Ask for a file's multicast session, join its group at our address `local`, and hear some blocks."""
    with Visit(host, port) as visit:
        reply = visit.ask(name, _GROUP_OPTIONS)
        if reply.kind != "oack" or "multicast" not in reply.options:
            return reply, None
        try:
            group, group_port, is_master = parse_multicast(reply.options["multicast"])
        except PeerError:
            return Reply("error", error="its `multicast` is malformed: " + reply.options["multicast"]), None
        size = reply.options.get("tsize", "")
        blocks = -(-int(size) // GROUP_BLKSIZE_BYTES) if size.isdigit() else FEW_BLOCKS
        expected = min(FEW_BLOCKS, blocks) if is_master else 1
        try:
            listener = _join(group, group_port, local)
        except OSError as error:
            return reply, GroupTest(group, group_port, is_master, join_error=error.strerror or str(error))
        with listener:
            heard, alone = _listen(visit, listener, expected if is_master else FEW_BLOCKS, is_master)
        if heard:
            first = 1 if is_master else min(heard)
            expected = max(expected, max(heard) + 1 - first)  # the blocks in between were lost
        return reply, GroupTest(group, group_port, is_master, expected, len(heard), len(alone))


def _join(group: str, port: int, local: str) -> socket.socket:
    """A socket in the group. Bound to the group's address it hears nothing else (Linux)."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((group, port))
        request = struct.pack("=4s4s", socket.inet_aton(group), socket.inet_aton(local))
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    except OSError:
        listener.close()
        raise
    return listener


def _listen(visit: Visit, listener: socket.socket, enough: int, is_master: bool) -> tuple[set[int], set[int]]:
    """The blocks that came by the group, and those to us alone; a master asks for each next one."""
    group: set[int] = set()
    unicast: set[int] = set()
    until = time.monotonic() + LISTEN_S
    next_ack = time.monotonic() if is_master else until
    while len(group) < enough and (now := time.monotonic()) < until:
        if now >= next_ack:
            visit.ack(max(group, default=0))
            next_ack = now + RETRY_S
        listener.settimeout(min(0.05, until - now))
        try:
            datagram, sender = listener.recvfrom(_MAX_DATAGRAM_BYTES)
        except TimeoutError:
            alone = visit.receive(0.001)
            if alone is not None and alone[:2] == b"\0\3" and len(alone) >= wire.HEADER_BYTES:
                unicast.add(alone[2] << 8 | alone[3])
            continue
        if sender == visit.peer and datagram[:2] == b"\0\3" and len(datagram) >= wire.HEADER_BYTES:
            group.add(datagram[2] << 8 | datagram[3])
            next_ack = min(next_ack, time.monotonic()) if is_master else until
    return group, unicast


def _reply(datagram: bytes) -> Reply:
    try:
        if datagram[:2] == b"\0\3":
            return Reply("data", data_bytes=len(datagram) - wire.HEADER_BYTES)
        if datagram[:2] == b"\0\5":
            code, text = wire.parse_error(datagram)
            return Reply("error", error=text, error_code=code)
        return Reply("oack", dict(wire.parse_oack(datagram)))
    except PeerError as error:
        return Reply("error", error=f"a malformed answer: {error.reason}")
