"""The thread that stores reports: what becomes of its results, and of its failures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from gapcast.fleet.store import Fleet
from gapcast.net.ports import Ports
from gapcast.net.pump import Pump
from gapcast.net.receptions import Receptions
from gapcast.net.report import Report
from gapcast.protocol.events import Event, Refused, ReportStored
from gapcast.protocol.pacer import Pacer
from gapcast.protocol.reception import STORE_S
from gapcast_core import report, wire

KEY = bytes(range(32))
BOARD = ("127.0.1.9", 5009)
WAIT_S = 10.0


class Heard(Report):
    """Keeps the events."""

    def __init__(self) -> None:
        super().__init__(as_json=True)
        self.events: list[Event] = []

    def event(self, event: Event) -> None:
        self.events.append(event)

    def reasons(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, Refused)]


class Bench:
    """Receptions without a server; the board's datagrams are handed in."""

    def __init__(self, path: Path) -> None:
        loop = asyncio.get_running_loop()
        self.heard = Heard()
        self.ports = Ports(loop, "127.0.0.1", None, Pump(loop, Pacer(None)), self.heard)
        self.receptions = Receptions(self.ports, path)

    def send(self, sequence: int) -> Any:
        """A report of the board; what serves it."""
        self.receptions.open("board-1", BOARD, "127.0.0.1")
        [running] = self.receptions._slots.all()
        data = report.pack_report(KEY, "board-1", sequence, report.CONFIRMED, bytes(16), "1.0", "SIM", 1, "")
        running.reception.receive(wire.pack_data(1, data), BOARD, self.ports.loop.time())
        running.endpoint.settle()
        return running

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not done():  # noqa: ASYNC110  what is waited for comes from callbacks of this very loop
                await asyncio.sleep(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Fleet(tmp_path / "fleet.db") as fleet:
        fleet.add("board-1", KEY)
    return tmp_path / "fleet.db"


def play(path: Path, story: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        bench = Bench(path)
        try:
            await story(bench)
        finally:
            bench.receptions.close()

    asyncio.run(run())


def test_what_is_stored_while_the_server_ends_is_told(path: Path) -> None:
    async def story(bench: Bench) -> None:
        future = bench.send(1).judged
        while not (future.running() or future.done()):  # in the thread: the loop hears nothing more
            threading.Event().wait(0.001)
        bench.receptions.close()
        assert [event.sequence for event in bench.heard.events if isinstance(event, ReportStored)] == [1]

    play(path, story)


def test_any_failure_of_the_thread_is_a_refusal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def accept(*_: object) -> None:
        raise ValueError("whatever a strange file leads to")

    monkeypatch.setattr(Fleet, "accept", accept)

    async def story(bench: Bench) -> None:
        running = bench.send(1)
        await bench.until(lambda: running.reception.closed)
        assert bench.heard.reasons() == ["state_failed"]

    play(path, story)


def test_a_state_that_cannot_be_looked_at_is_not_a_missing_one(path: Path) -> None:
    async def story(bench: Bench) -> None:
        running = bench.send(1)
        await bench.until(lambda: running.reception.closed)

    reasons = []
    for strange in (path.parent / ("x" * 300), path / "below", path.parent / "missing"):

        async def one(bench: Bench) -> None:
            await story(bench)
            reasons.extend(bench.heard.reasons())

        play(strange, one)
    assert reasons == ["state_failed", "state_failed", "unknown_board"]


def test_nothing_is_judged_for_a_reception_that_is_over(path: Path) -> None:
    async def story(bench: Bench) -> None:
        held = threading.Event()
        bench.receptions._thread.submit(held.wait, WAIT_S)
        running = bench.send(1)
        running.reception.on_time(bench.ports.loop.time() + STORE_S)
        running.endpoint.settle()
        held.set()
        assert bench.heard.reasons() == ["state_slow"]
        assert running.judged.cancelled()

    play(path, story)
    with Fleet(path) as fleet:
        assert fleet.history("board-1") == []
