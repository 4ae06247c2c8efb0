"""Real boards, MicroPython in a namespace each: what `gapcast board` runs, many of them from one process."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from gapcast.image.build import Container
from gapcast_sim.board import SimBoard
from gapcast_sim.boardflash import boot_choice, read_slot
from gapcast_sim.provision import BoardSpec, factory_image, prepare
from gapcast_sim.result import BoardResult
from gapcast_sim.runtime import Runtime, find_runtime
from interop.lab import Lab
from interop.peers import PORT, wait_until

LIMIT_S = 60.0  # for one board: more than any attack here may cost
READY_S = 30.0  # for all boards to have their network up
FLASH = ("ota_0.bin", "ota_1.bin", "otadata.bin")


@cache
def _runtime() -> Runtime:
    return find_runtime(lambda _text: None)


@cache
def _factory() -> bytes:
    return factory_image()


@dataclass
class Heard:
    """One event of one board."""

    board: str
    event: dict[str, Any]


class Fleet:
    """Boards on the hosts `indices`, which trust `keys` and ask for `image`. They start when `go` is called.

    flash: the folder with a folder for each board; boards that are there already go on with what they hold.
    image: a "{}" in it becomes the number of the host. stall_ms: as in gapcast.json.
    """

    def __init__(
        self,
        lab: Lab,
        indices: Iterable[int],
        flash: Path,
        image: str,
        *keys: str,
        stall_ms: int | None = None,
    ) -> None:
        self._lab = lab
        self.folder = flash
        self._go = flash / "go"
        self._stall_ms = stall_ms
        flash.mkdir(parents=True, exist_ok=True)
        self._go.unlink(missing_ok=True)
        self.heard: list[Heard] = []
        self.boards = [self._board(index, flash, image, keys) for index in indices]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def _board(self, index: int, flash: Path, image: str, keys: tuple[str, ...]) -> SimBoard:
        spec = BoardSpec(
            id=f"b-{index}",
            folder=flash / f"b-{index}",
            server=self._lab.address(0),
            port=PORT,
            image=image.format(index),
            ip=self._lab.address(index),
            seed=index,
            limit_s=LIMIT_S,
            keys=keys,
            go_file=self._go,
        )
        prepare(spec, _factory())
        if self._stall_ms is not None:
            settings = {**spec.settings(), "stall_ms": self._stall_ms}
            (spec.folder / "gapcast.json").write_text(json.dumps(settings))
        runtime = _runtime()
        runtime = replace(runtime, argv=tuple(self._lab.argv(index, *runtime.argv)))
        return SimBoard(spec, runtime, lambda board, event: self.heard.append(Heard(board.spec.id, event)))

    async def _run(self) -> None:
        await asyncio.gather(*(board.run() for board in self.boards))

    def go(self) -> None:
        """Switch them on, and let them ask as soon as all of them are ready."""
        self._thread.start()
        wait_until(lambda: len(self._who("ready")) == len(self.boards), "all boards are ready", READY_S)
        waiting = self._go.with_suffix(".new")
        waiting.write_text(str(time.time()))
        waiting.rename(self._go)

    def _who(self, kind: str) -> set[str]:
        return {heard.board for heard in list(self.heard) if heard.event["event"] == kind}

    def wait_for(self, kind: str, boards: int = 1, seconds: float = READY_S) -> None:
        """Until so many boards have had that event."""
        wait_until(lambda: len(self._who(kind)) >= boards, f"{kind} of {boards} boards", seconds)

    def done(self) -> list[BoardResult]:
        """Wait for all of them; what became of them."""
        self._thread.join(LIMIT_S + READY_S)
        assert not self._thread.is_alive(), "boards are not bounded"
        return [board.result for board in self.boards]

    def flash(self) -> dict[str, dict[str, bytes]]:
        """What each board's flash holds, byte for byte."""
        found = {}
        for board in self.boards:
            files = {name: board.spec.folder / name for name in FLASH}
            found[board.spec.id] = {name: file.read_bytes() for name, file in files.items() if file.exists()}
        return found

    def runs_factory(self, board: SimBoard) -> bool:
        """The image that it left the factory with is what boots, unchanged."""
        slot, _confirmed = boot_choice(board.spec.folder) or (0, False)
        return slot == 0 and read_slot(board.spec.folder, 0) == _factory()

    def assert_runs(self, container: Container) -> None:
        """Every board runs that image, and its slot holds exactly its bytes."""
        for board in self.boards:
            result = board.result
            assert board.ok, (result, board.recorder.result.notes)
            assert result.version == container.header.version, result
            assert booted_image(board.spec.folder, container) == container.image, result.id


def booted_image(folder: Path, container: Container) -> bytes:
    """As many bytes of the slot that boots as the image has."""
    slot, _confirmed = boot_choice(folder) or (0, False)
    return read_slot(folder, slot)[: container.header.image_bytes]
