"""The part of MicroPython's `machine` module that the client uses.

Reset ends this process, and whoever started it switches the board on again; its exit code tells
why. In a test's own process it is SystemExit(3).
"""

import sim_exit
import sim_world
from sim_exit import RESET_EXIT_CODE
from sim_timer import WDT, Timer  # noqa: F401 - what an application imports from here

# ports/esp32/modmachine.c, reset_reason_t. machine.reset() is a SOFT_RESET: ESP-IDF's esp_restart().
PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5


def reset():
    if sim_exit.launched:
        sim_exit.leave(RESET_EXIT_CODE)
    raise SystemExit(RESET_EXIT_CODE)


def soft_reset():
    raise SystemExit


def reset_cause():
    return sim_world.settings["reset_cause"]


def unique_id():
    return bytes([int(part, 16) for part in sim_world.settings["mac"].split(":")])
