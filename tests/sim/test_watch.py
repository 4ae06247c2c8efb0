"""Boards whose application runs while a new image is put into the server's folder come in and take it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from boot_world import CHIP
from sim_help import gapcast

from gapcast.image.build import build_container
from gapcast.image.keys import board_key_text, make_key
from gapcast.image.sample import build_sample
from gapcast_sim.board import SimBoard
from gapcast_sim.events import Event
from gapcast_sim.provision import BoardSpec, prepare
from gapcast_sim.result import BoardResult
from gapcast_sim.runtime import Runtime
from gapcast_sim.server import ServerProcess, free_port

BOARDS = 3
SECONDS = 60.0
OLD, NEW = "1.0.0", "2.0.0"
BIG = 200_000  # worth a stream


class Bench:
    """Boards that run version OLD, and a server that has nothing newer."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir()
        self.key = make_key(folder / "key.pem")
        self.image = f"lab-{os.getpid()}"  # the group is everybody's
        port = free_port("127.0.0.1")
        options = ("--rate", "20M", "--state", str(folder / "fleet.db"))
        self.server = ServerProcess(self.root, "127.0.0.1", port, options)
        factory = build_sample(8192, OLD, CHIP, app="watch")
        self.boards = [self._board(number, port, runtime) for number in range(1, BOARDS + 1)]
        for board in self.boards:
            prepare(board.spec, factory)
        self.running: dict[str, str] = {}  # what each board's application said last
        self.confirmed: set[str] = set()
        self.changed = asyncio.Event()

    def _board(self, number: int, port: int, runtime: Runtime) -> SimBoard:
        spec = BoardSpec(
            id=f"b{number}", folder=self.folder / f"b{number}", server="127.0.0.1", port=port,
            image=self.image, ip=f"127.0.1.{number}", seed=number, limit_s=SECONDS,
            keys=(board_key_text(self.key.public_key()),), run_s=SECONDS,
        )  # fmt: skip
        return SimBoard(spec, runtime, self._on_event)

    def _on_event(self, board: SimBoard, event: Event) -> None:
        if event["event"] == "app":
            self.running[board.spec.id] = event["version"]
        elif event["event"] == "confirmed":
            self.confirmed.add(board.spec.id)
        self.changed.set()

    def publish(self) -> None:
        data = build_sample(BIG, NEW, CHIP, app="watch")
        container = build_container(data, "lab", "SIM", CHIP, key=self.key)
        draft = self.root / "draft"
        draft.write_bytes(container.data)
        draft.rename(self.root / f"{self.image}.gap")

    def version(self, board: SimBoard) -> str | None:
        return self.running.get(board.spec.id)

    async def until(self, *boards: SimBoard, version: str) -> None:
        """These boards run it, and it is there to stay."""

        def done(board: SimBoard) -> bool:
            settled = version == OLD or board.spec.id in self.confirmed
            return self.version(board) == version and settled

        while not all(done(board) for board in boards):
            self.changed.clear()
            await self.changed.wait()


def test_run_wants_some_time(tmp_path: Path) -> None:
    done = gapcast("board", "--server", "127.0.0.1", "--image", "x", "--flash", tmp_path, "--run", 0)
    assert done.returncode == 2
    assert "--run" in done.stderr


async def roll_out(bench: Bench) -> list[BoardResult]:
    """Everything on one bench: idle boards come in together; a busy one when it is not busy any more."""
    *idle, busy = bench.boards
    (busy.spec.folder / "busy").touch()
    tasks: list[asyncio.Task[BoardResult]] = []
    try:
        async with asyncio.timeout(SECONDS):
            await bench.server.start()
            tasks = [asyncio.create_task(board.run()) for board in bench.boards]
            await bench.until(*bench.boards, version=OLD)
            bench.publish()
            await bench.until(*idle, version=NEW)
            assert bench.version(busy) == OLD
            assert busy.result.boots == 1
            (busy.spec.folder / "busy").unlink()
            await bench.until(busy, version=NEW)
            for board in bench.boards:
                board.seen_enough()
            return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bench.server.stop()


def test_boards_that_run_come_in_for_a_new_image_when_they_may(runtime: Runtime, tmp_path: Path) -> None:
    bench = Bench(tmp_path, runtime)
    results = asyncio.run(roll_out(bench))
    for board, result in zip(bench.boards, results, strict=True):
        assert board.ok, (result.outcome, result.detail, result.notes)
        assert (result.version, result.confirmed, result.slot) == (NEW, True, 1)
        assert result.boots == 3  # as it was; pre-boot that updates; the new version
    idle = [result.role for result in results[:-1]]
    assert sorted(idle) == ["listener", "master"]  # one stream for those that came in together
    assert bench.server.counts["announced"] == 1
    assert bench.server.failure == ""
