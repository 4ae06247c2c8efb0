"""The board's side of Gapcast: runs in pre-boot, before the application (MicroPython)."""
