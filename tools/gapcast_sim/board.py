"""One simulated board: its folder of flash, and the power supply that starts and restarts it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gapcast.errors import OperatorError
from gapcast.image.boards import chip_of_board
from gapcast.image.sample import build_sample
from gapcast_sim.events import Event, parse, printable
from gapcast_sim.process import Tail, dies_with_us, read_lines
from gapcast_sim.result import BoardResult, Recorder
from gapcast_sim.runtime import Runtime

BOARD_TYPE = "SIM"
FACTORY_VERSION = "0.0.0-factory"
FACTORY_BYTES = 8192
RESET_EXIT_CODE = 3  # boards/SIM/machine.py
MAX_BOOTS = 6  # a board that resets for ever is broken
APP_GRACE_S = 2.0  # for an application to end, or to fail, after it said who it is; firmware runs on for ever
GO_LIMIT_S = 120.0  # a board that is never told to start goes on alone (GO_POLLS in boards/SIM/sim_main.py)
MAX_ERROR_LINES = 6  # of a traceback, the last of which is the reason


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
    heap_bytes: int = 192 * 1024
    at_s: float = 0.0
    go_file: Path | None = None  # see boards/SIM/sim_world.py
    raw: bool = False
    limit_s: float = 300.0

    @property
    def mac(self) -> str:
        """A locally administered address that follows from the id."""
        digest = hashlib.sha256(self.id.encode()).digest()
        return ":".join(f"{byte:02x}" for byte in (2, *digest[:5]))


def local_address(server: str, port: int) -> str:
    """This host's address on the way to `server` (nothing is sent).

    Raises:
        OperatorError: The name does not resolve, or no network leads there.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((server, port))
            return str(probe.getsockname()[0])
    except UnicodeError as error:  # from the encoding of host names
        raise OperatorError(f"{server} is no host name") from error
    except OSError as error:
        raise OperatorError(f"no way to the server {server}: {error.strerror}") from error


def factory_image() -> bytes:
    """What a board leaves the factory with in slot 0."""
    return build_sample(FACTORY_BYTES, FACTORY_VERSION, chip_of_board(BOARD_TYPE))


def prepare(spec: BoardSpec, factory: bytes) -> None:
    """Write the board's settings; a folder without flash gets the factory's.

    Raises:
        OperatorError: The folder cannot be made or written.
    """
    world = {
        "ip": spec.ip,
        "loss_1000": round(spec.loss * 1000),
        "seed": spec.seed,
        "rx_queue": spec.rx_queue,
        "flash_timing": spec.flash_timing,
        "mac": spec.mac,
        "at_s": spec.at_s,
        "go_file": str(spec.go_file) if spec.go_file else None,
        "raw": spec.raw,
    }
    config = {
        "server": spec.server,
        "port": spec.port,
        "image": spec.image,
        "board": BOARD_TYPE,
        "wifi_ssid": "simulated",
        "allow_unsigned": True,
    }
    slot = spec.folder / "ota_0.bin"
    try:
        spec.folder.mkdir(parents=True, exist_ok=True)
        if not slot.exists():
            slot.write_bytes(factory)
        (spec.folder / "sim.json").write_text(json.dumps(world))
        (spec.folder / "gapcast.json").write_text(json.dumps(config))
    except OSError as error:
        message = f"cannot write the board's flash in {spec.folder}: {error.strerror}"
        raise OperatorError(message, "name a folder of your own, or one that is not there yet") from error


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
        self._grace: asyncio.TimerHandle | None = None
        self._grace_over = False
        self._limit: asyncio.Timeout | None = None

    @property
    def result(self) -> BoardResult:
        return self.recorder.result

    @property
    def ok(self) -> bool:
        """The new version runs (or the raw file is complete)."""
        result = self.result
        if self.spec.raw:
            return result.outcome == "raw"
        runs = result.version is not None and result.version == result.offered_version
        return runs and result.outcome not in ("failed", "refused")

    async def run(self) -> BoardResult:
        """Switch on; a board that resets itself is started again, as its hardware would."""
        hold_s = GO_LIMIT_S if self.spec.go_file else max(self.spec.at_s - time.time(), 0.0)
        try:
            async with asyncio.timeout(hold_s + self.spec.limit_s) as self._limit:
                await self._boot_until_done()
        except TimeoutError:
            if not self.ok:
                self._fail(f"not finished after {self.spec.limit_s:g} s")
        except OSError as error:  # no memory, or no file descriptors, for one more process
            self._fail(f"cannot be started: {error.strerror}")
        finally:
            await self.power_off()
        self._settle()
        return self.result

    async def power_off(self) -> None:
        """Cut the power: the process dies at once."""
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def _boot_until_done(self) -> None:
        for _boot in range(MAX_BOOTS):
            if await self._boot() != RESET_EXIT_CODE:
                return
        self._fail(f"reset {MAX_BOOTS} times: it does not come to rest")

    async def _boot(self) -> int:
        self._process = process = await asyncio.create_subprocess_exec(
            *self._runtime.command(self.spec.folder, self.spec.heap_bytes),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self._runtime.environment},
            preexec_fn=dies_with_us(signal.SIGKILL),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        errors = Tail()
        self._grace, self._grace_over = None, False
        try:
            await asyncio.gather(errors.drain(process.stderr), self._read_events(process.stdout))
            code = await process.wait()
        finally:
            if self._grace is not None:
                self._grace.cancel()
        if self._grace_over and code == -signal.SIGKILL:
            return 0
        if code not in (0, RESET_EXIT_CODE):
            self._fail(f"its process ended with code {code}: {printable(errors.last_line)}")
            for line in errors.text.splitlines()[-MAX_ERROR_LINES:-1]:
                self.recorder.note(printable(line))
        return code

    async def _read_events(self, stream: asyncio.StreamReader) -> None:
        in_application = False
        async for line in read_lines(stream):
            event = parse(line, in_application=in_application)
            kind = event["event"]
            in_application = in_application or kind == "application"
            if kind == "app" and self._grace is None:
                self._grace = asyncio.get_running_loop().call_later(APP_GRACE_S, self._end_grace)
            self.recorder.take(event)
            if kind == "started" and self.result.boots == 1:
                self._restart_limit()
            self._on_event(self, event)

    def _restart_limit(self) -> None:
        """However long it was held before: the limit is for the work."""
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time() + self.spec.limit_s)

    def _end_grace(self) -> None:
        """The application keeps running, as firmware does: seen enough."""
        if self._process is not None and self._process.returncode is None:
            self._grace_over = True
            self._process.kill()

    def _fail(self, detail: str) -> None:
        if self.result.outcome in ("none", "updated", "up_to_date", "raw"):
            self.result.outcome = "failed"
            self.result.detail = detail
        else:  # it failed before, and that says more
            self.recorder.note(detail)

    def _settle(self) -> None:
        """An outcome that sounds like success has to be one."""
        result = self.result
        if self.ok or result.outcome in ("failed", "refused"):
            return
        if result.offered_version is None:
            self._fail(result.detail or "it was offered no image")
        elif result.version is None:
            self._fail(f"the application of {result.offered_version} never said who it is")
        else:
            self._fail(f"runs {result.version}, was offered {result.offered_version}")
