"""One simulated board: its folder of flash, and the power supply that starts and restarts it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gapcast.image.boards import chip_of_board
from gapcast.image.sample import build_sample
from gapcast_sim.result import BoardResult, Event, Recorder
from gapcast_sim.runtime import Runtime

BOARD_TYPE = "SIM"
FACTORY_VERSION = "0.0.0-factory"
FACTORY_BYTES = 8192
RESET_EXIT_CODE = 3  # boards/SIM/machine.py
MAX_BOOTS = 6  # a board that resets for ever is broken
MAX_LINE_BYTES = 65536
MAX_STDERR_BYTES = 4096


@dataclass(frozen=True)
class BoardSpec:
    """Everything about a board that is not in its flash."""

    id: str
    folder: Path
    server: str
    port: int
    image: str
    ip: str
    loss: float = 0.0
    seed: int = 1
    rx_queue: int = 6
    flash_timing: bool = False
    heap_bytes: int = 112 * 1024
    at_s: float = 0.0
    raw: bool = False
    limit_s: float = 300.0

    @property
    def mac(self) -> str:
        """A locally administered address that follows from the id."""
        digest = hashlib.sha256(self.id.encode()).digest()
        return ":".join(f"{byte:02x}" for byte in (2, *digest[:5]))


def local_address(server: str, port: int) -> str:
    """This host's address on the way to `server` (nothing is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((server, port))
        return str(probe.getsockname()[0])


def factory_image() -> bytes:
    """What a board leaves the factory with in slot 0."""
    return build_sample(FACTORY_BYTES, FACTORY_VERSION, chip_of_board(BOARD_TYPE))


def prepare(spec: BoardSpec, factory: bytes) -> None:
    """Write the board's settings; a folder without flash gets the factory's."""
    spec.folder.mkdir(parents=True, exist_ok=True)
    slot = spec.folder / "ota_0.bin"
    if not slot.exists():
        slot.write_bytes(factory)
    world = {
        "ip": spec.ip,
        "loss_1000": round(spec.loss * 1000),
        "seed": spec.seed,
        "rx_queue": spec.rx_queue,
        "flash_timing": spec.flash_timing,
        "mac": spec.mac,
        "at_s": spec.at_s,
        "raw": spec.raw,
    }
    config = {
        "server": spec.server,
        "port": spec.port,
        "image": spec.image,
        "board": BOARD_TYPE,
        "wifi_ssid": "simulated",
    }
    (spec.folder / "sim.json").write_text(json.dumps(world))
    (spec.folder / "gapcast.json").write_text(json.dumps(config))


class SimBoard:
    """Runs one board until its application has started, it failed, or its time is up."""

    def __init__(
        self, spec: BoardSpec, runtime: Runtime, on_event: Callable[[SimBoard, Event], None]
    ) -> None:
        self.spec = spec
        self.recorder = Recorder(BoardResult(spec.id))
        self._runtime = runtime
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None

    @property
    def result(self) -> BoardResult:
        return self.recorder.result

    @property
    def ok(self) -> bool:
        """The new version runs (or the raw file is complete)."""
        result = self.result
        if self.spec.raw:
            return result.outcome == "raw"
        return result.version is not None and result.version == result.offered_version

    async def run(self) -> BoardResult:
        """Switch on; a board that resets itself is started again, as its hardware would."""
        try:
            async with asyncio.timeout(self.spec.limit_s):
                for _boot in range(MAX_BOOTS):
                    if await self._boot() != RESET_EXIT_CODE:
                        break
        except TimeoutError:
            self._fail(f"not finished after {self.spec.limit_s:g} s")
        finally:
            await self.power_off()
        return self.result

    async def power_off(self) -> None:
        """Cut the power: the process dies at once."""
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def _boot(self) -> int:
        self._process = process = await asyncio.create_subprocess_exec(
            *self._runtime.command(self.spec.folder, self.spec.heap_bytes),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self._runtime.environment},
            limit=MAX_LINE_BYTES,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        errors, _ = await asyncio.gather(self._read_errors(process.stderr), self._read_events(process.stdout))
        code = await process.wait()
        if code not in (0, RESET_EXIT_CODE):
            self._fail(f"the board's process ended with code {code}: {errors.strip()[-500:]}")
        return code

    async def _read_events(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            try:
                event = json.loads(line)
                known = isinstance(event, dict)
            except ValueError:
                known = False
            if not known:  # a print of the application, or of MicroPython itself
                event = {"event": "note", "text": line.decode(errors="replace").rstrip()}
            self.recorder.take(event)
            self._on_event(self, event)

    async def _read_errors(self, stream: asyncio.StreamReader) -> str:
        kept = b""
        while part := await stream.read(MAX_STDERR_BYTES):
            kept = (kept + part)[-MAX_STDERR_BYTES:]
        return kept.decode(errors="replace")

    def _fail(self, detail: str) -> None:
        if self.result.outcome in ("none", "updated", "up_to_date"):
            self.result.outcome = "failed"
            self.result.detail = detail
