"""Pre-boot: look for a new image before the application starts (MicroPython runs this first)."""

from gapcast_boot import agent

agent.run()
