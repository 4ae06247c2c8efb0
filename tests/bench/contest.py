"""One contestant in one run: its processes are started, its receivers watched, their files compared."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from bench.air import Air
from bench.case import Case, Trial
from bench.crew import Crew, FirstPacket, Member

READY_SECONDS = 120  # for the processes of 200 receivers on a slow machine
QUIET_SECONDS = 0.5  # between the last process's word and the start: it may still be joining its group
GIVE_UP_SECONDS = 10  # for the receivers, after the sender has ended


@dataclass
class Stage:
    """What a contestant gets to work with."""

    air: Air
    case: Case
    image: Path  # the plain image
    root: Path  # served by TFTP: fw.bin (the image) and fw.gap (the container)
    work: Path  # for files of this run; emptied before each
    limit_s: float
    sha256: bytes = b""
    image_bytes: int = 0

    def __post_init__(self) -> None:
        data = self.image.read_bytes()
        self.sha256 = hashlib.sha256(data).digest()
        self.image_bytes = len(data)

    @property
    def hosts(self) -> range:
        return range(1, self.case.receivers + 1)

    def out(self, host: int) -> Path:
        """Where receiver `host` puts the image."""
        return self.work / f"r{host}" / "fw.bin"

    def clear(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        for host in self.hosts:
            self.out(host).parent.mkdir(parents=True)

    def intact(self, path: Path) -> bool:
        """Whether a file is, or begins with, the image."""
        try:
            with path.open("rb") as file:
                return hashlib.sha256(file.read(self.image_bytes)).digest() == self.sha256
        except OSError:
            return False


@dataclass
class Run:
    """What is known while it runs; trial() makes the result of it."""

    stage: Stage
    name: str
    crew: Crew
    receivers: list[Member] = field(default_factory=list)
    sender: Member | None = None
    failure: str = ""

    def fail(self, why: str) -> None:
        self.failure = self.failure or why

    def await_ready(self, members: list[Member], what: str) -> bool:
        """Until all have said that they are there; a failure if one does not."""

        def over() -> bool:
            return all(member.ready or member.code is not None for member in members)

        if not self.crew.watch(over, time.monotonic() + READY_SECONDS):
            self.fail(f"{what} did not start in {READY_SECONDS} s")
        for member in members:
            if member.code is not None and not member.ready:
                self.fail(f"{what} ended with {_code(member.code)}: {member.last_words}")
        return not self.failure

    def quiet(self) -> None:
        """Let what was started come to rest."""
        self.crew.watch(lambda: False, time.monotonic() + QUIET_SECONDS)


def _code(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


class Meter:
    """Counts from its making to stop()."""

    def __init__(self, air: Air) -> None:
        self._air = air
        self._first = FirstPacket(air)
        self._sent, self._received = air.traffic()
        self._busy = _processor()

    def stop(self, trial: Trial) -> float | None:
        """Fill in the bytes and the machine's load; returns when the first packet passed."""
        sent, received = self._air.traffic()
        trial.air_bytes = sent - self._sent
        trial.up_bytes = received - self._received
        busy = _processor()
        total = busy[1] - self._busy[1]
        trial.busy = round((busy[0] - self._busy[0]) / total, 3) if total else None
        at = self._first.at()
        self._first.close()
        return at


def _processor() -> tuple[int, int]:
    """Ticks that this machine's cores were busy, and all ticks."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, sum(fields)


class Contestant(ABC):
    """Someone who can bring an image to many receivers."""

    name = ""
    done_at_end = False  # a receiver is done when it ends with exit code 0
    tries = 2  # failures in one case until it is not tried again: each costs the whole time limit
    stock = False  # takes part in the cases with plain RFC 2090 clients, else in the others

    def missing(self) -> str | None:
        """What this machine lacks to run it, or None."""
        return None

    def skips(self, case: Case) -> str | None:
        """Why it does not take part in this case, or None."""
        return None

    def run(self, stage: Stage) -> Trial:
        """One run. A failure is in the trial; only what nobody expected is raised."""
        stage.clear()
        with Crew(stage.air) as crew:
            run = Run(stage, self.name, crew)
            self.prepare(run)
            if run.failure:
                return Trial(self.name, stage.case.key, stage.image_bytes, run.failure)
            run.quiet()
            meter = Meter(stage.air)
            self.go(run)
            self._await_done(run)
            return self._result(run, meter)

    @abstractmethod
    def prepare(self, run: Run) -> None:
        """Start whatever has to be there before."""

    @abstractmethod
    def go(self, run: Run) -> None:
        """The start: the first packet after this is where the time begins."""

    def proof(self, stage: Stage, host: int) -> Path:
        """The file to compare with the image."""
        return stage.out(host)

    def extras(self, run: Run, trial: Trial) -> None:  # noqa: B027 - most have nothing to add
        """Fill in what only this one can tell."""

    def _await_done(self, run: Run) -> None:
        deadline = time.monotonic() + run.stage.limit_s

        def over() -> bool:
            nonlocal deadline
            sender = run.sender
            if sender is not None and sender.ended_at is not None:
                if sender.code:
                    run.fail(f"the sender ended with {_code(sender.code)}: {sender.last_words}")
                deadline = min(deadline, sender.ended_at + GIVE_UP_SECONDS)
            for member in run.receivers:
                if member.code == 0 and member.done_at is None and self.done_at_end:
                    member.done_at = member.ended_at
                if member.code is not None and member.done_at is None:
                    run.fail(f"a receiver ended with {_code(member.code)}: {member.last_words}")
            return bool(run.failure) or all(member.done_at is not None for member in run.receivers)

        if not run.crew.watch(over, deadline):
            done = sum(member.done_at is not None for member in run.receivers)
            words = next((m.last_words for m in run.receivers if m.done_at is None), "")
            ended = run.sender is not None and run.sender.code == 0
            why = "the sender had ended" if ended else f"{run.stage.limit_s:g} s were up"
            run.fail(f"{why}: {done} of {len(run.receivers)} done; {words}".removesuffix("; "))

    def _result(self, run: Run, meter: Meter) -> Trial:
        stage = run.stage
        trial = Trial(self.name, stage.case.key, stage.image_bytes)
        if run.sender is not None and (usage := run.sender.usage()):
            trial.server_cpu_s, trial.server_kib = usage
        first = meter.stop(trial)
        times = sorted(member.done_at for member in run.receivers if member.done_at is not None)
        if first is None:
            run.fail("nothing was sent")
        else:
            trial.done_s = [round(at - first, 4) for at in times]
        if not run.failure:
            wrong = sum(not stage.intact(self.proof(stage, host)) for host in stage.hosts)
            if wrong:
                run.fail(f"{wrong} of {len(run.receivers)} files differ from the image")
        trial.failure = run.failure
        if not run.failure:
            trial.elapsed_s = trial.done_s[-1]
        self.extras(run, trial)
        return trial


def says(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


class Program(Contestant):
    """A contestant with one process a receiver and one sender, which say in words how far they are."""

    server_first = False  # a server that waits for clients; else receivers that wait for a sender
    receiver_ready = says("at the gate")
    receiver_done: re.Pattern[str] | None = None
    server_ready = says(".")

    @abstractmethod
    def receiver(self, stage: Stage, host: int) -> list[str]:
        """The command line."""

    @abstractmethod
    def sender(self, stage: Stage) -> list[str]:
        """The command line."""

    def prepare(self, run: Run) -> None:
        if self.server_first:
            run.sender = run.crew.start(0, self.sender(run.stage), self._on_sender)
            if not run.await_ready([run.sender], "the server"):
                return
        for host in run.stage.hosts:
            argv = self.receiver(run.stage, host)
            member = run.crew.start(host, argv, self._on_receiver, gated=self.server_first)
            run.receivers.append(member)
        run.await_ready(run.receivers, "a receiver")

    def go(self, run: Run) -> None:
        if self.server_first:
            run.crew.open_gate()
        else:
            run.sender = run.crew.start(0, self.sender(run.stage), self._on_sender)

    def _on_sender(self, member: Member, line: str, _now: float) -> None:
        if self.server_ready.search(line):
            member.ready = True

    def _on_receiver(self, member: Member, line: str, now: float) -> None:
        if self.receiver_ready.search(line):
            member.ready = True
        if self.receiver_done is not None and member.done_at is None and self.receiver_done.search(line):
            member.done_at = now
