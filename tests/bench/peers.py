"""The others: udpcast, uftp, NORM, atftp by RFC 2090 and by unicast; each set as suits it best here.

Each program is told the rate, by its own way of counting; the token bucket behind it is the same for all.
"""

from __future__ import annotations

import ctypes
import math
import shutil
import sys
from pathlib import Path

from bench.case import Case
from bench.contest import Contestant, Program, Stage, says

FAST_BPS = 100e6  # where a program must be told a rate and the case has none
LOSSY_RECEIVERS = 50
UNICAST_RECEIVERS = 10  # more of them take minutes, in proportion
GRTT = ("-r", "0.05:0.01:1")  # the first guess, the least and the most, in s; the defaults suit the Internet
_HEADER_BYTES = 42  # Ethernet, IP and UDP


def tool_missing(package: str, *tools: str) -> str | None:
    """Which program is not there, and what package has it."""
    for tool in tools:
        if shutil.which(tool) is None:
            return f"needs {tool} (package {package})"
    return None


class Udpcast(Program):
    """udp-sender, half-duplex: slices, each repaired by multicast before the next."""

    name = "udpcast"
    receiver_ready = says("UDP receiver")
    receiver_done = says("Transfer complete")
    done_at_end = True

    def missing(self) -> str | None:
        return tool_missing("udpcast", "udp-sender", "udp-receiver")

    def receiver(self, stage: Stage, host: int) -> list[str]:
        plain = ["udp-receiver", "--nokbd", "--no-progress", "--interface", "eth0", "--exit-wait", "1"]
        return [*plain, "--file", str(stage.out(host))]

    def options(self, _case: Case) -> list[str]:
        """More for the sender."""
        return []

    def sender(self, stage: Stage) -> list[str]:
        argv = ["udp-sender", "--nokbd", "--no-progress", "--interface", "eth0", "--nopointopoint"]
        argv += ["--file", str(stage.image), "--min-receivers", str(stage.case.receivers)]
        argv += self.options(stage.case)
        if stage.case.rate_bps:
            argv += ["--max-bitrate", f"{stage.case.rate_bps / 1000:.0f}k"]
        return argv


class UdpcastFec(Udpcast):
    """With parity ahead of time, 64 blocks a stripe. It has to be told how much: 2.5 times the loss is best.

    By trial, 10 boards, 20 %: time 2.7 with 32 packets, 3.0 with 16; several stripes a slice: 2.8 to 3.4;
    none: 5 to 8.
    """

    name = "udpcast-fec"

    def skips(self, case: Case) -> str | None:
        return None if case.loss.share else "without loss it is udpcast"

    def options(self, case: Case) -> list[str]:
        return ["--fec", f"1x{math.ceil(case.loss.share * 2.5 * 64)}/64"]


class Uftp(Program):
    """uftp: passes over the file, NAKs by section, repair by multicast. Whoever answers takes part."""

    name = "uftp"
    receiver_ready = says("UFTP version")
    receiver_done = says("complete")
    block_bytes = 1400

    def missing(self) -> str | None:
        return tool_missing("uftp", "uftp", "uftpd")

    def receiver(self, stage: Stage, host: int) -> list[str]:
        return ["uftpd", "-d", "-D", str(stage.out(host).parent), "-I", "eth0", "-B", "1048576"]

    def options(self, _stage: Stage) -> list[str]:
        """More for the sender."""
        return []

    def sender(self, stage: Stage) -> list[str]:
        rate_kbps = (stage.case.rate_bps or FAST_BPS) / 1000
        argv = ["uftp", "-R", f"{rate_kbps:.0f}", "-I", "eth0", "-b", str(self.block_bytes), "-B", "1048576"]
        argv += ["-M", "230.4.4.1", "-P", "230.5.5.1", *self.options(stage)]
        return [*argv, str(stage.image)]


class UftpTold(Uftp):
    """With the list of its clients, so that it need not wait for more of them, and a first round trip time.

    By trial, 10 boards without loss: 1.06 instead of 1.8, which is its phase of calling.
    """

    name = "uftp-told"

    def options(self, stage: Stage) -> list[str]:
        return [*GRTT, "-H", ",".join(stage.air.address(host) for host in stage.hosts)]


class Norm(Program):
    """NORM by its C library: Reed-Solomon parity on demand, NACKs with back-off, all by multicast."""

    name = "norm"
    receiver_ready = says("^ready$")
    receiver_done = says("^done$")
    driver = Path(__file__).with_name("norm.py")

    def missing(self) -> str | None:
        try:
            ctypes.CDLL("libnorm.so.1")
        except OSError:
            return "needs libnorm.so.1 (package libnorm1)"
        return None

    def _argv(self, what: str, *arguments: object) -> list[str]:
        return [sys.executable, "-S", "-E", str(self.driver), what, *map(str, arguments)]

    def receiver(self, stage: Stage, host: int) -> list[str]:
        return self._argv("receive", host + 1, stage.out(host))

    def sender(self, stage: Stage) -> list[str]:
        payload = 1400 + 24  # NORM's own header of a data message
        rate_bps = (stage.case.rate_bps or FAST_BPS) * payload / (payload + _HEADER_BYTES)
        return self._argv("send", 1, stage.image, f"{rate_bps:.0f}")


class Tftp(Program):
    """TFTP clients and a server; the time starts with the first request."""

    server_first = True
    done_at_end = True
    client_options: tuple[str, ...] = ()

    def missing(self) -> str | None:
        return tool_missing("atftp", "atftp") or tool_missing("atftpd", "atftpd")

    def receiver(self, stage: Stage, host: int) -> list[str]:
        options = [part for option in self.client_options for part in ("--option", option)]
        out = str(stage.out(host))
        return [
            "atftp",
            "--tftp-timeout",
            "1",
            *options,
            "-g",
            "-r",
            "fw.bin",
            "-l",
            out,
            stage.air.address(0),
        ]

    def sender(self, stage: Stage) -> list[str]:
        argv = ["atftpd", "--daemon", "--no-fork", "--user", "root", "--group", "root", "--logfile", "-"]
        argv += [
            "--verbose=5",
            "--mcast-addr",
            "239.255.0.1-9",
            "--mcast-port",
            "1758",
            "--retry-timeout",
            "1",
        ]
        return [*argv, str(stage.root)]

    server_ready = says("server started")


class Rfc2090(Tftp):
    """atftp's multicast: one master after another, one block a round trip."""

    name = "rfc2090"
    client_options = ("multicast", "blksize 1428", "timeout 1")
    tries = 1

    def skips(self, case: Case) -> str | None:
        if case.loss.share and case.receivers > LOSSY_RECEIVERS:
            return f"with loss it does not end with {LOSSY_RECEIVERS} receivers either"
        return None


class Unicast(Tftp):
    """One image for each, all at the same time."""

    name = "tftp-unicast"
    client_options = ("blksize 1428", "windowsize 8", "timeout 1")

    def skips(self, case: Case) -> str | None:
        if case.receivers > UNICAST_RECEIVERS:
            return f"{case.receivers} images one after another"
        if case.loss.share:
            return "nothing by multicast, so no loss"
        return None


class StockTheirs(Rfc2090):
    """Stock clients from atftpd."""

    name = "atftpd"
    stock = True


PEERS: list[type[Contestant]] = [Norm, Udpcast, UdpcastFec, Uftp, UftpTold, Rfc2090, Unicast]
