"""Run under MicroPython by test_watch_heap.py: what watching costs a board's heap.

Arguments: the board's folder; the port of a server that has no image for it. Prints a JSON object, in bytes:
started (all that watching keeps, before any question), asked (and after one), polls (allocated, garbage too,
in POLLS of them), flood (kept of FORGED announcements and the questions they cost), and counts.
"""

import gc
import json
import os
import sys

import sim_select
import sim_socket
import sim_world

FOLDER, PORT = sys.argv[-2], int(sys.argv[-1])
os.chdir(FOLDER)
sim_world.load(".")
sys.modules["socket"] = sim_socket
sys.modules["select"] = sim_select

import asyncio  # noqa: E402 - with the board's sockets

import esp32  # noqa: E402
import network  # noqa: E402

esp32.sim_power_on()

from gapcast_boot import agent, config, health  # noqa: E402
from gapcast_core import announcement  # noqa: E402

POLLS = 3000
FORGED = 1500
results = {}


def used():
    gc.collect()
    return gc.mem_alloc()


class Air:
    """Announcements without a socket, one at each poll."""

    def __init__(self):
        self.deaf = False
        self.data = b""
        self.left = 0
        self.number = 0

    def read(self):
        if not self.left:
            return None
        self.left -= 1
        self.number += 1
        if self.number % 2:
            return self.data
        return announcement.pack_announcement("lab", f"{self.number:032x}", self.number)

    def close(self):
        pass


async def until(condition):
    while not condition():
        await asyncio.sleep_ms(1)


async def measure(before):
    from gapcast_boot import watching

    class Counted(watching.Watch):
        polls = 0
        asking = False

        def _look(self):
            self.polls += 1
            return super()._look()

        async def _act(self):
            self.asking = True
            await super()._act()
            self.asking = False

    watching.POLL_MS = 1
    watch = Counted(None, 1 << 29)
    watch._ask_ms = 1 << 29
    task = asyncio.create_task(watch.run())
    await until(lambda: watch.polls > 20)
    assert watch.hearing.group is not None
    results["started"] = used() - before
    watch._ask_ms = 0
    await until(lambda: watching.counts["questions"] == 1 and not watch.asking)
    results["asked"] = used() - before

    # Nothing happens: not one byte.
    watching.POLL_MS = 0
    gc.disable()
    start = watch.polls
    allocated = gc.mem_alloc()
    while watch.polls - start < POLLS:
        await asyncio.sleep_ms(0)
    results["polls"] = gc.mem_alloc() - allocated
    gc.enable()

    # Announcements by the thousand.
    watch.hearing.leave()
    watch.hearing.group = air = Air()
    air.data = announcement.pack_announcement("other", "ab" * 16, 5000)
    watch._budget._refill_ms = 1
    watch._budget._next_ms = 0
    kept = []
    for _quarter in range(4):
        air.left = FORGED // 4
        await until(lambda: not air.left)
        watch._ask_ms = watch._clock.now_ms()
        await until(lambda: watch._ask_ms > 1 << 20 and not watch.asking)
        kept.append(used())
    results["flood"] = kept[-1] - kept[0]
    results["counts"] = watching.counts
    task.cancel()


def main():
    health.begin(None, config.load_config())
    nic = network.WLAN(network.STA_IF)
    nic.active(True)
    nic.connect("x")
    health.use_network(nic)
    assert agent  # what pre-boot leaves in memory is there
    before = used()
    asyncio.run(measure(before))
    print(json.dumps(results))


main()
