"""A board as the factory ships it, through its boots (the fixture `board` of conftest.py)."""

from __future__ import annotations

from typing import Any

import pytest
from boot_world import CHIP, MiniServer, Recording, World

from gapcast.image.sample import build_sample

FACTORY = build_sample(8192, "1.0.0", CHIP)
SOFT_RESET = 5
ENTRY_BYTES = 32  # of NVS


class Board:
    """A board as the factory ships it, and its server."""

    def __init__(self, world: World, server: MiniServer) -> None:
        self.world = world
        self.server = server
        self.slot = 0

    def boot(self, cause: int = SOFT_RESET, **more: Any) -> Recording:
        self.world.settings["reset_cause"] = cause
        self.slot = self.world.power_on()
        return self.boot_softly(**more)

    def boot_softly(self, **more: Any) -> Recording:
        """boot.py once more, with no boot loader in between."""
        self.world.health._state = self.world.health._State()
        return self.world.preboot(self.world.config(self.server.port, **more))

    def fail(self) -> None:
        """The application of an image on trial ends with an exception."""
        with pytest.raises(SystemExit):
            self.world.health.run(lambda: 1 // 0)

    def otadata(self) -> tuple[int, int]:
        """(slot to boot, its state)."""
        _index, sequence, state = self.world.ota.active(self.world.nor("otadata"))
        return (sequence - 1) % 2, state

    def fill_nvs(self, leave_bytes: int) -> None:
        """An application that keeps much there itself."""
        nvs: Any = self.world.modules["sim_nvs"]
        mine = nvs.NVS("app")

        def free_bytes() -> int:
            return int(nvs._ROOM_BYTES - sum(nvs._entry_bytes(value) for value in nvs._load().values()))

        for index in range(500):
            if free_bytes() <= leave_bytes + 1200:
                break
            mine.set_blob(f"long{index}", bytes(1000))
        for index in range(500):
            if free_bytes() < leave_bytes + 3 * ENTRY_BYTES:
                break
            mine.set_blob(f"short{index}", b"x")
