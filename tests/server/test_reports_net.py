"""Reports to the whole server, on real sockets, from the board's own client and from worse ones."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gapcast.fleet.store import Fleet
from gapcast.net.receptions import MAX_PER_HOST, MAX_RECEPTIONS
from gapcast_boot import reporting
from gapcast_core import report, wire

from .test_net import WAIT_S, Running, free_port
from .test_reception import TRICKS

KEY = bytes(range(32))
LIMIT_MS = 5000


class Clock:
    def now_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "fleet.db"
    with Fleet(path) as fleet:
        fleet.add("board-1", KEY)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def start(root: Path, state: Path, *more: str) -> Running:
    return Running(root, "--listen", "127.0.0.1", "--port", str(free_port()), "--state", str(state), *more)


@pytest.fixture
def server(root: Path, state: Path) -> Iterator[Running]:
    running = start(root, state)
    yield running
    if running.process.poll() is None:
        running.stop()


def packed(sequence: int, key: bytes = KEY, board_id: str = "board-1", reason: str = "hang") -> bytes:
    data: bytes = report.pack_report(
        key, board_id, sequence, report.ROLLED_BACK, bytes(range(16)), "1.0", "SIM", 3, reason
    )
    return data


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with open_udp("127.0.1.2") as sock:
        sock.settimeout(WAIT_S)
        yield sock


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The board's own client, with the host's sockets."""
    monkeypatch.setattr(reporting.port, "open_udp", lambda local_ip: Quiet(open_udp(local_ip)))
    monkeypatch.setattr(reporting.port, "sleep_ms", lambda duration_ms: time.sleep(duration_ms / 1000))

    def send(server: Running, data: bytes, board_id: str = "board-1", limit_ms: int = LIMIT_MS) -> bool:
        main = ("127.0.0.1", server.port)
        return bool(reporting.send(main, "127.0.1.1", Clock(), board_id, data, limit_ms))

    return send


class Quiet:
    """A board's socket: a timeout has an errno there."""

    def __init__(self, sock: socket.socket) -> None:
        self.sendto = sock.sendto
        self.close = sock.close
        self._sock = sock

    def recvfrom(self, count: int) -> tuple[bytes, Any]:
        try:
            return self._sock.recvfrom(count)
        except TimeoutError:
            raise OSError(errno.ETIMEDOUT, "timed out") from None


def open_udp(local_ip: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((local_ip, 0))
    sock.settimeout(0.05)
    return sock


def test_a_report_is_stored_told_and_acknowledged(server: Running, state: Path, send: Any) -> None:
    assert send(server, packed(1))
    told = server.wait("report")
    assert {key: told[key] for key in ("id", "address", "sequence", "state", "version", "reason")} == {
        "id": "board-1",
        "address": "127.0.1.1",
        "sequence": 1,
        "state": "rolled_back",
        "version": "1.0",
        "reason": "hang",
    }
    assert told["content_id"] == bytes(range(16)).hex()
    assert send(server, packed(1))  # the ACK was lost: acknowledged, not stored again
    assert send(server, packed(2))
    assert server.wait("report")["sequence"] == 2
    with Fleet(state) as fleet:
        assert [one.sequence for one in fleet.history("board-1")] == [2, 1]


def test_what_is_refused_is_counted_and_named(server: Running, state: Path, send: Any) -> None:
    assert send(server, packed(5))
    for data, board_id, reason in (
        (packed(6, key=bytes(32)), "board-1", "wrong_mac"),
        (packed(4), "board-1", "old_sequence"),
        (packed(5, reason="another"), "board-1", "old_sequence"),
        (packed(6, board_id="board-2"), "board-2", "unknown_board"),
        (packed(6)[:-1], "board-1", "bad_length"),
        (b"", "board-1", "bad_length"),
        (packed(6) + bytes(400), "board-1", "report_too_long"),
    ):
        assert not send(server, data, board_id)
        refused = server.wait("refused")
        assert (refused["reason"], refused["name"]) == (reason, f"report/{board_id}")
    server.stop()
    drops = server.wait("stopped")["drops"]
    assert drops["old_sequence"] == 2
    assert drops["wrong_mac"] == drops["unknown_board"] == drops["report_too_long"] == 1
    with Fleet(state) as fleet:
        assert len(fleet.history("board-1")) == 1


def test_nothing_else_can_be_written(server: Running, root: Path, state: Path) -> None:
    before = sorted(state.parent.iterdir())
    with open_udp("127.0.1.1") as client:
        client.settimeout(WAIT_S)
        for name in TRICKS:
            client.sendto(wire.pack_request(wire.OP_WRQ, name, []), ("127.0.0.1", server.port))
            answer, source = client.recvfrom(100)
            assert (answer[:4], source[1]) == (b"\0\5\0\2", server.port), name
        client.sendto(b"\0\2report/board-1\0netascii\0", ("127.0.0.1", server.port))
        assert client.recv(100)[:4] == b"\0\5\0\4"
    assert list(root.iterdir()) == []
    assert sorted(state.parent.iterdir()) == before


def test_text_for_people(root: Path, state: Path, send: Any) -> None:
    port = free_port()
    options = ["--listen", "127.0.0.1", "--port", str(port), "--state", str(state)]
    command = [sys.executable, "-m", "gapcast", "serve", str(root), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert "1 boards may report" in process.stdout.readline()
    assert "listening" in process.stdout.readline()

    class Server:
        pass

    server: Any = Server()
    server.port = port
    assert send(server, packed(1, reason="watchdog"))
    assert "board-1 (SIM) reports rolled_back: version 1.0 watchdog" in process.stdout.readline()
    assert not send(server, packed(1, board_id="nobody"), "nobody")
    assert "gapcast fleet add" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.stdout.close()
    assert process.wait(WAIT_S) == 0


def test_boards_that_are_added_while_it_serves(root: Path, tmp_path: Path, send: Any) -> None:
    path = tmp_path / "later" / "fleet.db"
    server = start(root, path)
    try:
        assert not send(server, packed(1))
        assert server.wait("refused")["reason"] == "unknown_board"
        assert not path.exists()  # serving makes no file
        with Fleet(path) as fleet:
            fleet.add("board-1", KEY)
            assert send(server, packed(1))
            fleet.add("board-2", KEY)
            assert send(server, packed(1, board_id="board-2"), "board-2")
    finally:
        server.stop()


def test_a_locked_state_is_named_and_the_server_goes_on(server: Running, state: Path, send: Any) -> None:
    (Path(server_root(server)) / "f").write_bytes(b"content")
    other = sqlite3.connect(state, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with open_udp("127.0.1.2") as client:
            client.settimeout(WAIT_S)
            tid = write_request(client, server.port)
            client.sendto(wire.pack_data(1, packed(1)), tid)
            # While the thread waits for the lock, files are served.
            with open_udp("127.0.1.3") as reader:
                reader.settimeout(WAIT_S)
                reader.sendto(wire.pack_request(wire.OP_RRQ, "f", []), ("127.0.0.1", server.port))
                assert reader.recv(100) == b"\0\3\0\1content"
            client.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.recv(100)
            client.settimeout(WAIT_S)
            assert client.recv(100)[:4] == b"\0\5\0\3"
        assert server.wait("refused")["reason"] == "state_locked"
    finally:
        other.close()
    assert send(server, packed(1))


def server_root(server: Running) -> str:
    found: str = server.seen[-1]["root"]
    return found


def write_request(client: socket.socket, port: int, board_id: str = "board-1") -> tuple[str, int]:
    """The TID of a new reception."""
    client.sendto(wire.pack_request(wire.OP_WRQ, f"report/{board_id}", []), ("127.0.0.1", port))
    answer, tid = client.recvfrom(100)
    assert answer == wire.pack_ack(0)
    return str(tid[0]), int(tid[1])


def test_a_state_that_is_damaged_while_it_serves(
    server: Running, root: Path, state: Path, send: Any, client: socket.socket
) -> None:
    assert send(server, packed(1))
    for file in state.parent.iterdir():
        file.unlink()
    state.write_bytes(b"no database at all" * 5000)
    assert not send(server, packed(2))
    assert server.wait("refused")["reason"] == "state_failed"
    assert not send(server, packed(2))
    (root / "f").write_bytes(b"content")
    client.sendto(wire.pack_request(wire.OP_RRQ, "f", []), ("127.0.0.1", server.port))
    assert client.recv(100) == b"\0\3\0\1content"
    state.unlink()
    with Fleet(state) as fleet:  # put right by the operator
        fleet.add("board-1", KEY)
    assert send(server, packed(3))


def test_a_damaged_state_at_the_start_is_one_line(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    path.write_bytes(b"no database at all" * 500)
    options = ["--listen", "127.0.0.1", "--port", str(free_port()), "--state", str(path)]
    command = [sys.executable, "-m", "gapcast", "serve", str(root), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gapcast: ")
    assert done.stderr.count("\n") == 1


def test_killed_between_storing_and_the_ack(root: Path, state: Path, send: Any) -> None:
    """SIGKILL as soon as the report is told, whatever became of the ACK: the board sends it again."""
    for sequence in (1, 2, 3):
        server = start(root, state)
        with open_udp("127.0.1.2") as client:
            client.settimeout(WAIT_S)
            tid = write_request(client, server.port)
            client.sendto(wire.pack_data(1, packed(sequence)), tid)
            server.wait("report")
            os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(WAIT_S)
        close(server)
        server = start(root, state)
        try:
            assert send(server, packed(sequence))
        finally:
            server.stop()
        assert not [event for event in server.seen if event["event"] == "report"]
        with Fleet(state) as fleet:
            assert len(fleet.history("board-1")) == sequence


def close(server: Running) -> None:
    server._reader.join(WAIT_S)
    assert server.process.stdout
    server.process.stdout.close()


def test_a_flood_of_forged_writes_keeps_no_board_out(server: Running, send: Any) -> None:
    """More than there are places, from many addresses, all silent after the WRQ."""
    request = wire.pack_request(wire.OP_WRQ, "report/board-1", [])
    hosts = [f"127.0.{80 + number // 250}.{1 + number % 250}" for number in range(5 * MAX_RECEPTIONS)]
    hosts += ["127.0.1.1"] * 5 * MAX_PER_HOST  # and from the board's own address
    with ExitStack() as stack:
        for host in hosts:
            forged = stack.enter_context(open_udp(host))
            forged.sendto(request, ("127.0.0.1", server.port))
        assert send(server, packed(1))
    server.stop()
    assert server.wait("stopped")["drops"]["report_evicted"] >= 4 * MAX_RECEPTIONS


def test_a_bench_behind_one_address_reports_at_once(root: Path, tmp_path: Path, send: Any) -> None:
    """More boards than one host has places."""
    boards = [f"b-{number}" for number in range(3 * MAX_PER_HOST)]
    path = tmp_path / "bench" / "fleet.db"
    with Fleet(path) as fleet:
        for board in boards:
            fleet.add(board, KEY)
    server = start(root, path)
    try:
        with ThreadPoolExecutor(len(boards)) as pool:
            sent = list(pool.map(lambda board: send(server, packed(1, board_id=board), board), boards))
        assert all(sent)
    finally:
        server.stop()


def test_the_same_request_again_is_one_reception(server: Running) -> None:
    with open_udp("127.0.1.2") as client:
        client.settimeout(WAIT_S)
        tid = write_request(client, server.port)
        assert write_request(client, server.port) == tid
        client.sendto(wire.pack_request(wire.OP_WRQ, "report/board-2", []), ("127.0.0.1", server.port))
        assert client.recv(100)[:4] == b"\0\5\0\0"
        client.sendto(wire.pack_data(1, packed(1)), tid)
        assert client.recv(100) == wire.pack_ack(1)
        client.sendto(wire.pack_data(1, packed(1)), tid)
        assert client.recv(100) == wire.pack_ack(1)


def test_keys_are_not_told(server: Running, send: Any) -> None:
    send(server, packed(1))
    send(server, packed(2, key=bytes(32)))
    server.stop()
    server.wait("stopped")
    assert KEY.hex() not in json.dumps(server.seen)
