"""What pre-boot costs a board that has nothing to do: time added, and transfers that the server opened.

A simulated board under MicroPython, against `gapcast serve` on loopback, with Wi-Fi that is up at once:
measured is the client's own time (its imports, the request, the look at its flash), without the time that
an ESP32 takes to associate. The board runs the image that the server has; it is switched on again and again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from gapcast_sim.board import SimBoard
from gapcast_sim.events import Event
from gapcast_sim.image import place_sample
from gapcast_sim.provision import BoardSpec, factory_image, prepare
from gapcast_sim.registry import Registry
from gapcast_sim.runtime import Runtime, find_runtime
from gapcast_sim.server import ServerProcess, free_port

ADDRESS = "127.0.0.1"
Result = dict[str, Any]


async def boot(spec: BoardSpec, runtime: Runtime) -> tuple[SimBoard, list[Event]]:
    """Switch the board on until its application runs; and what it told."""
    events: list[Event] = []
    board = SimBoard(spec, runtime, lambda _board, event: events.append(event))
    await board.run()
    if not board.ok:
        sys.exit(f"the board did not come up: {board.result.outcome}: {board.result.detail}")
    return board, events


async def measure(work: Path, boots: int, size_bytes: int) -> Result:
    """One update, then `boots` boots with nothing to do."""
    image = place_sample(work, size_bytes, 1)
    registry = Registry(work)
    folder = work / "board"
    key = registry.enroll({"bench": folder})["bench"]
    port = free_port(ADDRESS)
    server = ServerProcess(work / "root", ADDRESS, port, ("--state", str(registry.path)))
    spec = BoardSpec("bench", folder, ADDRESS, port, image.name, ADDRESS, keys=image.keys, report_key=key)
    prepare(spec, factory_image())
    runtime = find_runtime(lambda _text: None)
    await server.start()
    try:
        board, _events = await boot(spec, runtime)
        assert board.result.outcome == "updated", board.result
        before = server.counts.get("transfer_open", 0)
        times_us = []
        for _boot in range(boots):
            board, events = await boot(spec, runtime)
            assert board.result.outcome == "up_to_date", board.result
            times_us += [event["preboot_us"] for event in events if event["event"] == "application"]
    finally:
        await server.stop()
    return {
        "runtime": runtime.name,
        "boots": boots,
        "image_bytes": image.container_bytes,
        "median_ms": round(statistics.median(times_us) / 1000, 2),
        "worst_ms": round(max(times_us) / 1000, 2),
        "best_ms": round(min(times_us) / 1000, 2),
        "transfers": server.counts.get("transfer_open", 0) - before,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--boots", type=int, default=50)
    parser.add_argument("--size", type=int, default=1536 * 1024, help="bytes of the image")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        result = asyncio.run(measure(Path(work), options.boots, options.size))
    if options.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['boots']} boots with nothing to do under {result['runtime']}: pre-boot adds "
            f"{result['median_ms']} ms (median), {result['worst_ms']} ms (worst); "
            f"{result['transfers']} transfers"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
