"""The shared air: a bridge in a namespace, one veth and namespace for the server and for every receiver.

Everything is in namespaces named gb<pid>-*, so clean-up is to delete those, and a bench that was killed
is cleaned up after by the next one. Needs root, iproute2, iptables; nftables for bursts and for a loss that
is the same for all. What the server sends goes through one token bucket, which is the air.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.case import BURST_FRAMES, NO_LOSS, Loss

COMMAND_SECONDS = 60
NETWORK = "10.78"
TBF = "burst 3200 limit 200000"  # two frames at once; a quarter of a second of queue
FRAME_BYTES = 1100  # of the usual frame, to turn a burst of frames into milliseconds
SO_TIMESTAMPNS = 35
_CLONE_NEWNET = 0x40000000  # linux/sched.h; os.setns came with Python 3.12
_NAMES = re.compile(r"gb(\d+)-")
_RUN = Path("/run/netns")
_LIBC = ctypes.CDLL(None, use_errno=True)
# Exponential durations in four equally likely steps (the means of its quarters).
_BURST_STEPS = (0.137, 0.477, 1.0, 2.386)


def why_not() -> str | None:
    """The reason why there can be no such network here, or None."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    for tool, package in (("ip", "iproute2"), ("tc", "iproute2"), ("iptables-legacy", "iptables")):
        if shutil.which(tool) is None:
            return f"needs {tool} (package {package})"
    probe = f"gb{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, timeout=COMMAND_SECONDS)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, timeout=COMMAND_SECONDS)
    return None if made.returncode == 0 else "network namespaces are not allowed here"


def why_not_loss(loss: Loss) -> str | None:
    """The reason why this kind of loss cannot be made here, or None."""
    if loss.share and loss.kind != "each" and shutil.which("nft") is None:
        return "needs nft (package nftables)"
    return None


def _command(*argv: str, text: str = "") -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")


def _batch(lines: list[str]) -> None:
    _command("ip", "-batch", "-", text="\n".join(lines) + "\n")


def remove_leftovers() -> None:
    """Delete the namespaces of benches that are no more."""
    if not _RUN.is_dir():
        return
    for entry in _RUN.iterdir():
        match = _NAMES.match(entry.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            subprocess.run(["ip", "netns", "del", entry.name], capture_output=True, timeout=COMMAND_SECONDS)


def burst_rules(loss: Loss, rate_bps: float) -> str:
    """nftables rules that lose `loss.share` in bursts of BURST_FRAMES on average, alike for every program.

    A burst is an element of a set that times out: for so long everything is lost. So it lasts a time, as
    fading does, not a count of frames; the kernel rounds it to its ticks (4 ms as a rule).
    Measured with frames of 1 KiB at 6 Mbit/s: 9 to 10 %, 7.5 to 8.5 in a row.
    """
    frame_ms = FRAME_BYTES * 8000 / rate_bps
    mean_ms = BURST_FRAMES * frame_ms
    start = 1 / (1 + BURST_FRAMES * (1 - loss.share) / loss.share)  # of a frame that is heard
    lines = [
        "table ip gapbench {",
        "set faded {",
        "type ipv4_addr",
        "flags dynamic,timeout",
        "timeout 1s",
        "}",
    ]
    lines += ["chain lose {", "type filter hook input priority 0"]
    lines.append("ip daddr 224.0.0.0/4 ip saddr @faded drop")
    million = 1_000_000
    for step in _BURST_STEPS:
        share = round(start / len(_BURST_STEPS) * million)
        timeout = max(1, round(step * mean_ms))
        lines.append(
            f"ip daddr 224.0.0.0/4 numgen random mod {million} < {share}"
            f" update @faded {{ ip saddr timeout {timeout}ms }} drop"
        )
    return "\n".join([*lines, "}", "}", ""])


class Air:
    """Host 0 is the server, 1..receivers are the others."""

    def __init__(self, receivers: int, rate_bps: float | None, loss: Loss = NO_LOSS) -> None:
        self._prefix = f"gb{os.getpid()}-"
        self.receivers = receivers
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY)
        # The kernel begins to stamp packets some time after the first socket wants it: this one.
        self._stamping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stamping.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        try:
            self._build(rate_bps, loss)
        except BaseException:
            self.close()
            raise

    def _name(self, host: int) -> str:
        return f"{self._prefix}{host}"

    @property
    def _hub(self) -> str:
        return f"{self._prefix}air"

    @staticmethod
    def address(host: int) -> str:
        return f"{NETWORK}.{host // 250}.{host % 250 + 1}"

    @staticmethod
    def _mac(host: int) -> str:
        return f"02:00:00:00:{host >> 8:02x}:{host & 255:02x}"

    def _build(self, rate_bps: float | None, loss: Loss) -> None:
        hosts = range(self.receivers + 1)
        _batch([f"netns add {name}" for name in (self._hub, *map(self._name, hosts))])
        lines = ["link add air type bridge mcast_snooping 0", "link set air up", "link set lo up"]
        for host in hosts:
            peer = f"peer name eth0 address {self._mac(host)} netns {self._name(host)}"
            lines += [f"link add p{host} type veth {peer}", f"link set p{host} master air up"]
        with self._inside(self._hub):
            _batch(lines)
            if loss.share and loss.kind == "same":
                _command("nft", "-f", "-", text=self._same_rules(loss))
        for host in hosts:
            with self.inside(host):
                _batch(self._host_lines(host))
                if host:
                    self._lose(loss, rate_bps)
        if rate_bps:
            with self.inside(0):
                _command(*f"tc qdisc add dev eth0 root tbf rate {rate_bps:.0f}bit {TBF}".split())

    def _host_lines(self, host: int) -> list[str]:
        # Addresses are known beforehand and IPv6 is silent: only what a program sends is on the air.
        others = range(1, self.receivers + 1) if host == 0 else (0,)
        silent = ["link set eth0 addrgenmode none"] if Path("/proc/sys/net/ipv6").exists() else []
        return [
            "link set lo up",
            *silent,
            f"addr add {self.address(host)}/16 brd + dev eth0",
            "link set eth0 up",
            "route add 224.0.0.0/4 dev eth0",
            *(f"neigh add {self.address(o)} lladdr {self._mac(o)} dev eth0 nud permanent" for o in others),
        ]

    @staticmethod
    def _same_rules(loss: Loss) -> str:
        share = round(loss.share * 1_000_000)
        rule = f'iifname "p0" ip daddr 224.0.0.0/4 numgen random mod 1000000 < {share} drop'
        lines = ["table bridge gapbench {", "chain lose {", "type filter hook prerouting priority 0", rule]
        return "\n".join([*lines, "}", "}", ""])

    @staticmethod
    def _lose(loss: Loss, rate_bps: float | None) -> None:
        if not loss.share or loss.kind == "same":
            return
        if loss.kind == "burst":
            _command("nft", "-f", "-", text=burst_rules(loss, rate_bps or 100e6))
            return
        match = f"-d 224.0.0.0/4 -p udp -m statistic --mode random --probability {loss.share:.6f}"
        _command(*f"iptables-legacy -A INPUT {match} -j DROP".split())

    @contextlib.contextmanager
    def inside(self, host: int) -> Iterator[None]:
        """This thread, and the processes and sockets it makes, are on `host` meanwhile."""
        with self._inside(self._name(host)):
            yield

    @contextlib.contextmanager
    def hub(self) -> Iterator[None]:
        """As inside(), on the bridge; p0 is its port to the server."""
        with self._inside(self._hub):
            yield

    @contextlib.contextmanager
    def _inside(self, name: str) -> Iterator[None]:
        with (_RUN / name).open() as there:
            _setns(there.fileno())
        try:
            yield
        finally:
            _setns(self._own)

    def traffic(self) -> tuple[int, int]:
        """Bytes that the server's interface has sent and received, with Ethernet headers."""
        with self.inside(0):
            text = Path("/proc/thread-self/net/dev").read_text()
        fields = text.partition("eth0:")[2].split()
        return int(fields[8]), int(fields[0])

    def close(self) -> None:
        """Remove all of it; everything still running in it is on its own."""
        names = [entry.name for entry in _RUN.iterdir() if entry.name.startswith(self._prefix)]
        text = "".join(f"netns del {name}\n" for name in names)
        subprocess.run(
            ["ip", "-force", "-batch", "-"],
            input=text,
            text=True,
            capture_output=True,
            timeout=COMMAND_SECONDS,
        )
        self._stamping.close()
        os.close(self._own)

    def __enter__(self) -> Air:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
