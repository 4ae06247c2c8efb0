"""Who gets a header by unicast, and who by a group: the whole server on loopback sockets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapcast.image.boards import chip_of_board
from gapcast.image.build import build_container
from gapcast.image.sample import build_sample
from gapcast.protocol.askers import CROWD
from gapcast.protocol.handout import IDLE_S
from gapcast_core import offer, options, wire

from .test_net import WAIT_S, Running, free_port

SHARED, PLAIN = offer.head_requests("fw.hdr", 1024)
CHIP = chip_of_board("SIM")
FLOOD = 600


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    container = build_container(build_sample(20_000, "1.0.0", CHIP, 1), "fw", "SIM", CHIP)
    (tmp_path / "fw.gap").write_bytes(container.data)
    running = Running(tmp_path, "--listen", "127.0.0.1", "--port", str(free_port()))
    yield running
    if running.process.poll() is None:
        running.stop()


@contextlib.contextmanager
def boards(count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for number, sock in enumerate(socks, 1):
            sock.bind((f"127.0.3.{number}", 0))
            sock.settimeout(WAIT_S)
        yield socks


def ask(
    socks: list[socket.socket], server: Running, request: bytes
) -> list[tuple[str | None, tuple[str, int]]]:
    """(the value of `multicast` in the OACK, TID) for each that asks now."""
    for sock in socks:
        sock.sendto(request, ("127.0.0.1", server.port))
    answers = [sock.recvfrom(2048) for sock in socks]
    return [(wire.option(wire.parse_oack(data), "multicast"), tid) for data, tid in answers]


def join(value: str, board: socket.socket) -> socket.socket:
    """A socket that hears that group."""
    group, port, _role = options.parse_multicast(value)
    heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    heard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    heard.bind((group, port))
    membership = socket.inet_aton(group) + socket.inet_aton(board.getsockname()[0])
    heard.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    heard.settimeout(WAIT_S)
    return heard


def test_one_alone_is_answered_at_once_and_without_a_group(server: Running) -> None:
    with boards(1) as socks:
        [(value, tid)] = ask(socks, server, SHARED)
        assert value is None
        socks[0].sendto(wire.pack_ack(0), tid)
        assert socks[0].recv(2048)[:4] == b"\0\3\0\1"


def test_from_the_fourth_on_a_crowd_gets_it_by_a_group(server: Running, tmp_path: Path) -> None:
    header = (tmp_path / "fw.gap").read_bytes()[:1024]
    with boards(10) as socks:
        answers = ask(socks, server, SHARED)
        assert [value is None for value, _tid in answers] == [True] * (CROWD - 1) + [False] * (11 - CROWD)
        value, tid = answers[-1]
        assert value is not None
        assert len(set(answers[CROWD - 1 :])) == 1, "one group and one TID for all"
        with join(value, socks[-1]) as heard:
            for sock in socks[CROWD - 1 :]:
                sock.sendto(wire.pack_ack(0), tid)
            assert heard.recv(2048) == wire.pack_data(1, header)
        for sock in socks[CROWD - 1 :]:
            sock.sendto(wire.pack_ack(1), tid)
        told = server.wait("handed_out")
        assert (told["joined"], told["complete"]) == (11 - CROWD, 11 - CROWD)


def test_the_same_request_with_and_without_multicast_has_one_answer(server: Running) -> None:
    with boards(1) as socks:
        [first] = ask(socks, server, SHARED)
        [again] = ask(socks, server, PLAIN)
        assert first == again


def test_one_of_a_crowd_that_asks_plainly_leaves_the_group(server: Running) -> None:
    with boards(CROWD) as socks:
        value, shared_tid = ask(socks, server, SHARED)[-1]
        assert value is not None
        [(value, tid)] = ask(socks[-1:], server, PLAIN)
        assert value is None
        assert tid != shared_tid
        socks[-1].sendto(wire.pack_ack(0), tid)
        assert socks[-1].recv(2048)[:4] == b"\0\3\0\1"
        assert server.wait("handed_out")["complete"] == 0


def test_stock_clients_still_share_a_session(server: Running) -> None:
    request = wire.pack_request(wire.OP_RRQ, "fw.hdr", [("blksize", "1024"), ("multicast", "")])
    with boards(2) as socks:
        ask(socks, server, SHARED)
        assert [value is None for value, _tid in ask(socks, server, request)] == [False, False]
        assert server.wait("session_open")["name"] == "fw.hdr"


def test_forged_requests_keep_a_real_board_from_nothing(server: Running) -> None:
    """From 600 ports, all the time: it is one of a crowd then, and gets its header within the same moment."""
    with boards(1) as socks, contextlib.ExitStack() as stack:
        forgers = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(FLOOD)
        ]
        for number, sock in enumerate(forgers):
            sock.bind((f"127.0.{4 + number // 200}.{1 + number % 200}", 0))
            sock.sendto(SHARED, ("127.0.0.1", server.port))
        [(value, tid)] = ask(socks, server, SHARED)
        assert value is not None
        with join(value, socks[0]) as heard:
            socks[0].sendto(wire.pack_ack(0), tid)
            assert heard.recv(2048)[:4] == b"\0\3\0\1"
        socks[0].sendto(wire.pack_ack(1), tid)
        for sock in forgers:
            sock.setblocking(False)
            got = b""
            with contextlib.suppress(BlockingIOError):
                while True:
                    got += sock.recv(2048)
            assert len(got) <= 1.5 * len(SHARED)
        assert IDLE_S < WAIT_S
        assert server.wait("handed_out")["complete"] == 1
