"""TFTP servers for the tests of the tools: tftpy's and atftpd, and one that says what a test tells it to."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tftpy

Answer = Callable[[bytes], list[bytes]]
START_SECONDS = 5.0


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def tftpy_server(root: Path) -> Iterator[int]:
    """tftpy's server in a thread; its port."""
    server = tftpy.TftpServer(str(root))
    port = free_port()
    thread = threading.Thread(target=server.listen, args=("127.0.0.1", port, 1), daemon=True)
    thread.start()
    assert server.is_running.wait(START_SECONDS)
    try:
        yield port
    finally:
        server.stop(now=True)
        thread.join(START_SECONDS)


@contextmanager
def atftpd(root: Path) -> Iterator[int]:
    """Debian's atftpd, which knows RFC 2090; its port."""
    program = shutil.which("atftpd", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        pytest.skip("no atftpd")
    port = free_port()
    command = [program, "--daemon", "--no-fork", "--logfile", "-", "--bind-address", "127.0.0.1"]
    # It prints group ports above 32767 as negative numbers (atftpd 0.8.0).
    command += [
        "--port",
        str(port),
        "--mcast-addr",
        "239.255.7.1-5",
        "--mcast-port",
        str(free_port() % 32768),
    ]
    if os.geteuid() == 0:
        command += ["--user", "root", "--group", "root"]  # its own "nobody" cannot read a test's directory
    process = subprocess.Popen([*command, str(root)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for_an_answer(port)
        yield port
    finally:
        process.terminate()
        process.wait(START_SECONDS)


@contextmanager
def scripted_server(answer: Answer) -> Iterator[int]:
    """A socket that answers each datagram with what `answer` returns; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    data, peer = server.recvfrom(2048)
                except TimeoutError:
                    continue
                for datagram in answer(data):
                    server.sendto(datagram, peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            stop.set()
            thread.join(START_SECONDS)


def _wait_for_an_answer(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.1)
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            probe.sendto(b"\0\1not-there\0octet\0", ("127.0.0.1", port))
            try:
                probe.recvfrom(600)
                return
            except (TimeoutError, ConnectionRefusedError):
                continue
    pytest.fail("atftpd does not answer")
