"""Sending a report: bounded, repeated within the bound, and answered only by the server's own TID."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from boot_world import World

from gapcast_core import report, wire

DATAGRAM = report.pack_report(bytes(32), "board-1", 1, report.FAILED, bytes(16), "1.0", "SIM", 0, "why")
SLACK_MS = 400  # one read timeout of 100 ms, and a busy machine

Talk = Callable[["Receiver", bytes, Any], None]


class Receiver:
    """A server's main port and one TID; `talk` answers each request, `data` each DATA."""

    def __init__(self, talk: Talk, data: Talk) -> None:
        self.requests: list[tuple[bytes, Any]] = []
        self.blocks: list[tuple[bytes, Any]] = []
        self._talk = talk
        self._data = data
        self._stop = threading.Event()
        self.main, self.tid, self.other = (self._socket() for _ in range(3))
        self.server = ("127.0.0.1", int(self.main.getsockname()[1]))

    def _socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.01)
        return sock

    @contextmanager
    def running(self) -> Iterator[Receiver]:
        threads = [
            threading.Thread(target=self._serve, args=(sock, seen, answer), daemon=True)
            for sock, seen, answer in (
                (self.main, self.requests, self._talk),
                (self.tid, self.blocks, self._data),
            )
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(5)
            for sock in (self.main, self.tid, self.other):
                sock.close()

    def _serve(self, sock: socket.socket, seen: list[tuple[bytes, Any]], answer: Talk) -> None:
        while not self._stop.is_set():
            try:
                data, source = sock.recvfrom(600)
            except (TimeoutError, ConnectionRefusedError):
                continue
            seen.append((data, source))
            answer(self, data, source)


def nothing(_receiver: Receiver, _data: bytes, _peer: Any) -> None:
    pass


def ack_0(receiver: Receiver, _data: bytes, peer: Any) -> None:
    receiver.tid.sendto(wire.pack_ack(0), peer)


def ack_1(receiver: Receiver, _data: bytes, peer: Any) -> None:
    receiver.tid.sendto(wire.pack_ack(1), peer)


def send(world: World, server: Any, limit_ms: int = 3000, board_id: str = "board-1") -> tuple[bool, float]:
    """(what send() said, milliseconds it took)."""
    from importlib import import_module

    reporting: Any = import_module("gapcast_boot.reporting")
    started = time.monotonic()
    said = reporting.send(server, "127.0.0.1", world.port.Clock(), board_id, DATAGRAM, limit_ms)
    return said, (time.monotonic() - started) * 1000


def test_it_is_sent_once_and_acknowledged(world: World) -> None:
    with Receiver(ack_0, ack_1).running() as receiver:
        assert send(world, receiver.server)[0] is True
    assert [data for data, _ in receiver.requests] == [b"\0\2report/board-1\0octet\0"]
    assert [data for data, _ in receiver.blocks] == [b"\0\3\0\1" + DATAGRAM]


def test_a_server_that_is_silent_costs_the_limit_and_few_datagrams(world: World) -> None:
    with Receiver(nothing, nothing).running() as receiver:
        said, took_ms = send(world, receiver.server, limit_ms=800)
    assert said is False
    assert took_ms < 800 + SLACK_MS
    assert 2 <= len(receiver.requests) <= 5


def test_nobody_listens_there(world: World) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        server = sock.getsockname()
    said, took_ms = send(world, server, limit_ms=500)
    assert said is False
    assert took_ms < 500 + SLACK_MS


def dropping(count: int, answer: Talk) -> Talk:
    left = [count]

    def talk(receiver: Receiver, data: bytes, peer: Any) -> None:
        if left[0]:
            left[0] -= 1
        else:
            answer(receiver, data, peer)

    return talk


@pytest.mark.parametrize(("first", "second"), [(1, 0), (0, 1), (2, 2), (3, 3)])
def test_lost_answers_are_waited_for_again(world: World, first: int, second: int) -> None:
    """The whole exchange starts again from another port when the server stays silent in it."""
    with Receiver(dropping(first, ack_0), dropping(second, ack_1)).running() as receiver:
        assert send(world, receiver.server, limit_ms=6000)[0] is True
    assert len(receiver.blocks) == second + 1
    assert {data for data, _ in receiver.blocks} == {b"\0\3\0\1" + DATAGRAM}
    ports = {peer for _, peer in receiver.requests}
    assert len(ports) == 1 + (first >= 3) + (second >= 3)


@pytest.mark.parametrize("code", [wire.ERR_ACCESS, wire.ERR_DISK_FULL])
def test_a_refusal_ends_it_at_once(world: World, code: int) -> None:
    def refuse(receiver: Receiver, _data: bytes, peer: Any) -> None:
        receiver.main.sendto(wire.pack_error(code, "no"), peer)

    def refuse_data(receiver: Receiver, _data: bytes, peer: Any) -> None:
        receiver.tid.sendto(wire.pack_error(code, "no"), peer)

    for receiver in (Receiver(refuse, nothing), Receiver(ack_0, refuse_data)):
        with receiver.running():
            said, took_ms = send(world, receiver.server, limit_ms=5000)
        assert said is False
        assert took_ms < 1000


def test_a_busy_server_is_asked_again_after_a_pause(world: World) -> None:
    """ERROR 0 says no more than that there was no place: it comes from the main port."""
    when: list[float] = []

    def busy(receiver: Receiver, _data: bytes, peer: Any) -> None:
        when.append(time.monotonic())
        if len(when) < 4:
            receiver.main.sendto(wire.pack_error(wire.ERR_UNDEFINED, "busy"), peer)
        else:
            ack_0(receiver, b"", peer)

    with Receiver(busy, ack_1).running() as receiver:
        assert send(world, receiver.server, limit_ms=5000)[0] is True
    assert len({peer for _, peer in receiver.requests}) == 4
    assert all(later - earlier >= 0.045 for earlier, later in itertools.pairwise(when))

    def always(receiver: Receiver, _data: bytes, peer: Any) -> None:
        receiver.main.sendto(wire.pack_error(wire.ERR_UNDEFINED, "busy"), peer)

    with Receiver(always, nothing).running() as receiver:
        said, took_ms = send(world, receiver.server, limit_ms=600)
    assert said is False
    assert took_ms < 600 + SLACK_MS


def test_an_unknown_tid_starts_it_again(world: World) -> None:
    """The server was started anew between WRQ and DATA."""

    def forgotten(receiver: Receiver, data: bytes, peer: Any) -> None:
        if len(receiver.blocks) == 1:
            receiver.tid.sendto(wire.pack_error(wire.ERR_UNKNOWN_TID, "who?"), peer)
        else:
            ack_1(receiver, data, peer)

    with Receiver(ack_0, forgotten).running() as receiver:
        assert send(world, receiver.server)[0] is True


def test_strangers_are_not_believed(world: World) -> None:
    """Neither another port's ACK 1, nor another host's ACK 0, nor block numbers of another transfer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.9", 0))

        def talk(receiver: Receiver, data: bytes, peer: Any) -> None:
            stranger.sendto(wire.pack_ack(0), peer)
            stranger.sendto(wire.pack_error(2, "no"), peer)
            receiver.tid.sendto(b"\0\4", peer)
            receiver.tid.sendto(wire.pack_ack(7), peer)
            receiver.tid.sendto(wire.pack_oack([("blksize", "512")]), peer)

        def junk(receiver: Receiver, data: bytes, peer: Any) -> None:
            receiver.other.sendto(wire.pack_ack(1), peer)
            receiver.other.sendto(wire.pack_error(2, "no"), peer)
            stranger.sendto(wire.pack_ack(1), peer)

        with Receiver(talk, nothing).running() as receiver:
            said, took_ms = send(world, receiver.server, limit_ms=700)
        assert said is False
        assert took_ms < 700 + SLACK_MS
        assert not receiver.blocks
        with Receiver(ack_0, junk).running() as receiver:
            said, took_ms = send(world, receiver.server, limit_ms=700)
        assert said is False
        assert receiver.blocks


def test_empty_datagrams_deafen_one_socket_only(world: World) -> None:
    """An ESP32's socket hears nothing more after one: a new socket is opened, not for ever."""

    def empty(receiver: Receiver, data: bytes, peer: Any) -> None:
        if len(receiver.requests) < 3:
            receiver.tid.sendto(b"", peer)
        else:
            ack_0(receiver, data, peer)

    with Receiver(empty, ack_1).running() as receiver:
        assert send(world, receiver.server)[0] is True
    assert len(receiver.requests) == 3

    def always(receiver: Receiver, _data: bytes, peer: Any) -> None:
        receiver.tid.sendto(b"", peer)

    with Receiver(always, nothing).running() as receiver:
        assert send(world, receiver.server, limit_ms=5000)[0] is False
    assert len(receiver.requests) <= 24


def test_a_flood_of_junk_neither_holds_it_nor_is_answered_in_kind(world: World) -> None:
    def flood(receiver: Receiver, _data: bytes, peer: Any) -> None:
        for _ in range(2000):
            receiver.tid.sendto(b"junkjunk", peer)

    with Receiver(flood, nothing).running() as receiver:
        said, took_ms = send(world, receiver.server, limit_ms=600)
    assert said is False
    assert took_ms < 600 + SLACK_MS
    assert len(receiver.requests) <= 24


def test_an_id_that_no_server_takes_is_not_sent(world: World) -> None:
    with Receiver(ack_0, ack_1).running() as receiver:
        assert send(world, receiver.server, board_id="../x")[0] is False
    assert not receiver.requests
