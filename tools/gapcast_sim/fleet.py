"""A bench of simulated boards and their server: started together, watched, and added up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gapcast.errors import OperatorError
from gapcast_sim.board import SimBoard
from gapcast_sim.events import Event
from gapcast_sim.image import BenchImage
from gapcast_sim.provision import BoardSpec, factory_image, prepare
from gapcast_sim.registry import Registry
from gapcast_sim.result import BoardResult
from gapcast_sim.runtime import Runtime
from gapcast_sim.server import ServerProcess, free_port

SERVER_ADDRESS = "127.0.0.1"
MAX_BOARDS = 1000  # addresses 127.0.1.1 onwards; more do not fit a PC anyway
START_MARGIN_S = 0.2  # between the last board's word and the common start: every board polls every 10 ms
START_LIMIT_S = 60.0
DATAGRAM_OVERHEAD_BYTES = 46  # TFTP header, UDP, IP, Ethernet
BLOCK_BYTES = 1024
SLOWNESS = 10
Snapshot = tuple[float, str]


@dataclass
class FleetSpec:
    """What `gapcast sim` was asked for."""

    image: BenchImage
    root: Path
    folder: Path
    boards: int
    loss: float
    seed: int
    rate: str
    heap_bytes: int | None
    rx_queue: int = 6
    flash_timing: bool = False
    burst: int = 1  # datagrams lost in a row on average
    slow_boards: int = 0  # the first ones have SLOWNESS times slower flash
    limit_s: float = 300.0
    health_ms: int | None = None
    power_cuts: int = 0
    serve_options: tuple[str, ...] = ()

    @property
    def image_bytes(self) -> int:
        """Of the container: what the server sends."""
        return self.image.container_bytes


@dataclass
class Fleet:
    """The bench at work."""

    spec: FleetSpec
    runtime: Runtime
    boards: list[SimBoard] = field(default_factory=list)
    snapshots: dict[str, list[Snapshot]] = field(default_factory=dict)
    server: ServerProcess | None = None
    registry: Registry | None = None
    started_at: float = 0.0
    first_request: float = 0.0
    last_verified: float = 0.0
    _ready: set[str] = field(default_factory=set)
    _gone: bool = False

    def build(self) -> None:
        """Make the boards' folders and the server, started by run(). Raises OperatorError."""
        port = free_port(SERVER_ADDRESS)
        self.registry = Registry(self.spec.folder)
        options = ("--rate", self.spec.rate, "--state", str(self.registry.path), *self.spec.serve_options)
        self.server = ServerProcess(self.spec.root, SERVER_ADDRESS, port, options)
        factory = factory_image()
        try:
            self.spec.folder.mkdir(parents=True, exist_ok=True)
            self._go_file.unlink(missing_ok=True)  # of an earlier run in a kept folder
        except OSError as error:
            raise OperatorError(f"cannot use the folder {self.spec.folder}: {error.strerror}") from error
        specs = [self._board_spec(number, port) for number in range(1, self.spec.boards + 1)]
        keys = self.registry.enroll({spec.id: spec.folder for spec in specs})
        for spec in specs:
            board_spec = replace(spec, report_key=keys[spec.id])
            prepare(board_spec, factory)
            self.boards.append(SimBoard(board_spec, self.runtime, self._on_event))
            self.snapshots[board_spec.id] = []
        self._go_file.unlink(missing_ok=True)  # of an earlier run in a kept folder

    def _board_spec(self, number: int, port: int) -> BoardSpec:
        name = f"board-{number:0{len(str(self.spec.boards))}d}"
        return BoardSpec(
            id=name,
            folder=self.spec.folder / name,
            server=SERVER_ADDRESS,
            port=port,
            image=self.spec.image.name,
            ip=f"127.0.{1 + number // 250}.{1 + number % 250}",
            loss=self.spec.loss,
            burst=self.spec.burst,
            seed=self.spec.seed * MAX_BOARDS + number,
            rx_queue=self.spec.rx_queue,
            flash_timing=self.spec.flash_timing,
            flash_slowness=SLOWNESS if number <= self.spec.slow_boards else 1,
            heap_bytes=self.spec.heap_bytes,
            go_file=self._go_file,
            limit_s=self.spec.limit_s,
            keys=self.spec.image.keys,
            allow_unsigned=self.spec.image.allow_unsigned,
            health_ms=self.spec.health_ms,
            power_cuts=self.spec.power_cuts,
            image_bytes=self.spec.image.container_bytes,
        )

    async def run(self, tick: Callable[[Fleet], None], tick_s: float) -> None:
        """Until every board is done; `tick` is called for the display."""
        assert self.server is not None
        self.started_at = time.monotonic()
        tasks: set[asyncio.Task[BoardResult]] = set()
        try:
            await self.server.start()
            tasks = {asyncio.create_task(board.run()) for board in self.boards}
            while tasks:
                done, tasks = await asyncio.wait(tasks, timeout=tick_s)
                for task in done:
                    self._ready.add(task.result().id)
                self._go_if_ready(time.monotonic())
                tick(self)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.server.stop()
        self._hear_reports()

    def _hear_reports(self) -> None:
        """What the server knows of its boards, into their results."""
        assert self.registry is not None
        states = self.registry.states()
        for board in self.boards:
            state = states.get(board.spec.id)
            board.result.state = state.state if state else None

    @property
    def _go_file(self) -> Path:
        return self.spec.folder / "go"

    def _go_if_ready(self, now: float) -> None:
        """Let the boards start together: when all are up, or when the slow ones have had their time."""
        late = now - self.started_at > START_LIMIT_S
        if self._gone or not (len(self._ready) == len(self.boards) or late):
            return
        self._gone = True
        draft = self._go_file.with_suffix(".new")
        draft.write_text(f"{time.time() + START_MARGIN_S}")
        draft.rename(self._go_file)

    def _on_event(self, board: SimBoard, event: Event) -> None:
        now = time.monotonic()
        kind = event.get("event")
        if kind == "ready":
            self._ready.add(board.spec.id)
            self._go_if_ready(now)
        if kind == "started" and board.result.boots == 1:
            self.first_request = min(self.first_request or now, now)
        elif kind == "verified":
            self.last_verified = max(self.last_verified, now)
        if kind in ("blocks", "stream_over", "verified") and board.recorder.gap_map:
            self.snapshots[board.spec.id].append((now, board.recorder.picture_map))

    @property
    def completed(self) -> int:
        return sum(board.ok for board in self.boards)

    @property
    def untouched(self) -> int:
        """Boards that ran this very image before (their flash was kept): nothing was sent to them."""
        return sum(board.ok and board.result.outcome == "up_to_date" for board in self.boards)

    @property
    def unsigned(self) -> int:
        """Boards that took an image which nobody signed."""
        return sum(board.result.unsigned for board in self.boards)

    @property
    def ok(self) -> bool:
        """Every board runs the new version, and the server lived to see it."""
        return self.completed == self.spec.boards and not (self.server and self.server.failure)

    @property
    def elapsed_s(self) -> float | None:
        """First request of all to the last image verified."""
        if not self.last_verified:
            return None
        return round(self.last_verified - self.first_request, 3)

    def unicast_cost_bytes(self) -> int:
        """What the same fleet costs by plain unicast TFTP without any loss (computed)."""
        blocks = -(-self.spec.image_bytes // BLOCK_BYTES)
        return self.spec.boards * (self.spec.image_bytes + blocks * DATAGRAM_OVERHEAD_BYTES)

    def summary(self) -> dict[str, Any]:
        """The `--json` of `gapcast sim`."""
        assert self.server is not None
        return {
            "image_bytes": self.spec.image_bytes,
            "boards": self.spec.boards,
            "completed": self.completed,
            "untouched": self.untouched,
            "unsigned": self.unsigned,
            "power_cuts": sum(board.result.cuts for board in self.boards),
            "elapsed_s": self.elapsed_s,
            "air_bytes": self.server.air_bytes,
            "unicast_cost_bytes": self.unicast_cost_bytes(),
            "repair_requests": self.server.repair_requests,
            "loss": self.spec.loss,
            "burst": self.spec.burst,
            "seed": self.spec.seed,
            "rate": self.spec.rate,
            "runtime": self.runtime.name,
            "server_drops": self.server.drops,
            "server_failure": self.server.failure,
            "results": [board.result.to_json() for board in self.boards],
        }
