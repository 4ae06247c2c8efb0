"""The server: requests on the main socket become sessions and transfers."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from gapcast.net.endpoint import Endpoint
from gapcast.net.pump import Pump
from gapcast.net.report import AIR_EVERY_S, Report
from gapcast.net.udp import open_session, receive_request
from gapcast.protocol.events import Dropped
from gapcast.protocol.groups import GroupPool
from gapcast.protocol.multicast import Session
from gapcast.protocol.negotiate import Request, can_multicast, plan_join, plan_unicast, read_request
from gapcast.protocol.pacer import Pacer
from gapcast.protocol.settings import Settings
from gapcast.protocol.types import Address
from gapcast.protocol.unicast import Transfer
from gapcast.store import SCAN_MAX_ENTRIES, Identity, Opened, Store
from gapcast_core.errors import PeerError
from gapcast_core.wire import OP_RRQ, OP_WRQ, pack_error

MAX_SESSIONS = 64  # forged RRQs with many block sizes: each costs a socket and a group
MAX_TRANSFERS = 256  # forged RRQs: each costs a socket, and its content up to 64 MiB (shared)
REQUESTS_PER_CALLBACK = 16  # then the running transfers have their turn, however many RRQs arrive
TOUCH_EVERY_S = 0.25  # repair traffic counts as a sign of life in a session no more often

SessionKey = tuple[Identity, int, str]  # content, blksize, address asked: its net is where DATA goes


@dataclass(frozen=True, slots=True)
class Config:
    """What the operator chose. rate_bps: None is unlimited; interface: an address for multicast, or None."""

    rate_bps: float | None = None
    interface: str | None = None
    settings: Settings = field(default_factory=Settings)


class Server:
    """All sessions and transfers of one main socket. It closes the socket at the end."""

    def __init__(self, store: Store, main: socket.socket, config: Config, report: Report) -> None:
        self._store = store
        self._main = main
        self._config = config
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._pump = Pump(self._loop, Pacer(config.rate_bps))
        self._groups = GroupPool(random.randrange(1 << 18), MAX_SESSIONS)
        self._sessions: dict[SessionKey, tuple[Session, Endpoint]] = {}
        self._transfers: dict[Address, tuple[Transfer, Endpoint, tuple[Request, str]]] = {}
        self._stopping = asyncio.Event()
        self._truncated_told = False

    async def run(self) -> None:
        """Serve until SIGINT, SIGTERM or stop()."""
        address, port = self._main.getsockname()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._stopping.set)
        self._loop.add_reader(self._main.fileno(), self._on_readable)
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
        for _transfer, endpoint, _request in list(self._transfers.values()):
            endpoint.close()
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
        try:
            request = read_request(data)
        except PeerError as error:
            self._refuse(error, "", source)
            return
        try:
            self._serve(request, source, asked)
        except PeerError as error:
            self._refuse(error, request.name, source)

    def _refuse(self, error: PeerError, name: str, source: Address) -> None:
        """ERROR from the main port: shorter than most requests, so no amplifier."""
        self._report.event(Dropped(error.reason))
        if name:
            self._report.refused(source, name, error.reason)
        answer = pack_error(error.code, error.reason.replace("_", " "))
        try:
            self._main.sendto(answer, source)
            self._report.air.count(len(answer), False)
        except OSError:
            self._report.event(Dropped("send_failed"))

    def _serve(self, request: Request, source: Address, asked: str) -> None:
        if self._is_repeated(request, source, asked):
            return
        opened = self._store.open(request.name)
        if can_multicast(request, opened.content.size) and self._join(request, opened, source, asked):
            return
        self._open_transfer(request, opened, source, asked)

    def _is_repeated(self, request: Request, source: Address, asked: str) -> bool:
        """The RRQ of a running transfer again; another RRQ from its port ends that transfer."""
        found = self._transfers.get(source)
        if found is None:
            return False
        transfer, endpoint, before = found
        if before == (request, asked):
            transfer.repeat_offer(self._loop.time())
            endpoint.settle()
            return True
        transfer.replace(self._loop.time())
        endpoint.settle()
        return False

    # ---- multicast ----

    def _join(self, request: Request, opened: Opened, source: Address, asked: str) -> bool:
        """Let the client join or open a session; False when there is no group for it."""
        now = self._loop.time()
        key = (opened.identity, request.blksize, asked)
        self._leave_others(key, source, now)
        found = self._sessions.get(key) or self._open_session(key, request, opened, asked, now)
        if found is None:
            return False
        session, endpoint = found
        if not session.may_join(source):
            raise PeerError("busy")
        session.join(source, plan_join(request, opened.content.size), now)
        endpoint.settle()
        return True

    def _leave_others(self, key: SessionKey, source: Address, now: float) -> None:
        for other, (session, endpoint) in list(self._sessions.items()):
            if other != key and session.has_member(source):
                session.leave(source, now)
                endpoint.settle()

    def _open_session(
        self, key: SessionKey, request: Request, opened: Opened, asked: str, now: float
    ) -> tuple[Session, Endpoint] | None:
        group = self._groups.acquire(now)
        if group is None:
            return None
        sock = self._session_socket(asked)
        content = opened.content
        session = Session(request.name, content, request.blksize, group, self._config.settings, now)

        def on_closed(_endpoint: Endpoint) -> None:
            self._groups.release(group, self._loop.time())
            if self._sessions.get(key, (None,))[0] is session:
                del self._sessions[key]

        endpoint = self._endpoint(sock, session, group, on_closed)
        self._sessions[key] = (session, endpoint)
        return session, endpoint

    # ---- unicast ----

    def _open_transfer(self, request: Request, opened: Opened, source: Address, asked: str) -> None:
        if len(self._transfers) >= MAX_TRANSFERS:
            raise PeerError("busy")
        now = self._loop.time()
        plan = plan_unicast(request, opened.content.size)
        sock = self._session_socket(asked)
        transfer = Transfer(source, request.name, plan, opened.content, now)

        def on_closed(_endpoint: Endpoint) -> None:
            if self._transfers.get(source, (None,))[0] is transfer:
                del self._transfers[source]

        endpoint = self._endpoint(sock, transfer, None, on_closed)
        self._transfers[source] = (transfer, endpoint, (request, asked))
        session = self._sessions.get((opened.identity, request.blksize, asked))
        if session is not None and plan.ranges is not None:
            endpoint.on_heard = self._toucher(session, source[0])
            endpoint.on_heard(now)
        endpoint.settle()

    def _toucher(self, found: tuple[Session, Endpoint], host: str) -> Callable[[float], None]:
        """Tell the session now and then that `host` is repairing."""
        session, endpoint = found
        touched_at = float("-inf")

        def touch(now: float) -> None:
            nonlocal touched_at
            if now - touched_at >= TOUCH_EVERY_S and not session.closed:
                touched_at = now
                session.touch(host, now)
                endpoint.settle()

        return touch

    # ---- sockets ----

    def _session_socket(self, asked: str) -> socket.socket:
        """Bound to the address that was asked: clients drop answers from another one. Raises PeerError."""
        bound = self._main.getsockname()[0]
        try:
            return open_session(asked if bound == "0.0.0.0" else bound, self._config.interface)
        except OSError as error:
            raise PeerError("no_socket") from error

    def _endpoint(
        self,
        sock: socket.socket,
        machine: Session | Transfer,
        group: Address | None,
        on_closed: Callable[[Endpoint], None],
    ) -> Endpoint:
        return Endpoint(self._loop, sock, machine, group, self._pump, self._report, on_closed)
