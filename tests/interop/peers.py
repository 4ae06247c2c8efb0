"""The programs that take part: our server and boards, and the servers and clients of others."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import needs
from .lab import Lab, kill

ROOT = Path(__file__).parents[2]
PORT = 69
START_SECONDS = 20.0
POLL_SECONDS = 0.01
BOARD_SECONDS = 80
Process = subprocess.Popen[str]
Event = dict[str, Any]


def gapcast(*argv: str) -> list[str]:
    """A command line of ours, from this checkout."""
    path = os.pathsep.join(str(ROOT / part) for part in ("server", "tools", "firmware/lib"))
    return ["env", f"PYTHONPATH={path}", sys.executable, "-m", "gapcast", *argv]


def wait_until(true: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> Any:
    """The first true value of `true()`; the test fails after `seconds`."""
    until = time.monotonic() + seconds
    while not (value := true()):
        if time.monotonic() > until:
            pytest.fail(f"waited {seconds:g} s in vain: {what}")
        time.sleep(POLL_SECONDS)
    return value


def image(folder: Path, name: str, size: int, version: str = "1.0", seed: int = 7) -> Path:
    """Sample firmware of about `size` bytes as a container NAME.gap in `folder`."""
    firmware = folder.parent / f"{name}.app-bin"
    output = folder / f"{name}.gap"
    made = gapcast("image", "sample", "--size", str(size), "--version", version, "--seed", str(seed))
    subprocess.run([*made, "-o", str(firmware)], check=True, capture_output=True, timeout=60)
    built = gapcast("image", "build", str(firmware), "-o", str(output))
    subprocess.run(built, check=True, capture_output=True, timeout=60)
    return output


# ---- servers, on host 0 ----


class OurServer:
    """`gapcast serve --json` and what it says."""

    def __init__(self, lab: Lab, root: Path, *options: str) -> None:
        self._lab = lab
        self._argv = gapcast(
            "serve", str(root), "--listen", lab.address(0), "--port", str(PORT), "--json", *options
        )
        self._log = root.parent / f"server-{time.monotonic_ns()}.jsonl"
        self.process = self.start()

    def start(self) -> Process:
        """Start it (again), with an empty log."""
        self.process = self._lab.start(0, *self._argv, log=self._log)
        self.wait_for("listening")
        return self.process

    def events(self, kind: str | None = None) -> list[Event]:
        """What it has told so far, or only one kind of it."""
        lines = self._log.read_text().splitlines(keepends=True)
        found = []
        for line in lines:
            if not line.endswith("\n"):
                continue
            assert line.startswith("{"), f"the server wrote: {''.join(lines)[-2000:]}"
            found.append(json.loads(line))
        return [event for event in found if kind is None or event["event"] == kind]

    def wait_for(self, kind: str, seconds: float = START_SECONDS, **fields: object) -> Event:
        """The first event of that kind with those fields."""

        def look() -> Event | None:
            for event in self.events(kind):
                if all(event[name] == value for name, value in fields.items()):
                    return event
            return None

        found: Event = wait_until(look, f"{kind} {fields}", seconds)
        return found

    def multicast_bytes(self) -> int:
        """Bytes on the air to groups, as it told last (about five times a second)."""
        air = self.events("air")
        return int(air[-1]["multicast"]) if air else 0

    def wait_for_multicast(self, size: float, seconds: float = START_SECONDS) -> None:
        """Until so many bytes went to groups."""
        wait_until(lambda: self.multicast_bytes() >= size, f"{size:.0f} bytes by multicast", seconds)

    def kill(self) -> None:
        """SIGKILL."""
        kill(self.process)
        self.process.wait(START_SECONDS)

    def stop(self) -> None:
        """SIGTERM; it must end well."""
        self.process.terminate()
        assert self.process.wait(START_SECONDS) == 0


def atftpd(lab: Lab, root: Path, *options: str) -> Process:
    """Debian's atftpd: RFC 2090 as others know it."""
    process = lab.start(
        0,
        needs.program("atftpd"),
        *("--daemon", "--no-fork", "--user", "root", "--group", "root", "--logfile", "-", "--verbose=5"),
        *("--bind-address", lab.address(0), "--mcast-addr", "239.255.0.1-5", "--mcast-port", "1758"),
        *("--retry-timeout", "1", *options, str(root)),
        log=root.parent / "atftpd.log",
    )
    return _answering(lab, process)


def tftpd_hpa(lab: Lab, root: Path) -> Process:
    """H. Peter Anvin's, the usual one."""
    argv = (needs.tftpd_hpa(), "--foreground", "-s", "--user", "root", "-a", f"{lab.address(0)}:{PORT}")
    return _answering(lab, lab.start(0, *argv, str(root), log=root.parent / "tftpd-hpa.log"))


def dnsmasq(lab: Lab, root: Path) -> Process:
    """The one in many routers."""
    process = lab.start(
        0,
        needs.program("dnsmasq", "dnsmasq-base"),
        *("-k", "-p0", "--enable-tftp", f"--tftp-root={root}", "--user=root", "--conf-file=/dev/null"),
        *("--pid-file=", "--interface=eth0"),
        log=root.parent / "dnsmasq.log",
    )
    return _answering(lab, process)


TFTPY = "import sys, tftpy; tftpy.TftpServer(sys.argv[1]).listen(sys.argv[2], 69)"


def tftpy(lab: Lab, root: Path) -> Process:
    """The one in Python; it knows few options, and does not answer empty ones."""
    argv = (sys.executable, "-c", TFTPY, str(root), lab.address(0))
    return _answering(lab, lab.start(0, *argv, log=root.parent / "tftpy.log"))


UNICAST_SERVERS = [tftpd_hpa, dnsmasq, tftpy]


def _answering(lab: Lab, process: Process) -> Process:
    """Wait until it says that a file is not there."""
    request = b"\0\1not-there\0octet\0"
    with lab.socket(0) as probe:
        probe.settimeout(0.1)

        def ask() -> bool:
            assert process.poll() is None, f"the server ended with code {process.returncode}"
            try:
                probe.sendto(request, (lab.address(0), PORT))
                return probe.recv(600)[:2] == b"\0\5"
            except (TimeoutError, ConnectionRefusedError):
                return False

        wait_until(ask, "the server answers")
    return process


# ---- clients ----


def atftp(lab: Lab, index: int, name: str, output: Path, *options: str) -> Process:
    """Start `atftp --get` with options such as "multicast" or "blksize 1428"."""
    words = [word for option in options for word in ("--option", option)]
    return lab.start(
        index,
        *(needs.program("atftp"), "--tftp-timeout", "1", *words),
        *("-g", "-r", name, "-l", str(output), lab.address(0)),
        log=output.parent / f"{output.name}.log",
    )


def wait_for_end(process: Process, seconds: float) -> None:
    """Wait for the very moment: Popen.wait with a timeout looks only every 50 ms."""
    if process.returncode is None:
        ended = os.pidfd_open(process.pid)
        try:
            select.select([ended], [], [], seconds)
        finally:
            os.close(ended)


def finish(process: Process, seconds: float = BOARD_SECONDS) -> str:
    """Wait for a process that must end well; its output."""
    if process.stdout is None:
        wait_for_end(process, seconds)
    try:
        output, _ = process.communicate(timeout=seconds if process.stdout else 1)
    except subprocess.TimeoutExpired:
        kill(process)
        output, _ = process.communicate()
        pytest.fail(f"not done in {seconds:g} s: {process.args}\n{output}")
    assert process.returncode == 0, f"{process.args}\n{output}"
    return output or ""


class Board:
    """`gapcast board` on host `index`."""

    def __init__(self, lab: Lab, index: int, folder: Path, image: str, *options: str) -> None:
        self._lab = lab
        self._index = index
        self.folder = folder / f"board{index}"
        self._json = folder / f"board{index}.json"
        self._argv = gapcast(
            *("board", "--server", lab.address(0), "--image", image, "--flash", str(self.folder)),
            *("--id", f"board-{index}", "--json", str(self._json), "--limit", str(BOARD_SECONDS), *options),
        )
        self.process = self.power_on()

    def power_on(self) -> Process:
        """Start it (again) with what its flash holds."""
        self.process = self._lab.start(self._index, *self._argv)
        return self.process

    def power_cut(self) -> None:
        """SIGKILL to the launcher and the board's MicroPython."""
        kill(self.process)
        self.process.communicate()

    def done(self) -> Event:
        """Wait until the new version runs; the board's result."""
        finish(self.process, BOARD_SECONDS + 10)
        result: Event = json.loads(self._json.read_text())
        return result

    @property
    def raw(self) -> bytes:
        """The file that `--raw` keeps."""
        return (self.folder / "raw.bin").read_bytes()


def assert_updated(result: Event, version: str = "1.0") -> None:
    """The board runs the version, and every chunk had the right digest."""
    assert (result["outcome"], result["version"], result["digest_ok"]) == ("updated", version, True), result
