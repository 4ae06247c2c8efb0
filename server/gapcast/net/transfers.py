"""The unicast transfers of a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gapcast.net.endpoint import Endpoint
from gapcast.net.ports import Ports
from gapcast.net.slots import Slots
from gapcast.protocol.credit import ANSWER_RATIO, PerSecond, Recent
from gapcast.protocol.events import Dropped
from gapcast.protocol.negotiate import Request, UnicastPlan, plan_unicast
from gapcast.protocol.types import Address
from gapcast.protocol.unicast import Transfer
from gapcast.store import Opened
from gapcast_core.errors import PeerError
from gapcast_core.wire import ERR_OPTION

MAX_TRANSFERS = 256  # forged RRQs: each costs a socket, and its content up to 64 MiB (shared)
MAX_PER_HOST = 64  # one host that opens ports without end; a whole bench may sit behind one address
# DATA 1 as the answer to a forged RRQ without options: RFC 1350 knows no other, 516 bytes for some 20.
PLAIN_PER_S = 100
PLAIN_PER_HOST_PER_S = 10
# Hosts that took a transfer to its end, or are at it, do use this server: forgeries in other names must not
# stop them. What is forged in their names has limits of its own: 103 kB/s to one of them at most.
PROVEN_PER_S = 2000
PROVEN_PER_HOST_PER_S = 200
MAX_PROVEN_HOSTS = 1024  # real hosts, each with an address of its own; the one heard longest ago is forgotten
PROVEN_S = 600.0
LIMIT_TOLD_EVERY_S = 60.0


@dataclass(slots=True)
class _Running:
    transfer: Transfer
    endpoint: Endpoint
    request: Request
    asked: str
    plan: UnicastPlan

    @property
    def verified(self) -> bool:
        return self.transfer.verified

    @property
    def finished(self) -> bool:
        """Its end is never waited for here."""
        return False


class Transfers:
    """By the peer's address. require_options: refuse what only DATA could answer."""

    def __init__(self, ports: Ports, require_options: bool) -> None:
        self._ports = ports
        self._require_options = require_options
        self._slots: Slots[_Running] = Slots(MAX_TRANSFERS, MAX_PER_HOST, self._evict)
        self._plain = PerSecond(PLAIN_PER_S, PLAIN_PER_HOST_PER_S)
        self._plain_proven = PerSecond(PROVEN_PER_S, PROVEN_PER_HOST_PER_S)
        self._proven = Recent(MAX_PROVEN_HOSTS, PROVEN_S)
        self._limit_told_at = float("-inf")

    def is_repeated(self, request: Request, source: Address, asked: str) -> bool:
        """The RRQ of a running transfer again; another RRQ from its port ends that transfer."""
        found = self._slots.get(source)
        if found is None:
            return False
        now = self._ports.loop.time()
        if found.asked == asked and found.request.asks_same(request):
            if found.verified or self._may_answer(found.plan, source, now):
                found.transfer.repeat_offer(now, request.received_bytes)
                found.endpoint.settle()
            return True
        found.transfer.replace(now)
        found.endpoint.settle()
        return False

    def open(
        self, request: Request, opened: Opened, source: Address, asked: str
    ) -> tuple[Transfer, Endpoint] | None:
        """A new transfer, whose endpoint the caller settles; None: not answered. Raises PeerError."""
        now = self._ports.loop.time()
        plan = plan_unicast(request, opened.content.size)
        if not self._may_answer(plan, source, now):
            return None
        self._slots.make_room(source)
        sock = self._ports.open_socket(asked)
        transfer = Transfer(source, request.name, plan, opened.content, now)

        def on_closed(_endpoint: Endpoint) -> None:
            self._slots.remove(source, running)
            if transfer.verified:
                self._proven.note(source[0], self._ports.loop.time())

        endpoint = self._ports.endpoint(sock, transfer, None, on_closed)
        running = _Running(transfer, endpoint, request, asked, plan)
        self._slots.add(source, running)
        return transfer, endpoint

    def close(self) -> None:
        """Nobody is told: clients go on by themselves when the server is back."""
        for running in self._slots.all():
            running.endpoint.close()

    def _may_answer(self, plan: UnicastPlan, source: Address, now: float) -> bool:
        """Whether DATA may be the answer to this request: it is many times longer. Raises PeerError."""
        if plan.oack is not None or plan.first_bytes <= plan.received_bytes * ANSWER_RATIO:
            return True
        if self._require_options:
            raise PeerError("no_options", ERR_OPTION)
        host = source[0]
        proven = self._proven.has(host, now) or self._slots.has_proven(host)
        if (self._plain_proven if proven else self._plain).may(host, now):
            return True
        self._ports.report.event(Dropped("plain_limited"))
        if now - self._limit_told_at >= LIMIT_TOLD_EVERY_S:
            self._limit_told_at = now
            self._ports.report.line("plain_limited", {"address": host})
        return False

    def _evict(self, running: _Running) -> None:
        self._ports.report.event(Dropped("transfer_evicted"))
        running.transfer.evict(self._ports.loop.time())
        running.endpoint.settle()


def toucher(touch: Callable[[float], None], transfer: Transfer, every_s: float) -> Callable[[float], None]:
    """Calls `touch` when a transfer with a proven peer hears something, at most once in `every_s` seconds."""
    touched_at = float("-inf")

    def heard(now: float) -> None:
        nonlocal touched_at
        if transfer.verified and now - touched_at >= every_s:
            touched_at = now
            touch(now)

    return heard
