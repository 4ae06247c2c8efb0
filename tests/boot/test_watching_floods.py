"""Forged announcements by the thousand, in a time of their own: what they cost is what PROTOCOL.md says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from boot_world import MiniServer, World, make_container
from watch_bench import HOUR_MS, ResetError, Watching

from gapcast_core.announcement import pack_announcement
from gapcast_core.container import content_id

IMAGE = "image"
MINUTE_MS = 60_000


class Clock:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        return self.ms


class Air:
    """In place of the group's socket: announcements by the time at which they come."""

    def __init__(self, clock: Clock) -> None:
        self.deaf = False
        self.clock = clock
        self.script: Callable[[int], list[bytes]] = lambda _ms: []
        self._at = -1
        self._waiting: list[bytes] = []

    def read(self) -> bytes | None:
        if self.clock.ms != self._at:
            self._at = self.clock.ms
            self._waiting = (self._waiting + self.script(self.clock.ms))[-6:]  # an ESP32's queue
        return self._waiting.pop(0) if self._waiting else None

    def close(self) -> None:
        pass


class Board:
    """One Watch, with a server that answers at once; all in the time of `clock`."""

    def __init__(self, bench: Watching, patch: pytest.MonkeyPatch, every_ms: int = HOUR_MS) -> None:
        self.clock = Clock()
        self.air = Air(self.clock)
        self.header: bytes | None = None
        self.asked_ms: list[int] = []
        self.allowed_ms: list[int] = []
        self.reset_ms: int | None = None
        patch.setattr(bench.module, "fetch_header", self._fetch)
        patch.setattr(bench.module, "POLL_MS", 250)
        for name, value in {"HOLD_MS": 4000, "ALLOW_EVERY_MS": 3000, "SPREAD_MS": 2000}.items():
            patch.setattr(bench.module, name, value)
        patch.setattr(asyncio, "sleep_ms", self._sleep)
        self.watch = bench.module.Watch(None, every_ms)
        self.watch._clock = self.clock
        self.watch.hearing._join = self._join
        self.watch._ask_ms = every_ms

    def _join(self, _nic: Any) -> None:
        self.watch.hearing.group = self.air

    async def _sleep(self, duration_ms: int) -> None:
        self.clock.ms += duration_ms
        if self.clock.ms > self.until_ms:
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    async def _fetch(self, *_arguments: Any) -> bytes | None:
        self.asked_ms.append(self.clock.ms)
        return self.header

    def run(self, duration_ms: int) -> None:
        """Let so much time pass, or until it resets."""
        self.until_ms = self.clock.ms + duration_ms

        async def main() -> None:
            await self.watch.run()

        try:
            asyncio.run(main())
        except asyncio.CancelledError:
            pass
        except ResetError:
            self.reset_ms = self.clock.ms


@pytest.fixture
def bench(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    with MiniServer({}).running() as server:
        bench = Watching(world, server, IMAGE, monkeypatch)
        bench.boot()
        yield bench


@pytest.fixture
def board(bench: Watching, monkeypatch: pytest.MonkeyPatch) -> Board:
    return Board(bench, monkeypatch)


def forged(dice: random.Random, name: str = IMAGE, wait_ms: int = 10_000) -> bytes:
    return pack_announcement(name, dice.randbytes(16).hex(), wait_ms)


def allowed_questions(minutes: int) -> int:
    """PROTOCOL.md section 13."""
    return 3 + minutes


@pytest.mark.parametrize("minutes", [1, 10, 40])
def test_a_flood_of_announcements_costs_three_questions_and_one_a_minute(board: Board, minutes: int) -> None:
    dice = random.Random(minutes)
    board.air.script = lambda _ms: [forged(dice) for _copy in range(6)]  # 24 a second: all that fit the queue
    board.run(minutes * MINUTE_MS)
    assert 3 <= len(board.asked_ms) <= allowed_questions(minutes)
    assert board.reset_ms is None


def test_a_flood_does_not_hide_a_real_image_for_more_than_a_minute(board: Board) -> None:
    dice = random.Random(1)
    container = make_container()
    published_ms = 10 * MINUTE_MS

    def script(ms: int) -> list[bytes]:
        if ms >= published_ms:
            board.header = bytes(container.data[:1024])
        return [forged(dice) for _copy in range(6)]

    board.air.script = script
    board.run(20 * MINUTE_MS)
    assert board.reset_ms is not None
    assert board.reset_ms - published_ms < 2 * MINUTE_MS


def test_announcements_for_others_and_of_what_is_known_cost_nothing(board: Board) -> None:
    container = make_container(board="OTHER")  # judged, and not for us
    board.header = bytes(container.data[:1024])
    board.watch._ask_ms = 0
    known = pack_announcement(IMAGE, content_id(board.header), 10_000)
    dice = random.Random(2)
    board.air.script = lambda ms: [] if ms < 1000 else [known, forged(dice, "other"), b"junk", known[:-1]]
    board.run(30 * MINUTE_MS)
    assert len(board.asked_ms) == 1


def test_another_server_with_an_image_of_that_name_costs_one_question(board: Board) -> None:
    """Its repeats every minute are not asked for again, as long as our server's answer is the same."""
    other = pack_announcement(IMAGE, "ab" * 16, 0)
    board.air.script = lambda ms: [other] if ms % MINUTE_MS == 0 else []
    board.run(40 * MINUTE_MS)
    assert len(board.asked_ms) == 1


def test_boards_that_hear_of_an_image_ask_one_by_one_and_come_in_together(
    bench: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = make_container()
    times = []
    for number in range(40):
        board = Board(bench, monkeypatch)
        board.header = bytes(container.data[:1024])
        heard_ms = (0, 1000, 2500)[number % 3]  # the first announcements were lost for some
        data = pack_announcement(IMAGE, container.content_id, 10_000 - heard_ms)
        board.air.script = lambda ms, at=heard_ms, data=data: [data] if ms == 30_000 + at else []  # type: ignore[misc]
        board.run(MINUTE_MS)
        bench.world.journal.Journal().drop("watch")
        assert len(board.asked_ms) == 1
        times.append((board.asked_ms[0], board.reset_ms))
    assert {reset_ms for _asked_ms, reset_ms in times} == {40_000}
    assert len({asked_ms for asked_ms, _reset_ms in times}) > 10


def test_nobody_can_put_the_moment_off_again_and_again(board: Board) -> None:
    container = make_container()
    board.header = bytes(container.data[:1024])
    data = pack_announcement(IMAGE, container.content_id, 15_000)
    board.air.script = lambda _ms: [data]
    board.run(MINUTE_MS)
    assert board.reset_ms is not None
    assert board.reset_ms <= 15_500


def test_found_before_it_is_announced_it_waits_for_the_others(board: Board) -> None:
    container = make_container()
    board.header = bytes(container.data[:1024])
    board.watch._ask_ms = 1000
    data = pack_announcement(IMAGE, container.content_id, 10_000)
    board.air.script = lambda ms: [data] if ms == 3000 else []
    board.run(MINUTE_MS)
    assert board.reset_ms == 13_000


def test_thousands_of_polls_ask_as_often_as_they_should(
    bench: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(bench, monkeypatch, every_ms=MINUTE_MS)
    board.run(60 * MINUTE_MS)
    gaps = [after - before for before, after in zip(board.asked_ms, board.asked_ms[1:], strict=False)]
    assert 50 <= len(gaps) <= 80
    assert min(gaps) >= MINUTE_MS * 3 // 4
    assert max(gaps) <= MINUTE_MS * 5 // 4 + 250
    assert len(set(gaps)) > 20  # boards switched on together do not stay together
