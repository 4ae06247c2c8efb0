"""How a simulated board's process ends: at once, from a callback or another thread too.

sys.exit() would not do: MicroPython only prints what a scheduled callback raises.
"""

import sys

RESET_EXIT_CODE = 3  # machine.reset(): the launcher starts the board again
WDT_EXIT_CODE = 5  # the watchdog did it

launched = False  # a launcher (tools/gapcast_sim/board.py) watches this process; set by sim_main


def leave(code):
    """End the process with `code`, without unwinding anything. Never returns."""
    if sys.implementation.name == "cpython":
        import os

        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    host().func("v", "_exit", "i")(code)


def host():
    """The C library of MicroPython's process."""
    import ffi

    return ffi.open(None)
