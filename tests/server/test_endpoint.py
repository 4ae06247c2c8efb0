"""The shell of one TID, with a socket and a clock of our own: when it looks, when it waits."""

from __future__ import annotations

import asyncio
import errno
import io
import itertools
from collections.abc import Callable
from typing import Any, cast

import pytest

from gapcast.content import BytesContent
from gapcast.net.endpoint import DATAGRAMS_PER_CALLBACK, WATCH_LONE_S, WATCH_S, Endpoint
from gapcast.net.pump import Pump
from gapcast.net.report import Report
from gapcast.protocol.multicast import Session
from gapcast.protocol.negotiate import plan_join, plan_unicast, read_request
from gapcast.protocol.pacer import Pacer
from gapcast.protocol.settings import Settings
from gapcast.protocol.types import Datagram
from gapcast.protocol.unicast import Transfer
from gapcast_core import wire

CLIENT = ("10.0.0.2", 5000)
GROUP = ("239.192.7.7", 20007)
BLKSIZE = 512
LOOK_S = 1e-6  # every look at the clock takes this long
CONTENT = BytesContent(bytes(200 * BLKSIZE))


class Handle:
    """A timer."""

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """A clock that moves when it is looked at, and timers that a test fires."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Handle] = []

    def time(self) -> float:
        self.now += LOOK_S
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> Handle:
        self.timers.append(Handle(when, call))
        return self.timers[-1]

    def add_reader(self, *_what: object) -> None:
        pass

    remove_reader = add_reader

    def wait(self, until: float) -> None:
        """Let time pass, and every timer fire."""
        while self.pending() and self.pending()[0].when <= until:
            timer = self.pending()[0]
            self.timers.remove(timer)
            self.now = max(self.now, timer.when)
            timer.call()
        self.now = max(self.now, until)

    def pending(self) -> list[Handle]:
        return sorted((timer for timer in self.timers if not timer.cancelled), key=lambda timer: timer.when)


class Socket:
    """What arrives, and what was sent. answer: what the client makes of a datagram, at once."""

    def __init__(self, answer: Callable[[bytes], bytes | None] = lambda _data: None) -> None:
        self.arrived: list[bytes] = []
        self.sent: list[bytes] = []
        self.looks = 0
        self._answer = answer

    def recvfrom(self, _count: int) -> tuple[bytes, tuple[str, int]]:
        self.looks += 1
        if not self.arrived:
            raise BlockingIOError
        return self.arrived.pop(0), CLIENT

    def sendto(self, data: bytes, _to: object) -> None:
        self.sent.append(data)
        answer = self._answer(data)
        if answer is not None:
            self.arrived.append(answer)

    def recvmsg(self, *_what: object) -> object:
        raise BlockingIOError

    def fileno(self) -> int:
        return 7

    def close(self) -> None:
        pass


class Bench:
    """One endpoint of a stock client, by `multicast` or not."""

    def __init__(self, sock: Socket, *pairs: tuple[str, str], rate: float | None = None) -> None:
        self.loop = Loop()
        self.sock = sock
        self.pump = Pump(cast(asyncio.AbstractEventLoop, self.loop), Pacer(rate))
        self.report = Report(True, io.StringIO())
        self.request = read_request(wire.pack_request(wire.OP_RRQ, "some.file", list(pairs)))
        multicast = any(name == "multicast" for name, _value in pairs)
        self.machine: Session | Transfer
        if multicast:
            self.machine = Session("a", CONTENT, BLKSIZE, GROUP, Settings(), self.loop.now)
            self.machine.join(CLIENT, plan_join(self.request, CONTENT.size), self.loop.now)
        else:
            plan = plan_unicast(self.request, CONTENT.size)
            self.machine = Transfer(CLIENT, "a", plan, CONTENT, self.loop.now)
        self.endpoint = self.open(sock)
        self.endpoint.settle()

    def open(self, sock: Socket) -> Endpoint:
        loop = cast(asyncio.AbstractEventLoop, self.loop)
        return Endpoint(
            loop, cast(Any, sock), self.machine, GROUP, self.pump, self.report, lambda _endpoint: None
        )

    def hear(self, data: bytes) -> int:
        """`data` arrives; how often the socket was looked at."""
        before = self.sock.looks
        self.sock.arrived.append(data)
        self.endpoint._on_readable()
        return self.sock.looks - before


KINDS = [[("multicast", "")], [("blksize", str(BLKSIZE))]]


@pytest.mark.parametrize("pairs", KINDS)
def test_the_ack_of_a_lone_client_is_watched_for_and_then_waited_for(pairs: list[tuple[str, str]]) -> None:
    bench = Bench(Socket(), *pairs)
    started = bench.loop.now
    looks = bench.hear(wire.pack_ack(0))
    assert bench.sock.sent[-1][:4] == b"\0\3\0\1"
    assert looks > 20
    assert WATCH_LONE_S <= bench.loop.now - started < WATCH_LONE_S * 1.2


@pytest.mark.parametrize("pairs", KINDS)
def test_a_quick_client_is_answered_without_the_event_loop_until_others_have_their_turn(
    pairs: list[tuple[str, str]],
) -> None:
    bench = Bench(
        Socket(lambda data: wire.pack_ack(data[2] << 8 | data[3]) if data[1] == 3 else None), *pairs
    )
    bench.hear(wire.pack_ack(0))
    assert len(bench.sock.sent) == 1 + DATAGRAMS_PER_CALLBACK  # the OACK


def test_a_look_is_short_while_others_are_there() -> None:
    bench = Bench(Socket(), ("multicast", ""))
    other = bench.open(Socket())
    assert bench.hear(wire.pack_ack(0)) < 2 + WATCH_S / LOOK_S
    other.close()
    assert bench.hear(wire.pack_ack(1)) > 2 + WATCH_S / LOOK_S


def test_the_listeners_of_a_session_need_the_time_themselves() -> None:
    bench = Bench(Socket(), ("multicast", ""))
    assert isinstance(bench.machine, Session)
    bench.machine.join(("10.0.0.3", 5000), plan_join(bench.request, CONTENT.size), bench.loop.now)
    bench.endpoint.settle()
    assert bench.hear(wire.pack_ack(0)) < 2 + WATCH_S / LOOK_S


def test_boards_are_not_watched_for() -> None:
    bench = Bench(Socket(), ("multicast", ""), ("ranges", ""))
    assert bench.machine.gentle
    assert bench.hear(wire.pack_ack(0)) == 2


def test_data_that_the_pacer_holds_back_has_no_ack() -> None:
    bench = Bench(Socket(), ("blksize", str(BLKSIZE)), rate=1e5)
    looks = [bench.hear(wire.pack_ack(number)) for number in range(5)]
    assert looks[0] > 20
    assert looks[4] == 2
    assert len(bench.sock.sent) == 1 + 4
    bench.loop.wait(bench.loop.now + 0.1)
    assert bench.sock.sent[5][:4] == b"\0\3\0\5"


def test_a_client_that_left_is_not_watched_for() -> None:
    bench = Bench(Socket(), ("blksize", str(BLKSIZE)))
    bench.hear(wire.pack_ack(0))
    assert bench.hear(wire.pack_error(0, "enough")) == 1
    assert bench.pump.endpoints == 0


@pytest.mark.parametrize("pairs", KINDS)
@pytest.mark.parametrize("blocks", [1, 2, 3, 50])
def test_a_timer_that_was_left_alone_is_never_late(pairs: list[tuple[str, str]], blocks: int) -> None:
    bench = Bench(Socket(), *pairs)
    for number in range(blocks):
        bench.loop.now += 0.0005
        bench.hear(wire.pack_ack(number))
        deadline = bench.machine.deadline()
        assert deadline is not None
        assert bench.loop.pending()[0].when <= deadline
        assert len(bench.loop.pending()) == 1
    sent = len(bench.sock.sent)
    assert deadline is not None
    bench.loop.wait(deadline - 0.0001)
    assert len(bench.sock.sent) == sent
    bench.loop.wait(deadline + 0.0001)
    assert bench.sock.sent[sent:] == [bench.sock.sent[sent - 1]]


def test_many_round_trips_arm_few_timers() -> None:
    bench = Bench(Socket(), ("multicast", ""))
    armed = itertools.count()
    call_at = bench.loop.call_at

    def counted(when: float, call: Callable[[], None]) -> Handle:
        next(armed)
        return call_at(when, call)

    bench.loop.call_at = counted  # type: ignore[method-assign]
    for number in range(100):
        bench.hear(wire.pack_ack(number))
    assert next(armed) <= 3


@pytest.mark.parametrize(("number", "pauses"), [(errno.EINVAL, 0), (errno.EPERM, 0), (errno.ENOBUFS, 1)])
def test_only_a_full_queue_holds_everybody_up(
    monkeypatch: pytest.MonkeyPatch, number: int, pauses: int
) -> None:
    sock = Socket()
    bench = Bench(sock)
    called: list[int] = []
    monkeypatch.setattr(bench.pump, "pause", lambda: called.append(1))

    def fail(*_what: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(sock, "sendto", fail)
    bench.endpoint._send(Datagram(b"", CLIENT))
    assert len(called) == pauses
