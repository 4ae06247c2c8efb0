"""One board whose power can be cut at any operation: the real pre-boot over simulated flash, NVS and otadata.

Only the network is a double: blocks come out of memory (MemoryTransfer), so that thousands of lives
of a board take seconds. Flash is kept in memory too, with boards/SIM's rules.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from boot_world import CHIP, Recording, World

from gapcast.image.build import Container, build_container
from gapcast.image.sample import build_sample
from gapcast_core import report
from gapcast_core.container import HEADER_BYTES

BLOCK = 1024
LIMIT_MS = 30 * 60 * 1000
CHUNK = 4096
MAX_BOOTS = 12  # of one life: a board that resets more often does not come to rest
POWER_ON, SOFT_RESET = 1, 5
KEY = "5a" * 32
SLOTS = ("ota_0", "ota_1")


def cut_points(ops: int) -> list[tuple[int, bool]]:
    """Before each operation, and in the middle of it."""
    return [(at, half) for at in range(1, ops + 1) for half in (False, True)]


def container_of(image_bytes: int, version: str = "2.0.0", seed: int = 1) -> Container:
    return build_container(build_sample(image_bytes, version, CHIP, seed), "image", "SIM", CHIP)


@dataclass
class Snapshot:
    """Everything that outlives the power."""

    flash: dict[str, bytes]
    nvs: str


@dataclass
class Life:
    """From power-on to a cut, or to an application that runs."""

    cut: bool = False
    boots: int = 0
    ops: int = 0
    outcomes: list[str] = field(default_factory=list)


class Tally:
    """What the tests of this folder tried, for the end of the run."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def tell(self, what: str, cuts: int, again_bytes: int) -> None:
        self._lines.append(f"{what}: {cuts} cuts tried, at most {again_bytes} image bytes again per cut")


class MemoryTransfer:
    """As transfer.Transfer, with the container in memory: a stream that loses blocks, then repairs."""

    rig: Rig

    def __init__(self, _server: Any, _ip: str, name: str, sink: Any, clock: Any, progress: Any, *rest: Any):
        self.download = self.rig.download.Download(sink, clock, progress, rest[0], LIMIT_MS, *rest[1:])
        self.repaired_blocks = self.repaired_bytes = 0
        self.ranges_known = True
        self._sink = sink
        self._name = name

    def run_head(self, size_bytes: int, is_sound: Callable[[], bool] | None) -> None:
        self.rig.requests += 1
        self._sink.write(0, memoryview(self.rig.new.data)[:size_bytes])
        assert is_sound is None or is_sound()

    def run_ranges(self) -> bool:
        if self.rig.is_stock:
            self.ranges_known = False
            return False
        self._pass(0.0)
        return True

    def run(self) -> None:
        if self.download.gaps is None:
            self.download.preset(self.rig.gaps.GapList(len(self.rig.new.data) // BLOCK))
        self._pass(self.rig.loss)
        self._pass(0.0)

    def run_again(self, by_stream: bool) -> None:
        del by_stream
        self._pass(0.0)

    def close(self) -> None:
        pass

    def _pass(self, loss: float) -> None:
        gaps = self.download.gaps
        data = memoryview(self.rig.new.data)
        for block in range(1, gaps.total + 1):
            if gaps.is_missing(block) and not (loss and self.rig.dice.random() < loss):
                payload = self.rig.damaged(block, data[(block - 1) * BLOCK : block * BLOCK])
                if block > 1:
                    self.rig.fetched_bytes += len(payload)
                self._sink.write((block - 1) * BLOCK, payload)
                gaps.add(block)


class Rig:
    """A board with the factory's image in slot 0, and a server that has a new one."""

    def __init__(self, world: World, image_bytes: int, stale: bytes = b"", loss: float = 0.0) -> None:
        self.world = world
        self.download = __import__("gapcast_boot.download", fromlist=["Download"])
        self.gaps = __import__("gapcast_core.gaps", fromlist=["GapList"])
        self.old_image = build_sample(8192, "1.0.0", CHIP)
        self.new = container_of(image_bytes)
        self.loss = loss
        self.is_stock = False
        self.app = "ok"
        self.requests = 0
        self.fetched_bytes = 0
        self.reports: list[Any] = []
        self.flips: set[int] = set()  # blocks that come with one bit wrong, once
        self.told = Recording()
        world.settings["slot_bytes"] = max(0x40000, -(-len(self.new.data) // 4096) * 4096 + 8192)
        transfer = type("Transfer", (MemoryTransfer,), {"rig": self})
        for module in (world.agent, world.updating):
            module.Transfer = transfer
        world.modules["gapcast_boot.reporting"].send = self._take_report  # type: ignore[attr-defined]
        self.config = world.config(6969, report_key=KEY, id="rig")
        self.dice = random.Random(1)
        world.power.reset()
        self.bad_chunks: list[int] = []
        self.factory = Snapshot({"ota_0": self.old_image, "ota_1": stale, "otadata": b""}, "{}")
        self.restore(self.factory)

    # -- what outlives the power ------------------------------------------------------------

    def restore(self, snapshot: Snapshot) -> None:
        for label, data in snapshot.flash.items():
            nor = self.world.nor(label)
            nor._file.close()
            nor._file = io.BytesIO(data)
            nor._length = len(data)
        (self.world.folder / "nvs.json").write_text(snapshot.nvs)
        self.dice.seed(1)

    def snapshot(self) -> Snapshot:
        flash = {label: self.world.nor(label)._file.getvalue() for label in (*SLOTS, "otadata")}
        return Snapshot(flash, (self.world.folder / "nvs.json").read_text())

    def nvs(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.world.folder / "nvs.json").read_text())
        return found

    # -- lives ------------------------------------------------------------------------------

    def live(self, cut_at: int = 0, half: bool = False) -> Life:
        """Switch on; until the power is cut, or the application runs and needs no reset."""
        world = self.world
        world.power.reset(cut_at, half)
        world.settings["reset_cause"] = POWER_ON
        life = Life()
        try:
            while self._boot(life):
                assert life.boots < MAX_BOOTS, f"it does not come to rest: {life.outcomes}"
                world.settings["reset_cause"] = SOFT_RESET
        except world.power.PowerCut:
            life.cut = True
        life.ops = world.power.ops
        return life

    def _boot(self, life: Life) -> bool:
        """One boot; True when the board has reset itself."""
        world = self.world
        life.boots += 1
        slot = world.power_on()
        self.check_bootable(slot)
        world.health._state = world.health._State()  # RAM
        self.told = Recording()
        try:
            world.agent.run(self.told, self.config)
            life.outcomes.append(self.told.outcome)
            self.bad_chunks += self.told.bad
            if self.runs_new(slot):
                self._application()
        except SystemExit:
            if len(life.outcomes) < life.boots:
                life.outcomes.append(self.told.outcome)
                self.bad_chunks += self.told.bad
            life.outcomes[-1] += " reset"
            return True
        return False

    def _application(self) -> None:
        health = self.world.health
        if self.app == "ok":
            assert health.alive()
        elif self.app == "exception":
            health.run(lambda: 1 // 0)
        else:  # hangs until the deadline
            self.world.timer.fire()

    def check_bootable(self, slot: int) -> None:
        """The boot loader has chosen one of the two images, whole."""
        assert self.world.ota.image_fault(self.world.nor(SLOTS[slot])) is None, "neither boots"
        assert self.runs_new(slot) or self.image_in(slot, len(self.old_image)) == self.old_image

    def image_in(self, slot: int, size_bytes: int) -> bytes:
        return self.world.read(SLOTS[slot], size_bytes)

    def runs_new(self, slot: int) -> bool:
        image = bytes(self.new.image)
        return self.image_in(slot, len(image)) == image

    # -- doubles ----------------------------------------------------------------------------

    def damaged(self, block: int, payload: memoryview) -> memoryview:
        if block not in self.flips:
            return payload
        self.flips.discard(block)
        return memoryview(bytes([payload[0] ^ 1]) + payload[1:])

    def _take_report(self, _server: Any, _ip: str, _clock: Any, name: str, data: bytes, _ms: int) -> bool:
        assert name == "rig"
        told = report.parse_report(data)
        assert told.mac == report.report_mac(bytes.fromhex(KEY), name, told.body)
        self.reports.append(told)
        return True

    # -- what must be so --------------------------------------------------------------------

    def assert_updated(self) -> None:
        """The new image runs, whole, and is confirmed."""
        world = self.world
        slot = world.esp32._running_slot
        assert self.runs_new(slot)
        stored = bytes(self.new.data[HEADER_BYTES:])
        assert self.image_in(slot, len(stored)) == stored
        assert world.ota.active(world.nor("otadata"))[2] == world.ota.VALID
        assert "gapcast.trial" not in self.nvs()
        assert self.told.outcome in ("on_trial", "up_to_date")
        states = [told.state for told in self.reports]
        assert report.CONFIRMED in states
        assert report.ROLLED_BACK not in states
        # What was sent when the power went is sent again, and is the same then: the server takes it once.
        bodies = {told.sequence: told.body for told in self.reports}
        assert [told.sequence for told in self.reports] == sorted(told.sequence for told in self.reports)
        assert all(bodies[told.sequence] == told.body for told in self.reports)

    def again_bytes(self) -> int:
        """Image bytes that were fetched more often than once."""
        return self.fetched_bytes - (len(self.new.data) - HEADER_BYTES)

    def forget_counts(self) -> None:
        self.fetched_bytes = 0
        self.reports.clear()
