"""Frozen into this board: what MicroPython's own boards have, and the client."""

include("$(PORT_DIR)/boards/manifest.py")
include("../../firmware/manifest.py")
