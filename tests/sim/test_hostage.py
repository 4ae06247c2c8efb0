"""Pre-boot never holds a board hostage: whole boards whose network or server fails, and for how long."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from boot_world import CHIP, MiniServer, files_of, make_container

from gapcast.fleet.store import Fleet
from gapcast.image.build import build_container
from gapcast.image.sample import build_sample
from gapcast_sim.board import SimBoard
from gapcast_sim.events import Event
from gapcast_sim.provision import BoardSpec, factory_image, prepare
from gapcast_sim.runtime import Runtime
from gapcast_sim.server import ServerProcess, free_port

FACTORY = "0.0.0-factory"
ASK_MS = 1000  # the default: the first question unanswered, once the network is up
NETWORK_MS = 1200
STALL_MS = 1500
SLACK_MS = 1500  # one more try, a read timeout, and a busy machine
KEY = "6b" * 32


class Board:
    """A real board process, with settings of its own."""

    def __init__(self, folder: Path, runtime: Runtime, port: int, **more: Any) -> None:
        self.spec = BoardSpec(
            "hostage",
            folder,
            "127.0.0.1",
            port,
            "image",
            "127.0.0.1",
            allow_unsigned=True,
            limit_s=60,
            **more,
        )
        self._runtime = runtime
        self.events: list[Event] = []
        self.on_event: Callable[[Event], None] = lambda _event: None

    async def run(self, **settings: Any) -> SimBoard:
        """Switch it on until its application is settled."""
        prepare(self.spec, factory_image())
        path = self.spec.folder / "gapcast.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))
        self.events = []
        board = SimBoard(self.spec, self._runtime, self._take)
        await board.run()
        return board

    def _take(self, _board: SimBoard, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)

    def preboot_ms(self) -> float:
        """Of the last boot, from power-on to its application."""
        times: list[float] = [e["preboot_us"] / 1000 for e in self.events if e["event"] == "application"]
        return times[-1]


def held(board: Board, **settings: Any) -> tuple[SimBoard, float]:
    """A boot that cannot succeed; it has to end with the old application. (The board, pre-boot's ms)."""
    found = asyncio.run(board.run(**settings))
    assert (found.result.outcome, found.result.version, found.result.boots) == ("failed", FACTORY, 1)
    return found, board.preboot_ms()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Somebody who never answers."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])


@pytest.mark.parametrize("wifi", ["missing", "wrong_password", "no_dhcp"])
def test_no_wifi(runtime: Runtime, tmp_path: Path, wifi: str, silent_port: int) -> None:
    board = Board(tmp_path, runtime, silent_port, wifi=wifi)
    _found, spent_ms = held(board, network_timeout_ms=NETWORK_MS)
    assert NETWORK_MS <= spent_ms < NETWORK_MS + SLACK_MS
    assert not any(event["event"] == "started" for event in board.events)


def test_slow_wifi_is_waited_for(runtime: Runtime, tmp_path: Path) -> None:
    container = make_container()
    with MiniServer(files_of(container)).running() as server:
        board = Board(tmp_path, runtime, server.port, wifi_ms=700)
        assert asyncio.run(board.run(network_timeout_ms=NETWORK_MS)).ok
        assert asyncio.run(board.run(network_timeout_ms=NETWORK_MS)).result.outcome == "up_to_date"
    assert 700 <= board.preboot_ms() < 700 + SLACK_MS


def test_a_server_that_does_not_answer(runtime: Runtime, tmp_path: Path, silent_port: int) -> None:
    _found, spent_ms = held(Board(tmp_path, runtime, silent_port))
    assert ASK_MS <= spent_ms < ASK_MS + SLACK_MS


def test_nobody_at_the_servers_port(runtime: Runtime, tmp_path: Path) -> None:
    _found, spent_ms = held(Board(tmp_path, runtime, free_port("127.0.0.1")))
    assert spent_ms < ASK_MS + SLACK_MS


def test_a_server_without_an_address(runtime: Runtime, tmp_path: Path) -> None:
    _found, spent_ms = held(Board(tmp_path, runtime, 6969), server="no.such.host.invalid")
    assert spent_ms < 30_000  # the resolver's own time: an ESP32's gives up after some seconds too


@pytest.mark.parametrize(
    "settings", [{"port": "x"}, {"image": 5}, {"keys": ["?"], "allow_unsigned": False}, {"id": "NO"}]
)
def test_settings_that_make_no_sense(runtime: Runtime, tmp_path: Path, settings: dict[str, Any]) -> None:
    with MiniServer(files_of(make_container())).running() as server:
        board = Board(tmp_path, runtime, server.port, report_key=KEY)
        found = asyncio.run(board.run(**settings))
    assert found.result.version in (FACTORY, "2.0.0")
    assert board.preboot_ms() < ASK_MS + SLACK_MS


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "5", "\0"])
def test_settings_that_cannot_be_read(runtime: Runtime, tmp_path: Path, text: str) -> None:
    board = Board(tmp_path, runtime, 6969)
    prepare(board.spec, factory_image())
    (tmp_path / "gapcast.json").write_text(text)
    found = SimBoard(board.spec, runtime, board._take)
    asyncio.run(found.run())
    assert (found.result.outcome, found.result.version) == ("failed", FACTORY)
    assert board.preboot_ms() < SLACK_MS


def test_the_server_dies_in_mid_stream_and_comes_back(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    container = build_container(build_sample(200_000, "2.0.0", CHIP), "image", "SIM", CHIP)
    (tmp_path / "root" / "image.gap").write_bytes(container.data)
    state = tmp_path / "fleet.db"
    with Fleet(state) as fleet:
        fleet.add("hostage", bytes.fromhex(KEY))
    port = free_port("127.0.0.1")
    board = Board(tmp_path / "fl", runtime, port, report_key=KEY)

    def server() -> ServerProcess:
        return ServerProcess(tmp_path / "root", "127.0.0.1", port, ("--rate", "1M", "--state", str(state)))

    async def killed() -> SimBoard:
        first = server()
        tasks: list[asyncio.Task[None]] = []

        def watch(event: Event) -> None:
            if event["event"] == "blocks" and event["missing"] < event["total"] / 2 and not tasks:
                tasks.append(asyncio.create_task(first.kill()))

        board.on_event = watch
        await first.start()
        try:
            return await board.run(stall_ms=STALL_MS)
        finally:
            await first.stop()

    async def back() -> SimBoard:
        board.on_event = lambda _event: None
        second = server()
        await second.start()
        try:
            return await board.run()
        finally:
            await second.stop()

    found = asyncio.run(killed())
    assert (found.result.outcome, found.result.version) == ("failed", FACTORY)
    blocks = [event for event in board.events if event["event"] == "blocks"]
    assert board.preboot_ms() < blocks[-1]["ms"] - board.events[0]["ms"] + STALL_MS + ASK_MS + SLACK_MS
    found = asyncio.run(back())
    assert found.ok
    total = len(container.data) // 1024
    assert found.result.kept_blocks >= total / 2
    with Fleet(state) as fleet:  # why the boot before failed is told when the server is there again
        states = [report.state for report in reversed(fleet.history("hostage"))]
    assert states == ["failed", "installed", "confirmed"]


def test_a_boot_with_nothing_to_do_is_one_request(runtime: Runtime, tmp_path: Path) -> None:
    container = make_container()
    with MiniServer(files_of(container)).running() as server:
        board = Board(tmp_path, runtime, server.port)
        assert asyncio.run(board.run()).result.outcome == "updated"
        server.requests.clear()
        found = asyncio.run(board.run())
        assert (found.ok, found.result.outcome, found.result.boots) == (True, "up_to_date", 1)
        assert server.requests == [("image.hdr", "")]


def test_boards_under_cpython_go_back_too(tmp_path: Path) -> None:
    """Without MicroPython the timer interrupts a hanging application as well."""
    from gapcast_sim.runtime import find_runtime

    data = build_sample(20000, "2.0.0", CHIP, app="hang")
    with MiniServer(files_of(build_container(data, "image", "SIM", CHIP))).running() as server:
        board = Board(
            tmp_path, find_runtime(lambda _text: None, micropython=False), server.port, health_ms=1000
        )
        found = asyncio.run(board.run())
    assert found.result.outcome == "rolled_back"
    assert sys.executable in board._runtime.argv
