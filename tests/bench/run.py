"""`make bench`: Gapcast and its peers side by side in one run, alternating, medians of several repeats.

Namespaces on a bridge (tests/interop/lab.py), independent multicast loss by iptables at each receiver, for
the air cases a token bucket on the server's port. Needs root; without it, it says so and ends with 0.

Two questions are answered so far:
  stock   atftp clients by RFC 2090: how long from our server, how long from atftpd?
  boards  Gapcast boards on a shared air of 6 Mbit/s: time and bytes as multiples of the image.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from interop import lab as labs  # noqa: E402

STOCK_BYTES = 2_000_000
IMAGE_SIZE = "2M"
AIR_BITS_PER_S = 6_000_000
CAP_SECONDS = 60
GAPCAST = [sys.executable, "-m", "gapcast"]
Row = dict[str, object]


class OurServer:
    """`gapcast serve` on host 0."""

    name = "gapcast"

    def __init__(self, lab: labs.Lab, root: Path, work: Path, *options: str) -> None:
        log = work / "gapcast.log"
        argv = [
            *GAPCAST,
            "serve",
            str(root),
            "--listen",
            lab.address(0),
            "--port",
            "69",
            "--json",
            "--state",
            str(work / "fleet.db"),
            *options,
        ]
        self.process = lab.start(0, *argv, log=log)
        wait_for(lambda: "listening" in log.read_text(), self.process)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Atftpd:
    """atftpd with the multicast options of the facts file, and the quickest of its time-outs."""

    name = "atftpd"

    def __init__(self, lab: labs.Lab, root: Path, work: Path) -> None:
        log = work / "atftpd.log"
        options = ("--mcast-addr", "239.255.0.1-9", "--mcast-port", "1758", "--retry-timeout", "1")
        argv = ("atftpd", "--daemon", "--no-fork", "--user", "root", "--group", "root", "--logfile", "-")
        self.process = lab.start(0, *argv, "--verbose=5", *options, str(root), log=log)
        wait_for(lambda: "server started" in log.read_text(), self.process)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until a server is up; it has ten seconds."""
    deadline = time.monotonic() + 10
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("a server did not start")
        time.sleep(0.02)


def stock_run(
    server_type: type[OurServer] | type[Atftpd], clients: int, loss: float, work: Path
) -> float | None:
    """Seconds until the last of the atftp clients has the file; None when one does not within the cap."""
    root = work / "root"
    with labs.Lab(clients + 1) as lab:
        for index in range(1, clients + 1):
            if loss:
                lab.drop_multicast(index, loss)
        server = server_type(lab, root, work)
        outs = [work / f"out{index}" for index in range(clients)]
        for out in outs:
            out.unlink(missing_ok=True)
        started = time.monotonic()
        options = ("--option", "multicast", "--option", "blksize 1428", "--option", "timeout 1")
        processes = [
            lab.start(index + 1, "atftp", *options, "-g", "-r", "stock.bin", "-l", str(out), lab.address(0))
            for index, out in enumerate(outs)
        ]
        try:
            for process in processes:
                process.communicate(timeout=max(0.1, started + CAP_SECONDS - time.monotonic()))
            elapsed = time.monotonic() - started
        except subprocess.TimeoutExpired:
            return None
        finally:
            server.stop()
        want = (root / "stock.bin").read_bytes()
        return elapsed if all(out.exists() and out.read_bytes() == want for out in outs) else None


def board_run(boards: int, loss: float, work: Path) -> tuple[float, float] | None:
    """(time, air) of one roll-out as multiples of the image; None when a board did not make it."""
    root = work / "root"
    image_bytes = (root / "fw.gap").stat().st_size
    with labs.Lab(boards + 1) as lab:
        for index in range(1, boards + 1):
            if loss:
                lab.drop_multicast(index, loss)
        lab.limit(0, AIR_BITS_PER_S)
        server = OurServer(lab, root, work, "--rate", str(AIR_BITS_PER_S))
        before = sent_bytes(lab)
        at_s = int(time.time() + 3 + 0.3 * boards)
        processes = []
        for index in range(1, boards + 1):
            folder = work / f"board{index}"
            shutil.rmtree(folder, ignore_errors=True)
            where = ("--server", lab.address(0), "--flash", str(folder), "--iface", lab.address(index))
            what = ("--image", "fw", "--id", f"b{index}", "--at", str(at_s), "--json", str(folder) + ".json")
            processes.append(lab.start(index, *GAPCAST, "board", *where, *what, "--limit", "120"))
        codes = []
        for process in processes:
            process.communicate(timeout=180)
            codes.append(process.returncode)
        air = sent_bytes(lab) - before
        server.stop()
    if any(codes):
        return None
    rows = [json.loads((work / f"board{index}.json").read_text()) for index in range(1, boards + 1)]
    ideal_s = image_bytes * 8 / AIR_BITS_PER_S
    return max(row["elapsed_s"] for row in rows) / ideal_s, air / image_bytes


def sent_bytes(lab: labs.Lab) -> int:
    """What host 0 has put on the wire."""
    argv = lab.argv(0, "cat", "/sys/class/net/eth0/statistics/tx_bytes")
    return int(subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True).stdout)


def median(values: list[float | None]) -> float | None:
    good = [value for value in values if value is not None]
    return statistics.median(good) if len(good) * 2 > len(values) else None


def stock_cases(repeats: int, work: Path) -> list[Row]:
    rows: list[Row] = []
    for clients, loss in ((1, 0.0), (5, 0.0), (3, 0.01)):
        times: dict[str, list[float | None]] = {"gapcast": [], "atftpd": []}
        for _repeat in range(repeats):
            for server_type in (OurServer, Atftpd):
                times[server_type.name].append(stock_run(server_type, clients, loss, work))
        ours, theirs = median(times["gapcast"]), median(times["atftpd"])
        ratio = ours / theirs if ours and theirs else None
        rows.append(
            {
                "clients": clients,
                "loss": loss,
                "gapcast_s": ours,
                "atftpd_s": theirs,
                "ratio": ratio,
                "all": times,
            }
        )
        case = f"atftp x {clients}, {loss:.0%} loss"
        print(f"{case}: gapcast {show(ours)} s, atftpd {show(theirs)} s, ratio {show(ratio)}")
    return rows


def board_cases(repeats: int, work: Path) -> list[Row]:
    rows: list[Row] = []
    for boards, loss in ((1, 0.0), (10, 0.0), (10, 0.2), (20, 0.1)):
        runs = [board_run(boards, loss, work) for _repeat in range(repeats)]
        times = [run[0] if run else None for run in runs]
        air = [run[1] if run else None for run in runs]
        rows.append({"boards": boards, "loss": loss, "time": median(times), "air": median(air), "all": runs})
        case = f"boards x {boards}, {loss:.0%} loss"
        print(f"{case}: time {show(median(times))} x, air {show(median(air))} x the image")
    return rows


def show(value: float | None) -> str:
    return f"{value:.2f}" if value is not None else "failed"


def prepare(work: Path) -> None:
    root = work / "root"
    root.mkdir()
    (root / "stock.bin").write_bytes(os.urandom(STOCK_BYTES))
    sample = [
        *GAPCAST,
        "image",
        "sample",
        "--size",
        IMAGE_SIZE,
        "--version",
        "2.0",
        "-o",
        str(work / "fw.bin"),
    ]
    build = [*GAPCAST, "image", "build", str(work / "fw.bin"), "--name", "fw", "--board", "SIM"]
    for argv in (sample, [*build, "-o", str(root / "fw.gap")]):
        subprocess.run(argv, check=True, capture_output=True, timeout=60)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure Gapcast beside its peers.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("stock", "boards"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    reason = labs.why_not() or (
        None if shutil.which("atftpd") and shutil.which("atftp") else "needs atftp and atftpd"
    )
    if reason:
        print(f"bench skipped: {reason}")
        return 0
    result: dict[str, object] = {"repeats": arguments.repeats, "python": sys.version.split()[0]}
    with tempfile.TemporaryDirectory(prefix="gapcast-bench-") as name:
        work = Path(name)
        prepare(work)
        if arguments.only != "boards":
            result["stock"] = stock_cases(arguments.repeats, work)
        if arguments.only != "stock":
            result["boards"] = board_cases(arguments.repeats, work)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
