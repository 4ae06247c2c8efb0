"""Pre-boot: look for a new image before the application starts (MicroPython runs this first)."""

import sys

try:
    from gapcast_boot import agent

    agent.run()
except Exception as exc:  # an exception here would keep main.py from running
    sys.print_exception(exc)
