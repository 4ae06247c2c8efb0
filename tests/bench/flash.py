"""Boards whose flash is as slow as a data sheet says, behind a queue of six datagrams; the rate finds itself.

    python tests/bench/flash.py --json FILE

Three fleets of `gapcast sim --flash-timing`: all alike, with and without loss, and with one board whose flash
is ten times slower. Told are the share of datagrams that found a queue full, the time against what air or
flash alone would take, and what the slow board costs the others.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.figures import aligned

SECONDS = 300
PAGE_S, PAGE_BYTES = 600e-6, 256  # boards/SIM/sim_flash.py
FRAME = (1024 + 46) / 1024


def simulate(options: argparse.Namespace, loss: float, slow: int) -> dict[str, Any]:
    """What `gapcast sim --json` wrote."""
    with tempfile.TemporaryDirectory(prefix="gapcast-flash-") as name:
        found = Path(name) / "result.json"
        argv = [sys.executable, "-m", "gapcast", "sim", "--flash-timing", "--boards", str(options.boards)]
        argv += ["--rate", options.rate, "--size", options.size, "--loss", str(loss), "--json", str(found)]
        argv += ["--picture", str(Path(name) / "picture.html")]
        argv += ["--slow-boards", str(slow)] if slow else []
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
        if not found.exists():
            raise SystemExit(f"gapcast sim failed: {done.stderr or done.stdout}")
        result: dict[str, Any] = json.loads(found.read_text())
        return result


def overflow(boards: list[dict[str, Any]]) -> str:
    """The share of datagrams that found the queue of a socket full."""
    if "rx_overflows" not in boards[0]:
        return "not counted"
    lost = sum(board["rx_overflows"] for board in boards)
    came = lost + sum(board["rx_datagrams"] for board in boards)
    return f"{lost / came:.2%}" if came else "–"


def least_s(found: dict[str, Any], rate_bps: float) -> float:
    """What air alone, or flash alone, would take."""
    size = found["image_bytes"]
    air = size * FRAME * 8 / rate_bps if rate_bps else 0.0
    return max(air, size / PAGE_BYTES * PAGE_S)


def row(name: str, found: dict[str, Any], rate_bps: float, slow: int) -> list[str]:
    fast = found["results"][slow:]
    times = [board["elapsed_s"] for board in fast if board["elapsed_s"] is not None]
    last = max(times, default=0.0)
    return [
        name,
        f"{found['completed']} of {found['boards']}",
        overflow(fast),
        f"{last:.2f}",
        f"{statistics.median(times):.2f}" if times else "–",
        f"{last / least_s(found, rate_bps):.2f}",
    ]


HEADER = ["fleet", "done", "queue full", "last, s", "median, s", "of max(air, flash)"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boards", type=int, default=20)
    parser.add_argument("--rate", default="6M", help="the air; the boards' own is found by the server")
    parser.add_argument("--size", default="2M")
    parser.add_argument("--no-slow", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rate_bps = float(options.rate.removesuffix("M")) * (1e6 if options.rate.endswith("M") else 1)
    fleets = [("0 % loss", 0.0, 0), ("10 % loss", 0.1, 0)]
    fleets += [] if options.no_slow else [("0 % loss, one slow: the others", 0.0, 1)]
    table = []
    for name, loss, slow in fleets:
        table.append(row(name, simulate(options, loss, slow), rate_bps, slow))
        print(aligned([HEADER, table[-1]]), flush=True)
    if options.json:
        what = f"{options.boards} boards, {options.size} image, air of {options.rate}bit/s"
        why = f"`tests/bench/flash.py`: {what}; data sheet's flash, queues of six."
        section = {"title": "Flash as slow as it is", "why": why, "header": HEADER, "table": table}
        options.json.write_text(json.dumps(section, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
