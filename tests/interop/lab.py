"""A network of hosts on one machine: namespaces on a bridge, with loss where it is wanted.

Needs root, iproute2 and iptables. Every name carries this process's number, so several labs can
stand side by side, and `close` removes all of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import IO

NETWORK = "10.77.0"
COMMAND_SECONDS = 20
_CLONE_NEWNET = 0x40000000  # linux/sched.h; os.setns came with Python 3.12


def why_not() -> str | None:
    """The reason why no lab can be built here, or None."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    for tool in ("ip", "iptables-legacy"):
        if shutil.which(tool) is None:
            return f"needs {tool} (packages iproute2 and iptables)"
    probe = f"gap-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, timeout=COMMAND_SECONDS)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, timeout=COMMAND_SECONDS)
    return None if made.returncode == 0 else "network namespaces are not allowed here"


def run(*argv: str) -> None:
    """Run one set-up command; its error text is the exception's."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")


def kill(process: subprocess.Popen[str]) -> None:
    """A power cut: the process and all it started die at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Lab:
    """`hosts` namespaces, 10.77.0.1 (the server) upwards, on one bridge."""

    _count = 0

    def __init__(self, hosts: int) -> None:
        Lab._count += 1
        self._tag = f"g{os.getpid() % 100000:x}{Lab._count}"
        self._bridge = f"{self._tag}br"
        self.hosts: list[str] = []
        self._processes: list[subprocess.Popen[str]] = []
        try:
            self._build(hosts)
        except BaseException:
            self.close()
            raise

    def _build(self, hosts: int) -> None:
        run("ip", "link", "add", self._bridge, "type", "bridge", "mcast_snooping", "0")
        run("ip", "link", "set", self._bridge, "up")
        for number in range(1, hosts + 1):
            name, port = f"{self._tag}h{number}", f"{self._tag}v{number}"
            run("ip", "netns", "add", name)
            self.hosts.append(name)
            run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", port, "master", self._bridge, "up")
            run("ip", "-n", name, "addr", "add", f"{self.address(number - 1)}/24", "brd", "+", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "route", "add", "224.0.0.0/4", "dev", "eth0")

    @staticmethod
    def address(index: int) -> str:
        """The address of host `index` (from 0)."""
        return f"{NETWORK}.{index + 1}"

    def argv(self, index: int, *argv: str) -> list[str]:
        """`argv` as a command that runs on host `index`."""
        return ["ip", "netns", "exec", self.hosts[index], *argv]

    def start(
        self, index: int, *argv: str, cwd: Path | None = None, log: Path | None = None
    ) -> subprocess.Popen[str]:
        """Start a process on host `index`; it is ended with the lab at the latest.

        A server's output must go to a `log` file: one that fills an unread pipe stands still.
        """
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(log.open("w")) if log else subprocess.PIPE
            return self._popen(index, argv, cwd, output)

    def _popen(
        self, index: int, argv: tuple[str, ...], cwd: Path | None, output: IO[str] | int
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.argv(index, *argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def socket(self, index: int, port: int = 0) -> socket.socket:
        """A UDP socket of host `index`, in this process."""
        sock = self._in_namespace(index, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self.address(index), port))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(self.address(index)))
        except BaseException:
            sock.close()
            raise
        return sock

    def group_socket(self, index: int, group: str, port: int) -> socket.socket:
        """A UDP socket of host `index` that hears the multicast `group`, in this process."""
        sock = self._in_namespace(index, socket.SOCK_DGRAM)
        try:
            sock.bind((group, port))
            membership = socket.inet_aton(group) + socket.inet_aton(self.address(index))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        except BaseException:
            sock.close()
            raise
        return sock

    def _in_namespace(self, index: int, kind: int) -> socket.socket:
        """A socket belongs for ever to the namespace that its thread was in when it was made."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as own, open(f"/run/netns/{self.hosts[index]}") as other:
            try:
                if libc.setns(other.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {self.hosts[index]}")
                return socket.socket(socket.AF_INET, kind)
            finally:
                libc.setns(own.fileno(), _CLONE_NEWNET)

    def drop_multicast(self, index: int, share: float) -> None:
        """Host `index` loses this share of the multicast datagrams, independently of the others."""
        self._drop(index, share, "-d", "224.0.0.0/4")

    def drop_udp(self, index: int, share: float) -> None:
        """Host `index` loses this share of all UDP datagrams it receives."""
        self._drop(index, share)

    def drop_block(self, index: int, block: int) -> None:
        """Host `index` never receives this DATA by multicast."""
        # Behind 20 bytes of IP header and 8 of UDP: opcode 3 and the block number.
        self._drop_if(index, "-d", "224.0.0.0/4", "-m", "u32", "--u32", f"28=0x{3 << 16 | block:08x}")

    def _drop(self, index: int, share: float, *match: str) -> None:
        self._drop_if(index, *match, "-m", "statistic", "--mode", "random", "--probability", f"{share:.6f}")

    def _drop_if(self, index: int, *match: str) -> None:
        run(*self.argv(index, "iptables-legacy", "-A", "INPUT", "-p", "udp", *match, "-j", "DROP"))

    def limit(self, index: int, bits_per_s: int) -> None:
        """A shared air: what host `index` sends goes out at this rate."""
        run(
            *self.argv(index, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf"),
            *("rate", f"{bits_per_s}bit", "burst", "3200", "limit", "200000"),
        )

    def close(self) -> None:
        for process in self._processes:
            kill(process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=5)
        for name in self.hosts:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=COMMAND_SECONDS)
        subprocess.run(["ip", "link", "del", self._bridge], capture_output=True, timeout=COMMAND_SECONDS)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
