"""The whole server on real loopback sockets. Nothing sleeps: every wait is for a datagram or an event."""

from __future__ import annotations

import json
import os
import queue
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tftpy

from gapcast_core import options, wire

WAIT_S = 10.0
SIZES = (0, 1, 511, 512, 513, 1023, 1024, 1025, 2_000_000)


class Running:
    """A `gapcast serve --json` process and its events."""

    def __init__(self, root: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "gapcast", "serve", str(root), "--json", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            self.port = int(self.wait("listening")["port"])
        except BaseException:
            self.stop()
            raise

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def wait(self, kind: str) -> dict[str, Any]:
        """The next event of a kind."""
        while True:
            event = self.lines.get(timeout=WAIT_S)
            self.seen.append(event)
            if event["event"] == kind:
                return event

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        assert self.process.stdout
        self.process.stdout.close()
        return code


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for size in SIZES:
        (tmp_path / f"f{size}").write_bytes(random.Random(size).randbytes(size))
    return tmp_path


@pytest.fixture
def server(root: Path) -> Iterator[Running]:
    running = Running(root, "--listen", "127.0.0.1", "--port", str(free_port()), "--gather-ms", "50")
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.1.1", 0))
        sock.settimeout(WAIT_S)
        yield sock


def ask(sock: socket.socket, port: int, name: str, *pairs: tuple[str, str]) -> tuple[bytes, tuple[str, int]]:
    sock.sendto(wire.pack_request(wire.OP_RRQ, name, list(pairs)), ("127.0.0.1", port))
    return sock.recvfrom(70_000)


def test_tftpy_reads_every_size(server: Running, root: Path, tmp_path: Path) -> None:
    for size in SIZES:
        for settings in ({}, {"blksize": 1428, "tsize": 0}):
            client = tftpy.TftpClient("127.0.0.1", server.port, settings)
            output = tmp_path / "output"
            client.download(f"f{size}", str(output), timeout=WAIT_S)
            assert output.read_bytes() == (root / f"f{size}").read_bytes()


def test_errors_come_from_the_address_asked(server: Running, client: socket.socket) -> None:
    answer, source = ask(client, server.port, "nothing")
    assert wire.parse_error(answer)[0] == 1
    assert source == ("127.0.0.1", server.port)
    assert server.wait("refused")["reason"] == "not_found"


def test_a_socket_for_all_addresses_answers_from_the_one_that_was_asked(
    root: Path, client: socket.socket
) -> None:
    running = Running(root, "--port", str(free_port()))
    try:
        request = wire.pack_request(wire.OP_RRQ, "f513", [("blksize", "1024")])
        for address in ("127.0.0.1", "127.0.7.7"):
            client.sendto(request, (address, running.port))
            _data, source = client.recvfrom(2048)
            assert source[0] == address
            assert source[1] != running.port
    finally:
        running.stop()


def test_boards_on_loopback_share_a_stream_and_the_air_is_counted(server: Running, root: Path) -> None:
    with Listener(server.port, 1) as master, Listener(server.port, 2) as other:
        assert (master.is_master, other.is_master) == (True, False)
        assert master.tid == other.tid
        stream(master, other)
        assert master.data() == other.data() == (root / "f2000000").read_bytes()
        master.ack(master.total)
        other.ack(other.total)
        server.wait("session_closed")
    assert server.stop() == 0
    stopped = server.wait("stopped")
    least = 2_000_000 + 1954 * 46
    assert least <= stopped["air_bytes"]["multicast"] < least * 1.05
    assert 0 < stopped["air_bytes"]["unicast"] < 2000
    kinds = [event["event"] for event in server.seen]
    assert kinds.index("session_open") < kinds.index("member_joined") < kinds.index("stream_end")
    assert any(event["event"] == "air" for event in server.seen)


def test_a_repair_in_ranges(server: Running, root: Path, client: socket.socket) -> None:
    data = (root / "f2000000").read_bytes()
    pairs = [("blksize", "1024"), ("windowsize", "6"), ("ranges", "3-4,1954")]
    oack, tid = ask(client, server.port, "f2000000", *pairs)
    assert wire.parse_oack(oack) == pairs
    client.sendto(wire.pack_ack(0), tid)
    got = [client.recv(2048)[4:] for _ in range(3)]
    assert got == [data[2048:3072], data[3072:4096], data[1953 * 1024 :]]
    client.sendto(wire.pack_ack(3), tid)
    assert server.wait("transfer_done")["outcome"] == "complete"


def test_the_same_request_twice_is_one_transfer(server: Running, client: socket.socket) -> None:
    first, tid = ask(client, server.port, "f1025", ("blksize", "1024"))
    again, tid_again = ask(client, server.port, "f1025", ("blksize", "1024"))
    assert (first, tid) == (again, tid_again)


def test_a_stranger_at_a_transfers_port_gets_error_5(server: Running, client: socket.socket) -> None:
    _oack, tid = ask(client, server.port, "f1025", ("blksize", "1024"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(WAIT_S)
        stranger.sendto(wire.pack_ack(0), tid)
        assert wire.parse_error(stranger.recv(2048))[0] == 5
    client.sendto(wire.pack_ack(0), tid)
    assert client.recv(2048)[:4] == b"\0\3\0\1"


def test_a_client_that_is_gone_is_noticed_by_icmp(server: Running) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(WAIT_S)
        _oack, tid = ask(sock, server.port, "f2000000", ("blksize", "1024"))
        sock.sendto(wire.pack_ack(0), tid)
    assert server.wait("transfer_done")["outcome"] == "gone"


def test_garbage_is_counted_and_answered_without_a_loop(server: Running, client: socket.socket) -> None:
    rng = random.Random(3)
    main = ("127.0.0.1", server.port)
    for data in [b"", b"\0", b"\0\5\0\0x\0", b"\0\3\0\1x", b"\0\4\0\1", b"\0\6a\0b\0", b"\0\2f\0octet\0"]:
        client.sendto(data, main)
    for _ in range(300):
        client.sendto(b"\0" + rng.randbytes(rng.randrange(600)), main)
    client.sendto(wire.pack_request(wire.OP_RRQ, "f1", []), main)
    while True:
        answer, _source = client.recvfrom(2048)
        assert answer[1] in (wire.OP_ERROR, wire.OP_DATA)
        if answer[1] == wire.OP_DATA:
            break
    server.stop()
    drops = server.wait("stopped")["drops"]
    assert drops["not_a_request"] >= 4
    assert drops["write_request"] >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly_and_listeners_hear_nothing(
    server: Running, client: socket.socket, number: int
) -> None:
    pairs = [("blksize", "1024"), ("multicast", ""), ("ranges", "")]
    ask(client, server.port, "f2000000", *pairs)
    assert server.stop(number) == 0
    server.wait("stopped")
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(2048)


def test_the_rate_is_kept(root: Path) -> None:
    options = ("--rate", "20M", "--gather-ms", "150")
    best_bps = 0.0
    for _ in range(3):  # a busy machine is slower at times, and never quicker
        running = Running(root, "--listen", "127.0.0.1", "--port", str(free_port()), *options)
        try:
            with Listener(running.port, 1) as board:
                stream(board)
                board.ack(board.total)
                end = running.wait("stream_end")
        finally:
            running.stop()
        seconds = end["seconds"] - 0.15  # the gathering
        bps = (2_000_000 + 1954 * 46) * 8 / seconds
        assert bps < 20e6 * 1.01
        best_bps = max(best_bps, bps)
        if best_bps > 20e6 * 0.9:
            break
    assert best_bps > 20e6 * 0.9


def test_the_rate_is_kept_in_lock_step_too(root: Path, client: socket.socket) -> None:
    running = Running(root, "--listen", "127.0.0.1", "--port", str(free_port()), "--rate", "20M")
    try:
        _oack, tid = ask(client, running.port, "f2000000", ("blksize", "1428"))
        client.sendto(wire.pack_ack(0), tid)
        for number in range(1, 1402):
            assert client.recv(2048)[2:4] == number.to_bytes(2, "big")
            client.sendto(wire.pack_ack(number), tid)
        done = running.wait("transfer_done")
    finally:
        running.stop()
    bits = (2_000_000 + 1401 * 46) * 8
    assert 0.6 * 20e6 < bits / done["seconds"] < 1.01 * 20e6


def test_text_output_has_a_line_an_event(root: Path) -> None:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "gapcast",
        "serve",
        str(root),
        "--listen",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert "listening on 127.0.0.1" in process.stdout.readline()
    os.kill(process.pid, signal.SIGTERM)
    assert "stopped" in process.stdout.read()
    process.stdout.close()
    assert process.wait(WAIT_S) == 0


class Listener:
    """A board on 127.0.1.x without loss."""

    def __init__(self, port: int, number: int) -> None:
        host = f"127.0.1.{number}"
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((host, 0))
        self._sock.settimeout(WAIT_S)
        pairs = [("blksize", "1024"), ("tsize", "0"), ("multicast", ""), ("ranges", "")]
        oack, self.tid = ask(self._sock, port, "f2000000", *pairs)
        answer = wire.parse_oack(oack)
        self.total = -(-int(wire.option(answer, "tsize")) // 1024)
        group, group_port, self.is_master = options.parse_multicast(wire.option(answer, "multicast"))
        self._group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._group.bind((group, group_port))
        membership = struct.pack("4s4s", socket.inet_aton(group), socket.inet_aton(host))
        self._group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        self._group.settimeout(WAIT_S)
        self._blocks: dict[int, bytes] = {}

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()
        self._group.close()

    def ack(self, number: int) -> None:
        self._sock.sendto(wire.pack_ack(number), self.tid)

    def receive(self) -> None:
        """One DATA; the master ACKs every fourth."""
        data, source = self._group.recvfrom(2048)
        assert source == self.tid
        number = data[2] << 8 | data[3]
        self._blocks[number] = data[4:]
        if self.is_master and (number % 4 == 0 or number == self.total):
            self.ack(number)

    def complete(self) -> bool:
        return len(self._blocks) == self.total

    def fileno(self) -> int:
        return self._group.fileno()

    def data(self) -> bytes:
        return b"".join(self._blocks[number] for number in range(1, self.total + 1))


def stream(*boards: Listener) -> None:
    """All boards take all DATA; the first is the master."""
    boards[0].ack(0)
    left = list(boards)
    while left:
        readable, _, _ = select.select(left, [], [], WAIT_S)
        assert readable, "the stream stopped"
        for board in readable:
            board.receive()
        left = [board for board in left if not board.complete()]
