"""One tool at a time as a child process: its output as it comes, bounded in time, killed with its group."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gapcast_tools.usb.secrets import child_environment

KEPT_CHARS = (
    64 * 1024
)  # of the output, its end: an erased flash is megabytes, what a tool says about it is not
MAX_LINE_CHARS = 4096
EXIT_S = 5.0  # for a process that has closed its output and only has to end
_READ_BYTES = 65536
# What would make esptool, click and rich print other things, or to other places.
_LOUD = (
    "FORCE_COLOR",
    "CLICOLOR_FORCE",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
    "ESP_IDE_WS",
    "ESPRESSIF_IDE_WS",
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    code: its exit code; negative for a signal.
    text: the end of what it wrote, standard output and error together.
    cut: why we ended it: `silent` (nothing came for too long), `slow` (all of it took too long), `stopped`
        (Stop.stop); empty if it ended by itself.
    """

    code: int
    text: str
    cut: str = ""


class Stop:
    """Ends the processes of many threads at once, and lets no more of them begin: for Ctrl-C."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[int] = (
            set()
        )  # process groups; in here none has been waited for, so ids are not reused
        self._stopped = False

    def stopped(self) -> bool:
        """Whether stop() was called."""
        return self._stopped

    def stop(self) -> None:
        """Kill what runs: every run_tool() with this object returns `stopped`, now and from now on."""
        with self._lock:
            self._stopped = True
            for group in self._running:
                _kill(group)

    def _begin(self, group: int) -> None:
        with self._lock:
            self._running.add(group)
            if self._stopped:
                _kill(group)

    def _end(self, group: int) -> None:
        with self._lock:
            self._running.discard(group)


def run_tool(
    command: Sequence[str],
    *,
    silence_s: float | Callable[[], float],
    limit_s: float,
    on_line: Callable[[str], None] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stop: Stop | None = None,
) -> Ended:
    """Run a program to its end, without a terminal and in a session of its own: Ctrl-C is ours to hear.

    Whatever happens in here, an exception out of `on_line` or a KeyboardInterrupt included, the process and
    its children are dead when this returns or raises.

    Args:
        command: The program and its arguments: no secrets, everybody can read them.
        silence_s: Seconds without a single byte after which it is killed; asked for anew after each byte.
        limit_s: Seconds in all after which it is killed.
        on_line: Told every line (ended by LF or CR) without its end, as it comes.
        cwd: Its working directory.
        env: Its environment; tool_environment() by default.
        stop: May end it from another thread.

    Raises:
        OSError: It cannot be started.
    """
    stop = stop or Stop()
    if stop.stopped():
        return Ended(-signal.SIGKILL, "", "stopped")
    lines = _Lines(on_line)
    with _started(command, cwd, tool_environment() if env is None else env, stop) as process:
        cut = _follow(process, lines, silence_s, limit_s)
        if not cut:
            cut = _let_end(process)
    lines.end()
    return Ended(process.returncode, lines.text, "stopped" if stop.stopped() and process.returncode else cut)


def tool_environment() -> dict[str, str]:
    """Our environment without secrets, nor what would make the tools behave otherwise; for plain English."""
    kept = {
        name: value
        for name, value in child_environment(os.environ).items()
        if not name.startswith("ESPTOOL_")
    }
    for name in _LOUD:
        kept.pop(name, None)
    return kept | {
        "NO_COLOR": "1",
        "TERM": "dumb",
        "COLUMNS": "250",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:replace",
    }


class _Lines:
    """Output, split into lines for `on_line` and its end kept for reading about failures."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self.text = ""
        self._on_line = on_line
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *ended, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > MAX_LINE_CHARS:
            ended.append(self._rest)
            self._rest = b""
        for line in ended:
            self._take(line)

    def end(self) -> None:
        if self._rest:
            self._take(self._rest)
            self._rest = b""

    def _take(self, raw: bytes) -> None:
        line = raw[:MAX_LINE_CHARS].decode(errors="replace").rstrip()
        if not line:
            return
        self.text = (self.text + line + "\n")[-KEPT_CHARS:]
        if self._on_line is not None:
            self._on_line(line)


@contextmanager
def _started(
    command: Sequence[str], cwd: Path | None, env: Mapping[str, str], stop: Stop
) -> Iterator[subprocess.Popen[bytes]]:
    # No preexec_fn with PR_SET_PDEATHSIG: it is not safe beside threads, and there is one thread a board.
    # When we are killed outright, the child dies of its broken pipe at the next line it prints.
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=dict(env),
        start_new_session=True,
    )
    stop._begin(process.pid)
    try:
        yield process
    finally:
        stop._end(process.pid)  # before it is waited for, see Stop
        _kill(process.pid)  # or what it left behind, when it has ended by itself
        assert process.stdout is not None
        process.stdout.close()
        process.wait()


def _follow(
    process: subprocess.Popen[bytes], lines: _Lines, silence_s: float | Callable[[], float], limit_s: float
) -> str:
    """Read until the output ends; why it was cut short, if it was."""
    assert process.stdout is not None
    fd = process.stdout.fileno()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    heard = time.monotonic()
    deadline = heard + limit_s
    while True:
        quiet_s = silence_s() if callable(silence_s) else silence_s
        left_s = min(heard + quiet_s, deadline) - time.monotonic()
        if left_s <= 0:
            return "slow" if time.monotonic() >= deadline else "silent"
        if not poll.poll(left_s * 1000 + 1):
            continue
        data = os.read(fd, _READ_BYTES)
        if not data:
            return ""
        heard = time.monotonic()
        lines.feed(data)


def _let_end(process: subprocess.Popen[bytes]) -> str:
    """Wait for a process whose output has ended, without reaping it while Stop may still kill it."""
    deadline = time.monotonic() + EXIT_S
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= deadline:
            return "silent"
        time.sleep(0.005)
    return ""


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has just ended
        os.killpg(group, signal.SIGKILL)
