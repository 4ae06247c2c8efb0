"""Who sends DATA next: one pacer for all, one datagram a flow in turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from gapcast.protocol.pacer import BURST_DATAGRAMS, Pacer
from gapcast.protocol.types import Datagram, Machine

BREATH_S = 0.001  # between two bursts to boards, whatever the rate
_ROUND = 32  # datagrams at most before the event loop reads sockets again


class Flow:
    """A machine that may have DATA, and the way out for it."""

    def __init__(
        self, machine: Machine, send: Callable[[Datagram], None], settle: Callable[[], None]
    ) -> None:
        self.machine = machine
        self.send = send
        self.settle = settle  # to be called after DATA of a round: the deadline moved
        self.queued = False
        self.burst = 0  # DATA sent back to back
        self.burst_at = 0.0  # when the last of them left


class Pump:
    """Round robin over the flows with DATA to send, as fast as the pacer lets them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pacer: Pacer) -> None:
        self._loop = loop
        self._pacer = pacer
        self._ready: deque[Flow] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        self.endpoints = 0  # how many share this pump

    def ready(self, flow: Flow, now: float) -> None:
        """`flow` may have DATA now."""
        if not flow.queued:
            if not (self._ready or self._running or flow.machine.gentle) and self._pacer.may_send(now):
                self._send_one(flow, now)  # the short way of a lone lock-step transfer
            elif flow.machine.wants_data(now):
                flow.queued = True
                self._ready.append(flow)
        if not self._ready or self._running:
            return
        # A timer of the pacer is waited for; one that lets boards breathe does not hold up the others.
        if self._pacer.may_send(now):
            self._run()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._pacer.next_at(), self._wake)

    def pause(self) -> None:
        """The kernel has no room (ENOBUFS): nothing more for a moment."""
        self._pacer.hold_until(self._loop.time() + BREATH_S)

    def stop(self) -> None:
        """Send nothing more."""
        self._ready.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        self._timer = None
        self._run()

    def _run(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._running = True
        try:
            due = self._send_round()
        finally:
            self._running = False
        if due is not None:
            self._timer = self._loop.call_at(due, self._wake)

    def _send_round(self) -> float | None:
        """Send what may leave now; when to come back, or None when nothing is left."""
        resting = 0  # flows in a row that are out of breath
        for _ in range(_ROUND):
            if not self._ready:
                return None
            now = self._loop.time()
            if not self._pacer.may_send(now):
                return self._pacer.next_at()
            flow = self._ready.popleft()
            if self._is_out_of_breath(flow, now):
                self._ready.append(flow)
                resting += 1
                if resting >= len(self._ready):
                    return now + BREATH_S
                continue
            resting = 0
            self._send_one(flow, now)
            flow.settle()
        return self._loop.time()

    def _is_out_of_breath(self, flow: Flow, now: float) -> bool:
        """Boards queue six datagrams: four back to back, then a pause, at any rate."""
        if not flow.machine.gentle:
            return False
        if now - flow.burst_at >= BREATH_S:
            flow.burst = 0
        return flow.burst >= BURST_DATAGRAMS

    def _send_one(self, flow: Flow, now: float) -> None:
        datagram = flow.machine.next_data(now)
        if datagram is not None:
            flow.burst += 1
            flow.burst_at = now
            self._pacer.spend(len(datagram.data), now)
            flow.send(datagram)
        flow.queued = flow.machine.wants_data(now)
        if flow.queued:
            self._ready.append(flow)
