"""What a board costs `gapcast serve`: CPU and memory, with many light-weight clients in one session.

    python tests/bench/load.py --boards 10,100,500 --json FILE

A client is the shared core (receiver, gap list, mender) under CPython with a control socket and an address of
its own; all hear the group through one socket, and each loses its own frames. A generation counts as solved
when there are symbols enough: the server cannot tell, and solving would be what is measured. Exit code 1 when
a board of the largest bench costs more than one of the smaller ones.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import secrets
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.figures import aligned
from bench.lightboard import LightBoard
from gapcast_core import receiver
from gapcast_sim.server import free_port

SERVER = "127.0.0.1"
NETWORK = "127.77"  # an address a client: the server limits what one may have
JOIN_MS_EACH = 4  # the stream starts when all are there
LIMIT_S = 120.0
TICK_S = 0.1
RECEIVE_BYTES = 8 << 20
NAME = "as-long-as-the-digest-that-boards-ask-for.bin"  # no answer is longer than its request
MULTICAST_ALL = 49  # linux/in.h
SLACK = 1.1  # of measuring


def open_board(host: int) -> socket.socket:
    """A client's control socket."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((f"{NETWORK}.{host // 250}.{host % 250 + 1}", 0))
    return sock


def open_group(groups: list[str], port: int) -> socket.socket:
    """The one socket through which all clients hear."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    sock.setsockopt(socket.IPPROTO_IP, MULTICAST_ALL, 0)
    sock.bind(("", port))
    for group in groups:
        membership = socket.inet_aton(group) + socket.inet_aton(SERVER)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    return sock


class Bench:
    """All clients of one run."""

    def __init__(self, boards: int, port: int, loss: float) -> None:
        self._dice = random.Random(boards)
        self._loss = loss
        self._selector = selectors.DefaultSelector()
        self._group: socket.socket | None = None
        self.boards = [LightBoard(open_board(host), (SERVER, port)) for host in range(1, boards + 1)]
        for board in self.boards:
            self._selector.register(board.sock, selectors.EVENT_READ, board)

    def run(self) -> bool:
        """Until all have the file; whether they have."""
        for board in self.boards:
            board.ask(NAME)
        deadline = time.monotonic() + LIMIT_S
        tick = 0.0
        while time.monotonic() < deadline:
            for key, _events in self._selector.select(TICK_S):
                self._hear(key.fileobj, key.data)
            if time.monotonic() >= tick:
                tick = time.monotonic() + TICK_S
                for board in self.boards:
                    board.tick()
                if all(board.over for board in self.boards):
                    break
        return all(board.end == receiver.COMPLETE for board in self.boards)

    def _hear(self, sock: Any, board: LightBoard | None) -> None:
        try:
            data, source = sock.recvfrom(2048)
        except BlockingIOError:
            return
        if board is None:
            for one in self.boards:
                if self._dice.random() >= self._loss:
                    one.frame(data)
            return
        board.control(data, source)
        if self._group is None and board.offer is not None:
            self._group = open_group([board.offer.group, board.offer.repair_group], board.offer.port)
            self._selector.register(self._group, selectors.EVENT_READ, None)

    def close(self) -> None:
        self._selector.close()
        for board in self.boards:
            board.sock.close()
        if self._group is not None:
            self._group.close()


def usage(pid: int) -> tuple[float, int]:
    """CPU seconds, and the most memory (KiB) so far."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert peak is not None
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"), int(peak[1])


def measure(boards: int, size_kib: int, rate: str, loss: float) -> dict[str, Any]:
    """One server, one session."""
    with tempfile.TemporaryDirectory(prefix="gapcast-load-") as name:
        root = Path(name) / "root"
        root.mkdir()
        (root / NAME).write_bytes(secrets.token_bytes(size_kib * 1024))
        port = free_port(SERVER)
        argv = [sys.executable, "-m", "gapcast", "serve", str(root), "--listen", SERVER, "--port", str(port)]
        argv += ["--rate", rate, "--gather-ms", str(500 + JOIN_MS_EACH * boards), "--json"]
        argv += ["--state", str(Path(name) / "fleet.db")]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                server.stdout.readline()  # it listens
                before = usage(server.pid)
                bench = Bench(boards, port, loss)
                start = time.monotonic()
                complete = bench.run()
                elapsed_s = time.monotonic() - start
                after = usage(server.pid)
                bench.close()
            finally:
                server.kill()
    cpu_s, kib = after[0] - before[0], after[1] - before[1]
    return {
        "boards": boards,
        "complete": complete,
        "elapsed_s": round(elapsed_s, 2),
        "cpu_s": round(cpu_s, 2),
        "cpu_ms_a_board": round(cpu_s * 1000 / boards, 2),
        "memory_kib": after[1],
        "kib_a_board": round(kib / boards, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boards", default="10,100,500")
    parser.add_argument("--size", type=int, default=512, help="KiB of the image, enough to be mended")
    parser.add_argument("--rate", default="1M")
    parser.add_argument("--loss", type=float, default=0.1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    for boards in map(int, options.boards.split(",")):
        found.append(measure(boards, options.size, options.rate, options.loss))
        print(found[-1], flush=True)
    header = [name.replace("_", " ") for name in found[0]]
    table = [[str(value) for value in one.values()] for one in found]
    print(aligned([header, *table]))
    if options.json:
        why = f"`tests/bench/load.py`: {options.size} KiB at {options.rate}bit/s, {options.loss:.0%} loss."
        section = {"title": "What a board costs the server", "why": why, "header": header, "table": table}
        options.json.write_text(json.dumps(section, indent=1) + "\n")
    dearest = max(one["cpu_ms_a_board"] for one in found)
    linear = found[-1]["cpu_ms_a_board"] <= SLACK * dearest and found[-1]["kib_a_board"] <= SLACK * max(
        one["kib_a_board"] for one in found
    )
    return 0 if linear and all(one["complete"] for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
