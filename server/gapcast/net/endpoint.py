"""One TID: a socket, the machine behind it, and its timer."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from gapcast.net.pump import Flow, Pump
from gapcast.net.report import Report
from gapcast.net.udp import MAX_DATAGRAM_BYTES, read_icmp
from gapcast.protocol.events import Dropped, Event
from gapcast.protocol.groups import repair_group
from gapcast.protocol.timing import FLOOR_S
from gapcast.protocol.types import Address, Datagram, Machine

DATAGRAMS_PER_CALLBACK = 16
WATCH_S = 20e-6  # for a quick ACK
WATCH_LONE_S = 80e-6  # a LAN's round trip and a client's work for one block
_ICMP_PER_CALLBACK = 16
_NO_ROOM = (errno.ENOBUFS, errno.EAGAIN, errno.EINTR)


class Endpoint:
    """Feeds a machine and sends what it says. `on_closed` is called once, after the socket is closed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        machine: Machine,
        group: Address | None,
        pump: Pump,
        report: Report,
        on_closed: Callable[[Endpoint], None],
    ) -> None:
        self.machine = machine
        self._loop = loop
        self._sock = sock
        self._groups = () if group is None else (group, repair_group(group))
        self._pump = pump
        self._report = report
        self._on_closed = on_closed
        self._flow = Flow(machine, self._send, self.settle)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._open = True
        self.on_heard: Callable[[float], None] | None = None
        self.on_effect: Callable[[object], None] | None = None  # neither datagram nor event
        pump.endpoints += 1
        loop.add_reader(sock.fileno(), self._on_readable)

    def settle(self) -> None:
        """After any call of the machine: send, report, wake the pump, arm the timer, or close."""
        self._settle(self._loop.time())

    def _settle(self, now: float) -> None:
        if not self._open:
            return
        self._drain()
        if not self.machine.closed:
            self._pump.ready(self._flow, now)
        if self.machine.closed:
            self._drain()
            self.close()
        elif self._timer_at > now + FLOOR_S or not self.machine.lone:
            self._follow_deadline()  # else the timer is early enough, see Machine.lone

    def close(self) -> None:
        """Give the TID up."""
        if not self._open:
            return
        self._open = False
        self._pump.endpoints -= 1
        self._loop.remove_reader(self._sock.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._sock.close()
        self._on_closed(self)

    def _follow_deadline(self) -> None:
        """A timer that fires too early is armed again: cheaper than cancelling one for each datagram."""
        deadline = self.machine.deadline()
        if deadline is not None and deadline < self._timer_at:
            self._arm(deadline)

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        now = self._loop.time()
        deadline = self.machine.deadline()
        if deadline is not None and deadline <= now:
            self.machine.on_time(now)
        self._settle(now)

    def _on_readable(self) -> None:
        """Datagrams, at most DATAGRAMS_PER_CALLBACK: then the other sockets have their turn."""
        if not self._receive_one():
            self._read_errors()  # readable without a datagram: the error queue is not empty
            return
        for _ in range(DATAGRAMS_PER_CALLBACK - 1):
            if not self._receive_one() and not self._watch():
                return

    def _watch(self) -> bool:
        """Look for the ACK of a lock-step client before the event loop sleeps. True: a datagram came.

        On a LAN it comes within tens of microseconds, and to sleep until then costs more. When others are
        served the look is short: the time is theirs. DATA that the pacer holds back has no ACK.
        """
        if not self._open or self._flow.queued or not self.machine.lock_step:
            return False
        is_lone = self.machine.lone and self._pump.endpoints == 1
        time = self._loop.time
        until = time() + (WATCH_LONE_S if is_lone else WATCH_S)
        while time() < until:
            if self._receive_one():
                return True
        return False

    def _receive_one(self) -> bool:
        if not self._open:
            return False
        try:
            data, source = self._sock.recvfrom(MAX_DATAGRAM_BYTES)
        except OSError:  # nothing there, or the error of a datagram sent before, which is queued too
            return False
        now = self._loop.time()
        self.machine.receive(data, source, now)
        if self.on_heard is not None:
            self.on_heard(now)
        self._settle(now)
        return True

    def _read_errors(self) -> None:
        """ICMP port unreachable, for one of our datagrams: that client has left."""
        for _ in range(_ICMP_PER_CALLBACK):
            if not self._open:
                return
            peer = read_icmp(self._sock)
            if peer is None:
                return
            if peer[1]:
                self._report.event(Dropped("icmp_refused"))
                self.machine.refused(peer, self._loop.time())
                self.settle()
            else:
                self._report.event(Dropped("icmp_other"))

    def _drain(self) -> None:
        for effect in self.machine.take():
            if isinstance(effect, Datagram):
                self._send(effect)
            elif isinstance(effect, Event):
                self._report.event(effect)
            elif self.on_effect is not None:
                self.on_effect(effect)

    def _send(self, datagram: Datagram) -> None:
        """One datagram; what the kernel does not take is lost like on the air, and repeated by a timer."""
        for _ in range(2):
            try:
                self._sock.sendto(*datagram)
            except ConnectionRefusedError:
                continue  # the error of an earlier datagram; it is in the error queue too
            except OSError as error:
                no_room = error.errno in _NO_ROOM
                self._report.event(Dropped("send_no_room" if no_room else "send_failed"))
                if no_room:
                    self._pump.pause()  # any other error is of this peer alone
                return
            self._report.air.count(len(datagram.data), datagram.to in self._groups)
            return
        self._report.event(Dropped("send_failed"))
