"""The power supply of one simulated board: starts it, starts it again, and sees what became of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

from gapcast_sim.boardflash import boot_choice
from gapcast_sim.cuts import Cuts, Meter
from gapcast_sim.events import Event, parse, printable
from gapcast_sim.process import Tail, dies_with_us, read_lines
from gapcast_sim.provision import PWRON_RESET, SOFT_RESET, WDT_RESET, BoardSpec, set_world
from gapcast_sim.result import FAILURES, BoardResult, Recorder
from gapcast_sim.runtime import Runtime

CUT_EXIT_CODE = 4  # boards/SIM/sim_power.py
# By exit code (boards/SIM/sim_exit.py, sim_power.py): what machine.reset_cause() says at the next boot.
RESET_CAUSES = {3: SOFT_RESET, CUT_EXIT_CODE: PWRON_RESET, 5: WDT_RESET}
# An update that fails its trial takes seven: the old application, three boots that nobody confirms on a boot
# loader without rollback, the one that goes back by itself, and the old application again; and some to spare.
MAX_RESETS = 9  # by itself; more is a board that does not come to rest
APP_GRACE_S = 2.0  # for an application to end, or to fail, after it said who it is; firmware runs on for ever
GO_LIMIT_S = 120.0  # a board that is never told to start goes on alone (GO_POLLS in boards/SIM/sim_main.py)
MAX_ERROR_LINES = 6  # of a traceback, the last of which is the reason


class SimBoard:
    """Runs one board until its application has run for a while, it failed, or its time is up."""

    def __init__(
        self,
        spec: BoardSpec,
        runtime: Runtime,
        on_event: Callable[[SimBoard, Event], None],
    ) -> None:
        self.spec = spec
        self.recorder = Recorder(BoardResult(spec.id))
        self._runtime = runtime
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._grace_over = False
        self._limit: asyncio.Timeout | None = None
        self._cuts = Cuts(spec.seed, spec.power_cuts, spec.image_bytes)
        self._meter = Meter(spec.folder) if spec.power_cuts else None
        self._boot_bytes = 0  # programmed in this boot
        self._on_trial = False  # this boot's application has to be confirmed, or the board resets

    @property
    def result(self) -> BoardResult:
        return self.recorder.result

    @property
    def _limit_s(self) -> float:
        """For the work, and for what comes between."""
        return self.spec.limit_s + (self.spec.run_s or 0)

    @property
    def ok(self) -> bool:
        """The new version runs (or the raw file is complete)."""
        result = self.result
        if self.spec.raw:
            return result.outcome == "raw"
        runs = result.version is not None and result.version == result.offered_version
        return runs and result.confirmed and result.outcome in ("updated", "on_trial", "up_to_date")

    async def run(self) -> BoardResult:
        """Switch on; a board that resets, or lost its power, is started again."""
        hold_s = GO_LIMIT_S if self.spec.go_file else max(self.spec.at_s - time.time(), 0.0)
        try:
            async with asyncio.timeout(hold_s + self._limit_s) as self._limit:
                await self._boot_until_done()
        except TimeoutError:
            if not self.ok:
                trial = ": its application is on trial still" if self._on_trial else ""
                self._fail(f"not finished after {self._limit_s:g} s{trial}")
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
        cause = PWRON_RESET
        resets = 0
        cut_at, cut_half = self._cuts.next()
        while resets <= MAX_RESETS:
            set_world(self.spec, cause, cut_at, cut_half)
            code = await self._boot()
            if self._meter is not None:
                self._meter.programmed_bytes += self._boot_bytes
            if code not in RESET_CAUSES:
                return
            cause = RESET_CAUSES[code]
            if code == CUT_EXIT_CODE:
                self.result.cuts += 1
                cut_at, cut_half = self._cuts.next()
            else:
                resets += 1
        self._fail(f"reset {MAX_RESETS} times: it does not come to rest")

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
        self._on_trial, self._boot_bytes = False, 0
        try:
            await asyncio.gather(errors.drain(process.stderr), self._read_events(process.stdout))
            code = await process.wait()
        finally:
            if self._grace is not None:
                self._grace.cancel()
        if self._grace_over and code == -signal.SIGKILL:
            return 0
        if code != 0 and code not in RESET_CAUSES:
            self._fail(f"its process ended with code {code}: {printable(errors.last_line)}")
            for line in errors.text.splitlines()[-MAX_ERROR_LINES:-1]:
                self.recorder.note(printable(line))
        elif code:  # an application that raised, and then the board reset
            self.recorder.note(printable(errors.last_line))
        return code

    async def _read_events(self, stream: asyncio.StreamReader) -> None:
        in_application = False
        async for line in read_lines(stream):
            event = parse(line, in_application=in_application)
            kind = event["event"]
            in_application = in_application or kind == "application"
            self.recorder.take(event)
            self._boot_bytes = event.get("slot_bytes", self._boot_bytes)
            if kind == "header":
                self._cuts.learn(event["container_bytes"])
            self._judge_trial(event)
            if kind == "started" and self.result.boots == 1:
                self._restart_limit()
            self._on_event(self, event)

    def _judge_trial(self, event: Event) -> None:
        """Once an application is not, or no longer, on trial, it has a while to show that it lives."""
        kind = event["event"]
        if kind == "result" and event["outcome"] == "on_trial":
            self._on_trial = True
        elif kind == "confirmed":
            self._on_trial = False
        started = kind == "app" or (kind == "confirmed" and self.recorder.phase == "running")
        if started and not self._on_trial and self._grace is None:
            run_s = APP_GRACE_S if self.spec.run_s is None else self.spec.run_s
            self._grace = asyncio.get_running_loop().call_later(run_s, self.seen_enough)

    def _restart_limit(self) -> None:
        """However long it was held before: the limit is for the work."""
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time() + self._limit_s)

    def seen_enough(self) -> None:
        """The application keeps running, as firmware does: this is the end of the run."""
        if self._process is not None and self._process.returncode is None:
            self._grace_over = True
            self._process.kill()

    def _fail(self, detail: str) -> None:
        if self.result.outcome in FAILURES:  # it failed before, and that says more
            self.recorder.note(detail)
        else:
            self.result.outcome = "failed"
            self.result.detail = detail

    def _settle(self) -> None:
        """An outcome that sounds like success has to be one: its flash decides who is confirmed."""
        result = self.result
        choice = boot_choice(self.spec.folder)
        if choice is not None:
            result.confirmed = choice == (result.slot, True)
        written = self.recorder.written_slot
        if self._meter is not None and written is not None:
            result.bytes_again = self._meter.bytes_again(written, self.recorder.stored_bytes)
        if self.ok or result.outcome in FAILURES:
            return
        if result.offered_version is None:
            self._fail(result.detail or "it was offered no image")
        elif result.version is None:
            self._fail(f"the application of {result.offered_version} never said who it is")
        elif result.version != result.offered_version:
            self._fail(f"runs {result.version}, was offered {result.offered_version}")
        else:
            self._fail(f"the application of {result.version} was never confirmed")
