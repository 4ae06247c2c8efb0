"""The server: requests on the main socket become sessions and transfers."""

from __future__ import annotations

import asyncio
import functools
import random
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

from gapcast.fleet.schema import default_path
from gapcast.net.announcing import Announcing
from gapcast.net.endpoint import Endpoint
from gapcast.net.ports import Ports
from gapcast.net.pump import Pump
from gapcast.net.receptions import Receptions
from gapcast.net.report import AIR_EVERY_S, Report
from gapcast.net.transfers import Transfers, toucher
from gapcast.net.udp import receive_request
from gapcast.protocol.askers import Askers
from gapcast.protocol.credit import error_within
from gapcast.protocol.events import Dropped
from gapcast.protocol.groups import GroupPool
from gapcast.protocol.handout import Handout
from gapcast.protocol.multicast import Session
from gapcast.protocol.negotiate import (
    Request,
    can_multicast,
    is_small,
    plan_join,
    read_report_name,
    read_request,
)
from gapcast.protocol.pacer import Pacer
from gapcast.protocol.settings import Settings
from gapcast.protocol.types import Address
from gapcast.store import HEADER_PART, SCAN_MAX_ENTRIES, Identity, Opened, Store
from gapcast_core.errors import PeerError
from gapcast_core.wire import OP_RRQ, OP_WRQ

MAX_SESSIONS = 64  # forged RRQs with many block sizes: each costs a socket and a group
REQUESTS_PER_CALLBACK = 16  # then the running transfers have their turn, however many RRQs arrive
TOUCH_EVERY_S = 0.25  # repair traffic counts as a sign of life in a session no more often

# Content, blksize, address asked (its net is where DATA goes), and whether it is a handout.
SessionKey = tuple[Identity, int, str, bool]


@dataclass(frozen=True, slots=True)
class Config:
    """What the operator chose.

    rate_bps: None is unlimited. interface: an address for multicast, or None. state: the file with what
    boards reported. require_options: refuse requests without options, which only long DATA can answer.
    announce: tell boards whose application runs of new images.
    """

    rate_bps: float | None = None
    interface: str | None = None
    settings: Settings = field(default_factory=Settings)
    state: Path = field(default_factory=default_path)
    require_options: bool = False
    announce: bool = True


class Server:
    """All sessions and transfers of one main socket. It closes the socket at the end."""

    def __init__(self, store: Store, main: socket.socket, config: Config, report: Report) -> None:
        self._store = store
        self._main = main
        self._config = config
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._pump = Pump(self._loop, Pacer(config.rate_bps))
        self._groups = GroupPool(random.randrange(1 << 17), MAX_SESSIONS)
        self._sessions: dict[SessionKey, tuple[Session | Handout, Endpoint]] = {}
        self._askers = Askers()
        self._ports = Ports(self._loop, main.getsockname()[0], config.interface, self._pump, report)
        self._transfers = Transfers(self._ports, config.require_options)
        self._receptions = Receptions(self._ports, config.state)
        self._announcing = Announcing(store.root, main.getsockname()[0], config.interface, report)
        self._stopping = asyncio.Event()
        self._truncated_told = False

    async def run(self) -> None:
        """Serve until SIGINT, SIGTERM or stop()."""
        address, port = self._main.getsockname()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._stopping.set)
        self._loop.add_reader(self._main.fileno(), self._on_readable)
        if self._config.announce:
            await self._announcing.start()
        self._report.line("listening", {"address": address, "port": port, "root": self._store.root})
        try:
            while not self._stopping.is_set():
                self._report.tick()
                self._tell_truncated()
                try:
                    await asyncio.wait_for(self._stopping.wait(), AIR_EVERY_S)
                except TimeoutError:
                    continue
        finally:
            self._close()

    def _tell_truncated(self) -> None:
        """Once each time: containers beyond SCAN_MAX_ENTRIES are not found by id."""
        truncated = self._store.scan_truncated
        if truncated and not self._truncated_told:
            self._report.line("scan_truncated", {"entries": SCAN_MAX_ENTRIES})
        self._truncated_told = truncated

    def stop(self) -> None:
        """End run()."""
        self._stopping.set()

    def _close(self) -> None:
        """Boards are not told: they go on by themselves when the server is back."""
        self._pump.stop()
        self._loop.remove_reader(self._main.fileno())
        self._main.close()
        for _session, endpoint in list(self._sessions.values()):
            endpoint.close()
        self._transfers.close()
        self._receptions.close()
        self._announcing.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)
        self._report.stopped()

    # ---- requests ----

    def _on_readable(self) -> None:
        for _ in range(REQUESTS_PER_CALLBACK):
            try:
                data, source, asked = receive_request(self._main)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._report.event(Dropped("receive_failed"))
                return
            self._on_request(data, source, asked)

    def _on_request(self, data: bytes, source: Address, asked: str) -> None:
        if source[1] == 0:
            self._report.event(Dropped("source_port_0"))  # nobody can be answered there
            return
        if len(data) < 2 or data[0] != 0 or data[1] not in (OP_RRQ, OP_WRQ):
            # Never answered: two servers, or a chargen port, would answer for ever.
            self._report.event(Dropped("not_a_request"))
            return
        name = ""
        try:
            if data[1] == OP_WRQ:
                self._receptions.open(read_report_name(data), source, asked)
                return
            request = read_request(data)
            name = request.name
            self._announcing.asked(asked)
            self._serve(request, source, asked)
        except PeerError as error:
            self._refuse(error, name, source, len(data))

    def _refuse(self, error: PeerError, name: str, source: Address, received_bytes: int) -> None:
        """ERROR from the main port, cut to what the request has paid for."""
        self._report.event(Dropped(error.reason))
        if name:
            self._report.refused(source, name, error.reason)
        answer = error_within(error.code, error.reason.replace("_", " "), received_bytes)
        if answer is None:
            return
        try:
            self._main.sendto(answer, source)
            self._report.air.count(len(answer), False)
        except OSError:
            self._report.event(Dropped("send_failed"))

    def _serve(self, request: Request, source: Address, asked: str) -> None:
        if self._transfers.is_repeated(request, source, asked):
            return
        opened = self._store.open(request.name)
        if self._is_shared(request, opened, source) and self._join(request, opened, source, asked):
            return
        self._leave_others(None, source, self._loop.time())
        found = self._transfers.open(request, opened, source, asked)
        if found is None:
            return
        transfer, endpoint = found
        session = self._sessions.get((opened.identity, request.blksize, asked, False))
        if session is not None and transfer.ranges_text is not None:
            touch = functools.partial(self._touch, session, source[0])
            endpoint.on_heard = toucher(touch, transfer, TOUCH_EVERY_S)
        endpoint.settle()

    def _is_shared(self, request: Request, opened: Opened, source: Address) -> bool:
        """Whether the answer goes to a group; a board alone that asks for a header gets it at once."""
        size = opened.content.size
        small = is_small(request, size)
        asks = small or opened.identity[1] == HEADER_PART
        crowded = asks and self._askers.note(opened.identity, source, self._loop.time())
        return can_multicast(request, size) and (crowded or not small)

    def _touch(self, found: tuple[Session | Handout, Endpoint], host: str, now: float) -> None:
        """`host` is repairing."""
        session, endpoint = found
        if not session.closed:
            session.touch(host, now)
            endpoint.settle()

    # ---- multicast ----

    def _join(self, request: Request, opened: Opened, source: Address, asked: str) -> bool:
        """Let the client join or open a session; False when there is no group for it."""
        now = self._loop.time()
        key = (opened.identity, request.blksize, asked, is_small(request, opened.content.size))
        self._leave_others(key, source, now)
        found = self._sessions.get(key)
        if found is None or found[0].ending:
            found = self._open_session(key, request, opened, asked, now)
        if found is None:
            return False
        session, endpoint = found
        if not session.may_join(source):
            raise PeerError("busy")
        session.join(source, plan_join(request, opened.content.size), now)
        endpoint.settle()
        return True

    def _leave_others(self, key: SessionKey | None, source: Address, now: float) -> None:
        for other, (session, endpoint) in list(self._sessions.items()):
            if other != key and session.has_member(source):
                session.leave(source, now)
                endpoint.settle()

    def _open_session(
        self, key: SessionKey, request: Request, opened: Opened, asked: str, now: float
    ) -> tuple[Session | Handout, Endpoint] | None:
        group = self._groups.acquire(now)
        if group is None and self._evict_session(now):
            group = self._groups.acquire(now)
        if group is None:
            return None
        try:
            sock = self._ports.open_socket(asked)
        except PeerError:
            self._groups.release(group, now)
            raise
        session = self._new_session(key, request, opened, group, now)

        def on_closed(_endpoint: Endpoint) -> None:
            self._groups.release(group, self._loop.time())
            if self._sessions.get(key, (None,))[0] is session:
                del self._sessions[key]

        endpoint = self._ports.endpoint(sock, session, group, on_closed)
        self._sessions[key] = (session, endpoint)
        return session, endpoint

    def _new_session(
        self, key: SessionKey, request: Request, opened: Opened, group: Address, now: float
    ) -> Session | Handout:
        if key[3]:
            return Handout(request.name, opened.content, request.blksize, group, now)
        session = Session(request.name, opened.content, request.blksize, group, self._config.settings, now)
        header = (opened.identity[0], HEADER_PART)
        session.gathering.expected = functools.partial(self._askers.seen, header)
        return session

    def _evict_session(self, now: float) -> bool:
        """Forged requests with many block sizes hold every group: the oldest session without proof goes."""
        for session, endpoint in self._sessions.values():
            if not session.has_proven:
                self._report.event(Dropped("session_evicted"))
                session.evict(now)
                endpoint.settle()
                return True
        return False
