"""A network in virtual time: a server made of the real machines, lossy links, scripted clients.

Nothing sleeps; every run with the same seed is the same run.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gapcast.protocol.events import Event
from gapcast.protocol.multicast import Session
from gapcast.protocol.negotiate import Request, can_multicast, plan_join, plan_unicast, read_request
from gapcast.protocol.pacer import Pacer
from gapcast.protocol.settings import Settings
from gapcast.protocol.types import Address, Datagram, Machine
from gapcast.protocol.unicast import Transfer
from gapcast_core.errors import PeerError

MAIN: Address = ("10.0.0.1", 69)
GROUP: Address = ("239.192.7.7", 20007)


class Bytes:
    """A types.Content of bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count]


@dataclass
class Link:
    """What happens to a datagram on its way to one client. delay: from, to, in seconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay: tuple[float, float] = (0.0005, 0.0005)
    drop: Callable[[bytes], bool] = field(default=lambda data: False)


class Net:
    """The clock, the wire, and who hears what."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 100.0
        self.random = random.Random(seed)
        self.sent: list[tuple[float, Address, Address, bytes]] = []  # time, from, to, data
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._peers: dict[Address, tuple[Callable[[bytes, Address], None], Link]] = {}
        self._groups: dict[Address, list[Address]] = {}
        self.unreachable: Callable[[Address, Address], None] = lambda tid, peer: None

    def at(self, when: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, call))

    def attach(
        self, address: Address, receive: Callable[[bytes, Address], None], link: Link | None = None
    ) -> None:
        self._peers[address] = (receive, link or Link())

    def detach(self, address: Address) -> None:
        self._peers.pop(address, None)
        for members in self._groups.values():
            if address in members:
                members.remove(address)

    def join(self, group: Address, address: Address) -> None:
        members = self._groups.setdefault(group, [])
        if address not in members:
            members.append(address)

    def send(self, data: bytes, source: Address, to: Address) -> None:
        self.sent.append((self.now, source, to, data))
        targets = self._groups.get(to, []) if to[0].startswith("239.") else [to]
        for target in list(targets):
            self._carry(data, source, target)

    def _carry(self, data: bytes, source: Address, target: Address) -> None:
        if target not in self._peers:
            self.at(self.now + 0.0005, lambda: self.unreachable(source, target))
            return
        link = self._peers[target][1]
        if link.drop(data) or self.random.random() < link.loss:
            return
        copies = 2 if self.random.random() < link.duplicate else 1
        for _ in range(copies):
            when = self.now + self.random.uniform(*link.delay)
            self.at(when, lambda: self._deliver(data, source, target))

    def _deliver(self, data: bytes, source: Address, target: Address) -> None:
        if target in self._peers:
            self._peers[target][0](data, source)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until `until()`, or for so long at most."""
        end = self.now + seconds
        steps = 0
        while self._heap and self._heap[0][0] <= end and not until():
            self.now, _, call = heapq.heappop(self._heap)
            call()
            steps += 1
            assert steps < 3_000_000, "time stands still"
        if not until():
            self.now = end


class Tid:
    """One machine at its own port: what net/endpoint.py does, without a socket."""

    def __init__(self, net: Net, address: Address, machine: Machine, pacer: Pacer) -> None:
        self.net = net
        self.address = address
        self.machine = machine
        self.events: list[Any] = []
        self._pacer = pacer
        self._wake_at: float | None = None
        self.on_heard: Callable[[], None] = lambda: None
        net.attach(address, self.receive)

    def receive(self, data: bytes, source: Address) -> None:
        self.machine.receive(data, source, self.net.now)
        self.on_heard()
        self.settle()

    def settle(self) -> None:
        now = self.net.now
        for effect in self.machine.take():
            if isinstance(effect, Datagram):
                self.net.send(effect.data, self.address, effect.to)
            elif isinstance(effect, Event):
                self.events.append(effect)
        wake = self.machine.deadline()
        while self.machine.wants_data(now):
            if not self._pacer.may_send(now):
                wake = min(self._pacer.next_at(), wake) if wake is not None else self._pacer.next_at()
                break
            datagram = self.machine.next_data(now)
            if datagram is None:
                self.settle()
                return
            self._pacer.spend(len(datagram.data), now)
            self.net.send(datagram.data, self.address, datagram.to)
        else:
            wake = self.machine.deadline()
        if self.machine.closed:
            self.net.detach(self.address)
        elif wake is not None and (self._wake_at is None or wake < self._wake_at):
            self._wake_at = max(wake, now)
            self.net.at(self._wake_at, self._wake)

    def _wake(self) -> None:
        self._wake_at = None
        if self.machine.closed:
            return
        deadline = self.machine.deadline()
        if deadline is not None and deadline <= self.net.now:
            self.machine.on_time(self.net.now)
        self.settle()

    def named(self, kind: str) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if event.kind == kind]


class VirtualServer:
    """One file behind MAIN: what net/server.py does, in virtual time."""

    def __init__(
        self, net: Net, data: bytes, rate_bps: float = 100e6, settings: Settings | None = None
    ) -> None:
        self.net = net
        self.content = Bytes(data)
        self.tids: list[Tid] = []
        self.session: Tid | None = None
        self._pacer = Pacer(rate_bps)
        self._settings = settings or Settings()
        self._port = 40000
        self._transfers: dict[Address, tuple[Request, Tid]] = {}
        self._sessions: dict[int, Tid] = {}  # by blksize
        net.attach(MAIN, self._on_request)
        net.unreachable = self._on_unreachable

    def _on_request(self, data: bytes, source: Address) -> None:
        try:
            request = read_request(data)
        except PeerError:
            return  # an ERROR of the main port: net/server.py
        now = self.net.now
        if can_multicast(request, self.content.size):
            session = self._session_for(request.blksize)
            assert isinstance(session.machine, Session)
            session.machine.join(source, plan_join(request, self.content.size), now)
            session.settle()
            return
        found = self._transfers.get(source)
        if found is not None and found[0] == request and not found[1].machine.closed:
            assert isinstance(found[1].machine, Transfer)
            found[1].machine.repeat_offer(now, len(data))
            found[1].settle()
            return
        try:
            plan = plan_unicast(request, self.content.size)
        except PeerError:
            return
        transfer = Transfer(source, "f", plan, self.content, now)
        tid = self._tid(transfer)
        self._transfers[source] = (request, tid)
        if plan.ranges is not None:
            tid.on_heard = lambda: self._touch(transfer)
        tid.settle()

    def _session_for(self, blksize: int) -> Tid:
        found = self._sessions.get(blksize)
        if found is None or found.machine.closed or getattr(found.machine, "ending", False):
            group = (GROUP[0], GROUP[1] + blksize - 1024)
            machine = Session("f", self.content, blksize, group, self._settings, self.net.now)
            self.session = found = self._sessions[blksize] = self._tid(machine)
        return found

    def _touch(self, transfer: Transfer) -> None:
        session = self._sessions.get(1024)
        if session is not None and transfer.verified:
            assert isinstance(session.machine, Session)
            session.machine.touch(transfer.peer[0], self.net.now)
            session.settle()

    def _tid(self, machine: Machine) -> Tid:
        self._port += 1
        tid = Tid(self.net, (MAIN[0], self._port), machine, self._pacer)
        self.tids.append(tid)
        return tid

    def _on_unreachable(self, address: Address, peer: Address) -> None:
        for tid in self.tids:
            if tid.address == address and not tid.machine.closed:
                tid.machine.refused(peer, self.net.now)
                tid.settle()

    def events(self, kind: str) -> list[Any]:
        """The events of one kind of all machines."""
        return [event for tid in self.tids for event in tid.events if event.kind == kind]

    def data_sent(self, number: int | None = None) -> list[tuple[float, int]]:
        """(time, block) of the DATA sent, or of those with that block number."""
        found = [
            (when, data[2] << 8 | data[3])
            for when, source, _to, data in self.net.sent
            if source[0] == MAIN[0] and data[1] == 3
        ]
        return [item for item in found if number is None or item[1] == number]
