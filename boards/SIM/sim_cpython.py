"""What a board's MicroPython has and CPython lacks, for the fall-back without MicroPython."""

import asyncio
import gc
import time


def install():
    time.ticks_ms = lambda: time.monotonic_ns() // 1000000
    time.ticks_us = lambda: time.monotonic_ns() // 1000
    time.ticks_diff = lambda new, old: new - old
    time.sleep_ms = lambda duration_ms: time.sleep(duration_ms / 1000)
    time.sleep_us = lambda duration_us: time.sleep(duration_us / 1000000)
    gc.mem_alloc = lambda: 0
    asyncio.sleep_ms = lambda duration_ms: asyncio.sleep(duration_ms / 1000)
