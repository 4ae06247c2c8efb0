"""The processes of one run: started on their hosts, watched by one loop, and ended with it."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import re
import selectors
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.air import SO_TIMESTAMPNS, Air

KEPT_LINES = 20
SERVER_NICE = -15
MAX_WORDS = 100  # of a process that failed, for a table
_SPLIT = re.compile(rb"[\r\n]+")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
# Of an IP datagram, take UDP only: load byte 9, equal to 17?, take it, take none.
_ONLY_UDP = ((0x30, 0, 0, 9), (0x15, 0, 1, 17), (0x06, 0, 0, 64), (0x06, 0, 0, 0))
# Waits for the end of its standard input, which is all receivers' start.
_GATE = 'echo at the gate; read _; exec "$@" </dev/null'
OnLine = Callable[["Member", str, float], None]


class Member:
    """One process. `ready`, `done_at` and `heap_bytes` are for whoever reads its lines to set."""

    def __init__(self, host: int, process: subprocess.Popen[bytes], on_line: OnLine) -> None:
        self.host = host
        self.process = process
        self.on_line = on_line
        self.lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self.code: int | None = None
        self.ended_at: float | None = None
        self.ready = False
        self.done_at: float | None = None
        self.heap_bytes = 0
        self._rest = b""

    def take(self, data: bytes, now: float) -> None:
        *whole, self._rest = _SPLIT.split(self._rest + data)
        for raw in whole:
            line = raw.decode(errors="replace").strip()
            if line:
                self.lines.append(line)
                self.on_line(self, line, now)

    @property
    def last_words(self) -> str:
        tail = self._rest.decode(errors="replace").strip()
        return (tail or (self.lines[-1] if self.lines else ""))[:MAX_WORDS]

    def usage(self) -> tuple[float, int] | None:
        """CPU seconds and the most memory (KiB) so far, while it runs."""
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return None
        peak = re.search(r"VmHWM:\s+(\d+)", status)
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"), int(peak[1]) if peak else 0

    def end(self) -> None:
        """Kill it, and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Crew:
    """Members on the hosts of an Air."""

    def __init__(self, air: Air) -> None:
        self._air = air
        self._selector = selectors.DefaultSelector()
        self._gate_read, self._gate_write = os.pipe()
        self._parent = os.getpid()
        self._prctl = ctypes.CDLL(None).prctl  # looked up before any fork
        self.members: list[Member] = []

    def start(
        self,
        host: int,
        argv: list[str],
        on_line: OnLine,
        *,
        gated: bool = False,
        environment: dict[str, str] | None = None,
    ) -> Member:
        """Start `argv` on `host`; gated: it is loaded only when open_gate() is called."""
        command = ["sh", "-c", _GATE, "sh", *argv] if gated else argv
        with self._air.inside(host):
            process = subprocess.Popen(
                command,
                stdin=self._gate_read if gated else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                process_group=0,
                preexec_fn=self._die_with_us,
            )
        if host == 0:
            # A machine of its own in the world, that receivers take no time from; so for all programs.
            os.setpriority(os.PRIO_PROCESS, process.pid, SERVER_NICE)
        member = Member(host, process, on_line)
        self.members.append(member)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, (member, "output"))
        self._selector.register(os.pidfd_open(process.pid), selectors.EVENT_READ, (member, "end"))
        return member

    def _die_with_us(self) -> None:
        self._prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != self._parent:
            os._exit(1)

    def open_gate(self) -> None:
        os.close(self._gate_write)
        self._gate_write = -1

    def watch(self, over: Callable[[], bool], deadline: float) -> bool:
        """Until `over` or the deadline (monotonic); whether it is over."""
        while not over():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for key, _events in self._selector.select(left):
                member, what = key.data
                if what == "output":
                    self._read(member, key.fd)
                else:
                    self._ended(member, key.fd)
        return True

    def _read(self, member: Member, descriptor: int) -> None:
        now = time.monotonic()
        with contextlib.suppress(BlockingIOError):
            while data := os.read(descriptor, 65536):
                member.take(data, now)
            self._selector.unregister(descriptor)

    def _ended(self, member: Member, descriptor: int) -> None:
        member.ended_at = time.monotonic()
        output = member.process.stdout
        assert output is not None
        if output.fileno() in self._selector.get_map():
            self._read(member, output.fileno())
        member.code = member.process.wait()
        self._selector.unregister(descriptor)
        os.close(descriptor)

    def close(self) -> None:
        for member in self.members:
            if member.code is None:
                member.end()
        for member in self.members:
            member.process.wait()
        for key in list(self._selector.get_map().values()):
            if key.data[1] == "end":
                os.close(key.fd)
        for member in self.members:
            if member.process.stdout is not None:
                member.process.stdout.close()
        self._selector.close()
        for descriptor in (self._gate_read, self._gate_write):
            if descriptor >= 0:
                os.close(descriptor)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _clocks_apart() -> float:
    """Between time.time() and time.monotonic(), by the quickest of several looks at both."""
    looks = []
    for _look in range(5):
        before = time.monotonic()
        wall = time.time()
        after = time.monotonic()
        looks.append((after - before, wall - before))
    return min(looks)[1]


class FirstPacket:
    """Notes when the first UDP datagram from or to the server passed, from now on.

    The kernel stamps packets only if someone has asked for it a while ago, as the Air does; else it stamps
    them when they are read.
    """

    def __init__(self, air: Air) -> None:
        with air.hub():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        code = b"".join(struct.pack("HBBI", *step) for step in _ONLY_UDP)
        buffer = ctypes.create_string_buffer(code)
        program = struct.pack("HP", len(_ONLY_UDP), ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # one is enough
        self._socket.setblocking(False)
        self._socket.bind(("p0", _ETH_P_ALL))

    def at(self) -> float | None:
        """When, as time.monotonic() counts; None if nothing passed."""
        try:
            _data, ancillary, _flags, _address = self._socket.recvmsg(64, 128)
        except BlockingIOError:
            return None
        seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
        return float(seconds + nanoseconds / 1e9 - _clocks_apart())

    def close(self) -> None:
        self._socket.close()
