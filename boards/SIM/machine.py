"""The part of MicroPython's `machine` module that the client uses: reset ends this process."""

import sys

import sim_world

RESET_EXIT_CODE = 3  # the launcher switches the board on again


def reset():
    sys.exit(RESET_EXIT_CODE)


def unique_id():
    return bytes([int(part, 16) for part in sim_world.settings["mac"].split(":")])
