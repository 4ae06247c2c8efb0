"""Reports of boards: received by machines, judged and stored in a thread."""

from __future__ import annotations

import dataclasses
import functools
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gapcast.errors import OperatorError
from gapcast.fleet.store import Fleet, State
from gapcast.net.endpoint import Endpoint
from gapcast.net.ports import Ports
from gapcast.net.slots import Slots
from gapcast.protocol.events import ReportStored
from gapcast.protocol.reception import Reception, Submission
from gapcast.protocol.types import Address
from gapcast_core.errors import PeerError
from gapcast_core.wire import ERR_ACCESS, ERR_DISK_FULL

# Forged WRQs: each costs a socket; boards send one report each, in milliseconds, a whole bench at once.
MAX_RECEPTIONS = 128
MAX_PER_HOST = 64  # a whole bench may sit behind one address, as in Transfers


@dataclass(slots=True)
class _Running:
    reception: Reception
    endpoint: Endpoint
    board_id: str
    judged: Future[State | None] | None = None

    @property
    def verified(self) -> bool:
        return self.reception.verified

    @property
    def finished(self) -> bool:
        return self.reception.finished


class Receptions:
    """By the board's address. path: the state file; while it does not exist no board is known."""

    def __init__(self, ports: Ports, path: Path) -> None:
        self._ports = ports
        self._path = path
        self._fleet: Fleet | None = None
        self._opened = (0, 0)  # device and inode of that file
        self._slots: Slots[_Running] = Slots(MAX_RECEPTIONS, MAX_PER_HOST, self._evict)
        # One thread: SQLite has one writer anyway. Its queue has at most as many live entries as there are
        # slots: what is closed is cancelled, and passed over within BUSY_S.
        self._thread = ThreadPoolExecutor(1, "reports")
        self._judging: dict[Future[State | None], _Running] = {}

    def open(self, board_id: str, source: Address, asked: str) -> None:
        """A WRQ `report/<board_id>`. Raises PeerError."""
        loop = self._ports.loop
        found = self._slots.get(source)
        if found is not None and found.board_id == board_id:
            found.reception.repeat_offer(loop.time())
            found.endpoint.settle()
            return
        if found is not None:
            raise PeerError("busy")  # ports are not reused within seconds; the other report comes first
        self._slots.make_room(source)
        sock = self._ports.open_socket(asked)
        reception = Reception(source, board_id, loop.time())

        def on_closed(_endpoint: Endpoint) -> None:
            self._slots.remove(source, running)
            if running.judged is not None:
                running.judged.cancel()  # nobody waits for it: the board was told, and sends it again

        endpoint = self._ports.endpoint(sock, reception, None, on_closed)
        running = _Running(reception, endpoint, board_id)
        endpoint.on_effect = functools.partial(self._submit, running)
        self._slots.add(source, running)
        endpoint.settle()

    def close(self) -> None:
        """What is being stored is stored; boards whose ACK is missing send it again."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        for done in list(self._judging):
            self._on_judged(done)  # the loop may never come to it
        for running in self._slots.all():
            running.endpoint.close()
        self._forget_fleet()

    def _submit(self, running: _Running, effect: object) -> None:
        if isinstance(effect, Submission):
            host = running.reception.peer[0]
            future = self._thread.submit(self._store, effect.board_id, effect.data, host)
            running.judged = future
            self._judging[future] = running
            future.add_done_callback(
                lambda done: self._ports.loop.call_soon_threadsafe(self._on_judged, done)
            )

    def _store(self, board_id: str, data: bytes, host: str) -> State | None:
        """In the thread. Raises PeerError."""
        try:
            return self._current_fleet().accept(board_id, data, host)
        except PeerError as error:
            if error.reason == "state_failed":
                self._forget_fleet()  # it is opened anew next time, perhaps somebody put it right
            raise
        except Exception as error:  # whatever a strange file leads to: the board is told, and it is counted
            self._forget_fleet()
            raise PeerError("state_failed", ERR_DISK_FULL) from error

    def _current_fleet(self) -> Fleet:
        """What lies at the path now: nothing is stored in a file that somebody has removed or replaced."""
        try:
            status = self._path.stat()
        except FileNotFoundError as error:
            self._forget_fleet()
            raise PeerError("unknown_board", ERR_ACCESS) from error
        if self._fleet is None or self._opened != (status.st_dev, status.st_ino):
            self._forget_fleet()
            try:
                self._fleet = Fleet(self._path)
            except OperatorError as error:
                raise PeerError("state_failed", ERR_DISK_FULL) from error
            self._opened = (status.st_dev, status.st_ino)
        return self._fleet

    def _forget_fleet(self) -> None:
        if self._fleet is not None:
            with suppress(sqlite3.Error):
                self._fleet.close()
            self._fleet = None

    def _on_judged(self, done: Future[State | None]) -> None:
        running = self._judging.pop(done, None)
        if running is None or done.cancelled():
            return
        now = self._ports.loop.time()
        try:
            stored = done.result()
        except PeerError as error:
            running.reception.refuse(error, now)
        else:
            if stored is not None:
                self._ports.report.event(_event(stored))
            running.reception.stored(now)
        running.endpoint.settle()

    def _evict(self, running: _Running) -> None:
        running.reception.evict(self._ports.loop.time())
        running.endpoint.settle()


def _event(state: State) -> ReportStored:
    fields = dataclasses.asdict(state)
    del fields["reported_at"]
    return ReportStored(**fields)
