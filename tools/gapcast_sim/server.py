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

START_SECONDS = 20
STOP_SECONDS = 5
MAX_LINE_BYTES = 65536


def free_port(address: str) -> int:
    """A UDP port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """`gapcast serve --json`; keeps the last air count it told."""

    def __init__(self, root: Path, address: str, port: int, options: tuple[str, ...] = ()) -> None:
        self.port = port
        self.air_bytes = {"multicast": 0, "unicast": 0}
        self.repair_requests = 0
        self.counts: dict[str, int] = {}
        self.drops: dict[str, int] = {}
        self._argv = [sys.executable, "-m", "gapcast", "serve", str(root), "--listen", address]
        self._argv += ["--port", str(port), "--json", *options]
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def start(self) -> None:
        """Raises OperatorError when the server does not come up."""
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
        )
        self._reader = asyncio.create_task(self._read())
        waiter = asyncio.create_task(self._listening.wait())
        done, _ = await asyncio.wait(
            {waiter, self._reader}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if waiter not in done:
            waiter.cancel()
            error = await self._error_text() if self._reader in done else "no answer"
            raise OperatorError(f"the server did not start: {error}")

    async def stop(self) -> None:
        """Ask it to end, so that it tells its last counts; kill it if it does not."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
        await self.kill()
        if self._reader:
            await self._reader

    async def kill(self) -> None:
        """End it without a word, as a power cut would."""
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def _error_text(self) -> str:
        assert self._process is not None
        assert self._process.stderr is not None
        text = await self._process.stderr.read()
        return text.decode(errors="replace").strip() or "it ended at once"

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            with contextlib.suppress(ValueError):
                self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        kind = str(event.get("event"))
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind == "listening":
            self._listening.set()
        elif kind == "air":
            self.air_bytes = {key: event[key] for key in ("multicast", "unicast")}
        elif kind == "transfer_open" and event.get("ranges"):
            self.repair_requests += 1
        elif kind == "stopped":
            self.air_bytes = event["air_bytes"]
            self.drops = event["drops"]
