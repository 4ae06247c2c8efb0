"""Modules of the unix port as a chip has them: the PC's things are not in them. MicroPython only."""

import os
import sys
from collections import namedtuple

import micropython

_HIDDEN = ("system", "getenv", "putenv", "unsetenv", "VfsPosix", "errno", "sep", "exc_info", "executable")
_Uname = namedtuple("uname", ("sysname", "nodename", "release", "version", "machine"))


class _Module:
    """What a module looks like to whoever imports it."""

    def __init__(self, real):
        for name in dir(real):
            if name not in _HIDDEN and not name.startswith("__"):
                setattr(self, name, getattr(real, name))


def install(chip, console):
    """Replace `os`, `sys` and `micropython`, for what is imported from now on."""
    release = ".".join(str(part) for part in sys.implementation.version[:3])
    version = sys.version[sys.version.find("MicroPython ") + 12 :]
    machine = sys.implementation._machine
    seen = _Module(os)
    seen.uname = lambda: _Uname(chip, chip, release, version, machine)
    seen.sync = lambda: None
    sys.modules["os"] = seen
    seen = _Module(micropython)
    seen.kbd_intr = console.listen  # the unix port's own ends the process where this ignores
    sys.modules["micropython"] = seen
    seen = _Module(sys)
    seen.platform = "esp32"
    seen.argv = []
    sys.modules["sys"] = seen
