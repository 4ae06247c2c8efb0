"""Gapcast: `gapcast serve`, and boards that run the real client in MicroPython."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from bench.case import Trial
from bench.contest import Contestant, Run, Stage, says
from bench.crew import Member
from bench.peers import Tftp, tool_missing
from gapcast_sim.provision import BoardSpec, factory_image, prepare
from gapcast_sim.runtime import Runtime, find_runtime

PORT = 69
SERVER = [sys.executable, "-m", "gapcast", "serve"]
START_MARGIN_S = 0.2  # every board looks every 10 ms whether it may start
MANY = 20  # boards: more of them run in the MicroPython that takes the least time
LARGE_HEAP_BYTES = 512 * 1024  # of these: as a board with PSRAM, which needs no collector so often
_TICKS_MASK = (1 << 30) - 1  # MicroPython's ticks_ms on 32 bits: milliseconds of CLOCK_MONOTONIC
_PLAUSIBLE_MS = 5000


def server(stage: Stage) -> list[str]:
    """The command line of our server."""
    rate = f"{stage.case.rate_bps or 0:.0f}"
    where = ["--listen", stage.air.address(0), "--port", str(PORT), "--state", str(stage.work / "fleet.db")]
    return [*SERVER, str(stage.root), *where, "--rate", rate, "--json"]


class Gapcast(Contestant):
    """Boards with the boot client, until the digest of the image is verified."""

    name = "gapcast"

    def __init__(self) -> None:
        self._runtime: Runtime | None = None
        self._quick: Runtime | None = None
        self._factory = b""

    def missing(self) -> str | None:
        reasons: list[str] = []
        self._runtime = find_runtime(reasons.append)
        self._quick = find_runtime(reasons.append, quick=True)
        self._factory = factory_image()
        return None if self._runtime.is_micropython else reasons[-1]

    def _runtime_for(self, receivers: int) -> Runtime:
        """Many boards share the cores of this machine, which a real fleet does not."""
        found = self._quick if receivers > MANY else self._runtime
        assert found is not None
        return found

    def prepare(self, run: Run) -> None:
        stage = run.stage
        run.sender = run.crew.start(0, server(stage), _on_server)
        if not run.await_ready([run.sender], "the server"):
            return
        runtime = self._runtime_for(stage.case.receivers)
        for host in stage.hosts:
            spec = self._spec(stage, host)
            prepare(spec, self._factory)
            argv = runtime.command(spec.folder, LARGE_HEAP_BYTES if runtime is self._quick else None)
            environment = dict(runtime.environment)
            run.receivers.append(run.crew.start(host, argv, _on_board, environment=environment))
        run.await_ready(run.receivers, "a board")

    def _spec(self, stage: Stage, host: int) -> BoardSpec:
        return BoardSpec(
            id=f"board-{host}",
            folder=stage.out(host).parent,
            server=stage.air.address(0),
            port=PORT,
            image="fw",
            ip=stage.air.address(host),
            seed=host,
            rx_queue=0,  # nothing on a simulated board is slow, so a short queue would measure this PC
            go_file=stage.work / "go",
            allow_unsigned=True,
            quiet=True,
            weigh=not self._runtime_for(stage.case.receivers).is_64_bit,
            off_when_verified=True,
        )

    def go(self, run: Run) -> None:
        draft = run.stage.work / "go.new"
        draft.write_text(f"{time.time() + START_MARGIN_S}")
        draft.rename(run.stage.work / "go")

    def proof(self, stage: Stage, host: int) -> Path:
        return stage.out(host).parent / "ota_1.bin"  # it left the factory with ota_0

    def extras(self, run: Run, trial: Trial) -> None:
        if not self._runtime_for(run.stage.case.receivers).is_64_bit:  # there all of it is twice as large
            trial.heap_bytes = max((member.heap_bytes for member in run.receivers), default=0) or None


def _on_server(member: Member, line: str, _now: float) -> None:
    if '"listening"' in line:
        member.ready = True


def _on_board(member: Member, line: str, now: float) -> None:
    try:
        event = json.loads(line)
        kind = event["event"]
    except (ValueError, KeyError, TypeError):
        return
    if kind == "ready":
        member.ready = True
    elif kind == "verified":
        member.done_at = told_at(event["ms"], now)
        member.heap_bytes = event.get("heap_peak_bytes", 0)


def told_at(ticks_ms: int, now: float) -> float:
    """When a board said so, by its own clock, which is this machine's; `now` if that cannot be."""
    ago_ms = (int(now * 1000) - ticks_ms) & _TICKS_MASK
    return now - ago_ms / 1000 if ago_ms < _PLAUSIBLE_MS else now


class StockOurs(Tftp):
    """Stock atftp clients by RFC 2090, from our server."""

    name = "gapcast-stock"
    stock = True
    client_options = ("multicast", "blksize 1428", "timeout 1")
    server_ready = says('"listening"')

    def missing(self) -> str | None:
        return tool_missing("atftp", "atftp")

    def sender(self, stage: Stage) -> list[str]:
        return server(stage)
