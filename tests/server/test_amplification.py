"""What a forged request makes the server send to the address in it, before that address has proven itself.

The bound is 1.5 times the UDP payload that came from there (PROTOCOL.md section 9). One exception, capped:
the DATA 1 that RFC 1350 demands as the answer to a request without options.
"""

from __future__ import annotations

import os
import random
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapcast.net.transfers import PLAIN_PER_HOST_PER_S, PLAIN_PER_S
from gapcast.protocol.credit import ANSWER_RATIO
from gapcast_core import wire

from .clients import Board, Client, Stock
from .test_net import WAIT_S, Running, free_port
from .virtual import MAIN, Link, Net, VirtualServer

EXAMPLES = int(os.environ.get("GAPCAST_EXAMPLES", "100"))
SIZE = 150_000
SMALL = bytes(300)
FORGED = [(f"10.66.{number}.6", 1000 + number) for number in range(8)]
OPTIONS = [
    ("blksize", "1024"),
    ("blksize", "65464"),
    ("blksize", "8"),
    ("tsize", "0"),
    ("timeout", "255"),
    ("windowsize", "64"),
    ("windowsize", "65535"),
    ("multicast", ""),
    ("ranges", ""),
    ("ranges", "1-3,7"),
    ("unknown", "value"),
]


def bytes_to(net: Net, forged: tuple[str, int]) -> int:
    return sum(len(data) for _when, _source, to, data in net.sent if to == forged)


def accompanied(net: Net, company: str) -> list[Client]:
    """Real clients that use the server meanwhile."""
    if company == "boards":
        return [Board(net, number, SIZE, Link(loss=0.05)) for number in (1, 2)]
    if company == "stock":
        return [Stock(net, number, SIZE, "atftp") for number in (1, 2)]
    return []


option_sets = st.lists(st.sampled_from(OPTIONS), max_size=5, unique_by=lambda pair: pair[0])


@settings(
    max_examples=int(os.environ.get("GAPCAST_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    pairs=option_sets,
    name=st.sampled_from(["f", "fw", "fw.gap", "gap/" + "0" * 32]),
    company=st.sampled_from(["none", "boards", "stock"]),
    forged=st.integers(1, 8),
    at=st.lists(st.floats(0, 12), min_size=1, max_size=4),
    seed=st.integers(0, 9),
)
def test_no_request_is_an_amplifier(
    pairs: list[tuple[str, str]], name: str, company: str, forged: int, at: list[float], seed: int
) -> None:
    request = wire.pack_request(wire.OP_RRQ, name, pairs)
    net = Net(seed)
    server = VirtualServer(net, random.Random(1).randbytes(SIZE), rate_bps=20e6)
    clients = accompanied(net, company)
    for address in FORGED[:forged]:
        net.attach(address, lambda data, source: None)  # somebody's address: it does not even answer by ICMP
        for when in at:
            net.at(net.now + when, lambda address=address: net.send(request, address, MAIN))  # type: ignore[misc]
    for client in clients:
        net.at(net.now + min(at) + 0.01, client.start)
    net.run(90, until=lambda: False)
    for address in FORGED[:forged]:
        got = [data for _when, _source, to, data in net.sent if to == address]
        if any(data[1] == wire.OP_DATA for data in got):
            assert len(got) <= len(at)  # RFC 1350's exception: as many DATA 1 as there were requests
        else:
            assert sum(map(len, got)) <= ANSWER_RATIO * len(at) * len(request)
    assert all(client.done for client in clients)
    assert all(tid.machine.closed for tid in server.tids)


@pytest.mark.parametrize("company", ["boards", "stock"])
def test_forged_joins_hold_nobody_up(company: str) -> None:
    """300 forged clients join first and all the time; two real ones are as quick as without them."""

    def seconds(forged: int) -> float:
        net = Net(3)
        VirtualServer(net, random.Random(1).randbytes(SIZE), rate_bps=20e6)
        pairs = [("blksize", "1024"), ("tsize", "0"), ("multicast", "")]
        for number in range(forged):
            kind = pairs + ([("ranges", "")] if number % 2 else [])
            address = (f"10.77.{number // 200}.{number % 200}", 7)
            net.attach(address, lambda data, source: None)
            request = wire.pack_request(wire.OP_RRQ, "f", kind)
            net.at(net.now + number * 0.002, lambda a=address, r=request: net.send(r, a, MAIN))  # type: ignore[misc]
        clients = accompanied(net, company)
        start = net.now + 0.05
        for client in clients:
            net.at(start, client.start)
        net.run(60, until=lambda: all(client.done for client in clients))
        assert all(client.done for client in clients)
        return net.now - start

    without, with_forged = seconds(0), seconds(300)
    print(f"{company}: {without:.3f} s alone, {with_forged:.3f} s with 300 forged joins")
    assert with_forged < without + 1.0


# ---- the whole server, on real sockets ----


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "f").write_bytes(bytes(50_000))
    (tmp_path / "small").write_bytes(SMALL)
    (tmp_path / "firmware.gap").write_bytes(bytes(50_000))
    return tmp_path


@pytest.fixture
def server(root: Path) -> Iterator[Running]:
    running = Running(root, "--listen", "127.0.0.1", "--port", str(free_port()))
    yield running
    if running.process.poll() is None:
        running.stop()


def rrq(name: str, *pairs: tuple[str, str], op: int = wire.OP_RRQ, mode: str = "octet") -> bytes:
    packed: bytes = wire.pack_request(op, name, list(pairs), mode)
    return packed


_AWARE = [("blksize", "1024"), ("tsize", "0"), ("multicast", ""), ("ranges", "")]
KINDS = {
    "blksize": rrq("firmware.gap", ("blksize", "1024")),
    "all unicast options": rrq(
        "firmware.gap", ("blksize", "1024"), ("tsize", "0"), ("timeout", "1"), ("windowsize", "64")
    ),
    "tsize, shortest name": rrq("f", ("tsize", "0")),
    "repair": rrq("firmware.gap", ("blksize", "1024"), ("windowsize", "8"), ("ranges", "1-3,7")),
    "multicast, stock": rrq("firmware.gap", ("blksize", "1024"), ("multicast", "")),
    "multicast, shortest": rrq("f", ("multicast", "")),
    "multicast, board": rrq("firmware.gap", *_AWARE),
    "multicast, a second board": rrq("firmware.gap", *_AWARE),
    "no such file": rrq("x"),
    "no such file, by 64": rrq("x" * 64),
    "path trick": rrq("../../etc/passwd"),
    "netascii": rrq("f", mode="netascii"),
    "bad option": rrq("f", ("blksize", "7")),
    "write": rrq("f", op=wire.OP_WRQ),
    "report": rrq("report/a", op=wire.OP_WRQ),
    "RRQ of 2 bytes": b"\0\1",
    "RRQ of 3 bytes": b"\0\1\0",
    "garbage": b"\0\1" + bytes(range(256)),
    "not a request": b"\0\3\0\1" + bytes(50),
}


def heard(sock: socket.socket) -> list[bytes]:
    """All datagrams that wait."""
    sock.setblocking(False)
    found = []
    while True:
        try:
            found.append(sock.recv(2048))
        except BlockingIOError:
            return found


def test_every_kind_of_request_is_measured(server: Running) -> None:
    """All at once, each from an address that stays silent, until the server has given all of them up."""
    socks = {}
    for number, (kind, request) in enumerate(KINDS.items()):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((f"127.0.66.{number + 1}", 0))
        sock.sendto(request, ("127.0.0.1", server.port))
        socks[kind] = sock
    opened: Counter[str] = Counter()
    while opened["transfer_done"] < 4 or opened["session_closed"] < 2:
        event = server.lines.get(timeout=WAIT_S * 2)
        opened[event["event"]] += 1
    print(f"\n{'request':28}{'sent':>6}{'got':>6}{'ratio':>7}")
    worst = 0.0
    for kind, sock in socks.items():
        got = sum(map(len, heard(sock)))
        ratio = got / len(KINDS[kind])
        worst = max(worst, ratio)
        print(f"{kind:28}{len(KINDS[kind]):6}{got:6}{ratio:7.2f}")
        sock.close()
    assert worst <= ANSWER_RATIO


def test_data_1_without_options_is_capped_a_second(server: Running) -> None:
    """RFC 1350's exception: 516 bytes for 10, so few of them a host and a second, and none unasked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.66.1", 0))
        for _ in range(100):
            victim.sendto(rrq("f"), ("127.0.0.1", server.port))
        victim.settimeout(WAIT_S)
        ask_again(victim, server.port)
        # Within two seconds of the server's clock at most, for the flood takes milliseconds.
        got = sum(data[1] == wire.OP_DATA for data in heard(victim))
        assert 1 <= got <= 2 * PLAIN_PER_HOST_PER_S
    server.stop()
    assert server.wait("stopped")["drops"]["plain_limited"] >= 100 - 2 * PLAIN_PER_HOST_PER_S


def test_data_1_without_options_is_capped_for_all_hosts(server: Running) -> None:
    socks = []
    for number in range(1, 41):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((f"127.0.67.{number}", 0))
        socks.append(sock)
        for _ in range(PLAIN_PER_HOST_PER_S):
            sock.sendto(rrq("f"), ("127.0.0.1", server.port))
    socks[0].settimeout(WAIT_S)
    ask_again(socks[0], server.port)
    got = sum(data[1] == wire.OP_DATA for sock in socks for data in heard(sock))
    for sock in socks:
        sock.close()
    assert 1 <= got <= 2 * PLAIN_PER_S


def test_a_host_that_proved_itself_is_served_however_many_are_forged(server: Running) -> None:
    """Also more of its own a second than strangers have."""
    flood = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(40)]
    for number, sock in enumerate(flood, 1):
        sock.bind((f"127.0.67.{number}", 0))
    fetch_small("127.0.69.1", server.port)
    for _round in range(3 * PLAIN_PER_HOST_PER_S):
        for sock in flood:
            sock.sendto(rrq("f"), ("127.0.0.1", server.port))
        fetch_small("127.0.69.1", server.port)
    for sock in flood:
        sock.close()
    server.stop()
    events = [event["event"] for event in (*server.seen, *drain(server))]
    assert events.count("plain_limited") == 1  # at most one line a minute


def drain(server: Running) -> list[dict[str, object]]:
    found = []
    while not server.lines.empty():
        found.append(server.lines.get())
    return found


def fetch_small(host: str, port: int) -> None:
    """Without options, the one block of a file, as tftp-hpa does it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.settimeout(WAIT_S)
        sock.sendto(rrq("small"), ("127.0.0.1", port))
        data, tid = sock.recvfrom(600)
        assert data == b"\0\3\0\1" + SMALL
        sock.sendto(wire.pack_ack(1), tid)


def ask_again(sock: socket.socket, port: int) -> None:
    """Until a request after the flood was answered: then the flood was, too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.68.1", 0))
        other.settimeout(WAIT_S)
        other.sendto(rrq("nothing"), ("127.0.0.1", port))
        assert other.recv(100)[1] == wire.OP_ERROR


def test_with_require_options_the_bound_holds_for_all(root: Path) -> None:
    running = Running(root, "--listen", "127.0.0.1", "--port", str(free_port()), "--require-options")
    (root / "tiny").write_bytes(b"abc")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.66.1", 0))
            client.settimeout(WAIT_S)
            for request in (rrq("f"), rrq("f", ("unknown", "x"))):
                client.sendto(request, ("127.0.0.1", running.port))
                answer = client.recv(2048)
                assert answer.startswith(b"\0\5\0\10no option")
                assert len(answer) <= ANSWER_RATIO * len(request)
            client.sendto(rrq("tiny"), ("127.0.0.1", running.port))
            assert client.recv(2048) == b"\0\3\0\1abc"  # short enough
            client.sendto(rrq("f", ("tsize", "0")), ("127.0.0.1", running.port))
            assert client.recv(2048)[1] == wire.OP_OACK
    finally:
        running.stop()


def test_a_flood_from_many_addresses_keeps_nobody_out(server: Running, root: Path) -> None:
    """2000 forged requests of all kinds, more than there are places; a real client is served all the same."""
    flood = [KINDS[kind] for kind in ("blksize", "repair", "multicast, board", "report", "multicast, stock")]
    flood += [rrq("firmware.gap", ("blksize", str(size)), ("multicast", "")) for size in range(512, 612)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.69.1", 0))
        client.settimeout(0.3)
        received = b""
        client.sendto(rrq("f", ("blksize", "1024"), ("windowsize", "1")), ("127.0.0.1", server.port))
        tid = None
        block = 0
        for number in range(2000):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forged:
                forged.bind((f"127.0.{70 + number // 250}.{1 + number % 250}", 0))
                forged.sendto(flood[number % len(flood)], ("127.0.0.1", server.port))
            if number % 20 == 0:
                try:
                    data, tid = client.recvfrom(2048)
                except TimeoutError:
                    if tid is None:
                        client.sendto(
                            rrq("f", ("blksize", "1024"), ("windowsize", "1")), ("127.0.0.1", server.port)
                        )
                    continue
                if data[1] == wire.OP_DATA and int.from_bytes(data[2:4], "big") == block + 1:
                    received += data[4:]
                    block += 1
                client.sendto(wire.pack_ack(block), tid)
        client.settimeout(WAIT_S)
        while len(received) < 50_000:
            data, tid = client.recvfrom(2048)
            assert data[1] == wire.OP_DATA
            if int.from_bytes(data[2:4], "big") == block + 1:
                received += data[4:]
                block += 1
            client.sendto(wire.pack_ack(block), tid)
    assert received == bytes(50_000)
