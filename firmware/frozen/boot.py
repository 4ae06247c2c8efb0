"""Pre-boot where the client is frozen: MicroPython runs this instead of the file system's boot.py."""

import os
import sys

try:
    from gapcast_boot import agent

    agent.run()
    agent.run = lambda *_args, **_kwargs: None  # a boot.py from before the client was frozen asks again, else
except Exception as exc:  # an exception here would keep main.py from running
    sys.print_exception(exc)

# The user's own boot.py. What it raises ends this file too, and main.py does not run: as without this one.
try:
    os.stat("/boot.py")
except OSError:  # no file, or no file system
    pass
else:
    execfile("/boot.py")
