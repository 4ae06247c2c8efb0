"""The server of a simulated fleet: the real `gapcast serve` in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from gapcast.errors import OperatorError
from gapcast_sim.events import printable
from gapcast_sim.process import Tail, dies_with_us, read_lines

START_SECONDS = 20
STOP_SECONDS = 5


def free_port(address: str) -> int:
    """A UDP port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """`gapcast serve --json`; keeps the last air count it told.

    Attributes:
        failure: How it ended otherwise than asked to; empty as long as all is well.
    """

    def __init__(self, root: Path, address: str, port: int, options: tuple[str, ...] = ()) -> None:
        self.port = port
        self.air_bytes = {"multicast": 0, "unicast": 0}
        self.repair_requests = 0
        self.counts: dict[str, int] = {}
        self.drops: dict[str, int] = {}
        self.failure = ""
        self._argv = [sys.executable, "-m", "gapcast", "serve", str(root), "--listen", address]
        self._argv += ["--port", str(port), "--json", *options]
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._errors = Tail()
        self._listening = asyncio.Event()
        self._asked_to_end = False
        self._killed = False

    async def start(self) -> None:
        """Raises OperatorError when the server does not come up; no process is left then."""
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                preexec_fn=dies_with_us(signal.SIGTERM),
            )
        except OSError as error:
            raise OperatorError(f"the server did not start: {error.strerror}") from error
        self._watcher = asyncio.create_task(self._watch(process))
        waiter = asyncio.create_task(self._listening.wait())
        try:
            await asyncio.wait(
                {waiter, self._watcher}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiter.cancel()
        if not self._listening.is_set():
            why = self._reason() or "it ended at once" if self._watcher.done() else "no answer"
            await self.kill()
            raise OperatorError(f"the server did not start: {why}")

    async def stop(self) -> None:
        """Ask it to end, so that it tells its last counts; kill it if it does not."""
        process = self._process
        if process is None or self._watcher is None:
            return
        if process.returncode is None:
            self._asked_to_end = True
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                self.failure = f"the server (process {process.pid}) did not end when asked to"
        await self.kill()
        await self._watcher

    async def kill(self) -> None:
        """End it without a word, as a power cut would."""
        process = self._process
        if process is not None and process.returncode is None:
            self._killed = True
            process.kill()
            await process.wait()

    def _reason(self) -> str:
        """The last thing it said on its standard error, without the command's name in front."""
        line = self._errors.last_line
        return printable(line.removeprefix("gapcast: ").removeprefix("Error: "))

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Read what it tells until it ends."""
        assert process.stdout is not None
        assert process.stderr is not None
        await asyncio.gather(self._read(process.stdout), self._errors.drain(process.stderr))
        code = await process.wait()
        if not self._killed and (code != 0 or not self._asked_to_end):
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            why = f": {self._reason()}" if self._reason() else ""
            self.failure = f"the server (process {process.pid}) {how}{why}"

    async def _read(self, stream: asyncio.StreamReader) -> None:
        async for line in read_lines(stream):
            # Only a server of another version tells what is not expected: worth no more than a wrong count.
            with contextlib.suppress(ValueError, RecursionError, AttributeError, KeyError, TypeError):
                self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        kind = str(event.get("event"))
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind == "listening":
            self._listening.set()
        elif kind == "air":
            self.air_bytes = {key: int(event[key]) for key in ("multicast", "unicast")}
        elif kind == "transfer_open" and event.get("ranges"):
            self.repair_requests += 1
        elif kind == "stopped":
            self.air_bytes = {key: int(event["air_bytes"][key]) for key in ("multicast", "unicast")}
            self.drops = dict(event["drops"])
